//! Update maps, certified directly (Banach's fixed-point theorem): `‖M^{1/2} DT(x) M^{-1/2}‖₂ ≤ q < 1` on a region that the map `T` does
//! not leave.
//!
//! A map is a formula as a field is: it is made of the field's own, recorded, and enclosed on boxes with its Jacobian. That needs no
//! formula in `α` and `β`, which few updates have, and shows how cautious those are that there are.

pub(super) mod checker;
#[cfg(test)]
mod tests;

use gradus_base::Cancel;

use super::certificate::Branch;
use super::certify::{Region, corners, stationary_point};
use super::scaled::{Goal, Scaled};
use super::search::Search;
use super::{SmallGainError, check_weights};
use crate::game::{Game, GameError};
use crate::rigorous::Interval;
use crate::scalar::Real;

/// Weights that are tried for what an update remembers, relative to the players'.
const MEMORY_WEIGHTS: usize = 25;
/// The greatest of them.
const MOST_MEMORY_WEIGHT: f64 = 1e4;
/// Steps of a projected update, after which its fixed point is not looked for any longer.
const MOST_ITERATIONS: usize = 100_000;

/// One step of a learning rule for all players at once, of the pseudo-gradient `F`.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// Gradient play, `x⁺ = x - h F(x)`.
    Euler {
        /// The step.
        h: f64,
    },
    /// The classical Runge–Kutta method for the flow `x' = -F(x)`.
    Rk4 {
        /// The step.
        h: f64,
    },
    /// `x⁺ = x - h F(x - h F(x))` (Korpelevich 1976).
    Extragradient {
        /// The step.
        h: f64,
    },
    /// `x_{k+1} = x_k - h (2 F(x_k) - F(x_{k-1}))` (Popov 1980), a map of two blocks `(p, d)`: with `p = x_k + h F(x_{k-1})` and
    /// `d = p - x_{k-1}`,
    ///
    /// ```text
    /// x_k = p - h F(p - d),   p⁺ = p - h F(x_k),   d⁺ = p⁺ - x_k = h (F(p - d) - F(x_k)).
    /// ```
    ///
    /// In a diagonal metric of these blocks it contracts even where `F` is a rotation and little more; in none of `(x_k, x_{k-1})` does it.
    Optimistic {
        /// The step.
        h: f64,
    },
    /// `x⁺ = x - h (F(x) + γ J(x)ᵀ F(x))` (Mescheder et al. 2017, consensus optimisation).
    Consensus {
        /// The step.
        h: f64,
        /// The weight `γ` of the gradient of `|F|²/2`.
        gamma: f64,
    },
    /// Gradient play with a step for each player, `x_i⁺ = x_i - h_i F_i(x)`.
    Preconditioned {
        /// The players' steps.
        steps: Vec<f64>,
    },
}

