//! From a game and a region to a certificate, or the reason why there is none.

use gradus_base::{Cancel, Observer, Silent};
use nalgebra::DMatrix;

use super::certificate::{Ball, Basis, Bound, Branch, Certificate, Cover, Equilibrium, Leaf, Projected, Rigor, Rule, Step, Whole};
use super::checker::whole::BlockMetric;
use super::checker::{CertificateError, projected_radius, projected_residual, rk4_stages, unsupported, walk};
use super::lmi::Structure;
use super::objectives::{Objective, weights_for};
use super::per_box::{PerBox, calm, is_wild, margin, per_box, reach};
use super::probe::Probe;
use super::refusal::Refusal;
use super::search::{Hunts, Search};
use super::signs;
use super::tree::Tree;
use super::verified::prove;
use super::weights::optimal_weights;
use super::{BlockBounds, Rates, SmallGainError};
use crate::game::{Enclosure, Game};
use crate::rigorous::Interval;

/// The most corners of a region that are looked at before it is searched.
const MOST_CORNERS_LOG: u32 = 10;
/// Boxes of a certificate's tree that are tried in any case.
const LEAST_BOXES: usize = 64;
/// Boxes that bounds are looked for with once it is known that there is no certificate.
const BOXES_OF_A_REFUSAL: usize = 1_000;
/// Boxes among which the worst is looked for when nothing was found.
const LEAVES_OF_A_GUESS: usize = 20_000;

/// Steps towards an equilibrium on the border.
const MOST_PROJECTED_STEPS: usize = 100_000;

/// Where a certificate is to hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Region {
    /// At all points, for an affine game.
    Free,
    /// In a box, that players may leave.
    Local(Vec<Interval>),
    /// In a box that players are confined to, by projections.
    Constrained(Vec<Interval>),
}

impl Region {
    /// The box between two points that players may leave.
    ///
    /// # Errors
    /// [`SmallGainError::InvalidRegion`] unless both have the same length and each side is finite and has a length.
    pub fn local(lo: &[f64], hi: &[f64]) -> Result<Self, SmallGainError> {
        sides(lo, hi).map(Self::Local)
    }

    /// The box between two points that players are confined to.
    ///
    /// # Errors
    /// As of [`Region::local`].
    pub fn constrained(lo: &[f64], hi: &[f64]) -> Result<Self, SmallGainError> {
        sides(lo, hi).map(Self::Constrained)
    }

    pub(super) fn sides(&self) -> Option<&[Interval]> {
        match self {
            Self::Free => None,
            Self::Local(sides) | Self::Constrained(sides) => Some(sides),
        }
    }

    /// # Errors
    /// [`SmallGainError::Dimension`] and [`SmallGainError::InvalidRegion`] where it is none of the game.
    pub(super) fn check(&self, game: &Game) -> Result<(), SmallGainError> {
        let Some(sides) = self.sides() else {
            let all = SmallGainError::InvalidRegion { variable: 0, lo: f64::NEG_INFINITY, hi: f64::INFINITY };
            return if game.is_affine() { Ok(()) } else { Err(all) };
        };
        if sides.len() != game.size() {
            return Err(SmallGainError::Dimension { what: "sides of the region", expected: game.size(), got: sides.len() });
        }
        let bad = sides.iter().position(|side| !(side.is_bounded() && side.lo() < side.hi()));
        bad.map_or(Ok(()), |variable| Err(SmallGainError::InvalidRegion { variable, lo: sides[variable].lo(), hi: sides[variable].hi() }))
    }
}

fn sides(lo: &[f64], hi: &[f64]) -> Result<Vec<Interval>, SmallGainError> {
    if lo.len() != hi.len() {
        return Err(SmallGainError::Dimension { what: "upper ends of the region", expected: lo.len(), got: hi.len() });
    }
    let side = |(variable, (&lo, &hi)): (usize, (&f64, &f64))| {
        let side = Interval::new(lo, hi).filter(|side| lo < hi && side.is_bounded());
        side.ok_or(SmallGainError::InvalidRegion { variable, lo, hi })
    };
    lo.iter().zip(hi).enumerate().map(side).collect()
}

