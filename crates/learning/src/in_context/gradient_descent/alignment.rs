//! Whether a trained model is gradient descent.

use std::ops::Range;

use gradus_autodiff::{Scalar, Tensor};
use serde::{Deserialize, Serialize};

use super::error::{InContextError, Result, option, same};
use super::{AttentionKind, Batch, Head, LinearSelfAttention, Reference, RegressionTasks, Stack};

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
/// ```
/// use gradus_learning::in_context::gradient_descent::*;
/// let tasks = RegressionTasks { dimension: 3, context: 5, ..RegressionTasks::default() };
/// let test = tasks.sample::<f64>(100, &mut gradus_base::stream(1, "test tasks", 0))?;
/// let constructed = Stack::new(vec![LinearSelfAttention::gd_construction(3, 1, 5, 2.0, None)?], 1);
/// let alignment = align(&constructed, &Reference::GradientDescent { eta: 2.0, steps: 1 }, &test)?;
/// assert!(alignment.preds_diff < 1e-12 && (alignment.model_cos - 1.0).abs() < 1e-6);
/// # Ok::<(), InContextError>(())
/// ```
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

/// The stack whose products `KᵀQ` and `P V` lie the share `t` of the way from those of `a` to those of `b`; 0.5 averages, 0
/// gives a stack that predicts as `a`.
///
/// The weights themselves mean nothing: `Q → cQ, K → K/c` changes no output. So `KᵀQ` is divided by the mean of its diagonal
/// entries that belong to inputs, and `P V` multiplied by it. Several heads are one where their `KᵀQ` are proportional; then
/// their `P V` add up.
///
/// ```
/// use gradus_learning::in_context::gradient_descent::*;
/// let step = |eta| Ok::<_, InContextError>(Stack::new(vec![LinearSelfAttention::<f64>::gd_construction(3, 1, 5, eta, None)?], 1));
/// let halfway = interpolate(&step(1.0)?, &step(2.0)?, 0.5)?;
/// let test = RegressionTasks { dimension: 3, context: 5, ..RegressionTasks::default() }
///     .sample(100, &mut gradus_base::stream(1, "test tasks", 0))?;
/// assert!((halfway.loss(&test)? - step(1.5)?.loss(&test)?).abs() < 1e-12);
/// # Ok::<(), InContextError>(())
/// ```
///
/// # Errors
/// As [`Stack::validate`]; [`InContextError::DimensionMismatch`] for stacks of different sizes; [`InContextError::Incompatible`]
/// for stacks of different layouts or options, and for a layer with heads whose `KᵀQ` are not proportional;
/// [`InContextError::InvalidOption`] for attention that is not linear or a `t` that is not finite; [`InContextError::Singular`]
/// when the diagonal entries of a head average to 0.
pub fn interpolate<T: Scalar>(a: &Stack<T>, b: &Stack<T>, t: f64) -> Result<Stack<T>> {
    a.validate()?;
    b.validate()?;
    option("t", t, t.is_finite(), "finite")?;
    same("the number of layers", b.layers.len(), a.layers.len())?;
    same("the number of repeats", b.repeats, a.repeats)?;
    same("the number of outputs", b.outputs, a.outputs)?;
    equal("the layouts of the tokens", a.layout == b.layout)?;
    let (first, dimension) = (a.layout.positions(), a.dimension().unwrap_or(0));
    let inputs = first..first + dimension;
    let layers = a.layers.iter().zip(&b.layers).map(|(a, b)| interpolate_layers(a, b, &inputs, t)).collect::<Result<_>>()?;
    Ok(Stack { layers, ..a.clone() })
}

fn interpolate_layers<T: Scalar>(
    a: &LinearSelfAttention<T>,
    b: &LinearSelfAttention<T>,
    inputs: &Range<usize>,
    t: f64,
) -> Result<LinearSelfAttention<T>> {
    same("the width of a layer", b.width(), a.width())?;
    equal("the options of the layers", a.options == b.options)?;
    let linear = a.options.kind == AttentionKind::Linear && !a.options.sum_norm;
    option("kind", a.options.kind as usize as f64, linear, "linear (0) without sum_norm for an interpolation")?;
    let blend = |x: &Tensor<T>, y: &Tensor<T>| x * T::from_f64(1.0 - t) + y * T::from_f64(t);
    let ([query_a, value_a], [query_b, value_b]) = (normalised(a, inputs)?, normalised(b, inputs)?);
    let identity = Tensor::eye(a.width());
    let head = Head { key: identity.clone(), query: blend(&query_a, &query_b), value: blend(&value_a, &value_b), projection: identity };
    LinearSelfAttention::new(vec![head], a.options)
}

/// `KᵀQ` and `P V` of a layer in the gauge in which the diagonal entries of `KᵀQ` at `inputs` average to 1.
fn normalised<T: Scalar>(layer: &LinearSelfAttention<T>, inputs: &Range<usize>) -> Result<[Tensor<T>; 2]> {
    let mut sum: Option<[Tensor<T>; 2]> = None;
    for head in &layer.heads {
        let (key_query, value) = (head.key_query(), head.projection_value());
        if norm(&key_query) * norm(&value) == 0.0 {
            continue; // a head that does nothing
        }
        let diagonal = inputs.clone().map(|i| key_query.as_slice()[i * (layer.width() + 1)].to_f64());
        let mean = diagonal.sum::<f64>() / inputs.len() as f64;
        if mean.abs() <= 1e-6 * norm(&key_query) {
            return Err(singular_gauge());
        }
        let (key_query, value) = (key_query * T::from_f64(1.0 / mean), value * T::from_f64(mean));
        sum = Some(match sum {
            None => [key_query, value],
            Some([first, others]) => {
                equal("the directions of KᵀQ of the heads", norm(&(&first - &key_query)) <= 1e-4 * norm(&first))?;
                [first, others + value]
            }
        });
    }
    sum.ok_or_else(singular_gauge)
}

fn singular_gauge() -> InContextError {
    InContextError::Singular { what: "the gauge of the products of keys and queries" }
}

/// The Frobenius norm.
fn norm<T: Scalar>(x: &Tensor<T>) -> f64 {
    x.cast::<f64>().square().sum().sqrt().item()
}

fn equal(what: &'static str, equal: bool) -> Result<()> {
    if equal { Ok(()) } else { Err(InContextError::Incompatible { what }) }
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
/// ```
/// use gradus_learning::in_context::gradient_descent::*;
/// let tasks = RegressionTasks { dimension: 3, context: 5, ..RegressionTasks::default() };
/// let constructed = Stack::<f64>::new(vec![LinearSelfAttention::gd_construction(3, 1, 5, 2.0, None)?], 1);
/// let descent = Reference::GradientDescent { eta: 2.0, steps: 1 };
/// let curve = ood_curve(&constructed, &descent, &tasks, OodAxis::WeightScale, &[1.0, 2.0], 100, 1)?;
/// assert!((curve[1].loss_model / curve[0].loss_model - 4.0).abs() < 1e-9);
/// # Ok::<(), InContextError>(())
/// ```
///
/// # Errors
/// As [`RegressionTasks::sample`] for each scale, [`Stack::predict`] and [`Reference::predict`].
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
