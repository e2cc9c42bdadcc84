//! Walks over strided views: broadcasting, permutation.

use super::parallel::*;

use super::{Buffer, PARALLEL, pointwise, vectorised};
use crate::Scalar;
use crate::shape::{MAX_RANK, Shape};

/// Calls `f(offset_in_row_major_output, source_offset)` for each run along the last axis.
fn runs(shape: &Shape, strides: &[usize; MAX_RANK], mut f: impl FnMut(usize, usize)) {
    let rank = shape.len();
    let lead = &shape[..rank.saturating_sub(1)];
    let run = shape.last().copied().unwrap_or(1);
    if shape.count() == 0 {
        return;
    }
    let (mut index, mut source) = ([0usize; MAX_RANK], 0usize);
    for line in 0..lead.iter().product() {
        f(line * run, source);
        for axis in (0..lead.len()).rev() {
            index[axis] += 1;
            source += strides[axis];
            if index[axis] < lead[axis] {
                break;
            }
            source -= strides[axis] * lead[axis];
            index[axis] = 0;
        }
    }
}

/// The same walk with fewer axes: those of size 1 left out, and neighbours that are walked as one joined.
pub(crate) fn joined(shape: &Shape, strides: &[usize; MAX_RANK]) -> (Shape, [usize; MAX_RANK]) {
    let (mut sizes, mut steps, mut count) = ([0; MAX_RANK], [0; MAX_RANK], 0);
    for (&size, &step) in shape.iter().zip(strides).filter(|(size, _)| **size != 1) {
        if count > 0 && steps[count - 1] == step * size {
            sizes[count - 1] *= size;
            steps[count - 1] = step;
        } else {
            (sizes[count], steps[count]) = (size, step);
            count += 1;
        }
    }
    (crate::tensor::checked(&sizes[..count]), steps)
}

/// The row-major copy of the view of `x` with these strides.
pub(crate) fn gather<T: Scalar>(x: &[T], shape: &Shape, strides: &[usize; MAX_RANK]) -> Buffer<T> {
    let (shape, strides) = &joined(shape, strides);
    let mut out = Buffer::stale(shape.count());
    let run = shape.last().copied().unwrap_or(1);
    let step = if shape.is_empty() { 0 } else { strides[shape.len() - 1] };
    let all = &mut out[..];
    runs(shape, strides, |to, from| {
        let out = &mut all[to..to + run];
        match step {
            0 => pointwise::fill(out, x[from]),
            1 => out.copy_from_slice(&x[from..from + run]),
            _ => out.iter_mut().zip(x[from..].iter().step_by(step)).for_each(|(o, &x)| *o = x),
        }
    });
    out
}

/// The elements from `start` of the row-major copy of the view of `x`, one for each element of `out`.
pub(crate) fn gather_range<T: Scalar>(x: &[T], shape: &Shape, strides: &[usize; MAX_RANK], start: usize, out: &mut [T]) {
    let run = shape.last().copied().unwrap_or(1);
    let step = if shape.is_empty() { 0 } else { strides[shape.len() - 1] };
    let lead = shape.len().saturating_sub(1);
    let (mut line, mut within) = (start / run.max(1), start % run.max(1));
    let mut rest = out;
    while !rest.is_empty() {
        let (now, later) = rest.split_at_mut((run - within).min(rest.len()));
        let (mut place, mut from) = (line, within * step);
        for axis in (0..lead).rev() {
            from += place % shape[axis] * strides[axis];
            place /= shape[axis];
        }
        match step {
            0 => now.fill(x[from]),
            1 => now.copy_from_slice(&x[from..from + now.len()]),
            _ => now.iter_mut().zip(x[from..].iter().step_by(step)).for_each(|(o, &x)| *o = x),
        }
        (rest, line, within) = (later, line + 1, 0);
    }
}

/// Copies lines of `size` elements. Each of the two sides has the distance from one line to the next, and the first place.
pub(crate) fn copy_lines<T: Scalar>(
    from: &[T],
    [from_distance, from_first]: [usize; 2],
    to: &mut [T],
    [to_distance, to_first]: [usize; 2],
    [count, size]: [usize; 2],
) {
    if size == 0 {
        return;
    }
    let copy = |(line, to): (usize, &mut [T])| {
        let at = from_first + line * from_distance;
        to[to_first..to_first + size].copy_from_slice(&from[at..at + size]);
    };
    if count * size < PARALLEL {
        to.chunks_exact_mut(to_distance).take(count).enumerate().for_each(copy);
    } else {
        to.par_chunks_exact_mut(to_distance).take(count).enumerate().for_each(copy);
    }
}

/// Side of the blocks in which a matrix is transposed: a block of each side fits the vector registers.
const TILE: usize = 16;

