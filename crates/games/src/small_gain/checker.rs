//! Checks a certificate, and trusts nothing that made it: only interval arithmetic, and the game's own enclosures.
//!
//! A test of `a ≥ b` asks that the lower end of `a` is at least the upper end of `b`; what is no number passes no test.

pub(super) mod symmetric;
pub(super) mod whole;

use std::ops::Range;

use nalgebra::DMatrix;

use super::certificate::{Ball, Basis, Bound, Branch, Certificate, Leaf, Projected, Rigor, Rule, Step};
use super::map::checker::{check_map, check_map_claims};
use super::map::{Invariant, MapCertificate};
use crate::game::{Enclosure, Game};
use crate::rigorous::{Interval, curvature_is_at_least, norm_is_at_most};
use crate::scalar::Real;
use whole::BlockMetric;

/// Why a certificate proves nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// It is not of the form of a certificate.
    #[error("not a certificate: {0}")]
    Format(String),
    /// It is of another game, or was changed.
    #[error("{0}")]
    Hash(String),
    /// The leaves do not fill the region exactly.
    #[error("leaf {leaf} is not the box that the tree of cuts leads to")]
    Tiling {
        /// The first leaf that is wrong, from 0.
        leaf: usize,
    },
    /// It is proven with the game itself, which was not given.
    #[error("it can only be checked with the game")]
    GameNeeded,
    /// Something that it says does not follow.
    #[error("{which} does not follow{}", .leaf.map(|leaf| format!(" at leaf {leaf}")).unwrap_or_default())]
    Inequality {
        /// What does not follow.
        which: &'static str,
        /// At which leaf, from 0, if at one.
        leaf: Option<usize>,
    },
}

/// What a certificate proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// All that it says.
    Verified,
    /// All that it says, if its bounds of the game hold, which were not checked.
    VerifiedGivenBounds,
}

/// Follows a certificate step by step; with the game, its bounds too.
///
/// # Errors
/// [`CertificateError`] says what does not hold, the first of all.
pub fn check(certificate: &Certificate, game: Option<&Game>) -> Result<Verified, CertificateError> {
    match game {
        Some(game) if game.dimensions() != certificate.dimensions => {
            return Err(CertificateError::Hash("the certificate is of another game".into()));
        }
        None if certificate.whole.is_some() => return Err(CertificateError::GameNeeded),
        _ => check_form(certificate)?,
    }
    check_tiling(certificate)?;
    for (place, leaf) in certificate.leaves.iter().enumerate() {
        expect("the margin", Some(place), margin_holds(leaf, &certificate.weights, certificate.alpha))?;
        expect("the Lipschitz constant", Some(place), lipschitz_holds(leaf, &certificate.weights, certificate.beta))?;
    }
    let holds = |which, holds| expect(which, None, holds);
    holds(
        "a Lipschitz constant that is at least the margin, which is positive",
        certificate.beta >= certificate.alpha && certificate.alpha > 0.0,
    )?;
    for step in &certificate.steps {
        holds("a step", step_holds(step, certificate, game))?;
    }
    check_ball(certificate)?;
    // A projection is one onto the region that the players of this game are confined to.
    let confined = |map: &MapCertificate| certificate.constrained && map.region == certificate.region;
    let fits = |map: &MapCertificate| map.dimensions == certificate.dimensions && (map.invariant != Invariant::Projected || confined(map));
    holds("an update of this game", certificate.maps.iter().all(fits))?;
    certificate.maps.iter().try_for_each(|map| game.map_or_else(|| check_map_claims(map), |game| check_map(map, game)))?;
    match game {
        Some(game) => check_game(certificate, game).map(|()| Verified::Verified),
        None => Ok(Verified::VerifiedGivenBounds),
    }
}

fn expect(which: &'static str, leaf: Option<usize>, holds: bool) -> Result<(), CertificateError> {
    if holds { Ok(()) } else { Err(CertificateError::Inequality { which, leaf }) }
}

