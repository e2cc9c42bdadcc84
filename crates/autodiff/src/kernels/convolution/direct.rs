//! Direct convolution by register tiles: no patches are copied. The images, with zeros around them, are the left operand of
//! a product whose rows and depth are offsets into them:
//!
//! | | rows | depth | lanes |
//! |---|---|---|---|
//! | output | positions of the images | channels and kernel entries | filters |
//! | images | positions of the output's gradient | filters and kernel entries | channels |
//! | filters | channels and kernel entries | positions of the images | filters |
//!
//! With a stride `s` the gradient of the images falls into `s` phases along each axis, each a convolution with every `s`-th
//! kernel entry.

use crate::kernels::parallel::*;

use super::tile::{Offsets, Rows, Tile};
use super::{Geometry, part};
use crate::Scalar;
use crate::kernels::Buffer;

/// Tasks at least, where there is so much to share out.
const TASKS: usize = 16;
/// Parts in which the gradients of filters are added up, whatever the number of threads.
const PARTS: usize = 8;
/// Positions whose gradients are added to the filters' at a time, so that they stay in the first cache.
const DEPTH: usize = 256;
/// Results that are collected before they are written where they belong, so that they are transposed in full squares.
const STAGED: usize = 64;
/// Rows of a tile below which it cannot keep the processor busy.
const FEW_ROWS: usize = 4;

/// Planes of a multiple of so many elements would evict each other from the first cache.
const ALIASED: usize = 256;
/// Elements by which they are moved apart: a cache line.
const SKEW: usize = 16;

/// An image with zeros around it.
struct Frame {
    inner: [usize; 3],
    before: [usize; 3],
    size: [usize; 3],
}

impl Frame {
    /// The distance of planes. Not that of the places that fall into the same set of the first cache: a tile reads many planes
    /// at once.
    fn plane(&self) -> usize {
        let size: usize = self.size.iter().product();
        if size > 0 && size.is_multiple_of(ALIASED) { size + SKEW } else { size }
    }

    /// The distances of neighbours along each axis.
    fn steps(&self) -> [usize; 3] {
        [self.size[1] * self.size[2], self.size[2], 1]
    }

    fn is_tight(&self) -> bool {
        self.inner == self.size && self.plane() == self.size.iter().product::<usize>()
    }

    /// Whether the zeros are not most of it.
    fn is_small(&self) -> bool {
        let whole = self.size.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        whole.is_some_and(|whole| whole / 8 <= self.inner.iter().product::<usize>() + 64)
    }

    /// Memory for [`Frame::around`].
    fn memory<T: Scalar>(&self, channels: usize) -> Buffer<T> {
        Buffer::filled(T::ZERO, if self.is_tight() { 0 } else { channels * self.plane() })
    }

    /// The image in its frame, of which the zeros are there from before.
    fn around<'a, T: Scalar>(&self, image: &'a [T], memory: &'a mut [T]) -> &'a [T] {
        if self.is_tight() {
            return image;
        }
        let ([depth, height, width], [_, rows, columns]) = (self.inner, self.size);
        let first = self.before.iter().zip(self.steps()).map(|(before, step)| before * step).sum::<usize>();
        for (image, plane) in image.chunks_exact(depth * height * width).zip(memory.chunks_exact_mut(self.plane())) {
            for (line, from) in image.chunks_exact(width).enumerate() {
                let to = first + (line / height * rows + line % height) * columns;
                plane[to..to + width].copy_from_slice(from);
            }
        }
        memory
    }
}

/// Neighbouring results: their number, the place of the first, and that of what its rows begin with.
struct Run {
    count: usize,
    result: usize,
    source: usize,
}

/// Results that are sums over the same entries of the kernel.
struct Phase {
    runs: Vec<Run>,
    /// The numbers of kernel entries, and how far into a plane each one looks.
    entries: Vec<(usize, usize)>,
}

