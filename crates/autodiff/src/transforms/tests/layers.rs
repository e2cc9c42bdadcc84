//! Transforms of what networks are made of.

use super::*;
use crate::tests::check_per_example;
use crate::*;

type Weights = Vec<T64>;

/// A layer: its name, weights, inputs with an axis of examples, and one loss for each example.
type Layer = (&'static str, Weights, T64, fn(&Weights, &T64) -> T64);

fn weights(shapes: &[&[usize]]) -> Weights {
    shapes.iter().zip(1..).map(|(shape, seed)| random(shape, seed) * 0.7).collect()
}

/// One loss for each example.
fn each(y: &T64) -> T64 {
    let batch = y.shape()[0];
    (y.sin() * T64::from_fn(&y.shape()[1..], |i| 0.3 + (i as f64).cos())).reshape(&[batch, y.count() / batch]).sum_axis(1).exp()
}

fn layers() -> Vec<Layer> {
    let (rows, images, sequences) = (random(&[3, 4], 20), random(&[3, 2, 4, 4], 21), random(&[3, 4, 2], 22));
    let tokens = T64::from_fn(&[3, 4], |i| [0, 2, 2, 1, 4, 4, 4, 4, 3, 1, 2, 2][i] as f64);
    vec![
        ("linear", weights(&[&[3, 4], &[3]]), rows.clone(), |w, x| each(&x.linear(&w[0], Some(&w[1])).tanh())),
        ("embedding", weights(&[&[5, 2], &[2, 3]]), tokens.clone(), |w, x| each(&w[0].embedding_of(x).matmul(&w[1]))),
        ("tied embedding", weights(&[&[5, 3]]), tokens, |w, x| each(&w[0].embedding_of(x).linear(&w[0], None).softmax())),
        ("convolution", weights(&[&[4, 1, 3, 3], &[4]]), images.clone(), |w, x| {
            each(&x.conv2d(&w[0], Some(&w[1]), Convolution { padding: [1, 1], groups: 2, ..Default::default() }))
        }),
        ("transposed convolution", weights(&[&[2, 2, 2, 2]]), images.clone(), |w, x| {
            each(&x.conv_transpose2d(&w[0], None, TransposedConvolution { stride: [2, 2], ..Default::default() }))
        }),
        ("attention", weights(&[&[2, 2], &[2, 2], &[2, 3]]), sequences.clone(), |w, x| {
            let [q, k, v] = [0, 1, 2].map(|i| x.matmul(&w[i]).unsqueeze(1));
            let options = Attention { mask: AttentionMask::Causal, ..Default::default() };
            each(&q.scaled_dot_product_attention(&k, &v, &options))
        }),
        ("lstm", weights(&[&[8, 2], &[8, 2], &[8], &[8]]), sequences.clone(), |w, x| {
            let weights = RecurrentWeights { input: &w[0], hidden: &w[1], input_bias: Some(&w[2]), hidden_bias: Some(&w[3]) };
            each(&x.lstm(&weights, None, None).0)
        }),
        ("gru", weights(&[&[6, 2], &[6, 2], &[6], &[6]]), sequences.clone(), |w, x| {
            let weights = RecurrentWeights { input: &w[0], hidden: &w[1], input_bias: Some(&w[2]), hidden_bias: Some(&w[3]) };
            each(&x.gru(&weights, None, None).0)
        }),
        ("layer norm", weights(&[&[4], &[4]]), rows.clone(), |w, x| each(&(x * &w[1]).layer_norm(Some(&w[0]), Some(&w[1]), 1e-5))),
        ("group norm", weights(&[&[2], &[2]]), images, |w, x| each(&x.group_norm(1, Some(&w[0]), Some(&w[1]), 1e-5))),
        ("activations", weights(&[&[4], &[4]]), rows.clone(), |w, x| {
            each(&((x * &w[0]).gelu() + (x + &w[1]).leaky_relu(0.1) + (x * &w[1]).elu(0.5) + (x + &w[0]).silu()))
        }),
        ("fused chain", weights(&[&[4], &[4]]), rows.clone(), |w, x| {
            each(&fuse(|[x, a, b]| (x * a).gelu().exp() * b.tanh(), [x, &w[0], &w[1]]))
        }),
        ("rule of its own", weights(&[&[4], &[3, 4]]), rows, |w, x| {
            let scale = custom_vjp(|w| w.exp(), |w, g| w.exp() * g, &w[0]);
            each(&(x * scale).matmul(&w[1].t()))
        }),
    ]
}

#[test]
fn per_example_gradients() {
    for (_, weights, x, f) in layers() {
        check_per_example(f, &weights, &x);
    }
}

/// Reductions inside another derivative, against the same made of one gradient for each example.
#[test]
fn reductions_of_per_example_gradients_are_differentiated() {
    let share = T64::vector(&[0.2, -0.5, 0.9]);
    for (name, weights, x, f) in layers() {
        let v = weights.map(|_, w| random(w.shape(), 30));
        let fast = |w: &Weights| {
            let of = per_example(f, w, &x).unwrap();
            let sums = of.sum_of_squares().dot(&v) + of.weighted_sum(&share).norm();
            sums + (of.squared_norms() * &share).sum() + of.gram().square().sum() + of.dot(&v).square().sum() + of.gradients().norm()
        };
        let slow = |w: &Weights| {
            let own: Vec<Weights> = (0..3).map(|b| grad(|w: &Weights| f(w, &x.narrow(0, b, 1)).sum(), w)).collect();
            let sum = |f: &dyn Fn(usize) -> T64| (0..3).map(f).fold(T64::scalar(0.0), |sum, x| sum + x);
            let weighted = own.iter().zip(share.as_slice()).fold(w.zeros_like(), |sum, (g, &share)| sum.axpy(share, g));
            sum(&|b| own[b].map(|_, g| g.square()).dot(&v))
                + weighted.norm()
                + sum(&|b| own[b].dot(&own[b]) * share.as_slice()[b])
                + sum(&|a| sum(&|b| own[a].dot(&own[b]).square()))
                + sum(&|b| own[b].dot(&v).square())
                + sum(&|b| own[b].dot(&own[b])).sqrt()
        };
        println!("{name}");
        assert_close(&fast(&weights), &slow(&weights));
        assert_close(&grad(fast, &weights), &grad(slow, &weights));
        assert_close(&hvp(fast, &weights, &v), &hvp(slow, &weights, &v));
    }
}

#[test]
fn second_derivatives_agree() {
    for (name, weights, x, f) in layers() {
        println!("{name}");
        let loss = |w: &Weights| f(w, &x).sum();
        let (h, n) = (hessian_matrix(loss, &weights), weights.count());
        assert_close(&h, &h.t());
        let diagonal: Vec<f64> = hessian_diagonal(loss, &weights).flatten().as_slice().to_vec();
        assert_close(&T64::vector(&diagonal), &T64::from_fn(&[n], |i| h.as_slice()[i * n + i]));
        let v = weights.map(|_, w| random(w.shape(), 30));
        let product = h.matmul(&T64::vector(v.flatten().as_slice()));
        assert_close(&T64::vector(hvp(loss, &weights, &v).flatten().as_slice()), &product);
        assert_close(&T64::vector(linearize_gradient(loss, &weights).hvp(&v).flatten().as_slice()), &product);
        let forward = linearize(|w: &Weights| grad(loss, w)[0].clone(), &weights).jvp(&v);
        assert_close(&forward, &hvp(loss, &weights, &v)[0]);
        assert_close(&jacobian_forward(|w: &Weights| f(w, &x), &weights), &jacobian_reverse(|w: &Weights| f(w, &x), &weights));
    }
}

#[test]
fn recomputed_layers_are_the_layers() {
    for (name, weights, x, f) in layers() {
        println!("{name}");
        let plain = |(w, x): &(Weights, T64)| f(w, x).sum();
        let recomputed = |inputs: &(Weights, T64)| checkpoint(move |(w, x): &(Weights, T64)| f(w, x), inputs).sum();
        let at = (weights, x);
        // Tokens have no gradient.
        let v = at.map(|_, x| random(x.shape(), 30));
        assert_close(&grad(recomputed, &at), &grad(plain, &at));
        assert_close(&hvp(recomputed, &at, &v), &hvp(plain, &at, &v));
        assert_close(&hessian_diagonal(recomputed, &at), &hessian_diagonal(plain, &at));
        assert_close(&jvp(recomputed, &at, &v).1, &jvp(plain, &at, &v).1);
    }
}

/// What is not a number in one example stays there, inside another derivative too.
#[test]
fn examples_do_not_spoil_each_other() {
    let (w, x) = (T64::vector(&[1.0, 2.0]), T64::vector(&[0.0, 4.0]));
    let norms = |w: &T64| per_example(|w: &T64, x: &T64| (w.square() * x).sqrt(), w, &x).unwrap().squared_norms();
    let (recorded, _) = vjp(norms, &w);
    for found in [norms(&w), recorded] {
        assert!(found.as_slice()[0].is_nan() && found.as_slice()[1] == 4.0, "{found:?}");
    }
}
