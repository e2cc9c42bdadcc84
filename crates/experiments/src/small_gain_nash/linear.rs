//! Games with quadratic losses: margins and thresholds as numbers of matrices, which are the same everywhere.
//!
//! Nothing here knows closed forms: what is measured can be compared with them.

use gradus_base::{StreamRng, stream};
use gradus_games::dynamics::{Record, decay_rate, flow};
use gradus_games::game::Game;
use gradus_games::small_gain::{BlockBounds, Certifier, Mode, Rates, Region, SmallGainError, Structure, Verdict, optimal_weights};
use gradus_games::zoo;
use nalgebra::linalg::balancing::balance_parlett_reinsch;
use nalgebra::{Complex, DMatrix, DVector, Schur, SymmetricEigen};
use rand::RngExt;
use rand_distr::StandardNormal;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::stability::{euler_radius, euler_threshold, matrix_rk4_threshold, rk4_threshold};
use crate::{Context, ExperimentError};

/// What the second player's weight is to the first's: the ratio of the couplings of the toy.
pub(super) const RATIO: f64 = 200.0;
/// Shares of the certified step at which stability is looked at.
const SHARES: [f64; 4] = [0.25, 0.5, 0.75, 0.99];
/// Coupling strengths at which the table also has steps of the whole map.
pub(super) const TABLE: [f64; 5] = [0.0, 0.25, 0.5, 1.0, 1.375];
/// Coupling strengths of the ensemble.
pub(super) const ENSEMBLE: [f64; 7] = [0.0, 2.5 / 6.0, 5.0 / 6.0, 1.25, 10.0 / 6.0, 12.5 / 6.0, 2.5];
/// Shares of noise in the couplings.
pub(super) const NOISE: [f64; 5] = [0.0, 0.2, 0.5, 0.8, 1.0];

/// The coupling strengths of the sweep.
pub(super) fn strengths() -> Vec<f64> {
    (0..61).map(|i| 2.5 * f64::from(i) / 60.0).collect()
}

/// Standard normal numbers.
pub(super) fn normals(mut rng: StreamRng) -> impl FnMut() -> f64 {
    move || rng.sample(StandardNormal)
}

fn square(size: usize, normal: &mut impl FnMut() -> f64) -> DMatrix<f64> {
    DMatrix::from_fn(size, size, |_, _| normal())
}

/// A random matrix divided by its spectral norm.
fn unit(size: usize, normal: &mut impl FnMut() -> f64) -> DMatrix<f64> {
    let matrix = square(size, normal);
    let norm = matrix.singular_values().max();
    matrix / norm
}

/// The Jacobian of two players with own matrices of ones on the diagonal.
fn coupled(first: &DMatrix<f64>, second: &DMatrix<f64>) -> DMatrix<f64> {
    let half = first.nrows();
    let mut jacobian = DMatrix::identity(2 * half, 2 * half);
    jacobian.view_mut((0, half), (half, half)).copy_from(first);
    jacobian.view_mut((half, 0), (half, half)).copy_from(second);
    jacobian
}

/// `M^(1/2) J M^(-1/2)` of two players with as many variables each.
pub(super) fn scaled(jacobian: &DMatrix<f64>, weights: [f64; 2]) -> DMatrix<f64> {
    let half = jacobian.nrows() / 2;
    let root = |i: usize| weights[usize::from(i >= half)].sqrt();
    DMatrix::from_fn(2 * half, 2 * half, |i, j| root(i) / root(j) * jacobian[(i, j)])
}

/// The least eigenvalue of the symmetric part.
pub(super) fn margin(matrix: &DMatrix<f64>) -> f64 {
    SymmetricEigen::new(0.5 * (matrix + matrix.transpose())).eigenvalues.min()
}

/// The eigenvalues of a matrix, by the QR algorithm on the balanced matrix.
///
/// Double shifts stall where they are the only two eigenvalues, as the polynomial of the shifts is zero there: what is left of couplings
/// is rounding, which a coarser tolerance sees.
pub(super) fn eigenvalues(matrix: &DMatrix<f64>) -> Result<Vec<Complex<f64>>, ExperimentError> {
    let mut balanced = matrix.clone();
    balance_parlett_reinsch(&mut balanced);
    let tolerances = [f64::EPSILON, 1e-15, 1e-14, 1e-13];
    let schur = tolerances.into_iter().find_map(|tolerance| Schur::try_new(balanced.clone(), tolerance, 30 * matrix.nrows()));
    let schur = schur.ok_or_else(|| ExperimentError::Method("the eigenvalues of a matrix were not found".into()))?;
    Ok(schur.complex_eigenvalues().iter().copied().collect())
}

