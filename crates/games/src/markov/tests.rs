use nalgebra::{DMatrix, DVector, SymmetricEigen};

use super::*;
use crate::geometry::{Coordinates, Following, Metric};
use crate::rigorous::Interval;
use crate::scalar::Dual;
use crate::small_gain::{Certifier, Region, Sampling, Search, Verdict, Verified, check as check_certificate, estimate, optimal_weights};
use crate::zoo::{Interests, cooperative_tables, random_markov, zero_sum_markov, zero_sum_tables};

fn game() -> MarkovGame {
    MarkovGame::new(cooperative_tables()).unwrap()
}

/// Numbers in `[-1, 1]` that look random.
fn stream(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

fn random(seed: u64, actions: &[usize], states: usize, entropy: EntropyWeight) -> MarkovGame {
    of_interests(seed, actions, states, Interests::General, entropy)
}

fn of_interests(seed: u64, actions: &[usize], states: usize, interests: Interests, entropy: EntropyWeight) -> MarkovGame {
    let mut next = stream(seed);
    let tables = random_markov(states, actions, interests, &mut || 0.5 + 0.4999 * next()).unwrap();
    MarkovGame::new(Tables { discount: 0.8, temperature: 0.7, entropy, ..tables }).unwrap()
}

/// The losses as they are defined, with sums over all joint actions and a general solver.
fn losses_by_definition(game: &MarkovGame, u: &[f64]) -> Vec<f64> {
    let Tables { actions, discount, temperature, rewards, transitions, start, entropy } = game.tables();
    let (policies, states) = (game.policies(u), game.states());
    let joint: usize = actions.iter().product();
    let weight = |state: usize, mut place: usize| {
        let mut weight = 1.0;
        for (player, count) in actions.iter().enumerate().rev() {
            weight *= policies[player][state][place % count];
            place /= count;
        }
        weight
    };
    let mean = |state: usize, table: &dyn Fn(usize) -> f64| (0..joint).map(|place| weight(state, place) * table(place)).sum::<f64>();
    let kernel = DMatrix::from_fn(states, states, |s, t| mean(s, &|place| transitions[s][place][t]));
    let system = DMatrix::identity(states, states) - kernel.transpose() * *discount;
    let occupancy = system.lu().solve(&DVector::from_column_slice(start)).unwrap() * (1.0 - discount);
    let entropy_of = |player: usize, state: usize| -policies[player][state].iter().map(|p| p * p.ln()).sum::<f64>();
    let loss = |player: usize| {
        let reward: f64 = (0..states).map(|s| occupancy[s] * mean(s, &|place| rewards[player][s][place])).sum();
        let bonus: f64 =
            (0..states).map(|s| entropy_of(player, s) * if *entropy == EntropyWeight::Uniform { 1.0 } else { occupancy[s] }).sum();
        -(reward + temperature * bonus)
    };
    (0..actions.len()).map(loss).collect()
}

/// `∇ f_i` of each player in its own variables, by dual numbers.
fn gradients(game: &MarkovGame, u: &[f64]) -> Vec<f64> {
    let mut gradients = Vec::new();
    for (player, size) in game.dimensions().into_iter().enumerate() {
        for _ in 0..size {
            let axis = gradients.len();
            let x: Vec<Dual<f64>> =
                u.iter().enumerate().map(|(k, &u)| if k == axis { Dual::variable(u) } else { Dual::constant(u) }).collect();
            gradients.push(game.losses(&x)[player].slope);
        }
    }
    gradients
}

fn close(found: &[f64], expected: &[f64], tolerance: f64) -> bool {
    found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= tolerance * b.abs().max(1.0))
}