impl Update {
    /// The name of the rule.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Euler { .. } => "euler",
            Self::Rk4 { .. } => "rk4",
            Self::Extragradient { .. } => "extragradient",
            Self::Optimistic { .. } => "optimistic",
            Self::Consensus { .. } => "consensus",
            Self::Preconditioned { .. } => "preconditioned",
        }
    }

    /// The step of all players, or the largest of theirs.
    pub fn step(&self) -> f64 {
        match self {
            Self::Euler { h } | Self::Rk4 { h } | Self::Extragradient { h } | Self::Optimistic { h } | Self::Consensus { h, .. } => *h,
            Self::Preconditioned { steps } => steps.iter().copied().fold(0.0, f64::max),
        }
    }

    /// Whether the state has a second block, of what is remembered.
    pub fn has_memory(&self) -> bool {
        matches!(self, Self::Optimistic { .. })
    }

    /// The state after one step, with any kind of number: `x`, or for an update with memory `(p, d)`, of twice the length.
    ///
    /// # Panics
    /// When the state has another size, or a player has no step.
    #[track_caller]
    pub fn apply<R: Real>(&self, game: &Game, state: &[R]) -> Vec<R> {
        let x = state;
        let along = |x: &[R], h: R, field: &[R]| x.iter().zip(field).map(|(&x, &f)| x - h * f).collect::<Vec<R>>();
        let number = R::constant;
        match self {
            Self::Euler { h } => along(x, number(*h), &game.field(x)),
            Self::Rk4 { h } => {
                let k1 = game.field(x);
                let k2 = game.field(&along(x, number(*h) * 0.5, &k1));
                let k3 = game.field(&along(x, number(*h) * 0.5, &k2));
                let k4 = game.field(&along(x, number(*h), &k3));
                let sum: Vec<R> = (0..x.len()).map(|i| k1[i] + (k2[i] + k3[i]) * 2.0 + k4[i]).collect();
                along(x, number(*h) / 6.0, &sum)
            }
            Self::Extragradient { h } => along(x, number(*h), &game.field(&along(x, number(*h), &game.field(x)))),
            Self::Optimistic { h } => {
                let (p, d) = state.split_at(state.len() / 2);
                let last = game.field(&p.iter().zip(d).map(|(&p, &d)| p - d).collect::<Vec<R>>());
                let next = game.field(&along(p, number(*h), &last));
                let moved = last.iter().zip(&next).map(|(&last, &next)| number(*h) * (last - next));
                along(p, number(*h), &next).into_iter().chain(moved).collect()
            }
            Self::Consensus { h, gamma } => {
                let (field, mut jacobian) = (game.field(x), Vec::new());
                game.jacobian_with(x, &mut Vec::new(), &mut jacobian);
                let pull = |k: usize| (0..x.len()).fold(number(0.0), |sum, i| sum + jacobian[i * x.len() + k] * field[i]);
                let sum: Vec<R> = (0..x.len()).map(|k| field[k] + pull(k) * *gamma).collect();
                along(x, number(*h), &sum)
            }
            Self::Preconditioned { steps } => {
                assert!(steps.len() == game.dimensions().len(), "{} steps for {} players", steps.len(), game.dimensions().len());
                let players = game.players().into_iter().zip(steps).flat_map(|(variables, &h)| variables.map(move |_| h));
                game.field(x).into_iter().zip(x).zip(players).map(|((f, &x), h)| x - f * h).collect()
            }
        }
    }

    /// How many variables each block of the state has.
    fn dimensions(&self, game: &Game) -> Vec<usize> {
        game.dimensions().repeat(if self.has_memory() { 2 } else { 1 })
    }

    fn validate(&self, players: usize) -> Result<(), SmallGainError> {
        let check = |what: &str, value: f64, holds: bool, expected| {
            if holds && value.is_finite() { Ok(()) } else { Err(SmallGainError::InvalidBound { what: what.into(), value, expected }) }
        };
        match self {
            Self::Preconditioned { steps } if steps.len() != players => {
                return Err(SmallGainError::Dimension { what: "steps of the players", expected: players, got: steps.len() });
            }
            Self::Preconditioned { steps } => {
                return steps.iter().try_for_each(|&h| check("a player's step", h, h > 0.0, "positive and finite"));
            }
            Self::Consensus { gamma, .. } => check("the weight of consensus", *gamma, *gamma >= 0.0, "finite and at least 0")?,
            _ => {}
        }
        let h = self.step();
        check("the step", h, h > 0.0, "positive and finite")
    }

    /// The map as a field of its own: what is recorded, differentiated and enclosed is the same.
    ///
    /// # Errors
    /// [`SmallGainError::InvalidBound`] for steps that are none, [`SmallGainError::Dimension`] for another number of steps than players,
    /// [`SmallGainError::TooLarge`].
    fn map(&self, game: &Game) -> Result<Game, SmallGainError> {
        self.validate(game.dimensions().len())?;
        let dimensions = self.dimensions(game);
        Game::from_field(&dimensions, |state| self.apply(game, state)).map_err(|error| match error {
            GameError::TooLarge { most } => SmallGainError::TooLarge { most },
            // It has as many blocks and formulas as it must.
            _ => SmallGainError::Dimension { what: "blocks of the state, at least", expected: 2, got: dimensions.len() },
        })
    }
}

