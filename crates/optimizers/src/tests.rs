use gradus_autodiff::{Params, Tensor, grad};

use crate::{Adam, OptimizerError, Rule, Sgd, clip_norm};

type T64 = Tensor<f64>;

#[test]
fn momentum_worked_step() {
    let rule = Sgd { learning_rate: 0.1, momentum: 0.5 };
    let (mut x, g) = (T64::vector(&[1.0]), T64::vector(&[2.0]));
    let mut state = rule.init(&x);
    rule.step(&mut x, &g, &mut state).unwrap();
    assert!((x.item() - 0.8).abs() < 1e-15);
    rule.step(&mut x, &g, &mut state).unwrap();
    // v = 0.5 · 2 + 2 = 3
    assert!((x.item() - 0.5).abs() < 1e-15);
}

#[test]
fn adam_worked_steps() {
    let rule = Adam { learning_rate: 0.1, ..Adam::default() };
    let mut x = T64::vector(&[1.0]);
    let mut state = rule.init(&x);
    rule.step(&mut x, &T64::vector(&[2.0]), &mut state).unwrap();
    // Bias correction makes the first step α g / (|g| + ε).
    assert!((x.item() - (1.0 - 0.1 * 2.0 / (2.0 + 1e-8))).abs() < 1e-15);
    rule.step(&mut x, &T64::vector(&[-1.0]), &mut state).unwrap();
    let (m, v) = ((0.9 * 0.2 - 0.1) / 0.19, (0.999 * 0.004 + 0.001) / (1.0 - 0.999f64.powi(2)));
    let expected = 1.0 - 0.1 * 2.0 / (2.0 + 1e-8) - 0.1 * m / (f64::sqrt(v) + 1e-8);
    assert!((x.item() - expected).abs() < 1e-12);
}

fn rosenbrock(x: &T64) -> T64 {
    let (a, b) = (x.narrow(0, 0, 1), x.narrow(0, 1, 1));
    ((&b - &a.square()).square() * 100.0 + (a - 1.0).square()).sum()
}

#[test]
fn adam_finds_the_minimum_of_rosenbrock_and_resumes_exactly() {
    let rule = Adam { learning_rate: 0.02, ..Adam::default() };
    let run = |x: &mut T64, state: &mut crate::AdamState<T64>, steps: usize| {
        for _ in 0..steps {
            let g = grad(rosenbrock, x);
            rule.step(x, &g, state).unwrap();
        }
    };
    let start = T64::vector(&[-1.2, 1.0]);
    let (mut x, mut state) = (start.clone(), rule.init(&start));
    run(&mut x, &mut state, 3000);
    let (mut y, mut saved) = (x.clone(), state.clone());
    run(&mut x, &mut state, 3000);
    run(&mut y, &mut saved, 3000);
    assert_eq!(x, y);
    assert!((x - 1.0).norm().item() < 1e-2);
}

#[test]
fn clipping_keeps_the_direction() {
    let (clipped, norm) = clip_norm(&(T64::vector(&[3.0]), T64::vector(&[4.0])), 1.0);
    assert_eq!(norm, 5.0);
    assert!((clipped.0.item() - 0.6).abs() < 1e-15 && (clipped.1.item() - 0.8).abs() < 1e-15);
    assert_eq!(clip_norm(&T64::vector(&[0.5]), 1.0).0.item(), 0.5);
}

#[test]
fn wrong_settings_and_shapes_change_nothing() {
    let mut x = T64::vector(&[1.0, 2.0]);
    let before = x.clone();
    let bad = Sgd { learning_rate: f64::NAN, momentum: 0.0 };
    let error = bad.step(&mut x, &before, &mut Rule::<T64>::init(&bad, &before)).unwrap_err();
    assert!(matches!(error, OptimizerError::Setting { name: "learning_rate", .. }));
    let rule = Adam { beta2: 1.0, ..Adam::default() };
    let mut state = rule.init(&x);
    assert!(matches!(rule.step(&mut x, &before, &mut state), Err(OptimizerError::Setting { name: "beta2", .. })));
    let rule = Adam::default();
    let error = rule.step(&mut x, &T64::vector(&[1.0]), &mut state).unwrap_err();
    assert_eq!(error, OptimizerError::Shape { what: "the gradient", found: 1, expected: 2 });
    assert_eq!((x, state.step), (before, 0));
}
