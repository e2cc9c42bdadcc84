//! Recomputation in place of storage.

use std::collections::HashSet;
use std::sync::Arc;

use super::relu_rule::ReluRule;
use super::reverse::pull_back;
use super::tap;
use crate::node::{Cx, NodeRef, Rule, mark};
use crate::{Params, Scalar, Tensor};

/// `f(inputs)`, of whose inside nothing is kept: the backward pass evaluates `f` again and goes back through that
/// (Chen, Xu, Zhang and Guestrin, 2016). A chain of `n` steps in segments of `√n` needs memory for `2 √n` steps and one more
/// evaluation.
///
/// `f` is evaluated once here and once in each pass that goes back through the result, and must return the same each time:
/// what is random, such as a mask of dropout, is drawn outside and given to it. Where an outer derivative is being taken, the
/// backward step is itself recomputed rather than recorded, so that derivatives of every order need little memory. Per-example
/// gradients refuse a checkpoint that examples pass through. Taps inside `f` are not heard.
///
/// ```
/// use gradus_autodiff::{Tensor, checkpoint, grad};
/// let block = |(w, x): &(Tensor<f64>, Tensor<f64>)| x.matmul(w).tanh().matmul(w);
/// let loss = |w: &Tensor<f64>| {
///     let x = Tensor::ones(&[1, 2]);
///     checkpoint(block, &(w.clone(), x)).square().sum()
/// };
/// let plain = |w: &Tensor<f64>| block(&(w.clone(), Tensor::ones(&[1, 2]))).square().sum();
/// let w = Tensor::eye(2);
/// assert_eq!(grad(loss, &w), grad(plain, &w));
/// ```
///
/// # Panics
/// When `f` uses a captured tensor that a derivative is being taken of, of which it tells operation and shape: its gradient
/// would be lost. Everything that has a gradient belongs in `inputs`, any [`Params`]; constants may be captured.
#[track_caller]
pub fn checkpoint<P: Params + Send + Sync + 'static>(
    f: impl Fn(&P) -> Tensor<P::Elem> + Send + Sync + 'static,
    inputs: &P,
) -> Tensor<P::Elem> {
    let constant = inputs.map(|_, x| x.detach());
    let leaves = inputs.leaves().into_iter().cloned().collect();
    let f = move |leaves: &Vec<Tensor<P::Elem>>| {
        let mut leaves = leaves.iter();
        let inputs = constant.map(|_, x| leaves.next().unwrap_or(x).clone());
        tap::unheard(|| f(&inputs))
    };
    recompute(Arc::new(f), leaves)
}

/// A function of several tensors, shared by the rules that differentiate each other.
type Function<T> = Arc<dyn Fn(&Vec<Tensor<T>>) -> Tensor<T> + Send + Sync>;

#[track_caller]
fn recompute<T: Scalar>(f: Function<T>, inputs: Vec<Tensor<T>>) -> Tensor<T> {
    let start = mark();
    let y = f(&inputs.iter().map(Tensor::detach).collect());
    if let Some(node) = y.node() {
        let captured = older(node, start).unwrap_or_else(|| node.clone());
        panic!(
            "checkpoint: the function captured a tensor of shape {}, the result of `{}`, that a derivative is being taken of; \
             pass it among the inputs",
            captured.shape,
            captured.rule.name()
        );
    }
    let parents = inputs.iter().map(|x| x.node().cloned()).collect();
    y.record_many(parents, || Recomputed { f, inputs })
}

/// A node that `node` was computed from and that is older than `start`.
fn older<T: Scalar>(node: &NodeRef<T>, start: u64) -> Option<NodeRef<T>> {
    let (mut stack, mut seen) = (vec![node.clone()], HashSet::new());
    while let Some(node) = stack.pop() {
        if node.id < start {
            return Some(node);
        }
        if seen.insert(node.id) {
            stack.extend(node.parents.as_slice().iter().flatten().cloned());
        }
    }
    None
}

struct Recomputed<T: Scalar> {
    f: Function<T>,
    inputs: Vec<Tensor<T>>,
}

impl<T: Scalar> Rule<T> for Recomputed<T> {
    fn name(&self) -> &'static str {
        "checkpoint"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let wanted: Vec<usize> = (0..self.inputs.len()).filter(|&i| cx.wants(i)).collect();
        let inputs: Vec<Tensor<T>> = self.inputs.iter().map(|x| cx.get(x)).collect();
        let (stack, relu) = (cx.mode().stack, cx.mode().relu);
        if cx.is_plain(&g) {
            let found = pull_back_wanted(&self.f, &inputs, &wanted, g, stack, relu);
            return wanted.into_iter().zip(found).for_each(|(i, gradient)| cx.add(i, gradient));
        }
        // What another derivative goes back through is recomputed as well. One tensor holds all the gradients.
        let (f, own, rows) = (self.f.clone(), wanted.clone(), stack.unwrap_or(1));
        let backward = move |all: &Vec<Tensor<T>>| {
            let Some((g, inputs)) = all.split_last() else { return Tensor::zeros(&[rows, 0]) };
            let found = pull_back_wanted(&f, inputs, &own, g.clone(), stack, relu);
            let flat: Vec<Tensor<T>> = found.iter().map(|x| x.reshape(&[rows, x.count() / rows.max(1)])).collect();
            Tensor::concat(&flat, 1)
        };
        let all = recompute(Arc::new(backward), [&inputs[..], &[g]].concat());
        let mut first = 0;
        for i in wanted {
            let x = &self.inputs[i];
            cx.add(i, all.narrow(1, first, x.count()).reshape(&cx.shape(x.shape())));
            first += x.count();
        }
    }
    fn stacks(&self) -> bool {
        true
    }
}

/// The gradients of the wanted inputs of `f`, zeros where there is none.
fn pull_back_wanted<T: Scalar>(
    f: &Function<T>,
    inputs: &[Tensor<T>],
    wanted: &[usize],
    g: Tensor<T>,
    stack: Option<usize>,
    relu: ReluRule,
) -> Vec<Tensor<T>> {
    let at = wanted.iter().map(|&i| inputs[i].clone()).collect();
    let of_wanted = |variables: &Vec<Tensor<T>>| {
        let mut all = inputs.to_vec();
        wanted.iter().zip(variables).for_each(|(&i, x)| all[i] = x.clone());
        f(&all)
    };
    let shape = |x: &Tensor<T>| stack.into_iter().chain(x.shape().iter().copied()).collect::<Vec<_>>();
    let found = pull_back(of_wanted, &at, g, stack, relu);
    found.into_iter().zip(&at).map(|(gradient, x)| gradient.unwrap_or_else(|| Tensor::zeros(&shape(x)))).collect()
}
