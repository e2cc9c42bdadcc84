//! The derivative of a program, as further instructions of the same program: reverse mode on symbols.

use std::cell::RefCell;
use std::f64::consts::FRAC_2_SQRT_PI;

use super::expression::Expression;
use super::program::{Builder, Instruction, Value};
use crate::Scalar;
use crate::kernels::fused::{Function, Operator};

/// The derivatives of `output` with respect to `inputs`, appended to the program; `None` where there is no dependence.
pub(super) fn slopes<T: Scalar>(trace: &RefCell<Builder<T>>, output: Value, inputs: &[usize]) -> Vec<Option<Value>> {
    let mut adjoints: Vec<Option<Value>> = vec![None; output as usize + 1];
    adjoints[output as usize] = Some(trace.borrow_mut().constant(T::ONE));
    let mut found = vec![None; inputs.len()];
    for value in (0..=output).rev() {
        let Some(adjoint) = adjoints[value as usize] else { continue };
        let instruction = trace.borrow().instructions[value as usize];
        if let Instruction::Input(i) = instruction {
            let wanted = inputs.iter().zip(&mut found).filter(|(input, _)| **input == i as usize);
            wanted.for_each(|(_, slope)| *slope = Some(adjoint));
            continue;
        }
        let expression = |value| Expression::new(trace, value);
        pull_back(instruction, expression(value), expression(adjoint), expression, |operand, part: Expression<'_, T>| {
            let sum = adjoints[operand.value as usize].map_or(part, |other| expression(other) + part);
            adjoints[operand.value as usize] = Some(sum.value);
        });
    }
    found
}

/// Hands the parts of the gradients of an instruction's operands to `add`, given the gradient `g` of its result `y`.
fn pull_back<'t, T: Scalar>(
    instruction: Instruction,
    y: Expression<'t, T>,
    g: Expression<'t, T>,
    of: impl Fn(Value) -> Expression<'t, T>,
    mut add: impl FnMut(Expression<'t, T>, Expression<'t, T>),
) {
    match instruction {
        Instruction::Input(_) | Instruction::Constant(_) => {}
        Instruction::Function(function, x) => {
            if let Some(part) = through_function(function, of(x), y, g) {
                add(of(x), part);
            }
        }
        Instruction::Operator(operator, [a, b]) => {
            let (a, b) = (of(a), of(b));
            let zero = || g.constant(T::ZERO);
            match operator {
                Operator::Add => {
                    add(a, g);
                    add(b, g);
                }
                Operator::Subtract => {
                    add(a, g);
                    add(b, -g);
                }
                // Doubling is exact, and becomes part of the product.
                Operator::Multiply if a.value == b.value => add(a, g * a * g.constant(T::from_f64(2.0))),
                Operator::Multiply => {
                    add(a, g * b);
                    add(b, g * a);
                }
                Operator::Divide => {
                    add(a, g / b);
                    add(b, -(g * y / b));
                }
                // The exponent is a constant.
                Operator::Power => {
                    let lower = b - g.constant(T::ONE);
                    let slope = Expression::new(g.trace, g.trace.borrow_mut().operator(Operator::Power, a.value, lower.value));
                    add(a, g * (b * slope));
                }
                Operator::Maximum | Operator::Minimum => {
                    let first = if operator == Operator::Maximum { a.ge(b) } else { a.le(b) };
                    let first = first + a.not_equal(a);
                    add(a, first.where_(g, zero()));
                    add(b, first.where_(zero(), g));
                }
                Operator::Greater | Operator::GreaterEqual | Operator::Equal | Operator::NotEqual => {}
            }
        }
        Instruction::Select([mask, a, b]) => {
            let (mask, zero) = (of(mask), g.constant(T::ZERO));
            add(of(a), mask.where_(g, zero));
            add(of(b), mask.where_(zero, g));
        }
    }
}

/// The gradient of `x`, given that of `y = function(x)`; `None` for what is constant to every derivative.
fn through_function<'t, T: Scalar>(
    function: Function,
    x: Expression<'t, T>,
    y: Expression<'t, T>,
    g: Expression<'t, T>,
) -> Option<Expression<'t, T>> {
    let constant = |c: f64| g.constant(T::from_f64(c));
    Some(match function {
        Function::Negate => -g,
        Function::Recip => -(g * (y * y)),
        Function::Sqrt => g * (constant(0.5) / y),
        Function::Abs => g * x.sign(),
        Function::Sign | Function::Floor | Function::Ceil | Function::Round => return None,
        Function::Relu => g * x.gt(constant(0.0)),
        Function::Exp => g * y,
        Function::ExpM1 => g * x.exp(),
        Function::Ln => g / x,
        Function::Ln1p => g / (x + constant(1.0)),
        Function::Tanh => g * (constant(1.0) - y * y),
        Function::Sigmoid => g * (y - y * y),
        Function::Softplus => g * x.sigmoid(),
        Function::Sin => g * x.cos(),
        Function::Cos => -(g * x.sin()),
        Function::Tan => g * (y * y + constant(1.0)),
        Function::Atan => g / (x * x + constant(1.0)),
        Function::Sinh => g * x.cosh(),
        Function::Cosh => g * x.sinh(),
        Function::Erf => g * ((-(x * x)).exp() * constant(FRAC_2_SQRT_PI)),
        Function::Erfc => g * ((-(x * x)).exp() * constant(-FRAC_2_SQRT_PI)),
    })
}
