//! Layers one after the other.

use gradus_autodiff::{Params, Scalar, Tensor, vjp};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::batch::half_squared_error;
use super::error::{InContextError, Result, option, positive, same};
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
    /// Entries of a target: the width of the slot that the predictions are read from.
    #[params(skip)]
    pub outputs: usize,
    /// How often the layers are run through.
    #[params(skip)]
    pub repeats: usize,
    /// How examples become tokens.
    #[params(skip)]
    pub layout: TokenLayout,
}

/// More layer applications than this are taken for a mistake.
const MAX_DEPTH: usize = 1 << 16;

impl<T: Scalar> Stack<T> {
    /// Layers on constructed tokens with `outputs` entries of a target, run through once.
    pub fn new(layers: Vec<LinearSelfAttention<T>>, outputs: usize) -> Self {
        Self { layers, outputs, repeats: 1, layout: TokenLayout::Constructed }
    }

    /// One layer on constructed tokens with `outputs` entries of a target, applied `steps` times.
    pub fn recurrent(layer: LinearSelfAttention<T>, outputs: usize, steps: usize) -> Self {
        Self { layers: vec![layer], outputs, repeats: steps, layout: TokenLayout::Constructed }
    }

    /// Random layers for these tasks.
    ///
    /// # Errors
    /// [`InContextError::InvalidOption`] for a size of 0, a scale that is not positive, or a layout that does not fit the tasks.
    pub fn random(config: &StackConfig, tasks: &TaskDistribution, rng: &mut impl Rng) -> Result<Self> {
        let (dimension, outputs) = (tasks.dimension(), tasks.outputs());
        config.layout.validate(dimension, outputs)?;
        let depth = config.layers.saturating_mul(config.repeats);
        check_depth(depth)?;
        let width = config.layout.width(dimension, outputs);
        let key_size = config.key_size.unwrap_or(width);
        let scale = config.init_scale / depth as f64;
        let layers = (0..config.layers)
            .map(|_| LinearSelfAttention::random(width, config.heads, key_size, scale, config.attention, rng))
            .collect::<Result<_>>()?;
        Ok(Self { layers, outputs, repeats: config.repeats, layout: config.layout })
    }

    /// Number of layer applications.
    pub fn depth(&self) -> usize {
        self.layers.len().saturating_mul(self.repeats)
    }

    /// Entries of an input, or `None` when the layers are too narrow for the layout.
    pub fn dimension(&self) -> Option<usize> {
        self.layout.dimension(self.layers.first()?.width(), self.outputs)
    }

    /// Checks every layer, that all have the same width, that this fits the layout and the number of outputs, and that there
    /// are between 1 and 65,536 layer applications.
    ///
    /// # Errors
    /// [`InContextError::InvalidOption`], [`InContextError::InvalidShape`], [`InContextError::DimensionMismatch`] or
    /// [`InContextError::NonFinite`].
    pub fn validate(&self) -> Result<()> {
        check_depth(self.depth())?;
        positive("outputs", self.outputs)?;
        let width = self.layers[0].width();
        for layer in &self.layers {
            layer.validate()?;
            same("the width of a layer", layer.width(), width)?;
        }
        let dimension = self.dimension();
        option("the width of the layers", width as f64, dimension.is_some(), "more than position encoding and target slot take")?;
        self.layout.validate(dimension.unwrap_or(0), self.outputs)
    }

    /// Checks the stack, and that these tasks have its sizes.
    fn check(&self, batch: &Batch<T>) -> Result<()> {
        self.validate()?;
        same("the number of outputs of the tasks", batch.outputs(), self.outputs)?;
        same("the dimension of the tasks", batch.dimension(), self.dimension().unwrap_or(0))
    }

    /// The predictions after each layer application, each `[tasks, outputs]`.
    ///
    /// # Errors
    /// As [`validate`](Self::validate), and [`InContextError::DimensionMismatch`] for tasks of another size.
    pub fn predict(&self, batch: &Batch<T>) -> Result<Vec<Tensor<T>>> {
        self.check(batch)?;
        let tokens = Tokens::laid_out(batch, self.layout);
        Ok(self.run(tokens.sequence(), self.outputs))
    }

