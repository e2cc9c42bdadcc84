//! Steps of linear games: at which one step contracts, and at which iterates converge in the end.

use nalgebra::{Complex, DMatrix, DVector, Schur};

use super::{SmallGainError, check_weights};
use crate::rigorous::{Interval, norm_is_at_most};
use crate::scalar::Real;

/// Below this, relative to its neighbours, an entry beside the diagonal is 0.
const FIRST_PRECISION: f64 = 8.0 * f64::EPSILON;
/// Times that eigenvalues are looked for.
const ATTEMPTS: i32 = 10;
/// Steps of the QR iteration for each row, after which it is taken to go in circles: two or three are usual.
const QR_STEPS: usize = 10;
/// Rows that smaller matrices are counted as.
const FEW_ROWS: usize = 10;
/// Steps that are tried between 0 and `3 / β`.
const SCANNED: u32 = 2_000;
/// `|z|` between which the boundary of the Runge–Kutta method's stability region crosses every ray of the left half plane: the region holds
/// the half disc of radius 2.6, and no point of the half plane beyond 3.
const BOUNDARY: [f64; 2] = [2.5, 3.0];

/// The first step at which the classical Runge–Kutta method no longer contracts the linear field `J x` in the metric
/// `blkdiag(w_i I)`: the first `h` with `‖M^{1/2} P(-hJ) M^{-1/2}‖₂ = 1`, `P(z) = 1 + z + z²/2 + z³/6 + z⁴/24`; 0 where even short steps
/// do not contract.
///
/// 2000 steps of `(0, 3/β]` are tried and the first bracket is bisected. The norm at the step itself is verified to be at most 1, in
/// interval arithmetic; steps below it are as good as the scan is fine.
///
/// ```
/// use gradus_games::small_gain::affine_rk4_limit;
/// use nalgebra::DMatrix;
///
/// let toy = DMatrix::from_row_slice(2, 2, &[1.0, 10.0, 0.05, 1.0]);
/// let limit = affine_rk4_limit(&toy, &[1, 1], &[1.0, 200.0])?;
/// assert!((limit - 1.631_587).abs() < 1e-6);
/// # Ok::<(), gradus_games::small_gain::SmallGainError>(())
/// ```
///
/// # Errors
/// [`SmallGainError::Dimension`] when the players' dimensions do not sum to the rows and columns, [`SmallGainError::InvalidWeight`],
/// [`SmallGainError::NonFinite`].
pub fn affine_rk4_limit(jacobian: &DMatrix<f64>, dimensions: &[usize], weights: &[f64]) -> Result<f64, SmallGainError> {
    check_weights(weights, dimensions.len())?;
    let size = dimensions.iter().sum();
    for (what, got) in [("rows of the Jacobian", jacobian.nrows()), ("columns of the Jacobian", jacobian.ncols())] {
        if got != size {
            return Err(SmallGainError::Dimension { what, expected: size, got });
        }
    }
    if !jacobian.iter().all(|entry| entry.is_finite()) {
        return Err(SmallGainError::NonFinite { what: "the Jacobian", point: vec![0.0; size] });
    }
    let of: Vec<f64> = dimensions.iter().zip(weights).flat_map(|(&size, &w)| std::iter::repeat_n(w, size)).collect();
    let ratio = |i: usize, j: usize| (Interval::point(of[i]) / Interval::point(of[j])).sqrt();
    let scaled = DMatrix::from_fn(size, size, |i, j| if of[i] == of[j] { Interval::point(1.0) } else { ratio(i, j) } * jacobian[(i, j)]);
    let middle = scaled.map(Interval::midpoint);
    let powers = powers(&middle);
    let contracts = |h: f64| {
        let step = rk4_matrix(&powers, h);
        (DMatrix::identity(size, size) - step.tr_mul(&step)).cholesky().is_some()
    };
    let top = 3.0 / super::scaled::norm(&middle);
    if !top.is_finite() {
        return Ok(0.0);
    }
    let tried = |k: u32| top * f64::from(k) / f64::from(SCANNED);
    let Some(first) = (1..=SCANNED).find(|&k| !contracts(tried(k))) else { return Ok(verified(&scaled, top)) };
    let (mut low, mut high) = (tried(first - 1), tried(first));
    loop {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            return Ok(verified(&scaled, low));
        }
        if contracts(middle) { low = middle } else { high = middle }
    }
}

