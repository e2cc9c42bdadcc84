//! Reductions of the middle axis of `[outer, n, inner]`, in a fixed order, accumulated in `f64`.

use super::parallel::*;

use super::{BLOCK, Buffer, PARALLEL, vectorised};
use crate::Scalar;

const LANES: usize = 16;
const LEAF: usize = 1024;

/// The sum of a slice: leaves of 1,024 in 64 lanes, so that no addition waits for the one before; four lanes at a time are
/// added, and those sums of all leaves in `f64`.
pub(crate) fn sum<T: Scalar>(x: &[T]) -> f64 {
    let wide = |x: &[T]| x.iter().map(|x| x.to_f64()).sum::<f64>();
    if x.len() < LANES {
        return wide(x);
    }
    vectorised(
        #[inline(always)]
        || {
            let (mut sums, mut rest) = ([0.0; LANES], 0.0);
            for leaf in x.chunks(LEAF) {
                let mut lanes = [T::ZERO; 4 * LANES];
                let (fours, tail) = leaf.as_chunks::<{ 4 * LANES }>();
                for four in fours {
                    lanes.iter_mut().zip(four).for_each(|(lane, &x)| *lane += x);
                }
                let (ones, tail) = tail.as_chunks::<LANES>();
                for one in ones {
                    lanes.iter_mut().zip(one).for_each(|(lane, &x)| *lane += x);
                }
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum += ((lanes[i] + lanes[i + LANES]) + (lanes[i + 2 * LANES] + lanes[i + 3 * LANES])).to_f64();
                }
                rest += wide(tail);
            }
            sums.iter().sum::<f64>() + rest
        },
    )
}

/// `Σ x²`, as [`sum`].
pub(crate) fn sum_of_squares<T: Scalar>(x: &[T]) -> f64 {
    vectorised(
        #[inline(always)]
        || {
            let mut total = 0.0;
            for leaf in x.chunks(LEAF) {
                let mut lanes = [T::ZERO; LANES];
                let (chunks, tail) = leaf.as_chunks::<LANES>();
                for chunk in chunks {
                    lanes.iter_mut().zip(chunk).for_each(|(lane, &x)| *lane += x * x);
                }
                let tail: f64 = tail.iter().map(|x| x.to_f64() * x.to_f64()).sum();
                total += lanes.iter().map(|x| x.to_f64()).sum::<f64>() + tail;
            }
            total
        },
    )
}

/// `total[i] += x[i]²`.
pub(crate) fn add_squares<T: Scalar>(total: &mut [f64], x: &[T]) {
    vectorised(
        #[inline(always)]
        || total.iter_mut().zip(x).for_each(|(total, x)| *total += x.to_f64() * x.to_f64()),
    );
}

/// `out[outer, inner] = Σ_n x[outer, n, inner]`.
pub(crate) fn sum_middle<T: Scalar>(x: &[T], outer: usize, n: usize, inner: usize) -> Buffer<T> {
    let mut out = Buffer::filled(T::ZERO, outer * inner);
    if out.is_empty() || n == 0 {
        return out;
    }
    if inner == 1 && outer == 1 && n >= PARALLEL {
        let parts: Vec<f64> = x.par_chunks(BLOCK).map(sum).collect();
        out[0] = T::from_f64(parts.iter().sum());
        return out;
    }
    let row = |(out, x): (&mut [T], &[T])| if inner == 1 { out[0] = T::from_f64(sum(x)) } else { sum_rows(x, out) };
    if outer < PARTS && inner > 1 && n * inner >= PARALLEL {
        out.chunks_exact_mut(inner).zip(x.chunks_exact(n * inner)).for_each(|(out, x)| sum_parts(x, out));
    } else if x.len() < PARALLEL {
        out.chunks_exact_mut(inner).zip(x.chunks_exact(n * inner)).for_each(row);
    } else {
        out.par_chunks_exact_mut(inner).zip(x.par_chunks_exact(n * inner)).for_each(row);
    }
    out
}

/// Rows summed in the element type before they are added in `f64`.
const ROWS: usize = 16;
/// Columns of which the sums stay in the first cache.
const COLUMNS: usize = 256;
/// Parts into which many rows are cut, whatever the number of threads.
const PARTS: usize = 8;

/// `sums[j] += Σ_i x[i, j]`: sixteen rows at a time, those sums in `f64`.
fn add_rows<T: Scalar>(x: &[T], sums: &mut [f64]) {
    let width = sums.len();
    vectorised(
        #[inline(always)]
        || {
            for rows in x.chunks(ROWS * width) {
                for (start, sums) in (0..).step_by(COLUMNS).zip(sums.chunks_mut(COLUMNS)) {
                    let mut narrow = [T::ZERO; COLUMNS];
                    let narrow = &mut narrow[..sums.len()];
                    for row in rows.chunks_exact(width) {
                        narrow.iter_mut().zip(&row[start..]).for_each(|(sum, &x)| *sum += x);
                    }
                    sums.iter_mut().zip(narrow).for_each(|(sum, x)| *sum += x.to_f64());
                }
            }
        },
    );
}

