//! The choice of the models' importance λ by a validation score.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, Gamma};
use serde::Serialize;

use crate::MergeError;
use crate::arrays::check_lambdas;

/// Which coefficients are tried.
#[derive(Clone, Debug, PartialEq)]
pub enum CoefficientSearch {
    /// Two models: `n` evenly spaced points from (1, 0) down to (0, 1). The paper's code takes 51.
    PairGrid {
        /// The number of points, at least 2.
        n: usize,
    },
    /// `n` draws from the symmetric Dirichlet distribution.
    Dirichlet {
        /// The number of draws, at least 1.
        n: usize,
        /// The concentration, positive; 1 is uniform.
        alpha: f64,
        /// The seed of the draws.
        seed: u64,
    },
    /// These.
    Given(Vec<Vec<f64>>),
}

impl Default for CoefficientSearch {
    /// The grid of the authors' code.
    fn default() -> Self {
        Self::PairGrid { n: 51 }
    }
}

impl CoefficientSearch {
    /// The coefficients for so many models, in the order in which they are tried.
    ///
    /// # Errors
    /// [`MergeError::GridModels`] for a grid of other than two models, [`MergeError::Option`] for too few points or a bad
    /// concentration, [`MergeError::Point`] for a given point whose coefficients are bad.
    pub fn points(&self, models: usize) -> Result<Vec<Vec<f64>>, MergeError> {
        match self {
            Self::PairGrid { n } => {
                if models != 2 {
                    return Err(MergeError::GridModels { models });
                }
                at_least("n", *n, 2, "at least 2")?;
                let last = (n - 1) as f64;
                Ok((0..*n).map(|k| vec![(n - 1 - k) as f64 / last, k as f64 / last]).collect())
            }
            Self::Dirichlet { n, alpha, seed } => {
                at_least("n", *n, 1, "at least 1")?;
                let bad = || MergeError::Option { name: "alpha", value: *alpha, expected: "finite and positive" };
                let dirichlet = Dirichlet::new(*alpha).ok_or_else(bad)?;
                let mut rng = gradus_base::stream(*seed, "merging-dirichlet", 0);
                Ok((0..*n).map(|_| dirichlet.draw(models, &mut rng)).collect())
            }
            Self::Given(points) => {
                for (point, lambdas) in points.iter().enumerate() {
                    check_lambdas(lambdas, models).map_err(|error| MergeError::Point { point, source: error.into() })?;
                }
                Ok(points.clone())
            }
        }
    }
}

fn at_least(name: &'static str, n: usize, least: usize, expected: &'static str) -> Result<(), MergeError> {
    if n < least { Err(MergeError::Option { name, value: n as f64, expected }) } else { Ok(()) }
}

/// The symmetric Dirichlet distribution: draws of a Gamma distribution divided by their sum. Those of a small
/// concentration lie beyond the range of numbers, and are drawn as logarithms.
struct Dirichlet {
    alpha: f64,
    /// With the concentration, or one more, as its shape; its mean is 1, so that no draw is too large either.
    gamma: Gamma<f64>,
}

impl Dirichlet {
    fn new(alpha: f64) -> Option<Self> {
        let shape = if alpha < 1.0 { alpha + 1.0 } else { alpha };
        let gamma = Gamma::new(shape, 1.0 / shape).ok().filter(|_| alpha.is_finite() && alpha > 0.0)?;
        Some(Self { alpha, gamma })
    }

    fn draw(&self, count: usize, rng: &mut impl Rng) -> Vec<f64> {
        // Gamma(α) is Gamma(α + 1) U^(1/α) (Marsaglia, Tsang 2000, section 6). The logarithms are taken times α, which is
        // where they are finite for every α.
        let scale = if self.alpha < 1.0 { self.alpha } else { 1.0 };
        let mut logarithm = || {
            let own = scale * self.gamma.sample(rng).ln();
            if self.alpha < 1.0 { own + (1.0 - rng.random::<f64>()).ln() } else { own }
        };
        let logarithms: Vec<f64> = (0..count).map(|_| logarithm()).collect();
        let largest = logarithms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let draws: Vec<f64> = logarithms.iter().map(|own| ((own - largest) / scale).exp()).collect();
        let sum: f64 = draws.iter().sum();
        draws.into_iter().map(|draw| draw / sum).collect()
    }
}

/// Every point of a search with its score.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SearchTable {
    /// The coefficients and their score, in the order in which they were tried.
    pub points: Vec<(Vec<f64>, f64)>,
    /// The point with the highest score: the first of equals.
    pub best: usize,
}

/// Scores every point of a search: `score` merges with the coefficients and measures.
///
/// # Errors
/// Those of [`CoefficientSearch::points`]; [`MergeError::Option`] for a search without points, [`MergeError::Score`] for a
/// score that is not a number, and what `score` returns: an error of its own ends the search.
///
/// ```
/// use gradus_merging::{MergeError, search::{CoefficientSearch, search}};
///
/// let table = search(&CoefficientSearch::PairGrid { n: 5 }, 2, |l| Ok::<_, MergeError>(-(l[0] - 0.7).abs()))?;
/// assert_eq!(table.points[table.best].0, [0.75, 0.25]);
/// # Ok::<(), MergeError>(())
/// ```
pub fn search<E: From<MergeError>>(
    coefficients: &CoefficientSearch,
    models: usize,
    mut score: impl FnMut(&[f64]) -> Result<f64, E>,
) -> Result<SearchTable, E> {
    let mut points: Vec<(Vec<f64>, f64)> = Vec::new();
    let mut best = 0;
    for (point, lambdas) in coefficients.points(models)?.into_iter().enumerate() {
        let value = checked(point, score(&lambdas)?)?;
        points.push((lambdas, value));
        if value > points[best].1 {
            best = point;
        }
    }
    if points.is_empty() {
        return Err(MergeError::Option { name: "the number of points", value: 0.0, expected: "at least 1" }.into());
    }
    Ok(SearchTable { points, best })
}

/// A score that can be compared.
pub(crate) fn checked(point: usize, score: f64) -> Result<f64, MergeError> {
    if score.is_nan() { Err(MergeError::Score { point }) } else { Ok(score) }
}
