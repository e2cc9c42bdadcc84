//! Sets that players are confined to, and projections onto them, in Euclidean and other metrics.
//!
//! Gradient play that is confined to a set `X` is `x⁺ = Proj(x - h F(x))`, and it contracts in a metric `P` if the projection is the one
//! in this metric: the point `z` of `X` with the least `(z - x)ᵀ P (z - x)`, or with `(x - z)ᵀ P (y - z) ≤ 0` for all `y` of `X`. In the
//! metric `blkdiag(w_i P_i)` of a game, [`check_euclidean`] says whether that is the Euclidean projection.
//!
//! ```
//! use gradus_games::geometry::{Metric, Set};
//! use nalgebra::DMatrix;
//!
//! let simplex = Set::simplex(3, 1.0)?;
//! let mut x = [0.9, 0.5, -1.0];
//! simplex.project(&mut x)?;
//! assert!((x[0] - 0.7).abs() < 1e-15 && (x[1] - 0.3).abs() < 1e-15 && x[2] == 0.0);
//!
//! // Moving the first number costs more.
//! let metric = Metric::new(0, DMatrix::from_row_slice(3, 3, &[3.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]))?;
//! let mut x = [0.9, 0.5, -1.0];
//! simplex.project_in(&metric, &mut x)?;
//! assert!((x[0] - 0.8).abs() < 1e-15 && (x[1] - 0.2).abs() < 1e-15 && x[2] == 0.0);
//! # Ok::<(), gradus_games::geometry::GeometryError>(())
//! ```

mod coordinates;
mod metric;
mod quadratic;
#[cfg(test)]
mod tests;

use std::ops::Range;

use nalgebra::{DMatrix, DVector};

pub use coordinates::{Coordinates, Following};
pub use metric::Metric;
use metric::column;
use quadratic::Polytope;

/// What is no set or no metric, or a point that cannot be projected.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// Sizes that do not fit.
    #[error("{what}: expected {expected}, got {got}")]
    Dimension {
        /// What has the size.
        what: &'static str,
        /// The size it must have.
        expected: usize,
        /// The size it has.
        got: usize,
    },
    /// A number that is not finite.
    #[error("entry {index} of {what} is {value}")]
    NonFinite {
        /// What has the number.
        what: &'static str,
        /// Its place.
        index: usize,
        /// The number.
        value: f64,
    },
    /// A set without a point.
    #[error("the set is empty: {why}")]
    EmptySet {
        /// What contradicts what.
        why: String,
    },
    /// A weight that is not a positive number.
    #[error("weight {player} is {value}, but weights must be positive and finite")]
    InvalidWeight {
        /// The player, from 0.
        player: usize,
        /// The weight.
        value: f64,
    },
    /// A metric's matrix that is not symmetric.
    #[error("the metric of player {player} is not symmetric: entries ({row}, {column}) and ({column}, {row}) differ")]
    MetricNotSymmetric {
        /// The player, from 0.
        player: usize,
        /// Row of one of the entries.
        row: usize,
        /// Its column.
        column: usize,
    },
    /// A metric's matrix that is not positive definite.
    #[error("the metric of player {player} is not positive definite: its least eigenvalue is {lambda_min}")]
    MetricNotPositiveDefinite {
        /// The player, from 0.
        player: usize,
        /// The least eigenvalue, with its rounding errors.
        lambda_min: f64,
    },
    /// A set and a metric that do not go together.
    #[error("the projection of variables {} to {} does not go with the metric: {why}", .coordinates.start, .coordinates.end - 1)]
    ProjectionMetricMismatch {
        /// The variables.
        coordinates: Range<usize>,
        /// What does not fit.
        why: &'static str,
    },
    /// A projection that rounding errors kept from ending.
    #[error("no nearest point was found in {steps} steps")]
    Unsolved {
        /// The steps that were made.
        steps: usize,
    },
}

/// A closed convex set of points, not empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Set {
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Free(usize),
    Box {
        lower: Vec<f64>,
        upper: Vec<f64>,
    },
    Ball {
        centre: Vec<f64>,
        radius: f64,
    },
    /// Numbers at or above their floors with a given sum.
    Simplex {
        floors: Vec<f64>,
        scale: f64,
    },
    /// `rows x = offset`, with orthonormal rows.
    Affine {
        rows: DMatrix<f64>,
        offset: DVector<f64>,
    },
    /// `rows x ≤ offset`, with rows of length 1.
    Halfspaces {
        rows: DMatrix<f64>,
        offset: DVector<f64>,
    },
    Product(Vec<Set>),
}