/// A proof that an update contracts, in a form that [`check_map`](checker::check_map) can follow without any of what found it.
#[derive(Debug, Clone, PartialEq)]
pub struct MapCertificate {
    /// How many variables each player has.
    pub dimensions: Vec<usize>,
    /// The update.
    pub update: Update,
    /// The weights of the metric: the players', and then those of what the update remembers.
    pub weights: Vec<f64>,
    /// By what one step multiplies distances in the metric at most, below 1.
    pub q: f64,
    /// The box of states, of what is remembered too; none for all, of an affine game.
    pub region: Option<Vec<Interval>>,
    /// How the region is cut into leaves, in preorder; empty for all states.
    pub tree: Vec<Branch>,
    /// The boxes that it is cut into.
    pub leaves: Vec<MapLeaf>,
    /// Where iterates stay.
    pub invariant: Invariant,
    /// The only fixed point, unless all this is said only of iterates that stay in the region.
    pub fixed_point: Option<FixedPoint>,
}

/// A box, and a bound of the map's Jacobian on it.
#[derive(Debug, Clone, PartialEq)]
pub struct MapLeaf {
    /// The box; empty for all states.
    pub region: Vec<Interval>,
    /// An upper bound of `‖M^{1/2} DT M^{-1/2}‖₂`.
    pub norm: f64,
}

/// A set that iterates do not leave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Invariant {
    /// The region: the map sends every leaf into it, or it is all states.
    Region,
    /// The region, as each step ends with a projection onto it, which in the metric brings no two points farther apart. Only of gradient
    /// play, whose fixed points then are the equilibria of players who are confined to the region.
    Projected,
    /// A ball of the metric around the centre of the fixed point's enclosure: `|T(c) - c| ≤ (1 - q) R`.
    Ball {
        /// The radius `R`.
        radius: f64,
    },
    /// None is known: what is said holds while iterates stay in the region.
    None,
}

/// A ball, in the metric, around a map's only fixed point.
#[derive(Debug, Clone, PartialEq)]
pub struct FixedPoint {
    /// A state near it.
    pub centre: Vec<f64>,
    /// An upper bound of `|T(c) - c|`.
    pub residual: f64,
    /// How far it may be away.
    pub radius: f64,
}

/// Finds certificates of update maps.
#[derive(Debug, Clone, PartialEq)]
pub struct MapCertifier {
    /// The update.
    pub update: Update,
    /// The players' weights. Of an update with memory, what is remembered gets the players' weights times a number that is searched for.
    pub weights: Vec<f64>,
    /// How far bounds are searched for.
    pub search: Search,
}

/// What comes of a search for a certificate of an update map.
#[derive(Debug, Clone, PartialEq)]
pub enum MapVerdict {
    /// There is one.
    Contracts {
        /// The certificate.
        certificate: Box<MapCertificate>,
        /// The greatest norm that was met at a point, to rounding.
        attained: f64,
        /// Whether `q` is as close to it as was asked.
        complete: bool,
    },
    /// The map does not contract in this metric.
    Expands {
        /// A lower bound, at least 1, of the norm at a point.
        norm: f64,
        /// The point.
        point: Vec<f64>,
    },
    /// Neither was found with the boxes at hand.
    Inconclusive {
        /// A norm that is met at a point, to rounding.
        attained: f64,
        /// A norm that is not exceeded, to rounding.
        bound: f64,
        /// Boxes that the region was cut into.
        boxes: usize,
    },
}

