//! The best step sizes: in closed form for one step, by search for more.

use gradus_autodiff::Scalar;

use super::error::{InContextError, Result, option};
use super::{Batch, InputLaw, Reference, RegressionTasks};

/// The best step size of one step of gradient descent from 0, and the loss that it is expected to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OneStepOptimum {
    /// η*.
    pub eta: f64,
    /// The expected `½ ‖y_q − ŷ‖²` with η*.
    pub loss: f64,
    /// The expected loss of predicting 0.
    pub zero_loss: f64,
}

/// The step size that minimises the expected loss of one step for uniform inputs, in closed form.
///
/// With `a = r/2`, `σ² = a²/3` and `m₄ = a⁴/5` (second and fourth moment of an entry):
/// `η* = σ² / [(m₄ + (d−1)σ⁴)/N + σ⁴(N−1)/N]`, expected loss `½ s² σ² d (1 − η* σ²)` for each output,
/// which is `(d − 0.2)/(N + d − 0.2)` of that of predicting 0.
///
/// ```
/// use gradus_learning::in_context::gradient_descent::{RegressionTasks, optimal_eta};
/// let best = optimal_eta(&RegressionTasks::default())?; // d = N = 10, r = 1
/// assert!((best.eta - 6.0606061).abs() < 1e-7 && (best.loss - 0.2062290).abs() < 1e-7);
/// # Ok::<(), gradus_learning::in_context::gradient_descent::InContextError>(())
/// ```
///
/// # Errors
/// As [`RegressionTasks::validate`]; [`InContextError::InvalidOption`] for another law or for distractors.
pub fn optimal_eta(tasks: &RegressionTasks) -> Result<OneStepOptimum> {
    tasks.validate()?;
    option("law", tasks.law as usize as f64, tasks.law == InputLaw::Uniform, "uniform (0) for the closed form")?;
    option("distractors", tasks.distractors as f64, tasks.distractors == 0, "0 for the closed form")?;
    let (d, n) = (tasks.dimension as f64, tasks.context as f64);
    let a = tasks.input_range / 2.0;
    let (variance, fourth) = (a * a / 3.0, a.powi(4) / 5.0);
    let eta = variance / ((fourth + (d - 1.0) * variance * variance) / n + variance * variance * (n - 1.0) / n);
    let zero_loss = 0.5 * tasks.weight_scale * tasks.weight_scale * variance * d * tasks.outputs as f64;
    Ok(OneStepOptimum { eta, loss: zero_loss * (1.0 - eta * variance), zero_loss })
}

/// A tuned step size of gradient descent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TunedGd {
    /// The step size, the same at each step.
    pub eta: f64,
    /// The loss on the tasks that it was tuned on.
    pub loss: f64,
}

/// Tuned parameters of GD++.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TunedGdPlusPlus {
    /// The step size, the same at each step.
    pub eta: f64,
    /// γ, the same at each step.
    pub gamma: f64,
    /// The loss on the tasks that they were tuned on.
    pub loss: f64,
}

/// The step size with the least loss of `steps` steps of gradient descent on these tasks (2,000 suffice): a geometric grid,
/// refined by golden section.
///
/// ```
/// use gradus_learning::in_context::gradient_descent::{RegressionTasks, tune_gd};
/// let tasks = RegressionTasks::default().sample::<f64>(200, &mut gradus_base::stream(1, "tuning tasks", 0))?;
/// assert!(tune_gd(&tasks, 2)?.loss < tune_gd(&tasks, 1)?.loss);
/// # Ok::<(), gradus_learning::in_context::gradient_descent::InContextError>(())
/// ```
///
/// # Errors
/// [`InContextError::InvalidOption`] for no steps, [`InContextError::Singular`] when all inputs are 0.
pub fn tune_gd<T: Scalar>(batch: &Batch<T>, steps: usize) -> Result<TunedGd> {
    let scale = mean_scale(batch)?;
    let loss = |eta: f64| Reference::GradientDescent { eta, steps }.loss(batch).map(or_infinite);
    // Relative to 1/mean eigenvalue of the inputs' covariance, the best step lies far inside these bounds.
    const GRID: usize = 25;
    let grid: Vec<f64> = (0..GRID).map(|i| (1e-3f64.ln() + i as f64 / (GRID - 1) as f64 * 1e4f64.ln()).exp() / scale).collect();
    let losses = grid.iter().map(|&eta| loss(eta)).collect::<Result<Vec<f64>>>()?;
    let best = (0..GRID).min_by(|&i, &j| losses[i].total_cmp(&losses[j])).unwrap_or(0);
    let (eta, loss) = golden_section(loss, grid[best.saturating_sub(1)], grid[(best + 1).min(GRID - 1)])?;
    Ok(TunedGd { eta, loss })
}

