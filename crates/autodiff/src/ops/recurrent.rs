//! Long short-term memory and gated recurrent units, one step and whole sequences. The products with the inputs of all
//! steps are one [`Tensor::linear`]; the recurrence is one operation.

use std::sync::Arc;

use super::arithmetic::or_panic;
use crate::kernels::Buffer;
use crate::kernels::recurrent::{Backward, Cell, KEPT, Recurrence};
use crate::node::{Cx, Rule};
use crate::per_example::Factor;
use crate::{Scalar, Shape, Tensor, TensorError, vjp};

#[cfg(test)]
mod tests;

/// The weights of a recurrent layer in PyTorch's layout and order of gates: input, forget, cell, output for
/// [`Tensor::lstm`] (`gates` is 4); reset, update, new for [`Tensor::gru`] (`gates` is 3).
#[derive(Debug, Clone, Copy)]
pub struct RecurrentWeights<'a, T: Scalar = f32> {
    /// `[gates · hidden, input]`; PyTorch's `weight_ih`.
    pub input: &'a Tensor<T>,
    /// `[gates · hidden, hidden]`; PyTorch's `weight_hh`.
    pub hidden: &'a Tensor<T>,
    /// `[gates · hidden]`; PyTorch's `bias_ih`.
    pub input_bias: Option<&'a Tensor<T>>,
    /// `[gates · hidden]`; PyTorch's `bias_hh`.
    pub hidden_bias: Option<&'a Tensor<T>>,
}

/// What a recurrence is a function of, and its parents in this order.
#[derive(Clone)]
struct Operands<T: Scalar> {
    /// What the inputs add to the gates, `[batch, time, gates · hidden]`.
    inputs: Tensor<T>,
    /// `[gates · hidden, hidden]`.
    weight: Tensor<T>,
    /// `[batch, hidden]`.
    state: Tensor<T>,
    /// Of an LSTM, `[batch, hidden]`.
    cell_state: Option<Tensor<T>>,
    /// `[4 · hidden]`: of the gates of an LSTM; of reset, update and the two parts of new of a GRU.
    bias: Option<Tensor<T>>,
}

/// Positions of the parents.
const INPUTS: usize = 0;
const WEIGHT: usize = 1;
const STATE: usize = 2;
const CELL_STATE: usize = 3;
const BIAS: usize = 4;

impl<T: Scalar> Operands<T> {
    fn each(&self) -> [Option<&Tensor<T>>; 5] {
        [Some(&self.inputs), Some(&self.weight), Some(&self.state), self.cell_state.as_ref(), self.bias.as_ref()]
    }
}

struct Recurrent<T: Scalar> {
    cell: Cell,
    lengths: Option<Arc<[usize]>>,
    operands: Operands<T>,
    output: Tensor<T>,
    kept: Tensor<T>,
    cells: Tensor<T>,
}

impl<T: Scalar> Rule<T> for Recurrent<T> {
    fn name(&self) -> &'static str {
        name(self.cell)
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        if !cx.is_plain(&g) {
            return self.backward_recorded(&g, cx);
        }
        let (kernel, shape) = (self.kernel(), *self.operands.inputs.shape_ref());
        let Backward { inputs, hidden, bias, states: [state, cell] } = self.run_backward(&g);
        let inputs = Tensor::raw(inputs, shape);
        if cx.wants(WEIGHT) {
            let hidden = hidden.map_or_else(|| inputs.clone(), |hidden| Tensor::raw(hidden, shape));
            let rows = hidden.reshape(&[kernel.batch * kernel.time, shape[2]]);
            cx.add(WEIGHT, rows.product(&self.hidden_before(), true, false));
        }
        if cx.wants(INPUTS) {
            cx.add(INPUTS, inputs);
        }
        let state_shape = *self.operands.state.shape_ref();
        if cx.wants(STATE) {
            cx.add(STATE, Tensor::raw(state, state_shape));
        }
        if cx.wants(CELL_STATE) {
            cx.add(CELL_STATE, Tensor::raw(cell, state_shape));
        }
        if cx.wants(BIAS) {
            cx.add(BIAS, self.of_each(bias).sum_axis(0));
        }
    }
    fn keeps_examples(&self, parent: usize, batch: usize) -> bool {
        matches!(parent, INPUTS | STATE | CELL_STATE) && self.operands.state.shape()[0].is_multiple_of(batch)
    }
    fn example_factor(&self, parent: usize, g: &Tensor<T>, batch: usize, recording: bool) -> Option<Factor<T>> {
        let &[examples, time, gates] = self.operands.inputs.shape() else { return None };
        if recording || !examples.is_multiple_of(batch) || !matches!(parent, WEIGHT | BIAS) {
            return None;
        }
        let Backward { inputs, hidden, bias, .. } = self.run_backward(g);
        if parent == BIAS {
            let each = self.of_each(bias);
            let own = [batch, examples / batch, each.shape()[1]];
            return Some(Factor::Dense(each.reshape(&own).sum_axis(1)));
        }
        let gradient = Tensor::raw(hidden.unwrap_or(inputs), *self.operands.inputs.shape_ref());
        Some(Factor::Outer { rows: gradient.reshape(&[examples * time, gates]), columns: self.hidden_before() })
    }
}

