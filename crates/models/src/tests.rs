use std::ops::ControlFlow;

use gradus_autodiff::{Params, Tensor, check, grad};
use gradus_base::{Cancel, stream};
use gradus_checkpoint::{Checkpoint, CheckpointError};
use gradus_optimizers::{Adam, AdamW, Averaged, AveragedState, Ema, EmaStart, Grouped, Rule, Schedule, Scheduled, Sgd};

use crate::*;

mod layers;
mod pass;
mod sampling;
mod transformer;

type T64 = Tensor<f64>;

fn random(shape: &[usize], seed: u64) -> T64 {
    init::normal(shape, 1.0, &mut stream(seed, "models-test", 0))
}

#[test]
fn a_linear_layer_by_hand() {
    let weight = T64::from_vec(vec![1.0, 2.0, 3.0, 4.0], &[2, 2]).unwrap();
    let layer = Linear { weight, bias: Some(Tensor::vector(&[10.0, 20.0])) };
    assert_eq!(layer.call(&T64::vector(&[1.0, -1.0])).to_vec(), [9.0, 19.0]);
    assert_eq!(Linear::with_weight(layer.weight).call(&T64::vector(&[1.0, -1.0])).to_vec(), [-1.0, -1.0]);
}

#[test]
fn layer_norm_has_mean_zero_and_variance_one() {
    let norm = LayerNorm { epsilon: 0.0, ..LayerNorm::new(8) };
    let y: T64 = norm.call(&random(&[3, 8], 1));
    for row in y.as_slice().chunks(8) {
        assert!(row.iter().sum::<f64>().abs() < 1e-12);
        assert!((row.iter().map(|x| x * x).sum::<f64>() - 8.0).abs() < 1e-10);
    }
}

#[test]
fn names_are_those_of_a_state_dict() {
    let mut rng = stream(1, "models-test", 1);
    let names = |model: &Cnn| model.named().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let cnn = Cnn::new(1, &[2, 3], 4, &mut rng);
    let expected = ["blocks.0.conv.weight", "blocks.0.conv.bias", "blocks.1.conv.weight", "blocks.1.conv.bias", "head.weight", "head.bias"];
    assert_eq!(names(&cnn), expected);
    assert_eq!(cnn.feature_names(), ["blocks.0", "blocks.1"]);
}

#[test]
fn a_network_entered_at_its_feature_maps_is_the_network() {
    let cnn: Cnn<f64> = Cnn::new(2, &[3, 4, 2], 5, &mut stream(2, "models-test", 0));
    let x = random(&[2, 2, 8, 8], 3);
    let logits = cnn.call(&x);
    for name in cnn.feature_names() {
        let maps = cnn.features(&name, &x).unwrap();
        assert_eq!(cnn.logits_from(&name, &maps).unwrap(), logits);
    }
    assert!(cnn.features("blocks.3", &x).is_none() && cnn.logits_from("head", &x).is_none());
}

#[test]
fn every_model_has_the_right_derivatives() {
    let mut rng = stream(3, "models-test", 0);
    let x = random(&[3, 4], 1);
    for activation in [Activation::Tanh, Activation::Sigmoid, Activation::Identity] {
        let mlp: Mlp<f64> = Mlp::new(&[4, 5, 3], activation, &mut rng);
        let f = |m: &Mlp<f64>| loss::cross_entropy(&m.call(&x), &[0, 2, 1]);
        check::gradient(f, &mlp, 1e-5, 1e-7).unwrap();
        check::second_order(f, &mlp, &mlp.normal_like(&mut rng), 1e-5, 1e-6).unwrap();
    }
    let norm = LayerNorm::new(4);
    check::gradient(|m: &LayerNorm<f64>| m.call(&x).square().mean(), &norm, 1e-5, 1e-7).unwrap();
    let cnn: Cnn<f64> = Cnn::new(1, &[2, 2], 3, &mut rng);
    let images = random(&[2, 1, 6, 6], 2);
    check::gradient(|m: &Cnn<f64>| loss::cross_entropy(&m.call(&images), &[0, 2]), &cnn, 1e-6, 1e-5).unwrap();
}

