//! Stochastic gradient descent with momentum.

use gradus_autodiff::{Params, Scalar, Tensor};

use crate::{OptimizerError, Rule, check, check_fraction, check_like, check_not_negative, missing};

/// Stochastic gradient descent with momentum, in PyTorch's form: `v ← μ v + g`, then `θ ← θ − η v` (heavy ball, Polyak
/// 1964) or `θ ← θ − η (g + μ v)` (Nesterov 1983, as reformulated by Sutskever, Martens, Dahl, Hinton 2013).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// The learning rate η, at least 0.
    pub learning_rate: f64,
    /// The momentum μ in `[0, 1)`; 0 keeps no velocity.
    pub momentum: f64,
    /// Whether the step looks ahead along the velocity; needs a momentum.
    pub nesterov: bool,
    /// λ, at least 0: the gradient of ½ λ ‖θ‖² is added to the gradient.
    pub weight_decay: f64,
}

impl Default for Sgd {
    fn default() -> Self {
        Self { learning_rate: 1e-2, momentum: 0.0, nesterov: false, weight_decay: 0.0 }
    }
}

/// What [`Sgd`] remembers.
#[derive(Debug, Clone, PartialEq, Params)]
pub struct SgdState<P: Params> {
    /// The velocity v; none without momentum.
    pub velocity: Option<P>,
}

impl Sgd {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`].
    pub fn validate(&self) -> Result<(), OptimizerError> {
        check_not_negative("learning_rate", self.learning_rate)?;
        check_fraction("momentum", self.momentum)?;
        check("momentum", self.momentum, self.momentum > 0.0 || !self.nesterov, "positive with nesterov")?;
        check_not_negative("weight_decay", self.weight_decay)
    }
}

impl<P: Params> Rule<P> for Sgd {
    type State = SgdState<P>;

    fn state_at(&self, _step: u64, params: &P) -> SgdState<P> {
        SgdState { velocity: (self.momentum > 0.0).then(|| params.zeros_like()) }
    }

    fn check(&self, params: &P, gradient: &P, state: &SgdState<P>) -> Result<(), OptimizerError> {
        self.validate()?;
        check_like("the gradient", gradient, params)?;
        match &state.velocity {
            Some(velocity) => check_like("the velocity", velocity, params),
            None if self.momentum > 0.0 => Err(missing("the velocity", params)),
            None => Ok(()),
        }
    }

    fn update(&self, params: &mut P, gradient: &P, state: &mut SgdState<P>) {
        let c = P::Elem::from_f64;
        let (rate, momentum, decay) = (c(self.learning_rate), c(self.momentum), c(self.weight_decay));
        let Some(velocity) = &mut state.velocity else {
            for (x, g) in params.leaves_mut().into_iter().zip(gradient.leaves()) {
                x.update(g, |x, g| x - rate * (g + decay * x));
            }
            return;
        };
        // What the step takes of the gradient and of the velocity.
        let (of_gradient, of_velocity) = if self.nesterov { (P::Elem::ONE, momentum) } else { (P::Elem::ZERO, P::Elem::ONE) };
        for ((x, v), g) in params.leaves_mut().into_iter().zip(velocity.leaves_mut()).zip(gradient.leaves()) {
            Tensor::update2(x, v, g, |[x, v], g| {
                let g = g + decay * x;
                let v = momentum * v + g;
                [x - rate * (of_gradient * g + of_velocity * v), v]
            });
        }
    }
}
