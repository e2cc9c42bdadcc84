use gradus_autodiff::{Params, Tensor, check, grad};
use gradus_base::{Cancel, Silent, stream};
use gradus_models::{Activation, LayerNorm, Linear, Mlp, init};

use super::{DiagonalFisher, FisherEstimate, FisherMode, fisher_of_classifier};
use crate::{MergeError, NameFilter};

type T64 = Tensor<f64>;

fn random(shape: &[usize], seed: u64) -> T64 {
    init::normal(shape, 1.0, &mut stream(seed, "merging-test", 0))
}

fn estimate<P: Params<Elem = f64>>(model: &P, x: &T64, logits: impl Fn(&P, &T64) -> T64, mode: FisherMode) -> DiagonalFisher {
    fisher_of_classifier(model, x, None, logits, mode, &Cancel::new(), &mut Silent).unwrap()
}

fn values(fisher: &DiagonalFisher, name: &str) -> Vec<f64> {
    fisher.arrays().to_f64(name).unwrap()
}

fn close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert!(found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= tolerance), "{found:?} {expected:?}");
}

#[test]
fn a_softmax_of_zeros_by_hand() {
    let model: Linear<f64> = Linear::with_weight(T64::zeros(&[2, 2]));
    let x = T64::from_vec(vec![1.0, 2.0], &[1, 2]).unwrap();
    let fisher = estimate(&model, &x, Linear::call, FisherMode::Exact);
    assert_eq!(values(&fisher, "weight"), [0.25, 1.0, 0.25, 1.0]);
    assert_eq!(values(&fisher, "bias"), [0.25, 0.25]);
    // The square of the summed gradient is 0 here, and is what a widely copied implementation computes.
    let wrong = |m: &Linear<f64>| {
        let log_p = m.call(&x).log_softmax();
        (log_p.detach().exp().sqrt() * log_p).sum()
    };
    assert!(grad(wrong, &model).norm().item() < 1e-15);
}

#[test]
fn a_gaussian_regression() {
    // y ~ N(wᵀx, σ²): F = mean(x²) / σ², wherever w is. The expectation over y is that of (y - wᵀx)², which is σ².
    let (sigma, x) = (0.7, random(&[50, 3], 1));
    let expected: Vec<f64> =
        (0..3).map(|j| (0..50).map(|b| x.as_slice()[b * 3 + j].powi(2)).sum::<f64>() / 50.0 / (sigma * sigma)).collect();
    for seed in [2, 3] {
        let w = random(&[3], seed);
        let mut estimate = FisherEstimate::new(&w, FisherMode::Exact).unwrap();
        // One residual of size σ has the expected squared score.
        let target = x.matmul(&w) + sigma;
        let log_likelihood = |w: &T64, (x, y): &(T64, T64)| (x.matmul(w) - y).square() * (-0.5 / (sigma * sigma));
        estimate.add_log_likelihoods(&(x.clone(), target), log_likelihood).unwrap();
        close(&values(&estimate.finish().unwrap(), ""), &expected, 1e-6);
    }
}

#[test]
fn a_logistic_regression() {
    // p = σ(w x): F = mean(p (1 - p) x²).
    let (w, x) = (T64::vector(&[0.8]), random(&[40, 1], 4));
    let two_classes = |w: &T64, x: &T64| T64::concat(&[x * w, x.zeros_like()], 1);
    let expected = x.as_slice().iter().map(|x| {
        let p = 1.0 / (1.0 + (-0.8 * x).exp());
        p * (1.0 - p) * x * x
    });
    let expected = expected.sum::<f64>() / 40.0;
    close(&values(&estimate(&w, &x, two_classes, FisherMode::Exact), ""), &[expected], 1e-6);
}

/// One gradient for each example and class.
fn by_definition<P: Params<Elem = f64>>(model: &P, x: &T64, logits: impl Fn(&P, &T64) -> T64) -> Vec<f64> {
    let count = x.shape()[0];
    let mut sum = vec![0.0; model.count()];
    for b in 0..count {
        let x = x.narrow(0, b, 1);
        let p = logits(model, &x).softmax();
        for (y, p) in p.as_slice().iter().enumerate() {
            let score = grad(|m: &P| -logits(m, &x).softmax_cross_entropy(&[y]).sum(), model);
            sum.iter_mut().zip(score.flatten().iter()).for_each(|(sum, s)| *sum += p * s * s / count as f64);
        }
    }
    sum
}

fn flat<P: Params>(fisher: &DiagonalFisher, model: &P) -> Vec<f64> {
    model.named().into_iter().flat_map(|(name, _)| values(fisher, &name)).collect()
}

#[test]
fn the_definition_over_several_chunks() {
    let model = Mlp::new(&[3, 4, 3], Activation::Tanh, &mut stream(5, "merging-test", 0));
    let x = random(&[70, 3], 6);
    let fisher = estimate(&model, &x, Mlp::call, FisherMode::Exact);
    assert_eq!(fisher.n_examples, 70);
    close(&flat(&fisher, &model), &by_definition(&model, &x, Mlp::call), 1e-6);
}

