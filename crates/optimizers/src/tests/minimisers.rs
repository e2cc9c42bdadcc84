//! Line searches, conjugate gradients and minimisers.

use std::cell::Cell;

use gradus_autodiff::{Params, Tensor, grad, hvp, value_and_grad};
use gradus_base::{Cancel, Observer, Silent};

use super::{T64, draw, other_shape, rosenbrock};
use crate::{CgStatus, ConjugateGradients, Lbfgs, LineStatus, Minimum, NewtonCg, OptimizerError, Status, Stopping, StrongWolfe};

pub(super) const FEATURES: usize = 5;
pub(super) const RIDGE: f64 = 0.1;

/// The mean loss of a logistic regression on 40 generated examples, with a ridge.
pub(super) fn logistic_regression(w: &T64) -> T64 {
    let count = 40;
    let x = draw(count * FEATURES, 7).reshape(&[count, FEATURES]);
    let truth = x.matmul(&draw(FEATURES, 8).reshape(&[FEATURES, 1])) + draw(count, 9).reshape(&[count, 1]);
    let margins = x.matmul(&w.reshape(&[FEATURES, 1])) * truth.sign();
    (-margins).softplus().mean() + w.square().sum() * (0.5 * RIDGE)
}

fn stopping(gradient_tolerance: f64) -> Stopping {
    Stopping { gradient_tolerance, ..Stopping::default() }
}

fn lbfgs(gradient_tolerance: f64) -> Lbfgs {
    Lbfgs { stopping: stopping(gradient_tolerance), ..Lbfgs::default() }
}

fn newton(gradient_tolerance: f64) -> NewtonCg {
    NewtonCg { stopping: stopping(gradient_tolerance), ..NewtonCg::default() }
}

#[test]
fn rosenbrock_to_rounding() {
    let start = T64::vector(&[-1.2, 1.0]);
    let check = |found: Minimum<T64>, iterations: u64| {
        assert_eq!(found.status, Status::GradientTolerance);
        assert!((&found.params - 1.0).norm().item() < 1e-9, "{found:?}");
        assert!(found.iterations <= iterations, "{found:?}");
        assert_eq!(found.value, rosenbrock(&found.params).item());
        assert_eq!(found.gradient, grad(rosenbrock, &found.params));
    };
    check(lbfgs(1e-9).minimise(rosenbrock, start.clone(), &mut Silent).unwrap(), 50);
    check(newton(1e-9).minimise(rosenbrock, start, &mut Silent).unwrap(), 50);
}

/// In ten variables, from a start where the Hessian is indefinite.
#[test]
fn chained_rosenbrock() {
    let f = |x: &T64| {
        let (a, b) = (x.narrow(0, 0, 9), x.narrow(0, 1, 9));
        ((b - a.square()).square() * 100.0 + (a - 1.0).square()).sum()
    };
    let start = T64::from_fn(&[10], |i| if i % 2 == 0 { -1.2 } else { 1.0 });
    for found in [lbfgs(1e-8).minimise(f, start.clone(), &mut Silent).unwrap(), newton(1e-8).minimise(f, start, &mut Silent).unwrap()] {
        assert_eq!(found.status, Status::GradientTolerance);
        // Another stationary point lies near (−1, 1, …, 1).
        assert!(found.value < 4.0, "{found:?}");
    }
}

#[test]
fn both_minimisers_find_the_optimum_of_a_logistic_regression() {
    let start = T64::zeros(&[FEATURES]);
    let first = lbfgs(1e-12).minimise(logistic_regression, start.clone(), &mut Silent).unwrap();
    let second = newton(1e-12).minimise(logistic_regression, start, &mut Silent).unwrap();
    assert_eq!((first.status, second.status), (Status::GradientTolerance, Status::GradientTolerance));
    assert!((first.params - second.params).norm().item() <= 2e-12 / RIDGE);
    assert!(first.iterations <= 30 && second.iterations <= 10);
    assert_eq!(first.products, 0);
}

