//! The graph: how a tensor was computed, and the pass that walks it backwards.
//!
//! A node's id is larger than those of its parents, so a pass keeps its frontier sorted by id and always takes the last
//! entry: no marks, no recursion. `depends` has one bit for each nesting level of derivative below which the value was
//! computed; that keeps nested derivatives from confusing each other.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::per_example::Factor;
use crate::transforms::relu_rule::{Gated, ReluRule};
use crate::{Scalar, Shape, Tensor};

/// How an operation is differentiated. Written once, in terms of tensor operations, so that every order works.
pub(crate) trait Rule<T: Scalar>: Send + Sync + 'static {
    /// The operation's name, for messages.
    fn name(&self) -> &'static str;

    /// Hands the gradient of each wanted parent to [`Cx::add`], given the gradient `g` of the output.
    /// Must be linear in `g`.
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>);

    /// Whether [`Rule::backward`] also takes several gradients at once, stacked along a new first axis of `g`, and hands
    /// out stacks: it then uses [`Cx::shape`] and [`Cx::sum_to`] for shapes. Otherwise it is called for each of them.
    fn stacks(&self) -> bool {
        false
    }

    /// Whether row chunk `b` of the output depends on chunk `b` alone of parent `i`, where both are cut into `batch`
    /// equal contiguous chunks of their row-major elements.
    fn keeps_examples(&self, _parent: usize, _batch: usize) -> bool {
        false
    }

    /// Whether [`Rule::backward`] also takes a scalar that stands for the gradient of every element ([`Cx::uniform`]), as that
    /// of a sum is. Otherwise it is repeated to the output's shape first.
    fn takes_uniform(&self) -> bool {
        false
    }

    /// Whether the operand has the other precision: it is no parent, but handed to [`Cx::cross`].
    fn crosses(&self) -> bool {
        false
    }

    /// What the backward modes for activations ([`ReluRule`]) must know of the operation.
    fn activation(&self) -> Activation {
        Activation::None
    }

    /// The per-example gradients of parent `i`, which does not depend on the examples, as a factor, where there is something
    /// better than running the rule once for each of the `batch` examples. When `recording`, an outer derivative needs the
    /// factor's history: it must be made by recorded operations on `g` and the saved tensors.
    fn example_factor(&self, _parent: usize, _g: &Tensor<T>, _batch: usize, _recording: bool) -> Option<Factor<T>> {
        None
    }
}

/// What an operation is to the backward modes for activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// Not a rectifier.
    None,
    /// `max(x, 0)`, for which the modes are defined.
    Relu,
    /// Another rectifier, such as GELU.
    Other,
    /// A chain with rectifiers inside, where a pass does not see their gradients.
    Fused,
}

/// One allocation, as large as its rule needs.
pub(crate) struct Node<T: Scalar, R: ?Sized = dyn Rule<T>> {
    pub(crate) id: u64,
    pub(crate) depends: u64,
    pub(crate) shape: Shape,
    pub(crate) parents: Parents<T>,
    pub(crate) rule: R,
}

/// The most parents of most operations.
const PARENTS: usize = 3;

/// Tensors for which lists have room from the start: a step of a small model takes less time than to make room bit by bit.
pub(crate) const FEW: usize = 16;

pub(crate) enum Parents<T: Scalar> {
    Few([Option<NodeRef<T>>; PARENTS]),
    Many(Box<[Option<NodeRef<T>>]>),
}

impl<T: Scalar> Parents<T> {
    pub(crate) fn as_slice(&self) -> &[Option<NodeRef<T>>] {
        match self {
            Parents::Few(few) => few,
            Parents::Many(many) => many,
        }
    }
}

/// A shared node whose drop is iterative: a chain of any length frees without recursion.
pub(crate) struct NodeRef<T: Scalar>(Option<Arc<Node<T>>>);

