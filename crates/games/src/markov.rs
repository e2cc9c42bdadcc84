//! Tabular Markov games, whose players follow the natural gradient of entropy-regularised returns.
//!
//! In state `s` each of the players `i` draws an action `a_i` by its policy `π_i(·|s)`; with the joint action `a` player `i` gets the
//! reward `r_i(s, a)`, and the next state is drawn by the kernel `T(·|s, a)`. With the discount `γ`, the start `ρ₀` and the temperature `τ`
//! the players lower
//!
//! ```text
//! f_i = -[ Σ_s d(s) r_i(s, π) + τ Σ_s H(π_i(·|s)) ],   d = (1-γ) (I - γ T_πᵀ)⁻¹ ρ₀,   H(p) = -Σ_a p(a) ln p(a),
//! ```
//!
//! where `r_i(·, π)` and `T_π` are means over joint actions, and `d` is the discounted occupancy of the states, with sum 1 (Sharma 2025,
//! entropy-regularised Markov games). The entropies of all states count alike; [`EntropyWeight::Occupancy`] weighs them by `d`.
//!
//! **Coordinates.** Policies are softmaxes of logits `θ_i(s, a)`, of which only differences matter. The variables of a player are
//! `u_i(s, a) = θ_i(s, a) - θ_i(s, A)` for all actions but the last, `A`: state by state, and in a state action by action.
//!
//! **The field.** Let `Q̄_i(s, a)` be the mean of `Q_i = r_i + γ T V_i`, `V_i = (I - γ T_π)⁻¹ r_i(·, π)`, over the actions of the others. As
//! `∂f_i/∂π_i(a|s) = -d(s) Q̄_i(s, a) + τ (ln π_i(a|s) + 1)`, up to a number that is the same for all actions, and `∂π/∂θ` is the Fisher
//! matrix `G = diag(π) - ππᵀ` of each state, the gradient is `∇_θ f = G ∂f/∂π`: what the natural gradient `G⁺ ∇_θ f` leaves of it is
//! `∂f/∂π` without its mean over actions. In `u` it is the difference to the last action,
//!
//! ```text
//! V_i(s, a) = τ u_i(s, a) - d(s) [ Q̄_i(s, a) - Q̄_i(s, A) ],
//! ```
//!
//! with no Fisher matrix left. Natural policy gradient ([`Euler`](crate::dynamics::Euler) on [`MarkovGame::game`]) therefore contracts in a
//! *constant* metric wherever [`Certifier`](crate::small_gain::Certifier) says so. With entropies weighted by `d`, the same `G` gives
//! `V_i(s, a) = d(s) [ τ u_i(s, a) - Q̄_i(s, a) + Q̄_i(s, A) ]`, where the rewards in `Q` are `r_i + τ H(π_i)`; a Fisher matrix weighted by
//! `d` too would leave the factor `d(s)` out. Where `d(s)` is small, so is then the curvature.
//!
//! **Rows.** Rows of `T`, and `ρ₀`, sum to 1 within 1e-9, or are refused. They are divided by their sums if these are not 1; then the last
//! state gets exactly what the others leave. So one state less has to be solved for: with `h(s) = V(s) - V(S)` and
//! `ΔT(s, s') = T_π(s'|s) - T_π(s'|S)` of all states but the last, `S`, it is `(I - γ ΔT) h = r(·, π) - r(S, π)`, and `d` solves the transposed
//! system `(I - γ ΔTᵀ) d = (1-γ) ρ₀ + γ T_π(·|S)`. The leading minors of `I - γ ΔT` are positive, as
//! `det(I - γ T_k + γ 1 tᵀ) = det(I - γ T_k) (1 + γ tᵀ (I - γ T_k)⁻¹ 1)` for the leading blocks `T_k` of `T_π` and the part `t` of its last row, so
//! that elimination needs no pivots. Values, which grow with `1/(1-γ)`, do not appear, but only their differences.
//!
//! ```
//! use gradus_games::markov::{EntropyWeight, MarkovGame, Tables};
//! use gradus_games::small_gain::{Certifier, Region, Verdict, Verified, check};
//!
//! // Two players who want to do the same; what they do decides where they are next.
//! let game = MarkovGame::new(Tables {
//!     actions: vec![2, 2],
//!     discount: 0.9,
//!     temperature: 1.0,
//!     rewards: vec![vec![vec![1.0, -1.0, -1.0, 1.0]; 2]; 2],
//!     transitions: vec![vec![vec![0.9, 0.1], vec![0.5, 0.5], vec![0.5, 0.5], vec![0.1, 0.9]]; 2],
//!     start: vec![1.0, 0.0],
//!     entropy: EntropyWeight::Uniform,
//! })?;
//! assert!((game.occupancy(&[0.0; 4])[0] - 0.55).abs() < 1e-12);
//! let natural = game.game()?;
//! let Verdict::Certified(found) = Certifier::default().certify(&natural, &Region::local(&[-0.2; 4], &[0.2; 4])?)? else { unreachable!() };
//! assert!(found.certificate.alpha > 0.36);
//! assert_eq!(check(&found.certificate, Some(&natural))?, Verified::Verified);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod fisher;
mod solve;
mod tables;
#[cfg(test)]
mod tests;

