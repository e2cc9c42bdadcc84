//! Resizing by interpolation, axis by axis.

use std::sync::Arc;

use super::arithmetic::or_panic;
use crate::kernels::resize::{self, Tap};
use crate::node::{Cx, Rule};
use crate::{Scalar, Shape, Tensor, TensorError};

/// How values between the entries of an axis are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interpolation {
    /// The entry at `⌊i n / size⌋`: PyTorch's `nearest` and OpenCV's.
    Nearest,
    /// Between the two neighbours of `(i + 1/2) n / size - 1/2`, clamped to the axis: entries are pixels, whose centres lie
    /// at halves. OpenCV's `INTER_LINEAR`, PyTorch's `bilinear` with `align_corners=False`.
    Linear,
    /// Between the two neighbours of `i (n - 1) / (size - 1)`: the first and last entries stay what they are. PyTorch's
    /// `align_corners=True`.
    LinearCorners,
}

impl Interpolation {
    /// What each of `size` outputs takes of `n` entries.
    fn taps<T: Scalar>(self, n: usize, size: usize) -> Arc<[Tap<T>]> {
        let tap = |i: usize| {
            let at = match self {
                Self::Nearest => return Tap { places: [(i as u128 * n as u128 / size as u128) as usize; 2], weights: [T::ONE, T::ZERO] },
                Self::Linear => ((i as f64 + 0.5) * n as f64 / size as f64 - 0.5).max(0.0),
                Self::LinearCorners if size > 1 => i as f64 * ((n - 1) as f64 / (size - 1) as f64),
                Self::LinearCorners => 0.0,
            };
            let low = (at as usize).min(n - 1);
            let high = (low + 1).min(n - 1);
            let share = if high > low { at - low as f64 } else { 0.0 };
            Tap { places: [low, high], weights: [T::from_f64(1.0 - share), T::from_f64(share)] }
        };
        (0..size).map(tap).collect()
    }
}

/// Interpolation along the axis that has `back` axes behind it, from `n` entries to the taps, or its transpose.
struct Resize<T> {
    back: usize,
    n: usize,
    taps: Arc<[Tap<T>]>,
    outer: usize,
    transposed: bool,
}

fn along_axis<T: Scalar>(x: &Tensor<T>, back: usize, n: usize, taps: &Arc<[Tap<T>]>, transposed: bool) -> Tensor<T> {
    let axis = x.rank() - 1 - back;
    let [outer, _, inner] = x.around(axis);
    let mut shape = *x.shape_ref();
    shape.set(axis, if transposed { n } else { taps.len() });
    let values = match transposed {
        false => resize::combine(x.as_slice(), taps, [outer, n, inner]),
        true => resize::distribute(x.as_slice(), taps, [outer, n, inner]),
    };
    Tensor::raw(values, shape).record([x.node().cloned(), None, None], || Resize { back, n, taps: taps.clone(), outer, transposed })
}

impl<T: Scalar> Rule<T> for Resize<T> {
    fn name(&self) -> &'static str {
        "resize"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        cx.add(0, along_axis(&g, self.back, self.n, &self.taps, !self.transposed));
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        self.outer.is_multiple_of(batch)
    }
}

impl<T: Scalar> Tensor<T> {
    /// The last `D` axes at the given sizes: `[.., length]`, `[.., height, width]` or more, interpolated along each axis.
    ///
    /// ```
    /// use gradus_autodiff::{Interpolation, Tensor};
    /// let map: Tensor = Tensor::from_vec(vec![0.0, 4.0], &[1, 2])?;
    /// assert_eq!(map.resize([1, 4], Interpolation::Nearest).to_vec(), [0.0, 0.0, 4.0, 4.0]);
    /// assert_eq!(map.resize([1, 4], Interpolation::Linear).to_vec(), [0.0, 1.0, 3.0, 4.0]);
    /// assert_eq!(map.resize([1, 5], Interpolation::LinearCorners).to_vec(), [0.0, 1.0, 2.0, 3.0, 4.0]);
    /// # Ok::<(), gradus_autodiff::TensorError>(())
    /// ```
    ///
    /// # Panics
    /// When the sizes do not fit; [`Tensor::try_resize`] returns the error instead.
    #[track_caller]
    pub fn resize<const D: usize>(&self, size: [usize; D], interpolation: Interpolation) -> Self {
        or_panic(self.try_resize(size, interpolation))
    }

    /// [`Tensor::resize`], or what does not fit.
    ///
    /// # Errors
    /// [`TensorError::Argument`] for more sizes than there are axes, or entries made from an axis that has none;
    /// [`TensorError::TooLarge`].
    #[track_caller]
    pub fn try_resize<const D: usize>(&self, size: [usize; D], interpolation: Interpolation) -> Result<Self, TensorError> {
        let argument = |what: String| TensorError::Argument { operation: "resize", what, shape: self.shape().to_vec() };
        let Some(first) = self.rank().checked_sub(D) else { return Err(argument(format!("there are no {D} axes to resize"))) };
        if let Some((n, size)) = self.shape()[first..].iter().zip(size).find(|(n, size)| **n == 0 && *size > 0) {
            return Err(argument(format!("{size} entries cannot be made from {n}")));
        }
        // Axes are resized in turn: while some have their old sizes, others have their new ones.
        let largest: Vec<usize> = self.shape()[first..].iter().zip(size).map(|(&n, size)| n.max(size)).collect();
        Shape::new(&[&self.shape()[..first], &largest[..]].concat())?;
        let mut y = self.clone();
        for back in 0..D {
            let (n, size) = (y.shape()[y.rank() - 1 - back], size[D - 1 - back]);
            if n != size {
                y = along_axis(&y, back, n, &interpolation.taps(n, size), false);
            }
        }
        Ok(y)
    }
}