/// `V` against `G⁻¹ ∇f` and `∇_θ f` against `G ∂f/∂π`, in all players' variables.
fn check_gradients(game: &MarkovGame, u: &[f64]) {
    assert!(close(&game.losses(u), &losses_by_definition(game, u), 1e-12));
    let (gradient, field) = (gradients(game, u), game.field(u));
    let mut start = 0;
    for (player, size) in game.dimensions().into_iter().enumerate() {
        let fisher = game.fisher(player, u).unwrap();
        let natural = fisher.lu().solve(&DVector::from_column_slice(&gradient[start..start + size])).unwrap();
        assert!(close(&field[start..start + size], natural.as_slice(), 1e-10), "player {player}");
        start += size;
    }
    // The same losses, of all logits: G has no inverse there, and the gradient no part where it has none.
    let logits: Vec<f64> = game.logits(u).iter().enumerate().map(|(k, logit)| logit + 0.1 * ((k / 2) as f64).cos()).collect();
    let raw = game.policy_gradient(&logits);
    let place = game.differences(&logits);
    let sizes: Vec<usize> = game.tables().actions.iter().map(|actions| game.states() * actions).collect();
    let (mut axis, mut natural) = (0, Vec::new());
    for (player, size) in sizes.into_iter().enumerate() {
        let policies = &game.policies(&place)[player];
        let actions = policies[0].len();
        for k in 0..size {
            let x: Vec<Dual<f64>> =
                logits.iter().enumerate().map(|(j, &u)| if j == axis + k { Dual::variable(u) } else { Dual::constant(u) }).collect();
            let slope = game.losses(&game.differences(&x))[player].slope;
            assert!((raw[axis + k] - slope).abs() < 1e-11 * slope.abs().max(1.0));
        }
        for (state, policy) in policies.iter().enumerate() {
            let policy = DVector::from_column_slice(policy);
            let fisher = DMatrix::from_diagonal(&policy) - &policy * policy.transpose();
            let own = DVector::from_column_slice(&raw[axis + state * actions..axis + (state + 1) * actions]);
            // G⁺ on what sums to 0: of G + 11ᵀ, which is regular, it is the inverse.
            natural.extend((fisher.add_scalar(1.0).lu().solve(&own).unwrap()).iter().copied());
        }
        axis += size;
    }
    assert!(close(&game.differences(&natural), &game.field(&place), 1e-10));
}

#[test]
fn the_cooperative_game_at_its_equilibrium() {
    let game = game();
    let zero = [0.0; 4];
    assert_eq!(game.dimensions(), [2, 2]);
    assert_eq!(game.variables(), ["u1_s0_a0", "u1_s1_a0", "u2_s0_a0", "u2_s1_a0"]);
    assert_eq!(game.field(&zero), [0.0; 4]);
    assert_eq!(game.policy_gradient(&[0.0; 8]), [0.0; 8]);
    assert!(close(&game.occupancy(&zero), &[0.55, 0.45], 1e-15));
    let natural = game.game().unwrap();
    let expected = [1.0, 0.0, -0.55, 0.0, 0.0, 1.0, 0.0, -0.45, -0.55, 0.0, 1.0, 0.0, 0.0, -0.45, 0.0, 1.0];
    let jacobian = natural.jacobian(&zero);
    assert!(close(jacobian.transpose().as_slice(), &expected, 1e-15), "{jacobian}");
    // The margin, and the factors of natural and plain gradients: 1 - 0.45 η and 1 - 0.225 η, up to 2/1.55 and 4/1.55.
    let rates = SymmetricEigen::new(jacobian).eigenvalues;
    assert!((rates.min() - 0.45).abs() < 1e-14 && (2.0 / rates.max() - 1.290_323).abs() < 1e-6);
    let plain = SymmetricEigen::new(game.policy_gradient_game().unwrap().jacobian(&zero)).eigenvalues;
    assert!((plain.min() - 0.225).abs() < 1e-14 && (2.0 / plain.max() - 2.580_645).abs() < 1e-6);
}

/// Couplings of norm 0.55 and 0.225 that are opposite: the symmetric part is the identity.
#[test]
fn the_zero_sum_game_at_its_equilibrium() {
    let game = MarkovGame::new(zero_sum_tables()).unwrap();
    let (occupancy, jacobian) = (game.occupancy(&[0.0; 4]), game.game().unwrap().jacobian(&[0.0; 4]));
    let mut expected = DMatrix::identity(4, 4);
    for (state, stake) in [1.0, 0.5].into_iter().enumerate() {
        expected[(state, state + 2)] = -stake * occupancy[state];
        expected[(state + 2, state)] = stake * occupancy[state];
    }
    assert!((jacobian - expected).amax() < 1e-15);
    let losses: f64 = game.losses(&[0.0; 4]).iter().sum();
    assert!((losses + 4.0 * 2f64.ln()).abs() < 1e-14);
}

