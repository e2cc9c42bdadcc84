use proptest::test_runner::TestCaseError;

use super::*;

fn skew(entries: &[f64]) -> DMatrix<f64> {
    let root = DMatrix::from_column_slice(3, 3, &entries[..9]);
    root.tr_mul(&root) + 0.1 * DMatrix::identity(3, 3)
}

/// Sets of three numbers, of every kind, and moderate sizes.
fn sets(parts: &[f64]) -> Vec<Set> {
    let [a, b, c] = [parts[0], parts[1], parts[2]];
    let size = |x: f64| x.abs() + 0.01;
    let rows = DMatrix::from_row_slice(4, 3, &[a, b, c, b, c, a, c, -a, b, -1.0, a, -b]);
    // What they confine is around `parts`, so there is a point.
    let slack = &rows * column(&parts[3..6]);
    let offset: Vec<f64> = slack.iter().zip(&parts[2..6]).map(|(s, more)| s + size(*more)).collect();
    let sides = || Set::boxed(vec![a, b, f64::NEG_INFINITY], vec![a + size(b), f64::INFINITY, c]).unwrap();
    vec![
        Set::free(3).unwrap(),
        sides(),
        Set::boxed(vec![a, b, c], vec![a + size(b), b + size(c), c]).unwrap(),
        Set::ball(vec![a, b, c], size(a)).unwrap(),
        Set::simplex(3, size(a)).unwrap(),
        Set::probability_box(vec![a, b, c], a + b + c + size(c)).unwrap(),
        Set::affine(&DMatrix::from_row_slice(1, 3, &[size(a), b, c]), &[a]).unwrap(),
        Set::affine(&DMatrix::from_row_slice(3, 3, &[size(a), b, c, 2.0 * size(a), 2.0 * b, 2.0 * c, 0.0, 0.0, 1.0]), &[a, 2.0 * a, c])
            .unwrap(),
        Set::halfspaces(&rows, &offset).unwrap(),
        Set::product(vec![Set::ball(vec![a], size(c)).unwrap(), Set::simplex(2, size(b)).unwrap()]).unwrap(),
    ]
}

