//! Training: a model is a plain struct, its gradient has the same type, and a step is arithmetic on models.

use gradus_autodiff::{Params, Tensor, value_and_grad};

#[derive(Clone, Params)]
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

#[derive(Clone, Params)]
struct Mlp {
    first: Linear,
    second: Linear,
}

impl Linear {
    fn call(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias))
    }
}

impl Mlp {
    fn call(&self, x: &Tensor) -> Tensor {
        self.second.call(&self.first.call(x).tanh())
    }
}

fn main() {
    let wave = |shape: &[usize], rate: f32| Tensor::from_fn(shape, |i| (i as f32 * rate).sin());
    let layer = |input: usize, output: usize, rate| Linear { weight: wave(&[output, input], rate), bias: Tensor::zeros(&[output]) };
    let mut model = Mlp { first: layer(1, 32, 1.3), second: layer(32, 1, 1.7) };
    let x = Tensor::from_fn(&[64, 1], |i| i as f32 / 32.0 - 1.0);
    let y = (&x * 3.0).sin();

    for step in 0..=2000 {
        let (loss, gradient) = value_and_grad(|m: &Mlp| (m.call(&x) - &y).square().mean(), &model);
        model = model.axpy(-0.05, &gradient);
        if step % 500 == 0 {
            println!("step {step}: loss {:.5}", loss.item());
        }
    }
}
