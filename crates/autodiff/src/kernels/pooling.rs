//! Windows of images along up to three axes.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::functions::is_nan;
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

    /// The distance of windows along the last axis where they differ in nothing but their places, as those do that no padding
    /// cuts. Then [`Windows::each_entry`] does at once for a row of windows what else is done window by window.
    fn even_stride(&self) -> Option<usize> {
        let width = &self.spans[2];
        let stride = width.get(1).map_or(1, |second| second.first.saturating_sub(width[0].first));
        let follows = |pair: &[Span]| pair[1] == Span { first: pair[0].first + stride, ..pair[0] };
        (stride > 0 && width.windows(2).all(follows)).then_some(stride)
    }

    /// Calls `f(outputs, place)` for each row of outputs and each entry of their windows, where `place` is the first window's.
    #[inline(always)]
    fn each_entry(&self, mut f: impl FnMut(Range<usize>, usize)) {
        let ([depth, height, width], [_, rows, columns]) = (&self.spans, self.input);
        let Some(&w) = width.first() else { return };
        let windows = depth.iter().flat_map(|&d| height.iter().map(move |&h| (d, h)));
        for (row, (d, h)) in windows.enumerate() {
            let outputs = row * width.len()..(row + 1) * width.len();
            for (z, y) in (0..d.count).flat_map(|z| (0..h.count).map(move |y| (z, y))) {
                let run = ((d.first + z * d.step) * rows + h.first + y * h.step) * columns + w.first;
                (0..w.count).for_each(|entry| f(outputs.clone(), run + entry * w.step));
            }
        }
    }

    /// What the sum of each window is multiplied by for the mean.
    fn scales<T: Scalar>(&self) -> Vec<T> {
        let mut scales = vec![T::ZERO; self.outputs()];
        let divisor = |window: [Span; 3]| window.iter().map(|span| span.divisor as f64).product::<f64>();
        self.each(|out, window| scales[out] = T::from_f64(1.0 / divisor(window)));
        scales
    }

    /// Where the greatest element of each window is; the first of ties, and the first NaN before all. No window is empty.
    pub(crate) fn argmax<T: Scalar>(&self, x: &[T], planes: usize) -> Arc<[usize]> {
        let (pixels, outputs, even) = (self.pixels(), self.outputs(), self.even_stride());
        let better = |x: T, top: T| (x > top) | (is_nan(x) & !is_nan(top));
        let mut best: Arc<[usize]> = std::iter::repeat_n(0, planes * outputs).collect();
        self.each_plane(Arc::make_mut(&mut best), outputs, |plane, best| {
            let offset = plane * pixels;
            self.each(|out, window| {
                let [d, h, w] = window.map(|span| span.first);
                best[out] = offset + (d * self.input[1] + h) * self.input[2] + w;
            });
            let improve = |at: &mut usize, i: usize| *at = if better(x[i], x[*at]) { i } else { *at };
            match even {
                Some(stride) => self.each_entry(|outputs, first| {
                    best[outputs].iter_mut().zip((offset + first..).step_by(stride)).for_each(|(at, i)| improve(at, i));
                }),
                None => self.each(|out, window| self.places(window, |i| improve(&mut best[out], offset + i))),
            }
        });
        best
    }

    /// The mean of each window.
    pub(crate) fn mean<T: Scalar>(&self, x: &[T], planes: usize) -> Buffer<T> {
        let (pixels, outputs, even, scales) = (self.pixels(), self.outputs(), self.even_stride(), self.scales::<T>());
        let mut y = Buffer::stale(planes * outputs);
        self.each_plane(&mut y, outputs, |plane, y| {
            let x = &x[plane * pixels..(plane + 1) * pixels];
            y.fill(T::ZERO);
            match even {
                Some(stride) => self.each_entry(|outputs, first| {
                    y[outputs].iter_mut().zip(x[first..].iter().step_by(stride)).for_each(|(y, &x)| *y += x);
                }),
                None => self.each(|out, window| self.places(window, |i| y[out] += x[i])),
            }
            y.iter_mut().zip(&scales).for_each(|(y, &scale)| *y = *y * scale);
        });
        y
    }

    /// The transpose of [`Windows::mean`].
    pub(crate) fn spread<T: Scalar>(&self, g: &[T], planes: usize) -> Buffer<T> {
        let (pixels, outputs, even, scales) = (self.pixels(), self.outputs(), self.even_stride(), self.scales::<T>());
        let mut x = Buffer::stale(planes * pixels);
        self.each_plane(&mut x, pixels, |plane, x| {
            let g = &g[plane * outputs..(plane + 1) * outputs];
            x.fill(T::ZERO);
            match even {
                Some(stride) => self.each_entry(|outputs, first| {
                    let shares = g[outputs.clone()].iter().zip(&scales[outputs]);
                    x[first..].iter_mut().step_by(stride).zip(shares).for_each(|(x, (&g, &scale))| *x += g * scale);
                }),
                None => self.each(|out, window| {
                    let share = g[out] * scales[out];
                    self.places(window, |i| x[i] += share);
                }),
            }
        });
        x
    }
}
