//! What the machine can do at most, measured in the same run: multiply-adds in registers, memory, and functions.

use std::hint::black_box;
use std::time::Instant;

use gradus_autodiff::{Tensor, fuse};
use rand_distr::StandardNormal;
use rayon::prelude::*;
use serde::Serialize;

/// Elements of an array as large as the result of W7, 64 gradients of 203,530 numbers.
const W7_RESULT: usize = 64 * 203_530;

/// The machine's limits. Of several attempts, the best counts.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Limits {
    /// The widest multiply-add that was found.
    pub(crate) instructions: &'static str,
    /// 10⁹ operations a second, of which a multiply-add is two, on one thread.
    pub(crate) one_thread: f64,
    /// The same on all threads of the run.
    pub(crate) peak: f64,
    /// The size of the last cache in MB, where the system tells.
    pub(crate) last_cache: Option<f64>,
    /// Arrays as large as the result of W7.
    pub(crate) w7_result: Bandwidth,
    /// Arrays that are larger than the last cache, where 1 GB is.
    pub(crate) memory: Bandwidth,
    /// Milliseconds for four times an exponential of a tangent of 10⁶ numbers, the functions of W10 alone: [`functions`].
    pub(crate) functions: f64,
}

/// GB/s on all threads. What a processor reads of a line before it is written over is not counted, as in McCalpin's STREAM.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Bandwidth {
    /// Of one array, in MB.
    pub(crate) size: f64,
    /// A sum.
    pub(crate) read: f64,
    /// The same number everywhere.
    pub(crate) write: f64,
    /// `a = b`.
    pub(crate) copy: f64,
    /// `a = b + s c`.
    pub(crate) triad: f64,
}

impl Limits {
    /// All of them, in about two seconds.
    pub(crate) fn measure() -> Self {
        let last_cache = last_cache();
        // Beyond 1 GB, the machine's other work would suffer.
        let beyond = (last_cache.unwrap_or(0.0) * 1.25).clamp(256.0, 1000.0);
        Self {
            instructions: instructions(),
            one_thread: multiply_adds(|steps| _ = black_box(run(steps))),
            peak: peak(),
            last_cache,
            w7_result: Bandwidth::measure(W7_RESULT, 8),
            memory: Bandwidth::measure((beyond * 1e6 / 4.0) as usize, 3),
            functions: functions(),
        }
    }

    /// Measures the peak again, in a tenth of a second: the clock is another with each minute.
    pub(crate) fn measure_peak(&mut self) {
        self.peak = self.peak.max(peak());
    }

    /// The limits as lines of text.
    pub(crate) fn describe(&self) -> String {
        let Self { instructions, one_thread, peak, functions, .. } = self;
        let cache = self.last_cache.map_or(String::new(), |mb| format!(", the last cache has {mb:.0} MB"));
        let mut text = format!(
            "Limits: {peak:.0} GF/s of {instructions} multiply-adds ({one_thread:.0} on one thread), {functions:.2} ms for the functions of W10{cache}.\n"
        );
        for Bandwidth { size, read, write, copy, triad } in [&self.w7_result, &self.memory] {
            text += &format!("Arrays of {size:.0} MB: read {read:.0}, write {write:.0}, copy {copy:.0}, triad {triad:.0} GB/s.\n");
        }
        text
    }
}

/// The shortest of so many times, in seconds.
fn shortest(attempts: usize, mut work: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    (0..attempts).map(time).fold(f64::INFINITY, f64::min)
}

/// Sums that are carried along at once: a multiply-add takes four cycles or five, and two begin in each. With the two constants
/// they fit into 16 registers. They begin with different values: of equal ones, the compiler turns registers about.
const SUMS: usize = 12;

