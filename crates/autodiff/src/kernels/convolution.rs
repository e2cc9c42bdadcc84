//! Convolution (cross-correlation) along up to three axes: directly where the processor has the vectors for it, else by
//! patches, where the patches of an image become a matrix and the convolution a product. A *unit* is what one group of filters
//! sees of one image, and what it makes of it: contiguous in every tensor. One unit at a time per task, single-thread products
//! inside unless there is a single unit.

mod direct;
#[cfg(test)]
mod tests;
mod tile;

use super::parallel::*;

use direct::Direct;
pub(crate) use tile::{Tile, Tiled};

use super::{Buffer, vectorised};
use crate::Scalar;

/// Units are shared out to this many tasks, and images added up in this many parts, whatever the number of threads.
const TASKS: usize = 8;

/// Filters of a group below which its outputs are added up entry by entry: most of a tile would be empty, and patches would
/// cost more than the product.
const FEW: usize = 3;
/// Channels of a group below which the gradient of its images goes by patches (measured with 3: 38 GF directly, 133 so).
const FEW_CHANNELS: usize = 8;

/// The sizes of a convolution of images `[batch, groups · channels, ..input]` with filters
/// `[groups · filters, channels, ..kernel]`. Convolutions along fewer axes have leading axes of size 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Geometry {
    pub(crate) batch: usize,
    pub(crate) groups: usize,
    /// Of one group.
    pub(crate) channels: usize,
    /// Of one group.
    pub(crate) filters: usize,
    pub(crate) input: [usize; 3],
    pub(crate) kernel: [usize; 3],
    pub(crate) stride: [usize; 3],
    pub(crate) padding: [usize; 3],
    pub(crate) dilation: [usize; 3],
    pub(crate) output: [usize; 3],
}

/// The `unit`-th of the equal contiguous parts of `size` elements.
fn part<T>(x: &[T], unit: usize, size: usize) -> &[T] {
    &x[unit * size..(unit + 1) * size]
}

impl Geometry {
    pub(crate) fn positions(&self) -> usize {
        self.output.iter().product()
    }
    /// Elements of a filter.
    pub(crate) fn patch(&self) -> usize {
        self.channels * self.kernel.iter().product::<usize>()
    }
    /// Elements of one unit of the images, of the outputs, and of the filters.
    fn unit(&self) -> [usize; 3] {
        [self.channels * self.input.iter().product::<usize>(), self.filters * self.positions(), self.filters * self.patch()]
    }

    /// Threads inside a product: all where there is a single unit.
    fn threads(&self) -> usize {
        if self.batch * self.groups == 1 { rayon::current_num_threads() } else { 1 }
    }

    /// Whether the patch of each position is its pixel, so that the image is the patch matrix.
    fn is_pointwise(&self) -> bool {
        self.kernel == [1; 3] && self.stride == [1; 3] && self.padding == [0; 3] && self.output == self.input
    }

    /// The input coordinate of kernel entry `k` at output `o`, along an axis, if it lies inside the image.
    fn source(&self, axis: usize, o: usize, k: usize) -> Option<usize> {
        (o * self.stride[axis] + k * self.dilation[axis]).checked_sub(self.padding[axis]).filter(|&at| at < self.input[axis])
    }

    /// The outputs `from..to` along the last axis whose kernel entry `k` lies inside the image.
    fn inside(&self, k: usize) -> (usize, usize) {
        let [stride, padding, width, k] = [self.stride[2], self.padding[2], self.input[2], k * self.dilation[2]];
        let from = padding.saturating_sub(k).div_ceil(stride).min(self.output[2]);
        let to = (width + padding).saturating_sub(k).div_ceil(stride).min(self.output[2]);
        (from, to.max(from))
    }