impl<T: Scalar> Clone for NodeRef<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Scalar> std::ops::Deref for NodeRef<T> {
    type Target = Node<T>;
    #[allow(clippy::expect_used)]
    fn deref(&self) -> &Node<T> {
        self.0.as_ref().expect("a node reference is empty only while it is dropped")
    }
}

/// Nodes that nobody holds any more, while the first of them is freed.
#[allow(unreachable_pub)] // In the signature of a hidden method of a public, sealed trait.
pub struct Doomed<T: Scalar> {
    draining: bool,
    nodes: Vec<Arc<Node<T>>>,
}

impl<T: Scalar> Doomed<T> {
    pub(crate) const fn new() -> Self {
        Self { draining: false, nodes: Vec::new() }
    }
}

thread_local! {
    static LEVEL: Cell<u32> = const { Cell::new(0) };
    static IDS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

impl<T: Scalar> Drop for NodeRef<T> {
    fn drop(&mut self) {
        let Some(node) = self.0.take() else { return };
        // When two threads let go at once, neither may see that it is the last: the node is then freed where it is let go,
        // one level deeper, which does no harm.
        if Arc::strong_count(&node) > 1 {
            return;
        }
        // At the end of a thread, when its list is gone, nodes are freed where they are let go.
        let _ = T::doomed().try_with(|doomed| {
            let mut list = doomed.borrow_mut();
            if list.draining {
                return list.nodes.push(node);
            }
            list.draining = true;
            drop(list);
            drop(node);
            while let Some(next) = { doomed.borrow_mut().nodes.pop() } {
                drop(next);
            }
            doomed.borrow_mut().draining = false;
        });
    }
}

/// Bits of an id that count operations; the bits above number the thread that recorded them.
const COUNTER_BITS: u32 = 40;
static THREADS: AtomicU64 = AtomicU64::new(1);

fn next_id() -> u64 {
    IDS.with(|ids| {
        let (mut thread, next) = ids.get();
        // A thread that has used up its numbers goes on as another.
        let next = next & ((1 << COUNTER_BITS) - 1);
        if thread == 0 || next == 0 {
            thread = THREADS.fetch_add(1, Ordering::Relaxed);
        }
        ids.set((thread, next + 1));
        (thread << COUNTER_BITS) | next
    })
}

/// An id between those of the operations recorded so far and of those to come on this thread.
pub(crate) fn mark() -> u64 {
    next_id()
}

impl<T: Scalar> NodeRef<T> {
    #[track_caller]
    pub(crate) fn new<R: Rule<T>>(shape: Shape, parents: Parents<T>, extra_depends: u64, rule: R) -> Self {
        let id = next_id();
        let mut depends = extra_depends;
        for parent in parents.as_slice().iter().flatten() {
            parent.assert_same_thread(id, rule.name());
            depends |= parent.depends;
        }
        Self(Some(Arc::new(Node { id, depends, shape, parents, rule })))
    }

    /// Refuses an operand of an operation with this id that was recorded on another thread.
    #[track_caller]
    pub(crate) fn assert_same_thread(&self, id: u64, operation: &str) {
        assert!(
            self.id >> COUNTER_BITS == id >> COUNTER_BITS,
            "{operation}: an operand is tracked by a derivative that another thread is taking; detach it, or take the derivative on this thread"
        );
    }
}

/// A nesting level of derivative, left when dropped.
pub(crate) struct Level {
    pub(crate) bit: u64,
}

impl Level {
    #[track_caller]
    pub(crate) fn enter() -> Self {
        let level = LEVEL.with(Cell::get);
        assert!(level < 64, "derivatives are nested more than 64 deep");
        LEVEL.with(|l| l.set(level + 1));
        Self { bit: 1 << level }
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        LEVEL.with(|l| l.set(l.get() - 1));
    }
}

/// A variable of a derivative: the identity on the value it wraps.
struct Leaf;

impl<T: Scalar> Rule<T> for Leaf {
    fn name(&self) -> &'static str {
        "leaf"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        cx.add(0, g);
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, _: usize) -> bool {
        true
    }
}

