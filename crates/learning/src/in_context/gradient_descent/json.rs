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
    #[serde(default = "once")]
    repeats: usize,
    #[serde(default)]
    layout: TokenLayout,
}

fn once() -> usize {
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

/// The number of columns of a matrix whose rows must be equally long.
fn columns(rows: &Rows, what: &'static str) -> Result<usize> {
    let columns = rows.first().map_or(0, Vec::len);
    rows.iter().try_for_each(|row| same(what, row.len(), columns))?;
    Ok(columns)
}

fn matrix<T: Scalar>(rows: &Rows) -> Result<Tensor<T>> {
    let columns = columns(rows, "the length of a row of a weight matrix")?;
    Ok(filled(rows.iter().flatten().map(|&x| T::from_f64(x)).collect(), &[rows.len(), columns]))
}

fn dmatrix(rows: &Rows, what: &'static str) -> Result<DMatrix<f64>> {
    let columns = columns(rows, what)?;
    Ok(DMatrix::from_row_iterator(rows.len(), columns, rows.iter().flatten().copied()))
}

impl<T: Scalar> Stack<T> {
    /// The stack as JSON: `{"layers": [{"heads": [{"key": [[…]], "query": …, "value": …, "projection": …}], "options": {…}}],
    /// "repeats": 1, "layout": "constructed"}`. Matrices are lists of rows and act on columns.
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
        let stack = StackJson { layers: self.layers.iter().map(layer).collect(), repeats: self.repeats, layout: self.layout };
        serde_json::to_string_pretty(&stack).map_err(|e| failed("the weights", &e))
    }

    /// Reads what [`to_json`](Self::to_json) writes; `options`, `repeats` and `layout` may be left out.
    ///
    /// # Errors
    /// [`InContextError::Json`] with line and column, and as [`Stack::validate`].
    pub fn from_json(text: &str) -> Result<Self> {
        let json: StackJson = serde_json::from_str(text).map_err(|e| failed("the weights", &e))?;
        let layers = json.layers.iter().map(layer_from).collect::<Result<_>>()?;
        let stack = Self { layers, repeats: json.repeats, layout: json.layout };
        stack.validate()?;
        Ok(stack)
    }
}

fn layer_from<T: Scalar>(json: &LayerJson) -> Result<LinearSelfAttention<T>> {
    let heads = json
        .heads
        .iter()
        .map(|h| Ok(Head { key: matrix(&h.key)?, query: matrix(&h.query)?, value: matrix(&h.value)?, projection: matrix(&h.projection)? }));
    let mut layer = LinearSelfAttention::new(heads.collect::<Result<_>>()?, json.options)?;
    if let (Some(mix), Some(y)) = (&mut layer.mix, json.mix) {
        *mix = Tensor::scalar(T::from_f64(y));
    }
    Ok(layer)
}

impl<T: Scalar> Batch<T> {
    /// Reads a list of tasks `[{"inputs": [[…]], "targets": [[…]], "query": […], "query_target": […]}]` of equal sizes.
    ///
    /// # Errors
    /// [`InContextError::Json`] with line and column, and as [`Batch::from_tasks`].
    pub fn from_json(text: &str) -> Result<Self> {
        let json: Vec<TaskJson> = serde_json::from_str(text).map_err(|e| failed("the tasks", &e))?;
        let task = |t: &TaskJson| {
            Ok(Task {
                inputs: dmatrix(&t.inputs, "the dimension of an input")?,
                targets: dmatrix(&t.targets, "the number of outputs of a target")?,
                query: DVector::from_column_slice(&t.query),
                query_target: DVector::from_column_slice(&t.query_target),
            })
        };
        Self::from_tasks(&json.iter().map(task).collect::<Result<Vec<_>>>()?)
    }
}