impl Set {
    /// All points of `size` numbers.
    ///
    /// # Errors
    /// [`GeometryError::Dimension`] for a size of 0, as in all other sets.
    pub fn free(size: usize) -> Result<Self, GeometryError> {
        Self::of(size, Kind::Free(size))
    }

    /// The box `lower ≤ x ≤ upper`; ends may be infinite.
    ///
    /// # Errors
    /// [`GeometryError::Dimension`], [`GeometryError::NonFinite`] for NaN, [`GeometryError::EmptySet`] for inverted sides.
    pub fn boxed(lower: Vec<f64>, upper: Vec<f64>) -> Result<Self, GeometryError> {
        check("upper ends of a box", lower.len(), upper.len())?;
        for (index, (&lo, &hi)) in lower.iter().zip(&upper).enumerate() {
            if let Some(value) = [lo, hi].into_iter().find(|end| end.is_nan()) {
                return Err(GeometryError::NonFinite { what: "a box", index, value });
            }
            if lo > hi || lo == f64::INFINITY || hi == f64::NEG_INFINITY {
                return Err(GeometryError::EmptySet { why: format!("no number lies between {lo} and {hi} in side {index} of the box") });
            }
        }
        Self::of(lower.len(), Kind::Box { lower, upper })
    }

    /// The Euclidean ball `|x - centre| ≤ radius`.
    ///
    /// # Errors
    /// [`GeometryError::Dimension`], [`GeometryError::NonFinite`], [`GeometryError::EmptySet`] for a negative radius.
    pub fn ball(centre: Vec<f64>, radius: f64) -> Result<Self, GeometryError> {
        check_finite("the centre", &centre)?;
        check_finite("the radius", &[radius])?;
        if radius < 0.0 {
            return Err(GeometryError::EmptySet { why: format!("the ball has radius {radius}") });
        }
        Self::of(centre.len(), Kind::Ball { centre, radius })
    }

    /// The simplex of `size` numbers at or above 0 whose sum is `scale`.
    ///
    /// # Errors
    /// [`GeometryError::Dimension`], [`GeometryError::NonFinite`], [`GeometryError::EmptySet`] for a negative scale.
    pub fn simplex(size: usize, scale: f64) -> Result<Self, GeometryError> {
        Self::probability_box(vec![0.0; size], scale)
    }

    /// The simplex with floors: numbers at or above their floors whose sum is `scale`.
    ///
    /// # Errors
    /// [`GeometryError::Dimension`], [`GeometryError::NonFinite`], [`GeometryError::EmptySet`] when the floors sum to more than `scale`.
    pub fn probability_box(floors: Vec<f64>, scale: f64) -> Result<Self, GeometryError> {
        check_finite("the floors", &floors)?;
        check_finite("the scale", &[scale])?;
        let least: f64 = floors.iter().sum();
        if least > scale {
            return Err(GeometryError::EmptySet { why: format!("the floors sum to {least}, which is above the scale {scale}") });
        }
        Self::of(floors.len(), Kind::Simplex { floors, scale })
    }

    /// The affine space `matrix · x = offset`.
    ///
    /// # Errors
    /// [`GeometryError::Dimension`], [`GeometryError::NonFinite`], [`GeometryError::EmptySet`] when the equations contradict each other.
    pub fn affine(matrix: &DMatrix<f64>, offset: &[f64]) -> Result<Self, GeometryError> {
        let Some((rows, offset)) = unit_rows(matrix, offset, |offset| offset == 0.0)? else { return Self::free(matrix.ncols()) };
        let (size, equations) = (rows.ncols(), rows.nrows());
        let svd = rows.clone().svd(true, true);
        let (Some(u), Some(v_t)) = (&svd.u, &svd.v_t) else { return Err(GeometryError::Unsolved { steps: 0 }) };
        let least = size.max(equations) as f64 * f64::EPSILON * svd.singular_values.max();
        let kept: Vec<usize> = (0..svd.singular_values.len()).filter(|&k| svd.singular_values[k] > least).collect();
        let reduced_rows = v_t.select_rows(&kept);
        let reduced = DVector::from_iterator(kept.len(), kept.iter().map(|&k| u.column(k).dot(&offset) / svd.singular_values[k]));
        let missed = (&rows * reduced_rows.tr_mul(&reduced) - &offset).amax();
        if missed > 1e-10 * offset.amax() {
            return Err(GeometryError::EmptySet { why: format!("the equations contradict each other by {missed}") });
        }
        Self::of(size, Kind::Affine { rows: reduced_rows, offset: reduced })
    }

