//! The algorithms that attention is compared with, in `f64`.

use gradus_autodiff::{Scalar, Tensor};
use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::batch::half_squared_error;
use super::error::{InContextError, Result, finite, option, positive, same};
use super::tasks::filled;
use super::{Batch, Task};

/// The weights `[outputs, dimension]` after `steps` of gradient descent on `1/(2N) Σ ‖W x_i − y_i‖²` from `w0` (zero when
/// `None`) with step size `eta`; the prediction is `W x_q`.
///
/// ```
/// use gradus_learning::in_context::gradient_descent::{Task, gd};
/// use nalgebra::{DMatrix, DVector};
/// let task = Task {
///     inputs: DMatrix::from_row_slice(2, 2, &[1.0, 0.0, 1.0, 1.0]),
///     targets: DMatrix::from_row_slice(2, 1, &[2.0, 1.0]),
///     query: DVector::from_vec(vec![1.0, 2.0]),
///     query_target: DVector::from_vec(vec![0.0]),
/// };
/// assert_eq!((gd(&task, 0.5, 2, None)? * &task.query)[0], 1.5625);
/// # Ok::<(), gradus_learning::in_context::gradient_descent::InContextError>(())
/// ```
///
/// # Errors
/// As [`Task::validate`]; [`InContextError::InvalidOption`] for `eta ≤ 0` or no steps;
/// [`InContextError::DimensionMismatch`] or [`InContextError::NonFinite`] for a W0 that does not fit or is not finite.
pub fn gd(task: &Task, eta: f64, steps: usize, w0: Option<&DMatrix<f64>>) -> Result<DMatrix<f64>> {
    task.validate()?;
    check_step(eta, steps)?;
    let (outputs, dimension) = (task.targets.ncols(), task.inputs.ncols());
    let mut weights = match w0 {
        None => DMatrix::zeros(outputs, dimension),
        Some(w0) => {
            check_weights(w0, outputs, dimension)?;
            w0.clone()
        }
    };
    let (x, y) = (task.inputs.transpose(), task.targets.transpose());
    let mut residuals = DMatrix::zeros(outputs, x.ncols());
    let rate = eta / x.ncols() as f64;
    for _ in 0..steps {
        residuals.copy_from(&y);
        residuals.gemm(-1.0, &weights, &x, 1.0);
        weights.gemm(rate, &residuals, &task.inputs, 1.0);
    }
    Ok(weights)
}

/// [`gd`] that refuses a step size with which it would not converge.
///
/// # Errors
/// As [`gd`], and [`InContextError::StepTooLarge`] for `eta ≥ 2N/λmax(Σ x_i x_iᵀ)`.
pub fn gd_strict(task: &Task, eta: f64, steps: usize, w0: Option<&DMatrix<f64>>) -> Result<DMatrix<f64>> {
    let limit = step_limit(task)?;
    if eta >= limit {
        return Err(InContextError::StepTooLarge { eta, limit });
    }
    gd(task, eta, steps, w0)
}

/// `2N/λmax(Σ x_i x_iᵀ)`: gradient descent converges for smaller step sizes. Infinite when all inputs are 0.
///
/// # Errors
/// As [`Task::validate`].
pub fn step_limit(task: &Task) -> Result<f64> {
    task.validate()?;
    let largest = task.inputs.singular_values().max();
    Ok(2.0 * task.inputs.nrows() as f64 / (largest * largest))
}

/// The weights `[outputs, dimension]` of GD++ from W = 0 with one step for each pair of `etas` and `gammas`; the prediction
/// is `W x_q`, where W includes what GD++ does to the query (appendix A.10). With γ = 0 it is [`gd`].
///
/// # Errors
/// As [`Task::validate`]; [`InContextError::InvalidOption`] for η ≤ 0, γ < 0 or no steps;
/// [`InContextError::DimensionMismatch`] for unequal numbers of `etas` and `gammas`.
pub fn gd_plus_plus(task: &Task, etas: &[f64], gammas: &[f64]) -> Result<DMatrix<f64>> {
    task.validate()?;
    check_gdpp(etas, gammas)?;
    let d = task.inputs.ncols();
    Ok(gdpp_predict(task, etas, gammas, DMatrix::identity(d, d)))
}

