//! Coordinates in which the players' own metrics are Euclidean.

use nalgebra::DMatrix;

use super::{GeometryError, Metric, check, check_finite};
use crate::expression::Symbol;
use crate::game::{Game, GameError};
use crate::rigorous::Interval;
use crate::scalar::Real;

/// What an algorithm follows in a player's own metric `P_i`: a gradient is a covector, so that the two differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Following {
    /// The gradients themselves, `x_i ← x_i - h ∇ᵢ f_i`: blocks are `P_i^{1/2} J_ij P_j^{-1/2}`.
    Gradient,
    /// The preconditioned gradients, `x_i ← x_i - h P_i⁻¹ ∇ᵢ f_i`: blocks are `P_i^{-1/2} J_ij P_j^{-1/2}`.
    Preconditioned,
}

/// Coordinates `y` of each player's variables, `x_i = S_i y_i`: the norm `|y_i|` is that of the metric `P_i = (S_i S_iᵀ)⁻¹` of `x_i`.
///
/// What is certified of a [game](Coordinates::game) in these coordinates, in the metric of weights `w`, holds of the game itself in
/// `M(w) = blkdiag(w_i P_i)` (Sharma 2025, block bounds in base metrics).
///
/// ```
/// use gradus_games::game::Game;
/// use gradus_games::geometry::{Coordinates, Following, Metric};
/// use gradus_games::small_gain::{Certifier, Region, Verdict};
/// use nalgebra::DMatrix;
///
/// // Own curvatures from 1 to 100 and couplings of 4: along the flattest direction too strong, in the curvatures' own metric weak.
/// let game = Game::from_losses(&[2, 2], |x| {
///     let own = |k: usize| (x[k] * x[k] + 100.0 * x[k + 1] * x[k + 1]) / 2.0;
///     vec![own(0) + 4.0 * x[1] * x[3], own(2) + 4.0 * x[1] * x[3]]
/// })?;
/// let curvature = DMatrix::from_row_slice(2, 2, &[1.0, 0.0, 0.0, 100.0]);
/// let metrics = [Metric::new(0, curvature.clone())?, Metric::new(1, curvature)?];
/// let natural = Coordinates::of_metrics(&metrics)?.game(&game, Following::Preconditioned)?;
/// assert!(matches!(Certifier::default().certify(&game, &Region::Free)?, Verdict::Refused(_)));
/// let Verdict::Certified(found) = Certifier::default().certify(&natural, &Region::Free)? else { unreachable!() };
/// assert!((found.certificate.alpha - 0.96).abs() < 1e-12);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Coordinates {
    /// `S_i`.
    blocks: Vec<DMatrix<f64>>,
    /// Around `S_i⁻¹`.
    inverses: Vec<DMatrix<Interval>>,
}

impl Coordinates {
    /// The coordinates of the matrices `S_i`, one for each player.
    ///
    /// # Errors
    /// [`GeometryError::Dimension`] for a matrix that is not square or empty, [`GeometryError::NonFinite`],
    /// [`GeometryError::MetricNotPositiveDefinite`] for one without an inverse that can be enclosed.
    pub fn new(blocks: Vec<DMatrix<f64>>) -> Result<Self, GeometryError> {
        let inverses = blocks.iter().enumerate().map(|(player, block)| {
            if block.nrows() == 0 {
                return Err(GeometryError::Dimension { what: "rows of coordinates, at least", expected: 1, got: 0 });
            }
            check("columns of coordinates", block.nrows(), block.ncols())?;
            check_finite("the coordinates", block.as_slice())?;
            inverse(block).ok_or(GeometryError::MetricNotPositiveDefinite { player, lambda_min: 0.0 })
        });
        let inverses = inverses.collect::<Result<_, _>>()?;
        Ok(Self { blocks, inverses })
    }

    /// Coordinates in which the players' metrics are Euclidean; `P_i` is meant to rounding, and `(S_i S_iᵀ)⁻¹` is taken exactly.
    ///
    /// # Errors
    /// As of [`Coordinates::new`].
    pub fn of_metrics(metrics: &[Metric]) -> Result<Self, GeometryError> {
        let block = |(player, metric): (usize, &Metric)| {
            let inverse = metric.factor().clone().transpose().try_inverse();
            inverse.ok_or(GeometryError::MetricNotPositiveDefinite { player, lambda_min: 0.0 })
        };
        Self::new(metrics.iter().enumerate().map(block).collect::<Result<_, _>>()?)
    }

    /// The game in these coordinates.
    ///
    /// # Errors
    /// [`GameError::Dimension`] for another number of players or variables.
    pub fn game(&self, game: &Game, following: Following) -> Result<Game, GameError> {
        let expected = game.dimensions();
        let sizes: Vec<usize> = self.blocks.iter().map(DMatrix::nrows).collect();
        if sizes.len() != expected.len() {
            return Err(GameError::Dimension { what: "players' coordinates", expected: expected.len(), got: sizes.len() });
        }
        if let Some((&got, &expected)) = sizes.iter().zip(expected).find(|(got, expected)| got != expected) {
            return Err(GameError::Dimension { what: "a player's coordinates", expected, got });
        }
        Game::from_field(expected, |y| {
            let exact: Vec<DMatrix<Interval>> = self.blocks.iter().map(|block| block.map(Interval::point)).collect();
            let field = game.field(&times(&exact, y, constant));
            match following {
                Following::Gradient => times(&self.inverses, &field, constant),
                Following::Preconditioned => times(&exact.iter().map(DMatrix::transpose).collect::<Vec<_>>(), &field, constant),
            }
        })
    }

