use super::super::checker::{CertificateError, Verified};
use super::super::{Basis, Branch, Certificate, Monitor, Rule, Violation};
use super::*;
use crate::scalar::Real;

fn affine(dimensions: &[usize], rows: &[f64]) -> Game {
    let size = dimensions.iter().sum();
    Game::affine(dimensions, DMatrix::from_row_slice(size, size, rows), vec![0.0; size]).unwrap()
}

/// A zero-sum game: `x² / 2 - y² / 2 + 5 x y`.
fn zero_sum() -> Game {
    affine(&[1, 1], &[1.0, 5.0, -5.0, 1.0])
}

/// Players with two variables each, whose couplings cancel but for a little.
fn pairs() -> Game {
    let game = Game::from_losses(&[2, 2], |x| {
        let own = |a: usize, b: usize| 0.5 * (x[a].square() + x[b].square()) + 0.1 * (x[a] - x[b]).softplus();
        let push = 4.0 * x[0] * x[2] + 2.0 * x[1] * x[3] + 0.3 * (x[0] * x[3]).sin();
        vec![own(0, 1) + push, own(2, 3) - push]
    });
    game.unwrap()
}

fn certifier(structure: Structure) -> Certifier {
    let search = Search { tolerance: Tolerance::Relative(1e-3), most_boxes: 4_000 };
    Certifier { search, mode: Mode::BlockLmi(structure), ..Certifier::default() }
}

fn certified(game: &Game, region: &Region, structure: Structure) -> Certified {
    match certifier(structure).certify(game, region).unwrap() {
        Verdict::Certified(found) => *found,
        other => panic!("{other:?}"),
    }
}

fn cube(side: f64, count: usize) -> Region {
    Region::local(&vec![-side; count], &vec![side; count]).unwrap()
}

#[test]
fn games_whose_couplings_cancel() {
    assert!(!matches!(Certifier::default().certify(&zero_sum(), &Region::Free).unwrap(), Verdict::Certified(_)));
    for region in [Region::Free, cube(1.0, 2), Region::constrained(&[-1.0; 2], &[1.0; 2]).unwrap()] {
        let found = certified(&zero_sum(), &region, Structure::Full);
        let certificate = &found.certificate;
        assert!((certificate.alpha - 1.0).abs() < 1e-6 && (certificate.weights[1] - 1.0).abs() < 1e-3, "{certificate:?}");
        assert!((found.rates().euler_limit() - 0.076_923).abs() < 1e-5);
        assert_eq!(check(certificate, Some(&zero_sum())), Ok(Verified::Verified));
        assert_eq!(check(certificate, None), Err(CertificateError::GameNeeded));
        assert!(!certificate.conditional && certificate.equilibrium.as_ref().unwrap().radius < 1e-12);
    }
}

#[test]
fn bends_and_several_variables() {
    for structure in [Structure::Scalar, Structure::Diagonal, Structure::Full] {
        let found = certified(&pairs(), &cube(1.0, 4), structure);
        assert!(found.certificate.alpha > 0.5 && found.certificate.alpha <= 1.0, "{structure:?} {}", found.certificate.alpha);
        assert_eq!(check(&found.certificate, Some(&pairs())), Ok(Verified::Verified));
        assert!(found.certificate.whole.as_ref().unwrap().margin.len() > 1 && !found.certificate.conditional);
        // Steps are those of the rates, and what they promise is seen.
        let h = found.rates().best_euler_step();
        let mut monitor = Monitor::new(&found.certificate, Rule::Euler, h).unwrap();
        let mut x = vec![0.2, -0.1, 0.1, 0.2];
        for _ in 0..100 {
            monitor.see(&x).unwrap();
            let field = pairs().field(&x);
            x.iter_mut().zip(&field).for_each(|(x, f)| *x -= h * f);
        }
    }
}

/// A game that contracts in no metric with one number for each player.
#[test]
fn metrics_with_a_matrix_for_each_player() {
    // A player whose own field turns in a stretched circle.
    let game = affine(&[2, 1], &[1.0, 8.0, 0.5, -0.5, 1.0, 0.0, 0.5, 0.0, 1.0]);
    assert!(matches!(certifier(Structure::Scalar).certify(&game, &cube(1.0, 3)).unwrap(), Verdict::Refused(_) | Verdict::Inconclusive(_)));
    let found = certified(&game, &cube(1.0, 3), Structure::Full);
    assert!(found.certificate.alpha > 0.5);
    assert_eq!(check(&found.certificate, Some(&game)), Ok(Verified::Verified));
    let ball = found.certificate.ball.as_ref().unwrap();
    assert!(ball.invariant_radius.unwrap() > 0.0);
    // Confined players have a diagonal metric.
    let diagonal = certified(&game, &Region::constrained(&[-1.0; 3], &[1.0; 3]).unwrap(), Structure::Full);
    assert!(diagonal.mode == Mode::BlockLmi(Structure::Diagonal) && diagonal.certificate.alpha <= found.certificate.alpha + 1e-3);
}

