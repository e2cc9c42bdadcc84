use std::ops::ControlFlow;

use nalgebra::DVector;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::geometry::Set;
use crate::scalar::Real;
use crate::small_gain::Rates;

fn affine(dimensions: &[usize], entries: &[f64], offset: &[f64]) -> Game {
    Game::affine(dimensions, DMatrix::from_row_slice(offset.len(), offset.len(), entries), offset.to_vec()).unwrap()
}

fn toy() -> Game {
    affine(&[1, 1], &[1.0, 10.0, 0.05, 1.0], &[0.0, 0.0])
}

/// Monotone, nonlinear, of three players with one, two and one variables.
fn bent() -> Game {
    Game::from_losses(&[1, 2, 1], |x| {
        vec![
            x[0].square() + (x[0] + x[1]).softplus() * 0.5 + x[0],
            x[1].square() + x[2].square() * 1.5 + x[1] * x[3].tanh() * 0.5 - x[2],
            x[3].square() + (x[3] - x[0]).softplus() * 0.5,
        ]
    })
    .unwrap()
}

/// Every rule that needs no more than a step size, and defaults for what else it has.
fn rules(game: &Game, step: f64) -> Vec<Box<dyn Dynamics>> {
    let set = Set::boxed(vec![-10.0; game.size()], vec![10.0; game.size()]).unwrap();
    vec![
        Box::new(Euler { step }),
        Box::new(ProjectedEuler { step, set: set.clone(), metric: None }),
        Box::new(Rk4 { step }),
        Box::new(Extragradient { step, set: None }),
        Box::new(Extragradient { step, set: Some(set) }),
        Box::new(OptimisticGda { step }),
        Box::new(ConsensusOptimization { step, gamma: 0.1 }),
        Box::new(SymplecticGradientAdjustment { step, lambda: 0.5, align: false }),
        Box::new(SymplecticGradientAdjustment { step, lambda: 0.5, align: true }),
        Box::new(LookAhead { rule: Euler { step }, steps: 5, alpha: 0.5 }),
        Box::new(AlternatingGda { step }),
        Box::new(TtGda { step, ratios: (0..game.dimensions().len()).map(|i| 1.0 / (1.0 + i as f64)).collect() }),
        Box::new(NewtonGame { step }),
        Box::new(HamiltonianDescent { step }),
        Box::new(StochasticEuler { step, noise: |_: &mut [f64]| {} }),
    ]
}

fn go(_: &Sample, _: &[f64]) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn steps(steps: usize) -> Stop {
    Stop { steps, residual: None, radius: f64::INFINITY }
}

#[test]
fn all_rules_reach_the_same_equilibrium() {
    let game = bent();
    let mut newton = NewtonGame { step: 1.0 };
    let found = simulate(&game, &mut newton, &[0.0; 4], &Stop { residual: Some(1e-14), ..steps(20) }, &Record::default(), go).unwrap();
    assert!(matches!(found.outcome, Outcome::Converged { .. }), "{found:?}");
    for (k, rule) in rules(&game, 0.1).iter_mut().enumerate() {
        let record = Record { reference: Some(found.last.clone()), ..Record::default() };
        let run =
            simulate(&game, rule.as_mut(), &[1.0, -1.0, 2.0, 0.5], &Stop { residual: Some(1e-11), ..steps(5000) }, &record, go).unwrap();
        assert!(matches!(run.outcome, Outcome::Converged { .. }), "rule {k}: {:?}", run.outcome);
        assert!(run.samples.last().unwrap().distance.unwrap() < 1e-10, "rule {k}");
        assert_eq!((run.samples.len(), run.states.len()), (run.steps + 1, run.steps + 1));
        // Again, as if it had never run.
        let again =
            simulate(&game, rule.as_mut(), &[1.0, -1.0, 2.0, 0.5], &Stop { residual: Some(1e-11), ..steps(5000) }, &record, go).unwrap();
        assert_eq!(run, again);
    }
}