fn check_form(certificate: &Certificate) -> Result<(), CertificateError> {
    let form = |what: &str, holds: bool| if holds { Ok(()) } else { Err(CertificateError::Format(what.into())) };
    let players = certificate.dimensions.len();
    form("at least two players, each with a variable", players >= 2 && !certificate.dimensions.contains(&0))?;
    let size = certificate.dimensions.iter().try_fold(0usize, |sum, &size| sum.checked_add(size));
    let size = size.ok_or_else(|| CertificateError::Format("too many variables".into()))?;
    form("a positive weight for each player", certificate.weights.len() == players && all(&certificate.weights, |w| w > 0.0))?;
    let sides = |region: &[Interval]| region.len() == size && region.iter().all(|side| side.is_bounded() && side.lo() < side.hi());
    form("finite rates", certificate.alpha.is_finite() && certificate.beta.is_finite())?;
    form("a region with a side for each variable", certificate.region.as_ref().map_or(!certificate.constrained, |region| sides(region)))?;
    if let Some(whole) = &certificate.whole {
        return whole::check_form(certificate, whole);
    }
    if certificate.region.is_none() {
        form("one leaf and no cuts for all points", certificate.leaves.len() == 1 && certificate.tree.is_empty())?;
        form("no box for all points", certificate.leaves[0].region.is_empty())?;
    }
    let one_leaf = certificate.leaves.len() == 1 && certificate.region.is_some();
    let all_bounds = Bound::all(players).eq(certificate.covers.iter().map(|cover| cover.bound));
    form("one leaf and a cover of each of its bounds", certificate.covers.is_empty() || (one_leaf && all_bounds))?;
    for leaf in &certificate.leaves {
        let lengths = [&leaf.curvature, &leaf.own_lipschitz, &leaf.margin_witness, &leaf.lipschitz_witness].map(Vec::len);
        form("as many bounds as players", lengths.iter().all(|&length| length == players) && leaf.coupling.shape() == (players, players))?;
        form("finite curvatures", all(&leaf.curvature, |_| true))?;
        let own = leaf.own_lipschitz.iter().zip(&leaf.curvature).all(|(&own, &mu)| own.is_finite() && own >= 0.0 && own >= mu);
        form("norms of own blocks that are at least the curvatures and 0", own)?;
        let coupling = |i: usize, j: usize, bound: f64| bound.is_finite() && if i == j { bound == 0.0 } else { bound >= 0.0 };
        let couplings = (0..players).all(|i| (0..players).all(|j| coupling(i, j, leaf.coupling[(i, j)])));
        form("couplings of at least 0, and none of a player to itself", couplings)?;
        form("positive witnesses", all(&leaf.margin_witness, |x| x > 0.0) && all(&leaf.lipschitz_witness, |x| x > 0.0))?;
    }
    Ok(())
}

pub(super) fn all(numbers: &[f64], holds: impl Fn(f64) -> bool) -> bool {
    numbers.iter().all(|&x| x.is_finite() && holds(x))
}

fn check_tiling(certificate: &Certificate) -> Result<(), CertificateError> {
    let Some(region) = certificate.region.as_ref().filter(|_| certificate.whole.is_none()) else { return Ok(()) };
    let leaves: Vec<&[Interval]> = certificate.leaves.iter().map(|leaf| leaf.region.as_slice()).collect();
    check_tiles(region, &certificate.tree, &leaves)?;
    certificate.covers.iter().try_for_each(|cover| walk(region, &cover.tree, |_, _| Ok(())).map(drop))
}

/// Whether the leaves of a tree are these boxes, each once and in order.
pub(super) fn check_tiles(region: &[Interval], tree: &[Branch], leaves: &[&[Interval]]) -> Result<(), CertificateError> {
    let is_next = |leaf: usize, reached: &[Interval]| leaves.get(leaf).is_some_and(|leaf| *leaf == reached);
    let count = walk(region, tree, |leaf, reached| if is_next(leaf, reached) { Ok(()) } else { Err(CertificateError::Tiling { leaf }) })?;
    if count == leaves.len() { Ok(()) } else { Err(CertificateError::Tiling { leaf: count }) }
}

/// Walks a tree from the region's box and visits its leaves, which must come in order; how many there are. One box is kept, and of each
/// cut on the way to it the side that was cut and, as long as it is still to come, the upper half.
pub(super) fn walk(
    region: &[Interval],
    tree: &[Branch],
    mut visit: impl FnMut(usize, &[Interval]) -> Result<(), CertificateError>,
) -> Result<usize, CertificateError> {
    let (mut reached, mut way) = (region.to_vec(), Vec::<(usize, Interval, Option<Interval>)>::new());
    let (mut next, mut ended) = (0, false);
    for branch in tree {
        let wrong = CertificateError::Tiling { leaf: next };
        match *branch {
            _ if ended => return Err(wrong),
            Branch::Leaf(leaf) if leaf == next => visit(leaf, &reached)?,
            Branch::Leaf(_) => return Err(wrong),
            Branch::Split { axis, at } => {
                let Some(&side) = reached.get(axis) else { return Err(wrong) };
                let halves = (Interval::new(side.lo(), at), Interval::new(at, side.hi()));
                let (true, (Some(lower), Some(upper))) = (side.lo() < at && at < side.hi(), halves) else { return Err(wrong) };
                way.push((axis, side, Some(upper)));
                reached[axis] = lower;
                continue;
            }
        }
        next += 1;
        while let Some((axis, side, None)) = way.pop_if(|(.., upper)| upper.is_none()) {
            reached[axis] = side;
        }
        match way.last_mut().and_then(|(axis, _, upper)| Some((*axis, upper.take()?))) {
            Some((axis, upper)) => reached[axis] = upper,
            None => ended = true,
        }
    }
    if ended { Ok(next) } else { Err(CertificateError::Tiling { leaf: next }) }
}

