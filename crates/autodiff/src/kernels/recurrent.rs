//! Recurrent layers over whole sequences. Examples do not depend on each other: fixed parts of the batch run through all
//! steps on their own, so that threads meet once and not at every step.

use rayon::prelude::*;

use super::functions::sigmoid;
use super::{Buffer, PARALLEL, cut, strided, vectorised};
use crate::Scalar;

/// Parts at most into which a batch is cut, and examples at least of a part: products of fewer rows are slow.
const PARTS: usize = 8;
const EXAMPLES: usize = if cfg!(test) { 2 } else { 16 };

/// Which recurrence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cell {
    /// Long short-term memory: gates input, forget, cell, output; the state is hidden and cell.
    Lstm,
    /// Gated recurrent unit: gates reset, update, new; the state is hidden.
    Gru,
}

impl Cell {
    pub(crate) fn gates(self) -> usize {
        match self {
            Cell::Lstm => 4,
            Cell::Gru => 3,
        }
    }

    /// Vectors of the state.
    pub(crate) fn states(self) -> usize {
        match self {
            Cell::Lstm => 2,
            Cell::Gru => 1,
        }
    }
}

/// The values that each step keeps for the backward pass: the four gates of the first; reset, update, new and the hidden
/// part of new of the second.
const KEPT: usize = 4;

pub(crate) struct Recurrence<'a, T> {
    pub(crate) cell: Cell,
    pub(crate) batch: usize,
    pub(crate) time: usize,
    pub(crate) hidden: usize,
    /// Steps of each example; after them the state stays and the output is 0.
    pub(crate) lengths: Option<&'a [usize]>,
    /// What the inputs add to the gates, `[batch, time, gates · hidden]`.
    pub(crate) inputs: &'a [T],
    /// `[gates · hidden, hidden]`.
    pub(crate) weight: &'a [T],
    /// Of the hidden part, `[gates · hidden]`.
    pub(crate) bias: Option<&'a [T]>,
    /// The initial states, `[batch, hidden]`: hidden, and cell where there is one.
    pub(crate) states: [&'a [T]; 2],
}

/// What the forward pass makes.
pub(crate) struct Forward<T: Scalar> {
    /// Of each example the outputs `[time, hidden]` and behind them the final states.
    pub(crate) output: Buffer<T>,
    /// `[batch, time, 4 · hidden]`.
    pub(crate) kept: Buffer<T>,
    /// The cell states of each step, `[batch, time, hidden]`, where there are any.
    pub(crate) cells: Buffer<T>,
}

/// What the backward pass makes.
pub(crate) struct Backward<T: Scalar> {
    /// The gradient of [`Recurrence::inputs`].
    pub(crate) inputs: Buffer<T>,
    /// That of what the hidden state adds to the gates; None where it is the same.
    pub(crate) hidden: Option<Buffer<T>>,
    /// Those of the initial states, `[batch, hidden]`.
    pub(crate) states: [Buffer<T>; 2],
}

struct ForwardPart<'a, T> {
    first: usize,
    output: &'a mut [T],
    kept: &'a mut [T],
    cells: &'a mut [T],
}

struct BackwardPart<'a, T> {
    first: usize,
    inputs: &'a mut [T],
    hidden: &'a mut [T],
    states: [&'a mut [T]; 2],
}