impl<T: Scalar> Recurrent<T> {
    fn kernel(&self) -> Recurrence<'_, T> {
        recurrence(self.cell, self.lengths.as_deref(), &self.operands)
    }

    /// Gradients of the bias for each example, `[batch, 4 · hidden]`.
    fn of_each(&self, bias: Buffer<T>) -> Tensor<T> {
        let [batch, hidden] = [self.operands.state.shape()[0], self.operands.state.shape()[1]];
        Tensor::raw(bias, crate::tensor::checked(&[batch, KEPT * hidden]))
    }

    fn run_backward(&self, g: &Tensor<T>) -> Backward<T> {
        self.kernel().backward(g.as_slice(), [self.output.as_slice(), self.kept.as_slice(), self.cells.as_slice()])
    }

    /// `[batch · time, hidden]`.
    fn hidden_before(&self) -> Tensor<T> {
        let kernel = self.kernel();
        let shape = crate::tensor::checked(&[kernel.batch * kernel.time, kernel.hidden]);
        Tensor::raw(kernel.hidden_before(self.output.as_slice()), shape)
    }

    /// The gradients by the pull-back of the recurrence in recorded operations.
    fn backward_recorded(&self, g: &Tensor<T>, cx: &mut Cx<'_, T>) {
        let operands: [Option<Tensor<T>>; 5] = self.operands.each().map(|x| x.map(|x| cx.get(x)));
        let (cell, lengths) = (self.cell, self.lengths.clone());
        let (_, pullback) = vjp(move |operands: &[Option<Tensor<T>>; 5]| unrolled(cell, lengths.as_deref(), operands), &operands);
        for (i, gradient) in pullback(g).into_iter().enumerate() {
            if let Some(gradient) = gradient.filter(|_| cx.wants(i)) {
                cx.add(i, gradient);
            }
        }
    }
}

fn sum<T: Scalar>(a: Option<Tensor<T>>, b: Option<Tensor<T>>) -> Option<Tensor<T>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}

fn name(cell: Cell) -> &'static str {
    match cell {
        Cell::Lstm => "lstm",
        Cell::Gru => "gru",
    }
}

fn recurrence<'a, T: Scalar>(
    cell: Cell,
    lengths: Option<&'a [usize]>,
    Operands { inputs, weight, state, cell_state, bias }: &'a Operands<T>,
) -> Recurrence<'a, T> {
    let [batch, time, hidden] = [inputs.shape()[0], inputs.shape()[1], weight.shape()[1]];
    Recurrence {
        cell,
        batch,
        time,
        hidden,
        lengths,
        inputs: inputs.as_slice(),
        weight: weight.as_slice(),
        bias: bias.as_ref().map(Tensor::as_slice),
        states: [state.as_slice(), cell_state.as_ref().map(Tensor::as_slice).unwrap_or_default()],
    }
}

/// The recurrence step by step in recorded operations; the same output as the kernel's.
fn unrolled<T: Scalar>(cell: Cell, lengths: Option<&[usize]>, operands: &[Option<Tensor<T>>; 5]) -> Tensor<T> {
    let [Some(inputs), Some(weight), Some(state), cell_state, bias] = operands else { return Tensor::zeros(&[0]) };
    let &[batch, time, gates] = inputs.shape() else { return inputs.clone() };
    let n = weight.shape()[1];
    let mut states: Vec<Tensor<T>> = [state].into_iter().chain(cell_state).cloned().collect();
    // A GRU's bias of the hidden part of its last gate.
    let (bias, part_bias) = (bias.as_ref().map(|b| b.narrow(0, 0, gates)), bias.as_ref().map(|b| b.narrow(0, 3 * n, n)));
    let mut parts = Vec::with_capacity(time + states.len());
    for step in 0..time {
        let input = inputs.narrow(1, step, 1).reshape(&[batch, gates]);
        let input = bias.as_ref().map_or_else(|| input.clone(), |bias| &input + bias);
        let sums = states[0].product(weight, false, true);
        let next = match cell {
            Cell::Lstm => lstm_step(&(input + sums), &states[1], n),
            Cell::Gru => vec![gru_step(&input, &sums, part_bias.as_ref(), &states[0], n)],
        };
        let Some(lengths) = lengths else {
            states = next;
            parts.push(states[0].clone());
            continue;
        };
        let active = Tensor::from_fn(&[batch, 1], |e| if step < lengths[e] { T::ONE } else { T::ZERO });
        parts.push(active.where_(&next[0], &Tensor::scalar(T::ZERO)));
        states = next.iter().zip(&states).map(|(next, old)| active.where_(next, old)).collect();
    }
    parts.extend(states);
    Tensor::concat(&parts, 1)
}