/// `(W A + Aᵀ W) x ≥ 2 α W x` with a positive `x`: then the symmetric Z-matrix `W A + Aᵀ W - 2 α W` is positive semidefinite.
pub(super) fn margin_holds(leaf: &Leaf, weights: &[f64], alpha: f64) -> bool {
    (0..weights.len()).all(|i| {
        let (rest, own) = margin_row(leaf, weights, i);
        rest.lo() >= (own * (Interval::point(2.0) * alpha)).hi()
    })
}

/// A row of `(W A + Aᵀ W) x`, and of `W x`.
pub(super) fn margin_row(leaf: &Leaf, weights: &[f64], i: usize) -> (Interval, Interval) {
    let own = Interval::point(weights[i]) * leaf.margin_witness[i];
    let mut sum = own * 2.0 * leaf.curvature[i];
    for j in (0..weights.len()).filter(|&j| j != i) {
        let both = Interval::point(weights[i]) * leaf.coupling[(i, j)] + Interval::point(weights[j]) * leaf.coupling[(j, i)];
        sum = sum - both * leaf.margin_witness[j];
    }
    (sum, own)
}

/// `Bᵀ W B v ≤ β² W v` with a positive `v`: then `‖B‖ ≤ β` in the metric (Collatz–Wielandt).
pub(super) fn lipschitz_holds(leaf: &Leaf, weights: &[f64], beta: f64) -> bool {
    lipschitz_rows(leaf, weights).into_iter().all(|(square, own)| square.hi() <= (Interval::point(beta).square() * own).lo())
}

/// The rows of `Bᵀ W B v`, and of `W v`.
pub(super) fn lipschitz_rows(leaf: &Leaf, weights: &[f64]) -> Vec<(Interval, Interval)> {
    let players = weights.len();
    let entry = |i: usize, j: usize| Interval::point(if i == j { leaf.own_lipschitz[i] } else { leaf.coupling[(i, j)] });
    let sum = |terms: &mut dyn Iterator<Item = Interval>| terms.fold(Interval::point(0.0), |sum, term| sum + term);
    let image: Vec<Interval> =
        (0..players).map(|i| sum(&mut (0..players).map(|j| entry(i, j) * leaf.lipschitz_witness[j])) * weights[i]).collect();
    let row = |j: usize| sum(&mut (0..players).map(|i| entry(i, j) * image[i]));
    (0..players).map(|j| (row(j), Interval::point(weights[j]) * leaf.lipschitz_witness[j])).collect()
}

fn step_holds(step: &Step, certificate: &Certificate, game: Option<&Game>) -> bool {
    if !(step.h > 0.0 && step.h.is_finite()) {
        return false;
    }
    let factor_is = |square: Interval| {
        step.factor.is_some_and(|factor| 0.0 < factor && factor < 1.0 && Interval::point(factor).square().lo() >= square.hi())
    };
    let [alpha, beta, h] = [certificate.alpha, certificate.beta, step.h].map(Interval::point);
    match (step.rule, step.basis, step.rigor) {
        (Rule::Euler, Basis::Euler, Rigor::Rigorous) => {
            let gain = h * alpha * 2.0 - h.square() * beta.square();
            gain.lo() > 0.0 && factor_is(Interval::point(1.0) - gain)
        }
        (Rule::Euler, Basis::Symmetric, Rigor::Rigorous) if certificate.whole.is_none() => {
            let most = game.map(|game| symmetric::factor(certificate, game, step.h));
            most.zip(step.factor).is_some_and(|(most, factor)| 0.0 < factor && most <= factor && factor < 1.0)
        }
        // The method's stages are not projected, and must be where the rates hold.
        (Rule::Rk4, Basis::Rk4Incremental, Rigor::Rigorous) => {
            let slope = rk4_slope(alpha, beta, h);
            slope.hi() < 0.0 && factor_is(Interval::point(1.0) + h * slope) && (certificate.region.is_none() || certificate.ball.is_some())
        }
        (_, Basis::Guideline, Rigor::Heuristic) => step.factor.is_none(),
        (Rule::Rk4, Basis::Guideline, Rigor::AsymptoticLinear) => {
            step.factor.is_none() && game.is_none_or(Game::is_affine) && (h * beta).hi() <= 2.5 && !certificate.constrained
        }
        _ => false,
    }
}