/// The checks of a projection: into the set, not moving again, and the variational inequality for other points of the set.
fn check_projection(set: &Set, metric: Option<&Metric>, x: &[f64], others: &[Vec<f64>]) -> Result<(), TestCaseError> {
    let euclidean = Metric::identity(3).unwrap();
    let project = |x: &[f64]| {
        let mut x = x.to_vec();
        let found = match metric {
            Some(metric) => set.project_in(metric, &mut x),
            None => set.project(&mut x),
        };
        found.map(|()| x)
    };
    let metric = metric.unwrap_or(&euclidean);
    let less = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x - y).collect::<Vec<f64>>();
    let z = match project(x) {
        Ok(z) => z,
        // A product in a metric that couples its factors.
        Err(GeometryError::ProjectionMetricMismatch { .. }) => return Ok(()),
        Err(error) => return Err(TestCaseError::fail(format!("{error} of {set:?}"))),
    };
    let fail = |what: &str| Err(TestCaseError::fail(format!("{what}: {x:?} to {z:?} of {set:?} in {metric:?}")));
    if !set.contains(&z, 1e-10) {
        return fail("outside");
    }
    let again = project(&z).unwrap();
    if metric.norm(&less(&again, &z)) > 1e-10 {
        return fail("moves again");
    }
    for other in others {
        let y = project(other).unwrap();
        if metric.inner(&less(x, &z), &less(&y, &z)) > 1e-9 {
            return fail("not the nearest");
        }
        if metric.norm(&less(&y, &z)) > metric.norm(&less(other, x)) * (1.0 + 1e-12) + 1e-10 {
            return fail("expands");
        }
    }
    Ok(())
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn point() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(-3.0..3.0, 3)
    }

    proptest! {
        #[test]
        fn projections_are_the_nearest_points(
            parts in prop::collection::vec(-2.0..2.0, 6),
            x in point(),
            others in prop::collection::vec(point(), 8),
            root in prop::collection::vec(-1.0..1.0, 9),
            diagonal in prop::collection::vec(0.05..5.0, 3),
        ) {
            let full = Metric::new(0, skew(&root)).unwrap();
            let diagonal = Metric::new(0, DMatrix::from_diagonal(&DVector::from_vec(diagonal))).unwrap();
            for set in sets(&parts) {
                check_projection(&set, None, &x, &others)?;
                check_projection(&set, Some(&diagonal), &x, &others)?;
                check_projection(&set, Some(&full), &x, &others)?;
            }
        }

        /// Boxes, simplices and planes as polytopes.
        #[test]
        fn quadratic_programmes_agree_with_closed_forms(
            parts in prop::collection::vec(-2.0..2.0, 3),
            x in point(),
            root in prop::collection::vec(-1.0..1.0, 9),
            diagonal in prop::collection::vec(0.05..5.0, 3),
        ) {
            let upper: Vec<f64> = parts.iter().map(|lo| lo + 0.5).collect();
            let scale = parts.iter().sum::<f64>() + 1.0;
            let (box_rows, box_offset) = sides(&parts, &upper);
            let (mut rows, mut offset) = simplex_sides(&parts, scale);
            // An equality is two inequalities.
            rows = rows.insert_row(0, 0.0);
            rows.set_row(0, &(-rows.row(1)));
            let sum = offset[0];
            offset = offset.insert_row(0, -sum);
            let plane = DMatrix::from_row_slice(2, 3, &[1.0, 2.0, -1.0, -1.0, -2.0, 1.0]);
            let pairs = [
                (Set::boxed(parts.clone(), upper).unwrap(), Set::halfspaces(&box_rows, box_offset.as_slice()).unwrap()),
                (Set::probability_box(parts.clone(), scale).unwrap(), Set::halfspaces(&rows, offset.as_slice()).unwrap()),
                (Set::affine(&plane, &[0.5, -0.5]).unwrap(), Set::halfspaces(&plane, &[0.5, -0.5]).unwrap()),
            ];
            let metrics = [DMatrix::identity(3, 3), DMatrix::from_diagonal(&DVector::from_vec(diagonal)), skew(&root)];
            for (closed, polytope) in &pairs {
                for matrix in &metrics {
                    let metric = Metric::new(0, matrix.clone()).unwrap();
                    let (mut z, mut same) = (x.clone(), x.clone());
                    closed.project_in(&metric, &mut z).unwrap();
                    polytope.project_in(&metric, &mut same).unwrap();
                    prop_assert!(z.iter().zip(&same).all(|(a, b)| (a - b).abs() < 1e-10), "{closed:?} {z:?} {same:?}");
                }
            }
        }

        /// The Euclidean projection is the one in `blkdiag(w_i P_i)` whenever it is said to be.
        #[test]
        fn euclidean_projections_that_are_aligned(
            parts in prop::collection::vec(-2.0..2.0, 6),
            x in prop::collection::vec(-3.0..3.0, 6),
            diagonal in prop::collection::vec(0.05..5.0, 3),
            root in prop::collection::vec(-1.0..1.0, 9),
            weights in prop::collection::vec(0.01..100.0, 2),
        ) {
            let metrics = [
                Metric::identity(3).unwrap(),
                Metric::new(0, DMatrix::from_diagonal(&DVector::from_vec(diagonal))).unwrap(),
                Metric::new(0, skew(&root)).unwrap(),
            ];
            for (first, second) in sets(&parts).into_iter().zip(sets(&parts).into_iter().rev()) {
                let set = Set::product(vec![first, second]).unwrap();
                for one in &metrics {
                    for other in &metrics {
                        let players = [one.clone(), other.clone()];
                        if check_euclidean(&set, &players).is_ok() {
                            let (mut z, mut same) = (x.clone(), x.clone());
                            set.project(&mut z).unwrap();
                            set.project_in(&Metric::of_game(&weights, &players).unwrap(), &mut same).unwrap();
                            prop_assert!(z.iter().zip(&same).all(|(a, b)| (a - b).abs() < 1e-9), "{set:?}");
                        }
                    }
                }
            }
        }

        /// Many half-spaces, most of which do not matter, and some twice.
        #[test]
        fn larger_polytopes(numbers in prop::collection::vec(-1.0..1.0f64, 40 * 5), x in prop::collection::vec(-3.0..3.0, 5)) {
            let rows = DMatrix::from_row_slice(40, 5, &numbers);
            let rows = DMatrix::from_fn(60, 5, |i, k| rows[(i % 40, k)]);
            let offset: Vec<f64> = rows.row_iter().map(|row| 0.2 * row.norm() * (1.0 + row[0].abs())).collect();
            let set = Set::halfspaces(&rows, &offset).unwrap();
            let mut z = x.clone();
            set.project(&mut z).unwrap();
            prop_assert!(set.contains(&z, 1e-12));
            let mut again = z.clone();
            set.project(&mut again).unwrap();
            prop_assert!(distance(&again, &z) < 1e-12);
            for shift in numbers.chunks(5) {
                let mut y = shift.to_vec();
                set.project(&mut y).unwrap();
                let turn: f64 = (0..5).map(|k| (x[k] - z[k]) * (y[k] - z[k])).sum();
                prop_assert!(turn < 1e-10, "{turn}");
            }
        }
    }
}

