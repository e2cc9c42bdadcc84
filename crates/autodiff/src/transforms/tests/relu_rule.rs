use super::*;
use crate::*;

const ALL: [ReluRule; 4] = [ReluRule::Plain, ReluRule::Deconvnet, ReluRule::Guided, ReluRule::GuidedBySign];

#[test]
fn the_rules_by_hand() {
    // Inputs and gradients of every pair of signs, and zeros.
    let x = T64::vector(&[1.0, 1.0, -1.0, -1.0, 0.0, 1.0]);
    let g = T64::vector(&[2.0, -2.0, 2.0, -2.0, 2.0, 0.0]);
    let of = |rule| vjp_with(rule, |x: &T64| x.relu(), &x).1(&g).to_vec();
    assert_eq!(of(ReluRule::Plain), [2.0, -2.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(of(ReluRule::Deconvnet), [2.0, 0.0, 2.0, 0.0, 2.0, 0.0]);
    assert_eq!(of(ReluRule::Guided), [2.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(of(ReluRule::GuidedBySign), of(ReluRule::Guided));
    assert_eq!(of(ReluRule::default()), of(ReluRule::Plain));
}

/// Layers of a network of rectifiers, and the same backward pass written out.
#[test]
fn a_network_against_its_written_out_pass() {
    let (w1, w2, x) = (random(&[4, 6], 1), random(&[6, 3], 2), random(&[5, 4], 3));
    let f = |x: &T64| x.matmul(&w1).relu().matmul(&w2).relu().sum();
    let (h1, gate) = (x.matmul(&w1), |x: &T64| x.gt(&T64::scalar(0.0)));
    let h2 = h1.relu().matmul(&w2);
    for rule in ALL {
        let back = |h: &T64, g: &T64| match rule {
            ReluRule::Plain => g * gate(h),
            ReluRule::Deconvnet => g * gate(g),
            _ => g * gate(h) * gate(g),
        };
        let expected = back(&h1, &back(&h2, &h2.ones_like()).matmul(&w2.t())).matmul(&w1.t());
        assert_close(&grad_with(rule, f, &x), &expected);
    }
    assert_close(&grad_with(ReluRule::Plain, f, &x), &grad(f, &x));
}

#[test]
fn guided_is_plain_without_negative_gradients() {
    let w = random(&[4, 6], 1).square();
    let f = |x: &T64| x.matmul(&w).relu().square().sum();
    let x = random(&[5, 4], 3);
    assert_eq!(grad_with(ReluRule::Guided, f, &x), grad(f, &x));
}

#[test]
fn the_mode_belongs_to_the_pass() {
    let f = |x: &T64| (x.relu() * &T64::vector(&[1.0, -1.0])).sum();
    let x = T64::ones(&[2]);
    // What another pass inside the function does is its own.
    let inner = |x: &T64| grad(|z: &T64| f(&(z * 1.0)), x).sum() + f(x);
    assert_eq!(grad_with(ReluRule::Guided, inner, &x).to_vec(), [1.0, 0.0]);
    assert_eq!(grad(f, &x).to_vec(), [1.0, -1.0]);
    // Recomputed parts take part.
    let recomputed = |x: &T64| checkpoint(|x: &T64| x.relu(), x);
    let g = |x: &T64| (recomputed(x) * &T64::vector(&[1.0, -1.0])).sum();
    assert_eq!(grad_with(ReluRule::Guided, g, &x).to_vec(), [1.0, 0.0]);
}

#[test]
fn other_rectifiers_are_refused_or_gated() {
    let x = T64::vector(&[0.5, 0.5]);
    type Rectifier = fn(&T64) -> T64;
    let rectifiers: [(&str, Rectifier); 6] = [
        ("softplus", T64::softplus),
        ("gelu", T64::gelu),
        ("gelu_tanh", T64::gelu_tanh),
        ("silu", T64::silu),
        ("elu", |x| x.elu(1.0)),
        ("leaky_relu", |x| x.leaky_relu(0.1)),
    ];
    for (name, rectifier) in rectifiers {
        let f = |x: &T64| (rectifier(x) * &T64::vector(&[1.0, -1.0])).sum();
        for rule in [ReluRule::Guided, ReluRule::Deconvnet] {
            let message = panic_of(|| drop(grad_with(rule, f, &x)));
            assert!(message.contains(&format!("`{name}`")) && message.contains("GuidedBySign"), "{message}");
        }
        assert_eq!(grad_with(ReluRule::Plain, f, &x), grad(f, &x));
        assert_close(&grad_with(ReluRule::GuidedBySign, f, &x), &(grad(f, &x) * T64::vector(&[1.0, 0.0])));
    }
    // One that the pass does not meet does no harm.
    let beside = |x: &T64| x.relu().sum() + x.detach().softplus().sum();
    assert_eq!(grad_with(ReluRule::Guided, beside, &x).to_vec(), [1.0, 1.0]);
}

#[test]
fn modes_are_not_differentiated() {
    let f = |x: &T64| x.relu().sum();
    let x = T64::ones(&[2]);
    for rule in [ReluRule::Deconvnet, ReluRule::Guided, ReluRule::GuidedBySign] {
        let message = panic_of(|| drop(grad(|x: &T64| grad_with(rule, f, x).sum(), &x)));
        assert!(message.contains("not a derivative"), "{message}");
        let message = panic_of(|| drop(grad(|u: &T64| vjp_with(rule, |x: &T64| x.relu(), &x).1(u).sum(), &x)));
        assert!(message.contains("not a derivative"), "{message}");
        // At a point that is constant to the outer derivative it may stand.
        assert_eq!(grad(|z: &T64| (z * grad_with(rule, f, &x)).sum(), &x).to_vec(), [1.0, 1.0]);
    }
    assert_eq!(hvp(|x: &T64| grad_with(ReluRule::Plain, |x: &T64| x.powf(3.0).sum(), x).sum(), &x, &x).to_vec(), [6.0, 6.0]);
}