use crate::game::{Game, GameError};
use crate::scalar::Real;
use solve::Elimination;
use tables::{check, check_numbers, check_sizes, distribution, shown_actions};

pub use fisher::{FisherEstimate, contraction_estimate, fisher_estimate};

/// How far sums of probabilities may be from 1.
pub const SUM_TOLERANCE: f64 = 1e-9;

/// What is no Markov game. Players count from 1, states and actions from 0, as in the names of the [variables](MarkovGame::variables).
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MarkovError {
    /// Sizes that do not fit.
    #[error("{what}: expected {expected}, got {got}")]
    Dimension {
        /// What has the size.
        what: String,
        /// The size it must have.
        expected: usize,
        /// The size it has.
        got: usize,
    },
    /// A number that is out of its range.
    #[error("{what} is {value}, but must be {expected}")]
    MarkovSpec {
        /// Which number, with its player, state and joint action.
        what: String,
        /// Its value.
        value: f64,
        /// The range it must lie in.
        expected: &'static str,
    },
}

impl MarkovError {
    /// The name of the kind, for other programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Dimension { .. } => "Dimension",
            Self::MarkovSpec { .. } => "MarkovSpec",
        }
    }
}

/// How much the entropy of a policy in a state counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EntropyWeight {
    /// As much as in all other states.
    #[default]
    Uniform,
    /// As much as the state is occupied: rewards are `r_i + τ H(π_i)`.
    Occupancy,
}

impl EntropyWeight {
    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Occupancy => "occupancy",
        }
    }
}

/// What a Markov game is made of. Joint actions are in the order in which the last player's action changes fastest: with two actions
/// each, `(0,0), (0,1), (1,0), (1,1)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Tables {
    /// How many actions each player has, the same in all states: 2 or more, of 2 or more players.
    pub actions: Vec<usize>,
    /// The discount `γ`, at least 0 and below 1.
    pub discount: f64,
    /// The temperature `τ`, above 0.
    pub temperature: f64,
    /// Rewards `r_i(s, a)`: `[players, states, joint actions]`.
    pub rewards: Vec<Vec<Vec<f64>>>,
    /// The kernel `T(s'|s, a)`: `[states, joint actions, next states]`.
    pub transitions: Vec<Vec<Vec<f64>>>,
    /// The distribution `ρ₀` of the first state: `[states]`.
    pub start: Vec<f64>,
    /// How much entropies count.
    pub entropy: EntropyWeight,
}

/// A tabular Markov game: see the [module](self).
#[derive(Debug, Clone, PartialEq)]
pub struct MarkovGame(Tables);

impl MarkovGame {
    /// The game of some tables, with rows of probabilities that sum to 1 exactly if the last one is taken as what the others leave.
    ///
    /// # Errors
    /// [`MarkovError::Dimension`] for fewer than two players, a player with fewer than two actions, no state, and tables of other sizes;
    /// [`MarkovError::MarkovSpec`] for a discount, a temperature, a reward or a probability that is out of its range, and probabilities
    /// whose sum differs from 1 by more than 1e-9.
    pub fn new(mut tables: Tables) -> Result<Self, MarkovError> {
        check_sizes(&tables)?;
        check_numbers(&tables)?;
        tables.start = distribution(&tables.start, || "the start".into())?;
        for (state, rows) in tables.transitions.iter_mut().enumerate() {
            for (joint, row) in rows.iter_mut().enumerate() {
                *row = distribution(row, || {
                    format!("the kernel in state {state} for joint action {}", shown_actions(&tables.actions, joint))
                })?;
            }
        }
        Ok(Self(tables))
    }

