//! The workloads on `burn`, with its own operations, losses and optimizers. Its CPU back end is `flex`: `ndarray` is deprecated,
//! and `cpu`, which compiles kernels while it runs, brings a compiler that is downloaded when it is built.

use std::collections::BTreeMap;

use burn::module::{Module, Param};
use burn::nn::loss::{CrossEntropyLossConfig, MseLoss, Reduction};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, AdamWConfig, GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::activation::{gelu_approximate, relu, sigmoid, tanh};
use burn::tensor::module::{attention, conv2d, embedding, layer_norm, linear, max_pool2d};
use burn::tensor::ops::{AttentionModuleOptions, ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::arrays::{Array, Arrays};
use crate::{Result, STEPS, Workload};

pub(crate) fn make(workload: &str, mut arrays: Arrays) -> Result<Box<dyn Workload>> {
    let device = Device::flex().autodiff();
    let adam = || AdamConfig::new().with_epsilon(1e-8).init();
    let adam_w = || AdamWConfig::new().with_epsilon(1e-6).with_weight_decay(1e-2).init();
    let sgd = || SgdConfig::new().init();
    let momentum = || SgdConfig::new().with_momentum(Some(MomentumConfig::new().with_momentum(0.9).with_dampening(0.0))).init();
    Ok(match workload {
        "W1" => {
            let (x, y) = (plain::<2>(&arrays.take("x")?, &device), whole::<1>(&arrays.take("y")?, &device));
            training(arrays, 1e-3, adam, move |m| cross_entropy(mlp(m, 3, x.clone(), relu), &y))?
        }
        "W2" => {
            let (x, y) = (plain::<4>(&arrays.take("x")?, &device), whole::<1>(&arrays.take("y")?, &device));
            training(arrays, 1e-2, momentum, move |m| cross_entropy(cnn(m, x.clone()), &y))?
        }
        "W3" => {
            let (x, y) = (whole::<2>(&arrays.take("x")?, &device), whole::<1>(&arrays.take("y")?, &device));
            training(arrays, 1e-3, adam_w, move |m| cross_entropy(language_model(m, x.clone()).flatten(0, 1), &y))?
        }
        "W4" => {
            let (x, y) = (plain::<3>(&arrays.take("x")?, &device), plain::<2>(&arrays.take("y")?, &device));
            training(arrays, 1e-2, sgd, move |m| MseLoss::new().forward(recurrent(m, x.clone()), y.clone(), Reduction::Mean))?
        }
        "W5" => {
            let (x, y) = (plain::<2>(&arrays.take("x")?, &device), plain::<2>(&arrays.take("y")?, &device));
            training(arrays, 1e-2, sgd, move |m| MseLoss::new().forward(mlp(m, 3, x.clone(), tanh), y.clone(), Reduction::Mean))?
        }
        "W9" => {
            let (x, weight) = (variable::<4>(arrays.get("x")?, &device), variable::<4>(arrays.get("weight")?, &device));
            let compute = move || {
                let value = conv2d(x.clone(), weight.clone(), None, ConvOptions::new([1, 1], [1, 1], [1, 1], 1)).square().sum();
                let gradients = value.backward();
                (value, x.grad(&gradients), weight.grad(&gradients))
            };
            function(compute, |(value, x, weight)| {
                Ok(vec![("value", scalar(value)?), ("gradient.x", found(x)?), ("gradient.weight", found(weight)?)])
            })
        }
        "W10" => {
            let x = variable::<1>(arrays.get("x")?, &device);
            let compute = move || {
                let step = |z, _| tanh(z).mul_scalar(1.1).add_scalar(0.3).square().neg().exp();
                let value = (0..4).fold(x.clone(), step).sum();
                let gradients = value.backward();
                (value, x.grad(&gradients))
            };
            function(compute, |(value, x)| Ok(vec![("value", scalar(value)?), ("gradient", found(x)?)]))
        }
        "W11" => {
            let [a, b] = ["a", "b"].map(|name| arrays.get(name).map(|array| plain::<2>(array, &Device::flex())));
            let (a, b) = (a?, b?);
            function(move || a.clone().matmul(b.clone()), |product| Ok(vec![("product", numbers(product)?)]))
        }
        other => return Err(format!("no such workload: {other}").into()),
    })
}

/// The parameters of a model by their number of axes. Matrices of linear maps are kept transposed, as `burn` has them.
#[derive(Module, Debug)]
struct Parameters {
    vectors: Vec<Param<Tensor<1>>>,
    matrices: Vec<Param<Tensor<2>>>,
    kernels: Vec<Param<Tensor<4>>>,
}

/// Parameters, and where each is by name.
struct Model {
    parameters: Parameters,
    places: BTreeMap<String, usize>,
}

/// Whether a matrix is a linear map's.
fn is_linear(name: &str, array: &Array) -> bool {
    array.shape.len() == 2 && !["embedding.weight", "positions.weight"].contains(&name)
}

impl Model {
    fn new(arrays: &Arrays) -> Result<Self> {
        let device = Device::flex().autodiff();
        let mut model =
            Self { parameters: Parameters { vectors: Vec::new(), matrices: Vec::new(), kernels: Vec::new() }, places: BTreeMap::new() };
        let Parameters { vectors, matrices, kernels } = &mut model.parameters;
        for (name, array) in &arrays.0 {
            let place = match array.shape.len() {
                1 => push(vectors, plain(array, &device)),
                2 if is_linear(name, array) => push(matrices, plain(&transposed(array), &device)),
                2 => push(matrices, plain(array, &device)),
                4 => push(kernels, plain(array, &device)),
                other => return Err(format!("{name} has {other} axes").into()),
            };
            model.places.insert(name.clone(), place);
        }
        Ok(model)
    }

    /// The parameter as it is in the inputs.
    fn array(&self, name: &str, like: &Array) -> Result<Array> {
        match like.shape.len() {
            1 => numbers(&self.vector(name)),
            2 if is_linear(name, like) => numbers(&self.matrix(name).transpose()),
            2 => numbers(&self.matrix(name)),
            _ => numbers(&self.kernel(name)),
        }
    }

    fn vector(&self, name: &str) -> Tensor<1> {
        self.parameters.vectors[self.places[name]].val()
    }

    fn matrix(&self, name: &str) -> Tensor<2> {
        self.parameters.matrices[self.places[name]].val()
    }

    fn kernel(&self, name: &str) -> Tensor<4> {
        self.parameters.kernels[self.places[name]].val()
    }

    fn linear<const D: usize>(&self, name: &str, x: Tensor<D>) -> Tensor<D> {
        linear(x, self.matrix(&format!("{name}.weight")), Some(self.vector(&format!("{name}.bias"))))
    }

    fn convolution(&self, name: &str, x: Tensor<4>) -> Tensor<4> {
        let options = ConvOptions::new([1, 1], [2, 2], [1, 1], 1);
        conv2d(x, self.kernel(&format!("{name}.weight")), Some(self.vector(&format!("{name}.bias"))), options)
    }

    fn norm(&self, name: &str, x: Tensor<3>) -> Tensor<3> {
        layer_norm(x, self.vector(&format!("{name}.weight")), Some(self.vector(&format!("{name}.bias"))), 1e-5)
    }
}

fn push<const D: usize>(parameters: &mut Vec<Param<Tensor<D>>>, x: Tensor<D>) -> usize {
    parameters.push(Param::from_tensor(x));
    parameters.len() - 1
}

fn transposed(array: &Array) -> Array {
    let (rows, columns) = (array.shape[0], array.shape[1]);
    let values = (0..rows * columns).map(|i| array.values[i % rows * columns + i / rows]).collect();
    Array { shape: vec![columns, rows], values, is_whole: false }
}

fn mlp(model: &Model, layers: usize, x: Tensor<2>, activation: fn(Tensor<2>) -> Tensor<2>) -> Tensor<2> {
    (1..layers).fold(model.linear("layers.0", x), |x, layer| model.linear(&format!("layers.{layer}"), activation(x)))
}

fn cnn(model: &Model, x: Tensor<4>) -> Tensor<2> {
    let pooled = |x| max_pool2d(relu(x), MaxPoolOptions::new([2, 2]));
    let x = pooled(model.convolution("conv2", pooled(model.convolution("conv1", x))));
    model.linear("output", relu(model.linear("hidden", x.flatten(1, 3))))
}

fn language_model(model: &Model, tokens: Tensor<2, Int>) -> Tensor<3> {
    let [_, count] = tokens.dims();
    let positions = model.matrix("positions.weight").slice([0..count]).unsqueeze();
    let mut x = embedding(model.matrix("embedding.weight"), tokens) + positions;
    for layer in 0..4 {
        let name = |part: &str| format!("transformer.layers.{layer}.{part}");
        x = x.clone() + mixed(model, &name("self_attn"), 8, model.norm(&name("norm1"), x));
        let wide = gelu_approximate(model.linear(&name("linear1"), model.norm(&name("norm2"), x.clone())));
        x = x + model.linear(&name("linear2"), wide);
    }
    model.linear("head", model.norm("transformer.norm", x))
}

fn mixed(model: &Model, name: &str, heads: usize, x: Tensor<3>) -> Tensor<3> {
    let [rows, tokens, width] = x.dims();
    let joint = linear(x, model.matrix(&format!("{name}.in_proj_weight")), Some(model.vector(&format!("{name}.in_proj_bias"))));
    let [q, k, v] =
        [0, 1, 2].map(|i| joint.clone().narrow(2, i * width, width).reshape([rows, tokens, heads, width / heads]).swap_dims(1, 2));
    let options = AttentionModuleOptions { is_causal: true, ..AttentionModuleOptions::default() };
    let mixed = attention(q, k, v, None, None, options).swap_dims(1, 2).reshape([rows, tokens, width]);
    model.linear(&format!("{name}.out_proj"), mixed)
}

/// One product for each step, of the input beside the last state. Faster than `burn`'s `Lstm`, which makes eight; and than one product
/// of all steps before the loop, whose slices have gradients as large as itself.
fn recurrent(model: &Model, x: Tensor<3>) -> Tensor<2> {
    let [rows, steps, _] = x.dims();
    let weight = Tensor::cat(vec![model.matrix("lstm.weight_ih_l0"), model.matrix("lstm.weight_hh_l0")], 0);
    let bias = model.vector("lstm.bias_ih_l0") + model.vector("lstm.bias_hh_l0");
    let x = x.swap_dims(0, 1);
    let zeros = Tensor::zeros([rows, 128], &x.device());
    let (mut hidden, mut cell) = (zeros.clone(), zeros);
    for step in 0..steps {
        let x = x.clone().narrow(0, step, 1).squeeze_dim::<2>(0);
        let gates = linear(Tensor::cat(vec![x, hidden], 1), weight.clone(), Some(bias.clone()));
        let [input, forget, candidate, out] = [0, 1, 2, 3].map(|i| gates.clone().narrow(1, i * 128, 128));
        cell = sigmoid(forget) * cell + sigmoid(input) * tanh(candidate);
        hidden = sigmoid(out) * tanh(cell.clone());
    }
    model.linear("head", hidden)
}

fn cross_entropy(logits: Tensor<2>, classes: &Tensor<1, Int>) -> Tensor<1> {
    CrossEntropyLossConfig::new().init(&logits.device()).forward(logits, classes.clone())
}

fn plain<const D: usize>(array: &Array, device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(array.values.clone(), array.shape.clone()), device)
}