#[test]
fn plain_gradients_of_all_logits_move_the_variables_as_their_game_says() {
    let game = random(3, &[2, 3], 2, EntropyWeight::Uniform);
    let plain = game.policy_gradient_game().unwrap();
    let mut next = stream(5);
    let mut logits: Vec<f64> = (0..10).map(|_| next()).collect();
    let mut u = game.differences(&logits);
    for _ in 0..5 {
        let gradient = game.policy_gradient(&logits);
        logits.iter_mut().zip(&gradient).for_each(|(logit, slope)| *logit -= 0.3 * slope);
        let field = plain.field(&u);
        u.iter_mut().zip(&field).for_each(|(u, slope)| *u -= 0.3 * slope);
        assert!(close(&game.differences(&logits), &u, 1e-13));
    }
}

/// On `|u|_∞ ≤ 0.2`, the cube of all logits' `|θ|_∞ ≤ 0.1`.
#[test]
fn the_cooperative_game_is_certified() {
    let natural = game().game().unwrap();
    let side = Interval::new(-0.2, 0.2).unwrap();
    let sampled = estimate(&natural, &[side; 4], Sampling::Grid { per_side: 3 }).unwrap().bounds;
    let best = optimal_weights(&sampled);
    assert!((sampled.curvature()[0] - 0.961_619).abs() < 1e-6 && (sampled.coupling()[(0, 1)] - 0.600_919).abs() < 1e-6, "{sampled:?}");
    assert!((best.margin - 0.360_700).abs() < 1e-6);
    let verdict = Certifier::default().certify(&natural, &Region::local(&[-0.2; 4], &[0.2; 4]).unwrap()).unwrap();
    let Verdict::Certified(found) = verdict else { panic!("{verdict:?}") };
    // Bounds are as close as was asked, after some 1,200 boxes.
    assert!(found.complete && found.boxes < 5_000, "{} boxes", found.boxes);
    assert!(found.certificate.alpha >= best.margin - 1e-5 && found.certificate.alpha <= best.margin + 1e-9, "{}", found.certificate.alpha);
    assert!(found.certificate.equilibrium.as_ref().unwrap().radius < 1e-12);
    assert_eq!(check_certificate(&found.certificate, Some(&natural)).unwrap(), Verified::Verified);
}

/// Where the couplings are opposite, too, though norms do not see it.
#[test]
fn the_zero_sum_game_is_certified() {
    let natural = zero_sum_markov().unwrap();
    // The tolerance that is asked by default takes all of 200,000 boxes here.
    let certifier = Certifier { search: Search { most_boxes: 2_000, ..Search::default() }, ..Certifier::default() };
    let verdict = certifier.certify(&natural.game, &Region::Local(natural.region)).unwrap();
    let Verdict::Certified(found) = verdict else { panic!("{verdict:?}") };
    assert!(found.certificate.alpha > 0.3 && !found.certificate.conditional, "{}", found.certificate.alpha);
    assert_eq!(check_certificate(&found.certificate, Some(&natural.game)).unwrap(), Verified::Verified);
}

/// At the same step, natural gradients take about half of the steps of plain ones to the same divergence, and each step keeps within the
/// certified factor.
#[test]
fn natural_gradients_take_half_of_the_steps() {
    let (game, start) = (game(), [0.012, -0.007, 0.004, 0.009]);
    let natural = game.game().unwrap();
    let verdict = Certifier::default().certify(&natural, &Region::local(&[-0.2; 4], &[0.2; 4]).unwrap()).unwrap();
    let Verdict::Certified(found) = verdict else { panic!("{verdict:?}") };
    let (rates, step) = (found.rates(), found.rates().best_euler_step());
    let norm = |u: &[f64]| u.chunks(2).zip(&found.certificate.weights).map(|(u, w)| w * (u[0] * u[0] + u[1] * u[1])).sum::<f64>().sqrt();
    let steps = |field: &Game, factor: f64| {
        let mut u = start.to_vec();
        for steps in 0.. {
            if game.kl(&[1.0; 2], &[0.0; 4], &u).unwrap() < 1e-17 {
                return steps;
            }
            let before = norm(&u);
            let moves = field.field(&u);
            u.iter_mut().zip(&moves).for_each(|(u, v)| *u -= step * v);
            assert!(norm(&u) <= factor * before);
        }
        unreachable!()
    };
    let (natural, plain) = (steps(&natural, rates.euler_factor(step)), steps(&game.policy_gradient_game().unwrap(), 1.0));
    assert!(f64::from(natural) < 0.6 * f64::from(plain) && natural > 0, "{natural} {plain}");
}