    /// A box of `y` around all `x` of a box: larger, where the coordinates are not the variables on other scales.
    ///
    /// # Errors
    /// [`GeometryError::Dimension`].
    pub fn region(&self, sides: &[Interval]) -> Result<Vec<Interval>, GeometryError> {
        check("sides of the region", self.size(), sides.len())?;
        Ok(times(&self.inverses, sides, |entry| entry))
    }

    /// The same of a box that players are confined to by the Euclidean projection: it is the projection in the metric, too, only where the
    /// coordinates are the variables on other scales.
    ///
    /// # Errors
    /// [`GeometryError::Dimension`], [`GeometryError::ProjectionMetricMismatch`] where they are not.
    pub fn constrained_region(&self, sides: &[Interval]) -> Result<Vec<Interval>, GeometryError> {
        let mut start = 0;
        for block in &self.blocks {
            let end = start + block.nrows();
            if (0..block.nrows()).any(|i| (0..block.ncols()).any(|j| i != j && block[(i, j)] != 0.0)) {
                let why = "the metric is not diagonal, and the Euclidean projection onto a box is another one than its own";
                return Err(GeometryError::ProjectionMetricMismatch { coordinates: start..end, why });
            }
            start = end;
        }
        self.region(sides)
    }

    /// The variables `x` at coordinates `y`.
    ///
    /// # Errors
    /// [`GeometryError::Dimension`].
    pub fn point(&self, y: &[f64]) -> Result<Vec<f64>, GeometryError> {
        check("coordinates", self.size(), y.len())?;
        Ok(times(&self.blocks, y, |entry| entry))
    }

    fn size(&self) -> usize {
        self.blocks.iter().map(DMatrix::nrows).sum()
    }
}

fn constant<'g>(entry: Interval) -> Symbol<'g> {
    Symbol::rounded(entry.midpoint(), entry)
}

/// Block by block a matrix times a part of a vector.
fn times<T: nalgebra::Scalar, R: Real>(blocks: &[DMatrix<T>], vector: &[R], constant: impl Fn(T) -> R) -> Vec<R> {
    let mut rest = vector;
    let mut product = Vec::with_capacity(vector.len());
    for block in blocks {
        let (own, after) = rest.split_at(block.ncols());
        rest = after;
        for row in block.row_iter() {
            let terms = row.iter().zip(own).map(|(entry, &x)| constant(entry.clone()) * x);
            product.push(terms.reduce(|sum, term| sum + term).unwrap_or_else(|| R::constant(0.0)));
        }
    }
    product
}

