use gradus_autodiff::{Params, PerExampleError, Tensor, check, grad};
use gradus_base::{Cancel, Observer, Silent, stream};
use gradus_checkpoint::{Checkpoint, DType, MappedCheckpoint, NamedArray};
use gradus_models::{Activation, LayerNorm, Linear, Mlp, files, init};

use super::{DiagonalFisher, FisherEstimate, FisherMerge, FisherMode, FisherOptions, Saving, fisher_of_classifier};
use crate::{Arrays, MergeError, NameFilter};

type T64 = Tensor<f64>;

fn random(shape: &[usize], seed: u64) -> T64 {
    init::normal(shape, 1.0, &mut stream(seed, "merging-test", 0))
}

fn estimate<P: Params<Elem = f64>>(model: &P, x: &T64, logits: impl Fn(&P, &T64) -> T64, mode: FisherMode) -> DiagonalFisher {
    fisher_of_classifier(model, [(x.clone(), vec![])], logits, &of_mode(mode), &mut Silent).unwrap()
}

fn of_mode(mode: FisherMode) -> FisherOptions<'static> {
    FisherOptions { mode, ..FisherOptions::default() }
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
    // y ~ N(wᵀx, σ²): F = mean(x²) / σ², wherever w is.
    let (sigma, x) = (0.7, random(&[50, 3], 1));
    let expected: Vec<f64> =
        (0..3).map(|j| (0..50).map(|b| x.as_slice()[b * 3 + j].powi(2)).sum::<f64>() / 50.0 / (sigma * sigma)).collect();
    for seed in [2, 3] {
        let w = random(&[3], seed);
        // Residuals of σ and -σ have the expected squared score of all.
        let y = T64::concat(&[(x.matmul(&w) + sigma).unsqueeze(1), (x.matmul(&w) - sigma).unsqueeze(1)], 1);
        let likelihoods = |w: &T64, (x, y): &(T64, T64)| (x.matmul(w).unsqueeze(1) - y).square() * (-0.5 / (sigma * sigma));
        let mut estimate = FisherEstimate::new(&w, &of_mode(FisherMode::Sampled { draws: 2, seed })).unwrap();
        estimate.add_log_likelihoods(&(x.clone(), y.clone()), likelihoods).unwrap();
        let fisher = estimate.finish().unwrap();
        close(&values(&fisher, ""), &expected, 1e-6);
        assert_eq!((fisher.n_examples, fisher.mode), (50, FisherMode::Sampled { draws: 2, seed }));

        let one = |w: &T64, (x, y): &(T64, T64)| (x.matmul(w) - y).square() * (-0.5 / (sigma * sigma));
        let mut estimate = FisherEstimate::new(&w, &of_mode(FisherMode::Empirical)).unwrap();
        estimate.add_log_likelihoods(&(x.clone(), x.matmul(&w) + sigma), one).unwrap();
        close(&values(&estimate.finish().unwrap(), ""), &expected, 1e-6);
    }
}

