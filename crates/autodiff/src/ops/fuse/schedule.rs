//! From a program to steps on buffers: what no output needs is left out, products take up what follows them, and a value's
//! register is free again after its last use.

use super::program::{Builder, Instruction, Value, known, live};
use crate::Scalar;
use crate::kernels::fused::{Code, Function, Operand, Operation, Operator, Step};

/// What is known of a program's input before it runs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Known<T> {
    /// Every element is this one.
    Uniform(T),
    /// The elements lie in their places.
    InPlace,
    /// The elements are broadcast.
    Broadcast,
}

/// The code that computes `outputs`, for inputs of which so much is known.
pub(super) fn compile<T: Scalar>(instructions: &[Instruction], outputs: &[Value], inputs: &[Known<T>]) -> Code<T> {
    if inputs.iter().any(|known| matches!(known, Known::Uniform(_))) {
        let (instructions, outputs) = specialise(instructions, outputs, inputs);
        Schedule::new(&instructions, &outputs, inputs).code(&outputs)
    } else {
        Schedule::new(instructions, outputs, inputs).code(outputs)
    }
}

/// The program with uniform inputs as constants, so that what depends on them alone is computed once.
fn specialise<T: Scalar>(instructions: &[Instruction], outputs: &[Value], inputs: &[Known<T>]) -> (Vec<Instruction>, Vec<Value>) {
    let needed = live(instructions, outputs);
    let mut builder = Builder::<T>::new();
    let mut renamed: Vec<Value> = vec![0; instructions.len()];
    for (value, &instruction) in instructions.iter().enumerate().filter(|(value, _)| needed[*value]) {
        let of = |value: Value| renamed[value as usize];
        renamed[value] = match instruction {
            Instruction::Input(i) => match inputs[i as usize] {
                Known::Uniform(x) => builder.constant(x),
                _ => builder.push(instruction),
            },
            Instruction::Constant(_) => builder.push(instruction),
            Instruction::Function(function, x) => builder.function(function, of(x)),
            Instruction::Operator(operator, [a, b]) => builder.operator(operator, of(a), of(b)),
            Instruction::Select([mask, a, b]) => builder.select(of(mask), of(a), of(b)),
        };
    }
    (builder.instructions, outputs.iter().map(|&output| renamed[output as usize]).collect())
}

/// What is to be computed for a value.
#[derive(Clone, Copy)]
enum Plan<T> {
    /// Nothing: it is not needed, or found where it is, or part of another value's operation.
    Nothing,
    /// This, of values.
    Compute(Instruction),
    /// `a b scale + shift`.
    Product { factors: [Value; 2], scale: T, shift: Option<T> },
}

struct Schedule<'a, T> {
    instructions: &'a [Instruction],
    inputs: &'a [Known<T>],
    plans: Vec<Plan<T>>,
    /// How many instructions and outputs read a value.
    uses: Vec<usize>,
    /// The last instruction that reads a value, if any does.
    last: Vec<usize>,
    /// Where a value is found once it is computed.
    places: Vec<Option<usize>>,
}

impl<'a, T: Scalar> Schedule<'a, T> {
    fn new(instructions: &'a [Instruction], outputs: &[Value], inputs: &'a [Known<T>]) -> Self {
        let count = instructions.len();
        let needed = live(instructions, outputs);
        let mut uses = vec![0; count];
        outputs.iter().for_each(|&output| uses[output as usize] += 1);
        for (_, instruction) in instructions.iter().enumerate().filter(|(value, _)| needed[*value]) {
            instruction.operands().iter().for_each(|&operand| uses[operand as usize] += 1);
        }
        let mut schedule =
            Self { instructions, inputs, plans: vec![Plan::Nothing; count], uses, last: vec![0; count], places: vec![None; count] };
        (0..count).filter(|&value| needed[value]).for_each(|value| schedule.plan(value));
        for value in 0..count {
            let mut read = |operand: Value| schedule.last[operand as usize] = value;
            match schedule.plans[value] {
                Plan::Nothing => {}
                Plan::Compute(instruction) => instruction.operands().iter().for_each(|&operand| read(operand)),
                Plan::Product { factors, .. } => factors.into_iter().for_each(&mut read),
            }
        }
        schedule
    }

    /// Plans a value; a product that only this value reads becomes part of it.
    fn plan(&mut self, value: usize) {
        let instruction = self.instructions[value];
        self.plans[value] = match instruction {
            Instruction::Constant(_) => Plan::Nothing,
            Instruction::Input(i) if self.inputs[i as usize] == Known::InPlace => Plan::Nothing,
            _ => self.absorb(instruction).unwrap_or(Plan::Compute(instruction)),
        };
    }

