//! Nonlinear tasks: a network on each token in front of the attention (section 4 of the paper).

use gradus_autodiff::{Params, Scalar, Tensor};
use gradus_base::{Cancel, Observer};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::attention::variance_scaling;
use super::batch::half_squared_error;
use super::error::{InContextError, Result, finite, option, positive, same};
use super::tokens::read_predictions;
use super::train::{Outcome, Run};
use super::{AttentionOptions, Batch, LinearSelfAttention, TaskDistribution, Tokens, TrainOptions};

/// What the network looks like. The default is the paper's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NonlinearConfig {
    /// Entries of an embedded token.
    pub width: usize,
    /// Units of the hidden layer.
    pub hidden: usize,
    /// Variance scale of the initial weights. The paper's 0.002 goes with its 20,000 steps of 2,048 tasks; shorter training wants more, such as 0.5.
    pub init_scale: f64,
}

impl Default for NonlinearConfig {
    fn default() -> Self {
        Self { width: 40, hidden: 160, init_scale: 0.002 }
    }
}

/// Which attention stands behind the network.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NonlinearHead {
    /// Trained with the network.
    Trained,
    /// The construction of one step of gradient descent on the embedded tokens, fixed.
    GradientDescent {
        /// Its step size, positive.
        eta: f64,
    },
}

/// `h = E e`, then `h + W₂ gelu(W₁ h + b₁) + b₂`, on each token, with [`Tensor::gelu_tanh`].
#[derive(Debug, Clone, PartialEq, Params)]
pub struct TokenMlp<T: Scalar = f32> {
    /// E, `[width, dimension + outputs]`.
    pub embedding: Tensor<T>,
    /// W₁, `[hidden, width]`.
    pub inner: Tensor<T>,
    /// b₁, `[hidden]`.
    pub inner_bias: Tensor<T>,
    /// W₂, `[width, hidden]`.
    pub outer: Tensor<T>,
    /// b₂, `[width]`.
    pub outer_bias: Tensor<T>,
}

impl<T: Scalar> TokenMlp<T> {
    fn random(input: usize, config: &NonlinearConfig, rng: &mut impl Rng) -> Self {
        let (width, hidden, scale) = (config.width, config.hidden, config.init_scale);
        Self {
            embedding: variance_scaling(&[width, input], scale, input, rng),
            inner: variance_scaling(&[hidden, width], scale, width, rng),
            inner_bias: Tensor::zeros(&[hidden]),
            outer: variance_scaling(&[width, hidden], scale, hidden, rng),
            outer_bias: Tensor::zeros(&[width]),
        }
    }

    /// Checks that the shapes of all matrices fit together and that every number is finite.
    ///
    /// # Errors
    /// [`InContextError::InvalidShape`] or [`InContextError::NonFinite`].
    pub fn validate(&self) -> Result<()> {
        let size = |x: &Tensor<T>, axis: usize| x.shape().get(axis).copied().unwrap_or(0);
        let (width, input, hidden) = (size(&self.embedding, 0), size(&self.embedding, 1), size(&self.inner, 0));
        let expected: [(&str, &Tensor<T>, &[usize]); 5] = [
            ("embedding", &self.embedding, &[width, input]),
            ("inner", &self.inner, &[hidden, width]),
            ("inner_bias", &self.inner_bias, &[hidden]),
            ("outer", &self.outer, &[width, hidden]),
            ("outer_bias", &self.outer_bias, &[width]),
        ];
        for (name, x, expected) in expected {
            if x.shape() != expected {
                let what = format!("{name} of the network on tokens");
                return Err(InContextError::InvalidShape { what, found: x.shape().to_vec(), expected: expected.to_vec() });
            }
            finite("the network on tokens", x.is_finite())?;
        }
        Ok(())
    }

    fn apply(&self, tokens: &Tensor<T>) -> Tensor<T> {
        let embedded = tokens.linear(&self.embedding, None);
        let inner = embedded.linear(&self.inner, Some(&self.inner_bias)).gelu_tanh();
        embedded + inner.linear(&self.outer, Some(&self.outer_bias))
    }
}

/// A network on each token, then one layer of attention; minus the last entries of the query are the prediction.
#[derive(Debug, Clone, PartialEq, Params)]
pub struct NonlinearIcl<T: Scalar = f32> {
    /// The network on tokens.
    pub mlp: TokenMlp<T>,
    /// The attention on embedded tokens.
    pub attention: LinearSelfAttention<T>,
    /// Entries of a target: the width of the slot that the prediction is read from.
    #[params(skip)]
    pub outputs: usize,
}

impl<T: Scalar> NonlinearIcl<T> {
    /// The predictions, `[tasks, outputs]`.
    ///
    /// # Errors
    /// [`InContextError::DimensionMismatch`] for tasks of another size, [`InContextError::InvalidOption`] for attention narrower
    /// than the target slot, and as [`TokenMlp::validate`] and [`LinearSelfAttention::validate`].
    pub fn predict(&self, batch: &Batch<T>) -> Result<Tensor<T>> {
        self.mlp.validate()?;
        self.attention.validate()?;
        same("the width of the embedded tokens", self.mlp.embedding.shape()[0], self.attention.width())?;
        option("outputs", self.outputs as f64, self.outputs <= self.attention.width(), "at most the width of the attention")?;
        let tokens = Tokens::plain(batch);
        same("the number of outputs of the tasks", batch.outputs(), self.outputs)?;
        same("the width of the tokens", tokens.width(), self.mlp.embedding.shape()[1])?;
        Ok(run(&self.mlp, &self.attention, &tokens))
    }

