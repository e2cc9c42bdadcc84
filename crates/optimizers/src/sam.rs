//! Sharpness-aware minimisation.

use gradus_autodiff::{Params, Scalar, Tensor, value_and_grad};

use crate::{OptimizerError, check_like, check_not_negative, vector};

/// A norm of the gradient up to this gives no perturbation.
const ZERO_GRADIENT: f64 = 1e-12;

/// Sharpness-aware minimisation, SAM (Foret et al. 2021) and ASAM (Kwon et al. 2021): a step along the gradient that the
/// loss has where it is largest nearby, to first order. It goes before any [`Rule`](crate::Rule).
///
/// ```
/// use gradus_autodiff::Tensor;
/// use gradus_optimizers::{Rule, Sam, Sgd};
///
/// let loss = |x: &Tensor<f64>| (x.square() * &Tensor::vector(&[1.0, 10.0])).sum();
/// let mut x = Tensor::vector(&[3.0, -2.0]);
/// let mut state = Sgd::default().init(&x);
/// for _ in 0..300 {
///     let found = Sam::default().gradient(loss, &x)?;
///     assert!(found.perturbed_value > found.value);
///     Sgd::default().step(&mut x, &found.gradient, &mut state)?;
/// }
/// assert!(loss(&x).item() < 0.1);
/// # Ok::<(), gradus_optimizers::OptimizerError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sam {
    /// The radius ρ of the neighbourhood, at least 0; 0.05 for SAM and ten times as much for ASAM are usual.
    pub rho: f64,
    /// Whether the radius is relative to the size of each weight (ASAM).
    pub adaptive: bool,
    /// η, at least 0: added to the sizes of the weights in ASAM, so that weights of 0 are perturbed too; 0.01 there.
    pub eta: f64,
}

impl Default for Sam {
    fn default() -> Self {
        Self { rho: 0.05, adaptive: false, eta: 0.0 }
    }
}

/// What [`Sam::gradient`] finds.
#[derive(Debug, Clone, PartialEq)]
pub struct SamGradient<P: Params> {
    /// The loss.
    pub value: f64,
    /// The loss at the perturbed parameters; less `value`, the sharpness.
    pub perturbed_value: f64,
    /// The gradient at the perturbed parameters, for the step.
    pub gradient: P,
    /// The gradient at the parameters.
    pub clean_gradient: P,
}

impl Sam {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`].
    pub fn validate(&self) -> Result<(), OptimizerError> {
        check_not_negative("rho", self.rho)?;
        check_not_negative("eta", self.eta)
    }

    /// The perturbation that raises the loss most, to first order: `ρ g / ‖g‖`, or `ρ T² g / ‖T g‖` with `T = |θ| + η` if
    /// adaptive; zeros where that norm is at most 1e-12. For a second pass that differs from the first, such as one
    /// that leaves running statistics alone.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`] for a setting outside its range, [`OptimizerError::Tensors`] and
    /// [`OptimizerError::Shape`] for a gradient of another model.
    pub fn perturbation<P: Params>(&self, params: &P, gradient: &P) -> Result<P, OptimizerError> {
        self.validate()?;
        check_like("the gradient", gradient, params)?;
        let eta = P::Elem::from_f64(self.eta);
        let size = |x: P::Elem| if self.adaptive { x.abs() + eta } else { P::Elem::ONE };
        let mut scaled = gradient.clone();
        for (g, x) in scaled.leaves_mut().into_iter().zip(params.leaves()) {
            g.update(x, |g, x| size(x) * g);
        }
        let norm = vector::norm(&scaled);
        if norm <= ZERO_GRADIENT {
            return Ok(params.zeros_like());
        }
        let scale = P::Elem::from_f64(self.rho / norm);
        for (g, x) in scaled.leaves_mut().into_iter().zip(params.leaves()) {
            g.update(x, |g, x| scale * size(x) * g);
        }
        Ok(scaled)
    }

    /// The gradient of `loss` at the perturbed parameters, with two gradients in all.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`] for a setting outside its range.
    ///
    /// # Panics
    /// When the loss has more than one element.
    #[track_caller]
    pub fn gradient<P: Params>(&self, loss: impl Fn(&P) -> Tensor<P::Elem>, params: &P) -> Result<SamGradient<P>, OptimizerError> {
        self.validate()?;
        let (value, clean_gradient) = value_and_grad(&loss, params);
        let mut perturbed = params.clone();
        vector::add_scaled(&mut perturbed, 1.0, &self.perturbation(params, &clean_gradient)?);
        let (perturbed_value, gradient) = value_and_grad(&loss, &perturbed);
        let [value, perturbed_value] = [value, perturbed_value].map(|x| x.item().to_f64());
        Ok(SamGradient { value, perturbed_value, gradient, clean_gradient })
    }
}
