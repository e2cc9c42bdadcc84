//! Metrics of players with several variables, and certificates that are proven from the whole Jacobian in one.

use nalgebra::{DMatrix, DVectorView};

use super::super::certificate::{Branch, Certificate, Whole};
use super::{CertificateError, expect, walk};
use crate::game::{Enclosure, Game};
use crate::rigorous::{Interval, cholesky, is_definite_around};
use crate::scalar::Real;

/// The metric `|v|² = Σ w_i v_iᵀ P_i v_i`, with intervals around what is computed.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct BlockMetric<'a> {
    dimensions: &'a [usize],
    weights: &'a [f64],
    /// The matrices `P_i`; empty where all are the identity.
    blocks: &'a [DMatrix<f64>],
}

impl<'a> BlockMetric<'a> {
    pub(in super::super) fn new(dimensions: &'a [usize], weights: &'a [f64], blocks: &'a [DMatrix<f64>]) -> Self {
        Self { dimensions, weights, blocks }
    }

    /// Whether there is a symmetric positive definite matrix for each player, and of confined ones a diagonal one: in others, the
    /// projection onto a box is not the Euclidean one.
    pub(in super::super) fn is_one(&self, constrained: bool) -> bool {
        let symmetric = |block: &DMatrix<f64>| *block == block.transpose();
        let diagonal = |block: &DMatrix<f64>| *block == DMatrix::from_diagonal(&block.diagonal());
        let finite = |block: &DMatrix<f64>| block.iter().all(|entry| entry.is_finite());
        let one = |(block, &size): (&DMatrix<f64>, &usize)| {
            block.shape() == (size, size)
                && finite(block)
                && symmetric(block)
                && (!constrained || diagonal(block))
                && cholesky(&block.map(Interval::point)).is_some()
        };
        self.blocks.len() == self.dimensions.len() && self.blocks.iter().zip(self.dimensions).all(one)
    }

    /// An upper bound of the length of a vector.
    pub(in super::super) fn norm(&self, vector: &[Interval]) -> f64 {
        let mut start = 0;
        let squares = self.dimensions.iter().zip(self.weights).enumerate().map(|(player, (&size, &weight))| {
            let own = &vector[start..start + size];
            start += size;
            let square = match self.blocks.get(player) {
                None => own.iter().fold(Interval::point(0.0), |sum, entry| sum + entry.square()),
                Some(block) => {
                    let image = |i: usize| own.iter().enumerate().fold(Interval::point(0.0), |sum, (j, &x)| sum + x * block[(i, j)]);
                    (0..size).fold(Interval::point(0.0), |sum, i| sum + own[i] * image(i))
                }
            };
            square * weight
        });
        let sum = squares.fold(Interval::point(0.0), |sum, square| sum + square);
        // A form that is never negative may be enclosed with numbers that are.
        sum.intersection(Interval::new(0.0, f64::INFINITY).unwrap_or(sum)).unwrap_or(sum).sqrt().hi()
    }

    /// The length of a vector, to rounding.
    pub(in super::super) fn length(&self, vector: &[f64]) -> f64 {
        let mut start = 0;
        let lengths = self.dimensions.iter().zip(self.weights).enumerate().map(|(player, (&size, &weight))| {
            let own = DVectorView::from_slice(&vector[start..start + size], size);
            start += size;
            let length = self.blocks.get(player).map_or_else(|| own.norm(), |block| (block * own).dot(&own).max(0.0).sqrt());
            weight.sqrt() * length
        });
        lengths.fold(0.0, f64::hypot)
    }