/// The predictions `[outputs, queries]` of GD++ for the columns of `queries`.
fn gdpp_predict(task: &Task, etas: &[f64], gammas: &[f64], mut queries: DMatrix<f64>) -> DMatrix<f64> {
    let (mut x, mut residuals) = (task.inputs.clone(), task.targets.clone());
    let mut predictions = DMatrix::zeros(residuals.ncols(), queries.ncols());
    for (&eta, &gamma) in etas.iter().zip(gammas) {
        // Everything from the old inputs and residuals.
        let step = residuals.transpose() * &x * (eta / x.nrows() as f64);
        predictions += &step * &queries;
        residuals -= &x * step.transpose();
        if gamma != 0.0 {
            let covariance = x.transpose() * &x * gamma;
            queries -= &covariance * &queries;
            x -= &x * &covariance;
        }
    }
    predictions
}

/// The weights `[outputs, dimension]` that minimise `Σ ‖W x_i − y_i‖² + λ ‖W‖²`.
///
/// # Errors
/// As [`Task::validate`]; [`InContextError::InvalidOption`] for λ < 0; [`InContextError::Singular`] for λ = 0 when the inputs do not
/// determine W.
pub fn ridge(task: &Task, lambda: f64) -> Result<DMatrix<f64>> {
    task.validate()?;
    option("lambda", lambda, lambda >= 0.0 && lambda.is_finite(), "finite and at least 0")?;
    let singular = InContextError::Singular { what: "least squares without ridge" };
    let svd = task.inputs.clone().svd(true, true);
    let (Some(u), Some(v_t)) = (&svd.u, &svd.v_t) else { return Err(singular) };
    let (n, d) = task.inputs.shape();
    let negligible = svd.singular_values.max() * f64::EPSILON * n.max(d) as f64;
    if lambda == 0.0 && (n < d || svd.singular_values.iter().any(|&s| s <= negligible)) {
        return Err(singular);
    }
    let shrunk = svd.singular_values.map(|s| if s == 0.0 { 0.0 } else { s / (s * s + lambda) });
    Ok(task.targets.transpose() * u * DMatrix::from_diagonal(&shrunk) * v_t)
}

/// The weights `[outputs, dimension]` that minimise `Σ ‖W x_i − y_i‖²`.
///
/// # Errors
/// As [`Task::validate`]; [`InContextError::Singular`] when the inputs do not determine W.
pub fn least_squares(task: &Task) -> Result<DMatrix<f64>> {
    ridge(task, 0.0)
}

/// The prediction `Σ_i softmax_i(β x_i·x_q) y_i`: softmax attention with the inputs as keys and the targets as values.
///
/// # Errors
/// As [`Task::validate`]; [`InContextError::InvalidOption`] for a β that is not finite.
pub fn kernel_smoother(task: &Task, beta: f64) -> Result<DVector<f64>> {
    Ok(task.targets.tr_mul(&smoother_weights(task, beta)?))
}

fn smoother_weights(task: &Task, beta: f64) -> Result<DVector<f64>> {
    task.validate()?;
    option("beta", beta, beta.is_finite(), "finite")?;
    let logits = &task.inputs * &task.query * beta;
    let top = logits.max();
    let weights = logits.map(|l| (l - top).exp());
    let sum = weights.sum();
    Ok(weights / sum)
}

/// The target of the input nearest to the query; the first of equally near ones.
///
/// # Errors
/// As [`Task::validate`].
pub fn nearest_neighbour(task: &Task) -> Result<DVector<f64>> {
    task.validate()?;
    let distances = task.inputs.row_iter().map(|x| (x.transpose() - &task.query).norm_squared());
    let nearest = distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(i, _)| i);
    Ok(task.targets.row(nearest).transpose())
}

/// Checks that initial weights are `[outputs, dimension]` and finite.
pub(super) fn check_weights(w0: &DMatrix<f64>, outputs: usize, dimension: usize) -> Result<()> {
    same("the number of rows of W0", w0.nrows(), outputs)?;
    same("the number of columns of W0", w0.ncols(), dimension)?;
    finite("W0", w0.iter().all(|x| x.is_finite()))
}

fn check_step(eta: f64, steps: usize) -> Result<()> {
    option("eta", eta, eta > 0.0 && eta.is_finite(), "finite and positive")?;
    positive("steps", steps)
}

fn check_gdpp(etas: &[f64], gammas: &[f64]) -> Result<()> {
    same("the number of gammas", gammas.len(), etas.len())?;
    positive("steps", etas.len())?;
    for (&eta, &gamma) in etas.iter().zip(gammas) {
        option("eta", eta, eta > 0.0 && eta.is_finite(), "finite and positive")?;
        option("gamma", gamma, gamma >= 0.0 && gamma.is_finite(), "finite and at least 0")?;
    }
    Ok(())
}

