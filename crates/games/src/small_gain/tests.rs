use nalgebra::{DMatrix, DVector, SymmetricEigen};
use proptest::prelude::*;

use super::*;

fn bounds(mu: &[f64], coupling: DMatrix<f64>) -> BlockBounds {
    BlockBounds::new(mu.to_vec(), coupling, mu.iter().map(|mu| mu.abs()).collect()).unwrap()
}

#[test]
fn the_toy_game() {
    let toy = bounds(&[1.0, 1.0], DMatrix::from_row_slice(2, 2, &[0.0, 10.0, 0.05, 0.0]));
    let best = optimal_weights(&toy);
    assert!((best.weights[1] - 200.0).abs() < 1e-10 && best.attained);
    assert!((best.margin - (1.0 - 0.5f64.sqrt())).abs() < 1e-12 && (best.margin - best.supremum).abs() < 1e-12);
    assert!((toy.lipschitz(&best.weights).unwrap() - 1.707_106_78).abs() < 1e-8);
    assert!((toy.margin(&[1.0, 1.0]).unwrap() + 4.025).abs() < 1e-12);
    let band = |margin| timescale_band(&toy, margin).unwrap().unwrap();
    assert!((band(0.0).low - 34.314_575_05).abs() < 1e-8 && (band(0.0).high - 1_165.685_424_95).abs() < 1e-8);
    assert!((band(0.1).low - 47.120_965_88).abs() < 1e-8 && (band(0.1).high - 848.879_034_12).abs() < 1e-8);
    assert_eq!(timescale_band(&toy, 0.3).unwrap(), None);
}

#[test]
fn worked_examples() {
    let three = bounds(&[2.0, 1.5, 3.0], DMatrix::from_row_slice(3, 3, &[0.0, 0.5, 0.2, 0.3, 0.0, 0.4, 1.0, 0.1, 0.0]));
    let best = optimal_weights(&three);
    assert!((best.supremum - 1.132_968_130_951_946_8).abs() < 1e-14);
    assert!((best.weights[1] - 0.993_132_42).abs() < 1e-8 && (best.weights[2] - 0.688_625_76).abs() < 1e-8);
    assert!((three.margin(&[1.0; 3]).unwrap() - 1.127_665_417_877_406_8).abs() < 1e-13);
    let two = bounds(&[1.0, 4.0], DMatrix::from_row_slice(2, 2, &[0.0, 2.0, 0.5, 0.0]));
    let best = optimal_weights(&two);
    assert!((best.weights[1] - 4.0).abs() < 1e-12 && (best.supremum - 0.697_224_362_268_005_2).abs() < 1e-14);
    let band = timescale_band(&two, 0.0).unwrap().unwrap();
    assert!((band.low - 0.287_187_078_897_964_9).abs() < 1e-14 && (band.high - 55.712_812_921_102_035).abs() < 1e-11);
}

#[test]
fn bands_with_an_idle_coupling() {
    let band = |coupling| timescale_band(&bounds(&[2.0, 3.0], coupling), 0.0).unwrap().unwrap();
    assert_eq!(band(DMatrix::from_row_slice(2, 2, &[0.0, 6.0, 0.0, 0.0])), Band { low: 1.5, high: f64::INFINITY });
    assert_eq!(band(DMatrix::from_row_slice(2, 2, &[0.0, 0.0, 2.0, 0.0])), Band { low: 0.0, high: 6.0 });
    assert_eq!(band(DMatrix::zeros(2, 2)), Band { low: 0.0, high: f64::INFINITY });
    // The gain equals the product of the curvatures: one ratio.
    let edge = timescale_band(&bounds(&[1.0, 4.0], DMatrix::from_row_slice(2, 2, &[0.0, 2.0, 2.0, 0.0])), 0.0).unwrap().unwrap();
    assert!((edge.low - 1.0).abs() < 1e-12 && (edge.high - 1.0).abs() < 1e-12);
    assert!(matches!(timescale_band(&bounds(&[1.0; 3], DMatrix::zeros(3, 3)), 0.0), Err(SmallGainError::Dimension { got: 3, .. })));
}

#[test]
fn players_that_nobody_influences() {
    // 0 pushes 1 hard, and 1 pushes nobody: any margin below the least curvature is reached, the least curvature itself is not.
    let chain = bounds(&[1.0, 1.0], DMatrix::from_row_slice(2, 2, &[0.0, 0.0, 100.0, 0.0]));
    let best = optimal_weights(&chain);
    assert!(!best.attained && best.supremum == 1.0 && best.margin >= 0.999 && best.margin < 1.0);
    assert!(best.weights[1] < 1e-6);
    // However long the chain.
    let long = bounds(&[1.0; 40], DMatrix::from_fn(40, 40, |i, j| if i == j + 1 { 2.0 } else { 0.0 }));
    assert!(optimal_weights(&long).margin >= 0.999);
    // 1 is not the slowest: its neighbour's margin is reached.
    let slow = bounds(&[5.0, 3.0, 1.0], DMatrix::from_row_slice(3, 3, &[0.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0]));
    let best = optimal_weights(&slow);
    assert!(best.attained && best.supremum == 1.0 && (best.margin - 1.0).abs() < 1e-12);
    // Without any coupling the least curvature is the margin of all weights.
    let apart = optimal_weights(&bounds(&[2.0, 7.0], DMatrix::zeros(2, 2)));
    assert!(apart.attained && apart.margin == 2.0 && apart.weights == [1.0, 1.0]);
}