    /// The predictions for the queries of these tokens after each layer application, each `[tasks, outputs]`.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn predict_tokens(&self, tokens: &Tokens<T>) -> Result<Vec<Tensor<T>>> {
        self.validate()?;
        same("the width of the tokens", tokens.width(), self.layers[0].width())?;
        same("the number of outputs of the tokens", tokens.outputs(), self.outputs)?;
        Ok(self.run(tokens.sequence(), self.outputs))
    }

    /// The last prediction for every prefix of the context, `[tasks, examples + 1, outputs]`: entry n is the prediction for
    /// the next input (the query at the end) from the first n examples alone. From none it is 0.
    ///
    /// Layers with the [`causal`](AttentionOptions::causal) option do it in one pass over constructed tokens. Otherwise
    /// examples move with those that follow them, and every prefix is a pass of its own.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn predict_prefixes(&self, batch: &Batch<T>) -> Result<Tensor<T>> {
        self.check(batch)?;
        let causal = |layer: &LinearSelfAttention<T>| layer.options.causal && !layer.options.include_query;
        if self.layout == TokenLayout::Constructed && self.layers.iter().all(causal) {
            return Ok(self.run_prefixes(batch));
        }
        let mut all = vec![Tensor::zeros(&[batch.len(), batch.outputs()])];
        for prefix in (1..=batch.examples()).filter_map(|n| batch.prefix(n)) {
            all.push(self.last(Tokens::laid_out(&prefix, self.layout).sequence(), self.outputs));
        }
        Ok(Tensor::stack(&all, 1))
    }

    /// [`predict_prefixes`](Self::predict_prefixes) of causal layers: every next input is a query beside the context.
    fn run_prefixes(&self, batch: &Batch<T>) -> Tensor<T> {
        let (n, d, o) = (batch.examples(), batch.dimension(), self.outputs);
        let mut context = Tensor::concat(&[batch.inputs().clone(), batch.targets().clone()], 2);
        let next = Tensor::concat(&[batch.inputs().clone(), batch.queries().unsqueeze(1)], 1);
        let mut queries = Tensor::concat(&[next, Tensor::zeros(&[batch.len(), n + 1, o])], 2);
        for layer in self.applications() {
            [context, queries] = layer.apply_to_prefixes(&context, &queries, o);
        }
        -queries.narrow(2, d, o)
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
        self.check(batch)?;
        let tokens = Tokens::laid_out(batch, self.layout);
        let count = tokens.sequence().shape()[1];
        let (d, o) = (batch.dimension(), batch.outputs());
        let (_, pull_back) = vjp(|sequence: &Tensor<T>| self.last(sequence, o), tokens.sequence());
        let rows: Vec<Tensor<T>> = (0..o)
            .map(|k| {
                let cotangent = Tensor::from_fn(&[batch.len(), o], |i| if i % o == k { T::ONE } else { T::ZERO });
                let gradient = pull_back(&cotangent).narrow(1, count - 1, 1).narrow(2, self.layout.positions(), d);
                gradient.reshape(&[batch.len(), d])
            })
            .collect();
        Ok(Tensor::stack(&rows, 1))
    }

    /// The training loss, which can be differentiated by the weights. The stack must be valid and the sizes fit.
    pub(super) fn training_loss(&self, batch: &Batch<T>) -> Tensor<T> {
        let tokens = Tokens::laid_out(batch, self.layout);
        half_squared_error(&self.last(tokens.sequence(), self.outputs), batch.query_targets())
    }

    fn last(&self, sequence: &Tensor<T>, outputs: usize) -> Tensor<T> {
        self.run(sequence, outputs).pop().unwrap_or_else(|| read_predictions(sequence, outputs))
    }

    fn run(&self, sequence: &Tensor<T>, outputs: usize) -> Vec<Tensor<T>> {
        let mut sequence = sequence.clone();
        let mut predictions = Vec::with_capacity(self.depth());
        for (done, layer) in (1..).zip(self.applications()) {
            if done == self.depth() {
                predictions.push(read_predictions(&layer.apply_to_query(&sequence, outputs), outputs));
            } else {
                sequence = layer.apply(&sequence, outputs);
                predictions.push(read_predictions(&sequence, outputs));
            }
        }
        predictions
    }

    /// The layers in the order in which they are applied.
    fn applications(&self) -> impl Iterator<Item = &LinearSelfAttention<T>> {
        std::iter::repeat_n(&self.layers, self.repeats).flatten()
    }
}

fn check_depth(depth: usize) -> Result<()> {
    option("the number of layer applications", depth as f64, (1..=MAX_DEPTH).contains(&depth), "between 1 and 65536")
}