/// How bounds of boxes are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// One curvature and one coupling each for the whole region; box by box only if that fails.
    #[default]
    Uniform,
    /// A margin in each box, of one metric: never worse, as what is least and what is greatest is taken at the same place.
    PerBox,
    /// The whole Jacobian, with the signs of couplings, in a metric with such a matrix for each player; of confined players, a diagonal one.
    /// It holds wherever the small-gain condition does, takes more work, and can be checked only with the game.
    BlockLmi(Structure),
}

/// Finds certificates.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Certifier {
    /// How far bounds are searched for.
    pub search: Search,
    /// How bounds are put together.
    pub mode: Mode,
    /// The weights to take; none for those that are best for the objective.
    pub weights: Option<Vec<f64>>,
    /// What weights are chosen for, of the bounds on the whole region; box by box it is the greatest margin.
    pub objective: Objective,
}

/// What comes of a search for a certificate.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// There is one.
    Certified(Box<Certified>),
    /// There is none: of these weights, or of any.
    Refused(Refused),
    /// Neither a certificate nor a reason against one was found with the boxes at hand.
    Inconclusive(Inconclusive),
}

/// A certificate, and how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Certified {
    /// The certificate.
    pub certificate: Certificate,
    /// Bounds that hold on the whole region.
    pub bounds: BlockBounds,
    /// Whether some weights reach the greatest margin of the bounds.
    pub attained: bool,
    /// How the bounds were put together.
    pub mode: Mode,
    /// Boxes that the region was cut into.
    pub boxes: usize,
    /// Whether all bounds are as close as was asked.
    pub complete: bool,
}

/// With what is left open.
impl std::fmt::Display for Inconclusive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sides: Vec<String> = self.worst_box.iter().map(|side| format!("[{}, {}]", side.lo(), side.hi())).collect();
        let sides = sides.join(" x ");
        if self.bounds.is_none() {
            return write!(f, "after {} boxes the Jacobian is not enclosed by finite numbers everywhere in {sides}", self.boxes);
        }
        let (lower, upper) = (self.alpha_lower, self.alpha_upper);
        if lower > 0.0 {
            let few = "but no certificate of so few boxes shows it";
            return write!(f, "bounds of the whole region give a margin of {lower:.3e}, {few} as {}; the worst box is {sides}", self.boxes);
        }
        write!(f, "after {} boxes the best margin lies between {lower:.3e} and {upper:.3e}; the worst box is {sides}", self.boxes)
    }
}

impl Mode {
    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::PerBox => "per-box",
            Self::BlockLmi(_) => "block-lmi",
        }
    }
}

impl Certified {
    /// Margin and Lipschitz constant.
    pub fn rates(&self) -> Rates {
        Rates { margin: self.certificate.alpha, lipschitz: self.certificate.beta }
    }
}

/// Why there is no certificate.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// What was found at points of the region.
    pub reasons: Vec<Refusal>,
    /// Bounds that hold on the whole region, if there are any: what advice is made of.
    pub bounds: Option<BlockBounds>,
    /// How bounds were put together last.
    pub mode: Mode,
    /// Boxes that the region was cut into.
    pub boxes: usize,
}

/// What is known when boxes are used up.
#[derive(Debug, Clone, PartialEq)]
pub struct Inconclusive {
    /// A margin that was proven; `-∞` if none was. It may be positive, if only bounds on the whole region prove it, and no tree with the boxes at
    /// hand, which is what a certificate consists of.
    pub alpha_lower: f64,
    /// A margin that is not exceeded by any weights.
    pub alpha_upper: f64,
    /// The box with the least margin.
    pub worst_box: Vec<Interval>,
    /// Bounds that hold on the whole region, if there are any.
    pub bounds: Option<BlockBounds>,
    /// Boxes that the region was cut into.
    pub boxes: usize,
    /// How bounds were put together last.
    pub mode: Mode,
}

