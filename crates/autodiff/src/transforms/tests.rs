mod checkpoint;
mod hessian;
mod jacobian;
mod layers;
mod nesting;
mod precisions;
mod relu_rule;
mod tap;

use crate::tests::{T64, random};
use crate::{Params, Tensor};

/// A small network with two kinds of tensors and a buffer.
#[derive(Clone, Params)]
struct Network {
    weights: Vec<T64>,
    bias: T64,
    #[params(buffer)]
    shift: T64,
}

fn network(seed: u64) -> Network {
    Network { weights: vec![random(&[3, 4], seed), random(&[4, 2], seed + 1)], bias: random(&[4], seed + 2), shift: random(&[3], seed + 3) }
}

impl Network {
    fn call(&self, x: &T64) -> T64 {
        ((x - &self.shift).matmul(&self.weights[0]) + &self.bias).tanh().matmul(&self.weights[1]).sin()
    }
}

#[track_caller]
fn assert_close<P: Params<Elem = f64>>(a: &P, b: &P) {
    let (a, b) = (a.leaves(), b.leaves());
    assert_eq!(a.len(), b.len());
    for (a, b) in a.into_iter().zip(b) {
        assert_eq!(a.shape(), b.shape());
        let close = a.as_slice().iter().zip(b.as_slice()).all(|(a, b)| (a - b).abs() <= 1e-10 * (1.0 + b.abs()));
        assert!(close, "{a:?}\n{b:?}");
    }
}

#[track_caller]
fn panic_of(f: impl FnOnce()) -> String {
    let error = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).expect_err("it did not panic");
    error.downcast_ref::<String>().cloned().or_else(|| error.downcast_ref::<&str>().map(|s| s.to_string())).unwrap()
}

/// Few cases, each of many derivatives, unless `PROPTEST_CASES` asks for another number.
fn config() -> proptest::prelude::ProptestConfig {
    let config = proptest::prelude::ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_some() { config } else { proptest::prelude::ProptestConfig { cases: 24, ..config } }
}

type T32 = Tensor<f32>;
