use std::cell::RefCell;

use proptest::prelude::*;

use crate::tests::{check_modes, check_per_example, random};
use crate::*;

type T64 = Tensor<f64>;

const MINUS_INFINITY: f64 = f64::NEG_INFINITY;

fn masked(mask: AttentionMask<'_, f64>) -> Attention<'_, f64> {
    Attention { mask, scale: None }
}

fn close(ours: &T64, theirs: &T64, tolerance: f64) {
    assert_eq!(ours.shape(), theirs.shape());
    for (i, (a, b)) in ours.as_slice().iter().zip(theirs.as_slice()).enumerate() {
        assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "element {i}: {a} and {b}");
    }
}

/// Attention among rows of queries, keys and values side by side, by its parts.
fn apart(x: &T64, heads: usize, key_heads: usize, options: &Attention<'_, f64>) -> T64 {
    let [lead @ .., n, row] = x.shape() else { panic!("{:?}", x.shape()) };
    let (examples, d) = (lead.iter().product::<usize>(), row / (heads + 2 * key_heads));
    let part = |first: usize, count: usize| {
        let rows = x.narrow(-1, first * d, count * d).reshape(&[examples, *n, count, d]).permute(&[0, 2, 1, 3]);
        rows.reshape(&[lead, &[count, *n, d]].concat())
    };
    let y = part(0, heads).scaled_dot_product_attention(&part(heads, key_heads), &part(heads + key_heads, key_heads), options);
    y.reshape(&[examples, heads, *n, d]).permute(&[0, 2, 1, 3]).reshape(&[lead, &[*n, heads * d]].concat())
}

/// The definition, one query at a time, in plain numbers.
fn definition([q, k, v]: [&T64; 3], causal: bool, mask: Option<&T64>, scale: f64) -> T64 {
    let rank = q.rank();
    let ([n, d], [m, e]) = ([q.shape()[rank - 2], q.shape()[rank - 1]], [k.shape()[rank - 2], v.shape()[rank - 1]]);
    let heads: usize = q.shape()[..rank - 2].iter().product();
    let key_heads: usize = k.shape()[..rank - 2].iter().product();
    let mask = mask.map(|mask| mask.broadcast_to(&[&q.shape()[..rank - 1], &[m]].concat()));
    let mut y = Vec::new();
    for (h, i) in (0..heads).flat_map(|h| (0..n).map(move |i| (h, i))) {
        let own = h * key_heads / heads;
        let score = |j: usize| {
            let product: f64 = (0..d).map(|t| q.as_slice()[(h * n + i) * d + t] * k.as_slice()[(own * m + j) * d + t]).sum();
            let added = mask.as_ref().map_or(0.0, |mask| mask.as_slice()[(h * n + i) * m + j]);
            let hidden = causal && j + n > i + m;
            if hidden { MINUS_INFINITY } else { product * scale + added }
        };
        let weights: Vec<f64> = (0..m).map(|j| score(j).exp()).collect();
        let total: f64 = weights.iter().sum();
        y.extend((0..e).map(|t| {
            let sum: f64 = weights.iter().enumerate().map(|(j, w)| w * v.as_slice()[(own * m + j) * e + t]).sum();
            if total == 0.0 { 0.0 } else { sum / total }
        }));
    }
    T64::from_vec(y, &[&q.shape()[..rank - 1], &[e]].concat()).unwrap()
}

/// As of left padding by the lowest number, under a causal mask by minus infinity: the first queries see padding alone.
#[test]
fn a_key_that_is_seen_alone_has_all_the_probability_however_low_its_score() {
    let (hidden, padding) = (MINUS_INFINITY, f64::from(f32::MIN));
    let mask = T64::from_vec(vec![padding, hidden, hidden, padding, 0.0, hidden], &[2, 3]).unwrap();
    let (x, value) = (T64::zeros(&[2, 1]), T64::from_vec(vec![3.0, 5.0, 7.0], &[3, 1]).unwrap());
    let f = |value: &T64| x.scaled_dot_product_attention(&T64::zeros(&[3, 1]), value, &masked(AttentionMask::Additive(&mask)));
    assert_eq!(f(&value).to_vec(), [3.0, 5.0]);
    // By the kernel, and by recorded operations.
    let gradient = |value: &T64| grad(|value: &T64| f(value).square().sum(), value);
    assert_eq!(gradient(&value).to_vec(), [6.0, 10.0, 0.0]);
    assert_eq!(grad(|value: &T64| gradient(value).sum(), &value).to_vec(), [2.0, 2.0, 0.0]);
}