/// `(q² - 1) / h` of the bound `q` of a step of the classical Runge–Kutta method: bounds of how far the stages' differences are apart.
pub(super) fn rk4_slope(alpha: Interval, beta: Interval, h: Interval) -> Interval {
    let one = Interval::point(1.0);
    let z = h * beta;
    let [u2, u3, u4] = rk4_stages(z);
    let not_below_zero = |x: Interval| Interval::new(x.lo().max(0.0), x.hi().max(0.0)).unwrap_or(Interval::ENTIRE);
    let [l2, l3, l4] = [z * 0.5, z * 0.5 * u2, z * u3].map(|moved| not_below_zero(one - moved).square());
    let monotone = (alpha * (one + (l2 + l3) * 2.0 + l4) - z * beta * (u2 + u2 * u3 + u3 * u4)) / 6.0;
    let lipschitz = beta * (one + (u2 + u3) * 2.0 + u4) / 6.0;
    h * lipschitz.square() - monotone * 2.0
}

/// By how much the stages' differences exceed the difference at the beginning at most.
pub(super) fn rk4_stages(z: Interval) -> [Interval; 3] {
    let one = Interval::point(1.0);
    let u2 = one + z * 0.5;
    let u3 = one + z * 0.5 * u2;
    [u2, u3, one + z * u3]
}

fn check_ball(certificate: &Certificate) -> Result<(), CertificateError> {
    let holds = |which, holds| expect(which, None, holds);
    let size: usize = certificate.dimensions.iter().sum();
    if let Some(ball) = &certificate.ball {
        holds("the ball", ball.centre.len() == size && all(&ball.centre, |_| true) && ball.residual.is_finite() && ball.residual >= 0.0)?;
        let away = Interval::point(ball.residual) / Interval::point(certificate.alpha);
        match (&certificate.region, ball.invariant_radius) {
            (None, None) => {}
            (Some(region), Some(radius)) => {
                let inner = certificate.metric().inscribed_radius(region, &ball.centre);
                holds("the centre of the ball", inner > 0.0)?;
                holds("the existence of an equilibrium", (Interval::point(certificate.alpha) * inner).lo() >= ball.residual)?;
                let stretch = certificate.steps.iter().filter(|step| step.basis == Basis::Rk4Incremental);
                let stretch = stretch.map(|step| rk4_stages(Interval::point(step.h) * certificate.beta)[2].hi()).fold(1.0, f64::max);
                let most = (Interval::point(inner) - away) / Interval::point(stretch);
                holds("the radius of the ball", radius >= 0.0 && radius <= most.lo())?;
            }
            _ => holds("the ball", false)?,
        }
    }
    if let Some(equilibrium) = &certificate.equilibrium {
        let from = |ball: &Ball| {
            equilibrium.centre == ball.centre
                && equilibrium.radius >= (Interval::point(ball.residual) / Interval::point(certificate.alpha)).hi()
        };
        let by_ball = certificate.ball.as_ref().is_some_and(from);
        let by_step = certificate.projected.as_ref().is_some_and(|projected| {
            equilibrium.centre == projected.centre && equilibrium.radius >= projected_radius(projected, certificate.alpha, certificate.beta)
        });
        holds("the equilibrium", equilibrium.radius.is_finite() && (by_ball || by_step))?;
    }
    if let Some(projected) = &certificate.projected {
        let inside = |region: &Vec<Interval>| {
            projected.centre.len() == size && region.iter().zip(&projected.centre).all(|(side, &centre)| side.contains(centre))
        };
        let residual = projected.residual.is_finite() && projected.residual >= 0.0;
        holds("the projected step", certificate.constrained && certificate.region.as_ref().is_some_and(inside) && residual)?;
    }
    let inside = certificate.ball.is_some() || certificate.constrained || certificate.region.is_none();
    holds("a claim without conditions", certificate.conditional || inside)
}

