//! Walks over strided views: broadcasting, permutation.

use super::Buffer;
use crate::Scalar;
use crate::shape::{MAX_RANK, Shape};

/// Calls `f(offset_in_row_major_output, source_offset)` for each run along the last axis.
fn runs(shape: &Shape, strides: &[usize; MAX_RANK], mut f: impl FnMut(usize, usize)) {
    let rank = shape.len();
    let lead = &shape[..rank.saturating_sub(1)];
    let run = shape.last().copied().unwrap_or(1);
    if shape.count() == 0 {
        return;
    }
    let (mut index, mut source) = ([0usize; MAX_RANK], 0usize);
    for line in 0..lead.iter().product() {
        f(line * run, source);
        for axis in (0..lead.len()).rev() {
            index[axis] += 1;
            source += strides[axis];
            if index[axis] < lead[axis] {
                break;
            }
            source -= strides[axis] * lead[axis];
            index[axis] = 0;
        }
    }
}

/// The row-major copy of the view of `x` with these strides.
pub(crate) fn gather<T: Scalar>(x: &[T], shape: &Shape, strides: &[usize; MAX_RANK]) -> Buffer<T> {
    let mut out = Buffer::stale(shape.count());
    let run = shape.last().copied().unwrap_or(1);
    let step = if shape.is_empty() { 0 } else { strides[shape.len() - 1] };
    runs(shape, strides, |to, from| {
        let out = &mut out[to..to + run];
        match step {
            0 => out.fill(x[from]),
            1 => out.copy_from_slice(&x[from..from + run]),
            _ => out.iter_mut().zip(x[from..].iter().step_by(step)).for_each(|(o, &x)| *o = x),
        }
    });
    out
}

/// Side of the blocks in which a matrix is transposed: two blocks fit the first cache.
const TILE: usize = 16;

/// The transpose `[columns, rows]` of a matrix `[rows, columns]`.
pub(crate) fn transpose<T: Scalar>(x: &[T], rows: usize, columns: usize) -> Buffer<T> {
    let mut out = Buffer::stale(x.len());
    for row in (0..rows).step_by(TILE) {
        for column in (0..columns).step_by(TILE) {
            for c in column..(column + TILE).min(columns) {
                for r in row..(row + TILE).min(rows) {
                    out[c * rows + r] = x[r * columns + c];
                }
            }
        }
    }
    out
}
