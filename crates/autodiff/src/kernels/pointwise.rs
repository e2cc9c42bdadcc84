//! One pass over memory: each output element from the elements at the same place.

use rayon::prelude::*;

use super::{BLOCK, PARALLEL};
use crate::Scalar;

pub(crate) fn map<T: Scalar>(x: &[T], f: impl Fn(T) -> T + Sync) -> Vec<T> {
    let mut out = vec![T::ZERO; x.len()];
    map_to(x, &mut out, f);
    out
}

fn map_to<T: Scalar>(x: &[T], out: &mut [T], f: impl Fn(T) -> T + Sync) {
    let body = |out: &mut [T], x: &[T]| out.iter_mut().zip(x).for_each(|(o, &x)| *o = f(x));
    if x.len() < PARALLEL {
        body(out, x);
    } else {
        out.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(o, x)| body(o, x));
    }
}

pub(crate) fn map_in_place<T: Scalar>(x: &mut [T], f: impl Fn(T) -> T + Sync) {
    let body = |x: &mut [T]| x.iter_mut().for_each(|x| *x = f(*x));
    if x.len() < PARALLEL {
        body(x);
    } else {
        x.par_chunks_mut(BLOCK).for_each(body);
    }
}

pub(crate) fn zip<T: Scalar>(x: &[T], y: &[T], f: impl Fn(T, T) -> T + Sync) -> Vec<T> {
    let mut out = vec![T::ZERO; x.len()];
    let body = |out: &mut [T], x: &[T], y: &[T]| {
        for ((o, &x), &y) in out.iter_mut().zip(x).zip(y) {
            *o = f(x, y);
        }
    };
    if x.len() < PARALLEL {
        body(&mut out, x, y);
    } else {
        out.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).zip(y.par_chunks(BLOCK)).for_each(|((o, x), y)| body(o, x, y));
    }
    out
}

/// `x[i] = f(x[i], y[i])`.
pub(crate) fn zip_in_place<T: Scalar>(x: &mut [T], y: &[T], f: impl Fn(T, T) -> T + Sync) {
    let body = |x: &mut [T], y: &[T]| x.iter_mut().zip(y).for_each(|(x, &y)| *x = f(*x, y));
    if x.len() < PARALLEL {
        body(x, y);
    } else {
        x.par_chunks_mut(BLOCK).zip(y.par_chunks(BLOCK)).for_each(|(x, y)| body(x, y));
    }
}
