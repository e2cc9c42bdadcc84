//! Checks the certificate of an update map, and trusts nothing that made it: only interval arithmetic, and the map's own enclosures.

use nalgebra::DMatrix;

use super::{FixedPoint, Invariant, MapCertificate, Update};
use crate::game::Game;
use crate::rigorous::{Interval, norm_is_at_most};
use crate::small_gain::checker::whole::{BlockMetric, ratios};
use crate::small_gain::checker::{CertificateError, all, check_tiles};

/// Follows the certificate of an update map of a game step by step: the map is recorded anew, its Jacobian enclosed on each leaf, and
/// its norm, the set that iterates stay in and the fixed point derived from these.
///
/// # Errors
/// [`CertificateError`] says what does not hold, the first of all.
pub fn check_map(certificate: &MapCertificate, game: &Game) -> Result<(), CertificateError> {
    if certificate.dimensions != game.dimensions() {
        return Err(CertificateError::Hash("the certificate is of another game".into()));
    }
    check_map_claims(certificate)?;
    let map = certificate.update.map(game).map_err(|error| CertificateError::Format(error.to_string()))?;
    let holds = |which, leaf, holds| if holds { Ok(()) } else { Err(CertificateError::Inequality { which, leaf }) };
    let same = certificate.region.is_some() || (game.is_affine() && map.is_affine());
    holds("a Jacobian that is the same everywhere", None, same)?;
    let ratios = ratios(&map, &certificate.weights);
    let everywhere = vec![Interval::point(0.0); map.size()];
    for (place, leaf) in certificate.leaves.iter().enumerate() {
        let region = if certificate.region.is_some() { &leaf.region } else { &everywhere };
        let jacobian = map.jacobian_box(region);
        // What is not defined has no Jacobian, whatever that of its parts is.
        let defined = jacobian.iter().chain(&map.field_box(region)).all(|entry| entry.is_bounded());
        holds("an update that is defined", Some(place), defined)?;
        let scaled = DMatrix::from_fn(map.size(), map.size(), |i, j| jacobian[i * map.size() + j] * ratios[i * map.size() + j]);
        holds("the norm of the Jacobian", Some(place), norm_is_at_most(&scaled, leaf.norm))?;
    }
    if let Some(point) = &certificate.fixed_point {
        let projected = certificate.invariant == Invariant::Projected;
        let step = step_from(&map, certificate.region.as_deref().filter(|_| projected), &point.centre);
        holds("the residual", None, certificate.metric(map.dimensions()).norm(&step) <= point.residual)?;
    }
    let stays = certificate.invariant != Invariant::Region || stays_inside(certificate, &map);
    holds("a region that is mapped into itself", None, stays)
}

/// Follows what does not need the game: that the leaves are the whole region, and what follows from their bounds and the residual, which
/// are taken on trust, as is that a region is mapped into itself.
///
/// # Errors
/// As of [`check_map`].
pub(in super::super) fn check_map_claims(certificate: &MapCertificate) -> Result<(), CertificateError> {
    let dimensions = of_state(certificate);
    check_form(certificate, &dimensions)?;
    let holds = |which, leaf, holds| if holds { Ok(()) } else { Err(CertificateError::Inequality { which, leaf }) };
    if let Some(region) = &certificate.region {
        let leaves: Vec<&[Interval]> = certificate.leaves.iter().map(|leaf| leaf.region.as_slice()).collect();
        check_tiles(region, &certificate.tree, &leaves)?;
    }
    let bounded = |norm: f64| (0.0..=certificate.q).contains(&norm);
    certificate.leaves.iter().enumerate().try_for_each(|(place, leaf)| holds("the factor", Some(place), bounded(leaf.norm)))?;
    match (&certificate.fixed_point, certificate.invariant) {
        (None, Invariant::None) => Ok(()),
        (Some(point), invariant) if invariant != Invariant::None => check_fixed_point(certificate, point, &dimensions),
        _ => holds("a fixed point where iterates stay", None, false),
    }
}

fn check_form(certificate: &MapCertificate, dimensions: &[usize]) -> Result<(), CertificateError> {
    let expect = |what: &str, holds: bool| if holds { Ok(()) } else { Err(CertificateError::Format(what.into())) };
    let blocks = dimensions.len();
    expect("at least two players, each with a variable", certificate.dimensions.len() >= 2 && !dimensions.contains(&0))?;
    let size = dimensions.iter().try_fold(0usize, |sum, &size| sum.checked_add(size));
    let size = size.ok_or_else(|| CertificateError::Format("too many variables".into()))?;
    certificate.update.validate(certificate.dimensions.len()).map_err(|error| CertificateError::Format(error.to_string()))?;
    expect("a positive weight for each block", certificate.weights.len() == blocks && all(&certificate.weights, |w| w > 0.0))?;
    expect("a factor between 0 and 1", 0.0 < certificate.q && certificate.q < 1.0)?;
    expect("a leaf", !certificate.leaves.is_empty())?;
    match &certificate.region {
        Some(region) => {
            let sides = region.len() == size && region.iter().all(|side| side.is_bounded() && side.lo() < side.hi());
            expect("a region with a side for each variable of the state", sides)
        }
        None => {
            let one = certificate.leaves.len() == 1 && certificate.leaves[0].region.is_empty();
            expect("one leaf and no cuts for all states", one && certificate.tree.is_empty())
        }
    }
}

