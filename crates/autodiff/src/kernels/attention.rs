//! Softmax attention in tiles of scores (Dao et al. 2022, algorithms 1 and 4; Rabe and Staats 2021): a tile is made,
//! used and forgotten, so that memory grows with queries plus keys and not with their product.
//!
//! A tile holds the scores of some queries, side by side, with some keys, one below the other. So what softmax does to the
//! scores of a query goes down the columns of vector registers, and nothing is summed across a register.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;

use super::parallel::*;

use super::matmul::{Finish, Matrix, multiply};
use super::{Buffer, PARALLEL, cut, vectorised};
use crate::{MAX_RANK, Scalar, Shape};

/// Queries and keys of a tile, which fits the first-level cache with what it is made of.
const ROWS: usize = if cfg!(test) { 3 } else { 64 };
const KEYS: usize = if cfg!(test) { 4 } else { 128 };
/// Queries whose scores are computed side by side.
const LANES: usize = if cfg!(test) { 2 } else { 16 };
/// Parts at least into which the backward pass is cut, whatever the number of threads.
const PARTS: usize = 8;

/// Where the rows of heads lie in a tensor: row `i` of head `h` of example `e` begins at
/// `first + e · example + h · head + i · row`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Places {
    pub(crate) first: usize,
    pub(crate) example: usize,
    pub(crate) head: usize,
    pub(crate) row: usize,
}

impl Places {
    /// Of a tensor `[examples, heads, rows, size]`.
    pub(crate) fn head_by_head(heads: usize, rows: usize, size: usize) -> Self {
        Self { first: 0, example: heads * rows * size, head: rows * size, row: size }
    }

    fn at(&self, example: usize, head: usize, row: usize) -> usize {
        self.first + example * self.example + head * self.head + row * self.row
    }
}

/// The rows of heads in a tensor.
#[derive(Clone, Copy)]
pub(crate) struct Heads<'a, T> {
    pub(crate) values: &'a [T],
    pub(crate) places: Places,
}

impl<T: Scalar> Heads<'_, T> {
    fn row(&self, example: usize, head: usize, row: usize, size: usize) -> &[T] {
        let at = self.places.at(example, head, row);
        &self.values[at..at + size]
    }

    /// Rows of a head, where they lie.
    fn rows(&self, example: usize, head: usize, rows: &Range<usize>) -> Matrix<'_, T> {
        let at = self.places.at(example, head, rows.start);
        Matrix { values: &self.values[at.min(self.values.len())..], distance: self.places.row, transposed: false }
    }
}

/// A buffer whose rows are written by several tasks.
struct Shared<'a, T> {
    first: *mut T,
    count: usize,
    places: Places,
    buffer: PhantomData<&'a mut [T]>,
}

// SAFETY: only [`Shared::row`] reaches the elements, and its callers keep the rows apart.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T: Scalar> Shared<'a, T> {
    fn new(values: &'a mut [T], places: Places) -> Self {
        Self { first: values.as_mut_ptr(), count: values.len(), places, buffer: PhantomData }
    }

    /// # Safety
    /// Nobody else holds a part of that row.
    #[allow(clippy::mut_from_ref)]
    unsafe fn row(&self, example: usize, head: usize, row: usize, size: usize) -> &mut [T] {
        let at = self.places.at(example, head, row);
        assert!(at + size <= self.count, "a row lies beyond the buffer");
        // SAFETY: the elements lie in the buffer, which is borrowed mutably for `'a`, and are not held by anybody else.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(at), size) }
    }
}

/// Attention of the `repeats` heads of queries of each key head.
pub(crate) struct Attention<'a, T: Scalar> {
    pub(crate) examples: usize,
    pub(crate) key_heads: usize,
    pub(crate) repeats: usize,
    pub(crate) queries: usize,
    pub(crate) keys: usize,
    /// The sizes of keys and of values.
    pub(crate) depth: usize,
    pub(crate) width: usize,
    pub(crate) scale: T,
    pub(crate) causal: bool,
    pub(crate) mask: Option<Mask<'a, T>>,
    pub(crate) query: Heads<'a, T>,
    pub(crate) key: Heads<'a, T>,
    pub(crate) value: Heads<'a, T>,
}