#[test]
fn single_precision_reaches_its_rounding() {
    let f = |x: &Tensor| {
        let (a, b) = (x.narrow(0, 0, 1), x.narrow(0, 1, 1));
        ((b - a.square()).square() * 100.0 + (a - 1.0).square()).sum()
    };
    for found in [
        lbfgs(1e-12).minimise(f, Tensor::vector(&[-1.2, 1.0]), &mut Silent).unwrap(),
        newton(1e-12).minimise(f, Tensor::vector(&[-1.2, 1.0]), &mut Silent).unwrap(),
    ] {
        assert!((&found.params - 1.0).norm().item() < 1e-3, "{found:?}");
        assert!(matches!(found.status, Status::GradientTolerance | Status::StepTolerance | Status::LineSearchFailed), "{found:?}");
    }
}

/// A minimum whose value is far from 0: values stop telling steps apart at distances of √ε, slopes do not.
#[test]
fn slopes_lead_on_where_values_are_rounded() {
    let f = |x: &T64| (x.square() * &T64::vector(&[1.0, 3.0, 10.0])).sum() + (x * 0.1).cos().sum() + 1e6;
    for found in [
        lbfgs(1e-9).minimise(f, T64::vector(&[1.0, -2.0, 3.0]), &mut Silent).unwrap(),
        newton(1e-9).minimise(f, T64::vector(&[1.0, -2.0, 3.0]), &mut Silent).unwrap(),
    ] {
        assert_eq!(found.status, Status::GradientTolerance, "{found:?}");
    }
}

#[test]
fn any_model_is_minimised_and_all_work_is_counted() {
    let f = |(a, b): &(T64, Vec<T64>)| (a - 1.0).square().sum() + (b[0].exp() - &b[0] * 2.0).sum() + b[1].square().sum();
    let start = || (T64::zeros(&[2, 2]), vec![T64::scalar(0.0), T64::vector(&[1.0, 2.0])]);
    let (evaluations, products) = (Cell::new(0), Cell::new(0));
    let counted = |params: &(T64, Vec<T64>)| {
        evaluations.set(evaluations.get() + 1);
        let (value, gradient) = value_and_grad(f, params);
        (value.item(), gradient)
    };
    struct Last(u64);
    impl Observer for Last {
        fn progress(&mut self, done: u64, total: Option<u64>, _stage: &str) {
            assert_eq!((done, total), (self.0 + 1, Some(1000)));
            self.0 = done;
        }
    }
    let mut watcher = Last(0);
    let found = newton(1e-9)
        .minimise_with(
            counted,
            |params| {
                let params = params.clone();
                let products = &products;
                move |v: &(T64, Vec<T64>)| {
                    products.set(products.get() + 1);
                    hvp(f, &params, v)
                }
            },
            start(),
            &mut watcher,
        )
        .unwrap();
    assert_eq!(found.status, Status::GradientTolerance);
    assert_eq!((found.evaluations, found.products, found.iterations), (evaluations.get(), products.get(), watcher.0));
    let (a, b) = &found.params;
    assert!((a - 1.0).norm().item() < 1e-9 && (b[0].item() - 2f64.ln()).abs() < 1e-9 && b[1].norm().item() < 1e-9);
    evaluations.set(0);
    let found = lbfgs(1e-9).minimise_with(counted, start(), &mut Silent).unwrap();
    assert_eq!((found.status, found.evaluations), (Status::GradientTolerance, evaluations.get()));
}