fn lstm_step<T: Scalar>(gates: &Tensor<T>, cell: &Tensor<T>, n: usize) -> Vec<Tensor<T>> {
    let gate = |i: usize| gates.narrow(1, i * n, n);
    let cell = gate(1).sigmoid() * cell + gate(0).sigmoid() * gate(2).tanh();
    vec![gate(3).sigmoid() * cell.tanh(), cell]
}

fn gru_step<T: Scalar>(input: &Tensor<T>, sums: &Tensor<T>, part_bias: Option<&Tensor<T>>, hidden: &Tensor<T>, n: usize) -> Tensor<T> {
    let gate = |i: usize| (input.narrow(1, i * n, n), sums.narrow(1, i * n, n));
    let logistic = |(x, s): (Tensor<T>, Tensor<T>)| (x + s).sigmoid();
    let (reset, update) = (logistic(gate(0)), logistic(gate(1)));
    let (x, s) = gate(2);
    let s = part_bias.map_or_else(|| s.clone(), |bias| &s + bias);
    let new = (x + reset * s).tanh();
    // (1 - z) n + z h
    &new + &update * (hidden - &new)
}

/// The sizes `[batch, time, hidden]` of a layer whose operands fit each other.
fn sizes<T: Scalar>(
    cell: Cell,
    x: &Tensor<T>,
    weights: &RecurrentWeights<'_, T>,
    states: &[&Tensor<T>],
    lengths: Option<&[usize]>,
) -> Result<[usize; 3], TensorError> {
    let mismatch =
        |a: &Tensor<T>, b: &Tensor<T>| TensorError::Mismatch { operation: name(cell), left: a.shape().to_vec(), right: b.shape().to_vec() };
    let &[batch, time, input] = x.shape() else { return Err(mismatch(x, weights.input)) };
    let &[gates, hidden] = weights.hidden.shape() else { return Err(mismatch(weights.input, weights.hidden)) };
    if weights.input.rank() != 2 || weights.input.shape()[1] != input {
        return Err(mismatch(x, weights.input));
    }
    if hidden.checked_mul(cell.gates()) != Some(gates) || weights.input.shape()[0] != gates {
        return Err(mismatch(weights.input, weights.hidden));
    }
    for bias in [weights.input_bias, weights.hidden_bias].into_iter().flatten() {
        if bias.shape() != [gates] {
            return Err(mismatch(weights.hidden, bias));
        }
    }
    for state in states {
        if state.shape() != [batch, hidden] {
            return Err(mismatch(x, state));
        }
    }
    let argument = |what: String| TensorError::Argument { operation: name(cell), what, shape: x.shape().to_vec() };
    if let Some(lengths) = lengths {
        if lengths.len() != batch {
            return Err(argument(format!("{} lengths do not fit {batch} examples", lengths.len())));
        }
        if let Some((example, length)) = lengths.iter().enumerate().find(|(_, length)| **length > time) {
            return Err(argument(format!("the length {length} of example {example} is greater than {time}")));
        }
    }
    Shape::new(&[batch, time, gates])?;
    Shape::new(&[batch, time.saturating_add(cell.states()), hidden])?;
    Ok([batch, time, hidden])
}