#[test]
fn linear_attention_is_its_definition() {
    let mut draw = |seed| random(&[4, 3], seed);
    let head = |seed, draw: &mut dyn FnMut(u64) -> T64| AttentionHead {
        key: draw(seed),
        query: draw(seed + 1),
        value: draw(seed + 2),
        projection: draw(seed + 3).t(),
    };
    let heads = vec![head(20, &mut draw), head(30, &mut draw)];
    let (tokens, context) = (random(&[2, 5, 3], 9), random(&[2, 4, 3], 10));
    for tokens in [tokens.clone(), tokens.narrow(1, 2, 1)] {
        let found = linear_attention(&heads, &context, &tokens);
        let mut expected = tokens.zeros_like();
        for head in &heads {
            let (k, q) = (context.linear(&head.key, None), tokens.linear(&head.query, None));
            let weighted = q.matmul(&k.t()).matmul(&context.linear(&head.value, None));
            expected = expected + weighted.linear(&head.projection, None);
        }
        assert!((found - expected).square().sum().item() < 1e-20);
    }
    type Heads = Vec<AttentionHead<f64>>;
    let f = |heads: &Heads| linear_attention(heads, &tokens, &tokens).square().mean();
    check::gradient(f, &heads, 1e-6, 1e-6).unwrap();
    check::second_order(f, &heads, &heads.normal_like(&mut stream(9, "models-test", 0)), 1e-5, 1e-4).unwrap();
    let names: Vec<String> = heads.named().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names[..2], ["0.key", "0.query"]);
}

#[test]
fn losses_by_hand() {
    let (a, b) = (T64::vector(&[1.0, 3.0]), T64::vector(&[0.0, 1.0]));
    assert_eq!(loss::mean_squared_error(&a, &b).item(), 2.5);
    assert_eq!(loss::mean_absolute_error(&a, &b).item(), 1.5);
    assert!((loss::cross_entropy(&T64::zeros(&[3, 4]), &[0, 1, 2]).item() - 4f64.ln()).abs() < 1e-15);
    let logits = T64::vector(&[0.0, 800.0, -800.0]);
    let bce = loss::binary_cross_entropy(&logits, &T64::vector(&[1.0, 1.0, 0.0])).item();
    assert!((bce - 2f64.ln() / 3.0).abs() < 1e-15);
    let (zero, target) = (T64::vector(&[0.0]), T64::vector(&[0.0]));
    assert_eq!(grad(|z: &T64| loss::binary_cross_entropy(z, &target), &zero).item(), 0.5);
    assert_eq!(gradus_autodiff::hvp(|z: &T64| loss::binary_cross_entropy(z, &target), &zero, &T64::ones(&[1])).item(), 0.25);
    let gradient = grad(|z: &T64| loss::binary_cross_entropy(z, &T64::vector(&[1.0])), &T64::vector(&[0.3]));
    assert!((gradient.item() - (1.0 / (1.0 + (-0.3f64).exp()) - 1.0)).abs() < 1e-15);
}

#[test]
fn initial_values_have_the_stated_spread() {
    let mut rng = stream(4, "models-test", 0);
    let deviation = |x: &T64| (x.square().mean().item() - x.mean().item().powi(2)).sqrt();
    let shape = [400, 100];
    for (x, expected) in [
        (init::he_normal(&shape, &mut rng), (2.0f64 / 100.0).sqrt()),
        (init::glorot_uniform(&shape, &mut rng), (2.0f64 / 500.0).sqrt()),
        (init::torch_uniform(&shape, 100, &mut rng), (1.0f64 / 300.0).sqrt()),
        (init::truncated_normal(&shape, 0.3, &mut rng), 0.3),
    ] {
        assert!((deviation(&x) / expected - 1.0).abs() < 0.02, "{} {expected}", deviation(&x));
    }
    let x: T64 = init::truncated_normal(&[10_000], 1.0, &mut rng);
    assert!(x.as_slice().iter().all(|x| x.abs() < 2.0 / 0.87));
}

