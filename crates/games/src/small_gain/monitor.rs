//! Runs with certified steps, and runs that are watched: the first step that does not contract as was certified is named.

use super::certificate::{Certificate, Rule};
use super::map::Update;
use super::{Rates, SmallGainError, check_weights};
use crate::game::Game;

/// Rounding errors that a step may make, relative to the norms of the points that it leads from and to.
const ROUNDING: f64 = 64.0 * f64::EPSILON;

/// What a certificate does not allow, or a run that is not what it says.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A step with which the rule is not known to contract.
    #[error("the step {h} is not between 0 and {h_max}, where the rule is certified to contract")]
    StepTooLarge {
        /// The step.
        h: f64,
        /// What it must be below.
        h_max: f64,
    },
    /// A rule that leaves the region, of which the certificate says nothing.
    #[error("the stages of the rule leave the region that players are confined to")]
    Unconfined,
    /// A distance that did not shrink as it should.
    #[error("state {step}: the distance to the {} is {ratio} of what it was, not {factor} or less", origin(*.from_equilibrium))]
    NotContracting {
        /// The state that is too far, from 0.
        step: usize,
        /// The distance, relative to that of the states before.
        ratio: f64,
        /// The certified factor.
        factor: f64,
        /// Whether the distance is from the equilibrium, and not from the state before.
        from_equilibrium: bool,
    },
    /// A state of which the certificate says nothing.
    #[error("state {step}: variable {variable} is {value}, outside the region")]
    OutsideRegion {
        /// The state, from 0.
        step: usize,
        /// The variable, from 0.
        variable: usize,
        /// Its value.
        value: f64,
    },
    /// A state that is not finite.
    #[error("state {step} is not finite")]
    NonFinite {
        /// The state, from 0.
        step: usize,
    },
    /// Sizes that do not fit, or a certificate that is none.
    #[error(transparent)]
    Argument(#[from] SmallGainError),
}

fn origin(from_equilibrium: bool) -> &'static str {
    if from_equilibrium { "equilibrium" } else { "state before" }
}

/// Watches a run state by state (Sharma 2025, arXiv 2512.06791: the certified factor is that of each step).
///
/// As the map `T` of one step has the Lipschitz constant `q < 1` in the metric, `|x_{k+1} - x_k| ≤ q |x_k - x_{k-1}|`; and with an
/// equilibrium within a radius `r` of `c`, `|x_{k+1} - c| ≤ q |x_k - c| + (1 + q) r`. A run that does not keep to that is of another game,
/// with another step, or has left the region. Rounding errors are let pass: `64 ε` of the norms of the states in the metric, for each
/// of the two steps in question. A field whose large terms cancel rounds more than that, see [`Monitor::with_slack`].
///
/// The factor of Runge–Kutta steps holds where their stages, too, are in the region: from within the certificate's invariant radius, for
/// steps up to the one that the certificate names.
///
/// ```
/// use gradus_games::game::Game;
/// use gradus_games::small_gain::{Certifier, Monitor, Region, Rule, Verdict, Violation};
/// use nalgebra::DMatrix;
///
/// let game = Game::affine(&[1, 1], DMatrix::from_row_slice(2, 2, &[1.0, 10.0, 0.05, 1.0]), vec![0.0; 2])?;
/// let Verdict::Certified(found) = Certifier::default().certify(&game, &Region::Free)? else { unreachable!() };
/// let h = found.rates().best_euler_step();
/// let mut monitor = Monitor::new(&found.certificate, Rule::Euler, h)?;
/// let mut x = vec![0.15, -0.15];
/// for _ in 0..100 {
///     monitor.see(&x)?;
///     let field = game.field(&x);
///     x.iter_mut().zip(&field).for_each(|(x, f)| *x -= h * f);
/// }
/// // Something pushes from outside.
/// x[1] += 0.1;
/// assert!(matches!(monitor.see(&x), Err(Violation::NotContracting { step: 100, .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Monitor<'c> {
    certificate: &'c Certificate,
    factor: f64,
    slack: f64,
    seen: usize,
    last: Vec<f64>,
    /// The distance between the last two states.
    moved: Option<f64>,
}

impl<'c> Monitor<'c> {
    /// A monitor of steps `h` of a rule.
    ///
    /// # Errors
    /// [`Violation::StepTooLarge`] for a step that is not positive or not below the rule's limit, also one so close to it, or to 0, that
    /// the factor is 1 to rounding; [`Violation::Unconfined`] for Runge–Kutta steps where no ball inside
    /// the region is certified; [`Violation::Argument`] for a certificate that is none.
    pub fn new(certificate: &'c Certificate, rule: Rule, h: f64) -> Result<Self, Violation> {
        check_weights(&certificate.weights, certificate.dimensions.len())?;
        if certificate.whole.is_some() && !certificate.metric().is_one(certificate.constrained) {
            let what = "the least eigenvalue of a player's metric".to_string();
            return Err(SmallGainError::InvalidBound { what, value: f64::NAN, expected: "that of a positive definite matrix" }.into());
        }
        let rates = Rates::new(certificate.alpha, certificate.beta)?;
        let factor = certified_factor(rates, rule, h)?;
        if rule == Rule::Rk4 && certificate.region.is_some() && certificate.ball.is_none() {
            return Err(Violation::Unconfined);
        }
        Ok(Self { certificate, factor, slack: 0.0, seen: 0, last: Vec::new(), moved: None })
    }