#[test]
fn bad_parameters_are_named() {
    let game = bent();
    let run = |rule: &mut dyn Dynamics| simulate(&game, rule, &[0.0; 4], &steps(1), &Record::default(), go).map(|_| ());
    for step in [0.0, -0.1, f64::NAN, f64::INFINITY] {
        for rule in &mut rules(&game, step) {
            assert!(matches!(run(rule.as_mut()), Err(DynamicsError::InvalidStep { .. })));
        }
        assert!(matches!(flow(&game, &[0.0; 4], step, 1.0, &Record::default()), Err(DynamicsError::InvalidStep { .. })));
    }
    let step = 0.1;
    let parameter = |found| matches!(found, Err(DynamicsError::InvalidParameter { .. }));
    assert!(parameter(run(&mut ConsensusOptimization { step, gamma: -1.0 })));
    assert!(parameter(run(&mut SymplecticGradientAdjustment { step, lambda: f64::NAN, align: true })));
    assert!(parameter(run(&mut LookAhead { rule: Euler { step }, steps: 0, alpha: 0.5 })));
    assert!(parameter(run(&mut LookAhead { rule: Euler { step }, steps: 5, alpha: 0.0 })));
    assert!(parameter(run(&mut TtGda { step, ratios: vec![1.0, 1.0, 0.0] })));
    assert!(parameter(flow(&game, &[0.0; 4], step, f64::NAN, &Record::default()).map(|_| ())));
    let dimension = |found| matches!(found, Err(DynamicsError::Dimension { .. }));
    assert!(dimension(run(&mut TtGda { step, ratios: vec![1.0; 2] })));
    assert!(dimension(run(&mut ProjectedEuler { step, set: Set::free(3).unwrap(), metric: None })));
    assert!(dimension(run(&mut Extragradient { step, set: Some(Set::free(3).unwrap()) })));
    let with = |start: &[f64], stop: &Stop, record: &Record| simulate(&game, &mut Euler { step }, start, stop, record, go).map(|_| ());
    let record = Record::default();
    assert!(dimension(with(&[0.0; 3], &steps(1), &record)));
    assert!(dimension(with(&[0.0; 4], &steps(1), &Record { weights: vec![1.0; 2], ..record.clone() })));
    assert!(dimension(with(&[0.0; 4], &steps(1), &Record { reference: Some(vec![0.0; 5]), ..record.clone() })));
    assert!(matches!(with(&[0.0, f64::NAN, 0.0, 0.0], &steps(1), &record), Err(DynamicsError::NonFinite { index: 1, .. })));
    let weighted = Record { weights: vec![1.0, 0.0, 1.0], ..record.clone() };
    assert!(matches!(with(&[0.0; 4], &steps(1), &weighted), Err(DynamicsError::InvalidWeight { player: 1, .. })));
    assert!(parameter(with(&[0.0; 4], &Stop { residual: Some(f64::NAN), ..steps(1) }, &record)));
    assert!(parameter(with(&[0.0; 4], &Stop { radius: -1.0, ..steps(1) }, &record)));
}

#[test]
fn newton_needs_one_step_and_an_inverse() {
    let game = affine(&[1, 2], &[0.0, 2.0, 1.0, 3.0, -1.0, 0.5, 1.0, 1.0, 1.0], &[1.0, -2.0, 3.0]);
    let run = simulate(&game, &mut NewtonGame { step: 1.0 }, &[7.0, -3.0, 2.0], &steps(1), &Record::default(), go).unwrap();
    assert!(run.samples[1].residual < 1e-13);
    let singular = affine(&[1, 1], &[1.0, 2.0, 2.0, 4.0], &[1.0, 0.0]);
    let run = simulate(&singular, &mut NewtonGame { step: 1.0 }, &[1.0, 0.0], &steps(1), &Record::default(), go);
    assert_eq!(run, Err(DynamicsError::SingularJacobian { point: vec![1.0, 0.0] }));
}

