//! Adagrad.

use gradus_autodiff::{Params, Scalar, Tensor};

use crate::{OptimizerError, Rule, check_like, check_not_negative, check_positive};

/// Adagrad with a diagonal matrix (Duchi, Hazan, Singer 2011, figure 1): `s ← s + g²`, `θ ← θ − η g / (√s + ε)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adagrad {
    /// The learning rate η, at least 0.
    pub learning_rate: f64,
    /// ε, positive; added to the root of the sum of squares.
    pub epsilon: f64,
    /// What the sum of squares starts with, at least 0.
    pub initial_sum: f64,
    /// λ, at least 0: the gradient of ½ λ ‖θ‖² is added to the gradient.
    pub weight_decay: f64,
}

impl Default for Adagrad {
    fn default() -> Self {
        Self { learning_rate: 1e-2, epsilon: 1e-10, initial_sum: 0.0, weight_decay: 0.0 }
    }
}

/// What [`Adagrad`] remembers.
#[derive(Debug, Clone, PartialEq, Params)]
pub struct AdagradState<P: Params> {
    /// The sum of the squared gradients.
    pub sum: P,
}

impl Adagrad {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`].
    pub fn validate(&self) -> Result<(), OptimizerError> {
        check_not_negative("learning_rate", self.learning_rate)?;
        check_positive("epsilon", self.epsilon)?;
        check_not_negative("initial_sum", self.initial_sum)?;
        check_not_negative("weight_decay", self.weight_decay)
    }
}

impl<P: Params> Rule<P> for Adagrad {
    type State = AdagradState<P>;

    fn state_at(&self, _step: u64, params: &P) -> AdagradState<P> {
        AdagradState { sum: params.map(|_, x| Tensor::full(P::Elem::from_f64(self.initial_sum), x.shape())) }
    }

    fn check(&self, params: &P, gradient: &P, state: &AdagradState<P>) -> Result<(), OptimizerError> {
        self.validate()?;
        check_like("the gradient", gradient, params)?;
        check_like("the sum of squares", &state.sum, params)
    }

    fn update(&self, params: &mut P, gradient: &P, state: &mut AdagradState<P>) {
        let c = P::Elem::from_f64;
        let (rate, epsilon, decay) = (c(self.learning_rate), c(self.epsilon), c(self.weight_decay));
        for ((x, s), g) in params.leaves_mut().into_iter().zip(state.sum.leaves_mut()).zip(gradient.leaves()) {
            Tensor::update2(x, s, g, |[x, s], g| {
                let g = g + decay * x;
                let s = s + g * g;
                [x - rate * g / (s.sqrt() + epsilon), s]
            });
        }
    }
}