    /// The polytope `matrix · x ≤ offset`.
    ///
    /// # Errors
    /// [`GeometryError::Dimension`], [`GeometryError::NonFinite`], [`GeometryError::EmptySet`] when no point satisfies all inequalities,
    /// [`GeometryError::Unsolved`] when rounding errors keep it from being seen.
    pub fn halfspaces(matrix: &DMatrix<f64>, offset: &[f64]) -> Result<Self, GeometryError> {
        let Some((rows, offset)) = unit_rows(matrix, offset, |offset| offset >= 0.0)? else { return Self::free(matrix.ncols()) };
        let set = Self::of(rows.ncols(), Kind::Halfspaces { rows, offset })?;
        set.project(&mut vec![0.0; set.size()])?;
        Ok(set)
    }

    /// Points of which one part after the other lies in one of the sets.
    ///
    /// # Errors
    /// [`GeometryError::Dimension`] for no set.
    pub fn product(factors: Vec<Self>) -> Result<Self, GeometryError> {
        Self::of(factors.iter().map(Self::size).sum(), Kind::Product(factors))
    }

    fn of(size: usize, kind: Kind) -> Result<Self, GeometryError> {
        if size == 0 {
            return Err(GeometryError::Dimension { what: "numbers of a point, at least", expected: 1, got: 0 });
        }
        Ok(Self { kind })
    }

    /// Number of numbers of a point.
    pub fn size(&self) -> usize {
        match &self.kind {
            Kind::Free(size) => *size,
            Kind::Box { lower, .. } => lower.len(),
            Kind::Ball { centre, .. } => centre.len(),
            Kind::Simplex { floors, .. } => floors.len(),
            Kind::Affine { rows, .. } | Kind::Halfspaces { rows, .. } => rows.ncols(),
            Kind::Product(factors) => factors.iter().map(Self::size).sum(),
        }
    }

    /// Whether the point violates no constraint by more than `tolerance`; each constraint is a number's, a sum's, or a distance.
    ///
    /// # Panics
    /// When the point has another size than the set.
    #[track_caller]
    pub fn contains(&self, x: &[f64], tolerance: f64) -> bool {
        assert!(x.len() == self.size(), "a set of points of size {} got one of size {}", self.size(), x.len());
        match &self.kind {
            Kind::Free(_) => x.iter().all(|x| x.is_finite()),
            Kind::Box { lower, upper } => x.iter().zip(lower).zip(upper).all(|((x, lo), hi)| lo - tolerance <= *x && *x <= hi + tolerance),
            Kind::Ball { centre, radius } => distance(x, centre) <= radius + tolerance,
            Kind::Simplex { floors, scale } => {
                (x.iter().sum::<f64>() - scale).abs() <= tolerance && x.iter().zip(floors).all(|(x, floor)| *x >= floor - tolerance)
            }
            Kind::Affine { rows, offset } => (rows * column(x) - offset).iter().all(|missed| missed.abs() <= tolerance),
            Kind::Halfspaces { rows, offset } => (rows * column(x) - offset).iter().all(|beyond| *beyond <= tolerance),
            Kind::Product(factors) => parts(factors).all(|(range, set)| set.contains(&x[range], tolerance)),
        }
    }

