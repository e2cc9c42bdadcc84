//! Formulas as data: recorded once, then evaluated with any kind of number, and differentiated.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::rigorous::Interval;
use crate::scalar::{Dual, Real, with_numbers};

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Function {
    Negative,
    Square,
    Exp,
    Ln,
    Sqrt,
    Sin,
    Cos,
    Tanh,
    Sinh,
    Cosh,
    Atan,
    Sigmoid,
    Softplus,
}

impl Function {
    /// The function's value.
    pub(crate) fn of<R: Real>(self, x: R) -> R {
        match self {
            Self::Negative => -x,
            Self::Square => x.square(),
            Self::Exp => x.exp(),
            Self::Ln => x.ln(),
            Self::Sqrt => x.sqrt(),
            Self::Sin => x.sin(),
            Self::Cos => x.cos(),
            Self::Tanh => x.tanh(),
            Self::Sinh => x.sinh(),
            Self::Cosh => x.cosh(),
            Self::Atan => x.atan(),
            Self::Sigmoid => x.sigmoid(),
            Self::Softplus => x.softplus(),
        }
    }
}

/// One step of a formula. Operands are steps before it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Operation {
    Variable(usize),
    Constant { nearest: f64, around: Interval },
    Sum(usize, usize),
    Difference(usize, usize),
    Product(usize, usize),
    Quotient(usize, usize),
    Power(usize, i32),
    Of(Function, usize),
}

impl Operation {
    /// Equal for equal operations; constants by their bits.
    fn key(self) -> (u8, u64, u64, u64) {
        let pair = |tag, a: usize, b: usize| (tag, a as u64, b as u64, 0);
        match self {
            Self::Variable(index) => pair(0, index, 0),
            Self::Constant { nearest, around } => (1, nearest.to_bits(), around.lo().to_bits(), around.hi().to_bits()),
            // Their operands may change places without changing the result.
            Self::Sum(a, b) => pair(2, a.min(b), a.max(b)),
            Self::Difference(a, b) => pair(3, a, b),
            Self::Product(a, b) => pair(4, a.min(b), a.max(b)),
            Self::Quotient(a, b) => pair(5, a, b),
            Self::Power(a, exponent) => (6, a as u64, exponent as u32 as u64, 0),
            Self::Of(function, a) => pair(7, function as usize, a),
        }
    }

    fn operands(self) -> [Option<usize>; 2] {
        match self {
            Self::Variable(_) | Self::Constant { .. } => [None, None],
            Self::Sum(a, b) | Self::Difference(a, b) | Self::Product(a, b) | Self::Quotient(a, b) => [Some(a), Some(b)],
            Self::Power(a, _) | Self::Of(_, a) => [Some(a), None],
        }
    }

    /// The same with operands at other places.
    fn moved(self, to: impl Fn(usize) -> usize) -> Self {
        match self {
            Self::Variable(_) | Self::Constant { .. } => self,
            Self::Sum(a, b) => Self::Sum(to(a), to(b)),
            Self::Difference(a, b) => Self::Difference(to(a), to(b)),
            Self::Product(a, b) => Self::Product(to(a), to(b)),
            Self::Quotient(a, b) => Self::Quotient(to(a), to(b)),
            Self::Power(a, exponent) => Self::Power(to(a), exponent),
            Self::Of(function, a) => Self::Of(function, to(a)),
        }
    }

    /// Whether it is defined only for some operands.
    fn is_partial(self) -> bool {
        match self {
            Self::Quotient(..) | Self::Of(Function::Ln | Function::Sqrt, _) => true,
            Self::Power(_, exponent) => exponent < 0,
            _ => false,
        }
    }
}

/// The most steps that are recorded: half a gigabyte of them.
pub(crate) const MOST_STEPS: usize = 1 << 22;

/// The steps of all formulas that are being recorded; each different one once.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    operations: Vec<Operation>,
    places: HashMap<(u8, u64, u64, u64), usize>,
    is_full: bool,
}