impl Certifier {
    /// Looks for a certificate of a game in a region.
    ///
    /// ```
    /// use gradus_games::game::Game;
    /// use gradus_games::scalar::Real;
    /// use gradus_games::small_gain::{Certifier, Region, Verdict, Verified, check};
    ///
    /// let game = Game::from_field(&[1, 1], |x| {
    ///     vec![x[0] + x[0].powi(3) / 2.0 + 2.0 * x[1].sin(), x[1] + 0.3 * x[1].powi(3) + 0.2 * x[0].cos()]
    /// })?;
    /// let Verdict::Certified(found) = Certifier::default().certify(&game, &Region::local(&[-1.0; 2], &[1.0; 2])?)? else { unreachable!() };
    /// let certificate = &found.certificate;
    /// assert!((certificate.alpha - 0.41984).abs() < 1e-5 && !certificate.conditional);
    /// // Anyone can check it, with less work and without any of what found it.
    /// assert_eq!(check(certificate, Some(&game))?, Verified::Verified);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SmallGainError::Dimension`], [`SmallGainError::InvalidWeight`], [`SmallGainError::InvalidRegion`] for all points of a game that is
    /// not affine, [`SmallGainError::NonFinite`] where the game is not finite at a point of the region.
    pub fn certify(&self, game: &Game, region: &Region) -> Result<Verdict, SmallGainError> {
        self.certify_watched(game, region, &Cancel::new(), &mut Silent)
    }

