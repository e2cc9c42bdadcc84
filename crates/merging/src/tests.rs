use gradus_base::{Cancel, Observer};
use gradus_checkpoint::{Checkpoint, DType, MappedCheckpoint, NamedArray};

use crate::fisher::{DeadCoordinate, DiagonalFisher, FisherMerge, FisherMode};
use crate::search::{CoefficientSearch, search};
use crate::{Arrays, MergeError, NameFilter, linear};

fn arrays(tensors: &[(&str, &[f64])]) -> Checkpoint {
    let mut arrays = Checkpoint::new();
    for (name, values) in tensors {
        arrays.insert_f64(*name, &[values.len()], values).unwrap();
    }
    arrays
}

fn fisher(tensors: &[(&str, &[f64])], model: &Checkpoint) -> DiagonalFisher {
    let mut arrays = Checkpoint::new();
    for (name, values) in tensors {
        let narrow: Vec<f32> = values.iter().map(|&x| x as f32).collect();
        arrays.insert_f32(*name, &[values.len()], &narrow).unwrap();
    }
    DiagonalFisher::new(arrays, 10, FisherMode::Exact, model.fingerprint()).unwrap()
}

/// The two models and Fishers of the worked example.
fn worked() -> ([Checkpoint; 2], [DiagonalFisher; 2]) {
    let models = [arrays(&[("w", &[1.0, 2.0, 3.0])]), arrays(&[("w", &[3.0, 6.0, -1.0])])];
    let fishers = [fisher(&[("w", &[4.0, 0.0, 1.0])], &models[0]), fisher(&[("w", &[1.0, 0.0, 3.0])], &models[1])];
    (models, fishers)
}

fn merged(merge: &FisherMerge, lambdas: &[f64]) -> Result<Vec<f64>, MergeError> {
    let (models, fishers) = worked();
    merge.merge(&models.each_ref(), &fishers, lambdas).map(|(merged, _)| merged.to_f64("w").unwrap())
}

fn close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert!(found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= tolerance), "{found:?} {expected:?}");
}

#[test]
fn worked_merges() {
    let plain = FisherMerge { normalize: false, ..FisherMerge::default() };
    let all = FisherMerge { favor_target: false, ..plain.clone() };
    // The floor of 1e-6 is rounded to no coordinate of the first and third element.
    close(&merged(&all, &[0.5, 0.5]).unwrap(), &[1.4, 4.0, 0.0], 1e-12);
    close(&merged(&plain, &[0.5, 0.5]).unwrap(), &[1.4, 2.0, 0.0], 1e-12);
    close(&merged(&all, &[0.2, 0.8]).unwrap(), &[2.0, 5.2, -0.692_307_692_3], 1e-9);
    let normalised = FisherMerge { normalize: true, ..all.clone() };
    close(&merged(&normalised, &[0.5, 0.5]).unwrap(), &[1.491_659_01, 4.263_768_68, -0.185_588_41], 1e-8);
    // Only ratios of the coefficients matter, however large they are.
    assert_eq!(merged(&all, &[1e308, 1e308]).unwrap(), merged(&all, &[0.5, 0.5]).unwrap());
}

#[test]
fn the_report_says_what_was_done() {
    let (models, fishers) = worked();
    let merge = FisherMerge { normalize: false, ..FisherMerge::default() };
    let (_, report) = merge.merge(&models.each_ref(), &fishers, &[1.0, 3.0]).unwrap();
    assert_eq!((report.lambda_sum, report.lambdas), (4.0, vec![0.25, 0.75]));
    close(&report.fisher_norms, &[17f64.sqrt(), 10f64.sqrt()], 1e-12);
    let tensor = &report.tensors[0];
    assert_eq!((tensor.count, tensor.floored, tensor.dead), (3, 1, 0));
    close(&tensor.shares, &[(4.0 / 7.0 + 1.0 + 0.1) / 3.0, (3.0 / 7.0 + 0.9) / 3.0], 1e-12);
}

#[test]
fn dead_coordinates_follow_the_policy() {
    let with = |dead| FisherMerge { floor: 0.0, normalize: false, dead, ..FisherMerge::default() };
    let error = merged(&with(DeadCoordinate::Error), &[0.5, 0.5]).unwrap_err();
    assert!(matches!(error, MergeError::DeadCoordinate { tensor, index: 1 } if tensor == "w"));
    close(&merged(&with(DeadCoordinate::KeepTarget), &[0.25, 0.75]).unwrap()[1..2], &[2.0], 0.0);
    close(&merged(&with(DeadCoordinate::Mean), &[0.25, 0.75]).unwrap()[1..2], &[5.0], 1e-12);
}

#[test]
fn a_dropped_target_does_not_end_a_search() {
    // The second coordinate is dead in both models. The target alone is floored, and has no weight at the last point.
    for normalize in [false, true] {
        let with = |dead| FisherMerge { dead, normalize, ..FisherMerge::default() };
        let table = search(&CoefficientSearch::default(), 2, |l| merged(&with(DeadCoordinate::Error), l).map(|w| w[1])).unwrap();
        assert_eq!(table.points.len(), 51);
        assert!(table.points.iter().all(|(_, value)| *value == 2.0));
        close(&merged(&with(DeadCoordinate::Error), &[0.0, 1.0]).unwrap(), &[3.0, 2.0, -1.0], 0.0);
        close(&merged(&with(DeadCoordinate::KeepTarget), &[0.0, 1.0]).unwrap(), &[3.0, 2.0, -1.0], 0.0);
        // The mean of the models that are left.
        close(&merged(&with(DeadCoordinate::Mean), &[0.0, 1.0]).unwrap(), &[3.0, 6.0, -1.0], 0.0);
    }
    let none = FisherMerge { floor: 0.0, ..FisherMerge::default() };
    let error = merged(&none, &[0.0, 1.0]).unwrap_err();
    assert_eq!(error.to_string(), "array `w`, element 1: the weight of every model, its coefficient times its Fisher, is 0");
}