/// Values that are added to scores, read through the strides of broadcasting.
pub(crate) struct Mask<'a, T> {
    pub(crate) values: &'a [T],
    /// The shape of all scores, and the strides along its axes.
    pub(crate) scores: Shape,
    pub(crate) strides: [usize; MAX_RANK],
}

impl<T: Scalar> Mask<'_, T> {
    /// Where the values of a row begin, rows counted over all examples and heads.
    fn row(&self, row: usize) -> usize {
        let (mut rest, mut at) = (row, 0);
        for axis in (0..self.scores.len() - 1).rev() {
            at += rest % self.scores[axis] * self.strides[axis];
            rest /= self.scores[axis];
        }
        at
    }

    /// Adds its values to a tile of scores: `row` is that of the first query, `key` the first key.
    fn add(&self, row: usize, key: usize, scores: &mut [T], rows: usize) {
        let step = self.strides[self.scores.len() - 1];
        let mut starts = [0; ROWS];
        starts.iter_mut().take(rows).enumerate().for_each(|(i, start)| *start = self.row(row + i) + key * step);
        for (j, line) in scores.chunks_exact_mut(rows).enumerate() {
            line.iter_mut().zip(&starts).for_each(|(s, start)| *s += self.values[start + j * step]);
        }
    }
}

/// Some queries of a head: what one task of the forward pass computes, and a tile of the backward pass.
#[derive(Clone)]
struct Rows {
    example: usize,
    head: usize,
    rows: Range<usize>,
}

/// What one task of the backward pass computes: the gradients of some keys and values, and their part of the queries'.
struct KeyPart<'a, T> {
    example: usize,
    key_head: usize,
    keys: Range<usize>,
    /// Where the part of the queries' gradients goes, unless there is one part only.
    query: &'a mut [T],
}

/// What a row of queries has seen so far.
struct Seen<T> {
    tops: [T; ROWS],
    sums: [f64; ROWS],
    /// What is made of earlier scores is multiplied by this, as they were taken against a lower top.
    rescale: [T; ROWS],
}

impl<'a, T: Scalar> Attention<'a, T> {
    fn rows_of_all(&self) -> usize {
        self.examples * self.key_heads * self.repeats * self.queries
    }

    /// The output, of `count` elements at `places`, and for each row the logarithm of the sum of its exponentials. A row that
    /// sees nothing has zeros, and plus infinity: with it `e^(score - logsumexp)` is 0, as it should be.
    pub(crate) fn forward(&self, places: Places) -> [Buffer<T>; 2] {
        let heads = self.key_heads * self.repeats;
        let mut output = Buffer::stale(self.rows_of_all() * self.width);
        let mut logsumexp = Buffer::stale(self.rows_of_all());
        {
            let shared = Shared::new(&mut output, places);
            let mut logs = &mut logsumexp[..];
            let each = (0..self.examples).flat_map(|example| (0..heads).map(move |head| (example, head)));
            let blocks = each.flat_map(|(example, head)| steps(0..self.queries, ROWS).map(move |rows| Rows { example, head, rows }));
            let tasks: Vec<(Rows, &mut [T])> = blocks.map(|block| (block.clone(), cut(&mut logs, block.rows.len()))).collect();
            self.run(tasks, |(block, logs)| self.forward_rows(&block, &shared, logs));
        }
        [output, logsumexp]
    }

    /// The gradients of queries, keys and values in buffers like theirs, given that of the output, `g`, and what the forward
    /// pass returned.
    pub(crate) fn backward(&self, g: Heads<'_, T>, output: Heads<'_, T>, logsumexp: &[T]) -> [Buffer<T>; 3] {
        let mut gradients = [self.query, self.key, self.value].map(|of| Buffer::stale(of.values.len()));
        let [query, key, value] = &mut gradients;
        let shared = [(query, self.query), (key, self.key), (value, self.value)].map(|(to, of)| Shared::new(to, of.places));
        self.backward_to(g, output, logsumexp, &shared);
        gradients
    }