#[test]
fn likelihoods_of_given_outputs_are_not_called_exact() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fisher");
    let (w, x) = (random(&[3], 2), random(&[5, 3], 1));
    let add = |mode, likelihood: fn(&T64, &T64) -> T64| {
        let mut estimate = FisherEstimate::new(&w, &of_mode(mode)).unwrap();
        estimate.add_log_likelihoods(&x, likelihood).map(|()| estimate)
    };
    let one: fn(&T64, &T64) -> T64 = |w, x| x.matmul(w).square() * -0.5;
    let column: fn(&T64, &T64) -> T64 = |w, x| x.matmul(w).square().unsqueeze(1) * -0.5;
    assert!(matches!(add(FisherMode::Exact, one), Err(MergeError::NotExact { .. })));
    let sampled = FisherMode::Sampled { draws: 1, seed: 4 };
    for (mode, text, likelihood) in [(FisherMode::Empirical, "empirical", one), (sampled, "sampled:1:4", column)] {
        add(mode, likelihood).unwrap().finish().unwrap().save(&file).unwrap();
        assert_eq!(Checkpoint::read(&file).unwrap().metadata["mode"], text);
        assert_eq!(DiagonalFisher::load(&file).unwrap().mode, mode);
    }
    let shape = |mode, likelihood| match add(mode, likelihood).unwrap_err() {
        MergeError::LikelihoodShape { found, expected } => (found, expected),
        error => panic!("{error}"),
    };
    assert_eq!(shape(sampled, one), (vec![5], vec![5, 1]));
    assert_eq!(shape(FisherMode::Empirical, column), (vec![5, 1], vec![5]));
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
    let options = FisherOptions { filter: filter.clone(), ..FisherOptions::default() };
    let mut part = FisherEstimate::new(&model, &options).unwrap();
    part.add(&x.narrow(0, 0, 5), &[], Mlp::call).unwrap();
    let mut part = FisherEstimate::resume(&model, &options, &part.to_checkpoint().unwrap()).unwrap();
    part.add(&x.narrow(0, 5, 5), &[], Mlp::call).unwrap();
    let part = part.finish().unwrap();
    let names: Vec<&str> = part.arrays().names().collect();
    let expected: Vec<&str> = whole.arrays().names().filter(|name| filter.accepts(name)).collect();
    assert!(names == expected && names.len() == 2, "{names:?}");
    names.iter().for_each(|name| close(&values(&part, name), &values(&whole, name), 1e-7));
    let none = NameFilter { include: vec!["encoder*".into()], ..NameFilter::default() };
    let none = FisherEstimate::new(&model, &FisherOptions { filter: none, ..FisherOptions::default() });
    assert!(matches!(none, Err(MergeError::NoTensors)));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let model: Mlp<f32> = Mlp::new(&[32, 64, 5], Activation::Relu, &mut stream(23, "merging-test", 0));
    let x = random(&[100, 32], 24).cast();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let batches = [(x.clone(), vec![])];
        pool.install(|| fisher_of_classifier(&model, batches, Mlp::call, &FisherOptions::default(), &mut Silent).unwrap())
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
        z_test(&runs, &exact);
    };
    spread(2, 60);
    spread(200, 30);
}

#[test]
fn an_estimate_gone_on_with_gives_the_same_bits() {
    let model = Mlp::new(&[3, 4, 3], Activation::Relu, &mut stream(11, "merging-test", 0));
    let x = random(&[40, 3], 12);
    for mode in [FisherMode::Exact, FisherMode::Sampled { draws: 2, seed: 3 }] {
        let options = of_mode(mode);
        let mut whole = FisherEstimate::new(&model, &options).unwrap();
        let mut part = FisherEstimate::new(&model, &options).unwrap();
        for start in [0, 20] {
            whole.add(&x.narrow(0, start, 20), &[], Mlp::call).unwrap();
        }
        part.add(&x.narrow(0, 0, 20), &[], Mlp::call).unwrap();
        let mut rest = FisherEstimate::resume(&model, &options, &part.to_checkpoint().unwrap()).unwrap();
        assert_eq!(rest.n_examples(), 20);
        rest.add(&x.narrow(0, 20, 20), &[], Mlp::call).unwrap();
        assert_eq!(rest.finish().unwrap(), whole.finish().unwrap());
    }
}

#[test]
fn bad_states() {
    let model = Mlp::new(&[3, 4, 3], Activation::Relu, &mut stream(11, "merging-test", 0));
    let (exact, empirical) = (FisherOptions::default(), of_mode(FisherMode::Empirical));
    let mut estimate = FisherEstimate::new(&model, &exact).unwrap();
    estimate.add(&random(&[2, 3], 12), &[], Mlp::call).unwrap();
    let saved = estimate.to_checkpoint().unwrap();
    let other: Mlp<f64> = Mlp::new(&[3, 4, 3], Activation::Relu, &mut stream(12, "merging-test", 0));
    assert!(matches!(FisherEstimate::resume(&other, &exact, &saved), Err(MergeError::Fingerprint { .. })));
    assert!(matches!(FisherEstimate::resume(&model, &empirical, &saved), Err(MergeError::Metadata { key: "mode", .. })));
    for key in ["model", "mode", "n_examples"] {
        let mut without = saved.clone();
        without.metadata.remove(key);
        let error = FisherEstimate::resume(&model, &exact, &without).unwrap_err();
        assert!(matches!(error, MergeError::Metadata { key: found, found: None, .. } if found == key));
    }
    let name = saved.names().next().unwrap().to_owned();
    for value in [-1.0, f64::NAN, f64::INFINITY] {
        let mut wrong = Checkpoint::new();
        wrong.metadata = saved.metadata.clone();
        for array in saved.arrays() {
            let mut sums = array.to_f64().unwrap();
            if array.name == name {
                sums[1] = value;
            }
            wrong.insert_f64(array.name, array.shape, &sums).unwrap();
        }
        let error = FisherEstimate::resume(&model, &exact, &wrong).unwrap_err();
        assert!(matches!(error, MergeError::FisherValue { tensor, index: 1, .. } if tensor == name));
    }
    let mut missing = Checkpoint::new();
    missing.metadata = saved.metadata.clone();
    assert!(matches!(FisherEstimate::resume(&model, &exact, &missing), Err(MergeError::Checkpoint(_))));
}

