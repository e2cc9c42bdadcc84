//! One description of a model's tensors, for random initial values, for loading and for listing what a file must hold.

use gradus_autodiff::{Scalar, Tensor};
use rand::Rng;

use crate::init;

/// Where the tensors of a model under construction come from: a function of their names and shapes.
pub(crate) struct Build<'a, T: Scalar> {
    name: String,
    make: &'a mut dyn FnMut(&str, &[usize]) -> Tensor<T>,
}

impl<'a, T: Scalar> Build<'a, T> {
    pub(crate) fn new(make: &'a mut dyn FnMut(&str, &[usize]) -> Tensor<T>) -> Self {
        Self { name: String::new(), make }
    }

    /// The part of this name.
    pub(crate) fn at(&mut self, name: &str) -> Build<'_, T> {
        Build { name: self.full(name), make: &mut *self.make }
    }

    /// The same part, for a while.
    pub(crate) fn again(&mut self) -> Build<'_, T> {
        Build { name: self.name.clone(), make: &mut *self.make }
    }

    pub(crate) fn tensor(&mut self, name: &str, shape: &[usize]) -> Tensor<T> {
        let name = self.full(name);
        (self.make)(&name, shape)
    }

    fn full(&self, name: &str) -> String {
        if self.name.is_empty() { name.to_owned() } else { format!("{}.{name}", self.name) }
    }
}

/// The initial values of a transformer (Radford et al. 2019): weights from N(0, `deviation`²), those that end a residual
/// branch divided by the square root of the number of `branches`, biases 0, scales of normalisation 1.
pub(crate) fn transformer_values<T: Scalar>(
    deviation: f64,
    branches: usize,
    rng: &mut impl Rng,
) -> impl FnMut(&str, &[usize]) -> Tensor<T> {
    move |name, shape| {
        let is = |ending: &str| name.ends_with(ending);
        if is("bias") {
            Tensor::zeros(shape)
        } else if shape.len() == 1 {
            Tensor::ones(shape)
        } else if is("out_proj.weight") || is("linear2.weight") {
            init::normal(shape, deviation / (branches.max(1) as f64).sqrt(), rng)
        } else {
            init::normal(shape, deviation, rng)
        }
    }
}