/// Bounds of the blocks of players with these numbers of variables, which the blocks reach.
pub(super) fn bounds(jacobian: &DMatrix<f64>, dimensions: &[usize]) -> Result<BlockBounds, SmallGainError> {
    let start = |player: usize| dimensions[..player].iter().sum::<usize>();
    let block = |i: usize, j: usize| jacobian.view((start(i), start(j)), (dimensions[i], dimensions[j])).into_owned();
    let norm = |i: usize, j: usize| block(i, j).singular_values().max();
    let count = dimensions.len();
    let curvature: Vec<f64> = (0..count).map(|i| margin(&block(i, i))).collect();
    // Of a multiple of the identity both are the same number, to rounding.
    let own = (0..count).map(|i| norm(i, i).max(curvature[i].abs())).collect();
    let coupling = DMatrix::from_fn(count, count, |i, j| if i == j { 0.0 } else { norm(i, j) });
    BlockBounds::new(curvature, coupling, own)
}

/// One coupling strength of the sweep.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Point {
    pub(super) lambda: f64,
    /// The margin of the bounds at the best weights.
    pub(super) margin: f64,
    /// That of the Jacobian in the metric of the toy's couplings.
    pub(super) truth: f64,
    pub(super) euclidean: f64,
    /// The Lipschitz constant at the best weights.
    pub(super) lipschitz: f64,
    pub(super) steps: Option<Steps>,
    pub(super) euler_threshold: f64,
    pub(super) rk4_threshold: f64,
    /// The greatest spectral radius at shares of the certified step.
    pub(super) largest_radius: Option<f64>,
}

/// What is certified of steps.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Steps {
    pub(super) euler: f64,
    pub(super) incremental: f64,
    pub(super) guideline: f64,
    /// At the strengths of the table only.
    pub(super) map: Option<f64>,
}

/// Two players with `half` variables each, coupled by a random orthogonal matrix of every strength.
pub(super) fn sweep(context: &Context<'_>, half: usize) -> Result<Vec<Point>, ExperimentError> {
    let rotation = square(half, &mut normals(stream(context.seed(), "small-gain-rotation", 0))).qr().q();
    let points: Result<_, ExperimentError> = strengths()
        .into_par_iter()
        .map(|lambda| {
            context.check()?;
            point(&rotation, lambda)
        })
        .collect();
    points
}

/// Coupling strengths at which the authors fitted rates of the flow, and these rates.
pub(super) const FLOWS: [(f64, f64); 3] = [(1.0 / 6.0, 0.929_027), (4.75 / 6.0, 0.444_481), (8.5 / 6.0, -0.001_433)];

/// The margin at each of these strengths, and the rate at which a flow comes to rest in the metric.
pub(super) fn flow_rates(seed: u64, half: usize) -> Result<Vec<[f64; 2]>, ExperimentError> {
    const STEP: f64 = 0.02;
    let mut normal = normals(stream(seed, "small-gain-flow", 0));
    let rotation = square(half, &mut normal).qr().q();
    let start: Vec<f64> = (0..2 * half).map(|_| normal()).collect();
    let rate = |&(lambda, _): &(f64, f64)| {
        let jacobian = coupled(&(10.0 * lambda * &rotation), &(0.05 * lambda * rotation.transpose()));
        let margin = bounds(&jacobian, &[half, half])?.margin(&[1.0, RATIO])?;
        let game = Game::affine(&[half, half], jacobian, vec![0.0; 2 * half])?;
        let record = Record { weights: vec![1.0, RATIO], reference: Some(vec![0.0; 2 * half]), every: 1 };
        let run = flow(&game, &start, STEP, 20.0, &record)?;
        let late: Vec<f64> = run.samples.iter().skip(run.samples.len() / 2).filter_map(|sample| sample.metric_distance).collect();
        Ok([margin, decay_rate(&late, STEP).unwrap_or(f64::NAN)])
    };
    FLOWS.par_iter().map(rate).collect()
}