fn variable<const D: usize>(array: &Array, device: &Device) -> Tensor<D> {
    plain(array, device).require_grad()
}

fn whole<const D: usize>(array: &Array, device: &Device) -> Tensor<D, Int> {
    let values: Vec<i32> = array.whole().into_iter().map(|x| x as i32).collect();
    Tensor::from_data(TensorData::new(values, array.shape.clone()), device)
}

fn numbers<const D: usize>(x: &Tensor<D>) -> Result<Array> {
    let values = x.clone().into_data().try_into_vec::<f32>().map_err(|error| format!("{error:?}"))?;
    Ok(Array { shape: x.dims().to_vec(), values, is_whole: false })
}

/// The only number; `burn` has no tensors without axes.
fn scalar(x: &Tensor<1>) -> Result<Array> {
    Ok(Array { shape: Vec::new(), ..numbers(x)? })
}

fn found<const D: usize>(gradient: &Option<Tensor<D>>) -> Result<Array> {
    numbers(gradient.as_ref().ok_or("a gradient is missing")?)
}

struct Training<O, L> {
    initial: Arrays,
    rate: f64,
    optimiser_of: O,
    loss_of: L,
    model: Model,
    optimiser: ModuleOptimizer,
    loss: Option<Tensor<1>>,
}

fn training<O, L>(initial: Arrays, rate: f64, optimiser_of: O, loss_of: L) -> Result<Box<dyn Workload>>
where
    O: Fn() -> ModuleOptimizer + 'static,
    L: Fn(&Model) -> Tensor<1> + 'static,
{
    let (model, optimiser) = (Model::new(&initial)?, optimiser_of());
    Ok(Box::new(Training { initial, rate, optimiser_of, loss_of, model, optimiser, loss: None }))
}