    /// The radius, rounded down, of the largest ball around a point that the box holds: the face of variable `k` at the distance `r` is as
    /// far away as `r / √((M⁻¹)_kk)`.
    pub(in super::super) fn inscribed_radius(&self, region: &[Interval], centre: &[f64]) -> f64 {
        let players = self.dimensions.iter().enumerate().flat_map(|(player, &size)| (0..size).map(move |own| (player, own)));
        let inverses: Vec<Vec<Interval>> = self.blocks.iter().map(inverse_diagonal).collect();
        let radius = |((side, &centre), (player, own)): ((&Interval, &f64), (usize, usize))| {
            let to_lower = (Interval::point(centre) - Interval::point(side.lo())).lo();
            let to_upper = (Interval::point(side.hi()) - Interval::point(centre)).lo();
            let straight = Interval::point(to_lower.min(to_upper)) * Interval::point(self.weights[player]).sqrt();
            inverses.get(player).map_or(straight, |inverse| straight / inverse[own].sqrt()).lo()
        };
        region.iter().zip(centre).zip(players).map(radius).fold(f64::INFINITY, f64::min)
    }

    /// `M J`.
    fn times(&self, jacobian: &[Interval]) -> DMatrix<Interval> {
        let size: usize = self.dimensions.iter().sum();
        let mut product = DMatrix::from_element(size, size, Interval::point(0.0));
        let mut start = 0;
        for ((block, &weight), &own) in self.blocks.iter().zip(self.weights).zip(self.dimensions) {
            for i in 0..own {
                // An entry of a diagonal matrix that is 0 adds nothing.
                let terms: Vec<(usize, Interval)> =
                    (0..own).filter(|&k| block[(i, k)] != 0.0).map(|k| (start + k, Interval::point(block[(i, k)]) * weight)).collect();
                for j in 0..size {
                    let entry = terms.iter().fold(Interval::point(0.0), |sum, &(k, weight)| sum + weight * jacobian[k * size + j]);
                    product[(start + i, j)] = entry;
                }
            }
            start += own;
        }
        product
    }

    /// `M`.
    fn matrix(&self) -> DMatrix<Interval> {
        let size: usize = self.dimensions.iter().sum();
        let mut matrix = DMatrix::from_element(size, size, Interval::point(0.0));
        let mut start = 0;
        for (player, (&weight, &own)) in self.weights.iter().zip(self.dimensions).enumerate() {
            let entry = |i: usize, j: usize| self.blocks.get(player).map_or(f64::from(i == j), |block| block[(i, j)]);
            (0..own * own)
                .for_each(|at| matrix[(start + at / own, start + at % own)] = Interval::point(entry(at / own, at % own)) * weight);
            start += own;
        }
        matrix
    }

    /// `M`, to rounding.
    pub(in super::super) fn about(&self) -> DMatrix<f64> {
        self.matrix().map(Interval::midpoint)
    }

    /// Whether `M J + Jᵀ M ≥ 2 α M` for each matrix of an enclosure.
    pub(in super::super) fn has_margin(&self, jacobian: &[Interval], alpha: f64) -> bool {
        let (product, metric) = (self.times(jacobian), self.matrix());
        let entry = |i: usize, j: usize| (product[(i, j)] + product[(j, i)]) * 0.5 - metric[(i, j)] * alpha;
        jacobian.iter().all(|entry| entry.is_bounded()) && is_definite(&DMatrix::from_fn(product.nrows(), product.nrows(), entry))
    }

    /// Whether `Jᵀ M J ≤ β² M` for each matrix of an enclosure: that is so if `[[β M, M J], [Jᵀ M, β M]]` is positive definite (Schur).
    pub(in super::super) fn has_lipschitz(&self, jacobian: &[Interval], beta: f64) -> bool {
        let (product, metric) = (self.times(jacobian), self.matrix());
        let size = product.nrows();
        let entry = |i: usize, j: usize| match (i < size, j < size) {
            (true, true) => metric[(i, j)] * beta,
            (false, false) => metric[(i - size, j - size)] * beta,
            (true, false) => product[(i, j - size)],
            (false, true) => product[(j, i - size)],
        };
        jacobian.iter().all(|entry| entry.is_bounded()) && is_definite(&DMatrix::from_fn(2 * size, 2 * size, entry))
    }
}

