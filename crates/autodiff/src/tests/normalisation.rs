//! Batch, group, instance, layer and root-mean-square normalisation.

use super::*;

/// A normalisation over the given axes of `[batch, channels, a, b]`, by its definition.
fn defined(x: &T64, axes: &[isize], centred: bool, epsilon: f64) -> T64 {
    let mean = |x: &T64| axes.iter().fold(x.clone(), |x, &axis| x.mean_keep(axis));
    let x = if centred { x - &mean(x) } else { x.clone() };
    &x / &(mean(&x.square()) + epsilon).sqrt()
}

fn close(a: &T64, b: &T64) -> bool {
    let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-11 * (1.0 + b.abs());
    a.shape() == b.shape() && a.as_slice().iter().zip(b.as_slice()).all(near)
}

type Norm = fn(&T64, &T64, &T64) -> T64;

/// Of `[batch, 4, ..]` with a scale and a shift `[4]`.
const BY_CHANNEL: [(&str, Norm); 4] = [
    ("batch_norm", |x, w, b| x.batch_norm(Some(w), Some(b), 0.1).0),
    ("group_norm", |x, w, b| x.group_norm(2, Some(w), Some(b), 0.1)),
    ("instance_norm", |x, w, b| x.instance_norm(Some(w), Some(b), 0.1)),
    ("one group", |x, w, b| x.group_norm(1, Some(w), Some(b), 0.1)),
];
/// Of the last axis.
const BY_ROW: [(&str, Norm); 2] =
    [("layer_norm", |x, w, b| x.layer_norm(Some(w), Some(b), 0.1)), ("rms_norm", |x, w, b| x.rms_norm(Some(w), 0.1) + b)];

#[test]
fn batch_statistics() {
    let x = random(&[3, 2, 5], 1);
    let (y, statistics) = x.batch_norm(None, None, 0.0);
    let (mean, variance) = (x.mean_axes(&[0, 2]), (&x - &x.mean_keep(0).mean_keep(2)).square().mean_axes(&[0, 2]));
    assert!(close(&statistics.mean, &mean) && close(&statistics.variance, &variance));
    assert!(close(&statistics.unbiased_variance(), &(variance * (15.0 / 14.0))));
    assert_eq!(statistics.count, 15);
    // Evaluation with the batch's own statistics is training.
    let (w, b) = (random(&[2], 2), random(&[2], 3));
    let evaluated = x.batch_norm_with(&statistics.mean, &statistics.variance, Some(&w), Some(&b), 0.1);
    assert!(close(&evaluated, &x.batch_norm(Some(&w), Some(&b), 0.1).0));
    assert!(close(&x.batch_norm_with(&statistics.mean, &statistics.variance, None, None, 0.0), &y));
    // They are constants.
    assert_eq!(grad(|x: &T64| x.batch_norm(None, None, 0.1).1.mean.sum() + x.sum(), &x), x.ones_like());
}

#[test]
fn long_and_large_batches() {
    // Sets of many pieces and of more than one leaf, in parallel; values far from zero.
    for shape in [[40, 3, 900], [2000, 30, 2]] {
        let x: Tensor = Tensor::from_fn(&shape, |i| 1000.0 + (i as f32 * 0.37).sin() + (i / shape[2] % shape[1]) as f32);
        let y = x.batch_norm(None, None, 1e-5).0.cast::<f64>();
        let exact = defined(&x.cast(), &[0, 2], true, 1e-5);
        assert!((&y - &exact).abs().as_slice().iter().all(|d| *d < 2e-4));
        let of = |y: &Tensor| (y * &Tensor::from_fn(&shape, |i| (i as f32 * 0.11).cos())).sum();
        let fused = grad(|x: &Tensor| of(&x.batch_norm(None, None, 1e-5).0), &x).cast::<f64>();
        let weights = T64::from_fn(&shape, |i| f64::from((i as f32 * 0.11).cos()));
        let exact = grad(|x: &T64| (defined(x, &[0, 2], true, 1e-5) * &weights).sum(), &x.cast());
        assert!((&fused - &exact).abs().as_slice().iter().all(|d| *d < 1e-3));
    }
}

