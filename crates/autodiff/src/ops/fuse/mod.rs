//! Chains of pointwise operations in one pass over memory.
//!
//! The closure runs once, on symbols ([`Expression`]), and leaves a straight-line program ([`program`]). That is compiled to
//! steps on registers of a few hundred elements ([`schedule`]), which run over blocks of the inputs
//! ([`kernels::fused`](crate::kernels::fused)). Each output depends on the inputs at its own place alone, so the derivative is a
//! product with slopes; those are further instructions of the same program ([`derivative`]), and are again fused operations
//! with derivatives of their own.

mod derivative;
mod expression;
mod program;
mod schedule;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::sync::Arc;

use derivative::slopes;
pub use expression::{Expression, Operand};
use program::{Builder, Instruction, Value, known as constant};
use schedule::{Known, compile};

use super::arithmetic::{leading_axes_agree, or_panic};
use crate::kernels::fused::{Input, run};
use crate::node::{Activation, Cx, Rule};
use crate::per_example::Factor;
use crate::{Scalar, Shape, Tensor, TensorError};

/// What [`fuse`] does, for a closure with several results.
///
/// ```
/// use gradus_autodiff::{Tensor, fuse_many};
/// let (x, y) = (Tensor::vector(&[3.0, 0.0]), Tensor::vector(&[4.0, 2.0]));
/// let [length, sum] = fuse_many(|[x, y]| [(x * x + y * y).sqrt(), x + y], [&x, &y]);
/// assert_eq!((length.to_vec(), sum.to_vec()), (vec![5.0, 2.0], vec![7.0, 2.0]));
/// ```
///
/// # Panics
/// When the shapes do not broadcast together; [`try_fuse_many`] returns the error instead.
#[track_caller]
pub fn fuse_many<T: Scalar, const N: usize, const M: usize>(
    f: impl for<'t> FnOnce([Expression<'t, T>; N]) -> [Expression<'t, T>; M],
    inputs: [&Tensor<T>; N],
) -> [Tensor<T>; M] {
    or_panic(try_fuse_many(f, inputs))
}

/// [`fuse_many`], or the shapes that do not broadcast together.
///
/// # Errors
/// [`TensorError::Mismatch`] with the shape of the inputs before and that of the one that does not fit them;
/// [`TensorError::TooLarge`].
#[track_caller]
pub fn try_fuse_many<T: Scalar, const N: usize, const M: usize>(
    f: impl for<'t> FnOnce([Expression<'t, T>; N]) -> [Expression<'t, T>; M],
    inputs: [&Tensor<T>; N],
) -> Result<[Tensor<T>; M], TensorError> {
    let shape = common_shape(&inputs)?;
    let trace = RefCell::new(Builder::new());
    let symbols = std::array::from_fn(|i| Expression::new(&trace, trace.borrow_mut().input(i)));
    let outputs = f(symbols).map(|output| output.value);
    let results = apply(trace, &outputs, &inputs, shape);
    Ok(std::array::from_fn(|i| results[i].clone()))
}

/// A chain of pointwise operations in one pass over memory: the closure is run once, on symbols, and what it writes down is
/// then done block by block, with the intermediate values in the cache. Inputs broadcast as in arithmetic, without being
/// copied. Differentiable to any order, as if each operation had been done by itself.
///
/// ```
/// use gradus_autodiff::{Tensor, fuse, grad};
/// let (x, w) = (Tensor::vector(&[0.0, 1.0, 2.0]), Tensor::scalar(0.5));
/// let y = fuse(|[x, w]| (x * w).tanh() + 1.0, [&x, &w]);
/// assert_eq!(y, (&x * &w).tanh() + 1.0);
///
/// let slope = grad(|x| fuse(|[x, w]| (x * w).tanh() + 1.0, [x, &w]).sum(), &x);
/// assert_eq!(slope.to_vec()[0], 0.5);
/// ```
///
/// It pays for large tensors and chains of several operations. Below some thousand elements the operations one by one are
/// about as fast. An operation on an input that is broadcast along rows is done for each row anew.
///
/// # Panics
/// When the shapes do not broadcast together; [`try_fuse`] returns the error instead.
#[track_caller]
pub fn fuse<T: Scalar, const N: usize>(
    f: impl for<'t> FnOnce([Expression<'t, T>; N]) -> Expression<'t, T>,
    inputs: [&Tensor<T>; N],
) -> Tensor<T> {
    or_panic(try_fuse(f, inputs))
}

/// [`fuse`], or the shapes that do not broadcast together.
///
/// # Errors
/// [`TensorError::Mismatch`] with the shape of the inputs before and that of the one that does not fit them;
/// [`TensorError::TooLarge`].
#[track_caller]
pub fn try_fuse<T: Scalar, const N: usize>(
    f: impl for<'t> FnOnce([Expression<'t, T>; N]) -> Expression<'t, T>,
    inputs: [&Tensor<T>; N],
) -> Result<Tensor<T>, TensorError> {
    let [result] = try_fuse_many(|symbols| [f(symbols)], inputs)?;
    Ok(result)
}

