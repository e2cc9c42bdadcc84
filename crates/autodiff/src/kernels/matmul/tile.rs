//! Tiles of a product, whose sums stay in registers.

#[cfg(all(target_arch = "x86_64", not(miri)))]
use std::arch::x86_64;

use super::pack::{Lines, in_sequence, side_by_side};
use super::vector::{Portable, Vector};
#[cfg(all(target_arch = "x86_64", not(miri)))]
use crate::kernels::simd::{has_avx2, has_avx512};

/// A tile of a product: a few rows by one or two registers of columns.
pub(super) struct Tile<T> {
    /// Terms of each sum.
    pub(super) terms: usize,
    /// The first factor of the first row. Either rows are neighbours and terms `distance` apart, as in a panel, or terms are neighbours and
    /// rows `distance` apart.
    pub(super) a: *const T,
    pub(super) panel: bool,
    pub(super) distance: usize,
    /// The second factor of the first column; terms are `b_term` apart, columns lie side by side.
    pub(super) b: *const T,
    pub(super) b_term: usize,
    pub(super) out: *mut T,
    pub(super) out_row: usize,
    /// At least one column of the last register.
    pub(super) columns: usize,
    /// Whether the sums are added to what is there.
    pub(super) add: bool,
    /// What is added to each row, unless null.
    pub(super) bias: *const T,
}

/// The registers of a row, the last of which may have fewer columns.
///
/// # Safety
/// As for [`Vector`].
#[inline(always)]
unsafe fn load_row<V: Vector, const REGISTERS: usize>(from: *const V::Element, last: V::Lanes) -> [V; REGISTERS] {
    // SAFETY: the caller's.
    unsafe {
        let mut row = [V::zero(); REGISTERS];
        for (register, x) in row.iter_mut().enumerate() {
            let from = from.wrapping_add(register * V::LANES);
            *x = if register + 1 < REGISTERS { V::load(from) } else { V::load_some(from, last) };
        }
        row
    }
}

/// Groups of four rows, each with a pointer of its own: addresses are then a pointer and a multiple of one distance.
const GROUPS: usize = 4;

/// Terms between asking for a line of the second factor and using it.
const AHEAD: usize = 8;

/// Adds one term to the sums of a tile.
///
/// # Safety
/// As for [`compute`].
#[inline(always)]
unsafe fn add_term<V: Vector, const ROWS: usize, const REGISTERS: usize>(
    sums: &mut [[V; REGISTERS]; ROWS],
    a: [*const V::Element; GROUPS],
    a_row: usize,
    b: *const V::Element,
    last: V::Lanes,
) {
    // SAFETY: the caller's.
    unsafe {
        let factors: [V; REGISTERS] = load_row(b, last);
        for (row, sums) in sums.iter_mut().enumerate() {
            let x = V::splat(a[row / 4].wrapping_add(row % 4 * a_row));
            for (sum, factor) in sums.iter_mut().zip(factors) {
                *sum = x.mul_add(factor, *sum);
            }
        }
    }
}

