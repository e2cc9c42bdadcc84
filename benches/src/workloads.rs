//! Our side of the workloads, written as a user would write them.

use std::time::Instant;

use gradus_autodiff::{Params, Tensor, fuse, hvp, jacobian, per_example, value_and_grad};
use gradus_base::StreamRng;
use gradus_checkpoint::{Checkpoint, CheckpointError, DType, NamedArray};
use gradus_optimizers::{Adam, Rule, Sgd};
use rand::RngExt;
use rand_distr::StandardNormal;

use crate::{Failure, statistics};

/// A workload that is ready to run.
pub(crate) struct Workload {
    /// `W1` and so on.
    pub(crate) name: &'static str,
    /// Timed calls in a turn.
    pub(crate) calls: usize,
    /// The largest relative Euclidean difference of outputs that counts as the same.
    pub(crate) tolerance: f64,
    /// What every side starts from.
    pub(crate) inputs: Checkpoint,
    work: Box<dyn Work>,
}

/// Makes a workload and its inputs.
pub(crate) type Make = fn() -> Result<Workload, Failure>;

/// Every workload by name.
pub(crate) const ALL: [(&str, Make); 8] =
    [("W1", w1), ("W5", w5), ("W6", w6), ("W7", w7), ("W8", w8), ("W10", w10), ("W10-fused", w10_fused), ("W11", w11)];

impl Workload {
    /// Calls before the timed ones.
    pub(crate) fn warm_up(&self) -> usize {
        self.calls.div_ceil(5)
    }

    /// What comes out, for the comparison.
    pub(crate) fn outputs(&mut self) -> Result<Checkpoint, Failure> {
        self.work.outputs()
    }

    /// The median time of a turn, in ms.
    pub(crate) fn time(&mut self) -> Result<f64, Failure> {
        self.work.reset();
        for _ in 0..self.warm_up() {
            self.work.call()?;
        }
        let mut times = Vec::with_capacity(self.calls);
        for _ in 0..self.calls {
            let start = Instant::now();
            self.work.call()?;
            times.push(1e3 * start.elapsed().as_secs_f64());
        }
        Ok(statistics::median(&times))
    }
}

/// What is timed.
trait Work {
    /// Back to the start, so that every turn does the same.
    fn reset(&mut self) {}

    /// One call.
    fn call(&mut self) -> Result<(), Failure>;

    /// What comes out of it.
    fn outputs(&mut self) -> Result<Checkpoint, Failure>;
}

#[derive(Clone, Params)]
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

#[derive(Clone, Params)]
struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    fn new(sizes: &[usize], rng: &mut StreamRng) -> Self {
        let layer = |inputs: usize, outputs: usize, rng: &mut StreamRng| Linear {
            weight: normal(&[outputs, inputs], rng) * (1.0 / (inputs as f32).sqrt()),
            bias: normal(&[outputs], rng) * 0.1,
        };
        Self { layers: sizes.windows(2).map(|pair| layer(pair[0], pair[1], rng)).collect() }
    }

    fn call(&self, x: &Tensor, activation: fn(&Tensor) -> Tensor) -> Tensor {
        let mut x = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            x = x.linear(&layer.weight, Some(&layer.bias));
            if i + 1 < self.layers.len() {
                x = activation(&x);
            }
        }
        x
    }
}

fn mse(prediction: &Tensor, target: &Tensor) -> Tensor {
    (prediction - target).square().mean()
}

fn normal(shape: &[usize], rng: &mut StreamRng) -> Tensor {
    Tensor::sample(shape, StandardNormal, rng)
}

fn labels(count: usize, classes: usize, rng: &mut StreamRng) -> Vec<usize> {
    (0..count).map(|_| rng.random_range(0..classes)).collect()
}

fn rng(workload: &str) -> StreamRng {
    gradus_base::stream(0, workload, 0)
}

/// Arrays by name: tensors, models and labels.
#[derive(Default)]
struct Arrays(Checkpoint);

impl Arrays {
    fn tensor(mut self, name: &str, x: &Tensor) -> Result<Self, CheckpointError> {
        self.0.insert_f32(name, x.shape(), x.as_slice())?;
        Ok(self)
    }