    /// What the game is made of; rows of probabilities as they are used.
    pub fn tables(&self) -> &Tables {
        &self.0
    }

    /// Number of states.
    pub fn states(&self) -> usize {
        self.0.start.len()
    }

    /// Number of variables of each player: for each state one for each action but the last.
    pub fn dimensions(&self) -> Vec<usize> {
        self.0.actions.iter().map(|actions| self.states() * (actions - 1)).collect()
    }

    /// The variables' names: `u1_s0_a0` is the first player's in the first state for the first action.
    pub fn variables(&self) -> Vec<String> {
        let actions = self.0.actions.iter().enumerate();
        let names = actions.flat_map(|(player, &actions)| {
            let of_state = move |state| (0..actions - 1).map(move |action| format!("u{}_s{state}_a{action}", player + 1));
            (0..self.states()).flat_map(of_state)
        });
        names.collect()
    }

    /// The game of the natural gradient: its field is [`MarkovGame::field`].
    ///
    /// # Errors
    /// [`GameError::TooLarge`].
    pub fn game(&self) -> Result<Game, GameError> {
        Game::from_field(&self.dimensions(), |u| self.field(u))
    }

    /// The game of the gradient in all logits ("exact policy gradient"), seen in the same variables: `θ ← θ - η ∇_θ f` moves `u` by
    /// `-η [∂f/∂θ(s, a) - ∂f/∂θ(s, A)]`, which depends on `u` alone. With two actions it is `2 π(0|s) π(1|s)` times the natural gradient.
    ///
    /// # Errors
    /// [`GameError::TooLarge`].
    pub fn policy_gradient_game(&self) -> Result<Game, GameError> {
        Game::from_field(&self.dimensions(), |u| {
            let gradient = self.policy_gradient(&self.logits(u));
            self.differences(&gradient)
        })
    }

    /// `V(u)`, the natural gradient of the losses.
    ///
    /// # Panics
    /// When `u` has another size than the game.
    #[track_caller]
    pub fn field<R: Real>(&self, u: &[R]) -> Vec<R> {
        let play = self.play(u);
        let mut field = Vec::with_capacity(u.len());
        for (own, gaps) in self.by_state(u, 1).iter().zip(&play.gaps) {
            for ((logits, gaps), &occupancy) in own.iter().zip(gaps).zip(&play.occupancy) {
                field.extend(logits.iter().zip(gaps).map(|(&u, &gap)| match self.0.entropy {
                    EntropyWeight::Uniform => u * self.0.temperature - occupancy * gap,
                    EntropyWeight::Occupancy => occupancy * (u * self.0.temperature - gap),
                }));
            }
        }
        field
    }

    /// `∇_{θ_i} f_i` of each player, in all logits: state by state, and in a state action by action.
    ///
    /// # Panics
    /// When there are other logits than one for each player, state and action.
    #[track_caller]
    pub fn policy_gradient<R: Real>(&self, logits: &[R]) -> Vec<R> {
        let u = self.differences(logits);
        let (policies, field) = (self.policies(&u), self.field(&u));
        let mut gradient = Vec::with_capacity(logits.len());
        for (own, policies) in self.by_state(&field, 1).iter().zip(&policies) {
            for (slopes, policy) in own.iter().zip(policies) {
                // G ∂f/∂π, with ∂f/∂π less that of the last action.
                let mean = dot(policy, slopes);
                gradient.extend(slopes.iter().zip(policy).map(|(&slope, &share)| share * (slope - mean)));
                gradient.extend(policy.last().map(|&share| -(share * mean)));
            }
        }
        gradient
    }

