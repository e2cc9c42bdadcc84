//! Straight-line programs of pointwise operations, in which equal values are one.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::marker::PhantomData;

use crate::Scalar;
use crate::kernels::fused::{Function, Operator};

/// A value of a program: the number of the instruction that computes it.
pub(super) type Value = u32;

/// Computes one value from earlier ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Instruction {
    Input(u32),
    /// The bits of the `f64` of the same value: unlike it they can be compared and hashed.
    Constant(u64),
    Function(Function, Value),
    Operator(Operator, [Value; 2]),
    /// `[mask, a, b]`: `a` where `mask` is not 0, else `b`.
    Select([Value; 3]),
}

impl Instruction {
    /// The values that it reads.
    pub(super) fn operands(&self) -> &[Value] {
        match self {
            Instruction::Input(_) | Instruction::Constant(_) => &[],
            Instruction::Function(_, x) => std::slice::from_ref(x),
            Instruction::Operator(_, operands) => operands,
            Instruction::Select(operands) => operands,
        }
    }

    /// Whether one element costs as much as ten sums.
    pub(super) fn is_expensive(&self) -> bool {
        match self {
            Instruction::Function(function, _) => function.is_expensive(),
            Instruction::Operator(operator, _) => *operator == Operator::Power,
            _ => false,
        }
    }
}

/// A growing program. It computes constants at once, and a value that it has already is not computed again.
pub(super) struct Builder<T> {
    pub(super) instructions: Vec<Instruction>,
    /// Whether the closure used a rectifier, such as ReLU or GELU.
    pub(super) rectifies: bool,
    numbers: HashMap<Instruction, Value, BuildHasherDefault<Multiplicative>>,
    element: PhantomData<T>,
}

impl<T: Scalar> Builder<T> {
    pub(super) fn new() -> Self {
        Self { instructions: Vec::new(), rectifies: false, numbers: HashMap::default(), element: PhantomData }
    }

    /// A program that goes on from these instructions.
    pub(super) fn continuing(instructions: &[Instruction]) -> Self {
        let numbers = instructions.iter().zip(0..).map(|(&instruction, value)| (instruction, value)).collect();
        Self { instructions: instructions.to_vec(), rectifies: false, numbers, element: PhantomData }
    }

    pub(super) fn input(&mut self, i: usize) -> Value {
        self.number(Instruction::Input(i as u32))
    }

    pub(super) fn constant(&mut self, x: T) -> Value {
        self.number(Instruction::Constant(x.to_f64().to_bits()))
    }

    /// The constant that a value is.
    pub(super) fn known(&self, value: Value) -> Option<T> {
        known(&self.instructions, value)
    }

    /// The value of an instruction, in its simplest form that rounds in the same way.
    pub(super) fn push(&mut self, instruction: Instruction) -> Value {
        match instruction {
            Instruction::Input(_) | Instruction::Constant(_) => self.number(instruction),
            Instruction::Function(function, x) => self.function(function, x),
            Instruction::Operator(operator, [a, b]) => self.operator(operator, a, b),
            Instruction::Select([mask, a, b]) => self.select(mask, a, b),
        }
    }

    pub(super) fn function(&mut self, function: Function, x: Value) -> Value {
        if let Some(x) = self.known(x) {
            return self.constant(function.at(x));
        }
        match self.instructions[x as usize] {
            Instruction::Function(Function::Negate, inner) if function == Function::Negate => inner,
            _ => self.number(Instruction::Function(function, x)),
        }
    }

    pub(super) fn operator(&mut self, operator: Operator, a: Value, b: Value) -> Value {
        let one = |x: Option<T>| x == Some(T::ONE);
        let (left, right) = (self.known(a), self.known(b));
        match (operator, left, right) {
            (_, Some(left), Some(right)) => self.constant(operator.at(left, right)),
            (Operator::Multiply | Operator::Divide | Operator::Power, _, right) if one(right) => a,
            (Operator::Multiply, left, _) if one(left) => b,
            (Operator::Multiply, _, Some(right)) if right == -T::ONE => self.function(Function::Negate, a),
            (Operator::Multiply, Some(left), _) if left == -T::ONE => self.function(Function::Negate, b),
            (Operator::Power, _, Some(exponent)) => self.power(a, exponent),
            _ if operator.commutes() && b < a => self.number(Instruction::Operator(operator, [b, a])),
            _ => self.number(Instruction::Operator(operator, [a, b])),
        }
    }

    /// `x` to a constant power: small whole ones by products.
    fn power(&mut self, x: Value, exponent: T) -> Value {
        let is = |n: f64| exponent == T::from_f64(n);
        if is(0.0) {
            return self.constant(T::ONE);
        }
        let square = |builder: &mut Self, x| builder.operator(Operator::Multiply, x, x);
        if is(2.0) {
            square(self, x)
        } else if is(3.0) {
            let squared = square(self, x);
            self.operator(Operator::Multiply, squared, x)
        } else if is(4.0) {
            let squared = square(self, x);
            square(self, squared)
        } else {
            let exponent = self.constant(exponent);
            self.number(Instruction::Operator(Operator::Power, [x, exponent]))
        }
    }

    pub(super) fn select(&mut self, mask: Value, a: Value, b: Value) -> Value {
        match self.known(mask) {
            Some(mask) if mask == T::ZERO => b,
            Some(_) => a,
            None if a == b => a,
            None => self.number(Instruction::Select([mask, a, b])),
        }
    }

    /// How many expensive functions the outputs need.
    pub(super) fn expensive(&self, outputs: &[Value]) -> usize {
        let needed = live(&self.instructions, outputs);
        self.instructions.iter().zip(needed).filter(|(instruction, needed)| *needed && instruction.is_expensive()).count()
    }

    fn number(&mut self, instruction: Instruction) -> Value {
        let next = self.instructions.len() as Value;
        let value = *self.numbers.entry(instruction).or_insert(next);
        if value == next {
            self.instructions.push(instruction);
        }
        value
    }
}

/// The constant that a value of a program is.
pub(super) fn known<T: Scalar>(instructions: &[Instruction], value: Value) -> Option<T> {
    match instructions[value as usize] {
        Instruction::Constant(bits) => Some(T::from_f64(f64::from_bits(bits))),
        _ => None,
    }
}

/// Which values the outputs depend on.
pub(super) fn live(instructions: &[Instruction], outputs: &[Value]) -> Vec<bool> {
    let mut live = vec![false; instructions.len()];
    outputs.iter().for_each(|&output| live[output as usize] = true);
    for (i, instruction) in instructions.iter().enumerate().rev() {
        if live[i] {
            instruction.operands().iter().for_each(|&operand| live[operand as usize] = true);
        }
    }
    live
}

/// A hash of a few small integers: tracing happens at each call, and the standard one takes longer than all else in it.
#[derive(Default)]
struct Multiplicative(u64);

impl Hasher for Multiplicative {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }
    fn write_u32(&mut self, x: u32) {
        self.write_u64(x.into());
    }
    fn write_u64(&mut self, x: u64) {
        // 2⁶⁴ over the golden ratio; the high bits of the product, which mix best, come down by the rotation.
        self.0 = (self.0 ^ x).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
    fn write_isize(&mut self, x: isize) {
        self.write_u64(x as u64);
    }
    fn write_usize(&mut self, x: usize) {
        self.write_u64(x as u64);
    }
}
