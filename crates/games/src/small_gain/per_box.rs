//! One metric for all boxes, with a margin in each.

use std::collections::BinaryHeap;

use nalgebra::{DMatrix, SymmetricEigen};

use super::probe::Probe;
use super::search::{BATCH, Entry, GoOn, Search};
use super::tree::Tree;
use super::{BlockBounds, SmallGainError};

/// The most times that weights are improved.
const ROUNDS: usize = 20;
/// Boxes that weights are improved for.
const WORST: usize = 16;

/// Weights, and the least margin of all boxes.
#[derive(Debug, Clone)]
pub(super) struct PerBox {
    pub(super) weights: Vec<f64>,
    pub(super) margin: f64,
}

/// Cuts boxes until each has a margin, as far as that takes no more boxes than there may be.
pub(super) fn reach(
    probe: &mut Probe<'_>,
    tree: &mut Tree,
    weights: Vec<f64>,
    target: f64,
    search: &Search,
    go_on: &mut GoOn<'_>,
) -> Result<PerBox, SmallGainError> {
    refine(probe, tree, &weights, target, search, go_on)?;
    let margin = least(probe, tree, &weights).0.min(target);
    Ok(PerBox { weights, margin })
}

/// Cuts the boxes with the least margins, and moves the weights towards those that raise the least one.
pub(super) fn per_box(
    probe: &mut Probe<'_>,
    tree: &mut Tree,
    mut weights: Vec<f64>,
    fixed: bool,
    search: &Search,
    go_on: &mut GoOn<'_>,
) -> Result<PerBox, SmallGainError> {
    let rounds = if fixed { 1 } else { ROUNDS };
    for round in 1..=rounds {
        let part = Search { most_boxes: (search.most_boxes * round).div_ceil(rounds), ..*search };
        refine(probe, tree, &weights, f64::INFINITY, &part, go_on)?;
        if !probe.refusals.is_empty() || fixed {
            break;
        }
        let (moved, gain) = climb(probe, tree, &weights);
        weights = moved;
        if gain <= search.tolerance.at(0.0) {
            refine(probe, tree, &weights, f64::INFINITY, search, go_on)?;
            break;
        }
    }
    let margin = least(probe, tree, &weights).0;
    Ok(PerBox { weights, margin })
}

/// Weights with a greater least margin of all boxes, and by how much it is greater: those of the boxes that were the worst so far, again and
/// again.
fn climb(probe: &Probe<'_>, tree: &Tree, weights: &[f64]) -> (Vec<f64>, f64) {
    let (start, mut set) = least(probe, tree, weights);
    let mut best = (weights.to_vec(), start);
    let mut tried = weights.to_vec();
    for _ in 0..ROUNDS {
        tried = improve(&set, &tried);
        let (margin, worst) = least(probe, tree, &tried);
        if margin > best.1 {
            best = (tried.clone(), margin);
        }
        // What the set promises is what all boxes have.
        let promised = set.iter().map(|bounds| bounds.margin_at(&tried)).fold(f64::INFINITY, f64::min);
        if promised <= best.1 + 1e-9 * best.1.abs() {
            break;
        }
        set.extend(worst);
    }
    (best.0, best.1 - start)
}

