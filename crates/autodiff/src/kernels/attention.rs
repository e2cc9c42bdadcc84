//! Softmax attention in tiles of scores (Dao et al. 2022, algorithms 1 and 4; Rabe and Staats 2021): a tile is made,
//! used and forgotten, so that memory grows with queries plus keys and not with their product.

use std::ops::Range;

use rayon::prelude::*;

use super::rows::{lane_sum, maximum};
use super::{Buffer, PARALLEL, cut, vectorised};
use crate::{MAX_RANK, Scalar, Shape};

/// Query rows and keys of a tile, which fits the second-level cache with the keys and values that it needs.
const ROWS: usize = if cfg!(test) { 3 } else { 64 };
const KEYS: usize = if cfg!(test) { 4 } else { 256 };
/// Parts at least into which the backward pass is cut, whatever the number of threads.
const PARTS: usize = 8;

/// Attention of `groups` (examples × key heads) times `rows` (query heads of a key head × queries).
pub(crate) struct Attention<'a, T: Scalar> {
    pub(crate) groups: usize,
    pub(crate) rows: usize,
    pub(crate) queries: usize,
    pub(crate) keys: usize,
    /// The sizes of keys and of values.
    pub(crate) depth: usize,
    pub(crate) width: usize,
    pub(crate) scale: T,
    pub(crate) causal: bool,
    pub(crate) mask: Option<Mask<'a, T>>,
    pub(crate) query: &'a [T],
    pub(crate) key: &'a [T],
    pub(crate) value: &'a [T],
}

/// Values that are added to scores, read through the strides of broadcasting.
pub(crate) struct Mask<'a, T> {
    pub(crate) values: &'a [T],
    /// The shape of all scores, and the strides along its axes.
    pub(crate) scores: Shape,
    pub(crate) strides: [usize; MAX_RANK],
}

impl<T: Scalar> Mask<'_, T> {
    /// Adds a row of the mask, from key `first`, to scores.
    fn add(&self, row: usize, first: usize, scores: &mut [T]) {
        let last = self.scores.len() - 1;
        let (mut rest, mut at) = (row, 0);
        for axis in (0..last).rev() {
            at += rest % self.scores[axis] * self.strides[axis];
            rest /= self.scores[axis];
        }
        match self.strides[last] {
            0 => scores.iter_mut().for_each(|s| *s += self.values[at]),
            _ => scores.iter_mut().zip(&self.values[at + first..]).for_each(|(s, &m)| *s += m),
        }
    }
}

/// What one task of the forward pass writes: some rows of the output, and the logarithms of their sums.
struct RowBlock<'a, T> {
    group: usize,
    rows: Range<usize>,
    output: &'a mut [T],
    logsumexp: &'a mut [T],
}

/// What one task of the backward pass writes: the gradients of some keys and values, and their part of the queries'.
struct KeyPart<'a, T> {
    group: usize,
    keys: Range<usize>,
    query: &'a mut [T],
    key: &'a mut [T],
    value: &'a mut [T],
}