impl Graph {
    /// The symbols of `count` variables.
    pub(crate) fn variables(graph: &RefCell<Self>, count: usize) -> Vec<Symbol<'_>> {
        (0..count).map(|index| record(graph, Operation::Variable(index))).collect()
    }

    /// Whether there were more steps than are recorded: then its formulas mean nothing.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    fn place(&mut self, operation: Operation) -> usize {
        if self.operations.len() == MOST_STEPS && !self.places.contains_key(&operation.key()) {
            self.is_full = true;
            return 0;
        }
        *self.places.entry(operation.key()).or_insert_with(|| {
            self.operations.push(operation);
            self.operations.len() - 1
        })
    }

    fn place_of(&mut self, symbol: Symbol<'_>) -> usize {
        match symbol.0 {
            Node::Constant { nearest, around } => self.place(Operation::Constant { nearest, around }),
            Node::Step { place, .. } => place,
        }
    }

    /// The steps that lead to the outputs, and all steps that are not defined everywhere: a formula is not defined where a part of it is
    /// not, even if that part is multiplied by 0.
    pub(crate) fn program(&mut self, outputs: &[Symbol<'_>]) -> Program {
        let outputs: Vec<usize> = outputs.iter().map(|&symbol| self.place_of(symbol)).collect();
        let mut needed: Vec<bool> = self.operations.iter().map(|operation| operation.is_partial()).collect();
        outputs.iter().for_each(|&place| needed[place] = true);
        for place in (0..needed.len()).rev().filter(|&place| needed[place]).collect::<Vec<_>>() {
            mark(&mut needed, &self.operations, place);
        }
        let mut to = vec![0; needed.len()];
        let mut operations = Vec::new();
        for place in (0..needed.len()).filter(|&place| needed[place]) {
            to[place] = operations.len();
            operations.push(self.operations[place].moved(|operand| to[operand]));
        }
        // A quotient by a number other than 0 is defined everywhere.
        let divides = |place: usize| matches!(operations[place], Operation::Constant { around, .. } if !around.contains(0.0));
        let is_total = |operation: Operation| matches!(operation, Operation::Quotient(_, divisor) if divides(divisor));
        let is_partial = |&place: &usize| operations[place].is_partial() && !is_total(operations[place]);
        let partial = (0..operations.len()).filter(is_partial).collect();
        Program { operations, partial, outputs: outputs.iter().map(|&place| to[place]).collect() }
    }
}

/// Marks what a step needs.
fn mark(needed: &mut [bool], operations: &[Operation], place: usize) {
    let mut open = vec![place];
    while let Some(place) = open.pop() {
        for operand in operations[place].operands().into_iter().flatten() {
            if !std::mem::replace(&mut needed[operand], true) {
                open.push(operand);
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Node<'g> {
    Constant { nearest: f64, around: Interval },
    Step { graph: &'g RefCell<Graph>, place: usize },
}

/// A number that stands for all numbers: what is computed with it is written down, to be computed again with any others.
///
/// Formulas of [games](crate::game::Game) are written with symbols, or for any [`Real`].
#[derive(Clone, Copy)]
pub struct Symbol<'g>(Node<'g>);

fn record(graph: &RefCell<Graph>, operation: Operation) -> Symbol<'_> {
    let place = graph.borrow_mut().place(operation);
    Symbol(Node::Step { graph, place })
}

impl<'g> Symbol<'g> {
    /// The symbol's value and numbers around it, if it is the same everywhere.
    pub(crate) fn constant_value(self) -> Option<(f64, Interval)> {
        match self.0 {
            Node::Constant { nearest, around } => Some((nearest, around)),
            Node::Step { .. } => None,
        }
    }

    /// The symbol's value, if it is always the same exact one.
    pub(crate) fn exact(self) -> Option<f64> {
        self.constant_value().filter(|&(nearest, around)| around == Interval::point(nearest)).map(|(nearest, _)| nearest)
    }

    /// Whether it is 0 everywhere.
    pub(crate) fn is_zero(self) -> bool {
        self.exact() == Some(0.0)
    }

    /// Something that is defined nowhere.
    fn undefined() -> Self {
        Self(Node::Constant { nearest: f64::NAN, around: Interval::ENTIRE })
    }

    fn of(self, function: Function) -> Self {
        match self.0 {
            Node::Constant { nearest, around } => Self::rounded(function.of(nearest), function.of(around)),
            Node::Step { graph, place } => record(graph, Operation::Of(function, place)),
        }
    }

    /// An operation on two symbols: computed if both are constants, recorded if not.
    fn with(
        self,
        other: Self,
        compute: impl Fn(Pair<f64>, Pair<Interval>) -> (f64, Interval),
        step: fn(usize, usize) -> Operation,
    ) -> Self {
        let bounded = |symbol: Self| symbol.constant_value().is_none_or(|(_, around)| around.is_bounded());
        if !bounded(self) || !bounded(other) {
            return Self::undefined();
        }
        match (self.0, other.0) {
            (Node::Constant { nearest: a, around: x }, Node::Constant { nearest: b, around: y }) => {
                let (nearest, around) = compute((a, b), (x, y));
                Self::rounded(nearest, around)
            }
            (Node::Step { graph, .. }, _) | (_, Node::Step { graph, .. }) => {
                let [a, b] = [self, other].map(|symbol| graph.borrow_mut().place_of(symbol));
                record(graph, step(a, b))
            }
        }
    }

    fn is_same_step(self, other: Self) -> bool {
        matches!((self.0, other.0), (Node::Step { place: a, .. }, Node::Step { place: b, .. }) if a == b)
    }
}

type Pair<T> = (T, T);

impl Add for Symbol<'_> {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        if other.exact() == Some(0.0) {
            return self;
        }
        if self.exact() == Some(0.0) {
            return other;
        }
        self.with(other, |(a, b), (x, y)| (a + b, x + y), Operation::Sum)
    }
}