#[test]
fn what_diverges_says_so_and_stays_finite() {
    // Cubes overflow within a few steps.
    let game = Game::from_field(&[1, 1], |x| vec![x[0].powi(3) + x[1], x[1].powi(3) - x[0]]).unwrap();
    for rule in &mut rules(&game, 10.0) {
        let run = simulate(&game, rule.as_mut(), &[3.0, -2.0], &steps(50), &Record::default(), go);
        let run = run.unwrap();
        assert!(run.last.iter().all(|x| x.is_finite()) && run.states.iter().flatten().all(|x| x.is_finite()));
        assert!(run.samples.iter().all(|sample| sample.residual.is_finite() && !sample.moved.is_nan()), "{run:?}");
    }
    let run = simulate(&game, &mut Euler { step: 10.0 }, &[3.0, -2.0], &steps(50), &Record::default(), go).unwrap();
    assert!(matches!(run.outcome, Outcome::Diverged { step: 3..10 }), "{run:?}");
    let near =
        simulate(&game, &mut Euler { step: 10.0 }, &[3.0, -2.0], &Stop { radius: 100.0, ..steps(50) }, &Record::default(), go).unwrap();
    assert_eq!(near.outcome, Outcome::Diverged { step: 1 });
    // A field that is not defined where the first state is.
    let root = Game::from_field(&[1, 1], |x| vec![x[0].sqrt(), x[1]]).unwrap();
    let run = simulate(&root, &mut Euler { step: 0.1 }, &[-1.0, 0.0], &steps(5), &Record::default(), go).unwrap();
    assert_eq!((run.outcome, run.last.as_slice(), run.samples.len()), (Outcome::Diverged { step: 0 }, [-1.0, 0.0].as_slice(), 0));
}

#[test]
fn runs_are_ended_and_thinned() {
    let run = |record: &Record, end: usize| {
        let observer = |sample: &Sample, _: &[f64]| if sample.step == end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        simulate(&toy(), &mut Euler { step: 0.01 }, &[1.0, 0.0], &steps(100), record, observer).unwrap()
    };
    let all = run(&Record::default(), 1000);
    assert_eq!((all.outcome, all.steps, all.states.len()), (Outcome::Finished, 100, 101));
    assert_eq!(all.states[100], all.last);
    let thin = run(&Record { every: 30, ..Record::default() }, 1000);
    assert_eq!(thin.samples.iter().map(|sample| sample.step).collect::<Vec<_>>(), [0, 30, 60, 90]);
    assert_eq!((&thin.states[1], &thin.last, thin.largest_ratio), (&all.states[30], &all.last, all.largest_ratio));
    let none = run(&Record { every: 0, ..Record::default() }, 42);
    assert_eq!((none.outcome, none.samples.len(), &none.last), (Outcome::Stopped { step: 42 }, 0, &all.states[42]));
}

/// The toy game of Sharma 2025: the Euclidean distance grows to 3.186094 times the first, that in the metric always decreases.
#[test]
fn the_flow_of_the_toy_game() {
    let record = Record { weights: vec![1.0, 200.0], reference: Some(vec![0.0; 2]), every: 1 };
    let run = flow(&toy(), &[0.15, -0.15], 0.001, 40.0, &record).unwrap();
    let first = run.samples[0].distance.unwrap();
    let peak = run.samples.iter().max_by(|a, b| a.distance.unwrap().total_cmp(&b.distance.unwrap())).unwrap();
    assert!((peak.distance.unwrap() / first - 3.186_094).abs() < 1e-6 && peak.step == 1136, "{peak:?}");
    assert!(run.samples.windows(2).all(|pair| pair[1].metric_distance < pair[0].metric_distance));
    let late: Vec<f64> = run.samples[20_000..].iter().map(|sample| sample.distance.unwrap()).collect();
    assert!((decay_rate(&late, 0.001).unwrap() - (1.0 - 0.5f64.sqrt())).abs() < 1e-6);
    assert_eq!((decay_rate(&[1.0], 1.0), decay_rate(&[0.0, 0.0, 1.0], 1.0)), (None, None));
}

/// `J = [[1, 5], [-5, 1]]`: a step of 2/26 neither contracts nor expands.
#[test]
fn limits_of_gradient_play_in_a_rotation() {
    let game = affine(&[1, 1], &[1.0, 5.0, -5.0, 1.0], &[0.0, 0.0]);
    let end = |step: f64| {
        let record = Record { reference: Some(vec![0.0; 2]), ..Record::default() };
        simulate(&game, &mut Euler { step }, &[1.0, 0.0], &steps(2000), &record, go).unwrap().samples[2000].distance.unwrap()
    };
    assert!(end(0.99 * 2.0 / 26.0) < 0.5 && end(1.01 * 2.0 / 26.0) > 2.0);
}

