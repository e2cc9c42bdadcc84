use gradus_autodiff::{Tensor, grad, hvp};

use crate::case::Golden;

/// A function's name there, and ours.
type Function = (&'static str, fn(&Tensor<f64>) -> Tensor<f64>);

const FUNCTIONS: [Function; 8] = [
    ("exp", Tensor::exp),
    ("tanh", Tensor::tanh),
    ("sigmoid", Tensor::sigmoid),
    ("softplus", Tensor::softplus),
    ("relu", Tensor::relu),
    ("sin", Tensor::sin),
    ("cos", Tensor::cos),
    ("abs", Tensor::abs),
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