/// The transpose `[columns, rows]` of a matrix `[rows, columns]`.
pub(crate) fn transpose<T: Scalar>(x: &[T], rows: usize, columns: usize) -> Buffer<T> {
    transpose_each(x, 1, rows, columns)
}

/// The transposes `[count, columns, rows]` of matrices `[count, rows, columns]`.
pub(crate) fn transpose_each<T: Scalar>(x: &[T], count: usize, rows: usize, columns: usize) -> Buffer<T> {
    let mut out = Buffer::stale(x.len());
    let size = rows * columns;
    if size == 0 {
        return out;
    }
    let one = |(x, out): (&[T], &mut [T])| {
        let strips = (0..columns).step_by(TILE).zip(out.chunks_mut(TILE * rows));
        strips.for_each(|(first, out)| transpose_strip(x, rows, columns, first, out));
    };
    if x.len() < PARALLEL {
        x.chunks_exact(size).zip(out.chunks_exact_mut(size)).for_each(one);
    } else if count > 1 {
        x.par_chunks_exact(size).zip(out.par_chunks_exact_mut(size)).for_each(one);
    } else {
        let strips = out.par_chunks_mut(TILE * rows).enumerate();
        strips.for_each(|(strip, out)| transpose_strip(x, rows, columns, strip * TILE, out));
    }
    out
}

/// Columns `first ..` of a matrix as rows of its transpose, of which `out` is a strip of at most [`TILE`].
fn transpose_strip<T: Scalar>(x: &[T], rows: usize, columns: usize, first: usize, out: &mut [T]) {
    vectorised(
        #[inline(always)]
        || {
            for row in (0..rows).step_by(TILE) {
                let height = TILE.min(rows - row);
                let mut tile = [[T::ZERO; TILE]; TILE];
                if height == TILE && out.len() == TILE * rows {
                    for (i, line) in tile.iter_mut().enumerate() {
                        line.copy_from_slice(&x[(row + i) * columns + first..(row + i) * columns + first + TILE]);
                    }
                    for (j, out) in out.chunks_exact_mut(rows).enumerate() {
                        let column: [T; TILE] = std::array::from_fn(|i| tile[i][j]);
                        out[row..row + TILE].copy_from_slice(&column);
                    }
                } else {
                    for (j, out) in out.chunks_exact_mut(rows).enumerate() {
                        (row..row + height).for_each(|i| out[i] = x[i * columns + first + j]);
                    }
                }
            }
        },
    );
}

/// The row-major copy of `x` of a shape with its axes in another order.
pub(crate) fn permute<T: Scalar>(x: &[T], input: &Shape, axes: &[usize], output: &Shape) -> Buffer<T> {
    // Two groups of neighbouring axes that change places, below those that stay: transposes of matrices.
    let lead = axes.iter().enumerate().take_while(|(to, from)| to == *from).count();
    let rest = &axes[lead..];
    let split = rest.first().map_or(0, |first| first - lead);
    if !rest.is_empty() && (0..rest.len()).all(|i| rest[i] == lead + (split + i) % rest.len()) {
        let product = |sizes: &[usize]| sizes.iter().product();
        return transpose_each(x, product(&input[..lead]), product(&input[lead..lead + split]), product(&input[lead + split..]));
    }
    let own = input.strides_for(input);
    let mut strides = [0; MAX_RANK];
    axes.iter().enumerate().for_each(|(to, &from)| strides[to] = own[from]);
    gather(x, output, &strides)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposes_of_every_shape() {
        for (rows, columns) in [(0, 3), (3, 0), (1, 1), (5, 7), (16, 16), (33, 17), (300, 301)] {
            let x: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
            let y = transpose(&x, rows, columns);
            assert!((0..x.len()).all(|i| y[i % columns * rows + i / columns] == x[i]), "{rows} {columns}");
        }
    }

    #[test]
    fn lines_of_either_side_among_others() {
        for (count, size) in [(0, 3), (3, 0), (1, 1), (4, 5), (300, 301)] {
            let (from_distance, to_distance) = (size + 3, size + 2);
            let x: Vec<f32> = (0..count * from_distance + 3).map(|i| i as f32).collect();
            let mut y = vec![-1.0; count * to_distance];
            copy_lines(&x, [from_distance, 3], &mut y, [to_distance, 1], [count, size]);
            for (i, &y) in y.iter().enumerate() {
                let (line, at) = (i / to_distance, i % to_distance);
                let inside = (1..=size).contains(&at);
                assert_eq!(y, if inside { x[line * from_distance + at + 2] } else { -1.0 }, "{count} {size} {i}");
            }
        }
    }
}
