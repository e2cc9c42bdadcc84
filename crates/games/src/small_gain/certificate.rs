//! What a certificate says.

use nalgebra::DMatrix;

use super::checker::symmetric;
use super::checker::whole::BlockMetric;
use super::map::MapCertificate;
use crate::game::Game;
use crate::rigorous::Interval;

/// A proof that a game's dynamics contract in a region, in a form that [`check`](super::checker::check) can follow without any of what
/// found it.
#[derive(Debug, Clone, PartialEq)]
pub struct Certificate {
    /// How many variables each player has.
    pub dimensions: Vec<usize>,
    /// The box on which the bounds hold; none for all points, of an affine game.
    pub region: Option<Vec<Interval>>,
    /// Whether the players are confined to the region, and steps are projected onto it.
    pub constrained: bool,
    /// The weights of the metric.
    pub weights: Vec<f64>,
    /// How the region is cut into leaves, in preorder; empty for all points.
    pub tree: Vec<Branch>,
    /// The boxes that it is cut into.
    pub leaves: Vec<Leaf>,
    /// Empty where the bounds of each leaf hold on it as a whole. Otherwise there is one leaf, the region, and each of its bounds is proven
    /// on boxes of its own, in the order of [`Bound::all`].
    pub covers: Vec<Cover>,
    /// What the margin and the Lipschitz constant are proven with if not with bounds of the blocks, of which there are none then: the whole
    /// Jacobian.
    pub whole: Option<Whole>,
    /// `⟨F(x) - F(y), x - y⟩ ≥ α |x - y|²` in the metric, for all points of the region.
    pub alpha: f64,
    /// `|F(x) - F(y)| ≤ β |x - y|` in the metric, for all points of the region.
    pub beta: f64,
    /// Steps with which rules contract.
    pub steps: Vec<Step>,
    /// Updates that contract, each with a proof of its own.
    pub maps: Vec<MapCertificate>,
    /// A ball that iterates do not leave.
    pub ball: Option<Ball>,
    /// What shows where the equilibrium of confined players is, if it is not inside.
    pub projected: Option<Projected>,
    /// Where the only equilibrium is.
    pub equilibrium: Option<Equilibrium>,
    /// Whether all this is said only of iterates that stay in the region.
    pub conditional: bool,
}

impl Certificate {
    /// The matrix `blkdiag(w_i P_i)` of the metric, to rounding.
    pub fn metric_matrix(&self) -> DMatrix<f64> {
        self.metric().about()
    }

    /// The metric `blkdiag(w_i P_i)`.
    pub(super) fn metric(&self) -> BlockMetric<'_> {
        BlockMetric::new(&self.dimensions, &self.weights, self.whole.as_ref().map_or(&[], |whole| &whole.blocks))
    }
}

impl Certificate {
    /// The best step of gradient play in a game whose Jacobian the metric makes symmetric, or nearly: `h = 2/(α + β)` with about the factor
    /// `(β - α)/(β + α)`, better than what `α` and `β` alone allow. None where what is not symmetric is too large, or cannot be told from
    /// it by intervals. A certificate with this step among its [`steps`](Self::steps) can be checked only with the game.
    ///
    /// ```
    /// use gradus_games::game::Game;
    /// use gradus_games::small_gain::{Certifier, Region, Verdict, Verified, check};
    /// use nalgebra::DMatrix;
    ///
    /// // A potential game.
    /// let game = Game::affine(&[1, 1], DMatrix::from_row_slice(2, 2, &[2.0, 0.5, 0.5, 1.0]), vec![0.0; 2])?;
    /// let Verdict::Certified(found) = Certifier::default().certify(&game, &Region::Free)? else { unreachable!() };
    /// let mut certificate = found.certificate;
    /// let step = certificate.symmetric_step(&game).unwrap();
    /// assert!(step.factor < certificate.steps[0].factor);
    /// certificate.steps.push(step);
    /// assert_eq!(check(&certificate, Some(&game))?, Verified::Verified);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// When the game has other variables than the certificate.
    #[track_caller]
    pub fn symmetric_step(&self, game: &Game) -> Option<Step> {
        assert!(
            game.dimensions() == self.dimensions,
            "a game of {:?} variables, a certificate of {:?}",
            game.dimensions(),
            self.dimensions
        );
        let h = 2.0 / (self.alpha + self.beta);
        let factor = symmetric::factor(self, game, h);
        let holds = self.whole.is_none() && 0.0 < factor && factor < 1.0;
        holds.then_some(Step { rule: Rule::Euler, basis: Basis::Symmetric, h, factor: Some(factor), rigor: Rigor::Rigorous })
    }
}

/// A metric that knows the signs of couplings: `M J + Jᵀ M ≥ 2 α M` and `Jᵀ M J ≤ β² M` on the region, with `M = blkdiag(w_i P_i)` (Boyd et
/// al. 1994, linear matrix inequalities). Only with the game can that be checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Whole {
    /// The players' matrices `P_i`.
    pub blocks: Vec<DMatrix<f64>>,
    /// How the region is cut so that the margin holds on each leaf, in preorder; empty for all points.
    pub margin: Vec<Branch>,
    /// How it is cut so that the Lipschitz constant does.
    pub lipschitz: Vec<Branch>,
}

