//! Matrix products: tiles whose sums stay in registers, over panels that are copied into the caches.
//!
//! Each sum adds its terms in ascending order, in parts of [`TERMS`] that are then added in order. So neither tiles nor blocks nor
//! threads change a bit of the result.
#![allow(unsafe_code)]

mod large;
mod pack;
#[cfg(test)]
mod tests;
mod tile;
mod vector;

use std::ops::Range;

use crate::kernels::parallel::*;

use super::Buffer;
use crate::Scalar;
pub(crate) use large::GemmFn;
use pack::Lines;
use tile::{Dots, Tile};
pub(crate) use tile::{Processor, Tiles, f32_tiles, f64_tiles};

/// Multiply-adds below which a product stays on one thread: the hand-over costs more than it saves (measured).
const PARALLEL_PRODUCT: usize = 4 << 20;
/// Terms that are summed before the sums go to memory. As good as 192 and 384: a panel of the second factor has 32 KiB.
const TERMS: usize = 256;
/// Sides of the largest block of a product that one task computes: its panels and sums fill half of an L2 cache of 2 MiB.
const BLOCK: usize = 512;
/// The tiles above each other from which a second factor that lies as tiles read it is copied all the same, to lie closer.
const MANY_TILES: usize = 20;
/// The least rows of a product of untransposed factors that goes through the `gemm` crates, and the least columns and terms: there
/// they are up to a tenth faster, and nowhere else.
const LARGE: [usize; 3] = [1024, 256, 256];
/// The most rows, or columns, of a product that is made of inner products where both factors have neighbouring terms.
const FEW: usize = 12;

/// A factor in memory, by rows that are `distance` elements apart; its transpose when the flag is set.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    pub(crate) values: &'a [T],
    pub(crate) distance: usize,
    pub(crate) transposed: bool,
}

impl<T: Copy> Matrix<'_, T> {
    /// Whether the elements of `rows` by `columns`, transposed or not, are all in memory.
    fn holds(&self, rows: usize, columns: usize) -> bool {
        let (lines, length) = if self.transposed { (columns, rows) } else { (rows, columns) };
        lines == 0 || length == 0 || reaches(lines, self.distance, length).is_some_and(|end| end <= self.values.len())
    }

    /// The transpose.
    pub(crate) fn t(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    /// The place of an element in memory.
    fn at(&self, row: usize, column: usize) -> *const T {
        let place = if self.transposed { column * self.distance + row } else { row * self.distance + column };
        self.values.as_ptr().wrapping_add(place)
    }
}

/// Where lines that begin `distance` apart end.
fn reaches(lines: usize, distance: usize, length: usize) -> Option<usize> {
    (lines - 1).checked_mul(distance)?.checked_add(length)
}

/// What is done with the sums of a product.
#[derive(Clone, Copy, Default)]
pub(crate) struct Finish<'a, T> {
    /// Whether they are added to what is there.
    pub(crate) add: bool,
    /// What is then added to each row.
    pub(crate) bias: Option<&'a [T]>,
}

/// `count` things in parts of at most `most`, as even as possible.
#[derive(Clone, Copy)]
struct Parts {
    count: usize,
    parts: usize,
}

impl Parts {
    fn new(count: usize, most: usize) -> Self {
        Self { count, parts: count.div_ceil(most) }
    }

    /// The first of a part.
    fn first(self, part: usize) -> usize {
        part * (self.count / self.parts) + part.min(self.count % self.parts)
    }

    fn range(self, part: usize) -> Range<usize> {
        self.first(part)..self.first(part + 1)
    }
}

/// Where a product goes. Tasks write different blocks of it.
#[derive(Clone, Copy)]
struct Output<T> {
    first: *mut T,
    distance: usize,
}

// SAFETY: the pointer is used by tasks that write disjoint blocks.
unsafe impl<T: Send> Send for Output<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Output<T> {}

impl<T> Output<T> {
    fn at(self, row: usize, column: usize) -> *mut T {
        self.first.wrapping_add(row * self.distance + column)
    }
}

