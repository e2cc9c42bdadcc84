//! Rows by index, and sums of rows by index. Every element of the output is written by one task, in the order of the
//! indices.

use super::parallel::*;

use super::{Buffer, PARALLEL};
use crate::Scalar;

/// Parts into which the rows of the output are cut.
const PARTS: usize = 8;

/// `out[o, i] = x[o, indices[i]]` for rows of `inner` elements, where `x` is `[outer, n, inner]`.
pub(crate) fn select<T: Scalar>(x: &[T], indices: &[usize], [outer, n, inner]: [usize; 3]) -> Buffer<T> {
    let rows = indices.len();
    let mut out = Buffer::stale(outer * rows * inner);
    if out.is_empty() {
        return out;
    }
    let copy = |first: usize, out: &mut [T]| {
        for (at, out) in (first..).zip(out.chunks_exact_mut(inner)) {
            let from = (at / rows * n + indices[at % rows]) * inner;
            out.copy_from_slice(&x[from..from + inner]);
        }
    };
    if out.len() < PARALLEL {
        copy(0, &mut out);
    } else {
        let part = (outer * rows).div_ceil(PARTS);
        out.par_chunks_mut(part * inner).enumerate().for_each(|(i, out)| copy(i * part, out));
    }
    out
}

/// The transpose of [`select`]: `out[o, indices[i]] += x[o, i]`, from zeros `[outer, n, inner]`.
pub(crate) fn scatter_add<T: Scalar>(x: &[T], indices: &[usize], [outer, n, inner]: [usize; 3]) -> Buffer<T> {
    let rows = indices.len();
    let mut out = Buffer::stale(outer * n * inner);
    if out.is_empty() {
        return out;
    }
    // Rows `first ..` of one of the outer entries: the indices of the others are passed over.
    let add = |o: usize, first: usize, out: &mut [T]| {
        out.fill(T::ZERO);
        let own = out.len() / inner;
        for (i, &to) in indices.iter().enumerate() {
            if let Some(to) = to.checked_sub(first).filter(|&to| to < own) {
                let source = &x[(o * rows + i) * inner..(o * rows + i + 1) * inner];
                out[to * inner..(to + 1) * inner].iter_mut().zip(source).for_each(|(t, &s)| *t += s);
            }
        }
    };
    if out.len().max(x.len()) < PARALLEL {
        out.chunks_exact_mut(n * inner).enumerate().for_each(|(o, out)| add(o, 0, out));
    } else {
        let part = n.div_ceil(PARTS.div_ceil(outer));
        out.par_chunks_exact_mut(n * inner).enumerate().for_each(|(o, out)| {
            out.par_chunks_mut(part * inner).enumerate().for_each(|(i, out)| add(o, i * part, out));
        });
    }
    out
}