impl<O: Fn() -> ModuleOptimizer, L: Fn(&Model) -> Tensor<1>> Workload for Training<O, L> {
    fn reset(&mut self) -> Result<()> {
        self.model = Model::new(&self.initial)?;
        self.optimiser = (self.optimiser_of)();
        Ok(())
    }

    fn call(&mut self) -> Result<()> {
        let loss = (self.loss_of)(&self.model);
        let gradients = GradientsParams::from_grads(loss.backward(), &self.model.parameters);
        // The optimizer takes the parameters and hands them back.
        let empty = Parameters { vectors: Vec::new(), matrices: Vec::new(), kernels: Vec::new() };
        let parameters = std::mem::replace(&mut self.model.parameters, empty);
        self.model.parameters = self.optimiser.step(self.rate, parameters, gradients);
        self.loss = Some(loss);
        Ok(())
    }

    fn outputs(&mut self) -> Result<Arrays> {
        self.reset()?;
        let mut losses = Vec::new();
        for _ in 0..STEPS {
            self.call()?;
            losses.extend(found(&self.loss)?.values);
        }
        let mut outputs = Arrays::default();
        outputs.0.insert("losses".into(), Array { shape: vec![STEPS], values: losses, is_whole: false });
        for (name, before) in &self.initial.0 {
            let mut change = self.model.array(name, before)?;
            change.values.iter_mut().zip(&before.values).for_each(|(x, before)| *x -= before);
            outputs.0.insert(format!("change.{name}"), change);
        }
        Ok(outputs)
    }
}

struct Function<F, O> {
    compute: F,
    named: O,
}

/// A function of the inputs.
fn function<R, F, O>(compute: F, named: O) -> Box<dyn Workload>
where
    F: Fn() -> R + 'static,
    O: Fn(&R) -> Result<Vec<(&'static str, Array)>> + 'static,
{
    Box::new(Function { compute, named })
}

impl<R, F: Fn() -> R, O: Fn(&R) -> Result<Vec<(&'static str, Array)>>> Workload for Function<F, O> {
    fn reset(&mut self) -> Result<()> {
        Ok(())
    }

    fn call(&mut self) -> Result<()> {
        std::hint::black_box((self.compute)());
        Ok(())
    }

    fn outputs(&mut self) -> Result<Arrays> {
        let named = (self.named)(&(self.compute)())?;
        Ok(Arrays(named.into_iter().map(|(name, array)| (name.to_owned(), array)).collect()))
    }
}
