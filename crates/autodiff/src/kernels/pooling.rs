//! Windows of images.

use rayon::prelude::*;

use super::{Buffer, PARALLEL};
use crate::Scalar;

/// The sizes of a pooling of `planes` images of `input` pixels each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Windows {
    pub(crate) planes: usize,
    pub(crate) input: [usize; 2],
    pub(crate) size: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) output: [usize; 2],
}

impl Windows {
    fn count(&self) -> usize {
        self.planes * self.output[0] * self.output[1]
    }

    /// Calls `f(plane, output of the plane)` for each plane, in parallel when there is enough to do.
    fn each_plane<U: Send>(&self, out: &mut [U], size: usize, f: impl Fn(usize, &mut [U]) + Sync) {
        if size == 0 {
            return;
        }
        if self.planes * self.input[0] * self.input[1] < PARALLEL {
            out.chunks_exact_mut(size).enumerate().for_each(|(plane, out)| f(plane, out));
        } else {
            out.par_chunks_exact_mut(size).enumerate().for_each(|(plane, out)| f(plane, out));
        }
    }

    /// Calls `f(output index, input index of the first element)` for each window of a plane.
    #[inline(always)]
    fn corners(&self, mut f: impl FnMut(usize, usize)) {
        for i in 0..self.output[0] {
            for j in 0..self.output[1] {
                f(i * self.output[1] + j, i * self.stride[0] * self.input[1] + j * self.stride[1]);
            }
        }
    }

    /// Where the greatest element of each window is; the first of ties, and the first NaN before all.
    pub(crate) fn argmax<T: Scalar>(&self, x: &[T]) -> Vec<usize> {
        let ([height, width], nan) = (self.input, |x: T| x.partial_cmp(&x).is_none());
        let mut best = vec![0; self.count()];
        self.each_plane(&mut best, self.output[0] * self.output[1], |plane, best| {
            let offset = plane * height * width;
            self.corners(|out, corner| {
                let mut at = offset + corner;
                for y in 0..self.size[0] {
                    let row = offset + corner + y * width;
                    for i in row..row + self.size[1] {
                        if x[i] > x[at] || (nan(x[i]) && !nan(x[at])) {
                            at = i;
                        }
                    }
                }
                best[out] = at;
            });
        });
        best
    }

    /// The mean of each window.
    pub(crate) fn mean<T: Scalar>(&self, x: &[T]) -> Buffer<T> {
        let [height, width] = self.input;
        let scale = T::from_f64(1.0 / (self.size[0] * self.size[1]) as f64);
        let mut y = Buffer::stale(self.count());
        self.each_plane(&mut y, self.output[0] * self.output[1], |plane, y| {
            let x = &x[plane * height * width..(plane + 1) * height * width];
            self.corners(|out, corner| {
                let rows = (0..self.size[0]).map(|y| &x[corner + y * width..corner + y * width + self.size[1]]);
                y[out] = rows.flatten().fold(T::ZERO, |sum, &x| sum + x) * scale;
            });
        });
        y
    }

    /// The transpose of [`Windows::mean`].
    pub(crate) fn spread<T: Scalar>(&self, g: &[T]) -> Buffer<T> {
        let ([height, width], outputs) = (self.input, self.output[0] * self.output[1]);
        let scale = T::from_f64(1.0 / (self.size[0] * self.size[1]) as f64);
        let mut x = Buffer::filled(T::ZERO, self.planes * height * width);
        self.each_plane(&mut x, height * width, |plane, x| {
            let g = &g[plane * outputs..(plane + 1) * outputs];
            self.corners(|out, corner| {
                for y in 0..self.size[0] {
                    x[corner + y * width..corner + y * width + self.size[1]].iter_mut().for_each(|x| *x += g[out] * scale);
                }
            });
        });
        x
    }
}