fn point(rotation: &DMatrix<f64>, lambda: f64) -> Result<Point, ExperimentError> {
    let half = rotation.nrows();
    let jacobian = coupled(&(10.0 * lambda * rotation), &(0.05 * lambda * rotation.transpose()));
    let bounds = bounds(&jacobian, &[half, half])?;
    let best = optimal_weights(&bounds);
    let lipschitz = bounds.lipschitz(&best.weights)?;
    let metric = scaled(&jacobian, [1.0, RATIO]);
    let values = eigenvalues(&jacobian)?;
    let steps = Rates::new(best.margin, lipschitz).ok().map(|rates| Steps {
        euler: rates.euler_limit(),
        incremental: rates.rk4_limit(),
        guideline: rates.rk4_guideline(),
        map: TABLE.contains(&lambda).then(|| matrix_rk4_threshold(&metric, 3.0 / lipschitz)),
    });
    let radius = |h: f64| euler_radius(&values, h);
    Ok(Point {
        lambda,
        margin: best.margin,
        truth: margin(&metric),
        euclidean: margin(&jacobian),
        lipschitz,
        steps,
        euler_threshold: euler_threshold(&values),
        rk4_threshold: rk4_threshold(&values),
        largest_radius: steps.map(|steps| SHARES.map(|share| radius(share * steps.euler)).into_iter().fold(0.0, f64::max)),
    })
}

/// One random game of the ensemble.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) lambda: f64,
    pub(super) margin: f64,
    pub(super) truth: f64,
    pub(super) euclidean: f64,
    /// The guideline of Runge–Kutta over its true threshold.
    pub(super) guideline: f64,
    /// Where norms refuse: the certified margin with signs, in a metric with a weight for each player; 0 without one.
    pub(super) signs: Option<f64>,
}

/// The games of one seed: the same matrices with couplings of all strengths.
pub(super) fn ensemble(seed: u64, half: usize) -> Result<Vec<Member>, ExperimentError> {
    let member = |&lambda: &f64| {
        let mut normal = normals(stream(seed, "small-gain-ensemble", 0));
        let example = zoo::random_linear_quadratic(half, lambda, &mut normal)?;
        let jacobian = example.game.jacobian(&vec![0.0; 2 * half]);
        let weights = [1.0, RATIO];
        let metric = scaled(&jacobian, weights);
        let norms = bounds(&jacobian, &[half, half])?.margin(&weights)?;
        let signs = || match (Certifier { mode: Mode::BlockLmi(Structure::Scalar), ..Certifier::default() })
            .certify(&example.game, &Region::Free)?
        {
            Verdict::Certified(found) => Ok::<f64, SmallGainError>(found.certificate.alpha),
            Verdict::Refused(_) | Verdict::Inconclusive(_) => Ok(0.0),
        };
        Ok(Member {
            lambda,
            margin: norms,
            signs: if norms > 0.0 { None } else { Some(signs()?) },
            truth: margin(&metric),
            euclidean: margin(&jacobian),
            guideline: 2.5 / metric.singular_values().max() / rk4_threshold(&eigenvalues(&jacobian)?),
        })
    };
    ENSEMBLE.par_iter().map(member).collect()
}

/// One draw of the couplings `(1 - e) R + e noise`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Noisy {
    pub(super) share: f64,
    pub(super) margin: f64,
    pub(super) truth: f64,
}

/// Draws of noise of every share, at strength 1: an orthogonal matrix, and in each direction noise of its own with norm 1.
pub(super) fn noise(seed: u64, draws: usize, half: usize) -> Result<Vec<Noisy>, ExperimentError> {
    let draw = |index: usize| {
        let mut normal = normals(stream(seed, "small-gain-noise", index as u64));
        let rotation = square(half, &mut normal).qr().q();
        let [there, back] = [unit(half, &mut normal), unit(half, &mut normal)];
        let noisy = |&share: &f64| {
            let mixed = |clean: DMatrix<f64>, noise: &DMatrix<f64>| (1.0 - share) * clean + share * noise;
            let jacobian = coupled(&(10.0 * mixed(rotation.clone(), &there)), &(0.05 * mixed(rotation.transpose(), &back)));
            let weights = [1.0, RATIO];
            Ok(Noisy { share, margin: bounds(&jacobian, &[half, half])?.margin(&weights)?, truth: margin(&scaled(&jacobian, weights)) })
        };
        NOISE.iter().map(noisy).collect::<Result<Vec<_>, ExperimentError>>()
    };
    let draws: Vec<Vec<Noisy>> = (0..draws).into_par_iter().map(draw).collect::<Result<_, _>>()?;
    Ok(draws.concat())
}