/// A node of the tree of boxes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Branch {
    /// A box that is cut at a value of a variable, the lower half first.
    Split {
        /// The variable, from 0.
        axis: usize,
        /// Where it is cut.
        at: f64,
    },
    /// A box that is not cut, by its place among the leaves.
    Leaf(usize),
}

/// A bound of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum Bound {
    /// The least curvature of a player, from 0.
    Mu(usize),
    /// The norm of the block of two players: a coupling, or of a player to itself its own Lipschitz constant.
    Norm(usize, usize),
}

impl Bound {
    /// The bounds of so many players: the curvatures, and then the norms row by row.
    pub fn all(players: usize) -> impl Iterator<Item = Self> {
        (0..players).map(Self::Mu).chain((0..players).flat_map(move |i| (0..players).map(move |j| Self::Norm(i, j))))
    }
}

/// How the region is cut for one bound: on each leaf of the tree it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Cover {
    /// The bound.
    pub bound: Bound,
    /// The cuts, in preorder.
    pub tree: Vec<Branch>,
}

/// A box, bounds of the Jacobian's blocks on it, and vectors that prove the margin and the Lipschitz constant from these.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaf {
    /// The box; empty for all points.
    pub region: Vec<Interval>,
    /// Lower bounds of the players' own curvatures.
    pub curvature: Vec<f64>,
    /// Upper bounds of the couplings.
    pub coupling: DMatrix<f64>,
    /// Upper bounds of the norms of the players' own blocks.
    pub own_lipschitz: Vec<f64>,
    /// A positive vector for which `(W A + Aᵀ W) x ≥ 2 α W x`, `A = diag(μ) - L`.
    pub margin_witness: Vec<f64>,
    /// A positive vector for which `Bᵀ W B v ≤ β² W v`, `B = L + diag(own)`.
    pub lipschitz_witness: Vec<f64>,
}

impl Leaf {
    /// One of the bounds.
    pub fn bound(&self, bound: Bound) -> f64 {
        match bound {
            Bound::Mu(i) => self.curvature[i],
            Bound::Norm(i, j) if i == j => self.own_lipschitz[i],
            Bound::Norm(i, j) => self.coupling[(i, j)],
        }
    }

    pub(super) fn bound_mut(&mut self, bound: Bound) -> &mut f64 {
        match bound {
            Bound::Mu(i) => &mut self.curvature[i],
            Bound::Norm(i, j) if i == j => &mut self.own_lipschitz[i],
            Bound::Norm(i, j) => &mut self.coupling[(i, j)],
        }
    }
}

/// A step with which an update rule contracts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The rule.
    pub rule: Rule,
    /// What the step is derived from.
    pub basis: Basis,
    /// The step.
    pub h: f64,
    /// By what distances in the metric are multiplied at most; none where nothing is promised of one step.
    pub factor: Option<f64>,
    /// What is promised.
    pub rigor: Rigor,
}

/// An update rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Rule {
    /// Gradient play, projected where the players are confined.
    Euler,
    /// The classical Runge–Kutta method.
    Rk4,
}

/// What a step is derived from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Basis {
    /// `α` and `β`, for gradient play.
    Euler,
    /// `α` and `β`, for the classical Runge–Kutta method on any field.
    Rk4Incremental,
    /// `α`, `β` and a Jacobian that the metric makes symmetric, as in potential games, or nearly: `max(1 - hα, hβ - 1) + h ε` for gradient
    /// play, where `ε` bounds the norm of what is not. Only with the game can that be checked.
    Symmetric,
    /// `2.5 / β`, within which the stability region of the Runge–Kutta method holds a half disc: of linear fields only.
    Guideline,
}

/// What is promised of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Rigor {
    /// Each step contracts.
    Rigorous,
    /// Iterates of a linear field converge in the end.
    AsymptoticLinear,
    /// Nothing.
    Heuristic,
}

/// A ball, in the metric, that flows and steps do not leave.
#[derive(Debug, Clone, PartialEq)]
pub struct Ball {
    /// A point in the region.
    pub centre: Vec<f64>,
    /// An upper bound of `|F(centre)|`.
    pub residual: f64,
    /// The radius around the equilibrium, from which all stages of all steps stay in the region; none for all points.
    pub invariant_radius: Option<f64>,
}

/// A point that a projected step hardly moves: an equilibrium is at most `(1 + hβ) / (hα)` times as far away (Pang 1987), for any step.
#[derive(Debug, Clone, PartialEq)]
pub struct Projected {
    /// A point in the region.
    pub centre: Vec<f64>,
    /// The step.
    pub h: f64,
    /// An upper bound of how far the step moves the point, in the metric.
    pub residual: f64,
}

/// A ball, in the metric, around the only equilibrium.
#[derive(Debug, Clone, PartialEq)]
pub struct Equilibrium {
    /// A point near it.
    pub centre: Vec<f64>,
    /// How far it may be away.
    pub radius: f64,
}