#[test]
fn all_floored_and_normalised_dead_coordinates_are_averaged_by_normalised_weights() {
    let merge = FisherMerge { favor_target: false, ..FisherMerge::default() };
    let (a, b) = (0.5 / 17f64.sqrt(), 0.5 / 10f64.sqrt());
    close(&merged(&merge, &[0.5, 0.5]).unwrap()[1..2], &[(2.0 * a + 6.0 * b) / (a + b)], 1e-12);
}

#[test]
fn a_model_without_weight_is_dropped_whatever_it_holds() {
    let nan = f64::NAN;
    let models = [arrays(&[("w", &[1.0, 2.0])]), arrays(&[("w", &[3.0, 6.0])]), arrays(&[("w", &[nan, f64::INFINITY])])];
    let unchecked = |values: &[f32]| {
        let mut arrays = Checkpoint::new();
        arrays.insert_f32("w", &[values.len()], values).unwrap();
        DiagonalFisher::unchecked(arrays, 1, FisherMode::Exact, models[2].fingerprint()).unwrap()
    };
    let two = [fisher(&[("w", &[1.0, 3.0])], &models[0]), fisher(&[("w", &[3.0, 1.0])], &models[1])];
    for normalize in [false, true] {
        let merge = FisherMerge { normalize, ..FisherMerge::default() };
        let expected = merge.merge(&[&models[0], &models[1]], &two, &[1.0, 2.0]).unwrap().0;
        for bad in [[f32::NAN, -1.0], [0.0, 0.0], [f32::INFINITY, 0.0]] {
            let three = [two[0].clone(), two[1].clone(), unchecked(&bad)];
            let (merged, report) = merge.merge(&models.each_ref(), &three, &[1.0, 2.0, 0.0]).unwrap();
            assert_eq!(merged, expected);
            assert_eq!(report.tensors[0].shares[2], 0.0);
            assert!(merge.merge(&models.each_ref(), &three, &[1.0, 2.0, 0.1]).is_err() || bad == [0.0, 0.0]);
        }
        let three = [two[0].clone(), two[1].clone(), unchecked(&[1.0, f32::NAN])];
        let error = merge.merge(&models.each_ref(), &three, &[1.0, 2.0, 0.1]).unwrap_err();
        assert!(matches!(error, MergeError::FisherValue { tensor, index: 1, value } if tensor == "w" && value.is_nan()));
        // Its names and shapes are looked at all the same.
        let three = [two[0].clone(), two[1].clone(), unchecked(&[1.0])];
        let error = merge.merge(&models.each_ref(), &three, &[1.0, 2.0, 0.0]).unwrap_err();
        assert!(matches!(error, MergeError::Shape { what: "the Fisher", model: 2, .. }));
    }
    let average = linear::weighted_average(&models.each_ref(), &[1.0, 1.0, 0.0], &NameFilter::default()).unwrap();
    assert_eq!(average.to_f64("w").unwrap(), [2.0, 4.0]);
}

#[test]
fn the_norm_is_that_of_the_whole_fisher() {
    // Over all arrays together, and over one that is not merged too.
    let models = [arrays(&[("a", &[0.0]), ("b", &[0.0]), ("head", &[5.0])]), arrays(&[("a", &[1.0]), ("b", &[1.0]), ("head", &[6.0])])];
    let fishers = [
        fisher(&[("a", &[1.0]), ("b", &[2.0]), ("head", &[2.0])], &models[0]),
        fisher(&[("a", &[2.0]), ("b", &[1.0]), ("head", &[14.0])], &models[1]),
    ];
    assert_eq!((fishers[0].norm(), fishers[1].norm()), (3.0, 201f64.sqrt()));
    for exclude in [vec![], vec!["head".to_owned()]] {
        let filter = NameFilter { exclude, ..NameFilter::default() };
        let merge = FisherMerge { filter, ..FisherMerge::default() };
        let (merged, report) = merge.merge(&models.each_ref(), &fishers, &[0.5, 0.5]).unwrap();
        assert_eq!(report.fisher_norms, [3.0, 201f64.sqrt()]);
        for (name, f) in [("a", [1.0, 2.0]), ("b", [2.0, 1.0])] {
            let (a, b) = (f[0] / 3.0, f[1] / 201f64.sqrt());
            close(&merged.to_f64(name).unwrap(), &[b / (a + b)], 1e-12);
        }
    }
}

