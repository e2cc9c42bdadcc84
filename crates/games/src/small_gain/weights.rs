//! The weights with the greatest margin: a Perron problem.

use nalgebra::DMatrix;

use super::BlockBounds;
use super::components::strongly_connected;
use super::perron::least;

/// Couplings below this, relative to a player's greatest own bound, are rounding errors of 0 to the choice of weights.
const DUST: f64 = 1e-14;
/// What may be lost, relative to the supremum, where no weights attain it.
const SLACK: f64 = 1e-3;
/// The greatest ratio by which weights of one component are moved against those of the next.
const MOST_THETA: f64 = 1e16;

/// The greatest ratio of two weights.
const MOST_SPREAD: f64 = 1e300;

/// Weights, and the margin that they give.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightSolution {
    /// The weights; the first is 1.
    pub weights: Vec<f64>,
    /// The margin `α(w)` at these weights.
    pub margin: f64,
    /// The greatest margin of any weights, or the least that none reaches.
    pub supremum: f64,
    /// Whether some weights reach the supremum.
    pub attained: bool,
}

/// A strongly connected component of players: its greatest margin, and weights in it.
struct Component {
    margin: f64,
    weights: Vec<f64>,
    /// Components on the longest way to this one.
    level: u32,
}

/// The weights with the greatest margin, for any number of players.
///
/// With `A = diag(μ) - L`, let `α°` be the eigenvalue of least real part, and `A x = α° x`, `Aᵀ y = α° y` with positive `x`, `y` (Perron,
/// Frobenius). Then `w_i = y_i / x_i` gives the margin `α°`, and no weights give more. Where some players do not influence others
/// even indirectly, `α°` is the least of the strongly connected components' and need not be attained: weights fall by a factor θ from a
/// component to those it influences, the least that brings the margin within a thousandth of `α°`.
pub fn optimal_weights(bounds: &BlockBounds) -> WeightSolution {
    let players = bounds.players();
    let own = bounds.curvature.iter().map(|mu| mu.abs()).chain(bounds.own_lipschitz.iter().copied()).fold(0.0, f64::max);
    let influences = |from: usize, to: usize| bounds.coupling[(to, from)] > DUST * own;
    let next: Vec<Vec<usize>> = (0..players).map(|j| (0..players).filter(|&i| influences(j, i)).collect()).collect();
    let (members, of) = strongly_connected(&next);
    let mut components: Vec<Component> = members.iter().map(|members| Component::new(bounds, members)).collect();
    let crossings: Vec<[usize; 2]> =
        (0..players).flat_map(|j| next[j].iter().map(move |&i| [j, i])).map(|ends| ends.map(|i| of[i])).filter(|[a, b]| a != b).collect();
    // Components come after those that influence them.
    for component in 0..components.len() {
        let before = crossings.iter().filter(|[_, to]| *to == component).map(|[from, _]| components[*from].level + 1);
        components[component].level = before.max().unwrap_or(0);
    }
    let supremum = components.iter().map(|component| component.margin).fold(f64::INFINITY, f64::min);
    let attained = !crossings.iter().flatten().any(|&component| components[component].margin == supremum);
    let weights_at = |theta: f64| {
        let mut weights = vec![0.0; players];
        for (component, members) in components.iter().zip(&members) {
            let factor = theta.powi(-(component.level as i32));
            members.iter().zip(&component.weights).for_each(|(&i, w)| weights[i] = factor * w);
        }
        let first = weights[0];
        weights.iter().map(|w| w / first).collect::<Vec<f64>>()
    };
    let usable = |weights: &[f64]| weights.iter().all(|w| *w > 0.0 && w.is_finite());
    let enough = |theta: f64| {
        let weights = weights_at(theta);
        usable(&weights) && bounds.margin_at(&weights) >= supremum - SLACK * supremum.abs()
    };
    let levels = components.iter().map(|component| component.level).max().unwrap_or(0);
    let theta = if enough(1.0) { 1.0 } else { least_theta(levels, enough) };
    let mut weights = weights_at(theta);
    if !usable(&weights) {
        weights = vec![1.0; players];
    }
    WeightSolution { margin: bounds.margin_at(&weights), weights, supremum, attained }
}

/// The least θ above 1 that is enough, to a hundredth; the greatest whose powers are numbers if none is.
fn least_theta(levels: u32, enough: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, MOST_THETA.ln().min(MOST_SPREAD.ln() / f64::from(levels.max(1))));
    while high - low > 1e-2 {
        let middle = 0.5 * (low + high);
        if enough(middle.exp()) { high = middle } else { low = middle }
    }
    high.exp()
}

impl Component {
    fn new(bounds: &BlockBounds, members: &[usize]) -> Self {
        if let &[player] = members {
            return Self { margin: bounds.curvature[player], weights: vec![1.0], level: 0 };
        }
        let matrix = DMatrix::from_fn(members.len(), members.len(), |a, b| {
            let (i, j) = (members[a], members[b]);
            if i == j { bounds.curvature[i] } else { -bounds.coupling[(i, j)] }
        });
        let ((margin, x), (_, y)) = (least(&matrix), least(&matrix.transpose()));
        let weights = y.component_div(&x);
        Self { margin, weights: weights.iter().copied().collect(), level: 0 }
    }
}