/// Gradient play that is confined ends where the variational inequality holds, not where the field is 0.
#[test]
fn confined_players_end_at_the_border() {
    let game = affine(&[2, 1], &[2.0, 0.0, 1.0, 0.0, 2.0, 0.0, -1.0, 0.0, 2.0], &[-3.0, -1.0, 1.0]);
    let set = Set::product(vec![Set::simplex(2, 1.0).unwrap(), Set::boxed(vec![0.0], vec![5.0]).unwrap()]).unwrap();
    let mut rule = ProjectedEuler { step: 0.2, set: set.clone(), metric: None };
    let run = simulate(&game, &mut rule, &[0.5, 0.5, 1.0], &steps(200), &Record::default(), go).unwrap();
    assert!(run.states.iter().all(|x| set.contains(x, 1e-12)));
    // x₃ = 0, as 1 - x₁ + 2 x₃ ≥ 0; x₁ + x₂ = 1 with 2 x₁ - 3 = 2 x₂ - 1.
    assert!(run.last.iter().zip([1.0, 0.0, 0.0]).all(|(x, y)| (x - y).abs() < 1e-12), "{:?}", run.last);
    let mut rule = Extragradient { step: 0.2, set: Some(set) };
    let same = simulate(&game, &mut rule, &[0.5, 0.5, 1.0], &steps(200), &Record::default(), go).unwrap();
    assert!(run.last.iter().zip(&same.last).all(|(x, y)| (x - y).abs() < 1e-12));
}

