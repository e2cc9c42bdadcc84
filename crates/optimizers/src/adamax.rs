//! Adamax: Adam with the infinity norm.

use gradus_autodiff::{Params, Scalar, Tensor};

use crate::{OptimizerError, Rule, check_fraction, check_like, check_not_negative, check_positive};

/// Adamax (Kingma, Ba 2015, algorithm 2): the step is divided by the largest gradient, decayed, instead of by the root
/// of the second moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adamax {
    /// The step size α, at least 0.
    pub learning_rate: f64,
    /// The decay β₁ of the first moment, in `[0, 1)`.
    pub beta1: f64,
    /// The decay β₂ of the infinity norm, in `[0, 1)`.
    pub beta2: f64,
    /// ε, positive; added to the size of the gradient, as in PyTorch, so that the paper's 0 / 0 cannot come up.
    pub epsilon: f64,
    /// λ, at least 0: the gradient of ½ λ ‖θ‖² is added to the gradient.
    pub weight_decay: f64,
}

impl Default for Adamax {
    fn default() -> Self {
        Self { learning_rate: 2e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

/// What [`Adamax`] remembers.
#[derive(Debug, Clone, PartialEq, Params)]
pub struct AdamaxState<P: Params> {
    /// Steps taken.
    #[params(skip)]
    pub step: u64,
    /// The running mean of the gradient.
    pub first_moment: P,
    /// The largest size of the gradient, decayed.
    pub infinity_norm: P,
}

impl Adamax {
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
}

impl<P: Params> Rule<P> for Adamax {
    type State = AdamaxState<P>;

    fn state_at(&self, step: u64, params: &P) -> AdamaxState<P> {
        AdamaxState { step, first_moment: params.zeros_like(), infinity_norm: params.zeros_like() }
    }

    fn check(&self, params: &P, gradient: &P, state: &AdamaxState<P>) -> Result<(), OptimizerError> {
        self.validate()?;
        check_like("the gradient", gradient, params)?;
        check_like("the first moment", &state.first_moment, params)?;
        check_like("the infinity norm", &state.infinity_norm, params)
    }

    fn update(&self, params: &mut P, gradient: &P, state: &mut AdamaxState<P>) {
        state.step += 1;
        let c = P::Elem::from_f64;
        let rate = c(self.learning_rate / (1.0 - self.beta1.powf(state.step as f64)));
        let (keep1, new1, keep2) = (c(self.beta1), c(1.0 - self.beta1), c(self.beta2));
        let (epsilon, decay) = (c(self.epsilon), c(self.weight_decay));
        let moments = state.first_moment.leaves_mut().into_iter().zip(state.infinity_norm.leaves_mut());
        for ((x, (m, u)), g) in params.leaves_mut().into_iter().zip(moments).zip(gradient.leaves()) {
            Tensor::update3(x, m, u, g, |[x, m, u], g| {
                let g = g + decay * x;
                let m = keep1 * m + new1 * g;
                let (old, new) = (keep2 * u, g.abs() + epsilon);
                let u = if old > new { old } else { new };
                [x - rate * m / u, m, u]
            });
        }
    }
}