#[test]
fn bad_bounds_and_weights_are_named() {
    let new = |mu: &[f64], coupling, own: &[f64]| BlockBounds::new(mu.to_vec(), coupling, own.to_vec());
    assert!(matches!(new(&[1.0], DMatrix::zeros(1, 1), &[1.0]), Err(SmallGainError::Dimension { expected: 2, got: 1, .. })));
    assert!(matches!(new(&[1.0; 2], DMatrix::zeros(2, 3), &[1.0; 2]), Err(SmallGainError::Dimension { expected: 2, got: 3, .. })));
    assert!(matches!(new(&[1.0; 2], DMatrix::zeros(2, 2), &[1.0]), Err(SmallGainError::Dimension { got: 1, .. })));
    for (mu, coupling, own) in [
        ([f64::NAN, 1.0], DMatrix::zeros(2, 2), [1.0, 1.0]),
        ([1.0, 1.0], DMatrix::from_row_slice(2, 2, &[0.0, -1.0, 0.0, 0.0]), [1.0, 1.0]),
        ([1.0, 1.0], DMatrix::from_row_slice(2, 2, &[0.0, f64::NAN, 0.0, 0.0]), [1.0, 1.0]),
        ([1.0, 1.0], DMatrix::from_row_slice(2, 2, &[0.5, 0.0, 0.0, 0.0]), [1.0, 1.0]),
        ([1.0, 1.0], DMatrix::from_row_slice(2, 2, &[0.0, f64::INFINITY, 0.0, 0.0]), [1.0, 1.0]),
        ([1.0, 2.0], DMatrix::zeros(2, 2), [1.0, 1.0]),
        ([1.0, -2.0], DMatrix::zeros(2, 2), [1.0, 1.0]),
    ] {
        assert!(matches!(new(&mu, coupling, &own), Err(SmallGainError::InvalidBound { .. })));
    }
    let good = bounds(&[1.0, 1.0], DMatrix::zeros(2, 2));
    for value in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(good.margin(&[1.0, value]), Err(SmallGainError::InvalidWeight { player: 1, .. })));
    }
    assert_eq!(good.lipschitz(&[1.0]).unwrap_err().to_string(), "weights: expected 2, got 1");
}

/// Bounds of two to six players.
fn random_bounds() -> impl Strategy<Value = BlockBounds> {
    (2usize..=6).prop_flat_map(|n| {
        let coupling = prop::collection::vec(prop_oneof![3 => 0.01..2.0, 1 => Just(0.0)], n * n);
        (prop::collection::vec(-1.0..5.0, n), coupling).prop_map(move |(mu, coupling)| {
            let mut coupling = DMatrix::from_vec(n, n, coupling);
            coupling.fill_diagonal(0.0);
            bounds(&mu, coupling)
        })
    })
}

