use std::ops::ControlFlow;

use nalgebra::{DMatrix, DVector};

use super::*;
use crate::dynamics::{Euler, NewtonGame, Record, Stop, simulate};
use crate::small_gain::{BlockBounds, optimal_weights};

/// Where Newton's method ends, from the middle of the region.
fn stationary(example: &Example) -> Vec<f64> {
    let start: Vec<f64> = example.region.iter().map(|side| side.midpoint()).collect();
    let stop = Stop { steps: 100, residual: Some(1e-12), ..Stop::default() };
    let run = simulate(&example.game, &mut NewtonGame { step: 1.0 }, &start, &stop, &Record::default(), |_, _| ControlFlow::Continue(()));
    run.unwrap().last
}

fn near(x: &[f64], y: &[f64], tolerance: f64) -> bool {
    x.len() == y.len() && x.iter().zip(y).all(|(x, y)| (x - y).abs() <= tolerance)
}

#[test]
fn known_equilibria_are_equilibria_and_unknown_ones_are_inside() {
    let all = all().unwrap();
    assert!(all.len() >= 8);
    for (k, example) in all.iter().enumerate() {
        let size = example.game.size();
        assert_eq!(example.region.len(), size, "{}", example.name);
        assert!(all[..k].iter().all(|other| other.name != example.name));
        let point = example.equilibrium.clone().unwrap_or_else(|| stationary(example));
        let residual = example.game.field(&point).iter().fold(0.0, |most: f64, f| most.max(f.abs()));
        assert!(residual < 1e-12, "{}: {residual}", example.name);
        assert!(example.region.iter().zip(&point).all(|(side, x)| side.contains(*x)), "{}: {point:?}", example.name);
        // Every player is at a minimum of the own loss.
        let jacobian = example.game.jacobian(&point);
        for own in example.game.players() {
            let block = jacobian.view((own.start, own.start), (own.len(), own.len())).into_owned();
            let least = (0.5 * (&block + block.transpose())).symmetric_eigenvalues().min();
            assert!(least > 0.0, "{}: {least}", example.name);
        }
    }
}

#[test]
fn gradient_play_converges_where_it_should() {
    for example in all().unwrap().iter().filter(|example| example.name != "needle") {
        let step = if example.name == "scalar quadratic" { 0.1 } else { 0.02 };
        let start: Vec<f64> = example.region.iter().map(|side| side.midpoint() + 0.3 * side.radius()).collect();
        let stop = Stop { steps: 100_000, residual: Some(1e-9), ..Stop::default() };
        let run =
            simulate(&example.game, &mut Euler { step }, &start, &stop, &Record::default(), |_, _| ControlFlow::Continue(())).unwrap();
        assert!(near(&run.last, &stationary(example), 1e-6), "{}: {:?}", example.name, run.outcome);
    }
}

fn firm(linear_cost: f64, quadratic_cost: f64) -> Firm {
    Firm { name: "firm".into(), linear_cost, quadratic_cost, capacity: 10.0 }
}

#[test]
fn cournot_with_linear_costs() {
    // q_i = (a - (N+1) c_i + Σ c) / ((N+1) b).
    let firms = [firm(1.0, 0.0), firm(2.0, 0.0), firm(3.0, 0.0)];
    let example = cournot(&firms, Demand::Linear { intercept: 10.0, slope: 0.5 }).unwrap();
    assert!(near(example.equilibrium.as_ref().unwrap(), &[6.0, 4.0, 2.0], 1e-12), "{example:?}");
    assert!(near(&stationary(&example), &[6.0, 4.0, 2.0], 1e-12));
    // A firm that would rather make less than nothing.
    let dear = [firm(1.0, 0.0), firm(9.0, 0.0)];
    assert_eq!(cournot(&dear, Demand::Linear { intercept: 10.0, slope: 0.5 }).unwrap().equilibrium, None);
}

