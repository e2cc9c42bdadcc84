//! Straight-line programs of pointwise operations, run block by block: a block's intermediate values stay in the first
//! cache, and memory sees the inputs and outputs once.

use super::parallel::*;

use super::{Buffer, PARALLEL, functions, simd, strided};
use crate::Scalar;
use crate::shape::{MAX_RANK, Shape};

/// A function of one element.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Function {
    Negate,
    Recip,
    Sqrt,
    Abs,
    Sign,
    Relu,
    Floor,
    Ceil,
    Round,
    Exp,
    ExpM1,
    Ln,
    Ln1p,
    Tanh,
    Sigmoid,
    Softplus,
    Erf,
    Erfc,
    Sin,
    Cos,
    Tan,
    Atan,
    Sinh,
    Cosh,
}

/// A function of two elements; comparisons give 1 or 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Power,
    Maximum,
    Minimum,
    Greater,
    GreaterEqual,
    Equal,
    NotEqual,
}

/// Calls `$body` with `$f` bound to the function of one element that `$function` names.
macro_rules! with_function {
    ($function:expr, |$f:ident| $body:expr) => {
        with_function!(@ $function, $f, $body,
            Negate: |x: T| -x,
            Recip: |x: T| T::ONE / x,
            Sqrt: T::sqrt,
            Abs: T::abs,
            Sign: functions::sign,
            Relu: functions::relu,
            Floor: T::floor,
            Ceil: T::ceil,
            Round: T::round_ties_even,
            Exp: T::exp,
            ExpM1: T::exp_m1,
            Ln: T::ln,
            Ln1p: T::ln_1p,
            Tanh: T::tanh,
            Sigmoid: functions::sigmoid,
            Softplus: functions::softplus,
            Erf: T::erf,
            Erfc: T::erfc,
            Sin: T::sin,
            Cos: T::cos,
            Tan: T::tan,
            Atan: T::atan,
            Sinh: T::sinh,
            Cosh: T::cosh,
        )
    };
    (@ $function:expr, $f:ident, $body:expr, $($name:ident: $value:expr,)*) => {
        match $function {
            $(Function::$name => {
                let $f = $value;
                $body
            })*
        }
    };
}

/// Calls `$body` with `$f` bound to the function of two elements that `$operator` names.
macro_rules! with_operator {
    ($operator:expr, |$f:ident| $body:expr) => {
        with_operator!(@ $operator, $f, $body,
            Add: |a: T, b: T| a + b,
            Subtract: |a: T, b: T| a - b,
            Multiply: |a: T, b: T| a * b,
            Divide: |a: T, b: T| a / b,
            Power: |a: T, b: T| a.powf(b),
            Maximum: |a: T, b: T| if a >= b || functions::is_nan(a) { a } else { b },
            Minimum: |a: T, b: T| if a <= b || functions::is_nan(a) { a } else { b },
            Greater: |a: T, b: T| truth(a > b),
            GreaterEqual: |a: T, b: T| truth(a >= b),
            Equal: |a: T, b: T| truth(a == b),
            NotEqual: |a: T, b: T| truth(a != b),
        )
    };
    (@ $operator:expr, $f:ident, $body:expr, $($name:ident: $value:expr,)*) => {
        match $operator {
            $(Operator::$name => {
                let $f = $value;
                $body
            })*
        }
    };
}

#[inline(always)]
fn truth<T: Scalar>(holds: bool) -> T {
    if holds { T::ONE } else { T::ZERO }
}

impl Function {
    /// The function at one element.
    pub(crate) fn at<T: Scalar>(self, x: T) -> T {
        with_function!(self, |f| f(x))
    }

    /// Whether one element costs as much as ten sums.
    pub(crate) fn is_expensive(self) -> bool {
        use Function::*;
        !matches!(self, Negate | Recip | Sqrt | Abs | Sign | Relu | Floor | Ceil | Round)
    }
}

impl Operator {
    /// The function at two elements.
    pub(crate) fn at<T: Scalar>(self, a: T, b: T) -> T {
        with_operator!(self, |f| f(a, b))
    }

    /// Whether the order of the operands does not matter.
    pub(crate) fn commutes(self) -> bool {
        matches!(self, Operator::Add | Operator::Multiply | Operator::Equal | Operator::NotEqual)
    }
}