#[test]
fn a_causal_mask_ends_at_the_last_key() {
    let value = T64::from_vec(vec![1.0, 2.0, 6.0], &[3, 1]).unwrap();
    let alike = T64::zeros(&[3, 1]);
    let causal = masked(AttentionMask::Causal);
    assert_eq!(alike.scaled_dot_product_attention(&alike, &value, &causal).to_vec(), [1.0, 1.5, 3.0]);
    // The last query of a longer sequence, whose keys are kept.
    let last = alike.narrow(0, 0, 1);
    assert_eq!(last.scaled_dot_product_attention(&alike, &value, &causal).to_vec(), [3.0]);
    // More queries than keys: the first see none.
    let queries = T64::zeros(&[5, 1]);
    assert_eq!(queries.scaled_dot_product_attention(&alike, &value, &causal).to_vec(), [0.0, 0.0, 1.0, 1.5, 3.0]);
}

#[test]
fn a_query_that_sees_nothing_is_zero_and_passes_no_gradient() {
    let (q, k, v) = (random(&[2, 3], 1), random(&[4, 3], 2), random(&[4, 2], 3));
    let mask = T64::from_fn(&[2, 4], |i| if i < 4 { MINUS_INFINITY } else { 0.0 });
    let loss = |(q, k, v, mask): &(T64, T64, T64, T64)| {
        let y = q.scaled_dot_product_attention(k, v, &masked(AttentionMask::Additive(mask)));
        (y.narrow(0, 0, 1) * 5.0).sum() + y.square().sum()
    };
    let at = (q, k, v, mask);
    let (gq, gk, gv, gm) = grad(loss, &at);
    assert!([&gq, &gk, &gv, &gm].iter().all(|g| g.is_finite()));
    assert_eq!(gq.narrow(0, 0, 1).to_vec(), [0.0; 3]);
    assert_eq!(gm.narrow(0, 0, 1).to_vec(), [0.0; 4]);
    let fused = |m: &(T64, T64, T64)| loss(&(m.0.clone(), m.1.clone(), m.2.clone(), at.3.clone()));
    let (fq, fk, fv) = grad(fused, &(at.0.clone(), at.1.clone(), at.2.clone()));
    for (fused, recorded) in [(&fq, &gq), (&fk, &gk), (&fv, &gv)] {
        close(fused, recorded, 1e-13);
    }
}

#[test]
fn not_a_number_is_not_hidden() {
    let x = T64::vector(&[f64::NAN, 1.0, 2.0, 0.5]).reshape(&[4, 1]);
    let ones = T64::ones(&[4, 1]);
    let y = x.scaled_dot_product_attention(&ones, &ones, &Attention::default());
    assert!(y.as_slice()[0].is_nan() && y.as_slice()[1..].iter().all(|y| (y - 1.0).abs() < 1e-15));
    assert!(ones.scaled_dot_product_attention(&x, &ones, &Attention::default()).as_slice().iter().all(|y| y.is_nan()));
}

#[test]
fn large_scores_do_not_overflow() {
    let x: Tensor = Tensor::from_fn(&[9, 1], |i| (i as f32 - 4.0) * 100.0);
    let y =
        x.scaled_dot_product_attention(&x, &Tensor::from_fn(&[9, 1], |i| i as f32), &Attention { scale: Some(1.0), ..Default::default() });
    assert_eq!(y.to_vec(), [0.0, 0.0, 0.0, 0.0, 4.0, 8.0, 8.0, 8.0, 8.0]);
}