#[test]
fn each_status_says_why() {
    let square = |x: &T64| x.square().sum();
    let start = T64::vector(&[3.0, 4.0]);
    let run = |f: &dyn Fn(&T64) -> T64, stopping: Stopping, start: &T64| {
        let first = Lbfgs { stopping: stopping.clone(), ..Lbfgs::default() }.minimise(f, start.clone(), &mut Silent).unwrap();
        let second = NewtonCg { stopping, ..NewtonCg::default() }.minimise(f, start.clone(), &mut Silent).unwrap();
        assert_eq!(first.status, second.status);
        first
    };
    let found = run(&square, stopping(10.0), &start);
    assert_eq!((found.status, found.iterations, found.evaluations), (Status::GradientTolerance, 0, 1));
    assert_eq!((found.params, found.value, found.gradient_norm), (start.clone(), 25.0, 10.0));
    let found = run(&rosenbrock, Stopping { max_iterations: 3, ..Stopping::default() }, &start);
    assert_eq!((found.status, found.iterations), (Status::MaxIterations, 3));
    let found = run(&rosenbrock, Stopping { step_tolerance: 1e9, ..Stopping::default() }, &start);
    assert_eq!((found.status, found.iterations), (Status::StepTolerance, 1));
    let cancel = Cancel::new();
    cancel.cancel();
    assert_eq!(run(&square, Stopping { cancel, ..Stopping::default() }, &start).status, Status::Interrupted);
    assert_eq!(run(&|x: &T64| x.ln().sum(), Stopping::default(), &-&start).status, Status::NotFinite);
    // A kink, where no step leads down although the gradient is 1.
    let kink = |x: &T64| (x.abs() + x * 0.5).sum();
    let found = run(&|x: &T64| kink(x) + 1.0, Stopping::default(), &T64::vector(&[1e-300]));
    assert_eq!(found.status, Status::LineSearchFailed);
    // No minimum: the steps grow until they are lost in the rounding of the point.
    let found = run(&|x: &T64| -x.sum(), Stopping { step_tolerance: 0.0, ..Stopping::default() }, &start);
    assert_eq!(found.status, Status::LineSearchFailed);
    let wrong = |x: &T64| (x.square().sum().item(), x * -2.0);
    let found = Lbfgs::default().minimise_with(wrong, start.clone(), &mut Silent).unwrap();
    assert_eq!((found.status, found.params), (Status::LineSearchFailed, start.clone()));
    let found = NewtonCg::default()
        .minimise_with(|x: &T64| (x.square().sum().item(), x * 2.0), |_| |v: &T64| v * f64::NAN, start, &mut Silent)
        .unwrap();
    assert_eq!(found.status, Status::NotFinite);
}

#[test]
fn newton_leaves_regions_of_negative_curvature() {
    // Minima at (±1, 0), a saddle at the origin.
    let f = |x: &T64| {
        let (a, b) = (x.narrow(0, 0, 1), x.narrow(0, 1, 1));
        (a.square().square() * 0.25 - a.square() * 0.5 + b.square()).sum()
    };
    let found = newton(1e-10).minimise(f, T64::vector(&[1e-3, 0.5]), &mut Silent).unwrap();
    assert_eq!(found.status, Status::GradientTolerance);
    assert!((found.value + 0.25).abs() < 1e-12, "{found:?}");
}

/// Steps that only decrease can see negative curvature; L-BFGS then learns nothing from them.
#[test]
fn searches_cut_short_do_not_spoil_the_memory() {
    let f = |x: &T64| (x.cos() + x.square() * 0.01).sum();
    for seed in 0..20 {
        let line_search = StrongWolfe { max_evaluations: 3, ..StrongWolfe::default() };
        let minimiser = Lbfgs { line_search, stopping: stopping(1e-9), ..Lbfgs::default() };
        let found = minimiser.minimise(f, draw(6, seed), &mut Silent).unwrap();
        assert_eq!(found.status, Status::GradientTolerance, "{found:?}");
    }
}

#[test]
fn functions_that_end_somewhere_are_minimised_inside() {
    // −Σ ln x (1 − x) is not a number outside the unit cube, and the first steps lead outside.
    let f = |x: &T64| -(x.ln() + (x * -1.0 + 1.0).ln()).sum();
    for found in [
        lbfgs(1e-9).minimise(f, T64::vector(&[1e-3, 0.9]), &mut Silent).unwrap(),
        newton(1e-9).minimise(f, T64::vector(&[1e-3, 0.9]), &mut Silent).unwrap(),
    ] {
        assert_eq!(found.status, Status::GradientTolerance);
        assert!((found.params - 0.5).norm().item() < 1e-8);
    }
}

