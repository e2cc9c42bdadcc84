//! Substitution with triangular matrices.

use crate::Scalar;
use crate::ops::linear_algebra::Triangular;

/// Rows that are solved one by one; what they need of other blocks is one matrix product.
const BLOCK: usize = 32;

/// `X` of `op(A) X = B` in place of `b [n, k]`, where `a [n, n]` is read in one triangle alone.
pub(crate) fn solve<T: Scalar>(a: &[T], n: usize, b: &mut [T], k: usize, form: Triangular, threads: usize) {
    let entry = |i: usize, j: usize| if form.transposed { a[j * n + i] } else { a[i * n + j] };
    let forwards = form.upper == form.transposed;
    let mut panel = vec![T::ZERO; BLOCK.min(n) * n];
    let blocks = n.div_ceil(BLOCK);
    for at in 0..blocks {
        let start = BLOCK * if forwards { at } else { blocks - 1 - at };
        let end = (start + BLOCK).min(n);
        let (before, after) = b.split_at_mut(if forwards { start * k } else { end * k });
        let (own, known, first) =
            if forwards { (&mut after[..(end - start) * k], &*before, 0) } else { (&mut before[start * k..], &*after, end) };
        let solved = if forwards { start } else { n - end };
        if solved > 0 {
            let panel = &mut panel[..(end - start) * solved];
            for (i, row) in panel.chunks_exact_mut(solved).enumerate() {
                row.iter_mut().enumerate().for_each(|(j, x)| *x = -entry(start + i, first + j));
            }
            T::gemm([end - start, k, solved], (panel, false), (known, false), own, true, threads);
        }
        let entry = |i: usize, j: usize| entry(start + i, start + j);
        solve_block(entry, end - start, own, k, forwards, form.unit_diagonal);
    }
}

/// Plain substitution with the matrix of `entry(i, j)`.
fn solve_block<T: Scalar>(entry: impl Fn(usize, usize) -> T, n: usize, b: &mut [T], k: usize, forwards: bool, unit: bool) {
    for at in 0..n {
        let i = if forwards { at } else { n - 1 - at };
        let (before, after) = b.split_at_mut(if forwards { i * k } else { (i + 1) * k });
        let (row, known, first) = if forwards { (&mut after[..k], &*before, 0) } else { (&mut before[i * k..], &*after, i + 1) };
        super::vectorised(
            #[inline(always)]
            || {
                for (j, known) in (first..).zip(known.chunks_exact(k.max(1))) {
                    let factor = entry(i, j);
                    row.iter_mut().zip(known).for_each(|(x, &known)| *x = *x - factor * known);
                }
                if !unit {
                    let pivot = entry(i, i);
                    row.iter_mut().for_each(|x| *x = *x / pivot);
                }
            },
        );
    }
}