/// A step as little below `h` as it takes to verify that the norm is at most 1.
fn verified(scaled: &DMatrix<Interval>, h: f64) -> f64 {
    let mut tried = (0..24).map(|k| h * (1.0 - f64::EPSILON * 4f64.powi(k)));
    tried.find(|&h| norm_is_at_most(&rk4_enclosure(scaled, h), 1.0)).unwrap_or(0.0)
}

/// `J, J²/2, J³/6, J⁴/24`.
fn powers(jacobian: &DMatrix<f64>) -> [DMatrix<f64>; 4] {
    let second = jacobian * jacobian / 2.0;
    let third = &second * jacobian / 3.0;
    let fourth = &third * jacobian / 4.0;
    [jacobian.clone(), second, third, fourth]
}

/// `P(-hJ)`.
fn rk4_matrix(powers: &[DMatrix<f64>; 4], h: f64) -> DMatrix<f64> {
    let [first, second, third, fourth] = powers;
    let coefficients = [-h, h * h, -h * h * h, h * h * h * h];
    let sum = |i: usize, j: usize| {
        let terms = [first, second, third, fourth].map(|power| power[(i, j)]);
        terms.iter().zip(coefficients).map(|(term, c)| term * c).sum::<f64>() + if i == j { 1.0 } else { 0.0 }
    };
    DMatrix::from_fn(first.nrows(), first.ncols(), sum)
}

/// Matrices around `P(-hJ)`, by Horner's rule.
fn rk4_enclosure(jacobian: &DMatrix<Interval>, h: f64) -> DMatrix<Interval> {
    let size = jacobian.nrows();
    let point = Interval::point;
    let identity = DMatrix::from_fn(size, size, |i, j| point(if i == j { 1.0 } else { 0.0 }));
    (1..=4).rev().fold(identity.clone(), |inner, k| {
        let scale = point(h) / point(f64::from(k));
        DMatrix::from_fn(size, size, |i, j| {
            identity[(i, j)] - (0..size).fold(point(0.0), |sum, l| sum + jacobian[(i, l)] * inner[(l, j)]) * scale
        })
    })
}

/// The least step at which gradient play on the linear field `J x` no longer converges: at which the spectral radius of `I - hJ` reaches 1,
/// `min 2 Re λ / |λ|²` over the eigenvalues; 0 where one is not in the right half plane. To rounding.
///
/// # Panics
/// When the matrix is not square.
#[track_caller]
pub fn spectral_euler_threshold(jacobian: &DMatrix<f64>) -> f64 {
    euler_threshold(&eigenvalues(jacobian))
}

/// The least step at which the classical Runge–Kutta method on the linear field `J x` no longer converges: at which the spectral radius of
/// `P(-hJ)` reaches 1; 0 where an eigenvalue is not in the closed right half plane, or 0. To rounding.
///
/// # Panics
/// When the matrix is not square.
#[track_caller]
pub fn spectral_rk4_threshold(jacobian: &DMatrix<f64>) -> f64 {
    rk4_threshold(&eigenvalues(jacobian))
}

/// The least step that an eigenvalue does not allow gradient play; 0 where they are not known.
pub(super) fn euler_threshold(eigenvalues: &[Complex<f64>]) -> f64 {
    let allowed = |l: &Complex<f64>| if l.re > 0.0 { 2.0 * l.re / l.norm_sqr() } else { 0.0 };
    eigenvalues.iter().map(allowed).fold(f64::INFINITY, f64::min)
}

/// The least step that an eigenvalue does not allow the Runge–Kutta method; 0 where they are not known.
pub(super) fn rk4_threshold(eigenvalues: &[Complex<f64>]) -> f64 {
    eigenvalues.iter().fold(f64::INFINITY, |least, l| {
        let stable = l.re >= 0.0 && *l != Complex::ZERO;
        // The boundary crosses each ray once: what is inside at the least step so far is crossed later.
        // Of eigenvalues that are equal but for rounding, one is enough.
        if stable && rk4(-l * least).norm_sqr() <= 1.0 + 4.0 * f64::EPSILON {
            return least;
        }
        least.min(if stable { boundary(-l / l.norm()) / l.norm() } else { 0.0 })
    })
}

