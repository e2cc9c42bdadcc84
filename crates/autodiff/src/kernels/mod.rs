//! The only place that touches raw buffers, vector registers and threads. Everything above is safe code in terms of these
//! kernels.
//!
//! Work is split by length alone and partial results are added in order, so results do not depend on the number of threads.

pub(crate) mod attention;
mod buffer;
pub(crate) mod convolution;
pub(crate) mod dropout;
pub(crate) mod functions;
pub(crate) mod fused;
pub(crate) mod matmul;
pub(crate) mod normalisation;
pub(crate) mod parallel;
pub(crate) mod pointwise;
pub(crate) mod pooling;
pub(crate) mod recurrent;
pub(crate) mod reduce;
pub(crate) mod resize;
pub(crate) mod rows;
pub(crate) mod scan;
pub(crate) mod select;
mod simd;
pub(crate) mod sort;
pub(crate) mod strided;
pub(crate) mod triangular;

pub(crate) use buffer::{Buffer, Pool, Shared};
pub(crate) use simd::vectorised;

/// Elements below which a pointwise pass stays on one thread: the hand-over costs more than the work.
pub(crate) const PARALLEL: usize = 64 * 1024;
/// Elements per task.
pub(crate) const BLOCK: usize = 32 * 1024;

/// Takes the first `count` elements off a slice.
fn cut<'a, T>(rest: &mut &'a mut [T], count: usize) -> &'a mut [T] {
    let (first, others) = std::mem::take(rest).split_at_mut(count);
    *rest = others;
    first
}
