//! Whether a first layer merges the tokens of an example.

use gradus_autodiff::{Scalar, Tensor, vjp};
use serde::{Deserialize, Serialize};

use super::error::{Result, option, same};
use super::{LinearSelfAttention, Tokens};

/// How much a token depends on others after a layer: Euclidean norms of the derivative of the sum of its entries, averaged over
/// tasks before the norm and over tokens after it (section 5.1 of the paper).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CopyAnalysis {
    /// By the token itself.
    pub own: f64,
    /// By the token after it.
    pub next: f64,
    /// By a token that is neither, on average.
    pub other: f64,
}

/// The copying of a layer on classic tokens. A layer that moves y_i to the token of x_i has `next` far above `other`.
///
/// ```
/// use gradus_learning::in_context::gradient_descent::*;
/// let tasks = RegressionTasks { dimension: 2, context: 4, ..RegressionTasks::default() };
/// let tokens = Tokens::classic(&tasks.sample::<f64>(20, &mut gradus_base::stream(1, "tasks", 0))?, 4, false)?;
/// // A layer that adds nothing: each token depends on itself alone, with derivative 1 for each of its 7 entries.
/// let layer = LinearSelfAttention::random(7, 1, 7, 1e-30, AttentionOptions::default(), &mut gradus_base::stream(1, "layer", 0))?;
/// let copied = copy_analysis(&layer, &tokens)?;
/// assert!((copied.own - 7f64.sqrt()).abs() < 1e-9 && copied.next < 1e-9 && copied.other < 1e-9);
/// # Ok::<(), InContextError>(())
/// ```
///
/// # Errors
/// As [`LinearSelfAttention::validate`]; [`InContextError::DimensionMismatch`](super::InContextError::DimensionMismatch) for tokens of another
/// width; [`InContextError::InvalidOption`](super::InContextError::InvalidOption) for fewer than three tokens in the context.
pub fn copy_analysis<T: Scalar>(layer: &LinearSelfAttention<T>, tokens: &Tokens<T>) -> Result<CopyAnalysis> {
    layer.validate()?;
    same("the width of the tokens", tokens.width(), layer.width())?;
    let context = tokens.sequence().shape()[1] - 1;
    option("the number of tokens in the context", context as f64, context >= 3, "at least 3")?;
    let (output, pull_back) = vjp(|sequence: &Tensor<T>| layer.apply(sequence, tokens.outputs()), tokens.sequence());
    let (count, width) = (output.shape()[1], output.shape()[2]);
    let (mut own, mut next, mut other) = (0.0, 0.0, 0.0);
    for k in 0..context - 1 {
        let cotangent = Tensor::from_fn(output.shape(), |i| if i / width % count == k { T::ONE } else { T::ZERO });
        let norms = pull_back(&cotangent).mean_axis(0).narrow(0, 0, context).square().sum_axis(-1).sqrt().cast::<f64>();
        let norms = norms.as_slice();
        own += norms[k];
        next += norms[k + 1];
        other += (norms.iter().sum::<f64>() - norms[k] - norms[k + 1]) / (context - 2) as f64;
    }
    let mean = 1.0 / (context - 1) as f64;
    Ok(CopyAnalysis { own: own * mean, next: next * mean, other: other * mean })
}
