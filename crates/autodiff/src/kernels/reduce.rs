//! Reductions of the middle axis of `[outer, n, inner]`, in a fixed order, accumulated in `f64`.

use rayon::prelude::*;

use super::PARALLEL;
use crate::Scalar;

const LANES: usize = 16;
const LEAF: usize = 1024;

/// The sum of a slice: leaves of 1,024 in 16 lanes, the leaves added in `f64`.
pub(crate) fn sum<T: Scalar>(x: &[T]) -> f64 {
    let leaf = |x: &[T]| {
        let mut lanes = [T::ZERO; LANES];
        let mut chunks = x.chunks_exact(LANES);
        for chunk in &mut chunks {
            lanes.iter_mut().zip(chunk).for_each(|(lane, &x)| *lane += x);
        }
        let tail: f64 = chunks.remainder().iter().map(|x| x.to_f64()).sum();
        lanes.iter().map(|x| x.to_f64()).sum::<f64>() + tail
    };
    x.chunks(LEAF).map(leaf).sum()
}

/// `out[outer, inner] = Σ_n x[outer, n, inner]`.
pub(crate) fn sum_middle<T: Scalar>(x: &[T], outer: usize, n: usize, inner: usize) -> Vec<T> {
    let mut out = vec![T::ZERO; outer * inner];
    if out.is_empty() || n == 0 {
        return out;
    }
    if inner == 1 && outer == 1 && n >= PARALLEL {
        let parts: Vec<f64> = x.par_chunks(super::BLOCK).map(sum).collect();
        out[0] = T::from_f64(parts.iter().sum());
        return out;
    }
    let row = |(out, x): (&mut [T], &[T])| {
        if inner == 1 {
            out[0] = T::from_f64(sum(x));
            return;
        }
        let mut wide = vec![0.0f64; inner];
        for x in x.chunks_exact(inner) {
            wide.iter_mut().zip(x).for_each(|(w, x)| *w += x.to_f64());
        }
        out.iter_mut().zip(&wide).for_each(|(o, &w)| *o = T::from_f64(w));
    };
    if x.len() < PARALLEL {
        out.chunks_exact_mut(inner).zip(x.chunks_exact(n * inner)).for_each(row);
    } else {
        out.par_chunks_exact_mut(inner).zip(x.par_chunks_exact(n * inner)).for_each(row);
    }
    out
}

/// `out[outer, inner] = max_n x[outer, n, inner]`; NaN wins.
pub(crate) fn max_middle<T: Scalar>(x: &[T], outer: usize, n: usize, inner: usize) -> Vec<T> {
    let mut out = vec![T::NEG_INFINITY; outer * inner];
    for (o, x) in out.chunks_exact_mut(inner.max(1)).zip(x.chunks_exact((n * inner).max(1))) {
        for x in x.chunks_exact(inner) {
            for (o, &x) in o.iter_mut().zip(x) {
                if x > *o || x.partial_cmp(&x).is_none() {
                    *o = x;
                }
            }
        }
    }
    out
}
