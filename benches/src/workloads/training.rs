//! Training steps.

use gradus_autodiff::{Params, Pooling, Tensor};
use gradus_models::loss::{cross_entropy, mean_squared_error};
use gradus_models::{Activation, Conv2d, LanguageConfig, LanguageModel, Linear, Lstm, Mlp, Pass, Positions, TransformerConfig};
use gradus_optimizers::{Adam, AdamW, Sgd};

use super::cost::{product, training};
use super::{Arrays, Cost, Training, Workload, integers, normal, rng};
use crate::Failure;

/// A classifier.
pub(super) fn w1() -> Result<Workload, Failure> {
    let rng = &mut rng("W1");
    let model = Mlp::new(&[784, 512, 512, 10], Activation::Relu, rng);
    let (x, y) = (normal(&[128, 784], rng), integers(128, 10, rng));
    let inputs = Arrays::default().model("", &model)?.tensor("x", &x)?.integers("y", &[128], &y)?.0;
    // Adam reads and writes parameters and two moments.
    let cost = Cost::new(training(128, &[784, 512, 512, 10]), 6 * model.count() + x.count() + y.len());
    let loss = move |m: &Mlp| cross_entropy(&m.call(&x), &y);
    let work = Box::new(Training::new(Adam::default(), model, loss));
    // Adam divides by the gradient's size, so that elements whose gradient is rounding error differ by whole steps.
    Ok(Workload { name: "W1", calls: 40, tolerance: 1e-3, cost, inputs, work })
}

#[derive(Clone, Params)]
struct Cnn {
    conv1: Conv2d,
    conv2: Conv2d,
    hidden: Linear,
    output: Linear,
}

impl Cnn {
    fn call(&self, images: &Tensor) -> Tensor {
        let pooled = |x: &Tensor| x.relu().max_pool2d(Pooling::new([2, 2]));
        let x = pooled(&self.conv2.call(&pooled(&self.conv1.call(images))));
        let batch = x.shape()[0];
        self.output.call(&self.hidden.call(&x.reshape(&[batch, x.count() / batch])).relu())
    }
}

/// A classifier of images.
pub(super) fn w2() -> Result<Workload, Failure> {
    let rng = &mut rng("W2");
    let model = Cnn {
        conv1: Conv2d::new(1, 32, 5, rng),
        conv2: Conv2d::new(32, 64, 5, rng),
        hidden: Linear::new(3136, 512, rng),
        output: Linear::new(512, 10, rng),
    };
    let (x, y) = (normal(&[64, 1, 28, 28], rng), integers(64, 10, rng));
    let inputs = Arrays::default().model("", &model)?.tensor("x", &x)?.integers("y", &[64], &y)?.0;
    let conv1 = 2 * product(64 * 28 * 28, 25, 32);
    let conv2 = 3 * product(64 * 14 * 14, 32 * 25, 64);
    let linear = training(64, &[3136, 512, 10]) + product(64, 3136, 512);
    let cost = Cost::new(conv1 + conv2 + linear, 4 * model.count() + x.count() + y.len());
    let loss = move |m: &Cnn| cross_entropy(&m.call(&x), &y);
    let work = Box::new(Training::new(Sgd { momentum: 0.9, ..Sgd::default() }, model, loss));
    // Of a window whose two largest values are equal but for rounding, the gradient may go to either.
    Ok(Workload { name: "W2", calls: 10, tolerance: 1e-3, cost, inputs, work })
}