#[test]
fn heads_stay_and_running_statistics_are_averaged() {
    let model = |body: f64, head: &[f64], mean: f64| arrays(&[("body", &[body]), ("head", head), ("norm.running_mean", &[mean])]);
    let models = [model(0.0, &[1.0], 2.0), model(1.0, &[2.0, 3.0], 6.0)];
    let fishers = [fisher(&[("body", &[1.0])], &models[0]), fisher(&[("body", &[3.0])], &models[1])];
    let filter = NameFilter { exclude: vec!["head*".into()], ..NameFilter::default() };
    let merge = FisherMerge { normalize: false, filter, ..FisherMerge::default() };
    let (merged, _) = merge.merge(&models.each_ref(), &fishers, &[1.0, 1.0]).unwrap();
    assert_eq!(merged.to_f64("body").unwrap(), [0.75]);
    assert_eq!(merged.to_f64("head").unwrap(), [1.0]);
    assert_eq!(merged.to_f64("norm.running_mean").unwrap(), [4.0]);
    let error = FisherMerge::default().merge(&models.each_ref(), &fishers, &[1.0, 1.0]).unwrap_err();
    assert!(matches!(error, MergeError::Shape { what: "the checkpoint", model: 1, tensor, .. } if tensor == "head"));
}

#[test]
fn types_of_the_result() {
    let array = |name: &str, dtype, bytes: &[u8]| NamedArray { name: name.into(), dtype, shape: vec![1], bytes: bytes.to_vec() };
    let model = |half: u16, step: i64| {
        let mut model = arrays(&[("double", &[f64::from(half)])]);
        model.insert(array("half", DType::BF16, &half.to_le_bytes())).unwrap();
        model.insert(array("step", DType::I64, &step.to_le_bytes())).unwrap();
        model
    };
    let (a, b) = (model(0x3f80, 7), model(0x4000, 9)); // 1 and 2 in bfloat16
    let merged = linear::average(&[&a, &b], &NameFilter::default()).unwrap();
    assert_eq!((merged.get("half").unwrap().dtype, merged.to_f32("half").unwrap()), (DType::F32, vec![1.5]));
    assert_eq!(merged.get("double").unwrap().dtype, DType::F64);
    assert_eq!(merged.get("step").unwrap().bytes, 7i64.to_le_bytes());
    // A Fisher for the integers is a mistake.
    let fishers = [&a, &b].map(|model| fisher(&[("double", &[1.0]), ("half", &[1.0]), ("step", &[1.0])], model));
    let error = FisherMerge::default().merge(&[&a, &b], &fishers, &[1.0, 1.0]).unwrap_err();
    assert!(matches!(error, MergeError::NotFloat { tensor, dtype: DType::I64 } if tensor == "step"));
    // Left out by the filter, they are nobody's business; asked for by name, they are a mistake in every merge.
    let without = NameFilter { exclude: vec!["step".into()], ..NameFilter::default() };
    let merge = FisherMerge { filter: without, ..FisherMerge::default() };
    assert_eq!(merge.merge(&[&a, &b], &fishers, &[1.0, 1.0]).unwrap().0.get("step").unwrap().bytes, 7i64.to_le_bytes());
    for include in ["step", "st*"] {
        let filter = NameFilter { include: vec!["*".into(), include.into()], ..NameFilter::default() };
        let asked = |error| matches!(error, MergeError::NotFloat { tensor, .. } if tensor == "step");
        assert!(asked(linear::average(&[&a, &b], &filter).unwrap_err()));
        assert!(asked(linear::interpolate(&a, &b, 0.5, &filter).unwrap_err()));
        assert!(asked(FisherMerge { filter, ..FisherMerge::default() }.merge(&[&a, &b], &fishers, &[1.0, 1.0]).unwrap_err()));
    }
}

#[test]
fn mapped_and_in_memory_models_mix() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.safetensors");
    let (models, fishers) = worked();
    models[0].write(&file).unwrap();
    let mapped = MappedCheckpoint::open(&file).unwrap();
    let mixed: [&dyn Arrays; 2] = [&mapped, &models[1]];
    let merge = FisherMerge::default();
    assert_eq!(merge.merge(&mixed, &fishers, &[1.0, 2.0]).unwrap(), merge.merge(&models.each_ref(), &fishers, &[1.0, 2.0]).unwrap());
    let filter = NameFilter::default();
    assert_eq!(linear::average(&mixed, &filter).unwrap(), linear::average(&models.each_ref(), &filter).unwrap());
}

/// What a watcher was told, and when it cancels.
#[derive(Default)]
struct Watcher {
    progress: Vec<(u64, Option<u64>)>,
    messages: Vec<String>,
    stop: Option<(u64, Cancel)>,
}

impl Observer for Watcher {
    fn progress(&mut self, done: u64, total: Option<u64>, stage: &str) {
        assert_eq!(stage, "merging arrays");
        self.progress.push((done, total));
        if let Some((_, cancel)) = self.stop.as_ref().filter(|(after, _)| done >= *after) {
            cancel.cancel();
        }
    }
    fn message(&mut self, text: &str) {
        self.messages.push(text.into());
    }
}