    /// The same, that lets pass so much more of the distance, in the metric, by which a step may go wrong.
    pub fn with_slack(self, slack: f64) -> Self {
        Self { slack, ..self }
    }

    /// The factor by which each step shrinks distances.
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// Looks at the next state. After a violation it goes on from there.
    ///
    /// # Errors
    /// [`Violation::NotContracting`], [`Violation::OutsideRegion`], [`Violation::NonFinite`]; [`Violation::Argument`] for a state of
    /// another size.
    pub fn see(&mut self, state: &[f64]) -> Result<(), Violation> {
        let size: usize = self.certificate.dimensions.iter().sum();
        if state.len() != size {
            return Err(SmallGainError::Dimension { what: "variables of a state", expected: size, got: state.len() }.into());
        }
        let moved = (self.seen > 0).then(|| self.distance(state, &self.last));
        let found = self.look(state, moved);
        (self.seen, self.last, self.moved) = (self.seen + 1, state.to_vec(), moved);
        found
    }

    fn look(&self, state: &[f64], moved: Option<f64>) -> Result<(), Violation> {
        let step = self.seen;
        if !state.iter().all(|x| x.is_finite()) {
            return Err(Violation::NonFinite { step });
        }
        if let Some(region) = &self.certificate.region {
            let outside = region.iter().zip(state).position(|(side, &x)| !side.contains(x));
            if let Some(variable) = outside {
                return Err(Violation::OutsideRegion { step, variable, value: state[variable] });
            }
        }
        let factor = self.factor;
        let last = if step > 0 { self.norm(&self.last) } else { 0.0 };
        let slack = self.slack + ROUNDING * (self.norm(state) + last);
        let shrinks = |next: f64, before: f64, off: f64, from_equilibrium: bool| {
            // What is no number does not shrink.
            if next <= factor * before + off {
                Ok(())
            } else {
                Err(Violation::NotContracting { step, ratio: next / before, factor, from_equilibrium })
            }
        };
        if let (Some(next), Some(before)) = (moved, self.moved) {
            shrinks(next, before, 2.0 * slack, false)?;
        }
        match &self.certificate.equilibrium {
            Some(equilibrium) if self.seen > 0 => {
                let away = |x: &[f64]| self.distance(x, &equilibrium.centre);
                shrinks(away(state), away(&self.last), (1.0 + factor) * equilibrium.radius + slack, true)
            }
            _ => Ok(()),
        }
    }

    /// In the metric.
    fn distance(&self, x: &[f64], y: &[f64]) -> f64 {
        self.norm(&x.iter().zip(y).map(|(x, y)| x - y).collect::<Vec<f64>>())
    }

    fn norm(&self, x: &[f64]) -> f64 {
        self.certificate.metric().length(x)
    }
}

fn certified_factor(rates: Rates, rule: Rule, h: f64) -> Result<f64, Violation> {
    let h_max = match rule {
        Rule::Euler => rates.euler_limit(),
        Rule::Rk4 => rates.rk4_limit(),
    };
    let factor = |h: f64| match rule {
        Rule::Euler => rates.euler_factor(h),
        Rule::Rk4 => rates.rk4_factor(h),
    };
    let holds = h > 0.0 && h < h_max && factor(h) < 1.0;
    if holds { Ok(factor(h)) } else { Err(Violation::StepTooLarge { h, h_max }) }
}

/// Whether a run, with steps `h` of a rule, keeps to a certificate; as a [`Monitor`] that sees all states says.
///
/// # Errors
/// The first [`Violation`].
pub fn verify_trajectory(certificate: &Certificate, states: &[Vec<f64>], rule: Rule, h: f64) -> Result<(), Violation> {
    let mut monitor = Monitor::new(certificate, rule, h)?;
    states.iter().try_for_each(|state| monitor.see(state))
}

