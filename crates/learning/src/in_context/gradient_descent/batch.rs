//! Regression tasks as data: one with nalgebra matrices, many as tensors.

use gradus_autodiff::{Scalar, Tensor};
use nalgebra::{DMatrix, DVector};

use super::error::{InContextError, Result, finite, positive, same};

/// One regression task: examples, and a query with the answer that was held back.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// The inputs x_i as rows, `[examples, dimension]`.
    pub inputs: DMatrix<f64>,
    /// The targets y_i as rows, `[examples, outputs]`.
    pub targets: DMatrix<f64>,
    /// The input to predict for, `[dimension]`.
    pub query: DVector<f64>,
    /// The answer, `[outputs]`.
    pub query_target: DVector<f64>,
}

impl Task {
    /// Checks that the sizes agree, that none is 0, and that every number is finite.
    ///
    /// # Errors
    /// [`InContextError::EmptyContext`], [`InContextError::InvalidOption`] for inputs or targets without entries,
    /// [`InContextError::DimensionMismatch`] or [`InContextError::NonFinite`].
    pub fn validate(&self) -> Result<()> {
        if self.inputs.nrows() == 0 {
            return Err(InContextError::EmptyContext);
        }
        check_entries(self.inputs.ncols(), self.targets.ncols())?;
        same("the number of targets", self.targets.nrows(), self.inputs.nrows())?;
        same("the dimension of the query", self.query.len(), self.inputs.ncols())?;
        same("the number of outputs of the query's target", self.query_target.len(), self.targets.ncols())?;
        finite("the inputs", self.inputs.iter().all(|x| x.is_finite()))?;
        finite("the targets", self.targets.iter().all(|x| x.is_finite()))?;
        finite("the query", self.query.iter().all(|x| x.is_finite()))?;
        finite("the query's target", self.query_target.iter().all(|x| x.is_finite()))
    }
}

/// Many tasks of equal sizes: at least one, each with at least one example, one entry of an input and one of a target, and
/// every value finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch<T: Scalar = f32> {
    inputs: Tensor<T>,
    targets: Tensor<T>,
    queries: Tensor<T>,
    query_targets: Tensor<T>,
}

impl<T: Scalar> Batch<T> {
    /// Tasks from `inputs` `[tasks, examples, dimension]`, `targets` `[tasks, examples, outputs]`, `queries`
    /// `[tasks, dimension]` and `query_targets` `[tasks, outputs]`.
    ///
    /// # Errors
    /// [`InContextError::EmptyContext`] for no task or no example, [`InContextError::InvalidOption`] for inputs or targets
    /// without entries, [`InContextError::DimensionMismatch`] or [`InContextError::NonFinite`].
    pub fn new(inputs: Tensor<T>, targets: Tensor<T>, queries: Tensor<T>, query_targets: Tensor<T>) -> Result<Self> {
        same("the rank of the inputs", inputs.rank(), 3)?;
        same("the rank of the targets", targets.rank(), 3)?;
        same("the rank of the queries", queries.rank(), 2)?;
        same("the rank of the queries' targets", query_targets.rank(), 2)?;
        let batch = Self { inputs, targets, queries, query_targets };
        if batch.examples() == 0 {
            return Err(InContextError::EmptyContext);
        }
        check_entries(batch.dimension(), batch.outputs())?;
        same("the number of tasks among the targets", batch.targets.shape()[0], batch.len())?;
        same("the number of queries", batch.queries.shape()[0], batch.len())?;
        same("the number of queries' targets", batch.query_targets.shape()[0], batch.len())?;
        same("the number of targets", batch.targets.shape()[1], batch.examples())?;
        same("the dimension of the queries", batch.queries.shape()[1], batch.dimension())?;
        same("the number of outputs of the queries' targets", batch.query_targets.shape()[1], batch.outputs())?;
        batch.checked()
    }

    /// The batch when it holds a task, otherwise [`InContextError::EmptyContext`], and when every value is finite,
    /// otherwise [`InContextError::NonFinite`].
    pub(super) fn checked(self) -> Result<Self> {
        if self.is_empty() {
            return Err(InContextError::EmptyContext);
        }
        finite("the inputs", self.inputs.is_finite())?;
        finite("the targets", self.targets.is_finite())?;
        finite("the queries", self.queries.is_finite())?;
        finite("the queries' targets", self.query_targets.is_finite())?;
        Ok(self)
    }