    fn model<P: Params<Elem = f32>>(self, prefix: &str, model: &P) -> Result<Self, CheckpointError> {
        model.named().into_iter().try_fold(self, |arrays, (name, x)| arrays.tensor(&format!("{prefix}{name}"), x))
    }

    fn labels(mut self, name: &str, labels: &[usize]) -> Result<Self, CheckpointError> {
        let bytes = labels.iter().flat_map(|&label| (label as i64).to_le_bytes()).collect();
        self.0.insert(NamedArray { name: name.into(), dtype: DType::I64, shape: vec![labels.len()], bytes })?;
        Ok(self)
    }
}

/// Steps after which the peers' training is compared.
const STEPS: usize = 5;

/// One call is a step: forward, backward, update.
struct Training<O: Rule<Mlp>, L: Fn(&Mlp) -> Tensor> {
    rule: O,
    loss_of: L,
    initial: Mlp,
    model: Mlp,
    state: O::State,
    loss: Tensor,
}

impl<O: Rule<Mlp>, L: Fn(&Mlp) -> Tensor> Training<O, L> {
    fn new(rule: O, initial: Mlp, loss_of: L) -> Self {
        let (model, state) = (initial.clone(), rule.init(&initial));
        Self { rule, loss_of, initial, model, state, loss: Tensor::scalar(0.0) }
    }
}

impl<O: Rule<Mlp>, L: Fn(&Mlp) -> Tensor> Work for Training<O, L> {
    fn reset(&mut self) {
        self.model = self.initial.clone();
        self.state = self.rule.init(&self.initial);
    }

    fn call(&mut self) -> Result<(), Failure> {
        let (loss, gradient) = value_and_grad(&self.loss_of, &self.model);
        self.rule.step(&mut self.model, &gradient, &mut self.state)?;
        self.loss = loss;
        Ok(())
    }

    fn outputs(&mut self) -> Result<Checkpoint, Failure> {
        self.reset();
        let mut losses = Vec::new();
        for _ in 0..STEPS {
            self.call()?;
            losses.push(self.loss.item());
        }
        let change = self.model.axpy(-1.0, &self.initial);
        Ok(Arrays::default().tensor("losses", &Tensor::vector(&losses))?.model("change.", &change)?.0)
    }
}

/// One call is a function of the inputs.
struct Function<R, F: FnMut() -> Result<R, Failure>, A: Fn(&R) -> Result<Arrays, CheckpointError>> {
    function: F,
    arrays: A,
    result: Option<R>,
}

impl<R, F: FnMut() -> Result<R, Failure>, A: Fn(&R) -> Result<Arrays, CheckpointError>> Work for Function<R, F, A> {
    fn call(&mut self) -> Result<(), Failure> {
        self.result = None;
        self.result = Some((self.function)()?);
        Ok(())
    }

    fn outputs(&mut self) -> Result<Checkpoint, Failure> {
        Ok((self.arrays)(&(self.function)()?)?.0)
    }
}

fn function<R: 'static>(
    function: impl FnMut() -> Result<R, Failure> + 'static,
    arrays: impl Fn(&R) -> Result<Arrays, CheckpointError> + 'static,
) -> Box<dyn Work> {
    Box::new(Function { function, arrays, result: None })
}

/// A classifier's training step.
fn w1() -> Result<Workload, Failure> {
    let rng = &mut rng("W1");
    let (model, x, y) = (Mlp::new(&[784, 512, 512, 10], rng), normal(&[128, 784], rng), labels(128, 10, rng));
    let inputs = Arrays::default().model("", &model)?.tensor("x", &x)?.labels("y", &y)?.0;
    let loss = move |m: &Mlp| m.call(&x, Tensor::relu).softmax_cross_entropy(&y).mean();
    let work = Box::new(Training::new(Adam::default(), model, loss));
    // Adam divides by the gradient's size, so that elements whose gradient is rounding error differ by whole steps.
    Ok(Workload { name: "W1", calls: 40, tolerance: 1e-3, inputs, work })
}

