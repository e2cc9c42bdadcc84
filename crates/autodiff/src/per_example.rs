//! Per-example gradients: one backward pass for all examples, kept as factors.
//!
//! Axis 0 of every activation is the example and the function returns one loss per example. A gradient is either
//! *aligned* (chunk `b` of it is the gradient of loss `b`, which is zero elsewhere) or, where a value that does not depend
//! on the inputs is used, a sum of [`Factor`]s. Where an operation has no factor, its rule is run once for each example.

use std::ops::Range;
use std::sync::Arc;

use crate::kernels::{Buffer, PARALLEL, pointwise, reduce};
use crate::node::{Found, Level, Mode, NodeRef, run_rule};
use crate::transforms::{left, stop_gradient, variables};
use crate::{MAX_RANK, Params, Scalar, Tensor};

/// What makes per-example gradients undefined.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PerExampleError {
    /// The function did not return one loss for each example.
    #[error("the function returned shape {found:?}, but per-example gradients need one loss for each example, [{batch}]")]
    NotOneLossEach {
        /// The returned shape.
        found: Vec<usize>,
        /// The number of examples.
        batch: usize,
    },
    /// An input without examples, or inputs that disagree about their number.
    #[error("input {index} has shape {shape:?}; every input needs the same, positive number of examples along axis 0")]
    Inputs {
        /// Which input, in definition order.
        index: usize,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The losses do not depend on the inputs, so that the examples cannot be told apart.
    #[error("the losses do not depend on the inputs given: pass the batch as inputs instead of capturing it")]
    InputsUnused,
    /// An operation combines different examples, so that an example's gradient is not its own, or does not say that it
    /// keeps them apart.
    #[error(
        "operation `{operation}` mixes examples, or does not say that it keeps them apart: per-example gradients are not defined through it"
    )]
    MixesExamples {
        /// The operation's name.
        operation: &'static str,
    },
}

/// A part of the per-example gradients of one tensor.
#[derive(Debug, Clone)]
pub(crate) enum Factor<T: Scalar> {
    /// `Σ_t rows[b, t]ᵀ columns[b, t]`: stored as `[batch · time, r]` and `[batch · time, c]`.
    Outer {
        /// The factor that indexes the rows of the parameter.
        rows: Tensor<T>,
        /// The factor that indexes its columns.
        columns: Tensor<T>,
    },
    /// Rows of a table: entry `i` adds `rows[i]` to row `indices[i]` of the gradient of example `examples[i]`. No two
    /// entries have the same place, and examples ascend.
    Rows {
        /// The example of each entry.
        examples: Arc<[usize]>,
        /// The row of the table.
        indices: Arc<[usize]>,
        /// `[entries, width]`.
        rows: Tensor<T>,
    },
    /// One gradient for each example, `[batch, count]`.
    Dense(Tensor<T>),
}

/// The gradients of each example's loss with respect to a model, as factors; its methods make what is asked for.
pub struct ExampleGrads<P: Params> {
    params: P,
    batch: usize,
    losses: Tensor<P::Elem>,
    factors: Vec<Vec<Factor<P::Elem>>>,
}

/// Examples are added up in this many groups, whatever the number of threads.
const GROUPS: usize = 4;