    /// As [`Attention::backward`], where queries, keys and values are parts of one buffer.
    pub(crate) fn backward_packed(&self, g: Heads<'_, T>, output: Heads<'_, T>, logsumexp: &[T]) -> Buffer<T> {
        let mut gradient = Buffer::stale(self.query.values.len());
        let Shared { first, count, buffer, .. } = Shared::new(&mut gradient, self.query.places);
        let shared = [self.query, self.key, self.value].map(|of| Shared { first, count, places: of.places, buffer });
        self.backward_to(g, output, logsumexp, &shared);
        gradient
    }

    fn backward_to(&self, g: Heads<'_, T>, output: Heads<'_, T>, logsumexp: &[T], gradients: &[Shared<'_, T>; 3]) {
        let (groups, tiles) = (self.examples * self.key_heads, self.keys.div_ceil(KEYS));
        let parts = PARTS.div_ceil(groups.max(1)).clamp(1, tiles.max(1));
        let size = tiles.div_ceil(parts) * KEYS;
        let parts = self.keys.div_ceil(size.max(1)).max(1);
        let rows = self.repeats * self.queries * self.depth;
        let mut partial = Buffer::stale(if parts > 1 { groups * parts * rows } else { 0 });
        let mut rest = &mut partial[..];
        let each = (0..self.examples).flat_map(|example| (0..self.key_heads).map(move |key_head| (example, key_head)));
        let ranges = each.flat_map(|group| (0..parts).map(move |part| (group, part * size..((part + 1) * size).min(self.keys))));
        let tasks: Vec<KeyPart<'_, T>> = ranges
            .map(|((example, key_head), keys)| {
                let query = cut(&mut rest, if parts > 1 { rows } else { 0 });
                KeyPart { example, key_head, keys, query }
            })
            .collect();
        self.run(tasks, |task| self.backward_keys(task, g, output, logsumexp, gradients));
        if parts > 1 && rows > 0 {
            for (group, parts) in partial.chunks_exact_mut(parts * rows).enumerate() {
                let (sum, others) = parts.split_at_mut(rows);
                for part in others.chunks_exact(rows) {
                    vectorised(
                        #[inline(always)]
                        || sum.iter_mut().zip(part).for_each(|(s, &p)| *s += p),
                    );
                }
                self.write_queries(group / self.key_heads, group % self.key_heads, sum, &gradients[0]);
            }
        }
    }

    fn run<U: Send>(&self, tasks: Vec<U>, f: impl Fn(U) + Send + Sync) {
        let work = self.rows_of_all().saturating_mul(self.keys).saturating_mul(self.depth + self.width);
        if work < PARALLEL {
            tasks.into_iter().for_each(f);
        } else {
            tasks.into_par_iter().for_each(f);
        }
    }

    /// How many keys a query row sees: the last query sees all, those before it one less each.
    fn visible(&self, row: usize) -> usize {
        if self.causal { (row + 1 + self.keys).saturating_sub(self.queries).min(self.keys) } else { self.keys }
    }

    /// The keys that any of the rows sees.
    fn visible_to(&self, rows: &Range<usize>) -> usize {
        if rows.is_empty() { 0 } else { self.visible(rows.end - 1) }
    }

    /// The scores `[keys, rows]`, scaled and masked; minus infinity where a row does not see a key.
    fn scores(&self, block: &Rows, keys: &Range<usize>, query: Matrix<'_, T>, key: Matrix<'_, T>, scores: &mut [T]) {
        let rows = block.rows.len();
        set([keys.len(), rows, self.depth], key, query.t(), scores);
        vectorised(
            #[inline(always)]
            || scores.iter_mut().for_each(|s| *s = *s * self.scale),
        );
        if let Some(mask) = &self.mask {
            let heads = self.key_heads * self.repeats;
            mask.add((block.example * heads + block.head) * self.queries + block.rows.start, keys.start, scores, rows);
        }
        if self.visible(block.rows.start) < keys.end {
            for (key, line) in keys.clone().zip(scores.chunks_exact_mut(rows)) {
                let first = (key + self.queries).saturating_sub(self.keys);
                line[..first.saturating_sub(block.rows.start).min(rows)].fill(T::NEG_INFINITY);
            }
        }
    }

    fn forward_rows(&self, block: &Rows, shared: &Shared<'_, T>, logsumexp: &mut [T]) {
        let Rows { example, head, ref rows } = *block;
        let (m, key_head) = (rows.len(), head / self.repeats);
        let (mut output, mut tile) = (Buffer::stale(ROWS * self.width), Buffer::stale(ROWS * KEYS));
        let query = self.query.rows(example, head, rows);
        let output = &mut output[..m * self.width];
        output.fill(T::ZERO);
        let mut seen = Seen { tops: [T::NEG_INFINITY; ROWS], sums: [0.0; ROWS], rescale: [T::ONE; ROWS] };
        for keys in steps(0..self.visible_to(rows), KEYS) {
            let scores = &mut tile[..keys.len() * m];
            self.scores(block, &keys, query, self.key.rows(example, key_head, &keys), scores);
            vectorised(
                #[inline(always)]
                || {
                    let whole = m / LANES * LANES;
                    // Not `for_each`: its closure would not be compiled for the vector registers.
                    for first in (0..whole).step_by(LANES) {
                        online_softmax::<T, LANES>(scores, m, first, &mut seen);
                    }
                    for first in whole..m {
                        online_softmax::<T, 1>(scores, m, first, &mut seen);
                    }
                },
            );
            if keys.start > 0 && self.width > 0 {
                vectorised(
                    #[inline(always)]
                    || {
                        let rows = output.chunks_exact_mut(self.width).zip(&seen.rescale);
                        rows.for_each(|(row, &rescale)| row.iter_mut().for_each(|y| *y = *y * rescale));
                    },
                );
            }
            add([m, self.width, keys.len()], by_rows(scores, m).t(), self.value.rows(example, key_head, &keys), output);
        }
        for (i, log) in logsumexp.iter_mut().enumerate() {
            let sum = seen.sums[i];
            *log = if sum == 0.0 { -T::NEG_INFINITY } else { seen.tops[i] + T::from_f64(sum.ln()) };
            let scale = if sum == 0.0 { T::ZERO } else { T::from_f64(1.0 / sum) };
            // SAFETY: each row of each head belongs to one task.
            let to = unsafe { shared.row(example, head, rows.start + i, self.width) };
            to.iter_mut().zip(&output[i * self.width..]).for_each(|(to, &y)| *to = y * scale);
        }
    }

    fn backward_keys(&self, task: KeyPart<'_, T>, g: Heads<'_, T>, output: Heads<'_, T>, logsumexp: &[T], gradients: &[Shared<'_, T>; 3]) {
        let KeyPart { example, key_head, keys: all_keys, query: part } = task;
        let (depth, width) = (self.depth, self.width);
        let mut memory = [KEYS * depth, KEYS * width, ROWS * KEYS, ROWS * KEYS].map(Buffer::stale);
        let [key_gradient, value_gradient, scores, slopes] = &mut memory;
        let own = if part.is_empty() { self.repeats * self.queries * depth } else { 0 };
        let mut query_gradients = Buffer::stale(own);
        let query_gradients = if part.is_empty() { &mut query_gradients[..] } else { part };
        query_gradients.fill(T::ZERO);
        let mut means = [T::ZERO; ROWS];
        for keys in steps(all_keys, KEYS) {
            let n = keys.len();
            let (key_gradient, value_gradient) = (&mut key_gradient[..n * depth], &mut value_gradient[..n * width]);
            key_gradient.fill(T::ZERO);
            value_gradient.fill(T::ZERO);
            let (key, value) = (self.key.rows(example, key_head, &keys), self.value.rows(example, key_head, &keys));
            let heads = (0..self.repeats).flat_map(|repeat| steps(0..self.queries, ROWS).map(move |rows| (repeat, rows)));
            for (repeat, rows) in heads {
                let seen = keys.start..keys.end.min(self.visible_to(&rows));
                if seen.is_empty() {
                    continue;
                }
                let (m, n) = (rows.len(), seen.len());
                let block = Rows { example, head: key_head * self.repeats + repeat, rows: rows.clone() };
                let (p, ds) = (&mut scores[..n * m], &mut slopes[..n * m]);
                let (query, slope) = (self.query.rows(example, block.head, &rows), g.rows(example, block.head, &rows));
                for (mean, row) in means.iter_mut().zip(rows.clone()) {
                    let (g, y) = (g.row(example, block.head, row, width), output.row(example, block.head, row, width));
                    // Σ g · output: the mean that the gradient of a softmax subtracts.
                    *mean = vectorised(
                        #[inline(always)]
                        || dot(g, y),
                    );
                }
                self.scores(&block, &seen, query, key, p);
                set([n, m, width], value, slope.t(), ds);
                let first = (example * self.key_heads * self.repeats + block.head) * self.queries + rows.start;
                let logs = &logsumexp[first..first + m];
                vectorised(
                    #[inline(always)]
                    || {
                        let whole = m / LANES * LANES;
                        for first in (0..whole).step_by(LANES) {
                            softmax_slopes::<T, LANES>(p, ds, m, first, logs, &means);
                        }
                        for first in whole..m {
                            softmax_slopes::<T, 1>(p, ds, m, first, logs, &means);
                        }
                    },
                );
                add([n, width, m], by_rows(p, m), slope, value_gradient);
                add([n, depth, m], by_rows(ds, m), query, key_gradient);
                let rows = (repeat * self.queries + rows.start) * depth..(repeat * self.queries + rows.end) * depth;
                add([m, depth, n], by_rows(ds, m).t(), key, &mut query_gradients[rows]);
            }
            for (i, row) in keys.clone().enumerate() {
                // SAFETY: each key and value belongs to one task.
                let (to, values) =
                    unsafe { (gradients[1].row(example, key_head, row, depth), gradients[2].row(example, key_head, row, width)) };
                to.iter_mut().zip(&key_gradient[i * depth..]).for_each(|(to, &x)| *to = x * self.scale);
                values.copy_from_slice(&value_gradient[i * width..(i + 1) * width]);
            }
        }
        if own > 0 {
            self.write_queries(example, key_head, query_gradients, &gradients[0]);
        }
    }

