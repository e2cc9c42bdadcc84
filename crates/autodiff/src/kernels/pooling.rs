//! Windows of images along up to three axes.

use std::ops::Range;
use std::sync::Arc;

use super::parallel::*;

use super::functions::is_nan;
use super::{Buffer, PARALLEL, vectorised};
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

/// Whether `x` is taken for the greatest where `top` was so far.
#[inline(always)]
fn better<T: Scalar>(x: T, top: T) -> bool {
    (x > top) | (is_nan(x) & !is_nan(top))
}

/// The greater of two, and whether it is the second. Without branches, which would be guessed wrongly half of the time, and so
/// that it is done for many at once.
#[inline(always)]
fn greater<T: Scalar>(first: T, second: T) -> (T, bool) {
    let taken = better(second, first);
    (if taken { second } else { first }, taken)
}

/// The greatest elements of a row of squares, whose upper and lower pixels are given.
#[inline(always)]
fn maxima<T: Scalar>(y: &mut [T], upper: &[T], lower: &[T]) {
    let count = y.len();
    let (upper, lower) = (&upper.as_chunks::<2>().0[..count], &lower.as_chunks::<2>().0[..count]);
    // By an index: iterators over several slices are not done many at once here.
    for i in 0..count {
        let ([a, b], [c, d]) = (upper[i], lower[i]);
        y[i] = greater(greater(a, b).0, greater(c, d).0).0;
    }
}

/// The gradient of [`maxima`]: `g` goes to the greatest element of each square, and zero to the others.
#[inline(always)]
fn maxima_gradient<T: Scalar>(above: &mut [T], below: &mut [T], g: &[T], upper: &[T], lower: &[T]) {
    let count = g.len();
    let (above, below) = (&mut above.as_chunks_mut::<2>().0[..count], &mut below.as_chunks_mut::<2>().0[..count]);
    let (upper, lower) = (&upper.as_chunks::<2>().0[..count], &lower.as_chunks::<2>().0[..count]);
    for i in 0..count {
        let ([a, b], [c, d]) = (upper[i], lower[i]);
        let ((top, right_above), (bottom, right_below)) = (greater(a, b), greater(c, d));
        let (g_above, g_below) = if better(bottom, top) { (T::ZERO, g[i]) } else { (g[i], T::ZERO) };
        above[i] = if right_above { [T::ZERO, g_above] } else { [g_above, T::ZERO] };
        below[i] = if right_below { [T::ZERO, g_below] } else { [g_below, T::ZERO] };
    }
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

    /// Whether windows are the squares of two by two side by side, and what is left over at the ends.
    fn are_squares(&self) -> bool {
        let even = |axis: usize| self.spans[axis].iter().enumerate().all(|(i, span)| (span.first, span.count, span.step) == (2 * i, 2, 1));
        self.spans[0].iter().enumerate().all(|(i, span)| (span.first, span.count) == (i, 1)) && even(1) && even(2)
    }

    /// Calls `f(outputs, places of the upper pixels, places of the lower pixels)` for each row of squares.
    #[inline(always)]
    fn each_row_of_squares(&self, mut f: impl FnMut(Range<usize>, Range<usize>, Range<usize>)) {
        let ([_, height, width], [depth, rows, columns]) =
            (self.spans.each_ref().map(|spans| spans.len()), [self.spans[0].len(), self.input[1], self.input[2]]);
        for (row, (d, h)) in (0..depth).flat_map(|d| (0..height).map(move |h| (d, h))).enumerate() {
            let upper = (d * rows + 2 * h) * columns;
            f(row * width..(row + 1) * width, upper..upper + 2 * width, upper + columns..upper + columns + 2 * width);
        }
    }

    /// The greatest element of each window; a NaN before all. No window is empty.
    pub(crate) fn maximum<T: Scalar>(&self, x: &[T], planes: usize) -> Buffer<T> {
        let (pixels, outputs) = (self.pixels(), self.outputs());
        let mut y = Buffer::stale(planes * outputs);
        if self.are_squares() {
            self.each_plane(&mut y, outputs, |plane, y| {
                let x = &x[plane * pixels..(plane + 1) * pixels];
                vectorised(
                    #[inline(always)]
                    || {
                        self.each_row_of_squares(
                            #[inline(always)]
                            |row, upper, lower| maxima(&mut y[row], &x[upper], &x[lower]),
                        )
                    },
                );
            });
        } else {
            let places = self.argmax(x, planes);
            y.iter_mut().zip(places.iter()).for_each(|(y, &place)| *y = x[place]);
        }
        y
    }

    /// The gradient of [`Windows::maximum`] at `x`: goes to the first of ties, and to the first NaN before all.
    pub(crate) fn maximum_gradient<T: Scalar>(&self, x: &[T], g: &[T], planes: usize) -> Buffer<T> {
        let (pixels, outputs) = (self.pixels(), self.outputs());
        if self.are_squares() {
            let mut d = if pixels == 4 * outputs { Buffer::stale(planes * pixels) } else { Buffer::filled(T::ZERO, planes * pixels) };
            self.each_plane(&mut d, pixels, |plane, d| {
                let (x, g) = (&x[plane * pixels..(plane + 1) * pixels], &g[plane * outputs..(plane + 1) * outputs]);
                vectorised(
                    #[inline(always)]
                    || {
                        self.each_row_of_squares(
                            #[inline(always)]
                            |row, upper, lower| {
                                let (above, below) = d.split_at_mut(lower.start);
                                let below = &mut below[..lower.len()];
                                maxima_gradient(&mut above[upper.clone()], below, &g[row], &x[upper], &x[lower]);
                            },
                        )
                    },
                );
            });
            d
        } else {
            let places = self.argmax(x, planes);
            let mut d = Buffer::filled(T::ZERO, planes * pixels);
            let sums = &mut d[..];
            places.iter().zip(g).for_each(|(&place, &g)| sums[place] += g);
            d
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Squares of two by two are those that [`Windows::argmax`] finds, with ties, NaN and sizes that are left over.
    #[test]
    fn squares_are_windows() {
        for (depth, height, width) in [(1, 2, 2), (1, 28, 28), (1, 7, 5), (3, 4, 33), (2, 3, 2)] {
            let (planes, pixels) = (3, depth * height * width);
            let pairs = |n: usize| (0..n / 2).map(|i| Span { first: 2 * i, count: 2, step: 1, divisor: 2 }).collect::<Arc<[Span]>>();
            let whole = (0..depth).map(|first| Span { first, count: 1, step: 1, divisor: 1 }).collect();
            let windows = Windows { input: [depth, height, width], spans: [whole, pairs(height), pairs(width)] };
            assert!(windows.are_squares());
            let value = |i: usize| match i.wrapping_mul(2_654_435_761) >> 9 & 7 {
                7 => f32::NAN,
                other => other as f32 / 2.0 - 1.0,
            };
            let x: Vec<f32> = (0..planes * pixels).map(value).collect();
            let places = windows.argmax(&x, planes);
            let g: Vec<f32> = (0..places.len()).map(|i| i as f32 + 1.0).collect();
            let y = windows.maximum(&x, planes);
            assert!(y.iter().zip(places.iter()).all(|(y, &place)| y.to_bits() == x[place].to_bits()));
            let mut expected = vec![0.0; x.len()];
            places.iter().zip(&g).for_each(|(&place, &g)| expected[place] = g);
            assert_eq!(windows.maximum_gradient(&x, &g, planes)[..], expected[..]);
        }
    }
}