    /// The losses `f_i`.
    ///
    /// # Panics
    /// When `u` has another size than the game.
    #[track_caller]
    pub fn losses<R: Real>(&self, u: &[R]) -> Vec<R> {
        let play = self.play(u);
        let entropies = self.entropies(u);
        let loss = |(rewards, entropies): (&Vec<R>, &Vec<R>)| {
            let bonus = match self.0.entropy {
                EntropyWeight::Uniform => sum(entropies) * self.0.temperature,
                EntropyWeight::Occupancy => R::constant(0.0),
            };
            -(dot(&play.occupancy, rewards) + bonus)
        };
        play.rewards.iter().zip(&entropies).map(loss).collect()
    }

    /// The discounted occupancy `d` of each state.
    ///
    /// # Panics
    /// When `u` has another size than the game.
    #[track_caller]
    pub fn occupancy<R: Real>(&self, u: &[R]) -> Vec<R> {
        self.play(u).occupancy
    }

    /// The values `V_i(s)` of each player's states: discounted sums of rewards, with the entropy's bonus if it is weighted by occupancy.
    ///
    /// # Panics
    /// When `u` has another size than the game.
    #[track_caller]
    pub fn values<R: Real>(&self, u: &[R]) -> Vec<Vec<R>> {
        let play = self.play(u);
        let values = |(rewards, relative): (&Vec<R>, &Vec<R>)| {
            let last = self.states() - 1;
            let base = (rewards[last] + dot(&play.moves[last], relative) * self.0.discount) / (R::constant(1.0) - self.0.discount);
            relative.iter().map(|&value| value + base).chain([base]).collect()
        };
        play.rewards.iter().zip(&play.relative_values).map(values).collect()
    }

    /// The policies `π_i(a|s)`: `[players][states][actions]`.
    ///
    /// # Panics
    /// When `u` has another size than the game.
    #[track_caller]
    pub fn policies<R: Real>(&self, u: &[R]) -> Vec<Vec<Vec<R>>> {
        self.by_state(u, 1).into_iter().map(|own| own.into_iter().map(softmax).collect()).collect()
    }

    /// `Σ_i w_i Σ_s KL(π*_i(·|s) ‖ π_i(·|s))` from the policies at `u` to those at an equilibrium: what Sharma (2025) reports. What
    /// contracts by a certificate is the distance in its metric, not this.
    ///
    /// # Errors
    /// [`MarkovError::Dimension`] when sizes do not fit.
    pub fn kl(&self, weights: &[f64], equilibrium: &[f64], u: &[f64]) -> Result<f64, MarkovError> {
        let size = self.dimensions().iter().sum();
        check("weights".into(), self.0.actions.len(), weights.len())?;
        check("variables of the equilibrium".into(), size, equilibrium.len())?;
        check("variables".into(), size, u.len())?;
        let (target, found) = (self.by_state(equilibrium, 1), self.by_state(u, 1));
        let own = |(target, found): (&Vec<&[f64]>, &Vec<&[f64]>)| target.iter().zip(found).map(|(p, q)| divergence(p, q)).sum::<f64>();
        Ok(weights.iter().zip(target.iter().zip(&found)).map(|(weight, pair)| weight * own(pair)).sum())
    }

    /// Logits `θ`, of which those of the last actions are 0.
    ///
    /// # Panics
    /// When `u` has another size than the game.
    #[track_caller]
    pub fn logits<R: Real>(&self, u: &[R]) -> Vec<R> {
        let states = self.by_state(u, 1).into_iter().flatten();
        states.flat_map(|own| own.iter().copied().chain([R::constant(0.0)])).collect()
    }

    /// The variables `u` of all logits `θ`.
    ///
    /// # Panics
    /// When there are other logits than one for each player, state and action.
    #[track_caller]
    pub fn differences<R: Real>(&self, logits: &[R]) -> Vec<R> {
        let mut u = Vec::with_capacity(logits.len());
        for own in self.by_state(logits, 0).into_iter().flatten() {
            if let [others @ .., last] = own {
                u.extend(others.iter().map(|&logit| logit - *last));
            }
        }
        u
    }

