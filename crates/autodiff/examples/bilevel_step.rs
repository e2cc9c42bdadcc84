//! A hypergradient's inner problem: solve `H q = ∇upper` by conjugate gradients, where every vector is a model.

use gradus_autodiff::{Params, Tensor, grad, hvp};

#[derive(Clone, Params)]
struct Mlp {
    first: Tensor<f64>,
    second: Tensor<f64>,
}

impl Mlp {
    fn call(&self, x: &Tensor<f64>) -> Tensor<f64> {
        x.linear(&self.first, None).tanh().linear(&self.second, None)
    }
}

fn main() {
    let wave = |shape: &[usize], rate: f64| Tensor::from_fn(shape, |i| (i as f64 * rate).sin());
    let (x, y) = (wave(&[32, 3], 0.7), wave(&[32, 1], 0.3));
    let model = Mlp { first: wave(&[8, 3], 1.3), second: wave(&[1, 8], 1.7) };

    let lower = |m: &Mlp| (m.call(&x) - &y).square().mean() + m.dot(m) * 1.0;
    let upper = |m: &Mlp| (m.call(&x) + &y).square().mean();

    let b = grad(upper, &model);
    let (mut q, mut r, mut p) = (b.zeros_like(), b.clone(), b.clone());
    for step in 0..20 {
        let (h, rr) = (hvp(lower, &model, &p), r.dot(&r).item());
        println!("step {step}: residual {:.1e}", rr.sqrt());
        if rr < 1e-24 {
            break;
        }
        let a = rr / p.dot(&h).item();
        q = q.axpy(a, &p);
        r = r.axpy(-a, &h);
        p = r.axpy(r.dot(&r).item() / rr, &p);
    }
    println!("‖H q − ∇upper‖ = {:.1e}", hvp(lower, &model, &q).axpy(-1.0, &b).norm().item());
}