/// How far the equilibrium of confined players may be away, rounded up: `(1 + hβ) / (hα)` times how far a projected step moves a point
/// (Pang 1987). Infinite for what is no step.
pub(super) fn projected_radius(projected: &Projected, alpha: f64, beta: f64) -> f64 {
    let h = Interval::point(projected.h);
    let radius = (Interval::point(1.0) + h * beta) * projected.residual / (h * alpha);
    if projected.h > 0.0 && radius.is_bounded() { radius.hi() } else { f64::INFINITY }
}

/// How far a projected step moves its centre at most, in the metric.
pub(super) fn projected_residual(projected: &Projected, region: &[Interval], game: &Game, metric: BlockMetric<'_>) -> f64 {
    let centre: Vec<Interval> = projected.centre.iter().map(|&x| Interval::point(x)).collect();
    let field = game.field_box(&centre);
    let moved = |k: usize| {
        let (there, side) = (centre[k] - field[k] * projected.h, region[k]);
        let clamped = |x: f64| x.clamp(side.lo(), side.hi());
        Interval::new(clamped(there.lo()), clamped(there.hi())).unwrap_or(Interval::ENTIRE) - centre[k]
    };
    metric.norm(&(0..centre.len()).map(moved).collect::<Vec<_>>())
}

fn check_game(certificate: &Certificate, game: &Game) -> Result<(), CertificateError> {
    expect("a Jacobian that is the same everywhere", None, certificate.region.is_some() || game.is_affine())?;
    let everywhere = vec![Interval::point(0.0); game.size()];
    let (players, mut enclosure) = (certificate.weights.len(), Enclosure::default());
    for (place, leaf) in certificate.leaves.iter().enumerate().filter(|_| certificate.covers.is_empty()) {
        let region = if certificate.region.is_some() { &leaf.region } else { &everywhere };
        let which = unsupported(leaf, game, region, &mut enclosure, || Bound::all(players));
        expect(which.unwrap_or_default(), Some(place), which.is_none())?;
    }
    for cover in &certificate.covers {
        walk(&certificate.leaves[0].region, &cover.tree, |place, region| {
            let which = unsupported(&certificate.leaves[0], game, region, &mut enclosure, || std::iter::once(cover.bound));
            expect(which.unwrap_or_default(), Some(place), which.is_none())
        })?;
    }
    if let Some(whole) = &certificate.whole {
        whole::check_game(certificate, whole, game)?;
    }
    let metric = certificate.metric();
    if let Some(ball) = &certificate.ball {
        let centre: Vec<Interval> = ball.centre.iter().map(|&x| Interval::point(x)).collect();
        expect("the residual", None, metric.norm(&game.field_box(&centre)) <= ball.residual)?;
    }
    if let (Some(projected), Some(region)) = (&certificate.projected, &certificate.region) {
        let moved = projected_residual(projected, region, game, metric);
        expect("the residual of the projected step", None, moved <= projected.residual)?;
    }
    Ok(())
}

/// A bound of a leaf that the Jacobian on a box does not support, if there is one of those that are asked for: as intervals enclose it or,
/// with more work, as the mean value form does, too.
pub(super) fn unsupported<B: Iterator<Item = Bound>>(
    leaf: &Leaf,
    game: &Game,
    region: &[Interval],
    enclosure: &mut Enclosure,
    bounds: impl Fn() -> B,
) -> Option<&'static str> {
    let players = game.players();
    let wrong = |jacobian: &[Interval]| bounds().find_map(|bound| unsupported_by(leaf, bound, &players, jacobian));
    enclosure.enclose_directly(game, region);
    wrong(&enclosure.jacobian)?;
    enclosure.enclose(game, region);
    wrong(&enclosure.jacobian)
}

fn unsupported_by(leaf: &Leaf, bound: Bound, players: &[Range<usize>], jacobian: &[Interval]) -> Option<&'static str> {
    let (i, j) = match bound {
        Bound::Mu(i) => (i, i),
        Bound::Norm(i, j) => (i, j),
    };
    let size = players.iter().map(Range::len).sum::<usize>();
    let entry = |a: usize, b: usize| jacobian[(players[i].start + a) * size + players[j].start + b];
    let block = DMatrix::from_fn(players[i].len(), players[j].len(), entry);
    let holds = block.iter().all(|entry| entry.is_bounded())
        && match bound {
            Bound::Mu(_) => curvature_is_at_least(&block, leaf.bound(bound)),
            Bound::Norm(..) => norm_is_at_most(&block, leaf.bound(bound)),
        };
    let which = match bound {
        Bound::Mu(_) => "a curvature",
        Bound::Norm(i, j) if i == j => "an own norm",
        Bound::Norm(..) => "a coupling",
    };
    (!holds).then_some(which)
}

#[cfg(test)]
mod tests;
