//! Constructed layers against gradient descent.

use gradus_base::stream;
use gradus_learning::in_context::gradient_descent::{Batch, InContextError, LinearSelfAttention, Stack, Task, Tokens, gd, step_limit};
use gradus_models::init::normal;
use rayon::prelude::*;

use crate::ExperimentError;
use crate::common::statistics::largest_absolute;

/// How far two computations of the same predictions lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Difference {
    /// The largest difference; infinite when a prediction is not finite.
    pub(super) absolute: f64,
    /// The largest absolute value of a prediction or target.
    pub(super) scale: f64,
}

impl Difference {
    const INFINITE: Self = Self { absolute: f64::INFINITY, scale: 1.0 };

    /// As a share of the scale, where that is above 1.
    pub(super) fn relative(self) -> f64 {
        self.absolute / self.scale.max(1.0)
    }
}

/// The steps that are compared.
const STEPS: usize = 10;

/// The largest difference after one to ten steps: from zero weights, and from random ones as a block of the weights and as
/// residuals in the tokens.
pub(super) fn difference(tasks: &Batch<f64>, seed: u64) -> Result<Difference, ExperimentError> {
    match compare(tasks, seed) {
        Err(InContextError::NonFinite { .. }) => Ok(Difference::INFINITE),
        other => Ok(other?),
    }
}

fn compare(tasks: &Batch<f64>, seed: u64) -> Result<Difference, InContextError> {
    let all: Vec<Task> = (0..tasks.len()).filter_map(|i| tasks.task(i)).collect();
    let Some(eta) = step_size(&all)? else { return Ok(Difference::INFINITE) };
    let (d, o, n) = (tasks.dimension(), tasks.outputs(), tasks.examples());
    let w0 = normal::<f64>(&[o, d], 1.0, &mut stream(seed, "icl-check-weights", 0)).to_dmatrix().unwrap_or_default();
    let layers = |w0| Ok::<_, InContextError>(Stack::recurrent(LinearSelfAttention::gd_construction(d, o, n, eta, w0)?, o, STEPS));
    let forms = [
        (None, layers(None)?.predict(tasks)?),
        (Some(&w0), layers(Some(&w0))?.predict_tokens(&Tokens::constructed(tasks, Some(&w0))?)?),
        (Some(&w0), layers(None)?.predict_tokens(&Tokens::residual(tasks, &w0)?)?),
    ];
    let (mut absolute, mut scale) = (0.0, largest_absolute(tasks.targets().as_slice().iter().copied()));
    for (w0, predictions) in &forms {
        for (steps, predicted) in (1..).zip(predictions) {
            let of = |task: &Task| Ok((gd(task, eta, steps, *w0)? * &task.query).as_slice().to_vec());
            let expected = all.par_iter().map(of).collect::<Result<Vec<_>, InContextError>>()?.concat();
            let apart = predicted.as_slice().iter().zip(&expected).map(|(a, b)| a - b);
            absolute = largest_absolute(apart.chain([absolute]));
            scale = largest_absolute(expected.into_iter().chain([scale]));
        }
    }
    Ok(if absolute.is_finite() && scale.is_finite() { Difference { absolute, scale } } else { Difference::INFINITE })
}

/// A step size with which gradient descent converges on every task, so that rounding does not grow; `None` when that is too
/// small for a number.
fn step_size(tasks: &[Task]) -> Result<Option<f64>, InContextError> {
    let limits = tasks.iter().map(step_limit).collect::<Result<Vec<_>, _>>()?;
    let limit = limits.into_iter().fold(f64::INFINITY, f64::min);
    Ok(Some(if limit.is_finite() { 0.5 * limit } else { 0.5 }).filter(|eta| *eta > 0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gradus_learning::in_context::gradient_descent::RegressionTasks;

    #[test]
    fn rounding_does_not_grow_with_the_range() {
        for input_range in [1e-3, 1.0, 1e4] {
            let tasks = RegressionTasks { dimension: 4, context: 6, outputs: 2, input_range, ..RegressionTasks::default() };
            let found = difference(&tasks.sample(50, &mut stream(1, "tasks", 0)).unwrap(), 1).unwrap();
            assert!(found.relative() < 1e-12, "{found:?}");
        }
    }

    #[test]
    fn what_cannot_be_computed_differs_without_bound() {
        let tasks = RegressionTasks { dimension: 2, context: 3, input_range: 1e200, ..RegressionTasks::default() };
        assert_eq!(difference(&tasks.sample(2, &mut stream(1, "tasks", 0)).unwrap(), 1).unwrap(), Difference::INFINITE);
    }
}
