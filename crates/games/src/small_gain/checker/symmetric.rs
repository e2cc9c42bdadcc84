//! Steps of gradient play where the metric makes the Jacobian symmetric, or nearly.

use super::super::certificate::Certificate;
use super::whole::ratios;
use crate::game::{Enclosure, Game};
use crate::rigorous::{Interval, greatest_norm};
use nalgebra::DMatrix;

/// By what a step multiplies distances at most, rounded up. With `B = S + K`, the symmetric and the skew part of `M^{1/2} J M^{-1/2}`, the
/// eigenvalues of `S` lie between `α` and `‖B‖ ≤ β`, and `‖I - hB‖ ≤ max(1 - hα, hβ - 1) + h ‖K‖`.
pub(in super::super) fn factor(certificate: &Certificate, game: &Game, h: f64) -> f64 {
    let [alpha, beta, h] = [certificate.alpha, certificate.beta, h].map(Interval::point);
    let one = Interval::point(1.0);
    let symmetric = (one - h * alpha).hi().max((h * beta - one).hi());
    (Interval::point(symmetric) + h * skew(certificate, game)).hi()
}

/// A bound of `‖K‖` on the region.
fn skew(certificate: &Certificate, game: &Game) -> f64 {
    let (size, ratios) = (game.size(), ratios(game, &certificate.weights));
    let everywhere = vec![Interval::point(0.0); size];
    let mut enclosure = Enclosure::default();
    let of_leaf = |region: &[Interval]| {
        enclosure.enclose(game, region);
        let entry = |i: usize, j: usize| {
            let (this, other) = (i * size + j, j * size + i);
            // Of one and the same formula with equal weights the difference is 0, however wide its values are.
            if game.have_one_formula(this, other) && ratios[this] == Interval::point(1.0) {
                return Interval::point(0.0);
            }
            (enclosure.jacobian[this] * ratios[this] - enclosure.jacobian[other] * ratios[other]) * 0.5
        };
        greatest_norm(&DMatrix::from_fn(size, size, entry))
    };
    let regions = certificate.leaves.iter().map(|leaf| if certificate.region.is_some() { &leaf.region } else { &everywhere });
    regions.map(|region| region.as_slice()).map(of_leaf).fold(0.0, f64::max)
}