/// What one phase takes of an axis.
struct AxisPhase {
    /// The first result, the number of results, and the source of the first.
    first: usize,
    count: usize,
    source: usize,
    entries: Vec<(usize, usize)>,
}

/// Results from images in a frame.
pub(super) struct Direct<T: 'static> {
    tile: Tile<T>,
    frame: Frame,
    phases: Vec<Phase>,
    /// The distances of the rows of neighbouring results, and of those results.
    source_step: usize,
    result_step: usize,
    /// Of one group: what is summed over, and what there is a result of at each position.
    channels: usize,
    lanes: usize,
    positions: usize,
}

/// Every combination of one index for each axis, in row-major order.
fn combinations([a, b, c]: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| [i, j, k])))
}

fn dot(a: [usize; 3], b: [usize; 3]) -> usize {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// The row-major distances of neighbours.
fn steps(size: [usize; 3]) -> [usize; 3] {
    [size[1] * size[2], size[2], 1]
}

impl Phase {
    /// The results of every combination of the axes' own.
    fn new(axes: [&AxisPhase; 3], strides: [[usize; 3]; 2], frame: [usize; 3], result: [usize; 3], kernel: [usize; 3]) -> Self {
        let [source_stride, result_stride] = strides;
        let entries = combinations(axes.map(|axis| axis.entries.len())).map(|i| {
            let [entry, offset] = [0, 1].map(|which| -> [usize; 3] {
                std::array::from_fn(|axis| if which == 0 { axes[axis].entries[i[axis]].0 } else { axes[axis].entries[i[axis]].1 })
            });
            (dot(entry, steps(kernel)), dot(offset, steps(frame)))
        });
        let mut runs: Vec<Run> = Vec::new();
        let [.., last] = axes;
        for [d, h, _] in combinations([axes[0].count, axes[1].count, usize::from(last.count > 0)]) {
            let at = |stride: [usize; 3]| [d * stride[0], h * stride[1], 0];
            let [source_at, result_at] = [at(source_stride), at(result_stride)];
            let source = dot(std::array::from_fn(|i| axes[i].source + source_at[i]), steps(frame));
            let place = dot(std::array::from_fn(|i| axes[i].first + result_at[i]), steps(result));
            // Rows of an image without a frame follow each other.
            match runs.last_mut() {
                Some(run) if run.source + run.count * source_stride[2] == source && run.result + run.count * result_stride[2] == place => {
                    run.count += last.count;
                }
                _ => runs.push(Run { count: last.count, result: place, source }),
            }
        }
        Self { runs, entries: entries.collect() }
    }
}

impl Geometry {
    /// The images in the frame that the output sees.
    fn padded_input(&self) -> Frame {
        let size = std::array::from_fn(|i| {
            let reach =
                ((self.output[i].max(1) - 1) * self.stride[i]).saturating_add((self.kernel[i].max(1) - 1).saturating_mul(self.dilation[i]));
            reach.saturating_add(1).max(self.input[i].saturating_add(self.padding[i]))
        });
        Frame { inner: self.input, before: self.padding, size }
    }

    fn entries(&self, axis: usize) -> AxisPhase {
        let entries = (0..self.kernel[axis]).map(|k| (k, k * self.dilation[axis])).collect();
        AxisPhase { first: 0, count: self.output[axis], source: 0, entries }
    }

    /// The output as a function of images in a frame.
    pub(super) fn output_directly<T: Scalar>(&self, tile: Tile<T>) -> Option<Direct<T>> {
        let frame = self.padded_input();
        if !frame.is_small() {
            return None;
        }
        let axes = [0, 1, 2].map(|axis| self.entries(axis));
        let phase = Phase::new(axes.each_ref(), [self.stride, [1; 3]], frame.size, self.output, self.kernel);
        let (channels, lanes, positions) = (self.channels, self.filters, self.positions());
        Some(Direct { tile, frame, phases: vec![phase], source_step: self.stride[2], result_step: 1, channels, lanes, positions })
    }

    /// What of an axis of the images lies `r` from a multiple of the stride in the padded image. Entry `k` of the kernel took
    /// its pixel `i` to the output `(i + padding - k dilation) / stride`.
    fn input_phase(&self, axis: usize, r: usize) -> AxisPhase {
        let (stride, padding, dilation) = (self.stride[axis], self.padding[axis], self.dilation[axis]);
        let first = (r + stride - padding % stride) % stride;
        let before = (self.kernel[axis] - 1) * dilation / stride;
        let entries = (0..self.kernel[axis]).filter(|k| k * dilation % stride == r);
        AxisPhase {
            first,
            count: self.input[axis].saturating_sub(first).div_ceil(stride),
            source: (first + padding) / stride,
            entries: entries.map(|k| (k, before - k * dilation / stride)).collect(),
        }
    }

    /// The images as a function of the output's gradient in a frame.
    pub(super) fn images_directly<T: Scalar>(&self, tile: Tile<T>) -> Option<Direct<T>> {
        let before: [usize; 3] = std::array::from_fn(|i| (self.kernel[i].max(1) - 1).saturating_mul(self.dilation[i]) / self.stride[i]);
        let size = std::array::from_fn(|i| {
            let last = (self.input[i].max(1) - 1).saturating_add(self.padding[i]) / self.stride[i];
            before[i].saturating_add(self.output[i].max(last + 1))
        });
        let frame = Frame { inner: self.output, before, size };
        if !frame.is_small() || self.kernel.contains(&0) {
            return None;
        }
        let axes = [0, 1, 2].map(|axis| (0..self.stride[axis]).map(|r| self.input_phase(axis, r)).collect::<Vec<_>>());
        let phases = combinations(self.stride).map(|r| {
            let axes = std::array::from_fn(|axis| &axes[axis][r[axis]]);
            Phase::new(axes, [[1; 3], self.stride], frame.size, self.input, self.kernel)
        });
        let (channels, lanes, positions) = (self.filters, self.channels, self.input.iter().product());
        let phases = phases.collect();
        Some(Direct { tile, frame, phases, source_step: 1, result_step: self.stride[2], channels, lanes, positions })
    }
}

/// How `lanes` results are computed: blocks of as many as two vectors hold, as `(first lane, lanes, vectors)`.
fn blocks<T: Scalar>(tile: Tile<T>, lanes: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..lanes).step_by(2 * tile.lanes).map(move |first| {
        let count = (lanes - first).min(2 * tile.lanes);
        (first, count, count.div_ceil(tile.lanes))
    })
}