    /// Each player's numbers in each state, of which there are so many `fewer` than actions.
    #[track_caller]
    fn by_state<'a, T>(&self, x: &'a [T], fewer: usize) -> Vec<Vec<&'a [T]>> {
        let size = self.0.actions.iter().map(|actions| self.states() * (actions - fewer)).sum::<usize>();
        assert!(x.len() == size, "a Markov game of {size} numbers got {}", x.len());
        let mut rest = x;
        let mut players = Vec::with_capacity(self.0.actions.len());
        for actions in &self.0.actions {
            let (own, after) = rest.split_at(self.states() * (actions - fewer));
            players.push(own.chunks(actions - fewer).collect());
            rest = after;
        }
        players
    }

    /// `H(π_i(·|s))` of each player and state.
    fn entropies<R: Real>(&self, u: &[R]) -> Vec<Vec<R>> {
        self.by_state(u, 1).into_iter().map(|own| own.into_iter().map(entropy).collect()).collect()
    }

    /// What play by the policies of `u` comes to.
    #[track_caller]
    fn play<R: Real>(&self, u: &[R]) -> Play<R> {
        let (policies, states) = (self.policies(u), self.states());
        let last = states - 1;
        let kernel = |player, state, next| self.means(player, state, &policies, |joint| self.0.transitions[state][joint][next]);
        let moves: Vec<Vec<R>> =
            (0..states).map(|state| (0..last).map(|next| kernel(0, state, next).over(&policies[0][state])).collect()).collect();
        let system = |s: usize, t: usize| R::constant(if s == t { 1.0 } else { 0.0 }) - (moves[s][t] - moves[last][t]) * self.0.discount;
        let system = Elimination::new((0..last).map(|s| (0..last).map(|t| system(s, t)).collect()).collect());
        let entropies = match self.0.entropy {
            EntropyWeight::Uniform => None,
            EntropyWeight::Occupancy => Some(self.entropies(u)),
        };
        let mut play =
            Play { gaps: Vec::new(), occupancy: self.states_met(&moves, &system), rewards: Vec::new(), relative_values: Vec::new(), moves };
        for player in 0..self.0.actions.len() {
            let own: Vec<Means<R>> =
                (0..states).map(|state| self.means(player, state, &policies, |joint| self.0.rewards[player][state][joint])).collect();
            let mut rewards: Vec<R> = own.iter().zip(&policies[player]).map(|(own, policy)| own.over(policy)).collect();
            if let Some(entropies) = &entropies {
                rewards.iter_mut().zip(&entropies[player]).for_each(|(reward, &entropy)| *reward = *reward + entropy * self.0.temperature);
            }
            let relative = system.solve((0..last).map(|state| rewards[state] - rewards[last]).collect());
            let gaps = own.into_iter().enumerate().map(|(state, own)| {
                let kernels: Vec<Means<R>> = (0..last).map(|next| kernel(player, state, next)).collect();
                let ahead = |action: usize| {
                    let terms = kernels.iter().zip(&relative).map(|(kernel, &value)| kernel.gaps[action] * value);
                    terms.fold(R::constant(0.0), |sum, term| sum + term) * self.0.discount
                };
                own.gaps.iter().enumerate().map(|(action, &gap)| gap + ahead(action)).collect()
            });
            play.gaps.push(gaps.collect());
            play.rewards.push(rewards);
            play.relative_values.push(relative);
        }
        play
    }

    /// `d`, of which the last state's part is what the others leave.
    fn states_met<R: Real>(&self, moves: &[Vec<R>], system: &Elimination<R>) -> Vec<R> {
        let last = moves.len() - 1;
        let rest = R::constant(1.0) - self.0.discount;
        let right = (0..last).map(|state| rest * self.0.start[state] + moves[last][state] * self.0.discount);
        let mut occupancy = system.solve_transposed(right.collect());
        occupancy.push(occupancy.iter().fold(R::constant(1.0), |rest, &share| rest - share));
        occupancy
    }

    /// The means of a table of joint actions over the actions of all players but one.
    fn means<R: Real>(&self, player: usize, state: usize, policies: &[Vec<Vec<R>>], table: impl Fn(usize) -> f64) -> Means<R> {
        let actions = &self.0.actions;
        let inner: usize = actions[player + 1..].iter().product();
        let outer: usize = actions[..player].iter().product();
        let own = actions[player];
        let at = |other: usize, action: usize| R::constant(table((other / inner * own + action) * inner + other % inner));
        let others: Vec<&[R]> = policies.iter().enumerate().filter(|(i, _)| *i != player).map(|(_, own)| own[state].as_slice()).collect();
        let last = mean(&others, (0..outer * inner).map(|other| at(other, own - 1)).collect());
        // Differences before means: what they have in common does not become wide on boxes.
        let gap = |action: usize| mean(&others, (0..outer * inner).map(|other| at(other, action) - at(other, own - 1)).collect());
        Means { last, gaps: (0..own - 1).map(gap).collect() }
    }
}

