use gradus_autodiff::{Params, Path, RecurrentWeights, Scalar, Tensor};
use rand::Rng;

use crate::build::Build;
use crate::init;

/// The weights of one direction of one recurrent layer, in PyTorch's order of gates.
#[derive(Clone, Debug, PartialEq)]
pub struct RecurrentDirection<T: Scalar = f32> {
    /// From the input to the gates, `[gates · hidden, input]`.
    pub weight_ih: Tensor<T>,
    /// From the hidden state to the gates, `[gates · hidden, hidden]`.
    pub weight_hh: Tensor<T>,
    /// `[gates · hidden]`.
    pub bias_ih: Tensor<T>,
    /// `[gates · hidden]`.
    pub bias_hh: Tensor<T>,
}

/// Recurrent layers one above the other, each with one direction or two. Names are PyTorch's: `weight_ih_l0`,
/// `weight_ih_l0_reverse` and so on.
#[derive(Clone, Debug, PartialEq)]
pub struct RecurrentLayers<T: Scalar = f32> {
    /// The layers from the input on; of each, the direction forward in time, and backward if it has two.
    pub layers: Vec<Vec<RecurrentDirection<T>>>,
}

impl<T: Scalar> RecurrentLayers<T> {
    fn new(gates: usize, input: usize, hidden: usize, layers: usize, directions: usize, rng: &mut impl Rng) -> Self {
        let mut draw = |_: &str, shape: &[usize]| init::torch_uniform(shape, hidden, rng);
        Self::build(gates, input, hidden, layers, directions, Build::new(&mut draw))
    }

    fn build(gates: usize, input: usize, hidden: usize, layers: usize, directions: usize, mut build: Build<'_, T>) -> Self {
        let rows = gates * hidden;
        let mut direction = |layer: usize, direction: usize| {
            let width = if layer == 0 { input } else { directions * hidden };
            let [weight_ih, weight_hh, bias_ih, bias_hh] = names(layer, direction);
            RecurrentDirection {
                weight_ih: build.tensor(&weight_ih, &[rows, width]),
                weight_hh: build.tensor(&weight_hh, &[rows, hidden]),
                bias_ih: build.tensor(&bias_ih, &[rows]),
                bias_hh: build.tensor(&bias_hh, &[rows]),
            }
        };
        Self { layers: (0..layers).map(|layer| (0..directions).map(|d| direction(layer, d)).collect()).collect() }
    }

    /// Runs each direction of each layer by `step`, which also has its number; the outputs of the last layer, and what `step`
    /// returned besides outputs.
    #[track_caller]
    fn run<S>(
        &self,
        x: &Tensor<T>,
        mut step: impl FnMut(usize, &Tensor<T>, &RecurrentWeights<'_, T>) -> (Tensor<T>, S),
    ) -> (Tensor<T>, Vec<S>) {
        let (mut x, mut states) = (x.clone(), Vec::new());
        for layer in &self.layers {
            let mut outputs = Vec::with_capacity(layer.len());
            for (number, own) in layer.iter().enumerate() {
                let weights = RecurrentWeights {
                    input: &own.weight_ih,
                    hidden: &own.weight_hh,
                    input_bias: Some(&own.bias_ih),
                    hidden_bias: Some(&own.bias_hh),
                };
                let input = if number == 0 { x.clone() } else { reversed(&x) };
                let (y, state) = step(states.len(), &input, &weights);
                outputs.push(if number == 0 { y } else { reversed(&y) });
                states.push(state);
            }
            x = if outputs.len() == 1 { outputs.remove(0) } else { Tensor::concat(&outputs, -1) };
        }
        (x, states)
    }

    #[track_caller]
    fn check<S>(&self, states: Option<&[S]>) {
        let directions = self.layers.iter().map(Vec::len).sum::<usize>();
        let found = states.map_or(directions, <[S]>::len);
        assert!(found == directions, "{found} states for {directions} directions of layers");
    }
}

fn names(layer: usize, direction: usize) -> [String; 4] {
    let reverse = if direction == 0 { "" } else { "_reverse" };
    ["weight_ih", "weight_hh", "bias_ih", "bias_hh"].map(|name| format!("{name}_l{layer}{reverse}"))
}

#[track_caller]
fn reversed<T: Scalar>(x: &Tensor<T>) -> Tensor<T> {
    let time: Vec<usize> = (0..x.shape()[1]).rev().collect();
    x.index_select(1, &time)
}

impl<T: Scalar> Params for RecurrentLayers<T> {
    type Elem = T;
    fn for_each<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a Tensor<T>)) {
        for (layer, directions) in self.layers.iter().enumerate() {
            for (direction, own) in directions.iter().enumerate() {
                let tensors = [&own.weight_ih, &own.weight_hh, &own.bias_ih, &own.bias_hh];
                for (name, x) in names(layer, direction).iter().zip(tensors) {
                    path.child(name, |path| f(path, x));
                }
            }
        }
    }
    fn for_each_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a mut Tensor<T>)) {
        for (layer, directions) in self.layers.iter_mut().enumerate() {
            for (direction, own) in directions.iter_mut().enumerate() {
                let tensors = [&mut own.weight_ih, &mut own.weight_hh, &mut own.bias_ih, &mut own.bias_hh];
                for (name, x) in names(layer, direction).iter().zip(tensors) {
                    path.child(name, |path| f(path, x));
                }
            }
        }
    }
}