/// A run of a game from `start`, with steps of a rule that are certified to contract: `steps` + 1 states, each of which a [`Monitor`] has
/// seen. Players that are confined to the region are projected onto it.
///
/// ```
/// use gradus_games::game::Game;
/// use gradus_games::small_gain::{Certifier, Region, Rule, Verdict, Violation, certified_run};
/// use nalgebra::DMatrix;
///
/// let game = Game::affine(&[1, 1], DMatrix::from_row_slice(2, 2, &[1.0, 10.0, 0.05, 1.0]), vec![0.0; 2])?;
/// let Verdict::Certified(found) = Certifier::default().certify(&game, &Region::Free)? else { unreachable!() };
/// let run = |h| certified_run(&found.certificate, &game, Rule::Euler, h, &[0.15, -0.15], 1000);
/// assert!(run(0.1)?[1000].iter().all(|x| x.abs() < 1e-12));
/// assert!(matches!(run(0.21), Err(Violation::StepTooLarge { h: 0.21, .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As of [`Monitor::new`] before the first step; as of [`Monitor::see`] if the game is another than the certificate's, or the run leaves
/// the region of a certificate that is conditional or from outside the ball that it holds.
pub fn certified_run(
    certificate: &Certificate,
    game: &Game,
    rule: Rule,
    h: f64,
    start: &[f64],
    steps: usize,
) -> Result<Vec<Vec<f64>>, Violation> {
    let mut monitor = Monitor::new(certificate, rule, h)?;
    if game.size() != certificate.dimensions.iter().sum::<usize>() {
        return Err(SmallGainError::Dimension {
            what: "variables of the game",
            expected: certificate.dimensions.iter().sum(),
            got: game.size(),
        }
        .into());
    }
    monitor.see(start)?;
    let mut states = vec![start.to_vec()];
    let mut x = start.to_vec();
    let update = match rule {
        Rule::Euler => Update::Euler { h },
        Rule::Rk4 => Update::Rk4 { h },
    };
    for _ in 0..steps {
        x = update.apply(game, &x);
        if let (true, Some(region)) = (certificate.constrained, &certificate.region) {
            x.iter_mut().zip(region).for_each(|(x, side)| *x = x.clamp(side.lo(), side.hi()));
        }
        monitor.see(&x)?;
        states.push(x.clone());
    }
    Ok(states)
}

#[cfg(test)]
mod tests {
    use nalgebra::DMatrix;

    use super::super::{Certified, Certifier, Region, Search, Tolerance, Verdict};
    use super::*;
    use crate::scalar::Real;

    fn certified(game: &Game, region: &Region) -> Certified {
        let search = Search { tolerance: Tolerance::Relative(1e-3), most_boxes: 2_000 };
        match (Certifier { search, ..Certifier::default() }).certify(game, region).unwrap() {
            Verdict::Certified(found) => *found,
            other => panic!("{other:?}"),
        }
    }

    fn toy() -> Game {
        Game::affine(&[1, 1], DMatrix::from_row_slice(2, 2, &[1.0, 10.0, 0.05, 1.0]), vec![0.3, -0.02]).unwrap()
    }

    fn waves() -> Game {
        Game::from_field(&[1, 1], |x| vec![x[0] + x[0].powi(3) / 2.0 + 2.0 * x[1].sin(), x[1] + 0.3 * x[1].powi(3) + 0.2 * x[0].cos()])
            .unwrap()
    }

    fn limit(found: &Certified, rule: Rule) -> f64 {
        if rule == Rule::Euler { found.rates().euler_limit() } else { found.rates().rk4_limit() }
    }

    #[test]
    fn steps_that_are_too_large() {
        let found = certified(&toy(), &Region::Free);
        for rule in [Rule::Euler, Rule::Rk4] {
            let h_max = limit(&found, rule);
            for h in [h_max, 2.0 * h_max, 0.0, -0.1, f64::NAN, f64::INFINITY, 1e-300] {
                let refused = certified_run(&found.certificate, &toy(), rule, h, &[0.0; 2], 1);
                assert!(matches!(refused, Err(Violation::StepTooLarge { h_max: most, .. }) if most == h_max), "{h}");
            }
            assert_eq!(certified_run(&found.certificate, &toy(), rule, 0.999 * h_max, &[0.0; 2], 3).unwrap().len(), 4);
        }
        let error = Monitor::new(&found.certificate, Rule::Euler, 1.0).unwrap_err();
        assert!(error.to_string().starts_with("the step 1 is not between 0 and 0.2010"), "{error}");
    }

    #[test]
    fn the_first_violation_is_named() {
        let found = certified(&toy(), &Region::Free);
        let h = found.rates().best_euler_step();
        let mut states = certified_run(&found.certificate, &toy(), Rule::Euler, h, &[1.0, 0.2], 50).unwrap();
        assert_eq!(verify_trajectory(&found.certificate, &states, Rule::Euler, h), Ok(()));
        states[20][0] += 1.0;
        let violation = verify_trajectory(&found.certificate, &states, Rule::Euler, h);
        assert!(matches!(violation, Err(Violation::NotContracting { step: 20, ratio, factor, .. }) if ratio > factor), "{violation:?}");
        states[20][0] = f64::NAN;
        assert_eq!(verify_trajectory(&found.certificate, &states, Rule::Euler, h), Err(Violation::NonFinite { step: 20 }));
        states[3] = vec![0.0; 3];
        assert!(matches!(verify_trajectory(&found.certificate, &states, Rule::Euler, h), Err(Violation::Argument(_))));
    }