    /// Moves a point to the nearest one of the set, by Euclidean distance.
    ///
    /// Nothing is allocated, except for polytopes.
    ///
    /// # Errors
    /// [`GeometryError::Dimension`], [`GeometryError::NonFinite`]; [`GeometryError::Unsolved`] for polytopes only.
    pub fn project(&self, x: &mut [f64]) -> Result<(), GeometryError> {
        check("numbers of the point", self.size(), x.len())?;
        check_finite("the point", x)?;
        match &self.kind {
            Kind::Free(_) => {}
            Kind::Box { lower, upper } => clamp(x, lower, upper),
            Kind::Ball { centre, radius } => {
                let far = distance(x, centre);
                if far > *radius {
                    x.iter_mut().zip(centre).for_each(|(x, c)| *x = c + (*x - c) * (radius / far));
                }
            }
            Kind::Simplex { floors, scale } => project_to_simplex(x, floors, *scale, |_| 1.0),
            Kind::Affine { rows, offset } => {
                for (row, offset) in rows.row_iter().zip(offset) {
                    let missed = row.iter().zip(&*x).map(|(a, x)| a * x).sum::<f64>() - offset;
                    row.iter().zip(&mut *x).for_each(|(a, x)| *x -= a * missed);
                }
            }
            Kind::Halfspaces { rows, offset } => {
                let moved = polytope(rows, offset, x, false, None).nearest_to_origin()?;
                x.iter_mut().zip(&moved).for_each(|(x, moved)| *x += moved);
            }
            Kind::Product(factors) => {
                for (range, set) in parts(factors) {
                    set.project(&mut x[range])?;
                }
            }
        }
        Ok(())
    }

    /// Moves a point to the nearest one of the set, by the distance of a metric.
    ///
    /// Boxes are bounded least squares, balls a secular equation, simplices a piecewise linear one if the metric is diagonal and a
    /// quadratic programme if not, affine spaces a linear system, polytopes a quadratic programme.
    ///
    /// # Errors
    /// As [`Set::project`]; [`GeometryError::ProjectionMetricMismatch`] for products whose factors the metric couples.
    pub fn project_in(&self, metric: &Metric, x: &mut [f64]) -> Result<(), GeometryError> {
        check("numbers of the metric", self.size(), metric.size())?;
        check("numbers of the point", self.size(), x.len())?;
        check_finite("the point", x)?;
        if metric.is_scalar() {
            return self.project(x);
        }
        match &self.kind {
            Kind::Free(_) => Ok(()),
            Kind::Box { lower, upper } if metric.is_diagonal() => {
                clamp(x, lower, upper);
                Ok(())
            }
            Kind::Box { lower, upper } => {
                let (rows, offset) = sides(lower, upper);
                solve_in(metric, &rows, &offset, x, false)?;
                clamp(x, lower, upper);
                Ok(())
            }
            Kind::Ball { centre, radius } => {
                project_to_ball(x, centre, *radius, metric);
                Ok(())
            }
            Kind::Simplex { floors, scale } if metric.is_diagonal() => {
                project_to_simplex(x, floors, *scale, |k| metric.matrix()[(k, k)]);
                Ok(())
            }
            Kind::Simplex { floors, scale } => {
                let (rows, offset) = simplex_sides(floors, *scale);
                solve_in(metric, &rows, &offset, x, true)
            }
            Kind::Affine { rows, offset } => project_to_affine(x, rows, offset, metric),
            Kind::Halfspaces { rows, offset } => solve_in(metric, rows, offset, x, false),
            Kind::Product(factors) => {
                for (range, set) in parts(factors) {
                    if couples(metric.matrix(), &range) {
                        let why = "it couples them to variables of other factors of the product";
                        return Err(GeometryError::ProjectionMetricMismatch { coordinates: range, why });
                    }
                    set.project_in(&metric.part(range.start, range.len())?, &mut x[range])?;
                }
                Ok(())
            }
        }
    }

    /// The sets that this is a product of, with the variables that they confine.
    fn atoms<'a>(&'a self, start: usize, atoms: &mut Vec<(Range<usize>, &'a Self)>) {
        match &self.kind {
            Kind::Product(factors) => parts(factors).for_each(|(range, set)| set.atoms(start + range.start, atoms)),
            _ => atoms.push((start..start + self.size(), self)),
        }
    }
}

