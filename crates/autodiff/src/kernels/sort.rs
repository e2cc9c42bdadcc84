//! Orders of the elements of the middle axis of `[outer, n, inner]`.

use std::cmp::Ordering;

use super::parallel::*;

use super::PARALLEL;
use crate::Scalar;

/// Columns that are searched together, row by row as the elements lie.
const COLUMNS: usize = 64;

/// Which of two values stands first in ascending order; NaN is greater than every number and equal to NaN.
fn compare<T: Scalar>(a: T, b: T) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| is_nan(a).cmp(&is_nan(b)))
}

fn is_nan<T: Scalar>(x: T) -> bool {
    x.partial_cmp(&x).is_none()
}

/// The positions along the axis of the first `k` elements in order, `[outer, inner, k]`; equal elements in the order in
/// which they stand.
pub(crate) fn order<T: Scalar>(x: &[T], [outer, n, inner]: [usize; 3], descending: bool, k: usize) -> Vec<usize> {
    // Positions make the order strict, so that a fast unstable sort has one result.
    let before = |a: &(T, usize), b: &(T, usize)| {
        let values = compare(a.0, b.0);
        (if descending { values.reverse() } else { values }).then(a.1.cmp(&b.1))
    };
    let mut positions = vec![0; outer * inner * k];
    if positions.is_empty() {
        return positions;
    }
    let one = |line: &mut Vec<(T, usize)>, at: usize, out: &mut [usize]| {
        let start = at / inner * n * inner + at % inner;
        line.clear();
        line.extend((0..n).map(|i| (x[start + i * inner], i)));
        if k < n {
            line.select_nth_unstable_by(k, before);
            line.truncate(k);
        }
        if line.len() < PARALLEL {
            line.sort_unstable_by(before)
        } else {
            rayon::slice::ParallelSliceMut::par_sort_unstable_by(&mut line[..], before)
        }
        out.iter_mut().zip(line).for_each(|(out, (_, i))| *out = *i);
    };
    if x.len() < PARALLEL || outer * inner == 1 {
        let mut line = Vec::with_capacity(n);
        positions.chunks_exact_mut(k).enumerate().for_each(|(at, out)| one(&mut line, at, out));
    } else {
        let lines = positions.par_chunks_exact_mut(k).enumerate();
        lines.for_each_init(|| Vec::with_capacity(n), |line, (at, out)| one(line, at, out));
    }
    positions
}

/// The position along the axis of the greatest element, or the least, `[outer, inner]`: the first of equals, and the first
/// NaN where there is one. `n` is positive.
pub(crate) fn extreme<T: Scalar>(x: &[T], [outer, n, inner]: [usize; 3], least: bool) -> Vec<usize> {
    let better = |new: T, old: T| (if least { new < old } else { new > old }) || (is_nan(new) && !is_nan(old));
    let mut positions = vec![0; outer * inner];
    if positions.is_empty() {
        return positions;
    }
    let line = |(out, x): (&mut [usize], &[T])| {
        for (out, first) in out.chunks_mut(COLUMNS).zip((0..).step_by(COLUMNS)) {
            let mut best = [T::ZERO; COLUMNS];
            best[..out.len()].copy_from_slice(&x[first..first + out.len()]);
            for i in 1..n {
                let row = &x[i * inner + first..][..out.len()];
                for ((out, best), &x) in out.iter_mut().zip(&mut best).zip(row) {
                    if better(x, *best) {
                        (*out, *best) = (i, x);
                    }
                }
            }
        }
    };
    if x.len() < PARALLEL {
        positions.chunks_exact_mut(inner).zip(x.chunks_exact(n * inner)).for_each(line);
    } else {
        positions.par_chunks_exact_mut(inner).zip(x.par_chunks_exact(n * inner)).for_each(line);
    }
    positions
}
