//! Large products through the `gemm` crates.

use gemm_common::Parallelism;

use super::{Matrix, reaches};
use crate::Scalar;
use crate::kernels::parallel::*;

/// Rows of a task, whatever the number of threads. Each task copies the second factor for itself.
const ROWS: usize = 512;

/// The signature of the kernels of `gemm-f32` and `gemm-f64`.
#[allow(unreachable_pub)] // In the signature of a hidden method of a public, sealed trait.
pub type GemmFn<T> = unsafe fn(
    usize,
    usize,
    usize,
    *mut T,
    isize,
    isize,
    bool,
    *const T,
    isize,
    isize,
    *const T,
    isize,
    isize,
    T,
    T,
    bool,
    bool,
    bool,
    Parallelism,
);

/// `out = a b`, or added to it, for factors that are not transposed.
pub(super) fn multiply<T: Scalar>(
    [m, n, k]: [usize; 3],
    a: Matrix<T>,
    b: Matrix<T>,
    out: &mut [T],
    distance: usize,
    add: bool,
    threads: usize,
) {
    assert!(!a.transposed && !b.transposed && a.holds(m, k) && b.holds(k, n));
    assert!(m > 0 && n <= distance && reaches(m, distance, n).is_some_and(|end| end <= out.len()));
    let task = |(i, out): (usize, &mut [T])| {
        let a = Matrix { values: &a.values[i * ROWS * a.distance..], ..a };
        one([ROWS.min(m - i * ROWS), n, k], a, b, out, distance, add);
    };
    if threads > 1 {
        out.par_chunks_mut(ROWS * distance).take(m.div_ceil(ROWS)).enumerate().for_each(task);
    } else {
        out.chunks_mut(ROWS * distance).take(m.div_ceil(ROWS)).enumerate().for_each(task);
    }
}

/// One task's rows.
fn one<T: Scalar>([m, n, k]: [usize; 3], a: Matrix<T>, b: Matrix<T>, out: &mut [T], distance: usize, add: bool) {
    assert!(!a.transposed && !b.transposed && a.holds(m, k) && b.holds(k, n));
    assert!(m > 0 && n <= distance && reaches(m, distance, n).is_some_and(|end| end <= out.len()));
    // The kernels write columns, and `out` is stored by rows: so its transpose is computed, `bᵀ aᵀ`.
    // SAFETY: the assertions make every index that the strides reach lie inside its slice; `out` is borrowed mutably, so
    // it overlaps neither factor.
    unsafe {
        T::large_gemm()(
            n,
            m,
            k,
            out.as_mut_ptr(),
            distance as isize,
            1,
            add,
            b.values.as_ptr(),
            b.distance as isize,
            1,
            a.values.as_ptr(),
            a.distance as isize,
            1,
            if add { T::ONE } else { T::ZERO },
            T::ONE,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