impl<T: Scalar> Attention<'_, T> {
    /// The output `[groups, rows, width]`, and for each row the logarithm of the sum of its exponentials. A row that sees
    /// nothing has zeros, and plus infinity: with it `e^(score - logsumexp)` is 0, as it should be.
    pub(crate) fn forward(&self) -> [Buffer<T>; 2] {
        let mut output = Buffer::filled(T::ZERO, self.groups * self.rows * self.width);
        let mut logsumexp = Buffer::filled(T::ZERO, self.groups * self.rows);
        let (mut outputs, mut logs) = (&mut output[..], &mut logsumexp[..]);
        let blocks = (0..self.groups).flat_map(|group| steps(0..self.rows, ROWS).map(move |rows| (group, rows)));
        let tasks: Vec<RowBlock<'_, T>> = blocks
            .map(|(group, rows)| RowBlock {
                output: cut(&mut outputs, rows.len() * self.width),
                logsumexp: cut(&mut logs, rows.len()),
                group,
                rows,
            })
            .collect();
        self.run(tasks, |task| self.forward_rows(task));
        [output, logsumexp]
    }

    /// The gradients of queries, keys and values, given that of the output, `g`, and what the forward pass returned.
    pub(crate) fn backward(&self, g: &[T], output: &[T], logsumexp: &[T]) -> [Buffer<T>; 3] {
        let (queries, tiles) = (self.groups * self.rows * self.depth, self.keys.div_ceil(KEYS));
        let parts = PARTS.div_ceil(self.groups.max(1)).clamp(1, tiles.max(1));
        let size = tiles.div_ceil(parts) * KEYS;
        let parts = self.keys.div_ceil(size.max(1)).max(1);
        let mut query = Buffer::filled(T::ZERO, parts * queries);
        let mut key = Buffer::filled(T::ZERO, self.groups * self.keys * self.depth);
        let mut value = Buffer::filled(T::ZERO, self.groups * self.keys * self.width);
        // Σ g · output of each row: the mean that the gradient of a softmax subtracts.
        let mut means = Buffer::filled(T::ZERO, logsumexp.len());
        let rows = g.chunks_exact(self.width.max(1)).zip(output.chunks_exact(self.width.max(1)));
        means.iter_mut().zip(rows).for_each(|(mean, (g, y))| *mean = g.iter().zip(y).fold(T::ZERO, |sum, (&g, &y)| sum + g * y));
        {
            let (mut query, mut key, mut value) = (&mut query[..], &mut key[..], &mut value[..]);
            let ranges = (0..self.groups).flat_map(|group| steps(0..self.keys, size).map(move |keys| (group, keys)));
            let tasks: Vec<KeyPart<'_, T>> = ranges
                .map(|(group, keys)| KeyPart {
                    query: cut(&mut query, self.rows * self.depth),
                    key: cut(&mut key, keys.len() * self.depth),
                    value: cut(&mut value, keys.len() * self.width),
                    group,
                    keys,
                })
                .collect();
            self.run(tasks, |task| self.backward_keys(task, g, logsumexp, &means));
        }
        [self.sum_parts(query, parts), key, value]
    }

    /// Sums `[groups, parts, rows, depth]` over the parts, in order.
    fn sum_parts(&self, parts_of: Buffer<T>, parts: usize) -> Buffer<T> {
        let size = self.rows * self.depth;
        if parts == 1 || size == 0 {
            return parts_of;
        }
        let mut sum = Buffer::filled(T::ZERO, self.groups * size);
        for (sum, parts) in sum.chunks_exact_mut(size).zip(parts_of.chunks_exact(parts * size)) {
            for part in parts.chunks_exact(size) {
                sum.iter_mut().zip(part).for_each(|(s, &p)| *s += p);
            }
        }
        sum
    }

    fn run<U: Send>(&self, tasks: Vec<U>, f: impl Fn(U) + Send + Sync) {
        let work = self.groups.saturating_mul(self.rows).saturating_mul(self.keys).saturating_mul(self.depth + self.width);
        if work < PARALLEL {
            tasks.into_iter().for_each(f);
        } else {
            tasks.into_par_iter().for_each(f);
        }
    }

    /// How many keys a query row sees: the last query sees all, those before it one less each.
    fn visible(&self, row: usize) -> usize {
        if self.causal { (row % self.queries + 1 + self.keys).saturating_sub(self.queries).min(self.keys) } else { self.keys }
    }

    /// The keys that any of the rows sees.
    fn visible_to(&self, rows: &Range<usize>) -> usize {
        rows.clone().map(|row| self.visible(row)).max().unwrap_or(0)
    }

    fn query_rows<'a>(&self, of: &'a [T], size: usize, group: usize, rows: &Range<usize>) -> &'a [T] {
        &of[(group * self.rows + rows.start) * size..(group * self.rows + rows.end) * size]
    }

    fn key_rows<'a>(&self, of: &'a [T], size: usize, group: usize, keys: &Range<usize>) -> &'a [T] {
        &of[(group * self.keys + keys.start) * size..(group * self.keys + keys.end) * size]
    }

    /// `scores[rows, keys]`, scaled and masked; minus infinity where a row does not see a key.
    fn scores(&self, group: usize, rows: &Range<usize>, keys: &Range<usize>, scores: &mut [T]) {
        let query = self.query_rows(self.query, self.depth, group, rows);
        let key = self.key_rows(self.key, self.depth, group, keys);
        T::gemm([rows.len(), keys.len(), self.depth], (query, false), (key, true), scores, false, 1);
        vectorised(|| scores.iter_mut().for_each(|s| *s = *s * self.scale));
        for (row, scores) in rows.clone().zip(scores.chunks_exact_mut(keys.len())) {
            if let Some(mask) = &self.mask {
                mask.add(group * self.rows + row, keys.start, scores);
            }
            let seen = self.visible(row).saturating_sub(keys.start).min(keys.len());
            scores[seen..].fill(T::NEG_INFINITY);
        }
    }

    fn forward_rows(&self, RowBlock { group, rows, output, logsumexp }: RowBlock<'_, T>) {
        let mut tile = Buffer::stale(ROWS * KEYS);
        let mut tops = [T::NEG_INFINITY; ROWS];
        let mut sums = [0.0f64; ROWS];
        for keys in steps(0..self.visible_to(&rows), KEYS) {
            let scores = &mut tile[..rows.len() * keys.len()];
            self.scores(group, &rows, &keys, scores);
            for (i, row) in scores.chunks_exact_mut(keys.len()).enumerate() {
                let output = &mut output[i * self.width..(i + 1) * self.width];
                vectorised(|| online_softmax(row, &mut tops[i], &mut sums[i], output));
            }
            let value = self.key_rows(self.value, self.width, group, &keys);
            T::gemm([rows.len(), self.width, keys.len()], (scores, false), (value, false), output, true, 1);
        }
        for (i, log) in logsumexp.iter_mut().enumerate() {
            *log = if sums[i] == 0.0 { -T::NEG_INFINITY } else { tops[i] + T::from_f64(sums[i].ln()) };
            let scale = if sums[i] == 0.0 { T::ZERO } else { T::from_f64(1.0 / sums[i]) };
            output[i * self.width..(i + 1) * self.width].iter_mut().for_each(|y| *y = *y * scale);
        }
    }

    fn backward_keys(&self, task: KeyPart<'_, T>, g: &[T], logsumexp: &[T], means: &[T]) {
        let (mut scores, mut slopes) = (Buffer::stale(ROWS * KEYS), Buffer::stale(ROWS * KEYS));
        let group = task.group;
        for keys in steps(task.keys.clone(), KEYS) {
            let own = keys.start - task.keys.start..keys.end - task.keys.start;
            let key_gradient = &mut task.key[own.start * self.depth..own.end * self.depth];
            let value_gradient = &mut task.value[own.start * self.width..own.end * self.width];
            for rows in steps(0..self.rows, ROWS) {
                let seen = keys.start..keys.end.min(self.visible_to(&rows));
                if seen.is_empty() {
                    continue;
                }
                let (m, n) = (rows.len(), seen.len());
                let (p, ds) = (&mut scores[..m * n], &mut slopes[..m * n]);
                let g = self.query_rows(g, self.width, group, &rows);
                let query = self.query_rows(self.query, self.depth, group, &rows);
                let (key, value) = (self.key_rows(self.key, self.depth, group, &seen), self.key_rows(self.value, self.width, group, &seen));
                self.scores(group, &rows, &seen, p);
                T::gemm([m, n, self.width], (g, false), (value, true), ds, false, 1);
                let logs = self.query_rows(logsumexp, 1, group, &rows);
                let means = self.query_rows(means, 1, group, &rows);
                for (i, (p, ds)) in p.chunks_exact_mut(n).zip(ds.chunks_exact_mut(n)).enumerate() {
                    vectorised(|| softmax_slopes(p, ds, logs[i], means[i], self.scale));
                }
                T::gemm([n, self.width, m], (p, true), (g, false), &mut value_gradient[..n * self.width], true, 1);
                T::gemm([n, self.depth, m], (ds, true), (query, false), &mut key_gradient[..n * self.depth], true, 1);
                let query_gradient = &mut task.query[rows.start * self.depth..rows.end * self.depth];
                T::gemm([m, self.depth, n], (ds, false), (key, false), query_gradient, true, 1);
            }
        }
    }
}