impl<T: Scalar> Direct<T> {
    /// Whether tiles are tall enough.
    pub(super) fn pays(&self) -> bool {
        let longest = self.phases.iter().flat_map(|phase| &phase.runs).map(|run| run.count).max();
        longest.is_none_or(|longest| longest >= FEW_ROWS)
    }

    /// Elements of a group's filters, packed.
    fn packed(&self, kernel: usize) -> usize {
        self.lanes.next_multiple_of(self.tile.lanes) * self.channels * kernel
    }

    /// A group's filters `w[.., .., kernel]` in the order in which tiles meet them, where the lane and the channel that is
    /// summed over have these distances: for each block of lanes and each phase `[channels, entries, lanes]`.
    fn pack(&self, w: &[T], kernel: usize, [lane_step, channel_step]: [usize; 2]) -> Buffer<T> {
        let mut packed = Buffer::stale(self.packed(kernel));
        let mut rest = &mut packed[..];
        for (first, count, vectors) in blocks(self.tile, self.lanes) {
            let width = vectors * self.tile.lanes;
            for phase in &self.phases {
                let of_phase = crate::kernels::cut(&mut rest, self.channels * phase.entries.len() * width);
                for (c, of_channel) in of_phase.chunks_exact_mut((phase.entries.len() * width).max(1)).enumerate() {
                    let w = &w[first * lane_step + c * channel_step..];
                    for (&(entry, _), to) in phase.entries.iter().zip(of_channel.chunks_exact_mut(width)) {
                        let (to, padding) = to.split_at_mut(count);
                        to.iter_mut().zip(w[entry..].iter().step_by(lane_step)).for_each(|(to, &w)| *to = w);
                        padding.fill(T::ZERO);
                    }
                }
            }
        }
        packed
    }