/// A tiny network's training step: bound by the cost of an operation, not by arithmetic.
fn w5() -> Result<Workload, Failure> {
    let rng = &mut rng("W5");
    let (model, x, y) = (Mlp::new(&[2, 32, 32, 1], rng), normal(&[4, 2], rng), normal(&[4, 1], rng));
    let inputs = Arrays::default().model("", &model)?.tensor("x", &x)?.tensor("y", &y)?.0;
    let loss = move |m: &Mlp| mse(&m.call(&x, Tensor::tanh), &y);
    let work = Box::new(Training::new(Sgd::default(), model, loss));
    Ok(Workload { name: "W5", calls: 1000, tolerance: 1e-4, inputs, work })
}

/// A Hessian-vector product.
fn w6() -> Result<Workload, Failure> {
    let rng = &mut rng("W6");
    let (model, x, y) = (Mlp::new(&[10, 64, 64, 1], rng), normal(&[256, 10], rng), normal(&[256, 1], rng));
    let v = model.normal_like(rng);
    let inputs = Arrays::default().model("", &model)?.model("v.", &v)?.tensor("x", &x)?.tensor("y", &y)?.0;
    let run = move || Ok(hvp(|m: &Mlp| mse(&m.call(&x, Tensor::tanh), &y), &model, &v));
    Ok(Workload { name: "W6", calls: 200, tolerance: 1e-4, inputs, work: function(run, |r: &Mlp| Arrays::default().model("", r)) })
}

/// The gradient of each example.
fn w7() -> Result<Workload, Failure> {
    let rng = &mut rng("W7");
    let (model, x, y) = (Mlp::new(&[784, 256, 10], rng), normal(&[64, 784], rng), labels(64, 10, rng));
    let inputs = Arrays::default().model("", &model)?.tensor("x", &x)?.labels("y", &y)?.0;
    let run = move || {
        let losses = |m: &Mlp, x: &Tensor| m.call(x, Tensor::relu).softmax_cross_entropy(&y);
        Ok(per_example(losses, &model, &x)?.gradients())
    };
    Ok(Workload { name: "W7", calls: 20, tolerance: 1e-4, inputs, work: function(run, |r: &Mlp| Arrays::default().model("", r)) })
}

/// A full Jacobian at one point.
fn w8() -> Result<Workload, Failure> {
    let rng = &mut rng("W8");
    let (model, x) = (Mlp::new(&[64, 128, 64], rng), normal(&[64], rng));
    let inputs = Arrays::default().model("", &model)?.tensor("x", &x)?.0;
    let run = move || Ok(jacobian(|z| model.call(z, Tensor::tanh), &x));
    let arrays = |r: &Tensor| Arrays::default().tensor("jacobian", r);
    Ok(Workload { name: "W8", calls: 300, tolerance: 1e-4, inputs, work: function(run, arrays) })
}

/// Elementwise functions one by one, value and gradient.
fn w10() -> Result<Workload, Failure> {
    elementwise("W10", |x| {
        let mut z = x.clone();
        for _ in 0..4 {
            z = (-(z.tanh() * 1.1 + 0.3).square()).exp();
        }
        z
    })
}

/// The same functions in one pass over memory.
fn w10_fused() -> Result<Workload, Failure> {
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
fn w11() -> Result<Workload, Failure> {
    let rng = &mut rng("W11");
    let (a, b) = (normal(&[1024, 1024], rng), normal(&[1024, 1024], rng));
    let inputs = Arrays::default().tensor("a", &a)?.tensor("b", &b)?.0;
    let run = move || Ok(a.matmul(&b));
    let arrays = |r: &Tensor| Arrays::default().tensor("product", r);
    Ok(Workload { name: "W11", calls: 20, tolerance: 1e-5, inputs, work: function(run, arrays) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_and_outputs_are_the_same_in_every_run() {
        for make in [w5, w8] {
            let (mut a, mut b) = (make().unwrap(), make().unwrap());
            assert_eq!(a.inputs, b.inputs);
            let first = a.outputs().unwrap();
            assert_eq!(first, b.outputs().unwrap());
            a.time().unwrap();
            assert_eq!(first, a.outputs().unwrap(), "{}: timing must leave nothing behind", a.name);
        }
    }

    #[test]
    fn training_reports_losses_and_changes() {
        let outputs = w5().unwrap().outputs().unwrap();
        let losses = outputs.to_f32("losses").unwrap();
        assert!(losses.len() == STEPS && losses[STEPS - 1] < losses[0]);
        assert_eq!(outputs.get("change.layers.0.weight").unwrap().shape, [32, 2]);
    }
}