/// The gradients of `f(params, inputs)[b]` for every example `b`. `inputs` holds whatever has an example axis: its tensors
/// share the size of axis 0. Labels and other constants may be captured. Inside another derivative, what is made of the
/// gradients is differentiated like anything else.
///
/// ```
/// use gradus_autodiff::{Tensor, per_example};
/// let x: Tensor<f64> = Tensor::from_vec(vec![1.0, 2.0, 3.0, 4.0], &[2, 2])?;
/// let w = Tensor::from_vec(vec![0.5, -0.5], &[2, 1])?;
/// let each = per_example(|w: &Tensor<f64>, x: &Tensor<f64>| x.matmul(w).reshape(&[2]), &w, &x)?;
/// assert_eq!(each.sum_of_squares().to_vec(), [10.0, 20.0]); // 1² + 3², 2² + 4²
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`PerExampleError`].
#[track_caller]
pub fn per_example<P: Params, X: Params<Elem = P::Elem>>(
    f: impl FnOnce(&P, &X) -> Tensor<P::Elem>,
    params: &P,
    inputs: &X,
) -> Result<ExampleGrads<P>, PerExampleError> {
    let batch = batch_of(inputs)?;
    let (level, example) = (Level::enter(), Level::enter());
    let (model, ids) = variables(params, level.bit);
    let (data, _) = variables(inputs, example.bit);
    let y = f(&model, &data);
    if y.shape() != [batch] {
        return Err(PerExampleError::NotOneLossEach { found: y.shape().to_vec(), batch });
    }
    if y.node().is_none_or(|n| n.depends & example.bit == 0) {
        return Err(PerExampleError::InputsUnused);
    }
    let recording = y.node().is_some_and(|n| n.depends & (level.bit - 1) != 0);
    let losses = y.clone();
    let pass = Pass { batch, recording, bit: level.bit, example: example.bit, first: ids.first().copied().unwrap_or(u64::MAX) };
    let factors = pass.run(y, &ids)?;
    drop((level, example));
    let factors = factors.into_iter().map(|own| own.into_iter().map(|factor| factor.map(left)).collect()).collect();
    Ok(ExampleGrads { params: stop_gradient(params), batch, losses: left(losses), factors })
}

fn batch_of<X: Params>(inputs: &X) -> Result<usize, PerExampleError> {
    let mut batch = None;
    for (index, x) in inputs.leaves().into_iter().enumerate() {
        let size = x.shape().first().copied().unwrap_or(0);
        if size == 0 || batch.is_some_and(|b| b != size) {
            return Err(PerExampleError::Inputs { index, shape: x.shape().to_vec() });
        }
        batch = Some(size);
    }
    batch.ok_or(PerExampleError::InputsUnused)
}

/// One backward pass for all examples.
struct Pass {
    batch: usize,
    /// Whether an outer derivative differentiates what the pass makes.
    recording: bool,
    /// The levels of the parameters and of the inputs.
    bit: u64,
    example: u64,
    /// The id of the first parameter: nodes before it belong to other derivatives.
    first: u64,
}

enum Gradient<T: Scalar> {
    Aligned(Tensor<T>),
    Each(Vec<Factor<T>>),
    /// None: the value depends on the inputs alone, and is visited to see that it keeps the examples apart.
    Unneeded,
}

impl Pass {
    fn run<T: Scalar>(&self, y: Tensor<T>, leaves: &[u64]) -> Result<Vec<Vec<Factor<T>>>, PerExampleError> {
        let mut slots: Vec<Vec<Factor<T>>> = leaves.iter().map(|_| Vec::new()).collect();
        let seed = Tensor::ones(&[self.batch]);
        let mut frontier: Vec<(NodeRef<T>, Gradient<T>)> = Vec::new();
        if let Some(root) = y.into_node() {
            let g = if self.wants(&root) { Gradient::Aligned(seed) } else { Gradient::Unneeded };
            frontier.push((root, g));
        }
        while let Some((node, g)) = frontier.pop() {
            if let Ok(slot) = leaves.binary_search(&node.id) {
                slots[slot] = self.factors(g);
                continue;
            }
            for (i, gradient) in self.pull_back(&node, g)? {
                let Some(parent) = node.parents.as_slice()[i].as_ref() else { continue };
                match frontier.binary_search_by_key(&parent.id, |(n, _)| n.id) {
                    Ok(at) => {
                        let old = std::mem::replace(&mut frontier[at].1, Gradient::Unneeded);
                        frontier[at].1 = self.sum(old, gradient);
                    }
                    Err(at) => frontier.insert(at, (parent.clone(), gradient)),
                }
            }
        }
        Ok(slots)
    }

    /// Whether a node's gradient is needed.
    fn wants<T: Scalar>(&self, node: &NodeRef<T>) -> bool {
        node.depends & self.bit != 0 && node.id >= self.first
    }

    /// Whether a node's value differs from example to example.
    fn has_examples<T: Scalar>(&self, node: &NodeRef<T>) -> bool {
        node.depends & self.example != 0 && node.id >= self.first
    }