/// `√(w_i / w_j)` for each entry of a Jacobian, row by row.
pub(in super::super) fn ratios(field: &Game, weights: &[f64]) -> Vec<Interval> {
    let of = field.players().into_iter().zip(weights).flat_map(|(variables, &w)| variables.map(move |_| w)).collect::<Vec<f64>>();
    let ratio = |i: f64, j: f64| if i == j { Interval::point(1.0) } else { (Interval::point(i) / Interval::point(j)).sqrt() };
    of.iter().flat_map(|&i| of.iter().map(move |&j| ratio(i, j))).collect()
}

/// Whether all of these symmetric matrices are positive definite, whatever the units of the variables: rows and columns are multiplied
/// by powers of two first, so that diagonals are about 1, which changes no sign.
fn is_definite(matrix: &DMatrix<Interval>) -> bool {
    let power = |diagonal: f64| if diagonal > 0.0 && diagonal.is_finite() { (-0.5 * diagonal.log2()).round().exp2() } else { 1.0 };
    let powers: Vec<f64> = matrix.diagonal().iter().map(|entry| power(entry.midpoint())).collect();
    is_definite_around(&matrix.map_with_location(|i, j, entry| entry * powers[i] * powers[j]))
}

/// Numbers around the diagonal of the inverse of a positive definite matrix `L Lᵀ`: of `L⁻¹ e_k` the squares.
fn inverse_diagonal(matrix: &DMatrix<f64>) -> Vec<Interval> {
    let size = matrix.nrows();
    let Some(factor) = cholesky(&matrix.map(Interval::point)) else { return vec![Interval::ENTIRE; size] };
    let column = |k: usize| {
        let mut solution = vec![Interval::point(0.0); size];
        for i in k..size {
            let right = Interval::point(if i == k { 1.0 } else { 0.0 });
            solution[i] = (k..i).fold(right, |rest, j| rest - factor[(i, j)] * solution[j]) / factor[(i, i)];
        }
        solution.iter().fold(Interval::point(0.0), |sum, entry| sum + entry.square())
    };
    (0..size).map(column).collect()
}

/// The form of a certificate that is proven from the whole Jacobian: it has no leaves with bounds of blocks.
pub(super) fn check_form(certificate: &Certificate, whole: &Whole) -> Result<(), CertificateError> {
    let form = |what: &str, holds: bool| if holds { Ok(()) } else { Err(CertificateError::Format(what.into())) };
    form("a positive definite matrix for each player, diagonal of confined ones", certificate.metric().is_one(certificate.constrained))?;
    form("no bounds of blocks", certificate.leaves.is_empty() && certificate.tree.is_empty() && certificate.covers.is_empty())?;
    let cuts = certificate.region.is_some() || (whole.margin.is_empty() && whole.lipschitz.is_empty());
    form("no cuts for all points", cuts)
}

/// Both rates, from enclosures of the game's Jacobian.
pub(super) fn check_game(certificate: &Certificate, whole: &Whole, game: &Game) -> Result<(), CertificateError> {
    let (metric, mut enclosure) = (certificate.metric(), Enclosure::default());
    let mut check = |which: &'static str, tree: &[Branch], holds: &dyn Fn(&[Interval]) -> bool| {
        let Some(region) = &certificate.region else {
            enclosure.enclose_directly(game, &vec![Interval::point(0.0); game.size()]);
            return expect(which, None, holds(&enclosure.jacobian));
        };
        let count = walk(region, tree, |place, part| {
            enclosure.enclose_directly(game, part);
            let mut found = holds(&enclosure.jacobian);
            if !found {
                enclosure.enclose(game, part);
                found = holds(&enclosure.jacobian);
            }
            expect(which, Some(place), found)
        });
        count.map(drop)
    };
    check("the margin", &whole.margin, &|jacobian| metric.has_margin(jacobian, certificate.alpha))?;
    check("the Lipschitz constant", &whole.lipschitz, &|jacobian| metric.has_lipschitz(jacobian, certificate.beta))
}
