//! The truncated Newton method.

use gradus_autodiff::{Params, Tensor, linearize_gradient};
use gradus_base::Observer;

use crate::minimise::{Descent, Point, descend, value_and_gradient};
use crate::{CgStatus, ConjugateGradients, Minimum, OptimizerError, Stopping, StrongWolfe, check, vector};

/// Newton–CG with a line search (Nocedal, Wright 2006, algorithm 7.1): conjugate gradients on Hessian-vector products give
/// Newton's step as exactly as progress calls for (Eisenstat, Walker 1996, choice 2 with γ = 0.9, α = 2), or stop where
/// the curvature is negative. Converges superlinearly; for smooth functions with cheap products.
///
/// ```
/// use gradus_autodiff::{Params, Tensor};
/// use gradus_base::Silent;
/// use gradus_optimizers::{NewtonCg, Status};
///
/// let f = |x: &Tensor<f64>| (x.exp() - x * &Tensor::vector(&[1.0, 2.0, 3.0])).sum();
/// let found = NewtonCg::default().minimise(f, Tensor::zeros(&[3]), &mut Silent)?;
/// assert_eq!(found.status, Status::GradientTolerance);
/// assert!((found.params - Tensor::vector(&[1.0, 2.0, 3.0]).ln()).norm().item() < 1e-6);
/// # Ok::<(), gradus_optimizers::OptimizerError>(())
/// ```
#[derive(Debug, Clone)]
pub struct NewtonCg {
    /// The largest share of the gradient that conjugate gradients may leave, in `(0, 1)`. Nearer to 1 each step takes fewer
    /// products, and there are more steps.
    pub forcing: f64,
    /// The largest number of Hessian-vector products for one step.
    pub max_products: u64,
    /// How far each step goes.
    pub line_search: StrongWolfe,
    /// When the minimiser stops.
    pub stopping: Stopping,
}

impl Default for NewtonCg {
    fn default() -> Self {
        Self { forcing: 0.1, max_products: 200, line_search: StrongWolfe::default(), stopping: Stopping::default() }
    }
}

impl NewtonCg {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`].
    pub fn validate(&self) -> Result<(), OptimizerError> {
        check("forcing", self.forcing, self.forcing > 0.0 && self.forcing < 1.0, "in (0, 1)")?;
        check("max_products", self.max_products as f64, self.max_products > 0, "at least 1")?;
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
        let hessian = |params: &P| {
            let at = linearize_gradient(&f, params);
            move |v: &P| at.hvp(v)
        };
        self.minimise_with(|params| value_and_gradient(&f, params), hessian, start, observer)
    }

    /// The same for a function that gives its value and its gradient, and at a model its Hessian as a map of vectors.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`] for a setting outside its range.
    ///
    /// # Panics
    /// When a gradient or a product has another shape than its model.
    pub fn minimise_with<P: Params, H: FnMut(&P) -> P>(
        &self,
        value_and_gradient: impl FnMut(&P) -> (f64, P),
        hessian: impl FnMut(&P) -> H,
        start: P,
        observer: &mut dyn Observer,
    ) -> Result<Minimum<P>, OptimizerError> {
        self.validate()?;
        let &Self { forcing, max_products, .. } = self;
        let mut descent = Newton { hessian, forcing, max_products, products: 0, last: None };
        descend(value_and_gradient, start, &mut descent, &self.line_search, &self.stopping, observer)
    }
}

struct Newton<F> {
    hessian: F,
    /// The largest share of the gradient that may be left.
    forcing: f64,
    max_products: u64,
    products: u64,
    /// The norm of the gradient and the share of it that was left, at the point before.
    last: Option<(f64, f64)>,
}

impl<F> Newton<F> {
    /// Eisenstat and Walker's choice 2 with their safeguard: the share does not fall too fast after a large one.
    fn share(&mut self, norm: f64) -> f64 {
        let share = self.last.map_or(self.forcing, |(before, share)| {
            let (chosen, guard) = (0.9 * (norm / before).powi(2), 0.9 * share * share);
            if guard > 0.1 { chosen.max(guard) } else { chosen }.min(self.forcing)
        });
        self.last = Some((norm, share));
        share
    }
}

impl<P: Params, F: FnMut(&P) -> H, H: FnMut(&P) -> P> Descent<P> for Newton<F> {
    fn direction(&mut self, at: &Point<P>) -> Option<P> {
        let downhill = vector::scaled(-1.0, &at.gradient);
        let tolerance = self.share(at.gradient_norm) * at.gradient_norm;
        let solver = ConjugateGradients { tolerance, max_iterations: self.max_products, verify: false };
        let found = solver.solve((self.hessian)(&at.params), &downhill, None).ok()?;
        self.products += found.products;
        match found.status {
            CgStatus::NotFinite => None,
            // The very first direction curves down: nothing better than it is known.
            CgStatus::NegativeCurvature { .. } if found.iterations == 0 => Some(downhill),
            _ => Some(found.solution),
        }
    }

    fn first_step(&self, _at: &Point<P>) -> f64 {
        1.0
    }

    fn learn(&mut self, _step: P, _change: P) {}

    fn forget(&mut self) -> bool {
        false
    }

    fn products(&self) -> u64 {
        self.products
    }
}
