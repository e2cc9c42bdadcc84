use super::*;

fn square(size: usize, entries: &[f64]) -> DMatrix<f64> {
    DMatrix::from_row_slice(size, size, &entries[..size * size])
}

fn found(jacobians: &[DMatrix<f64>], dimensions: &[usize], structure: Structure) -> LmiSolution {
    let found = block_lmi(jacobians, dimensions, structure).unwrap();
    assert!(found.gap >= 0.0 && found.upper >= found.margin, "{found:?}");
    for (block, &size) in found.blocks.iter().zip(dimensions) {
        assert!(block.shape() == (size, size) && *block == block.transpose() && block.clone().cholesky().is_some());
    }
    assert_eq!(found.margin, block_margin(jacobians, dimensions, &found.blocks).unwrap());
    found
}

/// What the small-gain condition has of the same Jacobians.
fn small_gain(jacobians: &[DMatrix<f64>], dimensions: &[usize]) -> f64 {
    let weights = small_gain_weights(jacobians, &ranges(dimensions)).unwrap();
    let blocks: Vec<DMatrix<f64>> =
        dimensions.iter().zip(weights).map(|(&size, w)| DMatrix::from_diagonal_element(size, size, w)).collect();
    block_margin(jacobians, dimensions, &blocks).unwrap()
}

#[test]
fn the_sign_of_couplings_counts() {
    let skew = found(&[square(2, &[1.0, 5.0, -5.0, 1.0])], &[1, 1], Structure::Scalar);
    assert!((skew.margin - 1.0).abs() < 1e-12 && (skew.upper - 1.0).abs() < 1e-9 && skew.end == LmiEnd::Gap);
    assert!((skew.blocks[1][(0, 0)] - 1.0).abs() < 1e-9, "{skew:?}");
    // Both signs at once, as of a couplings' interval around 0: equal weights again, and what the norms have.
    let both = [square(2, &[1.0, 0.5, -0.5, 1.0]), square(2, &[1.0, 0.5, 0.5, 1.0])];
    let both = found(&both, &[1, 1], Structure::Scalar);
    assert!((both.margin - 0.5).abs() < 1e-9 && (both.upper - 0.5).abs() < 1e-6, "{both:?}");
}

#[test]
fn the_toy_game_and_badly_scaled_ones() {
    let toy = found(&[square(2, &[1.0, 10.0, 0.05, 1.0])], &[1, 1], Structure::Scalar);
    assert!((toy.margin - (1.0 - 0.5f64.sqrt())).abs() < 1e-12 && (toy.blocks[1][(0, 0)] / 200.0 - 1.0).abs() < 1e-9, "{toy:?}");
    // With opposite signs only the weights 1 and 2e8 do, at which the couplings cancel; other curvatures differ.
    let far = found(&[square(2, &[1.0, 1e6, -5e-3, 1.0])], &[1, 1], Structure::Scalar);
    assert!((far.margin - 1.0).abs() < 1e-9 && (far.blocks[1][(0, 0)] / 2e8 - 1.0).abs() < 1e-4, "{far:?}");
    for scale in [1e-300, 1e-6, 1e6, 1e300] {
        let scaled = found(&[scale * square(2, &[1.0, 10.0, 0.05, 1.0])], &[1, 1], Structure::Full);
        assert!((scaled.margin / scale - (1.0 - 0.5f64.sqrt())).abs() < 1e-12, "{scaled:?}");
    }
}

/// The worst of all convex combinations of the vertices has the least margin of any weights: here the middle of two.
#[test]
fn polytopes_have_less_than_their_vertices() {
    let vertices = [square(2, &[1.0, 4.0, 0.0, 1.0]), square(2, &[1.0, 0.0, 4.0, 1.0])];
    let each = vertices.each_ref().map(|vertex| found(std::slice::from_ref(vertex), &[1, 1], Structure::Scalar).margin);
    assert!(each.iter().all(|margin| *margin > 0.99), "{each:?}");
    for structure in [Structure::Scalar, Structure::Full] {
        let both = found(&vertices, &[1, 1], structure);
        assert!((both.margin + 1.0).abs() < 1e-7 && (both.upper + 1.0).abs() < 1e-6, "{both:?}");
    }
}

#[test]
fn margins_that_are_only_approached() {
    // 1 is approached where the second player counts for nothing.
    let chain = found(&[square(2, &[1.0, 0.0, 100.0, 1.0])], &[1, 1], Structure::Scalar);
    assert!(chain.margin > 0.999 && chain.margin < 1.0 && chain.end == LmiEnd::Conditioning, "{chain:?}");
    // A defective matrix.
    let defective = found(&[square(3, &[2.0, 1.0, 0.0, 0.0, 2.0, 1.0, 0.0, 0.0, 2.0])], &[3], Structure::Full);
    assert!(defective.margin > 1.95 && defective.margin <= 2.0, "{defective:?}");
}