impl<T: Scalar> Tensor<T> {
    /// The recurrence: outputs `[batch, time, hidden]` and the final states.
    #[track_caller]
    fn recurrent(cell: Cell, operands: Operands<T>, lengths: Option<&[usize]>) -> (Self, Vec<Self>) {
        let kernel = recurrence(cell, lengths, &operands);
        let [batch, time, n, row] = [kernel.batch, kernel.time, kernel.hidden, kernel.row()];
        let forward = kernel.forward();
        let flat = |values: Buffer<T>| {
            let count = values.len();
            Tensor::raw(values, crate::tensor::checked(&[count]))
        };
        let output = Tensor::raw(forward.output, crate::tensor::checked(&[batch, row]));
        let saved = output.clone();
        let parents = operands.each().map(|x| x.and_then(|x| x.node().cloned()));
        let y = output.record_many(parents.into(), || Recurrent {
            cell,
            lengths: lengths.map(Into::into),
            operands,
            output: saved,
            kept: flat(forward.kept),
            cells: flat(forward.cells),
        });
        let states = (0..cell.states()).map(|i| y.narrow(1, (time + i) * n, n)).collect();
        (y.narrow(1, 0, time * n).reshape(&[batch, time, n]), states)
    }

    /// Long short-term memory (Hochreiter and Schmidhuber 1997; with the forget gate of Gers et al. 2000) over sequences,
    /// this tensor `[batch, time, input]`: the outputs `[batch, time, hidden]` and the final hidden and cell states, both
    /// `[batch, hidden]`. `states` are the initial ones, zeros if not given. With the gates `i`, `f`, `g`, `o` of
    /// [`RecurrentWeights`], `c ← σ(f) c + σ(i) tanh g` and `h ← σ(o) tanh c`.
    ///
    /// With `lengths`, example `b` ends after `lengths[b]` steps: later outputs are 0, and its final states are those of its
    /// last step.
    ///
    /// ```
    /// use gradus_autodiff::{RecurrentWeights, Tensor, grad};
    /// let (input, hidden) = (Tensor::<f32>::full(0.1, &[8, 3]), Tensor::full(0.1, &[8, 2]));
    /// let weights = RecurrentWeights { input: &input, hidden: &hidden, input_bias: None, hidden_bias: None };
    /// let x = Tensor::ones(&[5, 7, 3]);
    /// let (outputs, [last, _cell]) = x.lstm(&weights, None, None);
    /// assert_eq!(outputs.shape(), [5, 7, 2]);
    /// assert_eq!(outputs.narrow(1, 6, 1).reshape(&[5, 2]), last);
    /// let gradient = grad(|hidden| x.lstm(&RecurrentWeights { hidden, ..weights }, None, None).1[0].sum(), &hidden);
    /// assert_eq!(gradient.shape(), [8, 2]);
    /// ```
    ///
    /// # Panics
    /// When the shapes do not fit; [`Tensor::try_lstm`] returns the error instead.
    #[track_caller]
    pub fn lstm(&self, weights: &RecurrentWeights<'_, T>, states: Option<[&Self; 2]>, lengths: Option<&[usize]>) -> (Self, [Self; 2]) {
        or_panic(self.try_lstm(weights, states, lengths))
    }

    /// [`Tensor::lstm`], or what does not fit.
    ///
    /// # Errors
    /// [`TensorError::Mismatch`] for the two shapes that do not fit each other, [`TensorError::Argument`] for another number
    /// of lengths than examples or a length greater than the time, [`TensorError::TooLarge`].
    #[track_caller]
    pub fn try_lstm(
        &self,
        weights: &RecurrentWeights<'_, T>,
        states: Option<[&Self; 2]>,
        lengths: Option<&[usize]>,
    ) -> Result<(Self, [Self; 2]), TensorError> {
        let [batch, _, hidden] = sizes(Cell::Lstm, self, weights, states.as_ref().map_or(&[], |states| &states[..]), lengths)?;
        let zeros = Tensor::zeros(&[batch, hidden]);
        let [state, cell] = states.unwrap_or([&zeros, &zeros]);
        let operands = Operands {
            inputs: self.try_linear(weights.input, None)?,
            weight: weights.hidden.clone(),
            state: state.clone(),
            cell_state: Some(cell.clone()),
            bias: sum(weights.input_bias.cloned(), weights.hidden_bias.cloned()),
        };
        let (outputs, states) = Self::recurrent(Cell::Lstm, operands, lengths);
        Ok((outputs, [states[0].clone(), states[1].clone()]))
    }

    /// One step of [`Tensor::lstm`], this tensor `[batch, input]`, from the hidden and cell states `[batch, hidden]`, to the
    /// next.
    ///
    /// # Panics
    /// When the shapes do not fit; [`Tensor::try_lstm_cell`] returns the error instead.
    #[track_caller]
    pub fn lstm_cell(&self, weights: &RecurrentWeights<'_, T>, states: [&Self; 2]) -> [Self; 2] {
        or_panic(self.try_lstm_cell(weights, states))
    }

