//! The layer of linear self-attention.

use gradus_autodiff::{Params, Scalar, Tensor};
pub use gradus_models::AttentionHead as Head;
use gradus_models::init::truncated_normal;
use gradus_models::linear_attention;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::Tokens;
use super::error::{InContextError, Result, finite, option, positive, same};

/// How the products of keys and queries weight the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionKind {
    /// By the products themselves.
    #[default]
    Linear,
    /// By their softmax over the context, after division by √(key size).
    Softmax,
    /// By σ(10 y) parts of the softmax and 1 − σ(10 y) parts of the products, with a trainable y.
    Mix,
}

/// What a layer does besides its weights. The default is the paper's linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AttentionOptions {
    /// How values are weighted.
    pub kind: AttentionKind,
    /// Whether the query token is among keys and values too.
    pub include_query: bool,
    /// Whether a token attends only to itself and to the tokens before it, so that nothing depends on later examples.
    pub causal: bool,
    /// Whether only the target slots change.
    pub y_update: bool,
    /// Factor of each update, positive.
    pub dampening: f64,
    /// Bound of the absolute value of the tokens' entries after the update.
    pub clip: Option<f64>,
    /// Whether each query and key is divided by the sum of its entries plus 10⁻⁶.
    pub sum_norm: bool,
}

impl Default for AttentionOptions {
    fn default() -> Self {
        Self {
            kind: AttentionKind::Linear,
            include_query: false,
            causal: false,
            y_update: false,
            dampening: 1.0,
            clip: None,
            sum_norm: false,
        }
    }
}

impl AttentionOptions {
    /// The linear layer for stacks of so many layer applications: from three on, tokens are clipped at 10, without which a
    /// prediction, a polynomial of degree 3^depth in the inputs, grows beyond all bounds in training.
    pub fn for_depth(depth: usize) -> Self {
        Self { clip: (depth > 2).then_some(10.0), ..Self::default() }
    }

    /// Checks every field against its range.
    ///
    /// # Errors
    /// [`InContextError::InvalidOption`].
    pub fn validate(&self) -> Result<()> {
        option("dampening", self.dampening, self.dampening > 0.0 && self.dampening.is_finite(), "finite and positive")?;
        let clip = self.clip.unwrap_or(1.0);
        option("clip", clip, clip > 0.0 && clip.is_finite(), "finite and positive")
    }
}

/// A layer `e_j ← e_j + Σ_h P_h Σ_i V_h e_i (K_h e_i)·(Q_h e_j)` without bias, mask or normalisation (von Oswald et al.
/// 2023, equation 3), with the variants of [`AttentionOptions`].
#[derive(Debug, Clone, PartialEq, Params)]
pub struct LinearSelfAttention<T: Scalar = f32> {
    /// The heads.
    pub heads: Vec<Head<T>>,
    /// y of [`AttentionKind::Mix`], a scalar; `None` for the other kinds.
    pub mix: Option<Tensor<T>>,
    /// What the layer does besides its weights.
    #[params(skip)]
    pub options: AttentionOptions,
}

impl<T: Scalar> LinearSelfAttention<T> {
    /// A layer of these heads, checked.
    ///
    /// # Errors
    /// [`InContextError::InvalidShape`], [`InContextError::InvalidOption`] or [`InContextError::NonFinite`].
    pub fn new(heads: Vec<Head<T>>, options: AttentionOptions) -> Result<Self> {
        let mix = (options.kind == AttentionKind::Mix).then(|| Tensor::scalar(T::ZERO));
        let layer = Self { heads, mix, options };
        layer.validate()?;
        Ok(layer)
    }

