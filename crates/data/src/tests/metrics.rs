use crate::*;

#[test]
fn precision_recall_and_f1_by_hand() {
    // Labels and predictions: of class 0, 2 of 3 are found and 1 of class 1 is called 0; class 2 is never predicted.
    let metrics = class_metrics(&[0, 0, 1, 0, 1, 1], &[0, 0, 0, 1, 1, 2], 4).unwrap();
    let near = |own: PrecisionRecall, expected: [f64; 3]| {
        let own = [own.precision, own.recall, own.f1];
        assert!(own.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15), "{own:?} {expected:?}");
    };
    near(metrics.classes[0], [2.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0]);
    near(metrics.classes[1], [1.0 / 3.0, 0.5, 0.4]);
    near(metrics.classes[2], [0.0, 0.0, 0.0]);
    near(metrics.classes[3], [0.0, 0.0, 0.0]);
    assert_eq!(
        (&metrics.support[..], &metrics.predicted[..], &metrics.right[..]),
        (&[3, 2, 1, 0][..], &[3, 3, 0, 0][..], &[2, 1, 0, 0][..])
    );
    near(metrics.micro(), [0.5, 0.5, 0.5]);
    // Class 3 does not occur and does not count.
    near(metrics.macro_mean(), [1.0 / 3.0, (2.0 / 3.0 + 0.5) / 3.0, (2.0 / 3.0 + 0.4) / 3.0]);
    near(metrics.weighted_mean(), [(3.0 * 2.0 / 3.0 + 2.0 / 3.0) / 6.0, 0.5, (3.0 * 2.0 / 3.0 + 2.0 * 0.4) / 6.0]);
    assert!(matches!(class_metrics(&[0], &[0, 1], 2), Err(DataError::Count { .. })));
    assert!(matches!(class_metrics(&[], &[], 2), Err(DataError::Empty { .. })));
    assert!(matches!(class_metrics(&[2], &[0], 2), Err(DataError::Label { label: 2, .. })));
}

#[test]
fn area_under_the_roc_curve_by_hand() {
    assert_eq!(roc_auc(&[0.1, 0.2, 0.3, 0.4], &[false, false, true, true]).unwrap(), 1.0);
    assert_eq!(roc_auc(&[0.4, 0.3, 0.2, 0.1], &[false, false, true, true]).unwrap(), 0.0);
    assert_eq!(roc_auc(&[7.0; 5], &[false, true, true, false, true]).unwrap(), 0.5);
    // Of 6 pairs 4 are in order and 1 is tied.
    assert_eq!(roc_auc(&[1.0, 2.0, 2.0, 3.0, 0.0], &[false, false, true, true, true]).unwrap(), 3.5 / 6.0);
    let infinite = [f64::NEG_INFINITY, -0.0, 0.0, f64::INFINITY];
    assert_eq!(roc_auc(&infinite, &[false, true, false, true]).unwrap(), 3.5 / 4.0);
    assert!(matches!(roc_auc(&[0.0, f64::NAN], &[false, true]), Err(DataError::Score { index: 1, .. })));
    assert!(matches!(roc_auc(&[0.0], &[false, true]), Err(DataError::Count { expected: 2, found: 1, .. })));
    assert!(matches!(roc_auc(&[], &[]), Err(DataError::Empty { .. })));
    for all in [true, false] {
        let error = roc_auc(&[0.0, 1.0], &[all; 2]).unwrap_err();
        assert!(matches!(error, DataError::OneClass { rows: 2, positives, class: 1, .. } if positives == 2 * usize::from(all)));
    }
    let scores = [0.8, 0.1, 0.1, 0.3, 0.3, 0.4, 0.2, 0.5, 0.3];
    assert_eq!(roc_auc_one_vs_rest(&scores, &[0, 1, 2], 3).unwrap(), [1.0, 0.5, 0.5]);
    assert!(matches!(roc_auc_one_vs_rest(&scores, &[0, 1, 1], 3), Err(DataError::OneClass { class: 2, positives: 0, .. })));
    assert!(matches!(roc_auc_one_vs_rest(&scores, &[0, 1, 3], 3), Err(DataError::Label { label: 3, .. })));
    assert!(matches!(roc_auc_one_vs_rest(&scores[1..], &[0, 1, 2], 3), Err(DataError::Count { expected: 9, found: 8, .. })));
    let unsound = [0.8, 0.1, 0.1, 0.3, 0.3, f64::NAN, 0.2, 0.5, 0.3];
    assert!(matches!(roc_auc_one_vs_rest(&unsound, &[0, 1, 2], 3), Err(DataError::Score { index: 5, .. })));
}

