//! Derivatives and products without an update.

use gradus_autodiff::{Convolution, ExampleGrads, Params, Tensor, fuse, hvp, jacobian, per_example, value_and_grad};
use gradus_checkpoint::CheckpointError;
use gradus_models::loss::mean_squared_error;
use gradus_models::{Activation, Mlp};

use super::{Arrays, Workload, function, integers, normal, rng};
use crate::Failure;

/// A Hessian-vector product.
pub(super) fn w6() -> Result<Workload, Failure> {
    let rng = &mut rng("W6");
    let model = Mlp::new(&[10, 64, 64, 1], Activation::Tanh, rng);
    let (x, y) = (normal(&[256, 10], rng), normal(&[256, 1], rng));
    let v = model.normal_like(rng);
    let inputs = Arrays::default().model("", &model)?.model("v.", &v)?.tensor("x", &x)?.tensor("y", &y)?.0;
    let run = move || Ok(hvp(|m: &Mlp| mean_squared_error(&m.call(&x), &y), &model, &v));
    Ok(Workload { name: "W6", calls: 200, tolerance: 1e-4, inputs, work: function(run, |r: &Mlp| Arrays::default().model("", r)) })
}

/// The gradient of each example.
pub(super) fn w7() -> Result<Workload, Failure> {
    examples("W7", ExampleGrads::gradients, |r| Arrays::default().model("", r))
}

/// The diagonal of the Fisher information, times the number of examples: sums of the examples' squared gradients.
pub(super) fn w7_fisher() -> Result<Workload, Failure> {
    examples("W7-fisher", ExampleGrads::sum_of_squares, |r| Arrays::default().model("", r))
}

/// The inner products of the examples' gradients.
pub(super) fn w7_gram() -> Result<Workload, Failure> {
    examples("W7-gram", ExampleGrads::gram, |r| Arrays::default().tensor("gram", r))
}

/// The squared norm of each example's gradient.
pub(super) fn w7_norms() -> Result<Workload, Failure> {
    examples("W7-norms", ExampleGrads::squared_norms, |r| Arrays::default().tensor("norms", r))
}

fn examples<R: 'static>(
    name: &'static str,
    reduce: fn(&ExampleGrads<Mlp>) -> R,
    arrays: fn(&R) -> Result<Arrays, CheckpointError>,
) -> Result<Workload, Failure> {
    let rng = &mut rng("W7");
    let model = Mlp::new(&[784, 256, 10], Activation::Relu, rng);
    let (x, y) = (normal(&[64, 784], rng), integers(64, 10, rng));
    let inputs = Arrays::default().model("", &model)?.tensor("x", &x)?.integers("y", &[64], &y)?.0;
    let run = move || {
        let losses = |m: &Mlp, x: &Tensor| m.call(x).softmax_cross_entropy(&y);
        Ok(reduce(&per_example(losses, &model, &x)?))
    };
    Ok(Workload { name, calls: 20, tolerance: 1e-4, inputs, work: function(run, arrays) })
}

/// A full Jacobian at one point.
pub(super) fn w8() -> Result<Workload, Failure> {
    let rng = &mut rng("W8");
    let model = Mlp::new(&[64, 128, 64], Activation::Tanh, rng);
    let x = normal(&[64], rng);
    let inputs = Arrays::default().model("", &model)?.tensor("x", &x)?.0;
    let run = move || Ok(jacobian(|z| model.call(z), &x));
    let arrays = |r: &Tensor| Arrays::default().tensor("jacobian", r);
    Ok(Workload { name: "W8", calls: 300, tolerance: 1e-4, inputs, work: function(run, arrays) })
}

/// A convolution, forward and both gradients.
pub(super) fn w9() -> Result<Workload, Failure> {
    let rng = &mut rng("W9");
    let (x, weight) = (normal(&[16, 64, 32, 32], rng), normal(&[64, 64, 3, 3], rng) * (1.0 / 24.0));
    let inputs = Arrays::default().tensor("x", &x)?.tensor("weight", &weight)?.0;
    let point = (x, weight);
    let options = Convolution { padding: [1, 1], ..Convolution::default() };
    let run = move || Ok(value_and_grad(|(x, w): &(Tensor, Tensor)| x.conv2d(w, None, options).square().sum(), &point));
    let arrays = |(value, (x, weight)): &(Tensor, (Tensor, Tensor))| {
        Arrays::default().tensor("value", value)?.tensor("gradient.x", x)?.tensor("gradient.weight", weight)
    };
    Ok(Workload { name: "W9", calls: 16, tolerance: 1e-4, inputs, work: function(run, arrays) })
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
    let run = move || Ok(value_and_grad(|x: &Tensor| chain(x).sum(), &x));
    let arrays = |(value, gradient): &(Tensor, Tensor)| Arrays::default().tensor("value", value)?.tensor("gradient", gradient);
    Ok(Workload { name, calls: 12, tolerance: 1e-4, inputs, work: function(run, arrays) })
}

/// A matrix product.
pub(super) fn w11() -> Result<Workload, Failure> {
    let rng = &mut rng("W11");
    let (a, b) = (normal(&[1024, 1024], rng), normal(&[1024, 1024], rng));
    let inputs = Arrays::default().tensor("a", &a)?.tensor("b", &b)?.0;
    let run = move || Ok(a.matmul(&b));
    let arrays = |r: &Tensor| Arrays::default().tensor("product", r);
    Ok(Workload { name: "W11", calls: 20, tolerance: 1e-5, inputs, work: function(run, arrays) })
}
