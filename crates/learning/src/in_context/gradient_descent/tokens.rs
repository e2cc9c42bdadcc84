//! Tasks as sequences of tokens.

use gradus_autodiff::{Scalar, Tensor};
use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

use super::Batch;
use super::error::{InContextError, Result, finite, option, positive, same};
use super::reference::check_weights;
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
    /// Tokens of x and of y in turn, 2N + 1 with the query (section 5.1 of the paper). In front of each stand `positions`
    /// entries of sinusoidal position encoding, without which attention cannot tell which y belongs to which x.
    Classic {
        /// Entries of the position encoding; even, 0 for none.
        positions: usize,
        /// Whether targets stand in the last entries of the inputs, as in the authors' code: tokens x and `(0, …, 0, y)`, as
        /// wide as an input, and the slot of the query first holds the last entries of x_q. Otherwise targets have a slot
        /// of their own, tokens `(x, 0)` and `(0, y)`, and that of the query is first 0.
        #[serde(default)]
        shared: bool,
    },
}

impl TokenLayout {
    /// Checks that position encodings come in pairs, and that targets fit into a slot that they share.
    ///
    /// # Errors
    /// [`InContextError::InvalidOption`].
    pub fn validate(self, dimension: usize, outputs: usize) -> Result<()> {
        if let Self::Classic { positions, shared } = self {
            option("positions", positions as f64, positions.is_multiple_of(2), "even")?;
            option("outputs", outputs as f64, !shared || outputs <= dimension, "at most the dimension when they share a slot")?;
        }
        Ok(())
    }

    /// Entries of a token.
    pub fn width(self, dimension: usize, outputs: usize) -> usize {
        dimension.saturating_add(self.beside_inputs(outputs))
    }

    /// Entries of an input in tokens of this width, or `None` when they leave no room for one.
    pub fn dimension(self, width: usize, outputs: usize) -> Option<usize> {
        width.checked_sub(self.beside_inputs(outputs)).filter(|&dimension| dimension > 0)
    }

    /// Entries of position encoding in front of the inputs.
    pub fn positions(self) -> usize {
        match self {
            Self::Constructed => 0,
            Self::Classic { positions, .. } => positions,
        }
    }

    fn beside_inputs(self, outputs: usize) -> usize {
        match self {
            Self::Classic { positions, shared: true } => positions,
            // Sizes from a file may be anything; what is too large fits no width.
            _ => self.positions().saturating_add(outputs),
        }
    }
}

/// Sequences of tokens, `[tasks, tokens, width]` with the query last: at least one task, two tokens and one entry of the
/// target slot, and every value finite. The last `outputs` entries of a token are its target slot; that of the query holds
/// minus the prediction.
#[derive(Debug, Clone, PartialEq)]
pub struct Tokens<T: Scalar = f32> {
    sequence: Tensor<T>,
    outputs: usize,
}

impl<T: Scalar> Tokens<T> {
    /// Tokens `[tasks, tokens, width]`, the query last, whose last `outputs` entries are the target slot.
    ///
    /// # Errors
    /// [`InContextError::DimensionMismatch`] for another rank, [`InContextError::EmptyContext`] for no task or no token in
    /// front of the query, [`InContextError::InvalidOption`] for a target slot of no entry or wider than the tokens,
    /// [`InContextError::NonFinite`].
    pub fn new(sequence: Tensor<T>, outputs: usize) -> Result<Self> {
        same("the rank of the tokens", sequence.rank(), 3)?;
        if sequence.shape()[0] == 0 || sequence.shape()[1] < 2 {
            return Err(InContextError::EmptyContext);
        }
        positive("outputs", outputs)?;
        option("outputs", outputs as f64, outputs <= sequence.shape()[2], "at most the width of the tokens")?;
        Self { sequence, outputs }.checked()
    }

    /// The tokens when they are finite, otherwise [`InContextError::NonFinite`].
    pub(super) fn checked(self) -> Result<Self> {
        finite("the tokens", self.sequence.is_finite())?;
        Ok(self)
    }

