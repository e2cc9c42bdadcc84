//! Derivatives and products without an update.

use gradus_autodiff::{Convolution, ExampleGrads, Params, Tensor, fuse, hvp, jacobian, per_example, value_and_grad};
use gradus_checkpoint::CheckpointError;
use gradus_models::loss::mean_squared_error;
use gradus_models::{Activation, Mlp};

use super::cost::{product, training};
use super::{Arrays, Cost, Workload, function, integers, normal, rng};
use crate::Failure;

/// A Hessian-vector product.
pub(super) fn w6() -> Result<Workload, Failure> {
    let (model, v, x, y) = regression();
    let inputs = Arrays::default().model("", &model)?.model("v.", &v)?.tensor("x", &x)?.tensor("y", &y)?.0;
    // Of each layer: its value, and two terms each of the derivatives of the value, of the cotangents and of the gradient, whose
    // cotangents are needed too. The first layer's input has no derivative and needs no cotangent.
    let layers = WIDTHS.windows(2).enumerate().map(|(i, pair)| product(256, pair[0], pair[1]) * if i == 0 { 3 } else { 8 });
    let cost = Cost::new(layers.sum(), 3 * model.count() + x.count() + y.count());
    let run = move || Ok(hvp(|m: &Mlp| mean_squared_error(&m.call(&x), &y), &model, &v));
    Ok(Workload { name: "W6", calls: 200, tolerance: 1e-4, cost, inputs, work: function(run, |r: &Mlp| Arrays::default().model("", r)) })
}

/// The gradient alone, which tells what the product costs more.
pub(super) fn w6_gradient() -> Result<Workload, Failure> {
    let (model, _, x, y) = regression();
    let inputs = Arrays::default().model("", &model)?.tensor("x", &x)?.tensor("y", &y)?.0;
    let cost = Cost::new(training(256, &WIDTHS), 2 * model.count() + x.count() + y.count());
    let run = move || Ok(value_and_grad(|m: &Mlp| mean_squared_error(&m.call(&x), &y), &model).1);
    let work = function(run, |r: &Mlp| Arrays::default().model("", r));
    Ok(Workload { name: "W6-gradient", calls: 300, tolerance: 1e-4, cost, inputs, work })
}

const WIDTHS: [usize; 4] = [10, 64, 64, 1];

/// Model, direction, inputs and targets.
fn regression() -> (Mlp, Mlp, Tensor, Tensor) {
    let rng = &mut rng("W6");
    let model = Mlp::new(&WIDTHS, Activation::Tanh, rng);
    let (x, y) = (normal(&[256, 10], rng), normal(&[256, 1], rng));
    let v = model.normal_like(rng);
    (model, v, x, y)
}

/// The gradient of each example.
pub(super) fn w7() -> Result<Workload, Failure> {
    // One multiplication for each number of the result.
    let each = BATCH * (784 * 256 + 256 * 10);
    examples("W7", each, BATCH * PARAMETERS, ExampleGrads::gradients, |r| Arrays::default().model("", r))
}

/// The diagonal of the Fisher information, times the number of examples: sums of the examples' squared gradients.
pub(super) fn w7_fisher() -> Result<Workload, Failure> {
    examples("W7-fisher", product(784, BATCH, 256) + product(256, BATCH, 10), PARAMETERS, ExampleGrads::sum_of_squares, |r| {
        Arrays::default().model("", r)
    })
}

/// The inner products of the examples' gradients.
pub(super) fn w7_gram() -> Result<Workload, Failure> {
    // The gradient of a weight is an outer product: inner products of two of them are products of inner products.
    examples("W7-gram", product(BATCH, 784 + 256 + 256 + 10, BATCH), BATCH * BATCH, ExampleGrads::gram, |r| {
        Arrays::default().tensor("gram", r)
    })
}

/// The squared norm of each example's gradient.
pub(super) fn w7_norms() -> Result<Workload, Failure> {
    examples("W7-norms", product(BATCH, 784 + 256 + 256 + 10, 1), BATCH, ExampleGrads::squared_norms, |r| {
        Arrays::default().tensor("norms", r)
    })
}

/// Examples and parameters of W7.
const BATCH: usize = 64;
const PARAMETERS: usize = 784 * 256 + 256 + 256 * 10 + 10;