#[test]
fn forgeries_are_rejected() {
    let changes: Vec<(&str, fn(&mut Certificate))> = vec![
        ("a greater margin", |c| c.alpha *= 1.05),
        ("a lesser Lipschitz constant", |c| c.beta *= 0.95),
        ("another weight", |c| c.weights[1] *= 100.0),
        ("a longer step", |c| c.steps[0].h *= 3.0),
        ("a smaller factor", |c| c.steps[0].factor = Some(0.1)),
        ("a metric that is not definite", |c| whole(c).blocks[0][(0, 0)] = -1.0),
        ("a metric that is not symmetric", |c| whole(c).blocks[0][(0, 1)] += 0.1),
        ("a metric that is none", |c| whole(c).blocks[0][(0, 0)] = f64::NAN),
        ("a metric of another size", |c| whole(c).blocks[0] = DMatrix::identity(1, 1)),
        ("a metric less", |c| drop(whole(c).blocks.pop())),
        ("a cut less", |c| whole(c).margin = whole(c).margin.split_off(1)),
        ("a cut outside", |c| whole(c).margin.insert(0, Branch::Split { axis: 0, at: 7.0 })),
        ("no tree", |c| whole(c).lipschitz.clear()),
        ("a larger region", |c| c.region.as_mut().unwrap()[0] = Interval::new(-9.0, 9.0).unwrap()),
        ("a larger ball", |c| c.ball.as_mut().unwrap().invariant_radius = Some(2.0)),
        ("a smaller equilibrium", |c| c.ball.as_mut().unwrap().residual = 0.0),
        ("no proof", |c| c.whole = None),
        ("a symmetric step", |c| c.steps[0].basis = Basis::Symmetric),
        ("a projection that is none in the metric", |c| {
            c.constrained = true;
            (whole(c).blocks[0][(0, 1)], whole(c).blocks[0][(1, 0)]) = (0.01, 0.01);
        }),
    ];
    let game = Game::from_losses(&[2, 2], |x| {
        let push = 4.0 * x[0] * x[2] + 2.0 * x[1] * x[3] + 0.3 * (x[0] * x[3]).sin();
        let own = |a: usize, b: usize| 0.5 * x[a].square() + x[b].square() + 0.2 * x[a] * x[b] + 0.01 * x[a];
        vec![own(0, 1) + push, own(2, 3) - push]
    });
    let game = game.unwrap();
    let certificate = certified(&game, &cube(1.0, 4), Structure::Full).certificate;
    for (what, change) in &changes {
        let mut forged = certificate.clone();
        change(&mut forged);
        assert!(check(&forged, Some(&game)).is_err() && check(&forged, None).is_err(), "{what}");
    }
}

fn whole(certificate: &mut Certificate) -> &mut Whole {
    certificate.whole.as_mut().unwrap()
}

#[test]
fn other_games_and_metrics_that_are_none_do_not_panic() {
    let mut certificate = certified(&zero_sum(), &cube(1.0, 2), Structure::Full).certificate;
    assert!(matches!(check(&certificate, Some(&pairs())), Err(CertificateError::Hash(_))));
    whole(&mut certificate).blocks[0] = DMatrix::zeros(3, 2);
    assert!(matches!(check(&certificate, Some(&zero_sum())), Err(CertificateError::Format(_))));
    assert!(matches!(Monitor::new(&certificate, Rule::Euler, 1e-3), Err(Violation::Argument(SmallGainError::InvalidBound { .. }))));
}

#[test]
fn games_without_a_metric_are_refused() {
    let saddle = affine(&[1, 1], &[1.0, 2.0, 2.0, 1.0]);
    let refused =
        |game: &Game, weights: Option<Vec<f64>>| match (Certifier { weights, ..certifier(Structure::Full) }).certify(game, &cube(1.0, 2)) {
            Ok(Verdict::Refused(refused)) => refused.reasons,
            other => panic!("{other:?}"),
        };
    assert!(matches!(&refused(&saddle, None)[..], [Refusal::Unstable { players, .. }] if players == &[0, 1]));
    let flat = affine(&[1, 1], &[1.0, 5.0, -5.0, -0.5]);
    assert!(matches!(&refused(&flat, None)[..], [Refusal::Unstable { players, .. }] if players == &[1]));
    // Given weights are kept.
    let toy = affine(&[1, 1], &[1.0, 10.0, 0.05, 1.0]);
    assert!(matches!(&refused(&toy, Some(vec![1.0, 1.0]))[..], [Refusal::NonPositiveMargin { margin, .. }] if *margin < -4.0));
    let given = Certifier { weights: Some(vec![1.0, 200.0]), ..certifier(Structure::Full) }.certify(&toy, &cube(1.0, 2)).unwrap();
    assert!(matches!(given, Verdict::Certified(found) if (found.certificate.alpha - 0.292_893_2).abs() < 1e-6));
}

#[test]
fn poles_end_as_inconclusive_or_not_finite() {
    let pole = Game::from_field(&[1, 1], |x| vec![x[0] + 0.01 / (x[1] - 0.3), x[1] - 0.1 * x[0]]).unwrap();
    let found = certifier(Structure::Full).certify(&pole, &cube(1.0, 2));
    assert!(matches!(found, Ok(Verdict::Inconclusive(_) | Verdict::Refused(_)) | Err(SmallGainError::NonFinite { .. })), "{found:?}");
    let free = Game::from_field(&[1, 1], |x| vec![x[0].exp(), x[1]]).unwrap();
    assert!(matches!(certifier(Structure::Full).certify(&free, &Region::Free), Err(SmallGainError::InvalidRegion { .. })));
}

#[test]
fn determinants() {
    let point = |rows: &[f64]| DMatrix::from_row_slice(3, 3, rows).map(Interval::point);
    let found = determinant(point(&[0.0, 2.0, 1.0, 1.0, 0.0, 0.0, 3.0, 0.0, 2.0]));
    assert!(found.contains(-4.0) && found.radius() < 1e-12);
    assert_eq!(determinant(point(&[1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0])), Interval::point(0.0));
}