    /// The results for each unit of `x`, with filters of which the lane and the channel that is summed over have the distances
    /// `filter_steps`; plus a bias for each lane of each group.
    pub(super) fn run(&self, g: &Geometry, x: &[T], w: &[T], filter_steps: [usize; 2], bias: Option<&[T]>) -> Buffer<T> {
        let (units, kernel) = (g.batch * g.groups, g.kernel.iter().product());
        let mut y = Buffer::stale(units * self.lanes * self.positions);
        if y.is_empty() {
            return y;
        }
        let weights = self.lanes * self.channels * kernel;
        let packed: Vec<Buffer<T>> = (0..g.groups).map(|group| self.pack(part(w, group, weights), kernel, filter_steps)).collect();
        let depths: Vec<Offsets> = self.phases.iter().map(|phase| self.depth(phase)).collect();
        let image = self.channels * self.frame.inner.iter().product::<usize>();
        let of_unit = |unit: usize, frame: &mut Buffer<T>, y: &mut [T], first: usize| {
            let framed = self.frame.around(part(x, unit, image), frame);
            let bias = bias.map(|bias| &part(bias, unit % g.groups, self.lanes)[first..]);
            self.unit(framed, &packed[unit % g.groups], &depths, bias, first, y);
        };
        if units >= TASKS {
            let size = units.div_ceil(2 * TASKS).max(1);
            y.par_chunks_mut(size * self.lanes * self.positions).enumerate().for_each(|(task, y)| {
                let mut frame = self.frame.memory(self.channels);
                let units = y.chunks_exact_mut(self.lanes * self.positions).enumerate();
                units.for_each(|(i, y)| of_unit(task * size + i, &mut frame, y, 0));
            });
        } else {
            // Blocks of lanes are tasks of their own.
            let block = 2 * self.tile.lanes;
            y.par_chunks_exact_mut(self.lanes * self.positions).enumerate().for_each(|(unit, y)| {
                y.par_chunks_mut(block * self.positions).enumerate().for_each(|(i, y)| {
                    of_unit(unit, &mut self.frame.memory(self.channels), y, i * block);
                });
            });
        }
        y
    }

    /// Where the factors of a phase lie.
    fn depth(&self, phase: &Phase) -> Offsets {
        let plane = self.frame.plane();
        Offsets::from((0..self.channels).flat_map(|c| phase.entries.iter().map(move |(_, offset)| c * plane + offset)).collect::<Vec<_>>())
    }

    /// The results of one framed image for the lanes from `first` on, as many as `y` holds.
    fn unit(&self, framed: &[T], packed: &[T], depths: &[Offsets], bias: Option<&[T]>, first: usize, y: &mut [T]) {
        let mut stage = Buffer::stale(STAGED * 2 * self.tile.lanes);
        let mut start = Buffer::filled(T::ZERO, 2 * self.tile.lanes);
        let depth: usize = depths.iter().map(|depth| depth.all().len()).sum();
        let mut packed = &packed[first * depth..];
        for (lane, count, vectors) in blocks(self.tile, y.len() / self.positions) {
            let width = vectors * self.tile.lanes;
            if let Some(bias) = bias {
                start[..count].copy_from_slice(&bias[lane..lane + count]);
            }
            let y = &mut y[lane * self.positions..(lane + count) * self.positions];
            for (phase, depth) in self.phases.iter().zip(depths) {
                let (b, rest) = packed.split_at(depth.all().len() * width);
                packed = rest;
                let mut staged = Staged {
                    tile: self.tile,
                    stage: &mut stage,
                    width,
                    first: 0,
                    count: 0,
                    step: self.result_step,
                    positions: self.positions,
                };
                for run in &phase.runs {
                    let tiles = run.count.div_ceil(self.tile.rows);
                    for tile in 0..tiles {
                        let (from, to) = (tile * run.count / tiles, (tile + 1) * run.count / tiles);
                        let rows =
                            Rows { source: framed, first: run.source + from * self.source_step, step: self.source_step, count: to - from };
                        let out = staged.next(run.result + from * self.result_step, to - from, y);
                        self.tile.product(vectors, rows, depth.all(), b, Some(&start), (out, width));
                    }
                }
                staged.write(y);
            }
        }
    }

