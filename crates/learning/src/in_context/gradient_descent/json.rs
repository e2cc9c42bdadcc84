//! Trained matrices and tasks as JSON.

use gradus_autodiff::{Scalar, Tensor};
use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

use super::error::{InContextError, Result, same};
use super::tasks::filled;
use super::{AttentionOptions, Batch, Head, LinearSelfAttention, Stack, Task, TokenLayout};

type Rows = Vec<Vec<f64>>;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadJson {
    key: Rows,
    query: Rows,
    value: Rows,
    projection: Rows,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LayerJson {
    heads: Vec<HeadJson>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mix: Option<f64>,
    #[serde(default)]
    options: AttentionOptions,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StackJson {
    layers: Vec<LayerJson>,
    #[serde(default = "one")]
    outputs: usize,
    #[serde(default = "one")]
    repeats: usize,
    #[serde(default)]
    layout: TokenLayout,
}

fn one() -> usize {
    1
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskJson {
    inputs: Rows,
    targets: Rows,
    query: Vec<f64>,
    query_target: Vec<f64>,
}

fn failed(what: &'static str, error: &serde_json::Error) -> InContextError {
    InContextError::Json { what, message: error.to_string() }
}

fn to_rows<T: Scalar>(x: &Tensor<T>) -> Rows {
    let columns = x.shape().last().copied().unwrap_or(1).max(1);
    x.as_slice().chunks(columns).map(|row| row.iter().map(|x| x.to_f64()).collect()).collect()
}

/// The number of columns of the matrix at `path`, whose rows must be equally long.
fn columns(rows: &Rows, path: &str) -> Result<usize> {
    let columns = rows.first().map_or(0, Vec::len);
    match rows.iter().position(|row| row.len() != columns) {
        Some(row) => same(format!("the length of {path}[{row}]"), rows[row].len(), columns).map(|()| columns),
        None => Ok(columns),
    }
}

fn matrix<T: Scalar>(rows: &Rows, path: &str) -> Result<Tensor<T>> {
    let columns = columns(rows, path)?;
    Ok(filled(rows.iter().flatten().map(|&x| T::from_f64(x)).collect(), &[rows.len(), columns]))
}

fn dmatrix(rows: &Rows, path: &str) -> Result<DMatrix<f64>> {
    let columns = columns(rows, path)?;
    Ok(DMatrix::from_row_iterator(rows.len(), columns, rows.iter().flatten().copied()))
}

impl<T: Scalar> Stack<T> {
    /// The stack as JSON: `{"layers": [{"heads": [{"key": [[…]], "query": …, "value": …, "projection": …}], "options": {…}}],
    /// "outputs": 1, "repeats": 1, "layout": "constructed"}`. Matrices are lists of rows and act on columns. A layer of
    /// [`AttentionKind::Mix`](super::AttentionKind::Mix) also has the number `mix`.
    ///
    /// # Errors
    /// [`InContextError::NonFinite`] for weights that JSON cannot hold, and as [`Stack::validate`].
    pub fn to_json(&self) -> Result<String> {
        self.validate()?;
        let head = |h: &Head<T>| HeadJson {
            key: to_rows(&h.key),
            query: to_rows(&h.query),
            value: to_rows(&h.value),
            projection: to_rows(&h.projection),
        };
        let layer = |l: &LinearSelfAttention<T>| LayerJson {
            heads: l.heads.iter().map(head).collect(),
            mix: l.mix.as_ref().map(|y| y.item().to_f64()),
            options: l.options,
        };
        let layers = self.layers.iter().map(layer).collect();
        let stack = StackJson { layers, outputs: self.outputs, repeats: self.repeats, layout: self.layout };
        serde_json::to_string_pretty(&stack).map_err(|e| failed("the weights", &e))
    }

    /// Reads what [`to_json`](Self::to_json) writes; `options`, `outputs` (1), `repeats` (1) and `layout` may be left out.
    ///
    /// ```
    /// use gradus_learning::in_context::gradient_descent::Stack;
    /// // One step of gradient descent in one dimension: η/N = 0.5.
    /// let stack: Stack<f64> = Stack::from_json(
    ///     r#"{"layers": [{"heads": [{"key": [[1, 0]], "query": [[1, 0]], "value": [[0, -1]], "projection": [[0], [0.5]]}]}]}"#,
    /// )?;
    /// assert_eq!((stack.depth(), stack.dimension(), stack.outputs), (1, Some(1), 1));
    /// # Ok::<(), gradus_learning::in_context::gradient_descent::InContextError>(())
    /// ```
    ///
    /// # Errors
    /// [`InContextError::Json`] with line and column, [`InContextError::DimensionMismatch`] with the place of a row of another
    /// length than the first (places are counted from 0), and as [`Stack::validate`].
    pub fn from_json(text: &str) -> Result<Self> {
        let json: StackJson = serde_json::from_str(text).map_err(|e| failed("the weights", &e))?;
        let layers = json.layers.iter().enumerate().map(|(l, layer)| layer_from(layer, l)).collect::<Result<_>>()?;
        let stack = Self { layers, outputs: json.outputs, repeats: json.repeats, layout: json.layout };
        stack.validate()?;
        Ok(stack)
    }
}

/// The layer, not yet validated.
fn layer_from<T: Scalar>(json: &LayerJson, l: usize) -> Result<LinearSelfAttention<T>> {
    let head = |(h, head): (usize, &HeadJson)| {
        let part = |name: &str, rows: &Rows| matrix(rows, &format!("layers[{l}].heads[{h}].{name}"));
        Ok(Head {
            key: part("key", &head.key)?,
            query: part("query", &head.query)?,
            value: part("value", &head.value)?,
            projection: part("projection", &head.projection)?,
        })
    };
    let heads = json.heads.iter().enumerate().map(head).collect::<Result<_>>()?;
    Ok(LinearSelfAttention { heads, mix: json.mix.map(|y| Tensor::scalar(T::from_f64(y))), options: json.options })
}

impl<T: Scalar> Batch<T> {
    /// Reads a list of tasks `[{"inputs": [[…]], "targets": [[…]], "query": […], "query_target": […]}]` of equal sizes.
    ///
    /// ```
    /// use gradus_learning::in_context::gradient_descent::Batch;
    /// let tasks: Batch<f64> =
    ///     Batch::from_json(r#"[{"inputs": [[1, 0], [1, 1]], "targets": [[2], [1]], "query": [1, 2], "query_target": [0]}]"#)?;
    /// assert_eq!((tasks.len(), tasks.examples(), tasks.dimension(), tasks.outputs()), (1, 2, 2, 1));
    /// # Ok::<(), gradus_learning::in_context::gradient_descent::InContextError>(())
    /// ```
    ///
    /// # Errors
    /// [`InContextError::Json`] with line and column, [`InContextError::DimensionMismatch`] with the place of a row of another
    /// length than the first (places are counted from 0), and as [`Batch::from_tasks`].
    pub fn from_json(text: &str) -> Result<Self> {
        let json: Vec<TaskJson> = serde_json::from_str(text).map_err(|e| failed("the tasks", &e))?;
        let task = |(i, t): (usize, &TaskJson)| {
            Ok(Task {
                inputs: dmatrix(&t.inputs, &format!("tasks[{i}].inputs"))?,
                targets: dmatrix(&t.targets, &format!("tasks[{i}].targets"))?,
                query: DVector::from_column_slice(&t.query),
                query_target: DVector::from_column_slice(&t.query_target),
            })
        };
        Self::from_tasks(&json.iter().enumerate().map(task).collect::<Result<Vec<_>>>()?)
    }
}
