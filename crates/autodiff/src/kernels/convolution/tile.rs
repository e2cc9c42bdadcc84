//! The register tile of direct convolution: a few rows of scalars, each multiplied with vectors of lanes. A row's scalars lie
//! anywhere at fixed offsets, so the image itself is the left operand and no patches are copied.
#![allow(unsafe_code)]

use crate::Scalar;
#[cfg(all(target_arch = "x86_64", not(miri)))]
use crate::kernels::simd::{has_avx2, has_avx512};

/// Where the factors of a row lie, from its first place on.
pub(super) struct Offsets {
    each: Vec<usize>,
    /// The greatest of them.
    reach: usize,
}

impl From<Vec<usize>> for Offsets {
    fn from(each: Vec<usize>) -> Self {
        let reach = each.iter().copied().max().unwrap_or(0);
        Self { each, reach }
    }
}

impl Offsets {
    pub(super) fn all(&self) -> Depth<'_> {
        Depth { offsets: &self.each, reach: self.reach }
    }

    /// In parts of `size`, the last of which may be smaller.
    pub(super) fn parts(&self, size: usize) -> impl Iterator<Item = Depth<'_>> {
        self.each.chunks(size).map(|offsets| Depth { offsets, reach: self.reach })
    }
}

/// Offsets, none of which is greater than `reach`.
#[derive(Clone, Copy)]
pub(super) struct Depth<'a> {
    offsets: &'a [usize],
    reach: usize,
}

impl Depth<'_> {
    pub(super) fn len(&self) -> usize {
        self.offsets.len()
    }
}

/// The left operand: row `r` begins at `first + r · step`.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, T> {
    pub(super) source: &'a [T],
    pub(super) first: usize,
    pub(super) step: usize,
    pub(super) count: usize,
}

/// The kernels of one instruction set.
#[allow(unreachable_pub)] // In the signature of a hidden method of a public, sealed trait.
#[derive(Clone, Copy)]
pub struct Tile<T: 'static> {
    /// Rows of a tile at most.
    pub(super) rows: usize,
    /// Elements of a vector; a tile is one or two of them wide.
    pub(super) lanes: usize,
    /// By width and rows.
    run: [&'static [unsafe fn(Operands<'_, T>)]; 2],
    /// Transposes a square of [`SQUARE`] rows and columns at most, where there is something better than a loop.
    square: Option<unsafe fn(Square<T>)>,
}

/// Side of the squares that are transposed at once.
const SQUARE: usize = 16;

/// `out[column][row] = x[row][column]`.
#[allow(dead_code)] // Not read where there are no kernels.
struct Square<T> {
    x: *const T,
    x_step: usize,
    rows: usize,
    columns: usize,
    out: *mut T,
    out_step: usize,
}

#[allow(dead_code)] // Not read where there are no kernels.
struct Operands<'a, T> {
    rows: *const T,
    step: usize,
    offsets: &'a [usize],
    b: *const T,
    start: *const T,
    start_step: usize,
    out: *mut T,
    out_step: usize,
}

impl<T: Scalar> Tile<T> {
    /// `out[r][lane] = start[lane] + Σ_d rows[r][depth[d]] · b[d][lane]` for `vectors` times [`Tile::lanes`] lanes, where the
    /// rows of `out` lie `out_step` apart. Without `start` the products are added to `out`.
    #[inline]
    pub(super) fn product(
        &self,
        vectors: usize,
        rows: Rows<'_, T>,
        depth: Depth<'_>,
        b: &[T],
        start: Option<&[T]>,
        (out, out_step): (&mut [T], usize),
    ) {
        let lanes = vectors * self.lanes;
        let Rows { source, first, step, count } = rows;
        assert!(count > 0 && out_step >= lanes && out.len() >= (count - 1) * out_step + lanes && b.len() >= depth.len() * lanes);
        assert!(start.is_none_or(|start| start.len() >= lanes));
        assert!(depth.len() == 0 || source.len() > first + (count - 1) * step + depth.reach);
        let out = out.as_mut_ptr();
        let operands = Operands {
            rows: source.as_ptr().wrapping_add(first),
            step,
            offsets: depth.offsets,
            b: b.as_ptr(),
            start: start.map_or(out.cast_const(), <[T]>::as_ptr),
            start_step: if start.is_some() { 0 } else { out_step },
            out,
            out_step,
        };
        // SAFETY: the assertions above keep every place that the kernel reads or writes inside its slice: offsets are at most
        // the depth's reach. `out` is borrowed mutably, and read through the same pointer. Only kernels of instruction sets
        // that the processor has are handed out.
        unsafe { self.run[vectors - 1][count - 1](operands) }
    }