    /// The gradient of the filters: `Σ g[unit] · framed(x[unit])` over the units of each group.
    pub(super) fn filters(&self, geometry: &Geometry, x: &[T], g: &[T]) -> Buffer<T> {
        let (groups, kernel) = (geometry.groups, geometry.kernel.iter().product::<usize>());
        let (patch, width) = (self.channels * kernel, self.lanes.next_multiple_of(self.tile.lanes));
        let size = geometry.batch.div_ceil(PARTS).max(1);
        let parts = geometry.batch.div_ceil(size);
        let (weights, weights_wide) = (self.lanes * patch, width * patch);
        let mut w = Buffer::filled(T::ZERO, groups * weights);
        if parts == 0 || weights == 0 {
            return w;
        }
        let mut sums = Buffer::filled(T::ZERO, parts * groups * weights_wide);
        let positions: Vec<usize> =
            self.phases[0].runs.iter().flat_map(|run| (0..run.count).map(|i| run.source + i * self.source_step)).collect();
        let (tap_runs, positions) = (self.tap_runs(geometry), Offsets::from(positions));
        let few = parts * groups < TASKS / 2;
        let block = if few { 2 * self.tile.lanes } else { width };
        let image = self.channels * self.frame.inner.iter().product::<usize>();
        let maps = self.lanes * self.positions;
        sums.par_chunks_exact_mut(weights_wide).enumerate().for_each(|(task, sums)| {
            let (first, group) = (task / groups * size, task % groups);
            sums.par_chunks_mut(block * patch).enumerate().for_each(|(b, sums)| {
                let mut frame = self.frame.memory(self.channels);
                let mut columns = Buffer::stale(DEPTH * 2 * self.tile.lanes);
                for image_number in first..(first + size).min(geometry.batch) {
                    let unit = image_number * groups + group;
                    let framed = self.frame.around(part(x, unit, image), &mut frame);
                    let lanes = &part(g, unit, maps)[b * block * self.positions..];
                    self.add_filters(framed, lanes, &tap_runs, &positions, &mut columns, sums, patch);
                }
            });
        });
        let (total, others) = sums.split_at_mut(groups * weights_wide);
        for other in others.chunks_exact(groups * weights_wide) {
            crate::kernels::pointwise::zip_in_place(total, other, |a, b| a + b);
        }
        for (w, sums) in w.chunks_exact_mut(weights).zip(total.chunks_exact(weights_wide)) {
            let mut rest = sums;
            for (first, count, vectors) in blocks(self.tile, self.lanes) {
                let (sums, others) = rest.split_at(vectors * self.tile.lanes * patch);
                rest = others;
                self.tile.transpose(sums, vectors * self.tile.lanes, [patch, count], &mut w[first * patch..], patch);
            }
        }
        w
    }

    /// `[positions, width]` of the first positions of `g[lanes, positions]`, as many as there is room for; further lanes are zero.
    fn columns_of(&self, g: &[T], lanes: usize, columns: &mut [T], width: usize) {
        self.tile.transpose(g, self.positions, [lanes, columns.len() / width], columns, width);
        if lanes < width {
            columns.chunks_exact_mut(width).for_each(|column| column[lanes..].fill(T::ZERO));
        }
    }

