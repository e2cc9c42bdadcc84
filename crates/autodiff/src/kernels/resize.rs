//! Linear combinations of two entries along the middle axis of `[outer, n, inner]`.

use super::parallel::*;

use super::{Buffer, PARALLEL, vectorised};
use crate::Scalar;

/// An output: `weights[0]` of entry `places[0]` and `weights[1]` of entry `places[1]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tap<T> {
    pub(crate) places: [usize; 2],
    pub(crate) weights: [T; 2],
}

/// Calls `f(index, from, to)` for the slices of each outer index, in parallel when there is enough to do.
fn each_outer<T: Scalar>(x: &[T], size: usize, out: &mut [T], out_size: usize, f: impl Fn(&[T], &mut [T]) + Sync) {
    if size == 0 || out_size == 0 {
        return;
    }
    let body = |(x, out): (&[T], &mut [T])| {
        vectorised(
            #[inline(always)]
            || f(x, out),
        )
    };
    if x.len().max(out.len()) < PARALLEL {
        x.chunks_exact(size).zip(out.chunks_exact_mut(out_size)).for_each(body);
    } else {
        x.par_chunks_exact(size).zip(out.par_chunks_exact_mut(out_size)).for_each(body);
    }
}

/// `y[o, tap, i] = Σ weight x[o, place, i]`, where `n` is the size of the axis in `x`.
pub(crate) fn combine<T: Scalar>(x: &[T], taps: &[Tap<T>], [outer, n, inner]: [usize; 3]) -> Buffer<T> {
    let mut y = Buffer::stale(outer * taps.len() * inner);
    each_outer(x, n * inner, &mut y, taps.len() * inner, |x, y| {
        for (&Tap { places: [a, b], weights: [p, q] }, y) in taps.iter().zip(y.chunks_exact_mut(inner)) {
            let (left, right) = (&x[a * inner..(a + 1) * inner], &x[b * inner..(b + 1) * inner]);
            // An infinite neighbour without weight is none.
            if q == T::ZERO {
                y.iter_mut().zip(left).for_each(|(y, &l)| *y = p * l);
            } else {
                y.iter_mut().zip(left).zip(right).for_each(|((y, &l), &r)| *y = p * l + q * r);
            }
        }
    });
    y
}

/// The transpose of [`combine`], where `n` is the size of the axis in what is returned.
pub(crate) fn distribute<T: Scalar>(g: &[T], taps: &[Tap<T>], [outer, n, inner]: [usize; 3]) -> Buffer<T> {
    let mut x = Buffer::filled(T::ZERO, outer * n * inner);
    each_outer(g, taps.len() * inner, &mut x, n * inner, |g, x| {
        for (tap, g) in taps.iter().zip(g.chunks_exact(inner)) {
            for (&place, &weight) in tap.places.iter().zip(&tap.weights) {
                x[place * inner..(place + 1) * inner].iter_mut().zip(g).for_each(|(x, &g)| *x += weight * g);
            }
        }
    });
    x
}