    /// A layer from matrices that hold all heads: `key` and `query` `[heads · key size, width]`, `value`
    /// `[heads · value size, width]`, `projection` `[width, heads · value size]`.
    ///
    /// # Errors
    /// [`InContextError::InvalidShape`] when the heads do not divide the matrices, and as [`new`](Self::new).
    pub fn from_packed(
        heads: usize,
        key: &Tensor<T>,
        query: &Tensor<T>,
        value: &Tensor<T>,
        projection: &Tensor<T>,
        options: AttentionOptions,
    ) -> Result<Self> {
        positive("heads", heads)?;
        let cut = |what: &str, x: &Tensor<T>, axis: usize| -> Result<Vec<Tensor<T>>> {
            let fits = x.rank() == 2 && x.shape()[axis].is_multiple_of(heads);
            if !fits {
                let mut expected = x.shape().to_vec();
                expected.resize(2, heads);
                expected[axis] = expected[axis].div_ceil(heads) * heads;
                return Err(InContextError::InvalidShape { what: what.to_owned(), found: x.shape().to_vec(), expected });
            }
            let size = x.shape()[axis] / heads;
            Ok((0..heads).map(|h| x.narrow(axis as isize, h * size, size)).collect())
        };
        let (keys, queries) = (cut("the key matrix of all heads", key, 0)?, cut("the query matrix of all heads", query, 0)?);
        let (values, projections) =
            (cut("the value matrix of all heads", value, 0)?, cut("the projection matrix of all heads", projection, 1)?);
        let parts = keys.into_iter().zip(queries).zip(values.into_iter().zip(projections));
        Self::new(parts.map(|((key, query), (value, projection))| Head { key, query, value, projection }).collect(), options)
    }

    /// Weights drawn with variance scaling: normal, cut off at two standard deviations, of standard deviation
    /// `√(scale / inputs)` for a matrix of that many columns; a projection counts the columns of all heads.
    ///
    /// # Errors
    /// [`InContextError::InvalidOption`] for a size of 0 or a scale that is not positive.
    pub fn random(width: usize, heads: usize, key_size: usize, scale: f64, options: AttentionOptions, rng: &mut impl Rng) -> Result<Self> {
        positive("width", width)?;
        positive("heads", heads)?;
        positive("key_size", key_size)?;
        option("scale", scale, scale > 0.0 && scale.is_finite(), "finite and positive")?;
        let mut draw = |rows: usize, columns: usize, inputs: usize| variance_scaling(&[rows, columns], scale, inputs, rng);
        let heads = (0..heads)
            .map(|_| Head {
                key: draw(key_size, width, width),
                query: draw(key_size, width, width),
                value: draw(key_size, width, width),
                projection: draw(width, key_size, heads * key_size),
            })
            .collect();
        Self::new(heads, options)
    }

    /// Entries of the tokens.
    pub fn width(&self) -> usize {
        self.heads.first().map_or(0, |head| head.key.shape().last().copied().unwrap_or(0))
    }

    /// Checks the shapes of all matrices, that they and the mixing parameter are finite, that this is there for
    /// [`AttentionKind::Mix`] and for no other kind, and the options.
    ///
    /// # Errors
    /// [`InContextError::InvalidShape`], [`InContextError::InvalidOption`], [`InContextError::DimensionMismatch`] for a mixing
    /// parameter too many or too few, or [`InContextError::NonFinite`].
    pub fn validate(&self) -> Result<()> {
        self.options.validate()?;
        positive("heads", self.heads.len())?;
        let width = self.width();
        for (h, head) in self.heads.iter().enumerate() {
            let key_size = head.key.shape().first().copied().unwrap_or(0);
            let value_size = head.value.shape().first().copied().unwrap_or(0);
            let expected = [
                ("key", &head.key, [key_size, width]),
                ("query", &head.query, [key_size, width]),
                ("value", &head.value, [value_size, width]),
                ("projection", &head.projection, [width, value_size]),
            ];
            for (name, matrix, expected) in expected {
                if matrix.shape() != expected {
                    let what = format!("the {name} matrix of head {h}");
                    return Err(InContextError::InvalidShape { what, found: matrix.shape().to_vec(), expected: expected.to_vec() });
                }
                finite("a weight matrix", matrix.is_finite())?;
            }
        }
        let expected = usize::from(self.options.kind == AttentionKind::Mix);
        same("the number of mixing parameters", self.mix.iter().map(Tensor::count).sum(), expected)?;
        finite("the mixing parameter", self.mix.iter().all(Tensor::is_finite))
    }

