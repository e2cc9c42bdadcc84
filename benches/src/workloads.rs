//! Our side of the workloads: what they have in common, and the list of them.

mod cost;
mod functions;
mod training;

use std::time::Instant;

use gradus_autodiff::{Params, Tensor, value_and_grad};
use gradus_base::StreamRng;
use gradus_benches_common::median;
use gradus_checkpoint::{Checkpoint, CheckpointError, DType, NamedArray};
use gradus_optimizers::Rule;
use rand::RngExt;
use rand_distr::StandardNormal;

pub(crate) use cost::Cost;

use crate::Failure;

/// A workload that is ready to run.
pub(crate) struct Workload {
    /// `W1` and so on.
    pub(crate) name: &'static str,
    /// Timed calls in a turn.
    pub(crate) calls: usize,
    /// The largest relative Euclidean difference of outputs that counts as the same.
    pub(crate) tolerance: f64,
    /// The least work that it can be done with.
    pub(crate) cost: Cost,
    /// What every side starts from.
    pub(crate) inputs: Checkpoint,
    work: Box<dyn Work>,
}

/// Makes a workload and its inputs.
pub(crate) type Make = fn() -> Result<Workload, Failure>;

/// Every workload by name.
pub(crate) const ALL: [(&str, Make); 16] = [
    ("W1", training::w1),
    ("W2", training::w2),
    ("W3", training::w3),
    ("W4", training::w4),
    ("W5", training::w5),
    ("W6", functions::w6),
    ("W6-gradient", functions::w6_gradient),
    ("W7", functions::w7),
    ("W7-fisher", functions::w7_fisher),
    ("W7-gram", functions::w7_gram),
    ("W7-norms", functions::w7_norms),
    ("W8", functions::w8),
    ("W9", functions::w9),
    ("W10", functions::w10),
    ("W10-fused", functions::w10_fused),
    ("W11", functions::w11),
];

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
        Ok(median(&times))
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

fn normal(shape: &[usize], rng: &mut StreamRng) -> Tensor {
    Tensor::sample(shape, StandardNormal, rng)
}

fn integers(count: usize, below: usize, rng: &mut StreamRng) -> Vec<usize> {
    (0..count).map(|_| rng.random_range(0..below)).collect()
}

fn rng(workload: &str) -> StreamRng {
    gradus_base::stream(0, workload, 0)
}

/// Arrays by name: tensors, models and whole numbers.
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

    fn integers(mut self, name: &str, shape: &[usize], values: &[usize]) -> Result<Self, CheckpointError> {
        let bytes = values.iter().flat_map(|&value| (value as i64).to_le_bytes()).collect();
        self.0.insert(NamedArray { name: name.into(), dtype: DType::I64, shape: shape.to_vec(), bytes })?;
        Ok(self)
    }
}

/// Steps after which the peers' training is compared.
const STEPS: usize = 5;

/// One call is a step: forward, backward, update.
struct Training<P: Params<Elem = f32>, O: Rule<P>, L: Fn(&P) -> Tensor> {
    rule: O,
    loss_of: L,
    initial: P,
    model: P,
    state: O::State,
    loss: Tensor,
}

impl<P: Params<Elem = f32> + Clone, O: Rule<P>, L: Fn(&P) -> Tensor> Training<P, O, L> {
    fn new(rule: O, initial: P, loss_of: L) -> Self {
        let (model, state) = (initial.clone(), rule.init(&initial));
        Self { rule, loss_of, initial, model, state, loss: Tensor::scalar(0.0) }
    }
}

impl<P: Params<Elem = f32> + Clone, O: Rule<P>, L: Fn(&P) -> Tensor> Work for Training<P, O, L> {
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

#[cfg(test)]
mod tests {
    use super::functions::w8;
    use super::training::w5;
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
