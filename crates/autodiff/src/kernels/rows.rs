//! Functions of whole rows: softmax and what is made of it.

use super::parallel::*;

use super::{Buffer, PARALLEL, vectorised};
use crate::Scalar;

/// Calls `f(row of out, row of x, index)` for each row of `width`, rows in parallel when there is enough to do.
fn each_row<T: Scalar>(out: &mut [T], x: &[T], width: usize, f: impl Fn(&mut [T], &[T], usize) + Sync) {
    if width == 0 {
        return;
    }
    let body = |(i, (out, x)): (usize, (&mut [T], &[T]))| {
        vectorised(
            #[inline(always)]
            || f(out, x, i),
        )
    };
    if x.len() < PARALLEL {
        out.chunks_exact_mut(width).zip(x.chunks_exact(width)).enumerate().for_each(body);
    } else {
        out.par_chunks_exact_mut(width).zip(x.par_chunks_exact(width)).enumerate().for_each(body);
    }
}

/// The greatest element, NaN left out (the sums that follow do not leave it out).
#[inline(always)]
pub(super) fn maximum<T: Scalar>(x: &[T]) -> T {
    let greater = |top: T, x: T| if x > top { x } else { top };
    let mut lanes = [T::NEG_INFINITY; 16];
    let (chunks, tail) = x.as_chunks::<16>();
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &x)| *lane = greater(*lane, x));
    }
    lanes.into_iter().chain(tail.iter().copied()).fold(T::NEG_INFINITY, greater)
}

/// Sums in 16 lanes, so that the loop vectorises and its order is fixed.
#[inline(always)]
pub(super) fn lane_sum<T: Scalar>(x: &[T], term: impl Fn(T) -> T) -> f64 {
    let mut lanes = [T::ZERO; 16];
    let (chunks, tail) = x.as_chunks::<16>();
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &x)| *lane += term(x));
    }
    lanes.iter().map(|x| x.to_f64()).sum::<f64>() + tail.iter().map(|&x| term(x).to_f64()).sum::<f64>()
}

/// `e^x / Σ e^x` of each row.
pub(crate) fn softmax<T: Scalar>(x: &[T], width: usize) -> Buffer<T> {
    let mut out = Buffer::stale(x.len());
    each_row(&mut out, x, width, |out, x, _| {
        let top = maximum(x);
        out.iter_mut().zip(x).for_each(|(o, &x)| *o = (x - top).exp());
        let scale = T::from_f64(1.0 / lane_sum(out, |x| x));
        out.iter_mut().for_each(|o| *o = *o * scale);
    });
    out
}

/// `x - log Σ e^x` of each row.
pub(crate) fn log_softmax<T: Scalar>(x: &[T], width: usize) -> Buffer<T> {
    let mut out = Buffer::stale(x.len());
    each_row(&mut out, x, width, |out, x, _| {
        let top = maximum(x);
        out.iter_mut().zip(x).for_each(|(o, &x)| *o = (x - top).exp());
        let shift = top + T::from_f64(lane_sum(out, |x| x).ln());
        out.iter_mut().zip(x).for_each(|(o, &x)| *o = x - shift);
    });
    out
}

/// The softmax of each row, and `log Σ e^x - x[label]`.
pub(crate) fn cross_entropy<T: Scalar>(x: &[T], labels: &[usize], width: usize) -> (Buffer<T>, Buffer<T>) {
    let (mut probabilities, mut losses) = (Buffer::stale(x.len()), Buffer::stale(labels.len()));
    let body = |((out, loss), (x, &label)): ((&mut [T], &mut T), (&[T], &usize))| {
        vectorised(
            #[inline(always)]
            || {
                let top = maximum(x);
                out.iter_mut().zip(x).for_each(|(o, &x)| *o = (x - top).exp());
                let sum = lane_sum(out, |x| x);
                let scale = T::from_f64(1.0 / sum);
                out.iter_mut().for_each(|o| *o = *o * scale);
                // From the logits themselves: the logarithm of a probability that underflows would be infinite.
                *loss = top + T::from_f64(sum.ln()) - x[label];
            },
        );
    };
    if x.len() < PARALLEL {
        let rows = probabilities.chunks_exact_mut(width).zip(losses.iter_mut());
        rows.zip(x.chunks_exact(width).zip(labels)).for_each(body);
    } else {
        let rows = probabilities.par_chunks_exact_mut(width).zip(losses.par_iter_mut());
        rows.zip(x.par_chunks_exact(width).zip(labels.par_iter())).for_each(body);
    }
    (losses, probabilities)
}

/// `(p - one_hot(label)) · g` of each row, in place of the probabilities `p`.
pub(crate) fn cross_entropy_gradient<T: Scalar>(p: &[T], labels: &[usize], g: &[T], width: usize) -> Buffer<T> {
    let mut out = Buffer::stale(p.len());
    each_row(&mut out, p, width, |out, p, i| {
        out.iter_mut().zip(p).for_each(|(o, &p)| *o = p * g[i]);
        out[labels[i]] = (p[labels[i]] - T::ONE) * g[i];
    });
    out
}

/// `y · (g - Σ g y)` of each row.
pub(crate) fn softmax_gradient<T: Scalar>(y: &[T], g: &[T], width: usize) -> Buffer<T> {
    let mut out = Buffer::stale(y.len());
    each_row(&mut out, y, width, |out, y, i| {
        let g = &g[i * width..(i + 1) * width];
        out.iter_mut().zip(y).zip(g).for_each(|((o, &y), &g)| *o = y * g);
        let mean = T::from_f64(lane_sum(out, |x| x));
        out.iter_mut().zip(y).zip(g).for_each(|((o, &y), &g)| *o = y * (g - mean));
    });
    out
}

/// `g - e^y Σ g` of each row.
pub(crate) fn log_softmax_gradient<T: Scalar>(y: &[T], g: &[T], width: usize) -> Buffer<T> {
    let mut out = Buffer::stale(y.len());
    each_row(&mut out, y, width, |out, y, i| {
        let g = &g[i * width..(i + 1) * width];
        let total = T::from_f64(lane_sum(g, |x| x));
        out.iter_mut().zip(y).zip(g).for_each(|((o, &y), &g)| *o = g - y.exp() * total);
    });
    out
}