impl MapCertifier {
    /// Looks for a certificate of the update of a game in a region of `x`.
    ///
    /// Of an update with memory the states are `(p, d)` with `p` in the region and each `d` at most as large as half the side, divided by
    /// the root of its weight: then the region's faces and those of `d` limit a ball alike.
    ///
    /// ```
    /// use gradus_games::game::Game;
    /// use gradus_games::small_gain::{MapCertifier, MapVerdict, Region, Search, Update, check_map};
    /// use nalgebra::DMatrix;
    ///
    /// // Regularised matching pennies: Runge–Kutta steps may be ten times as long as those of gradient play.
    /// let game = Game::affine(&[1, 1], DMatrix::from_row_slice(2, 2, &[1.0, 5.0, -5.0, 1.0]), vec![0.0; 2])?;
    /// let certifier = |update| MapCertifier { update, weights: vec![1.0; 2], search: Search::default() };
    /// let MapVerdict::Contracts { certificate, .. } = certifier(Update::Rk4 { h: 0.5 }).certify(&game, &Region::Free)? else { unreachable!() };
    /// check_map(&certificate, &game)?;
    /// let long = certifier(Update::Euler { h: 0.0770 }).certify(&game, &Region::Free)?;
    /// assert!(matches!(long, MapVerdict::Expands { norm, .. } if norm >= 1.0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SmallGainError::InvalidBound`] for steps that are none, [`SmallGainError::Dimension`], [`SmallGainError::InvalidWeight`],
    /// [`SmallGainError::InvalidRegion`] for all points of a game that is not affine, [`SmallGainError::NonFinite`] where the update or its
    /// Jacobian is not finite, [`SmallGainError::TooLarge`] for formulas with too many steps.
    pub fn certify(&self, game: &Game, region: &Region) -> Result<MapVerdict, SmallGainError> {
        self.certify_until(game, region, &Cancel::new())
    }

    /// As [`MapCertifier::certify`]; ends when it is cancelled.
    ///
    /// # Errors
    /// As of [`MapCertifier::certify`], and [`SmallGainError::Cancelled`].
    pub fn certify_until(&self, game: &Game, region: &Region, cancel: &Cancel) -> Result<MapVerdict, SmallGainError> {
        check_weights(&self.weights, game.dimensions().len())?;
        region.check(game)?;
        let map = self.update.map(game)?;
        let (weights, states) = self.states(&map, region);
        let everywhere = vec![Interval::point(0.0); map.size()];
        let sides = states.as_deref().unwrap_or(&everywhere);
        let middle: Vec<f64> = sides.iter().map(|side| side.midpoint()).collect();
        if !map.is_finite_at(&middle) {
            return Err(SmallGainError::NonFinite { what: "the update or its Jacobian", point: middle });
        }
        let scaled = Scaled::new(&map, &weights, Goal::Norm);
        let cover = scaled.cover(sides, &self.search, 1.0, cancel)?;
        if cover.attained >= 1.0 {
            let norm = scaled.reached(&cover.at);
            if norm >= 1.0 {
                return Ok(MapVerdict::Expands { norm, point: cover.at });
            }
        }
        let (tree, proven) = scaled.prove(&cover);
        let q = proven.iter().map(|leaf| leaf.bound).fold(0.0, f64::max);
        // Positive, as the form of a certificate asks for.
        let q = q.max(f64::MIN_POSITIVE);
        if q >= 1.0 {
            return Ok(MapVerdict::Inconclusive { attained: cover.attained, bound: cover.bound(), boxes: cover.boxes() });
        }
        let bounded = states.is_some();
        let leaf = |region: Vec<Interval>, norm: f64| MapLeaf { region: if bounded { region } else { Vec::new() }, norm };
        let mut certificate = MapCertificate {
            dimensions: game.dimensions().to_vec(),
            update: self.update.clone(),
            weights,
            q,
            tree: if bounded { tree } else { Vec::new() },
            region: states,
            leaves: proven.into_iter().map(|proven| leaf(proven.region, proven.bound)).collect(),
            invariant: Invariant::None,
            fixed_point: None,
        };
        stay(&mut certificate, &map, matches!(region, Region::Constrained(_)));
        Ok(MapVerdict::Contracts { certificate: Box::new(certificate), attained: cover.attained, complete: cover.complete })
    }

