//! The blocks of a game's Jacobian, and what is asked of them.

use std::ops::Range;

use nalgebra::{DMatrix, DVector, SymmetricEigen};

use super::{BlockBounds, SmallGainError};
use crate::game::Game;
use crate::rigorous::{Interval, greatest_norm, least_eigenvalue};
use crate::scalar::Real;

/// What is bounded, from above.
#[derive(Debug, Clone, Copy)]
pub(super) enum Quantity {
    /// The least eigenvalue of the symmetric part of a player's own block, negated.
    Curvature(usize),
    /// The norm of the block of two players, which may be the same.
    Norm(usize, usize),
}

/// The blocks of a game's Jacobian.
pub(super) struct Blocks {
    players: Vec<Range<usize>>,
    size: usize,
    /// The curvatures, and then the norms row by row.
    pub(super) quantities: Vec<Quantity>,
}

impl Blocks {
    pub(super) fn new(game: &Game) -> Self {
        let players = game.players();
        let count = players.len();
        let norms = (0..count).flat_map(|i| (0..count).map(move |j| Quantity::Norm(i, j)));
        Self { size: game.size(), quantities: (0..count).map(Quantity::Curvature).chain(norms).collect(), players }
    }

    /// Number of players.
    pub(super) fn players(&self) -> usize {
        self.players.len()
    }

    /// The rows and columns of a quantity's block.
    fn block(&self, quantity: Quantity) -> [Range<usize>; 2] {
        let [i, j] = match quantity {
            Quantity::Curvature(i) => [i, i],
            Quantity::Norm(i, j) => [i, j],
        };
        [self.players[i].clone(), self.players[j].clone()]
    }

    /// A block of a Jacobian; of a curvature, its symmetric part.
    pub(super) fn part(&self, quantity: Quantity, jacobian: &[Interval]) -> DMatrix<Interval> {
        let [rows, columns] = self.block(quantity);
        let entry = |i: usize, j: usize| jacobian[(rows.start + i) * self.size + columns.start + j];
        DMatrix::from_fn(rows.len(), columns.len(), |i, j| match quantity {
            // The sum of an entry with itself halved is the entry.
            Quantity::Curvature(_) if i != j => (entry(i, j) + entry(j, i)) * 0.5,
            _ => entry(i, j),
        })
    }

    /// An upper bound of a quantity of every matrix in the enclosure.
    pub(super) fn bound(&self, quantity: Quantity, jacobian: &[Interval]) -> f64 {
        let [rows, columns] = self.block(quantity);
        if rows.len() == 1 && columns.len() == 1 {
            let entry = jacobian[rows.start * self.size + columns.start];
            return match quantity {
                Quantity::Curvature(_) => -entry.lo(),
                Quantity::Norm(..) => entry.magnitude(),
            };
        }
        let part = self.part(quantity, jacobian);
        match quantity {
            Quantity::Curvature(_) => -least_eigenvalue(&part),
            Quantity::Norm(..) => greatest_norm(&part),
        }
    }

    /// A lower bound of a quantity of every matrix in the enclosure, which is that of a point: with a vector that is about the one at
    /// which the quantity is reached.
    pub(super) fn reached(&self, quantity: Quantity, jacobian: &[Interval]) -> f64 {
        let part = self.part(quantity, jacobian);
        match quantity {
            Quantity::Curvature(_) => -curvature_reached(&part),
            Quantity::Norm(..) => norm_reached(&part),
        }
    }

    /// How much a quantity's block changes along a variable at most, of the entries' changes `[entry, axis]`.
    pub(super) fn change(&self, quantity: Quantity, changes: &[f64], axis: usize) -> f64 {
        if changes.is_empty() {
            return 0.0;
        }
        let [rows, columns] = self.block(quantity);
        let entries = rows.flat_map(|i| columns.clone().map(move |j| i * self.size + j));
        entries.map(|entry| changes[entry * self.size + axis]).fold(0.0, f64::max)
    }

    /// Bounds of the quantities, from above, as bounds of blocks.
    pub(super) fn bounds(&self, upper: &[f64]) -> Result<BlockBounds, SmallGainError> {
        let count = self.players.len();
        let curvature: Vec<f64> = upper[..count].iter().map(|bound| -bound).collect();
        let norm = |i: usize, j: usize| upper[count + i * count + j];
        let coupling = DMatrix::from_fn(count, count, |i, j| if i == j { 0.0 } else { norm(i, j) });
        // No norm is less than an eigenvalue of the symmetric part.
        let own = (0..count).map(|i| norm(i, i).max(curvature[i].abs())).collect();
        BlockBounds::new(curvature, coupling, own)
    }
}

/// An upper bound of the least eigenvalue of a symmetric matrix: the Rayleigh quotient of about its vector.
pub(super) fn curvature_reached(matrix: &DMatrix<Interval>) -> f64 {
    let eigen = SymmetricEigen::new(matrix.map(Interval::midpoint));
    let v = eigen.eigenvectors.column(eigen.eigenvalues.imin()).map(Interval::point);
    (form(matrix, &v, &v) / squares(&v)).hi()
}

/// A lower bound of the norm of a matrix: the size of its form at about its singular vectors.
pub(super) fn norm_reached(matrix: &DMatrix<Interval>) -> f64 {
    let svd = matrix.map(Interval::midpoint).svd(true, true);
    let (Some(u), Some(v)) = (svd.u, svd.v_t) else { return 0.0 };
    let [u, v] = [u.column(0).into_owned(), v.row(0).transpose()].map(|v| v.map(Interval::point));
    (form(matrix, &u, &v) / (squares(&v) * squares(&u)).sqrt()).lo().max(0.0)
}

/// `uᵀ A v`.
fn form(matrix: &DMatrix<Interval>, u: &DVector<Interval>, v: &DVector<Interval>) -> Interval {
    let zero = || Interval::point(0.0);
    let image = |i: usize| (0..v.len()).fold(zero(), |sum, j| sum + matrix[(i, j)] * v[j]);
    (0..u.len()).fold(zero(), |sum, i| sum + image(i) * u[i])
}

fn squares(v: &DVector<Interval>) -> Interval {
    v.iter().fold(Interval::point(0.0), |sum, x| sum + x.square())
}
