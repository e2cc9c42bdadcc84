//! Windows of images along up to three axes.

use std::sync::Arc;

use rayon::prelude::*;

use super::{Buffer, PARALLEL};
use crate::Scalar;

/// What a window covers of one axis: `count` entries from `first` in steps of `step`, all inside the image. Means divide by
/// `divisor`, which may count padding too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) first: usize,
    pub(crate) count: usize,
    pub(crate) step: usize,
    pub(crate) divisor: usize,
}

/// The windows of images of `input` pixels: every combination of one span for each axis.
#[derive(Clone, Debug)]
pub(crate) struct Windows {
    pub(crate) input: [usize; 3],
    pub(crate) spans: [Arc<[Span]>; 3],
}

impl Windows {
    fn pixels(&self) -> usize {
        self.input.iter().product()
    }

    fn outputs(&self) -> usize {
        self.spans.iter().map(|spans| spans.len()).product()
    }

    /// Calls `f(plane, chunk of out)` for each plane, in parallel when there is enough to do.
    fn each_plane<U: Send>(&self, out: &mut [U], size: usize, f: impl Fn(usize, &mut [U]) + Sync) {
        if size == 0 {
            return;
        }
        if out.len() / size * self.pixels() < PARALLEL {
            out.chunks_exact_mut(size).enumerate().for_each(|(plane, out)| f(plane, out));
        } else {
            out.par_chunks_exact_mut(size).enumerate().for_each(|(plane, out)| f(plane, out));
        }
    }

    /// Calls `f(output index, spans)` for each window of a plane.
    #[inline(always)]
    fn each(&self, mut f: impl FnMut(usize, [Span; 3])) {
        let [depth, height, width] = &self.spans;
        let rows = depth.iter().flat_map(|&d| height.iter().map(move |&h| (d, h)));
        for (row, (d, h)) in rows.enumerate() {
            for (column, &w) in width.iter().enumerate() {
                f(row * width.len() + column, [d, h, w]);
            }
        }
    }

    /// Calls `f` with the place of each entry of a window.
    #[inline(always)]
    fn places(&self, [d, h, w]: [Span; 3], mut f: impl FnMut(usize)) {
        let [_, height, width] = self.input;
        let mut plane = (d.first * height + h.first) * width + w.first;
        for _ in 0..d.count {
            let mut row = plane;
            for _ in 0..h.count {
                let mut place = row;
                for _ in 0..w.count {
                    f(place);
                    place += w.step;
                }
                row += h.step * width;
            }
            plane += d.step * height * width;
        }
    }

    /// Where the greatest element of each window is; the first of ties, and the first NaN before all. No window is empty.
    pub(crate) fn argmax<T: Scalar>(&self, x: &[T], planes: usize) -> Vec<usize> {
        let (pixels, outputs, nan) = (self.pixels(), self.outputs(), |x: T| x.partial_cmp(&x).is_none());
        let mut best = vec![0; planes * outputs];
        self.each_plane(&mut best, outputs, |plane, best| {
            let x = &x[plane * pixels..(plane + 1) * pixels];
            self.each(|out, window| {
                let [d, h, w] = window.map(|span| span.first);
                let mut at = (d * self.input[1] + h) * self.input[2] + w;
                self.places(window, |i| {
                    if x[i] > x[at] || (nan(x[i]) && !nan(x[at])) {
                        at = i;
                    }
                });
                best[out] = plane * pixels + at;
            });
        });
        best
    }

    /// The mean of each window.
    pub(crate) fn mean<T: Scalar>(&self, x: &[T], planes: usize) -> Buffer<T> {
        let (pixels, outputs) = (self.pixels(), self.outputs());
        let mut y = Buffer::stale(planes * outputs);
        self.each_plane(&mut y, outputs, |plane, y| {
            let x = &x[plane * pixels..(plane + 1) * pixels];
            self.each(|out, window| {
                let mut sum = T::ZERO;
                self.places(window, |i| sum += x[i]);
                y[out] = sum * scale(window);
            });
        });
        y
    }

    /// The transpose of [`Windows::mean`].
    pub(crate) fn spread<T: Scalar>(&self, g: &[T], planes: usize) -> Buffer<T> {
        let (pixels, outputs) = (self.pixels(), self.outputs());
        let mut x = Buffer::filled(T::ZERO, planes * pixels);
        self.each_plane(&mut x, pixels, |plane, x| {
            let g = &g[plane * outputs..(plane + 1) * outputs];
            self.each(|out, window| {
                let share = g[out] * scale(window);
                self.places(window, |i| x[i] += share);
            });
        });
        x
    }
}

fn scale<T: Scalar>(window: [Span; 3]) -> T {
    T::from_f64(1.0 / window.iter().map(|span| span.divisor as f64).product::<f64>())
}
