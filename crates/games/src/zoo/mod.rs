//! Games to try things on: each with a region, and what is known of its equilibrium.
//!
//! All are games of players who minimise losses `f_i(x)`, or of the field `F` that they follow, in closed form. [`all`] has one of each,
//! with parameters at which there is something to see.
//!
//! ```
//! use gradus_games::zoo;
//!
//! for example in zoo::all()? {
//!     let middle: Vec<f64> = example.region.iter().map(|side| side.midpoint()).collect();
//!     assert!(example.game.is_finite_at(&middle), "{}", example.name);
//! }
//! # Ok::<(), zoo::ZooError>(())
//! ```

mod learning;
mod markets;
mod markov;
mod nonlinear;
mod quadratic;
#[cfg(test)]
mod tests;

use nalgebra::DMatrix;

use crate::game::{Game, GameError};
use crate::markov::MarkovError;
use crate::rigorous::Interval;

pub use learning::{Rows, dirac_gan, federated_personalised, robust_regression};
pub use markets::{Demand, Firm, Link, cournot, firms_from_csv, kelly_auction, smooth_traffic};
pub use markov::{Interests, cooperative_markov_2x2, cooperative_tables, random_markov, zero_sum_markov, zero_sum_tables};
pub use nonlinear::{needle, ring, waves};
pub use quadratic::{bilinear_regularised, linear_quadratic, random_linear_quadratic, rotation, scalar_quadratic};

/// A game, and where to look at it.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// A name in small letters.
    pub name: &'static str,
    /// The game.
    pub game: Game,
    /// A box to look at; its equilibrium, if it is known, is inside.
    pub region: Vec<Interval>,
    /// The equilibrium, where it is known in closed form or by solving a linear system.
    pub equilibrium: Option<Vec<f64>>,
    /// What there is to see.
    pub note: &'static str,
}