/// `out[m, n] = a[m, k] b[k, n]`, where rows of `out` are `distance` apart.
pub(crate) fn multiply<T: Scalar>(
    size: [usize; 3],
    a: Matrix<T>,
    b: Matrix<T>,
    out: &mut [T],
    distance: usize,
    finish: Finish<T>,
    threads: usize,
) {
    let large = size.iter().zip(LARGE).all(|(&size, least)| size >= least);
    if large && !a.transposed && !b.transposed && finish.bias.is_none() {
        return large::multiply(size, a, b, out, distance, finish.add, threads);
    }
    multiply_on(Processor::fastest(), size, a, b, out, distance, finish, threads);
}

#[allow(clippy::too_many_arguments)]
fn multiply_on<T: Scalar>(
    processor: Processor,
    size @ [m, n, k]: [usize; 3],
    a: Matrix<T>,
    b: Matrix<T>,
    out: &mut [T],
    distance: usize,
    finish: Finish<T>,
    threads: usize,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(a.holds(m, k) && b.holds(k, n) && finish.bias.is_none_or(|bias| bias.len() == n));
    assert!((m == 1 || n <= distance) && reaches(m, distance, n).is_some_and(|end| end <= out.len()));
    let out = Output { first: out.as_mut_ptr(), distance };
    let product = Product { tiles: T::tiles(processor), size, a, b, out, finish };
    let panels = n.div_ceil(product.tiles.columns());
    let (mut down, mut across) = (m.div_ceil(BLOCK), n.div_ceil(BLOCK));
    if threads == 1 || m * n * k < PARALLEL_PRODUCT {
        let blocks = product.blocks(down, across);
        return (0..blocks.count()).for_each(|block| product.block(blocks.get(block)));
    }
    // Each task copies what it needs, so that tasks wait for nothing: as few as there are threads, along the longer side.
    if down * across < threads {
        if m > n { down = threads.div_ceil(across).min(m) } else { across = threads.div_ceil(down).min(panels) }
    }
    let blocks = product.blocks(down, across);
    (0..blocks.count()).into_par_iter().for_each(|block| product.block(blocks.get(block)));
}

/// The blocks of a product: some rows by some panels of columns.
#[derive(Clone, Copy)]
struct Blocks {
    rows: Parts,
    panels: Parts,
    width: usize,
    columns: usize,
}

impl Blocks {
    fn count(self) -> usize {
        self.rows.parts * self.panels.parts
    }

    fn get(self, block: usize) -> Block {
        let panels = self.panels.range(block % self.panels.parts);
        let columns = panels.start * self.width..self.columns.min(panels.end * self.width);
        Block { rows: self.rows.range(block / self.panels.parts), columns }
    }
}

/// Rows and columns of a product.
struct Block {
    rows: Range<usize>,
    columns: Range<usize>,
}

struct Product<'a, T: Scalar> {
    tiles: &'static Tiles<T>,
    size: [usize; 3],
    a: Matrix<'a, T>,
    b: Matrix<'a, T>,
    out: Output<T>,
    finish: Finish<'a, T>,
}