/// η and γ with the least loss of `steps` steps of GD++ on these tasks, by the simplex method of Nelder and Mead from two
/// starts. A single step has no use for γ, which is then 0.
///
/// ```
/// use gradus_learning::in_context::gradient_descent::{RegressionTasks, tune_gd, tune_gd_plus_plus};
/// let tasks = RegressionTasks::default().sample::<f64>(100, &mut gradus_base::stream(1, "tuning tasks", 0))?;
/// let tuned = tune_gd_plus_plus(&tasks, 2)?;
/// assert!(tuned.gamma > 0.0 && tuned.loss < tune_gd(&tasks, 2)?.loss);
/// # Ok::<(), gradus_learning::in_context::gradient_descent::InContextError>(())
/// ```
///
/// # Errors
/// As [`tune_gd`].
pub fn tune_gd_plus_plus<T: Scalar>(batch: &Batch<T>, steps: usize) -> Result<TunedGdPlusPlus> {
    let TunedGd { eta: start, loss: plain } = tune_gd(batch, steps)?;
    if steps == 1 {
        return Ok(TunedGdPlusPlus { eta: start, gamma: 0.0, loss: plain });
    }
    let scale = mean_scale(batch)?;
    // Coordinates of order 1: ln(η/η_GD) and γ N mean eigenvalue.
    let gamma_unit = 1.0 / (scale * batch.examples() as f64);
    let parameters = |p: [f64; 2]| (start * p[0].exp(), p[1] * gamma_unit);
    let loss = |p: [f64; 2]| {
        let (eta, gamma) = parameters(p);
        if gamma < 0.0 || !eta.is_finite() || eta <= 0.0 {
            return Ok(f64::INFINITY);
        }
        Reference::GradientDescentPlusPlus { etas: vec![eta; steps], gammas: vec![gamma; steps] }.loss(batch).map(or_infinite)
    };
    let mut best = ([0.0, 0.0], plain);
    for first in [[0.0, 0.02], [0.7, 0.15]] {
        let found = nelder_mead(loss, first, [0.3, 0.05])?;
        if found.1 < best.1 {
            best = found;
        }
    }
    let (eta, gamma) = parameters(best.0);
    Ok(TunedGdPlusPlus { eta, gamma, loss: best.1 })
}

/// The mean square of the inputs' entries.
fn mean_scale<T: Scalar>(batch: &Batch<T>) -> Result<f64> {
    let scale = batch.inputs().cast::<f64>().square().mean().item();
    if scale > 0.0 { Ok(scale) } else { Err(InContextError::Singular { what: "the covariance of the inputs" }) }
}

fn or_infinite(loss: f64) -> f64 {
    if loss.is_finite() { loss } else { f64::INFINITY }
}

/// The minimum of a unimodal function between two bounds, to a relative 10⁻⁴ (Kiefer 1953).
fn golden_section(f: impl Fn(f64) -> Result<f64>, mut low: f64, mut high: f64) -> Result<(f64, f64)> {
    let ratio = (5f64.sqrt() - 1.0) / 2.0;
    let (mut left, mut right) = (high - ratio * (high - low), low + ratio * (high - low));
    let (mut f_left, mut f_right) = (f(left)?, f(right)?);
    while high - low > 1e-4 * high.abs() {
        if f_left <= f_right {
            (high, right, f_right) = (right, left, f_left);
            left = high - ratio * (high - low);
            f_left = f(left)?;
        } else {
            (low, left, f_left) = (left, right, f_right);
            right = low + ratio * (high - low);
            f_right = f(right)?;
        }
    }
    Ok(if f_left <= f_right { (left, f_left) } else { (right, f_right) })
}

/// The simplex method in the plane (Nelder, Mead 1965) with the usual coefficients, until the simplex spans less than 10⁻⁴.
fn nelder_mead(f: impl Fn([f64; 2]) -> Result<f64>, start: [f64; 2], size: [f64; 2]) -> Result<([f64; 2], f64)> {
    let corners = [start, [start[0] + size[0], start[1]], [start[0], start[1] + size[1]]];
    let mut simplex = corners.into_iter().map(|p| Ok((p, f(p)?))).collect::<Result<Vec<_>>>()?;
    let between = |a: [f64; 2], b: [f64; 2], t: f64| [a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])];
    for _ in 0..200 {
        simplex.sort_by(|a, b| a.1.total_cmp(&b.1));
        let [best, middle, worst] = [simplex[0], simplex[1], simplex[2]];
        let span = (0..2).map(|i| (worst.0[i] - best.0[i]).abs().max((middle.0[i] - best.0[i]).abs())).fold(0.0, f64::max);
        if span < 1e-4 {
            break;
        }
        let centre = between(best.0, middle.0, 0.5);
        let at = |t: f64| -> Result<([f64; 2], f64)> {
            let p = between(centre, worst.0, t);
            Ok((p, f(p)?))
        };
        let reflected = at(-1.0)?;
        simplex[2] = if reflected.1 < best.1 {
            let expanded = at(-2.0)?;
            if expanded.1 < reflected.1 { expanded } else { reflected }
        } else if reflected.1 < middle.1 {
            reflected
        } else {
            let contracted = if reflected.1 < worst.1 { at(-0.5)? } else { at(0.5)? };
            if contracted.1 < worst.1.min(reflected.1) {
                contracted
            } else {
                for corner in &mut simplex[1..] {
                    corner.0 = between(best.0, corner.0, 0.5);
                    corner.1 = f(corner.0)?;
                }
                simplex[2]
            }
        };
    }
    simplex.sort_by(|a, b| a.1.total_cmp(&b.1));
    Ok(simplex[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_section_finds_a_minimum() {
        let (x, value) = golden_section(|x| Ok((x - 2.5).powi(2) + 1.0), 1.0, 9.0).unwrap();
        assert!((x - 2.5).abs() < 1e-3 && (value - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_simplex_finds_the_bottom_of_a_curved_valley() {
        // Rosenbrock's function with a valley that is not too narrow.
        let f = |[x, y]: [f64; 2]| Ok((1.0 - x).powi(2) + 5.0 * (y - x * x).powi(2));
        let (at, value) = nelder_mead(f, [-1.0, 0.5], [0.3, 0.3]).unwrap();
        assert!((at[0] - 1.0).abs() < 1e-2 && (at[1] - 1.0).abs() < 1e-2 && value < 1e-4, "{at:?} {value}");
    }
}
