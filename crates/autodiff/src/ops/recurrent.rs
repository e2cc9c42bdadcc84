//! Long short-term memory and gated recurrent units, one step and whole sequences. The products with the inputs of all
//! steps are one [`Tensor::linear`]; the recurrence is one operation.

use std::sync::Arc;

use super::arithmetic::or_panic;
use crate::kernels::recurrent::{Backward, Cell, Recurrence};
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

/// The recurrence, given what the inputs add to the gates. `last` is the initial cell of an LSTM, the hidden bias of a GRU.
struct Recurrent<T: Scalar> {
    cell: Cell,
    lengths: Option<Arc<[usize]>>,
    inputs: Tensor<T>,
    weight: Tensor<T>,
    state: Tensor<T>,
    last: Option<Tensor<T>>,
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
        let kernel = self.kernel();
        let Backward { inputs, hidden, states: [state, cell] } = self.run_backward(&g);
        let gates = *self.inputs.shape_ref();
        let inputs = Tensor::raw(inputs, gates);
        if cx.wants(1) || (self.cell == Cell::Gru && cx.wants(3)) {
            let rows = [kernel.batch * kernel.time, gates[2]];
            let hidden = hidden.map_or_else(|| inputs.clone(), |hidden| Tensor::raw(hidden, gates)).reshape(&rows);
            if cx.wants(1) {
                cx.add(1, hidden.product(&self.hidden_before(), true, false));
            }
            if self.cell == Cell::Gru && cx.wants(3) {
                cx.add(3, hidden.sum_axis(0));
            }
        }
        if cx.wants(0) {
            cx.add(0, inputs);
        }
        if cx.wants(2) {
            cx.add(2, Tensor::raw(state, *self.state.shape_ref()));
        }
        if self.cell == Cell::Lstm && cx.wants(3) {
            cx.add(3, Tensor::raw(cell, *self.state.shape_ref()));
        }
    }
    fn keeps_examples(&self, parent: usize, batch: usize) -> bool {
        let has_examples = parent == 0 || parent == 2 || (parent == 3 && self.cell == Cell::Lstm);
        has_examples && self.state.shape()[0].is_multiple_of(batch)
    }
    fn example_factor(&self, parent: usize, g: &Tensor<T>, batch: usize, recording: bool) -> Option<Factor<T>> {
        let &[examples, time, gates] = self.inputs.shape() else { return None };
        if recording || !examples.is_multiple_of(batch) || !(parent == 1 || (parent == 3 && self.cell == Cell::Gru)) {
            return None;
        }
        let Backward { inputs, hidden, .. } = self.run_backward(g);
        let gradient = Tensor::raw(hidden.unwrap_or(inputs), *self.inputs.shape_ref());
        if parent == 3 {
            return Some(Factor::Dense(gradient.reshape(&[batch, examples / batch * time, gates]).sum_axis(1)));
        }
        Some(Factor::Outer { rows: gradient.reshape(&[examples * time, gates]), columns: self.hidden_before() })
    }
}

impl<T: Scalar> Recurrent<T> {
    fn kernel(&self) -> Recurrence<'_, T> {
        recurrence(self.cell, self.lengths.as_deref(), [&self.inputs, &self.weight, &self.state], self.last.as_ref())
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
        let operands: Vec<Tensor<T>> = [&self.inputs, &self.weight, &self.state].into_iter().chain(&self.last).map(|x| cx.get(x)).collect();
        let (cell, lengths) = (self.cell, self.lengths.clone());
        let (_, pullback) = vjp(move |operands: &Vec<Tensor<T>>| unrolled(cell, lengths.as_deref(), operands), &operands);
        for (i, gradient) in pullback(g).into_iter().enumerate() {
            if cx.wants(i) {
                cx.add(i, gradient);
            }
        }
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
    [inputs, weight, state]: [&'a Tensor<T>; 3],
    last: Option<&'a Tensor<T>>,
) -> Recurrence<'a, T> {
    let last = last.map(Tensor::as_slice);
    let (bias, second) = match cell {
        Cell::Lstm => (None, last.unwrap_or_default()),
        Cell::Gru => (last, Default::default()),
    };
    let [batch, time, hidden] = [inputs.shape()[0], inputs.shape()[1], weight.shape()[1]];
    Recurrence {
        cell,
        batch,
        time,
        hidden,
        lengths,
        inputs: inputs.as_slice(),
        weight: weight.as_slice(),
        bias,
        states: [state.as_slice(), second],
    }
}

