use std::cell::RefCell;

use proptest::prelude::*;

use crate::tests::{T64, check_modes, check_per_example, random};
use crate::*;

/// A layer's weights, with biases.
type Layer = (T64, T64, T64, T64);

fn layer(gates: usize, input: usize, hidden: usize, seed: u64) -> Layer {
    let random = |shape: &[usize], i| random(shape, seed + i) * 0.7;
    let rows = gates * hidden;
    (random(&[rows, input], 1), random(&[rows, hidden], 2), random(&[rows], 3), random(&[rows], 4))
}

fn weights<'a>((input, hidden, input_bias, hidden_bias): &'a Layer, biases: bool) -> RecurrentWeights<'a, f64> {
    RecurrentWeights { input, hidden, input_bias: biases.then_some(input_bias), hidden_bias: biases.then_some(hidden_bias) }
}

fn close(ours: &T64, theirs: &T64, tolerance: f64) {
    assert_eq!(ours.shape(), theirs.shape());
    for (i, (a, b)) in ours.as_slice().iter().zip(theirs.as_slice()).enumerate() {
        assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "element {i}: {a} and {b}");
    }
}

/// Outputs and final states of either layer, all in one tensor of rows.
fn run(gates: usize, x: &T64, w: &RecurrentWeights<'_, f64>, states: [&T64; 2], lengths: Option<&[usize]>) -> T64 {
    let rows = |y: &T64| y.reshape(&[x.shape()[0], y.count().checked_div(x.shape()[0]).unwrap_or(0)]);
    match gates {
        4 => {
            let (y, [h, c]) = x.lstm(w, Some(states), lengths);
            T64::concat(&[rows(&y), h, c], 1)
        }
        _ => {
            let (y, h) = x.gru(w, Some(states[0]), lengths);
            T64::concat(&[rows(&y), h], 1)
        }
    }
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The definition, one number at a time; like [`run`].
fn definition(gates: usize, x: &T64, l: &Layer, biases: bool, states: [&T64; 2], lengths: &[usize]) -> Vec<Vec<f64>> {
    let &[_, time, input] = x.shape() else { panic!() };
    let n = l.1.shape()[1];
    let mut rows = Vec::new();
    for (e, &length) in lengths.iter().enumerate() {
        let mut h = states[0].as_slice()[e * n..(e + 1) * n].to_vec();
        let mut c = states[1].as_slice()[e * n..(e + 1) * n].to_vec();
        let mut row = Vec::new();
        for t in 0..time {
            if t >= length {
                row.extend(vec![0.0; n]);
                continue;
            }
            let bias = |b: &T64, i: usize| if biases { b.as_slice()[i] } else { 0.0 };
            let of_input = |i: usize| {
                (0..input).map(|j| l.0.as_slice()[i * input + j] * x.as_slice()[(e * time + t) * input + j]).sum::<f64>() + bias(&l.2, i)
            };
            let of_hidden = |i: usize| (0..n).map(|j| l.1.as_slice()[i * n + j] * h[j]).sum::<f64>() + bias(&l.3, i);
            let sum = |gate: usize, j: usize| of_input(gate * n + j) + of_hidden(gate * n + j);
            let next: Vec<f64> = (0..n)
                .map(|j| {
                    if gates == 4 {
                        c[j] = logistic(sum(1, j)) * c[j] + logistic(sum(0, j)) * sum(2, j).tanh();
                        logistic(sum(3, j)) * c[j].tanh()
                    } else {
                        let (r, z) = (logistic(sum(0, j)), logistic(sum(1, j)));
                        let new = (of_input(2 * n + j) + r * of_hidden(2 * n + j)).tanh();
                        (1.0 - z) * new + z * h[j]
                    }
                })
                .collect();
            h = next;
            row.extend(&h);
        }
        row.extend(h);
        if gates == 4 {
            row.extend(c);
        }
        rows.push(row);
    }
    rows
}

#[test]
fn steps_by_hand() {
    // With all weights 0 the gates are 1/2 and the candidates 0.
    let zeros = (T64::zeros(&[4, 1]), T64::zeros(&[4, 1]), T64::zeros(&[4]), T64::zeros(&[4]));
    let (x, one) = (T64::ones(&[1, 1]), T64::ones(&[1, 1]));
    let [h, c] = x.lstm_cell(&weights(&zeros, true), [&one, &one]);
    assert!((h.item() - 0.5 * 0.5f64.tanh()).abs() < 1e-15 && c.item() == 0.5);
    let zeros = (T64::zeros(&[3, 1]), T64::zeros(&[3, 1]), T64::zeros(&[3]), T64::zeros(&[3]));
    assert_eq!(x.gru_cell(&weights(&zeros, true), &one).item(), 0.5);
    // The reset gate multiplies the hidden part with its bias: tanh(1 + ½ · 2), and half of the old state stays.
    let biased = (zeros.0, zeros.1, T64::vector(&[0.0, 0.0, 1.0]), T64::vector(&[0.0, 0.0, 2.0]));
    assert!((x.gru_cell(&weights(&biased, true), &one).item() - (0.5 * 2f64.tanh() + 0.5)).abs() < 1e-15);
}

#[test]
fn states_carry_a_sequence_on() {
    let x = random(&[3, 6, 2], 1);
    let (first, second) = (x.narrow(1, 0, 4), x.narrow(1, 4, 2));
    let l = layer(4, 2, 5, 10);
    let (y, [h, c]) = x.lstm(&weights(&l, true), None, None);
    let (a, [h1, c1]) = first.lstm(&weights(&l, true), None, None);
    let (b, [h2, c2]) = second.lstm(&weights(&l, true), Some([&h1, &c1]), None);
    assert_eq!((T64::concat(&[a, b], 1), h2, c2), (y, h, c));
    let l = layer(3, 2, 5, 20);
    let (y, h) = x.gru(&weights(&l, true), None, None);
    let (a, h1) = first.gru(&weights(&l, true), None, None);
    let (b, h2) = second.gru(&weights(&l, true), Some(&h1), None);
    assert_eq!((T64::concat(&[a, b], 1), h2), (y, h));
}

#[test]
fn what_does_not_fit_is_named() {
    let l = layer(4, 3, 2, 1);
    let lstm = |x: &[usize], l: &Layer, states: Option<[&[usize]; 2]>, lengths: Option<&[usize]>| {
        let states = states.map(|states| states.map(T64::zeros));
        T64::zeros(x).try_lstm(&weights(l, true), states.as_ref().map(|[h, c]| [h, c]), lengths).err()
    };
    let mismatch =
        |left: &[usize], right: &[usize]| Some(TensorError::Mismatch { operation: "lstm", left: left.to_vec(), right: right.to_vec() });
    assert_eq!(lstm(&[5, 7, 4], &l, None, None), mismatch(&[5, 7, 4], &[8, 3]));
    assert_eq!(lstm(&[7, 3], &l, None, None), mismatch(&[7, 3], &[8, 3]));
    let with = |change: &dyn Fn(&mut Layer)| {
        let mut changed = l.clone();
        change(&mut changed);
        lstm(&[5, 7, 3], &changed, None, None)
    };
    assert_eq!(with(&|l| l.1 = T64::zeros(&[6, 2])), mismatch(&[8, 3], &[6, 2]));
    assert_eq!(with(&|l| l.1 = T64::zeros(&[8])), mismatch(&[8, 3], &[8]));
    assert_eq!(with(&|l| l.0 = T64::zeros(&[12, 3])), mismatch(&[12, 3], &[8, 2]));
    assert_eq!(with(&|l| l.2 = T64::zeros(&[4])), mismatch(&[8, 2], &[4]));
    assert_eq!(with(&|l| l.3 = T64::zeros(&[8, 1])), mismatch(&[8, 2], &[8, 1]));
    assert_eq!(lstm(&[5, 7, 3], &l, Some([&[5, 2], &[4, 2]]), None), mismatch(&[5, 7, 3], &[4, 2]));
    let argument = |what: &str| Some(TensorError::Argument { operation: "lstm", what: what.into(), shape: vec![2, 7, 3] });
    assert_eq!(lstm(&[2, 7, 3], &l, None, Some(&[1, 8])), argument("the length 8 of example 1 is greater than 7"));
    assert_eq!(lstm(&[2, 7, 3], &l, None, Some(&[1])), argument("1 lengths do not fit 2 examples"));
    let gru = T64::zeros(&[2, 7, 3]).try_gru(&weights(&l, true), None, None).err();
    assert_eq!(gru, Some(TensorError::Mismatch { operation: "gru", left: vec![8, 3], right: vec![8, 2] }));
    let cell = T64::zeros(&[4]).try_lstm_cell(&weights(&l, true), [&T64::zeros(&[4, 2]); 2]).err();
    assert_eq!(cell, mismatch(&[4, 1], &[8, 3]));
    assert!(matches!(T64::scalar(1.0).try_gru_cell(&weights(&l, true), &T64::zeros(&[1, 2])), Err(TensorError::Axis { .. })));
}

#[test]
fn gradients_of_single_examples() {
    let x = random(&[3, 4, 2], 1);
    for gates in [4, 3] {
        for biases in [true, false] {
            let loss = |l: &Layer, x: &T64| {
                let zeros = T64::zeros(&[x.shape()[0], 3]);
                run(gates, x, &weights(l, biases), [&zeros, &zeros], None).square().sum_axis(1)
            };
            check_per_example(loss, &layer(gates, 2, 3, 30), &x);
        }
    }
    // Learnt initial states.
    let l = layer(4, 2, 3, 40);
    let learnt = |state: &T64, x: &T64| {
        let state = state.broadcast_to(&[x.shape()[0], 3]);
        run(4, x, &weights(&l, true), [&state, &state.square()], None).square().sum_axis(1)
    };
    check_per_example(learnt, &random(&[3], 5), &x);
}

#[test]
fn reductions_of_single_gradients_are_differentiated() {
    let x = random(&[2, 3, 2], 1);
    for gates in [4, 3] {
        let norms = |l: &Layer| {
            let loss = |l: &Layer, x: &T64| {
                let zeros = T64::zeros(&[2, 2]);
                run(gates, x, &weights(l, true), [&zeros, &zeros], None).square().sum_axis(1)
            };
            per_example(loss, l, &x).unwrap().squared_norms()
        };
        check::both_orders(norms, &layer(gates, 2, 2, 50)).unwrap();
    }
}

#[test]
fn jacobians_and_forward_mode() {
    let (x, l) = (random(&[2, 3, 2], 1), layer(4, 2, 2, 60));
    let (h, c) = (random(&[2, 2], 2), random(&[2, 2], 3));
    check_modes("lstm", |x| x.lstm(&weights(&l, true), Some([&h, &c]), None).0, &x);
    check_modes("lstm hidden", |w| x.lstm(&RecurrentWeights { hidden: w, ..weights(&l, true) }, Some([&h, &c]), None).0, &l.1);
    let l = layer(3, 2, 2, 70);
    check_modes("gru", |h| x.gru(&weights(&l, true), Some(h), Some(&[2, 3])).0, &h);
    check_modes("gru bias", |b| x.gru(&RecurrentWeights { hidden_bias: Some(b), ..weights(&l, true) }, Some(&h), None).1, &l.3);
}

#[test]
fn the_same_bits_on_any_number_of_threads() {
    let x = random(&[13, 20, 8], 1);
    let all = || {
        [4, 3].map(|gates| {
            let states = random(&[13, 16], 2);
            let loss = |l: &Layer| run(gates, &x, &weights(l, true), [&states, &states], None).square().sum();
            let l = layer(gates, 8, 16, 80);
            (loss(&l), grad(loss, &l))
        })
    };
    let run = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(all);
    let one = run(1);
    for threads in [2, 3, 5] {
        assert!(one == run(threads), "{threads} threads");
    }
}

/// A layer, its inputs and its states, in either precision.
type At<T> = (Tensor<T>, [Tensor<T>; 4], [Tensor<T>; 2]);

/// The sum of the squares of outputs and final states.
fn squares<T: Scalar>(gates: usize, (x, l, states): &At<T>, biases: bool, lengths: Option<&[usize]>) -> Tensor<T> {
    let w = RecurrentWeights { input: &l[0], hidden: &l[1], input_bias: biases.then_some(&l[2]), hidden_bias: biases.then_some(&l[3]) };
    let (y, states) = match gates {
        4 => {
            let (y, [h, c]) = x.lstm(&w, Some([&states[0], &states[1]]), lengths);
            (y, h.square() + c.square())
        }
        _ => {
            let (y, h) = x.gru(&w, Some(&states[0]), lengths);
            (y, h.square())
        }
    };
    y.square().sum() + states.sum()
}

mod properties {
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        /// Several vectors and what is left over: the definition in `f64`, and `f32` against `f64`.
        #[test]
        fn wide_recurrent_layers(
            gates in 3usize..5, batch in 0usize..6, time in 0usize..6, input in 0usize..20, hidden in 0usize..40, biases: bool,
            ends in prop::option::of(0usize..4), seed in 0u64..1000,
        ) {
            let lengths: Option<Vec<usize>> = ends.map(|end| (0..batch).map(|e| (e + end) % (time + 1)).collect());
            let lengths = lengths.as_deref();
            // Sums of about the size of their terms, whatever their number.
            let scale = 1.0 / ((input + hidden + 1) as f64).sqrt();
            let l = layer(gates, input, hidden, seed);
            let (x, states) = (random(&[batch, time, input], seed), [8, 9].map(|i| random(&[batch, hidden], seed + i)));
            let narrow: At<f32> = (x.cast(), [(l.0 * scale).cast(), (l.1 * scale).cast(), l.2.cast(), l.3.cast()], states.map(|s| s.cast()));
            let cast = |x: &Tensor<f32>| -> T64 { x.cast() };
            let wide: At<f64> = (cast(&narrow.0), narrow.1.each_ref().map(cast), narrow.2.each_ref().map(cast));
            let l = (wide.1[0].clone(), wide.1[1].clone(), wide.1[2].clone(), wide.1[3].clone());
            let whole = vec![time; batch];
            let states = [&wide.2[0], &wide.2[1]];
            let expected = definition(gates, &wide.0, &l, biases, states, lengths.unwrap_or(&whole));
            let ours = run(gates, &wide.0, &weights(&l, biases), states, lengths);
            for (ours, theirs) in ours.as_slice().iter().zip(expected.iter().flatten()) {
                prop_assert!((ours - theirs).abs() < 1e-13, "{} and {}", ours, theirs);
            }
            let (y, g) = value_and_grad(|at: &At<f64>| squares(gates, at, biases, lengths), &wide);
            let (y32, g32) = value_and_grad(|at: &At<f32>| squares(gates, at, biases, lengths), &narrow);
            // The error of a sum of so many terms in `f32`, with room for the steps through which it passes.
            let relative = |count: usize| f64::from(f32::EPSILON) * (count + input + hidden + 20) as f64;
            prop_assert!((cast(&y32).item() - y.item()).abs() <= relative(batch * (time + 2)) * (1.0 + y.item()));
            for (g32, g) in g32.leaves().into_iter().zip(g.leaves()) {
                let norm = g.square().sum().item().sqrt();
                let difference = (cast(g32) - g).square().sum().item().sqrt();
                prop_assert!(difference <= relative(batch * time) * (1.0 + norm), "{} of {}", difference, norm);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn recurrent_layers(
            gates in 3usize..5, batch in 0usize..4, time in 0usize..4, input in 0usize..3, hidden in 0usize..4,
            biases: bool, ends in prop::option::of(0usize..4), seed in 0u64..1000,
        ) {
            let lengths: Option<Vec<usize>> = ends.map(|end| (0..batch).map(|e| (e + end) % (time + 1)).collect());
            let whole = vec![time; batch];
            let at = (
                random(&[batch, time, input], seed), layer(gates, input, hidden, seed),
                random(&[batch, hidden], seed + 8), random(&[batch, hidden], seed + 9),
            );
            let y = |(x, l, h, c): &(T64, Layer, T64, T64)| run(gates, x, &weights(l, biases), [h, c], lengths.as_deref());
            let expected = definition(gates, &at.0, &at.1, biases, [&at.2, &at.3], lengths.as_ref().unwrap_or(&whole));
            prop_assert_eq!(y(&at).count(), expected.iter().map(Vec::len).sum::<usize>());
            for (ours, theirs) in y(&at).as_slice().iter().zip(expected.iter().flatten()) {
                prop_assert!((ours - theirs).abs() < 1e-13, "{} and {}", ours, theirs);
            }
            check::both_orders(y, &at)?;
            // Below an outer derivative the rule runs by recorded operations.
            let loss = |at: &(T64, Layer, T64, T64)| y(at).square().sum();
            let fused = grad(loss, &at);
            let recorded = RefCell::new(None);
            grad(|c: &T64| {
                let gradient = grad(loss, &at.map(|_, x| x * c));
                *recorded.borrow_mut() = Some(gradient.map(|_, x| x.detach()));
                gradient.0.sum()
            }, &T64::scalar(1.0));
            for (fused, recorded) in fused.leaves().into_iter().zip(recorded.into_inner().unwrap().leaves()) {
                close(fused, recorded, 1e-12);
            }
        }
    }
}