    /// Calls `f(row of the patch matrix, first position, input offset, length)` for each run of a patch row that lies in
    /// one image row; along it positions advance by 1 and inputs by the stride.
    #[inline(always)]
    fn runs(&self, mut f: impl FnMut(usize, usize, usize, usize)) {
        let ([kd, kh, kw], [od, oh, ow]) = (self.kernel, self.output);
        for row in 0..self.patch() {
            let [c, i, j, k] = [row / (kd * kh * kw), row / (kh * kw) % kd, row / kw % kh, row % kw];
            let (from, to) = self.inside(k);
            if from == to {
                continue;
            }
            let x = from * self.stride[2] + k * self.dilation[2] - self.padding[2];
            for d in 0..od {
                let Some(z) = self.source(0, d, i) else { continue };
                for h in 0..oh {
                    let Some(y) = self.source(1, h, j) else { continue };
                    let input = ((c * self.input[0] + z) * self.input[1] + y) * self.input[2] + x;
                    f(row, (d * oh + h) * ow + from, input, to - from);
                }
            }
        }
    }

    /// `columns[patch, positions]` of one unit, where what lies outside the image is zero from before.
    fn patches<'a, T: Scalar>(&self, image: &'a [T], columns: &'a mut [T]) -> &'a [T] {
        if self.is_pointwise() {
            return image;
        }
        let positions = self.positions();
        self.runs(|row, first, input, length| {
            let to = &mut columns[row * positions + first..row * positions + first + length];
            if self.stride[2] == 1 {
                to.copy_from_slice(&image[input..input + length]);
            } else {
                to.iter_mut().zip(image[input..].iter().step_by(self.stride[2])).for_each(|(to, &x)| *to = x);
            }
        });
        columns
    }

    /// The transpose of [`Geometry::patches`]: adds the columns back to the image.
    fn add_patches<T: Scalar>(&self, columns: &[T], image: &mut [T]) {
        let positions = self.positions();
        self.runs(|row, first, input, length| {
            let from = &columns[row * positions + first..row * positions + first + length];
            if self.stride[2] == 1 {
                image[input..input + length].iter_mut().zip(from).for_each(|(to, &x)| *to += x);
            } else {
                image[input..].iter_mut().step_by(self.stride[2]).zip(from).for_each(|(to, &x)| *to += x);
            }
        });
    }

    /// Memory for [`Geometry::patches`].
    fn columns<T: Scalar>(&self) -> Buffer<T> {
        let needed = !self.is_pointwise() && self.filters >= FEW;
        Buffer::filled(T::ZERO, if needed { self.patch() * self.positions() } else { 0 })
    }

    /// The patches of every image, `[batch · positions, patch]`, of a single group.
    pub(crate) fn all_patch_rows<T: Scalar>(&self, x: &[T]) -> Buffer<T> {
        let (size, [image, ..]) = (self.positions() * self.patch(), self.unit());
        let mut out = Buffer::stale(self.batch * size);
        if size > 0 {
            out.par_chunks_exact_mut(size).enumerate().for_each_init(
                || Buffer::filled(T::ZERO, size),
                |columns, (i, rows)| {
                    let columns = self.patches(part(x, i, image), columns);
                    rows.copy_from_slice(&super::strided::transpose(columns, self.patch(), self.positions()));
                },
            );
        }
        out
    }

    /// Calls `f(unit, unit of out, columns)` for each unit of `out`, which has `size` elements.
    fn each_unit<T: Scalar>(&self, out: &mut [T], size: usize, f: impl Fn(usize, &mut [T], &mut [T]) + Sync) {
        let units = (self.batch * self.groups).div_ceil(TASKS).max(1);
        if size == 0 {
            return;
        }
        out.par_chunks_mut(size * units).enumerate().for_each(|(task, out)| {
            let mut columns = self.columns();
            out.chunks_exact_mut(size).enumerate().for_each(|(i, out)| f(task * units + i, out, &mut columns));
        });
    }

    /// The kernels for a direct convolution, if the processor has any and there are at least `few` of `lanes`. An image of
    /// which every pixel is a patch is a matrix already.
    fn tile<T: Scalar>(&self, lanes: usize, few: usize) -> Option<Tile<T>> {
        let [fastest, second] = T::row_tiles();
        fastest.or(second).filter(|_| lanes >= few && self.filters >= FEW && !self.is_pointwise())
    }

    /// `y[unit] = w · patches(x[unit])`, plus a bias for each filter.
    pub(crate) fn convolve<T: Scalar>(&self, x: &[T], w: &[T], bias: Option<&[T]>) -> Buffer<T> {
        let whole = self.without_unit_axes();
        match whole.tile(whole.filters, FEW).and_then(|tile| whole.output_directly(tile)).filter(Direct::pays) {
            Some(direct) => direct.run(&whole, x, w, whole.weight_steps(), bias),
            None => whole.convolve_patches(x, w, bias),
        }
    }