#[test]
fn wrong_settings_are_refused() {
    let run = |lbfgs: Lbfgs| lbfgs.minimise(|x: &T64| x.sum(), T64::zeros(&[1]), &mut Silent).unwrap_err();
    let line = |line_search| run(Lbfgs { line_search, ..Lbfgs::default() });
    let wolfe = StrongWolfe::default();
    for (error, setting) in [
        (run(Lbfgs { memory: 0, ..Lbfgs::default() }), "memory"),
        (run(lbfgs(-1.0)), "gradient_tolerance"),
        (run(Lbfgs { stopping: Stopping { step_tolerance: f64::NAN, ..Stopping::default() }, ..Lbfgs::default() }), "step_tolerance"),
        (line(StrongWolfe { sufficient_decrease: 0.5, ..wolfe }), "sufficient_decrease"),
        (line(StrongWolfe { curvature: 1e-5, ..wolfe }), "curvature"),
        (line(StrongWolfe { max_evaluations: 0, ..wolfe }), "max_evaluations"),
        (NewtonCg { forcing: 1.0, ..NewtonCg::default() }.validate().unwrap_err(), "forcing"),
        (NewtonCg { max_products: 0, ..NewtonCg::default() }.validate().unwrap_err(), "max_products"),
        (ConjugateGradients { tolerance: f64::NAN, ..ConjugateGradients::default() }.validate().unwrap_err(), "tolerance"),
        (wolfe.search(|a| (a, 1.0), [0.0, 1.0], 1.0, 0.0).unwrap_err(), "the slope"),
        (wolfe.search(|a| (a, 1.0), [f64::NAN, -1.0], 1.0, 0.0).unwrap_err(), "the value"),
        (wolfe.search(|a| (a, 1.0), [0.0, -1.0], 0.0, 0.0).unwrap_err(), "the first step"),
    ] {
        assert!(matches!(error, OptimizerError::Setting { name, .. } if name == setting), "{error}");
    }
}

#[test]
fn line_searches_by_hand() {
    let wolfe = StrongWolfe::default();
    // The cubic through two points of a parabola is that parabola: one step beyond the minimum, then the minimum.
    let parabola = |a: f64| (a * a - 2.0 * a, 2.0 * a - 2.0);
    let exact = StrongWolfe { curvature: 1e-3, ..wolfe };
    for first in [0.25, 3.0] {
        let found = exact.search(parabola, [0.0, -2.0], first, 0.0).unwrap();
        assert_eq!((found.status, found.evaluations), (LineStatus::StrongWolfe, 2));
        assert!((found.point.step - 1.0).abs() < 1e-12);
    }
    // Downhill for ever: the longest step tried.
    let found = wolfe.search(|a| (-a, -1.0), [0.0, -1.0], 1.0, 0.0).unwrap();
    assert_eq!((found.status, found.evaluations), (LineStatus::SufficientDecrease, 30));
    // A slope that lies: nothing is found, and the start is given back.
    let found = wolfe.search(|a| (a, 1.0), [0.0, -1.0], 1.0, 0.0).unwrap();
    assert_eq!((found.status, found.point.step, found.point.value), (LineStatus::Failed, 0.0, 0.0));
    let found = wolfe.search(|_| (f64::NAN, f64::NAN), [0.0, -1.0], 1.0, 0.0).unwrap();
    assert_eq!(found.status, LineStatus::Failed);
    // Values that are all the same to rounding: the slope decides.
    let found = wolfe.search(|a| (1.0, 2e-9 * (a - 1.0)), [1.0, -2e-9], 0.5, 1e-15).unwrap();
    assert_eq!(found.status, LineStatus::ApproximateWolfe);
    // Only a decrease: the evaluation is spent before the slope is small enough.
    let one = StrongWolfe { max_evaluations: 1, curvature: 0.1, ..wolfe };
    let found = one.search(parabola, [0.0, -2.0], 0.5, 0.0).unwrap();
    assert_eq!((found.status, found.point.step), (LineStatus::SufficientDecrease, 0.5));
}

/// A symmetric positive definite matrix `B Bᵀ + shift`.
fn matrix(count: usize, shift: f64, seed: u64) -> T64 {
    let b = draw(count * count, seed).reshape(&[count, count]);
    let diagonal = T64::from_fn(&[count, count], |i| if i % count == i / count { shift } else { 0.0 });
    b.matmul(&b.permute(&[1, 0])) + diagonal
}

fn times(a: &T64, x: &T64) -> T64 {
    let count = x.count();
    a.matmul(&x.reshape(&[count, 1])).reshape(&[count])
}

