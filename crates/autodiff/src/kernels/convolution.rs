//! Two-dimensional convolution (cross-correlation) by patches: each image's patches become a matrix, and the convolution
//! a product. One image per task, single-thread products inside.

use rayon::prelude::*;

use super::Buffer;
use crate::Scalar;

/// Images are added up in this many groups, whatever the number of threads.
const GROUPS: usize = 8;

/// The sizes of a convolution of images `[batch, channels, height, width]` with filters `[filters, channels, ..kernel]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Geometry {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) input: [usize; 2],
    pub(crate) filters: usize,
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) padding: [usize; 2],
    pub(crate) output: [usize; 2],
}

impl Geometry {
    pub(crate) fn image(&self) -> usize {
        self.channels * self.input[0] * self.input[1]
    }
    pub(crate) fn positions(&self) -> usize {
        self.output[0] * self.output[1]
    }
    pub(crate) fn patch(&self) -> usize {
        self.channels * self.kernel[0] * self.kernel[1]
    }

    /// The input coordinate of kernel entry `k` at output `o`, along an axis, if it lies inside the image.
    fn source(&self, axis: usize, o: usize, k: usize) -> Option<usize> {
        (o * self.stride[axis] + k).checked_sub(self.padding[axis]).filter(|&at| at < self.input[axis])
    }

    /// The outputs `from..to` along the width whose kernel column `k` lies inside the image.
    fn inside(&self, k: usize) -> (usize, usize) {
        let [stride, padding, width] = [self.stride[1], self.padding[1], self.input[1]];
        let from = padding.saturating_sub(k).div_ceil(stride).min(self.output[1]);
        let to = (width + padding).saturating_sub(k).div_ceil(stride).min(self.output[1]);
        (from, to.max(from))
    }

    /// Calls `f(row of the patch matrix, first position, input offset, length)` for each run of a patch row that lies in
    /// one image row; along it positions advance by 1 and inputs by the stride.
    fn runs(&self, mut f: impl FnMut(usize, usize, usize, usize)) {
        let [kh, kw] = self.kernel;
        for c in 0..self.channels {
            for (ki, kj) in (0..kh).flat_map(|i| (0..kw).map(move |j| (i, j))) {
                let (from, to) = self.inside(kj);
                for o in 0..self.output[0] {
                    let Some(y) = self.source(0, o, ki) else { continue };
                    if to > from {
                        let x = from * self.stride[1] + kj - self.padding[1];
                        let input = (c * self.input[0] + y) * self.input[1] + x;
                        f((c * kh + ki) * kw + kj, o * self.output[1] + from, input, to - from);
                    }
                }
            }
        }
    }

    /// `columns[patch, positions]` of one image.
    fn patches<T: Scalar>(&self, image: &[T], columns: &mut [T]) {
        let positions = self.positions();
        if self.padding != [0, 0] {
            columns.fill(T::ZERO);
        }
        self.runs(|row, first, input, length| {
            let to = &mut columns[row * positions + first..row * positions + first + length];
            if self.stride[1] == 1 {
                to.copy_from_slice(&image[input..input + length]);
            } else {
                to.iter_mut().zip(image[input..].iter().step_by(self.stride[1])).for_each(|(to, &x)| *to = x);
            }
        });
    }

    /// The transpose of [`Geometry::patches`]: adds the columns back to the image.
    fn add_patches<T: Scalar>(&self, columns: &[T], image: &mut [T]) {
        let positions = self.positions();
        self.runs(|row, first, input, length| {
            let from = &columns[row * positions + first..row * positions + first + length];
            image[input..].iter_mut().step_by(self.stride[1]).zip(from).for_each(|(to, &x)| *to += x);
        });
    }

    /// `rows[positions, patch]` of one image: the patches transposed.
    pub(crate) fn patch_rows<T: Scalar>(&self, image: &[T], columns: &mut [T], rows: &mut [T]) {
        self.patches(image, columns);
        rows.copy_from_slice(&super::strided::transpose(columns, self.patch(), self.positions()));
    }

