//! Layers one after the other.

use gradus_autodiff::{Params, Scalar, Tensor, vjp};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::batch::half_squared_error;
use super::error::{InContextError, Result, option, same};
use super::tokens::read_predictions;
use super::{AttentionOptions, Batch, LinearSelfAttention, TaskDistribution, TokenLayout, Tokens};

/// What a stack to be trained looks like. The default is the paper's single linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StackConfig {
    /// Layers with weights of their own; 1 for a recurrent stack.
    pub layers: usize,
    /// How often the layers are run through; more than 1 for a recurrent stack.
    pub repeats: usize,
    /// Heads of each layer.
    pub heads: usize,
    /// Entries of a head's keys and values; the width of the tokens when `None`.
    pub key_size: Option<usize>,
    /// Variance scale of the initial weights, divided by the depth `layers · repeats`.
    pub init_scale: f64,
    /// How examples become tokens.
    pub layout: TokenLayout,
    /// The options of every layer.
    pub attention: AttentionOptions,
}

impl Default for StackConfig {
    fn default() -> Self {
        Self {
            layers: 1,
            repeats: 1,
            heads: 1,
            key_size: None,
            init_scale: 0.002,
            layout: TokenLayout::Constructed,
            attention: AttentionOptions::default(),
        }
    }
}

/// Layers that are run through `repeats` times: one layer and `repeats = K` is the recurrent stack, K layers and
/// `repeats = 1` the plain one.
#[derive(Debug, Clone, PartialEq, Params)]
pub struct Stack<T: Scalar = f32> {
    /// The layers in order.
    pub layers: Vec<LinearSelfAttention<T>>,
    /// How often they are run through.
    #[params(skip)]
    pub repeats: usize,
    /// How examples become tokens.
    #[params(skip)]
    pub layout: TokenLayout,
}

impl<T: Scalar> Stack<T> {
    /// Layers on constructed tokens, run through once.
    pub fn new(layers: Vec<LinearSelfAttention<T>>) -> Self {
        Self { layers, repeats: 1, layout: TokenLayout::Constructed }
    }

    /// One layer on constructed tokens, applied `steps` times.
    pub fn recurrent(layer: LinearSelfAttention<T>, steps: usize) -> Self {
        Self { layers: vec![layer], repeats: steps, layout: TokenLayout::Constructed }
    }

    /// Random layers for these tasks.
    ///
    /// # Errors
    /// [`InContextError::InvalidOption`] for a size of 0 or a scale that is not positive.
    pub fn random(config: &StackConfig, tasks: &TaskDistribution, rng: &mut impl Rng) -> Result<Self> {
        option("layers", config.layers as f64, config.layers > 0, "at least 1")?;
        option("repeats", config.repeats as f64, config.repeats > 0, "at least 1")?;
        let width = config.layout.width(tasks.dimension(), tasks.outputs());
        let scale = config.init_scale / (config.layers * config.repeats) as f64;
        let key_size = config.key_size.unwrap_or(width);
        let layers = (0..config.layers)
            .map(|_| LinearSelfAttention::random(width, config.heads, key_size, scale, config.attention, rng))
            .collect::<Result<_>>()?;
        Ok(Self { layers, repeats: config.repeats, layout: config.layout })
    }

    /// Number of layer applications.
    pub fn depth(&self) -> usize {
        self.layers.len() * self.repeats
    }

    /// Checks every layer, that all have the same width, and that there is at least one application.
    ///
    /// # Errors
    /// [`InContextError::InvalidOption`], [`InContextError::InvalidShape`], [`InContextError::DimensionMismatch`] or
    /// [`InContextError::NonFinite`].
    pub fn validate(&self) -> Result<()> {
        option("the number of layer applications", self.depth() as f64, self.depth() > 0, "at least 1")?;
        self.layout.validate()?;
        self.layers.iter().try_for_each(|layer| {
            layer.validate()?;
            same("the width of a layer", layer.width(), self.layers[0].width())
        })
    }

