//! Stacks of attention and feed-forward layers (Vaswani et al. 2017).

use gradus_autodiff::{AttentionMask, Params, Scalar, Tensor};
use rand::Rng;

use crate::attention::AttentionSizes;
use crate::build::{Build, transformer_values};
use crate::{Activation, KeyValue, Linear, MultiHeadAttention, Norm, NormKind, Pass, Rotary, SettingError};

/// The sizes and choices of a [`Transformer`]. The default is the base model of Vaswani et al. (2017), table 3, as an encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct TransformerConfig {
    /// The length of a token's vector.
    pub width: usize,
    /// The number of layers.
    pub layers: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values; divides `heads`.
    pub key_value_heads: usize,
    /// The length of one head's queries, keys and values.
    pub head_width: usize,
    /// The inner width of the feed-forward layers.
    pub hidden: usize,
    /// What stands inside the feed-forward layers.
    pub activation: Activation,
    /// Whether feed-forward layers multiply by a gate: `W₂ (activation(G x) ∘ W₁ x)` (Shazeer 2020).
    pub gated: bool,
    /// The normalisation.
    pub norm: NormKind,
    /// Added to the variance or the mean square.
    pub epsilon: f64,
    /// Normalises before each branch, not after its sum with the input.
    pub norm_first: bool,
    /// Normalises after the last layer too.
    pub final_norm: bool,
    /// Whether the maps of attention have biases.
    pub attention_bias: bool,
    /// Whether the maps of feed-forward layers have biases.
    pub feed_forward_bias: bool,
    /// Whether layer normalisation has shifts.
    pub norm_bias: bool,
    /// Whether each layer also attends to a memory, as in the decoder of an encoder and a decoder.
    pub cross_attention: bool,
    /// How queries and keys are turned by their places, if they are.
    pub rotary: Option<Rotary>,
    /// The rate at which elements are dropped inside feed-forward layers and at the end of each branch, in training.
    pub dropout: f64,
    /// The deviation of the initial weights; those that end a branch have it divided by √(2 layers) (Radford et al. 2019).
    pub deviation: f64,
}

impl Default for TransformerConfig {
    fn default() -> Self {
        Self {
            width: 512,
            layers: 6,
            heads: 8,
            key_value_heads: 8,
            head_width: 64,
            hidden: 2048,
            activation: Activation::Relu,
            gated: false,
            norm: NormKind::Layer,
            epsilon: 1e-5,
            norm_first: false,
            final_norm: false,
            attention_bias: true,
            feed_forward_bias: true,
            norm_bias: true,
            cross_attention: false,
            rotary: None,
            dropout: 0.1,
            deviation: 0.02,
        }
    }
}

impl TransformerConfig {
    /// Pre-norm layers of the given sizes with a last normalisation, heads that share the width, a hidden width of four
    /// times that, and no dropout: the usual small model. Unless `heads` divides `width`, [`TransformerConfig::validate`] fails.
    pub fn small(width: usize, layers: usize, heads: usize) -> Self {
        Self {
            width,
            layers,
            heads,
            key_value_heads: heads,
            head_width: width.checked_div(heads).unwrap_or(0),
            hidden: width.saturating_mul(4),
            norm_first: true,
            final_norm: true,
            activation: Activation::GeluTanh,
            dropout: 0.0,
            ..Self::default()
        }
    }