#[test]
fn worked_projections() {
    let project = |set: Result<Set, GeometryError>, x: &[f64]| {
        let mut x = x.to_vec();
        set.unwrap().project(&mut x).unwrap();
        x
    };
    assert_eq!(project(Set::boxed(vec![0.0, -1.0], vec![1.0, f64::INFINITY]), &[2.0, 7.0]), [1.0, 7.0]);
    assert_eq!(project(Set::ball(vec![1.0, 0.0], 2.0), &[1.0, 8.0]), [1.0, 2.0]);
    assert_eq!(project(Set::ball(vec![1.0, 0.0], 0.0), &[1.0, 8.0]), [1.0, 0.0]);
    assert_eq!(project(Set::simplex(2, 1.0), &[0.0, 0.0]), [0.5, 0.5]);
    assert_eq!(project(Set::simplex(3, 0.0), &[1.0, 2.0, -3.0]), [0.0; 3]);
    assert_eq!(project(Set::probability_box(vec![0.25; 4], 1.0), &[1.0, 2.0, 0.0, 0.0]), [0.25; 4]);
    let far = project(Set::simplex(3, 1.0), &[1e10, 1e10 + 0.5, -1e10]);
    assert!((far.iter().sum::<f64>() - 1.0).abs() < 1e-15 && (far[1] - 0.75).abs() < 1e-6, "{far:?}");
    let plane = Set::affine(&DMatrix::from_row_slice(1, 2, &[3.0, 4.0]), &[25.0]);
    assert!(distance(&project(plane, &[0.0, 0.0]), &[3.0, 4.0]) < 1e-14);
    // A corner in which only one of two inequalities stays active.
    let wedge = Set::halfspaces(&DMatrix::from_row_slice(2, 2, &[1.0, 1.0, 0.0, 1.0]), &[1.0, 1.0]);
    assert!(distance(&project(wedge, &[2.0, 1.5]), &[0.75, 0.25]) < 1e-15);
}

#[test]
fn ellipsoids_and_skew_boxes() {
    // What moves the first number is cheaper if the second moves against it.
    let metric = Metric::new(0, DMatrix::from_row_slice(2, 2, &[1.0, 0.9, 0.9, 1.0])).unwrap();
    let mut x = [2.0, 0.0];
    Set::boxed(vec![-1.0; 2], vec![1.0; 2]).unwrap().project_in(&metric, &mut x).unwrap();
    assert!((x[0] - 1.0).abs() < 1e-15 && (x[1] - 0.9).abs() < 1e-14, "{x:?}");
    // Very different eigenvalues.
    let metric = Metric::new(0, DMatrix::from_row_slice(2, 2, &[1.0, 0.0, 0.0, 1e8])).unwrap();
    let ball = Set::ball(vec![0.0; 2], 1.0).unwrap();
    let mut x = [1e4, 0.5];
    ball.project_in(&metric, &mut x).unwrap();
    assert!((distance(&x, &[0.0; 2]) - 1.0).abs() < 1e-14 && (x[1] - 0.5).abs() < 1e-3, "{x:?}");
}

#[test]
fn what_is_no_set_is_named() {
    let row = DMatrix::from_row_slice;
    let empty = |set: Result<Set, GeometryError>| matches!(set, Err(GeometryError::EmptySet { .. }));
    assert!(empty(Set::boxed(vec![1.0], vec![0.0])) && empty(Set::boxed(vec![f64::INFINITY], vec![f64::INFINITY])));
    assert!(empty(Set::ball(vec![0.0], -1.0)) && empty(Set::simplex(2, -1.0)) && empty(Set::probability_box(vec![0.6, 0.6], 1.0)));
    assert!(empty(Set::affine(&row(2, 2, &[1.0, 1.0, 2.0, 2.0]), &[1.0, 3.0])) && empty(Set::affine(&row(1, 2, &[0.0, 0.0]), &[1.0])));
    assert!(empty(Set::halfspaces(&row(2, 1, &[1.0, -1.0]), &[0.0, -1.0])) && empty(Set::halfspaces(&row(1, 1, &[0.0]), &[-1.0])));
    let triangle = row(3, 2, &[1.0, 0.0, 0.0, 1.0, -1.0, -1.0]);
    assert!(empty(Set::halfspaces(&triangle, &[1.0, 1.0, -2.1])) && Set::halfspaces(&triangle, &[1.0, 1.0, -2.0]).is_ok());
    let dimension = |set: Result<Set, GeometryError>| matches!(set, Err(GeometryError::Dimension { .. }));
    assert!(dimension(Set::free(0)) && dimension(Set::product(Vec::new())) && dimension(Set::boxed(vec![0.0], vec![1.0, 2.0])));
    assert!(dimension(Set::simplex(0, 1.0)) && dimension(Set::halfspaces(&triangle, &[1.0])));
    let number = |set: Result<Set, GeometryError>| matches!(set, Err(GeometryError::NonFinite { .. }));
    assert!(
        number(Set::boxed(vec![f64::NAN], vec![1.0])) && number(Set::ball(vec![f64::NAN], 1.0)) && number(Set::ball(vec![0.0], f64::NAN))
    );
    assert!(number(Set::halfspaces(&triangle, &[1.0, f64::NAN, 0.0])) && number(Set::simplex(2, f64::INFINITY)));
    assert!(matches!(Set::free(2).unwrap().project(&mut [0.0, f64::NAN]), Err(GeometryError::NonFinite { index: 1, .. })));
    assert!(matches!(Set::free(2).unwrap().project(&mut [0.0]), Err(GeometryError::Dimension { expected: 2, got: 1, .. })));
}