/// The same value as a variable of the given level.
#[track_caller]
pub(crate) fn leaf<T: Scalar>(mut x: Tensor<T>, bit: u64) -> Tensor<T> {
    let node = NodeRef::new(*x.shape_ref(), Parents::Few([x.take_node(), None, None]), bit, Leaf);
    x.with_node(node)
}

/// The same value with the history that the levels of `live` need: the others have ended, and what comes at their depth
/// later must not take it for its own.
pub(crate) fn ended<T: Scalar>(x: Tensor<T>, live: u64) -> Tensor<T> {
    let Some(node) = x.node() else { return x };
    match node.depends & live {
        0 => x.without_node(),
        depends if depends == node.depends => x,
        depends => {
            let parents = Parents::Few([Some(node.clone()), None, None]);
            let node = NodeRef(Some(Arc::new(Node { id: next_id(), depends, shape: *x.shape_ref(), parents, rule: Leaf })));
            x.without_node().with_node(node)
        }
    }
}

/// How a pass runs the rules.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mode {
    /// Whether an outer derivative differentiates what the rules do.
    pub(crate) recording: bool,
    /// How many gradients are stacked along a new first axis, if they are.
    pub(crate) stack: Option<usize>,
    pub(crate) relu: ReluRule,
    /// Whether a gradient may be handed out as a scalar that stands for a value's every element.
    pub(crate) uniform: bool,
}

/// What a rule sees of the pass that runs it.
pub(crate) struct Cx<'a, T: Scalar> {
    node: &'a NodeRef<T>,
    mode: Mode,
    wanted: &'a dyn Fn(&NodeRef<T>) -> bool,
    found: &'a mut Found<T>,
    crossed: &'a mut Outputs<T::Other>,
}

/// Gradients by the position of the parent.
pub(crate) type Found<T> = Vec<(usize, Tensor<T>)>;

/// Tensors from which a pass starts, with their gradients.
pub(crate) type Outputs<T> = Vec<(Tensor<T>, Tensor<T>)>;

/// Runs the rule of a node on one gradient, or on a stack of them. What it finds is added to `found`, and what has the other
/// precision to `crossed`.
pub(crate) fn run_rule<T: Scalar>(
    node: &NodeRef<T>,
    g: Tensor<T>,
    mode: Mode,
    wanted: &dyn Fn(&NodeRef<T>) -> bool,
    found: &mut Found<T>,
    crossed: &mut Outputs<T::Other>,
) {
    let mut run = |g: Tensor<T>, stack: Option<usize>, found: &mut Found<T>| {
        node.rule.backward(g, &mut Cx { node, mode: Mode { stack, ..mode }, wanted, found, crossed });
    };
    let g = match mode.relu {
        ReluRule::Plain => g,
        rule => match rule.gate(node.rule.activation(), node.rule.name(), g) {
            Gated::Pulled(gradient) => return found.push((0, gradient)),
            Gated::Incoming(g) => g,
        },
    };
    let count = match mode.stack {
        Some(count) if !node.rule.stacks() => count,
        stack => return run(g, stack, found),
    };
    let mut each: Vec<Found<T>> = (0..count).map(|_| Vec::new()).collect();
    each.iter_mut().enumerate().for_each(|(i, found)| run(g.narrow(0, i, 1).reshape(&node.shape), None, found));
    let Some(first) = each.first() else { return };
    // A rule hands out the same parents in the same order each time.
    let parents: Vec<usize> = first.iter().map(|(i, _)| *i).collect();
    let mut stacked = |i: usize| {
        let rows: Vec<Tensor<T>> = each.iter_mut().map(|found| found.remove(0).1).collect();
        (i, Tensor::stack(&rows, 0))
    };
    found.extend(parents.into_iter().map(&mut stacked));
}

