//! Vector registers, as the tiles of a product use them.

/// A register of [`LANES`](Vector::LANES) elements.
///
/// # Safety
/// Every function may be called only where the processor has its instructions, and with pointers that are valid for the
/// lanes that are read or written.
pub(super) trait Vector: Copy {
    type Element: Copy + std::ops::Add<Output = Self::Element>;
    /// Which lanes of a register are read or written.
    type Lanes: Copy;
    const LANES: usize;

    /// The first `count` lanes, at most all.
    unsafe fn first(count: usize) -> Self::Lanes;
    unsafe fn zero() -> Self;
    /// The element in every lane.
    unsafe fn splat(from: *const Self::Element) -> Self;
    unsafe fn load(from: *const Self::Element) -> Self;
    /// Some lanes, and 0 in the others, whose memory is not touched.
    unsafe fn load_some(from: *const Self::Element, lanes: Self::Lanes) -> Self;
    /// `self · factor + term`.
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self;
    unsafe fn add(self, other: Self) -> Self;
    /// The sum of the lanes.
    unsafe fn sum(self) -> Self::Element;
    unsafe fn store(self, to: *mut Self::Element);
    unsafe fn store_some(self, to: *mut Self::Element, lanes: Self::Lanes);
    /// The transpose of a square block: element `t` of row `i`, which begins at `row(i)`, goes to `to + t · distance + i`.
    unsafe fn transpose(row: impl Fn(usize) -> *const Self::Element, to: *mut Self::Element, distance: usize);
    /// Asks for a line of memory, which need not be valid.
    unsafe fn prefetch(at: *const Self::Element);
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86 {
    use std::arch::x86_64::*;

    use super::Vector;

    macro_rules! vector {
        ($register:ident, $lanes_type:ident, $element:ident x $lanes:literal, $zero:ident, $splat:ident, $load:ident, $fma:ident, $add:ident, $store:ident,
         first: |$count:ident| $first:expr, sum: |$sum:ident| $summed:expr, load_some: |$from:ident, $some:ident| $load_some:expr,
         store_some: |$to:ident, $x:ident, $which:ident| $store_some:expr, transpose: $transpose:ident) => {
            impl Vector for $register {
                type Element = $element;
                type Lanes = $lanes_type;
                const LANES: usize = $lanes;
                #[inline(always)]
                unsafe fn first($count: usize) -> Self::Lanes {
                    // SAFETY: here and below, what the trait demands of the caller.
                    unsafe { $first }
                }
                #[inline(always)]
                unsafe fn zero() -> Self {
                    unsafe { $zero() }
                }
                #[inline(always)]
                unsafe fn splat(from: *const $element) -> Self {
                    unsafe { $splat(*from) }
                }
                #[inline(always)]
                unsafe fn load(from: *const $element) -> Self {
                    unsafe { $load(from) }
                }
                #[inline(always)]
                unsafe fn load_some($from: *const $element, $some: Self::Lanes) -> Self {
                    unsafe { $load_some }
                }
                #[inline(always)]
                unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
                    unsafe { $fma(self, factor, term) }
                }
                #[inline(always)]
                unsafe fn add(self, other: Self) -> Self {
                    unsafe { $add(self, other) }
                }
                #[inline(always)]
                unsafe fn sum(self) -> $element {
                    let $sum = self;
                    unsafe { $summed }
                }
                #[inline(always)]
                unsafe fn store(self, to: *mut $element) {
                    unsafe { $store(to, self) }
                }
                #[inline(always)]
                unsafe fn store_some(self, $to: *mut $element, $which: Self::Lanes) {
                    let $x = self;
                    unsafe { $store_some }
                }
                #[inline(always)]
                unsafe fn transpose(row: impl Fn(usize) -> *const $element, to: *mut $element, distance: usize) {
                    unsafe { $transpose(row, to, distance) }
                }
                #[inline(always)]
                unsafe fn prefetch(at: *const $element) {
                    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
                }
            }
        };
    }

