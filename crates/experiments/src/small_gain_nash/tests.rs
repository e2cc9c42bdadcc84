use gradus_base::{Cancel, Silent};
use gradus_games::game::Game;
use gradus_games::small_gain::{Certifier, Region, Sampling, estimate};
use gradus_games::zoo;
use gradus_report::Verdict as Judged;

use super::*;
use crate::{Reproduction, Settings, Status, reproduce};

fn smoke(cournot: Option<&Path>) -> Result<Reproduction, ExperimentError> {
    let options = cournot.map(|file| ("cournot".to_string(), file.display().to_string())).into_iter().collect();
    let settings = Settings { profile: Profile::Smoke, options, ..Settings::default() };
    reproduce(&EXPERIMENT, &settings, &Cancel::new(), &mut Silent)
}

#[test]
fn the_smoke_profile_judges_the_exact_claims() {
    let run = smoke(None).unwrap();
    assert_eq!(run.status, Status::Holds);
    for claim in &run.report.system.claims {
        let expected = if claim.profiles.contains(&Profile::Smoke) { Judged::Holds } else { Judged::NeedsMore };
        assert_eq!(claim.verdict, expected, "{}", claim.id);
    }
    assert!(run.report.figures.len() >= 8);
    assert_eq!(smoke(None).unwrap().report.values, run.report.values);
}

#[test]
fn what_is_not_measured_yet_is_said() {
    let not_yet = ["ensemble-block-lmi", "markov-margin", "markov-verified", "markov-converges", "markov-factor", "markov-natural"];
    for id in not_yet {
        let claim = EXPERIMENT.claims.iter().find(|claim| claim.id == id).unwrap();
        assert!(claim.gate && !claim.profiles.contains(&Profile::Smoke), "{id}");
    }
}

#[test]
fn a_market_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("firms.csv");
    let write = |rows: &str| std::fs::write(&file, format!("firm,linear_cost,quadratic_cost,capacity\n{rows}")).unwrap();
    write("alpine,1,0.5,3\nbaltic,2,0.5,3\n");
    let run = smoke(Some(&file)).unwrap();
    let market = run.report.tables.iter().find(|table| table.title.starts_with("A market")).unwrap();
    assert_eq!(market.rows.len(), 2);
    assert_eq!(market.rows[1][0], "baltic".into());
    for (rows, words) in [("alpine,1,0.5,3\n", "firms"), ("alpine,1,x,3\nbaltic,2,0.5,3\n", "`x` is not a number")] {
        write(rows);
        let error = smoke(Some(&file)).unwrap_err();
        assert!(matches!(&error, ExperimentError::File { reason, .. } if reason.contains(words)), "{error}");
    }
    assert!(matches!(smoke(Some(folder.path())), Err(ExperimentError::File { .. })));
}

#[test]
fn cancelled_before_it_begins() {
    let cancel = Cancel::new();
    cancel.cancel();
    let settings = Settings { profile: Profile::Smoke, ..Settings::default() };
    assert!(matches!(reproduce(&EXPERIMENT, &settings, &cancel, &mut Silent), Err(ExperimentError::Interrupted(_))));
}

fn pictures(game: &Game, region: &Region) -> Vec<gradus_report::Figure> {
    let Verdict::Certified(found) = Certifier::default().certify(game, region).unwrap() else { unreachable!() };
    let names: Vec<String> = (0..game.size()).map(|k| format!("v{k}")).collect();
    certificate_figures(game, &names, &found, region)
}

#[test]
fn certificates_of_all_kinds_of_regions_have_pictures() {
    let names = |figures: &[gradus_report::Figure]| figures.iter().map(|figure| figure.name.clone()).collect::<Vec<_>>();
    let toy = zoo::scalar_quadratic(1.0, 1.0, 10.0, 0.05).unwrap();
    let free = pictures(&toy.game, &Region::Free);
    assert_eq!(names(&free), ["certificate-map-1", "certificate-band", "certificate-steps"]);
    assert!(free[0].title.contains("v0 and v1") && free[0].title.contains("0.2929 everywhere"), "{}", free[0].title);
    // The unit ball of the metric: 1 across, 1/√200 up.
    let up = |figure: &gradus_report::Figure| {
        let cells = figure.table.rows.iter().filter_map(|row| if let gradus_report::Cell::Number(y) = row[2] { Some(y) } else { None });
        cells.fold(0.0, f64::max)
    };
    assert!((up(&free[0]) - 200f64.sqrt().recip()).abs() < 1e-9);
    let ring = zoo::ring(4, 1, 2.0, 0.5).unwrap();
    let search = gradus_games::small_gain::Search { most_boxes: 50, ..Default::default() };
    let region = Region::Local(ring.region);
    let found = Certifier { search, ..Certifier::default() }.certify(&ring.game, &region).unwrap();
    let Verdict::Certified(found) = found else { unreachable!() };
    let local = certificate_figures(&ring.game, &[], &found, &region);
    assert_eq!(names(&local), ["certificate-map-1", "certificate-map-2", "certificate-map-3", "certificate-steps"]);
    assert!(local[0].svg.contains("class=\"shades\"") && local[0].title.contains('x'));
}

#[test]
fn the_corners_of_the_needle_look_as_if_it_contracted() {
    let needle = zoo::needle().unwrap();
    let bounds = estimate(&needle.game, &needle.region, Sampling::Corners).unwrap().bounds;
    assert!(bounds.curvature().iter().all(|mu| (mu - 1.0).abs() < 1e-15) && (bounds.coupling()[(0, 1)] - 0.5).abs() < 1e-15);
    assert!((gradus_games::small_gain::optimal_weights(&bounds).margin - 0.612_701_665_379_258_3).abs() < 1e-12);
}

#[test]
fn eigenvalues_of_matrices_with_two_of_them() {
    let points = linear::strengths();
    assert_eq!((points.len(), points[33], points[4]), (61, 1.375, 1.0 / 6.0));
    // Their characteristic shifts vanish on the whole matrix.
    let jacobian = nalgebra::DMatrix::from_fn(8, 8, |i, j| match (i == j, i % 4 == j % 4, i < j) {
        (true, ..) => 1.0,
        (_, true, true) => 10.0,
        (_, true, false) => 0.05,
        _ => 0.0,
    });
    let root = 0.5f64.sqrt();
    for value in linear::eigenvalues(&jacobian).unwrap() {
        assert!(value.im.abs() < 1e-12 && ((value.re - 1.0).abs() - root).abs() < 1e-12, "{value}");
    }
}

#[test]
fn resolvents_are_those_of_the_authors() {
    let found = toy::resolvents();
    let shares = found.map(|values| [0.5, 1.0, 1.5].map(|level| toy::share_above(&values, level)));
    for (share, theirs) in shares.iter().flatten().zip([0.796, 0.278, 0.031, 0.059, 0.006, 0.001]) {
        assert!((share - theirs).abs() <= 0.0005, "{share} {theirs}");
    }
}