    /// The plan of an instruction that scales or shifts a product.
    fn absorb(&mut self, instruction: Instruction) -> Option<Plan<T>> {
        let constant = |value| known::<T>(self.instructions, value);
        // What the product is multiplied by, and then what is added.
        let (product, scale, shift) = match instruction {
            Instruction::Function(Function::Negate, x) => (x, -T::ONE, None),
            Instruction::Operator(Operator::Multiply, [a, b]) => match (constant(a), constant(b)) {
                (Some(scale), _) => (b, scale, None),
                (_, Some(scale)) => (a, scale, None),
                _ => return None,
            },
            Instruction::Operator(Operator::Add, [a, b]) => match (constant(a), constant(b)) {
                (Some(shift), _) => (b, T::ONE, Some(shift)),
                (_, Some(shift)) => (a, T::ONE, Some(shift)),
                _ => return None,
            },
            Instruction::Operator(Operator::Subtract, [a, b]) => match (constant(a), constant(b)) {
                (Some(shift), _) => (b, -T::ONE, Some(shift)),
                (_, Some(shift)) => (a, T::ONE, Some(-shift)),
                _ => return None,
            },
            _ => return None,
        };
        let inner = self.plans[product as usize];
        if self.uses[product as usize] != 1 {
            return None;
        }
        let (factors, inner_scale, inner_shift) = match inner {
            Plan::Product { factors, scale, shift } => (factors, scale, shift),
            Plan::Compute(Instruction::Operator(Operator::Multiply, factors)) => (factors, T::ONE, None),
            _ => return None,
        };
        // Nothing may round differently: nothing follows a shift, and of two scales one is exact.
        let exact = |x: T| [1.0, -1.0, 2.0, -2.0].into_iter().any(|unit| x == T::from_f64(unit));
        if inner_shift.is_some() || !(exact(inner_scale) || exact(scale)) {
            return None;
        }
        self.plans[product as usize] = Plan::Nothing;
        Some(Plan::Product { factors, scale: inner_scale * scale, shift })
    }

    fn operand(&self, value: Value) -> Operand<T> {
        match (self.places[value as usize], self.instructions[value as usize]) {
            (Some(buffer), _) => Operand::Buffer(buffer),
            (None, Instruction::Input(i)) => Operand::Input(i as usize),
            // Nothing else is read before it is computed.
            (None, _) => Operand::Constant(known(self.instructions, value).unwrap_or(T::ZERO)),
        }
    }

    fn operation(&self, plan: Plan<T>) -> Option<Operation<T>> {
        let of = |value| self.operand(value);
        Some(match plan {
            Plan::Nothing | Plan::Compute(Instruction::Constant(_)) => return None,
            Plan::Compute(Instruction::Input(i)) => Operation::Load(i as usize),
            Plan::Compute(Instruction::Function(function, x)) => Operation::Function(function, of(x)),
            Plan::Compute(Instruction::Operator(operator, operands)) => Operation::Operator(operator, operands.map(of)),
            Plan::Compute(Instruction::Select(operands)) => Operation::Select(operands.map(of)),
            Plan::Product { factors, scale, shift } => {
                // Adding -0 leaves every value as it is.
                Operation::Product { factors: factors.map(of), scale, shift: shift.unwrap_or(-T::ZERO) }
            }
        })
    }

    fn code(mut self, outputs: &[Value]) -> Code<T> {
        let mut steps = Vec::new();
        let (mut free, mut registers, mut cost) = (Vec::new(), 0, 0);
        for value in 0..self.instructions.len() {
            let plan = self.plans[value];
            let Some(operation) = self.operation(plan) else { continue };
            let own = outputs.iter().position(|&output| output as usize == value);
            let to = own.or_else(|| free.pop()).unwrap_or_else(|| {
                registers += 1;
                outputs.len() + registers - 1
            });
            steps.push(Step { operation, to });
            cost += if self.instructions[value].is_expensive() { 10 } else { 1 };
            self.places[value] = Some(to);
            let read: &[Value] = match &plan {
                Plan::Nothing => &[],
                Plan::Compute(instruction) => instruction.operands(),
                Plan::Product { factors, .. } => factors,
            };
            for (position, &operand) in read.iter().enumerate() {
                let register = self.places[operand as usize].filter(|&buffer| buffer >= outputs.len());
                let first = !read[..position].contains(&operand);
                if let Some(register) = register.filter(|_| first && self.last[operand as usize] == value) {
                    free.push(register);
                }
            }
        }
        for (to, &output) in outputs.iter().enumerate() {
            let operand = self.operand(output);
            if operand != Operand::Buffer(to) {
                steps.push(Step { operation: Operation::Copy(operand), to });
                cost += 1;
            }
        }
        Code { steps, outputs: outputs.len(), registers, cost }
    }
}