impl Sub for Symbol<'_> {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        if other.exact() == Some(0.0) {
            return self;
        }
        if self.exact() == Some(0.0) {
            return -other;
        }
        if self.is_same_step(other) {
            return Self::constant(0.0);
        }
        self.with(other, |(a, b), (x, y)| (a - b, x - y), Operation::Difference)
    }
}

impl Mul for Symbol<'_> {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        for (factor, rest) in [(self, other), (other, self)] {
            match (factor.exact(), rest.0) {
                (Some(1.0), _) => return rest,
                (Some(-1.0), _) => return -rest,
                (Some(0.0), Node::Step { .. }) => return factor,
                _ => {}
            }
        }
        if self.is_same_step(other) {
            return self.square();
        }
        self.with(other, |(a, b), (x, y)| (a * b, x * y), Operation::Product)
    }
}

impl Div for Symbol<'_> {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        if other.exact() == Some(1.0) {
            return self;
        }
        let quotient = |numerator: Self| numerator.with(other, |(a, b), (x, y)| (a / b, x / y), Operation::Quotient);
        match (self.exact(), other.0) {
            // 0, where the divisor is not.
            (Some(0.0), Node::Step { .. }) => {
                let _ = quotient(Self::constant(1.0));
                self
            }
            _ => quotient(self),
        }
    }
}

impl Neg for Symbol<'_> {
    type Output = Self;
    fn neg(self) -> Self {
        if let Node::Step { graph, place } = self.0
            && let Operation::Of(Function::Negative, inner) = graph.borrow().operations[place]
        {
            return Self(Node::Step { graph, place: inner });
        }
        self.of(Function::Negative)
    }
}

with_numbers!(['g] Symbol<'g>);

impl Real for Symbol<'_> {
    fn rounded(nearest: f64, around: Interval) -> Self {
        Self(Node::Constant { nearest, around })
    }
    fn square(self) -> Self {
        self.of(Function::Square)
    }
    fn powi(self, exponent: i32) -> Self {
        match (exponent, self.0) {
            (0, _) => Self::constant(1.0),
            (1, _) => self,
            (2, _) => self.square(),
            (_, Node::Constant { nearest, around }) => Self::rounded(Real::powi(nearest, exponent), around.powi(exponent)),
            (_, Node::Step { graph, place }) => record(graph, Operation::Power(place, exponent)),
        }
    }
    fn exp(self) -> Self {
        self.of(Function::Exp)
    }
    fn ln(self) -> Self {
        self.of(Function::Ln)
    }
    fn sqrt(self) -> Self {
        self.of(Function::Sqrt)
    }
    fn sin(self) -> Self {
        self.of(Function::Sin)
    }
    fn cos(self) -> Self {
        self.of(Function::Cos)
    }
    fn tanh(self) -> Self {
        self.of(Function::Tanh)
    }
    fn sinh(self) -> Self {
        self.of(Function::Sinh)
    }
    fn cosh(self) -> Self {
        self.of(Function::Cosh)
    }
    fn atan(self) -> Self {
        self.of(Function::Atan)
    }
    fn sigmoid(self) -> Self {
        self.of(Function::Sigmoid)
    }
    fn softplus(self) -> Self {
        self.of(Function::Softplus)
    }
}

/// Numbers that are written with `f64`s on the left, too.
macro_rules! numbers_with {
    ($($trait:ident $function:ident)*) => {
        $(impl<'g> $trait<Symbol<'g>> for f64 {
            type Output = Symbol<'g>;
            fn $function(self, other: Symbol<'g>) -> Symbol<'g> {
                $trait::$function(Symbol::constant(self), other)
            }
        })*
    };
}

numbers_with!(Add add Sub sub Mul mul Div div);

impl std::fmt::Debug for Symbol<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Node::Constant { nearest, .. } => write!(f, "{nearest}"),
            Node::Step { place, .. } => write!(f, "step {place}"),
        }
    }
}