    /// Writes the gradients of the queries of a key head, `[repeats, queries, depth]`, which lack the scale.
    fn write_queries(&self, example: usize, key_head: usize, rows: &[T], shared: &Shared<'_, T>) {
        for (i, row) in rows.chunks_exact(self.depth.max(1)).enumerate() {
            let head = key_head * self.repeats + i / self.queries;
            // SAFETY: each row of each head is written once, by the task of its key head, or after all tasks.
            let to = unsafe { shared.row(example, head, i % self.queries, self.depth) };
            to.iter_mut().zip(row).for_each(|(to, &x)| *to = x * self.scale);
        }
    }
}

/// A matrix with rows of `size`, one behind the other.
fn by_rows<T>(values: &[T], size: usize) -> Matrix<'_, T> {
    Matrix { values, distance: size, transposed: false }
}

/// `out[m, n] = a[m, k] b[k, n]`.
fn set<T: Scalar>(size: [usize; 3], a: Matrix<'_, T>, b: Matrix<'_, T>, out: &mut [T]) {
    multiply(size, a, b, out, size[1], Finish::default(), 1);
}

/// `out[m, n] += a[m, k] b[k, n]`.
fn add<T: Scalar>(size: [usize; 3], a: Matrix<'_, T>, b: Matrix<'_, T>, out: &mut [T]) {
    multiply(size, a, b, out, size[1], Finish { add: true, bias: None }, 1);
}

