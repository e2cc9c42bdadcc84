//! Models of sequences of tokens.

use gradus_autodiff::{Params, Scalar, Tensor};
use rand::Rng;

use crate::build::{Build, transformer_values};
use crate::{Cache, Context, Embedding, Linear, Pass, Positions, SettingError, Transformer, TransformerConfig, sinusoidal};

/// The sizes and choices of a [`LanguageModel`].
#[derive(Clone, Debug, PartialEq)]
pub struct LanguageConfig {
    /// The number of different tokens.
    pub vocabulary: usize,
    /// The longest sequence.
    pub context: usize,
    /// What is added to the embeddings.
    pub positions: Positions,
    /// Whether the logits are products with the embeddings; otherwise with a matrix of their own.
    pub tied: bool,
    /// Whether each token sees itself and those before it only.
    pub causal: bool,
    /// The layers.
    pub transformer: TransformerConfig,
}

impl LanguageConfig {
    /// Whether a model can be built.
    ///
    /// # Errors
    /// [`SettingError`], naming the setting.
    pub fn validate(&self) -> Result<(), SettingError> {
        for (name, size) in [("vocabulary", self.vocabulary), ("context", self.context)] {
            if size == 0 {
                return Err(SettingError { name, expected: "a positive number".into(), found: "0".into() });
            }
        }
        self.transformer.validate()
    }
}

/// Tokens that a model cannot take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// There is nothing to go on from.
    #[error("there is no token to go on from")]
    Empty,
    /// Tokens cannot follow others in a model whose earlier outputs would change.
    #[error("the model is not causal: earlier outputs would change")]
    NotCausal,
    /// A token that is not of the vocabulary.
    #[error("token {token} is not one of the {vocabulary} of the vocabulary")]
    Token {
        /// The token.
        token: usize,
        /// The size of the vocabulary.
        vocabulary: usize,
    },
    /// Rows of different lengths.
    #[error("rows of {first} and of {other} tokens")]
    Rows {
        /// The length of the first row.
        first: usize,
        /// That of another.
        other: usize,
    },
    /// More tokens than the model can see.
    #[error("{tokens} tokens with {others} others are more than the context of {context}")]
    Context {
        /// The length of a row.
        tokens: usize,
        /// The number of tokens before it, or to be written after it.
        others: usize,
        /// The longest sequence of the model.
        context: usize,
    },
}

/// Tokens to logits: embeddings with positions, a transformer, and products with the embeddings or a matrix of their own.
/// [`gpt2`](crate::gpt2) and [`llama`](crate::llama) make and load such models.
///
/// ```
/// use gradus_autodiff::value_and_grad;
/// use gradus_base::stream;
/// use gradus_models::{LanguageConfig, LanguageModel, Pass, Positions, Sampling, TransformerConfig, loss};
/// use gradus_optimizers::{Adam, Rule};
///
/// // Learns to count: each token is followed by the next one of five.
/// let config = LanguageConfig {
///     vocabulary: 5,
///     context: 8,
///     positions: Positions::Learned,
///     tied: true,
///     causal: true,
///     transformer: TransformerConfig::small(16, 1, 2),
/// };
/// let mut model: LanguageModel = LanguageModel::new(&config, &mut stream(1, "weights", 0))?;
/// let (rows, next) = ([[0, 1, 2, 3, 4, 0], [3, 4, 0, 1, 2, 3]], [1, 2, 3, 4, 0, 1, 4, 0, 1, 2, 3, 4]);
/// let rule = Adam { learning_rate: 0.01, ..Adam::default() };
/// let mut state = rule.init(&model);
/// for _ in 0..60 {
///     let loss = |m: &LanguageModel| loss::cross_entropy(&m.call(&rows, &mut Pass::evaluation()).reshape(&[12, 5]), &next);
///     let (_, gradient) = value_and_grad(loss, &model);
///     rule.step(&mut model, &gradient, &mut state)?;
/// }
/// let written = gradus_models::generate(&model, &[1, 2], 4, &Sampling::greedy(), &mut stream(1, "text", 0))?;
/// assert_eq!(written, [3, 4, 0, 1]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Params)]
pub struct LanguageModel<T: Scalar = f32> {
    /// The vectors of the tokens.
    pub embedding: Embedding<T>,
    /// The vectors of the places, if they are learned.
    pub positions: Option<Embedding<T>>,
    /// The layers.
    pub transformer: Transformer<T>,
    /// From the layers' outputs to the logits; `None` takes the embeddings.
    pub head: Option<Linear<T>>,
    /// What the model was built from.
    #[params(skip)]
    pub config: LanguageConfig,
}

