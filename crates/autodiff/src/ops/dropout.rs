//! Dropout (Srivastava et al. 2014), in the inverted form: what is kept is scaled, so that evaluation needs nothing.

use std::sync::Arc;

use rand::Rng;

use super::arithmetic::or_panic;
use crate::kernels::dropout as kernel;
use crate::node::{Cx, Rule};
use crate::{Scalar, Tensor, TensorError};

#[cfg(test)]
mod tests;

/// Which elements are kept, a bit for each, and what they are multiplied by.
struct Dropout<T> {
    kept: Arc<[u64]>,
    count: usize,
    scale: T,
}

impl<T: Scalar> Rule<T> for Dropout<T> {
    fn name(&self) -> &'static str {
        "dropout"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        cx.add(0, keep(&g, &self.kept, self.count, self.scale));
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, _: usize) -> bool {
        true
    }
}

/// The elements that are kept, scaled, and zeros; `x` may be a stack of tensors of `count` elements.
fn keep<T: Scalar>(x: &Tensor<T>, kept: &Arc<[u64]>, count: usize, scale: T) -> Tensor<T> {
    let y = Tensor::raw(kernel::keep(x.as_slice(), kept, count, scale), *x.shape_ref());
    y.record([x.node().cloned(), None, None], || Dropout { kept: kept.clone(), count, scale })
}

impl<T: Scalar> Tensor<T> {
    /// Each element is 0 with probability `rate`, and otherwise divided by `1 - rate`, so that the mean stays. `rate` lies
    /// in `[0, 1)`, and draws round it down to a multiple of 2⁻³², which shows in the mean only for rates that close to 1; 0
    /// changes nothing and draws nothing. The draws are taken in the order of the elements, so that the same stream gives the
    /// same bits. Derivatives see the choice as fixed.
    ///
    /// Whole channels of `[batch, channels, height, width]` are dropped by a product with
    /// `Tensor::ones(&[batch, channels, 1, 1]).dropout(rate, rng)`.
    ///
    /// ```
    /// use gradus_autodiff::Tensor;
    /// let mut rng = gradus_base::stream(7, "dropout", 0);
    /// let y = Tensor::<f32>::ones(&[1000]).dropout(0.2, &mut rng);
    /// assert!(y.as_slice().iter().all(|&y| y == 0.0 || y == 1.25));
    /// assert!((y.mean().item() - 1.0).abs() < 0.1);
    /// ```
    ///
    /// # Panics
    /// When the rate is outside its range; [`Tensor::try_dropout`] returns the error instead.
    #[track_caller]
    pub fn dropout(&self, rate: f64, rng: &mut impl Rng) -> Self {
        or_panic(self.try_dropout(rate, rng))
    }

    /// [`Tensor::dropout`], or that the rate is outside its range.
    ///
    /// # Errors
    /// [`TensorError::Argument`].
    #[track_caller]
    pub fn try_dropout(&self, rate: f64, rng: &mut impl Rng) -> Result<Self, TensorError> {
        if !(0.0..1.0).contains(&rate) {
            let what = format!("the rate {rate} is not in [0, 1)");
            return Err(TensorError::Argument { operation: "dropout", what, shape: self.shape().to_vec() });
        }
        if rate == 0.0 {
            return Ok(self.clone());
        }
        let threshold = (rate * 4_294_967_296.0) as u32;
        let word = |word: usize| {
            let bits = (self.count() - word * 64).min(64);
            (0..bits).fold(0u64, |kept, bit| kept | u64::from(rng.next_u32() >= threshold) << bit)
        };
        let kept: Arc<[u64]> = (0..self.count().div_ceil(64)).map(word).collect();
        Ok(keep(self, &kept, self.count(), T::from_f64(1.0 / (1.0 - rate))))
    }
}