    /// As [`Certifier::certify`]; says how many boxes there are, and ends when it is cancelled.
    ///
    /// # Errors
    /// As of [`Certifier::certify`], and [`SmallGainError::Cancelled`].
    pub fn certify_watched(
        &self,
        game: &Game,
        region: &Region,
        cancel: &Cancel,
        observer: &mut dyn Observer,
    ) -> Result<Verdict, SmallGainError> {
        self.check(game, region)?;
        if let Mode::BlockLmi(structure) = self.mode {
            return signs::certify(self, structure, game, region, cancel, observer);
        }
        let everywhere = vec![Interval::point(0.0); game.size()];
        let sides = region.sides().unwrap_or(&everywhere);
        let mut probe = Probe::new(game, self.weights.as_deref())?;
        if region.sides().is_some() {
            look_at_corners(&mut probe, game, sides)?;
        }
        let most = self.search.most_boxes;
        let mut go_on = |probe: &Probe<'_>, boxes: usize| {
            observer.progress(boxes as u64, Some(most as u64), "boxes");
            if cancel.is_cancelled() { Err(SmallGainError::Cancelled) } else { Ok(probe.refusals.is_empty()) }
        };
        let mut hunts = Hunts::new(&mut probe, sides)?;
        // A quarter of the boxes is for the tree of the certificate.
        let first = Search { most_boxes: most - most / 4, ..self.search };
        let complete = hunts.tighten(&mut probe, &first, &mut go_on)?;
        if !probe.refusals.is_empty() {
            return Ok(self.refused(probe, hunts, self.mode, 1));
        }
        if let Some(worst_box) = hunts.unbounded() {
            return Ok(Verdict::Inconclusive(Inconclusive::unbounded(worst_box, hunts.boxes)));
        }
        let uniform = probe.blocks.bounds(&hunts.upper())?;
        let best = optimal_weights(&uniform);
        let weights = match (&self.weights, self.objective) {
            (Some(weights), _) => weights.clone(),
            (None, Objective::MaxMargin) => best.weights,
            // Where no weights do, those with the greatest margin say so.
            (None, objective) => weights_for(&uniform, objective).map_or(best.weights, |chosen| chosen.weights),
        };
        let (_, alpha, _) = prove(sides.to_vec(), &uniform, &weights);
        let mode = if alpha > 0.0 { self.mode } else { Mode::PerBox };
        let mut tree = Tree::new(&mut probe, sides)?;
        let rest = Search { most_boxes: (most + 1).saturating_sub(hunts.boxes), ..self.search };
        let mut go_on = |probe: &Probe<'_>, boxes: usize| go_on(probe, hunts.boxes + boxes - 1);
        let found = match mode {
            Mode::Uniform => {
                // With more boxes than the bounds took, these are the shorter proof.
                let few = Search { most_boxes: rest.most_boxes.min(hunts.boxes.max(LEAST_BOXES)), ..rest };
                let found = reach(&mut probe, &mut tree, weights, alpha, &few, &mut go_on)?;
                let (.., beta) = prove(sides.to_vec(), &uniform, &found.weights);
                calm(&mut probe, &mut tree, &found.weights, beta, &few, &mut go_on)?;
                if probe.refusals.is_empty() && (found.margin < alpha || is_wild(&probe, &tree, &found.weights, beta)) {
                    let boxes = hunts.boxes + tree.boxes() - 1;
                    if let Some((leaf, covers, rates)) = cover_each(&probe, &hunts, &uniform, sides, &found.weights) {
                        let proof = Proof { tree: vec![Branch::Leaf(0)], leaves: vec![leaf], covers, whole: None };
                        let certificate = assemble(game, region, found.weights, proof, rates);
                        let found = Certified { certificate, bounds: uniform, attained: best.attained, mode, boxes, complete };
                        return Ok(Verdict::Certified(Box::new(found)));
                    }
                }
                found
            }
            _ => per_box(&mut probe, &mut tree, weights, self.weights.is_some(), &rest, &mut go_on)?,
        };
        let (.., beta) = prove(sides.to_vec(), &uniform, &found.weights);
        calm(&mut probe, &mut tree, &found.weights, beta, &rest, &mut go_on)?;
        let boxes = hunts.boxes + tree.boxes() - 1;
        if !probe.refusals.is_empty() {
            return Ok(self.refused(probe, hunts, mode, tree.boxes()));
        }
        let inconclusive = |probe: &Probe<'_>, tree: &Tree, margin: f64| {
            // What the bounds of the whole region prove is true, though no tree of the boxes at hand shows it to others.
            Verdict::Inconclusive(Inconclusive { mode, ..Inconclusive::new(probe, tree, margin.max(alpha), uniform.clone(), boxes) })
        };
        if found.margin <= 0.0 {
            return Ok(inconclusive(&probe, &tree, found.margin));
        }
        let proof = cover(&probe, &tree, beta, &found).filter(|(.., alpha, beta)| *alpha > 0.0 && beta.is_finite());
        let Some((branches, leaves, alpha, beta)) = proof else {
            return Ok(inconclusive(&probe, &tree, 0.0));
        };
        let rates = Rates { margin: alpha, lipschitz: beta };
        let certificate = assemble(game, region, found.weights, Proof { tree: branches, leaves, ..Proof::default() }, rates);
        Ok(Verdict::Certified(Box::new(Certified { certificate, bounds: uniform, attained: best.attained, mode, boxes, complete })))
    }

    fn check(&self, game: &Game, region: &Region) -> Result<(), SmallGainError> {
        if let Some(weights) = &self.weights {
            super::check_weights(weights, game.dimensions().len())?;
        }
        region.check(game)
    }

    /// With bounds of the region for advice, and worse points, as far as they are cheap.
    fn refused(&self, mut probe: Probe<'_>, mut hunts: Hunts, mode: Mode, boxes: usize) -> Verdict {
        let search = Search { most_boxes: self.search.most_boxes.min(hunts.boxes + BOXES_OF_A_REFUSAL), ..self.search };
        // What is not finite leaves no bounds, and the reason stands.
        let _ = hunts.tighten(&mut probe, &search, &mut |_, _| Ok(true));
        let bounds = if hunts.unbounded().is_none() { probe.blocks.bounds(&hunts.upper()).ok() } else { None };
        Verdict::Refused(Refused { reasons: probe.refusals, bounds, mode, boxes: hunts.boxes + boxes - 1 })
    }
}

