use super::*;
use crate::scalar::Real;
use crate::small_gain::{CertificateError, Tolerance, Verified, check, timescale_band};

fn affine(dimensions: &[usize], jacobian: &[f64], offset: &[f64]) -> Game {
    Game::affine(dimensions, DMatrix::from_row_slice(offset.len(), offset.len(), jacobian), offset.to_vec()).unwrap()
}

fn toy() -> Game {
    affine(&[1, 1], &[1.0, 10.0, 0.05, 1.0], &[0.0; 2])
}

fn waves() -> Game {
    Game::from_field(&[1, 1], |x| vec![x[0] + x[0].powi(3) / 2.0 + 2.0 * x[1].sin(), x[1] + 0.3 * x[1].powi(3) + 0.2 * x[0].cos()]).unwrap()
}

fn cube(side: f64, count: usize) -> Region {
    Region::local(&vec![-side; count], &vec![side; count]).unwrap()
}

fn verdict(game: &Game, region: &Region) -> Verdict {
    Certifier::default().certify(game, region).unwrap()
}

fn certified(game: &Game, region: &Region) -> Certified {
    match verdict(game, region) {
        Verdict::Certified(found) => *found,
        other => panic!("{other:?}"),
    }
}

fn refused(game: &Game, region: &Region) -> Refusal {
    match verdict(game, region) {
        Verdict::Refused(found) => found.reasons[0].clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_toy_game() {
    let (alpha, beta) = (1.0 - 0.5f64.sqrt(), 1.0 + 0.5f64.sqrt());
    for region in [Region::Free, cube(1.0, 2)] {
        let found = certified(&toy(), &region);
        let certificate = &found.certificate;
        assert!(certificate.alpha <= alpha && alpha - certificate.alpha < 1e-13);
        assert!(certificate.beta >= beta && certificate.beta - beta < 1e-13);
        assert!((certificate.weights[1] - 200.0).abs() < 1e-9 && found.attained && found.boxes == 1 && !certificate.conditional);
        assert!((found.rates().euler_limit() - 0.201_010_13).abs() < 1e-8 && (found.rates().rk4_limit() - 0.076_583_42).abs() < 1e-8);
        assert_eq!(certificate.equilibrium.as_ref().unwrap().centre, [0.0, 0.0]);
        assert_eq!(
            certificate.steps.iter().map(|step| step.rigor).collect::<Vec<_>>(),
            [Rigor::Rigorous, Rigor::Rigorous, Rigor::AsymptoticLinear]
        );
        let band = timescale_band(&found.bounds, 0.0).unwrap().unwrap();
        assert!((band.low - 34.314_575_05).abs() < 1e-7 && (band.high - 1_165.685_424_95).abs() < 1e-6);
    }
}

#[test]
fn an_enclosure_of_the_equilibrium() {
    // Around a centre a little away from it: |F(c)| = 0.01224744… with w = (1, 200).
    let (game, weights) = (toy(), [1.0, 200.0]);
    let centre = [0.01, 0.0].map(Interval::point);
    let residual = BlockMetric::new(&[1, 1], &weights, &[]).norm(&game.field_box(&centre));
    assert!((residual - 0.012_247_448_7).abs() < 1e-9);
    let alpha = certified(&game, &cube(1.0, 2)).certificate.alpha;
    assert!((residual / alpha - 0.041_815_405_5).abs() < 1e-9);
    // Moved so that the equilibrium is not the middle, and then out of the region.
    let moved = |at: f64| affine(&[1, 1], &[1.0, 10.0, 0.05, 1.0], &[-at, -0.05 * at]);
    let inside = certified(&moved(0.5), &cube(1.0, 2)).certificate;
    let equilibrium = inside.equilibrium.unwrap();
    assert!((equilibrium.centre[0] - 0.5).abs() < 1e-12 && equilibrium.radius < 1e-14 && !inside.conditional);
    let radius = inside.ball.unwrap().invariant_radius.unwrap();
    assert!(radius < 0.5 && radius > 0.4);
    let outside = certified(&moved(1.5), &cube(1.0, 2)).certificate;
    assert!(outside.equilibrium.is_none() && outside.conditional);
    let confined = certified(&moved(1.5), &Region::constrained(&[-1.0; 2], &[1.0; 2]).unwrap()).certificate;
    assert!(
        !confined.conditional && confined.steps.iter().all(|step| step.rule == Rule::Euler) && check(&confined, Some(&moved(1.5))).is_ok()
    );
}

#[test]
fn a_nonlinear_game_uniformly_and_box_by_box() {
    let uniform = certified(&waves(), &cube(1.0, 2));
    assert!((uniform.certificate.alpha - 0.419_837_614).abs() < 2e-6 && uniform.complete && uniform.mode == Mode::Uniform);
    let search = Search { tolerance: Tolerance::Relative(1e-3), most_boxes: 5_000 };
    let certifier = Certifier { mode: Mode::PerBox, search, ..Certifier::default() };
    let Verdict::Certified(found) = certifier.certify(&waves(), &cube(1.0, 2)).unwrap() else { panic!() };
    // In each box its own curvature and coupling.
    assert!(found.certificate.alpha > 0.7 && found.mode == Mode::PerBox && found.certificate.leaves.len() > 1);
    assert_eq!(check(&found.certificate, Some(&waves())), Ok(Verified::Verified));
    let true_margin = |x: f64, y: f64| {
        let jacobian = waves().jacobian(&[x, y]);
        let scaled = DMatrix::from_fn(2, 2, |i, j| (found.certificate.weights[i] / found.certificate.weights[j]).sqrt() * jacobian[(i, j)]);
        nalgebra::SymmetricEigen::new(0.5 * (&scaled + scaled.transpose())).eigenvalues.min()
    };
    for k in 0..=20 {
        for l in 0..=20 {
            assert!(true_margin(f64::from(k) / 10.0 - 1.0, f64::from(l) / 10.0 - 1.0) >= found.certificate.alpha - 1e-12);
        }
    }
}

#[test]
fn uniform_bounds_that_fail_are_tried_box_by_box() {
    // Curvature and coupling come from one convex function of x + y, whose second derivative varies: they are large together.
    let together = Game::from_field(&[1, 1], |x| {
        let both = x[0] + x[1];
        let apart = x[0] - x[1];
        let phi = 0.95 * (both + both.powi(3) / 3.0);
        vec![phi + 0.5 * apart, phi - 0.5 * apart]
    });
    let together = together.unwrap();
    let found = certified(&together, &cube(0.6, 2));
    assert_eq!(found.mode, Mode::PerBox);
    assert_eq!(check(&found.certificate, Some(&together)), Ok(Verified::Verified));
}

#[test]
fn weights_for_other_ends() {
    // The metric that is as round as it may be with a margin of 0.1, and the longest step.
    let certify = |objective| match (Certifier { objective, ..Certifier::default() }).certify(&toy(), &cube(1.0, 2)).unwrap() {
        Verdict::Certified(found) => *found,
        other => panic!("{other:?}"),
    };
    let round = certify(Objective::MinConditionNumber { least_margin: 0.1 });
    assert!((round.certificate.weights[1] - 47.120_965_88).abs() < 1e-5 && round.certificate.alpha > 0.1 - 1e-9);
    let [best, longest] = [Objective::MaxMargin, Objective::MaxEulerStep].map(|objective| certify(objective).rates().euler_limit());
    assert!(longest >= best - 1e-12);
    let none = Certifier { objective: Objective::MaxRk4Step { least_margin: 5.0 }, ..Certifier::default() };
    assert!(matches!(none.certify(&toy(), &cube(1.0, 2)), Ok(Verdict::Certified(_))));
}

#[test]
fn bounds_of_many_players_are_proven_one_by_one() {
    // Each curvature needs some boxes along its own variable, and together they would need the sixth power of as many.
    let game = Game::from_field(&[1; 6], |x| {
        (0..6).map(|i| 20.0 * x[i].powi(5) - 50.0 / 3.0 * x[i].powi(3) + 7.25 * x[i] + 0.3 * x[(i + 1) % 6]).collect()
    });
    let game = game.unwrap();
    let found = certified(&game, &cube(1.0, 6));
    // The least curvature is 100x⁴ - 50x² + 7.25 at x² = ¼.
    assert!(found.complete && found.certificate.covers.len() == 42 && found.boxes < 5_000, "{}", found.boxes);
    assert!(found.certificate.alpha <= 0.7 && found.certificate.alpha > 0.7 - 2e-6 && !found.certificate.conditional);
    assert_eq!(check(&found.certificate, Some(&game)), Ok(Verified::Verified));
    assert_eq!(check(&found.certificate, None), Ok(Verified::VerifiedGivenBounds));
    // With players of several variables, whose bounds are moved until the checker agrees.
    let pairs = Game::from_field(&[2; 3], |x| {
        (0..6).map(|i| 20.0 * x[i].powi(5) - 50.0 / 3.0 * x[i].powi(3) + 7.25 * x[i] + 0.2 * (x[(i + 2) % 6] * x[i ^ 1]).sin()).collect()
    });
    let pairs = pairs.unwrap();
    let search = Search { tolerance: Tolerance::Relative(1e-2), most_boxes: 4_000 };
    let Verdict::Certified(found) = (Certifier { search, ..Certifier::default() }).certify(&pairs, &cube(0.9, 6)).unwrap() else {
        panic!()
    };
    assert!(!found.certificate.covers.is_empty());
    assert_eq!(check(&found.certificate, Some(&pairs)), Ok(Verified::Verified));
}

#[test]
fn refusals_name_the_place_and_the_reason() {
    // The sign of a coupling is not seen.
    let rotation = affine(&[1, 1], &[1.0, 5.0, -5.0, 1.0], &[0.0; 2]);
    let reason = refused(&rotation, &Region::Free);
    let Refusal::SmallGainViolated { rho, worst_cycle, gain, .. } = &reason else { panic!("{reason:?}") };
    assert!((rho - 5.0).abs() < 1e-12 && *worst_cycle == [0, 1] && (gain - 25.0).abs() < 1e-9);
    assert!(reason.to_string().contains("players 0 -> 1 -> 0 have loop gain 25"));
    let concave = Game::from_losses(&[1, 1], |x| vec![x[0].square() - x[1] * x[0], x[1].square() - 0.2 * x[1].powi(4)]).unwrap();
    let reason = refused(&concave, &cube(2.0, 2));
    let Refusal::NonPositiveCurvature { player: 1, mu, point } = &reason else { panic!("{reason:?}") };
    assert!(*mu <= 0.0 && (concave.jacobian(point)[(1, 1)] - mu).abs() < 1e-9);
    // p = L₁₂ L₂₁ exactly, and with roots.
    for (mu, coupling) in [([3.0, 3.0], [9.0, 1.0]), ([2.0, 3.0], [2.0, 3.0]), ([1.0, 1.0], [1.0, 1.0]), ([0.7, 1.3], [0.91, 1.0])] {
        let edge = affine(&[1, 1], &[mu[0], coupling[0], coupling[1], mu[1]], &[0.0; 2]);
        let reason = refused(&edge, &Region::Free);
        assert!(matches!(reason, Refusal::SmallGainViolated { .. } | Refusal::NonPositiveMargin { .. }), "{reason:?}");
    }
    let mut certifier = Certifier { weights: Some(vec![1.0, 1.0]), ..Certifier::default() };
    let Verdict::Refused(found) = certifier.certify(&toy(), &cube(1.0, 2)).unwrap() else { panic!() };
    assert!(matches!(found.reasons[0], Refusal::NonPositiveMargin { margin, .. } if (margin + 4.025).abs() < 1e-9));
    assert!(found.bounds.is_some());
    certifier.weights = Some(vec![1.0, 100.0]);
    let Verdict::Certified(found) = certifier.certify(&toy(), &cube(1.0, 2)).unwrap() else { panic!() };
    assert_eq!(found.certificate.weights, [1.0, 100.0]);
}

#[test]
fn a_needle_is_refused() {
    let needle = Game::from_field(&[1, 1], |x| {
        let bump = (-((x[0] - 0.3141) * 200.0).square()).exp();
        vec![x[0] + x[1] * (0.5 + 5.0 * bump), x[1] + x[0] * 0.3]
    });
    let certifier = Certifier { search: Search { most_boxes: 10_000, ..Search::default() }, ..Certifier::default() };
    let Verdict::Refused(found) = certifier.certify(&needle.unwrap(), &cube(1.0, 2)).unwrap() else { panic!() };
    assert!(found.boxes < 10_000);
    // 1 - 1000 √2 exp(-½) is -856.76…, and each point's own value is reported.
    let Refusal::NonPositiveCurvature { player: 0, mu, .. } = &found.reasons[0] else { panic!("{:?}", found.reasons) };
    assert!(*mu < -850.0 && *mu >= -856.77, "{mu}");
}

#[test]
fn poles_edges_and_overflows_are_never_certified() {
    let games: [(&str, Game); 6] = [
        ("a pole inside", Game::from_field(&[1, 1], |x| vec![3.0 * x[0] + 1.0 / (x[0] - 0.123), x[1]]).unwrap()),
        ("a pole at a corner", Game::from_field(&[1, 1], |x| vec![3.0 * x[0] + 1.0 / (x[0] - 1.0), x[1]]).unwrap()),
        ("a logarithm's edge", Game::from_losses(&[1, 1], |x| vec![x[0].square() - (x[0] + 1.0).ln(), x[1].square()]).unwrap()),
        ("a root that reaches 0", Game::from_losses(&[1, 1], |x| vec![x[0].square() - (x[0] + 1.0).sqrt(), x[1].square()]).unwrap()),
        ("an overflow", Game::from_losses(&[1, 1], |x| vec![(1e3 * x[0]).exp() + x[0].square(), x[1].square()]).unwrap()),
        ("a root inside", Game::from_losses(&[1, 1], |x| vec![x[0].square() - (x[0].square() - 0.01).sqrt(), x[1].square()]).unwrap()),
    ];
    let certifier = Certifier { search: Search { most_boxes: 2_000, ..Search::default() }, ..Certifier::default() };
    for (what, game) in games {
        let found = certifier.certify(&game, &cube(1.0, 2));
        assert!(!matches!(found, Ok(Verdict::Certified(_))), "{what}: {found:?}");
    }
}

#[test]
fn a_small_budget_is_inconclusive() {
    let certifier = Certifier { search: Search { most_boxes: 2, ..Search::default() }, ..Certifier::default() };
    // A curvature of (x² - 1)² + 0.2, whose terms cancel.
    let wild = Game::from_field(&[1, 1], |x| vec![x[0].powi(5) / 5.0 - x[0].powi(3) / 1.5 + 1.2 * x[0], x[1]]).unwrap();
    let Verdict::Inconclusive(found) = certifier.certify(&wild, &cube(2.0, 2)).unwrap() else { panic!() };
    assert!(found.alpha_lower <= 0.0 && found.alpha_upper > 0.0 && found.worst_box.len() == 2 && found.boxes <= 2);
    let certifier = Certifier { search: Search { most_boxes: 0, ..Search::default() }, ..Certifier::default() };
    assert!(certifier.certify(&wild, &cube(2.0, 2)).is_ok());
}

#[test]
fn bad_regions_and_weights_are_named() {
    let region = |lo: &[f64], hi: &[f64]| Region::local(lo, hi);
    assert!(matches!(region(&[0.0], &[1.0, 1.0]), Err(SmallGainError::Dimension { .. })));
    for (lo, hi) in [(1.0, -1.0), (0.0, 0.0), (0.0, f64::INFINITY), (f64::NAN, 1.0), (f64::NEG_INFINITY, 0.0)] {
        assert!(matches!(region(&[0.0, lo], &[1.0, hi]), Err(SmallGainError::InvalidRegion { variable: 1, .. })));
    }
    let certify = |certifier: Certifier, region: &Region| certifier.certify(&waves(), region);
    assert!(matches!(certify(Certifier::default(), &Region::Free), Err(SmallGainError::InvalidRegion { .. })));
    assert!(matches!(certify(Certifier::default(), &cube(1.0, 3)), Err(SmallGainError::Dimension { expected: 2, got: 3, .. })));
    let entire = Region::Local(vec![Interval::ENTIRE; 2]);
    assert!(matches!(certify(Certifier::default(), &entire), Err(SmallGainError::InvalidRegion { variable: 0, .. })));
    for weights in [vec![1.0, 0.0], vec![1.0, -1.0], vec![f64::NAN, 1.0], vec![1.0, f64::INFINITY]] {
        let found = certify(Certifier { weights: Some(weights), ..Certifier::default() }, &cube(1.0, 2));
        assert!(matches!(found, Err(SmallGainError::InvalidWeight { .. })));
    }
    let found = certify(Certifier { weights: Some(vec![1.0]), ..Certifier::default() }, &cube(1.0, 2));
    assert!(matches!(found, Err(SmallGainError::Dimension { expected: 2, got: 1, .. })));
    let cancel = Cancel::new();
    cancel.cancel();
    assert_eq!(Certifier::default().certify_watched(&waves(), &cube(1.0, 2), &cancel, &mut Silent), Err(SmallGainError::Cancelled));
}

#[test]
fn reducible_games_and_players_with_several_variables() {
    // Player 2 listens to nobody, and 0 and 1 to each other and to 2.
    let chain = affine(&[1, 1, 1], &[1.0, 0.5, 30.0, 0.5, 1.0, 0.0, 0.0, 0.0, 2.0], &[0.0; 3]);
    let found = certified(&chain, &Region::Free);
    assert!(!found.attained && found.certificate.alpha >= 0.5 * (1.0 - 1.1e-3) && found.certificate.alpha < 0.5);
    assert_eq!(check(&found.certificate, Some(&chain)), Ok(Verified::Verified));
    // Orthogonal couplings of 8 variables each: as two numbers.
    let mut jacobian = DMatrix::identity(16, 16);
    for k in 0..8 {
        let (row, column) = (k, 8 + (3 * k + 1) % 8);
        (jacobian[(row, column)], jacobian[(column, row)]) = (10.0, 0.05);
    }
    let quadratic = Game::affine(&[8, 8], jacobian, vec![0.1; 16]).unwrap();
    let found = certified(&quadratic, &Region::Free);
    assert!((found.certificate.alpha - (1.0 - 0.5f64.sqrt())).abs() < 1e-9);
    assert_eq!(check(&found.certificate, Some(&quadratic)), Ok(Verified::Verified));
}

#[cfg(feature = "rayon")]
#[test]
fn threads_do_not_change_certificates() {
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let certifier = Certifier {
        mode: Mode::PerBox,
        search: Search { tolerance: Tolerance::Relative(1e-3), most_boxes: 3_000 },
        ..Certifier::default()
    };
    let [one, four] = [1, 4].map(|threads| pool(threads).install(|| certifier.certify(&waves(), &cube(1.0, 2)).unwrap()));
    assert_eq!(one, four);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// Certificates of random games are accepted by the checker, and certified steps of gradient play contract.
        #[test]
        fn certified_steps_contract(
            c in prop::array::uniform8(-0.6..0.6f64),
            x in prop::array::uniform3(-0.5..0.5f64),
            y in prop::array::uniform3(-0.5..0.5f64),
        ) {
            let game = Game::from_field(&[2, 1], |x| vec![
                2.0 * x[0] + c[0] * (x[0] * x[2]).sin() + c[1] * x[1].tanh(),
                2.0 * x[1] + c[1] * x[0] + c[2] * x[2].softplus() + c[3] * x[2].square(),
                x[2] + x[2].powi(3) + c[4] * (x[0] - x[1]).sigmoid() + c[5] * x[0].cos() + c[6] + c[7] * x[1],
            ]).unwrap();
            let search = Search { tolerance: Tolerance::Relative(1e-2), most_boxes: 500 };
            if let Verdict::Certified(found) = (Certifier { search, ..Certifier::default() }).certify(&game, &cube(0.5, 3)).unwrap() {
                let certificate = &found.certificate;
                prop_assert_eq!(check(certificate, Some(&game)), Ok::<_, CertificateError>(Verified::Verified));
                let apart = |a: &[f64], b: &[f64]| (0..3).map(|k| certificate.weights[k / 2] * (a[k] - b[k]).powi(2)).sum::<f64>().sqrt();
                for step in certificate.steps.iter().filter(|step| step.rule == Rule::Euler) {
                    let moved = |x: &[f64]| { let f = game.field(x); (0..3).map(|k| x[k] - step.h * f[k]).collect::<Vec<f64>>() };
                    prop_assert!(apart(&moved(&x), &moved(&y)) <= step.factor.unwrap() * apart(&x, &y) * (1.0 + 1e-12) + 1e-15);
                }
            }
        }
    }
}