#[test]
fn one_block_has_the_eigenvalues() {
    let matrix = square(3, &[3.0, 20.0, -4.0, 0.0, 2.0, 7.0, 0.0, -7.0, 2.5]);
    let truth = eigenvalues(&matrix).iter().map(|value| value.re).fold(f64::INFINITY, f64::min);
    let best = found(std::slice::from_ref(&matrix), &[3], Structure::Full);
    assert!((best.margin - truth).abs() < 1e-7 && (best.upper - truth).abs() < 1e-9, "{best:?} {truth}");
    // Blocks that are given are measured, and not only good ones.
    assert!(block_margin(std::slice::from_ref(&matrix), &[3], &[DMatrix::identity(3, 3)]).unwrap() < -5.0);
    assert_eq!(block_margin(&[matrix], &[3], &[-DMatrix::<f64>::identity(3, 3)]).unwrap(), f64::NEG_INFINITY);
}

/// The ensemble of the paper's authors at the coupling strength 2.5, where bounds of norms refuse: with two players of 8 variables.
#[test]
fn games_that_norms_refuse() {
    for seed in 0..5 {
        let mut uniform = gradus_base::stream(seed, "lmi-ensemble", 0);
        let mut normal = || {
            let [angle, size] = [(); 2].map(|()| 1.0 - rand::RngExt::random::<f64>(&mut uniform));
            (-2.0 * size.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
        };
        let mut random = || DMatrix::from_fn(8, 8, |_, _| normal());
        let [first, second, coupling] = [random(), random(), random()];
        let coupling = 2.5 * &coupling / norm(&coupling);
        let mut jacobian = DMatrix::identity(16, 16);
        for (start, root) in [(0, first), (8, second)] {
            let mut own = jacobian.view_mut((start, start), (8, 8));
            own += root.tr_mul(&root);
        }
        jacobian.view_mut((0, 8), (8, 8)).copy_from(&(10.0 * &coupling));
        jacobian.view_mut((8, 0), (8, 8)).copy_from(&(0.05 * coupling.transpose()));
        let jacobians = [jacobian];
        let coupling_alone = square(2, &[1.0, 25.0, 0.125, 1.0]);
        assert!(small_gain(&[coupling_alone], &[1, 1]) < 0.0);
        let known = [DMatrix::from_diagonal_element(8, 8, 0.005), DMatrix::identity(8, 8)];
        let known = block_margin(&jacobians, &[8, 8], &known).unwrap();
        let margins = [Structure::Scalar, Structure::Diagonal].map(|structure| found(&jacobians, &[8, 8], structure).margin);
        assert!(margins[0] > 0.0 && margins[0] >= known - 1e-9 && margins[1] >= margins[0] - 1e-7, "{seed} {margins:?} {known}");
    }
}

#[test]
fn degenerate_games() {
    let zero = found(&[DMatrix::zeros(3, 3)], &[1, 2], Structure::Full);
    assert_eq!((zero.margin, zero.upper, zero.end), (0.0, 0.0, LmiEnd::Gap));
    let apart = found(&[DMatrix::from_diagonal(&DVector::from_row_slice(&[2.0, 1.0, 5.0]))], &[1, 2], Structure::Full);
    assert!(apart.margin == 1.0 && apart.upper == 1.0);
    let single = found(&[square(1, &[-3.0]), square(1, &[-2.0])], &[1], Structure::Scalar);
    assert!(single.margin == -3.0 && single.upper == -3.0);
    let same = square(2, &[1.0, 10.0, 0.05, 1.0]);
    let twice = found(&[same.clone(), same], &[1, 1], Structure::Full);
    assert!((twice.margin - (1.0 - 0.5f64.sqrt())).abs() < 1e-9);
    // Entries of all sizes end, with whatever comes of it.
    let wild = found(&[square(3, &[1e-200, 1e200, -1e-9, 3.0, 1e100, 1e-300, -1e200, 1.0, 0.0])], &[1, 1, 1], Structure::Full);
    assert!(!wild.margin.is_nan());
}

#[test]
fn what_is_no_problem_is_named() {
    let good = square(2, &[1.0, 0.0, 0.0, 1.0]);
    let error = |jacobians: &[DMatrix<f64>], dimensions: &[usize]| block_lmi(jacobians, dimensions, Structure::Full).unwrap_err();
    assert!(matches!(error(&[], &[1, 1]), SmallGainError::Dimension { expected: 1, got: 0, .. }));
    assert!(matches!(error(std::slice::from_ref(&good), &[]), SmallGainError::Dimension { expected: 1, got: 0, .. }));
    assert!(matches!(error(std::slice::from_ref(&good), &[2, 0]), SmallGainError::Dimension { expected: 1, got: 0, .. }));
    assert!(matches!(error(std::slice::from_ref(&good), &[1, 2]), SmallGainError::Dimension { expected: 3, got: 2, .. }));
    assert!(matches!(error(&[DMatrix::zeros(2, 3)], &[1, 1]), SmallGainError::Dimension { expected: 2, got: 3, .. }));
    for bad in [f64::NAN, f64::INFINITY] {
        assert!(matches!(error(&[good.clone(), square(2, &[1.0, bad, 0.0, 1.0])], &[1, 1]), SmallGainError::NonFinite { .. }));
        let blocks = [square(1, &[1.0]), square(1, &[bad])];
        assert_eq!(block_margin(std::slice::from_ref(&good), &[1, 1], &blocks), Ok(f64::NEG_INFINITY));
    }
    let blocks = [square(1, &[1.0])];
    let error = |blocks| block_margin(std::slice::from_ref(&good), &[1, 1], blocks).unwrap_err();
    assert!(matches!(error(&blocks), SmallGainError::Dimension { expected: 2, got: 1, .. }));
    assert!(matches!(error(&[square(1, &[1.0]), good.clone()]), SmallGainError::Dimension { expected: 1, got: 2, .. }));
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// How much of a margin two searches may find differently.
    const NEAR: f64 = 1e-6;

    /// Two or three players with up to two variables, and up to three Jacobians with couplings of different sizes.
    fn games() -> impl Strategy<Value = (Vec<DMatrix<f64>>, Vec<usize>)> {
        (prop::collection::vec(1usize..=2, 2..=3), 1usize..=3).prop_flat_map(|(dimensions, count)| {
            let size: usize = dimensions.iter().sum();
            let entries = prop::collection::vec(prop_oneof![3 => -1.0..1.0f64, 1 => Just(0.0)], count * size * size);
            (entries, prop::collection::vec(-1.0..1.0f64, size)).prop_map(move |(entries, logs)| {
                let jacobian = |entries: &[f64]| {
                    let scaled = |i: usize, j: usize, entry: f64| entry * (2.0 * (logs[i] - logs[j])).exp();
                    (square(size, entries) + DMatrix::identity(size, size)).map_with_location(scaled)
                };
                (entries.chunks(size * size).map(jacobian).collect(), dimensions.clone())
            })
        })
    }

    /// The matrices with rows and columns in another order.
    fn reordered(jacobians: &[DMatrix<f64>], order: &[usize]) -> Vec<DMatrix<f64>> {
        jacobians.iter().map(|jacobian| jacobian.select_rows(order).select_columns(order)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn more_freedom_has_no_less((jacobians, dimensions) in games()) {
            let [scalar, diagonal, full] =
                [Structure::Scalar, Structure::Diagonal, Structure::Full].map(|structure| found(&jacobians, &dimensions, structure));
            let merged: Vec<usize> = std::iter::once(dimensions[0] + dimensions[1]).chain(dimensions[2..].iter().copied()).collect();
            let merged = found(&jacobians, &merged, Structure::Full);
            let slack = |solution: &LmiSolution| NEAR * (1.0 + solution.margin.abs());
            for [less, more] in [[&scalar, &diagonal], [&diagonal, &full], [&full, &merged]] {
                // Metrics of the same conditioning, but not in the same coordinates.
                let compared = more.end == LmiEnd::Gap || less.end == LmiEnd::Conditioning;
                prop_assert!(!compared || more.margin >= less.margin - slack(less).max(1e-3 * f64::from(less.end == LmiEnd::Conditioning)),
                    "{less:?} {more:?}");
                prop_assert!(less.margin <= more.upper + slack(more), "{less:?} {more:?}");
            }
            prop_assert!(scalar.margin >= small_gain(&jacobians, &dimensions) - slack(&scalar));
        }

        #[test]
        fn no_metric_nearby_is_better(
            (jacobians, dimensions) in games(),
            moves in prop::collection::vec(prop::collection::vec(-1.0..1.0f64, 12), 20),
        ) {
            for structure in [Structure::Scalar, Structure::Diagonal, Structure::Full] {
                let best = found(&jacobians, &dimensions, structure);
                for (place, entries) in moves.iter().enumerate() {
                    let by = 10f64.powi(-(place as i32 % 5));
                    let mut entries = entries.iter().cycle();
                    let mut next = || by * entries.next().unwrap();
                    let moved = |block: &DMatrix<f64>| {
                        let size = block.nrows();
                        let turn = match structure {
                            Structure::Scalar => DMatrix::from_diagonal_element(size, size, next()),
                            Structure::Diagonal => DMatrix::from_diagonal(&DVector::from_fn(size, |_, _| next())),
                            Structure::Full => DMatrix::from_fn(size, size, |_, _| next()),
                        };
                        let factor = DMatrix::identity(size, size) + 0.9 * turn;
                        factor.tr_mul(&(block * &factor))
                    };
                    let blocks: Vec<DMatrix<f64>> = best.blocks.iter().map(moved).collect();
                    let margin = block_margin(&jacobians, &dimensions, &blocks).unwrap();
                    prop_assert!(margin <= best.margin + best.gap + 1e-9 || best.end == LmiEnd::Conditioning, "{best:?} {margin}");
                    prop_assert!(margin <= best.upper + NEAR * (1.0 + best.upper.abs()), "{best:?} {margin}");
                }
            }
        }

        #[test]
        fn what_is_known_to_be_feasible_is_found(
            entries in prop::collection::vec(-1.0..1.0f64, 3 * 25),
            roots in prop::collection::vec(-1.0..1.0f64, 8),
            margin in -1.0..1.0f64,
        ) {
            // Symmetric parts at least the margin in the metric `TᵀT`.
            let factor = |size: usize, entries: &[f64]| square(size, entries) + DMatrix::from_diagonal_element(size, size, 2.0);
            let mut t = DMatrix::identity(5, 5);
            t.view_mut((1, 1), (2, 2)).copy_from(&factor(2, &roots[..4]));
            t.view_mut((3, 3), (2, 2)).copy_from(&factor(2, &roots[4..]));
            let inverse = t.clone().try_inverse().unwrap();
            let jacobian = |entries: &[f64]| {
                let root = square(5, entries);
                let turn = 3.0 * (&root - root.transpose());
                &inverse * (root.tr_mul(&root) + turn + DMatrix::from_diagonal_element(5, 5, margin)) * &t
            };
            let jacobians: Vec<DMatrix<f64>> = entries.chunks(25).map(jacobian).collect();
            let best = found(&jacobians, &[1, 2, 2], Structure::Full);
            prop_assert!(best.margin >= margin - NEAR, "{best:?} {margin}");
        }

        #[test]
        fn the_order_of_players_and_of_jacobians_means_nothing((jacobians, dimensions) in games()) {
            let players = ranges(&dimensions);
            let order: Vec<usize> = players.iter().rev().flat_map(|of| of.clone()).collect();
            let turned: Vec<usize> = dimensions.iter().rev().copied().collect();
            let mut other = reordered(&jacobians, &order);
            other.reverse();
            for structure in [Structure::Scalar, Structure::Full] {
                let (one, two) = (found(&jacobians, &dimensions, structure), found(&other, &turned, structure));
                let slack = if one.end == LmiEnd::Gap && two.end == LmiEnd::Gap { NEAR } else { 1e-2 };
                prop_assert!((one.margin - two.margin).abs() <= slack * (1.0 + one.margin.abs()), "{one:?} {two:?}");
            }
        }

        #[test]
        fn units_mean_nothing((jacobians, dimensions) in games(), logs in prop::array::uniform6(-3.0..3.0f64)) {
            let weights: Vec<f64> = logs.iter().map(|log| 10f64.powf(*log)).collect();
            let other = scaled(&jacobians, &weights);
            for structure in [Structure::Diagonal, Structure::Full] {
                let (one, two) = (found(&jacobians, &dimensions, structure), found(&other, &dimensions, structure));
                let slack = if one.end == LmiEnd::Gap && two.end == LmiEnd::Gap { NEAR } else { 1e-2 };
                prop_assert!((one.margin - two.margin).abs() <= slack * (1.0 + one.margin.abs()), "{one:?} {two:?}");
            }
        }

        #[test]
        fn one_block_of_one_jacobian_has_its_eigenvalues(entries in prop::collection::vec(-1.0..1.0f64, 25), size in 2usize..=5) {
            let matrix = square(size, &entries);
            let truth = eigenvalues(&matrix).iter().map(|value| value.re).fold(f64::INFINITY, f64::min);
            let best = found(&[matrix], &[size], Structure::Full);
            prop_assert!(best.margin <= truth + 1e-9 && best.margin >= truth - if best.end == LmiEnd::Gap { NEAR } else { 0.2 }, "{best:?} {truth}");
        }
    }
}