    /// All tokens after the layer.
    ///
    /// # Errors
    /// [`InContextError::DimensionMismatch`] for tokens of another width, [`InContextError::NonFinite`] also for tokens that
    /// become too large for the precision, and as [`validate`](Self::validate).
    pub fn forward(&self, tokens: &Tokens<T>) -> Result<Tokens<T>> {
        self.validate()?;
        same("the width of the tokens", tokens.width(), self.width())?;
        tokens.moved(self.apply(tokens.sequence(), tokens.outputs())).checked()
    }

    /// All tokens `[batch, tokens, width]` after the layer.
    pub(super) fn apply(&self, sequence: &Tensor<T>, outputs: usize) -> Tensor<T> {
        let context = self.context(sequence);
        let mask = self.options.causal.then(|| mask(sequence.shape()[1], context.shape()[1], |token| token + 1));
        self.moved(sequence, &self.update(&context, sequence, mask.as_ref()), outputs)
    }

    /// The query alone, `[batch, 1, width]`, after the layer: what a prediction needs of the last layer. It comes last, so
    /// it attends to the whole context also with the causal option.
    pub(super) fn apply_to_query(&self, sequence: &Tensor<T>, outputs: usize) -> Tensor<T> {
        let query = sequence.narrow(1, sequence.shape()[1] - 1, 1);
        self.moved(&query, &self.update(&self.context(sequence), &query, None), outputs)
    }

    /// For a causal layer: the context `[batch, examples, width]` and the queries `[batch, examples + 1, width]` after the
    /// layer, where query n attends to the first n examples.
    pub(super) fn apply_to_prefixes(&self, context: &Tensor<T>, queries: &Tensor<T>, outputs: usize) -> [Tensor<T>; 2] {
        let examples = context.shape()[1];
        let (own, before) = (mask(examples, examples, |token| token + 1), mask(examples + 1, examples, |query| query));
        [(context, own), (queries, before)].map(|(tokens, mask)| self.moved(tokens, &self.update(context, tokens, Some(&mask)), outputs))
    }

    /// The tokens that serve as keys and values.
    fn context(&self, sequence: &Tensor<T>) -> Tensor<T> {
        if self.options.include_query { sequence.clone() } else { sequence.narrow(1, 0, sequence.shape()[1] - 1) }
    }

    /// `tokens` plus their updates, as the options say.
    fn moved(&self, tokens: &Tensor<T>, update: &Tensor<T>, outputs: usize) -> Tensor<T> {
        let width = tokens.shape()[2];
        let mut update = update.clone();
        if self.options.y_update {
            update = update * Tensor::from_fn(&[width], |i| if i < width - outputs { T::ZERO } else { T::ONE });
        }
        if self.options.dampening != 1.0 {
            update = update * T::from_f64(self.options.dampening);
        }
        let moved = tokens + &update;
        match self.options.clip {
            Some(limit) => clamp(&moved, T::from_f64(limit)),
            None => moved,
        }
    }

    /// `Σ_h P_h Σ_i V_h e_i a(K_h e_i · Q_h e_j)` for each of `tokens`, over the tokens i that the mask leaves to j.
    ///
    /// Since `Σ_i a_ij P V e_i = P V Σ_i a_ij e_i`, the matrices are applied once to each token and never to each pair.
    fn update(&self, context: &Tensor<T>, tokens: &Tensor<T>, mask: Option<&Tensor<T>>) -> Tensor<T> {
        if self.options.kind == AttentionKind::Linear && !self.options.sum_norm && mask.is_none() {
            return linear_attention(&self.heads, context, tokens);
        }
        let update = |head: &Head<T>| {
            let sums = self.weighted_sums(head, context, &self.directions(head, tokens), mask);
            sums.matmul(&head.projection_value().t())
        };
        self.heads.iter().map(update).reduce(|a, b| a + b).unwrap_or_else(|| tokens.zeros_like())
    }