/// Looks at a region's corners and its middle.
fn look_at_corners(probe: &mut Probe<'_>, game: &Game, sides: &[Interval]) -> Result<(), SmallGainError> {
    let middle = sides.iter().map(|side| side.midpoint()).collect();
    // One Jacobian of an affine game was seen, and there is no other.
    let varies = !game.is_affine();
    for point in std::iter::once(middle).chain(corners(sides)) {
        if !game.is_finite_at(&point) {
            return Err(SmallGainError::NonFinite { what: "the field or its Jacobian", point });
        }
        if varies {
            probe.look_at(&point)?;
        }
    }
    Ok(())
}

/// The corners of a box; of one with many sides, some of them.
pub(super) fn corners(sides: &[Interval]) -> impl Iterator<Item = Vec<f64>> + '_ {
    (0..1usize << sides.len().min(MOST_CORNERS_LOG as usize)).map(|which| {
        let end = |(k, side): (usize, &Interval)| if which >> (k % MOST_CORNERS_LOG as usize) & 1 == 0 { side.lo() } else { side.hi() };
        sides.iter().enumerate().map(end).collect()
    })
}

impl Inconclusive {
    fn new(probe: &Probe<'_>, tree: &Tree, alpha_lower: f64, bounds: BlockBounds, boxes: usize) -> Self {
        let best = |bounds: &[f64]| probe.blocks.bounds(bounds).map_or(f64::NEG_INFINITY, |bounds| optimal_weights(&bounds).supremum);
        let leaves = || tree.leaves().take(LEAVES_OF_A_GUESS).map(|leaf| &tree.nodes[leaf]);
        let worst = leaves().map(|node| (best(&node.bounds), node)).min_by(|a, b| a.0.total_cmp(&b.0));
        Self {
            alpha_lower,
            // To rounding: no weights have a greater margin than the best have at any point.
            alpha_upper: leaves().map(|node| best(&node.middle)).fold(f64::INFINITY, f64::min),
            worst_box: worst.map_or_else(Vec::new, |(_, node)| node.region.clone()),
            bounds: Some(bounds),
            boxes,
            mode: Mode::PerBox,
        }
    }

    fn unbounded(worst_box: &[Interval], boxes: usize) -> Self {
        Self {
            alpha_lower: f64::NEG_INFINITY,
            alpha_upper: f64::INFINITY,
            worst_box: worst_box.to_vec(),
            bounds: None,
            boxes,
            mode: Mode::Uniform,
        }
    }
}

/// The fewest boxes of the tree that prove the margin box by box, in preorder, with the rates that they prove.
fn cover(probe: &Probe<'_>, tree: &Tree, mut beta: f64, found: &PerBox) -> Option<(Vec<Branch>, Vec<Leaf>, f64, f64)> {
    let weights = &found.weights;
    let mut alpha = found.margin;
    let (mut branches, mut leaves, mut open) = (Vec::new(), Vec::new(), vec![0]);
    while let Some(place) = open.pop() {
        let node = &tree.nodes[place];
        let leaf = match node.cut {
            None => Some(supported_leaf(probe, tree, place, weights)?),
            Some(_) if margin(probe, tree, place, weights) < alpha => None,
            Some(_) => supported_leaf(probe, tree, place, weights).filter(|(_, a, b)| *a >= alpha && *b <= beta),
        };
        if let Some((leaf, leaf_alpha, leaf_beta)) = leaf {
            // A box that is not cut may miss the rates by rounding.
            (alpha, beta) = (alpha.min(leaf_alpha), beta.max(leaf_beta));
            branches.push(Branch::Leaf(leaves.len()));
            leaves.push(leaf);
        } else if let Some((axis, children)) = node.cut {
            branches.push(Branch::Split { axis, at: tree.nodes[children].region[axis].hi() });
            open.extend([children + 1, children]);
        }
    }
    Some((branches, leaves, alpha, beta))
}

