//! Linear games of which only the strength of the couplings changes: decomposed once, then asked at any strength.

use nalgebra::{Complex, DMatrix};

use super::linear::{eigenvalues, euler_threshold, rk4_threshold};
use super::{BlockBounds, SmallGainError, check_weights, scaled};

/// The linear games `F(x) = (I + λ K) x` for all `λ`, in a metric `blkdiag(w_i I)`.
///
/// All of them have the eigenvectors of `K`, and so have their symmetric parts: one decomposition of each serves every `λ`.
///
/// ```
/// use gradus_games::small_gain::LinearFamily;
/// use nalgebra::DMatrix;
///
/// // The first player is pushed hard, the second hardly: at which strength of this does the margin end?
/// let weights = [1.0, 200.0];
/// let family = LinearFamily::new(&DMatrix::from_row_slice(2, 2, &[0.0, 10.0, 0.05, 0.0]), &[1, 1], &weights)?;
/// for (strength, margin, step) in [(1.0, 0.292_893_2, 1.171_573), (1.375, 0.027_728_2, 1.014_059)] {
///     assert!((family.bounds(strength)?.margin(&weights)? - margin).abs() < 1e-7);
///     assert!((family.spectral_euler_threshold(strength) - step).abs() < 1e-6);
/// }
/// assert!(family.bounds(1.5)?.margin(&weights)? < 0.0);
/// # Ok::<(), gradus_games::small_gain::SmallGainError>(())
/// ```
#[derive(Debug, Clone)]
pub struct LinearFamily {
    /// The least and the greatest eigenvalue of the symmetric part of `K`.
    euclidean: [f64; 2],
    /// The same of `M^{1/2} K M^{-1/2}`.
    metric: [f64; 2],
    own: Vec<Own>,
    /// The norms of the blocks of different players.
    coupling: DMatrix<f64>,
    eigenvalues: Vec<Complex<f64>>,
}

/// A player's own block of `K`.
#[derive(Debug, Clone)]
struct Own {
    /// The least and the greatest eigenvalue of the symmetric part.
    curvature: [f64; 2],
    /// The block, where it is not symmetric: then the norm of `I + λ K_ii` does not follow from a decomposition of it.
    skew: Option<DMatrix<f64>>,
}

impl LinearFamily {
    /// The family of a matrix `K` with rows and columns of players with these `dimensions`.
    ///
    /// # Errors
    /// [`SmallGainError::Dimension`] for fewer than two players or sizes that do not fit, [`SmallGainError::InvalidWeight`],
    /// [`SmallGainError::NonFinite`].
    pub fn new(matrix: &DMatrix<f64>, dimensions: &[usize], weights: &[f64]) -> Result<Self, SmallGainError> {
        let players = dimensions.len();
        check_weights(weights, players)?;
        if players < 2 {
            return Err(SmallGainError::Dimension { what: "players, at least", expected: 2, got: players });
        }
        let size = dimensions.iter().sum();
        for (what, got) in [("rows of the matrix", matrix.nrows()), ("columns of the matrix", matrix.ncols())] {
            if got != size {
                return Err(SmallGainError::Dimension { what, expected: size, got });
            }
        }
        if !matrix.iter().all(|entry| entry.is_finite()) {
            return Err(SmallGainError::NonFinite { what: "the matrix", point: vec![0.0; size] });
        }
        let starts: Vec<usize> = (0..players).map(|i| dimensions[..i].iter().sum()).collect();
        let block = |i: usize, j: usize| matrix.view((starts[i], starts[j]), (dimensions[i], dimensions[j])).into_owned();
        let roots: Vec<f64> = dimensions.iter().zip(weights).flat_map(|(&size, w)| std::iter::repeat_n(w.sqrt(), size)).collect();
        Ok(Self {
            euclidean: symmetric_ends(matrix),
            metric: symmetric_ends(&matrix.map_with_location(|i, j, entry| entry * (roots[i] / roots[j]))),
            own: (0..players).map(|i| Own::new(block(i, i))).collect(),
            coupling: DMatrix::from_fn(players, players, |i, j| if i == j { 0.0 } else { scaled::norm(&block(i, j)) }),
            eigenvalues: eigenvalues(matrix),
        })
    }

    /// The least eigenvalue of the symmetric part of `I + λ K`: the margin in the Euclidean metric. To rounding.
    pub fn euclidean_margin(&self, strength: f64) -> f64 {
        least(self.euclidean, strength)
    }

    /// The least eigenvalue of the symmetric part of `M^{1/2} (I + λ K) M^{-1/2}`: the margin in the metric, of which that of
    /// [the blocks' bounds](Self::bounds) is a lower bound. To rounding.
    pub fn metric_margin(&self, strength: f64) -> f64 {
        least(self.metric, strength)
    }

    /// The bounds of the blocks of `I + λ K`. To rounding.
    ///
    /// # Errors
    /// [`SmallGainError::InvalidBound`] for a `λ` with which one is not finite.
    pub fn bounds(&self, strength: f64) -> Result<BlockBounds, SmallGainError> {
        let curvature = self.own.iter().map(|own| least(own.curvature, strength)).collect();
        let own = self.own.iter().map(|own| own.norm(strength)).collect();
        BlockBounds::new(curvature, &self.coupling * strength.abs(), own)
    }

