//! The limited-memory method of Broyden, Fletcher, Goldfarb and Shanno.

use std::collections::VecDeque;

use gradus_autodiff::{Params, Tensor};
use gradus_base::Observer;

use crate::minimise::{Descent, Point, descend, value_and_gradient};
use crate::{Minimum, OptimizerError, Stopping, StrongWolfe, check, vector};

/// L-BFGS (Liu, Nocedal 1989; Nocedal, Wright 2006, algorithms 7.4 and 7.5) with a strong Wolfe search. It minimises smooth
/// functions without noise from their gradients alone.
///
/// ```
/// use gradus_autodiff::{Params, Tensor};
/// use gradus_base::Silent;
/// use gradus_optimizers::{Lbfgs, Status};
///
/// let rosenbrock = |x: &Tensor<f64>| {
///     let (a, b) = (x.narrow(0, 0, 1), x.narrow(0, 1, 1));
///     ((b - a.square()).square() * 100.0 + (a - 1.0).square()).sum()
/// };
/// let found = Lbfgs::default().minimise(rosenbrock, Tensor::vector(&[-1.2, 1.0]), &mut Silent)?;
/// assert_eq!(found.status, Status::GradientTolerance);
/// assert!((found.params - 1.0).norm().item() < 1e-6);
/// # Ok::<(), gradus_optimizers::OptimizerError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Lbfgs {
    /// How many steps are remembered, at least 1.
    pub memory: usize,
    /// How far each step goes.
    pub line_search: StrongWolfe,
    /// When the minimiser stops.
    pub stopping: Stopping,
}

impl Default for Lbfgs {
    fn default() -> Self {
        Self { memory: 10, line_search: StrongWolfe::default(), stopping: Stopping::default() }
    }
}

impl Lbfgs {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`].
    pub fn validate(&self) -> Result<(), OptimizerError> {
        check("memory", self.memory as f64, self.memory > 0, "at least 1")?;
        self.line_search.validate()?;
        self.stopping.validate()
    }

    /// Minimises a function of a model.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`] for a setting outside its range.
    ///
    /// # Panics
    /// When the function's value has more than one element.
    pub fn minimise<P: Params>(
        &self,
        f: impl Fn(&P) -> Tensor<P::Elem>,
        start: P,
        observer: &mut dyn Observer,
    ) -> Result<Minimum<P>, OptimizerError> {
        self.minimise_with(|params| value_and_gradient(&f, params), start, observer)
    }

    /// The same for a function that gives its value and its gradient.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`] for a setting outside its range.
    ///
    /// # Panics
    /// When a gradient has another shape than its model.
    pub fn minimise_with<P: Params>(
        &self,
        value_and_gradient: impl FnMut(&P) -> (f64, P),
        start: P,
        observer: &mut dyn Observer,
    ) -> Result<Minimum<P>, OptimizerError> {
        self.validate()?;
        let mut descent = Memory { pairs: VecDeque::new(), size: self.memory };
        descend(value_and_gradient, start, &mut descent, &self.line_search, &self.stopping, observer)
    }
}

/// The last steps s and changes of the gradient y, the oldest first.
struct Memory<P> {
    pairs: VecDeque<Pair<P>>,
    size: usize,
}

struct Pair<P> {
    s: P,
    y: P,
    /// `s · y`, positive.
    sy: f64,
}

/// A cosine of step and change of the gradient up to this tells no curvature, only rounding.
const FLAT: f64 = 1e-10;

impl<P: Params> Descent<P> for Memory<P> {
    /// The two-loop recursion, algorithm 7.4.
    fn direction(&mut self, at: &Point<P>) -> Option<P> {
        let mut q = vector::scaled(-1.0, &at.gradient);
        let mut shares = vec![0.0; self.pairs.len()];
        for (pair, share) in self.pairs.iter().zip(&mut shares).rev() {
            *share = vector::dot(&pair.s, &q) / pair.sy;
            vector::add_scaled(&mut q, -*share, &pair.y);
        }
        if let Some(Pair { y, sy, .. }) = self.pairs.back() {
            q = vector::scaled(sy / vector::dot(y, y), &q);
        }
        for (pair, share) in self.pairs.iter().zip(&shares) {
            let taken = vector::dot(&pair.y, &q) / pair.sy;
            vector::add_scaled(&mut q, share - taken, &pair.s);
        }
        Some(q)
    }

    fn first_step(&self, at: &Point<P>) -> f64 {
        // Nothing is known of the curvature yet: a step of length 1, or the whole gradient where that is shorter.
        if self.pairs.is_empty() { (1.0 / at.gradient_norm).min(1.0) } else { 1.0 }
    }

    fn learn(&mut self, s: P, y: P) {
        let sy = vector::dot(&s, &y);
        if sy > FLAT * vector::norm(&s) * vector::norm(&y) {
            if self.pairs.len() == self.size {
                self.pairs.pop_front();
            }
            self.pairs.push_back(Pair { s, y, sy });
        }
    }

    fn forget(&mut self) -> bool {
        let some = !self.pairs.is_empty();
        self.pairs.clear();
        some
    }

    fn products(&self) -> u64 {
        0
    }
}