/// An algorithm to compare a trained model with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// Predicts 0.
    Zero,
    /// [`gd`] from W = 0.
    GradientDescent {
        /// Step size, positive.
        eta: f64,
        /// Number of steps, at least 1.
        steps: usize,
    },
    /// [`gd_plus_plus`].
    GradientDescentPlusPlus {
        /// Step size of each step.
        etas: Vec<f64>,
        /// γ of each step.
        gammas: Vec<f64>,
    },
    /// [`ridge`].
    Ridge {
        /// λ, at least 0.
        lambda: f64,
    },
    /// [`least_squares`].
    LeastSquares,
    /// [`kernel_smoother`].
    KernelSmoother {
        /// β.
        beta: f64,
    },
    /// [`nearest_neighbour`].
    NearestNeighbour,
}

impl Reference {
    /// The predictions for many tasks, `[tasks, outputs]`.
    ///
    /// # Errors
    /// Those of the algorithm.
    pub fn predict<T: Scalar>(&self, batch: &Batch<T>) -> Result<Tensor<f64>> {
        let all = each_task(batch, |task| self.predict_task(task))?;
        Ok(filled(all, &[batch.len(), batch.outputs()]))
    }

    /// `½ mean ‖y_q − ŷ‖²` over the tasks.
    ///
    /// # Errors
    /// Those of the algorithm.
    pub fn loss<T: Scalar>(&self, batch: &Batch<T>) -> Result<f64> {
        Ok(half_squared_error(&self.predict(batch)?, &batch.query_targets().cast()).item())
    }

    /// The derivative of the prediction by the query's input, `[tasks, outputs, dimension]`.
    ///
    /// # Errors
    /// Those of the algorithm.
    pub fn input_gradients<T: Scalar>(&self, batch: &Batch<T>) -> Result<Tensor<f64>> {
        let all = each_task(batch, |task| Ok(DVector::from_column_slice(self.gradient(task)?.transpose().as_slice())))?;
        Ok(filled(all, &[batch.len(), batch.outputs(), batch.dimension()]))
    }

    fn predict_task(&self, task: &Task) -> Result<DVector<f64>> {
        match self {
            Self::GradientDescentPlusPlus { etas, gammas } => {
                task.validate()?;
                check_gdpp(etas, gammas)?;
                let query = DMatrix::from_column_slice(task.query.len(), 1, task.query.as_slice());
                Ok(gdpp_predict(task, etas, gammas, query).column(0).into_owned())
            }
            Self::KernelSmoother { beta } => kernel_smoother(task, *beta),
            Self::NearestNeighbour => nearest_neighbour(task),
            _ => Ok(self.gradient(task)? * &task.query),
        }
    }

    /// `[outputs, dimension]`; for the methods that are linear in the query, their weights.
    fn gradient(&self, task: &Task) -> Result<DMatrix<f64>> {
        match self {
            Self::Zero | Self::NearestNeighbour => {
                task.validate()?;
                Ok(DMatrix::zeros(task.targets.ncols(), task.inputs.ncols()))
            }
            Self::GradientDescent { eta, steps } => gd(task, *eta, *steps, None),
            Self::GradientDescentPlusPlus { etas, gammas } => gd_plus_plus(task, etas, gammas),
            Self::Ridge { lambda } => ridge(task, *lambda),
            Self::LeastSquares => least_squares(task),
            Self::KernelSmoother { beta } => {
                let weights = smoother_weights(task, *beta)?;
                let mean = task.inputs.tr_mul(&weights);
                let weighted = DMatrix::from_diagonal(&weights) * &task.targets;
                Ok((weighted.transpose() * &task.inputs - weighted.row_sum().transpose() * mean.transpose()) * *beta)
            }
        }
    }
}

/// The results for all tasks one behind the other.
fn each_task<T: Scalar>(batch: &Batch<T>, f: impl Fn(&Task) -> Result<DVector<f64>> + Sync) -> Result<Vec<f64>> {
    let tasks = (0..batch.len()).into_par_iter().with_min_len(64).filter_map(|i| batch.task(i));
    let parts: Vec<DVector<f64>> = tasks.map(|task| f(&task)).collect::<Result<_>>()?;
    Ok(parts.iter().flat_map(|part| part.iter().copied()).collect())
}
