//! The workloads on `candle`, with its own layers, losses and optimizers where they can be differentiated and exist.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{D, DType, Device, IndexOp, Tensor, Var};
use candle_nn::{AdamW, Conv2d, Conv2dConfig, Linear, Module, Optimizer, ParamsAdamW, SGD, loss, ops};

use crate::arrays::{Array, Arrays};
use crate::{Result, STEPS, Workload};

type Computed = candle_core::Result<Tensor>;

pub(crate) fn make(workload: &str, arrays: Arrays) -> Result<Box<dyn Workload>> {
    Ok(match workload {
        "W1" => training(arrays, adam(1e-8, 0.0), |model, x, y| loss::cross_entropy(&mlp(model, 3, x, Tensor::relu)?, y))?,
        "W2" => training(arrays, momentum, |model, x, y| loss::cross_entropy(&cnn(model, x)?, y))?,
        "W3" => {
            let mask = causal(128)?;
            training(arrays, adam(1e-6, 0.01), move |model, x, y| loss::cross_entropy(&language_model(model, x, &mask)?.flatten(0, 1)?, y))?
        }
        "W4" => training(arrays, sgd, |model, x, y| loss::mse(&recurrent(model, x)?, y))?,
        "W5" => training(arrays, sgd, |model, x, y| loss::mse(&mlp(model, 3, x, Tensor::tanh)?, y))?,
        "W9" => function(
            arrays,
            &["x", "weight"],
            |v| v[0].conv2d(&v[1], 1, 1, 1, 1)?.sqr()?.sum_all(),
            |v, g| vec![("value", v), ("gradient.x", &g[0]), ("gradient.weight", &g[1])],
        )?,
        "W10" => function(arrays, &["x"], elementwise, |v, g| vec![("value", v), ("gradient", &g[0])])?,
        "W11" => {
            function(arrays, &["a", "b"], |v| v[0].as_tensor().detach().matmul(&v[1].as_tensor().detach()), |v, _| vec![("product", v)])?
        }
        other => return Err(format!("no such workload: {other}").into()),
    })
}

/// The parameters of a model by name.
struct Model(BTreeMap<String, Var>);

impl Model {
    fn get(&self, name: &str) -> candle_core::Result<Tensor> {
        let found = self.0.get(name).map(|var| var.as_tensor().clone());
        found.ok_or_else(|| candle_core::Error::Msg(format!("there is no parameter {name:?}")))
    }

    fn linear(&self, name: &str, x: &Tensor) -> Computed {
        Linear::new(self.get(&format!("{name}.weight"))?, Some(self.get(&format!("{name}.bias"))?)).forward(x)
    }

    fn convolution(&self, name: &str, x: &Tensor) -> Computed {
        let settings = Conv2dConfig { padding: 2, ..Conv2dConfig::default() };
        Conv2d::new(self.get(&format!("{name}.weight"))?, Some(self.get(&format!("{name}.bias"))?), settings).forward(x)
    }

    /// Not `LayerNorm` of `candle-nn`, which has no gradient.
    fn norm(&self, name: &str, x: &Tensor) -> Computed {
        ops::layer_norm_slow(x, &self.get(&format!("{name}.weight"))?, &self.get(&format!("{name}.bias"))?, 1e-5)
    }
}

fn mlp(model: &Model, layers: usize, x: &Tensor, activation: fn(&Tensor) -> Computed) -> Computed {
    (1..layers).try_fold(model.linear("layers.0", x)?, |x, layer| model.linear(&format!("layers.{layer}"), &activation(&x)?))
}

/// The maxima of squares of two by two. Not `max_pool2d`, whose gradient is a quarter of the right one in this version.
fn halved(x: &Tensor) -> Computed {
    let (images, channels, height, width) = x.dims4()?;
    x.reshape((images, channels, height / 2, 2, width / 2, 2))?.max(5)?.max(3)
}

fn cnn(model: &Model, x: &Tensor) -> Computed {
    let x = halved(&model.convolution("conv1", x)?.relu()?)?;
    let x = halved(&model.convolution("conv2", &x)?.relu()?)?;
    model.linear("output", &model.linear("hidden", &x.flatten_from(1)?)?.relu()?)
}

/// What is added to the scores of `count` queries by keys.
fn causal(count: usize) -> Computed {
    let hidden: Vec<f32> = (0..count * count).map(|i| if i % count > i / count { f32::NEG_INFINITY } else { 0.0 }).collect();
    Tensor::from_vec(hidden, (count, count), &Device::Cpu)
}

