//! Margins and Lipschitz constants that hold in spite of rounding, each with the positive vector that proves it.

use nalgebra::DVector;

use super::BlockBounds;
use super::certificate::Leaf;
use super::checker::{lipschitz_holds, lipschitz_rows, margin_holds, margin_row};
use super::perron::{least, perron};
use crate::rigorous::Interval;

/// The smallest entry of a witness, relative to the largest: it must be positive.
const LEAST_ENTRY: f64 = 1e-150;

/// A leaf with bounds and the best witnesses for some weights, with the margin and the Lipschitz constant that they prove.
pub(super) fn prove(region: Vec<Interval>, bounds: &BlockBounds, weights: &[f64]) -> (Leaf, f64, f64) {
    let mut leaf = Leaf {
        region,
        curvature: bounds.curvature().to_vec(),
        coupling: bounds.coupling().clone(),
        own_lipschitz: bounds.own_lipschitz().to_vec(),
        margin_witness: margin_witness(bounds, weights),
        lipschitz_witness: lipschitz_witness(bounds, weights),
    };
    let alpha = proven_margin(&leaf, weights);
    let beta = proven_lipschitz(&mut leaf, weights);
    (leaf, alpha, beta)
}

/// The margin that a leaf's witness proves, by the checker's own test.
pub(super) fn proven_margin(leaf: &Leaf, weights: &[f64]) -> f64 {
    let ratio = |i: usize| {
        let (sum, own) = margin_row(leaf, weights, i);
        (sum / (own * 2.0)).lo()
    };
    let mut alpha = (0..weights.len()).map(ratio).fold(f64::INFINITY, f64::min);
    // The test multiplies where this divides.
    for _ in 0..8 {
        if margin_holds(leaf, weights, alpha) {
            return alpha;
        }
        alpha = alpha.next_down();
    }
    f64::NEG_INFINITY
}

fn proven_lipschitz(leaf: &mut Leaf, weights: &[f64]) -> f64 {
    let squares = lipschitz_rows(leaf, weights).into_iter().map(|(square, own)| square / own);
    let square = squares.map(Interval::hi).fold(0.0, f64::max);
    let mut beta = square.sqrt().next_up();
    for _ in 0..8 {
        if lipschitz_holds(leaf, weights, beta) {
            return beta;
        }
        beta = beta.next_up();
    }
    f64::INFINITY
}

/// About the vector of the least eigenvalue of `(W A + Aᵀ W)/2` against `W`.
fn margin_witness(bounds: &BlockBounds, weights: &[f64]) -> Vec<f64> {
    unscaled(&least(&bounds.symmetric(weights)).1, weights)
}

fn lipschitz_witness(bounds: &BlockBounds, weights: &[f64]) -> Vec<f64> {
    let mut b = bounds.scaled(weights);
    (0..bounds.players()).for_each(|i| b[(i, i)] = bounds.own_lipschitz()[i]);
    unscaled(&perron(&(b.transpose() * &b)).1, weights)
}

/// A vector of the metric's own coordinates `√w x` in those of the players.
fn unscaled(vector: &DVector<f64>, weights: &[f64]) -> Vec<f64> {
    let unscaled: Vec<f64> = vector.iter().zip(weights).map(|(u, w)| u / w.sqrt()).collect();
    let greatest = unscaled.iter().copied().fold(0.0, f64::max);
    unscaled.iter().map(|x| (x / greatest).max(LEAST_ENTRY)).collect()
}

#[cfg(test)]
mod tests {
    use nalgebra::DMatrix;

    use super::*;

    fn bounds(mu: &[f64], coupling: &[f64], own: &[f64]) -> BlockBounds {
        BlockBounds::new(mu.to_vec(), DMatrix::from_row_slice(mu.len(), mu.len(), coupling), own.to_vec()).unwrap()
    }

    #[test]
    fn the_toy_game() {
        let toy = bounds(&[1.0, 1.0], &[0.0, 10.0, 0.05, 0.0], &[1.0, 1.0]);
        let (_, alpha, beta) = prove(Vec::new(), &toy, &[1.0, 200.0]);
        let (true_alpha, true_beta) = (1.0 - 0.5f64.sqrt(), 1.0 + 0.5f64.sqrt());
        assert!(alpha <= true_alpha && alpha > true_alpha - 1e-14, "{alpha}");
        assert!(beta >= true_beta && beta < true_beta + 1e-14, "{beta}");
    }

    #[test]
    fn couplings_that_lead_nowhere_and_badly_scaled_games() {
        let decoupled = bounds(&[2.0, 1.0, 3.0], &[0.0; 9], &[2.0, 5.0, 3.0]);
        let (_, alpha, beta) = prove(Vec::new(), &decoupled, &[1.0, 7.0, 1e-3]);
        assert!(alpha <= 1.0 && alpha > 1.0 - 1e-14 && (5.0..5.0 + 1e-14).contains(&beta), "{alpha} {beta}");
        // α° = (μ₁μ₂ - L₁₂L₂₁) / … = 5e-9, of numbers of 1e8.
        let stiff = bounds(&[1e8, 1e-8], &[0.0, 0.5, 1.0, 0.0], &[1e8, 1e-8]);
        let best = super::super::optimal_weights(&stiff);
        let (_, alpha, _) = prove(Vec::new(), &stiff, &best.weights);
        assert!(alpha > 0.0 && alpha <= 5.000_000_1e-9, "{alpha} {best:?}");
    }

    #[test]
    fn decoupled_pairs_with_different_norms() {
        let coupling = [0.0, 1.5, 0.0, 0.0, 1.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.4, 0.0];
        let pairs = bounds(&[1.69, 0.0, -0.5, 0.09], &coupling, &[2.19, 0.5, 1.0, 0.59]);
        let (.., beta) = prove(Vec::new(), &pairs, &[1.0; 4]);
        let truth = pairs.lipschitz(&[1.0; 4]).unwrap();
        assert!(beta >= truth && beta < truth * (1.0 + 1e-9), "{beta} {truth}");
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn proven_rates_are_close_and_safe(
                mu in prop::array::uniform4(-1.0..3.0),
                coupling in prop::array::uniform16(prop_oneof![Just(0.0), 0.0..2.0]),
                weights in prop::array::uniform4(0.01..100.0),
            ) {
                let mut coupling = coupling;
                (0..4).for_each(|i| coupling[5 * i] = 0.0);
                let own = mu.map(|mu: f64| mu.abs() + 0.5);
                let bounds = bounds(&mu, &coupling, &own);
                let (_, alpha, beta) = prove(Vec::new(), &bounds, &weights);
                let (margin, lipschitz) = (bounds.margin(&weights).unwrap(), bounds.lipschitz(&weights).unwrap());
                prop_assert!(alpha <= margin + 1e-12 && alpha >= margin - 1e-10 * (1.0 + lipschitz), "{alpha} {margin}");
                prop_assert!(beta >= lipschitz * (1.0 - 1e-13) && beta <= lipschitz * (1.0 + 1e-9), "{beta} {lipschitz}");
            }
        }
    }
}
