//! Matrix products through the `gemm` kernels.
#![allow(unsafe_code)]

use gemm_common::Parallelism;

use crate::Scalar;

/// Multiply-adds below which a product stays on one thread (measured: two threads lose below this).
const PARALLEL_PRODUCT: usize = 8 << 20;

/// The signature of the kernels of `gemm-f32` and `gemm-f64`.
pub(crate) type GemmFn<T> = unsafe fn(
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

/// `out[m, n] = op(a) op(b)`, or added to it when `add`, where each operand is a row-major slice and whether it is stored transposed.
pub(crate) fn with_gemm<T: Scalar>(
    gemm: GemmFn<T>,
    [m, n, k]: [usize; 3],
    a: (&[T], bool),
    b: (&[T], bool),
    out: &mut [T],
    add: bool,
    threads: usize,
) {
    assert!(a.0.len() == m * k && b.0.len() == k * n && out.len() == m * n);
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !add {
            out.fill(T::ZERO);
        }
        return;
    }
    // The kernel is slow on a transposed right operand of few rows (it packs it at power-of-two strides).
    if b.1 && k >= 128 && (32..=512).contains(&m) && n >= 16 {
        let plain = super::strided::transpose(b.0, n, k);
        return with_gemm(gemm, [m, n, k], a, (&plain, false), out, add, threads);
    }
    let strides = |transposed: bool, rows: usize, columns: usize| -> (isize, isize) {
        if transposed { (rows as isize, 1) } else { (1, columns as isize) }
    };
    let (a_column, a_row) = strides(a.1, m, k);
    let (b_column, b_row) = strides(b.1, k, n);
    let parallelism = if threads > 1 && m * n * k >= PARALLEL_PRODUCT { Parallelism::Rayon(threads) } else { Parallelism::None };
    // The kernels write columns, and `out` is stored by rows: so its transpose is computed, `op(b)ᵀ op(a)ᵀ`.
    // SAFETY: the assertion above makes every index that the strides reach lie inside its slice; `out` is borrowed
    // mutably, so it overlaps neither operand.
    unsafe {
        gemm(
            n,
            m,
            k,
            out.as_mut_ptr(),
            n as isize,
            1,
            add,
            b.0.as_ptr(),
            b_row,
            b_column,
            a.0.as_ptr(),
            a_row,
            a_column,
            if add { T::ONE } else { T::ZERO },
            T::ONE,
            false,
            false,
            false,
            parallelism,
        );
    }
}