    /// The weights of all blocks of the state, and the box of states.
    fn states(&self, map: &Game, region: &Region) -> (Vec<f64>, Option<Vec<Interval>>) {
        let sides = region.sides().map(<[Interval]>::to_vec);
        if !self.update.has_memory() {
            return (self.weights.clone(), sides);
        }
        let with = |factor: f64| self.weights.iter().copied().chain(self.weights.iter().map(|w| w * factor)).collect::<Vec<f64>>();
        let tried = (0..MEMORY_WEIGHTS).map(|k| MOST_MEMORY_WEIGHT.powf(k as f64 / (MEMORY_WEIGHTS - 1) as f64));
        let box_with = |factor: f64| {
            let remembered = |side: &Interval| {
                let most = side.radius() / factor.sqrt();
                Interval::new(-most, most).unwrap_or(Interval::ENTIRE)
            };
            let sides = sides.as_ref()?;
            Some(sides.iter().copied().chain(sides.iter().map(remembered)).collect::<Vec<Interval>>())
        };
        let worst = |factor: f64| {
            let scaled = Scaled::new(map, &with(factor), Goal::Norm);
            let points = box_with(factor).map_or_else(|| vec![vec![0.0; map.size()]], |states| corners(&states).collect());
            points.iter().map(|point| scaled.at(point)).fold(0.0, f64::max)
        };
        let best = tried.map(|factor| (worst(factor), factor)).min_by(|a, b| a.0.total_cmp(&b.0)).map_or(1.0, |(_, factor)| factor);
        (with(best), box_with(best))
    }
}

/// Finds out where iterates stay, and encloses the fixed point.
fn stay(certificate: &mut MapCertificate, map: &Game, constrained: bool) {
    let q = Interval::point(certificate.q);
    let region = certificate.region.as_deref();
    let projected = constrained && checker::may_be_projected(&certificate.update);
    let Some(centre) = centre(map, region, projected) else { return };
    let step = checker::step_from(map, region.filter(|_| projected), &centre);
    let residual = certificate.metric(map.dimensions()).norm(&step);
    let away = (Interval::point(residual) / (Interval::point(1.0) - q)).hi();
    if !away.is_finite() {
        return;
    }
    let radius = region.map_or(0.0, |region| certificate.metric(map.dimensions()).inscribed_radius(region, &centre));
    certificate.invariant = if projected {
        Invariant::Projected
    } else if checker::stays_inside(certificate, map) {
        Invariant::Region
    } else if checker::is_mapped_into_itself(certificate.q, residual, radius) {
        Invariant::Ball { radius }
    } else {
        return;
    };
    certificate.fixed_point = Some(FixedPoint { centre, residual, radius: away });
}

/// A state that the map about leaves where it is.
fn centre(map: &Game, region: Option<&[Interval]>, projected: bool) -> Option<Vec<f64>> {
    let mut x: Vec<f64> = region.map_or_else(|| vec![0.0; map.size()], |sides| sides.iter().map(|side| side.midpoint()).collect());
    let moved = |x: &[f64]| map.field(x).iter().zip(x).map(|(next, x)| x - next).collect::<Vec<f64>>();
    let (Some(sides), true) = (region, projected) else {
        let slope = |x: &[f64]| nalgebra::DMatrix::identity(x.len(), x.len()) - map.jacobian(x);
        // The middle will do where Newton's method leaves the box.
        return Some(stationary_point(moved, slope, x.clone(), region).unwrap_or(x));
    };
    for _ in 0..MOST_ITERATIONS {
        let next: Vec<f64> = map.field(&x).iter().zip(sides).map(|(x, side)| x.clamp(side.lo(), side.hi())).collect();
        if next == x || !next.iter().all(|x| x.is_finite()) {
            break;
        }
        x = next;
    }
    Some(x)
}