/// The shape that all inputs broadcast to.
fn common_shape<T: Scalar>(inputs: &[&Tensor<T>]) -> Result<Shape, TensorError> {
    let mut shape = Shape::new(&[])?;
    for x in inputs {
        let mismatch = || TensorError::Mismatch { operation: "fuse", left: shape.to_vec(), right: x.shape().to_vec() };
        shape = Shape::new(&shape.broadcast(x.shape_ref()).ok_or_else(mismatch)?)?;
    }
    Ok(shape)
}

/// The outputs of a program, recorded.
#[track_caller]
fn apply<T: Scalar>(trace: RefCell<Builder<T>>, outputs: &[Value], inputs: &[&Tensor<T>], shape: Shape) -> Vec<Tensor<T>> {
    let tracked: Vec<usize> = (0..inputs.len()).filter(|&i| inputs[i].is_tracked()).collect();
    let plain: Vec<Tensor<T>> = inputs.iter().map(|x| x.detach()).collect();
    // Slopes share most work with the values. To write one and read it again takes about as long as one expensive function.
    let save = !tracked.is_empty() && trace.borrow().expensive(outputs) >= tracked.len();
    let slopes: Vec<Vec<Option<Value>>> =
        outputs.iter().map(|&output| if save { slopes(&trace, output, &tracked) } else { Vec::new() }).collect();
    let Builder { instructions, rectifies, .. } = trace.into_inner();
    let program: Arc<[Instruction]> = instructions.into();
    let all: Vec<Value> = outputs.iter().copied().chain(slopes.iter().flatten().flatten().copied()).collect();
    let mut values = evaluate(&program, &all, &plain, shape).into_iter();
    let results: Vec<Tensor<T>> = values.by_ref().take(outputs.len()).map(|y| y.broadcast_to(&shape)).collect();
    if tracked.is_empty() {
        return results;
    }
    let inputs: Arc<[Tensor<T>]> = inputs.iter().map(|x| (*x).clone()).collect();
    let mut record = |((y, &output), slopes): ((Tensor<T>, &Value), Vec<Option<Value>>)| {
        let saved = tracked.iter().zip(slopes).filter_map(|(&i, slope)| Some((i, slope?, values.next()?))).collect();
        let fused = Fused { program: program.clone(), output, inputs: inputs.clone(), shape, slopes: save.then_some(saved), rectifies };
        fused.record(y)
    };
    results.into_iter().zip(outputs).zip(slopes).map(&mut record).collect()
}

/// Values of a program as constants, computed in one pass. Those that are inputs or the same everywhere keep their shape.
fn evaluate<T: Scalar>(program: &[Instruction], values: &[Value], inputs: &[Tensor<T>], shape: Shape) -> Vec<Tensor<T>> {
    let mut computed: Vec<Value> = values.to_vec();
    computed.retain(|&value| !matches!(program[value as usize], Instruction::Input(_) | Instruction::Constant(_)));
    computed.sort_unstable();
    computed.dedup();
    let known: Vec<Known<T>> = inputs.iter().map(|x| known_of(x, &shape)).collect();
    let code = compile(program, &computed, &known);
    let walked: Vec<Input<'_, T>> = inputs.iter().map(|x| Input::new(x.as_slice(), x.shape_ref(), &shape)).collect();
    let buffers: Vec<Tensor<T>> = run(&code, &walked, shape.count()).into_iter().map(|values| Tensor::raw(values, shape)).collect();
    let of = |value: &Value| match program[*value as usize] {
        Instruction::Input(i) => inputs[i as usize].detach(),
        _ => match (constant(program, *value), computed.binary_search(value)) {
            (None, Ok(at)) => buffers[at].clone(),
            (constant, _) => Tensor::scalar(constant.unwrap_or(T::ZERO)),
        },
    };
    values.iter().map(of).collect()
}

/// What the code of a program may rely on for an input.
fn known_of<T: Scalar>(x: &Tensor<T>, shape: &Shape) -> Known<T> {
    match x.as_slice() {
        [only] => Known::Uniform(*only),
        values if values.len() == shape.count() => Known::InPlace,
        _ => Known::Broadcast,
    }
}

/// One output of a program, as a function of tensors that are broadcast to `shape`.
struct Fused<T: Scalar> {
    program: Arc<[Instruction]>,
    output: Value,
    inputs: Arc<[Tensor<T>]>,
    shape: Shape,
    /// The derivatives with respect to those inputs that were tracked and matter, if they were computed with the output:
    /// the input, the value in the program, and its elements.
    slopes: Option<Vec<(usize, Value, Tensor<T>)>>,
    rectifies: bool,
}

impl<T: Scalar> Fused<T> {
    /// Remembers that the elements `y` are this output.
    #[track_caller]
    fn record(self, y: Tensor<T>) -> Tensor<T> {
        let parents = self.inputs.iter().map(|x| x.node().cloned()).collect();
        y.record_many(parents, || self)
    }