impl<T: Scalar> Recurrence<'_, T> {
    fn gates(&self) -> usize {
        self.cell.gates() * self.hidden
    }

    /// Elements of the output for each example.
    pub(crate) fn row(&self) -> usize {
        (self.time + self.cell.states()) * self.hidden
    }

    fn cells(&self) -> usize {
        if self.cell == Cell::Lstm { self.time * self.hidden } else { 0 }
    }

    fn active(&self, example: usize, step: usize) -> bool {
        self.lengths.is_none_or(|lengths| step < lengths[example])
    }

    /// The first example of each part, and how many it has.
    fn parts(&self) -> Vec<(usize, usize)> {
        let size = self.batch.div_ceil(PARTS).max(EXAMPLES);
        (0..self.batch).step_by(size).map(|first| (first, size.min(self.batch - first))).collect()
    }

    fn run<U: Send>(&self, parts: Vec<U>, f: impl Fn(U) + Send + Sync) {
        let work = self.batch.saturating_mul(self.time).saturating_mul(self.weight.len());
        if work < PARALLEL {
            parts.into_iter().for_each(f);
        } else {
            parts.into_par_iter().for_each(f);
        }
    }

    pub(crate) fn forward(&self) -> Forward<T> {
        let (steps, row) = (self.time * self.hidden, self.row());
        let mut output = Buffer::filled(T::ZERO, self.batch * row);
        let mut kept = Buffer::filled(T::ZERO, self.batch * KEPT * steps);
        let mut cells = Buffer::filled(T::ZERO, self.batch * self.cells());
        let weight = strided::transpose(self.weight, self.gates(), self.hidden);
        {
            let (mut output, mut kept, mut cells) = (&mut output[..], &mut kept[..], &mut cells[..]);
            let part = |(first, count): (usize, usize)| ForwardPart {
                first,
                output: cut(&mut output, count * row),
                kept: cut(&mut kept, count * KEPT * steps),
                cells: cut(&mut cells, count * self.cells()),
            };
            let parts = self.parts().into_iter().map(part).collect();
            self.run(parts, |part| self.forward_part(part, &weight));
        }
        Forward { output, kept, cells }
    }

    fn forward_part(&self, part: ForwardPart<'_, T>, weight: &[T]) {
        let (n, gates, row) = (self.hidden, self.gates(), self.row());
        if n == 0 {
            return;
        }
        let count = part.output.len() / row;
        let own = part.first * n..(part.first + count) * n;
        let mut states = self.states.map(|state| state.get(own.clone()).unwrap_or_default().to_vec());
        let mut sums = vec![T::ZERO; count * gates];
        for step in 0..self.time {
            if let Some(bias) = self.bias {
                sums.chunks_exact_mut(gates).for_each(|sums| sums.copy_from_slice(bias));
            }
            T::gemm([count, gates, n], (&states[0], false), (weight, false), &mut sums, self.bias.is_some(), 1);
            for e in (0..count).filter(|e| self.active(part.first + e, step)) {
                let at = e * self.time + step;
                let input = &self.inputs[((part.first + e) * self.time + step) * gates..][..gates];
                let sums = &sums[e * gates..(e + 1) * gates];
                let kept = &mut part.kept[at * KEPT * n..(at + 1) * KEPT * n];
                let [hidden, cell] = &mut states;
                let hidden = &mut hidden[e * n..(e + 1) * n];
                match self.cell {
                    Cell::Lstm => {
                        let cell = &mut cell[e * n..(e + 1) * n];
                        vectorised(|| lstm(input, sums, kept, hidden, cell));
                        part.cells[at * n..(at + 1) * n].copy_from_slice(cell);
                    }
                    Cell::Gru => vectorised(|| gru(input, sums, kept, hidden)),
                }
                part.output[e * row + step * n..e * row + (step + 1) * n].copy_from_slice(hidden);
            }
        }
        for (i, state) in states.iter().take(self.cell.states()).enumerate() {
            for (e, state) in state.chunks_exact(n).enumerate() {
                let at = e * row + (self.time + i) * n;
                part.output[at..at + n].copy_from_slice(state);
            }
        }
    }

    /// The gradients, given that of the output, `g`, and what the forward pass made.
    pub(crate) fn backward(&self, g: &[T], forward: [&[T]; 3]) -> Backward<T> {
        let (n, gates) = (self.hidden, self.gates());
        let size = self.time * gates;
        let mut inputs = Buffer::filled(T::ZERO, self.batch * size);
        let hidden_size = if self.cell == Cell::Gru { size } else { 0 };
        let mut hidden = Buffer::filled(T::ZERO, self.batch * hidden_size);
        let cell_size = if self.cell == Cell::Lstm { n } else { 0 };
        let mut states = [Buffer::filled(T::ZERO, self.batch * n), Buffer::filled(T::ZERO, self.batch * cell_size)];
        {
            let (mut inputs, mut hidden) = (&mut inputs[..], &mut hidden[..]);
            let [first_state, second_state] = &mut states;
            let (mut first_state, mut second_state) = (&mut first_state[..], &mut second_state[..]);
            let part = |(first, count): (usize, usize)| BackwardPart {
                first,
                inputs: cut(&mut inputs, count * size),
                hidden: cut(&mut hidden, count * hidden_size),
                states: [cut(&mut first_state, count * n), cut(&mut second_state, count * cell_size)],
            };
            let parts = self.parts().into_iter().map(part).collect();
            self.run(parts, |part| self.backward_part(part, g, forward));
        }
        Backward { inputs, hidden: (self.cell == Cell::Gru).then_some(hidden), states }
    }

    fn backward_part(&self, part: BackwardPart<'_, T>, g: &[T], [output, kept, cells]: [&[T]; 3]) {
        let (n, gates, row) = (self.hidden, self.gates(), self.row());
        if n == 0 {
            return;
        }
        let count = part.states[0].len() / n;
        let [dh, dc] = part.states;
        for e in 0..count {
            let g = &g[(part.first + e) * row..(part.first + e + 1) * row];
            dh[e * n..(e + 1) * n].copy_from_slice(&g[self.time * n..(self.time + 1) * n]);
            if self.cell == Cell::Lstm {
                dc[e * n..(e + 1) * n].copy_from_slice(&g[(self.time + 1) * n..]);
            }
        }
        let mut sums = vec![T::ZERO; count * gates];
        for step in (0..self.time).rev() {
            for e in 0..count {
                let sums = &mut sums[e * gates..(e + 1) * gates];
                let example = part.first + e;
                if !self.active(example, step) {
                    sums.fill(T::ZERO);
                    continue;
                }
                let at = example * self.time + step;
                let g = &g[example * row + step * n..example * row + (step + 1) * n];
                let dh = &mut dh[e * n..(e + 1) * n];
                dh.iter_mut().zip(g).for_each(|(dh, &g)| *dh += g);
                let kept = &kept[at * KEPT * n..(at + 1) * KEPT * n];
                let own = (e * self.time + step) * gates..(e * self.time + step + 1) * gates;
                let inputs = &mut part.inputs[own.clone()];
                match self.cell {
                    Cell::Lstm => {
                        let cell = &cells[at * n..(at + 1) * n];
                        let before = if step > 0 { &cells[(at - 1) * n..at * n] } else { &self.states[1][example * n..(example + 1) * n] };
                        let dc = &mut dc[e * n..(e + 1) * n];
                        vectorised(|| lstm_backward(kept, cell, before, dh, dc, inputs));
                        sums.copy_from_slice(inputs);
                    }
                    Cell::Gru => {
                        let at = example * row + step * n;
                        let before = if step > 0 { &output[at - n..at] } else { &self.states[0][example * n..(example + 1) * n] };
                        vectorised(|| gru_backward(kept, before, dh, inputs, sums));
                        part.hidden[own].copy_from_slice(sums);
                    }
                }
            }
            // What the step passes on directly is in `dh` already.
            T::gemm([count, n, gates], (&sums, false), (self.weight, false), dh, true, 1);
        }
    }

    /// The hidden state before each step, `[batch, time, hidden]`.
    pub(crate) fn hidden_before(&self, output: &[T]) -> Buffer<T> {
        let (n, row) = (self.hidden, self.row());
        let mut before = Buffer::filled(T::ZERO, self.batch * self.time * n);
        if before.is_empty() {
            return before;
        }
        for (e, before) in before.chunks_exact_mut(self.time * n).enumerate() {
            before[..n].copy_from_slice(&self.states[0][e * n..(e + 1) * n]);
            before[n..].copy_from_slice(&output[e * row..e * row + (self.time - 1) * n]);
        }
        before
    }
}