    /// Whether a model can be built.
    ///
    /// # Errors
    /// [`SettingError`], naming the setting.
    pub fn validate(&self) -> Result<(), SettingError> {
        let check = |name, fits: bool, expected: &str, found: &dyn std::fmt::Display| {
            if fits { Ok(()) } else { Err(SettingError { name, expected: expected.to_owned(), found: found.to_string() }) }
        };
        check("width", self.width > 0, "a positive number", &self.width)?;
        check("heads", self.heads > 0, "a positive number", &self.heads)?;
        let divides = self.key_value_heads > 0 && self.heads.is_multiple_of(self.key_value_heads);
        check("key_value_heads", divides, &format!("a divisor of the {} heads", self.heads), &self.key_value_heads)?;
        let even = self.rotary.is_none() || self.head_width.is_multiple_of(2);
        let number = if self.rotary.is_some() { "a positive, even number" } else { "a positive number" };
        check("head_width", self.head_width > 0 && even, number, &self.head_width)?;
        let heads = self.key_value_heads.checked_mul(2).and_then(|n| n.checked_add(self.heads));
        let rows = heads.and_then(|heads| heads.checked_mul(self.head_width));
        check("head_width", rows.is_some(), "heads that fit into memory", &self.head_width)?;
        check("hidden", self.hidden > 0, "a positive number", &self.hidden)?;
        check("epsilon", self.epsilon >= 0.0 && self.epsilon.is_finite(), "a finite number of at least 0", &self.epsilon)?;
        check("dropout", (0.0..1.0).contains(&self.dropout), "a rate in [0, 1)", &self.dropout)?;
        check("deviation", self.deviation >= 0.0 && self.deviation.is_finite(), "a finite number of at least 0", &self.deviation)?;
        let theta = self.rotary.as_ref().map_or(1.0, |rotary| rotary.theta);
        check("rotary.theta", theta > 0.0 && theta.is_finite(), "a positive number", &theta)
    }
}

/// What the layers of a transformer attend to.
#[derive(Clone, Debug, Default)]
pub struct Context<'a, T: Scalar = f32> {
    /// Which tokens a token sees.
    pub mask: AttentionMask<'a, T>,
    /// The encoder's output `[batch, m, width]`, for layers with cross-attention.
    pub memory: Option<&'a Tensor<T>>,
    /// Which part of the memory a token sees.
    pub memory_mask: AttentionMask<'a, T>,
}

impl<T: Scalar> Context<'_, T> {
    /// Each token sees itself and those before it.
    pub fn causal() -> Self {
        Self { mask: AttentionMask::Causal, ..Self::default() }
    }
}

/// An additive mask `[batch, 1, 1, length]` that hides what stands beyond the length of each sequence of a padded batch.
///
/// ```
/// let mask = gradus_models::padding_mask::<f32>(&[2, 0], 3);
/// assert_eq!(mask.to_vec()[..3], [0.0, 0.0, f32::NEG_INFINITY]);
/// ```
#[track_caller]
pub fn padding_mask<T: Scalar>(lengths: &[usize], length: usize) -> Tensor<T> {
    Tensor::from_fn(&[lengths.len(), 1, 1, length], |i| if i % length < lengths[i / length] { T::ZERO } else { T::NEG_INFINITY })
}

/// One layer: attention to each other, attention to a memory where there is one, and a map of each token, each added to its
/// input. Names and layouts are those of PyTorch's `TransformerEncoderLayer` and `TransformerDecoderLayer`.
#[derive(Clone, Debug, PartialEq, Params)]
pub struct TransformerLayer<T: Scalar = f32> {
    /// Attention among the tokens.
    pub self_attn: MultiHeadAttention<T>,
    /// Attention to the memory.
    pub multihead_attn: Option<MultiHeadAttention<T>>,
    /// The first map of the feed-forward layer.
    pub linear1: Linear<T>,
    /// The map to what the first one is multiplied by, in a gated layer.
    pub gate: Option<Linear<T>>,
    /// The second map.
    pub linear2: Linear<T>,
    /// Of the attention among the tokens.
    pub norm1: Norm<T>,
    /// Of the attention to the memory; without memory, of the feed-forward layer.
    pub norm2: Norm<T>,
    /// Of the feed-forward layer, where there is a memory.
    pub norm3: Option<Norm<T>>,
    /// What stands inside the feed-forward layer.
    #[params(skip)]
    pub activation: Activation,
    /// Normalises before each branch, not after its sum with the input.
    #[params(skip)]
    pub norm_first: bool,
    /// The rate of dropout.
    #[params(skip)]
    pub dropout: f64,
}