    /// The tasks one behind the other.
    ///
    /// # Errors
    /// [`InContextError::EmptyContext`] also when there is no task; [`InContextError::DimensionMismatch`] also when the
    /// tasks differ in size; [`InContextError::NonFinite`] also when a number is too large for the precision; otherwise as
    /// [`Task::validate`].
    pub fn from_tasks(tasks: &[Task]) -> Result<Self> {
        let first = tasks.first().ok_or(InContextError::EmptyContext)?;
        let (n, d, o) = (first.inputs.nrows(), first.inputs.ncols(), first.targets.ncols());
        for task in tasks {
            task.validate()?;
            same("the number of examples", task.inputs.nrows(), n)?;
            same("the dimension of the inputs", task.inputs.ncols(), d)?;
            same("the number of outputs", task.targets.ncols(), o)?;
        }
        let rows = |of: &dyn Fn(&Task) -> DMatrix<f64>, shape: &[usize]| {
            let mut values = Vec::with_capacity(shape.iter().product());
            tasks.iter().for_each(|task| values.extend(of(task).transpose().iter().map(|&x| T::from_f64(x))));
            Tensor::from_fn(shape, |i| values[i])
        };
        let b = tasks.len();
        Self::new(
            rows(&|t| t.inputs.clone(), &[b, n, d]),
            rows(&|t| t.targets.clone(), &[b, n, o]),
            rows(&|t| DMatrix::from_row_slice(1, d, t.query.as_slice()), &[b, d]),
            rows(&|t| DMatrix::from_row_slice(1, o, t.query_target.as_slice()), &[b, o]),
        )
    }

    /// For a generator that makes values of the right sizes. They may be too large for the precision: whoever hands the
    /// batch out calls [`checked`](Self::checked); in training they show as a loss that is not finite.
    pub(super) fn generated(inputs: Tensor<T>, targets: Tensor<T>, queries: Tensor<T>, query_targets: Tensor<T>) -> Self {
        Self { inputs, targets, queries, query_targets }
    }

    /// Number of tasks.
    pub fn len(&self) -> usize {
        self.inputs.shape()[0]
    }

    /// Whether there is no task: never, as a batch is not made without one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of examples in each context.
    pub fn examples(&self) -> usize {
        self.inputs.shape()[1]
    }

    /// Number of entries of an input.
    pub fn dimension(&self) -> usize {
        self.inputs.shape()[2]
    }

    /// Number of entries of a target.
    pub fn outputs(&self) -> usize {
        self.targets.shape()[2]
    }

    /// The inputs, `[tasks, examples, dimension]`.
    pub fn inputs(&self) -> &Tensor<T> {
        &self.inputs
    }

    /// The targets, `[tasks, examples, outputs]`.
    pub fn targets(&self) -> &Tensor<T> {
        &self.targets
    }

    /// The inputs to predict for, `[tasks, dimension]`.
    pub fn queries(&self) -> &Tensor<T> {
        &self.queries
    }

    /// The answers, `[tasks, outputs]`.
    pub fn query_targets(&self) -> &Tensor<T> {
        &self.query_targets
    }

    /// Task number `index`, widened, or `None` beyond the last.
    pub fn task(&self, index: usize) -> Option<Task> {
        if index >= self.len() {
            return None;
        }
        let wide = |x: &Tensor<T>| -> Vec<f64> {
            let size = x.count() / self.len();
            x.as_slice()[index * size..(index + 1) * size].iter().map(|x| x.to_f64()).collect()
        };
        Some(Task {
            inputs: DMatrix::from_row_slice(self.examples(), self.dimension(), &wide(&self.inputs)),
            targets: DMatrix::from_row_slice(self.examples(), self.outputs(), &wide(&self.targets)),
            query: DVector::from_vec(wide(&self.queries)),
            query_target: DVector::from_vec(wide(&self.query_targets)),
        })
    }

    /// The same tasks in the other precision.
    ///
    /// # Errors
    /// [`InContextError::NonFinite`] when a number is too large for it.
    pub fn cast<U: Scalar>(&self) -> Result<Batch<U>> {
        Batch::generated(self.inputs.cast(), self.targets.cast(), self.queries.cast(), self.query_targets.cast()).checked()
    }

    /// The tasks cut to their first `examples` examples; the next input is the query, or the old query when all are kept.
    /// `None` when there are fewer examples, and for none.
    pub(super) fn prefix(&self, examples: usize) -> Option<Self> {
        if examples == 0 || examples > self.examples() {
            return None;
        }
        let next = |all: &Tensor<T>, last: &Tensor<T>| {
            if examples == self.examples() { last.clone() } else { all.narrow(1, examples, 1).reshape(&[self.len(), all.shape()[2]]) }
        };
        Some(Self {
            queries: next(&self.inputs, &self.queries),
            query_targets: next(&self.targets, &self.query_targets),
            inputs: self.inputs.narrow(1, 0, examples),
            targets: self.targets.narrow(1, 0, examples),
        })
    }
}

fn check_entries(dimension: usize, outputs: usize) -> Result<()> {
    positive("the dimension of the inputs", dimension)?;
    positive("the number of outputs", outputs)
}

/// `½ mean ‖target − prediction‖²` over the rows.
pub(super) fn half_squared_error<T: Scalar>(predictions: &Tensor<T>, targets: &Tensor<T>) -> Tensor<T> {
    (predictions - targets).square().sum() * T::from_f64(0.5 / targets.shape()[0] as f64)
}