    /// The transpose of [`Geometry::convolve`] in `x`: `patchesᵀ(wᵀ g[unit])`, plus a bias for each channel.
    pub(crate) fn convolve_transposed<T: Scalar>(&self, g: &[T], w: &[T], bias: Option<&[T]>) -> Buffer<T> {
        let whole = self.without_unit_axes();
        match whole.tile(whole.channels, FEW_CHANNELS).and_then(|tile| whole.images_directly(tile)).filter(Direct::pays) {
            Some(direct) => {
                let [filter, channel] = whole.weight_steps();
                direct.run(&whole, g, w, [channel, filter], bias)
            }
            None => whole.transpose_patches(g, w, bias),
        }
    }

    /// The transpose of [`Geometry::convolve`] in `w`: `Σ g[unit] patches(x[unit])ᵀ` over the units of each group.
    pub(crate) fn correlate<T: Scalar>(&self, x: &[T], g: &[T]) -> Buffer<T> {
        let whole = self.without_unit_axes();
        match whole.tile(whole.filters, FEW).and_then(|tile| whole.output_directly(tile)) {
            Some(direct) => direct.filters(&whole, x, g),
            None => whole.correlate_patches(x, g),
        }
    }

    /// The same with axes of one pixel in front, so that there is something to walk along the last.
    fn without_unit_axes(mut self) -> Self {
        for _ in 0..2 {
            if [self.input, self.kernel, self.output].iter().any(|sizes| sizes[2] != 1) || self.padding[2] != 0 {
                break;
            }
            for sizes in [&mut self.input, &mut self.kernel, &mut self.stride, &mut self.padding, &mut self.dilation, &mut self.output] {
                sizes.rotate_right(1);
            }
        }
        self
    }

    /// How far apart the weights of neighbouring filters and of neighbouring channels lie.
    fn weight_steps(&self) -> [usize; 2] {
        [self.patch(), self.kernel.iter().product()]
    }

    /// Fills each of a unit's maps with its bias.
    fn start<T: Scalar>(&self, unit: usize, maps: &mut [T], count: usize, bias: Option<&[T]>) {
        match bias {
            Some(bias) if !maps.is_empty() => {
                let size = maps.len() / count;
                maps.chunks_exact_mut(size).zip(part(bias, unit % self.groups, count)).for_each(|(map, &bias)| map.fill(bias));
            }
            _ => maps.fill(T::ZERO),
        }
    }

    fn convolve_patches<T: Scalar>(&self, x: &[T], w: &[T], bias: Option<&[T]>) -> Buffer<T> {
        let (positions, patch, [image, maps, weights]) = (self.positions(), self.patch(), self.unit());
        let mut y = Buffer::stale(self.batch * self.groups * maps);
        self.each_unit(&mut y, maps, |unit, y, columns| {
            let (x, w) = (part(x, unit, image), part(w, unit % self.groups, weights));
            self.start(unit, y, self.filters, bias);
            if self.filters >= FEW {
                let columns = self.patches(x, columns);
                return T::gemm([self.filters, positions, patch], (w, false), (columns, false), y, true, self.threads());
            }
            for (y, w) in y.chunks_exact_mut(positions).zip(w.chunks_exact(patch.max(1))) {
                vectorised(
                    #[inline(always)]
                    || {
                        self.runs(
                            #[inline(always)]
                            |row, first, input, length| {
                                add_multiple(&mut y[first..first + length], 1, w[row], &x[input..], self.stride[2]);
                            },
                        )
                    },
                );
            }
        });
        y
    }