    /// The gradients of a node's parents that are needed, and the parents that are only to be visited.
    fn pull_back<T: Scalar>(&self, node: &NodeRef<T>, g: Gradient<T>) -> Result<Vec<(usize, Gradient<T>)>, PerExampleError> {
        let parents = || node.parents.as_slice().iter().enumerate().filter_map(|(i, p)| Some((i, p.as_ref()?)));
        let keeps = |i: usize| self.batch == 1 || node.rule.keeps_examples(i, self.batch);
        // What goes on in the other precision would not be followed.
        if node.rule.crosses() || parents().any(|(i, parent)| self.has_examples(parent) && !keeps(i)) {
            return Err(PerExampleError::MixesExamples { operation: node.rule.name() });
        }
        let unneeded =
            |(i, parent): (usize, &NodeRef<T>)| (self.has_examples(parent) && !self.wants(parent)).then_some((i, Gradient::Unneeded));
        let mut found: Vec<(usize, Gradient<T>)> = parents().filter_map(unneeded).collect();
        let wanted = parents().filter(|(_, parent)| self.wants(parent));
        let g = match g {
            Gradient::Unneeded => return Ok(found),
            Gradient::Each(factors) => {
                let rows = dense(&factors, self.batch, node.shape.count(), self.recording);
                found.extend(self.each_row(node, &rows, &wanted.map(|(i, _)| i).collect::<Vec<_>>()));
                return Ok(found);
            }
            Gradient::Aligned(g) => g,
        };
        // Those with examples were asked above; asking may look at every element.
        let (aligned, others): (Vec<_>, Vec<_>) = wanted.partition(|(i, parent)| self.has_examples(parent) || keeps(*i));
        let aligned: Vec<usize> = aligned.into_iter().map(|(i, _)| i).collect();
        let mut spread = Vec::new();
        for (i, _) in others {
            match node.rule.example_factor(i, &g, self.batch, self.recording) {
                Some(factor) => found.push((i, Gradient::Each(vec![if self.recording { factor } else { factor.map(|x| x.detach()) }]))),
                None => spread.push(i),
            }
        }
        if !spread.is_empty() {
            found.extend(self.each_row(node, &self.diagonal(&g), &spread));
        }
        let gradients = self.run_rule(node, g, &aligned, None).into_iter();
        found.extend(gradients.map(|(i, g)| (i, Gradient::Aligned(g))));
        Ok(found)
    }

    /// The gradients of the given parents.
    fn run_rule<T: Scalar>(&self, node: &NodeRef<T>, g: Tensor<T>, parents: &[usize], stack: Option<usize>) -> Found<T> {
        if parents.is_empty() {
            return Vec::new();
        }
        // One tensor may stand in two places; what the rule finds for the other place is left out.
        let ids: Vec<u64> = parents.iter().filter_map(|&i| Some(node.parents.as_slice()[i].as_ref()?.id)).collect();
        let (mode, mut found) = (Mode { recording: self.recording, stack, ..Mode::default() }, Vec::new());
        run_rule(node, g, mode, &|p| ids.contains(&p.id), &mut found, &mut Vec::new());
        found.retain(|(i, _)| parents.contains(i));
        found
    }

    /// Runs the rule on each row of `rows` `[batch, count]`.
    fn each_row<T: Scalar>(&self, node: &NodeRef<T>, rows: &Tensor<T>, parents: &[usize]) -> Vec<(usize, Gradient<T>)> {
        let stack = rows.reshape(&[&[self.batch], &node.shape[..]].concat());
        let dense = |g: Tensor<T>| Factor::Dense(g.reshape(&[self.batch, g.count() / self.batch]));
        let found = self.run_rule(node, stack, parents, Some(self.batch)).into_iter();
        found.map(|(i, g)| (i, Gradient::Each(vec![dense(g)]))).collect()
    }

    /// `[batch, count]` with chunk `b` of an aligned gradient in row `b` and zeros elsewhere.
    fn diagonal<T: Scalar>(&self, g: &Tensor<T>) -> Tensor<T> {
        let (batch, count) = (self.batch, g.count());
        let chunk = count / batch;
        if self.recording {
            // A choice and not a product: an infinite gradient is its own example's alone.
            let own = Tensor::eye(batch).unsqueeze(2);
            return own.where_(&g.reshape(&[1, batch, chunk]), &Tensor::scalar(T::ZERO)).reshape(&[batch, count]);
        }
        let mut values = Buffer::filled(T::ZERO, batch * count);
        for b in 0..batch {
            values[b * count + b * chunk..b * count + (b + 1) * chunk].copy_from_slice(&g.as_slice()[b * chunk..(b + 1) * chunk]);
        }
        Tensor::raw(values, crate::tensor::checked(&[batch, count]))
    }

