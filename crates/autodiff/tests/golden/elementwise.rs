use gradus_autodiff::{Tensor, grad, hvp};

use crate::case::Golden;

/// A function's name there, and ours.
type Function = (&'static str, fn(&Tensor<f64>) -> Tensor<f64>);

const FUNCTIONS: [Function; 26] = [
    ("exp", Tensor::exp),
    ("tanh", Tensor::tanh),
    ("sigmoid", Tensor::sigmoid),
    ("softplus", Tensor::softplus),
    ("relu", Tensor::relu),
    ("sin", Tensor::sin),
    ("cos", Tensor::cos),
    ("abs", Tensor::abs),
    ("tan", Tensor::tan),
    ("atan", Tensor::atan),
    ("sinh", Tensor::sinh),
    ("cosh", Tensor::cosh),
    ("expm1", Tensor::exp_m1),
    ("erf", Tensor::erf),
    ("erfc", Tensor::erfc),
    ("gelu", Tensor::gelu),
    ("gelu_tanh", Tensor::gelu_tanh),
    ("silu", Tensor::silu),
    ("elu", |x| x.elu(0.7)),
    ("leaky_relu", |x| x.leaky_relu(0.1)),
    ("log_sigmoid", Tensor::log_sigmoid),
    ("log1p", |x| x.square().ln_1p()),
    ("clamp", |x| x.clamp(-1.5, 2.0)),
    ("round", Tensor::round),
    ("floor", Tensor::floor),
    ("ceil", Tensor::ceil),
];

#[test]
fn functions_of_one_element() {
    let golden = Golden::open("elementwise");
    let (x, weights) = (golden.get("x"), golden.get("weights"));
    for (name, f) in FUNCTIONS {
        let loss = |x: &Tensor<f64>| (f(x) * &weights).sum();
        golden.agrees(&format!("{name}.y"), &f(&x), 1e-13);
        golden.agrees(&format!("{name}.gradient"), &grad(loss, &x), 1e-13);
        golden.agrees(&format!("{name}.second"), &hvp(loss, &x, &x.ones_like()), 1e-12);
    }
}