/// Cancels after some examples.
struct Stop<'a>(u64, &'a Cancel, Vec<(u64, Option<u64>)>);

impl Observer for Stop<'_> {
    fn progress(&mut self, done: u64, total: Option<u64>, stage: &str) {
        assert_eq!(stage, "Fisher information");
        self.2.push((done, total));
        if done >= self.0 {
            self.1.cancel();
        }
    }
}

#[test]
fn a_long_estimate_is_watched_saved_and_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state");
    let model = Mlp::new(&[3, 4, 3], Activation::Relu, &mut stream(11, "merging-test", 0));
    // Two chunks, then three; the last one is cut by the limit.
    let x = random(&[250, 3], 12);
    let labels: Vec<usize> = (0..250).map(|b| b % 3).collect();
    let batches = || [(0, 100), (100, 150)].map(|(start, count)| (x.narrow(0, start, count), labels[start..start + count].to_vec()));
    for mode in [FisherMode::Exact, FisherMode::Sampled { draws: 2, seed: 3 }, FisherMode::Empirical] {
        let options = FisherOptions { max_examples: Some(230), ..of_mode(mode) };
        let whole = fisher_of_classifier(&model, batches(), Mlp::call, &options, &mut Silent).unwrap();
        assert_eq!(whole.n_examples, 230);

        let _ = std::fs::remove_file(&file);
        let saving = Some(Saving { file: file.clone(), every: 0 });
        let options = FisherOptions { saving: saving.clone(), ..options };
        for (stop, seen) in [(1, vec![64]), (150, vec![100, 164])] {
            let options = FisherOptions { cancel: Cancel::new(), ..options.clone() };
            let mut watcher = Stop(stop, &options.cancel, Vec::new());
            let stopped = fisher_of_classifier(&model, batches(), Mlp::call, &options, &mut watcher);
            assert!(matches!(stopped, Err(MergeError::Interrupted(_))));
            assert_eq!(watcher.2, seen.iter().map(|&done| (done, Some(230))).collect::<Vec<_>>());
        }
        let rest = fisher_of_classifier(&model, batches(), Mlp::call, &options, &mut Silent).unwrap();
        assert_eq!(rest, whole);
        // What is done already is not done again.
        let again = fisher_of_classifier(&model, batches(), |_, _| panic!("done already"), &options, &mut Silent).unwrap();
        assert_eq!(again, whole);
        let fewer = FisherOptions { max_examples: Some(229), ..options.clone() };
        for (batches, options) in [(batches(), &fewer), ([(x.narrow(0, 0, 2), vec![0, 0]), (x.narrow(0, 0, 2), vec![0, 0])], &options)] {
            let error = fisher_of_classifier(&model, batches, Mlp::call, options, &mut Silent).unwrap_err();
            assert!(matches!(error, MergeError::Metadata { key: "n_examples", .. }));
        }
    }
}

