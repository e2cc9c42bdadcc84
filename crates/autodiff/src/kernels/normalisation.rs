//! Normalisation to zero mean and unit variance, with a scale and a shift for each channel.

use super::parallel::*;

use super::{Buffer, PARALLEL, vectorised};
use crate::Scalar;

/// Rows are shared out to this many tasks, of which each sums the gradients of scale and shift for itself, whatever the
/// number of threads.
const TASKS: usize = 16;
const LANES: usize = 16;
/// Elements summed in the element type before they are added in `f64`.
const LEAF: usize = 1024;

/// A tensor seen as `[pieces, repeats, cycle, channels, spatial]`. Each of the `repeats · cycle` *sets* is normalised by
/// itself, over pieces, channels and spatial places; there is a scale and a shift for each of the `cycle · channels`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Layout {
    pub(crate) pieces: usize,
    pub(crate) repeats: usize,
    pub(crate) cycle: usize,
    pub(crate) channels: usize,
    pub(crate) spatial: usize,
    /// Whether the mean is subtracted; if not, the variance is the mean square.
    pub(crate) centred: bool,
}

/// The mean and the (biased) variance of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Moments {
    pub(crate) mean: f64,
    pub(crate) variance: f64,
}

impl Moments {
    /// What is subtracted from each element, and what it is then multiplied by.
    #[inline(always)]
    fn affine<T: Scalar>(self, epsilon: f64) -> [T; 2] {
        [T::from_f64(self.mean), T::from_f64(1.0 / (self.variance + epsilon).sqrt())]
    }
}

/// `Σ term(x, g)`, in lanes, so that the loop vectorises and its order is fixed.
#[inline(always)]
fn sum<T: Scalar>(x: &[T], g: &[T], term: impl Fn(T, T) -> T) -> f64 {
    let mut total = 0.0;
    for (x, g) in x.chunks(LEAF).zip(g.chunks(LEAF)) {
        let mut lanes = [T::ZERO; LANES];
        let ((x, x_tail), (g, g_tail)) = (x.as_chunks::<LANES>(), g.as_chunks::<LANES>());
        for (x, g) in x.iter().zip(g) {
            lanes.iter_mut().zip(x).zip(g).for_each(|((lane, &x), &g)| *lane += term(x, g));
        }
        let tail = x_tail.iter().zip(g_tail).map(|(&x, &g)| term(x, g));
        total += lanes.into_iter().chain(tail).map(T::to_f64).sum::<f64>();
    }
    total
}

impl Layout {
    fn sets(&self) -> usize {
        self.repeats * self.cycle
    }
    /// Elements of a row: of a set in one piece.
    fn row(&self) -> usize {
        self.channels * self.spatial
    }
    /// Elements of a set.
    pub(crate) fn elements(&self) -> usize {
        self.pieces * self.row()
    }
    /// Numbers of a scale or shift.
    pub(crate) fn all_channels(&self) -> usize {
        self.cycle * self.channels
    }