/// The least margin of all boxes, and the bounds of those with the least ones.
fn least(probe: &Probe<'_>, tree: &Tree, weights: &[f64]) -> (f64, Vec<BlockBounds>) {
    let mut margins: Vec<(f64, usize)> = tree.leaves().map(|leaf| (margin(probe, tree, leaf, weights), leaf)).collect();
    let order = |a: &(f64, usize), b: &(f64, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
    if margins.len() > WORST {
        margins.select_nth_unstable_by(WORST, order);
        margins.truncate(WORST);
    }
    let bounds = margins.iter().filter_map(|(_, leaf)| probe.blocks.bounds(&tree.nodes[*leaf].bounds).ok()).collect();
    (margins.iter().map(|(margin, _)| *margin).fold(f64::INFINITY, f64::min), bounds)
}

/// The margin of a box, to rounding.
pub(super) fn margin(probe: &Probe<'_>, tree: &Tree, node: usize, weights: &[f64]) -> f64 {
    probe.blocks.bounds(&tree.nodes[node].bounds).map_or(f64::NEG_INFINITY, |bounds| bounds.margin_at(weights))
}

/// Cuts boxes with the least margins until these reach the target, or are about what is met in the middle of one.
fn refine(
    probe: &mut Probe<'_>,
    tree: &mut Tree,
    weights: &[f64],
    target: f64,
    search: &Search,
    go_on: &mut GoOn<'_>,
) -> Result<(), SmallGainError> {
    // By negated margins.
    let entry = |probe: &Probe<'_>, tree: &Tree, leaf: usize| Entry { bound: -margin(probe, tree, leaf, weights), leaf };
    let mut heap: BinaryHeap<Entry> = tree.leaves().map(|leaf| entry(probe, tree, leaf)).collect();
    let mut met = heap.iter().map(|entry| middle_margin(probe, tree, entry.leaf, weights)).fold(f64::INFINITY, f64::min);
    let most_boxes = search.most_boxes.min(tree.most_boxes());
    while tree.boxes() < most_boxes && go_on(probe, tree.boxes())? {
        let mut cuts = Vec::new();
        for _ in 0..BATCH.min(most_boxes - tree.boxes()) {
            let Some(worst) = heap.peek() else { break };
            if -worst.bound >= target || met + worst.bound <= search.tolerance.at(met) {
                break;
            }
            let Some(axis) = widest(probe, tree, worst.leaf, weights) else { break };
            cuts.push((worst.leaf, axis));
            heap.pop();
        }
        if cuts.is_empty() {
            break;
        }
        let first = tree.nodes.len();
        tree.cut(probe, &cuts)?;
        for leaf in first..tree.nodes.len() {
            heap.push(entry(probe, tree, leaf));
            met = met.min(middle_margin(probe, tree, leaf, weights));
        }
    }
    Ok(())
}

/// Cuts boxes until the Lipschitz constant of each is at most `most`, as far as that takes no more boxes than there may be.
pub(super) fn calm(
    probe: &mut Probe<'_>,
    tree: &mut Tree,
    weights: &[f64],
    most: f64,
    search: &Search,
    go_on: &mut GoOn<'_>,
) -> Result<(), SmallGainError> {
    let mut wild: Vec<usize> = tree.leaves().filter(|&leaf| lipschitz(probe, tree, leaf, weights) > most).collect();
    let most_boxes = search.most_boxes.min(tree.most_boxes());
    while !wild.is_empty() && tree.boxes() < most_boxes && go_on(probe, tree.boxes())? {
        let taken = wild.split_off(wild.len().saturating_sub(BATCH.min(most_boxes - tree.boxes())));
        let cuts: Vec<(usize, usize)> = taken.into_iter().filter_map(|leaf| Some((leaf, loosest(probe, tree, leaf, weights)?))).collect();
        let first = tree.nodes.len();
        tree.cut(probe, &cuts)?;
        wild.extend((first..tree.nodes.len()).filter(|&leaf| lipschitz(probe, tree, leaf, weights) > most));
    }
    Ok(())
}

/// Whether a box has a larger Lipschitz constant.
pub(super) fn is_wild(probe: &Probe<'_>, tree: &Tree, weights: &[f64], most: f64) -> bool {
    tree.leaves().any(|leaf| lipschitz(probe, tree, leaf, weights) > most)
}

fn lipschitz(probe: &Probe<'_>, tree: &Tree, leaf: usize, weights: &[f64]) -> f64 {
    probe.blocks.bounds(&tree.nodes[leaf].bounds).map_or(f64::INFINITY, |bounds| bounds.lipschitz_at(weights))
}

/// The variable along which the norm changes most that is the farthest from that in the middle.
fn loosest(probe: &Probe<'_>, tree: &Tree, leaf: usize, weights: &[f64]) -> Option<usize> {
    let players = probe.blocks.players();
    let gap = |quantity: &usize| {
        let (i, j) = ((quantity - players) / players, (quantity - players) % players);
        (weights[i] / weights[j]).sqrt() * (tree.nodes[leaf].bounds[*quantity] - tree.nodes[leaf].middle[*quantity])
    };
    let quantity = (players..players + players * players).max_by(|a, b| gap(a).total_cmp(&gap(b)))?;
    tree.axis(leaf, quantity)
}

fn middle_margin(probe: &Probe<'_>, tree: &Tree, node: usize, weights: &[f64]) -> f64 {
    probe.blocks.bounds(&tree.nodes[node].middle).map_or(f64::INFINITY, |bounds| bounds.margin_at(weights))
}

/// The variable along which the quantity changes most that lowers the margin most.
fn widest(probe: &Probe<'_>, tree: &Tree, node: usize, weights: &[f64]) -> Option<usize> {
    let Ok(bounds) = probe.blocks.bounds(&tree.nodes[node].bounds) else { return tree.axis(node, 0) };
    let players = bounds.players();
    let slopes = slopes(&bounds, weights).1;
    let loss = |quantity: usize| {
        let gap = tree.nodes[node].bounds[quantity] - tree.nodes[node].middle[quantity];
        let (i, j) =
            if quantity < players { (quantity, quantity) } else { ((quantity - players) / players, (quantity - players) % players) };
        if quantity >= players && i == j { 0.0 } else { gap * slopes[(i, j)] }
    };
    let quantities = players + players * players;
    let quantity = (0..quantities).max_by(|&a, &b| loss(a).total_cmp(&loss(b)))?;
    tree.axis(node, quantity)
}

/// The margin, and by how much it falls with each bound: with a curvature's fall on the diagonal, and with a coupling's rise beside it.
fn slopes(bounds: &BlockBounds, weights: &[f64]) -> (f64, DMatrix<f64>) {
    let players = bounds.players();
    let symmetric = bounds.symmetric(weights);
    if !symmetric.iter().all(|entry| entry.is_finite()) {
        return (f64::NEG_INFINITY, DMatrix::zeros(players, players));
    }
    let eigen = SymmetricEigen::new(symmetric);
    let least = eigen.eigenvalues.imin();
    let u = eigen.eigenvectors.column(least).map(f64::abs);
    let slope = |i: usize, j: usize| if i == j { u[i] * u[i] } else { u[i] * u[j] * (weights[i] / weights[j]).sqrt() };
    (eigen.eigenvalues[least], DMatrix::from_fn(players, players, slope))
}

/// Weights with a greater least margin of some boxes, if there are any: the least margin is concave in the logarithms of the weights, and
/// is climbed along its subgradients with ever shorter steps.
fn improve(set: &[BlockBounds], start: &[f64]) -> Vec<f64> {
    let least = |logs: &[f64]| {
        let weights: Vec<f64> = logs.iter().map(|z| z.exp()).collect();
        let worst = set.iter().map(|bounds| (bounds.margin_at(&weights), bounds)).min_by(|a, b| a.0.total_cmp(&b.0));
        worst.map(|(margin, bounds)| (margin, gradient(bounds, &weights)))
    };
    let mut logs: Vec<f64> = start.iter().map(|w| w.ln()).collect();
    let Some((mut best, _)) = least(&logs) else { return start.to_vec() };
    let mut best_logs = logs.clone();
    for step in 1..=200 {
        let Some((margin, gradient)) = least(&logs) else { break };
        if margin > best {
            (best, best_logs) = (margin, logs.clone());
        }
        let length = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        if length <= 1e-15 {
            break;
        }
        let stride = 2.0 / f64::from(step);
        logs.iter_mut().zip(&gradient).for_each(|(z, g)| *z += stride * g / length);
    }
    let first = best_logs[0];
    best_logs.iter().map(|z| (z - first).exp()).collect()
}

/// The margin's derivatives with respect to the logarithms of the weights.
fn gradient(bounds: &BlockBounds, weights: &[f64]) -> Vec<f64> {
    let slopes = slopes(bounds, weights).1;
    // `½ (z_i - z_j)` is in the exponent of each coupling.
    let pull = |i: usize, j: usize| if i == j { 0.0 } else { 0.5 * slopes[(i, j)] * bounds.coupling()[(i, j)] };
    (0..weights.len()).map(|k| (0..weights.len()).map(|i| pull(i, k) - pull(k, i)).sum()).collect()
}