fn check_fixed_point(certificate: &MapCertificate, point: &FixedPoint, dimensions: &[usize]) -> Result<(), CertificateError> {
    let holds = |which, holds| if holds { Ok(()) } else { Err(CertificateError::Inequality { which, leaf: None }) };
    let q = certificate.q;
    let region = certificate.region.as_deref();
    holds("the centre", point.centre.len() == dimensions.iter().sum::<usize>() && all(&point.centre, |_| true))?;
    let inside = region.is_none_or(|region| region.iter().zip(&point.centre).all(|(side, &x)| side.contains(x)));
    holds("a centre in the region", inside)?;
    holds("the residual", point.residual.is_finite() && point.residual >= 0.0)?;
    let away = Interval::point(point.residual) / (Interval::point(1.0) - Interval::point(q));
    holds("the fixed point", point.radius.is_finite() && point.radius >= away.hi())?;
    match certificate.invariant {
        Invariant::None => holds("a set that iterates stay in", false),
        Invariant::Region => Ok(()),
        Invariant::Projected => holds("a projection", may_be_projected(&certificate.update) && region.is_some()),
        Invariant::Ball { radius } => {
            let most = region.map(|region| certificate.metric(dimensions).inscribed_radius(region, &point.centre));
            let fits = most.is_some_and(|most| radius > 0.0 && radius <= most);
            holds("a ball that is mapped into itself", fits && is_mapped_into_itself(q, point.residual, radius))
        }
    }
}

impl MapCertificate {
    /// The metric, of blocks of the state with these sizes.
    pub(super) fn metric<'a>(&'a self, dimensions: &'a [usize]) -> BlockMetric<'a> {
        BlockMetric::new(dimensions, &self.weights, &[])
    }
}

/// How many variables each block of the state has.
pub(super) fn of_state(certificate: &MapCertificate) -> Vec<usize> {
    certificate.dimensions.repeat(if certificate.update.has_memory() { 2 } else { 1 })
}

/// Whether an update that ends with a projection finds the equilibria of players who are confined.
pub(super) fn may_be_projected(update: &Update) -> bool {
    matches!(update, Update::Euler { .. } | Update::Preconditioned { .. })
}

/// `T(c) - c`, where the step ends with a projection onto the region if one is given.
pub(super) fn step_from(map: &Game, onto: Option<&[Interval]>, centre: &[f64]) -> Vec<Interval> {
    let points: Vec<Interval> = centre.iter().map(|&x| Interval::point(x)).collect();
    let mut next = map.field_box(&points);
    if let Some(region) = onto {
        let clamp = |x: Interval, side: Interval| Interval::new(x.lo().clamp(side.lo(), side.hi()), x.hi().clamp(side.lo(), side.hi()));
        next = next.iter().zip(region).map(|(&x, &side)| clamp(x, side).unwrap_or(side)).collect();
    }
    next.iter().zip(points).map(|(&next, x)| next - x).collect()
}

/// Whether the ball of a radius around a point that is moved by `residual` at most is mapped into itself: `residual ≤ (1 - q) R`.
pub(super) fn is_mapped_into_itself(q: f64, residual: f64, radius: f64) -> bool {
    radius > 0.0 && ((Interval::point(1.0) - Interval::point(q)) * Interval::point(radius)).lo() >= residual
}

/// Whether the map sends every leaf into the region.
pub(super) fn stays_inside(certificate: &MapCertificate, map: &Game) -> bool {
    let Some(region) = &certificate.region else { return true };
    certificate.leaves.iter().all(|leaf| {
        let inside = |(image, side): (&Interval, &Interval)| side.lo() <= image.lo() && image.hi() <= side.hi();
        image(map, &leaf.region).iter().zip(region).all(inside)
    })
}

/// Numbers around `T(x)` for every `x` in a box: by intervals, and by the mean value form.
fn image(map: &Game, region: &[Interval]) -> Vec<Interval> {
    let (direct, jacobian) = (map.field_box(region), map.jacobian_box(region));
    let middle: Vec<Interval> = region.iter().map(|side| Interval::point(side.midpoint())).collect();
    let mut image = map.field_box(&middle);
    for (i, image) in image.iter_mut().enumerate() {
        let row = &jacobian[i * region.len()..(i + 1) * region.len()];
        *image = row.iter().zip(region).zip(&middle).fold(*image, |sum, ((&slope, &side), &middle)| sum + slope * (side - middle));
    }
    image.iter().zip(direct).map(|(image, direct)| image.intersection(direct).unwrap_or(direct)).collect()
}
