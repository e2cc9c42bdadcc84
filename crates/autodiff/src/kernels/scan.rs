//! Running sums along the middle axis of `[outer, n, inner]`, accumulated in `f64`.

use super::parallel::*;

use super::{BLOCK, Buffer, PARALLEL, vectorised};
use crate::Scalar;

/// Rows of a block of a long line, at least: a block's totals cost as much as a row.
const ROWS: usize = 16;

/// `out[o, i, j] = Σ_{l ≤ i} x[o, l, j]`, or over `l ≥ i` when `reversed`.
pub(crate) fn cumulative_sum<T: Scalar>(x: &[T], n: usize, inner: usize, reversed: bool) -> Buffer<T> {
    let mut out = Buffer::stale(x.len());
    let line = n * inner;
    if line == 0 {
        return out;
    }
    if line > block(inner) {
        out.chunks_exact_mut(line).zip(x.chunks_exact(line)).for_each(|(out, x)| long_line(out, x, inner, reversed));
        return out;
    }
    let lines = |(out, x): (&mut [T], &[T])| {
        let mut sum = vec![0.0; inner];
        for (out, x) in out.chunks_exact_mut(line).zip(x.chunks_exact(line)) {
            sum.fill(0.0);
            continue_sum(out, x, &mut sum, reversed);
        }
    };
    if x.len() < PARALLEL {
        lines((&mut out, x));
    } else {
        let task = (BLOCK / line).max(1) * line;
        out.par_chunks_mut(task).zip(x.par_chunks(task)).for_each(lines);
    }
    out
}

/// Elements of a block of a long line: whole rows.
fn block(inner: usize) -> usize {
    (BLOCK / inner).max(ROWS) * inner
}

/// One line in blocks: their totals first, then each block from the sum of those before it.
fn long_line<T: Scalar>(out: &mut [T], x: &[T], inner: usize, reversed: bool) {
    let size = block(inner);
    let mut starts: Vec<Vec<f64>> = x.par_chunks(size).map(|x| column_sums(x, inner)).collect();
    let mut sum = vec![0.0; inner];
    let before = |total: &mut Vec<f64>| {
        for (total, sum) in total.iter_mut().zip(&mut sum) {
            let own = std::mem::replace(total, *sum);
            *sum += own;
        }
    };
    if reversed {
        starts.iter_mut().rev().for_each(before)
    } else {
        starts.iter_mut().for_each(before)
    }
    let blocks = out.par_chunks_mut(size).zip(x.par_chunks(size)).zip(starts.par_iter_mut());
    blocks.for_each(|((out, x), start)| continue_sum(out, x, start, reversed));
}

fn column_sums<T: Scalar>(x: &[T], inner: usize) -> Vec<f64> {
    let mut sums = vec![0.0; inner];
    vectorised(
        #[inline(always)]
        || x.chunks_exact(inner).for_each(|row| sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x.to_f64())),
    );
    sums
}

/// The running sums of rows, from `sum` on.
fn continue_sum<T: Scalar>(out: &mut [T], x: &[T], sum: &mut [f64], reversed: bool) {
    let inner = sum.len();
    let row = |(out, x): (&mut [T], &[T])| {
        for ((out, x), sum) in out.iter_mut().zip(x).zip(&mut *sum) {
            *sum += x.to_f64();
            *out = T::from_f64(*sum);
        }
    };
    let rows = out.chunks_exact_mut(inner).zip(x.chunks_exact(inner));
    vectorised(
        #[inline(always)]
        || if reversed { rows.rev().for_each(row) } else { rows.for_each(row) },
    );
}
