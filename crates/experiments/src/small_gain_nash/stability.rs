//! Steps at which iterations of linear fields stop to converge, and resolvents.

use nalgebra::{Complex, DMatrix, SymmetricEigen};

/// The spectral radius of `I - h J`, of the eigenvalues of `J`.
pub(super) fn euler_radius(values: &[Complex<f64>], h: f64) -> f64 {
    values.iter().map(|value| (1.0 - value * h).norm()).fold(0.0, f64::max)
}

/// The supremum of steps of gradient play with spectral radius below 1; 0 if there are none.
pub(super) fn euler_threshold(values: &[Complex<f64>]) -> f64 {
    values.iter().map(|value| 2.0 * value.re / value.norm_sqr()).fold(f64::INFINITY, f64::min).max(0.0)
}

/// `1 + z + z²/2 + z³/6 + z⁴/24`: what a step of the classical Runge–Kutta method makes of `x' = z x`.
fn rk4_polynomial(z: Complex<f64>) -> Complex<f64> {
    let one = Complex::from(1.0);
    one + z * (one + z / 2.0 * (one + z / 3.0 * (one + z / 4.0)))
}

/// The spectral radius of a step of the classical Runge–Kutta method.
pub(super) fn rk4_radius(values: &[Complex<f64>], h: f64) -> f64 {
    values.iter().map(|value| rk4_polynomial(-value * h).norm()).fold(0.0, f64::max)
}

/// The supremum of steps of the classical Runge–Kutta method up to which the spectral radius is below 1.
pub(super) fn rk4_threshold(values: &[Complex<f64>]) -> f64 {
    let along = |value: &Complex<f64>| first_above_one(3.5 / value.norm(), 2000, |h| rk4_polynomial(-value * h).norm());
    values.iter().map(along).fold(f64::INFINITY, f64::min)
}

/// The first step up to `limit` at which `‖P(-h J)‖` reaches 1, with `P` of the classical Runge–Kutta method: until there, each step
/// contracts.
pub(super) fn matrix_rk4_threshold(jacobian: &DMatrix<f64>, limit: f64) -> f64 {
    let powers: Vec<DMatrix<f64>> = std::iter::successors(Some(jacobian.clone()), |power| Some(power * jacobian)).take(4).collect();
    let squared_norm = |h: f64| {
        let mut map = DMatrix::identity(jacobian.nrows(), jacobian.ncols());
        let mut factor = 1.0;
        for (k, power) in powers.iter().enumerate() {
            factor *= -h / (k + 1) as f64;
            map += factor * power;
        }
        SymmetricEigen::new(map.tr_mul(&map)).eigenvalues.max()
    };
    first_above_one(limit, 60, squared_norm)
}

/// The first `h` in `(0, limit]` at which a function that begins below 1 reaches it, seen at `samples` points and then bisected; the limit
/// if there is none, 0 if it begins above.
fn first_above_one(limit: f64, samples: u32, f: impl Fn(f64) -> f64) -> f64 {
    let at = |i: u32| limit * f64::from(i) / f64::from(samples);
    let Some(first) = (1..=samples).find(|&i| f(at(i)) >= 1.0) else { return limit };
    let (mut low, mut high) = (at(first - 1), at(first));
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        if f(middle) < 1.0 { low = middle } else { high = middle }
    }
    low
}

/// `log₁₀ ‖(J - z)⁻¹‖` of a matrix of two rows.
pub(super) fn log_resolvent(jacobian: &DMatrix<f64>, z: Complex<f64>) -> f64 {
    let entry = |i: usize, j: usize| Complex::from(jacobian[(i, j)]) - if i == j { z } else { Complex::from(0.0) };
    let [a, b, c, d] = [entry(0, 0), entry(0, 1), entry(1, 0), entry(1, 1)];
    let determinant = (a * d - b * c).norm();
    let squares: f64 = [a, b, c, d].iter().map(Complex::norm_sqr).sum();
    let greatest = (0.5 * (squares + (squares * squares - 4.0 * determinant * determinant).max(0.0).sqrt())).sqrt();
    // The two singular values multiply to the determinant.
    (greatest / determinant).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_of_numbers() {
        let [one, turning] = [Complex::from(1.0), Complex::new(1.0, 5.0)];
        assert!((euler_threshold(&[one, turning]) - 2.0 / 26.0).abs() < 1e-15);
        assert!((euler_radius(&[turning], 2.0 / 26.0) - 1.0).abs() < 1e-15);
        assert!((rk4_threshold(&[one]) - 2.785_293_563).abs() < 1e-8);
        assert!((rk4_radius(&[turning], rk4_threshold(&[turning])) - 1.0).abs() < 1e-12);
        assert_eq!((euler_threshold(&[-one]), rk4_threshold(&[-one])), (0.0, 0.0));
    }

    #[test]
    fn a_map_that_stretches_although_it_converges() {
        let entries = [1.61217655, 1.50296799, -1.23986516, -1.04325286, 1.79326069, 1.0564413, 0.57288189, -0.71369289, 0.09727499];
        let matrix = DMatrix::from_row_slice(3, 3, &entries);
        let values: Vec<_> = matrix.complex_eigenvalues().iter().copied().collect();
        assert!((rk4_radius(&values, 0.980_963_30) - 0.520_83).abs() < 1e-5);
        assert!(matrix_rk4_threshold(&matrix, 1.2) < 0.980_963_30 && rk4_threshold(&values) > 0.980_963_30);
    }

    #[test]
    fn resolvents_of_a_diagonal_matrix() {
        let matrix = DMatrix::from_row_slice(2, 2, &[1.0, 0.0, 0.0, 3.0]);
        assert!((log_resolvent(&matrix, Complex::from(1.1)) - 1.0).abs() < 1e-12);
        assert!((log_resolvent(&matrix, Complex::new(3.0, 0.01)) - 2.0).abs() < 1e-12);
    }
}