/// A small regression whose batches depend on the step.
fn batch(step: u64) -> (T64, T64) {
    let x: T64 = init::normal(&[8, 3], 1.0, &mut stream(5, "models-test-batch", step));
    let y = x.sum_axis(1).tanh().unsqueeze(1);
    (x, y)
}

fn squared(m: &Mlp<f64>, (x, y): &(T64, T64), _: &mut Pass<f64>) -> T64 {
    loss::mean_squared_error(&m.call(x), y)
}

fn mlp() -> Mlp<f64> {
    Mlp::new(&[3, 8, 1], Activation::Tanh, &mut stream(6, "models-test", 0))
}

fn check_resume<R: Rule<Mlp<f64>, State: PartialEq + std::fmt::Debug>>(rule: &R) {
    let folder = tempfile::tempdir().unwrap();
    let options = |steps, cancel| FitOptions {
        steps,
        clip_norm: Some(0.5),
        saving: Some(Saving { file: folder.path().join("run.safetensors"), every: 7 }),
        cancel,
        ..FitOptions::default()
    };
    let whole =
        fit(mlp(), rule, batch, squared, &FitOptions { steps: 40, clip_norm: Some(0.5), ..FitOptions::default() }, carry_on).unwrap();
    // Cancelled after step 10, then stopped short at 25, then finished: always from the file.
    let cancel = Cancel::new();
    let interrupted = fit(mlp(), rule, batch, squared, &options(40, cancel.clone()), |step| {
        if step.step == 10 {
            cancel.cancel();
        }
        ControlFlow::Continue(())
    });
    assert!(matches!(interrupted, Err(FitError::Interrupted(_))));
    let part = fit(mlp(), rule, batch, squared, &options(25, Cancel::new()), carry_on).unwrap();
    assert_eq!(part.losses, whole.losses[..25]);
    let rest = fit(mlp(), rule, batch, squared, &options(40, Cancel::new()), carry_on).unwrap();
    assert_eq!(rest, whole);
    assert!(whole.losses[39] < whole.losses[0]);
}

#[test]
fn an_interrupted_training_gives_the_same_bits() {
    check_resume(&Adam { learning_rate: 0.02, ..Adam::default() });
    check_resume(&Sgd { learning_rate: 0.1, momentum: 0.9, ..Sgd::default() });
    let schedule = Schedule::one_cycle(40);
    check_resume(&Scheduled(|step| {
        let rule = AdamW { learning_rate: 0.1 * schedule.at(step), ..AdamW::default() };
        Grouped::new(rule).group("*.bias", AdamW { weight_decay: 0.0, ..rule }).freeze("layers.0.weight")
    }));
    // An average around groups around schedules, and the other way round.
    let ema = Ema { decay: 0.9, start: EmaStart::WarmUp };
    let adam = |step| AdamW { learning_rate: 0.1 * schedule.at(step), ..AdamW::default() };
    check_resume(&Averaged { rule: Grouped::new(Scheduled(adam)).freeze("layers.0.bias"), ema });
    check_resume(&Grouped::new(Averaged { rule: Scheduled(adam), ema: Ema { start: EmaStart::Corrected, ..ema } }));
    check_resume(&Scheduled(|step| Averaged { rule: Grouped::new(adam(step)), ema: Ema { decay: (step as f64 / 40.0).min(0.9), ..ema } }));
}