/// What an [`Lstm`] remembers for one direction of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LstmState<T: Scalar = f32> {
    /// The hidden state, `[batch, hidden]`.
    pub hidden: Tensor<T>,
    /// The cell, `[batch, hidden]`.
    pub cell: Tensor<T>,
}

/// Long short-term memory (Hochreiter, Schmidhuber 1997), with any number of layers.
///
/// ```
/// use gradus_autodiff::Tensor;
/// use gradus_models::Lstm;
///
/// let lstm: Lstm = Lstm::new(3, 5, 2, &mut gradus_base::stream(1, "weights", 0));
/// let x = Tensor::ones(&[1, 7, 3]);
/// let (outputs, _) = lstm.call(&x, None);
/// assert_eq!(outputs.shape(), [1, 7, 5]);
/// // Step by step: the states go from one call to the next.
/// let (_, states) = lstm.call(&x.narrow(1, 0, 6), None);
/// let (last, _) = lstm.call(&x.narrow(1, 6, 1), Some(&states));
/// assert!((last - outputs.narrow(1, 6, 1)).abs().sum().item() < 1e-6);
/// ```
#[derive(Clone, Debug, PartialEq, Params)]
pub struct Lstm<T: Scalar = f32> {
    /// The weights, with four gates.
    #[params(flatten)]
    pub layers: RecurrentLayers<T>,
}

impl<T: Scalar> Lstm<T> {
    /// Layers forward in time, with PyTorch's initial values.
    #[track_caller]
    pub fn new(input: usize, hidden: usize, layers: usize, rng: &mut impl Rng) -> Self {
        Self { layers: RecurrentLayers::new(4, input, hidden, layers, 1, rng) }
    }

    /// Layers in both directions of time, whose outputs stand side by side.
    #[track_caller]
    pub fn bidirectional(input: usize, hidden: usize, layers: usize, rng: &mut impl Rng) -> Self {
        Self { layers: RecurrentLayers::new(4, input, hidden, layers, 2, rng) }
    }

    pub(crate) fn build(input: usize, hidden: usize, layers: usize, directions: usize, build: Build<'_, T>) -> Self {
        Self { layers: RecurrentLayers::build(4, input, hidden, layers, directions, build) }
    }

    /// `[batch, time, input]` to `[batch, time, directions · hidden]`, and the last states of each direction of each layer, from
    /// the input on. Without `states`, it begins with zeros.
    ///
    /// # Panics
    /// When there are not as many states as directions of layers.
    #[track_caller]
    pub fn call(&self, x: &Tensor<T>, states: Option<&[LstmState<T>]>) -> (Tensor<T>, Vec<LstmState<T>>) {
        self.layers.check(states);
        self.layers.run(x, |number, x, weights| {
            let (y, [hidden, cell]) = x.lstm(weights, states.map(|states| [&states[number].hidden, &states[number].cell]), None);
            (y, LstmState { hidden, cell })
        })
    }
}

/// Gated recurrent units (Cho et al. 2014), with any number of layers.
#[derive(Clone, Debug, PartialEq, Params)]
pub struct Gru<T: Scalar = f32> {
    /// The weights, with three gates.
    #[params(flatten)]
    pub layers: RecurrentLayers<T>,
}

impl<T: Scalar> Gru<T> {
    /// Layers forward in time, with PyTorch's initial values.
    #[track_caller]
    pub fn new(input: usize, hidden: usize, layers: usize, rng: &mut impl Rng) -> Self {
        Self { layers: RecurrentLayers::new(3, input, hidden, layers, 1, rng) }
    }

    /// Layers in both directions of time, whose outputs stand side by side.
    #[track_caller]
    pub fn bidirectional(input: usize, hidden: usize, layers: usize, rng: &mut impl Rng) -> Self {
        Self { layers: RecurrentLayers::new(3, input, hidden, layers, 2, rng) }
    }

    pub(crate) fn build(input: usize, hidden: usize, layers: usize, directions: usize, build: Build<'_, T>) -> Self {
        Self { layers: RecurrentLayers::build(3, input, hidden, layers, directions, build) }
    }

    /// `[batch, time, input]` to `[batch, time, directions · hidden]`, and the last states `[batch, hidden]` of each direction of
    /// each layer, from the input on. Without `states`, it begins with zeros.
    ///
    /// # Panics
    /// When there are not as many states as directions of layers.
    #[track_caller]
    pub fn call(&self, x: &Tensor<T>, states: Option<&[Tensor<T>]>) -> (Tensor<T>, Vec<Tensor<T>>) {
        self.layers.check(states);
        self.layers.run(x, |number, x, weights| x.gru(weights, states.map(|states| &states[number]), None))
    }
}