/// Whether the Euclidean projection onto the set of all players' variables is the projection in the metric `blkdiag(w_i P_i)` of the
/// players' `metrics` `P_i`, for all weights `w`.
///
/// It is for a product of any sets of single players with multiples of the identity, of boxes whose variables their metric does not couple
/// to any other, and of free variables. It is not for sets that couple players, nor for others in metrics that are no multiple of the
/// identity: gradient play with the Euclidean projection then need not contract in the metric.
///
/// ```
/// use gradus_games::geometry::{GeometryError, Metric, Set, check_euclidean};
/// use nalgebra::DMatrix;
///
/// let skew = Metric::new(0, DMatrix::from_row_slice(2, 2, &[2.0, 1.0, 1.0, 2.0]))?;
/// let both = Set::product(vec![Set::boxed(vec![0.0; 2], vec![1.0; 2])?, Set::simplex(3, 1.0)?])?;
/// check_euclidean(&both, &[Metric::identity(2)?, Metric::identity(3)?])?;
/// let found = check_euclidean(&both, &[skew, Metric::identity(3)?]);
/// assert!(matches!(found, Err(GeometryError::ProjectionMetricMismatch { .. })));
/// # Ok::<(), GeometryError>(())
/// ```
///
/// # Errors
/// [`GeometryError::ProjectionMetricMismatch`] if it is not; [`GeometryError::Dimension`].
pub fn check_euclidean(set: &Set, metrics: &[Metric]) -> Result<(), GeometryError> {
    check("numbers of all metrics", set.size(), metrics.iter().map(Metric::size).sum())?;
    let mut atoms = Vec::new();
    set.atoms(0, &mut atoms);
    let mut start = 0;
    for metric in metrics {
        let player = start..start + metric.size();
        for (range, set) in atoms.iter().filter(|(range, _)| range.start < player.end && player.start < range.end) {
            check_atom(set, range, &player, metric.matrix())?;
        }
        start = player.end;
    }
    Ok(())
}

/// The part of [`check_euclidean`] for a set of some variables, and a player who has some of them.
fn check_atom(set: &Set, range: &Range<usize>, player: &Range<usize>, matrix: &DMatrix<f64>) -> Result<(), GeometryError> {
    let mismatch = |why| Err(GeometryError::ProjectionMetricMismatch { coordinates: range.clone(), why });
    let own = range.start.max(player.start) - player.start..range.end.min(player.end) - player.start;
    let diagonal = || own.clone().all(|k| (0..matrix.ncols()).all(|l| k == l || matrix[(k, l)] == 0.0));
    match &set.kind {
        // Free variables stay where they are; others' checks see to what couples them to those.
        Kind::Free(_) => Ok(()),
        _ if range.start < player.start || range.end > player.end => match &set.kind {
            Kind::Box { .. } if diagonal() => Ok(()),
            Kind::Box { .. } => mismatch("it couples variables of a box"),
            _ => mismatch("the set couples players, whose weights may differ"),
        },
        _ if !diagonal() => mismatch("it couples confined variables"),
        Kind::Box { .. } => Ok(()),
        _ if own.clone().any(|k| matrix[(k, k)] != matrix[(own.start, own.start)]) => mismatch("it is no multiple of the identity on them"),
        _ => Ok(()),
    }
}

/// The factors of a product with their variables.
fn parts(factors: &[Set]) -> impl Iterator<Item = (Range<usize>, &Set)> {
    factors.iter().scan(0, |end, set| {
        let start = *end;
        *end += set.size();
        Some((start..*end, set))
    })
}

/// Whether a matrix has an entry for a variable of the range and one outside.
fn couples(matrix: &DMatrix<f64>, range: &Range<usize>) -> bool {
    range.clone().any(|k| (0..matrix.ncols()).any(|l| !range.contains(&l) && matrix[(k, l)] != 0.0))
}

fn distance(x: &[f64], y: &[f64]) -> f64 {
    // Scaled, so that it neither overflows nor vanishes before the distance does.
    let largest = x.iter().zip(y).fold(0.0, |largest: f64, (x, y)| largest.max((x - y).abs()));
    if largest == 0.0 || !largest.is_finite() {
        return largest;
    }
    largest * x.iter().zip(y).map(|(x, y)| ((x - y) / largest).powi(2)).sum::<f64>().sqrt()
}

fn clamp(x: &mut [f64], lower: &[f64], upper: &[f64]) {
    x.iter_mut().zip(lower).zip(upper).for_each(|((x, lo), hi)| *x = x.clamp(*lo, *hi));
}