#[test]
fn the_watcher_ends_a_training_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let saving = Some(Saving { file: folder.path().join("run.safetensors"), every: 0 });
    let options = FitOptions { steps: 100, saving, ..FitOptions::default() };
    let rule = Adam::default();
    let early = |step: &Step<'_, Mlp<f64>, _>| if step.step == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let fitted = fit(mlp(), &rule, batch, squared, &options, early).unwrap();
    assert_eq!(fitted.state.step, 3);
    assert!(fitted.stopped && fitted.losses.len() == 3);
    assert_eq!(fit(mlp(), &rule, batch, squared, &options, carry_on).unwrap(), fitted);
}

#[test]
fn the_watcher_sees_the_average_of_the_weights() {
    let rule = Averaged { rule: Sgd::default(), ema: Ema { decay: 0.5, ..Ema::default() } };
    let mut average = mlp();
    let watch = |step: &Step<'_, Mlp<f64>, AveragedState<Mlp<f64>, _>>| {
        average = average.zip_map(step.model, |average, x| average + (x - average) * 0.5);
        assert_eq!(step.state.ema.average, average);
        ControlFlow::Continue(())
    };
    fit(mlp(), &rule, batch, squared, &FitOptions { steps: 5, ..FitOptions::default() }, watch).unwrap();
}

#[test]
fn early_stopping_survives_an_interruption() {
    let folder = tempfile::tempdir().unwrap();
    let options = |name: &str, cancel| FitOptions {
        steps: 100,
        saving: Some(Saving { file: folder.path().join(name), every: 0 }),
        cancel,
        ..FitOptions::default()
    };
    // Scores that rise until step 6, and patience for four more.
    let watch = |step: &Step<'_, Mlp<f64>, _>| step.stop_early(step.step.min(6) as f64, EarlyStop::new(4));
    let whole = fit(mlp(), &Sgd::default(), batch, squared, &options("whole", Cancel::new()), watch).unwrap();
    assert!(whole.stopped && whole.losses.len() == 10);
    assert_eq!(whole.scores, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 6.0, 6.0, 6.0, 6.0]);
    let cancel = Cancel::new();
    let interrupted = fit(mlp(), &Sgd::default(), batch, squared, &options("part", cancel.clone()), |step| {
        if step.step == 8 {
            cancel.cancel();
        }
        watch(step)
    });
    assert!(matches!(interrupted, Err(FitError::Interrupted(_))));
    assert_eq!(fit(mlp(), &Sgd::default(), batch, squared, &options("part", Cancel::new()), watch).unwrap(), whole);
}

#[test]
fn trainings_that_cannot_go_on_say_why() {
    let run = |rule: Sgd, options: FitOptions, loss: fn(&Mlp<f64>, &(T64, T64), &mut Pass<f64>) -> T64| {
        fit(mlp(), &rule, batch, loss, &options, carry_on)
    };
    let three = || FitOptions { steps: 3, ..FitOptions::default() };
    let wild = run(Sgd { learning_rate: 1e200, ..Sgd::default() }, three(), |m, b, pass| squared(m, b, pass).square());
    assert!(matches!(wild, Err(FitError::Diverged { step: 2, .. })));
    let many = run(Sgd::default(), three(), |m, (x, _), _| m.call(x));
    assert!(matches!(many, Err(FitError::LossShape { shape }) if shape == [8, 1]));
    let clip = run(Sgd::default(), FitOptions { clip_norm: Some(0.0), ..three() }, squared);
    assert!(matches!(clip, Err(FitError::Rule(gradus_optimizers::OptimizerError::Setting { name: "clip_norm", .. }))));
    let rule = run(Sgd { learning_rate: -1.0, ..Sgd::default() }, three(), squared);
    assert!(matches!(rule, Err(FitError::Rule(_))));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.safetensors");
    let saving = || FitOptions { saving: Some(Saving { file: file.clone(), every: 1 }), ..three() };
    std::fs::write(&file, b"nonsense").unwrap();
    assert!(matches!(run(Sgd::default(), saving(), squared), Err(FitError::Saving(_))));
    std::fs::remove_file(&file).unwrap();
    run(Sgd::default(), saving(), squared).unwrap();
    let mut saved = Checkpoint::read(&file).unwrap();
    saved.metadata.insert("step".into(), "4".into());
    saved.write(&file).unwrap();
    assert!(matches!(run(Sgd::default(), saving(), squared), Err(FitError::SavedStep { losses: 3, .. })));
    saved.metadata.insert("step".into(), "3".into());
    saved.write(&file).unwrap();
    let other = Mlp::new(&[3, 9, 1], Activation::Tanh, &mut stream(6, "models-test", 0));
    let error = fit(other, &Sgd::default(), batch, squared, &saving(), carry_on).unwrap_err();
    assert!(matches!(error, FitError::Saving(CheckpointError::Shape { name, .. }) if name == "model.layers.0.weight"));
}