#[test]
fn the_procedure_of_the_paper() {
    let found = fisher_estimate(&game(), &[0.0; 8], 0.1).unwrap();
    assert_eq!(found.points, 256);
    for (found, expected) in [
        (found.bounds.curvature()[0], 0.934_394),
        (found.bounds.curvature()[1], 0.934_394),
        (found.bounds.coupling()[(0, 1)], 0.600_919),
        (found.bounds.coupling()[(1, 0)], 0.600_919),
        (found.ratio, 0.977_124),
        (found.margin, 0.333_435),
        (found.lipschitz, 1.571_832),
        (found.step_limit, 0.269_916),
    ] {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
    // At the equilibrium itself: curvatures of 1, couplings of 0.55 (and 0.45 in the other state).
    let point = fisher_estimate(&game(), &[0.0; 8], 0.0).unwrap().bounds;
    assert!(close(&[point.curvature()[0], point.coupling()[(0, 1)]], &[1.0, 0.55], 1e-12));
}

#[test]
fn fisher_metrics_frozen_and_not() {
    let game = game();
    let metrics: Vec<Metric> = (0..2).map(|player| Metric::new(player, game.fisher(player, &[0.0; 4]).unwrap()).unwrap()).collect();
    assert_eq!(metrics[0].matrix(), &(DMatrix::identity(2, 2) * 0.25));
    let frozen = Coordinates::of_metrics(&metrics).unwrap().game(&game.game().unwrap(), Following::Gradient).unwrap();
    assert!((frozen.jacobian(&[0.0; 4]) - game.game().unwrap().jacobian(&[0.0; 4])).amax() < 1e-15);
    // Where the field is 0, the metric does not change.
    assert!((contraction_estimate(&game, &[1.0, 1.0], &[vec![0.0; 4]]).unwrap() - 0.45).abs() < 1e-14);
    let corners: Vec<Vec<f64>> = (0..16).map(|bits| (0..4).map(|k| if bits >> k & 1 == 1 { 0.2 } else { -0.2 }).collect()).collect();
    let rate = contraction_estimate(&game, &[1.0, 1.0], &corners).unwrap();
    assert!(rate > 0.2 && rate < 0.45, "{rate}");
}

/// `|δ|_M` of two runs of the flow that are close falls at least as fast as the rate of the place says.
#[test]
fn rates_in_moving_metrics_are_those_of_the_flow() {
    let game = random(11, &[2, 2], 2, EntropyWeight::Uniform);
    let (u, weights) = ([0.4, -0.3, 0.2, 0.6], [1.0, 2.0]);
    let norm = |u: &[f64], change: &[f64]| {
        let mut square = 0.0;
        for player in 0..2 {
            let own = DVector::from_column_slice(&change[2 * player..2 * player + 2]);
            square += weights[player] * (own.transpose() * game.fisher(player, u).unwrap() * &own)[(0, 0)];
        }
        square.sqrt()
    };
    let jacobian = game.game().unwrap().jacobian(&u);
    let (rate, time) = (contraction_estimate(&game, &weights, &[u.to_vec()]).unwrap(), 1e-6);
    let mut slowest = f64::INFINITY;
    let mut next = stream(2);
    for _ in 0..400 {
        let change: Vec<f64> = (0..4).map(|_| next()).collect();
        let pushed = &jacobian * DVector::from_column_slice(&change);
        let later: Vec<f64> = u.iter().zip(game.field(&u)).map(|(u, v)| u - time * v).collect();
        let moved: Vec<f64> = change.iter().zip(pushed.iter()).map(|(c, p)| c - time * p).collect();
        slowest = slowest.min((norm(&u, &change) / norm(&later, &moved)).ln() / time);
    }
    assert!(slowest > rate - 1e-4 && slowest < rate + 0.1, "{slowest} {rate}");
}

#[test]
fn three_players_and_one_state() {
    let game = random(4, &[3, 2, 2], 1, EntropyWeight::Uniform);
    check_gradients(&game, &[0.3, -0.2, 0.5, 1.0]);
    assert_eq!(game.occupancy(&[0.0; 4]), [1.0]);
    // With one state there is no future: values are rewards for ever.
    let values = game.values(&[0.0; 4]);
    let mean: f64 = game.tables().rewards[0][0].iter().sum::<f64>() / 12.0;
    assert!((values[0][0] - mean / 0.2).abs() < 1e-12);
}

#[test]
fn values_solve_their_equation() {
    let game = random(9, &[2, 3], 3, EntropyWeight::Occupancy);
    let u: Vec<f64> = (0..9).map(|k| (k as f64).sin()).collect();
    let (values, losses) = (game.values(&u), game.losses(&u));
    for (values, loss) in values.iter().zip(losses) {
        // f = -(1-γ) ρ₀ᵀ V.
        let start: f64 = values.iter().zip(&game.tables().start).map(|(v, p)| v * p).sum();
        assert!((loss + 0.2 * start).abs() < 1e-12);
    }
}

#[test]
fn rows_of_probabilities_sum_to_one() {
    let row = |row: &[f64]| distribution(row, String::new);
    assert_eq!(row(&[0.9, 0.1]).unwrap(), [0.9, 1.0 - 0.9]);
    assert_eq!(row(&[1.0, 0.0]).unwrap(), [1.0, 0.0]);
    assert_eq!(row(&[0.0, 1.0 + 1e-10]).unwrap(), [0.0, 1.0]);
    for shares in [vec![0.9, 0.1, 0.0], vec![0.1; 10], vec![1.0 / 3.0; 3], vec![1.0 + 9e-10, 0.0], vec![0.7, 0.3 - 9e-10, 0.0]] {
        let used = row(&shares).unwrap();
        let left = used[..used.len() - 1].iter().fold(Interval::point(1.0), |left, &share| left - Interval::point(share));
        assert!(left.lo() >= 0.0 && close(&used, &shares, 1.1e-9), "{used:?}");
    }
    for shares in [vec![0.9, 0.2], vec![1.1, -0.1], vec![f64::NAN, 1.0], vec![f64::INFINITY, 0.0], vec![0.5, 0.5 + 2e-9]] {
        assert!(matches!(row(&shares), Err(MarkovError::MarkovSpec { .. })), "{shares:?}");
    }
}

#[test]
fn bad_tables_are_named() {
    #[track_caller]
    fn refused(change: impl FnOnce(&mut Tables), code: &str, message: &str) {
        let mut tables = cooperative_tables();
        change(&mut tables);
        let error = MarkovGame::new(tables).unwrap_err();
        assert!(error.code() == code && error.to_string() == message, "{}: {error}", error.code());
    }
    refused(|t| t.discount = 1.0, "MarkovSpec", "the discount is 1, but must be at least 0 and below 1");
    refused(|t| t.discount = -0.1, "MarkovSpec", "the discount is -0.1, but must be at least 0 and below 1");
    refused(|t| t.discount = f64::NAN, "MarkovSpec", "the discount is NaN, but must be at least 0 and below 1");
    refused(|t| t.temperature = 0.0, "MarkovSpec", "the temperature is 0, but must be positive and finite");
    refused(|t| t.temperature = f64::INFINITY, "MarkovSpec", "the temperature is inf, but must be positive and finite");
    refused(
        |t| t.rewards[1][0][2] = f64::NAN,
        "MarkovSpec",
        "the reward of player 2 in state 0 for joint action (1, 0) is NaN, but must be finite",
    );
    refused(
        |t| t.transitions[1][1] = vec![0.5, 0.4],
        "MarkovSpec",
        "the sum of the probabilities of the kernel in state 1 for joint action (0, 1) is 0.9, but must be 1 within 1e-9",
    );
    refused(
        |t| t.transitions[0][3] = vec![1.5, -0.5],
        "MarkovSpec",
        "the probability of state 1 of the kernel in state 0 for joint action (1, 1) is -0.5, but must be at least 0 and finite",
    );
    refused(|t| t.start[1] = 0.5, "MarkovSpec", "the sum of the probabilities of the start is 1.5, but must be 1 within 1e-9");
    refused(|t| t.actions.truncate(1), "Dimension", "players, at least: expected 2, got 1");
    refused(|t| t.actions[1] = 1, "Dimension", "actions of player 2, at least: expected 2, got 1");
    refused(
        |t| t.actions[1] = usize::MAX,
        "Dimension",
        &format!("joint actions with rewards of player 1 in state 0: expected {}, got 4", usize::MAX),
    );
    refused(|t| t.start.clear(), "Dimension", "states, at least: expected 1, got 0");
    refused(|t| t.start.push(0.0), "Dimension", "states with rewards of player 1: expected 3, got 2");
    refused(|t| t.rewards.truncate(1), "Dimension", "players with rewards: expected 2, got 1");
    refused(|t| t.rewards[0][1].truncate(3), "Dimension", "joint actions with rewards of player 1 in state 1: expected 4, got 3");
    refused(|t| t.transitions.truncate(1), "Dimension", "states with transitions: expected 2, got 1");
    refused(|t| t.transitions[0].truncate(2), "Dimension", "joint actions with transitions in state 0: expected 4, got 2");
    refused(|t| t.transitions[1][2].push(0.0), "Dimension", "next states in state 1 for joint action (1, 0): expected 2, got 3");
}

#[test]
fn bad_arguments_are_named() {
    let game = game();
    let dimension = |error: MarkovError| error.code() == "Dimension";
    assert!(dimension(game.kl(&[1.0], &[0.0; 4], &[0.0; 4]).unwrap_err()));
    assert!(dimension(game.kl(&[1.0; 2], &[0.0; 3], &[0.0; 4]).unwrap_err()));
    assert!(dimension(game.kl(&[1.0; 2], &[0.0; 4], &[0.0; 5]).unwrap_err()));
    assert!(dimension(game.fisher(2, &[0.0; 4]).unwrap_err()) && dimension(game.fisher(0, &[0.0; 3]).unwrap_err()));
    assert!(dimension(fisher_estimate(&game, &[0.0; 4], 0.1).unwrap_err()));
    assert!(dimension(fisher_estimate(&random(1, &[2, 2, 2], 1, EntropyWeight::Uniform), &[0.0; 6], 0.1).unwrap_err()));
    assert!(dimension(fisher_estimate(&random(1, &[5, 5], 2, EntropyWeight::Uniform), &[0.0; 20], 0.1).unwrap_err()));
    assert_eq!(fisher_estimate(&game, &[0.0; 8], f64::NAN).unwrap_err().code(), "MarkovSpec");
    assert_eq!(fisher_estimate(&game, &[1e5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 0.1).map(|found| found.points), Ok(256));
    assert_eq!(fisher_estimate(&game, &[1e5, 0.0, 1e5, 0.0, 0.0, 0.0, 0.0, 0.0], 0.1).unwrap_err().code(), "MarkovSpec");
    assert!(dimension(contraction_estimate(&game, &[1.0], &[vec![0.0; 4]]).unwrap_err()));
    assert!(dimension(contraction_estimate(&game, &[1.0; 2], &[]).unwrap_err()));
    assert!(dimension(contraction_estimate(&game, &[1.0; 2], &[vec![0.0; 3]]).unwrap_err()));
    assert_eq!(contraction_estimate(&game, &[1.0, -1.0], &[vec![0.0; 4]]).unwrap_err().code(), "MarkovSpec");
    assert_eq!(contraction_estimate(&game, &[1.0; 2], &[vec![1e5; 4]]).unwrap_err().code(), "MarkovSpec");
}

#[test]
fn a_region_too_large_for_the_budget_is_inconclusive() {
    let certifier = Certifier { search: Search { most_boxes: 20, ..Search::default() }, ..Certifier::default() };
    let region = Region::local(&[-0.6; 4], &[0.6; 4]).unwrap();
    let found = certifier.certify(&game().game().unwrap(), &region).unwrap();
    let Verdict::Inconclusive(open) = found else { panic!("it takes more boxes") };
    assert!(open.worst_box.len() == 4 && open.boxes <= 20 && open.alpha_lower <= 0.0 && open.alpha_upper > 0.0, "{open:?}");
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn entropy_weight() -> impl Strategy<Value = EntropyWeight> {
        prop::sample::select(vec![EntropyWeight::Uniform, EntropyWeight::Occupancy])
    }

    fn shape() -> impl Strategy<Value = (Vec<usize>, usize)> {
        (prop::collection::vec(2usize..4, 2..4), 1usize..4)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn fields_are_natural_gradients((actions, states) in shape(), seed in any::<u64>(), entropy in entropy_weight()) {
            let game = random(seed, &actions, states, entropy);
            let mut next = stream(seed ^ 77);
            let u: Vec<f64> = (0..game.dimensions().iter().sum()).map(|_| 1.5 * next()).collect();
            check_gradients(&game, &u);
        }

        #[test]
        fn occupancies_are_distributions((actions, states) in shape(), seed in any::<u64>()) {
            let game = random(seed, &actions, states, EntropyWeight::Uniform);
            let mut next = stream(seed);
            let u: Vec<f64> = (0..game.dimensions().iter().sum()).map(|_| 5.0 * next()).collect();
            let occupancy = game.occupancy(&u);
            prop_assert!(occupancy.iter().all(|share| *share > 0.0) && (occupancy.iter().sum::<f64>() - 1.0).abs() < 1e-14);
            let policies = game.policies(&u).into_iter().flatten();
            prop_assert!(policies.into_iter().all(|policy| (policy.iter().sum::<f64>() - 1.0).abs() < 1e-14));
        }

        /// The recorded game has the field, and its boxes contain the points' values.
        #[test]
        fn boxes_contain_their_points(seed in any::<u64>(), three in any::<bool>(), entropy in entropy_weight(), width in 0.0..1.0f64) {
            let game = random(seed, if three { &[2, 2, 2] } else { &[3, 2] }, if three { 2 } else { 3 }, entropy);
            let natural = game.game().unwrap();
            let mut next = stream(seed ^ 5);
            let middle: Vec<f64> = (0..natural.size()).map(|_| next()).collect();
            let region: Vec<Interval> = middle.iter().map(|x| Interval::new(x - width, x + width).unwrap()).collect();
            let (fields, jacobians) = (natural.field_box(&region), natural.jacobian_box(&region));
            for _ in 0..5 {
                let u: Vec<f64> = middle.iter().map(|x| x + width * next()).collect();
                let field = game.field(&u);
                prop_assert!(close(&natural.field(&u), &field, 1e-12));
                prop_assert!(fields.iter().zip(&field).all(|(around, f)| around.lo() <= f + 1e-12 && around.hi() >= f - 1e-12));
                let jacobian = natural.jacobian(&u).transpose();
                prop_assert!(jacobians.iter().zip(jacobian.iter()).all(|(around, f)| around.lo() <= f + 1e-11 && around.hi() >= f - 1e-11));
            }
        }

        /// With opposite rewards only the entropies are left of the sum of losses.
        #[test]
        fn losses_of_opposite_rewards_cancel(seed in any::<u64>(), states in 1usize..4) {
            let game = of_interests(seed, &[2, 3], states, Interests::Opposite, EntropyWeight::Uniform);
            let mut next = stream(seed);
            let u: Vec<f64> = (0..3 * states).map(|_| 2.0 * next()).collect();
            let entropies: f64 = game.entropies(&u).into_iter().flatten().sum();
            prop_assert!((game.losses(&u).iter().sum::<f64>() + 0.7 * entropies).abs() < 1e-12);
        }

        /// With the same rewards all players descend on one function, so that its second derivatives are symmetric.
        #[test]
        fn equal_rewards_have_a_potential(seed in any::<u64>(), states in 1usize..3) {
            let game = of_interests(seed, &[2, 3], states, Interests::Common, EntropyWeight::Uniform);
            let raw = Game::from_field(&[2 * states, 3 * states], |x| game.policy_gradient(x)).unwrap();
            let mut next = stream(seed);
            let logits: Vec<f64> = (0..5 * states).map(|_| next()).collect();
            let jacobian = raw.jacobian(&logits);
            prop_assert!((&jacobian - jacobian.transpose()).amax() < 1e-12);
        }

        #[test]
        fn divergences_are_what_they_are(p in prop::collection::vec(-4.0..4.0f64, 4), q in prop::collection::vec(-4.0..4.0f64, 4)) {
            let game = random(1, &[3, 3], 1, EntropyWeight::Uniform);
            let (from, to) = (game.policies(&p), game.policies(&q));
            let own = |i: usize| from[i][0].iter().zip(&to[i][0]).map(|(p, q)| p * (p / q).ln()).sum::<f64>();
            let found = game.kl(&[2.0, 0.5], &p, &q).unwrap();
            prop_assert!((found - 2.0 * own(0) - 0.5 * own(1)).abs() < 1e-12 && found >= 0.0);
            prop_assert_eq!(game.kl(&[2.0, 0.5], &p, &p).unwrap(), 0.0);
        }
    }
}