impl<T: Scalar> Cx<'_, T> {
    /// Whether the gradient of parent `i` is needed.
    pub(crate) fn wants(&self, i: usize) -> bool {
        self.node.parents.as_slice()[i].as_ref().is_some_and(self.wanted)
    }

    /// How the pass runs the rules.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether nothing will differentiate this pass: neither an outer derivative of the function, nor one with respect to
    /// the gradient `g` (forward mode does that). Only then may a rule leave the recorded operations.
    pub(crate) fn is_plain(&self, g: &Tensor<T>) -> bool {
        !self.mode.recording && !g.is_tracked()
    }

    /// Whether [`Cx::add`] takes a scalar for a gradient that is the same at every element: so the gradient of a sum needs no
    /// memory.
    pub(crate) fn uniform(&self, g: &Tensor<T>) -> bool {
        self.mode.uniform && self.is_plain(g)
    }

    /// A saved tensor: tracked when an outer derivative needs it, plain otherwise.
    pub(crate) fn get(&self, saved: &Tensor<T>) -> Tensor<T> {
        if self.mode.recording { saved.clone() } else { saved.detach() }
    }

    /// The operation's own output, saved untracked; tracked when an outer derivative needs it.
    pub(crate) fn output(&self, saved: &Tensor<T>) -> Tensor<T> {
        if self.mode.recording { saved.detach().with_node(self.node.clone()) } else { saved.detach() }
    }

    /// The shape of gradients of a value of `shape`: with an axis in front when they are stacked.
    pub(crate) fn shape(&self, shape: &[usize]) -> Vec<usize> {
        self.mode.stack.into_iter().chain(shape.iter().copied()).collect()
    }

    /// The order of the axes of gradients that permutes the values' axes so: the axis of a stack stays first.
    pub(crate) fn axes(&self, axes: &[usize]) -> Vec<usize> {
        let lead = usize::from(self.mode.stack.is_some());
        (0..lead).chain(axes.iter().map(|axis| axis + lead)).collect()
    }

    /// The gradient with respect to a value that was broadcast from `shape`: sums over the axes along which it was repeated.
    pub(crate) fn sum_to(&self, gradient: &Tensor<T>, shape: &[usize]) -> Tensor<T> {
        let Some(count) = self.mode.stack else { return gradient.sum_to(shape) };
        // Unit axes between the stack and the value, which broadcasting added, are summed like the others.
        let missing = gradient.rank() - 1 - shape.len();
        let kept = [&[count], &vec![1; missing][..], shape].concat();
        gradient.sum_to(&kept).reshape(&[&[count], shape].concat())
    }

    /// Adds `gradient` to the gradient of an operand of the other precision.
    pub(crate) fn cross(&mut self, x: Tensor<T::Other>, gradient: Tensor<T::Other>) {
        self.crossed.push((x, gradient));
    }

    /// Adds `gradient` to the gradient of parent `i`.
    pub(crate) fn add(&mut self, i: usize, gradient: Tensor<T>) {
        self.found.push((i, gradient));
    }
}

/// A walk backwards through the graph, to the leaves of one level.
pub(crate) struct Pass<'a> {
    /// The level of the leaves.
    pub(crate) bit: u64,
    /// Their ids, ascending.
    pub(crate) leaves: &'a [u64],
    /// The first leaf and the nodes after this id are visited. With the id of the last variable of the level, operations on
    /// other variables than the one leaf need not make their gradients.
    pub(crate) beyond: u64,
    /// How many gradients are stacked along a new first axis, if they are.
    pub(crate) stack: Option<usize>,
    pub(crate) relu: ReluRule,
}

impl<'a> Pass<'a> {
    pub(crate) fn new(bit: u64, leaves: &'a [u64]) -> Self {
        Self { bit, leaves, beyond: leaves.first().copied().unwrap_or(u64::MAX), stack: None, relu: ReluRule::Plain }
    }

    pub(crate) fn stacked(bit: u64, leaves: &'a [u64], count: usize) -> Self {
        Self { stack: Some(count), ..Self::new(bit, leaves) }
    }