#[test]
fn calibration_by_hand() {
    let confidences = [0.0, 0.5, 0.55, 0.95, 1.0];
    let right = [false, true, false, true, true];
    let width = calibration(&confidences, &right, 2, Binning::EqualWidth).unwrap();
    let bin = |count, confidence, accuracy| CalibrationBin { count, confidence, accuracy };
    assert_eq!(width.bins[0], bin(2, 0.25, 0.5));
    assert_eq!((width.bins[1].count, width.bins[1].accuracy), (3, 2.0 / 3.0));
    assert!((width.bins[1].confidence - 2.5 / 3.0).abs() < 1e-15);
    assert!((width.expected_error - (2.0 * 0.25 + 3.0 * (0.5 / 3.0)) / 5.0).abs() < 1e-15);
    assert!((width.maximum_error - 0.25).abs() < 1e-15);
    // Bins of 3 and 2 rows: the third begins below the middle.
    let mass = calibration(&confidences, &right, 2, Binning::EqualMass).unwrap();
    assert_eq!(mass.bins.iter().map(|bin| bin.count).collect::<Vec<_>>(), [3, 2]);
    // Empty bins are left out; equal confidences stay together.
    assert_eq!(calibration(&[0.95; 3], &[true; 3], 10, Binning::EqualWidth).unwrap().bins.len(), 1);
    assert_eq!(calibration(&[0.2, 0.2, 0.2, 0.9], &[true; 4], 2, Binning::EqualMass).unwrap().bins[0].count, 3);
    let bad = |confidences: &[f64], bins| calibration(confidences, &[true], bins, Binning::EqualWidth).unwrap_err();
    assert!(matches!(bad(&[1.5], 2), DataError::Probability { index: 0, value: 1.5, .. }));
    assert!(matches!(bad(&[f64::NAN], 2), DataError::Probability { index: 0, .. }));
    assert!(matches!(bad(&[0.5], 0), DataError::Empty { .. }));
    assert!(matches!(bad(&[0.5, 0.5], 2), DataError::Count { expected: 1, found: 2, .. }));
    assert!(matches!(calibration(&[], &[], 2, Binning::EqualMass), Err(DataError::Empty { .. })));
}

#[test]
fn edges_of_bins_belong_below() {
    for bins in [1usize, 10, 15, 41, 50, 100, 1000] {
        let edges: Vec<f64> = (1..=bins).map(|m| m as f64 / bins as f64).collect();
        let count =
            |confidences: &[f64]| calibration(confidences, &vec![true; confidences.len()], bins, Binning::EqualWidth).unwrap().bins.len();
        assert_eq!(count(&edges), bins);
        // What is just above an edge is with the next one.
        for pair in edges.windows(2) {
            assert_eq!((count(&[pair[0].next_up(), pair[1]]), count(&[pair[0], pair[0].next_up()])), (1, 2), "{pair:?}");
        }
    }
    assert_eq!(calibration(&[0.0, -0.0, f64::MIN_POSITIVE], &[true; 3], usize::MAX, Binning::EqualWidth).unwrap().bins.len(), 1);
    assert_eq!(calibration(&[1.0], &[true], usize::MAX, Binning::EqualWidth).unwrap().bins.len(), 1);
}

#[test]
fn many_classes_need_no_matrix() {
    let classes = 1 << 20;
    let metrics = class_metrics(&[0, classes - 1, 7], &[0, classes - 1, 8], classes).unwrap();
    assert_eq!((metrics.right[classes - 1], metrics.support[8], metrics.predicted[7]), (1, 1, 1));
    assert_eq!((metrics.macro_mean().f1, metrics.weighted_mean().recall), (0.5, 2.0 / 3.0));
}