#[test]
fn files_of_another_model_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    let rng = &mut stream(7, "models-test", 0);
    let wide: Mlp = Mlp::new(&[2, 3, 1], Activation::Relu, rng);
    files::save(&file, &wide).unwrap();
    assert_eq!(files::load(&file, &Mlp::new(&[2, 3, 1], Activation::Relu, rng)).unwrap(), wide);
    let mut problems = |widths: &[usize]| match files::load(&file, &Mlp::<f32>::new(widths, Activation::Relu, rng)) {
        Err(FileError::Tensors { problems, .. }) => problems,
        other => panic!("{other:?}"),
    };
    let shape = |name: &str, expected: &[usize], found: &[usize]| TensorProblem::Shape {
        name: name.into(),
        expected: expected.into(),
        found: found.into(),
    };
    let wider =
        [shape("layers.0.weight", &[4, 2], &[3, 2]), shape("layers.0.bias", &[4], &[3]), shape("layers.1.weight", &[1, 4], &[1, 3])];
    assert_eq!(problems(&[2, 4, 1]), wider);
    let unexpected = |name: &str, shape: &[usize]| TensorProblem::Unexpected { name: name.into(), shape: shape.into() };
    assert_eq!(problems(&[2, 3]), [unexpected("layers.1.bias", &[1]), unexpected("layers.1.weight", &[1, 3])]);
    let missing = |name: &str, shape: &[usize]| TensorProblem::Missing { name: name.into(), shape: shape.into() };
    assert_eq!(problems(&[2, 3, 1, 1]), [missing("layers.2.weight", &[1, 1]), missing("layers.2.bias", &[1])]);
    // Widening keeps every value; narrowing is refused.
    let double: Mlp<f64> = Mlp::new(&[2, 3, 1], Activation::Relu, rng);
    assert_eq!(files::load(&file, &double).unwrap().flatten(), wide.flatten().map(f64::from));
    files::save(&file, &double).unwrap();
    let narrowing = files::load(&file, &wide).unwrap_err();
    assert!(matches!(narrowing, FileError::Tensors { problems, .. } if matches!(problems[0], TensorProblem::Type { .. })));
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn orthogonal_matrices_are(rows in 1usize..8, columns in 1usize..8, seed in 0u64..1000) {
            let q: T64 = init::orthogonal(rows, columns, &mut stream(seed, "models-test", 0));
            let product = if rows >= columns { q.t().matmul(&q) } else { q.matmul(&q.t()) };
            let difference = product - T64::eye(rows.min(columns));
            prop_assert!(difference.square().sum().item() < 1e-24);
        }

        #[test]
        fn models_survive_their_files(widths in prop::collection::vec(1usize..6, 1..4), seed in 0u64..1000) {
            let mlp: Mlp<f64> = Mlp::new(&widths, Activation::Tanh, &mut stream(seed, "models-test", 0));
            let mut checkpoint = Checkpoint::new();
            files::insert(&mut checkpoint, "net.", &mlp).unwrap();
            let blank = Mlp::new(&widths, Activation::Tanh, &mut stream(seed + 1, "models-test", 0));
            prop_assert_eq!(files::extract(&checkpoint, "net.", &blank).unwrap(), mlp);
        }
    }
}
