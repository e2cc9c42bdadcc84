//! Adam.

use gradus_autodiff::{Params, Scalar, Tensor};

use crate::{OptimizerError, Rule, check_fraction, check_like, check_not_negative, check_positive};

/// Adam (Kingma, Ba 2015, algorithm 1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// The step size α, at least 0.
    pub learning_rate: f64,
    /// The decay β₁ of the first moment, in `[0, 1)`.
    pub beta1: f64,
    /// The decay β₂ of the second moment, in `[0, 1)`.
    pub beta2: f64,
    /// ε, positive; added to the root of the second moment.
    pub epsilon: f64,
    /// λ, at least 0: the gradient of ½ λ ‖θ‖² is added to the gradient. [`AdamW`](crate::AdamW) decouples the decay
    /// from the moments instead.
    pub weight_decay: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Self { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

/// What [`Adam`] remembers: continuing from a copy gives the same bits.
#[derive(Debug, Clone, PartialEq, Params)]
pub struct AdamState<P: Params> {
    /// Steps taken.
    #[params(skip)]
    pub step: u64,
    /// The running mean of the gradient.
    pub first_moment: P,
    /// The running mean of the squared gradient.
    pub second_moment: P,
}

impl<P: Params> AdamState<P> {
    pub(crate) fn new(step: u64, params: &P) -> Self {
        Self { step, first_moment: params.zeros_like(), second_moment: params.zeros_like() }
    }

    pub(crate) fn check(&self, params: &P) -> Result<(), OptimizerError> {
        check_like("the first moment", &self.first_moment, params)?;
        check_like("the second moment", &self.second_moment, params)
    }
}

impl Adam {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`].
    pub fn validate(&self) -> Result<(), OptimizerError> {
        check_not_negative("learning_rate", self.learning_rate)?;
        check_fraction("beta1", self.beta1)?;
        check_fraction("beta2", self.beta2)?;
        check_positive("epsilon", self.epsilon)?;
        check_not_negative("weight_decay", self.weight_decay)
    }

    /// One step after the parameters were multiplied by `shrink`, in the same pass.
    pub(crate) fn shrink_and_step<P: Params>(&self, shrink: f64, params: &mut P, gradient: &P, state: &mut AdamState<P>) {
        state.step += 1;
        let c = P::Elem::from_f64;
        let corrected = |beta: f64| 1.0 - beta.powf(state.step as f64);
        let rate = c(self.learning_rate / corrected(self.beta1));
        let scale = c(1.0 / corrected(self.beta2).sqrt());
        let (keep1, new1) = (c(self.beta1), c(1.0 - self.beta1));
        let (keep2, new2) = (c(self.beta2), c(1.0 - self.beta2));
        let (epsilon, decay, shrink) = (c(self.epsilon), c(self.weight_decay), c(shrink));
        let moments = state.first_moment.leaves_mut().into_iter().zip(state.second_moment.leaves_mut());
        for ((x, (m, v)), g) in params.leaves_mut().into_iter().zip(moments).zip(gradient.leaves()) {
            Tensor::update3(x, m, v, g, |[x, m, v], g| {
                let g = g + decay * x;
                let m = keep1 * m + new1 * g;
                let v = keep2 * v + new2 * (g * g);
                [shrink * x - rate * m / (v.sqrt() * scale + epsilon), m, v]
            });
        }
    }
}

impl<P: Params> Rule<P> for Adam {
    type State = AdamState<P>;

    fn state_at(&self, step: u64, params: &P) -> AdamState<P> {
        AdamState::new(step, params)
    }

    fn check(&self, params: &P, gradient: &P, state: &AdamState<P>) -> Result<(), OptimizerError> {
        self.validate()?;
        check_like("the gradient", gradient, params)?;
        state.check(params)
    }

    fn update(&self, params: &mut P, gradient: &P, state: &mut AdamState<P>) {
        self.shrink_and_step(1.0, params, gradient, state);
    }
}