#[test]
fn a_tied_weight_is_one_parameter() {
    // softmax(W (Wᵀ x)): the gradients of both uses are added before they are squared.
    let (w, x) = (random(&[3, 2], 7), random(&[5, 3], 8));
    let logits = |w: &T64, x: &T64| x.matmul(w).matmul(&w.t());
    let expected = by_definition(&w, &x, logits);
    close(&values(&estimate(&w, &x, logits, FisherMode::Exact), ""), &expected, 1e-6);
}

#[test]
fn the_definition_for_other_layers() {
    fn check<P: Params<Elem = f64>>(model: &P, x: &T64, logits: impl Fn(&P, &T64) -> T64) {
        let found = flat(&estimate(model, x, &logits, FisherMode::Exact), model);
        close(&found, &by_definition(model, x, &logits), 1e-6);
        assert!(found.iter().any(|f| *f > 0.0));
    }
    let mut rng = stream(17, "merging-test", 0);
    check(&Linear::new(4, 3, &mut rng), &random(&[5, 4], 18), Linear::call);
    let norm = (LayerNorm::new(4), Linear::new(4, 3, &mut rng));
    check(&norm, &random(&[5, 4], 19), |(norm, m): &(LayerNorm<f64>, Linear<f64>), x| m.call(&norm.call(x)));
    // Three words for each example, out of six, by number.
    let words = T64::from_vec(vec![0.0, 5.0, 2.0, 1.0, 1.0, 3.0], &[2, 3]).unwrap();
    check(&random(&[6, 4], 20), &words, |table: &T64, x| {
        let numbers: Vec<usize> = x.as_slice().iter().map(|&x| x as usize).collect();
        table.index_select(0, &numbers).reshape(&[x.shape()[0], 3, 4]).mean_axis(1)
    });
}