    /// The gradients of the leaves for outputs with their gradients. What nobody else holds is freed on the way.
    pub(crate) fn run<T: Scalar>(&self, outputs: impl IntoIterator<Item = (Tensor<T>, Tensor<T>)>) -> Vec<Option<Tensor<T>>> {
        let mut slots: Vec<Option<Tensor<T>>> = self.leaves.iter().map(|_| None).collect();
        let mut crossed = Vec::new();
        self.sweep(outputs, &mut slots, &mut crossed);
        // Gradients add up, so what passed through the other precision may be pulled back after the rest.
        while !crossed.is_empty() {
            assert!(self.relu == ReluRule::Plain, "cast: {:?} is not linear, and cannot go back through another precision", self.relu);
            let mut back = Vec::new();
            self.sweep(std::mem::take(&mut crossed), &mut [], &mut back);
            self.sweep(back, &mut slots, &mut crossed);
        }
        slots
    }

    /// Goes back to what of `outputs` has their precision; leaves have those of `slots`.
    fn sweep<T: Scalar>(
        &self,
        outputs: impl IntoIterator<Item = (Tensor<T>, Tensor<T>)>,
        slots: &mut [Option<Tensor<T>>],
        crossed: &mut Outputs<T::Other>,
    ) {
        let first = self.leaves.first().copied().unwrap_or(u64::MAX);
        let wanted = |node: &NodeRef<T>| node.depends & self.bit != 0 && (node.id > self.beyond || node.id == first);
        let (mut frontier, mut found) = (Frontier(Vec::with_capacity(FEW)), Vec::with_capacity(PARENTS));
        for (output, g) in outputs {
            if let Some(root) = output.into_node().filter(&wanted) {
                frontier.add(root, g);
            }
        }
        while let Some((node, mut g)) = frontier.0.pop() {
            if self.stack.is_none() && g.rank() == 0 && !node.shape.is_empty() && !node.rule.takes_uniform() {
                g = g.broadcast_to(&node.shape);
            }
            // A variable, unless it is a tap, ends the walk; so does a value of a derivative that has ended.
            let ends = !node.rule.crosses() && !node.parents.as_slice().iter().flatten().any(wanted);
            if let Some(slot) = self.leaves.binary_search(&node.id).ok().and_then(|at| slots.get_mut(at)) {
                let own = if ends { g.taken() } else { g.clone() };
                *slot = Some(match slot.take() {
                    Some(old) => old + own,
                    None => own,
                });
            }
            if ends {
                continue;
            }
            let mode = Mode {
                recording: node.depends & (self.bit - 1) != 0,
                stack: self.stack,
                relu: self.relu,
                uniform: self.stack.is_none() && self.relu == ReluRule::Plain,
            };
            run_rule(&node, g, mode, &wanted, &mut found, crossed);
            for (i, gradient) in found.drain(..) {
                let Some(parent) = node.parents.as_slice()[i].as_ref().filter(|p| wanted(p)) else { continue };
                debug_assert!(
                    gradient.shape().ends_with(&parent.shape) || (mode.uniform && gradient.rank() == 0),
                    "{}: gradient of parent {i}: {:?}",
                    node.rule.name(),
                    gradient.shape()
                );
                frontier.add(parent.clone(), gradient);
            }
        }
    }
}

/// Nodes whose gradients are not complete before the last of them is, by ascending id.
struct Frontier<T: Scalar>(Vec<(NodeRef<T>, Tensor<T>)>);

impl<T: Scalar> Frontier<T> {
    fn add(&mut self, node: NodeRef<T>, gradient: Tensor<T>) {
        match self.0.binary_search_by_key(&node.id, |(n, _)| n.id) {
            Ok(at) => {
                let old = self.0[at].1.taken();
                self.0[at].1 = old + gradient;
            }
            Err(at) => self.0.insert(at, (node, gradient)),
        }
    }
}