/// Recorded formulas.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Program {
    operations: Vec<Operation>,
    /// The steps that are not defined for all operands.
    partial: Vec<usize>,
    outputs: Vec<usize>,
}

impl Program {
    /// Computes all steps into `steps`.
    pub(crate) fn run<R: Real>(&self, x: &[R], steps: &mut Vec<R>) {
        steps.clear();
        for &operation in &self.operations {
            let step = match operation {
                Operation::Variable(index) => x[index],
                Operation::Constant { nearest, around } => R::rounded(nearest, around),
                Operation::Sum(a, b) => steps[a] + steps[b],
                Operation::Difference(a, b) => steps[a] - steps[b],
                Operation::Product(a, b) => steps[a] * steps[b],
                Operation::Quotient(a, b) => steps[a] / steps[b],
                Operation::Power(a, exponent) => steps[a].powi(exponent),
                Operation::Of(function, a) => function.of(steps[a]),
            };
            steps.push(step);
        }
    }

    /// The outputs among steps that were [run](Self::run).
    pub(crate) fn outputs<'a, R: Real>(&'a self, steps: &'a [R]) -> impl ExactSizeIterator<Item = R> + 'a {
        self.outputs.iter().map(|&place| steps[place])
    }

    /// The outputs.
    pub(crate) fn values<R: Real>(&self, x: &[R]) -> Vec<R> {
        let mut steps = Vec::with_capacity(self.operations.len());
        self.run(x, &mut steps);
        self.outputs(&steps).collect()
    }

    /// Whether every part of the formulas is defined on the whole box with which the steps were run.
    pub(crate) fn is_defined(&self, steps: &[Interval]) -> bool {
        self.partial.iter().all(|&place| steps[place].is_bounded())
    }

    /// Whether every part of the formulas is defined at the point with which the steps were run.
    pub(crate) fn is_defined_at(&self, steps: &[f64]) -> bool {
        self.partial.iter().all(|&place| steps[place].is_finite())
    }

    /// The exact or enclosed value of an output that is the same everywhere.
    pub(crate) fn constant(&self, output: usize) -> Option<Interval> {
        match self.operations[self.outputs[output]] {
            Operation::Constant { around, .. } => Some(around),
            _ => None,
        }
    }

    /// Whether every part of the formulas is defined for all operands.
    pub(crate) fn is_total(&self) -> bool {
        self.partial.is_empty()
    }

    /// The step of an output: of two with the same one, both are the same formula.
    pub(crate) fn output(&self, output: usize) -> usize {
        self.outputs[output]
    }

    /// Number of outputs.
    pub(crate) fn len(&self) -> usize {
        self.outputs.len()
    }

    /// The outputs and their derivatives along one of the variables, as formulas.
    pub(crate) fn along<'g>(&self, x: &[Symbol<'g>], axis: usize) -> Vec<Dual<Symbol<'g>>> {
        let duals: Vec<Dual<Symbol<'g>>> =
            x.iter().enumerate().map(|(i, &x)| if i == axis { Dual::variable(x) } else { Dual::constant(x) }).collect();
        self.values(&duals)
    }

    /// The formulas as text, one step a line; the same for the same formulas on every machine.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (place, operation) in self.operations.iter().enumerate() {
            let _ = match *operation {
                Operation::Variable(index) => writeln!(text, "{place} x{index}"),
                Operation::Constant { nearest, around } => {
                    let [nearest, lo, hi] = [nearest, around.lo(), around.hi()].map(f64::to_bits);
                    writeln!(text, "{place} {nearest:016x} {lo:016x} {hi:016x}")
                }
                Operation::Sum(a, b) => writeln!(text, "{place} {a} + {b}"),
                Operation::Difference(a, b) => writeln!(text, "{place} {a} - {b}"),
                Operation::Product(a, b) => writeln!(text, "{place} {a} * {b}"),
                Operation::Quotient(a, b) => writeln!(text, "{place} {a} / {b}"),
                Operation::Power(a, exponent) => writeln!(text, "{place} {a} ^ {exponent}"),
                Operation::Of(function, a) => writeln!(text, "{place} {function:?} {a}"),
            };
        }
        let _ = writeln!(text, "outputs {:?}", self.outputs);
        text
    }
}
