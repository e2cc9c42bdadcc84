//! The outputs whose squared scores make the expectation of a mode.

use gradus_autodiff::{Scalar, Tensor};
use gradus_base::stream;
use rand::RngExt;

use super::FisherMode;
use crate::MergeError;

/// One output for each example, and its weight in the expectation.
pub(super) struct Outputs {
    /// The class of each example, or of each of its tokens, example by example.
    pub(super) chosen: Vec<usize>,
    /// One for each example.
    pub(super) weights: Vec<f64>,
}

impl Outputs {
    fn of_class(class: usize, weights: impl Iterator<Item = f64>) -> Self {
        let weights: Vec<f64> = weights.collect();
        Self { chosen: vec![class; weights.len()], weights }
    }
}

/// The probabilities of the classes, for each example or each token of it.
pub(super) struct Predictions {
    /// Outputs of each example: 1, or the length of the sequences.
    pub(super) tokens: usize,
    pub(super) classes: usize,
    sequences: bool,
    /// The number of examples before these.
    first: u64,
    rows: Vec<Vec<f64>>,
}

impl Predictions {
    pub(super) fn new<T: Scalar>(logits: &Tensor<T>, examples: usize, first: u64) -> Result<Self, MergeError> {
        let (tokens, classes, sequences) = match *logits.shape() {
            [rows, classes] if rows == examples => (1, classes, false),
            [rows, tokens, classes] if rows == examples => (tokens, classes, true),
            _ => (0, 0, false),
        };
        if tokens * classes == 0 {
            return Err(MergeError::LogitsShape { found: logits.shape().to_vec(), examples });
        }
        if let Some(at) = logits.as_slice().iter().position(|x| !x.is_finite()) {
            let (example, value) = (first as usize + at / (tokens * classes), logits.as_slice()[at].to_f64());
            return Err(MergeError::Logits { example, class: at % classes, value });
        }
        let probabilities = logits.cast::<f64>().softmax();
        let rows = probabilities.as_slice().chunks(classes).map(<[f64]>::to_vec).collect();
        Ok(Self { tokens, classes, sequences, first, rows })
    }

    /// The outputs, one for each example and pass.
    pub(super) fn outputs(&self, mode: FisherMode, labels: &[usize]) -> Result<Vec<Outputs>, MergeError> {
        match mode {
            FisherMode::Exact if self.sequences => {
                Err(MergeError::NotExact { outputs: "the outputs of sequences, of which there are classes^tokens" })
            }
            FisherMode::Exact => Ok((0..self.classes).map(|y| Outputs::of_class(y, self.rows.iter().map(|p| p[y]))).collect()),
            FisherMode::Sampled { draws, seed } => Ok(self.sampled(draws, seed)),
            FisherMode::Empirical => Ok(vec![self.labelled(labels)?]),
        }
    }

    fn labelled(&self, labels: &[usize]) -> Result<Outputs, MergeError> {
        if labels.len() != self.rows.len() {
            return Err(MergeError::Labels { expected: self.rows.len(), labels: labels.len() });
        }
        if let Some((at, &label)) = labels.iter().enumerate().find(|(_, label)| **label >= self.classes) {
            return Err(MergeError::Label { example: self.first as usize + at / self.tokens, label, classes: self.classes });
        }
        Ok(Outputs { chosen: labels.to_vec(), weights: vec![1.0; self.rows.len() / self.tokens] })
    }

    fn sampled(&self, draws: usize, seed: u64) -> Vec<Outputs> {
        let examples = (self.first..).zip(self.rows.chunks(self.tokens));
        let drawn: Vec<Vec<usize>> = examples.map(|(example, tokens)| draw(example, tokens, draws, seed)).collect();
        // As many passes as draws or classes, whichever are fewer.
        if draws > self.classes && !self.sequences {
            let share = |d: &Vec<usize>, y: usize| d.iter().filter(|&&own| own == y).count() as f64 / draws as f64;
            return (0..self.classes).map(|y| Outputs::of_class(y, drawn.iter().map(|d| share(d, y)))).collect();
        }
        let of_draw = |s: usize| {
            let chosen = drawn.iter().flat_map(|d| &d[s * self.tokens..(s + 1) * self.tokens]).copied().collect();
            Outputs { chosen, weights: vec![1.0 / draws as f64; drawn.len()] }
        };
        (0..draws).map(of_draw).collect()
    }
}

/// Draws of one example's tokens, one draw after the other, from a stream of its own.
fn draw(example: u64, tokens: &[Vec<f64>], draws: usize, seed: u64) -> Vec<usize> {
    let mut rng = stream(seed, "fisher-sample", example);
    let mut one = |probabilities: &Vec<f64>| {
        let mut left: f64 = rng.random();
        let reached = probabilities.iter().position(|p| {
            left -= p;
            left < 0.0
        });
        // Rounding can leave a little at the end.
        reached.unwrap_or_else(|| probabilities.iter().rposition(|&p| p > 0.0).unwrap_or(0))
    };
    (0..draws).flat_map(|_| tokens).map(&mut one).collect()
}
