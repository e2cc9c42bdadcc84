//! Recurrent layers over whole sequences. Examples do not depend on each other: fixed parts of the batch run through all
//! steps on their own, so that threads meet once and not at every step.

use super::parallel::*;

use super::functions::sigmoid;
use super::simd::compiled;
use super::{Buffer, PARALLEL, cut, strided};
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

/// The vectors that each step keeps for the backward pass: the four gates of an LSTM; reset, update, new and the hidden part
/// of new of a GRU. Each has a bias.
pub(crate) const KEPT: usize = 4;

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
    /// `[4 · hidden]`.
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
    /// Those of the bias for each example, `[batch, 4 · hidden]`.
    pub(crate) bias: Buffer<T>,
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
    bias: &'a mut [T],
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
        // What belongs to steps after an example's last stays arbitrary in the latter two, which nobody reads.
        let mut output = Buffer::stale(self.batch * row);
        let mut kept = Buffer::stale(self.batch * KEPT * steps);
        let mut cells = Buffer::stale(self.batch * self.cells());
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
        let mut sums = Buffer::stale(count * gates);
        let zeros = Buffer::filled(T::ZERO, KEPT * n);
        let bias = parts(self.bias.unwrap_or(&zeros));
        for step in 0..self.time {
            T::gemm([count, gates, n], (&states[0], false), (weight, false), &mut sums, false, 1);
            for e in 0..count {
                let output = &mut part.output[e * row + step * n..e * row + (step + 1) * n];
                if !self.active(part.first + e, step) {
                    output.fill(T::ZERO);
                    continue;
                }
                let at = e * self.time + step;
                let input = &self.inputs[((part.first + e) * self.time + step) * gates..][..gates];
                let sums = &sums[e * gates..(e + 1) * gates];
                let [a, b, c, d] = parts_mut(&mut part.kept[at * KEPT * n..(at + 1) * KEPT * n]);
                let [hidden, cell] = &mut states;
                let hidden = &mut hidden[e * n..(e + 1) * n];
                match self.cell {
                    Cell::Lstm => {
                        let (cell, cells) = (&mut cell[e * n..(e + 1) * n], &mut part.cells[at * n..(at + 1) * n]);
                        lstm(parts(input), parts(sums), bias, a, b, c, d, cell, cells, hidden, output);
                    }
                    Cell::Gru => gru(parts(input), parts(sums), bias, a, b, c, d, hidden, output),
                }
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
        let mut inputs = Buffer::stale(self.batch * size);
        let hidden_size = if self.cell == Cell::Gru { size } else { 0 };
        let mut hidden = Buffer::stale(self.batch * hidden_size);
        let mut bias = Buffer::filled(T::ZERO, self.batch * KEPT * n);
        let cell_size = if self.cell == Cell::Lstm { n } else { 0 };
        let mut states = [Buffer::stale(self.batch * n), Buffer::stale(self.batch * cell_size)];
        {
            let (mut inputs, mut hidden, mut bias) = (&mut inputs[..], &mut hidden[..], &mut bias[..]);
            let [first_state, second_state] = &mut states;
            let (mut first_state, mut second_state) = (&mut first_state[..], &mut second_state[..]);
            let part = |(first, count): (usize, usize)| BackwardPart {
                first,
                inputs: cut(&mut inputs, count * size),
                hidden: cut(&mut hidden, count * hidden_size),
                bias: cut(&mut bias, count * KEPT * n),
                states: [cut(&mut first_state, count * n), cut(&mut second_state, count * cell_size)],
            };
            let parts = self.parts().into_iter().map(part).collect();
            self.run(parts, |part| self.backward_part(part, g, forward));
        }
        Backward { inputs, hidden: (self.cell == Cell::Gru).then_some(hidden), bias, states }
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
        let mut sums = Buffer::stale(count * gates);
        for step in (0..self.time).rev() {
            let all = &mut sums[..];
            for e in 0..count {
                let sums = &mut all[e * gates..(e + 1) * gates];
                let example = part.first + e;
                let own = (e * self.time + step) * gates..(e * self.time + step + 1) * gates;
                if !self.active(example, step) {
                    sums.fill(T::ZERO);
                    part.inputs[own.clone()].fill(T::ZERO);
                    part.hidden.get_mut(own).into_iter().for_each(|hidden| hidden.fill(T::ZERO));
                    continue;
                }
                let at = example * self.time + step;
                let g = &g[example * row + step * n..example * row + (step + 1) * n];
                let dh = &mut dh[e * n..(e + 1) * n];
                let kept = parts(&kept[at * KEPT * n..(at + 1) * KEPT * n]);
                let [bias_0, bias_1, bias_2, bias_3] = parts_mut(&mut part.bias[e * KEPT * n..(e + 1) * KEPT * n]);
                let inputs = &mut part.inputs[own.clone()];
                match self.cell {
                    Cell::Lstm => {
                        let cell = &cells[at * n..(at + 1) * n];
                        let before = if step > 0 { &cells[(at - 1) * n..at * n] } else { &self.states[1][example * n..(example + 1) * n] };
                        let dc = &mut dc[e * n..(e + 1) * n];
                        let [di, df, dg, d_o] = parts_mut(&mut *inputs);
                        lstm_backward(kept, cell, before, g, dh, dc, di, df, dg, d_o, bias_0, bias_1, bias_2, bias_3);
                        sums.copy_from_slice(inputs);
                    }
                    Cell::Gru => {
                        let at = example * row + step * n;
                        let before = if step > 0 { &output[at - n..at] } else { &self.states[0][example * n..(example + 1) * n] };
                        let ([dr, dz, dn], [sr, sz, sn]) = (parts_mut(inputs), parts_mut(&mut *sums));
                        gru_backward(kept, before, g, dh, dr, dz, dn, sr, sz, sn, bias_0, bias_1, bias_2, bias_3);
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
        let mut before = Buffer::stale(self.batch * self.time * n);
        if before.is_empty() {
            return before;
        }
        let example = |(e, before): (usize, &mut [T])| {
            before[..n].copy_from_slice(&self.states[0][e * n..(e + 1) * n]);
            before[n..].copy_from_slice(&output[e * row..e * row + (self.time - 1) * n]);
        };
        if before.len() < PARALLEL {
            before.chunks_exact_mut(self.time * n).enumerate().for_each(example);
        } else {
            before.par_chunks_exact_mut(self.time * n).enumerate().for_each(example);
        }
        before
    }
}

/// A vector of `N` parts one after another.
fn parts<T, const N: usize>(x: &[T]) -> [&[T]; N] {
    let size = x.len() / N;
    std::array::from_fn(|i| &x[i * size..(i + 1) * size])
}

/// The same for writing.
fn parts_mut<T, const N: usize>(x: &mut [T]) -> [&mut [T]; N] {
    let size = x.len() / N;
    let mut rest = x;
    std::array::from_fn(|_| cut(&mut rest, size))
}

compiled! {
    /// One step of one example (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000):
    /// `c ← f c + i g`, `h ← o tanh c`.
    fn lstm<T: Scalar>(
        input: [&[T]; 4], sums: [&[T]; 4], bias: [&[T]; 4], i: &mut [T], f: &mut [T], g: &mut [T], o: &mut [T], cell: &mut [T], cells: &mut [T],
        hidden: &mut [T], output: &mut [T],
    ) {
        let n = hidden.len();
        let (input, sums, bias) = (input.map(|x| &x[..n]), sums.map(|s| &s[..n]), bias.map(|b| &b[..n]));
        let (i, f, g, o, cell) = (&mut i[..n], &mut f[..n], &mut g[..n], &mut o[..n], &mut cell[..n]);
        let (cells, output) = (&mut cells[..n], &mut output[..n]);
        for j in 0..n {
            i[j] = sigmoid(input[0][j] + sums[0][j] + bias[0][j]);
            f[j] = sigmoid(input[1][j] + sums[1][j] + bias[1][j]);
            g[j] = (input[2][j] + sums[2][j] + bias[2][j]).tanh();
            o[j] = sigmoid(input[3][j] + sums[3][j] + bias[3][j]);
            cell[j] = f[j] * cell[j] + i[j] * g[j];
            hidden[j] = o[j] * cell[j].tanh();
            cells[j] = cell[j];
            output[j] = hidden[j];
        }
    }
}

compiled! {
    /// The gradients of the gates before their functions; `dh` becomes 0, as all of it passes through the gates, and `dc` that
    /// of the cell before the step.
    fn lstm_backward<T: Scalar>(
        kept: [&[T]; 4], cell: &[T], before: &[T], gradient: &[T], dh: &mut [T], dc: &mut [T], di: &mut [T], df: &mut [T], dg: &mut [T],
        d_o: &mut [T], bias_i: &mut [T], bias_f: &mut [T], bias_g: &mut [T], bias_o: &mut [T],
    ) {
        let n = cell.len();
        let ([i, f, g, o], before, gradient) = (kept.map(|k| &k[..n]), &before[..n], &gradient[..n]);
        let (dh, dc, di, df, dg, d_o) = (&mut dh[..n], &mut dc[..n], &mut di[..n], &mut df[..n], &mut dg[..n], &mut d_o[..n]);
        let (bias_i, bias_f, bias_g, bias_o) = (&mut bias_i[..n], &mut bias_f[..n], &mut bias_g[..n], &mut bias_o[..n]);
        for j in 0..n {
            let h = dh[j] + gradient[j];
            let t = cell[j].tanh();
            let c = dc[j] + h * o[j] * (T::ONE - t * t);
            dh[j] = T::ZERO;
            dc[j] = c * f[j];
            di[j] = c * g[j] * i[j] * (T::ONE - i[j]);
            df[j] = c * before[j] * f[j] * (T::ONE - f[j]);
            dg[j] = c * i[j] * (T::ONE - g[j] * g[j]);
            d_o[j] = h * t * o[j] * (T::ONE - o[j]);
            bias_i[j] += di[j];
            bias_f[j] += df[j];
            bias_g[j] += dg[j];
            bias_o[j] += d_o[j];
        }
    }
}

compiled! {
    /// One step of one example (Cho et al. 2014, with the reset after the product): `n = tanh(x + r a)`, `h ← (1 - z) n + z h`.
    fn gru<T: Scalar>(
        input: [&[T]; 3], sums: [&[T]; 3], bias: [&[T]; 4], r: &mut [T], z: &mut [T], new: &mut [T], part: &mut [T], hidden: &mut [T], output: &mut [T],
    ) {
        let n = hidden.len();
        let (input, sums, bias) = (input.map(|x| &x[..n]), sums.map(|s| &s[..n]), bias.map(|b| &b[..n]));
        let (r, z, new, part, output) = (&mut r[..n], &mut z[..n], &mut new[..n], &mut part[..n], &mut output[..n]);
        for j in 0..n {
            r[j] = sigmoid(input[0][j] + sums[0][j] + bias[0][j]);
            z[j] = sigmoid(input[1][j] + sums[1][j] + bias[1][j]);
            part[j] = sums[2][j] + bias[3][j];
            new[j] = (input[2][j] + bias[2][j] + r[j] * part[j]).tanh();
            hidden[j] = (T::ONE - z[j]) * new[j] + z[j] * hidden[j];
            output[j] = hidden[j];
        }
    }
}

compiled! {
    /// The gradients of the gates before their functions, of the inputs' part and of the hidden state's; `dh` becomes what
    /// passes to the state before the step directly.
    fn gru_backward<T: Scalar>(
        kept: [&[T]; 4], before: &[T], gradient: &[T], dh: &mut [T], dr: &mut [T], dz: &mut [T], dn: &mut [T], sums_r: &mut [T],
        sums_z: &mut [T], sums_n: &mut [T], bias_r: &mut [T], bias_z: &mut [T], bias_n: &mut [T], bias_part: &mut [T],
    ) {
        let n = before.len();
        let ([r, z, new, part], dh, gradient) = (kept.map(|k| &k[..n]), &mut dh[..n], &gradient[..n]);
        let (dr, dz, dn) = (&mut dr[..n], &mut dz[..n], &mut dn[..n]);
        let (sums_r, sums_z, sums_n) = (&mut sums_r[..n], &mut sums_z[..n], &mut sums_n[..n]);
        let (bias_r, bias_z, bias_n, bias_part) = (&mut bias_r[..n], &mut bias_z[..n], &mut bias_n[..n], &mut bias_part[..n]);
        for j in 0..n {
            let h = dh[j] + gradient[j];
            dh[j] = h * z[j];
            dz[j] = h * (before[j] - new[j]) * z[j] * (T::ONE - z[j]);
            dn[j] = h * (T::ONE - z[j]) * (T::ONE - new[j] * new[j]);
            dr[j] = dn[j] * part[j] * r[j] * (T::ONE - r[j]);
            sums_r[j] = dr[j];
            sums_z[j] = dz[j];
            sums_n[j] = dn[j] * r[j];
            bias_r[j] += dr[j];
            bias_z[j] += dz[j];
            bias_n[j] += dn[j];
            bias_part[j] += sums_n[j];
        }
    }
}