    #[test]
    fn other_games_are_noticed() {
        let found = certified(&toy(), &Region::Free);
        let other = Game::affine(&[1, 1], DMatrix::from_row_slice(2, 2, &[0.01, 10.0, 0.05, 0.01]), vec![0.3, -0.02]).unwrap();
        let h = found.rates().best_euler_step();
        let run = certified_run(&found.certificate, &other, Rule::Euler, h, &[1.0, 0.2], 50);
        assert!(matches!(run, Err(Violation::NotContracting { .. })), "{run:?}");
        // The same Jacobian and another equilibrium: only the distance from that shows it.
        let moved = Game::affine(&[1, 1], DMatrix::from_row_slice(2, 2, &[1.0, 10.0, 0.05, 1.0]), vec![0.6, -0.02]).unwrap();
        let run = certified_run(&found.certificate, &moved, Rule::Euler, h, &[1.0, 0.2], 500);
        assert!(matches!(run, Err(Violation::NotContracting { from_equilibrium: true, .. })), "{run:?}");
        let larger = Game::affine(&[2, 1], DMatrix::identity(3, 3), vec![0.0; 3]).unwrap();
        assert!(matches!(certified_run(&found.certificate, &larger, Rule::Euler, h, &[1.0, 0.2], 1), Err(Violation::Argument(_))));
    }

    #[test]
    fn states_outside_the_region() {
        let found = certified(&waves(), &Region::local(&[-1.0; 2], &[1.0; 2]).unwrap());
        let h = found.rates().best_euler_step();
        let run = certified_run(&found.certificate, &waves(), Rule::Euler, h, &[0.0, 1.5], 5);
        assert_eq!(run, Err(Violation::OutsideRegion { step: 0, variable: 1, value: 1.5 }));
        // From near a side, outside the ball: the first player is pushed out, and nothing is promised.
        let run = certified_run(&found.certificate, &waves(), Rule::Euler, h, &[-0.99, 1.0], 500);
        assert!(matches!(run, Err(Violation::OutsideRegion { step: 1, variable: 0, .. })), "{run:?}");
        // With an equilibrium on the boundary, to which steps are projected.
        let confined = certified(&waves(), &Region::constrained(&[0.5, 0.0], &[1.0, 1.0]).unwrap());
        let h = 0.9 * confined.rates().euler_limit();
        let run = certified_run(&confined.certificate, &waves(), Rule::Euler, h, &[1.0, 1.0], 500).unwrap();
        assert_eq!(run[500], [0.5, 0.0]);
        let stages = Monitor::new(&confined.certificate, Rule::Rk4, 0.5 * confined.rates().rk4_limit());
        assert_eq!(stages.unwrap_err(), Violation::Unconfined);
    }

    #[test]
    fn certificates_that_are_none() {
        let found = certified(&toy(), &Region::Free);
        for change in
            [|c: &mut Certificate| c.alpha = -1.0, |c: &mut Certificate| c.weights[0] = 0.0, |c: &mut Certificate| c.weights.truncate(1)]
        {
            let mut certificate = found.certificate.clone();
            change(&mut certificate);
            assert!(matches!(Monitor::new(&certificate, Rule::Euler, 0.1), Err(Violation::Argument(_))));
        }
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn certified_runs_keep_to_their_factor(start in prop::array::uniform2(-0.2..0.2), share in 0.01..0.99, euler in any::<bool>()) {
                let rule = if euler { Rule::Euler } else { Rule::Rk4 };
                let found = certified(&toy(), &Region::Free);
                let h = share * limit(&found, rule);
                // Down to rounding errors.
                let states = certified_run(&found.certificate, &toy(), rule, h, &start, 2_000);
                prop_assert!(states.is_ok(), "{:?}", states);
            }
        }
    }

    #[test]
    fn nonlinear_runs_keep_to_their_factor() {
        let found = certified(&waves(), &Region::local(&[-1.0; 2], &[1.0; 2]).unwrap());
        let centre = &found.certificate.equilibrium.as_ref().unwrap().centre;
        for rule in [Rule::Euler, Rule::Rk4] {
            for k in 0..20 {
                let start = [centre[0] + 0.1 * f64::from(k).sin(), centre[1] + 0.1 * f64::from(k).cos()];
                let h = f64::from(k + 1) / 22.0 * limit(&found, rule);
                assert_eq!(certified_run(&found.certificate, &waves(), rule, h, &start, 1_000).unwrap().len(), 1_001);
            }
        }
    }
}