/// Around the inverse: the inverse to rounding `X`, and as `S⁻¹ = (I - E)⁻¹ X` with `E = I - X S`, no entry is farther away than
/// `‖E‖ / (1 - ‖E‖)` times the largest of its column of `X`.
fn inverse(block: &DMatrix<f64>) -> Option<DMatrix<Interval>> {
    let size = block.nrows();
    let x = block.clone().try_inverse().filter(|x| x.iter().all(|entry| entry.is_finite()))?;
    let residual = |i: usize, j: usize| {
        let product = (0..size).fold(Interval::point(0.0), |sum, k| sum + Interval::point(x[(i, k)]) * block[(k, j)]);
        Interval::point((Interval::point(f64::from(i == j)) - product).magnitude())
    };
    let row = |i: usize| (0..size).fold(Interval::point(0.0), |sum, j| sum + residual(i, j)).hi();
    let norm = Interval::point((0..size).map(row).fold(0.0, f64::max));
    let share = norm / (Interval::point(1.0) - norm);
    if !(norm.hi() < 1.0 && share.is_bounded()) {
        return None;
    }
    Some(DMatrix::from_fn(size, size, |i, j| {
        let away = (share * x.column(j).amax()).hi();
        Interval::new(-away, away).map_or(Interval::ENTIRE, |around| Interval::point(x[(i, j)]) + around)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::small_gain::{Certifier, Region, Search, Verdict, check as check_certificate};

    fn metrics() -> [Metric; 2] {
        let matrix = |entries: &[f64]| DMatrix::from_row_slice(2, 2, entries);
        [Metric::new(0, matrix(&[2.0, 0.5, 0.5, 1.0])).unwrap(), Metric::new(1, matrix(&[3.0, -1.0, -1.0, 2.0])).unwrap()]
    }

    fn game() -> Game {
        let game = Game::from_losses(&[2, 2], |x| {
            let own = |a: usize, b: usize| x[a].square() + x[b].square() + 0.4 * x[a] * x[b] + x[a].softplus();
            vec![own(0, 1) + 0.3 * x[0] * x[2] + 0.2 * (x[1] * x[3]).sin(), own(2, 3) - 0.2 * x[0] * x[3]]
        });
        game.unwrap()
    }

    /// `P^{1/2}` of both players' metrics.
    fn root() -> DMatrix<f64> {
        let mut root = DMatrix::zeros(4, 4);
        for (player, metric) in metrics().iter().enumerate() {
            let eigen = nalgebra::SymmetricEigen::new(metric.matrix().clone());
            let values = DMatrix::from_diagonal(&eigen.eigenvalues.map(f64::sqrt));
            root.view_mut((2 * player, 2 * player), (2, 2)).copy_from(&(&eigen.eigenvectors * values * eigen.eigenvectors.transpose()));
        }
        root
    }

    #[test]
    fn blocks_have_the_norms_of_the_metrics() {
        let (coordinates, y) = (Coordinates::of_metrics(&metrics()).unwrap(), [0.3, -0.2, 0.1, 0.5]);
        let x = coordinates.point(&y).unwrap();
        let (jacobian, root) = (game().jacobian(&x), root());
        let inverse = root.clone().try_inverse().unwrap();
        for (following, expected) in
            [(Following::Gradient, &root * &jacobian * &inverse), (Following::Preconditioned, &inverse * &jacobian * &inverse)]
        {
            let found = coordinates.game(&game(), following).unwrap().jacobian(&y);
            for (i, j) in [(0, 0), (0, 2), (2, 0), (2, 2)] {
                let norm = |matrix: &DMatrix<f64>| matrix.view((i, j), (2, 2)).into_owned().singular_values();
                assert!((norm(&found) - norm(&expected)).amax() < 1e-12);
            }
            let least = |matrix: &DMatrix<f64>| {
                let own = matrix.view((0, 0), (2, 2)).into_owned();
                nalgebra::SymmetricEigen::new(0.5 * (&own + own.transpose())).eigenvalues.min()
            };
            assert!((least(&found) - least(&expected)).abs() < 1e-12);
        }
    }

    #[test]
    fn certificates_in_a_metric() {
        let coordinates = Coordinates::of_metrics(&metrics()).unwrap();
        let sides = coordinates.region(&[Interval::new(-0.3, 0.3).unwrap(); 4]).unwrap();
        let game = coordinates.game(&game(), Following::Preconditioned).unwrap();
        let certifier = Certifier { search: Search { most_boxes: 500, ..Search::default() }, ..Certifier::default() };
        let Verdict::Certified(found) = certifier.certify(&game, &Region::Local(sides)).unwrap() else { panic!() };
        assert!(check_certificate(&found.certificate, Some(&game)).is_ok());
    }

    #[test]
    fn projections_that_do_not_fit_and_bad_coordinates_are_named() {
        let sides = [Interval::new(-1.0, 2.0).unwrap(); 4];
        let skew = Coordinates::of_metrics(&metrics()).unwrap();
        assert!(matches!(skew.constrained_region(&sides), Err(GeometryError::ProjectionMetricMismatch { .. })));
        let scaled = Coordinates::new(vec![DMatrix::identity(2, 2) * 2.0, DMatrix::identity(2, 2) * 4.0]).unwrap();
        let region = scaled.constrained_region(&sides).unwrap();
        assert!(region[0].contains(-0.5) && region[0].hi() < 1.0 + 1e-12 && region[3].contains(0.5));
        let new = |block: DMatrix<f64>| Coordinates::new(vec![DMatrix::identity(2, 2), block]);
        let singular = new(DMatrix::from_element(2, 2, 1.0));
        assert!(matches!(singular, Err(GeometryError::MetricNotPositiveDefinite { player: 1, .. })));
        assert!(matches!(new(DMatrix::from_element(2, 2, f64::NAN)), Err(GeometryError::NonFinite { .. })));
        assert!(matches!(new(DMatrix::zeros(2, 3)), Err(GeometryError::Dimension { .. })));
        assert!(matches!(new(DMatrix::zeros(0, 0)), Err(GeometryError::Dimension { .. })));
        let other = Coordinates::new(vec![DMatrix::identity(2, 2)]).unwrap();
        assert!(matches!(other.game(&game(), Following::Gradient), Err(GameError::Dimension { .. })));
    }

    #[test]
    fn inverses_are_enclosed() {
        for entries in [[2.0, 1.0, 1.0, 3.0], [1e-3, 5.0, 0.1, -7.0], [1.0, 1.0 + 1e-6, 1.0, 1.0]] {
            let block = DMatrix::from_row_slice(2, 2, &entries);
            let inverse = inverse(&block).unwrap();
            let determinant = entries[0] * entries[3] - entries[1] * entries[2];
            assert!(inverse[(0, 1)].contains(-entries[1] / determinant) && inverse[(1, 1)].contains(entries[0] / determinant));
            assert!(inverse[(0, 0)].radius() < 1e-6 * inverse[(0, 0)].magnitude());
        }
    }
}