#[test]
fn what_is_no_metric_is_named() {
    let new = |entries: &[f64]| Metric::new(3, DMatrix::from_row_slice(2, 2, entries));
    for singular in [[1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 2.0, 1.0], [0.0; 4], [-1.0, 0.0, 0.0, -1.0]] {
        assert!(matches!(new(&singular), Err(GeometryError::MetricNotPositiveDefinite { player: 3, lambda_min }) if lambda_min < 1e-15));
    }
    assert!(matches!(new(&[1.0, 0.5, 0.0, 1.0]), Err(GeometryError::MetricNotSymmetric { player: 3, row: 1, column: 0 })));
    assert!(matches!(new(&[1.0, 0.0, 0.0, f64::NAN]), Err(GeometryError::NonFinite { .. })));
    let one = Metric::identity(1).unwrap();
    assert!(matches!(Metric::of_game(&[1.0], &[one.clone(), one.clone()]), Err(GeometryError::Dimension { .. })));
    assert!(matches!(Metric::of_game(&[1.0, 0.0], &[one.clone(), one]), Err(GeometryError::InvalidWeight { player: 1, .. })));
}

#[test]
fn sets_and_metrics_that_do_not_fit() {
    let mismatch = |found: Result<(), GeometryError>| matches!(found, Err(GeometryError::ProjectionMetricMismatch { .. }));
    let metric = |entries: &[f64]| Metric::new(0, DMatrix::from_row_slice(2, 2, entries)).unwrap();
    let (identity, stretched, skew) = (metric(&[2.0, 0.0, 0.0, 2.0]), metric(&[1.0, 0.0, 0.0, 2.0]), metric(&[1.0, 0.5, 0.5, 1.0]));
    let (free, sides) = (Set::free(2).unwrap(), Set::boxed(vec![0.0; 2], vec![1.0; 2]).unwrap());
    let ball = Set::ball(vec![0.0; 2], 1.0).unwrap();
    let both = |a: &Set, b: &Set, p: &Metric, q: &Metric| {
        check_euclidean(&Set::product(vec![a.clone(), b.clone()]).unwrap(), &[p.clone(), q.clone()])
    };
    assert!(both(&free, &sides, &skew, &stretched).is_ok() && both(&ball, &sides, &identity, &stretched).is_ok());
    assert!(mismatch(both(&sides, &free, &skew, &identity)) && mismatch(both(&free, &ball, &identity, &stretched)));
    // A set that couples the players; one box for both does not.
    let joint = Set::ball(vec![0.0; 4], 1.0).unwrap();
    assert!(mismatch(check_euclidean(&joint, &[identity.clone(), identity.clone()])));
    assert!(check_euclidean(&Set::boxed(vec![0.0; 4], vec![1.0; 4]).unwrap(), &[identity, stretched]).is_ok());
    // A free variable that the metric couples to a confined one.
    let half = Set::product(vec![Set::free(1).unwrap(), Set::boxed(vec![0.0], vec![1.0]).unwrap()]).unwrap();
    assert!(mismatch(check_euclidean(&half, std::slice::from_ref(&skew))) && mismatch(half.project_in(&skew, &mut [0.0, 2.0])));
    assert!(matches!(check_euclidean(&joint, &[skew]), Err(GeometryError::Dimension { expected: 4, got: 2, .. })));
}