/// A tile of `ROWS` rows and `REGISTERS` registers of columns. `PANEL` is that of the tile.
///
/// # Safety
/// As for [`Vector`]; every factor that the sizes and distances of the tile reach can be read, and its results be written.
#[inline(always)]
unsafe fn compute<V: Vector, const ROWS: usize, const REGISTERS: usize, const PANEL: bool>(tile: &Tile<V::Element>) {
    // SAFETY: the caller's, for the whole function: what is read and written lies below `ROWS`, `terms` and `columns`, and beyond
    // that pointers are only computed, by wrapping arithmetic.
    unsafe {
        let last = V::first(tile.columns - (REGISTERS - 1) * V::LANES);
        let out = |row: usize| tile.out.wrapping_add(row * tile.out_row);
        let mut sums = [[V::zero(); REGISTERS]; ROWS];
        let (a_row, a_term) = if PANEL { (1, tile.distance) } else { (tile.distance, 1) };
        let mut a: [_; GROUPS] = std::array::from_fn(|group| tile.a.wrapping_add(4 * group * a_row));
        let mut b = tile.b;
        for _ in 0..tile.terms {
            // The second factor comes from the L2 cache. Asking for its lines early is worth 5 % (8 terms, as good as 16); asking for the
            // output's is worth nothing, as stores wait in a queue.
            for register in 0..REGISTERS {
                V::prefetch(b.wrapping_add(AHEAD * tile.b_term + register * V::LANES));
            }
            add_term(&mut sums, a, a_row, b, last);
            a = a.map(|a| a.wrapping_add(a_term));
            b = b.wrapping_add(tile.b_term);
        }
        if tile.add {
            for (row, sums) in sums.iter_mut().enumerate() {
                for (sum, x) in sums.iter_mut().zip(load_row::<V, REGISTERS>(out(row), last)) {
                    *sum = x.add(*sum);
                }
            }
        }
        if !tile.bias.is_null() {
            let bias: [V; REGISTERS] = load_row(tile.bias, last);
            for sums in &mut sums {
                for (sum, x) in sums.iter_mut().zip(bias) {
                    *sum = sum.add(x);
                }
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            for (register, sum) in sums.into_iter().enumerate() {
                let to = out(row).wrapping_add(register * V::LANES);
                if register + 1 < REGISTERS { sum.store(to) } else { sum.store_some(to, last) }
            }
        }
    }
}

/// Inner products of a few rows of both factors.
pub(super) struct Dots<T> {
    pub(super) terms: usize,
    pub(super) a: *const T,
    pub(super) a_row: usize,
    pub(super) b: *const T,
    pub(super) b_row: usize,
    pub(super) out: *mut T,
    pub(super) out_row: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Whether the sums are added to what is there.
    pub(super) add: bool,
    /// What is added to each row, unless null.
    pub(super) bias: *const T,
}

impl<T> Dots<T> {
    /// The most rows of either factor.
    pub(super) const SIDE: usize = 4;
}

/// Computes inner products of `ROWS` rows with up to four others: terms in lanes, and the lanes added at the end.
///
/// # Safety
/// As for [`Vector`]; the rows can be read and the results be written.
#[inline(always)]
unsafe fn inner_products<V: Vector, const ROWS: usize>(dots: &Dots<V::Element>) {
    // SAFETY: the caller's; rows of the second factor beyond the last are the last again.
    unsafe {
        let rows: [_; ROWS] = std::array::from_fn(|row| dots.a.wrapping_add(row * dots.a_row));
        let others: [_; 4] = std::array::from_fn(|column| dots.b.wrapping_add(column.min(dots.columns - 1) * dots.b_row));
        let mut sums = [[V::zero(); 4]; ROWS];
        let whole = dots.terms - dots.terms % V::LANES;
        for term in (0..whole).step_by(V::LANES) {
            let others = others.map(|other| other.wrapping_add(term));
            let others = [V::load(others[0]), V::load(others[1]), V::load(others[2]), V::load(others[3])];
            for (sums, row) in sums.iter_mut().zip(rows) {
                let x = V::load(row.wrapping_add(term));
                for (sum, other) in sums.iter_mut().zip(others) {
                    *sum = x.mul_add(other, *sum);
                }
            }
        }
        if whole < dots.terms {
            let lanes = V::first(dots.terms - whole);
            for (sums, row) in sums.iter_mut().zip(rows) {
                let x = V::load_some(row.wrapping_add(whole), lanes);
                for (sum, other) in sums.iter_mut().zip(others) {
                    *sum = x.mul_add(V::load_some(other.wrapping_add(whole), lanes), *sum);
                }
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            for (column, sum) in sums.into_iter().enumerate().take(dots.columns) {
                let to = dots.out.wrapping_add(row * dots.out_row + column);
                let mut sum = sum.sum();
                if dots.add {
                    sum = *to + sum;
                }
                if !dots.bias.is_null() {
                    sum = sum + *dots.bias.wrapping_add(column);
                }
                *to = sum;
            }
        }
    }
}

/// Compiled inner products; see [`inner_products`] for what they demand.
type DotsFn<T> = unsafe fn(&Dots<T>);

/// A compiled tile; see [`compute`] for what it demands.
type TileFn<T> = unsafe fn(&Tile<T>);

/// A compiled copy of lines; see [`side_by_side`] for what it demands.
type PackFn<T> = unsafe fn(&Lines<T>, usize, *mut T);

/// The tiles that are compiled for a kind of processor.
#[allow(unreachable_pub)] // In the signature of a hidden method of a public, sealed trait.
pub struct Tiles<T: 'static> {
    /// Elements of a register.
    pub(super) lanes: usize,
    /// By rows less one, registers less one, and whether rows lie side by side.
    by_size: &'static [[[TileFn<T>; 2]; 2]],
    side_by_side: PackFn<T>,
    in_sequence: PackFn<T>,
    inner_products: [DotsFn<T>; 4],
}

impl<T> Tiles<T> {
    /// The most rows of a tile.
    pub(super) fn rows(&self) -> usize {
        self.by_size.len()
    }

    /// The most columns of a tile.
    pub(super) fn columns(&self) -> usize {
        2 * self.lanes
    }

    /// The distance of terms in a panel of the first factor.
    pub(super) fn padded_rows(&self) -> usize {
        self.rows().next_multiple_of(self.lanes)
    }

    /// Copies lines into a panel: as its columns, or as its rows.
    ///
    /// # Safety
    /// The lines can be read, `width` elements be written for each term, and the processor is of this kind.
    pub(super) unsafe fn pack(&self, lines: &Lines<T>, as_columns: bool, width: usize, panel: *mut T) {
        debug_assert!(width.is_multiple_of(self.lanes));
        // SAFETY: the caller's.
        unsafe { if as_columns { (self.side_by_side)(lines, width, panel) } else { (self.in_sequence)(lines, width, panel) } }
    }

    /// Computes inner products.
    ///
    /// # Safety
    /// The rows can be read, the results be written, and the processor is of this kind.
    pub(super) unsafe fn inner_products(&self, dots: &Dots<T>) {
        // SAFETY: the caller's.
        unsafe { self.inner_products[dots.rows - 1](dots) }
    }

    /// Computes a tile.
    ///
    /// # Safety
    /// Every factor that the tile reaches can be read, its results be written, and the processor is of this kind.
    pub(super) unsafe fn run(&self, rows: usize, tile: &Tile<T>) {
        let by_layout = &self.by_size[rows - 1][usize::from(tile.columns > self.lanes)];
        // SAFETY: the caller's.
        unsafe { by_layout[usize::from(tile.panel)](tile) }
    }
}

/// A kind of processor for which there are tiles.
#[allow(unreachable_pub)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processor {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    Avx512,
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    Avx2,
    Portable,
}

