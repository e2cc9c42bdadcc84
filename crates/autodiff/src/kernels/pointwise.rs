//! One pass over memory: each output element from the elements at the same place.

use super::parallel::*;

use super::{BLOCK, Buffer, PARALLEL, simd, vectorised};
use crate::Scalar;

pub(crate) fn map<T: Scalar>(x: &[T], f: impl Fn(T) -> T + Sync) -> Buffer<T> {
    let mut out = Buffer::stale(x.len());
    let body = |out: &mut [T], x: &[T]| {
        simd::change1_by1(
            out,
            x,
            #[inline(always)]
            |_, [x]| [f(x)],
        )
    };
    if x.len() < PARALLEL {
        body(&mut out, x);
    } else {
        out.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(o, x)| body(o, x));
    }
    out
}

pub(crate) fn fill<T: Scalar>(x: &mut [T], value: T) {
    if x.len() < PARALLEL {
        x.fill(value);
    } else {
        x.par_chunks_mut(BLOCK).for_each(|x| x.fill(value));
    }
}

pub(crate) fn map_in_place<T: Scalar>(x: &mut [T], f: impl Fn(T) -> T + Sync) {
    let body = |x: &mut [T]| {
        simd::change1(
            x,
            #[inline(always)]
            |[x], []| [f(x)],
        )
    };
    if x.len() < PARALLEL {
        body(x);
    } else {
        x.par_chunks_mut(BLOCK).for_each(body);
    }
}

pub(crate) fn zip<T: Scalar>(x: &[T], y: &[T], f: impl Fn(T, T) -> T + Sync) -> Buffer<T> {
    let mut out = Buffer::stale(x.len());
    let body = |out: &mut [T], x: &[T], y: &[T]| {
        simd::change1_by2(
            out,
            x,
            y,
            #[inline(always)]
            |_, [x, y]| [f(x, y)],
        )
    };
    if x.len() < PARALLEL {
        body(&mut out, x, y);
    } else {
        out.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).zip(y.par_chunks(BLOCK)).for_each(|((o, x), y)| body(o, x, y));
    }
    out
}

/// `out[i, j] = x[i] y[j]`.
pub(crate) fn outer<T: Scalar>(x: &[T], y: &[T], out: &mut [T]) {
    vectorised(
        #[inline(always)]
        || {
            for (out, &x) in out.chunks_exact_mut(y.len().max(1)).zip(x) {
                out.iter_mut().zip(y).for_each(|(o, &y)| *o = x * y);
            }
        },
    );
}

/// `x[i] = f(x[i], y[i])`.
pub(crate) fn zip_in_place<T: Scalar>(x: &mut [T], y: &[T], f: impl Fn(T, T) -> T + Sync) {
    let body = |x: &mut [T], y: &[T]| {
        simd::change1_by1(
            x,
            y,
            #[inline(always)]
            |[x], [y]| [f(x, y)],
        )
    };
    if x.len() < PARALLEL {
        body(x, y);
    } else {
        x.par_chunks_mut(BLOCK).zip(y.par_chunks(BLOCK)).for_each(|(x, y)| body(x, y));
    }
}

/// `x[i] = f(x[i], y[i], z[i])`.
pub(crate) fn zip3_in_place<T: Scalar>(x: &mut [T], y: &[T], z: &[T], f: impl Fn(T, T, T) -> T + Sync) {
    let body = |x: &mut [T], y: &[T], z: &[T]| {
        simd::change1_by2(
            x,
            y,
            z,
            #[inline(always)]
            |[x], [y, z]| [f(x, y, z)],
        )
    };
    if x.len() < PARALLEL {
        body(x, y, z);
    } else {
        x.par_chunks_mut(BLOCK).zip(y.par_chunks(BLOCK)).zip(z.par_chunks(BLOCK)).for_each(|((x, y), z)| body(x, y, z));
    }
}