#[test]
fn the_state_is_saved_every_so_many_examples() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state");
    let (model, x): (Linear<f64>, _) = (Linear::with_weight(random(&[2, 3], 1)), random(&[256, 3], 12));
    let options = FisherOptions { saving: Some(Saving { file: file.clone(), every: 100 }), ..FisherOptions::default() };
    struct Seen(std::path::PathBuf, Vec<String>);
    impl Observer for Seen {
        fn progress(&mut self, _: u64, _: Option<u64>, _: &str) {
            self.1.push(Checkpoint::read(&self.0).map_or("none".into(), |saved| saved.metadata["n_examples"].clone()));
        }
    }
    let mut seen = Seen(file, Vec::new());
    fisher_of_classifier(&model, [(x, vec![])], Linear::call, &options, &mut seen).unwrap();
    assert_eq!(seen.1, ["none", "128", "128", "256"]);
}

#[test]
fn bad_estimates() {
    let (model, x): (Linear<f64>, _) = (Linear::with_weight(T64::zeros(&[2, 2])), random(&[3, 2], 13));
    let run = |x: &T64, labels: &[usize], mode, logits: fn(&Linear<f64>, &T64) -> T64| {
        fisher_of_classifier(&model, [(x.clone(), labels.to_vec())], logits, &of_mode(mode), &mut Silent).unwrap_err()
    };
    let (exact, empirical) = (FisherMode::Exact, FisherMode::Empirical);
    assert!(matches!(run(&x.narrow(0, 0, 0), &[], exact, Linear::call), MergeError::NoExamples));
    let none = FisherOptions { max_examples: Some(0), ..FisherOptions::default() };
    let none = fisher_of_classifier(&model, [(x.clone(), vec![])], Linear::call, &none, &mut Silent);
    assert!(matches!(none, Err(MergeError::NoExamples)));
    assert!(matches!(run(&x, &[], FisherMode::Sampled { draws: 0, seed: 1 }, Linear::call), MergeError::Option { name: "draws", .. }));
    assert!(matches!(run(&x, &[], empirical, Linear::call), MergeError::Labels { expected: 3, labels: 0 }));
    assert!(matches!(run(&x, &[0, 1], empirical, Linear::call), MergeError::Labels { expected: 3, labels: 2 }));
    assert!(matches!(run(&x, &[0; 6], empirical, Linear::call), MergeError::Labels { expected: 3, labels: 6 }));
    assert!(matches!(run(&x, &[0, 1, 2], empirical, Linear::call), MergeError::Label { example: 2, label: 2, classes: 2 }));
    assert!(matches!(run(&x, &[], exact, |m, x| m.call(x).sum_axis(1)), MergeError::LogitsShape { examples: 3, .. }));
    assert!(matches!(run(&x, &[], exact, |m, x| m.call(x) - &m.call(x).mean_keep(0)), MergeError::PerExample(_)));
    let infinite = run(&x, &[], exact, |m, x| T64::concat(&[m.call(x).narrow(0, 0, 2), T64::full(f64::INFINITY, &[1, 2])], 0));
    assert!(matches!(infinite, MergeError::Logits { example: 2, class: 0, .. }));
    let cancelled = FisherOptions::default();
    cancelled.cancel.cancel();
    let cancelled = fisher_of_classifier(&model, [(x.clone(), vec![])], Linear::call, &cancelled, &mut Silent);
    assert!(matches!(cancelled, Err(MergeError::Interrupted(_))));
}

#[test]
fn inputs_that_disagree_about_their_examples() {
    let model: Linear<f64> = Linear::with_weight(T64::zeros(&[2, 2]));
    let logits = |m: &Linear<f64>, (x, _): &(T64, T64)| m.call(x);
    // Fewer rows, more rows, no axis at all.
    for second in [random(&[2, 2], 1), random(&[70, 2], 1), T64::scalar(1.0)] {
        let inputs = (random(&[66, 2], 2), second);
        let shape = inputs.1.shape().to_vec();
        let all = fisher_of_classifier(&model, [(inputs.clone(), vec![])], logits, &FisherOptions::default(), &mut Silent).unwrap_err();
        let mut estimate = FisherEstimate::new(&model, &of_mode(FisherMode::Empirical)).unwrap();
        let parts = estimate.add(&inputs, &[0; 66], logits).unwrap_err();
        let likelihoods = estimate.add_log_likelihoods(&inputs, |m, (x, _)| m.call(x).sum_axis(1)).unwrap_err();
        for error in [all, parts, likelihoods] {
            let MergeError::PerExample(PerExampleError::Inputs { index: 1, shape: found }) = error else { panic!("{error}") };
            assert_eq!(found, shape);
        }
    }
    let scalar = FisherEstimate::new(&model, &FisherOptions::default()).unwrap().add(&T64::scalar(1.0), &[], Linear::call);
    assert!(matches!(scalar, Err(MergeError::PerExample(PerExampleError::Inputs { index: 0, .. }))));
}

