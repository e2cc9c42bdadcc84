use gradus_autodiff::{
    Convolution, Params, ReluRule, Tensor, checkpoint, grad, grad_with, hessian_diagonal, hessian_trace, hvp, jacobian_forward,
    jacobian_matrix, jacobian_reverse, jvp, linearize, linearize_gradient,
};
use nalgebra::DVector;

use crate::case::Golden;

type T64 = Tensor<f64>;

/// The parameters of two linear layers.
type Network = [(T64, T64); 2];

fn layer(golden: &Golden, name: &str) -> (T64, T64) {
    (golden.get(&format!("{name}.weight")), golden.get(&format!("{name}.bias")))
}

fn flat(model: &Network) -> T64 {
    T64::vector(model.flatten().as_slice())
}

#[test]
fn derivatives_of_a_network() {
    let golden = Golden::open("transforms");
    let x = golden.get("network.x");
    let model: Network = [layer(&golden, "network.0"), layer(&golden, "network.2")];
    let tangent = model.unflatten(&DVector::from_vec(golden.get("network.tangent").to_vec())).unwrap();
    let outputs = |m: &Network| x.linear(&m[0].0, Some(&m[0].1)).tanh().linear(&m[1].0, Some(&m[1].1));
    let loss = |m: &Network| outputs(m).sin().square().mean();

    let joined = |m: Network| {
        let parts: Vec<T64> = m.leaves().into_iter().map(|j| j.reshape(&[2, 5, j.count() / 10])).collect();
        T64::concat(&parts, 2)
    };
    golden.agrees("network.jacobian_reverse", &joined(jacobian_reverse(outputs, &model)), 1e-12);
    golden.agrees("network.jacobian_forward", &joined(jacobian_forward(outputs, &model)), 1e-12);
    golden.agrees("network.jacobian_reverse", &jacobian_matrix(outputs, &model).reshape(&[2, 5, 41]), 1e-12);
    golden.agrees("network.jvp", &jvp(outputs, &model, &tangent).1, 1e-12);
    golden.agrees("network.jvp", &linearize(outputs, &model).jvp(&tangent), 1e-12);

    let at = linearize_gradient(loss, &model);
    golden.agrees("network.gradient", &flat(at.gradient()), 1e-12);
    golden.agrees("network.hvp", &flat(&at.hvp(&tangent)), 1e-12);
    golden.agrees("network.hvp", &flat(&hvp(loss, &model, &tangent)), 1e-12);
    golden.agrees("network.hessian_diagonal", &flat(&hessian_diagonal(loss, &model)), 1e-12);
    golden.agrees("network.hessian_trace", &hessian_trace(loss, &model), 1e-12);

    let block = |(m, x): &((T64, T64), T64)| x.linear(&m.0, Some(&m.1)).tanh();
    let recomputed = |m: &Network| {
        let hidden = checkpoint(block, &(m[0].clone(), x.clone()));
        hidden.linear(&m[1].0, Some(&m[1].1)).sin().square().mean()
    };
    golden.agrees("network.gradient", &flat(&grad(recomputed, &model)), 1e-12);
    golden.agrees("network.hvp", &flat(&hvp(recomputed, &model, &tangent)), 1e-12);
}

#[test]
fn backward_modes_of_relu() {
    let golden = Golden::open("transforms");
    let [first, second, head] = ["relu.0", "relu.2", "relu.5"].map(|name| layer(&golden, name));
    let score = |x: &T64| {
        let x = x.conv2d(&first.0, Some(&first.1), Convolution { padding: [1, 1], ..Convolution::default() }).relu();
        let x = x.conv2d(&second.0, Some(&second.1), Convolution::default()).relu();
        x.reshape(&[2, 32]).linear(&head.0, Some(&head.1)).narrow(1, 1, 1).sum()
    };
    for (name, rule) in [("plain", ReluRule::Plain), ("deconvnet", ReluRule::Deconvnet), ("guided", ReluRule::Guided)] {
        golden.agrees(&format!("relu.{name}"), &grad_with(rule, score, &golden.get("relu.x")), 1e-12);
    }
}