/// The nearest point of a simplex with floors in the metric `diag(weight)`: `max(floor_k, x_k - τ / weight_k)` with the `τ` at which the
/// sum is right.
///
/// Newton's method for `τ`, which ends after as many steps as there are numbers (Michelot 1986): the sum is convex and piecewise linear in
/// `τ`, so it comes from below, and a number that reached its floor stays there.
fn project_to_simplex(x: &mut [f64], floors: &[f64], scale: f64, weight: impl Fn(usize) -> f64) {
    let mut first = true;
    loop {
        let free = |k: usize, x: f64| first || x > floors[k];
        let ease: f64 = (0..x.len()).filter(|&k| free(k, x[k])).map(|k| 1.0 / weight(k)).sum();
        let excess = x.iter().sum::<f64>() - scale;
        // All are at their floors.
        if ease == 0.0 {
            return;
        }
        let mut fell = false;
        for k in 0..x.len() {
            if free(k, x[k]) {
                x[k] -= excess / ease / weight(k);
                fell |= x[k] < floors[k];
            }
            x[k] = x[k].max(floors[k]);
        }
        if !fell && !first {
            return;
        }
        first = false;
    }
}

/// The nearest point of a ball in a metric: `(P + λ) (z - c) = P (x - c)` with the `λ ≥ 0` at which `|z - c|` is the radius.
///
/// Newton's method for the inverse of the distance, which is concave in `λ`, so that it comes from below (as in trust regions: Moré and
/// Sorensen 1983).
fn project_to_ball(x: &mut [f64], centre: &[f64], radius: f64, metric: &Metric) {
    if distance(x, centre) <= radius {
        return;
    }
    let (values, vectors) = metric.eigen();
    let pulls = vectors.tr_mul(&(column(x) - column(centre))).component_mul(values);
    let at = |lambda: f64| pulls.zip_map(values, |pull, value| pull / (value + lambda));
    let mut lambda = 0.0;
    let mut found = at(lambda);
    loop {
        let far = found.norm();
        let slope = found.zip_map(values, |u, value| u * u / (value + lambda)).sum() / (far * far);
        let next = lambda + (far / radius - 1.0) / slope;
        // It moves no more; or never ends, for a ball that is a point.
        if !(next > lambda && next.is_finite()) {
            break;
        }
        lambda = next;
        found = at(lambda);
    }
    let far = found.norm();
    let moved = vectors * found * if far > 0.0 { radius / far } else { 0.0 };
    x.iter_mut().zip(centre).zip(&moved).for_each(|((x, c), moved)| *x = c + moved);
}

/// The nearest point of an affine space in a metric: `x - P⁻¹ Aᵀ (A P⁻¹ Aᵀ)⁻¹ (A x - b)`.
fn project_to_affine(x: &mut [f64], rows: &DMatrix<f64>, offset: &DVector<f64>, metric: &Metric) -> Result<(), GeometryError> {
    if rows.nrows() == 0 {
        return Ok(());
    }
    let scaled = solved_rows(metric, rows);
    let qr = scaled.qr();
    // Twice, for what rounding left of a far point.
    for _ in 0..2 {
        let mut missed = rows * column(x) - offset;
        // P⁻¹ = L⁻ᵀ L⁻¹, and L⁻¹ Aᵀ = Q R.
        if !qr.r().tr_solve_upper_triangular_mut(&mut missed) {
            return Err(GeometryError::Unsolved { steps: 0 });
        }
        let mut moved = qr.q() * missed;
        metric.factor().tr_solve_lower_triangular_mut(&mut moved);
        x.iter_mut().zip(&moved).for_each(|(x, moved)| *x -= moved);
    }
    Ok(())
}

/// `L⁻¹ Aᵀ`, for the rows `A` and the metric `P = L Lᵀ`.
fn solved_rows(metric: &Metric, rows: &DMatrix<f64>) -> DMatrix<f64> {
    let mut scaled = rows.transpose();
    metric.factor().solve_lower_triangular_mut(&mut scaled);
    scaled
}

/// The constraints `rows (x + v) ≤ offset` on the move `v`, or on `u = Lᵀ v` in a metric, in which its length is that of `u`.
fn polytope(rows: &DMatrix<f64>, offset: &DVector<f64>, x: &[f64], first_is_equality: bool, metric: Option<&Metric>) -> Polytope {
    let mut normals = metric.map_or_else(|| rows.transpose(), |metric| solved_rows(metric, rows));
    let mut polytope = Polytope { normals: DMatrix::zeros(0, 0), levels: Vec::new(), tolerances: Vec::new(), first_is_equality };
    for (p, mut normal) in normals.column_iter_mut().enumerate() {
        let length = normal.norm();
        normal /= -length;
        let row = rows.row(p);
        polytope.levels.push((row.iter().zip(x).map(|(a, x)| a * x).sum::<f64>() - offset[p]) / length);
        let size = offset[p].abs() + row.iter().zip(x).map(|(a, x)| (a * x).abs()).sum::<f64>();
        polytope.tolerances.push(1e-13 * size / length);
    }
    polytope.normals = normals;
    polytope
}

