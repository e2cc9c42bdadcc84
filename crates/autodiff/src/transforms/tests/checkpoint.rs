use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::*;

fn block((w, x): &(T64, T64)) -> T64 {
    (x.matmul(w).tanh() * x).sin()
}

/// Four blocks with one weight.
fn chain(checkpointed: bool, w: &T64, x: &T64) -> T64 {
    (0..4).fold(x.clone(), |x, _| {
        let inputs = (w.clone(), x);
        if checkpointed { checkpoint(block, &inputs) } else { block(&inputs) }
    })
}

#[test]
fn every_transform_finds_what_it_finds_without() {
    let (w, x) = (random(&[3, 3], 1), random(&[2, 3], 2));
    let (plain, recomputed) = (|w: &T64| chain(false, w, &x), |w: &T64| chain(true, w, &x));
    let of = |f: &dyn Fn(&T64) -> T64| {
        let loss = |w: &T64| f(w).square().sum();
        let v = random(&[3, 3], 3);
        vec![
            f(&w),
            grad(loss, &w),
            hvp(loss, &w, &v),
            grad(|w: &T64| hvp(loss, w, &v).dot(&v), &w),
            hessian(loss, &w),
            hessian_diagonal(loss, &w),
            linearize_gradient(loss, &w).hvp(&v),
            jvp(f, &w, &v).1,
            jacobian_reverse(f, &w),
            jacobian_forward(f, &w),
            jacobian_forward(|w: &T64| jacobian_reverse(f, w), &w),
        ]
    };
    for (a, b) in of(&plain).iter().zip(&of(&recomputed)) {
        assert_close(a, b);
    }
    check::modes(recomputed, &w).unwrap();
    check::both_orders(recomputed, &w).unwrap();
    // Checkpoints in checkpoints.
    let nested = |w: &T64| checkpoint(|(w, x): &(T64, T64)| chain(true, w, x), &(w.clone(), x.clone()));
    assert_close(&nested(&w), &plain(&w));
    assert_close(&grad(|w: &T64| nested(w).sum(), &w), &grad(|w: &T64| plain(w).sum(), &w));
    check::both_orders(nested, &w).unwrap();
}

#[test]
fn models_with_buffers_and_parts_that_have_no_gradient() {
    let (model, x) = (network(1), random(&[5, 3], 2));
    let f = |(m, x): &(Network, T64)| m.call(x);
    let loss = |m: &Network| checkpoint(f, &(m.clone(), x.clone())).square().sum();
    let plain = |m: &Network| m.call(&x).square().sum();
    assert_close(&grad(loss, &model), &grad(plain, &model));
    assert_close(&hvp(loss, &model, &network(5)), &hvp(plain, &model, &network(5)));
    // Inputs that nothing depends on, by themselves and beside others.
    let unused = |(a, b): &(T64, T64)| checkpoint(|(a, _): &(T64, T64)| a.square(), &(a.clone(), b.clone())).sum();
    let at = (T64::ones(&[2]), T64::ones(&[0, 3]));
    assert_close(&grad(unused, &at), &(T64::full(2.0, &[2]), T64::zeros(&[0, 3])));
    check::both_orders(unused, &at).unwrap();
    let constant = |x: &T64| checkpoint(|x: &T64| x.ones_like(), x).sum();
    assert_eq!(grad(constant, &at.0).to_vec(), [0.0, 0.0]);
    assert_eq!(hvp(|x: &T64| constant(x) * x.square().sum(), &at.0, &at.0).to_vec(), [4.0, 4.0]);
    // The same tensor in two places.
    let square = |x: &T64| checkpoint(|(a, b): &(T64, T64)| a * b, &(x.clone(), x.clone())).sum();
    assert_eq!(grad(square, &at.0).to_vec(), [2.0, 2.0]);
    check::both_orders(square, &at.0).unwrap();
}

#[test]
fn evaluations_are_as_promised() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let f = move |x: &T64| {
        let counted = counted.clone();
        let inside = move |x: &T64| {
            counted.fetch_add(1, Ordering::SeqCst);
            x.tanh() * x
        };
        checkpoint(inside, x).square().sum()
    };
    let x = random(&[3], 1);
    let evaluations = |run: &dyn Fn()| {
        count.store(0, Ordering::SeqCst);
        run();
        count.load(Ordering::SeqCst)
    };
    assert_eq!(evaluations(&|| drop(f(&x))), 1);
    assert_eq!(evaluations(&|| drop(grad(&f, &x))), 2);
    // Both values of the gradient once, and a recording for the pass back through each.
    assert_eq!(evaluations(&|| drop(hvp(&f, &x, &x))), 4);
    // Rows of a Jacobian share the evaluation.
    assert_eq!(evaluations(&|| drop(jacobian_reverse(|x: &T64| &f(x) * &T64::ones(&[5]), &x))), 2);
}

/// Counts what lives of the operations that a function records.
#[derive(Clone)]
struct Counter(Arc<AtomicUsize>);

struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Counter {
    /// `sin x`, of which the recorded operation is counted, and `peak` told how many live when its rule runs.
    fn sin(&self, x: &T64, peak: &Arc<AtomicUsize>) -> T64 {
        self.0.fetch_add(1, Ordering::SeqCst);
        let (held, peak) = (Held(self.0.clone()), peak.clone());
        let backward = move |x: &T64, g: &T64| {
            peak.fetch_max(held.0.load(Ordering::SeqCst), Ordering::SeqCst);
            x.cos() * g
        };
        custom_vjp(|x| x.sin(), backward, x)
    }
}

#[test]
fn intermediates_are_not_kept() {
    const SEGMENTS: usize = 6;
    const LENGTH: usize = 5;
    let peak_of = |checkpointed: bool| {
        let (counter, peak) = (Counter(Arc::default()), Arc::new(AtomicUsize::new(0)));
        let (own, seen) = (counter.clone(), peak.clone());
        let segment = move |x: &T64| (0..LENGTH).fold(x.clone(), |x, _| own.sin(&x, &seen));
        let between = counter.clone();
        let f = move |x: &T64| {
            (0..SEGMENTS).fold(x.clone(), |x, _| {
                let y = if checkpointed { checkpoint(segment.clone(), &x) } else { segment(&x) };
                assert!(!checkpointed || between.0.load(Ordering::SeqCst) == 0, "a checkpoint kept an operation");
                y
            })
        };
        let x = T64::vector(&[0.3, 0.4]);
        let first = grad(|x: &T64| f(x).sum(), &x);
        assert_eq!(counter.0.load(Ordering::SeqCst), 0);
        let first_peak = peak.swap(0, Ordering::SeqCst);
        let second = hvp(|x: &T64| f(x).sum(), &x, &x);
        assert_eq!(counter.0.load(Ordering::SeqCst), 0);
        (first, second, first_peak, peak.load(Ordering::SeqCst))
    };
    let (plain, recomputed) = (peak_of(false), peak_of(true));
    assert_close(&plain.0, &recomputed.0);
    assert_close(&plain.1, &recomputed.1);
    assert_eq!((plain.2, recomputed.2), (SEGMENTS * LENGTH, LENGTH));
    // At second order too: one segment's operations and no more.
    assert_eq!((plain.3, recomputed.3), (SEGMENTS * LENGTH, LENGTH));
}

#[test]
fn captured_tensors_with_a_gradient_are_refused() {
    let x = T64::vector(&[1.0, 2.0]);
    let captured = |x: &T64| {
        let double = x.exp();
        checkpoint(move |x: &T64| x * &double, x).sum()
    };
    let message = panic_of(|| drop(grad(captured, &x)));
    assert!(message.contains("shape [2], the result of `exp`") && message.contains("among the inputs"), "{message}");
    // Where no input has a gradient either, and under a forward derivative.
    let beside = |x: &T64| {
        let own = x.clone();
        checkpoint(move |z: &T64| z * &own, &T64::ones(&[2])).sum()
    };
    assert!(panic_of(|| drop(grad(beside, &x))).contains("the result of `leaf`"));
    assert!(panic_of(|| drop(jvp(beside, &x, &x))).contains("the result of `leaf`"));
    // Constants may be captured, and derivatives taken inside.
    let mask = T64::vector(&[1.0, 0.0]);
    let inside = |x: &T64| {
        let mask = mask.clone();
        checkpoint(move |x: &T64| grad(|x: &T64| (x.powf(3.0) * &mask).sum(), x), x)
    };
    check::both_orders(inside, &x).unwrap();
    assert_close(&inside(&x), &(x.square() * 3.0 * &mask));
}

#[test]
fn per_example_gradients_refuse_checkpoints_of_examples() {
    let (w, x) = (random(&[3, 3], 1), random(&[4, 3], 2));
    let f = |w: &T64, x: &T64| checkpoint(block, &(w.clone(), x.clone())).sum_axis(1);
    assert_eq!(per_example(f, &w, &x).err(), Some(PerExampleError::MixesExamples { operation: "checkpoint" }));
    // Of parameters alone they are right.
    let of_weights = |w: &T64, x: &T64| x.matmul(&checkpoint(|w: &T64| w.tanh().matmul(w), w)).square().sum_axis(1);
    crate::tests::check_per_example(of_weights, &w, &x);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn recomputed_is_plain_at_every_order(rows in 0usize..4, n in 0usize..4, seed in 0u64..1000) {
            let (w, x) = (random(&[n, n], seed), random(&[rows, n], seed + 1));
            let of = |checkpointed: bool| {
                let loss = |(w, x): &(T64, T64)| chain(checkpointed, w, x).square().sum();
                let (at, v) = ((w.clone(), x.clone()), (random(&[n, n], seed + 2), random(&[rows, n], seed + 3)));
                let third = grad(|p: &(T64, T64)| hvp(loss, p, &v).dot(&v), &at);
                (vec![grad(loss, &at), hvp(loss, &at, &v), third], jvp(loss, &at, &v).1)
            };
            let (plain, recomputed) = (of(false), of(true));
            assert_close(&plain.1, &recomputed.1);
            for (a, b) in plain.0.iter().zip(&recomputed.0) {
                assert_close(a, b);
            }
        }
    }
}