    fn factors<T: Scalar>(&self, g: Gradient<T>) -> Vec<Factor<T>> {
        match g {
            Gradient::Aligned(g) => vec![Factor::Dense(self.diagonal(&g))],
            Gradient::Each(factors) => factors,
            Gradient::Unneeded => Vec::new(),
        }
    }

    fn sum<T: Scalar>(&self, a: Gradient<T>, b: Gradient<T>) -> Gradient<T> {
        match (a, b) {
            (Gradient::Unneeded, g) | (g, Gradient::Unneeded) => g,
            (Gradient::Aligned(a), Gradient::Aligned(b)) => Gradient::Aligned(a + b),
            (a, b) => {
                let mut factors = self.factors(a);
                factors.extend(self.factors(b));
                Gradient::Each(factors)
            }
        }
    }
}

/// Example `b`'s gradient from all factors.
fn write_example<T: Scalar>(factors: &[Factor<T>], batch: usize, b: usize, out: &mut [T]) {
    if factors.is_empty() {
        out.fill(T::ZERO);
    }
    for (at, factor) in factors.iter().enumerate() {
        let add = at > 0;
        match factor {
            Factor::Dense(rows) => {
                let row = &rows.as_slice()[b * out.len()..(b + 1) * out.len()];
                if add {
                    pointwise::zip_in_place(out, row, |o, x| o + x);
                } else {
                    out.copy_from_slice(row);
                }
            }
            Factor::Rows { examples, indices, rows } => {
                if !add {
                    out.fill(T::ZERO);
                }
                let width = rows.shape()[1];
                let own = examples.partition_point(|&e| e < b)..examples.partition_point(|&e| e <= b);
                for i in own {
                    let to = &mut out[indices[i] * width..(indices[i] + 1) * width];
                    to.iter_mut().zip(&rows.as_slice()[i * width..(i + 1) * width]).for_each(|(o, &x)| *o += x);
                }
            }
            Factor::Outer { rows, columns } => {
                let time = rows.shape()[0] / batch;
                let (r, c) = (rows.shape()[1], columns.shape()[1]);
                let rows = &rows.as_slice()[b * time * r..(b + 1) * time * r];
                let columns = &columns.as_slice()[b * time * c..(b + 1) * time * c];
                if time == 1 && !add {
                    pointwise::outer(rows, columns, out);
                } else {
                    T::gemm([r, c, time], (rows, true), (columns, false), out, add, 1);
                }
            }
        }
    }
}

/// Whether an outer derivative is being taken of what is made of the factors.
fn recorded<T: Scalar>(factors: &[Factor<T>]) -> bool {
    factors.iter().any(Factor::is_tracked)
}

/// Every example's gradient, `[batch, count]`; by recorded operations when `recording`.
fn dense<T: Scalar>(factors: &[Factor<T>], batch: usize, count: usize, recording: bool) -> Tensor<T> {
    match factors {
        [Factor::Dense(rows)] => rows.clone(),
        _ if recording => {
            factors.iter().map(|factor| factor.dense(batch, count)).fold(Tensor::zeros(&[batch, count]), |sum, part| sum + part)
        }
        _ => gradients_of(factors, batch, 0..batch, count),
    }
}

impl<T: Scalar> Factor<T> {
    /// The factor of a parameter of shape `own` that was repeated by broadcasting, where `each` is the gradient of what it
    /// was repeated to: example by example, the axes along which it was repeated are summed.
    pub(crate) fn of_repeated(each: &Tensor<T>, own: &[usize], batch: usize) -> Option<Self> {
        let out = each.shape();
        let examples = out.first().copied().filter(|n| n % batch == 0)?;
        let mut chunk = out.to_vec();
        chunk[0] = examples / batch;
        let lead = out.len() - own.len();
        if out.len() == MAX_RANK || (lead == 0 && own[0] != 1) {
            return None;
        }
        let mut target = vec![1; out.len()];
        target[lead..].copy_from_slice(own);
        target[0] = 1;
        let each = each.reshape(&[&[batch], &chunk[..]].concat()).sum_to(&[&[batch], &target[..]].concat());
        Some(Factor::Dense(each.reshape(&[batch, own.iter().product()])))
    }