/// One step of one example (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000):
/// `c ← f c + i g`, `h ← o tanh c`.
#[inline(always)]
fn lstm<T: Scalar>(input: &[T], sums: &[T], kept: &mut [T], hidden: &mut [T], cell: &mut [T]) {
    let n = hidden.len();
    kept.iter_mut().zip(input).zip(sums).for_each(|((k, &x), &s)| *k = x + s);
    let (i_f, g_o) = kept.split_at_mut(2 * n);
    let (g, o) = g_o.split_at_mut(n);
    i_f.iter_mut().for_each(|x| *x = sigmoid(*x));
    g.iter_mut().for_each(|x| *x = x.tanh());
    o.iter_mut().for_each(|x| *x = sigmoid(*x));
    let (i, f) = i_f.split_at(n);
    for (((c, &i), &f), &g) in cell.iter_mut().zip(i).zip(f).zip(&*g) {
        *c = f * *c + i * g;
    }
    for ((h, &o), &c) in hidden.iter_mut().zip(&*o).zip(&*cell) {
        *h = o * c.tanh();
    }
}

/// The gradients of the gates before their functions; `dh` becomes 0, as all of it passes through the gates, and `dc` that
/// of the cell before the step.
#[inline(always)]
fn lstm_backward<T: Scalar>(kept: &[T], cell: &[T], before: &[T], dh: &mut [T], dc: &mut [T], gates: &mut [T]) {
    let n = cell.len();
    let (i, rest) = kept.split_at(n);
    let (f, rest) = rest.split_at(n);
    let (g, o) = rest.split_at(n);
    let (di, rest) = gates.split_at_mut(n);
    let (df, rest) = rest.split_at_mut(n);
    let (dg, d_o) = rest.split_at_mut(n);
    for ((((d_o, dc), &c), &o), dh) in d_o.iter_mut().zip(&mut *dc).zip(cell).zip(o).zip(dh) {
        let t = c.tanh();
        *dc += *dh * o * (T::ONE - t * t);
        *d_o = *dh * t * o * (T::ONE - o);
        *dh = T::ZERO;
    }
    for (((di, &dc), &i), &g) in di.iter_mut().zip(&*dc).zip(i).zip(g) {
        *di = dc * g * i * (T::ONE - i);
    }
    for (((dg, &dc), &i), &g) in dg.iter_mut().zip(&*dc).zip(i).zip(g) {
        *dg = dc * i * (T::ONE - g * g);
    }
    for (((df, dc), &f), &before) in df.iter_mut().zip(dc).zip(f).zip(before) {
        *df = *dc * before * f * (T::ONE - f);
        *dc = *dc * f;
    }
}