#[test]
fn tables_of_firms() {
    let header = "firm,linear_cost,quadratic_cost,capacity";
    let firms = firms_from_csv(&format!("\u{feff}{header}\r\n\r\n a , 1, 2e-1 ,3\r\nb,0,0,1\r\n")).unwrap();
    assert_eq!(firms[0], Firm { name: "a".into(), linear_cost: 1.0, quadratic_cost: 0.2, capacity: 3.0 });
    assert_eq!(firms.len(), 2);
    for (text, line, column) in [
        ("".to_string(), 1, "header"),
        ("\nfirm,cost\n".to_string(), 2, "header"),
        (format!("{header}\na,1,2\n"), 2, "capacity"),
        (format!("{header}\na,1,2,3,4\n"), 2, "capacity"),
        (format!("{header}\na\n"), 2, "linear_cost"),
        (format!("{header}\n,1,2,3\n"), 2, "firm"),
        (format!("{header}\na,1,2,3\n\na,1,2,3\n"), 4, "firm"),
        (format!("{header}\na,x,2,3\n"), 2, "linear_cost"),
        (format!("{header}\na,1,nan,3\n"), 2, "quadratic_cost"),
        (format!("{header}\na,1,-2,3\n"), 2, "quadratic_cost"),
        (format!("{header}\na,1,2,0\n"), 2, "capacity"),
        (format!("{header}\na,1,2,inf\n"), 2, "capacity"),
    ] {
        match firms_from_csv(&text) {
            Err(ZooError::Table { line: l, column: c, .. }) => assert_eq!((l, c.as_str()), (line, column), "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn symmetric_auctions_and_roads() {
    for (bidders, value, reserve) in [(2, 3.0, 0.5), (5, 1.0, 0.01), (3, 1.0, 0.99), (4, 100.0, 50.0)] {
        let example = kelly_auction(&vec![value; bidders], reserve).unwrap();
        let bid = example.equilibrium.as_ref().unwrap()[0];
        assert!(bid > 0.0 && example.game.field(&vec![bid; bidders]).iter().all(|f| f.abs() < 1e-12));
    }
    assert_eq!(kelly_auction(&[1.0, 1.0], 2.0).unwrap().equilibrium, None);
    assert_eq!(kelly_auction(&[1.0, 2.0], 0.5).unwrap().equilibrium, None);
    let roads = smooth_traffic(&[1.0, 2.0, 3.0], &[Link { free_flow: 1.0, capacity: 2.0 }; 3], 0.1).unwrap();
    let split = [1.0 / 3.0, 1.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0, 1.0, 1.0];
    assert!(near(roads.equilibrium.as_ref().unwrap(), &split, 1e-15) && near(&stationary(&roads), &split, 1e-10));
    assert_eq!(roads.game.dimensions(), [2, 2, 2]);
}

#[test]
fn robust_regression_is_ridge_regression() {
    let (features, targets) = ([1.0, 0.2, 0.5, -1.0, -0.7, 0.4], [1.0, -0.5, 0.2]);
    let (penalty, lambda) = (0.3, 2.5);
    let example = robust_regression(Rows { features: &features, targets: &targets }, penalty, lambda).unwrap();
    let a = DMatrix::from_row_slice(3, 2, &features);
    let ridge = a.tr_mul(&a) + DMatrix::from_diagonal_element(2, 2, penalty * 3.0 * (lambda - 1.0) / lambda);
    let expected = ridge.lu().solve(&a.tr_mul(&DVector::from_column_slice(&targets))).unwrap();
    assert!(near(&example.equilibrium.unwrap()[..2], expected.as_slice(), 1e-12));
}

#[test]
fn jacobians_at_known_places() {
    let gan = dirac_gan(0.5, 0.2).unwrap();
    assert!((gan.game.jacobian(&[0.0, 0.0]) - DMatrix::from_row_slice(2, 2, &[0.2, 0.5, -0.5, 0.5])).amax() < 1e-15);
    let needle = needle().unwrap();
    let peak = needle.game.jacobian(&[0.3141 + 0.5f64.sqrt() / 200.0, 1.0])[(0, 0)];
    assert!((peak + 856.76).abs() < 0.01, "{peak}");
    let waves = waves().unwrap();
    let jacobian = waves.game.jacobian(&[1.0, 0.0]);
    assert!((jacobian[(0, 1)] - 2.0).abs() < 1e-15 && (jacobian[(1, 0)] + 0.168_294_196_961_579_32).abs() < 1e-15);
    assert_eq!(rotation(5.0).unwrap().game.jacobian(&[0.0, 0.0]), DMatrix::from_row_slice(2, 2, &[1.0, 5.0, -5.0, 1.0]));
    let random = {
        let mut next = 0.0;
        let mut normal = move || {
            next += 0.7;
            f64::sin(next * next)
        };
        random_linear_quadratic(4, 0.5, &mut normal).unwrap()
    };
    let jacobian = random.game.jacobian(&[0.0; 8]);
    let norm = |row, column| jacobian.view((row, column), (4, 4)).into_owned().singular_values().max();
    assert!((norm(0, 4) - 5.0).abs() < 1e-12 && (norm(4, 0) - 0.025).abs() < 1e-12);
    assert!(jacobian.view((0, 0), (4, 4)).into_owned().symmetric_eigenvalues().min() > 1.0 - 1e-12);
}

/// What the documentation says of couplings and curvatures.
#[test]
fn the_small_gain_condition_of_federated_clients_holds() {
    let bounds = BlockBounds::new(
        vec![0.7, 0.7, 0.7, 0.5],
        DMatrix::from_fn(4, 4, |i, j| {
            if i == 3 && j < 3 {
                0.5 / 3.0
            } else if j == 3 && i < 3 {
                0.5
            } else {
                0.0
            }
        }),
        vec![2.0; 4],
    );
    let best = optimal_weights(&bounds.unwrap());
    assert!(best.margin > 0.0, "{best:?}");
    let example = all().unwrap().into_iter().find(|example| example.name == "federated personalised").unwrap();
    let point = stationary(&example);
    // The server has the mean.
    let mean: Vec<f64> = (0..2).map(|k| (0..3).map(|i| point[2 * i + k]).sum::<f64>() / 3.0).collect();
    assert!(near(&point[6..], &mean, 1e-12));
    let jacobian = example.game.jacobian(&point);
    assert!((jacobian[(0, 6)] + 0.5).abs() < 1e-15 && (jacobian[(6, 0)] + 0.5 / 3.0).abs() < 1e-15 && jacobian[(0, 0)] > 0.7);
}

#[test]
fn bad_parameters_are_named() {
    let parameter = |found: Result<Example, ZooError>| matches!(found, Err(ZooError::InvalidParameter { .. }));
    let dimension = |found: Result<Example, ZooError>| matches!(found, Err(ZooError::Dimension { .. }));
    let one = DMatrix::from_element(1, 1, 1.0);
    let demand = Demand::Linear { intercept: 10.0, slope: 0.5 };
    let link = Link { free_flow: 1.0, capacity: 1.0 };
    let rows = Rows { features: &[1.0, 2.0], targets: &[1.0] };
    for value in [f64::NAN, f64::INFINITY, -1.0] {
        let bad = value.is_sign_negative();
        assert!(bad || parameter(scalar_quadratic(1.0, value, 0.0, 0.0)) && parameter(rotation(value)));
        assert!(parameter(bilinear_regularised(&one, value, 1.0)) && parameter(bilinear_regularised(&one, 1.0, value)));
        assert!(parameter(ring(3, 1, value, 1.0)) && parameter(ring(3, 1, 1.0, value)));
        assert!(
            parameter(cournot(&[firm(value, 0.0), firm(0.0, 0.0)], demand))
                && parameter(cournot(&[firm(0.0, value), firm(0.0, 0.0)], demand))
        );
        for demand in [Demand::Linear { intercept: value, slope: 1.0 }, Demand::Exponential { intercept: 1.0, decay: value }] {
            assert!(parameter(cournot(&[firm(1.0, 0.0), firm(0.0, 0.0)], demand)));
        }
        assert!(parameter(kelly_auction(&[1.0, value], 0.5)) && parameter(kelly_auction(&[1.0, 1.0], value)));
        assert!(parameter(smooth_traffic(&[1.0, value], &[link; 2], 0.1)) && parameter(smooth_traffic(&[1.0; 2], &[link; 2], value)));
        assert!(parameter(smooth_traffic(&[1.0; 2], &[link, Link { capacity: value, ..link }], 0.1)));
        assert!(parameter(dirac_gan(value, 0.0)) && parameter(dirac_gan(0.0, value)));
        assert!(parameter(robust_regression(rows, value, 2.0)) && parameter(robust_regression(rows, 1.0, value)));
        assert!(parameter(federated_personalised(&[rows], value, 1.0)) && parameter(federated_personalised(&[rows], 1.0, value)));
    }
    assert!(parameter(random_linear_quadratic(2, 1.0, &mut || 0.0)) && parameter(random_linear_quadratic(2, 1.0, &mut || f64::NAN)));
    assert!(parameter(robust_regression(rows, 1.0, 1.0)) && parameter(robust_regression(Rows { targets: &[f64::NAN], ..rows }, 1.0, 2.0)));
    assert!(parameter(federated_personalised(&[Rows { targets: &[0.5], ..rows }], 1.0, 1.0)));
    assert!(dimension(random_linear_quadratic(0, 1.0, &mut || 1.0)) && dimension(bilinear_regularised(&DMatrix::zeros(0, 2), 1.0, 1.0)));
    assert!(dimension(ring(1, 1, 1.0, 1.0)) && dimension(ring(2, 0, 1.0, 1.0)) && dimension(cournot(&[firm(1.0, 1.0)], demand)));
    assert!(
        dimension(kelly_auction(&[1.0], 1.0))
            && dimension(smooth_traffic(&[1.0], &[link; 2], 1.0))
            && dimension(smooth_traffic(&[1.0; 2], &[link], 1.0))
    );
    for rows in [
        Rows { features: &[1.0, 2.0, 3.0], targets: &[1.0, 1.0] },
        Rows { features: &[], targets: &[] },
        Rows { features: &[], targets: &[1.0] },
    ] {
        assert!(dimension(robust_regression(rows, 1.0, 2.0)) && dimension(federated_personalised(&[rows], 1.0, 1.0)));
    }
    assert!(dimension(federated_personalised(&[], 1.0, 1.0)));
    assert!(dimension(federated_personalised(&[rows, Rows { features: &[1.0], ..rows }], 1.0, 1.0)));
    let two = [one.clone(), one.clone()];
    assert!(dimension(linear_quadratic(&two[..1], &[], &[0.0])) && dimension(linear_quadratic(&two, &[], &[0.0])));
    for coupling in [(0, 0, one.clone()), (0, 2, one.clone()), (0, 1, DMatrix::zeros(2, 1)), (0, 1, DMatrix::zeros(1, 2))] {
        assert!(dimension(linear_quadratic(&two, &[coupling], &[0.0; 2])));
    }
    let markov = |states: usize, actions: &[usize], interests, number: f64| random_markov(states, actions, interests, &mut || number);
    for (states, actions) in [(0, &[2, 2][..]), (1, &[2]), (1, &[2, 1])] {
        assert!(matches!(markov(states, actions, Interests::General, 0.5), Err(ZooError::Dimension { .. })));
    }
    assert!(matches!(markov(1, &[2, 2, 2], Interests::Opposite, 0.5), Err(ZooError::Dimension { .. })));
    for number in [f64::NAN, -0.1, 1.1] {
        assert!(matches!(markov(1, &[2, 2], Interests::Common, number), Err(ZooError::InvalidParameter { .. })));
    }
    assert_eq!(markov(2, &[2, 2], Interests::Common, 0.0).unwrap().start, [0.5, 0.5]);
    assert!(matches!(linear_quadratic(&two, &[(0, 1, one * f64::NAN)], &[0.0; 2]), Err(ZooError::Game(_))));
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn jacobians_are_central_differences(shares in prop::collection::vec(-1.0..1.0f64, 16)) {
            let step = 1e-5;
            for example in all().unwrap() {
                let x: Vec<f64> = example.region.iter().zip(&shares).map(|(side, share)| side.midpoint() + share * side.radius()).collect();
                let found = example.game.jacobian(&x);
                for k in 0..x.len() {
                    let at = |steps: f64| {
                        let mut moved = x.clone();
                        moved[k] += steps * step;
                        DVector::from_vec(example.game.field(&moved))
                    };
                    // Of order 4, for the needle's sake.
                    let slope = (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * step);
                    for i in 0..x.len() {
                        prop_assert!((found[(i, k)] - slope[i]).abs() < 1e-6 * (1.0 + slope[i].abs()), "{} {i} {k}", example.name);
                    }
                }
            }
        }

        /// Gershgorin's margin of the ring, from the Jacobian.
        #[test]
        fn rings_contract_everywhere(
            players in 2usize..5,
            width in 1usize..3,
            coupling in 0.0..2.0,
            x in prop::collection::vec(-3.0..3.0f64, 8),
        ) {
            let curvature = 1.25 * coupling + 0.1;
            let example = ring(players, width, curvature, coupling).unwrap();
            let jacobian = example.game.jacobian(&x[..players * width]);
            let margin = (0.5 * (&jacobian + jacobian.transpose())).symmetric_eigenvalues().min();
            prop_assert!(margin > 0.1 - 1e-12, "{margin}");
            let zero = vec![0.0; players * width];
            let distance = DVector::from_vec(stationary(&example)).norm();
            prop_assert!(distance <= DVector::from_vec(example.game.field(&zero)).norm() / 0.1 + 1e-9);
        }
    }
}