    /// `½ mean ‖y_q − ŷ‖²` over the tasks.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn loss(&self, batch: &Batch<T>) -> Result<f64> {
        Ok(half_squared_error(&self.predict(batch)?.cast::<f64>(), &batch.query_targets().cast()).item())
    }
}

fn run<T: Scalar>(mlp: &TokenMlp<T>, attention: &LinearSelfAttention<T>, tokens: &Tokens<T>) -> Tensor<T> {
    let query = attention.apply_to_query(&mlp.apply(tokens.sequence()), tokens.outputs());
    read_predictions(&query, tokens.outputs())
}

/// The trained network and its losses.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainedNonlinear<T: Scalar = f32> {
    /// The network before the first step.
    pub initial: NonlinearIcl<T>,
    /// The network after the last step.
    pub model: NonlinearIcl<T>,
    /// Each step, counted from 0, with its loss on the tasks of that step before the update.
    pub history: Vec<(u64, f64)>,
}

/// Trains a network on tokens with attention behind it: with [`NonlinearHead::Trained`] the transformer, with
/// [`NonlinearHead::GradientDescent`] the network whose embedding gives one step of gradient descent the least loss.
///
/// The restarts and snapshots of `options` are not used.
///
/// ```
/// use gradus_base::{Cancel, Silent};
/// use gradus_learning::in_context::gradient_descent::*;
///
/// let config = NonlinearConfig { width: 8, hidden: 16, init_scale: 0.5 };
/// let options = TrainOptions { steps: 20, batch: 16, ..TrainOptions::default() };
/// let waves = SineTasks::default();
/// let trained: TrainedNonlinear<f32> =
///     train_nonlinear(&config, NonlinearHead::Trained, &waves.into(), &options, &mut Silent, &Cancel::new())?;
/// let test = waves.sample(100, &mut gradus_base::stream(1, "test waves", 0))?;
/// assert!(trained.model.loss(&test)?.is_finite() && trained.initial != trained.model);
/// # Ok::<(), InContextError>(())
/// ```
///
/// # Errors
/// Those of validation, [`InContextError::Diverged`] or [`InContextError::Interrupted`].
pub fn train_nonlinear<T: Scalar>(
    config: &NonlinearConfig,
    head: NonlinearHead,
    tasks: &TaskDistribution,
    options: &TrainOptions,
    observer: &mut dyn Observer,
    cancel: &Cancel,
) -> Result<TrainedNonlinear<T>> {
    options.validate()?;
    tasks.validate()?;
    let outputs = tasks.outputs();
    option("width", config.width as f64, config.width > outputs, "greater than the number of outputs")?;
    positive("hidden", config.hidden)?;
    option("init_scale", config.init_scale, config.init_scale > 0.0 && config.init_scale.is_finite(), "finite and positive")?;
    let mut rng = gradus_base::stream(options.seed, "icl-weights", 0);
    let mlp = TokenMlp::random(tasks.dimension() + outputs, config, &mut rng);
    let options = &TrainOptions { snapshot_every: None, ..*options };
    let mut run_of = Run { options, tasks, seed: options.seed, swapped_above: None, observer, cancel };
    let loss = |mlp: &TokenMlp<T>, attention: &LinearSelfAttention<T>, batch: &Batch<T>| {
        half_squared_error(&run(mlp, attention, &Tokens::plain(batch)), batch.query_targets())
    };
    let attention = match head {
        NonlinearHead::Trained => {
            LinearSelfAttention::random(config.width, 1, config.width, config.init_scale, AttentionOptions::default(), &mut rng)?
        }
        NonlinearHead::GradientDescent { eta } => {
            LinearSelfAttention::gd_construction(config.width - outputs, outputs, tasks.context(), eta, None)?
        }
    };
    let initial = NonlinearIcl { mlp, attention, outputs };
    let mut model = initial.clone();
    let history = match head {
        NonlinearHead::Trained => history_of(run_of.descend(&mut model, |m: &NonlinearIcl<T>, batch| loss(&m.mlp, &m.attention, batch))?)?,
        NonlinearHead::GradientDescent { .. } => {
            let fixed = &initial.attention;
            history_of(run_of.descend(&mut model.mlp, |mlp: &TokenMlp<T>, batch| loss(mlp, fixed, batch))?)?
        }
    };
    Ok(TrainedNonlinear { initial, model, history })
}

fn history_of<P>(outcome: Outcome<P>) -> Result<Vec<(u64, f64)>> {
    match outcome {
        Outcome::Finished { history, .. } => Ok(history),
        Outcome::RoleSwapped { loss } => Err(InContextError::Stuck { loss }),
    }
}
