//! How a language model writes: one token after another, drawn from its logits.

use gradus_autodiff::Scalar;
use rand::{Rng, RngExt};

use crate::{Cache, LanguageModel, TokenError};

/// How the next token is drawn from logits. The default draws from the softmax as it is.
///
/// The settings apply in this order: temperature, repetition penalty, `top_k`, `top_p`, `min_p`; what is left is normalised.
/// Equal logits are ordered by the token's number.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// What logits are divided by; 0 takes the largest.
    pub temperature: f64,
    /// Logits of tokens that were there before are divided by this where positive, multiplied where negative (Keskar et al. 2019).
    pub repetition_penalty: f64,
    /// Keeps this many of the most probable tokens.
    pub top_k: Option<usize>,
    /// Keeps the most probable tokens whose probabilities together reach this (Holtzman et al. 2020).
    pub top_p: f64,
    /// Keeps tokens of at least this part of the largest probability.
    pub min_p: f64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, repetition_penalty: 1.0, top_k: None, top_p: 1.0, min_p: 0.0 }
    }
}

/// Why no token could be drawn.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplingError {
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] crate::SettingError),
    /// A logit is infinite or not a number.
    #[error("the logit of token {token} is {logit}")]
    NotFinite {
        /// The token.
        token: usize,
        /// Its logit.
        logit: f64,
    },
    /// The tokens do not fit the model.
    #[error(transparent)]
    Tokens(#[from] TokenError),
    /// There is nothing to choose among.
    #[error("there is no logit")]
    Empty,
}

impl Sampling {
    /// Always the most probable token.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    fn validate(&self) -> Result<(), SamplingError> {
        let check = |name, fits: bool, expected: &str, found: f64| match fits {
            true => Ok(()),
            false => Err(crate::SettingError { name, expected: expected.to_owned(), found: found.to_string() }),
        };
        check("temperature", self.temperature >= 0.0 && self.temperature.is_finite(), "a finite number of at least 0", self.temperature)?;
        let penalty = self.repetition_penalty;
        check("repetition_penalty", penalty > 0.0 && penalty.is_finite(), "a positive number", penalty)?;
        check("top_k", self.top_k != Some(0), "a positive number", 0.0)?;
        check("top_p", self.top_p > 0.0 && self.top_p <= 1.0, "a probability in (0, 1]", self.top_p)?;
        Ok(check("min_p", (0.0..=1.0).contains(&self.min_p), "a probability in [0, 1]", self.min_p)?)
    }

    /// The tokens that can be drawn and their probabilities, most probable first.
    ///
    /// ```
    /// use gradus_models::Sampling;
    /// let sampling = Sampling { top_k: Some(2), ..Sampling::default() };
    /// let kept = sampling.probabilities(&[3f64.ln(), 0.0, -9.0], &[])?;
    /// assert_eq!(kept.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [0, 1]);
    /// assert!((kept[0].1 - 0.75).abs() < 1e-15);
    /// # Ok::<(), gradus_models::SamplingError>(())
    /// ```
    ///
    /// # Errors
    /// [`SamplingError`].
    pub fn probabilities(&self, logits: &[f64], before: &[usize]) -> Result<Vec<(usize, f64)>, SamplingError> {
        self.validate()?;
        if let Some(token) = logits.iter().position(|logit| !logit.is_finite()) {
            return Err(SamplingError::NotFinite { token, logit: logits[token] });
        }
        let greedy = self.temperature == 0.0;
        let mut scores: Vec<f64> = logits.iter().map(|logit| if greedy { *logit } else { logit / self.temperature }).collect();
        let mut seen = vec![false; logits.len()];
        for &token in before {
            *seen.get_mut(token).ok_or(TokenError::Token { token, vocabulary: logits.len() })? = true;
        }
        let penalty = self.repetition_penalty;
        for score in scores.iter_mut().zip(&seen).filter(|(_, seen)| **seen).map(|(score, _)| score) {
            *score = if *score > 0.0 { *score / penalty } else { *score * penalty };
        }
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        order.truncate(if greedy { 1 } else { self.top_k.unwrap_or(usize::MAX) });
        let Some(&first) = order.first() else { return Err(SamplingError::Empty) };
        let weights: Vec<f64> = order.iter().map(|&token| (scores[token] - scores[first]).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mut mass = 0.0;
        let nucleus = weights.iter().position(|weight| {
            mass += weight / total;
            mass >= self.top_p
        });
        let count = nucleus.map_or(weights.len(), |last| last + 1);
        // The largest weight is 1, so that weights are parts of it already.
        let mut kept: Vec<(usize, f64)> = order.into_iter().zip(weights).take(count).filter(|(_, weight)| *weight >= self.min_p).collect();
        let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
        kept.iter_mut().for_each(|(_, weight)| *weight /= total);
        Ok(kept)
    }

    /// One token drawn from logits; `before` are the tokens for the repetition penalty.
    ///
    /// # Errors
    /// [`SamplingError`].
    pub fn draw(&self, logits: &[f64], before: &[usize], rng: &mut impl Rng) -> Result<usize, SamplingError> {
        let kept = self.probabilities(logits, before)?;
        let mut left: f64 = rng.random();
        for (token, probability) in &kept {
            left -= probability;
            if left < 0.0 {
                return Ok(*token);
            }
        }
        // Rounding can leave a rest.
        kept.last().map(|(token, _)| *token).ok_or(SamplingError::Empty)
    }
}

/// The next `count` tokens after a prompt, each drawn from the model's logits after those before it.
///
/// # Errors
/// [`SamplingError`].
pub fn generate<T: Scalar>(
    model: &LanguageModel<T>,
    prompt: &[usize],
    count: usize,
    sampling: &Sampling,
    rng: &mut impl Rng,
) -> Result<Vec<usize>, SamplingError> {
    if prompt.is_empty() {
        return Err(TokenError::Empty.into());
    }
    model.check(&[prompt], count.saturating_sub(1))?;
    let vocabulary = model.config.vocabulary;
    let (mut text, mut cache, mut next) = (prompt.to_vec(), Cache::default(), prompt.to_vec());
    for _ in 0..count {
        let (logits, seen) = model.try_decode(&[&next], &cache)?;
        let row: Vec<f64> = logits.as_slice()[logits.count() - vocabulary..].iter().map(|logit| logit.to_f64()).collect();
        let token = sampling.draw(&row, &text, rng)?;
        text.push(token);
        (cache, next) = (seen, vec![token]);
    }
    Ok(text.split_off(prompt.len()))
}