/// A box with bounds that the checker will find in the game's own enclosure: those of the search, moved away by as little as that takes.
fn supported_leaf(probe: &Probe<'_>, tree: &Tree, place: usize, weights: &[f64]) -> Option<(Leaf, f64, f64)> {
    let node = &tree.nodes[place];
    let (game, found) = (probe.game, probe.blocks.bounds(&node.bounds).ok()?);
    let mut enclosure = Enclosure::default();
    let largest = found.own_lipschitz().iter().chain(found.coupling().iter()).copied().fold(f64::MIN_POSITIVE, f64::max);
    for slack in slacks(largest) {
        let curvature: Vec<f64> = found.curvature().iter().map(|mu| mu - slack).collect();
        let coupling =
            DMatrix::from_fn(curvature.len(), curvature.len(), |i, j| found.coupling()[(i, j)] + if i == j { 0.0 } else { slack });
        let own = found.own_lipschitz().iter().map(|own| own + slack).collect();
        let bounds = BlockBounds::new(curvature, coupling, own).ok()?;
        let (leaf, alpha, beta) = prove(node.region.clone(), &bounds, weights);
        if unsupported(&leaf, game, &node.region, &mut enclosure, || Bound::all(weights.len())).is_none() {
            return Some((leaf, alpha, beta));
        }
    }
    None
}

/// By how much bounds are moved away, one after the other, until the checker's own test agrees.
fn slacks(largest: f64) -> impl Iterator<Item = f64> {
    std::iter::once(0.0).chain((0..24).map(move |k| f64::EPSILON * largest * 4f64.powi(k)))
}

/// Bounds of the whole region, each of them proven on the boxes on which it was found, and the rates that follow.
fn cover_each(
    probe: &Probe<'_>,
    hunts: &Hunts,
    uniform: &BlockBounds,
    sides: &[Interval],
    weights: &[f64],
) -> Option<(Leaf, Vec<Cover>, Rates)> {
    let players = weights.len();
    let covers: Vec<Cover> = Bound::all(players).enumerate().map(|(quantity, bound)| Cover { bound, tree: hunts.tree(quantity) }).collect();
    let largest = uniform.own_lipschitz().iter().chain(uniform.coupling().iter()).copied().fold(f64::MIN_POSITIVE, f64::max);
    let (mut leaf, ..) = prove(sides.to_vec(), uniform, weights);
    let mut enclosure = Enclosure::default();
    for cover in &covers {
        let (mut tried, found) = (slacks(largest), leaf.bound(cover.bound));
        tried.next();
        let visited = walk(sides, &cover.tree, |place, region| {
            while unsupported(&leaf, probe.game, region, &mut enclosure, || std::iter::once(cover.bound)).is_some() {
                let slack = tried.next().ok_or(CertificateError::Tiling { leaf: place })?;
                *leaf.bound_mut(cover.bound) = found + if matches!(cover.bound, Bound::Mu(_)) { -slack } else { slack };
            }
            Ok(())
        });
        visited.ok()?;
    }
    let own = leaf.own_lipschitz.iter().zip(&leaf.curvature).map(|(own, mu)| own.max(mu.abs())).collect();
    let bounds = BlockBounds::new(leaf.curvature, leaf.coupling, own).ok()?;
    let (leaf, alpha, beta) = prove(sides.to_vec(), &bounds, weights);
    (alpha > 0.0 && beta.is_finite()).then_some((leaf, covers, Rates { margin: alpha, lipschitz: beta }))
}