/// The recurrence step by step in recorded operations; the same output as the kernel's.
fn unrolled<T: Scalar>(cell: Cell, lengths: Option<&[usize]>, operands: &[Tensor<T>]) -> Tensor<T> {
    let (inputs, weight, last) = (&operands[0], &operands[1], operands.get(3));
    let &[batch, time, gates] = inputs.shape() else { return inputs.clone() };
    let n = weight.shape()[1];
    let mut states = vec![operands[2].clone()];
    if cell == Cell::Lstm {
        states.extend(last.cloned());
    }
    let mut parts = Vec::with_capacity(time + states.len());
    for step in 0..time {
        let input = inputs.narrow(1, step, 1).reshape(&[batch, gates]);
        let sums = states[0].product(weight, false, true);
        let next = match cell {
            Cell::Lstm => lstm_step(&(input + sums), &states[1], n),
            Cell::Gru => vec![gru_step(&input, &last.map_or_else(|| sums.clone(), |bias| &sums + bias), &states[0], n)],
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

fn gru_step<T: Scalar>(input: &Tensor<T>, sums: &Tensor<T>, hidden: &Tensor<T>, n: usize) -> Tensor<T> {
    let gate = |i: usize| (input.narrow(1, i * n, n), sums.narrow(1, i * n, n));
    let logistic = |(x, s): (Tensor<T>, Tensor<T>)| (x + s).sigmoid();
    let (reset, update) = (logistic(gate(0)), logistic(gate(1)));
    let (x, s) = gate(2);
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
    /// The recurrence over what the inputs add to the gates, `self`: outputs `[batch, time, hidden]` and the final states.
    #[track_caller]
    fn recurrent(&self, cell: Cell, weight: &Self, state: &Self, last: Option<&Self>, lengths: Option<&[usize]>) -> (Self, Vec<Self>) {
        let kernel = recurrence(cell, lengths, [self, weight, state], last);
        let [batch, time, n, row] = [kernel.batch, kernel.time, kernel.hidden, kernel.row()];
        let forward = kernel.forward();
        let flat = |values: crate::kernels::Buffer<T>| {
            let count = values.len();
            Tensor::raw(values, crate::tensor::checked(&[count]))
        };
        let output = Tensor::raw(forward.output, crate::tensor::checked(&[batch, row]));
        let saved = output.clone();
        let parents = [Some(self), Some(weight), Some(state), last].map(|x| x.and_then(|x| x.node().cloned()));
        let y = output.record_many(parents.into(), || Recurrent {
            cell,
            lengths: lengths.map(Into::into),
            inputs: self.clone(),
            weight: weight.clone(),
            state: state.clone(),
            last: last.cloned(),
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
        let bias = match (weights.input_bias, weights.hidden_bias) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b).cloned(),
        };
        let zeros = Tensor::zeros(&[batch, hidden]);
        let [state, cell] = states.unwrap_or([&zeros, &zeros]);
        let gates = self.try_linear(weights.input, bias.as_ref())?;
        let (outputs, states) = gates.recurrent(Cell::Lstm, weights.hidden, state, Some(cell), lengths);
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
        let gates = self.try_linear(weights.input, weights.input_bias)?;
        let (outputs, states) = gates.recurrent(Cell::Gru, weights.hidden, state.unwrap_or(&zeros), weights.hidden_bias, lengths);
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