/// `[x, y, z][i] = f([x, y, z][i], g[i])`: an optimizer's update in one pass.
pub(crate) fn update3<T: Scalar>(x: &mut [T], y: &mut [T], z: &mut [T], g: &[T], f: impl Fn([T; 3], T) -> [T; 3] + Sync) {
    if x.len() < PARALLEL {
        simd::change3_by1(
            x,
            y,
            z,
            g,
            #[inline(always)]
            |x, [g]| f(x, g),
        );
    } else {
        let moments = y.par_chunks_mut(BLOCK).zip(z.par_chunks_mut(BLOCK));
        let blocks = x.par_chunks_mut(BLOCK).zip(moments).zip(g.par_chunks(BLOCK));
        blocks.for_each(|((x, (y, z)), g)| {
            simd::change3_by1(
                x,
                y,
                z,
                g,
                #[inline(always)]
                |x, [g]| f(x, g),
            )
        });
    }
}

/// `[w, x, y, z][i] = f([w, x, y, z][i], g[i])`.
pub(crate) fn update4<T: Scalar>([w, x, y, z]: [&mut [T]; 4], g: &[T], f: impl Fn([T; 4], T) -> [T; 4] + Sync) {
    if x.len() < PARALLEL {
        simd::change4_by1(
            w,
            x,
            y,
            z,
            g,
            #[inline(always)]
            |x, [g]| f(x, g),
        );
    } else {
        let first = w.par_chunks_mut(BLOCK).zip(x.par_chunks_mut(BLOCK));
        let second = y.par_chunks_mut(BLOCK).zip(z.par_chunks_mut(BLOCK));
        first.zip(second).zip(g.par_chunks(BLOCK)).for_each(|(((w, x), (y, z)), g)| {
            simd::change4_by1(
                w,
                x,
                y,
                z,
                g,
                #[inline(always)]
                |x, [g]| f(x, g),
            )
        });
    }
}

/// `[x, y][i] = f([x, y][i], g[i])`.
pub(crate) fn update2<T: Scalar>(x: &mut [T], y: &mut [T], g: &[T], f: impl Fn([T; 2], T) -> [T; 2] + Sync) {
    if x.len() < PARALLEL {
        simd::change2_by1(
            x,
            y,
            g,
            #[inline(always)]
            |x, [g]| f(x, g),
        );
    } else {
        let blocks = x.par_chunks_mut(BLOCK).zip(y.par_chunks_mut(BLOCK)).zip(g.par_chunks(BLOCK));
        blocks.for_each(|((x, y), g)| {
            simd::change2_by1(
                x,
                y,
                g,
                #[inline(always)]
                |x, [g]| f(x, g),
            )
        });
    }
}

/// `out[i, j] = f(x[i, j], row[j])` for rows of `row.len()`.
pub(crate) fn zip_rows<T: Scalar>(x: &[T], row: &[T], f: impl Fn(T, T) -> T + Sync) -> Buffer<T> {
    let mut out = Buffer::stale(x.len());
    let width = row.len().max(1);
    let body = |out: &mut [T], x: &[T]| {
        vectorised(
            #[inline(always)]
            || {
                for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    for ((o, &x), &y) in out.iter_mut().zip(x).zip(row) {
                        *o = f(x, y);
                    }
                }
            },
        )
    };
    let block = (BLOCK / width).max(1) * width;
    if x.len() < PARALLEL {
        body(&mut out, x);
    } else {
        out.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(o, x)| body(o, x));
    }
    out
}

/// `x[i, j] = f(x[i, j], row[j])`.
pub(crate) fn zip_rows_in_place<T: Scalar>(x: &mut [T], row: &[T], f: impl Fn(T, T) -> T + Sync) {
    let width = row.len().max(1);
    let body = |x: &mut [T]| {
        vectorised(
            #[inline(always)]
            || {
                for x in x.chunks_exact_mut(width) {
                    x.iter_mut().zip(row).for_each(|(x, &y)| *x = f(*x, y));
                }
            },
        )
    };
    let block = (BLOCK / width).max(1) * width;
    if x.len() < PARALLEL {
        body(x);
    } else {
        x.par_chunks_mut(block).for_each(body);
    }
}