    /// As [`spectral_euler_threshold`](super::spectral_euler_threshold) of `I + λ K`.
    pub fn spectral_euler_threshold(&self, strength: f64) -> f64 {
        euler_threshold(&self.eigenvalues(strength))
    }

    /// As [`spectral_rk4_threshold`](super::spectral_rk4_threshold) of `I + λ K`.
    pub fn spectral_rk4_threshold(&self, strength: f64) -> f64 {
        rk4_threshold(&self.eigenvalues(strength))
    }

    fn eigenvalues(&self, strength: f64) -> Vec<Complex<f64>> {
        self.eigenvalues.iter().map(|l| l * strength + 1.0).collect()
    }
}

impl Own {
    fn new(block: DMatrix<f64>) -> Self {
        Self { curvature: symmetric_ends(&block), skew: Some(block).filter(|block| *block != block.transpose()) }
    }

    /// The norm of `I + λ K_ii`.
    fn norm(&self, strength: f64) -> f64 {
        let by_curvature = self.curvature.map(|end| (1.0 + strength * end).abs()).into_iter().fold(0.0, f64::max);
        let of = |block: &DMatrix<f64>| scaled::norm(&(block * strength + DMatrix::identity(block.nrows(), block.ncols())));
        // No norm is less than an eigenvalue of the symmetric part.
        self.skew.as_ref().map_or(by_curvature, |block| of(block).max(by_curvature))
    }
}

/// The least eigenvalue of `I + λ S` for a symmetric matrix of which these are the least and the greatest.
fn least(ends: [f64; 2], strength: f64) -> f64 {
    1.0 + ends.map(|end| strength * end).into_iter().fold(f64::INFINITY, f64::min)
}

/// The least and the greatest eigenvalue of the symmetric part.
fn symmetric_ends(matrix: &DMatrix<f64>) -> [f64; 2] {
    let values = (0.5 * (matrix + matrix.transpose())).symmetric_eigenvalues();
    [values.min(), values.max()]
}

#[cfg(test)]
mod tests {
    use super::super::{spectral_euler_threshold, spectral_rk4_threshold};
    use super::*;

    #[test]
    fn what_is_none() {
        let matrix = DMatrix::zeros(3, 3);
        let family = |matrix: &DMatrix<f64>, dimensions: &[usize], weights: &[f64]| LinearFamily::new(matrix, dimensions, weights).err();
        assert!(matches!(family(&matrix, &[3], &[1.0]), Some(SmallGainError::Dimension { expected: 2, got: 1, .. })));
        assert!(matches!(family(&matrix, &[1, 1], &[1.0; 2]), Some(SmallGainError::Dimension { expected: 2, got: 3, .. })));
        assert!(matches!(family(&matrix, &[1, 2], &[1.0, 0.0]), Some(SmallGainError::InvalidWeight { player: 1, .. })));
        let nan = DMatrix::from_element(3, 3, f64::NAN);
        assert!(matches!(family(&nan, &[1, 2], &[1.0; 2]), Some(SmallGainError::NonFinite { .. })));
        let family = LinearFamily::new(&DMatrix::identity(3, 3), &[1, 2], &[1.0; 2]).unwrap();
        assert!(matches!(family.bounds(f64::INFINITY), Err(SmallGainError::InvalidBound { .. })));
        assert_eq!(family.spectral_euler_threshold(f64::NAN), 0.0);
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn each_game_is_as_if_it_were_alone(
                entries in prop::array::uniform16(-1.0..1.0f64),
                symmetric: bool,
                weights in prop::array::uniform2(0.1..10.0f64),
                strength in -2.0..2.0f64,
            ) {
                let mut matrix = DMatrix::from_row_slice(4, 4, &entries);
                if symmetric {
                    matrix = 0.5 * (&matrix + matrix.transpose());
                }
                let family = LinearFamily::new(&matrix, &[1, 3], &weights).unwrap();
                let game = DMatrix::identity(4, 4) + &matrix * strength;
                let least = |m: &DMatrix<f64>| scaled::least_symmetric(&(0.5 * (m + m.transpose())));
                let root = |i: usize| weights[i.min(1)].sqrt();
                let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
                prop_assert!(close(family.euclidean_margin(strength), least(&game)));
                prop_assert!(close(family.metric_margin(strength), least(&game.map_with_location(|i, j, x| x * root(i) / root(j)))));
                let bounds = family.bounds(strength).unwrap();
                let block = game.view((1, 1), (3, 3)).into_owned();
                prop_assert!(close(bounds.curvature()[1], least(&block)) && close(bounds.own_lipschitz()[1], scaled::norm(&block)));
                prop_assert!(close(bounds.coupling()[(0, 1)], game.view((0, 1), (1, 3)).norm()));
                prop_assert!(close(bounds.coupling()[(1, 0)], game.view((1, 0), (3, 1)).norm()));
                prop_assert!(bounds.margin(&weights).unwrap() <= family.metric_margin(strength) + 1e-12);
                // Eigenvalues that are about equal are found to half of the digits.
                let [euler, rk4] = [spectral_euler_threshold(&game), spectral_rk4_threshold(&game)];
                prop_assert!((family.spectral_euler_threshold(strength) - euler).abs() < 1e-6 * (1.0 + euler));
                prop_assert!((family.spectral_rk4_threshold(strength) - rk4).abs() < 1e-6 * (1.0 + rk4));
            }
        }
    }
}