    /// The factor of a table from which `indices` were taken, where `g` is the gradient of what was taken. Rows that an
    /// example took several times are added up.
    pub(crate) fn of_rows(indices: &[usize], g: &Tensor<T>, batch: usize) -> Self {
        let time = (indices.len() / batch).max(1);
        let mut order: Vec<(usize, usize, usize)> = indices.iter().enumerate().map(|(at, &index)| (at / time, index, at)).collect();
        order.sort_unstable();
        let mut entries: Vec<(usize, usize)> = Vec::new();
        let mut entry_of = vec![0; indices.len()];
        for (example, index, at) in order {
            if entries.last() != Some(&(example, index)) {
                entries.push((example, index));
            }
            entry_of[at] = entries.len() - 1;
        }
        let rows = g.reshape(&[indices.len(), g.shape()[1..].iter().product()]).scatter(0, &entry_of.into(), entries.len());
        let (examples, indices): (Vec<usize>, Vec<usize>) = entries.into_iter().unzip();
        Factor::Rows { examples: examples.into(), indices: indices.into(), rows }
    }

    fn map(self, f: impl Fn(Tensor<T>) -> Tensor<T>) -> Self {
        match self {
            Factor::Rows { examples, indices, rows } => Factor::Rows { examples, indices, rows: f(rows) },
            Factor::Dense(gradients) => Factor::Dense(f(gradients)),
            Factor::Outer { rows, columns } => Factor::Outer { rows: f(rows), columns: f(columns) },
        }
    }

    fn is_tracked(&self) -> bool {
        match self {
            Factor::Dense(gradients) => gradients.is_tracked(),
            Factor::Rows { rows, .. } => rows.is_tracked(),
            Factor::Outer { rows, columns } => rows.is_tracked() || columns.is_tracked(),
        }
    }

    /// Every example's gradient, `[batch, count]`.
    fn dense(&self, batch: usize, count: usize) -> Tensor<T> {
        match self {
            Factor::Dense(gradients) => gradients.clone(),
            Factor::Rows { examples, indices, rows } => {
                let table = count / rows.shape()[1].max(1);
                let places: Arc<[usize]> = examples.iter().zip(indices.iter()).map(|(e, i)| e * table + i).collect();
                rows.scatter(0, &places, batch * table).reshape(&[batch, count])
            }
            Factor::Outer { rows, columns } => {
                let by_example = |x: &Tensor<T>| x.reshape(&[batch, x.shape()[0] / batch, x.shape()[1]]);
                by_example(rows).t().matmul(&by_example(columns)).reshape(&[batch, count])
            }
        }
    }

    /// `Σ_b w_b g_b`, flat, `[count]`.
    fn weighted_sum(&self, weights: &Tensor<T>, count: usize) -> Tensor<T> {
        match self {
            Factor::Rows { examples, indices, rows } => {
                let weighted = rows * weights.select(0, examples, None).unsqueeze(1);
                weighted.scatter(0, indices, count / rows.shape()[1].max(1)).reshape(&[count])
            }
            Factor::Dense(gradients) => weights.matmul(gradients),
            Factor::Outer { rows, columns } => {
                let each = [weights.count(), rows.count() / weights.count()];
                let weighted = rows.reshape(&each) * weights.unsqueeze(1);
                let sum = weighted.reshape(rows.shape()).product(columns, true, false);
                sum.reshape(&[sum.count()])
            }
        }
    }

    /// `⟨g_b, v⟩` for each example.
    fn dot(&self, v: &Tensor<T>, batch: usize) -> Tensor<T> {
        match self {
            Factor::Dense(gradients) => gradients.matmul(&v.reshape(&[v.count()])),
            Factor::Rows { examples, indices, rows } => {
                let width = rows.shape()[1];
                let own = v.reshape(&[v.count() / width.max(1), width]).select(0, indices, None);
                (rows * own).sum_axis(1).scatter(0, examples, batch)
            }
            Factor::Outer { rows, columns } => {
                let v = v.reshape(&[rows.shape()[1], columns.shape()[1]]);
                let products = rows.matmul(&v) * columns;
                products.reshape(&[batch, products.count() / batch]).sum_axis(1)
            }
        }
    }
}