    vector!(
        __m512, __mmask16, f32 x 16, _mm512_setzero_ps, _mm512_set1_ps, _mm512_loadu_ps, _mm512_fmadd_ps, _mm512_add_ps, _mm512_storeu_ps,
        first: |count| _cvtu32_mask16((1 << count.min(16)) - 1),
        sum: |x| _mm512_reduce_add_ps(x),
        load_some: |from, lanes| _mm512_maskz_loadu_ps(lanes, from),
        store_some: |to, x, lanes| _mm512_mask_storeu_ps(to, lanes, x),
        transpose: transpose_f32x16
    );
    vector!(
        __m512d, __mmask8, f64 x 8, _mm512_setzero_pd, _mm512_set1_pd, _mm512_loadu_pd, _mm512_fmadd_pd, _mm512_add_pd, _mm512_storeu_pd,
        first: |count| _cvtu32_mask8((1 << count.min(8)) - 1),
        sum: |x| _mm512_reduce_add_pd(x),
        load_some: |from, lanes| _mm512_maskz_loadu_pd(lanes, from),
        store_some: |to, x, lanes| _mm512_mask_storeu_pd(to, lanes, x),
        transpose: transpose_f64x8
    );
    vector!(
        __m256, __m256i, f32 x 8, _mm256_setzero_ps, _mm256_set1_ps, _mm256_loadu_ps, _mm256_fmadd_ps, _mm256_add_ps, _mm256_storeu_ps,
        first: |count| _mm256_cmpgt_epi32(_mm256_set1_epi32(count.min(8) as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)),
        sum: |x| {
            let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
        },
        load_some: |from, lanes| _mm256_maskload_ps(from, lanes),
        store_some: |to, x, lanes| _mm256_maskstore_ps(to, lanes, x),
        transpose: transpose_f32x8
    );
    vector!(
        __m256d, __m256i, f64 x 4, _mm256_setzero_pd, _mm256_set1_pd, _mm256_loadu_pd, _mm256_fmadd_pd, _mm256_add_pd, _mm256_storeu_pd,
        first: |count| _mm256_cmpgt_epi64(_mm256_set1_epi64x(count.min(4) as i64), _mm256_setr_epi64x(0, 1, 2, 3)),
        sum: |x| {
            let x = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd::<1>(x));
            _mm_cvtsd_f64(_mm_add_sd(x, _mm_unpackhi_pd(x, x)))
        },
        load_some: |from, lanes| _mm256_maskload_pd(from, lanes),
        store_some: |to, x, lanes| _mm256_maskstore_pd(to, lanes, x),
        transpose: transpose_f64x4
    );

    // Registers are loaded by quarters of 16 bytes, from rows of different parts of the block, so that only the transposes within
    // quarters are left to the one unit that shuffles.

    #[inline(always)]
    unsafe fn transpose_f32x16(row: impl Fn(usize) -> *const f32, to: *mut f32, distance: usize) {
        // SAFETY: here and below, what the trait demands of the caller.
        unsafe {
            for column in (0..16).step_by(4) {
                let gather = |i: usize| {
                    let quarter = |q: usize| _mm_loadu_ps(row(4 * q + i).wrapping_add(column));
                    let x = _mm512_castps128_ps512(quarter(0));
                    let x = _mm512_insertf32x4::<1>(x, quarter(1));
                    let x = _mm512_insertf32x4::<2>(x, quarter(2));
                    _mm512_insertf32x4::<3>(x, quarter(3))
                };
                let [a, b, c, d] = [gather(0), gather(1), gather(2), gather(3)];
                let [ab, cd] = [_mm512_castps_pd(_mm512_unpacklo_ps(a, b)), _mm512_castps_pd(_mm512_unpacklo_ps(c, d))];
                let [ab_high, cd_high] = [_mm512_castps_pd(_mm512_unpackhi_ps(a, b)), _mm512_castps_pd(_mm512_unpackhi_ps(c, d))];
                let rows = [
                    _mm512_unpacklo_pd(ab, cd),
                    _mm512_unpackhi_pd(ab, cd),
                    _mm512_unpacklo_pd(ab_high, cd_high),
                    _mm512_unpackhi_pd(ab_high, cd_high),
                ];
                for (t, x) in rows.into_iter().enumerate() {
                    _mm512_storeu_ps(to.wrapping_add((column + t) * distance), _mm512_castpd_ps(x));
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn transpose_f64x8(row: impl Fn(usize) -> *const f64, to: *mut f64, distance: usize) {
        unsafe {
            for column in (0..8).step_by(2) {
                let gather = |i: usize| {
                    let quarter = |q: usize| _mm_castpd_ps(_mm_loadu_pd(row(2 * q + i).wrapping_add(column)));
                    let x = _mm512_castps128_ps512(quarter(0));
                    let x = _mm512_insertf32x4::<1>(x, quarter(1));
                    let x = _mm512_insertf32x4::<2>(x, quarter(2));
                    _mm512_castps_pd(_mm512_insertf32x4::<3>(x, quarter(3)))
                };
                let (a, b) = (gather(0), gather(1));
                _mm512_storeu_pd(to.wrapping_add(column * distance), _mm512_unpacklo_pd(a, b));
                _mm512_storeu_pd(to.wrapping_add((column + 1) * distance), _mm512_unpackhi_pd(a, b));
            }
        }
    }

    #[inline(always)]
    unsafe fn transpose_f32x8(row: impl Fn(usize) -> *const f32, to: *mut f32, distance: usize) {
        unsafe {
            for column in (0..8).step_by(4) {
                let gather = |i: usize| {
                    let half = |h: usize| _mm_loadu_ps(row(4 * h + i).wrapping_add(column));
                    _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(half(0)), half(1))
                };
                let [a, b, c, d] = [gather(0), gather(1), gather(2), gather(3)];
                let [ab, cd] = [_mm256_castps_pd(_mm256_unpacklo_ps(a, b)), _mm256_castps_pd(_mm256_unpacklo_ps(c, d))];
                let [ab_high, cd_high] = [_mm256_castps_pd(_mm256_unpackhi_ps(a, b)), _mm256_castps_pd(_mm256_unpackhi_ps(c, d))];
                let rows = [
                    _mm256_unpacklo_pd(ab, cd),
                    _mm256_unpackhi_pd(ab, cd),
                    _mm256_unpacklo_pd(ab_high, cd_high),
                    _mm256_unpackhi_pd(ab_high, cd_high),
                ];
                for (t, x) in rows.into_iter().enumerate() {
                    _mm256_storeu_ps(to.wrapping_add((column + t) * distance), _mm256_castpd_ps(x));
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn transpose_f64x4(row: impl Fn(usize) -> *const f64, to: *mut f64, distance: usize) {
        unsafe {
            for column in (0..4).step_by(2) {
                let gather = |i: usize| {
                    let half = |h: usize| _mm_loadu_pd(row(2 * h + i).wrapping_add(column));
                    _mm256_insertf128_pd::<1>(_mm256_castpd128_pd256(half(0)), half(1))
                };
                let (a, b) = (gather(0), gather(1));
                _mm256_storeu_pd(to.wrapping_add(column * distance), _mm256_unpacklo_pd(a, b));
                _mm256_storeu_pd(to.wrapping_add((column + 1) * distance), _mm256_unpackhi_pd(a, b));
            }
        }
    }
}

/// A register of the baseline, whatever it is: the compiler makes vector instructions of loops over it.
#[derive(Clone, Copy)]
pub(super) struct Portable<T, const LANES: usize>([T; LANES]);

macro_rules! portable {
    ($element:ident, $lanes:literal) => {
        impl Vector for Portable<$element, $lanes> {
            type Element = $element;
            type Lanes = usize;
            const LANES: usize = $lanes;
            #[inline(always)]
            unsafe fn first(count: usize) -> usize {
                count.min($lanes)
            }
            #[inline(always)]
            unsafe fn zero() -> Self {
                Self([0.0; $lanes])
            }
            #[inline(always)]
            unsafe fn splat(from: *const $element) -> Self {
                // SAFETY: here and below, what the trait demands of the caller.
                Self([unsafe { *from }; $lanes])
            }
            #[inline(always)]
            unsafe fn load(from: *const $element) -> Self {
                Self(unsafe { from.cast::<[$element; $lanes]>().read_unaligned() })
            }
            #[inline(always)]
            unsafe fn load_some(from: *const $element, lanes: usize) -> Self {
                if lanes == $lanes {
                    return unsafe { Self::load(from) };
                }
                Self(std::array::from_fn(|i| if i < lanes { unsafe { *from.add(i) } } else { 0.0 }))
            }
            #[inline(always)]
            unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
                // Without the instruction, the fused operation is a slow call.
                let fused = cfg!(any(target_feature = "fma", target_arch = "aarch64"));
                Self(std::array::from_fn(|i| {
                    if fused { self.0[i].mul_add(factor.0[i], term.0[i]) } else { self.0[i] * factor.0[i] + term.0[i] }
                }))
            }
            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                Self(std::array::from_fn(|i| self.0[i] + other.0[i]))
            }
            #[inline(always)]
            unsafe fn sum(self) -> $element {
                self.0.iter().sum()
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $element) {
                unsafe { to.cast::<[$element; $lanes]>().write_unaligned(self.0) }
            }
            #[inline(always)]
            unsafe fn store_some(self, to: *mut $element, lanes: usize) {
                for (i, x) in self.0.into_iter().enumerate().take(lanes) {
                    unsafe { to.add(i).write(x) };
                }
            }
            #[inline(always)]
            unsafe fn transpose(row: impl Fn(usize) -> *const $element, to: *mut $element, distance: usize) {
                for (t, i) in (0..$lanes).flat_map(|t| (0..$lanes).map(move |i| (t, i))) {
                    unsafe { to.add(t * distance + i).write(*row(i).add(t)) };
                }
            }
            #[inline(always)]
            unsafe fn prefetch(_: *const $element) {}
        }
    };
}

portable!(f32, 4);
portable!(f64, 2);