#[test]
fn gradients_that_are_not_finite() {
    let w = T64::vector(&[1.0]);
    let mut estimate = FisherEstimate::new(&w, &of_mode(FisherMode::Empirical)).unwrap();
    let huge = T64::from_vec(vec![1e200], &[1, 1]).unwrap();
    let classes = |w: &T64, x: &T64| T64::concat(&[x * w * 1e-200, x.zeros_like()], 1);
    estimate.add(&(&huge * 1e-200), &[0], |w, x| classes(w, &(x * 1e200))).unwrap();
    let before = estimate.finish().unwrap();
    // The logits are finite, but not the square of the gradient.
    let error = estimate.add(&huge, &[0], |w: &T64, x| T64::concat(&[x * (w - 1.0), x.zeros_like()], 1)).unwrap_err();
    assert!(matches!(error, MergeError::FisherValue { index: 0, value: f64::INFINITY, .. }));
    let error = estimate.add_log_likelihoods(&huge, |w, x| (x * w).reshape(&[1])).unwrap_err();
    assert!(matches!(error, MergeError::FisherValue { .. }));
    assert_eq!(estimate.finish().unwrap(), before);
    // In F64, but not in the F32 of the result.
    estimate.add_log_likelihoods(&(huge * 1e-170), |w, x| (x * w).reshape(&[1])).unwrap();
    assert!(matches!(estimate.finish(), Err(MergeError::FisherValue { .. })));
}

/// Three words for each example, and a distribution of the next word after each: `[examples, tokens, words]`.
fn next_words(table: &T64, words: &T64) -> T64 {
    let numbers: Vec<usize> = words.as_slice().iter().map(|&x| x as usize).collect();
    let known = table.index_select(0, &numbers).reshape(&[words.shape()[0], words.shape()[1], table.shape()[1]]);
    known.tanh().matmul(&table.t())
}

/// The square of the gradient of `Σ_t log p(y_t | x)` for one example.
fn sequence_score(table: &T64, words: &T64, chosen: &[usize]) -> Vec<f64> {
    let score = |table: &T64| {
        let log_p = next_words(table, words).log_softmax();
        (log_p * T64::one_hot(chosen, table.shape()[0]).reshape(&[1, chosen.len(), table.shape()[0]])).sum()
    };
    grad(score, table).as_slice().iter().map(|g| g * g).collect()
}

#[test]
fn sequences_by_the_definition() {
    let (table, words) = (random(&[4, 2], 31), T64::from_vec(vec![0.0, 3.0, 2.0, 1.0, 1.0, 3.0], &[2, 3]).unwrap());
    let labels = [3, 2, 0, 1, 3, 3];
    let options = of_mode(FisherMode::Empirical);
    let found = fisher_of_classifier(&table, [(words.clone(), labels.to_vec())], next_words, &options, &mut Silent).unwrap();
    let each = [0, 1].map(|b| sequence_score(&table, &words.narrow(0, b, 1), &labels[3 * b..3 * b + 3]));
    let expected: Vec<f64> = each[0].iter().zip(&each[1]).map(|(a, b)| (a + b) / 2.0).collect();
    close(&values(&found, ""), &expected, 1e-6);

    let mut estimate = FisherEstimate::new(&table, &options).unwrap();
    assert!(matches!(estimate.add(&words, &[0, 1], next_words), Err(MergeError::Labels { expected: 6, labels: 2 })));
    let error = estimate.add(&words, &[0, 0, 0, 0, 4, 0], next_words).unwrap_err();
    assert!(matches!(error, MergeError::Label { example: 1, label: 4, classes: 4 }));
    let exact = FisherEstimate::new(&table, &FisherOptions::default()).unwrap().add(&words, &[], next_words).unwrap_err();
    assert!(matches!(exact, MergeError::NotExact { .. }), "{exact}");
    assert!(exact.to_string().contains("classes^tokens"), "{exact}");
}