#[test]
fn scores_of_probabilities_by_hand() {
    assert_eq!(brier_score(&[1.0, 0.0, 0.0, 1.0], &[0, 1], 2).unwrap(), 0.0);
    assert_eq!(brier_score(&[0.0, 1.0], &[0], 2).unwrap(), 2.0);
    assert!((brier_score(&[0.2, 0.3, 0.5], &[2], 3).unwrap() - (0.04 + 0.09 + 0.25)).abs() < 1e-15);
    assert_eq!(log_loss(&[0.25, 0.75], &[0], 2, 0.0).unwrap(), 4f64.ln());
    assert_eq!(log_loss(&[0.0, 1.0], &[0], 2, 0.0).unwrap(), f64::INFINITY);
    assert_eq!(log_loss(&[0.0, 1.0], &[0], 2, 1e-12).unwrap(), -(1e-12f64.ln()));
    for score in [brier_score as fn(&[f64], &[usize], usize) -> Result<f64, DataError>, |p, y, c| log_loss(p, y, c, 0.0)] {
        assert!(matches!(score(&[], &[], 2), Err(DataError::Empty { .. })));
        assert!(matches!(score(&[], &[0], 0), Err(DataError::Empty { .. })));
        assert!(matches!(score(&[1.0], &[0], 2), Err(DataError::Count { expected: 2, found: 1, .. })));
        assert!(matches!(score(&[0.5, -0.5], &[0], 2), Err(DataError::Probability { index: 1, .. })));
        assert!(matches!(score(&[0.5, 0.5], &[2], 2), Err(DataError::Label { label: 2, .. })));
    }
    assert!(matches!(log_loss(&[0.5, 0.5], &[0], 2, -1.0), Err(DataError::Probability { what: "floor", .. })));
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn rows() -> impl Strategy<Value = Vec<(f64, bool)>> {
        // Few different scores, so that there are ties.
        prop::collection::vec(((0u8..8).prop_map(|x| f64::from(x) / 7.0), any::<bool>()), 1..40)
    }

    proptest! {
        #[test]
        fn the_area_is_the_share_of_pairs_in_order(rows in rows()) {
            let (scores, positive): (Vec<f64>, Vec<bool>) = rows.iter().copied().unzip();
            let of = |wanted: bool| rows.iter().filter(move |(_, positive)| *positive == wanted).map(|(score, _)| *score);
            let pairs: Vec<f64> = of(true).flat_map(|a| of(false).map(move |b| if a > b { 1.0 } else if a == b { 0.5 } else { 0.0 })).collect();
            match roc_auc(&scores, &positive) {
                Ok(area) => {
                    prop_assert!((area - pairs.iter().sum::<f64>() / pairs.len() as f64).abs() < 1e-12);
                    // Only the order of the scores matters; turned round, it is the complement.
                    let turned: Vec<f64> = scores.iter().map(|x| -x.exp()).collect();
                    prop_assert!((area + roc_auc(&turned, &positive).unwrap() - 1.0).abs() < 1e-12);
                    let two: Vec<f64> = scores.iter().flat_map(|x| [-x, *x]).collect();
                    let labels: Vec<usize> = positive.iter().map(|&x| x.into()).collect();
                    prop_assert_eq!(roc_auc_one_vs_rest(&two, &labels, 2).unwrap(), [area, area]);
                }
                Err(error) => prop_assert!(pairs.is_empty(), "{}", error),
            }
        }

        #[test]
        fn calibration_against_its_definition(rows in rows(), bins in 1usize..12) {
            let (confidences, right): (Vec<f64>, Vec<bool>) = rows.iter().copied().unzip();
            let mut reversed = rows.clone();
            reversed.reverse();
            let (back, back_right): (Vec<f64>, Vec<bool>) = reversed.into_iter().unzip();
            for binning in [Binning::EqualWidth, Binning::EqualMass] {
                let own = calibration(&confidences, &right, bins, binning).unwrap();
                prop_assert_eq!(&own, &calibration(&back, &back_right, bins, binning).unwrap());
                prop_assert!(own.bins.len() <= bins && own.expected_error <= own.maximum_error + 1e-12);
                prop_assert_eq!(own.bins.iter().map(|bin| bin.count).sum::<usize>(), rows.len());
                prop_assert!(own.bins.is_sorted_by(|a, b| a.confidence < b.confidence));
            }
            let mut expected = 0.0;
            for m in 1..=bins {
                let inside = |p: f64| (p > (m - 1) as f64 / bins as f64 || m == 1) && p <= m as f64 / bins as f64;
                let part: Vec<&(f64, bool)> = rows.iter().filter(|(p, _)| inside(*p)).collect();
                let right = part.iter().filter(|(_, right)| *right).count() as f64;
                expected += (part.iter().map(|(p, _)| p).sum::<f64>() - right).abs() / rows.len() as f64;
            }
            prop_assert!((calibration(&confidences, &right, bins, Binning::EqualWidth).unwrap().expected_error - expected).abs() < 1e-12);
        }

        #[test]
        fn class_metrics_against_their_definition(rows in prop::collection::vec((0usize..4, 0usize..4), 1..40)) {
            let (predicted, labels): (Vec<usize>, Vec<usize>) = rows.iter().copied().unzip();
            let own = class_metrics(&predicted, &labels, 4).unwrap();
            for class in 0..4 {
                let count = |test: fn(bool, bool) -> bool| rows.iter().filter(|(p, y)| test(*p == class, *y == class)).count() as f64;
                let (tp, fp, missed) = (count(|p, y| p && y), count(|p, y| p && !y), count(|p, y| !p && y));
                let PrecisionRecall { precision, recall, f1 } = own.classes[class];
                let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
                prop_assert_eq!((precision, recall), (share(tp, tp + fp), share(tp, tp + missed)));
                let harmonic = if tp > 0.0 { 2.0 / (1.0 / precision + 1.0 / recall) } else { 0.0 };
                prop_assert!((f1 - harmonic).abs() < 1e-12);
            }
            prop_assert_eq!(own.micro().f1, accuracy(&predicted, &labels).unwrap());
            prop_assert!((own.weighted_mean().recall - accuracy(&predicted, &labels).unwrap()).abs() < 1e-12);
        }
    }
}