fn language_model(model: &Model, tokens: &Tensor, mask: &Tensor) -> Computed {
    let (rows, count) = tokens.dims2()?;
    let table = model.get("embedding.weight")?;
    let width = table.dim(1)?;
    let mut x = table
        .embedding(&tokens.flatten_all()?)?
        .reshape((rows, count, width))?
        .broadcast_add(&model.get("positions.weight")?.i(..count)?)?;
    for layer in 0..4 {
        let name = |part: &str| format!("transformer.layers.{layer}.{part}");
        let mixed = attention(model, &name("self_attn"), 8, &model.norm(&name("norm1"), &x)?, mask)?;
        x = (x + mixed)?;
        let wide = model.linear(&name("linear1"), &model.norm(&name("norm2"), &x)?)?.gelu()?;
        x = (x + model.linear(&name("linear2"), &wide)?)?;
    }
    model.linear("head", &model.norm("transformer.norm", &x)?)
}

/// By hand: the attention kernels of `candle-nn` have no gradient.
fn attention(model: &Model, name: &str, heads: usize, x: &Tensor, mask: &Tensor) -> Computed {
    let (rows, tokens, width) = x.dims3()?;
    let joint = Linear::new(model.get(&format!("{name}.in_proj_weight"))?, Some(model.get(&format!("{name}.in_proj_bias"))?)).forward(x)?;
    let joint = joint.reshape((rows, tokens, 3 * heads, width / heads))?.transpose(1, 2)?;
    let part = |i: usize| joint.narrow(1, i * heads, heads)?.contiguous();
    let (q, k, v) = ((part(0)? * (1.0 / ((width / heads) as f64).sqrt()))?, part(1)?, part(2)?);
    let scores = q.matmul(&k.t()?)?.broadcast_add(mask)?;
    let mixed = ops::softmax(&scores, D::Minus1)?.matmul(&v)?;
    model.linear(&format!("{name}.out_proj"), &mixed.transpose(1, 2)?.reshape((rows, tokens, width))?)
}

/// One product for each step, of the input beside the last state. Faster than `candle_nn::LSTM`, which makes two; and than one product
/// of all steps before the loop, whose slices have gradients as large as itself.
fn recurrent(model: &Model, x: &Tensor) -> Computed {
    let (rows, steps, _) = x.dims3()?;
    let x = x.transpose(0, 1)?.contiguous()?;
    let weight = Tensor::cat(&[model.get("lstm.weight_ih_l0")?, model.get("lstm.weight_hh_l0")?], 1)?;
    let joint = Linear::new(weight, Some((model.get("lstm.bias_ih_l0")? + model.get("lstm.bias_hh_l0")?)?));
    let zeros = Tensor::zeros((rows, 128), DType::F32, &Device::Cpu)?;
    let (mut hidden, mut cell) = (zeros.clone(), zeros);
    for step in 0..steps {
        let gates = joint.forward(&Tensor::cat(&[&x.i(step)?, &hidden], 1)?)?.chunk(4, 1)?;
        let [input, forget, out] = [0, 1, 3].map(|i| ops::sigmoid(&gates[i]));
        cell = ((forget? * cell)? + (input? * gates[2].tanh()?)?)?;
        hidden = (out? * cell.tanh()?)?;
    }
    model.linear("head", &hidden)
}

fn elementwise(inputs: &[Var]) -> Computed {
    let z = (0..4).try_fold(inputs[0].as_tensor().clone(), |z, _| z.tanh()?.affine(1.1, 0.3)?.sqr()?.neg()?.exp())?;
    z.sum_all()
}

/// An optimizer made for parameters: what it does with their gradients.
type Update = Box<dyn FnMut(&GradStore) -> candle_core::Result<()>>;

fn sgd(parameters: Vec<Var>) -> candle_core::Result<Update> {
    let mut rule = SGD::new(parameters, 1e-2)?;
    Ok(Box::new(move |gradients| rule.step(gradients)))
}

/// By hand: `candle-nn` has no momentum.
fn momentum(parameters: Vec<Var>) -> candle_core::Result<Update> {
    let mut velocities: Vec<Option<Tensor>> = vec![None; parameters.len()];
    Ok(Box::new(move |gradients| {
        for (x, velocity) in parameters.iter().zip(&mut velocities) {
            let Some(g) = gradients.get(x) else { continue };
            let v = match velocity.take() {
                Some(v) => ((v * 0.9)? + g)?,
                None => g.clone(),
            };
            x.set(&(x.as_tensor() - (&v * 1e-2)?)?)?;
            *velocity = Some(v);
        }
        Ok(())
    }))
}

fn adam(eps: f64, weight_decay: f64) -> impl Fn(Vec<Var>) -> candle_core::Result<Update> + Copy {
    move |parameters| {
        let mut rule = AdamW::new(parameters, ParamsAdamW { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps, weight_decay })?;
        Ok(Box::new(move |gradients: &GradStore| rule.step(gradients)) as Update)
    }
}

fn tensor(array: &Array) -> Computed {
    Tensor::from_slice(&array.values, &array.shape[..], &Device::Cpu)
}

