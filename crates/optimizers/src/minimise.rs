//! What the minimisers share: when they stop, what they report, and the loop of direction and line search.

use gradus_autodiff::{Params, Scalar, Tensor, value_and_grad};
use gradus_base::{Cancel, Observer};

use crate::{LineStatus, OptimizerError, StrongWolfe, check_not_negative, vector};

/// When a minimiser stops.
#[derive(Debug, Clone)]
pub struct Stopping {
    /// The Euclidean norm of the gradient to reach, at least 0.
    pub gradient_tolerance: f64,
    /// A step shorter than this times `1 + ‖x‖` is the last, at least 0.
    pub step_tolerance: f64,
    /// The largest number of iterations.
    pub max_iterations: u64,
    /// Stops the work between two iterations.
    pub cancel: Cancel,
}

impl Default for Stopping {
    fn default() -> Self {
        Self { gradient_tolerance: 1e-6, step_tolerance: 0.0, max_iterations: 1000, cancel: Cancel::new() }
    }
}

impl Stopping {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`].
    pub fn validate(&self) -> Result<(), OptimizerError> {
        check_not_negative("gradient_tolerance", self.gradient_tolerance)?;
        check_not_negative("step_tolerance", self.step_tolerance)
    }
}

/// Why a minimiser stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// The gradient's norm meets its tolerance.
    GradientTolerance,
    /// The last step is shorter than its tolerance.
    StepTolerance,
    /// The iterations are spent.
    MaxIterations,
    /// No step along a descent direction lowers the value: the minimum to rounding, a wrong gradient, or a function that falls
    /// without end, as far as its numbers reach.
    LineSearchFailed,
    /// The value or the gradient at the start is infinite or NaN, or a Hessian product is.
    NotFinite,
    /// The work was cancelled.
    Interrupted,
}

/// Where a minimiser ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Minimum<P> {
    /// The parameters.
    pub params: P,
    /// The value there.
    pub value: f64,
    /// The gradient there.
    pub gradient: P,
    /// Its Euclidean norm.
    pub gradient_norm: f64,
    /// Iterations: steps taken.
    pub iterations: u64,
    /// Evaluations of value and gradient.
    pub evaluations: u64,
    /// Hessian-vector products.
    pub products: u64,
    /// Why it stopped.
    pub status: Status,
}

/// Where a minimiser goes from a point, and what it learns on the way.
pub(crate) trait Descent<P: Params> {
    /// A direction in which the value falls; `None` where none can be told.
    fn direction(&mut self, at: &Point<P>) -> Option<P>;

    /// The step to try first along the direction.
    fn first_step(&self, at: &Point<P>) -> f64;

    /// Takes note of a step and of the change of the gradient.
    fn learn(&mut self, step: P, change: P);

    /// Forgets what was learnt; whether that changes the direction.
    fn forget(&mut self) -> bool;

    /// Hessian-vector products so far.
    fn products(&self) -> u64;
}

/// A point with its value and gradient.
pub(crate) struct Point<P> {
    pub(crate) params: P,
    pub(crate) value: f64,
    pub(crate) gradient: P,
    pub(crate) gradient_norm: f64,
}

impl<P: Params> Point<P> {
    fn new(params: P, (value, gradient): (f64, P)) -> Self {
        let gradient_norm = vector::norm(&gradient);
        Self { params, value, gradient, gradient_norm }
    }
}

/// What [`descend`] evaluates of a function of a model.
pub(crate) fn value_and_gradient<P: Params>(f: impl Fn(&P) -> Tensor<P::Elem>, params: &P) -> (f64, P) {
    let (value, gradient) = value_and_grad(f, params);
    (value.item().to_f64(), gradient)
}

/// Direction and line search in turn.
pub(crate) fn descend<P: Params>(
    mut evaluate: impl FnMut(&P) -> (f64, P),
    start: P,
    descent: &mut impl Descent<P>,
    search: &StrongWolfe,
    stopping: &Stopping,
    observer: &mut dyn Observer,
) -> Result<Minimum<P>, OptimizerError> {
    stopping.validate()?;
    search.validate()?;
    let mut evaluations = 0;
    let mut evaluate = |params: P| {
        evaluations += 1;
        let found = evaluate(&params);
        Point::new(params, found)
    };
    let mut at = evaluate(start);
    let mut iterations = 0;
    let status = loop {
        if let Some(status) = stop(&at, iterations, stopping) {
            break status;
        }
        let Some(direction) = descent.direction(&at) else { break Status::NotFinite };
        let Some((next, step)) = step_along(&mut evaluate, &at, &direction, descent.first_step(&at), search)? else {
            if descent.forget() {
                continue;
            }
            break Status::LineSearchFailed;
        };
        let length = vector::norm(&step);
        descent.learn(step, vector::difference(&next.gradient, &at.gradient));
        at = next;
        iterations += 1;
        observer.progress(iterations, Some(stopping.max_iterations), "minimising");
        if at.gradient_norm > stopping.gradient_tolerance && length <= stopping.step_tolerance * (1.0 + vector::norm(&at.params)) {
            break Status::StepTolerance;
        }
    };
    let Point { params, value, gradient, gradient_norm } = at;
    Ok(Minimum { params, value, gradient, gradient_norm, iterations, evaluations, products: descent.products(), status })
}

fn stop<P>(at: &Point<P>, iterations: u64, stopping: &Stopping) -> Option<Status> {
    if !(at.value.is_finite() && at.gradient_norm.is_finite()) {
        Some(Status::NotFinite)
    } else if at.gradient_norm <= stopping.gradient_tolerance {
        Some(Status::GradientTolerance)
    } else if iterations == stopping.max_iterations {
        Some(Status::MaxIterations)
    } else if stopping.cancel.is_cancelled() {
        Some(Status::Interrupted)
    } else {
        None
    }
}

/// Values of sums carry the rounding errors of their terms: this many units in the last place.
const ROUNDING: f64 = 64.0;

/// The point that the line search finds along a direction and the step to it, if it finds another point.
fn step_along<P: Params>(
    evaluate: &mut impl FnMut(P) -> Point<P>,
    at: &Point<P>,
    direction: &P,
    first: f64,
    search: &StrongWolfe,
) -> Result<Option<(Point<P>, P)>, OptimizerError> {
    let slope = vector::dot(direction, &at.gradient);
    if !(slope < 0.0 && slope.is_finite() && first > 0.0 && first.is_finite()) {
        return Ok(None);
    }
    let mut go = |step: f64| {
        let mut params = at.params.clone();
        vector::add_scaled(&mut params, step, direction);
        evaluate(params)
    };
    let mut last = None;
    let phi = |step: f64| {
        let point = go(step);
        let slope = vector::dot(direction, &point.gradient);
        let value = point.value;
        last = Some((step, point));
        (value, slope)
    };
    let found = search.search(phi, [at.value, slope], first, ROUNDING * vector::epsilon::<P::Elem>())?;
    let point = match last {
        _ if found.status == LineStatus::Failed => return Ok(None),
        Some((step, point)) if step == found.point.step => point,
        _ => go(found.point.step),
    };
    let step = vector::difference(&point.params, &at.params);
    // A step may be lost in the rounding of the point.
    let moved = step.leaves().into_iter().any(|x| x.as_slice().iter().any(|x| *x != P::Elem::ZERO));
    Ok(moved.then_some((point, step)))
}