/// A random game of several players.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Many {
    pub(super) players: usize,
    /// The margin of the bounds at equal weights, and at the best.
    pub(super) equal: f64,
    pub(super) best: f64,
    /// That of the Jacobian at the best weights.
    pub(super) truth: f64,
    /// The greatest step of gradient play: certified, and true. None where nothing is certified.
    pub(super) steps: Option<[f64; 2]>,
}

/// Players with four variables each, and couplings of sizes over three powers of ten.
pub(super) fn many(seed: u64, players: usize) -> Result<Many, ExperimentError> {
    const WIDTH: usize = 4;
    let mut rng = stream(seed, "small-gain-players", players as u64);
    let mut sizes = DMatrix::zeros(players, players);
    sizes.iter_mut().for_each(|size| *size = 10f64.powf(rng.random_range(-2.5..0.5)));
    let mut normal = normals(rng);
    let mut own = Vec::new();
    for _ in 0..players {
        let root = square(WIDTH, &mut normal);
        own.push(root.tr_mul(&root) + DMatrix::identity(WIDTH, WIDTH));
    }
    let mut couplings = Vec::new();
    for (i, j) in (0..players).flat_map(|i| (0..players).map(move |j| (i, j))).filter(|(i, j)| i != j) {
        couplings.push((i, j, sizes[(i, j)] * unit(WIDTH, &mut normal)));
    }
    let game = zoo::linear_quadratic(&own, &couplings, &vec![0.0; players * WIDTH])?.game;
    let jacobian = game.jacobian(&vec![0.0; game.size()]);
    let bounds = bounds(&jacobian, game.dimensions())?;
    let best = optimal_weights(&bounds);
    let root = DVector::from_iterator(game.size(), best.weights.iter().flat_map(|w| std::iter::repeat_n(w.sqrt(), WIDTH)));
    let metric = DMatrix::from_fn(game.size(), game.size(), |i, j| root[i] / root[j] * jacobian[(i, j)]);
    let rates = Rates::new(best.margin, bounds.lipschitz(&best.weights)?).ok();
    let threshold = euler_threshold(&eigenvalues(&jacobian)?);
    Ok(Many {
        players,
        equal: bounds.margin(&vec![1.0; players])?,
        best: best.margin,
        truth: margin(&metric),
        steps: rates.map(|rates| [rates.euler_limit(), threshold]),
    })
}

/// How often the Perron weights have at least the greatest margin of others, to rounding.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Optimality {
    /// Shares of sets of bounds: of two players against a grid of ratios, and of more players against random weights.
    pub(super) grid: f64,
    pub(super) random: f64,
}

/// Random sets of bounds, and for each of more than two players as many random weights.
pub(super) fn optimality(context: &Context<'_>, sets: usize, weights: usize) -> Result<Optimality, ExperimentError> {
    let share = |wins: Vec<bool>| wins.iter().filter(|wins| **wins).count() as f64 / wins.len() as f64;
    let check = |index: usize, several: bool| {
        context.check()?;
        let mut rng = stream(context.seed(), if several { "small-gain-random" } else { "small-gain-grid" }, index as u64);
        let players = if several { 3 + index % 4 } else { 2 };
        let bounds = random_bounds(players, &mut rng)?;
        let best = optimal_weights(&bounds).margin;
        let mut others = f64::NEG_INFINITY;
        if several {
            for _ in 0..weights {
                let tried: Vec<f64> = (0..players).map(|_| 10f64.powf(rng.random_range(-3.0..3.0))).collect();
                others = others.max(bounds.margin(&tried)?);
            }
        } else {
            for step in 0..161 {
                others = others.max(bounds.margin(&[1.0, 10f64.powf(f64::from(step - 80) / 20.0)])?);
            }
        }
        Ok(best >= others - 1e-12 * best.abs().max(1.0))
    };
    let checks = |several| (0..sets).into_par_iter().map(|index| check(index, several)).collect::<Result<Vec<_>, ExperimentError>>();
    Ok(Optimality { grid: share(checks(false)?), random: share(checks(true)?) })
}

/// Curvatures from 0.5 to 3, and couplings over three powers of ten.
fn random_bounds(players: usize, rng: &mut StreamRng) -> Result<BlockBounds, SmallGainError> {
    let curvature: Vec<f64> = (0..players).map(|_| rng.random_range(0.5..3.0)).collect();
    let coupling = DMatrix::from_fn(players, players, |i, j| if i == j { 0.0 } else { 10f64.powf(rng.random_range(-2.0..1.0)) });
    let own = curvature.iter().map(|mu| 2.0 * mu).collect();
    BlockBounds::new(curvature, coupling, own)
}