#[test]
fn long_merges_are_watched_and_interrupted() {
    let models = [arrays(&[("a", &[1.0]), ("b", &[2.0]), ("c", &[3.0])]), arrays(&[("a", &[3.0]), ("b", &[4.0]), ("c", &[5.0])])];
    let fishers = models.each_ref().map(|model| fisher(&[("a", &[1.0]), ("b", &[1.0]), ("c", &[1.0])], model));
    let filter = NameFilter::default();
    let run = |lambdas: &[f64], cancel: &Cancel, watcher: &mut Watcher, fisher: bool| {
        if fisher {
            FisherMerge::default().merge_watched(&models.each_ref(), &fishers, lambdas, cancel, watcher).map(|(merged, _)| merged)
        } else {
            linear::weighted_average_watched(&models.each_ref(), lambdas, &filter, cancel, watcher)
        }
    };
    for fisher in [false, true] {
        let (mut watcher, cancel) = (Watcher::default(), Cancel::new());
        let merged = run(&[1.0, 3.0], &cancel, &mut watcher, fisher).unwrap();
        close(&merged.to_f64("c").unwrap(), &[4.5], 1e-12);
        assert_eq!(watcher.progress, [1, 2, 3].map(|done| (done, Some(3))));
        assert_eq!(watcher.messages, ["the coefficients sum to 4, not 1: only their ratios matter"]);
        let mut silent = Watcher::default();
        run(&[0.1, 0.9], &cancel, &mut silent, fisher).unwrap();
        assert!(silent.messages.is_empty());

        let mut stopping = Watcher { stop: Some((2, cancel.clone())), ..Watcher::default() };
        assert!(matches!(run(&[0.5, 0.5], &cancel, &mut stopping, fisher), Err(MergeError::Interrupted(_))));
        assert_eq!(stopping.progress.len(), 2);
    }
}

#[test]
fn bad_merges() {
    let (models, fishers) = worked();
    let default = FisherMerge::default();
    let merge = |lambdas: &[f64]| default.merge(&models.each_ref(), &fishers, lambdas).unwrap_err();
    assert!(matches!(merge(&[1.0]), MergeError::LambdaCount { models: 2, lambdas: 1 }));
    assert!(matches!(merge(&[1.0, -0.1]), MergeError::Lambda { model: 1, value: -0.1 }));
    assert!(matches!(merge(&[f64::NAN, 1.0]), MergeError::Lambda { model: 0, .. }));
    assert!(matches!(merge(&[f64::INFINITY, 1.0]), MergeError::Lambda { model: 0, .. }));
    assert!(matches!(merge(&[0.0, 0.0]), MergeError::ZeroLambdas));
    let none: [&Checkpoint; 0] = [];
    assert!(matches!(default.merge(&none, &[], &[]), Err(MergeError::TooFewModels { found: 0 })));
    assert!(matches!(default.merge(&[&models[0]], &fishers[..1], &[1.0]), Err(MergeError::TooFewModels { found: 1 })));
    assert!(matches!(
        default.merge(&models.each_ref(), &fishers[..1], &[1.0, 1.0]),
        Err(MergeError::FisherCount { models: 2, fishers: 1 })
    ));
    for floor in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(merged(&FisherMerge { floor, ..default.clone() }, &[1.0, 1.0]), Err(MergeError::Floor { .. })));
    }

    let with = |second: &[(&str, &[f64])]| {
        let fishers = [fishers[0].clone(), fisher(second, &models[1])];
        // Names and shapes are validated before the model is dropped for its coefficient of 0.
        default.merge(&models.each_ref(), &fishers, &[1.0, 0.0]).unwrap_err()
    };
    assert!(matches!(with(&[("v", &[1.0])]), MergeError::Missing { what: "the Fisher", model: 1, tensor } if tensor == "w"));
    let shape = with(&[("w", &[1.0])]);
    assert!(matches!(shape, MergeError::Shape { what: "the Fisher", model: 1, expected, found, .. } if expected == [3] && found == [1]));
    let zero = [fishers[0].clone(), fisher(&[("w", &[0.0; 3])], &models[1])];
    assert!(matches!(default.merge(&models.each_ref(), &zero, &[1.0, 0.1]), Err(MergeError::ZeroFisher { model: 1 })));

    let swapped = [fishers[1].clone(), fishers[0].clone()];
    let error = default.merge(&models.each_ref(), &swapped, &[1.0, 1.0]).unwrap_err();
    assert!(matches!(error, MergeError::Fingerprint { model: 0, .. }));
    let overridden = FisherMerge { check_fingerprints: false, ..default.clone() };
    assert!(overridden.merge(&models.each_ref(), &swapped, &[1.0, 1.0]).is_ok());

    let other = arrays(&[("v", &[1.0; 3])]);
    let error = linear::average(&[&models[0], &other], &NameFilter::default()).unwrap_err();
    assert!(matches!(error, MergeError::Missing { what: "the checkpoint", model: 1, tensor } if tensor == "w"));
    let more = arrays(&[("v", &[1.0; 3]), ("w", &[1.0; 3])]);
    let error = linear::average(&[&models[0], &more], &NameFilter::default()).unwrap_err();
    assert!(matches!(error, MergeError::Unexpected { model: 1, tensor } if tensor == "v"));
}

