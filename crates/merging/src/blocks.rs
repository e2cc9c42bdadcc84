//! Arrays computed block by block: each part of the inputs is read once and stays in the nearest cache until the last
//! use of it. The cuts are fixed, so that the number of threads changes no bit.

use gradus_base::Cancel;
use gradus_checkpoint::{Array, DType, FloatType, NamedArray};
use rayon::prelude::*;

use crate::MergeError;

/// Elements that are computed together.
pub(crate) const BLOCK: usize = 512;
/// Elements that one thread computes without looking up.
const PIECE: usize = 32 * BLOCK;

/// An array of the target's name and shape, F64 if the target's is, else F32 (16-bit arrays are widened), whose elements
/// from `start` on are written by `block(piece, start, elements)`. What it adds to each `piece` is returned in order.
pub(crate) fn fill<P: Send>(
    target: &Array<'_>,
    cancel: &Cancel,
    piece: impl Fn() -> P + Sync,
    block: impl Fn(&mut P, usize, &mut [f64]) -> Result<(), MergeError> + Sync,
) -> Result<(NamedArray, Vec<P>), MergeError> {
    let float = if target.dtype == DType::F64 { FloatType::F64 } else { FloatType::F32 };
    let size = float.size();
    let mut bytes = vec![0; target.count() * size];
    let of_piece = |(k, bytes): (usize, &mut [u8])| {
        cancel.check()?;
        let (mut piece, mut values) = (piece(), [0.0; BLOCK]);
        for (b, bytes) in bytes.chunks_mut(BLOCK * size).enumerate() {
            let values = &mut values[..bytes.len() / size];
            block(&mut piece, k * PIECE + b * BLOCK, values)?;
            float.write_f64(values, bytes);
        }
        Ok(piece)
    };
    let pieces = bytes.par_chunks_mut(PIECE * size).enumerate().map(of_piece).collect::<Result<_, MergeError>>()?;
    Ok((NamedArray { name: target.name.into(), dtype: float.dtype(), shape: target.shape.to_vec(), bytes }, pieces))
}

/// `Σ w x / Σ w` of each coordinate of a block over the values with a positive weight. A mean lies between its values, and
/// copies of one value give that value; rounding may not change that. NaN and infinities stay.
pub(crate) struct Means {
    sum: [f64; BLOCK],
    /// The sum of the weights.
    pub(crate) total: [f64; BLOCK],
    low: [f64; BLOCK],
    high: [f64; BLOCK],
}

impl Means {
    pub(crate) fn new() -> Self {
        Self { sum: [0.0; BLOCK], total: [0.0; BLOCK], low: [f64::INFINITY; BLOCK], high: [f64::NEG_INFINITY; BLOCK] }
    }

    /// Adds one value to each coordinate, with its weight.
    pub(crate) fn add(&mut self, values: &[f64], weights: &[f64]) {
        let ends = self.low.iter_mut().zip(&mut self.high);
        let sums = self.sum.iter_mut().zip(&mut self.total);
        for (((low, high), (sum, total)), (&value, &weight)) in ends.zip(sums).zip(values.iter().zip(weights)) {
            let used = weight > 0.0;
            // A value without weight may be anything, and 0 times infinity is not a number.
            *sum += if used { weight * value } else { 0.0 };
            *total += if used { weight } else { 0.0 };
            *low = if used & (value < *low) { value } else { *low };
            *high = if used & (value > *high) { value } else { *high };
        }
    }

    /// The means; not a number where there is no weight.
    pub(crate) fn write(&self, out: &mut [f64]) {
        for (j, out) in out.iter_mut().enumerate() {
            let mean = self.sum[j] / self.total[j];
            let above = if mean < self.low[j] { self.low[j] } else { mean };
            *out = if above > self.high[j] { self.high[j] } else { above };
        }
    }
}

/// `Σ_j a_j b_j`, in eight sums that a processor adds at once.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_keeps_its_digits_and_infinities() {
        let mean = |pairs: &[(f64, f64)]| {
            let (mut means, mut out) = (Means::new(), [0.0]);
            pairs.iter().for_each(|&(weight, value)| means.add(&[value], &[weight]));
            means.write(&mut out);
            out[0]
        };
        // A value that is large but has next to no weight takes no digits from the others.
        assert!((mean(&[(1e-20, 1e18), (100.0, 1.0)]) - 1.0001).abs() <= 1e-15);
        assert_eq!(mean(&[(0.3, f64::NEG_INFINITY), (0.7, f64::NEG_INFINITY)]), f64::NEG_INFINITY);
        assert_eq!(mean(&[(0.0, f64::NAN), (0.7, 2.0)]), 2.0);
        assert!(mean(&[(0.3, f64::NAN), (0.7, 2.0)]).is_nan());
    }

    #[test]
    fn every_element_is_computed_once() {
        let shape = [2 * PIECE + BLOCK + 3];
        let mut arrays = gradus_checkpoint::Checkpoint::new();
        arrays.insert_f64("w", &shape, &vec![0.0; shape[0]]).unwrap();
        let block = |seen: &mut usize, start: usize, out: &mut [f64]| {
            *seen += out.len();
            out.iter_mut().zip(start..).for_each(|(out, j)| *out = j as f64);
            Ok(())
        };
        let (filled, pieces) = fill(&arrays.get("w").unwrap(), &Cancel::new(), || 0, block).unwrap();
        assert_eq!(pieces, [PIECE, PIECE, BLOCK + 3]);
        arrays = gradus_checkpoint::Checkpoint::new();
        arrays.insert(filled).unwrap();
        assert!(arrays.to_f64("w").unwrap().iter().zip(0..).all(|(x, j)| *x == f64::from(j)));
    }

    #[test]
    fn a_product_of_any_length() {
        for length in [0, 1, 7, 8, 21] {
            let a: Vec<f64> = (0..length).map(f64::from).collect();
            assert_eq!(dot(&a, &a), a.iter().map(|a| a * a).sum::<f64>());
        }
    }
}