/// `operations` and `results` are those of the reduction, beyond the factors of the gradients.
fn examples<R: 'static>(
    name: &'static str,
    operations: usize,
    results: usize,
    reduce: fn(&ExampleGrads<Mlp>) -> R,
    arrays: fn(&R) -> Result<Arrays, CheckpointError>,
) -> Result<Workload, Failure> {
    let rng = &mut rng("W7");
    let model = Mlp::new(&[784, 256, 10], Activation::Relu, rng);
    let (x, y) = (normal(&[BATCH, 784], rng), integers(BATCH, 10, rng));
    let inputs = Arrays::default().model("", &model)?.tensor("x", &x)?.integers("y", &[BATCH], &y)?.0;
    let factors = product(BATCH, 784, 256) + 2 * product(BATCH, 256, 10);
    let cost = Cost::new(factors + operations, PARAMETERS + x.count() + results);
    let run = move || {
        let losses = |m: &Mlp, x: &Tensor| m.call(x).softmax_cross_entropy(&y);
        Ok(reduce(&per_example(losses, &model, &x)?))
    };
    Ok(Workload { name, calls: 20, tolerance: 1e-4, cost, inputs, work: function(run, arrays) })
}

/// A full Jacobian at one point.
pub(super) fn w8() -> Result<Workload, Failure> {
    let rng = &mut rng("W8");
    let model = Mlp::new(&[64, 128, 64], Activation::Tanh, rng);
    let x = normal(&[64], rng);
    let inputs = Arrays::default().model("", &model)?.tensor("x", &x)?.0;
    // Forward at one point, then one product of the two matrices, slopes between them.
    let operations = 2 * product(1, 64, 128) + product(64, 128, 64);
    let cost = Cost::new(operations, model.count() + x.count() + 64 * 64);
    let run = move || Ok(jacobian(|z| model.call(z), &x));
    let arrays = |r: &Tensor| Arrays::default().tensor("jacobian", r);
    Ok(Workload { name: "W8", calls: 300, tolerance: 1e-4, cost, inputs, work: function(run, arrays) })
}

/// A convolution, forward and both gradients.
pub(super) fn w9() -> Result<Workload, Failure> {
    let rng = &mut rng("W9");
    let (x, weight) = (normal(&[16, 64, 32, 32], rng), normal(&[64, 64, 3, 3], rng) * (1.0 / 24.0));
    let inputs = Arrays::default().tensor("x", &x)?.tensor("weight", &weight)?.0;
    let cost = Cost::new(3 * product(16 * 32 * 32, 64 * 9, 64), 2 * (x.count() + weight.count()));
    let point = (x, weight);
    let options = Convolution { padding: [1, 1], ..Convolution::default() };
    let run = move || Ok(value_and_grad(|(x, w): &(Tensor, Tensor)| x.conv2d(w, None, options).square().sum(), &point));
    let arrays = |(value, (x, weight)): &(Tensor, (Tensor, Tensor))| {
        Arrays::default().tensor("value", value)?.tensor("gradient.x", x)?.tensor("gradient.weight", weight)
    };
    Ok(Workload { name: "W9", calls: 16, tolerance: 1e-4, cost, inputs, work: function(run, arrays) })
}

/// Elementwise functions one by one, value and gradient.
pub(super) fn w10() -> Result<Workload, Failure> {
    elementwise("W10", |x| {
        let mut z = x.clone();
        for _ in 0..4 {
            z = (-(z.tanh() * 1.1 + 0.3).square()).exp();
        }
        z
    })
}

/// The same functions in one pass over memory.
pub(super) fn w10_fused() -> Result<Workload, Failure> {
    elementwise("W10-fused", |x| {
        fuse(
            |[mut z]| {
                for _ in 0..4 {
                    z = (-(z.tanh() * 1.1 + 0.3).square()).exp();
                }
                z
            },
            [x],
        )
    })
}

fn elementwise(name: &'static str, chain: impl Fn(&Tensor) -> Tensor + 'static) -> Result<Workload, Failure> {
    let x = normal(&[1_000_000], &mut rng("W10"));
    let inputs = Arrays::default().tensor("x", &x)?.0;
    // A function counts as one operation: six forward and eight backward in each of the four, and the sum.
    let cost = Cost::new(x.count() * (4 * (6 + 8) + 1), 2 * x.count());
    let run = move || Ok(value_and_grad(|x: &Tensor| chain(x).sum(), &x));
    let arrays = |(value, gradient): &(Tensor, Tensor)| Arrays::default().tensor("value", value)?.tensor("gradient", gradient);
    Ok(Workload { name, calls: 12, tolerance: 1e-4, cost, inputs, work: function(run, arrays) })
}

/// A matrix product.
pub(super) fn w11() -> Result<Workload, Failure> {
    let rng = &mut rng("W11");
    let (a, b) = (normal(&[1024, 1024], rng), normal(&[1024, 1024], rng));
    let inputs = Arrays::default().tensor("a", &a)?.tensor("b", &b)?.0;
    let cost = Cost::new(product(1024, 1024, 1024), 3 * 1024 * 1024);
    let run = move || Ok(a.matmul(&b));
    let arrays = |r: &Tensor| Arrays::default().tensor("product", r);
    Ok(Workload { name: "W11", calls: 20, tolerance: 1e-5, cost, inputs, work: function(run, arrays) })
}