#[test]
fn fisher_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fisher.safetensors");
    let (models, fishers) = worked();
    for mode in [FisherMode::Exact, FisherMode::Empirical, FisherMode::Sampled { draws: 3, seed: 9 }] {
        let mut fisher = fishers[0].clone();
        fisher.mode = mode;
        fisher.save(&file).unwrap();
        assert_eq!(DiagonalFisher::load(&file).unwrap(), fisher);
    }
    let half = NamedArray { name: "w".into(), dtype: DType::BF16, shape: vec![1], bytes: vec![0, 0] };
    let mut arrays = Checkpoint::new();
    arrays.insert(half).unwrap();
    let error = DiagonalFisher::new(arrays, 1, FisherMode::Exact, String::new()).unwrap_err();
    assert!(matches!(error, MergeError::FisherType { tensor, dtype: DType::BF16 } if tensor == "w"));
    let empty = DiagonalFisher::new(Checkpoint::new(), 0, FisherMode::Exact, String::new());
    assert!(matches!(empty, Err(MergeError::NoExamples)));

    for value in [f32::NAN, f32::INFINITY, -2.0] {
        let mut arrays = Checkpoint::new();
        arrays.insert_f32("v", &[1], &[1.0]).unwrap();
        arrays.insert_f32("w", &[3], &[1.0, 0.0, value]).unwrap();
        let new = DiagonalFisher::new(arrays.clone(), 1, FisherMode::Exact, String::new()).unwrap_err();
        DiagonalFisher::unchecked(arrays, 1, FisherMode::Exact, String::new()).unwrap().save(&file).unwrap();
        for error in [new, DiagonalFisher::load(&file).unwrap_err()] {
            let MergeError::FisherValue { tensor, index: 2, value: found } = error else { panic!("{error}") };
            assert!(tensor == "w" && found.to_bits() == f64::from(value).to_bits());
        }
    }

    models[0].write(&file).unwrap();
    assert!(matches!(DiagonalFisher::load(&file), Err(MergeError::Metadata { key: "n_examples", found: None, .. })));
    fishers[0].save(&file).unwrap();
    let mut saved = Checkpoint::read(&file).unwrap();
    for (key, value) in [("n_examples", "none"), ("n_examples", "0"), ("mode", "guessed"), ("mode", "sampled:x:1")] {
        let good = saved.metadata.insert(key.into(), value.into()).unwrap();
        saved.write(&file).unwrap();
        assert!(matches!(DiagonalFisher::load(&file), Err(MergeError::Metadata { key: found, .. }) if found == key), "{value}");
        saved.metadata.insert(key.into(), good);
    }
    assert!(matches!(DiagonalFisher::load(folder.path().join("none")), Err(MergeError::Checkpoint(_))));
}

#[test]
fn soups_and_interpolation() {
    let models = [arrays(&[("w", &[0.0])]), arrays(&[("w", &[1.0])]), arrays(&[("w", &[4.0])])];
    let filter = NameFilter::default();
    // Best at 0.6: model 1 alone scores -0.4, with model 0 -0.1, and model 2 never helps.
    let mut calls = 0;
    let score = |merged: &Checkpoint| {
        calls += 1;
        Ok::<_, MergeError>(-(merged.to_f64("w")?[0] - 0.6).abs())
    };
    let soup = linear::greedy_soup(&models.each_ref(), &filter, score).unwrap();
    assert_eq!((calls, soup.score), (5, -(0.5f64 - 0.6).abs()));
    assert_eq!((soup.members, soup.merged.to_f64("w").unwrap()), (vec![1, 0], vec![0.5]));
    close(&soup.alone, &[-0.6, -0.4, -3.4], 1e-12);
    assert!(matches!(linear::greedy_soup(&models.each_ref(), &filter, |_| Ok(f64::NAN)), Err(MergeError::Score { point: 0 })));

    let alphas = [0.0, 0.25, 1.0, 1.5];
    let values = linear::interpolation_curve(&models[1], &models[2], &alphas, &filter, |m| Ok::<_, MergeError>(m.to_f64("w")?[0]));
    assert_eq!(values.unwrap(), [1.0, 1.75, 4.0, 5.5]);
    let error = linear::interpolate(&models[1], &models[2], f64::NAN, &filter).unwrap_err();
    assert!(matches!(error, MergeError::Option { name: "alpha", .. }));
    assert_eq!(linear::output_ensemble(&[vec![0.2, 0.8], vec![0.6, 0.4]]).unwrap(), [0.4, 0.6]);
    assert!(matches!(linear::output_ensemble(&[]), Err(MergeError::TooFewModels { found: 0 })));
    assert!(matches!(linear::output_ensemble(&[vec![0.2], vec![]]), Err(MergeError::Shape { model: 1, .. })));
}

#[test]
fn the_best_single_model_is_scored_as_it_is() {
    // The heads differ, and are what the score looks at.
    let model = |body: f64, head: f64| arrays(&[("body", &[body]), ("head", &[head])]);
    let models = [model(0.0, 1.0), model(1.0, 3.0), model(2.0, 3.0)];
    let score = |model: &Checkpoint| Ok::<_, MergeError>(model.to_f64("head")?[0]);
    let best = linear::best_single(&models.each_ref(), score).unwrap();
    assert_eq!((best.model, best.scores), (1, vec![1.0, 3.0, 3.0]));
    let body = NameFilter { include: vec!["body".into()], ..NameFilter::default() };
    assert_eq!(linear::greedy_soup(&models.each_ref(), &body, score).unwrap().alone, [1.0; 3]);
    let none: [&Checkpoint; 0] = [];
    assert!(matches!(linear::best_single(&none, score), Err(MergeError::TooFewModels { found: 0 })));
    let nan = linear::best_single(&models.each_ref(), |_| Ok::<_, MergeError>(f64::NAN));
    assert!(matches!(nan, Err(MergeError::Score { point: 0 })));
}