#[test]
fn conjugate_gradients_by_hand() {
    let solver = ConjugateGradients::default();
    let a = T64::from_vec(vec![4.0, 1.0, 1.0, 3.0], &[2, 2]).unwrap();
    let b = T64::vector(&[1.0, 2.0]);
    let found = solver.solve(|x| times(&a, x), &b, None).unwrap();
    assert_eq!((found.status, found.iterations, found.products), (CgStatus::Converged, 2, 3));
    assert!((&found.solution - T64::vector(&[1.0 / 11.0, 7.0 / 11.0])).norm().item() < 1e-15);
    // A right-hand side that meets the tolerance gives zero, from any start; a start that solves it is kept.
    let start = T64::vector(&[5.0, 5.0]);
    let found = solver.solve(|x| times(&a, x), &T64::zeros(&[2]), Some(&start)).unwrap();
    assert_eq!((found.status, found.solution, found.products), (CgStatus::Converged, T64::zeros(&[2]), 0));
    let found = solver.solve(|x| times(&a, x), &times(&a, &start), Some(&start)).unwrap();
    assert_eq!((found.status, found.solution, found.iterations, found.products), (CgStatus::Converged, start.clone(), 0, 1));
    // The exact inverse as a preconditioner leaves one iteration.
    let inverse = T64::from_vec(vec![3.0, -1.0, -1.0, 4.0], &[2, 2]).unwrap() / 11.0;
    let found = solver.solve_preconditioned(|x| times(&a, x), |r| times(&inverse, r), &b, None).unwrap();
    assert_eq!((found.status, found.iterations), (CgStatus::Converged, 1));
    let found = ConjugateGradients { max_iterations: 1, ..solver }.solve(|x| times(&a, x), &b, None).unwrap();
    assert_eq!((found.status, found.iterations), (CgStatus::MaxIterations, 1));
    assert!((found.residual_norm - (&b - &times(&a, &found.solution)).norm().item()).abs() < 1e-15);
    // −1 along the second axis; the first iteration along (1, 1) sees curvature 0.
    let indefinite = |x: &T64| x * &T64::vector(&[1.0, -1.0]);
    let found = solver.solve(indefinite, &T64::ones(&[2]), None).unwrap();
    assert_eq!((found.status, found.iterations), (CgStatus::NegativeCurvature { curvature: 0.0 }, 0));
    let found = solver.solve(indefinite, &T64::vector(&[2.0, 1.0]), None).unwrap();
    assert!(matches!(found.status, CgStatus::NegativeCurvature { curvature } if curvature < 0.0) && found.iterations == 1);
    assert_eq!(solver.solve(|x| x * f64::NAN, &b, None).unwrap().status, CgStatus::NotFinite);
    assert_eq!(solver.solve(|x| x.clone(), &(&b * f64::NAN), None).unwrap().status, CgStatus::NotFinite);
    let error = solver.solve(|x| x.clone(), &b, Some(&T64::ones(&[3]))).unwrap_err();
    assert_eq!(error, other_shape("the start", &[3], &[2]));
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Conjugate gradients are exact after as many iterations as there are unknowns.
        #[test]
        fn conjugate_gradients_end(count in 1usize..10, seed in 0u64..1000) {
            let a = matrix(count, 1.0, seed);
            let b = draw(count, seed + 1);
            let solver = ConjugateGradients { tolerance: 1e-8, ..ConjugateGradients::default() };
            let found = solver.solve(|x| times(&a, x), &b, None).unwrap();
            prop_assert_eq!(found.status, CgStatus::Converged);
            prop_assert!((&b - &times(&a, &found.solution)).norm().item() <= 1e-8);
            prop_assert!(found.iterations <= count as u64 + 2);
        }

        /// L-BFGS reaches the minimum of a quadratic, whatever its memory. With exact searches it would be the method of conjugate
        /// gradients and end after as many iterations as there are unknowns; with real ones it needs a few times as many on some.
        #[test]
        fn lbfgs_ends_on_quadratics(count in 1usize..8, memory in 1usize..10, seed in 0u64..1000) {
            let a = matrix(count, 1.0, seed);
            let b = draw(count, seed + 1);
            let f = |x: &T64| (times(&a, x) * x).sum() * 0.5 - (&b * x).sum();
            let line_search = StrongWolfe { curvature: 1e-3, ..StrongWolfe::default() };
            let minimiser = Lbfgs { memory, line_search, stopping: stopping(1e-6) };
            let found = minimiser.minimise(f, draw(count, seed + 2), &mut Silent).unwrap();
            prop_assert_eq!(found.status, Status::GradientTolerance);
            let gradient = times(&a, &found.params) - &b;
            prop_assert!(gradient.norm().item() <= 1e-6, "{} for {}", gradient.norm().item(), count);
        }

        /// Newton's method on a quadratic takes one step once its linear systems are solved well.
        #[test]
        fn minimisers_agree_with_the_linear_system(count in 1usize..8, seed in 0u64..1000) {
            let a = matrix(count, 1.0, seed);
            let b = draw(count, seed + 1);
            let f = |x: &T64| (times(&a, x) * x).sum() * 0.5 - (&b * x).sum();
            let found = newton(1e-8).minimise(f, draw(count, seed + 2), &mut Silent).unwrap();
            prop_assert_eq!(found.status, Status::GradientTolerance);
            // The smallest eigenvalue is at least 1.
            let solver = ConjugateGradients { tolerance: 1e-9, ..ConjugateGradients::default() };
            let solution = solver.solve(|x| times(&a, x), &b, None).unwrap().solution;
            prop_assert!((found.params - solution).norm().item() < 2e-8);
        }

        /// What a search accepts meets the strong Wolfe conditions, on quartics bounded from below.
        #[test]
        fn accepted_steps_meet_the_conditions(
            cubic in -3.0f64..3.0, square in -3.0f64..3.0, slope in -5.0f64..-0.01, power in -8i32..8, loose in prop::bool::ANY,
        ) {
            let phi = |a: f64| {
                let value = a * (slope + a * (square + a * (cubic + a)));
                (value, slope + a * (2.0 * square + a * (3.0 * cubic + a * 4.0)))
            };
            let wolfe = StrongWolfe { curvature: if loose { 0.9 } else { 0.01 }, ..StrongWolfe::default() };
            let found = wolfe.search(phi, [0.0, slope], 3f64.powi(power), 0.0).unwrap();
            let point = found.point;
            prop_assert_eq!(found.status, LineStatus::StrongWolfe);
            prop_assert_eq!((point.value, point.slope), phi(point.step));
            prop_assert!(point.value <= 1e-4 * point.step * slope);
            prop_assert!(point.slope.abs() <= wolfe.curvature * slope.abs());
        }

        /// Values never rise from one iteration to the next, and the report holds what the function gives.
        #[test]
        fn values_fall(seed in 0u64..1000, iterations in 1u64..6) {
            let start = draw(2, seed) * 3.0;
            let run = |max_iterations| {
                let minimiser = Lbfgs { stopping: Stopping { max_iterations, ..Stopping::default() }, ..Lbfgs::default() };
                minimiser.minimise(rosenbrock, start.clone(), &mut Silent).unwrap()
            };
            let (before, after) = (run(iterations - 1), run(iterations));
            prop_assert!(after.value <= before.value);
            prop_assert_eq!(after.gradient_norm, after.gradient.dot(&after.gradient).item().sqrt());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Every step of a minimiser meets the strong Wolfe conditions, as long as values tell one point from the next.
        #[test]
        fn steps_of_minimisers_meet_the_conditions(seed in 0u64..1000, curvature in 0.1f64..0.9) {
            let start = draw(2, seed) * 3.0;
            let search = StrongWolfe { curvature, ..StrongWolfe::default() };
            let lbfgs = |max_iterations| {
                let stopping = Stopping { max_iterations, gradient_tolerance: 1e-3, ..Stopping::default() };
                Lbfgs { line_search: search, stopping, ..Lbfgs::default() }.minimise(rosenbrock, start.clone(), &mut Silent).unwrap()
            };
            let newton = |max_iterations| {
                let stopping = Stopping { max_iterations, gradient_tolerance: 1e-3, ..Stopping::default() };
                NewtonCg { line_search: search, stopping, ..NewtonCg::default() }.minimise(rosenbrock, start.clone(), &mut Silent).unwrap()
            };
            for run in [&lbfgs as &dyn Fn(u64) -> Minimum<T64>, &newton] {
                let points: Vec<Minimum<T64>> = (0..12).map(run).collect();
                for pair in points.windows(2).filter(|pair| pair[0].iterations < pair[1].iterations) {
                    let step = &pair[1].params - &pair[0].params;
                    let [before, after] = [0, 1].map(|i| pair[i].gradient.dot(&step).item());
                    prop_assert!(before < 0.0);
                    prop_assert!(pair[1].value <= pair[0].value + 1e-4 * before + 1e-12 * pair[0].value.abs(), "{pair:?}");
                    prop_assert!(after.abs() <= curvature * before.abs() * (1.0 + 1e-9) + 1e-12, "{pair:?}");
                }
            }
        }
    }
}
