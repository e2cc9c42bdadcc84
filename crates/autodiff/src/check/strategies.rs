//! Strategies of proptest for shapes and tensors.
//!
//! ```
//! # #[cfg(feature = "proptest")] {
//! use gradus_autodiff::check::{gradient, strategies};
//! use proptest::prelude::*;
//!
//! proptest!(|(x in strategies::shape(3, 4).prop_flat_map(|shape| strategies::tensor(shape, -2.0..2.0)))| {
//!     gradient(|x| x.tanh().square().sum(), &x, 1e-5, 1e-7)?;
//! });
//! # }
//! ```

use proptest::prelude::*;

use crate::Tensor;

/// Shapes of up to `rank` axes (at most 8) with sizes from 0 to `size`: empty tensors and scalars too.
pub fn shape(rank: usize, size: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..=size, 0..=rank.min(crate::MAX_RANK))
}

/// Two shapes that broadcast together: from one shape, each keeps an axis, has 1 in its place, or, in front, leaves it out.
pub fn broadcastable(rank: usize, size: usize) -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> {
    shape(rank, size).prop_flat_map(|whole| {
        let axes = whole.len();
        let units = prop::collection::vec(any::<(bool, bool)>(), axes);
        (units, 0..=axes, 0..=axes, any::<bool>()).prop_map(move |(units, first, second, swap)| {
            // An axis may be 1 in one of the two, so that the common shape stays `whole` where the other has it.
            let pick = |units: Vec<bool>, cut: usize| -> Vec<usize> {
                whole.iter().zip(units).map(|(&size, unit)| if unit { 1 } else { size }).skip(cut).collect()
            };
            let left = pick(units.iter().map(|unit| unit.0).collect(), first.min(second) / 2);
            let right = pick(units.iter().map(|unit| unit.1).collect(), first.max(second));
            if swap { (right, left) } else { (left, right) }
        })
    })
}

/// Tensors of a shape with elements in a range.
pub fn tensor(shape: Vec<usize>, range: std::ops::Range<f64>) -> impl Strategy<Value = Tensor<f64>> {
    let count = shape.iter().product::<usize>();
    prop::collection::vec(range, count).prop_map(move |values| Tensor::from_fn(&shape, |i| values[i]))
}
