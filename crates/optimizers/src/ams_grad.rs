//! AMSGrad: Adam whose second moment never falls.

use gradus_autodiff::{Params, Scalar, Tensor};

use crate::{OptimizerError, Rule, check_fraction, check_like, check_not_negative, check_positive};

/// AMSGrad (Reddi, Kale, Kumar 2018, algorithm 2), with Adam's bias corrections as in PyTorch: the step is divided by the
/// root of the largest second moment so far, which repairs Adam's proof of convergence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AmsGrad {
    /// The step size α, at least 0.
    pub learning_rate: f64,
    /// The decay β₁ of the first moment, in `[0, 1)`.
    pub beta1: f64,
    /// The decay β₂ of the second moment, in `[0, 1)`.
    pub beta2: f64,
    /// ε, positive; added to the root of the largest second moment.
    pub epsilon: f64,
    /// λ, at least 0: the gradient of ½ λ ‖θ‖² is added to the gradient.
    pub weight_decay: f64,
    /// λ, at least 0: before the step, `θ ← (1 − α λ) θ`, as in [`AdamW`](crate::AdamW).
    pub decoupled_weight_decay: f64,
}

impl Default for AmsGrad {
    fn default() -> Self {
        Self { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, decoupled_weight_decay: 0.0 }
    }
}

/// What [`AmsGrad`] remembers.
#[derive(Debug, Clone, PartialEq, Params)]
pub struct AmsGradState<P: Params> {
    /// Steps taken.
    #[params(skip)]
    pub step: u64,
    /// The running mean of the gradient.
    pub first_moment: P,
    /// The running mean of the squared gradient.
    pub second_moment: P,
    /// The largest that each second moment has been.
    pub largest_second_moment: P,
}

impl AmsGrad {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`].
    pub fn validate(&self) -> Result<(), OptimizerError> {
        check_not_negative("learning_rate", self.learning_rate)?;
        check_fraction("beta1", self.beta1)?;
        check_fraction("beta2", self.beta2)?;
        check_positive("epsilon", self.epsilon)?;
        check_not_negative("weight_decay", self.weight_decay)?;
        check_not_negative("decoupled_weight_decay", self.decoupled_weight_decay)
    }
}

impl<P: Params> Rule<P> for AmsGrad {
    type State = AmsGradState<P>;

    fn state_at(&self, step: u64, params: &P) -> AmsGradState<P> {
        let zeros = || params.zeros_like();
        AmsGradState { step, first_moment: zeros(), second_moment: zeros(), largest_second_moment: zeros() }
    }

    fn check(&self, params: &P, gradient: &P, state: &AmsGradState<P>) -> Result<(), OptimizerError> {
        self.validate()?;
        check_like("the gradient", gradient, params)?;
        check_like("the first moment", &state.first_moment, params)?;
        check_like("the second moment", &state.second_moment, params)?;
        check_like("the largest second moment", &state.largest_second_moment, params)
    }

    fn update(&self, params: &mut P, gradient: &P, state: &mut AmsGradState<P>) {
        state.step += 1;
        let c = P::Elem::from_f64;
        let corrected = |beta: f64| 1.0 - beta.powf(state.step as f64);
        let rate = c(self.learning_rate / corrected(self.beta1));
        let scale = c(1.0 / corrected(self.beta2).sqrt());
        let (keep1, new1) = (c(self.beta1), c(1.0 - self.beta1));
        let (keep2, new2) = (c(self.beta2), c(1.0 - self.beta2));
        let (epsilon, decay) = (c(self.epsilon), c(self.weight_decay));
        let shrink = c(1.0 - self.learning_rate * self.decoupled_weight_decay);
        let second = state.second_moment.leaves_mut().into_iter().zip(state.largest_second_moment.leaves_mut());
        let moments = state.first_moment.leaves_mut().into_iter().zip(second);
        for ((x, (m, (v, largest))), g) in params.leaves_mut().into_iter().zip(moments).zip(gradient.leaves()) {
            Tensor::update4([x, m, v, largest], g, |[x, m, v, largest], g| {
                let g = g + decay * x;
                let m = keep1 * m + new1 * g;
                let v = keep2 * v + new2 * (g * g);
                let largest = if largest > v { largest } else { v };
                [shrink * x - rate * m / (largest.sqrt() * scale + epsilon), m, v, largest]
            });
        }
    }
}
