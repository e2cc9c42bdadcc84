//! Whether a trained model is gradient descent.

use gradus_autodiff::{Scalar, Tensor};
use serde::{Deserialize, Serialize};

use super::error::{InContextError, Result, option, same};
use super::{AttentionKind, AttentionOptions, Batch, Head, LinearSelfAttention, Reference, RegressionTasks, Stack};

/// How a model and a reference differ on the same tasks (section 3.1 of the paper).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Alignment {
    /// Mean `‖ŷ_model − ŷ_reference‖₂`.
    pub preds_diff: f64,
    /// Mean `‖∂ŷ_model/∂x_q − ∂ŷ_reference/∂x_q‖₂`.
    pub model_diff: f64,
    /// Mean cosine of the two derivatives.
    pub model_cos: f64,
    /// The model's `½ mean ‖y_q − ŷ‖²`.
    pub loss_model: f64,
    /// The reference's.
    pub loss_reference: f64,
}

/// Compares a stack with a reference algorithm on the same tasks; 10,000 give three digits.
///
/// # Errors
/// As [`Stack::predict`] and [`Reference::predict`].
pub fn align<T: Scalar>(stack: &Stack<T>, reference: &Reference, batch: &Batch<T>) -> Result<Alignment> {
    let own = stack.predict(batch)?.pop().ok_or(InContextError::EmptyContext)?.cast::<f64>();
    let other = reference.predict(batch)?;
    let size = batch.outputs() * batch.dimension();
    let own_gradients = stack.input_gradients(batch)?.cast::<f64>().reshape(&[batch.len(), size]);
    let other_gradients = reference.input_gradients(batch)?.reshape(&[batch.len(), size]);
    let norms = |x: &Tensor<f64>| x.square().sum_axis(-1).sqrt();
    let unit = |x: &Tensor<f64>| x / &(norms(x) + 1e-8).unsqueeze(-1);
    let targets = batch.query_targets().cast::<f64>();
    let loss = |x: &Tensor<f64>| super::batch::half_squared_error(x, &targets).item();
    Ok(Alignment {
        preds_diff: norms(&(&own - &other)).mean().item(),
        model_diff: norms(&(&own_gradients - &other_gradients)).mean().item(),
        model_cos: (unit(&own_gradients) * unit(&other_gradients)).sum_axis(-1).mean().item(),
        loss_model: loss(&own),
        loss_reference: loss(&other),
    })
}

/// The stack whose products `KᵀQ` and `P V` lie the share `t` of the way from those of `a` to those of `b`; 0.5 averages.
///
/// The weights themselves mean nothing: `Q → cQ, K → K/c` changes no output. So `KᵀQ` is divided by the mean of its first
/// `dimension` diagonal entries, and `P V` multiplied by it. Several heads count as one: their `P V` add up, and their
/// `KᵀQ` are averaged with the norms of their `P V` as weights.
///
/// # Errors
/// [`InContextError::DimensionMismatch`] for stacks of different depth or width; [`InContextError::InvalidOption`] for attention
/// that is not linear or a `t` that is not finite; [`InContextError::Singular`] when the diagonal entries average to 0.
pub fn interpolate<T: Scalar>(a: &Stack<T>, b: &Stack<T>, dimension: usize, t: f64) -> Result<Stack<T>> {
    a.validate()?;
    b.validate()?;
    option("t", t, t.is_finite(), "finite")?;
    same("the number of layers", b.layers.len(), a.layers.len())?;
    same("the number of repeats", b.repeats, a.repeats)?;
    let layers = a.layers.iter().zip(&b.layers).map(|(a, b)| interpolate_layers(a, b, dimension, t)).collect::<Result<_>>()?;
    Ok(Stack { layers, ..a.clone() })
}

fn interpolate_layers<T: Scalar>(
    a: &LinearSelfAttention<T>,
    b: &LinearSelfAttention<T>,
    dimension: usize,
    t: f64,
) -> Result<LinearSelfAttention<T>> {
    same("the width of a layer", b.width(), a.width())?;
    option("dimension", dimension as f64, (1..=a.width()).contains(&dimension), "between 1 and the width of the tokens")?;
    let blend = |x: &Tensor<T>, y: &Tensor<T>| x * T::from_f64(1.0 - t) + y * T::from_f64(t);
    let ([query_a, value_a], [query_b, value_b]) = (normalised(a, dimension)?, normalised(b, dimension)?);
    let identity = Tensor::eye(a.width());
    let head = Head { key: identity.clone(), query: blend(&query_a, &query_b), value: blend(&value_a, &value_b), projection: identity };
    LinearSelfAttention::new(vec![head], AttentionOptions { ..a.options })
}

/// `KᵀQ` and `P V` of a layer in the gauge in which the first `dimension` diagonal entries of `KᵀQ` average to 1.
fn normalised<T: Scalar>(layer: &LinearSelfAttention<T>, dimension: usize) -> Result<[Tensor<T>; 2]> {
    let linear = layer.options.kind == AttentionKind::Linear && !layer.options.sum_norm;
    option("kind", layer.options.kind as usize as f64, linear, "linear (0) without sum_norm for an interpolation")?;
    let zeros = || Tensor::zeros(&[layer.width(), layer.width()]);
    let (mut key_query, mut value, mut total) = (zeros(), zeros(), 0.0);
    for head in &layer.heads {
        let product = head.key_query();
        let diagonal = product.as_slice().iter().step_by(layer.width() + 1).take(dimension);
        let mean = diagonal.map(|x| x.to_f64()).sum::<f64>() / dimension as f64;
        let own = head.projection_value() * T::from_f64(mean);
        let weight = own.cast::<f64>().square().sum().sqrt().item();
        if weight > 0.0 {
            key_query = key_query + product * T::from_f64(weight / mean);
            value = value + own;
            total += weight;
        }
    }
    if total == 0.0 {
        return Err(InContextError::Singular { what: "the gauge of the products of keys and queries" });
    }
    Ok([key_query * T::from_f64(1.0 / total), value])
}

/// What is scaled along a curve out of distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OodAxis {
    /// The input range, as a factor of that of the tasks.
    InputRange,
    /// The weight scale, as a factor.
    WeightScale,
}

/// A point of a curve out of distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OodPoint {
    /// The factor.
    pub scale: f64,
    /// The model's loss there.
    pub loss_model: f64,
    /// The reference's loss on the same tasks.
    pub loss_reference: f64,
}

/// The losses of a stack and a reference on tasks whose range or weights are scaled; the law of `tasks` may differ from that of
/// training. Every point sees the same draws.
///
/// # Errors
/// As [`RegressionTasks::validate`] for each scale, [`Stack::predict`] and [`Reference::predict`].
pub fn ood_curve<T: Scalar>(
    stack: &Stack<T>,
    reference: &Reference,
    tasks: &RegressionTasks,
    axis: OodAxis,
    scales: &[f64],
    count: usize,
    seed: u64,
) -> Result<Vec<OodPoint>> {
    let point = |&scale: &f64| {
        let mut tasks = *tasks;
        match axis {
            OodAxis::InputRange => tasks.input_range *= scale,
            OodAxis::WeightScale => tasks.weight_scale *= scale,
        }
        let batch = tasks.sample(count, &mut gradus_base::stream(seed, "icl-ood", 0))?;
        Ok(OodPoint { scale, loss_model: stack.loss(&batch)?, loss_reference: reference.loss(&batch)? })
    };
    scales.iter().map(point).collect()
}