fn array(x: &Tensor) -> Result<Array> {
    Ok(Array { shape: x.dims().to_vec(), values: x.flatten_all()?.to_vec1()?, is_whole: false })
}

struct Training<O, L> {
    initial: Arrays,
    optimiser_of: O,
    loss_of: L,
    model: Model,
    update: Update,
    x: Tensor,
    y: Tensor,
    loss: f32,
}

fn variables(arrays: &Arrays) -> Result<Model> {
    let variable = |(name, array): (&String, &Array)| Ok((name.clone(), Var::from_tensor(&tensor(array)?)?));
    Ok(Model(arrays.0.iter().map(variable).collect::<Result<_>>()?))
}

fn training<O, L>(mut arrays: Arrays, optimiser_of: O, loss_of: L) -> Result<Box<dyn Workload>>
where
    O: Fn(Vec<Var>) -> candle_core::Result<Update> + 'static,
    L: Fn(&Model, &Tensor, &Tensor) -> Computed + 'static,
{
    let (x, y) = (arrays.take("x")?, arrays.take("y")?);
    let input = |array: &Array| match array.is_whole {
        true => Tensor::from_vec(array.whole(), &array.shape[..], &Device::Cpu),
        false => tensor(array),
    };
    let model = variables(&arrays)?;
    let update = optimiser_of(model.0.values().cloned().collect())?;
    Ok(Box::new(Training { initial: arrays, optimiser_of, loss_of, model, update, x: input(&x)?, y: input(&y)?, loss: 0.0 }))
}

impl<O, L> Workload for Training<O, L>
where
    O: Fn(Vec<Var>) -> candle_core::Result<Update>,
    L: Fn(&Model, &Tensor, &Tensor) -> Computed,
{
    fn reset(&mut self) -> Result<()> {
        self.model = variables(&self.initial)?;
        self.update = (self.optimiser_of)(self.model.0.values().cloned().collect())?;
        Ok(())
    }

    fn call(&mut self) -> Result<()> {
        let loss = (self.loss_of)(&self.model, &self.x, &self.y)?;
        (self.update)(&loss.backward()?)?;
        self.loss = loss.to_scalar()?;
        Ok(())
    }

    fn outputs(&mut self) -> Result<Arrays> {
        self.reset()?;
        let mut losses = Vec::new();
        for _ in 0..STEPS {
            self.call()?;
            losses.push(self.loss);
        }
        let mut outputs = Arrays::default();
        outputs.0.insert("losses".into(), Array { shape: vec![STEPS], values: losses, is_whole: false });
        for (name, variable) in &self.model.0 {
            let change = (variable.as_tensor() - tensor(self.initial.get(name)?)?)?;
            outputs.0.insert(format!("change.{name}"), array(&change)?);
        }
        Ok(outputs)
    }
}

struct Function<F, O> {
    inputs: Vec<Var>,
    function: F,
    named: O,
}

/// A value and, where its inputs are variables, their gradients.
fn function<F, O>(arrays: Arrays, inputs: &[&str], function: F, named: O) -> Result<Box<dyn Workload>>
where
    F: Fn(&[Var]) -> Computed + 'static,
    O: for<'a> Fn(&'a Tensor, &'a [Tensor]) -> Vec<(&'static str, &'a Tensor)> + 'static,
{
    let inputs = inputs.iter().map(|name| Ok(Var::from_tensor(&tensor(arrays.get(name)?)?)?)).collect::<Result<_>>()?;
    Ok(Box::new(Function { inputs, function, named }))
}

impl<F: Fn(&[Var]) -> Computed, O> Function<F, O> {
    fn compute(&self) -> Result<(Tensor, Vec<Tensor>)> {
        let value = (self.function)(&self.inputs)?;
        let gradients = if value.track_op() { value.backward()? } else { return Ok((value, Vec::new())) };
        let gradient = |x: &Var| gradients.get(x).cloned().ok_or_else(|| "a gradient is missing".into());
        let gradients = self.inputs.iter().map(gradient).collect::<Result<_>>()?;
        Ok((value, gradients))
    }
}

impl<F, O> Workload for Function<F, O>
where
    F: Fn(&[Var]) -> Computed,
    O: for<'a> Fn(&'a Tensor, &'a [Tensor]) -> Vec<(&'static str, &'a Tensor)>,
{
    fn reset(&mut self) -> Result<()> {
        Ok(())
    }

    fn call(&mut self) -> Result<()> {
        std::hint::black_box(self.compute()?);
        Ok(())
    }

    fn outputs(&mut self) -> Result<Arrays> {
        let (value, gradients) = self.compute()?;
        let named = (self.named)(&value, &gradients).into_iter().map(|(name, x)| Ok((name.to_owned(), array(x)?)));
        Ok(Arrays(named.collect::<Result<_>>()?))
    }
}