/// What the rates are proven with.
#[derive(Default)]
pub(super) struct Proof {
    pub(super) tree: Vec<Branch>,
    pub(super) leaves: Vec<Leaf>,
    pub(super) covers: Vec<Cover>,
    pub(super) whole: Option<Whole>,
}

/// Everything that follows from the rates.
pub(super) fn assemble(game: &Game, region: &Region, weights: Vec<f64>, proof: Proof, rates: Rates) -> Certificate {
    let constrained = matches!(region, Region::Constrained(_));
    let steps = steps(game, rates, constrained);
    let metric = BlockMetric::new(game.dimensions(), &weights, proof.whole.as_ref().map_or(&[], |whole| &whole.blocks));
    let ball = ball(game, region, metric, rates, &steps);
    // Stages of Runge–Kutta methods leave a region that holds no ball of its own, and are not projected.
    let inside = ball.is_some() || region.sides().is_none();
    let steps = steps.into_iter().filter(|step| inside || step.basis == Basis::Euler || (!constrained && step.basis == Basis::Guideline));
    let steps = steps.collect();
    // Without the sign of a zero.
    let radius = |ball: &Ball| (Interval::point(ball.residual) / rates.margin()).hi() + 0.0;
    let in_ball = ball.as_ref().map(|ball| Equilibrium { centre: ball.centre.clone(), radius: radius(ball) });
    let projected = match region {
        Region::Constrained(sides) if ball.is_none() => projected(game, sides, metric, rates),
        _ => None,
    };
    let at_border = projected.as_ref().map(|projected| {
        let radius = projected_radius(projected, rates.margin(), rates.lipschitz());
        Equilibrium { centre: projected.centre.clone(), radius }
    });
    let Proof { tree, leaves, covers, whole } = proof;
    let (tree, leaves) = match region.sides() {
        Some(_) => (tree, leaves),
        // One leaf, without a box.
        None => (Vec::new(), leaves.into_iter().map(|leaf| Leaf { region: Vec::new(), ..leaf }).collect()),
    };
    Certificate {
        dimensions: game.dimensions().to_vec(),
        region: region.sides().map(<[Interval]>::to_vec),
        constrained,
        weights,
        tree,
        leaves,
        covers,
        whole,
        alpha: rates.margin(),
        beta: rates.lipschitz(),
        steps,
        maps: Vec::new(),
        equilibrium: in_ball.or(at_border),
        projected,
        conditional: ball.is_none() && matches!(region, Region::Local(_)),
        ball,
    }
}

/// The best step of gradient play, half of the greatest of Runge–Kutta, and the guideline.
fn steps(game: &Game, rates: Rates, constrained: bool) -> Vec<Step> {
    let step = |rule, basis, h, factor, rigor| Step { rule, basis, h, factor, rigor };
    let (euler, rk4) = (rates.best_euler_step(), 0.5 * rates.rk4_limit());
    let linear = if game.is_affine() && !constrained { Rigor::AsymptoticLinear } else { Rigor::Heuristic };
    let steps = [
        step(Rule::Euler, Basis::Euler, euler, Some(rates.euler_factor(euler)), Rigor::Rigorous),
        step(Rule::Rk4, Basis::Rk4Incremental, rk4, Some(rates.rk4_factor(rk4)), Rigor::Rigorous),
        step(Rule::Rk4, Basis::Guideline, rates.rk4_guideline(), None, linear),
    ];
    // Of tiny margins, factors are 1 to rounding, and promise nothing.
    steps.into_iter().filter(|step| step.h > 0.0 && step.factor.is_none_or(|factor| factor < 1.0)).collect()
}

