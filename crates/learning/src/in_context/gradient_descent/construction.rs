//! Gradient descent written as weights.

use gradus_autodiff::{Scalar, Tensor};
use nalgebra::DMatrix;

use super::error::{InContextError, Result, option, positive};
use super::reference::check_weights;
use super::{AttentionOptions, Head, LinearSelfAttention};

impl<T: Scalar> LinearSelfAttention<T> {
    /// One step of gradient descent on `1/(2N) Σ ‖W x_i − y_i‖²` from `w0` (`[outputs, dimension]`, zero when `None`)
    /// with step size `eta` (Proposition 1): `K = Q = diag(I, 0)`, `V = [[0, 0], [W0, −I]]`, `P = diag(0, η/N I)`.
    ///
    /// The same layer again performs the next step. The layer without a W0 block descends from W0 too when the tokens are
    /// [`Tokens::residual`](super::Tokens::residual); a W0 block in the first layer alone does not.
    ///
    /// ```
    /// use gradus_learning::in_context::gradient_descent::*;
    /// use nalgebra::{DMatrix, DVector};
    /// let task = Task {
    ///     inputs: DMatrix::from_row_slice(2, 2, &[1.0, 0.0, 1.0, 1.0]),
    ///     targets: DMatrix::from_row_slice(2, 1, &[2.0, 1.0]),
    ///     query: DVector::from_vec(vec![1.0, 2.0]),
    ///     query_target: DVector::from_vec(vec![0.0]),
    /// };
    /// let layer = LinearSelfAttention::<f64>::gd_construction(2, 1, 2, 0.5, None)?;
    /// let after = layer.forward(&Tokens::constructed(&Batch::from_tasks(&[task])?, None)?)?;
    /// assert_eq!(after.predictions().item(), 1.25);
    /// # Ok::<(), InContextError>(())
    /// ```
    ///
    /// # Errors
    /// [`InContextError::EmptyContext`], [`InContextError::InvalidOption`], [`InContextError::DimensionMismatch`] or
    /// [`InContextError::NonFinite`].
    pub fn gd_construction(dimension: usize, outputs: usize, examples: usize, eta: f64, w0: Option<&DMatrix<f64>>) -> Result<Self> {
        check_sizes(dimension, outputs, examples, eta)?;
        if let Some(w0) = w0 {
            check_weights(w0, outputs, dimension)?;
        }
        let value = |row: usize, column: usize| match (row.checked_sub(dimension), column.checked_sub(dimension)) {
            (Some(row), None) => w0.map_or(0.0, |w0| w0[(row, column)]),
            (Some(row), Some(column)) if row == column => -1.0,
            _ => 0.0,
        };
        one_head(dimension, outputs, value, |i| if i < dimension { 0.0 } else { eta / examples as f64 })
    }

    /// One step of GD++ from W = 0: gradient descent, and `x_j ← (I − γ Σ_i x_i x_iᵀ) x_j` for all inputs, also the
    /// query's (appendix A.10). `γ λmax(Σ x_i x_iᵀ) < 1` keeps the inputs from growing.
    ///
    /// # Errors
    /// [`InContextError::EmptyContext`] or [`InContextError::InvalidOption`].
    pub fn gdpp_construction(dimension: usize, outputs: usize, examples: usize, eta: f64, gamma: f64) -> Result<Self> {
        check_sizes(dimension, outputs, examples, eta)?;
        option("gamma", gamma, gamma >= 0.0 && gamma.is_finite(), "finite and at least 0")?;
        let value = |row: usize, column: usize| if row == column { -1.0 } else { 0.0 };
        one_head(dimension, outputs, value, |i| if i < dimension { gamma } else { eta / examples as f64 })
    }
}

fn check_sizes(dimension: usize, outputs: usize, examples: usize, eta: f64) -> Result<()> {
    if examples == 0 {
        return Err(InContextError::EmptyContext);
    }
    positive("dimension", dimension)?;
    positive("outputs", outputs)?;
    option("eta", eta, eta > 0.0 && eta.is_finite(), "finite and positive")
}

/// A linear layer whose keys and queries are the inputs, with a diagonal projection.
fn one_head<T: Scalar>(
    dimension: usize,
    outputs: usize,
    value: impl Fn(usize, usize) -> f64,
    projection: impl Fn(usize) -> f64,
) -> Result<LinearSelfAttention<T>> {
    let width = dimension + outputs;
    let matrix = |f: &dyn Fn(usize, usize) -> f64| Tensor::from_fn(&[width, width], |i| T::from_f64(f(i / width, i % width)));
    let inputs = matrix(&|row, column| if row == column && row < dimension { 1.0 } else { 0.0 });
    let head = Head {
        key: inputs.clone(),
        query: inputs,
        value: matrix(&value),
        projection: matrix(&|row, column| if row == column { projection(row) } else { 0.0 }),
    };
    LinearSelfAttention::new(vec![head], AttentionOptions::default())
}