/// One more piece of a row of scores: it becomes `e^(score - top)`, and what was made with an earlier `top` is rescaled
/// (Milakov and Gimelshein 2018).
#[inline(always)]
fn online_softmax<T: Scalar>(scores: &mut [T], top: &mut T, sum: &mut f64, output: &mut [T]) {
    let found = maximum(scores);
    let greatest = if found > *top { found } else { *top };
    // A row that has seen nothing yet has no finite maximum to subtract, and nothing to rescale.
    if *top > T::NEG_INFINITY && greatest > *top {
        let rescale = (*top - greatest).exp();
        *sum *= rescale.to_f64();
        output.iter_mut().for_each(|y| *y = *y * rescale);
    }
    *top = greatest;
    let shift = if greatest.is_finite() { greatest } else { T::ZERO };
    scores.iter_mut().for_each(|s| *s = (*s - shift).exp());
    *sum += lane_sum(scores, |p| p);
}

/// Scores become probabilities `p`; `ds`, the gradient of the probabilities, becomes `scale · p (ds - mean)`.
#[inline(always)]
fn softmax_slopes<T: Scalar>(scores: &mut [T], ds: &mut [T], logsumexp: T, mean: T, scale: T) {
    for (p, ds) in scores.iter_mut().zip(ds) {
        *p = (*p - logsumexp).exp();
        *ds = *p * (*ds - mean) * scale;
    }
}

/// The pieces of a range, each of `size` but the last.
fn steps(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(size.max(1)).map(move |start| start..(start + size).min(end))
}
