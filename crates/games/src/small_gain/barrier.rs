//! Barriers of symmetric Z-matrices whose entries are exponentials.

use nalgebra::{Cholesky, DMatrix, DVector, Dyn};

/// Derivatives of `-log det M` of a positive definite symmetric matrix `M = diag(d) - (Q + Qᵀ)`, `Q_rs = P_rs exp((φ_r - φ_s) / 2)`, with
/// `P ≥ 0`. Rows may share a potential: of `n` potentials, row `r` has that of `r mod n`.
///
/// It is convex in `φ`: with `D = diag(d)` it is `-log det D + Σ_k tr (D⁻¹ (Q + Qᵀ))ᵏ / k`, a sum of exponentials.
pub(super) struct Barrier {
    /// `∂/∂φ`.
    pub(super) gradient: DVector<f64>,
    /// `∂²/∂φ²`.
    pub(super) hessian: DMatrix<f64>,
    /// `∂/∂c` and `∂²/∂c²` where `c` is added to all of `d`.
    pub(super) along_diagonal: [f64; 2],
    /// `∂²/∂c∂φ`.
    pub(super) mixed: DVector<f64>,
}

impl Barrier {
    /// None where `M` is not positive definite.
    pub(super) fn new(pattern: &DMatrix<f64>, diagonal: &[f64], potential: &[f64]) -> Option<Self> {
        let (size, groups) = (diagonal.len(), potential.len());
        let moved = |r: usize, s: usize| (0.5 * (potential[r % groups] - potential[s % groups])).exp();
        let scaled = pattern.map_with_location(|r, s, p| if p > 0.0 { p * moved(r, s) } else { 0.0 });
        let transposed = scaled.transpose();
        let mut matrix = -(&scaled + &transposed);
        (0..size).for_each(|r| matrix[(r, r)] = diagonal[r]);
        let inverse = matrix.clone().cholesky()?.inverse();
        // What a row's potential moves is `e_r t_rᵀ + t_r e_rᵀ` with the rows `t_r` of this: nothing between rows that share it.
        let apart = |r: usize, s: usize| r % groups != s % groups;
        let turn = DMatrix::from_fn(size, size, |r, s| if apart(r, s) { 0.5 * (transposed[(r, s)] - scaled[(r, s)]) } else { 0.0 });
        let half = &turn * &inverse;
        let whole = &half * turn.transpose();
        let (mut gradient, mut mixed, mut hessian) = (DVector::zeros(groups), DVector::zeros(groups), DMatrix::zeros(groups, groups));
        for r in 0..size {
            let k = r % groups;
            gradient[k] -= 2.0 * half[(r, r)];
            mixed[k] += 2.0 * half.row(r).dot(&inverse.row(r));
            for s in 0..size {
                let l = s % groups;
                hessian[(k, l)] += 2.0 * (half[(r, s)] * half[(s, r)] + whole[(r, s)] * inverse[(r, s)]);
                if k != l {
                    let weight = -0.5 * inverse[(r, s)] * matrix[(r, s)];
                    hessian[(k, k)] += weight;
                    hessian[(k, l)] -= weight;
                }
            }
        }
        let along_diagonal = [-inverse.trace(), inverse.norm_squared()];
        Some(Self { gradient, hessian, along_diagonal, mixed })
    }
}

/// The Cholesky factors of a positive definite matrix with `floor` added on the diagonal, and with as much more there as it takes if
/// rounding hides that it is one.
pub(super) fn factors(matrix: &DMatrix<f64>, floor: f64) -> Option<Cholesky<f64, Dyn>> {
    let ridges = std::iter::once(0.0).chain((0..8).map(|k| 1e-15 * 10f64.powi(k)));
    ridges.into_iter().find_map(|ridge| {
        let mut shifted = matrix.clone();
        (0..matrix.nrows()).for_each(|k| shifted[(k, k)] += ridge * matrix[(k, k)] + floor);
        shifted.cholesky()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn derivatives_are_central_differences(
                pattern in prop::array::uniform9(prop_oneof![Just(0.0), 0.0..0.5]),
                potential in prop::array::uniform3(-0.5..0.5f64),
                k in 0usize..4,
                shared in any::<bool>(),
            ) {
                let mut pattern = DMatrix::from_row_slice(3, 3, &pattern);
                if shared {
                    // Six rows with three potentials.
                    pattern = pattern.resize(6, 6, 0.0).map_with_location(|r, s, p| if r < 3 && s >= 3 { 0.5 + p } else { p });
                }
                pattern.fill_diagonal(0.0);
                let at = |by: f64| {
                    let (mut potential, mut diagonal) = (potential, [5.0, 4.5, 5.5, 4.0, 6.0, 5.0][..pattern.nrows()].to_vec());
                    if k < 3 { potential[k] += by } else { diagonal.iter_mut().for_each(|d| *d += by) }
                    let entry = |r: usize, s: usize, p: f64| p * (0.5 * (potential[r % 3] - potential[s % 3])).exp();
                    let scaled = pattern.map_with_location(entry);
                    let own = DMatrix::from_diagonal(&DVector::from_column_slice(&diagonal));
                    let determinant = (own - &scaled - scaled.transpose()).determinant();
                    (Barrier::new(&pattern, &diagonal, &potential).unwrap(), -determinant.ln())
                };
                let ((middle, _), (above, above_value), (below, below_value)) = (at(0.0), at(1e-4), at(-1e-4));
                let near = |slope: f64, a: f64, b: f64| (slope - (a - b) / 2e-4).abs() < 1e-6;
                let first = if k < 3 { middle.gradient[k] } else { middle.along_diagonal[0] };
                prop_assert!(near(first, above_value, below_value));
                for l in 0..3 {
                    let second = if k < 3 { middle.hessian[(l, k)] } else { middle.mixed[l] };
                    prop_assert!(near(second, above.gradient[l], below.gradient[l]), "{l}");
                }
                let second = if k < 3 { middle.mixed[k] } else { middle.along_diagonal[1] };
                prop_assert!(near(second, above.along_diagonal[0], below.along_diagonal[0]));
            }
        }
    }

    #[test]
    fn matrices_that_are_not_definite_have_none() {
        let pattern = DMatrix::from_row_slice(2, 2, &[0.0, 1.0, 1.0, 0.0]);
        assert!(Barrier::new(&pattern, &[1.0, 3.0], &[0.0, 0.0]).is_none() && Barrier::new(&pattern, &[5.0, 1.0], &[0.0, 0.0]).is_some());
    }
}