    fn transpose_patches<T: Scalar>(&self, g: &[T], w: &[T], bias: Option<&[T]>) -> Buffer<T> {
        let (positions, patch, [image, maps, weights]) = (self.positions(), self.patch(), self.unit());
        let mut x = Buffer::stale(self.batch * self.groups * image);
        self.each_unit(&mut x, image, |unit, x, columns| {
            self.start(unit, x, self.channels, bias);
            if maps == 0 {
                return;
            }
            let (g, w) = (part(g, unit, maps), part(w, unit % self.groups, weights));
            if self.filters < FEW {
                for (g, w) in g.chunks_exact(positions).zip(w.chunks_exact(patch)) {
                    vectorised(
                        #[inline(always)]
                        || {
                            self.runs(
                                #[inline(always)]
                                |row, first, input, length| {
                                    add_multiple(&mut x[input..], self.stride[2], w[row], &g[first..first + length], 1);
                                },
                            )
                        },
                    );
                }
            } else if self.is_pointwise() {
                T::gemm([patch, positions, self.filters], (w, true), (g, false), x, true, self.threads());
            } else {
                T::gemm([patch, positions, self.filters], (w, true), (g, false), columns, false, self.threads());
                self.add_patches(columns, x);
            }
        });
        x
    }

    fn correlate_patches<T: Scalar>(&self, x: &[T], g: &[T]) -> Buffer<T> {
        let (size, [.., weights]) = (self.batch.div_ceil(TASKS).max(1), self.unit());
        let parts = self.batch.div_ceil(size);
        let mut sums = Buffer::filled(T::ZERO, parts.max(1) * self.groups * weights);
        if parts == 0 || weights == 0 {
            return sums;
        }
        sums.par_chunks_exact_mut(weights).enumerate().for_each(|(task, sum)| {
            let (first, group) = (task / self.groups * size, task % self.groups);
            let mut columns = self.columns();
            for image in first..(first + size).min(self.batch) {
                self.add_correlation(x, g, image * self.groups + group, sum, &mut columns);
            }
        });
        if parts == 1 {
            return sums;
        }
        let (total, others) = sums.split_at(self.groups * weights);
        let mut sum = Buffer::stale(total.len());
        sum.copy_from_slice(total);
        for part in others.chunks_exact(self.groups * weights) {
            sum.iter_mut().zip(part).for_each(|(t, &x)| *t += x);
        }
        sum
    }

    fn add_correlation<T: Scalar>(&self, x: &[T], g: &[T], unit: usize, sum: &mut [T], columns: &mut [T]) {
        let (positions, patch, [image, maps, _]) = (self.positions(), self.patch(), self.unit());
        let (x, g) = (part(x, unit, image), part(g, unit, maps));
        if self.filters >= FEW {
            let rows = super::strided::transpose(self.patches(x, columns), patch, positions);
            return T::gemm([self.filters, patch, positions], (g, false), (&rows, false), sum, true, self.threads());
        }
        for (g, sum) in g.chunks_exact(positions.max(1)).zip(sum.chunks_exact_mut(patch)) {
            vectorised(
                #[inline(always)]
                || {
                    self.runs(
                        #[inline(always)]
                        |row, first, input, length| sum[row] += dot(&g[first..first + length], &x[input..], self.stride[2]),
                    )
                },
            );
        }
    }
}

/// `y += a x` along strides, one of which is 1.
#[inline(always)]
fn add_multiple<T: Scalar>(y: &mut [T], y_stride: usize, a: T, x: &[T], x_stride: usize) {
    if y_stride == 1 && x_stride == 1 {
        y.iter_mut().zip(x).for_each(|(y, &x)| *y += a * x);
    } else {
        y.iter_mut().step_by(y_stride).zip(x.iter().step_by(x_stride)).for_each(|(y, &x)| *y += a * x);
    }
}

/// `Σ x y` in lanes, so that the loop vectorises and its order is fixed.
#[inline(always)]
fn dot<T: Scalar>(x: &[T], y: &[T], y_stride: usize) -> T {
    const LANES: usize = 8;
    if y_stride > 1 {
        return x.iter().zip(y.iter().step_by(y_stride)).fold(T::ZERO, |sum, (&x, &y)| sum + x * y);
    }
    let y = &y[..x.len()];
    let mut lanes = [T::ZERO; LANES];
    for (x, y) in x.chunks_exact(LANES).zip(y.chunks_exact(LANES)) {
        lanes.iter_mut().zip(x).zip(y).for_each(|((lane, &x), &y)| *lane += x * y);
    }
    let rest = x.len() / LANES * LANES;
    let tail = x[rest..].iter().zip(&y[rest..]).fold(T::ZERO, |sum, (&x, &y)| sum + x * y);
    lanes.into_iter().fold(tail, |sum, lane| sum + lane)
}