/// Parameters that no game can be made of.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ZooError {
    /// Sizes that do not fit.
    #[error("{what}: expected {expected}, got {got}")]
    Dimension {
        /// What has the size.
        what: &'static str,
        /// The size it must have.
        expected: usize,
        /// The size it has.
        got: usize,
    },
    /// A parameter that is out of its range.
    #[error("{name} is {value}, but must be {expected}")]
    InvalidParameter {
        /// The parameter.
        name: &'static str,
        /// Its value.
        value: f64,
        /// The range it must lie in.
        expected: &'static str,
    },
    /// A table that does not read.
    #[error("line {line}, column `{column}`: {message}")]
    Table {
        /// The line, from 1.
        line: usize,
        /// The column, by its name; `header` in the first line.
        column: String,
        /// What is wrong.
        message: String,
    },
    /// A game that is none.
    #[error(transparent)]
    Game(#[from] GameError),
    /// A Markov game that is none.
    #[error(transparent)]
    Markov(#[from] MarkovError),
}

/// One of each game, from the simplest on.
///
/// # Errors
/// None is expected: the parameters are valid.
pub fn all() -> Result<Vec<Example>, ZooError> {
    let matrix = DMatrix::from_row_slice(2, 2, &[0.6, -0.3, 0.2, 0.5]);
    let own = [
        DMatrix::from_row_slice(2, 2, &[2.0, 0.5, 0.5, 1.0]),
        DMatrix::from_element(1, 1, 1.5),
        DMatrix::from_row_slice(2, 2, &[3.0, 0.0, 0.0, 1.0]),
    ];
    let couplings = [
        (0, 1, DMatrix::from_column_slice(2, 1, &[1.0, -0.5])),
        (1, 0, DMatrix::from_row_slice(1, 2, &[-0.2, 0.1])),
        (1, 2, DMatrix::from_row_slice(1, 2, &[0.5, 0.5])),
        (2, 0, DMatrix::from_row_slice(2, 2, &[0.1, 0.0, 0.3, -0.2])),
    ];
    let firm = |name: &str, linear_cost, quadratic_cost| Firm { name: name.into(), linear_cost, quadratic_cost, capacity: 4.0 };
    let firms = [firm("north", 1.0, 0.8), firm("south", 1.5, 1.0), firm("east", 2.0, 0.6)];
    let links = [Link { free_flow: 1.0, capacity: 1.5 }, Link { free_flow: 1.4, capacity: 2.0 }];
    let rows = Rows { features: &[1.0, 0.2, 0.5, -1.0, -0.7, 0.4, 0.1, 0.9], targets: &[1.0, -0.5, 0.2, 0.7] };
    let signs: [&[f64]; 3] = [&[1.0, -1.0, 1.0], &[1.0, 1.0, -1.0], &[-1.0, 1.0, -1.0]];
    let points: [&[f64]; 3] = [&[1.0, 0.3, -0.8, 0.5, 0.2, 1.0], &[0.4, -1.0, 1.2, 0.1, -0.3, 0.6], &[-0.9, 0.2, 0.3, 0.8, 0.7, -0.5]];
    let clients: Vec<Rows<'_>> = points.into_iter().zip(signs).map(|(features, targets)| Rows { features, targets }).collect();
    Ok(vec![
        scalar_quadratic(1.0, 1.0, 10.0, 0.05)?,
        rotation(5.0)?,
        linear_quadratic(&own, &couplings, &[1.0, -1.0, 0.5, 0.0, 0.3])?,
        bilinear_regularised(&matrix, 0.8, 0.8)?,
        waves()?,
        needle()?,
        ring(3, 1, 2.0, 1.0)?,
        Example { name: "ring of planes", ..ring(3, 2, 2.0, 1.0)? },
        cournot(&firms, Demand::Linear { intercept: 10.0, slope: 0.5 })?,
        Example { name: "cournot exponential", ..cournot(&firms, Demand::Exponential { intercept: 10.0, decay: 0.2 })? },
        kelly_auction(&[3.0, 3.0, 3.0], 0.5)?,
        smooth_traffic(&[1.0, 1.5], &links, 0.1)?,
        dirac_gan(0.5, 0.2)?,
        robust_regression(rows, 0.3, 2.0)?,
        federated_personalised(&clients, 0.2, 0.5)?,
        cooperative_markov_2x2()?,
        zero_sum_markov()?,
    ])
}

/// The box of the same side for each variable.
fn cube(size: usize, low: f64, high: f64) -> Result<Vec<Interval>, ZooError> {
    Ok(vec![side(low, high)?; size])
}

fn side(low: f64, high: f64) -> Result<Interval, ZooError> {
    Interval::new(low, high).ok_or(ZooError::InvalidParameter {
        name: "an end of the region",
        value: high,
        expected: "above the lower end",
    })
}

/// The box of a radius around a point.
fn around(x: &[f64], radius: f64) -> Result<Vec<Interval>, ZooError> {
    x.iter().map(|x| side(x - radius, x + radius)).collect()
}

fn check(what: &'static str, expected: usize, got: usize) -> Result<(), ZooError> {
    if expected == got { Ok(()) } else { Err(ZooError::Dimension { what, expected, got }) }
}

fn at_least(what: &'static str, expected: usize, got: usize) -> Result<(), ZooError> {
    if got >= expected { Ok(()) } else { Err(ZooError::Dimension { what, expected, got }) }
}

fn finite(name: &'static str, value: f64) -> Result<(), ZooError> {
    if value.is_finite() { Ok(()) } else { Err(ZooError::InvalidParameter { name, value, expected: "finite" }) }
}

fn positive(name: &'static str, value: f64) -> Result<(), ZooError> {
    if value > 0.0 && value.is_finite() { Ok(()) } else { Err(ZooError::InvalidParameter { name, value, expected: "positive and finite" }) }
}

fn not_negative(name: &'static str, value: f64) -> Result<(), ZooError> {
    if value >= 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(ZooError::InvalidParameter { name, value, expected: "finite and at least 0" })
    }
}