/// A ball around the only equilibrium, if one can be shown to be inside the region.
fn ball(game: &Game, region: &Region, metric: BlockMetric<'_>, rates: Rates, steps: &[Step]) -> Option<Ball> {
    let start = region.sides().map_or_else(|| vec![0.0; game.size()], |sides| sides.iter().map(|side| side.midpoint()).collect());
    let centre = stationary_point(|x| game.field(x), |x| game.jacobian(x), start, region.sides())?;
    let points: Vec<Interval> = centre.iter().map(|&x| Interval::point(x)).collect();
    let residual = metric.norm(&game.field_box(&points));
    if !residual.is_finite() {
        return None;
    }
    let Some(sides) = region.sides() else { return Some(Ball { centre, residual, invariant_radius: None }) };
    let inner = metric.inscribed_radius(sides, &centre);
    if !(inner > 0.0 && (Interval::point(rates.margin()) * inner).lo() >= residual) {
        return None;
    }
    let stretch = steps.iter().filter(|step| step.basis == Basis::Rk4Incremental);
    let stretch = stretch.map(|step| rk4_stages(Interval::point(step.h) * rates.lipschitz())[2].hi()).fold(1.0, f64::max);
    let radius = ((Interval::point(inner) - Interval::point(residual) / rates.margin()) / stretch).lo();
    Some(Ball { centre, residual, invariant_radius: Some(radius.max(0.0)) }).filter(|_| radius >= 0.0)
}

/// A point that a projected step hardly moves: by the extragradient method, whose steps need not fall with the margin.
fn projected(game: &Game, sides: &[Interval], metric: BlockMetric<'_>, rates: Rates) -> Option<Projected> {
    let h = 0.5 / rates.lipschitz();
    let step = |from: &[f64], field: &[f64]| {
        let moved = |((x, f), side): ((&f64, &f64), &Interval)| (x - h * f).clamp(side.lo(), side.hi());
        from.iter().zip(field).zip(sides).map(moved).collect::<Vec<f64>>()
    };
    let mut x: Vec<f64> = sides.iter().map(|side| side.midpoint()).collect();
    for _ in 0..MOST_PROJECTED_STEPS {
        let ahead = step(&x, &game.field(&x));
        let next = step(&x, &game.field(&ahead));
        if !next.iter().all(|x| x.is_finite()) {
            return None;
        }
        let moved = x.iter().zip(&next).map(|(x, next)| (x - next).abs()).fold(0.0, f64::max);
        x = next;
        if moved <= f64::EPSILON * x.iter().fold(1e-300, |size: f64, x| size.max(x.abs())) {
            break;
        }
    }
    let mut projected = Projected { centre: x, h, residual: 0.0 };
    projected.residual = projected_residual(&projected, sides, game, metric);
    let is_close = projected.residual.is_finite() && projected_radius(&projected, rates.margin(), rates.lipschitz()).is_finite();
    is_close.then_some(projected)
}

/// A point at which the field is about zero, by Newton's method; none if it leaves the box.
pub(super) fn stationary_point(
    field_at: impl Fn(&[f64]) -> Vec<f64>,
    jacobian_at: impl Fn(&[f64]) -> DMatrix<f64>,
    mut x: Vec<f64>,
    sides: Option<&[Interval]>,
) -> Option<Vec<f64>> {
    let size = |field: &[f64]| field.iter().map(|f| f * f).sum::<f64>().sqrt();
    let inside = |x: &[f64]| sides.is_none_or(|sides| sides.iter().zip(x).all(|(side, &x)| side.contains(x)));
    let mut field = field_at(&x);
    for _ in 0..60 {
        let step = jacobian_at(&x).lu().solve(&nalgebra::DVector::from_column_slice(&field))?;
        // Shorter steps until the field falls, which near the point the whole step does.
        let tried = (0..30).map(|halvings| {
            let share = 0.5f64.powi(halvings);
            x.iter().zip(step.iter()).map(|(x, step)| x - share * step).collect::<Vec<f64>>()
        });
        let better = tried.map(|x| (field_at(&x), x)).find(|(next, x)| inside(x) && size(next) < size(&field));
        let Some((next, point)) = better else { break };
        (field, x) = (next, point);
    }
    (size(&field).is_finite() && inside(&x)).then_some(x)
}

#[cfg(test)]
mod tests;