/// `⟨g_a, g_b⟩` for all pairs of examples, from the factors where that takes fewer operations than the gradients do.
fn gram<T: Scalar>(factors: &[Factor<T>], batch: usize, count: usize) -> Tensor<T> {
    // Entries for each example, and the operations for a pair of entries.
    let sizes = |factor: &Factor<T>| match factor {
        Factor::Outer { rows, columns } => Some((rows.shape()[0].div_ceil(batch), rows.shape()[1] + columns.shape()[1])),
        Factor::Rows { rows, .. } => Some((rows.shape()[0].div_ceil(batch), rows.shape()[1])),
        Factor::Dense(_) => None,
    };
    let sizes: Option<Vec<(usize, usize)>> = factors.iter().map(sizes).collect();
    let cheaper = |sizes: Vec<(usize, usize)>| {
        let entries = sizes.iter().map(|size| size.0).sum::<usize>();
        sizes.iter().map(|size| size.1).max().is_some_and(|operations| entries.saturating_pow(2).saturating_mul(operations) <= count)
    };
    if !sizes.is_some_and(cheaper) {
        return gram_of_gradients(factors, batch, count);
    }
    let mut pairs = factors.iter().flat_map(|a| factors.iter().map(move |b| (a, b)));
    let sum = pairs.try_fold(Tensor::zeros(&[batch, batch]), |sum, (a, b)| {
        Some(sum + b.sum_entries(&a.sum_entries(&a.products(b)?, 0, batch), 1, batch))
    });
    sum.unwrap_or_else(|| gram_of_gradients(factors, batch, count))
}

impl<T: Scalar> Factor<T> {
    /// The inner products of the entries of two factors, `⟨x gᵀ, x' g'ᵀ⟩ = ⟨x, x'⟩ ⟨g, g'⟩`, where an entry of a table has
    /// for `x` a one in the place of its row. None where one of the two is dense.
    fn products(&self, other: &Self) -> Option<Tensor<T>> {
        let products = match (self, other) {
            (Factor::Outer { rows, columns }, Factor::Outer { rows: others, columns: other_columns }) => {
                rows.product(others, false, true) * columns.product(other_columns, false, true)
            }
            (Factor::Rows { indices, rows, .. }, Factor::Rows { indices: other_indices, rows: others, .. }) => {
                let same = |i: usize| indices[i / other_indices.len()] == other_indices[i % other_indices.len()];
                let same = Tensor::from_fn(&[indices.len(), other_indices.len()], |i| if same(i) { T::ONE } else { T::ZERO });
                rows.product(others, false, true) * same
            }
            (Factor::Outer { rows, columns }, Factor::Rows { indices, rows: others, .. }) => {
                rows.select(1, indices, None) * columns.product(others, false, true)
            }
            (Factor::Rows { .. }, Factor::Outer { .. }) => other.products(self)?.t(),
            (Factor::Dense(_), _) | (_, Factor::Dense(_)) => return None,
        };
        Some(products)
    }

    /// Sums an axis of entries over those of each example.
    fn sum_entries(&self, x: &Tensor<T>, axis: usize, batch: usize) -> Tensor<T> {
        match self {
            Factor::Rows { examples, .. } => x.scatter(axis, examples, batch),
            Factor::Outer { .. } | Factor::Dense(_) => {
                let mut shape = x.shape().to_vec();
                shape.splice(axis..=axis, [batch, x.shape()[axis] / batch]);
                x.reshape(&shape).sum_axis(axis as isize + 1)
            }
        }
    }
}

/// Elements of gradients that are held at a time for a Gram matrix.
const HELD: usize = if cfg!(test) { 64 } else { 1 << 24 };