#[test]
fn the_same_bits_on_any_number_of_threads() {
    let x: Tensor = Tensor::from_fn(&[50, 8, 600], |i| (i as f32 * 0.37).sin());
    let w: Tensor = Tensor::from_fn(&[8], |i| 0.5 + i as f32);
    let wide: Tensor = Tensor::from_fn(&[600], |i| (i as f32).cos());
    let all = || {
        let loss = |f: &dyn Fn(&Tensor, &Tensor) -> Tensor, w: &Tensor| {
            let (gx, gw) = grad(|(x, w): &(Tensor, Tensor)| f(x, w).tanh().square().sum(), &(x.clone(), w.clone()));
            [gx, gw]
        };
        let found = [
            loss(&|x, w| x.batch_norm(Some(w), Some(w), 1e-5).0, &w),
            loss(&|x, w| x.narrow(2, 0, 3).batch_norm(Some(w), Some(w), 1e-5).0, &w),
            loss(&|x, w| x.group_norm(2, Some(w), Some(w), 1e-5), &w),
            loss(&|x, w| x.layer_norm(Some(w), Some(w), 1e-5), &wide),
        ];
        found.concat().iter().flat_map(|x| x.as_slice().iter().map(|x| x.to_bits()).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let run = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(all);
    let one = run(1);
    assert!([2, 5].into_iter().all(|threads| run(threads) == one));
}

#[test]
fn per_example_gradients_but_for_batch_normalisation() {
    let (model, x) = ((random(&[4], 1), random(&[4], 2)), random(&[3, 4, 4], 3));
    for (name, norm) in BY_CHANNEL.into_iter().chain(BY_ROW) {
        let f = |(w, b): &(T64, T64), x: &T64| norm(&(x * w.square().sum()), w, b).tanh().reshape(&[x.shape()[0], 16]).sum_axis(1);
        if name == "batch_norm" {
            let error = per_example(f, &model, &x).err();
            assert_eq!(error, Some(PerExampleError::MixesExamples { operation: "batch_norm" }));
            continue;
        }
        check_per_example(f, &model, &x);
        // Several rows of an example, and derivatives of what is made of the gradients.
        let pairs = |(w, b): &(T64, T64), x: &T64| {
            let n = x.shape()[0];
            norm(&x.reshape(&[2 * n, 4, 4]), w, b).tanh().reshape(&[n, 32]).sum_axis(1)
        };
        check_per_example(pairs, &model, &random(&[3, 2, 4, 4], 4));
        check::gradient(|m| per_example(f, m, &x).unwrap().squared_norms().sum(), &model, 1e-5, 1e-6).unwrap();
    }
    let (mean, variance) = (random(&[4], 5), random(&[4], 6).square());
    let evaluation = |(w, b): &(T64, T64), x: &T64| {
        x.batch_norm_with(&mean, &variance, Some(w), Some(b), 0.1).tanh().reshape(&[x.shape()[0], 16]).sum_axis(1)
    };
    check_per_example(evaluation, &model, &x);
}

#[test]
fn every_mode_of_derivative() {
    let (w, b, x) = (random(&[4], 1), random(&[4], 2), random(&[3, 4, 4], 3));
    for (name, norm) in BY_CHANNEL.into_iter().chain(BY_ROW) {
        check_modes(name, |x| norm(x, &w, &b).square(), &x);
        check_modes(name, |w| norm(&x, w, &b).square(), &w);
        check_modes(name, |b| norm(&x, &w, b).square(), &b);
    }
}

#[test]
fn what_cannot_be_normalised() {
    let (x, vector) = (T64::zeros(&[2, 4, 3]), T64::zeros(&[3]));
    let mismatch = |operation, right: &[usize]| TensorError::Mismatch { operation, left: vec![2, 4, 3], right: right.to_vec() };
    assert_eq!(x.try_batch_norm(Some(&vector), None, 0.1).unwrap_err(), mismatch("batch_norm", &[3]));
    assert_eq!(x.try_batch_norm_with(&vector, &vector, None, None, 0.1).unwrap_err(), mismatch("batch_norm_with", &[3]));
    assert_eq!(x.try_group_norm(2, None, Some(&vector), 0.1).unwrap_err(), mismatch("group_norm", &[3]));
    assert_eq!(x.try_instance_norm(None, Some(&vector), 0.1).unwrap_err(), mismatch("instance_norm", &[3]));
    let four = T64::zeros(&[4]);
    assert_eq!(x.try_layer_norm(Some(&four), None, 0.1).unwrap_err(), mismatch("layer_norm", &[4]));
    assert_eq!(x.try_rms_norm(Some(&four), 0.1).unwrap_err(), mismatch("rms_norm", &[4]));
    let argument = |operation, what: &str, shape: &[usize]| TensorError::Argument { operation, what: what.into(), shape: shape.to_vec() };
    assert_eq!(
        x.try_group_norm(3, None, None, 0.1).unwrap_err(),
        argument("group_norm", "4 channels do not split into 3 groups", &[2, 4, 3])
    );
    let few = "1 values for each channel have no variance";
    assert_eq!(T64::zeros(&[1, 4]).try_batch_norm(None, None, 0.1).unwrap_err(), argument("batch_norm", few, &[1, 4]));
    let axes = "the axes batch and channels are needed";
    assert_eq!(vector.try_instance_norm(None, None, 0.1).unwrap_err(), argument("instance_norm", axes, &[3]));
    assert!(matches!(T64::scalar(1.0).try_rms_norm(None, 0.1), Err(TensorError::Axis { operation: "rms_norm", .. })));
}

mod properties {
    use super::*;

    fn config() -> ProptestConfig {
        let config = ProptestConfig::default();
        if std::env::var_os("PROPTEST_CASES").is_some() { config } else { ProptestConfig { cases: 24, ..config } }
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn of_channels(batch in 0usize..4, places in prop::collection::vec(0usize..4, 0..3), long: bool, seed in 0u64..1000) {
            // Places enough to be walked piece by piece, too.
            let places = if long && places.iter().all(|n| *n > 0) { vec![33] } else { places };
            let x = random(&[&[batch, 4], &places[..]].concat(), seed);
            let (w, b) = (random(&[4], seed + 1), random(&[4], seed + 2));
            for (name, norm) in BY_CHANNEL {
                if name == "batch_norm" && batch * places.iter().product::<usize>() < 2 {
                    prop_assert!(x.try_batch_norm(None, None, 0.1).is_err());
                    continue;
                }
                check_both(name, |x| norm(x, &w, &b), &x);
                check_both(name, |w| norm(&x, w, &b).square(), &w);
                check_both(name, |b| norm(&x, &w, b).square(), &b);
            }
        }

        #[test]
        fn of_rows(lead in prop::collection::vec(0usize..4, 0..3), width in 0usize..5, seed in 0u64..1000) {
            let x = random(&[&lead[..], &[width]].concat(), seed);
            let (w, b) = (random(&[width], seed + 1), random(&[width], seed + 2));
            for (name, norm) in BY_ROW {
                check_both(name, |x| norm(x, &w, &b), &x);
                check_both(name, |w| norm(&x, w, &b).square(), &w);
                check_both(name, |b| norm(&x, &w, b).square(), &b);
            }
            prop_assert!(close(&x.layer_norm(None, None, 0.1), &defined(&x, &[-1], true, 0.1)));
            prop_assert!(close(&x.rms_norm(Some(&w), 0.1), &(defined(&x, &[-1], false, 0.1) * &w)));
        }

        #[test]
        fn against_the_definition(batch in 1usize..4, channels in 1usize..4, groups in 1usize..3, a in 1usize..4, b in 2usize..40, seed in 0u64..1000) {
            let x = random(&[batch, groups * channels, a, b], seed);
            let w = random(&[groups * channels], seed + 1);
            let scale = w.reshape(&[groups * channels, 1, 1]);
            prop_assert!(close(&x.batch_norm(Some(&w), None, 0.1).0, &(defined(&x, &[0, 2, 3], true, 0.1) * &scale)));
            prop_assert!(close(&x.instance_norm(Some(&w), Some(&w), 0.1), &(defined(&x, &[2, 3], true, 0.1) * &scale + &scale)));
            let parts = defined(&x.reshape(&[batch * groups, channels, a, b]), &[1, 2, 3], true, 0.1);
            prop_assert!(close(&x.group_norm(groups, Some(&w), None, 0.1), &(parts.reshape(x.shape()) * &scale)));
        }

        /// Mean 0 and variance 1; what is normalised does not change with the input's scale and offset.
        #[test]
        fn invariances(batch in 2usize..5, seed in 0u64..1000, factor in 0.5f64..2.0, offset in -3.0f64..3.0) {
            let x = random(&[batch, 3, 4], seed);
            let (y, moved) = (x.batch_norm(None, None, 0.0).0, (&x * factor + offset).batch_norm(None, None, 0.0).0);
            prop_assert!((&y - &moved).abs().as_slice().iter().all(|d| *d < 1e-9));
            prop_assert!(y.mean_axes(&[0, 2]).as_slice().iter().all(|m| m.abs() < 1e-12));
            prop_assert!(y.square().mean_axes(&[0, 2]).as_slice().iter().all(|v| (v - 1.0).abs() < 1e-12));
            prop_assert!(close(&x.rms_norm(None, 0.0), &(&x * factor).rms_norm(None, 0.0)));
        }
    }
}