impl<T: Scalar> TransformerLayer<T> {
    pub(crate) fn build(config: &TransformerConfig, mut build: Build<'_, T>) -> Self {
        let c = config;
        let sizes = AttentionSizes {
            width: c.width,
            heads: c.heads,
            key_value_heads: c.key_value_heads,
            head_width: c.head_width,
            bias: c.attention_bias,
        };
        let norm = |build: Build<'_, T>| Norm::build(c.norm, c.width, c.norm_bias, c.epsilon, build);
        Self {
            self_attn: MultiHeadAttention::build(sizes, c.rotary.clone(), build.at("self_attn")),
            multihead_attn: c.cross_attention.then(|| MultiHeadAttention::build(sizes, None, build.at("multihead_attn"))),
            linear1: Linear::build(c.width, c.hidden, c.feed_forward_bias, build.at("linear1")),
            gate: c.gated.then(|| Linear::build(c.width, c.hidden, c.feed_forward_bias, build.at("gate"))),
            linear2: Linear::build(c.hidden, c.width, c.feed_forward_bias, build.at("linear2")),
            norm1: norm(build.at("norm1")),
            norm2: norm(build.at("norm2")),
            norm3: c.cross_attention.then(|| norm(build.at("norm3"))),
            activation: c.activation,
            norm_first: c.norm_first,
            dropout: c.dropout,
        }
    }

    /// Tokens `[batch, n, width]` to the same shape.
    ///
    /// # Panics
    /// When the layer attends to a memory and `context` has none.
    #[track_caller]
    pub fn call(&self, tokens: &Tensor<T>, context: &Context<'_, T>, pass: &mut Pass<T>) -> Tensor<T> {
        let attend = |x: &Tensor<T>| (self.self_attn.call(x, context.mask.clone()), ());
        self.call_with(tokens, context, attend, pass).0
    }

    /// [`TransformerLayer::call`] for tokens that follow others; as [`MultiHeadAttention::call_after`].
    #[track_caller]
    pub fn call_after(
        &self,
        tokens: &Tensor<T>,
        context: &Context<'_, T>,
        past: Option<&KeyValue<T>>,
        pass: &mut Pass<T>,
    ) -> (Tensor<T>, KeyValue<T>) {
        self.call_with(tokens, context, |x| self.self_attn.call_after(x, context.mask.clone(), past), pass)
    }

    /// The layer with its attention among the tokens, which may return something more.
    #[track_caller]
    fn call_with<R>(
        &self,
        tokens: &Tensor<T>,
        context: &Context<'_, T>,
        attend: impl FnOnce(&Tensor<T>) -> (Tensor<T>, R),
        pass: &mut Pass<T>,
    ) -> (Tensor<T>, R) {
        let (mut x, seen) = self.branch(tokens, &self.norm1, |x, _| attend(x), pass);
        let mut last_norm = &self.norm2;
        if let (Some(attention), Some(norm)) = (&self.multihead_attn, &self.norm3) {
            let Some(memory) = context.memory else { panic!("a layer with cross-attention needs a memory in its context") };
            let cross = |x: &Tensor<T>, _: &mut Pass<T>| (attention.cross(x, memory, context.memory_mask.clone()), ());
            x = self.branch(&x, &self.norm2, cross, pass).0;
            last_norm = norm;
        }
        let (x, ()) = self.branch(&x, last_norm, |x, pass| (self.feed_forward(x, pass), ()), pass);
        (x, seen)
    }

    /// `x` and the result of `f` added, with normalisation before or after.
    #[track_caller]
    fn branch<R>(
        &self,
        x: &Tensor<T>,
        norm: &Norm<T>,
        f: impl FnOnce(&Tensor<T>, &mut Pass<T>) -> (Tensor<T>, R),
        pass: &mut Pass<T>,
    ) -> (Tensor<T>, R) {
        let (update, rest) = if self.norm_first { f(&norm.call(x), pass) } else { f(x, pass) };
        let sum = x + pass.dropout(&update, self.dropout);
        (if self.norm_first { sum } else { norm.call(&sum) }, rest)
    }

    #[track_caller]
    fn feed_forward(&self, x: &Tensor<T>, pass: &mut Pass<T>) -> Tensor<T> {
        let hidden = match &self.gate {
            Some(gate) => self.activation.call(&gate.call(x)) * self.linear1.call(x),
            None => self.activation.call(&self.linear1.call(x)),
        };
        self.linear2.call(&pass.dropout(&hidden, self.dropout))
    }
}