/// `⟨g_a, g_b⟩` from the gradients themselves, of which two blocks of examples are held at a time.
fn gram_of_gradients<T: Scalar>(factors: &[Factor<T>], batch: usize, count: usize) -> Tensor<T> {
    let size = (HELD / count.max(1)).clamp(1, batch);
    if size == batch || recorded(factors) {
        let all = dense(factors, batch, count, recorded(factors));
        return all.product(&all, false, true);
    }
    let block = |first: usize| gradients_of(factors, batch, first..(first + size).min(batch), count);
    let mut gram = vec![T::ZERO; batch * batch];
    for i in (0..batch).step_by(size) {
        let left = block(i);
        for j in (0..=i).step_by(size) {
            let products = if i == j { left.product(&left, false, true) } else { left.product(&block(j), false, true) };
            for (at, &product) in products.as_slice().iter().enumerate() {
                let (a, b) = (i + at / products.shape()[1], j + at % products.shape()[1]);
                (gram[a * batch + b], gram[b * batch + a]) = (product, product);
            }
        }
    }
    Tensor::raw(gram, crate::tensor::checked(&[batch, batch]))
}

/// The gradients of some of the examples, `[examples, count]`.
fn gradients_of<T: Scalar>(factors: &[Factor<T>], batch: usize, examples: Range<usize>, count: usize) -> Tensor<T> {
    use crate::kernels::parallel::*;
    let shape = crate::tensor::checked(&[examples.len(), count]);
    let mut values = Buffer::stale(shape.count());
    if count > 0 {
        values.par_chunks_exact_mut(count).zip(examples.into_par_iter()).for_each(|(row, b)| write_example(factors, batch, b, row));
    }
    Tensor::raw(values, shape)
}

/// `‖g_b‖²` for each example, of which one gradient for each task is made.
fn squared_norms<T: Scalar>(factors: &[Factor<T>], batch: usize, count: usize) -> Tensor<T> {
    use crate::kernels::parallel::*;
    let norm = |row: &mut Vec<T>, (b, norm): (usize, &mut T)| {
        write_example(factors, batch, b, row);
        *norm = T::from_f64(reduce::sum_of_squares(row));
    };
    let mut norms = Buffer::stale(batch);
    let row = || vec![T::ZERO; count];
    if batch * count < PARALLEL {
        let mut row = row();
        norms.iter_mut().enumerate().for_each(|place| norm(&mut row, place));
    } else {
        norms.par_iter_mut().enumerate().for_each_init(row, norm);
    }
    Tensor::raw(norms, crate::tensor::checked(&[batch]))
}

/// One example's gradient at a time; fixed groups of examples in parallel, added up in `f64`.
fn sum_of_squared_rows<T: Scalar>(shape: &[usize], own: &[Factor<T>], batch: usize) -> Tensor<T> {
    use crate::kernels::parallel::*;
    let count = shape.iter().product();
    let size = batch.div_ceil(GROUPS);
    let group = |first: usize| {
        let mut total = vec![0.0f64; count];
        let mut row = vec![T::ZERO; count];
        for b in first..(first + size).min(batch) {
            write_example(own, batch, b, &mut row);
            reduce::add_squares(&mut total, &row);
        }
        total
    };
    let firsts: Vec<usize> = (0..batch).step_by(size).collect();
    let totals: Vec<Vec<f64>> =
        if batch * count < PARALLEL { firsts.into_iter().map(group).collect() } else { firsts.into_par_iter().map(group).collect() };
    let sum = |i: usize| T::from_f64(totals.iter().map(|total| total[i]).sum());
    Tensor::from_fn(shape, sum)
}

impl<P: Params> ExampleGrads<P> {
    /// The number of examples.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The losses, `[batch]`.
    pub fn losses(&self) -> &Tensor<P::Elem> {
        &self.losses
    }

    fn each_tensor(&self, mut f: impl FnMut(&Tensor<P::Elem>, &[Factor<P::Elem>]) -> Tensor<P::Elem>) -> P {
        let mut factors = self.factors.iter();
        self.params.map(|_, x| factors.next().map_or_else(|| x.clone(), |own| f(x, own)))
    }

    /// All gradients: a model whose tensors have a leading axis of examples.
    pub fn gradients(&self) -> P {
        self.each_tensor(|x, own| dense(own, self.batch, x.count(), recorded(own)).reshape(&[&[self.batch], x.shape()].concat()))
    }