    /// [`Tensor::lstm_cell`], or what does not fit.
    ///
    /// # Errors
    /// As [`Tensor::try_lstm`], for a time of 1; [`TensorError::Axis`] for a scalar.
    #[track_caller]
    pub fn try_lstm_cell(&self, weights: &RecurrentWeights<'_, T>, states: [&Self; 2]) -> Result<[Self; 2], TensorError> {
        self.try_axis("lstm", 0)?;
        Ok(self.try_unsqueeze(1)?.try_lstm(weights, Some(states), None)?.1)
    }

    /// A gated recurrent unit (Cho et al. 2014, with the reset gate behind the product as in PyTorch and cuDNN) over
    /// sequences, this tensor `[batch, time, input]`: the outputs `[batch, time, hidden]` and the final state
    /// `[batch, hidden]`. `state` is the initial one, zeros if not given. `r` and `z` are logistic functions of the sum of
    /// both parts of their gates; `n = tanh(input part + r · hidden part)`, and `h ← (1 - z) n + z h`.
    ///
    /// With `lengths`, example `b` ends after `lengths[b]` steps: later outputs are 0, and its final state is that of its
    /// last step.
    ///
    /// ```
    /// use gradus_autodiff::{RecurrentWeights, Tensor};
    /// let (input, hidden) = (Tensor::<f32>::full(0.1, &[6, 3]), Tensor::full(0.1, &[6, 2]));
    /// let weights = RecurrentWeights { input: &input, hidden: &hidden, input_bias: None, hidden_bias: None };
    /// let (outputs, last) = Tensor::ones(&[2, 4, 3]).gru(&weights, None, Some(&[4, 1]));
    /// assert_eq!(outputs.shape(), [2, 4, 2]);
    /// assert_eq!(outputs.to_vec()[10..], [0.0; 6]); // the second sequence has ended
    /// assert_eq!(last.to_vec()[2..], outputs.to_vec()[8..10]);
    /// ```
    ///
    /// # Panics
    /// When the shapes do not fit; [`Tensor::try_gru`] returns the error instead.
    #[track_caller]
    pub fn gru(&self, weights: &RecurrentWeights<'_, T>, state: Option<&Self>, lengths: Option<&[usize]>) -> (Self, Self) {
        or_panic(self.try_gru(weights, state, lengths))
    }

    /// [`Tensor::gru`], or what does not fit.
    ///
    /// # Errors
    /// As [`Tensor::try_lstm`].
    #[track_caller]
    pub fn try_gru(
        &self,
        weights: &RecurrentWeights<'_, T>,
        state: Option<&Self>,
        lengths: Option<&[usize]>,
    ) -> Result<(Self, Self), TensorError> {
        let [batch, _, hidden] = sizes(Cell::Gru, self, weights, state.as_slice(), lengths)?;
        let zeros = Tensor::zeros(&[batch, hidden]);
        // Reset and update have one bias, the parts of new their own.
        let none = Tensor::zeros(&[hidden]);
        let of_input = |bias: &Self| Tensor::concat(&[bias.clone(), none.clone()], 0);
        let of_hidden = |bias: &Self| Tensor::concat(&[bias.narrow(0, 0, 2 * hidden), none.clone(), bias.narrow(0, 2 * hidden, hidden)], 0);
        let operands = Operands {
            inputs: self.try_linear(weights.input, None)?,
            weight: weights.hidden.clone(),
            state: state.unwrap_or(&zeros).clone(),
            cell_state: None,
            bias: sum(weights.input_bias.map(of_input), weights.hidden_bias.map(of_hidden)),
        };
        let (outputs, states) = Self::recurrent(Cell::Gru, operands, lengths);
        Ok((outputs, states[0].clone()))
    }

    /// One step of [`Tensor::gru`], this tensor `[batch, input]`, from the state `[batch, hidden]` to the next.
    ///
    /// # Panics
    /// When the shapes do not fit; [`Tensor::try_gru_cell`] returns the error instead.
    #[track_caller]
    pub fn gru_cell(&self, weights: &RecurrentWeights<'_, T>, state: &Self) -> Self {
        or_panic(self.try_gru_cell(weights, state))
    }

    /// [`Tensor::gru_cell`], or what does not fit.
    ///
    /// # Errors
    /// As [`Tensor::try_gru`], for a time of 1; [`TensorError::Axis`] for a scalar.
    #[track_caller]
    pub fn try_gru_cell(&self, weights: &RecurrentWeights<'_, T>, state: &Self) -> Result<Self, TensorError> {
        self.try_axis("gru", 0)?;
        Ok(self.try_unsqueeze(1)?.try_gru(weights, Some(state), None)?.1)
    }
}