impl Processor {
    /// The fastest kind that this processor is of.
    pub(crate) fn fastest() -> Self {
        Self::kinds().next().unwrap_or(Self::Portable)
    }

    /// The kinds that this processor is of, the fastest first.
    pub(crate) fn kinds() -> impl Iterator<Item = Self> {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        let vector = [has_avx512().then_some(Self::Avx512), has_avx2().then_some(Self::Avx2)];
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let vector = [None];
        vector.into_iter().flatten().chain([Self::Portable])
    }
}

/// Functions compiled with instructions that a processor may not have: they are unsafe for that, too.
macro_rules! compiled {
    ($name:ident $(, $features:literal)?) => {
        mod $name {
            use super::{Dots, Lines, Tile, Vector};

            $(#[target_feature(enable = $features)])?
            pub(super) unsafe fn inner_products<V: Vector, const ROWS: usize>(dots: &Dots<V::Element>) {
                // SAFETY: the caller's, here and below.
                unsafe { super::inner_products::<V, ROWS>(dots) }
            }

            $(#[target_feature(enable = $features)])?
            pub(super) unsafe fn tile<V: Vector, const ROWS: usize, const REGISTERS: usize, const PANEL: bool>(tile: &Tile<V::Element>) {
                unsafe { super::compute::<V, ROWS, REGISTERS, PANEL>(tile) }
            }

            $(#[target_feature(enable = $features)])?
            pub(super) unsafe fn side_by_side<V: Vector>(lines: &Lines<V::Element>, width: usize, panel: *mut V::Element) {
                unsafe { super::side_by_side::<V>(lines, width, panel) }
            }

            $(#[target_feature(enable = $features)])?
            pub(super) unsafe fn in_sequence<V: Vector>(lines: &Lines<V::Element>, width: usize, panel: *mut V::Element) {
                unsafe { super::in_sequence::<V>(lines, width, panel) }
            }
        }
    };
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
compiled!(avx512, "avx512f,avx512dq");
#[cfg(all(target_arch = "x86_64", not(miri)))]
compiled!(avx2, "avx2,fma");
compiled!(portable);

macro_rules! tiles {
    ($processor:ident, $vector:ty: $($rows:literal)*) => {
        &Tiles {
            lanes: <$vector>::LANES,
            by_size: &[$([
                [$processor::tile::<$vector, $rows, 1, false>, $processor::tile::<$vector, $rows, 1, true>],
                [$processor::tile::<$vector, $rows, 2, false>, $processor::tile::<$vector, $rows, 2, true>],
            ]),*],
            side_by_side: $processor::side_by_side::<$vector>,
            in_sequence: $processor::in_sequence::<$vector>,
            inner_products: [
                $processor::inner_products::<$vector, 1>,
                $processor::inner_products::<$vector, 2>,
                $processor::inner_products::<$vector, 3>,
                $processor::inner_products::<$vector, 4>,
            ],
        }
    };
}

macro_rules! tiles_of {
    ($name:ident, $element:ident, $avx512:ident, $avx2:ident, $lanes:literal) => {
        pub(crate) fn $name(processor: Processor) -> &'static Tiles<$element> {
            match processor {
                #[cfg(all(target_arch = "x86_64", not(miri)))]
                Processor::Avx512 => tiles!(avx512, x86_64::$avx512: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
                #[cfg(all(target_arch = "x86_64", not(miri)))]
                Processor::Avx2 => tiles!(avx2, x86_64::$avx2: 1 2 3 4 5 6),
                Processor::Portable => tiles!(portable, Portable<$element, $lanes>: 1 2 3 4),
            }
        }
    };
}

tiles_of!(f32_tiles, f32, __m512, __m256, 4);
tiles_of!(f64_tiles, f64, __m512d, __m256d, 2);