/// 10⁹ operations a second of one thread among those that do `work`, a function of the number of [`run`]'s steps.
fn multiply_adds(work: impl Fn(usize)) -> f64 {
    // A millisecond, so that waking the threads does not count, a hundred times, so that the clock has risen.
    const STEPS: usize = 400_000;
    let operations = 2.0 * (SUMS * lanes() * STEPS) as f64;
    operations / shortest(100, || work(STEPS)) / 1e9
}

/// 10⁹ operations a second of all threads together.
fn peak() -> f64 {
    multiply_adds(|steps| _ = black_box(rayon::broadcast(|_| run(steps)))) * rayon::current_num_threads() as f64
}

/// The numbers that one multiply-add works on.
fn lanes() -> usize {
    match instructions() {
        "AVX-512" => 16,
        "AVX2" => 8,
        _ => PORTABLE_LANES,
    }
}

fn instructions() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return "AVX-512";
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return "AVX2";
        }
    }
    "portable"
}

/// `steps` multiply-adds to each of [`SUMS`] vectors of [`lanes`] numbers, all in registers.
///
/// The workspace denies `unsafe` outside the engine's kernels. Here it is allowed for the two calls below: the peak of the
/// processor is not reached by code for all processors, the standard library has no other way to call a function that was
/// compiled for more, and the functions themselves are safe.
#[allow(unsafe_code)]
fn run(steps: usize) -> f32 {
    match instructions() {
        // SAFETY: the processor has AVX-512F, says `instructions`.
        #[cfg(target_arch = "x86_64")]
        "AVX-512" => unsafe { x86::avx512(steps) },
        // SAFETY: the processor has AVX2 and FMA, says `instructions`.
        #[cfg(target_arch = "x86_64")]
        "AVX2" => unsafe { x86::avx2(steps) },
        _ => portable(steps),
    }
}

/// What the sums are multiplied by and what is added, so that they go to 1.
const FACTOR: f32 = 1.0 - TERM;
const TERM: f32 = 1.0 / 1_048_576.0;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    use super::{FACTOR, SUMS, TERM};

    #[target_feature(enable = "avx512f")]
    pub(super) fn avx512(steps: usize) -> f32 {
        let (factor, term) = (_mm512_set1_ps(black_box(FACTOR)), _mm512_set1_ps(black_box(TERM)));
        let mut sums: [__m512; SUMS] = std::array::from_fn(|i| _mm512_set1_ps(black_box(i as f32)));
        for _ in 0..steps {
            sums.iter_mut().for_each(|sum| *sum = _mm512_fmadd_ps(*sum, factor, term));
        }
        sums.into_iter().map(|sum| _mm512_reduce_add_ps(sum)).sum()
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2(steps: usize) -> f32 {
        let (factor, term) = (_mm256_set1_ps(black_box(FACTOR)), _mm256_set1_ps(black_box(TERM)));
        let mut sums: [__m256; SUMS] = std::array::from_fn(|i| _mm256_set1_ps(black_box(i as f32)));
        for _ in 0..steps {
            sums.iter_mut().for_each(|sum| *sum = _mm256_fmadd_ps(*sum, factor, term));
        }
        let total = sums.into_iter().fold(_mm256_setzero_ps(), |total, sum| _mm256_add_ps(total, sum));
        let halves = _mm_add_ps(_mm256_castps256_ps128(total), _mm256_extractf128_ps::<1>(total));
        let pairs = _mm_add_ps(halves, _mm_movehl_ps(halves, halves));
        _mm_cvtss_f32(_mm_add_ss(pairs, _mm_shuffle_ps::<1>(pairs, pairs)))
    }
}

const PORTABLE_LANES: usize = 4;

/// A product and a sum: where the target has no fused instruction for it, `mul_add` would call a function.
fn portable(steps: usize) -> f32 {
    let (factor, term) = (black_box(FACTOR), black_box(TERM));
    let mut sums: [f32; SUMS * PORTABLE_LANES] = std::array::from_fn(|i| black_box((i / PORTABLE_LANES) as f32));
    for _ in 0..steps {
        sums.iter_mut().for_each(|sum| *sum = *sum * factor + term);
    }
    sums.into_iter().sum()
}