/// One step of one example (Cho et al. 2014, with the reset after the product): `n = tanh(x + r a)`, `h ← (1 - z) n + z h`.
#[inline(always)]
fn gru<T: Scalar>(input: &[T], sums: &[T], kept: &mut [T], hidden: &mut [T]) {
    let n = hidden.len();
    let (r_z, rest) = kept.split_at_mut(2 * n);
    let (new, part) = rest.split_at_mut(n);
    for ((k, &x), &s) in r_z.iter_mut().zip(input).zip(sums) {
        *k = sigmoid(x + s);
    }
    part.copy_from_slice(&sums[2 * n..]);
    let (r, z) = r_z.split_at(n);
    for (((new, &x), &a), &r) in new.iter_mut().zip(&input[2 * n..]).zip(&*part).zip(r) {
        *new = (x + r * a).tanh();
    }
    for ((h, &new), &z) in hidden.iter_mut().zip(&*new).zip(z) {
        *h = (T::ONE - z) * new + z * *h;
    }
}

/// The gradients of the gates before their functions, of the inputs' part and of the hidden state's; `dh` becomes what
/// passes to the state before the step directly.
#[inline(always)]
fn gru_backward<T: Scalar>(kept: &[T], before: &[T], dh: &mut [T], inputs: &mut [T], sums: &mut [T]) {
    let n = before.len();
    let (r, rest) = kept.split_at(n);
    let (z, rest) = rest.split_at(n);
    let (new, part) = rest.split_at(n);
    let (dr, rest) = inputs.split_at_mut(n);
    let (dz, dn) = rest.split_at_mut(n);
    for ((((dz, dh), &z), &new), &before) in dz.iter_mut().zip(&*dh).zip(z).zip(new).zip(before) {
        *dz = *dh * (before - new) * z * (T::ONE - z);
    }
    for (((dn, dh), &z), &new) in dn.iter_mut().zip(dh).zip(z).zip(new) {
        *dn = *dh * (T::ONE - z) * (T::ONE - new * new);
        *dh = *dh * z;
    }
    for (((dr, &dn), &r), &a) in dr.iter_mut().zip(&*dn).zip(r).zip(part) {
        *dr = dn * a * r * (T::ONE - r);
    }
    sums[..2 * n].copy_from_slice(&inputs[..2 * n]);
    for ((sum, &dn), &r) in sums[2 * n..].iter_mut().zip(&inputs[2 * n..]).zip(r) {
        *sum = dn * r;
    }
}