/// Where a step finds a value.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Operand<T> {
    /// The block of an input that has every element in its place.
    Input(usize),
    /// An output, or, numbered after the outputs, a register.
    Buffer(usize),
    /// The same value for each element.
    Constant(T),
}

/// What a step computes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Operation<T> {
    /// The block of an input that is broadcast.
    Load(usize),
    Copy(Operand<T>),
    Function(Function, Operand<T>),
    Operator(Operator, [Operand<T>; 2]),
    /// `a b scale + shift`, rounded after each operation.
    Product {
        factors: [Operand<T>; 2],
        scale: T,
        shift: T,
    },
    /// `[mask, a, b]`: `a` where `mask` is not 0, else `b`.
    Select([Operand<T>; 3]),
}

/// One operation, and the buffer that takes its result. That is none of the operands.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Step<T> {
    pub(crate) operation: Operation<T>,
    pub(crate) to: usize,
}

/// A program with its values assigned to buffers.
#[derive(Debug)]
pub(crate) struct Code<T> {
    pub(crate) steps: Vec<Step<T>>,
    pub(crate) outputs: usize,
    pub(crate) registers: usize,
    /// Time for one element, where a sum costs one.
    pub(crate) cost: usize,
}

/// An input of a program: its elements, and how they are walked when they are broadcast.
pub(crate) struct Input<'a, T> {
    pub(crate) values: &'a [T],
    pub(crate) walk: Option<(Shape, [usize; MAX_RANK])>,
}

impl<'a, T> Input<'a, T> {
    /// The elements `values` of a shape, broadcast to `target`.
    pub(crate) fn new(values: &'a [T], shape: &Shape, target: &Shape) -> Self {
        let walk = (values.len() != target.count()).then(|| strided::joined(target, &shape.strides_for(target)));
        Self { values, walk }
    }
}

/// Bytes of all registers together: they stay in the first cache beside the blocks of inputs and outputs.
const REGISTER_BYTES: usize = 24 << 10;
/// Bytes of a cache line.
const LINE: usize = 64;
/// Elements of a block: fewer would not repay the dispatch of each step, more would gain nothing.
const BLOCKS: std::ops::RangeInclusive<usize> = 256..=2048;
/// Elements that one task takes.
const TASK: usize = 8 * 1024;
/// Time of a program, in sums of one element, that repays a hand-over to another thread.
const WORTH_SHARING: usize = 4 * PARALLEL;

/// Runs a program on `count` elements.
pub(crate) fn run<T: Scalar>(code: &Code<T>, inputs: &[Input<'_, T>], count: usize) -> Vec<Buffer<T>> {
    let mut outputs: Vec<Buffer<T>> = (0..code.outputs).map(|_| Buffer::stale(count)).collect();
    let mut rest: Vec<&mut [T]> = outputs.iter_mut().map(|output| &mut output[..]).collect();
    if count <= TASK || count.saturating_mul(code.cost) < WORTH_SHARING {
        run_range(code, inputs, 0, count, rest);
    } else {
        let tasks: Vec<(usize, usize, Vec<&mut [T]>)> = (0..count)
            .step_by(TASK)
            .map(|start| (start, TASK.min(count - start)))
            .map(|(start, length)| (start, length, rest.iter_mut().map(|rest| split_front(rest, length)).collect()))
            .collect();
        tasks.into_par_iter().for_each(|(start, length, outputs)| run_range(code, inputs, start, length, outputs));
    }
    outputs
}

/// Takes the first elements off a slice.
fn split_front<'a, T>(rest: &mut &'a mut [T], length: usize) -> &'a mut [T] {
    let (front, back) = std::mem::take(rest).split_at_mut(length);
    *rest = back;
    front
}

/// Runs a program on the elements from `start`, of which `outputs` are the results.
fn run_range<T: Scalar>(code: &Code<T>, inputs: &[Input<'_, T>], start: usize, count: usize, mut outputs: Vec<&mut [T]>) {
    let fitting = REGISTER_BYTES / size_of::<T>() / code.registers.max(1);
    let block = (fitting / 64 * 64).clamp(*BLOCKS.start(), *BLOCKS.end()).min(count);
    let mut memory = Buffer::<T>::stale(code.registers * block + LINE / size_of::<T>());
    // Vectors that begin on a cache line never lie across two.
    let aligned = memory.as_ptr().align_offset(LINE).min(LINE / size_of::<T>());
    let registers = &mut memory[aligned..][..code.registers * block];
    let mut buffers: Vec<&mut [T]> = outputs.iter().map(|_| Default::default()).collect();
    buffers.extend(registers.chunks_exact_mut(block.max(1)));
    let mut blocks = Blocks { inputs, buffers, start, length: block };
    while blocks.start < start + count {
        blocks.length = block.min(start + count - blocks.start);
        for (buffer, output) in blocks.buffers.iter_mut().zip(&mut outputs) {
            *buffer = split_front(output, blocks.length);
        }
        code.steps.iter().for_each(|step| blocks.run(step));
        blocks.start += blocks.length;
    }
}

/// The blocks of every value at one place.
struct Blocks<'a, 'b, T> {
    inputs: &'a [Input<'a, T>],
    buffers: Vec<&'b mut [T]>,
    start: usize,
    length: usize,
}

