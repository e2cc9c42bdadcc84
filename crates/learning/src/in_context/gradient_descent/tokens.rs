//! Tasks as sequences of tokens.

use gradus_autodiff::{Scalar, Tensor};
use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

use super::Batch;
use super::error::{Result, option, same};
use super::tasks::filled;

/// A token is a column: matrices act on it from the left.
pub type Token<T> = DVector<T>;

/// How examples become tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenLayout {
    /// One token `(x, y)` for each example, N + 1 with the query (section 2 of the paper).
    #[default]
    Constructed,
    /// Tokens `(x, 0)` and `(0, y)` in turn, 2N + 1 with the query (section 5.1 of the paper). In front of each stand
    /// `positions` entries of sinusoidal position encoding, without which attention cannot tell which y belongs to which x.
    Classic {
        /// Entries of the position encoding; even, 0 for none.
        positions: usize,
    },
}

impl TokenLayout {
    /// Checks that position encodings come in pairs.
    ///
    /// # Errors
    /// [`InContextError::InvalidOption`](super::InContextError::InvalidOption).
    pub fn validate(self) -> Result<()> {
        match self {
            Self::Constructed => Ok(()),
            Self::Classic { positions } => option("positions", positions as f64, positions.is_multiple_of(2), "even"),
        }
    }

    /// Entries of a token.
    pub fn width(self, dimension: usize, outputs: usize) -> usize {
        match self {
            Self::Constructed => dimension + outputs,
            Self::Classic { positions } => positions + dimension + outputs,
        }
    }
}

/// Sequences of tokens, `[tasks, tokens, width]` with the query last. The last `outputs` entries of a token are its
/// target slot; that of the query holds minus the prediction.
#[derive(Debug, Clone, PartialEq)]
pub struct Tokens<T: Scalar = f32> {
    /// The tokens; row `[task, token]` is the transpose of the column.
    pub sequence: Tensor<T>,
    /// Entries of the target slot.
    pub outputs: usize,
}

impl<T: Scalar> Tokens<T> {
    /// Tokens `(x_i, y_i)` and the query `(x_q, −W0 x_q)`; W0 is `[outputs, dimension]`, or zero.
    ///
    /// # Errors
    /// [`InContextError::DimensionMismatch`](super::InContextError::DimensionMismatch) for a W0 that does not fit.
    pub fn constructed(batch: &Batch<T>, w0: Option<&DMatrix<f64>>) -> Result<Self> {
        let Some(w0) = w0 else { return Ok(Self::plain(batch)) };
        Ok(Self::join(batch, batch.targets(), &batch.queries().linear(&checked(w0, batch)?, None)))
    }

    /// Tokens `(x_i, y_i − W0 x_i)` and the query `(x_q, −W0 x_q)`. With these, the construction without a W0 block
    /// performs gradient descent from W0.
    ///
    /// # Errors
    /// [`InContextError::DimensionMismatch`](super::InContextError::DimensionMismatch) for a W0 that does not fit.
    pub fn residual(batch: &Batch<T>, w0: &DMatrix<f64>) -> Result<Self> {
        let weights = checked(w0, batch)?;
        let residuals = batch.targets() - &batch.inputs().linear(&weights, None);
        Ok(Self::join(batch, &residuals, &batch.queries().linear(&weights, None)))
    }

    /// [`constructed`](Self::constructed) with W0 = 0.
    pub(super) fn plain(batch: &Batch<T>) -> Self {
        Self::join(batch, batch.targets(), &Tensor::zeros(&[batch.len(), batch.outputs()]))
    }

    fn join(batch: &Batch<T>, targets: &Tensor<T>, predictions: &Tensor<T>) -> Self {
        let (n, d, o) = (batch.examples(), batch.dimension(), batch.outputs());
        let mut values = Vec::with_capacity(batch.len() * (n + 1) * (d + o));
        for b in 0..batch.len() {
            let examples = batch.inputs().as_slice()[b * n * d..(b + 1) * n * d].chunks_exact(d);
            for (x, y) in examples.zip(targets.as_slice()[b * n * o..(b + 1) * n * o].chunks_exact(o)) {
                values.extend_from_slice(x);
                values.extend_from_slice(y);
            }
            values.extend_from_slice(&batch.queries().as_slice()[b * d..(b + 1) * d]);
            values.extend(predictions.as_slice()[b * o..(b + 1) * o].iter().map(|&y| -y));
        }
        Self { sequence: filled(values, &[batch.len(), n + 1, d + o]), outputs: o }
    }