    /// The part of `x` that is row `row`.
    fn of<'a, T>(&self, x: &'a [T], row: usize) -> &'a [T] {
        &x[row * self.row()..(row + 1) * self.row()]
    }

    /// The part of a scale or shift that belongs to the channels of a set.
    fn own<'a, T>(&self, scale: &'a [T], set: usize) -> &'a [T] {
        let first = set % self.cycle * self.channels;
        &scale[first..first + self.channels]
    }

    /// The rows of a set, one in each piece.
    fn rows_of<'a, T>(&self, x: &'a [T], set: usize) -> impl Iterator<Item = &'a [T]> {
        let (layout, sets) = (*self, self.sets());
        (0..self.pieces).map(move |piece| layout.of(x, piece * sets + set))
    }

    /// Calls `f(row, row of out, item)`, in parallel when there is enough to do.
    fn each_row<T: Scalar, U: Send>(&self, out: &mut [T], items: &mut [U], f: impl Fn(usize, &mut [T], &mut U) + Sync) {
        let body = |(i, (out, item)): (usize, (&mut [T], &mut U))| {
            vectorised(
                #[inline(always)]
                || f(i, out, item),
            )
        };
        if out.len() < PARALLEL {
            out.chunks_exact_mut(self.row()).zip(items).enumerate().for_each(body);
        } else {
            out.par_chunks_exact_mut(self.row()).zip(items.par_iter_mut()).enumerate().for_each(body);
        }
    }

    #[inline(always)]
    fn moments<T: Scalar>(&self, x: &[T], set: usize) -> Moments {
        let n = self.elements() as f64;
        // Loops, as what an iterator of the library calls is not compiled for the vector registers.
        let mut mean = 0.0;
        if self.centred {
            for x in self.rows_of(x, set) {
                mean += sum(x, x, |x, _| x);
            }
        }
        mean /= n;
        let (centre, mut variance) = (T::from_f64(mean), 0.0);
        for x in self.rows_of(x, set) {
            variance += sum(x, x, |x, _| (x - centre) * (x - centre));
        }
        Moments { mean, variance: variance / n }
    }

    /// `y = (x - mean) rate · scale + shift` of a row.
    #[inline(always)]
    fn apply<T: Scalar>(&self, x: &[T], y: &mut [T], [mean, rate]: [T; 2], scale: &[T], shift: &[T]) {
        if self.spatial == 1 {
            y.iter_mut().zip(x).zip(scale).zip(shift).for_each(|(((y, &x), &w), &b)| *y = (x - mean) * rate * w + b);
            return;
        }
        let channels = y.chunks_exact_mut(self.spatial).zip(x.chunks_exact(self.spatial)).zip(scale).zip(shift);
        for (((y, x), &w), &b) in channels {
            let w = rate * w;
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = (x - mean) * w + b);
        }
    }

    /// The same sets as rows, where their pieces are too short to be walked one by one.
    fn gathered(&self) -> Option<Self> {
        let short = self.pieces > 1 && self.spatial < 2 * LANES;
        short.then_some(Self { pieces: 1, spatial: self.pieces * self.spatial, ..*self })
    }

    /// `[pieces, sets, row]` with its first two axes swapped, or back.
    fn swapped<T: Scalar>(&self, x: &[T], back: bool) -> Buffer<T> {
        let (pieces, sets) = if back { (self.sets(), self.pieces) } else { (self.pieces, self.sets()) };
        let shape = |a: usize, b: usize| crate::tensor::checked(&[a, b, self.row()]);
        super::strided::permute(x, &shape(pieces, sets), &[1, 0, 2], &shape(sets, pieces))
    }

    /// The normalised `x`, scaled and shifted, and the moments of each set. One pass over memory where a set is one row.
    pub(crate) fn normalise<T: Scalar>(&self, x: &[T], scale: &[T], shift: &[T], epsilon: f64) -> (Buffer<T>, Vec<Moments>) {
        if let Some(rows) = self.gathered() {
            let (y, moments) = rows.normalise(&self.swapped(x, false), scale, shift, epsilon);
            return (self.swapped(&y, true), moments);
        }
        let (mut y, mut moments) = (Buffer::stale(x.len()), vec![Moments::default(); self.sets()]);
        if x.is_empty() {
            return (y, moments);
        }
        let write = |row: usize, y: &mut [T], own: Moments| {
            let set = row % self.sets();
            self.apply(self.of(x, row), y, own.affine(epsilon), self.own(scale, set), self.own(shift, set));
        };
        if self.pieces == 1 {
            self.each_row(&mut y, &mut moments, |set, y, own| {
                *own = self.moments(x, set);
                write(set, y, *own);
            });
        } else {
            let found = |(set, own): (usize, &mut Moments)| {
                vectorised(
                    #[inline(always)]
                    || *own = self.moments(x, set),
                )
            };
            moments.par_iter_mut().enumerate().for_each(found);
            let mut all = moments.repeat(self.pieces);
            self.each_row(&mut y, &mut all, |row, y, own| write(row, y, *own));
        }
        (y, moments)
    }

    /// `dx = rate (dx - means[0] - x̂ means[1])` of a row, where `x̂` is the normalised row.
    #[inline(always)]
    fn finish<T: Scalar>(&self, x: &[T], dx: &mut [T], [mean, rate]: [T; 2], sums: [f64; 2]) {
        let [a, b] = sums.map(|sum| T::from_f64(sum / self.elements() as f64));
        let a = if self.centred { a } else { T::ZERO };
        let slope = rate * b;
        dx.iter_mut().zip(x).for_each(|(d, &x)| *d = rate * (*d - a - (x - mean) * slope));
    }

    /// `dx = g · scale` of a row.
    #[inline(always)]
    fn scaled<T: Scalar>(&self, g: &[T], dx: &mut [T], scale: &[T]) {
        if self.spatial == 1 {
            dx.iter_mut().zip(g).zip(scale).for_each(|((d, &g), &w)| *d = g * w);
            return;
        }
        for ((dx, g), &w) in dx.chunks_exact_mut(self.spatial).zip(g.chunks_exact(self.spatial)).zip(scale) {
            dx.iter_mut().zip(g).for_each(|(d, &g)| *d = g * w);
        }
    }

    /// Adds a row's part to the gradients of scale and shift.
    #[inline(always)]
    fn add_channels<T: Scalar>(&self, x: &[T], g: &[T], [mean, rate]: [T; 2], scale: &mut [T], shift: &mut [T]) {
        if self.spatial == 1 {
            scale.iter_mut().zip(x).zip(g).for_each(|((w, &x), &g)| *w += g * ((x - mean) * rate));
            shift.iter_mut().zip(g).for_each(|(b, &g)| *b += g);
            return;
        }
        let channels = scale.iter_mut().zip(shift).zip(x.chunks_exact(self.spatial)).zip(g.chunks_exact(self.spatial));
        for (((w, b), x), g) in channels {
            *w += T::from_f64(sum(x, g, |x, g| g * (x - mean))) * rate;
            *b += T::from_f64(sum(x, g, |_, g| g));
        }
    }

    /// The gradients of `x`, scale and shift, given the gradient `g` of the output.
    pub(crate) fn gradients<T: Scalar>(&self, x: &[T], g: &[T], scale: &[T], moments: &[Moments], epsilon: f64) -> [Buffer<T>; 3] {
        if let Some(rows) = self.gathered() {
            let (x, g) = (self.swapped(x, false), self.swapped(g, false));
            let [dx, scale, shift] = rows.gradients(&x, &g, scale, moments, epsilon);
            return [self.swapped(&dx, true), scale, shift];
        }
        let count = self.all_channels();
        if x.is_empty() {
            return [Buffer::filled(T::ZERO, 0), Buffer::filled(T::ZERO, count), Buffer::filled(T::ZERO, count)];
        }
        if self.pieces == 1 {
            self.gradients_of_rows(x, g, scale, moments, epsilon)
        } else {
            self.gradients_of_pieces(x, g, scale, moments, epsilon)
        }
    }

    fn gradients_of_rows<T: Scalar>(&self, x: &[T], g: &[T], scale: &[T], moments: &[Moments], epsilon: f64) -> [Buffer<T>; 3] {
        let (count, rows) = (self.all_channels(), self.sets().div_ceil(TASKS));
        let mut dx = Buffer::stale(x.len());
        let mut parts = Buffer::filled(T::ZERO, self.sets().div_ceil(rows) * 2 * count);
        let task = |(task, (dx, part)): (usize, (&mut [T], &mut [T]))| {
            let (d_scale, d_shift) = part.split_at_mut(count);
            for (row, dx) in (task * rows..).zip(dx.chunks_exact_mut(self.row())) {
                let (x, g, own) = (self.of(x, row), self.of(g, row), moments[row].affine(epsilon));
                let first = row % self.cycle * self.channels;
                let channels = first..first + self.channels;
                vectorised(
                    #[inline(always)]
                    || {
                        self.add_channels(x, g, own, &mut d_scale[channels.clone()], &mut d_shift[channels.clone()]);
                        self.scaled(g, dx, &scale[channels]);
                        let centred = sum(x, dx, |x, d| d * (x - own[0])) * own[1].to_f64();
                        self.finish(x, dx, own, [sum(dx, dx, |d, _| d), centred]);
                    },
                );
            }
        };
        if x.len() < PARALLEL {
            dx.chunks_mut(rows * self.row()).zip(parts.chunks_exact_mut(2 * count)).enumerate().for_each(task);
        } else {
            dx.par_chunks_mut(rows * self.row()).zip(parts.par_chunks_exact_mut(2 * count)).enumerate().for_each(task);
        }
        let mut total = vec![T::ZERO; 2 * count];
        for part in parts.chunks_exact(2 * count) {
            total.iter_mut().zip(part).for_each(|(t, &x)| *t += x);
        }
        let shift = total.split_off(count);
        [dx, total.into(), shift.into()]
    }

    /// For sets of several pieces: of one channel each, as in batch normalisation.
    fn gradients_of_pieces<T: Scalar>(&self, x: &[T], g: &[T], scale: &[T], moments: &[Moments], epsilon: f64) -> [Buffer<T>; 3] {
        let channel = |set: usize| {
            let [mean, rate] = moments[set].affine::<T>(epsilon);
            vectorised(
                #[inline(always)]
                || {
                    let [mut scale, mut shift] = [0.0; 2];
                    for (x, g) in self.rows_of(x, set).zip(self.rows_of(g, set)) {
                        shift += sum(x, g, |_, g| g);
                        scale += sum(x, g, |x, g| g * (x - mean));
                    }
                    [scale * rate.to_f64(), shift]
                },
            )
        };
        let sums: Vec<[f64; 2]> = (0..self.sets()).into_par_iter().map(channel).collect();
        let mut dx = Buffer::stale(x.len());
        self.each_row(&mut dx, &mut vec![(); self.pieces * self.sets()], |row, dx, ()| {
            let set = row % self.sets();
            let (x, w, own) = (self.of(x, row), self.own(scale, set), moments[set].affine(epsilon));
            self.scaled(self.of(g, row), dx, w);
            let w = w[0].to_f64();
            self.finish(x, dx, own, [w * sums[set][1], w * sums[set][0]]);
        });
        let gradients = |i: usize| sums.iter().map(|sums| T::from_f64(sums[i])).collect::<Vec<T>>().into();
        [dx, gradients(0), gradients(1)]
    }
}