/// A table of a player's actions.
struct Means<R> {
    /// Its entry of the last action.
    last: R,
    /// What the others' are above it.
    gaps: Vec<R>,
}

impl<R: Real> Means<R> {
    /// The mean under a policy.
    fn over(&self, policy: &[R]) -> R {
        self.gaps.iter().zip(policy).fold(self.last, |sum, (&gap, &share)| sum + share * gap)
    }
}

/// What play comes to.
struct Play<R> {
    /// `Q̄_i(s, a) - Q̄_i(s, A)` of all actions but the last: `[players][states][actions - 1]`.
    gaps: Vec<Vec<Vec<R>>>,
    /// `d`.
    occupancy: Vec<R>,
    /// Mean rewards, with the entropy's bonus if it is weighted by occupancy: `[players][states]`.
    rewards: Vec<Vec<R>>,
    /// `V_i(s) - V_i(S)` of all states but the last: `[players][states - 1]`.
    relative_values: Vec<Vec<R>>,
    /// `T_π` without its last column: `[states][states - 1]`.
    moves: Vec<Vec<R>>,
}

/// The mean of a table of joint actions under the players' policies, each as what its last action leaves.
fn mean<R: Real>(policies: &[&[R]], mut table: Vec<R>) -> R {
    for policy in policies.iter().rev() {
        let over = |entries: &[R]| {
            let last = entries[entries.len() - 1];
            // Only one action's share is no factor, so that with two actions each appears once.
            entries[..entries.len() - 1].iter().zip(*policy).fold(last, |sum, (&entry, &share)| sum + share * (entry - last))
        };
        table = table.chunks(policy.len()).map(over).collect();
    }
    table[0]
}

/// The policy of logits, after which the last action's is 0. On a box each share is as tight as one number away from the truth: it rises in
/// no variable at one place, and falls in it at another.
fn softmax<R: Real>(u: &[R]) -> Vec<R> {
    if let [u] = *u {
        return vec![u.sigmoid(), (-u).sigmoid()];
    }
    let one = R::constant(1.0);
    let share = |action: usize| {
        let others = u.iter().enumerate().filter(|(other, _)| *other != action);
        one / others.fold(one + (-u[action]).exp(), |sum, (_, &other)| sum + (other - u[action]).exp())
    };
    let last = one / u.iter().fold(one, |sum, &u| sum + u.exp());
    (0..u.len()).map(share).chain([last]).collect()
}

/// `ln Σ e^u`, with the last action's 0.
fn normaliser<R: Real>(u: &[R]) -> R {
    u[1..].iter().fold(u[0].softplus(), |sum, &u| sum + (u - sum).softplus())
}

/// `H` of the policy of logits.
fn entropy<R: Real>(u: &[R]) -> R {
    normaliser(u) - dot(u, &softmax(u))
}

/// `KL(p ‖ q)` of the policies of two actions' logits; never negative.
fn divergence(p: &[f64], q: &[f64]) -> f64 {
    let cross: f64 = softmax(p).iter().zip(p.iter().zip(q)).map(|(share, (p, q))| share * (p - q)).sum();
    (cross + normaliser(q) - normaliser(p)).max(0.0)
}

/// Over as many entries as the shorter has.
fn dot<R: Real>(a: &[R], b: &[R]) -> R {
    sum(&a.iter().zip(b).map(|(&a, &b)| a * b).collect::<Vec<_>>())
}

fn sum<R: Real>(x: &[R]) -> R {
    x.iter().fold(R::constant(0.0), |sum, &x| sum + x)
}