#[test]
fn sampled_sequences_approach_the_expectation() {
    let (table, words) = (random(&[3, 2], 32), T64::from_vec(vec![0.0, 2.0], &[1, 2]).unwrap());
    let p = next_words(&table, &words).softmax();
    let mut exact = vec![0.0; 6];
    for (a, b) in (0..3).flat_map(|a| (0..3).map(move |b| (a, b))) {
        let weight = p.as_slice()[a] * p.as_slice()[3 + b];
        exact.iter_mut().zip(sequence_score(&table, &words, &[a, b])).for_each(|(sum, square)| *sum += weight * square);
    }
    let runs: Vec<Vec<f64>> =
        (0..80).map(|seed| values(&estimate(&table, &words, next_words, FisherMode::Sampled { draws: 20, seed }), "")).collect();
    z_test(&runs, &exact);
}

/// No mean of the runs is five standard errors from what is expected.
fn z_test(runs: &[Vec<f64>], expected: &[f64]) {
    let count = runs.len() as f64;
    for (j, expected) in expected.iter().enumerate() {
        let mean = runs.iter().map(|run| run[j]).sum::<f64>() / count;
        let variance = runs.iter().map(|run| (run[j] - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let z = (mean - expected) / (variance / count).sqrt().max(1e-12);
        assert!(z.abs() < 5.0, "coordinate {j}: z = {z}");
    }
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

/// A body, running statistics, and in files also a head and a counter.
#[derive(Clone, Debug, Params)]
struct Normed {
    layer: Linear<f32>,
    #[params(buffer)]
    running_mean: Tensor<f32>,
}

impl Normed {
    fn new(seed: u64) -> Self {
        let mut rng = stream(seed, "merging-test", 0);
        Self { layer: Linear::new(3, 2, &mut rng), running_mean: init::normal(&[3], 1.0, &mut rng) }
    }

    fn logits(&self, x: &Tensor<f32>) -> Tensor<f32> {
        self.layer.call(&(x - &self.running_mean))
    }

    /// Writes it with a head of `classes` and a counter.
    fn write(&self, file: &std::path::Path, dtype: DType, classes: usize) {
        let mut model = Checkpoint::new();
        files::insert(&mut model, "", self).unwrap();
        model.insert_f32("head.weight", &[classes, 2], &vec![classes as f32; 2 * classes]).unwrap();
        let mut narrow = Checkpoint::new();
        for array in model.arrays() {
            let values = array.to_f32().unwrap();
            let bytes = match dtype {
                DType::BF16 => values.iter().flat_map(|x| ((x.to_bits() >> 16) as u16).to_le_bytes()).collect(),
                _ => array.bytes.to_vec(),
            };
            narrow.insert(NamedArray { name: array.name.into(), dtype, shape: array.shape.to_vec(), bytes }).unwrap();
        }
        let bytes = (classes as i64).to_le_bytes().to_vec();
        narrow.insert(NamedArray { name: "num_batches_tracked".into(), dtype: DType::I64, shape: vec![], bytes }).unwrap();
        narrow.write(file).unwrap();
    }
}

#[test]
fn from_files_to_a_merged_file() {
    let folder = tempfile::tempdir().unwrap();
    for dtype in [DType::F32, DType::BF16] {
        let x: Tensor<f32> = random(&[20, 3], 40).cast();
        let (mut files_of_models, mut fishers) = (Vec::new(), Vec::new());
        for (seed, classes) in [(41, 4), (42, 5)] {
            let file = folder.path().join(format!("{seed}.safetensors"));
            Normed::new(seed).write(&file, dtype, classes);
            // The way of a user: read, estimate, save, load.
            let source = MappedCheckpoint::open(&file).unwrap();
            let model = files::extract(&Checkpoint::read(&file).unwrap(), "", &Normed::new(0)).unwrap();
            let options = FisherOptions { source: Some(&source), ..FisherOptions::default() };
            let fisher = fisher_of_classifier(&model, [(x.clone(), vec![])], Normed::logits, &options, &mut Silent).unwrap();
            assert_eq!(fisher.arrays().names().collect::<Vec<_>>(), ["layer.bias", "layer.weight"]);
            let saved = folder.path().join(format!("{seed}.fisher"));
            fisher.save(&saved).unwrap();
            fishers.push(DiagonalFisher::load(&saved).unwrap());
            assert_eq!(fishers.last(), Some(&fisher));
            files_of_models.push(source);
        }
        let models: Vec<&MappedCheckpoint> = files_of_models.iter().collect();
        let filter = NameFilter { exclude: vec!["head.*".into()], ..NameFilter::default() };
        let merge = FisherMerge { filter, ..FisherMerge::default() };
        let (merged, _) = merge.merge(&models, &fishers, &[0.5, 0.5]).unwrap();

        let read = |model: usize, name: &str| models[model].get(name).unwrap().to_f64().unwrap();
        for name in ["layer.weight", "layer.bias"] {
            let (a, b) = (read(0, name), read(1, name));
            assert!(merged.to_f64(name).unwrap().iter().zip(a.iter().zip(&b)).all(|(m, (a, b))| (a.min(*b)..=a.max(*b)).contains(m)));
            assert_ne!(merged.to_f64(name).unwrap(), a);
        }
        let means: Vec<f64> = read(0, "running_mean").iter().zip(read(1, "running_mean")).map(|(a, b)| (a + b) / 2.0).collect();
        close(&merged.to_f64("running_mean").unwrap(), &means, 1e-6);
        assert_eq!(merged.to_f64("head.weight").unwrap(), [4.0; 8]);
        assert_eq!(merged.get("num_batches_tracked").unwrap().bytes, 4i64.to_le_bytes());

        // The other way round, the files are refused, and so is a model that the source does not hold.
        fishers.reverse();
        assert!(matches!(merge.merge(&models, &fishers, &[0.5, 0.5]), Err(MergeError::Fingerprint { model: 0, .. })));
        let options = FisherOptions { source: Some(models[0]), ..FisherOptions::default() };
        let error = FisherEstimate::new(&Normed::new(7), &options).unwrap_err();
        assert!(matches!(error, MergeError::Source { tensor } if tensor == "layer.weight"));
    }
}

#[test]
fn the_source_is_the_model_itself_unless_given() {
    let model = Normed::new(43);
    let mut arrays = Checkpoint::new();
    files::insert(&mut arrays, "", &model).unwrap();
    let fisher = |options: &FisherOptions<'_>| {
        let x = random(&[2, 3], 40).cast();
        fisher_of_classifier(&model, [(x, vec![])], Normed::logits, options, &mut Silent).unwrap()
    };
    assert_eq!(fisher(&FisherOptions::default()).model, arrays.fingerprint());
    let before = fisher(&FisherOptions { source: Some(&arrays), ..FisherOptions::default() });
    assert_eq!(before.model, arrays.fingerprint());
    let bigger: &dyn Arrays = &{
        let mut bigger = arrays.clone();
        bigger.insert_f32("head", &[1], &[1.0]).unwrap();
        bigger
    };
    assert_eq!(fisher(&FisherOptions { source: Some(bigger), ..FisherOptions::default() }).model, bigger.fingerprint());
    let wrong = FisherOptions { source: Some(&Checkpoint::new()), ..FisherOptions::default() };
    assert!(matches!(FisherEstimate::new(&model, &wrong), Err(MergeError::Source { .. })));
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_information_is_never_negative(rows in 1usize..5, seed in 0u64..500, draws in 1usize..6) {
            let model = Mlp::new(&[2, 3, 3], Activation::Relu, &mut stream(seed, "merging-test", 1));
            let x = random(&[rows, 2], seed) * 10.0;
            for mode in [FisherMode::Exact, FisherMode::Sampled { draws, seed }, FisherMode::Empirical] {
                let batches = [(x.clone(), (0..rows).map(|b| b % 3).collect())];
                let fisher = fisher_of_classifier(&model, batches, Mlp::call, &of_mode(mode), &mut Silent).unwrap();
                prop_assert!(flat(&fisher, &model).iter().all(|f| *f >= 0.0));
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