fn random_weights() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec((-6.0..6.0).prop_map(f64::exp), 6)
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_weights_are_better(bounds in random_bounds(), weights in prop::collection::vec(random_weights(), 20)) {
            let best = optimal_weights(&bounds);
            prop_assert!(best.margin <= best.supremum + 1e-12 && best.margin >= best.supremum - 1.001e-3 * best.supremum.abs() - 1e-12, "{best:?}");
            if best.attained && bounds.coupling().iter().filter(|l| **l > 0.0).count() == bounds.players() * (bounds.players() - 1) {
                prop_assert!((best.margin - best.supremum).abs() < 1e-11);
            }
            for weights in weights {
                prop_assert!(bounds.margin(&weights[..bounds.players()]).unwrap() <= best.supremum + 1e-11);
            }
        }

        #[test]
        fn margins_do_not_depend_on_the_scale_and_grow_with_curvature(bounds in random_bounds(), weights in random_weights(), scale in 0.01..100.0) {
            let weights = &weights[..bounds.players()];
            let margin = bounds.margin(weights).unwrap();
            let scaled: Vec<f64> = weights.iter().map(|w| w * scale).collect();
            prop_assert!((bounds.margin(&scaled).unwrap() - margin).abs() < 1e-11 * (1.0 + margin.abs()));
            let mut more = bounds.clone();
            more.curvature[0] += 0.5;
            more.own_lipschitz[0] += 0.5;
            prop_assert!(more.margin(weights).unwrap() >= margin - 1e-12 && optimal_weights(&more).supremum >= optimal_weights(&bounds).supremum - 1e-12);
            let mut stronger = bounds.clone();
            stronger.coupling[(0, 1)] += 0.5;
            prop_assert!(stronger.margin(weights).unwrap() <= margin + 1e-11 && optimal_weights(&stronger).supremum <= optimal_weights(&bounds).supremum + 1e-11);
        }

        #[test]
        fn the_order_of_players_does_not_matter(bounds in random_bounds(), turn in 1usize..6) {
            let n = bounds.players();
            let place = |i: usize| (i + turn) % n;
            let own = (0..n).map(|i| bounds.own_lipschitz()[place(i)]).collect();
            let coupling = DMatrix::from_fn(n, n, |i, j| bounds.coupling()[(place(i), place(j))]);
            let turned = BlockBounds::new((0..n).map(|i| bounds.curvature()[place(i)]).collect(), coupling, own).unwrap();
            let [before, after] = [&bounds, &turned].map(optimal_weights);
            prop_assert!((before.supremum - after.supremum).abs() < 1e-11 * (1.0 + before.supremum.abs()));
            prop_assert_eq!(before.attained, after.attained);
            let weights: Vec<f64> = (0..n).map(|i| before.weights[place(i)]).collect();
            prop_assert!((turned.margin(&weights).unwrap() - before.margin).abs() < 1e-10 * (1.0 + before.margin.abs()));
        }

        /// The margin is below that of any Jacobian with these bounds, here with blocks of one dimension.
        #[test]
        fn margins_hold_for_jacobians_within_the_bounds(bounds in random_bounds(), weights in random_weights(), share in prop::collection::vec(-1.0..=1.0, 36), more in prop::collection::vec(0.0..3.0, 6)) {
            let n = bounds.players();
            let weights = &weights[..n];
            let jacobian = DMatrix::from_fn(n, n, |i, j| if i == j { bounds.curvature()[i] + more[i] } else { share[i * 6 + j] * bounds.coupling()[(i, j)] });
            let metric = DMatrix::from_diagonal(&DVector::from_column_slice(weights));
            let root = metric.map(|w| if w > 0.0 { 1.0 / w.sqrt() } else { 0.0 });
            let symmetric = 0.5 * &root * (&metric * &jacobian + jacobian.transpose() * &metric) * &root;
            let truth = SymmetricEigen::new(symmetric).eigenvalues.min();
            prop_assert!(bounds.margin(weights).unwrap() <= truth + 1e-10 * (1.0 + truth.abs()));
        }

        /// The same with blocks of two and three variables: any matrices, and the bounds that they reach.
        #[test]
        fn margins_hold_for_blocks_of_several_variables(entries in prop::collection::vec(-1.0..1.0f64, 49), weights in random_weights()) {
            let (sizes, weights) = ([2usize, 3, 2], &weights[..3]);
            let start = |i: usize| sizes[..i].iter().sum::<usize>();
            let jacobian = DMatrix::from_row_slice(7, 7, &entries) + DMatrix::identity(7, 7) * 2.0;
            let block = |i: usize, j: usize| jacobian.view((start(i), start(j)), (sizes[i], sizes[j])).into_owned();
            let least = |m: &DMatrix<f64>| SymmetricEigen::new(0.5 * (m + m.transpose())).eigenvalues.min();
            let norm = |i: usize, j: usize| block(i, j).singular_values().max();
            let coupling = DMatrix::from_fn(3, 3, |i, j| if i == j { 0.0 } else { norm(i, j) });
            let mu: Vec<f64> = (0..3).map(|i| least(&block(i, i))).collect();
            let bounds = BlockBounds::new(mu, coupling, (0..3).map(|i| norm(i, i)).collect()).unwrap();
            let root = |k: usize| weights[(0..3).rfind(|&i| start(i) <= k).unwrap_or(0)].sqrt();
            let truth = least(&jacobian.map_with_location(|a, b, entry| entry * root(a) / root(b)));
            prop_assert!(bounds.margin(weights).unwrap() <= truth + 1e-10 * (1.0 + truth.abs()));
        }

        #[test]
        fn ends_of_a_band_have_its_margin(mu in prop::array::uniform2(0.1..5.0), coupling in prop::array::uniform2(0.01..3.0), share in 0.0..0.99) {
            let bounds = bounds(&mu, DMatrix::from_row_slice(2, 2, &[0.0, coupling[0], coupling[1], 0.0]));
            let margin = optimal_weights(&bounds).supremum * share;
            prop_assume!(margin > 0.0);
            let band = timescale_band(&bounds, margin).unwrap().unwrap();
            for ratio in [band.low, band.high] {
                prop_assert!((bounds.margin(&[1.0, ratio]).unwrap() - margin).abs() < 1e-9 * (1.0 + margin), "{band:?}");
            }
            prop_assert!(bounds.margin(&[1.0, (band.low * band.high).sqrt()]).unwrap() >= margin - 1e-12);
        }
    }
}