impl<T: Scalar> Product<'_, T> {
    fn blocks(&self, down: usize, across: usize) -> Blocks {
        let [m, n, _] = self.size;
        let width = self.tiles.columns();
        let panels = Parts { count: n.div_ceil(width), parts: across };
        Blocks { rows: Parts { count: m, parts: down }, panels, width, columns: n }
    }

    /// Computes a block.
    fn block(&self, block: Block) {
        let [m, n, k] = self.size;
        if k == 0 {
            return self.nothing(block);
        }
        if !self.a.transposed && self.b.transposed && m.min(n) <= FEW && k >= self.tiles.lanes {
            return self.inner_products(block);
        }
        let parts = Parts::new(k, TERMS);
        (0..parts.parts).for_each(|part| self.add_terms(&block, parts.range(part)));
    }

    /// Adds some terms to the sums of a block.
    fn add_terms(&self, block: &Block, terms: Range<usize>) {
        let width = self.tiles.columns();
        let tiles = Parts::new(block.rows.len(), self.tiles.rows());
        let panels = block.columns.len().div_ceil(width);
        // Rows of the first factor are read where they are: copies did not pay. Its columns are copied if several panels read them.
        let pack_a = self.a.transposed && panels > 2;
        let pack_b = self.b.transposed || tiles.parts > MANY_TILES;
        let rows = (0..tiles.parts).map(|tile| tiles.range(tile)).map(|rows| block.rows.start + rows.start..block.rows.start + rows.end);
        let columns = block.columns.clone().step_by(width).map(|column| column..block.columns.end.min(column + width));
        let left = if pack_a { self.pack(self.a, rows, &terms, self.tiles.padded_rows()) } else { Buffer::empty() };
        let right = if pack_b { self.pack(self.b.t(), columns, &terms, width) } else { Buffer::empty() };
        let bias = self.finish.bias.filter(|_| terms.end == self.size[2]);
        for tile in 0..tiles.parts {
            let rows = tiles.range(tile);
            let row = block.rows.start + rows.start;
            let (a, distance) = if pack_a {
                (left[tile * terms.len() * self.tiles.padded_rows()..].as_ptr(), self.tiles.padded_rows())
            } else {
                (self.a.at(row, terms.start), self.a.distance)
            };
            for panel in 0..panels {
                let column = block.columns.start + panel * width;
                let (b, b_term) = if pack_b {
                    (right[panel * terms.len() * width..].as_ptr(), width)
                } else {
                    (self.b.at(terms.start, column), self.b.distance)
                };
                let tile = Tile {
                    terms: terms.len(),
                    a,
                    panel: self.a.transposed,
                    distance,
                    b,
                    b_term,
                    out: self.out.at(row, column),
                    out_row: self.out.distance,
                    columns: width.min(block.columns.end - column),
                    add: self.finish.add || terms.start > 0,
                    bias: bias.map_or(std::ptr::null(), |bias| bias[column..].as_ptr()),
                };
                // SAFETY: the rows, columns and terms lie in the factors, or in their panels, and in this task's block of the output.
                unsafe { self.tiles.run(rows.len(), &tile) };
            }
        }
    }

    /// Copies terms of rows of `x` into panels, one for each of the parts; a panel has `width` elements for each term.
    fn pack(&self, x: Matrix<T>, parts: impl Iterator<Item = Range<usize>> + Clone, terms: &Range<usize>, width: usize) -> Buffer<T> {
        /// Terms that are copied to one panel after another, where their lines go through all of them.
        const LINES: usize = 4;
        let size = width * terms.len();
        let mut panels = Buffer::stale(parts.clone().count() * size);
        let step = if x.transposed { LINES } else { terms.len() };
        for first in terms.clone().step_by(step) {
            let now = step.min(terms.end - first);
            for (rows, panel) in parts.clone().zip(panels.chunks_exact_mut(size)) {
                let (count, length) = if x.transposed { (now, rows.len()) } else { (rows.len(), now) };
                let lines = Lines { first: x.at(rows.start, first), distance: x.distance, count, length };
                let to = &mut panel[(first - terms.start) * width..][..now * width];
                // SAFETY: the lines lie in the factor, and there are `width` elements for each term.
                unsafe { self.tiles.pack(&lines, !x.transposed, width, to.as_mut_ptr()) };
            }
        }
        panels
    }

    /// Computes a block by inner products of rows of both factors.
    fn inner_products(&self, Block { rows, columns }: Block) {
        for row in rows.clone().step_by(Dots::<T>::SIDE) {
            for column in columns.clone().step_by(Dots::<T>::SIDE) {
                let dots = Dots {
                    terms: self.size[2],
                    a: self.a.at(row, 0),
                    a_row: self.a.distance,
                    b: self.b.at(0, column),
                    b_row: self.b.distance,
                    out: self.out.at(row, column),
                    out_row: self.out.distance,
                    rows: Dots::<T>::SIDE.min(rows.end - row),
                    columns: Dots::<T>::SIDE.min(columns.end - column),
                    add: self.finish.add,
                    bias: self.finish.bias.map_or(std::ptr::null(), |bias| bias[column..].as_ptr()),
                };
                // SAFETY: the rows lie in the factors and in the block of the output.
                unsafe { self.tiles.inner_products(&dots) };
            }
        }
    }

    /// A block of sums without terms.
    fn nothing(&self, Block { rows, columns }: Block) {
        for (row, column) in rows.flat_map(|row| columns.clone().map(move |column| (row, column))) {
            // SAFETY: the place is in the block of the output.
            unsafe {
                let to = self.out.at(row, column);
                let before = if self.finish.add { *to } else { T::ZERO };
                *to = before + self.finish.bias.map_or(T::ZERO, |bias| bias[column]);
            }
        }
    }
}