#[test]
fn some_of_the_layers() {
    let model = Mlp::new(&[3, 4, 3], Activation::Tanh, &mut stream(21, "merging-test", 0));
    let x = random(&[10, 3], 22);
    let whole = estimate(&model, &x, Mlp::call, FisherMode::Exact);
    let filter = NameFilter { exclude: vec!["*0*".into()], ..NameFilter::default() };
    let mut part = FisherEstimate::of_tensors(&model, FisherMode::Exact, filter.clone()).unwrap();
    part.add(&x.narrow(0, 0, 5), &[], Mlp::call).unwrap();
    let mut part = FisherEstimate::resume(&model, FisherMode::Exact, &part.to_checkpoint().unwrap()).unwrap();
    part.add(&x.narrow(0, 5, 5), &[], Mlp::call).unwrap();
    let part = part.finish().unwrap();
    let names: Vec<&str> = part.arrays().names().collect();
    let expected: Vec<&str> = whole.arrays().names().filter(|name| filter.accepts(name)).collect();
    assert!(names == expected && names.len() == 2, "{names:?}");
    names.iter().for_each(|name| close(&values(&part, name), &values(&whole, name), 1e-7));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let model: Mlp<f32> = Mlp::new(&[32, 64, 5], Activation::Relu, &mut stream(23, "merging-test", 0));
    let x = random(&[100, 32], 24).cast();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mode = FisherMode::Exact;
        pool.install(|| fisher_of_classifier(&model, &x, None, Mlp::call, mode, &Cancel::new(), &mut Silent).unwrap())
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn samples_approach_the_expectation() {
    let model = Mlp::new(&[2, 3], Activation::Tanh, &mut stream(9, "merging-test", 0));
    let x = random(&[30, 2], 10);
    let exact = flat(&estimate(&model, &x, Mlp::call, FisherMode::Exact), &model);
    // Few draws (one pass per draw) over many seeds, and many draws (one pass per class).
    let spread = |draws: usize, seeds: u64| {
        let runs: Vec<Vec<f64>> =
            (0..seeds).map(|seed| flat(&estimate(&model, &x, Mlp::call, FisherMode::Sampled { draws, seed }), &model)).collect();
        for (j, exact) in exact.iter().enumerate() {
            let mean = runs.iter().map(|run| run[j]).sum::<f64>() / seeds as f64;
            let variance = runs.iter().map(|run| (run[j] - mean).powi(2)).sum::<f64>() / (seeds - 1) as f64;
            let z = (mean - exact) / (variance / seeds as f64).sqrt().max(1e-12);
            assert!(z.abs() < 5.0, "coordinate {j}: z = {z}");
        }
    };
    spread(2, 60);
    spread(200, 30);
}

#[test]
fn an_interrupted_estimate_gives_the_same_bits() {
    let model = Mlp::new(&[3, 4, 3], Activation::Relu, &mut stream(11, "merging-test", 0));
    let x = random(&[40, 3], 12);
    for mode in [FisherMode::Exact, FisherMode::Sampled { draws: 2, seed: 3 }] {
        let mut whole = FisherEstimate::new(&model, mode).unwrap();
        let mut part = FisherEstimate::new(&model, mode).unwrap();
        for start in [0, 20] {
            whole.add(&x.narrow(0, start, 20), &[], Mlp::call).unwrap();
        }
        part.add(&x.narrow(0, 0, 20), &[], Mlp::call).unwrap();
        let mut rest = FisherEstimate::resume(&model, mode, &part.to_checkpoint().unwrap()).unwrap();
        assert_eq!(rest.n_examples(), 20);
        rest.add(&x.narrow(0, 20, 20), &[], Mlp::call).unwrap();
        assert_eq!(rest.finish().unwrap(), whole.finish().unwrap());
    }
    let saved = FisherEstimate::new(&model, FisherMode::Exact).unwrap().to_checkpoint().unwrap();
    let other: Mlp<f64> = Mlp::new(&[3, 4, 3], Activation::Relu, &mut stream(12, "merging-test", 0));
    assert!(matches!(FisherEstimate::resume(&other, FisherMode::Exact, &saved), Err(MergeError::Fingerprint { .. })));
    let mode = FisherEstimate::resume(&model, FisherMode::Empirical, &saved);
    assert!(matches!(mode, Err(MergeError::Metadata { key: "mode", .. })));
}

#[test]
fn bad_estimates() {
    let (model, x): (Linear<f64>, _) = (Linear::with_weight(T64::zeros(&[2, 2])), random(&[3, 2], 13));
    let run = |x: &T64, labels: Option<&[usize]>, mode, logits: fn(&Linear<f64>, &T64) -> T64| {
        fisher_of_classifier(&model, x, labels, logits, mode, &Cancel::new(), &mut Silent).unwrap_err()
    };
    let (exact, empirical) = (FisherMode::Exact, FisherMode::Empirical);
    assert!(matches!(run(&x.narrow(0, 0, 0), None, exact, Linear::call), MergeError::NoExamples));
    assert!(matches!(run(&x, None, FisherMode::Sampled { draws: 0, seed: 1 }, Linear::call), MergeError::Option { name: "draws", .. }));
    assert!(matches!(run(&x, None, empirical, Linear::call), MergeError::Labels { examples: 3, labels: 0 }));
    assert!(matches!(run(&x, Some(&[0, 1, 2]), empirical, Linear::call), MergeError::Label { example: 2, label: 2, classes: 2 }));
    assert!(matches!(run(&x, None, exact, |m, x| m.call(x).sum_axis(1)), MergeError::LogitsShape { examples: 3, .. }));
    assert!(matches!(run(&x, None, exact, |m, x| m.call(x) - &m.call(x).mean_keep(0)), MergeError::PerExample(_)));
    let infinite = run(&x, None, exact, |m, x| T64::concat(&[m.call(x).narrow(0, 0, 2), T64::full(f64::INFINITY, &[1, 2])], 0));
    assert!(matches!(infinite, MergeError::Logits { example: 2, class: 0, .. }));
    let cancel = Cancel::new();
    cancel.cancel();
    let cancelled = fisher_of_classifier(&model, &x, None, Linear::call, exact, &cancel, &mut Silent);
    assert!(matches!(cancelled, Err(MergeError::Interrupted(_))));
}

#[test]
fn scores_agree_with_differences() {
    fn check<P: Params<Elem = f64>>(model: &P, logits: impl Fn(&P) -> T64) {
        check::gradient(|m: &P| -logits(m).softmax_cross_entropy(&[1]).sum(), model, 1e-5, 1e-6).unwrap();
    }
    let mut rng = stream(14, "merging-test", 0);
    let x = random(&[1, 4], 15);
    check(&Linear::new(4, 3, &mut rng), |m: &Linear<f64>| m.call(&x));
    check(&Mlp::new(&[4, 5, 3], Activation::Tanh, &mut rng), |m: &Mlp<f64>| m.call(&x));
    check(&(LayerNorm::new(4), Linear::new(4, 3, &mut rng)), |(norm, m): &(LayerNorm<f64>, Linear<f64>)| m.call(&norm.call(&x)));
    // An embedding of six words and the mean over three.
    check(&random(&[6, 3], 16), |m: &T64| m.index_select(0, &[4, 0, 4]).mean_keep(0));
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_information_is_never_negative(rows in 1usize..5, seed in 0u64..500, draws in 1usize..6) {
            let model = Mlp::new(&[2, 3, 3], Activation::Relu, &mut stream(seed, "merging-test", 1));
            let x = random(&[rows, 2], seed) * 10.0;
            for mode in [FisherMode::Exact, FisherMode::Sampled { draws, seed }] {
                prop_assert!(flat(&estimate(&model, &x, Mlp::call, mode), &model).iter().all(|f| *f >= 0.0));
            }
        }

        #[test]
        fn the_definition(rows in 1usize..5, seed in 0u64..500) {
            let model = Mlp::new(&[2, 3, 3], Activation::Sigmoid, &mut stream(seed, "merging-test", 2));
            let x = random(&[rows, 2], seed);
            let found = flat(&estimate(&model, &x, Mlp::call, FisherMode::Exact), &model);
            for (a, b) in found.iter().zip(by_definition(&model, &x, Mlp::call)) {
                prop_assert!((a - b).abs() < 1e-6 * (1.0 + b));
            }
        }
    }
}