/// A stack of layers: an encoder, a decoder, or a decoder without encoder, as its configuration and context say. Names are
/// those of PyTorch's `TransformerEncoder` and `TransformerDecoder`.
///
/// ```
/// use gradus_autodiff::Tensor;
/// use gradus_models::{Context, Pass, Transformer, TransformerConfig};
///
/// let config = TransformerConfig::small(8, 2, 2);
/// let encoder: Transformer = Transformer::new(&config, &mut gradus_base::stream(1, "weights", 0))?;
/// let tokens = Tensor::ones(&[1, 5, 8]);
/// let memory = encoder.call(&tokens, &Context::default(), &mut Pass::evaluation());
///
/// let config = TransformerConfig { cross_attention: true, ..config };
/// let decoder: Transformer = Transformer::new(&config, &mut gradus_base::stream(2, "weights", 0))?;
/// let context = Context { memory: Some(&memory), ..Context::causal() };
/// assert_eq!(decoder.call(&Tensor::ones(&[1, 3, 8]), &context, &mut Pass::evaluation()).shape(), [1, 3, 8]);
/// # Ok::<(), gradus_models::SettingError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Params)]
pub struct Transformer<T: Scalar = f32> {
    /// The layers, first to last.
    pub layers: Vec<TransformerLayer<T>>,
    /// The normalisation after the last.
    pub norm: Option<Norm<T>>,
}

impl<T: Scalar> Transformer<T> {
    /// A stack with random weights.
    ///
    /// # Errors
    /// As [`TransformerConfig::validate`].
    pub fn new(config: &TransformerConfig, rng: &mut impl Rng) -> Result<Self, SettingError> {
        config.validate()?;
        let mut values = transformer_values(config.deviation, config.layers.saturating_mul(2), rng);
        Ok(Self::build(config, Build::new(&mut values)))
    }

    pub(crate) fn build(config: &TransformerConfig, mut build: Build<'_, T>) -> Self {
        let mut layers = Vec::new();
        for i in 0..config.layers {
            layers.push(TransformerLayer::build(config, build.at("layers").at(&i.to_string())));
        }
        let norm = config.final_norm.then(|| Norm::build(config.norm, config.width, config.norm_bias, config.epsilon, build.at("norm")));
        Self { layers, norm }
    }

    /// Tokens `[batch, n, width]` to the same shape.
    ///
    /// # Panics
    /// When the layers attend to a memory and `context` has none.
    #[track_caller]
    pub fn call(&self, tokens: &Tensor<T>, context: &Context<'_, T>, pass: &mut Pass<T>) -> Tensor<T> {
        let mut x = tokens.clone();
        for layer in &self.layers {
            x = layer.call(&x, context, pass);
        }
        self.normalised(x)
    }

    /// [`Transformer::call`] for tokens that follow those of the cache, and the cache with them.
    #[track_caller]
    pub fn call_after(&self, tokens: &Tensor<T>, context: &Context<'_, T>, past: &Cache<T>, pass: &mut Pass<T>) -> (Tensor<T>, Cache<T>) {
        let mut x = tokens.clone();
        let mut seen = Vec::with_capacity(self.layers.len());
        for (i, layer) in self.layers.iter().enumerate() {
            let (y, keys) = layer.call_after(&x, context, past.layers.get(i), pass);
            x = y;
            seen.push(keys);
        }
        let length = past.length + tokens.shape().get(1).copied().unwrap_or(0);
        (self.normalised(x), Cache { layers: seen, length })
    }

    #[track_caller]
    fn normalised(&self, x: Tensor<T>) -> Tensor<T> {
        self.norm.as_ref().map_or(x.clone(), |norm| norm.call(&x))
    }
}

/// The keys and values of the tokens that a transformer has seen, so that each further token costs one step. A value: what
/// follows one beginning in different ways can start from the same cache.
#[derive(Clone, Debug, PartialEq)]
pub struct Cache<T: Scalar = f32> {
    /// Those of each layer.
    pub layers: Vec<KeyValue<T>>,
    /// The number of tokens.
    pub length: usize,
}

impl<T: Scalar> Default for Cache<T> {
    fn default() -> Self {
        Self { layers: Vec::new(), length: 0 }
    }
}