impl<T: Scalar> LanguageModel<T> {
    /// A model with random weights, as GPT-2's: embeddings too are drawn from N(0, deviation²).
    ///
    /// # Errors
    /// As [`LanguageConfig::validate`].
    pub fn new(config: &LanguageConfig, rng: &mut impl Rng) -> Result<Self, SettingError> {
        config.validate()?;
        let mut values = transformer_values(config.transformer.deviation, config.transformer.layers.saturating_mul(2), rng);
        Ok(Self::build(config, Build::new(&mut values)))
    }

    pub(crate) fn build(config: &LanguageConfig, mut build: Build<'_, T>) -> Self {
        let width = config.transformer.width;
        let learned = config.positions == Positions::Learned;
        Self {
            embedding: Embedding::build(config.vocabulary, width, build.at("embedding")),
            positions: learned.then(|| Embedding::build(config.context, width, build.at("positions"))),
            transformer: Transformer::build(&config.transformer, build.at("transformer")),
            head: (!config.tied).then(|| Linear::build(width, config.vocabulary, false, build.at("head"))),
            config: config.clone(),
        }
    }

    /// Whether the model can take rows of tokens, with so many others in the same sequences.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn check(&self, rows: &[impl AsRef<[usize]>], others: usize) -> Result<(), TokenError> {
        let LanguageConfig { vocabulary, context, .. } = self.config;
        let tokens = rows.first().map_or(0, |row| row.as_ref().len());
        if let Some(other) = rows.iter().map(|row| row.as_ref().len()).find(|other| *other != tokens) {
            return Err(TokenError::Rows { first: tokens, other });
        }
        if let Some(&token) = rows.iter().flat_map(|row| row.as_ref()).find(|token| **token >= vocabulary) {
            return Err(TokenError::Token { token, vocabulary });
        }
        if tokens.saturating_add(others) > context {
            return Err(TokenError::Context { tokens, others, context });
        }
        Ok(())
    }

    /// The logits `[rows, tokens, vocabulary]` of what follows each token, for rows of the same length.
    ///
    /// # Panics
    /// When the rows have different lengths or more tokens than the context, or a token is not of the vocabulary;
    /// [`LanguageModel::try_call`] returns the error instead.
    #[track_caller]
    pub fn call(&self, rows: &[impl AsRef<[usize]>], pass: &mut Pass<T>) -> Tensor<T> {
        or_panic(self.try_call(rows, pass))
    }

    /// [`LanguageModel::call`], or what does not fit.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn try_call(&self, rows: &[impl AsRef<[usize]>], pass: &mut Pass<T>) -> Result<Tensor<T>, TokenError> {
        self.check(rows, 0)?;
        Ok(self.logits(&self.hidden(&self.embedding.call(rows), pass)))
    }

    /// The last layer's normalised outputs `[rows, tokens, width]` for embeddings of that shape, to which positions are added
    /// here: what logits are made of, and the place for other heads.
    #[track_caller]
    pub fn hidden(&self, embeddings: &Tensor<T>, pass: &mut Pass<T>) -> Tensor<T> {
        let placed = pass.dropout(&self.place(embeddings, 0), self.config.transformer.dropout);
        self.transformer.call(&placed, &self.context(), pass)
    }

    /// The logits `[.., vocabulary]` of the last layer's normalised outputs `[.., width]`.
    #[track_caller]
    pub fn logits(&self, hidden: &Tensor<T>) -> Tensor<T> {
        match &self.head {
            Some(head) => head.call(hidden),
            None => hidden.linear(&self.embedding.weight, None),
        }
    }

    /// The logits of tokens that follow those of the cache, and the cache with them: one step of writing costs one token. They
    /// are those of the whole sequence to rounding.
    ///
    /// ```
    /// # use gradus_models::{LanguageConfig, LanguageModel, Pass, Positions, TransformerConfig};
    /// # let (transformer, positions) = (TransformerConfig::small(8, 2, 2), Positions::Sinusoidal);
    /// # let config = LanguageConfig { vocabulary: 9, context: 8, positions, tied: true, causal: true, transformer };
    /// let model: LanguageModel<f64> = LanguageModel::new(&config, &mut gradus_base::stream(1, "weights", 0))?;
    /// let whole = model.call(&[[4, 2, 7]], &mut Pass::evaluation());
    /// let (_, cache) = model.decode(&[[4, 2]], &Default::default());
    /// let (last, _) = model.decode(&[[7]], &cache);
    /// assert!((last - whole.narrow(1, 2, 1)).abs().sum().item() < 1e-12);
    /// # Ok::<(), gradus_models::SettingError>(())
    /// ```
    ///
    /// # Panics
    /// As [`LanguageModel::call`], and when the model is not causal.
    #[track_caller]
    pub fn decode(&self, rows: &[impl AsRef<[usize]>], cache: &Cache<T>) -> (Tensor<T>, Cache<T>) {
        or_panic(self.try_decode(rows, cache))
    }

    /// [`LanguageModel::decode`], or what does not fit.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn try_decode(&self, rows: &[impl AsRef<[usize]>], cache: &Cache<T>) -> Result<(Tensor<T>, Cache<T>), TokenError> {
        if !self.config.causal {
            return Err(TokenError::NotCausal);
        }
        self.check(rows, cache.length)?;
        let (hidden, cache) = self.hidden_after(&self.embedding.call(rows), cache, &mut Pass::evaluation());
        Ok((self.logits(&hidden), cache))
    }

    /// Embeddings `[rows, tokens, width]` with the positions `first`, `first + 1`, … added, as the first layer takes them: for
    /// calls of [`LanguageModel::transformer`] with a context of one's own, such as a mask for padded rows.
    ///
    /// # Panics
    /// When there are more tokens than the context.
    #[track_caller]
    pub fn place(&self, embeddings: &Tensor<T>, first: usize) -> Tensor<T> {
        let &[_, n, width] = embeddings.shape() else {
            panic!("LanguageModel: embeddings of shape {:?}, not [rows, tokens, width]", embeddings.shape())
        };
        let context = self.config.context;
        if n.saturating_add(first) > context {
            panic!("{}", TokenError::Context { tokens: n, others: first, context });
        }
        match (&self.positions, self.config.positions) {
            (Some(table), _) => embeddings + table.weight.narrow(0, first, n),
            (None, Positions::Sinusoidal) => {
                let places: Vec<f64> = (first..first + n).map(|place| place as f64).collect();
                embeddings + sinusoidal(&places, width)
            }
            _ => embeddings.clone(),
        }
    }

    #[track_caller]
    fn hidden_after(&self, embeddings: &Tensor<T>, past: &Cache<T>, pass: &mut Pass<T>) -> (Tensor<T>, Cache<T>) {
        let placed = pass.dropout(&self.place(embeddings, past.length), self.config.transformer.dropout);
        self.transformer.call_after(&placed, &self.context(), past, pass)
    }

    fn context(&self) -> Context<'_, T> {
        if self.config.causal { Context::causal() } else { Context::default() }
    }
}

/// The value, or a panic at the caller: which tokens a model takes, a program knows.
#[track_caller]
fn or_panic<R>(result: Result<R, TokenError>) -> R {
    match result {
        Ok(value) => value,
        Err(error) => panic!("LanguageModel: {error}"),
    }
}