    /// The derivatives with respect to some of the inputs, as functions of the inputs given, which are the saved ones, tracked
    /// or not.
    fn slopes_of(&self, wanted: &[usize], inputs: Vec<Tensor<T>>) -> Vec<(usize, Tensor<T>)> {
        let made;
        let (program, slopes) = match &self.slopes {
            Some(saved) => (&self.program, saved),
            None => {
                made = self.made_slopes(wanted);
                (&made.0, &made.1)
            }
        };
        let inputs: Arc<[Tensor<T>]> = inputs.into();
        let recorded = |(i, value, slope): &(usize, Value, Tensor<T>)| match program[*value as usize] {
            Instruction::Constant(_) => (*i, slope.clone()),
            Instruction::Input(j) => (*i, inputs[j as usize].clone()),
            _ => {
                let fused = Self {
                    program: program.clone(),
                    output: *value,
                    inputs: inputs.clone(),
                    shape: self.shape,
                    slopes: None,
                    rectifies: false,
                };
                (*i, fused.record(slope.clone()))
            }
        };
        slopes.iter().filter(|(i, ..)| wanted.contains(i)).map(recorded).collect()
    }

    /// The program with the derivatives, and these.
    fn made_slopes(&self, wanted: &[usize]) -> (Arc<[Instruction]>, Vec<(usize, Value, Tensor<T>)>) {
        let trace = RefCell::new(Builder::<T>::continuing(&self.program));
        let slopes = slopes(&trace, self.output, wanted);
        let program: Arc<[Instruction]> = trace.into_inner().instructions.into();
        let (inputs, values): (Vec<usize>, Vec<Value>) = wanted.iter().zip(slopes).filter_map(|(&i, slope)| Some((i, slope?))).unzip();
        let slopes = evaluate(&program, &values, &self.inputs, self.shape);
        let each = inputs.into_iter().zip(values).zip(slopes).map(|((i, value), slope)| (i, value, slope)).collect();
        (program, each)
    }

    /// The products of the gradient `g` with the derivatives, as constants, in one pass.
    fn pulled_back(&self, g: Tensor<T>, wanted: &[usize]) -> Vec<(usize, Tensor<T>)> {
        let trace = RefCell::new(Builder::<T>::continuing(&self.program));
        let slopes = slopes(&trace, self.output, wanted);
        let gradient = Expression::new(&trace, trace.borrow_mut().input(self.inputs.len()));
        let product = |slope| (gradient * Expression::new(&trace, slope)).value;
        let (parents, values): (Vec<usize>, Vec<Value>) =
            wanted.iter().zip(slopes).filter_map(|(&i, slope)| Some((i, product(slope?)))).unzip();
        let inputs: Vec<Tensor<T>> = self.inputs.iter().map(Tensor::detach).chain([g]).collect();
        let program = trace.into_inner().instructions;
        parents.into_iter().zip(evaluate(&program, &values, &inputs, self.shape)).collect()
    }
}

/// The products of slopes with the gradient.
fn times<T: Scalar>(mut slopes: Vec<(usize, Tensor<T>)>, g: Tensor<T>) -> Vec<(usize, Tensor<T>)> {
    if !g.is_tracked() && g.shape().is_empty() && g.item() == T::ONE {
        return slopes;
    }
    // The last product may take the gradient's place.
    let last = slopes.pop();
    let each = slopes.into_iter().map(|(i, slope)| (i, &g * slope)).collect::<Vec<_>>();
    each.into_iter().chain(last.map(|(i, slope)| (i, g * slope))).collect()
}

impl<T: Scalar> Rule<T> for Fused<T> {
    fn name(&self) -> &'static str {
        "fuse"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let wanted: Vec<usize> = (0..self.inputs.len()).filter(|&i| cx.wants(i)).collect();
        let uniform = cx.uniform(&g) && g.rank() == 0;
        let gradients = if self.slopes.is_none() && cx.is_plain(&g) && (uniform || g.shape() == &*self.shape) {
            self.pulled_back(g, &wanted)
        } else {
            times(self.slopes_of(&wanted, self.inputs.iter().map(|x| cx.get(x)).collect()), g)
        };
        for (i, gradient) in gradients {
            let gradient = if uniform { gradient.broadcast_to(&self.shape) } else { gradient };
            cx.add(i, cx.sum_to(&gradient, self.inputs[i].shape()));
        }
    }
    fn takes_uniform(&self) -> bool {
        true
    }
    fn stacks(&self) -> bool {
        true
    }
    fn activation(&self) -> Activation {
        if self.rectifies { Activation::Fused } else { Activation::None }
    }
    fn keeps_examples(&self, parent: usize, batch: usize) -> bool {
        let own = self.inputs[parent].shape();
        own == &*self.shape || (own.len() == self.shape.len() && leading_axes_agree(own, &self.shape, batch))
    }
    fn example_factor(&self, parent: usize, g: &Tensor<T>, batch: usize, recording: bool) -> Option<Factor<T>> {
        let own = self.inputs[parent].shape();
        let inputs = self.inputs.iter().map(|x| if recording { x.clone() } else { x.detach() }).collect();
        let (_, slope) = self.slopes_of(&[parent], inputs).pop()?;
        Factor::of_repeated(&(g * &slope), own, batch)
    }
}