    /// Tokens as [`TokenLayout::Classic`] describes.
    ///
    /// # Errors
    /// [`InContextError::InvalidOption`](super::InContextError::InvalidOption) for an odd number of position entries.
    pub fn classic(batch: &Batch<T>, positions: usize) -> Result<Self> {
        TokenLayout::Classic { positions }.validate()?;
        Ok(Self::alternate(batch, positions))
    }

    fn alternate(batch: &Batch<T>, positions: usize) -> Self {
        let (n, d, o) = (batch.examples(), batch.dimension(), batch.outputs());
        let width = positions + d + o;
        let mut values = vec![T::ZERO; batch.len() * (2 * n + 1) * width];
        for (row, token) in values.chunks_exact_mut(width).enumerate() {
            let (b, position) = (row / (2 * n + 1), row % (2 * n + 1));
            encode_position(position, &mut token[..positions]);
            let i = position / 2;
            let (start, source) = match position {
                p if p == 2 * n => (positions, &batch.queries().as_slice()[b * d..(b + 1) * d]),
                p if p % 2 == 0 => (positions, &batch.inputs().as_slice()[(b * n + i) * d..(b * n + i + 1) * d]),
                _ => (positions + d, &batch.targets().as_slice()[(b * n + i) * o..(b * n + i + 1) * o]),
            };
            token[start..start + source.len()].copy_from_slice(source);
        }
        Self { sequence: filled(values, &[batch.len(), 2 * n + 1, width]), outputs: o }
    }

    /// Tokens of either layout, with W0 = 0.
    ///
    /// # Errors
    /// As [`classic`](Self::classic).
    pub fn of(batch: &Batch<T>, layout: TokenLayout) -> Result<Self> {
        layout.validate()?;
        Ok(Self::laid_out(batch, layout))
    }

    /// [`of`](Self::of) a valid layout.
    pub(super) fn laid_out(batch: &Batch<T>, layout: TokenLayout) -> Self {
        match layout {
            TokenLayout::Constructed => Self::plain(batch),
            TokenLayout::Classic { positions } => Self::alternate(batch, positions),
        }
    }

    /// Entries of a token.
    pub fn width(&self) -> usize {
        self.sequence.shape()[2]
    }

    /// Token number `position` of a task as a column, or `None` beyond the last.
    pub fn token(&self, task: usize, position: usize) -> Option<Token<T>>
    where
        T: nalgebra::Scalar,
    {
        let [tasks, tokens, width] = *self.sequence.shape() else { return None };
        let start = (task * tokens + position) * width;
        (task < tasks && position < tokens).then(|| DVector::from_column_slice(&self.sequence.as_slice()[start..start + width]))
    }

    /// The predictions that the queries hold, `[tasks, outputs]`.
    pub fn predictions(&self) -> Tensor<T> {
        read_predictions(&self.sequence, self.outputs)
    }
}

/// Minus the target slots of the last tokens.
pub(super) fn read_predictions<T: Scalar>(sequence: &Tensor<T>, outputs: usize) -> Tensor<T> {
    let [tasks, tokens, width] = [sequence.shape()[0], sequence.shape()[1], sequence.shape()[2]];
    -sequence.narrow(1, tokens - 1, 1).narrow(2, width - outputs, outputs).reshape(&[tasks, outputs])
}

fn checked<T: Scalar>(w0: &DMatrix<f64>, batch: &Batch<T>) -> Result<Tensor<T>> {
    same("the number of rows of W0", w0.nrows(), batch.outputs())?;
    same("the number of columns of W0", w0.ncols(), batch.dimension())?;
    Ok(Tensor::from_dmatrix(w0).cast())
}

/// Sines and cosines of the position at wavelengths from 2π to 2π·10⁴ (Vaswani et al. 2017, section 3.5).
fn encode_position<T: Scalar>(position: usize, entries: &mut [T]) {
    let size = entries.len() as f64;
    for (i, pair) in entries.chunks_exact_mut(2).enumerate() {
        let angle = position as f64 / 10_000f64.powf(2.0 * i as f64 / size);
        pair[0] = T::from_f64(angle.sin());
        pair[1] = T::from_f64(angle.cos());
    }
}