/// A step's view of a value.
enum Source<'a, T> {
    Slice(&'a [T]),
    Constant(T),
}

impl<T: Scalar> Blocks<'_, '_, T> {
    fn source(&self, operand: Operand<T>) -> Source<'_, T> {
        match operand {
            Operand::Input(i) => Source::Slice(&self.inputs[i].values[self.start..self.start + self.length]),
            Operand::Buffer(i) => Source::Slice(&self.buffers[i][..self.length]),
            Operand::Constant(value) => Source::Constant(value),
        }
    }

    fn run(&mut self, step: &Step<T>) {
        // No step reads the buffer that it writes.
        let to = std::mem::take(&mut self.buffers[step.to]);
        let out = &mut to[..self.length];
        match step.operation {
            Operation::Load(i) => {
                let input = &self.inputs[i];
                match &input.walk {
                    Some((shape, strides)) => strided::gather_range(input.values, shape, strides, self.start, out),
                    None => out.copy_from_slice(&input.values[self.start..self.start + self.length]),
                }
            }
            Operation::Copy(x) => map(out, self.source(x), |x| x),
            Operation::Function(function, x) => {
                let x = self.source(x);
                with_function!(function, |f| map(out, x, f))
            }
            Operation::Operator(operator, [a, b]) => {
                let (a, b) = (self.source(a), self.source(b));
                with_operator!(operator, |f| zip(out, a, b, f))
            }
            Operation::Product { factors: [a, b], scale, shift } => {
                zip(out, self.source(a), self.source(b), move |a, b| a * b * scale + shift);
            }
            Operation::Select([mask, a, b]) => select(out, self.source(mask), self.source(a), self.source(b)),
        }
        self.buffers[step.to] = to;
    }
}

fn map<T: Scalar>(out: &mut [T], x: Source<'_, T>, f: impl Fn(T) -> T) {
    match x {
        Source::Slice(x) => simd::change1_by1(
            out,
            x,
            #[inline(always)]
            |_, [x]| [f(x)],
        ),
        Source::Constant(x) => out.fill(f(x)),
    }
}

fn zip<T: Scalar>(out: &mut [T], a: Source<'_, T>, b: Source<'_, T>, f: impl Fn(T, T) -> T) {
    match (a, b) {
        (Source::Slice(a), Source::Slice(b)) => simd::change1_by2(
            out,
            a,
            b,
            #[inline(always)]
            |_, [a, b]| [f(a, b)],
        ),
        (a, Source::Constant(b)) => map(
            out,
            a,
            #[inline(always)]
            |a| f(a, b),
        ),
        (Source::Constant(a), b) => map(
            out,
            b,
            #[inline(always)]
            |b| f(a, b),
        ),
    }
}

#[inline(always)]
fn choose<T: Scalar>(mask: T, a: T, b: T) -> T {
    if mask == T::ZERO { b } else { a }
}

fn select<T: Scalar>(out: &mut [T], mask: Source<'_, T>, a: Source<'_, T>, b: Source<'_, T>) {
    match (mask, a, b) {
        (Source::Slice(mask), Source::Slice(a), Source::Slice(b)) => {
            simd::change1_by3(
                out,
                mask,
                a,
                b,
                #[inline(always)]
                |_, [mask, a, b]| [choose(mask, a, b)],
            );
        }
        (mask, a, Source::Constant(b)) => zip(out, mask, a, move |mask, a| choose(mask, a, b)),
        (mask, Source::Constant(a), b) => zip(out, mask, b, move |mask, b| choose(mask, a, b)),
        (Source::Constant(mask), a, b) => zip(out, a, b, move |a, b| choose(mask, a, b)),
    }
}