/// The eigenvalues of a matrix, to rounding; not numbers where they were not found.
///
/// The QR iteration may go in circles, as of some matrices with many equal eigenvalues, and of matrices with many zeros more often: it begins
/// with a reflected matrix, which has the same ones, and anew with another one at a coarser precision.
pub(super) fn eigenvalues(matrix: &DMatrix<f64>) -> Vec<Complex<f64>> {
    assert!(matrix.is_square(), "a matrix of {} rows and {} columns has no eigenvalues", matrix.nrows(), matrix.ncols());
    let size = matrix.nrows();
    let mut tried = matrix.clone();
    for attempt in 0..ATTEMPTS {
        let normal = DVector::from_fn(size, |i, _| libm::sin(1.0 + (i as f64) * f64::from(attempt + 1))).normalize();
        let reflection = DMatrix::identity(size, size) - &normal * normal.transpose() * 2.0;
        tried = &reflection * tried * &reflection;
        let precision = FIRST_PRECISION * 2f64.powi(attempt);
        if let Some(schur) = Schur::try_new(tried.clone(), precision, QR_STEPS * size.max(FEW_ROWS)) {
            return schur.complex_eigenvalues().iter().copied().collect();
        }
    }
    vec![Complex::new(f64::NAN, f64::NAN); size]
}

/// How far along a direction of the left half plane the stability region of the Runge–Kutta method reaches.
fn boundary(direction: Complex<f64>) -> f64 {
    let [mut low, mut high] = BOUNDARY;
    loop {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            return middle;
        }
        if rk4(direction * middle).norm_sqr() < 1.0 { low = middle } else { high = middle }
    }
}