/// Moves a point to the nearest one with `rows x ≤ offset` in a metric, or with equality in the first row.
fn solve_in(
    metric: &Metric,
    rows: &DMatrix<f64>,
    offset: &DVector<f64>,
    x: &mut [f64],
    first_is_equality: bool,
) -> Result<(), GeometryError> {
    let mut moved = polytope(rows, offset, x, first_is_equality, Some(metric)).nearest_to_origin()?;
    metric.factor().tr_solve_lower_triangular_mut(&mut moved);
    x.iter_mut().zip(&moved).for_each(|(x, moved)| *x += moved);
    Ok(())
}

/// A box's finite sides as half-spaces.
fn sides(lower: &[f64], upper: &[f64]) -> (DMatrix<f64>, DVector<f64>) {
    let ends = [(upper, 1.0), (lower, -1.0)];
    let sides = ends.iter().flat_map(|&(ends, sign)| ends.iter().enumerate().map(move |(k, end)| (k, sign, *end)));
    let sides: Vec<(usize, f64, f64)> = sides.filter(|(_, _, end)| end.is_finite()).collect();
    let mut rows = DMatrix::zeros(sides.len(), lower.len());
    sides.iter().enumerate().for_each(|(p, &(k, sign, _))| rows[(p, k)] = sign);
    (rows, DVector::from_iterator(sides.len(), sides.iter().map(|(_, sign, end)| sign * end)))
}

/// A simplex's sum, and its floors as half-spaces.
fn simplex_sides(floors: &[f64], scale: f64) -> (DMatrix<f64>, DVector<f64>) {
    let size = floors.len();
    let length = (size as f64).sqrt();
    let rows = DMatrix::from_fn(size + 1, size, |p, k| match p {
        0 => 1.0 / length,
        _ if p == k + 1 => -1.0,
        _ => 0.0,
    });
    let offset = DVector::from_fn(size + 1, |p, _| if p == 0 { scale / length } else { -floors[p - 1] });
    (rows, offset)
}

/// Rows of length 1 and what belongs to them; rows of zeros are left out if `holds` for their offset. None if no row is left.
fn unit_rows(
    matrix: &DMatrix<f64>,
    offset: &[f64],
    holds: impl Fn(f64) -> bool,
) -> Result<Option<(DMatrix<f64>, DVector<f64>)>, GeometryError> {
    check("entries of the offset", matrix.nrows(), offset.len())?;
    check_finite("the matrix", matrix.as_slice())?;
    check_finite("the offset", offset)?;
    let lengths: Vec<f64> = matrix.row_iter().map(|row| row.norm()).collect();
    if let Some(row) = (0..lengths.len()).find(|&row| lengths[row] == 0.0 && !holds(offset[row])) {
        return Err(GeometryError::EmptySet { why: format!("row {row} has only zeros, which do not go with {}", offset[row]) });
    }
    let kept: Vec<usize> = (0..lengths.len()).filter(|&row| lengths[row] > 0.0).collect();
    if kept.is_empty() {
        return Ok(None);
    }
    let rows = DMatrix::from_fn(kept.len(), matrix.ncols(), |i, k| matrix[(kept[i], k)] / lengths[kept[i]]);
    Ok(Some((rows, DVector::from_fn(kept.len(), |i, _| offset[kept[i]] / lengths[kept[i]]))))
}

fn check(what: &'static str, expected: usize, got: usize) -> Result<(), GeometryError> {
    if expected == got { Ok(()) } else { Err(GeometryError::Dimension { what, expected, got }) }
}

fn check_finite(what: &'static str, numbers: &[f64]) -> Result<(), GeometryError> {
    match numbers.iter().position(|x| !x.is_finite()) {
        Some(index) => Err(GeometryError::NonFinite { what, index, value: numbers[index] }),
        None => Ok(()),
    }
}