    /// `Σ_b w_b g_b` for weights `[batch]`, which may be differentiated too; no example's gradient is made.
    ///
    /// ```
    /// use gradus_autodiff::{Tensor, grad, per_example};
    /// let (w, x): (Tensor, _) = (Tensor::vector(&[1.0]), Tensor::vector(&[1.0, -4.0]));
    /// let each = per_example(|w: &Tensor, x: &Tensor| w * x, &w, &x)?;
    /// // Gradients clipped to a norm of 2, example by example.
    /// let clipped = (each.squared_norms().sqrt().recip() * 2.0).minimum(&Tensor::scalar(1.0));
    /// assert_eq!(each.weighted_sum(&clipped).to_vec(), [-1.0]);
    /// assert_eq!(grad(|weights: &Tensor| each.weighted_sum(weights).sum(), &clipped).to_vec(), [1.0, -4.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// When the weights have another shape.
    #[track_caller]
    pub fn weighted_sum(&self, weights: &Tensor<P::Elem>) -> P {
        assert!(weights.shape() == [self.batch], "weighted_sum: weights of shape {} for {} examples", weights.shape_ref(), self.batch);
        self.each_tensor(|x, own| {
            let zero = Tensor::zeros(&[x.count()]);
            own.iter().map(|factor| factor.weighted_sum(weights, x.count())).fold(zero, |sum, part| sum + part).reshape(x.shape())
        })
    }

    /// `Σ_b g_b²` element by element: the diagonal Fisher information before division by the number of examples. One
    /// product where each example used a parameter once, else one example's gradient at a time.
    pub fn sum_of_squares(&self) -> P {
        self.each_tensor(|x, own| match own {
            [Factor::Outer { rows, columns }] if rows.shape()[0] == self.batch => {
                rows.square().product(&columns.square(), true, false).reshape(x.shape())
            }
            [Factor::Rows { indices, rows, .. }] => rows.square().scatter(0, indices, x.shape()[0]).reshape(x.shape()),
            [Factor::Dense(rows)] => rows.square().sum_axis(0).reshape(x.shape()),
            _ if recorded(own) => dense(own, self.batch, x.count(), true).square().sum_axis(0).reshape(x.shape()),
            _ => sum_of_squared_rows(x.shape(), own, self.batch),
        })
    }

    /// The inner products of the examples' gradients, `[batch, batch]`.
    pub fn gram(&self) -> Tensor<P::Elem> {
        self.sum_over_tensors(&self.params, &[self.batch, self.batch], |x, own| gram(own, self.batch, x.count()))
    }

    /// The squared Euclidean norm of each example's gradient, `[batch]`. At most one gradient for each thread is made.
    pub fn squared_norms(&self) -> Tensor<P::Elem> {
        self.sum_over_tensors(&self.params, &[self.batch], |x, own| match own {
            [Factor::Outer { rows, columns }] if rows.shape()[0] == self.batch => rows.square().sum_axis(1) * columns.square().sum_axis(1),
            [Factor::Rows { examples, rows, .. }] => rows.square().sum_axis(1).scatter(0, examples, self.batch),
            [Factor::Dense(rows)] => rows.square().sum_axis(1),
            _ if recorded(own) => dense(own, self.batch, x.count(), true).square().sum_axis(1),
            _ => squared_norms(own, self.batch, x.count()),
        })
    }

    /// The inner product of each example's gradient with a model, `[batch]`; no example's gradient is made.
    ///
    /// # Panics
    /// When the model's tensors have other shapes.
    #[track_caller]
    pub fn dot(&self, model: &P) -> Tensor<P::Elem> {
        let mut shapes = self.params.leaves().into_iter().map(Tensor::shape);
        let same = model.leaves().iter().all(|v| shapes.next() == Some(v.shape())) && shapes.next().is_none();
        assert!(same, "dot: the model's tensors have other shapes than the gradients");
        self.sum_over_tensors(model, &[self.batch], |v, own| {
            let zero = Tensor::zeros(&[self.batch]);
            own.iter().map(|factor| factor.dot(v, self.batch)).fold(zero, |sum, part| sum + part)
        })
    }

    fn sum_over_tensors(
        &self,
        model: &P,
        shape: &[usize],
        f: impl Fn(&Tensor<P::Elem>, &[Factor<P::Elem>]) -> Tensor<P::Elem>,
    ) -> Tensor<P::Elem> {
        model.leaves().into_iter().zip(&self.factors).fold(Tensor::zeros(shape), |sum, (x, own)| sum + f(x, own))
    }
}