    /// The predictions after each layer application, each `[tasks, outputs]`.
    ///
    /// # Errors
    /// As [`validate`](Self::validate), and [`InContextError::DimensionMismatch`] for tasks of another size.
    pub fn predict(&self, batch: &Batch<T>) -> Result<Vec<Tensor<T>>> {
        self.predict_tokens(&Tokens::of(batch, self.layout)?)
    }

    /// The predictions for the queries of these tokens after each layer application, each `[tasks, outputs]`.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn predict_tokens(&self, tokens: &Tokens<T>) -> Result<Vec<Tensor<T>>> {
        self.validate()?;
        same("the width of the tokens", tokens.width(), self.layers[0].width())?;
        Ok(self.run(&tokens.sequence, tokens.outputs))
    }

    /// The last prediction for every prefix of the context, `[tasks, examples + 1, outputs]`: entry n is the prediction for
    /// the next input (the query at the end) from the first n examples alone. From none it is 0.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn predict_prefixes(&self, batch: &Batch<T>) -> Result<Tensor<T>> {
        let mut all = vec![Tensor::zeros(&[batch.len(), batch.outputs()])];
        for prefix in (1..=batch.examples()).filter_map(|n| batch.prefix(n)) {
            all.extend(self.predict(&prefix)?.pop());
        }
        Ok(Tensor::stack(&all, 1))
    }

    /// `½ mean ‖y_q − ŷ‖²` over the tasks.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn loss(&self, batch: &Batch<T>) -> Result<f64> {
        let losses = self.losses(batch)?;
        losses.last().copied().ok_or(InContextError::EmptyContext)
    }

    /// The loss after each layer application.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn losses(&self, batch: &Batch<T>) -> Result<Vec<f64>> {
        let predictions = self.predict(batch)?;
        Ok(predictions.iter().map(|p| half_squared_error(&p.cast::<f64>(), &batch.query_targets().cast()).item()).collect())
    }

    /// The derivative of the last prediction by the query's input, `[tasks, outputs, dimension]`.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn input_gradients(&self, batch: &Batch<T>) -> Result<Tensor<T>> {
        self.validate()?;
        let tokens = Tokens::of(batch, self.layout)?;
        same("the width of the tokens", tokens.width(), self.layers[0].width())?;
        let (count, width) = (tokens.sequence.shape()[1], tokens.width());
        let (d, o) = (batch.dimension(), batch.outputs());
        let (_, pull_back) = vjp(|sequence: &Tensor<T>| self.last(sequence, o), &tokens.sequence);
        let rows: Vec<Tensor<T>> = (0..o)
            .map(|k| {
                let cotangent = Tensor::from_fn(&[batch.len(), o], |i| if i % o == k { T::ONE } else { T::ZERO });
                let gradient = pull_back(&cotangent).narrow(1, count - 1, 1).narrow(2, width - o - d, d);
                gradient.reshape(&[batch.len(), d])
            })
            .collect();
        Ok(Tensor::stack(&rows, 1))
    }

    /// The training loss, which can be differentiated by the weights. The stack must be valid and the sizes fit.
    pub(super) fn training_loss(&self, batch: &Batch<T>) -> Tensor<T> {
        let tokens = Tokens::laid_out(batch, self.layout);
        half_squared_error(&self.last(&tokens.sequence, tokens.outputs), batch.query_targets())
    }

    fn last(&self, sequence: &Tensor<T>, outputs: usize) -> Tensor<T> {
        self.run(sequence, outputs).pop().unwrap_or_else(|| read_predictions(sequence, outputs))
    }

    fn run(&self, sequence: &Tensor<T>, outputs: usize) -> Vec<Tensor<T>> {
        let mut sequence = sequence.clone();
        let mut predictions = Vec::with_capacity(self.depth());
        let applications = std::iter::repeat_n(&self.layers, self.repeats).flatten();
        for (done, layer) in (1..).zip(applications) {
            if done == self.depth() {
                predictions.push(read_predictions(&layer.apply_to_query(&sequence, outputs), outputs));
            } else {
                sequence = layer.apply(&sequence, outputs);
                predictions.push(read_predictions(&sequence, outputs));
            }
        }
        predictions
    }
}