#[inline(always)]
fn dot<T: Scalar>(x: &[T], y: &[T]) -> T {
    let mut lanes = [T::ZERO; 16];
    let ((x, x_tail), (y, y_tail)) = (x.as_chunks::<16>(), y.as_chunks::<16>());
    for (x, y) in x.iter().zip(y) {
        lanes.iter_mut().zip(x).zip(y).for_each(|((lane, &x), &y)| *lane += x * y);
    }
    let tail = x_tail.iter().zip(y_tail).map(|(&x, &y)| x * y);
    lanes.into_iter().chain(tail).fold(T::ZERO, |sum, x| sum + x)
}

/// Below the greatest score by more than this, an exponential is as good as 0 beside the sum, which is at least 1. To compute
/// it would be slow: it is no normal number of 32 bits.
const NEGLIGIBLE: f64 = -87.0;

/// `e^(score - shift)`, or 0 where it is negligible.
#[inline(always)]
fn exponential<T: Scalar>(score: T, shift: T) -> T {
    let (x, least) = (score - shift, T::from_f64(NEGLIGIBLE));
    let counts = if x < least { T::ZERO } else { T::ONE };
    // A factor, as the compiler would turn a choice into one between 0 and the slow exponential.
    (if x < least { least } else { x }).exp() * counts
}