    /// `Kᵀ Q e_j` as rows: the products of keys with the query of token j are the products of `e_i` with it.
    fn directions(&self, head: &Head<T>, tokens: &Tensor<T>) -> Tensor<T> {
        let directions = head.directions(tokens);
        if self.options.sum_norm { directions / sums_of_entries(tokens, &head.query) } else { directions }
    }

    /// `Σ_i a_ij e_i` for each direction j.
    fn weighted_sums(&self, head: &Head<T>, context: &Tensor<T>, directions: &Tensor<T>, mask: Option<&Tensor<T>>) -> Tensor<T> {
        let keys = if self.options.sum_norm { context / &sums_of_entries(context, &head.key) } else { context.clone() };
        let (batch, queries) = (directions.shape()[0], directions.shape()[1]);
        if self.options.kind == AttentionKind::Linear && queries > 1 && mask.is_none() {
            return directions.matmul(&keys.t().matmul(context));
        }
        let products = if queries == 1 {
            // The transpose of one row needs no copy.
            keys.matmul(&directions.reshape(&[batch, directions.shape()[2], 1])).reshape(&[batch, 1, keys.shape()[1]])
        } else {
            directions.matmul(&keys.t())
        };
        let weights = self.weights(&products, 1.0 / (head.key.shape()[0] as f64).sqrt(), mask);
        match mask {
            Some(mask) => (weights * mask).matmul(context),
            None => weights.matmul(context),
        }
    }

    /// a_ij from the products of keys and queries; `scale` is the softmax's.
    fn weights(&self, products: &Tensor<T>, scale: f64, mask: Option<&Tensor<T>>) -> Tensor<T> {
        let softmax = || {
            let logits = products * T::from_f64(scale);
            // Finite, so that a query that may attend to nothing gives no NaN.
            let logits = mask.map_or_else(|| logits.clone(), |mask| &logits + &((mask - T::ONE) * T::from_f64(1e30)));
            logits.softmax()
        };
        match (self.options.kind, &self.mix) {
            (AttentionKind::Linear, _) => products.clone(),
            (AttentionKind::Softmax, _) => softmax(),
            (AttentionKind::Mix, mix) => {
                let y = mix.clone().unwrap_or_else(|| Tensor::scalar(T::ZERO));
                let share = (y * T::from_f64(10.0)).sigmoid().reshape(&[]);
                softmax() * &share + products * &(-share + T::ONE)
            }
        }
    }
}

/// `[queries, keys]`: 1 where a query sees a key, the first `seen(query)` of them, and 0 elsewhere.
fn mask<T: Scalar>(queries: usize, keys: usize, seen: impl Fn(usize) -> usize) -> Tensor<T> {
    Tensor::from_fn(&[queries, keys], |i| if i % keys < seen(i / keys) { T::ONE } else { T::ZERO })
}

/// `Σ (W e)` over the entries for each token, kept as a last axis of size 1, plus 10⁻⁶.
fn sums_of_entries<T: Scalar>(tokens: &Tensor<T>, weight: &Tensor<T>) -> Tensor<T> {
    tokens.matmul(&weight.sum_axis(0)).unsqueeze(-1) + T::from_f64(1e-6)
}

fn clamp<T: Scalar>(x: &Tensor<T>, limit: T) -> Tensor<T> {
    let above = (x - limit).relu();
    let below = (-x - limit).relu();
    x - &above + below
}

/// Normal draws cut off at two standard deviations, of standard deviation `√(scale / inputs)`.
pub(super) fn variance_scaling<T: Scalar>(shape: &[usize], scale: f64, inputs: usize, rng: &mut impl Rng) -> Tensor<T> {
    truncated_normal(shape, (scale / inputs as f64).sqrt(), rng)
}