/// The mean squared distance of noisy play stays below its bound, and for `J = 1` meets it: `h σ² / (2 - h)`.
#[test]
fn noisy_gradients_end_within_their_radius() {
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let mut mean_of = |game: &Game, step: f64, weights: [f64; 2]| {
        // Noise of ±1 in each variable.
        let noise = |field: &mut [f64]| field.iter_mut().for_each(|f| *f += if random.random::<bool>() { 1.0 } else { -1.0 });
        let record = Record { weights: weights.to_vec(), reference: Some(vec![0.0; 2]), every: 0 };
        let (mut sum, mut count) = (0.0, 0.0);
        let observer = |sample: &Sample, _: &[f64]| {
            if sample.step > 1000 {
                sum += sample.metric_distance.unwrap().powi(2);
                count += 1.0;
            }
            ControlFlow::Continue(())
        };
        simulate(game, &mut StochasticEuler { step, noise }, &[0.0; 2], &steps(200_000), &record, observer).unwrap();
        sum / count
    };
    let plain = mean_of(&affine(&[1, 1], &[1.0, 0.0, 0.0, 1.0], &[0.0; 2]), 0.5, [1.0, 1.0]);
    let bound = Rates::new(1.0, 1.0).unwrap().noise_radius_squared(0.5, 2.0);
    assert!((plain / bound - 1.0).abs() < 0.05, "{plain} {bound}");
    let rates = Rates::new(1.0 - 0.5f64.sqrt(), 1.0 + 0.5f64.sqrt()).unwrap();
    let step = rates.best_euler_step();
    let toy = mean_of(&toy(), step, [1.0, 200.0]);
    assert!(toy < rates.noise_radius_squared(step, 201.0) && toy > 0.1, "{toy}");
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn random_game() -> impl Strategy<Value = (DMatrix<f64>, DVector<f64>, DVector<f64>)> {
        let numbers = |count| prop::collection::vec(-2.0..2.0, count);
        (numbers(9), numbers(3), numbers(3)).prop_map(|(j, b, x)| (DMatrix::from_vec(3, 3, j), DVector::from_vec(b), DVector::from_vec(x)))
    }

    proptest! {
        /// Steps on affine games, by matrices.
        #[test]
        fn steps_are_their_formulas((j, b, x) in random_game(), h in 0.01..0.5f64) {
            let game = Game::affine(&[2, 1], j.clone(), b.as_slice().to_vec()).unwrap();
            let field = |x: &DVector<f64>| &j * x + &b;
            let after = |rule: &mut dyn Dynamics, count: usize| {
                let run = simulate(&game, rule, x.as_slice(), &steps(count), &Record::default(), go).unwrap();
                DVector::from_vec(run.last)
            };
            let f = field(&x);
            let euler: DVector<f64> = &x - h * &f;
            let identity = DMatrix::<f64>::identity(3, 3);
            // The second player sees the first one's new state.
            let mut alternating = x.clone();
            alternating.rows_mut(0, 2).copy_from(&euler.rows(0, 2));
            alternating[2] -= h * field(&alternating)[2];
            // e^(-hJ) up to order 4, of what is left to the equilibrium.
            let rk4 = (1..=4).rev().fold(identity.clone(), |sum, k| &identity - (h / k as f64) * &j * sum);
            let shift = (2..=4).rev().fold(identity.clone(), |sum, k| &identity - (h / k as f64) * &j * sum);
            let timescales = DMatrix::from_diagonal(&DVector::from_vec(vec![1.0, 1.0, 3.0]));
            let adjustment = (0.5 * (&j - j.transpose())).tr_mul(&f);
            let gradient = j.tr_mul(&f);
            let sign = (f.dot(&gradient) * adjustment.dot(&gradient) / 3.0 + 0.1).signum();
            let adjusted = |lambda: f64| &x - h * (&f + lambda * &adjustment);
            let mut look = LookAhead { rule: Euler { step: h }, steps: 2, alpha: 0.25 };
            let all = [
                (after(&mut Euler { step: h }, 1), euler.clone()),
                (after(&mut Extragradient { step: h, set: None }, 1), &x - h * field(&euler)),
                (after(&mut OptimisticGda { step: h }, 2), &euler - h * (2.0 * field(&euler) - &f)),
                (after(&mut ConsensusOptimization { step: h, gamma: 0.3 }, 1), &x - h * (&f + 0.3 * &gradient)),
                (after(&mut HamiltonianDescent { step: h }, 1), &x - h * &gradient),
                (after(&mut look, 1), &x + 0.25 * (&euler - h * field(&euler) - &x)),
                (after(&mut TtGda { step: h, ratios: vec![1.0, 3.0] }, 1), &x - h * timescales * &f),
                (after(&mut AlternatingGda { step: h }, 1), alternating),
                (after(&mut Rk4 { step: h }, 1), rk4 * &x - h * shift * &b),
                (after(&mut SymplecticGradientAdjustment { step: h, lambda: 0.7, align: false }, 1), adjusted(0.7)),
                (after(&mut SymplecticGradientAdjustment { step: h, lambda: 0.7, align: true }, 1), adjusted(0.7 * sign)),
            ];
            for (place, (found, expected)) in all.iter().enumerate() {
                prop_assert!((found - expected).amax() < 1e-10 * (1.0 + expected.amax()), "{place}: {found} {expected}");
            }
            prop_assume!(j.determinant().abs() > 1e-2);
            let newton = j.clone().lu().solve(&f).unwrap();
            let missed = after(&mut NewtonGame { step: h }, 1) - (&x - h * &newton);
            prop_assert!(missed.amax() < 1e-9 * (1.0 + newton.amax()));
        }

        /// Contraction in the metric within the certified factor.
        #[test]
        fn runs_contract_as_much_as_their_rates_say(a in -20.0..20.0, share in 0.05..0.95, x in prop::array::uniform2(-3.0..3.0)) {
            // Couplings a and share / a, of which the margin is 1 - √share in the metric (1, a² / share).
            prop_assume!(f64::abs(a) > 1e-2);
            let game = affine(&[1, 1], &[1.0, a, share / a, 1.0], &[0.0; 2]);
            let rates = Rates::new(1.0 - f64::sqrt(share), 1.0 + f64::sqrt(share)).unwrap();
            let record = Record { weights: vec![1.0, a * a / share], ..Record::default() };
            for h in [0.5 * rates.euler_limit(), 0.99 * rates.euler_limit()] {
                let run = simulate(&game, &mut Euler { step: h }, &x, &steps(50), &record, go).unwrap();
                prop_assert!(run.largest_ratio <= rates.euler_factor(h) * (1.0 + 1e-4), "{} {}", run.largest_ratio, rates.euler_factor(h));
            }
            let h = 0.9 * rates.rk4_limit();
            let run = simulate(&game, &mut Rk4 { step: h }, &x, &steps(50), &record, go).unwrap();
            prop_assert!(run.largest_ratio <= rates.rk4_factor(h) * (1.0 + 1e-4));
        }
    }
}