/// Further scores `[keys, rows]` of the queries from `first` on: they become `e^(score - top)` (Milakov and Gimelshein 2018).
#[inline(always)]
fn online_softmax<T: Scalar, const COUNT: usize>(scores: &mut [T], rows: usize, first: usize, seen: &mut Seen<T>) {
    let mut tops = [T::ZERO; COUNT];
    tops.copy_from_slice(&seen.tops[first..first + COUNT]);
    for line in scores.chunks_exact(rows) {
        if let Some(line) = line[first..].first_chunk::<COUNT>() {
            tops.iter_mut().zip(line).for_each(|(top, &s)| *top = if s > *top { s } else { *top });
        }
    }
    // A row that has seen nothing yet has no finite maximum to subtract.
    let shifts = tops.map(|top| if top.is_finite() { top } else { T::ZERO });
    let mut sums = [T::ZERO; COUNT];
    for line in scores.chunks_exact_mut(rows) {
        if let Some(line) = line[first..].first_chunk_mut::<COUNT>() {
            for i in 0..COUNT {
                line[i] = exponential(line[i], shifts[i]);
                sums[i] += line[i];
            }
        }
    }
    for i in 0..COUNT {
        let rescale = exponential(seen.tops[first + i], shifts[i]);
        seen.rescale[first + i] = rescale;
        seen.sums[first + i] = seen.sums[first + i] * rescale.to_f64() + sums[i].to_f64();
        seen.tops[first + i] = tops[i];
    }
}

/// Scores become probabilities `p`; `ds`, the gradient of the probabilities, becomes `p (ds - mean)`.
#[inline(always)]
fn softmax_slopes<T: Scalar, const COUNT: usize>(
    scores: &mut [T],
    ds: &mut [T],
    rows: usize,
    first: usize,
    logsumexp: &[T],
    means: &[T; ROWS],
) {
    let [mut logs, mut own_means] = [[T::ZERO; COUNT]; 2];
    logs.copy_from_slice(&logsumexp[first..first + COUNT]);
    own_means.copy_from_slice(&means[first..first + COUNT]);
    for (line, ds) in scores.chunks_exact_mut(rows).zip(ds.chunks_exact_mut(rows)) {
        if let (Some(line), Some(ds)) = (line[first..].first_chunk_mut::<COUNT>(), ds[first..].first_chunk_mut::<COUNT>()) {
            for i in 0..COUNT {
                line[i] = exponential(line[i], logs[i]);
                ds[i] = line[i] * (ds[i] - own_means[i]);
            }
        }
    }
}

/// The pieces of a range, each of `size` but the last.
fn steps(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(size.max(1)).map(move |start| start..(start + size).min(end))
}
