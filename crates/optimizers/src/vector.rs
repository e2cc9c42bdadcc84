//! Models as vectors: inner products in 64 bits, sums in place.

use gradus_autodiff::{Params, Scalar};
use rayon::prelude::*;

/// Partial sums of one inner product: enough that it is not bound by the latency of an addition.
const LANES: usize = 16;

/// Elements that one task sums.
const BLOCK: usize = 1 << 15;

/// The inner product, summed in 64 bits in an order that depends on the shapes alone.
pub(crate) fn dot<P: Params>(a: &P, b: &P) -> f64 {
    let (a, b) = (a.leaves(), b.leaves());
    assert!(a.len() == b.len(), "two models of {} and {} tensors", a.len(), b.len());
    a.into_iter().zip(b).fold(0.0, |sum, (a, b)| {
        assert!(a.shape() == b.shape(), "shapes {:?} and {:?} differ", a.shape(), b.shape());
        sum + dot_slices(a.as_slice(), b.as_slice())
    })
}

fn dot_slices<T: Scalar>(a: &[T], b: &[T]) -> f64 {
    if a.len() <= 2 * BLOCK {
        return dot_block(a, b);
    }
    let blocks = a.par_chunks(BLOCK).zip(b.par_chunks(BLOCK));
    blocks.map(|(a, b)| dot_block(a, b)).collect::<Vec<f64>>().into_iter().sum()
}

fn dot_block<T: Scalar>(a: &[T], b: &[T]) -> f64 {
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a.to_f64() * b.to_f64()).sum();
    let mut sums = [0.0; LANES];
    for (a, b) in a.zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a.to_f64() * b.to_f64();
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// The Euclidean norm, also where the squares leave the range of 64 bits.
pub(crate) fn norm<P: Params>(a: &P) -> f64 {
    let norm = dot(a, a).sqrt();
    // Below this, squares have lost digits.
    if norm.is_finite() && norm > 1e-140 { norm } else { scaled_norm(a) }
}

/// The norm from elements divided by the largest.
fn scaled_norm<P: Params>(a: &P) -> f64 {
    let elements = || a.leaves().into_iter().flat_map(|x| x.as_slice()).map(|x| x.to_f64());
    let largest = elements().fold(0.0f64, |largest, x| largest.max(x.abs()));
    let scale = if largest > 0.0 && largest.is_finite() { largest } else { 1.0 };
    scale * elements().map(|x| (x / scale).powi(2)).sum::<f64>().sqrt()
}

/// `x ← x + scale · y`, in one pass.
pub(crate) fn add_scaled<P: Params>(x: &mut P, scale: f64, y: &P) {
    let scale = P::Elem::from_f64(scale);
    for (x, y) in x.leaves_mut().into_iter().zip(y.leaves()) {
        x.update(y, |x, y| x + scale * y);
    }
}

/// `x ← scale · x + y`, in one pass.
pub(crate) fn scale_and_add<P: Params>(x: &mut P, scale: f64, y: &P) {
    let scale = P::Elem::from_f64(scale);
    for (x, y) in x.leaves_mut().into_iter().zip(y.leaves()) {
        x.update(y, |x, y| scale * x + y);
    }
}

/// `scale · x`.
pub(crate) fn scaled<P: Params>(scale: f64, x: &P) -> P {
    let scale = P::Elem::from_f64(scale);
    x.map(|_, x| x.detach() * scale)
}

/// `x − y`.
pub(crate) fn difference<P: Params>(x: &P, y: &P) -> P {
    x.zip_map(y, |x, y| x.detach() - y.detach())
}

/// The distance from 1 to the next value of the element type.
pub(crate) fn epsilon<T: Scalar>() -> f64 {
    if size_of::<T>() == size_of::<f32>() { f64::from(f32::EPSILON) } else { f64::EPSILON }
}