    /// Tokens after a layer, which keeps their shape.
    pub(super) fn moved(&self, sequence: Tensor<T>) -> Self {
        Self { sequence, outputs: self.outputs }
    }

    /// Tokens `(x_i, y_i)` and the query `(x_q, −W0 x_q)`; W0 is `[outputs, dimension]`, or zero.
    ///
    /// # Errors
    /// [`InContextError::DimensionMismatch`] for a W0 that does not fit; [`InContextError::NonFinite`] for one that is not
    /// finite or leads to numbers too large for the precision.
    pub fn constructed(batch: &Batch<T>, w0: Option<&DMatrix<f64>>) -> Result<Self> {
        let Some(w0) = w0 else { return Ok(Self::plain(batch)) };
        Self::join(batch, batch.targets(), &batch.queries().linear(&fitting(w0, batch)?, None)).checked()
    }

    /// Tokens `(x_i, y_i − W0 x_i)` and the query `(x_q, −W0 x_q)`. With these, the construction without a W0 block
    /// performs gradient descent from W0.
    ///
    /// # Errors
    /// As [`constructed`](Self::constructed).
    pub fn residual(batch: &Batch<T>, w0: &DMatrix<f64>) -> Result<Self> {
        let weights = fitting(w0, batch)?;
        let residuals = batch.targets() - &batch.inputs().linear(&weights, None);
        Self::join(batch, &residuals, &batch.queries().linear(&weights, None)).checked()
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
    /// As [`TokenLayout::validate`].
    pub fn classic(batch: &Batch<T>, positions: usize, shared: bool) -> Result<Self> {
        Self::of(batch, TokenLayout::Classic { positions, shared })
    }

    /// Tokens of a [`TokenLayout::Classic`] of this width.
    fn alternate(batch: &Batch<T>, positions: usize, width: usize) -> Self {
        let (n, d, o) = (batch.examples(), batch.dimension(), batch.outputs());
        let mut values = vec![T::ZERO; batch.len() * (2 * n + 1) * width];
        for (row, token) in values.chunks_exact_mut(width).enumerate() {
            let (b, position) = (row / (2 * n + 1), row % (2 * n + 1));
            encode_position(position, &mut token[..positions]);
            let i = position / 2;
            let (start, source) = match position {
                p if p == 2 * n => (positions, &batch.queries().as_slice()[b * d..(b + 1) * d]),
                p if p % 2 == 0 => (positions, &batch.inputs().as_slice()[(b * n + i) * d..(b * n + i + 1) * d]),
                _ => (width - o, &batch.targets().as_slice()[(b * n + i) * o..(b * n + i + 1) * o]),
            };
            token[start..start + source.len()].copy_from_slice(source);
        }
        Self { sequence: filled(values, &[batch.len(), 2 * n + 1, width]), outputs: o }
    }

    /// Tokens of either layout, with W0 = 0.
    ///
    /// # Errors
    /// As [`TokenLayout::validate`].
    pub fn of(batch: &Batch<T>, layout: TokenLayout) -> Result<Self> {
        layout.validate(batch.dimension(), batch.outputs())?;
        Ok(Self::laid_out(batch, layout))
    }

    /// [`of`](Self::of) a valid layout.
    pub(super) fn laid_out(batch: &Batch<T>, layout: TokenLayout) -> Self {
        match layout {
            TokenLayout::Constructed => Self::plain(batch),
            TokenLayout::Classic { positions, .. } => Self::alternate(batch, positions, layout.width(batch.dimension(), batch.outputs())),
        }
    }

    /// The tokens, `[tasks, tokens, width]`; row `[task, token]` is the transpose of the column.
    pub fn sequence(&self) -> &Tensor<T> {
        &self.sequence
    }

    /// Entries of the target slot.
    pub fn outputs(&self) -> usize {
        self.outputs
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

fn fitting<T: Scalar>(w0: &DMatrix<f64>, batch: &Batch<T>) -> Result<Tensor<T>> {
    check_weights(w0, batch.outputs(), batch.dimension())?;
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
