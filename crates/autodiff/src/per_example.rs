//! Per-example gradients: one backward pass for all examples, kept as factors.
//!
//! Axis 0 of every activation is the example and the function returns one loss per example. A gradient is either
//! *aligned* (chunk `b` of it is the gradient of loss `b`, which is zero elsewhere) or, where a value that does not depend
//! on the inputs is used, a sum of [`Factor`]s. Where an operation has no factor, its rule is run once for each example.

use crate::kernels::{Buffer, pointwise};
use crate::node::{Level, NodeRef, run_rule};
use crate::transforms::variables;
use crate::{Params, Scalar, Tensor};

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
    /// An operation combines different examples, so that an example's gradient is not its own.
    #[error("operation `{operation}` mixes examples: per-example gradients are not defined through it")]
    MixesExamples {
        /// The operation's name.
        operation: &'static str,
    },
}

/// A part of the per-example gradients of one tensor.
#[derive(Debug, Clone)]
pub enum Factor<T: Scalar> {
    /// `Σ_t rows[b, t]ᵀ columns[b, t]`: stored as `[batch · time, r]` and `[batch · time, c]`.
    Outer {
        /// The factor that indexes the rows of the parameter.
        rows: Tensor<T>,
        /// The factor that indexes its columns.
        columns: Tensor<T>,
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

enum Gradient<T: Scalar> {
    Aligned(Tensor<T>),
    Each(Vec<Factor<T>>),
}

/// The gradients of `f(params, inputs)[b]` for every example `b`. `inputs` holds whatever has an example axis: its tensors
/// share the size of axis 0. Labels and other constants may be captured.
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
    let losses = y.detach();
    let factors = backward(y, batch, level.bit, example.bit, &ids)?;
    Ok(ExampleGrads { params: params.map(|_, x| x.detach()), batch, losses, factors })
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

fn backward<T: Scalar>(y: Tensor<T>, batch: usize, bit: u64, example: u64, leaves: &[u64]) -> Result<Vec<Vec<Factor<T>>>, PerExampleError> {
    let mut slots: Vec<Vec<Factor<T>>> = leaves.iter().map(|_| Vec::new()).collect();
    let first = leaves.first().copied().unwrap_or(u64::MAX);
    let wanted = |node: &NodeRef<T>| node.depends & bit != 0 && node.id >= first;
    let seed = Tensor::ones(&[batch]);
    let mut frontier: Vec<(NodeRef<T>, Gradient<T>)> = Vec::new();
    if let Some(root) = y.into_node().filter(&wanted) {
        frontier.push((root, Gradient::Aligned(seed)));
    }
    while let Some((node, g)) = frontier.pop() {
        if let Ok(slot) = leaves.binary_search(&node.id) {
            slots[slot] = into_factors(g, batch);
            continue;
        }
        for (i, gradient) in pull_back(&node, g, batch, example, &wanted)? {
            let Some(parent) = node.parents.as_slice()[i].as_ref() else { continue };
            match frontier.binary_search_by_key(&parent.id, |(n, _)| n.id) {
                Ok(at) => {
                    let old = std::mem::replace(&mut frontier[at].1, Gradient::Each(Vec::new()));
                    frontier[at].1 = sum(old, gradient, batch);
                }
                Err(at) => frontier.insert(at, (parent.clone(), gradient)),
            }
        }
    }
    Ok(slots)
}

/// The gradients of a node's wanted parents.
fn pull_back<T: Scalar>(
    node: &NodeRef<T>,
    g: Gradient<T>,
    batch: usize,
    example: u64,
    wanted: &dyn Fn(&NodeRef<T>) -> bool,
) -> Result<Vec<(usize, Gradient<T>)>, PerExampleError> {
    let parents: Vec<usize> =
        (0..node.parents.as_slice().len()).filter(|&i| node.parents.as_slice()[i].as_ref().is_some_and(wanted)).collect();
    let g = match g {
        Gradient::Aligned(g) => g,
        Gradient::Each(factors) => {
            let rows = dense(&factors, batch, node.shape.count());
            return Ok(each_row(node, &rows, &parents, wanted));
        }
    };
    let mut found = Vec::new();
    let mut spread = Vec::new();
    let mut aligned = Vec::new();
    for &i in &parents {
        let depends_on_inputs = node.parents.as_slice()[i].as_ref().is_some_and(|p| p.depends & example != 0);
        if node.rule.keeps_examples(i, batch) {
            aligned.push(i);
        } else if depends_on_inputs {
            return Err(PerExampleError::MixesExamples { operation: node.rule.name() });
        } else if let Some(factor) = node.rule.example_factor(i, &g, batch) {
            found.push((i, Gradient::Each(vec![factor])));
        } else {
            spread.push(i);
        }
    }
    if !spread.is_empty() {
        found.extend(each_row(node, &diagonal(&g, batch), &spread, wanted));
    }
    if !aligned.is_empty() {
        let only = |p: &NodeRef<T>| wanted(p) && aligned.iter().any(|&i| node.parents.as_slice()[i].as_ref().is_some_and(|q| q.id == p.id));
        let gradients = run_rule(node, g, false, &only, None);
        found.extend(gradients.into_iter().filter(|(i, _)| aligned.contains(i)).map(|(i, g)| (i, Gradient::Aligned(g))));
    }
    Ok(found)
}

/// Runs the rule on each row of `rows` `[batch, count]`.
fn each_row<T: Scalar>(
    node: &NodeRef<T>,
    rows: &Tensor<T>,
    parents: &[usize],
    wanted: &dyn Fn(&NodeRef<T>) -> bool,
) -> Vec<(usize, Gradient<T>)> {
    let batch = rows.shape()[0];
    let stack = rows.reshape(&[&[batch], &node.shape[..]].concat());
    let mut found = run_rule(node, stack, false, wanted, Some(batch));
    found.retain(|(i, _)| parents.contains(i));
    let dense = |g: Tensor<T>| Factor::Dense(g.reshape(&[batch, g.count() / batch]));
    found.into_iter().map(|(i, g)| (i, Gradient::Each(vec![dense(g)]))).collect()
}

/// `[batch, count]` with chunk `b` of an aligned gradient in row `b` and zeros elsewhere.
fn diagonal<T: Scalar>(g: &Tensor<T>, batch: usize) -> Tensor<T> {
    let count = g.count();
    let chunk = count / batch;
    let mut values = vec![T::ZERO; batch * count];
    for b in 0..batch {
        values[b * count + b * chunk..b * count + (b + 1) * chunk].copy_from_slice(&g.as_slice()[b * chunk..(b + 1) * chunk]);
    }
    Tensor::raw(values, crate::tensor::checked(&[batch, count]))
}

fn into_factors<T: Scalar>(g: Gradient<T>, batch: usize) -> Vec<Factor<T>> {
    match g {
        Gradient::Aligned(g) => vec![Factor::Dense(diagonal(&g, batch))],
        Gradient::Each(factors) => factors,
    }
}

fn sum<T: Scalar>(a: Gradient<T>, b: Gradient<T>, batch: usize) -> Gradient<T> {
    match (a, b) {
        (Gradient::Aligned(a), Gradient::Aligned(b)) => Gradient::Aligned(a + b),
        (a, b) => {
            let mut factors = into_factors(a, batch);
            factors.extend(into_factors(b, batch));
            Gradient::Each(factors)
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

fn dense<T: Scalar>(factors: &[Factor<T>], batch: usize, count: usize) -> Tensor<T> {
    use rayon::prelude::*;
    if let [Factor::Dense(rows)] = factors {
        return rows.clone();
    }
    let mut values = Buffer::stale(batch * count);
    if count > 0 {
        values.par_chunks_exact_mut(count).enumerate().for_each(|(b, row)| write_example(factors, batch, b, row));
    }
    Tensor::raw(values, crate::tensor::checked(&[batch, count]))
}

impl<T: Scalar> Factor<T> {
    /// `Σ_b w_b g_b`, flat.
    fn weighted_sum(&self, weights: &Tensor<T>) -> Tensor<T> {
        match self {
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
    let outer = |factor: &Factor<T>| match factor {
        Factor::Outer { rows, columns } => Some((rows.clone(), columns.clone())),
        Factor::Dense(_) => None,
    };
    let uses: Option<Vec<_>> = factors.iter().map(outer).collect();
    let times = |uses: &[(Tensor<T>, Tensor<T>)]| uses.iter().map(|(rows, _)| rows.shape()[0] / batch).sum::<usize>();
    let cheaper = |uses: &[(Tensor<T>, Tensor<T>)]| {
        let [(rows, columns), ..] = uses else { return false };
        times(uses).pow(2) * (rows.shape()[1] + columns.shape()[1]) <= count
    };
    let Some(uses) = uses.filter(|uses| cheaper(uses)) else {
        let all = dense(factors, batch, count);
        return all.product(&all, false, true);
    };
    // `⟨Σ x gᵀ, Σ x' g'ᵀ⟩ = Σ ⟨x, x'⟩ ⟨g, g'⟩` over all pairs of uses.
    let mut sum = Tensor::zeros(&[batch, batch]);
    for ((rows, columns), (others, other_columns)) in uses.iter().flat_map(|a| uses.iter().map(move |b| (a, b))) {
        let pairs = rows.product(others, false, true) * columns.product(other_columns, false, true);
        let blocks = [batch, rows.shape()[0] / batch, batch, others.shape()[0] / batch];
        sum = sum + pairs.reshape(&blocks).sum_axis(3).sum_axis(1);
    }
    sum
}

/// `‖g_b‖²` for each example, of which one gradient at a time is made.
fn squared_norms<T: Scalar>(factors: &[Factor<T>], batch: usize, count: usize) -> Tensor<T> {
    use rayon::prelude::*;
    let size = batch.div_ceil(GROUPS);
    let mut norms = Buffer::filled(T::ZERO, batch);
    norms.par_chunks_mut(size).enumerate().for_each(|(group, norms)| {
        let mut row = vec![T::ZERO; count];
        for (b, norm) in (group * size..).zip(norms) {
            write_example(factors, batch, b, &mut row);
            *norm = T::from_f64(row.iter().map(|g| g.to_f64() * g.to_f64()).sum());
        }
    });
    Tensor::raw(norms, crate::tensor::checked(&[batch]))
}

/// One example's gradient at a time; fixed groups of examples in parallel, added up in `f64`.
fn sum_of_squared_rows<T: Scalar>(shape: &[usize], own: &[Factor<T>], batch: usize) -> Tensor<T> {
    use rayon::prelude::*;
    let count = shape.iter().product();
    let size = batch.div_ceil(GROUPS);
    let group = |first: usize| {
        let mut total = vec![0.0f64; count];
        let mut row = vec![T::ZERO; count];
        for b in first..(first + size).min(batch) {
            write_example(own, batch, b, &mut row);
            total.iter_mut().zip(&row).for_each(|(t, g)| *t += g.to_f64() * g.to_f64());
        }
        total
    };
    let firsts: Vec<usize> = (0..batch).step_by(size).collect();
    let totals: Vec<Vec<f64>> = firsts.into_par_iter().map(group).collect();
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
        self.each_tensor(|x, own| dense(own, self.batch, x.count()).reshape(&[&[self.batch], x.shape()].concat()))
    }

    /// `Σ_b w_b g_b` for weights `[batch]`; no example's gradient is made. Panics for another number of weights.
    #[track_caller]
    pub fn weighted_sum(&self, weights: &[P::Elem]) -> P {
        assert!(weights.len() == self.batch, "weighted_sum: {} weights for {} examples", weights.len(), self.batch);
        let weights = Tensor::vector(weights);
        self.each_tensor(|x, own| {
            let zero = Tensor::zeros(&[x.count()]);
            own.iter().map(|factor| factor.weighted_sum(&weights)).fold(zero, |sum, part| sum + part).reshape(x.shape())
        })
    }

    /// `Σ_b g_b²` element by element: the diagonal Fisher information before division by the number of examples. One
    /// product where each example used a parameter once, else one example's gradient at a time.
    pub fn sum_of_squares(&self) -> P {
        self.each_tensor(|x, own| match own {
            [Factor::Outer { rows, columns }] if rows.shape()[0] == self.batch => {
                rows.square().product(&columns.square(), true, false).reshape(x.shape())
            }
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
            [Factor::Outer { rows, columns }] if rows.shape()[0] == self.batch => {
                rows.square().sum_axis(1) * columns.square().sum_axis(1)
            }
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
            let (v, zero) = (v.detach(), Tensor::zeros(&[self.batch]));
            own.iter().map(|factor| factor.dot(&v, self.batch)).fold(zero, |sum, part| sum + part)
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