#[test]
fn shapes_that_do_not_fit() {
    let attend = |q: &[usize], k: &[usize], v: &[usize], mask: Option<&[usize]>| {
        let mask = mask.map(T64::zeros);
        let options = masked(mask.as_ref().map_or(AttentionMask::None, AttentionMask::Additive));
        T64::zeros(q).try_scaled_dot_product_attention(&T64::zeros(k), &T64::zeros(v), &options)
    };
    let mismatch = |left: &[usize], right: &[usize]| {
        Err(TensorError::Mismatch { operation: "scaled_dot_product_attention", left: left.to_vec(), right: right.to_vec() })
    };
    assert_eq!(attend(&[2, 4, 3], &[2, 5, 2], &[2, 5, 3], None), mismatch(&[2, 4, 3], &[2, 5, 2]));
    assert_eq!(attend(&[3, 4, 3], &[2, 5, 3], &[2, 5, 3], None), mismatch(&[3, 4, 3], &[2, 5, 3]));
    assert_eq!(attend(&[3, 4, 3], &[0, 5, 3], &[0, 5, 3], None), mismatch(&[3, 4, 3], &[0, 5, 3]));
    assert_eq!(attend(&[2, 2, 4, 3], &[1, 2, 5, 3], &[1, 2, 5, 3], None), mismatch(&[2, 2, 4, 3], &[1, 2, 5, 3]));
    assert_eq!(attend(&[4, 3], &[1, 5, 3], &[1, 5, 3], None), mismatch(&[4, 3], &[1, 5, 3]));
    assert_eq!(attend(&[3], &[3], &[3], None), mismatch(&[3], &[3]));
    assert_eq!(attend(&[2, 4, 3], &[2, 5, 3], &[2, 6, 3], None), mismatch(&[2, 5, 3], &[2, 6, 3]));
    assert_eq!(attend(&[2, 4, 3], &[2, 5, 3], &[2, 5, 3], Some(&[4, 4])), mismatch(&[4, 4], &[2, 4, 5]));
    assert_eq!(attend(&[2, 1, 3], &[2, 5, 3], &[2, 5, 3], Some(&[3, 5])), mismatch(&[3, 5], &[2, 1, 5]));
    assert_eq!(attend(&[1, 3], &[5, 3], &[5, 3], Some(&[1, 1, 5])), mismatch(&[1, 1, 5], &[1, 5]));
    assert_eq!(attend(&[4, 2, 4, 3], &[4, 1, 5, 3], &[4, 1, 5, 7], None).unwrap().shape(), [4, 2, 4, 7]);
}

#[test]
fn rows_that_are_no_queries_keys_and_values() {
    let attend = |shape: &[usize], heads, key_heads| T64::zeros(shape).try_packed_attention(heads, key_heads, &Attention::default());
    assert_eq!(attend(&[2, 5, 12], 2, 1).unwrap().shape(), [2, 5, 6]);
    for (shape, heads, key_heads) in [(&[2, 5, 12][..], 3, 1), (&[12], 1, 1), (&[5, 12], 3, 2), (&[5, 12], 0, 1), (&[5, 12], 1, 0)] {
        let error = attend(shape, heads, key_heads).unwrap_err();
        assert!(matches!(error, TensorError::Argument { operation: "packed_attention", .. }), "{shape:?}: {error}");
    }
    let mask = T64::zeros(&[3, 5, 5]);
    let found = T64::zeros(&[2, 5, 12]).try_packed_attention(2, 1, &masked(AttentionMask::Additive(&mask)));
    let (left, right) = (vec![3, 5, 5], vec![2, 2, 5, 5]);
    assert_eq!(found.err(), Some(TensorError::Mismatch { operation: "packed_attention", left, right }));
}

#[test]
fn the_same_bits_on_any_number_of_threads() {
    let (q, k, v) = (random(&[1, 4, 70, 8], 1), random(&[1, 2, 90, 8], 2), random(&[1, 2, 90, 5], 3));
    let mask = random(&[70, 90], 4);
    let x = random(&[2, 70, 8 * 4], 5);
    let all = || {
        let masks = [AttentionMask::None, AttentionMask::Causal, AttentionMask::Additive(&mask)];
        let apart = masks.map(|mask| {
            let loss = |(q, k, v): &(T64, T64, T64)| q.scaled_dot_product_attention(k, v, &masked(mask.clone())).square().sum();
            let at = (q.clone(), k.clone(), v.clone());
            (loss(&at), grad(loss, &at), hvp(loss, &at, &at))
        });
        let packed = |x: &T64| x.packed_attention(4, 2, &masked(AttentionMask::Causal)).square().sum();
        (apart, grad(packed, &x))
    };
    let run = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(all);
    let one = run(1);
    for threads in [2, 3, 7] {
        assert!(one == run(threads), "{threads} threads");
    }
}