/// A decoder of the transformer kind.
pub(super) fn w3() -> Result<Workload, Failure> {
    const ROWS: usize = 16;
    const TOKENS: usize = 128;
    const VOCABULARY: usize = 512;
    const WIDTH: usize = 256;
    const LAYERS: usize = 4;
    let rng = &mut rng("W3");
    let config = LanguageConfig {
        vocabulary: VOCABULARY,
        context: TOKENS,
        positions: Positions::Learned,
        tied: false,
        causal: true,
        transformer: TransformerConfig::small(WIDTH, LAYERS, 8),
    };
    let mut model = LanguageModel::new(&config, rng)?;
    model.head = Some(Linear::new(WIDTH, VOCABULARY, rng));
    // Biases start at zero otherwise, and hide what goes wrong with them.
    let model = model.axpy(0.02, &model.normal_like(rng));
    let text = integers(ROWS * (TOKENS + 1), VOCABULARY, rng);
    let rows: Vec<Vec<usize>> = text.chunks(TOKENS + 1).map(|row| row[..TOKENS].to_vec()).collect();
    let next: Vec<usize> = text.chunks(TOKENS + 1).flat_map(|row| &row[1..]).copied().collect();
    let inputs =
        Arrays::default().model("", &model)?.integers("x", &[ROWS, TOKENS], &rows.concat())?.integers("y", &[next.len()], &next)?.0;
    let maps = LAYERS * product(ROWS * TOKENS, WIDTH, 12 * WIDTH) + product(ROWS * TOKENS, WIDTH, VOCABULARY);
    // Scores and mixtures of each token with itself and those before it.
    let attention = LAYERS * 2 * product(ROWS * TOKENS * (TOKENS + 1) / 2, WIDTH, 1);
    let cost = Cost::new(3 * (maps + attention), 6 * model.count() + 2 * ROWS * TOKENS);
    let loss = move |m: &LanguageModel| {
        let logits = m.call(&rows, &mut Pass::evaluation());
        cross_entropy(&logits.reshape(&[ROWS * TOKENS, VOCABULARY]), &next)
    };
    // The gradient of the keys' biases is zero but for rounding: all scores of a query move alike. With an ε of 1e-8, Adam
    // would move them by whole steps of noise.
    let rule = AdamW { epsilon: 1e-6, ..AdamW::default() };
    Ok(Workload { name: "W3", calls: 3, tolerance: 1e-3, cost, inputs, work: Box::new(Training::new(rule, model, loss)) })
}

#[derive(Clone, Params)]
struct Recurrent {
    lstm: Lstm,
    head: Linear,
}

impl Recurrent {
    fn call(&self, x: &Tensor) -> Tensor {
        let (_, states) = self.lstm.call(x, None);
        self.head.call(&states[0].hidden)
    }
}

/// A recurrent network.
pub(super) fn w4() -> Result<Workload, Failure> {
    let rng = &mut rng("W4");
    let model = Recurrent { lstm: Lstm::new(64, 128, 1, rng), head: Linear::new(128, 1, rng) };
    let (x, y) = (normal(&[32, 100, 64], rng), normal(&[32, 1], rng));
    let inputs = Arrays::default().model("", &model)?.tensor("x", &x)?.tensor("y", &y)?.0;
    // The input needs no gradient.
    let step = 2 * product(32, 64, 4 * 128) + 3 * product(32, 128, 4 * 128);
    let cost = Cost::new(100 * step + 3 * product(32, 128, 1), 2 * model.count() + x.count() + y.count());
    let loss = move |m: &Recurrent| mean_squared_error(&m.call(&x), &y);
    let work = Box::new(Training::new(Sgd::default(), model, loss));
    Ok(Workload { name: "W4", calls: 20, tolerance: 1e-4, cost, inputs, work })
}

/// A tiny network: bound by the cost of an operation, not by arithmetic.
pub(super) fn w5() -> Result<Workload, Failure> {
    let rng = &mut rng("W5");
    let model = Mlp::new(&[2, 32, 32, 1], Activation::Tanh, rng);
    let (x, y) = (normal(&[4, 2], rng), normal(&[4, 1], rng));
    let inputs = Arrays::default().model("", &model)?.tensor("x", &x)?.tensor("y", &y)?.0;
    let cost = Cost::new(training(4, &[2, 32, 32, 1]), 2 * model.count() + x.count() + y.count());
    let loss = move |m: &Mlp| mean_squared_error(&m.call(&x), &y);
    let work = Box::new(Training::new(Sgd::default(), model, loss));
    Ok(Workload { name: "W5", calls: 1000, tolerance: 1e-4, cost, inputs, work })
}