    /// The patches of every image, `[batch · positions, patch]`.
    pub(crate) fn all_patch_rows<T: Scalar>(&self, x: &[T]) -> Buffer<T> {
        let size = self.positions() * self.patch();
        let mut out = Buffer::stale(self.batch * size);
        if size > 0 {
            let images = out.par_chunks_exact_mut(size).enumerate();
            images.for_each_init(
                || vec![T::ZERO; size],
                |columns, (i, rows)| self.patch_rows(&x[i * self.image()..(i + 1) * self.image()], columns, rows),
            );
        }
        out
    }

    fn groups(&self) -> usize {
        self.batch.div_ceil(GROUPS).max(1)
    }

    /// `y[b] = w · patches(x[b])`.
    pub(crate) fn convolve<T: Scalar>(&self, x: &[T], w: &[T]) -> Buffer<T> {
        let (positions, patch, image) = (self.positions(), self.patch(), self.image());
        let out_image = self.filters * positions;
        let mut y = Buffer::stale(self.batch * out_image);
        if out_image == 0 {
            return y;
        }
        y.par_chunks_mut(out_image * self.groups()).zip((0..self.batch).into_par_iter().step_by(self.groups())).for_each(|(y, first)| {
            let mut columns = Buffer::filled(T::ZERO, patch * positions);
            for (i, y) in (first..).zip(y.chunks_exact_mut(out_image)) {
                self.patches(&x[i * image..(i + 1) * image], &mut columns);
                T::gemm([self.filters, positions, patch], (w, false), (&columns, false), y, false, 1);
            }
        });
        y
    }

    /// The transpose of [`Geometry::convolve`] in `x`: `Σ patchesᵀ(wᵀ g[b])`.
    pub(crate) fn convolve_transposed<T: Scalar>(&self, g: &[T], w: &[T]) -> Buffer<T> {
        let (positions, patch, image) = (self.positions(), self.patch(), self.image());
        let out_image = self.filters * positions;
        let mut x = Buffer::filled(T::ZERO, self.batch * image);
        if image == 0 || out_image == 0 {
            return x;
        }
        x.par_chunks_mut(image * self.groups()).zip((0..self.batch).into_par_iter().step_by(self.groups())).for_each(|(x, first)| {
            let mut columns = Buffer::stale(patch * positions);
            for (i, x) in (first..).zip(x.chunks_exact_mut(image)) {
                T::gemm(
                    [patch, positions, self.filters],
                    (w, true),
                    (&g[i * out_image..(i + 1) * out_image], false),
                    &mut columns,
                    false,
                    1,
                );
                self.add_patches(&columns, x);
            }
        });
        x
    }

    /// The transpose of [`Geometry::convolve`] in `w`: `Σ_b g[b] patches(x[b])ᵀ`.
    pub(crate) fn correlate<T: Scalar>(&self, x: &[T], g: &[T]) -> Buffer<T> {
        let (positions, patch, image) = (self.positions(), self.patch(), self.image());
        let out_image = self.filters * positions;
        let group = |first: usize| {
            let (mut columns, mut rows) = (vec![T::ZERO; patch * positions], vec![T::ZERO; patch * positions]);
            let mut sum = vec![T::ZERO; self.filters * patch];
            for i in first..(first + self.groups()).min(self.batch) {
                self.patch_rows(&x[i * image..(i + 1) * image], &mut columns, &mut rows);
                let g = &g[i * out_image..(i + 1) * out_image];
                T::gemm([self.filters, patch, positions], (g, false), (&rows, false), &mut sum, true, 1);
            }
            sum
        };
        let firsts: Vec<usize> = (0..self.batch).step_by(self.groups()).collect();
        let parts: Vec<Vec<T>> = firsts.into_par_iter().map(group).collect();
        let mut total = Buffer::filled(T::ZERO, self.filters * patch);
        for part in parts {
            total.iter_mut().zip(part).for_each(|(t, x)| *t += x);
        }
        total
    }
}