    /// Runs of rows of the filters' gradient, `(count, first row, step of rows, source, step of sources)`, along the axis that
    /// has most: channels or one of the kernel's.
    fn tap_runs(&self, g: &Geometry) -> Vec<[usize; 5]> {
        let size = [self.channels, g.kernel[0], g.kernel[1], g.kernel[2]];
        let [rows, frame] = [steps(g.kernel), self.frame.steps()];
        let row_steps = [g.kernel.iter().product(), rows[0], rows[1], rows[2]];
        let source_steps = [self.frame.plane(), frame[0] * g.dilation[0], frame[1] * g.dilation[1], frame[2] * g.dilation[2]];
        // The last of the greatest: its rows lie closest.
        let along = (0..4).max_by_key(|&axis| size[axis].min(2 * self.tile.rows)).unwrap_or(0);
        let mut others = size;
        others[along] = 1;
        let mut runs = Vec::new();
        for c in 0..others[0] {
            for k in combinations([others[1], others[2], others[3]]) {
                let at = |steps: [usize; 4]| c * steps[0] + k[0] * steps[1] + k[1] * steps[2] + k[2] * steps[3];
                runs.push([size[along], at(row_steps), row_steps[along], at(source_steps), source_steps[along]]);
            }
        }
        runs
    }

    #[allow(clippy::too_many_arguments)]
    fn add_filters(
        &self,
        framed: &[T],
        g: &[T],
        runs: &[[usize; 5]],
        positions: &Offsets,
        columns: &mut [T],
        sums: &mut [T],
        patch: usize,
    ) {
        let lanes = (g.len() / self.positions).min(self.lanes);
        let mut sums = sums;
        for (first, count, vectors) in blocks(self.tile, lanes) {
            if sums.is_empty() {
                return;
            }
            let width = vectors * self.tile.lanes;
            let sums = crate::kernels::cut(&mut sums, width * patch);
            for (number, depth) in positions.parts(DEPTH).enumerate() {
                let columns = &mut columns[..depth.len() * width];
                self.columns_of(&g[first * self.positions + number * DEPTH..], count, columns, width);
                for &[count, row, row_step, source, source_step] in runs {
                    let tiles = count.div_ceil(self.tile.rows);
                    for tile in 0..tiles {
                        let (from, to) = (tile * count / tiles, (tile + 1) * count / tiles);
                        let rows = Rows { source: framed, first: source + from * source_step, step: source_step, count: to - from };
                        let out = &mut sums[(row + from * row_step) * width..];
                        self.tile.product(vectors, rows, depth, columns, None, (out, row_step * width));
                    }
                }
            }
        }
    }
}

/// Results that wait until there are enough of them to be transposed.
struct Staged<'a, T: 'static> {
    tile: Tile<T>,
    /// `[count, width]`, of neighbouring positions.
    stage: &'a mut [T],
    width: usize,
    first: usize,
    count: usize,
    step: usize,
    positions: usize,
}

impl<T: Scalar> Staged<'_, T> {
    /// Memory for results at `count` positions from `place` on. What does not lie before them in `y` is written first.
    fn next(&mut self, place: usize, count: usize, y: &mut [T]) -> &mut [T] {
        if place != self.first + self.count * self.step || self.count + count > STAGED {
            self.write(y);
            self.first = place;
        }
        let from = self.count * self.width;
        self.count += count;
        &mut self.stage[from..]
    }

    /// Writes to `y[lanes, positions]` what waits.
    fn write(&mut self, y: &mut [T]) {
        let count = std::mem::take(&mut self.count);
        if count == 0 {
            return;
        }
        if self.step == 1 {
            let lanes = y.len() / self.positions;
            self.tile.transpose(self.stage, self.width, [count, lanes], &mut y[self.first..], self.positions);
        } else {
            for (lane, y) in y.chunks_exact_mut(self.positions).enumerate() {
                let values = self.stage[lane..].iter().step_by(self.width);
                y[self.first..].iter_mut().step_by(self.step).zip(values).take(count).for_each(|(y, &x)| *y = x);
            }
        }
    }
}