    /// `out[column][row] = x[row][column]`, with these distances of rows in `x` and in `out`.
    pub(super) fn transpose(&self, x: &[T], x_step: usize, [rows, columns]: [usize; 2], out: &mut [T], out_step: usize) {
        if rows == 0 || columns == 0 {
            return;
        }
        assert!(x_step >= columns && x.len() >= (rows - 1) * x_step + columns);
        assert!(out_step >= rows && out.len() >= (columns - 1) * out_step + rows);
        for row in (0..rows).step_by(SQUARE) {
            for column in (0..columns).step_by(SQUARE) {
                let (from, to) = (row * x_step + column, column * out_step + row);
                let (height, width) = ((rows - row).min(SQUARE), (columns - column).min(SQUARE));
                match self.square {
                    // SAFETY: the assertions above keep the square inside both slices, and the processor has the instructions
                    // of the kernels that are handed out.
                    Some(square) => unsafe {
                        let (x, out) = (x.as_ptr().add(from), out.as_mut_ptr().add(to));
                        square(Square { x, x_step, rows: height, columns: width, out, out_step });
                    },
                    None => {
                        for i in 0..height {
                            let line = &x[from + i * x_step..][..width];
                            line.iter().enumerate().for_each(|(j, &x)| out[to + j * out_step + i] = x);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Operands, SQUARE, Square, Tile};

    /// A function that keeps `ROWS · VECTORS` sums in registers. Each row's scalar is loaded to all lanes and multiplied by the
    /// vectors in one piece of assembly: left to itself, the compiler loads the scalars of all rows first, and the sums lose
    /// their registers (100 GF instead of 195). `$at` are the places of the rows in terms of `a`, `c = a + 5 s` and the step.
    macro_rules! kernel {
        ($name:ident, $t:ty, $features:literal, $lanes:literal, $class:ident, $load:ident $store:ident $splat:literal $fma:literal, $($row:literal $at:literal)*) => {
            #[target_feature(enable = $features)]
            fn $name<const ROWS: usize, const VECTORS: usize>(o: Operands<'_, $t>) {
                use std::arch::asm;
                // SAFETY: who makes operands checks that all places lie inside the slices.
                unsafe {
                    let mut sums: [[_; VECTORS]; ROWS] =
                        std::array::from_fn(|r| std::array::from_fn(|v| $load(o.start.add(r * o.start_step + v * $lanes))));
                    let (s, mut b) = (o.step * size_of::<$t>(), o.b);
                    for &offset in o.offsets {
                        let a = o.rows.wrapping_add(offset);
                        let c = a.wrapping_byte_add(5 * s);
                        let factors: [_; VECTORS] = std::array::from_fn(|v| $load(b.add(v * $lanes)));
                        $(if $row < ROWS && VECTORS == 1 {
                            asm!(
                                concat!($splat, " {x}, [", $at, "] /* {a} {c} {s} {s3} {s5} */"),
                                concat!($fma, " {sum}, {x}, {b}"),
                                x = out($class) _, a = in(reg) a, c = in(reg) c, s = in(reg) s, s3 = in(reg) 3 * s, s5 = in(reg) 5 * s,
                                b = in($class) factors[0], sum = inout($class) sums[$row][0],
                                options(pure, readonly, nostack, preserves_flags),
                            );
                        })*
                        $(if $row < ROWS && VECTORS == 2 {
                            asm!(
                                concat!($splat, " {x}, [", $at, "] /* {a} {c} {s} {s3} {s5} */"),
                                concat!($fma, " {sum}, {x}, {b}"),
                                concat!($fma, " {other_sum}, {x}, {other_b}"),
                                x = out($class) _, a = in(reg) a, c = in(reg) c, s = in(reg) s, s3 = in(reg) 3 * s, s5 = in(reg) 5 * s,
                                b = in($class) factors[0], sum = inout($class) sums[$row][0],
                                other_b = in($class) factors[VECTORS - 1], other_sum = inout($class) sums[$row][VECTORS - 1],
                                options(pure, readonly, nostack, preserves_flags),
                            );
                        })*
                        b = b.add(VECTORS * $lanes);
                    }
                    for r in 0..ROWS {
                        for v in 0..VECTORS {
                            $store(o.out.add(r * o.out_step + v * $lanes), sums[r][v]);
                        }
                    }
                }
            }
        };
    }

    macro_rules! kernels {
        ($($name:ident: $t:ty, $features:literal, $lanes:literal, $class:ident, $load:ident $store:ident $splat:literal $fma:literal;)*) => {
            $(kernel!(
                $name, $t, $features, $lanes, $class, $load $store $splat $fma,
                0 "{a}" 1 "{a} + {s}" 2 "{a} + 2*{s}" 3 "{a} + {s3}" 4 "{a} + 4*{s}"
                5 "{c}" 6 "{c} + {s}" 7 "{c} + 2*{s}" 8 "{c} + {s3}" 9 "{c} + 4*{s}"
                10 "{c} + {s5}" 11 "{c} + 2*{s3}" 12 "{a} + 4*{s3}" 13 "{c} + 8*{s}"
            );)*
        };
    }

    kernels! {
        f32_avx512: f32, "avx512f", 16, zmm_reg, _mm512_loadu_ps _mm512_storeu_ps "vbroadcastss" "vfmadd231ps";
        f64_avx512: f64, "avx512f", 8, zmm_reg, _mm512_loadu_pd _mm512_storeu_pd "vbroadcastsd" "vfmadd231pd";
        f32_avx2: f32, "avx2,fma", 8, ymm_reg, _mm256_loadu_ps _mm256_storeu_ps "vbroadcastss" "vfmadd231ps";
        f64_avx2: f64, "avx2,fma", 4, ymm_reg, _mm256_loadu_pd _mm256_storeu_pd "vbroadcastsd" "vfmadd231pd";
    }

    /// Pairs, then fours of rows in each quarter of the registers, then the quarters.
    #[target_feature(enable = "avx512f")]
    fn transpose_f32(s: Square<f32>) {
        let below = |count: usize| ((1u32 << count) - 1) as __mmask16;
        // SAFETY: who makes a square checks that it lies inside the slices; the masks leave out what is beyond it.
        unsafe {
            let rows: [__m512; SQUARE] = std::array::from_fn(|i| {
                let mask = if i < s.rows { below(s.columns) } else { 0 };
                _mm512_maskz_loadu_ps(mask, s.x.wrapping_add(i * s.x_step))
            });
            let pairs: [__m512; SQUARE] = std::array::from_fn(|i| {
                let (a, b) = (rows[i & !1], rows[i | 1]);
                if i & 1 == 0 { _mm512_unpacklo_ps(a, b) } else { _mm512_unpackhi_ps(a, b) }
            });
            let fours: [__m512; SQUARE] = std::array::from_fn(|i| {
                let (a, b) = (_mm512_castps_pd(pairs[i & !3 | i >> 1 & 1]), _mm512_castps_pd(pairs[i & !3 | 2 | i >> 1 & 1]));
                _mm512_castpd_ps(if i & 1 == 0 { _mm512_unpacklo_pd(a, b) } else { _mm512_unpackhi_pd(a, b) })
            });
            for j in 0..4 {
                let even = |a: __m512, b: __m512| _mm512_shuffle_f32x4::<0x88>(a, b);
                let odd = |a: __m512, b: __m512| _mm512_shuffle_f32x4::<0xdd>(a, b);
                let (upper, lower) = ([fours[j], fours[4 + j]], [fours[8 + j], fours[12 + j]]);
                let (a, b) = (even(upper[0], upper[1]), even(lower[0], lower[1]));
                let (c, d) = (odd(upper[0], upper[1]), odd(lower[0], lower[1]));
                for (quarter, column) in [even(a, b), even(c, d), odd(a, b), odd(c, d)].into_iter().enumerate() {
                    if 4 * quarter + j < s.columns {
                        _mm512_mask_storeu_ps(s.out.add((4 * quarter + j) * s.out_step), below(s.rows), column);
                    }
                }
            }
        }
    }

    /// One kernel for each number of rows, as a table by width.
    macro_rules! table {
        ($kernel:ident: $($rows:literal)*) => {
            [&[$($kernel::<$rows, 1>),*], &[$($kernel::<$rows, 2>),*]]
        };
    }

    // As many rows as leave registers for two vectors and a scalar: of 32, and of 16.
    pub(super) const F32: [Tile<f32>; 2] = [
        Tile { rows: 14, lanes: 16, run: table!(f32_avx512: 1 2 3 4 5 6 7 8 9 10 11 12 13 14), square: Some(transpose_f32) },
        Tile { rows: 6, lanes: 8, run: table!(f32_avx2: 1 2 3 4 5 6), square: None },
    ];
    pub(super) const F64: [Tile<f64>; 2] = [
        Tile { rows: 14, lanes: 8, run: table!(f64_avx512: 1 2 3 4 5 6 7 8 9 10 11 12 13 14), square: None },
        Tile { rows: 6, lanes: 4, run: table!(f64_avx2: 1 2 3 4 5 6), square: None },
    ];
}

/// Those of `tiles`, for AVX-512 and for AVX2, that the processor can run.
#[cfg(all(target_arch = "x86_64", not(miri)))]
fn supported<T: Copy>([avx512, avx2]: [Tile<T>; 2]) -> [Option<Tile<T>>; 2] {
    [has_avx512().then_some(avx512), has_avx2().then_some(avx2)]
}

/// The element types, and their kernels that the processor can run: fastest first. Where there are none, convolutions go by patches.
#[allow(unreachable_pub)] // A supertrait of a public, sealed trait.
pub trait Tiled: Copy + 'static {
    #[doc(hidden)]
    fn row_tiles() -> [Option<Tile<Self>>; 2];
}

impl Tiled for f32 {
    fn row_tiles() -> [Option<Tile<Self>>; 2] {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        return supported(x86::F32);
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        [None, None]
    }
}

impl Tiled for f64 {
    fn row_tiles() -> [Option<Tile<Self>>; 2] {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        return supported(x86::F64);
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        [None, None]
    }
}
