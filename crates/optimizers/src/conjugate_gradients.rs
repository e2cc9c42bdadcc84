//! Conjugate gradients for symmetric positive definite linear systems.

use gradus_autodiff::Params;

use crate::{OptimizerError, check_like, check_not_negative, vector};

/// The method of conjugate gradients (Hestenes, Stiefel 1952; Nocedal, Wright 2006, algorithms 5.2 and 5.3): solves
/// `A x = b` with one product by A per iteration. Inner products are summed in 64 bits.
///
/// ```
/// use gradus_autodiff::{Params, Tensor, hvp};
/// use gradus_optimizers::{CgStatus, ConjugateGradients};
///
/// let f = |x: &Tensor<f64>| (x.square() * &Tensor::vector(&[1.0, 2.0])).sum();
/// let point = Tensor::vector(&[5.0, 5.0]);
/// let found = ConjugateGradients::default().solve(|v| hvp(f, &point, v), &Tensor::vector(&[2.0, 8.0]), None)?;
/// assert_eq!(found.status, CgStatus::Converged);
/// assert!((found.solution - Tensor::vector(&[1.0, 2.0])).norm().item() < 1e-10);
/// # Ok::<(), gradus_optimizers::OptimizerError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConjugateGradients {
    /// The Euclidean norm of the residual `b − A x` to reach, at least 0.
    pub tolerance: f64,
    /// The largest number of iterations.
    pub max_iterations: u64,
    /// Whether a residual that meets the tolerance is computed anew, since the one that is carried along drifts from it
    /// by rounding; one more product.
    pub verify: bool,
}

impl Default for ConjugateGradients {
    fn default() -> Self {
        Self { tolerance: 1e-10, max_iterations: 1000, verify: true }
    }
}

/// Why conjugate gradients stopped.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum CgStatus {
    /// The residual meets the tolerance.
    Converged,
    /// The iterations are spent.
    MaxIterations,
    /// A is not positive definite: `d · A d` is not positive for a direction d. The solution is that before the
    /// iteration, a descent direction of `½ x · A x − b · x` or zero.
    NegativeCurvature {
        /// `d · A d / d · d`.
        curvature: f64,
    },
    /// A product or the right-hand side is infinite or NaN. The solution is that before the iteration.
    NotFinite,
}

/// What conjugate gradients found.
#[derive(Debug, Clone, PartialEq)]
pub struct CgSolution<P> {
    /// The solution x.
    pub solution: P,
    /// The Euclidean norm of its residual.
    pub residual_norm: f64,
    /// Iterations made.
    pub iterations: u64,
    /// Products by A.
    pub products: u64,
    /// Why it stopped.
    pub status: CgStatus,
}

impl ConjugateGradients {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`].
    pub fn validate(&self) -> Result<(), OptimizerError> {
        check_not_negative("tolerance", self.tolerance)
    }

    /// Solves `A x = b` from `start`, or from zero. `apply` gives the product by A. A right-hand side whose norm meets the
    /// tolerance gives zero.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`] for a tolerance outside its range, [`OptimizerError::Tensors`] and
    /// [`OptimizerError::Shape`] for a start that is not like `b`.
    ///
    /// # Panics
    /// When a product has another shape than `b`.
    pub fn solve<P: Params>(&self, apply: impl FnMut(&P) -> P, b: &P, start: Option<&P>) -> Result<CgSolution<P>, OptimizerError> {
        self.solve_preconditioned(apply, P::clone, b, start)
    }

    /// The same with a preconditioner: `precondition` gives the product by a symmetric positive definite approximation of
    /// the inverse of A.
    ///
    /// # Errors
    /// Those of [`solve`](Self::solve).
    ///
    /// # Panics
    /// When a product has another shape than `b`.
    pub fn solve_preconditioned<P: Params>(
        &self,
        mut apply: impl FnMut(&P) -> P,
        mut precondition: impl FnMut(&P) -> P,
        b: &P,
        start: Option<&P>,
    ) -> Result<CgSolution<P>, OptimizerError> {
        self.validate()?;
        if let Some(start) = start {
            check_like("the start", start, b)?;
        }
        let mut products = 0;
        let mut apply = |x: &P| {
            products += 1;
            apply(x)
        };
        let b_norm = vector::norm(b);
        let mut x = start.filter(|_| b_norm > self.tolerance).map_or_else(|| b.zeros_like(), P::clone);
        let residual = |x: &P, apply: &mut dyn FnMut(&P) -> P| vector::difference(b, &apply(x));
        let mut r = if start.is_some() && b_norm > self.tolerance { residual(&x, &mut apply) } else { b.clone() };
        let mut residual_norm = vector::norm(&r);
        // Whether the residual is computed and not carried along.
        let mut exact = true;
        let mut iterations = 0;
        let mut search: Option<(P, f64)> = None;
        let status = loop {
            if !residual_norm.is_finite() {
                break CgStatus::NotFinite;
            }
            if residual_norm <= self.tolerance {
                if exact || !self.verify {
                    break CgStatus::Converged;
                }
                r = residual(&x, &mut apply);
                residual_norm = vector::norm(&r);
                (exact, search) = (true, None);
                continue;
            }
            if iterations == self.max_iterations {
                break CgStatus::MaxIterations;
            }
            let (d, rz) = {
                let z = precondition(&r);
                let rz = vector::dot(&r, &z);
                match search.take() {
                    None => (z, rz),
                    Some((mut d, before)) => {
                        vector::scale_and_add(&mut d, rz / before, &z);
                        (d, rz)
                    }
                }
            };
            let product = apply(&d);
            let curvature = vector::dot(&d, &product);
            if !(curvature.is_finite() && rz.is_finite()) {
                break CgStatus::NotFinite;
            }
            if curvature <= 0.0 {
                break CgStatus::NegativeCurvature { curvature: curvature / vector::dot(&d, &d) };
            }
            let length = rz / curvature;
            vector::add_scaled(&mut x, length, &d);
            vector::add_scaled(&mut r, -length, &product);
            residual_norm = vector::norm(&r);
            exact = false;
            iterations += 1;
            search = Some((d, rz));
        };
        Ok(CgSolution { solution: x, residual_norm, iterations, products, status })
    }
}
