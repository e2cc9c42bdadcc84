//! The choice of the models' importance λ by a validation score.

use rand_distr::{Distribution, Gamma};

use crate::MergeError;

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

impl CoefficientSearch {
    /// The coefficients for so many models, in the order in which they are tried.
    ///
    /// # Errors
    /// [`MergeError::GridModels`] for a grid of other than two models, [`MergeError::Option`] for too few points or a bad
    /// concentration, and the errors of coefficients for given ones.
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
                let gamma = Gamma::new(*alpha, 1.0).ok().filter(|_| alpha.is_finite()).ok_or_else(bad)?;
                let mut rng = gradus_base::stream(*seed, "merging-dirichlet", 0);
                Ok((0..*n).map(|_| dirichlet(gamma, models, &mut rng)).collect())
            }
            Self::Given(points) => {
                for point in points {
                    crate::arrays::check_lambdas(point, models)?;
                }
                Ok(points.clone())
            }
        }
    }
}

fn at_least(name: &'static str, n: usize, least: usize, expected: &'static str) -> Result<(), MergeError> {
    if n < least { Err(MergeError::Option { name, value: n as f64, expected }) } else { Ok(()) }
}

/// Gamma draws divided by their sum; a small concentration can draw zeros alone, which are drawn again.
fn dirichlet(gamma: Gamma<f64>, models: usize, rng: &mut impl rand::Rng) -> Vec<f64> {
    loop {
        let draws: Vec<f64> = (0..models).map(|_| gamma.sample(rng)).collect();
        let sum: f64 = draws.iter().sum();
        if sum > 0.0 || models == 0 {
            return draws.into_iter().map(|draw| draw / sum).collect();
        }
    }
}

/// Every point of a search with its score.
#[derive(Clone, Debug, PartialEq)]
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
/// score that is not a number, and what `score` returns.
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
        let value = score(&lambdas)?;
        if value.is_nan() {
            return Err(MergeError::Score { point }.into());
        }
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