#[test]
fn jacobians_and_forward_mode() {
    let (q, k, v) = (random(&[2, 3, 2], 1), random(&[1, 4, 2], 2), random(&[1, 4, 3], 3));
    let causal = masked(AttentionMask::Causal);
    check_modes("query", |q| q.scaled_dot_product_attention(&k, &v, &causal), &q);
    check_modes("key", |k| q.scaled_dot_product_attention(k, &v, &causal), &k);
    check_modes("value", |v| q.scaled_dot_product_attention(&k, v, &causal), &v);
    check_modes("packed", |x| x.packed_attention(2, 1, &causal), &random(&[2, 3, 8], 4));
}

#[test]
fn gradients_of_single_examples() {
    let x = random(&[3, 2, 4, 2], 1);
    let flat = |y: T64| y.square().reshape(&[y.shape()[0], y.count() / y.shape()[0]]).sum_axis(1);
    let own = |w: &T64, x: &T64| {
        let h = x.matmul(w);
        flat(h.scaled_dot_product_attention(&h.tanh(), x, &masked(AttentionMask::Causal)))
    };
    check_per_example(own, &random(&[2, 2], 2), &x);
    // Learnt keys, and a learnt mask, serve every example.
    let learnt = |k: &T64, x: &T64| {
        let k = k.broadcast_to(&[x.shape()[0], 1, 5, 2]);
        flat(x.scaled_dot_product_attention(&k, &k.square(), &Attention::default()))
    };
    check_per_example(learnt, &random(&[5, 2], 3), &x);
    let biased = |m: &T64, x: &T64| flat(x.scaled_dot_product_attention(x, x, &masked(AttentionMask::Additive(m))));
    check_per_example(biased, &random(&[2, 4, 4], 4), &x);
    let packed = |w: &T64, x: &T64| flat(x.matmul(w).packed_attention(2, 1, &Attention::default()));
    check_per_example(packed, &random(&[2, 8], 2), &x.reshape(&[3, 8, 2]));
    // Examples that attend to each other.
    let mixed = per_example(
        |w: &T64, x: &T64| x.matmul(w).scaled_dot_product_attention(x, x, &Attention::default()).sum_axis(1),
        &random(&[2, 2], 5),
        &random(&[3, 2], 6),
    );
    assert_eq!(mixed.err(), Some(PerExampleError::MixesExamples { operation: "scaled_dot_product_attention" }));
}

mod properties {
    use super::*;

