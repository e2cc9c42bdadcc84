//! Elements kept or dropped by a bit for each.

use super::parallel::*;

use super::{BLOCK, Buffer, PARALLEL, vectorised};
use crate::Scalar;

/// `x[i] · scale` where bit `i mod count` is set, else 0, even where `x` is not finite.
pub(crate) fn keep<T: Scalar>(x: &[T], kept: &[u64], count: usize, scale: T) -> Buffer<T> {
    let mut out = Buffer::stale(x.len());
    // Blocks are whole words.
    let words = |out: &mut [T], x: &[T], kept: &[u64]| {
        vectorised(
            #[inline(always)]
            || {
                for ((out, x), &word) in out.chunks_mut(64).zip(x.chunks(64)).zip(kept) {
                    for (bit, (o, &x)) in out.iter_mut().zip(x).enumerate() {
                        *o = if word >> bit & 1 == 1 { x * scale } else { T::ZERO };
                    }
                }
            },
        );
    };
    for (out, x) in out.chunks_mut(count.max(1)).zip(x.chunks(count.max(1))) {
        if x.len() < PARALLEL {
            words(out, x, kept);
        } else {
            out.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).zip(kept.par_chunks(BLOCK / 64)).for_each(|((o, x), k)| words(o, x, k));
        }
    }
    out
}