/// `P(z) = 1 + z + z²/2 + z³/6 + z⁴/24`.
fn rk4(z: Complex<f64>) -> Complex<f64> {
    let one = Complex::new(1.0, 0.0);
    (1..=4).rev().fold(one, |inner, k| one + z * inner / f64::from(k))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toy(scale: f64) -> DMatrix<f64> {
        DMatrix::from_row_slice(2, 2, &[1.0, 10.0 * scale, 0.05 * scale, 1.0])
    }

    #[test]
    fn linear_quadratic_games() {
        for (scale, euler, rk4) in [
            (0.0, 2.0, 2.785_294),
            (0.25, 1.699_558, 2.366_884),
            (0.5, 1.477_592, 2.057_764),
            (1.0, 1.171_573, 1.631_587),
            (1.375, 1.014_059, 1.412_226),
        ] {
            assert!((spectral_euler_threshold(&toy(scale)) - euler).abs() < 1e-6, "{scale}");
            assert!((spectral_rk4_threshold(&toy(scale)) - rk4).abs() < 1e-6, "{scale}");
            // In this metric the matrix is symmetric, and its norm the spectral radius.
            let limit = affine_rk4_limit(&toy(scale), &[1, 1], &[1.0, 200.0]).unwrap();
            assert!((limit - spectral_rk4_threshold(&toy(scale))).abs() < 1e-9 && (limit - rk4).abs() < 1e-6, "{scale} {limit}");
        }
    }

    /// Many equal eigenvalues, of which a QR iteration may find none.
    #[test]
    fn large_games_of_few_eigenvalues() {
        let half = 32;
        let large = DMatrix::from_fn(2 * half, 2 * half, |i, j| match (i, j) {
            (i, j) if i == j => 1.0,
            (i, j) if j == i + half => 10.0,
            (i, j) if i == j + half => 0.05,
            _ => 0.0,
        });
        assert!((spectral_euler_threshold(&large) - 1.171_573).abs() < 1e-6, "{}", spectral_euler_threshold(&large));
        assert!((spectral_rk4_threshold(&large) - 1.631_587).abs() < 1e-6);
        assert!((affine_rk4_limit(&large, &[half, half], &[1.0, 200.0]).unwrap() - 1.631_587).abs() < 1e-6);
    }

    /// A step within the stability region that does not contract: convergence in the end is not contraction.
    #[test]
    fn stable_steps_need_not_contract() {
        let h = DMatrix::from_row_slice(
            3,
            3,
            &[1.61217655, 1.50296799, -1.23986516, -1.04325286, 1.79326069, 1.0564413, 0.57288189, -0.71369289, 0.09727499],
        );
        let least = super::super::scaled::least_symmetric(&(0.5 * (&h + h.transpose())));
        assert!((least - 1.0e-3).abs() < 1e-7, "{least}");
        let lipschitz = super::super::scaled::norm(&h);
        assert!((lipschitz - 2.548_515_3).abs() < 1e-7);
        let step = 2.5 / lipschitz;
        assert!((step - 0.980_963_30).abs() < 1e-8);
        let matrix = rk4_matrix(&powers(&h), step);
        assert!((1.128_365..1.128_375).contains(&super::super::scaled::norm(&matrix)));
        let radius = matrix.complex_eigenvalues().iter().map(|l| l.norm()).fold(0.0, f64::max);
        assert!((radius - 0.520_83).abs() < 1e-5, "{radius}");
        assert!(!norm_is_at_most(&rk4_enclosure(&h.map(Interval::point), step), 1.0));
        let limit = affine_rk4_limit(&h, &[1, 2], &[1.0, 1.0]).unwrap();
        assert!(limit > 0.0 && limit < step && spectral_rk4_threshold(&h) > step, "{limit}");
        assert!(norm_is_at_most(&rk4_enclosure(&h.map(Interval::point), limit), 1.0));
    }

    #[test]
    fn games_without_a_step_and_what_is_none() {
        let expanding = DMatrix::from_row_slice(2, 2, &[1.0, 5.0, 5.0, 1.0]);
        assert_eq!(affine_rk4_limit(&expanding, &[1, 1], &[1.0, 1.0]).unwrap(), 0.0);
        assert_eq!((spectral_euler_threshold(&expanding), spectral_rk4_threshold(&expanding)), (0.0, 0.0));
        let rotation = DMatrix::from_row_slice(2, 2, &[0.0, 5.0, -5.0, 0.0]);
        assert_eq!(spectral_euler_threshold(&rotation), 0.0);
        assert!((spectral_rk4_threshold(&rotation) - 8f64.sqrt() / 5.0).abs() < 1e-9);
        assert_eq!(affine_rk4_limit(&DMatrix::zeros(2, 2), &[1, 1], &[1.0, 1.0]).unwrap(), 0.0);
        assert_eq!(spectral_rk4_threshold(&DMatrix::zeros(2, 2)), 0.0);
        let skew = DMatrix::from_row_slice(2, 2, &[1.0, 5.0, -5.0, 1.0]);
        assert!((spectral_euler_threshold(&skew) - 2.0 / 26.0).abs() < 1e-15);
        assert!(matches!(affine_rk4_limit(&skew, &[1, 2], &[1.0; 2]), Err(SmallGainError::Dimension { expected: 3, got: 2, .. })));
        assert!(matches!(affine_rk4_limit(&skew, &[1, 1], &[1.0, 0.0]), Err(SmallGainError::InvalidWeight { player: 1, .. })));
        let nan = DMatrix::from_element(2, 2, f64::NAN);
        assert!(matches!(affine_rk4_limit(&nan, &[1, 1], &[1.0; 2]), Err(SmallGainError::NonFinite { .. })));
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn the_stability_region_ends_once_on_each_ray(angle in 0.0..=1.0f64) {
                let direction = -Complex::from_polar(1.0, (angle - 0.5) * std::f64::consts::PI);
                let end = boundary(direction);
                prop_assert!((2.6..3.0).contains(&end));
                for k in 1..400 {
                    let r = f64::from(k) * 0.01;
                    // Next to the imaginary axis, short steps differ from 1 by less than rounding.
                    let size = rk4(direction * r).norm_sqr();
                    prop_assert!((r - end).abs() < 1e-2 || if r < end { size < 1.0 + 1e-13 } else { size > 1.0 }, "{angle} {r} {size}");
                }
            }

            #[test]
            fn thresholds_bound_limits(entries in prop::array::uniform9(-1.0..1.0f64), shift in 0.5..3.0f64) {
                let matrix = DMatrix::from_row_slice(3, 3, &entries) + DMatrix::from_diagonal_element(3, 3, shift);
                let limit = affine_rk4_limit(&matrix, &[1, 2], &[1.0, 3.0]).unwrap();
                prop_assert!(limit <= spectral_rk4_threshold(&matrix) * (1.0 + 1e-7) + 1e-9, "{limit} {}", spectral_rk4_threshold(&matrix));
            }
        }
    }
}
