use gradus_checkpoint::{Checkpoint, DType, MappedCheckpoint, NamedArray};

use crate::fisher::{DeadCoordinate, DiagonalFisher, FisherMerge, FisherMode};
use crate::search::{CoefficientSearch, search};
use crate::{MergeError, NameFilter, linear};

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
fn a_mean_keeps_its_digits_and_infinities() {
    let mean = |pairs: &[(f64, f64)]| crate::arrays::weighted_mean(pairs.iter().copied());
    // A value that is large but has next to no weight takes no digits from the others.
    close(&[mean(&[(1e-20, 1e18), (100.0, 1.0)])], &[1.0001], 1e-15);
    assert_eq!(mean(&[(0.3, f64::NEG_INFINITY), (0.7, f64::NEG_INFINITY)]), f64::NEG_INFINITY);
    assert_eq!(mean(&[(0.0, f64::NAN), (0.7, 2.0)]), 2.0);
    assert!(mean(&[(0.3, f64::NAN), (0.7, 2.0)]).is_nan());
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
        // Validated before the model is dropped for its coefficient of 0.
        default.merge(&models.each_ref(), &fishers, &[1.0, 0.0]).unwrap_err()
    };
    assert!(matches!(with(&[("v", &[1.0])]), MergeError::Missing { what: "the Fisher", model: 1, tensor } if tensor == "w"));
    let shape = with(&[("w", &[1.0])]);
    assert!(matches!(shape, MergeError::Shape { what: "the Fisher", model: 1, expected, found, .. } if expected == [3] && found == [1]));
    let error = with(&[("w", &[1.0, f64::NAN, 1.0])]);
    assert!(matches!(error, MergeError::FisherValue { model: 1, tensor, index: 1, value } if tensor == "w" && value.is_nan()));
    assert!(matches!(with(&[("w", &[1.0, 1.0, -2.0])]), MergeError::FisherValue { index: 2, value: -2.0, .. }));
    assert!(matches!(with(&[("w", &[f64::INFINITY, 1.0, 1.0])]), MergeError::FisherValue { index: 0, .. }));
    assert!(matches!(with(&[("w", &[0.0; 3])]), MergeError::ZeroFisher { model: 1 }));

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
    let score = |merged: &Checkpoint| Ok::<_, MergeError>(-(merged.to_f64("w")?[0] - 0.6).abs());
    let soup = linear::greedy_soup(&models.each_ref(), &filter, score).unwrap();
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
    assert!(matches!(given.points(2), Err(MergeError::LambdaCount { lambdas: 1, .. })));

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

    /// Some models of one array with their Fishers and coefficients.
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

    impl Case {
        fn merge(&self, merge: &FisherMerge) -> Result<Vec<f64>, MergeError> {
            let models: Vec<Checkpoint> = self.theta.iter().map(|theta| arrays(&[("w", theta)])).collect();
            let fishers: Vec<DiagonalFisher> = self.fisher.iter().zip(&models).map(|(f, model)| fisher(&[("w", f)], model)).collect();
            let (merged, _) = merge.merge(&models.iter().collect::<Vec<_>>(), &fishers, &self.lambdas)?;
            Ok(merged.to_f64("w")?)
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
        fn a_common_scale_of_all_fishers_changes_nothing(case in case(), power in -6i32..6) {
            let scale = 2f64.powi(power);
            let mut scaled = case.clone();
            scaled.fisher.iter_mut().flatten().for_each(|f| *f *= scale);
            for normalize in [false, true] {
                let merge = |floor| FisherMerge { floor, normalize, ..FisherMerge::default() };
                if let (Ok(a), Ok(b)) = (case.merge(&merge(1e-3)), scaled.merge(&merge(1e-3 * scale))) {
                    prop_assert!(near(&a, &b, 1e-9));
                }
            }
        }

        #[test]
        fn normalised_a_scale_of_one_fisher_changes_nothing(case in case(), power in -6i32..6) {
            let mut scaled = case.clone();
            scaled.fisher[1].iter_mut().for_each(|f| *f *= 2f64.powi(power));
            let merge = FisherMerge { normalize: true, ..raw() };
            if let (Ok(a), Ok(b)) = (case.merge(&merge), scaled.merge(&merge)) {
                prop_assert!(near(&a, &b, 1e-9));
            }
        }

        #[test]
        fn the_order_of_the_models_does_not_matter(case in case()) {
            let mut turned = case.clone();
            turned.theta.rotate_left(1);
            turned.fisher.rotate_left(1);
            turned.lambdas.rotate_left(1);
            let merge = FisherMerge { favor_target: false, ..FisherMerge::default() };
            if let (Ok(a), Ok(b)) = (case.merge(&merge), turned.merge(&merge)) {
                prop_assert!(near(&a, &b, 1e-9));
            }
        }

        #[test]
        fn equal_fishers_give_the_weighted_average(case in case()) {
            let mut equal = case.clone();
            let first = case.fisher[0].iter().map(|f| f + 0.5).map(|f| f as f32 as f64).collect::<Vec<_>>();
            equal.fisher.iter_mut().for_each(|f| f.clone_from(&first));
            let models: Vec<Checkpoint> = case.theta.iter().map(|theta| arrays(&[("w", theta)])).collect();
            let average = linear::weighted_average(&models.iter().collect::<Vec<_>>(), &case.lambdas, &NameFilter::default());
            if let (Ok(a), Ok(b)) = (equal.merge(&FisherMerge::default()), average) {
                prop_assert!(near(&a, &b.to_f64("w").unwrap(), 1e-12));
            }
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
        fn files_give_the_same_bits_as_memory(case in case()) {
            let folder = tempfile::tempdir().unwrap();
            let models: Vec<Checkpoint> = case.theta.iter().map(|theta| arrays(&[("w", theta)])).collect();
            let fishers: Vec<DiagonalFisher> = case.fisher.iter().zip(&models).map(|(f, model)| fisher(&[("w", f)], model)).collect();
            let mapped: Vec<MappedCheckpoint> = (0..).zip(&models).map(|(i, model)| {
                let file = folder.path().join(format!("{i}.safetensors"));
                model.write(&file).unwrap();
                MappedCheckpoint::open(&file).unwrap()
            }).collect();
            let merge = FisherMerge { normalize: false, ..FisherMerge::default() };
            let memory = merge.merge(&models.iter().collect::<Vec<_>>(), &fishers, &case.lambdas);
            let files = merge.merge(&mapped.iter().collect::<Vec<_>>(), &fishers, &case.lambdas);
            match (memory, files) {
                (Ok(a), Ok(b)) => prop_assert_eq!(a, b),
                (a, b) => prop_assert_eq!(a.is_err(), b.is_err()),
            }
        }
    }

    #[cfg(feature = "autodiff")]
    proptest! {
        #[test]
        fn structs_of_tensors_give_the_same_bits_as_checkpoints(case in case()) {
            use gradus_autodiff::Tensor;
            type Model = std::collections::BTreeMap<String, Tensor<f64>>;
            let models: Vec<Model> = case.theta.iter().map(|theta| [("w".to_owned(), Tensor::vector(theta))].into()).collect();
            let checkpoints: Vec<Checkpoint> = case.theta.iter().map(|theta| arrays(&[("w", theta)])).collect();
            let fishers: Vec<DiagonalFisher> = case.fisher.iter().zip(&checkpoints).map(|(f, model)| fisher(&[("w", f)], model)).collect();
            let merge = |models: &[&Checkpoint]| Ok(FisherMerge::default().merge(models, &fishers, &case.lambdas)?.0);
            match (merge(&checkpoints.iter().collect::<Vec<_>>()), crate::in_memory(&models, merge)) {
                (Ok(a), Ok(b)) => prop_assert_eq!(a.to_f64("w").unwrap(), b["w"].to_vec()),
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