/// `out[j] = Σ_i x[i, j]`.
fn sum_rows<T: Scalar>(x: &[T], out: &mut [T]) {
    let mut sums = Buffer::filled(0.0, out.len());
    add_rows(x, &mut sums);
    out.iter_mut().zip(&sums[..]).for_each(|(o, &sum)| *o = T::from_f64(sum));
}

/// As [`sum_rows`], parts of the rows at the same time.
fn sum_parts<T: Scalar>(x: &[T], out: &mut [T]) {
    let width = out.len();
    let size = (x.len() / width).div_ceil(PARTS).next_multiple_of(ROWS) * width;
    let mut sums = Buffer::filled(0.0, x.len().div_ceil(size) * width);
    sums.par_chunks_exact_mut(width).zip(x.par_chunks(size)).for_each(|(sums, x)| add_rows(x, sums));
    let (first, others) = sums.split_at_mut(width);
    for part in others.chunks_exact(width) {
        first.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    out.iter_mut().zip(first).for_each(|(o, sum)| *o = T::from_f64(*sum));
}

/// `out[outer, inner] = max_n x[outer, n, inner]`; NaN wins.
pub(crate) fn max_middle<T: Scalar>(x: &[T], outer: usize, n: usize, inner: usize) -> Buffer<T> {
    let mut out = Buffer::filled(T::NEG_INFINITY, outer * inner);
    if inner == 0 || n == 0 {
        return out;
    }
    let greater = |top: T, x: T| if x > top || x.partial_cmp(&x).is_none() { x } else { top };
    let row = |(out, x): (&mut [T], &[T])| {
        vectorised(
            #[inline(always)]
            || {
                if inner == 1 {
                    let (chunks, tail) = x.as_chunks::<LANES>();
                    let mut lanes = [T::NEG_INFINITY; LANES];
                    chunks.iter().for_each(|chunk| lanes.iter_mut().zip(chunk).for_each(|(lane, &x)| *lane = greater(*lane, x)));
                    out[0] = lanes.iter().chain(tail).fold(T::NEG_INFINITY, |top, &x| greater(top, x));
                } else {
                    x.chunks_exact(inner).for_each(|x| out.iter_mut().zip(x).for_each(|(o, &x)| *o = greater(*o, x)));
                }
            },
        );
    };
    if x.len() < PARALLEL {
        out.chunks_exact_mut(inner).zip(x.chunks_exact(n * inner)).for_each(row);
    } else {
        out.par_chunks_exact_mut(inner).zip(x.par_chunks_exact(n * inner)).for_each(row);
    }
    out
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Also where the parts of many rows are summed by themselves, and by whatever number of threads.
        #[test]
        fn sums_of_columns(outer in 0usize..3, n in 0usize..400, inner in 1usize..400, seed in 0u32..1000) {
            let x: Vec<f32> = (0..outer * n * inner).map(|i| ((i as u32 ^ seed).wrapping_mul(2_654_435_761) >> 8) as f32 / 16_777_216.0).collect();
            let run = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| sum_middle(&x, outer, n, inner).to_vec());
            let sums = run(1);
            for (at, &sum) in sums.iter().enumerate() {
                let (o, j) = (at / inner, at % inner);
                let expected: f64 = (0..n).map(|i| f64::from(x[(o * n + i) * inner + j])).sum();
                prop_assert!((f64::from(sum) - expected).abs() <= 1e-6 * expected, "{}: {} and {}", at, sum, expected);
            }
            prop_assert!([2, 3, 5].into_iter().all(|threads| run(threads) == sums));
        }
    }

    /// Whole numbers, whose sums are exact.
    fn whole(seed: usize, count: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 41) as f32 - 20.0).collect()
    }

    fn check(outer: usize, n: usize, inner: usize, seed: usize) {
        let x = whole(seed, outer * n * inner);
        let column = |o: usize, j: usize| (0..n).map(move |i| (o * n + i) * inner + j);
        let expected = |fold: &dyn Fn(&mut dyn Iterator<Item = f32>) -> f32| -> Vec<f32> {
            (0..outer * inner).map(|at| fold(&mut column(at / inner, at % inner).map(|i| x[i]))).collect()
        };
        assert_eq!(&sum_middle(&x, outer, n, inner)[..], expected(&|x| x.sum()), "{outer} {n} {inner}");
        assert_eq!(&max_middle(&x, outer, n, inner)[..], expected(&|x| x.fold(f32::NEG_INFINITY, f32::max)));
    }

    #[test]
    fn large_reductions_are_those_of_plain_loops() {
        let sizes = if cfg!(miri) { [(1, 70, 1), (1, 40, 3), (2, 3, 5)] } else { [(1, 70_001, 1), (1, 1025, 67), (3, 70, 1030)] };
        sizes.into_iter().chain([(1, 0, 3), (0, 2, 1)]).for_each(|(outer, n, inner)| check(outer, n, inner, 1));
        if !cfg!(miri) {
            check(1, 65, 1100, 2);
            check(700, 101, 1, 3);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 256 }, ..ProptestConfig::default() })]
        #[test]
        fn reductions_are_those_of_plain_loops(outer in 0..5usize, n in 0..200usize, inner in 0..80usize, seed in 0..1000usize) {
            check(outer, n, inner, seed);
        }
    }
}