    fn config() -> ProptestConfig {
        let config = ProptestConfig::default();
        if std::env::var_os("PROPTEST_CASES").is_some() { config } else { ProptestConfig { cases: 48, ..config } }
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn attention(
            examples in prop::collection::vec(0usize..3, 0..2), key_heads in 1usize..3, repeats in 1usize..3, n in 0usize..6,
            m in 0usize..10, d in 0usize..4, e in 0usize..4, kind in 0usize..6, hidden in 0.0f64..1.0, seed in 0u64..1000,
        ) {
            let shape = |heads: usize, rest: [usize; 2]| [&examples[..], &[heads], &rest[..]].concat();
            let at = (
                random(&shape(key_heads * repeats, [n, d]), seed),
                random(&shape(key_heads, [m, d]), seed + 1),
                random(&shape(key_heads, [m, e]), seed + 2),
            );
            let shape_of_mask = match kind {
                2 => shape(key_heads * repeats, [n, m]),
                3 => vec![n, m],
                4 => vec![key_heads * repeats, 1, m],
                _ => vec![n, 1],
            };
            let hide = random(&shape_of_mask, seed + 3).as_slice().iter().map(|x| x.abs() < hidden).collect::<Vec<_>>();
            let mask = random(&shape_of_mask, seed + 4);
            let mask = T64::from_fn(&shape_of_mask, |i| if hide[i] { MINUS_INFINITY } else { mask.as_slice()[i] });
            let scale = 0.3 + seed as f64 / 1000.0;
            let kind_of_mask = match kind {
                0 => AttentionMask::None,
                1 => AttentionMask::Causal,
                _ => AttentionMask::Additive(&mask),
            };
            let options = Attention { mask: kind_of_mask, scale: Some(scale) };
            let y = |(q, k, v): &(T64, T64, T64)| q.scaled_dot_product_attention(k, v, &options);
            close(&y(&at), &definition([&at.0, &at.1, &at.2], kind == 1, (kind > 1).then_some(&mask), scale), 1e-12);
            let weights = random(y(&at).shape(), seed + 5);
            let loss = |at: &(T64, T64, T64)| (y(at) * &weights).sum();
            check::both_orders(loss, &at)?;
            let fused = grad(loss, &at);
            let recorded = RefCell::new(None);
            // Below an outer derivative the rule runs by recorded operations.
            grad(|c: &T64| {
                let (q, k, v) = grad(loss, &(&at.0 * c, &at.1 * c, &at.2 * c));
                *recorded.borrow_mut() = Some((q.detach(), k.detach(), v.detach()));
                q.sum()
            }, &T64::scalar(1.0));
            let recorded = recorded.into_inner().unwrap();
            close(&fused.0, &recorded.0, 1e-12);
            close(&fused.1, &recorded.1, 1e-12);
            close(&fused.2, &recorded.2, 1e-12);
            if kind > 1 {
                // At minus infinity there is no difference quotient; the gradient is 0.
                let finite = T64::from_fn(&shape_of_mask, |i| if hide[i] { 0.0 } else { mask.as_slice()[i] });
                let seen = T64::from_fn(&shape_of_mask, |i| f64::from(!hide[i]));
                let of_mask = |mask: &T64| {
                    let mask = seen.where_(mask, &T64::scalar(MINUS_INFINITY));
                    let options = Attention { mask: AttentionMask::Additive(&mask), scale: Some(scale) };
                    at.0.scaled_dot_product_attention(&at.1, &at.2, &options) * &weights
                };
                check::both_orders(of_mask, &finite)?;
            }
        }

        #[test]
        fn packed_attention(
            examples in prop::collection::vec(0usize..3, 0..2), key_heads in 1usize..3, repeats in 1usize..3, n in 0usize..8,
            d in 0usize..4, kind in 0usize..4, seed in 0u64..1000,
        ) {
            let heads = key_heads * repeats;
            let x = random(&[&examples[..], &[n, (heads + 2 * key_heads) * d]].concat(), seed);
            let mask = random(&[[n, n], [1, n]][seed as usize % 2], seed + 1);
            let mask = mask.constant_map(|x| if x > 1.0 { MINUS_INFINITY } else { x });
            let options = masked(match kind {
                0 => AttentionMask::None,
                1 => AttentionMask::Causal,
                _ => AttentionMask::Additive(&mask),
            });
            let apart = |x: &T64| apart(x, heads, key_heads, &options);
            let packed = |x: &T64| x.packed_attention(heads, key_heads, &options);
            close(&packed(&x), &apart(&x), 1e-13);
            let weights = random(apart(&x).shape(), seed + 2);
            let loss = |f: &dyn Fn(&T64) -> T64, x: &T64| (f(x) * &weights).sum();
            close(&grad(|x: &T64| loss(&packed, x), &x), &grad(|x: &T64| loss(&apart, x), &x), 1e-13);
            check::both_orders(|x: &T64| loss(&packed, x), &x)?;
        }

        /// In the working precision and beyond one tile of queries and of keys, against the definition in `f64`.
        #[test]
        fn attention_in_single_precision(heads in 1usize..3, n in 1usize..40, m in 1usize..40, d in 1usize..40, causal in any::<bool>(), seed in 0u64..1000) {
            let [q, k, v] = [(n, 0), (m, 1), (m, 2)].map(|(rows, i)| random(&[heads, rows, d], seed + i).cast::<f32>());
            let mask = if causal { AttentionMask::Causal } else { AttentionMask::None };
            let y = q.scaled_dot_product_attention(&k, &v, &Attention { mask, scale: None });
            let wide = [&q, &k, &v].map(|x| x.cast::<f64>());
            close(&y.cast(), &definition([&wide[0], &wide[1], &wide[2]], causal, None, 1.0 / (d as f64).sqrt()), 1e-5);
        }
    }
}