impl Bandwidth {
    fn measure(count: usize, attempts: usize) -> Self {
        let part = count.div_ceil(rayon::current_num_threads());
        let gigabytes = |arrays: usize, seconds: f64| (arrays * count * 4) as f64 / seconds / 1e9;
        let (mut a, b, c) = (vec![1.0f32; count], vec![2.0f32; count], vec![3.0f32; count]);
        let read = shortest(attempts, || _ = black_box(b.par_chunks(part).map(sum).sum::<f32>()));
        // Zeros by the system's own routine, which may pass the caches by, or plain stores.
        let zeros = shortest(attempts, || a.par_chunks_mut(part).for_each(|a| black_box(a).fill(0.0)));
        let write = shortest(attempts, || a.par_chunks_mut(part).for_each(|a| black_box(a).fill(1.5))).min(zeros);
        let copy = shortest(attempts, || a.par_chunks_mut(part).zip(b.par_chunks(part)).for_each(|(a, b)| a.copy_from_slice(b)));
        let scale = black_box(0.5);
        let triad = shortest(attempts, || {
            let parts = a.par_chunks_mut(part).zip(b.par_chunks(part)).zip(c.par_chunks(part));
            parts.for_each(|((a, b), c)| a.iter_mut().zip(b).zip(c).for_each(|((a, b), c)| *a = b + scale * c));
        });
        black_box(a);
        Self {
            size: (count * 4) as f64 / 1e6,
            read: gigabytes(1, read),
            write: gigabytes(1, write),
            copy: gigabytes(2, copy),
            triad: gigabytes(3, triad),
        }
    }
}

/// In many partial sums, so that additions do not wait for each other.
fn sum(values: &[f32]) -> f32 {
    let mut sums = [0.0f32; 64];
    for chunk in values.chunks_exact(64) {
        sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += x);
    }
    sums.into_iter().sum()
}

/// Milliseconds for the eight functions that each number of W10 needs, and nothing else: one read, four times `exp(tanh z)`, one
/// write, in one pass by the engine's own vectorised functions on all threads. Its gradient needs no function that is not among
/// them.
fn functions() -> f64 {
    let x: Tensor = Tensor::sample(&[1_000_000], StandardNormal, &mut gradus_base::stream(0, "functions", 0));
    let chain = || fuse(|[z]| (0..4).fold(z, |z, _| z.tanh().exp()), [&x]);
    1e3 * shortest(20, || drop(black_box(chain())))
}

/// The size of the last cache in MB, where Linux tells.
fn last_cache() -> Option<f64> {
    let size = |level: usize| {
        let text = std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{level}/size")).ok()?;
        Some(text.trim().strip_suffix('K')?.parse::<f64>().ok()? * 1024.0 / 1e6)
    };
    (0..5).rev().find_map(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_does_all_steps() {
        // 0 + 1 + … + 11 in each lane, and the difference from 1 is e times smaller after 1 / TERM steps.
        let all = |lanes: usize| lanes as f32 * 66.0;
        assert_eq!([run(0), portable(0)], [all(lanes()), all(PORTABLE_LANES)]);
        let later = |lanes: usize| lanes as f32 * (12.0 + 54.0 / std::f32::consts::E);
        for (found, expected) in [(run(1 << 20), later(lanes())), (portable(1 << 20), later(PORTABLE_LANES))] {
            assert!((found / expected - 1.0).abs() < 1e-2, "{found} {expected}");
        }
    }

    #[test]
    fn sums_take_whole_chunks() {
        assert_eq!(sum(&[1.0; 128]), 128.0);
    }

    #[test]
    fn bandwidths_are_positive() {
        let some = Bandwidth::measure(1 << 12, 2);
        assert!([some.read, some.write, some.copy, some.triad].iter().all(|&x| x > 0.0 && x.is_finite()));
    }
}