#[test]
fn concentrations_of_any_size() {
    let points = |alpha, models| CoefficientSearch::Dirichlet { n: 200, alpha, seed: 2 }.points(models).unwrap();
    for alpha in [f64::MIN_POSITIVE * f64::EPSILON, 1e-300, 1e-5, 0.3, 1.0, 7.0, 1e10, 1e308, f64::MAX] {
        for point in points(alpha, 3) {
            assert!(point.iter().all(|x| (0.0..=1.0).contains(x)) && (point.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{alpha} {point:?}");
        }
    }
    // Next to nothing chooses one of the models, each as often as the others; a huge one chooses the middle.
    let tiny = points(1e-300, 3);
    let chosen = [0, 1, 2].map(|i| tiny.iter().filter(|point| point[i] == 1.0).count());
    assert_eq!(chosen.iter().sum::<usize>(), 200);
    assert!(chosen.iter().all(|count| (40..95).contains(count)), "{chosen:?}");
    assert!(points(1e308, 3).iter().flatten().all(|x| (x - 1.0 / 3.0).abs() < 1e-12));
    // The variance of a coordinate is (M - 1) / (M² (M α + 1)).
    for alpha in [0.2, 0.9, 3.0] {
        let draws = CoefficientSearch::Dirichlet { n: 4000, alpha, seed: 3 }.points(3).unwrap();
        let variance = draws.iter().map(|point| (point[0] - 1.0 / 3.0).powi(2)).sum::<f64>() / 4000.0;
        let expected = 2.0 / (9.0 * (3.0 * alpha + 1.0));
        assert!((variance / expected - 1.0).abs() < 0.12, "{alpha}: {variance} {expected}");
    }
}

#[test]
fn coefficients() {
    let grid = CoefficientSearch::PairGrid { n: 5 }.points(2).unwrap();
    assert_eq!(grid, [[1.0, 0.0], [0.75, 0.25], [0.5, 0.5], [0.25, 0.75], [0.0, 1.0]]);
    assert!(matches!(CoefficientSearch::PairGrid { n: 1 }.points(2), Err(MergeError::Option { name: "n", .. })));
    assert!(matches!(CoefficientSearch::PairGrid { n: 5 }.points(3), Err(MergeError::GridModels { models: 3 })));
    let dirichlet = |n, alpha| CoefficientSearch::Dirichlet { n, alpha, seed: 1 }.points(3);
    assert!(matches!(dirichlet(0, 1.0), Err(MergeError::Option { name: "n", .. })));
    for alpha in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(dirichlet(1, alpha), Err(MergeError::Option { name: "alpha", .. })), "{alpha}");
    }
    let draws = dirichlet(4000, 1.0).unwrap();
    assert!(draws.iter().all(|point| (point.iter().sum::<f64>() - 1.0).abs() < 1e-12));
    // Each coordinate of the uniform distribution over the triangle has mean 1/3 and variance 1/18.
    let mean = draws.iter().map(|point| point[0]).sum::<f64>() / 4000.0;
    assert!((mean - 1.0 / 3.0).abs() < 5.0 * (1.0f64 / 18.0 / 4000.0).sqrt());
    let given = CoefficientSearch::Given(vec![vec![1.0, 0.0], vec![0.5]]);
    let error = given.points(2).unwrap_err();
    assert_eq!(error.to_string(), "point 1 of the search: 1 coefficients were given for 2 models");
    assert!(matches!(error, MergeError::Point { point: 1, source } if matches!(*source, MergeError::LambdaCount { lambdas: 1, .. })));

    let tie = search(&CoefficientSearch::PairGrid { n: 3 }, 2, |_| Ok::<_, MergeError>(1.0)).unwrap();
    assert_eq!((tie.best, tie.points.len()), (0, 3));
    let nan = search(&CoefficientSearch::PairGrid { n: 3 }, 2, |l| Ok::<_, MergeError>(if l[0] == 0.5 { f64::NAN } else { 0.0 }));
    assert!(matches!(nan, Err(MergeError::Score { point: 1 })));
    let empty = search(&CoefficientSearch::Given(vec![]), 2, |_| Ok::<_, MergeError>(0.0));
    assert!(matches!(empty, Err(MergeError::Option { .. })));
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    /// Some models with their Fishers and coefficients. Each is cut into two arrays.
    #[derive(Debug, Clone)]
    struct Case {
        theta: Vec<Vec<f64>>,
        fisher: Vec<Vec<f64>>,
        lambdas: Vec<f64>,
    }

    fn case() -> impl Strategy<Value = Case> {
        (2usize..5, 1usize..6).prop_flat_map(|(models, count)| {
            let entry = prop_oneof![1 => Just(0.0), 5 => (-20i32..20).prop_map(|e| 1.7f64.powi(e) as f32 as f64)];
            let theta = prop::collection::vec(prop::collection::vec(-3.0f64..3.0, count), models);
            let fisher = prop::collection::vec(prop::collection::vec(entry, count), models);
            let lambdas = prop::collection::vec(prop_oneof![1 => Just(0.0), 5 => 0.05f64..2.0], models);
            (theta, fisher, lambdas).prop_map(|(theta, fisher, lambdas)| Case { theta, fisher, lambdas })
        })
    }

    /// The arrays `a`, which may be empty, and `b`.
    fn cut(values: &[f64]) -> [(&str, &[f64]); 2] {
        let (a, b) = values.split_at(values.len() / 2);
        [("a", a), ("b", b)]
    }

    fn joined(merged: &Checkpoint) -> Vec<f64> {
        [merged.to_f64("a").unwrap(), merged.to_f64("b").unwrap()].concat()
    }

    impl Case {
        fn models(&self) -> Vec<Checkpoint> {
            self.theta.iter().map(|theta| arrays(&cut(theta))).collect()
        }

        fn fishers(&self, models: &[Checkpoint]) -> Vec<DiagonalFisher> {
            self.fisher.iter().zip(models).map(|(f, model)| fisher(&cut(f), model)).collect()
        }

        fn merge(&self, merge: &FisherMerge) -> Result<Vec<f64>, MergeError> {
            let models = self.models();
            let (merged, _) = merge.merge(&models.iter().collect::<Vec<_>>(), &self.fishers(&models), &self.lambdas)?;
            Ok(joined(&merged))
        }
    }

    /// Equal up to rounding, or both refused.
    fn agree(a: &Result<Vec<f64>, MergeError>, b: &Result<Vec<f64>, MergeError>, tolerance: f64) -> bool {
        match (a, b) {
            (Ok(a), Ok(b)) => near(a, b, tolerance),
            (a, b) => a.is_err() == b.is_err(),
        }
    }

    fn raw() -> FisherMerge {
        FisherMerge { floor: 0.0, normalize: false, dead: DeadCoordinate::KeepTarget, ..FisherMerge::default() }
    }

    fn near(a: &[f64], b: &[f64], tolerance: f64) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance * (1.0 + a.abs()))
    }

    proptest! {
        #[test]
        fn every_coordinate_lies_between_the_models(case in case()) {
            if let Ok(merged) = case.merge(&raw()) {
                for (j, value) in merged.iter().enumerate() {
                    let used = |i: &usize| case.lambdas[*i] * case.fisher[*i][j] > 0.0;
                    let values: Vec<f64> = (0..case.theta.len()).filter(used).map(|i| case.theta[i][j]).collect();
                    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
                    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    prop_assert!(values.is_empty() || (low..=high).contains(value));
                }
            }
        }

        #[test]
        fn a_common_scale_of_all_fishers_changes_nothing(case in case(), scale in 0.01f64..100.0) {
            let mut scaled = case.clone();
            scaled.fisher.iter_mut().flatten().for_each(|f| *f *= scale);
            for (normalize, favor_target) in [(false, false), (false, true), (true, false), (true, true)] {
                let merge = |floor| FisherMerge { floor, normalize, favor_target, ..FisherMerge::default() };
                // The scaled Fishers are rounded to F32.
                prop_assert!(agree(&case.merge(&merge(1e-3)), &scaled.merge(&merge(1e-3 * scale)), 1e-5));
            }
        }

        #[test]
        fn normalised_a_scale_of_one_fisher_changes_nothing(case in case(), which in 0usize..5, scale in 0.01f64..100.0) {
            let mut scaled = case.clone();
            let which = which % case.fisher.len();
            scaled.fisher[which].iter_mut().for_each(|f| *f *= scale);
            for dead in [DeadCoordinate::KeepTarget, DeadCoordinate::Mean, DeadCoordinate::Error] {
                let merge = FisherMerge { normalize: true, dead, ..raw() };
                prop_assert!(agree(&case.merge(&merge), &scaled.merge(&merge), 1e-5));
            }
        }

        /// The formula of the merge, with one norm for all arrays of a model.
        #[test]
        fn the_formula(case in case(), normalize: bool, favor_target: bool) {
            let merge = FisherMerge { floor: 1e-3, normalize, favor_target, dead: DeadCoordinate::KeepTarget, ..FisherMerge::default() };
            let merged = case.merge(&merge);
            let weights: Vec<f64> = case.lambdas.iter().zip(&case.fisher).map(|(lambda, f)| {
                let norm = f.iter().map(|f| f * f).sum::<f64>().sqrt();
                if *lambda == 0.0 { 0.0 } else if normalize { lambda / norm } else { *lambda }
            }).collect();
            if weights.iter().any(|w| w.is_infinite()) || case.lambdas.iter().all(|l| *l == 0.0) {
                prop_assert!(merged.is_err());
                return Ok(());
            }
            for (j, found) in merged.unwrap().into_iter().enumerate() {
                let (mut sum, mut total) = (0.0, 0.0);
                for (i, weight) in weights.iter().enumerate() {
                    let f = if i == 0 || !favor_target { case.fisher[i][j].max(1e-3) } else { case.fisher[i][j] };
                    sum += weight * f * case.theta[i][j];
                    total += weight * f;
                }
                let expected = if total == 0.0 { case.theta[0][j] } else { sum / total };
                prop_assert!((found - expected).abs() <= 1e-9, "{} {}", found, expected);
            }
        }

        #[test]
        fn the_order_of_the_models_does_not_matter(case in case()) {
            let mut turned = case.clone();
            turned.theta.rotate_left(1);
            turned.fisher.rotate_left(1);
            turned.lambdas.rotate_left(1);
            let merge = FisherMerge { favor_target: false, ..FisherMerge::default() };
            prop_assert!(agree(&case.merge(&merge), &turned.merge(&merge), 1e-9));
        }

        #[test]
        fn equal_fishers_give_the_weighted_average(case in case()) {
            let mut equal = case.clone();
            let first = case.fisher[0].iter().map(|f| f + 0.5).map(|f| f as f32 as f64).collect::<Vec<_>>();
            equal.fisher.iter_mut().for_each(|f| f.clone_from(&first));
            let models = case.models();
            let average = linear::weighted_average(&models.iter().collect::<Vec<_>>(), &case.lambdas, &NameFilter::default());
            prop_assert!(agree(&equal.merge(&FisherMerge::default()), &average.map(|merged| joined(&merged)), 1e-12));
        }

        #[test]
        fn copies_of_one_model_give_that_model(case in case()) {
            let mut copies = case.clone();
            copies.theta.iter_mut().for_each(|theta| theta.clone_from(&case.theta[0]));
            for normalize in [false, true] {
                if let Ok(merged) = copies.merge(&FisherMerge { normalize, ..FisherMerge::default() }) {
                    prop_assert_eq!(&merged, &case.theta[0]);
                }
            }
        }

        /// The merge maximises the sum of the Gaussian log-densities (section 3.2): moving any coordinate lowers it.
        #[test]
        fn the_merge_is_the_most_probable_point(case in case(), step in prop_oneof![-1.0f64..-0.01, 0.01f64..1.0]) {
            if let Ok(merged) = case.merge(&raw()) {
                for (j, &value) in merged.iter().enumerate() {
                    let density = |x: f64| -> f64 {
                        (0..case.theta.len()).map(|i| -0.5 * case.lambdas[i] * case.fisher[i][j] * (x - case.theta[i][j]).powi(2)).sum()
                    };
                    prop_assert!(density(value + step) <= density(value) + 1e-9 * density(value).abs());
                }
            }
        }

        #[test]
        fn files_give_the_same_bits_as_memory(case in case(), normalize: bool, types in prop::collection::vec(0usize..4, 2)) {
            let folder = tempfile::tempdir().unwrap();
            let models: Vec<Checkpoint> = case.models().iter().map(|model| typed(model, &types)).collect();
            let fishers = case.fishers(&models);
            let (mut mapped, mut loaded) = (Vec::new(), Vec::new());
            for (i, (model, fisher)) in models.iter().zip(&fishers).enumerate() {
                let file = folder.path().join(i.to_string());
                fisher.save(&file).unwrap();
                loaded.push(DiagonalFisher::load(&file).unwrap());
                model.write(&file).unwrap();
                mapped.push(MappedCheckpoint::open(&file).unwrap());
            }
            let merge = FisherMerge { normalize, ..FisherMerge::default() };
            let memory = merge.merge(&models.iter().collect::<Vec<_>>(), &fishers, &case.lambdas);
            let files = merge.merge(&mapped.iter().collect::<Vec<_>>(), &loaded, &case.lambdas);
            match (memory, files) {
                (Ok(a), Ok(b)) => prop_assert_eq!(a, b),
                (a, b) => prop_assert_eq!(a.is_err(), b.is_err()),
            }
        }
    }

    /// The arrays in other types, and a counter.
    fn typed(model: &Checkpoint, types: &[usize]) -> Checkpoint {
        let mut typed = Checkpoint::new();
        for (array, of) in model.arrays().zip(types) {
            let values = array.to_f64().unwrap();
            let bits = |x: f64| (x as f32).to_bits();
            let (dtype, bytes): (DType, Vec<u8>) = match of {
                0 => (DType::F64, array.bytes.to_vec()),
                1 => (DType::F32, values.iter().flat_map(|&x| bits(x).to_le_bytes()).collect()),
                2 => (DType::BF16, values.iter().flat_map(|&x| ((bits(x) >> 16) as u16).to_le_bytes()).collect()),
                // The upper bits of any number are some number between -2 and 2 in F16.
                _ => (DType::F16, values.iter().flat_map(|&x| ((bits(x) >> 16) as u16 & 0xbfff).to_le_bytes()).collect()),
            };
            typed.insert(NamedArray { name: array.name.into(), dtype, shape: array.shape.to_vec(), bytes }).unwrap();
        }
        let bytes = vec![3; 8];
        typed.insert(NamedArray { name: "counter".into(), dtype: DType::I64, shape: vec![], bytes }).unwrap();
        typed
    }

    #[cfg(feature = "autodiff")]
    proptest! {
        #[test]
        fn structs_of_tensors_give_the_same_bits_as_checkpoints(case in case()) {
            use gradus_autodiff::Tensor;
            type Model = std::collections::BTreeMap<String, Tensor<f64>>;
            let model = |theta: &Vec<f64>| -> Model { cut(theta).map(|(name, values)| (name.to_owned(), Tensor::vector(values))).into() };
            let models: Vec<Model> = case.theta.iter().map(model).collect();
            let checkpoints = case.models();
            let fishers = case.fishers(&checkpoints);
            let merge = |models: &[&Checkpoint]| Ok(FisherMerge::default().merge(models, &fishers, &case.lambdas)?.0);
            match (merge(&checkpoints.iter().collect::<Vec<_>>()), crate::in_memory(&models, merge)) {
                (Ok(a), Ok(b)) => prop_assert_eq!(joined(&a), [b["a"].to_vec(), b["b"].to_vec()].concat()),
                (a, b) => prop_assert_eq!(a.is_err(), b.is_err()),
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let values = |k: f64| (0..100_000).map(|j| (f64::from(j) * k).sin()).collect::<Vec<_>>();
        let models = [arrays(&[("w", &values(0.1))]), arrays(&[("w", &values(0.2))])];
        let fishers = [0.3, 0.4].map(|k| values(k).iter().map(|x| x.abs()).collect::<Vec<_>>());
        let fishers = [fisher(&[("w", &fishers[0])], &models[0]), fisher(&[("w", &fishers[1])], &models[1])];
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| FisherMerge::default().merge(&models.each_ref(), &fishers, &[1.0, 2.0]).unwrap())
        };
        assert_eq!(run(1), run(3));
    }
}
