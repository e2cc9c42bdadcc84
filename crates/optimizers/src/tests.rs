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
    let (clipped, norm) = clip_norm(&(T64::vector(&[3.0]), T64::vector(&[4.0])), 1.0).unwrap();
    assert_eq!(norm, 5.0);
    assert!((clipped.0.item() - 0.6).abs() < 1e-15 && (clipped.1.item() - 0.8).abs() < 1e-15);
    assert_eq!(clip_norm(&T64::vector(&[0.5]), 1.0).unwrap().0.item(), 0.5);
    // The squares overflow f32, the norm does not.
    let (clipped, norm) = clip_norm(&Tensor::<f32>::vector(&[3e20, 4e20]), 1.0).unwrap();
    assert!((norm / 5e20 - 1.0).abs() < 1e-6 && (clipped.norm().item() - 1.0).abs() < 1e-6);
    let (kept, norm) = clip_norm(&T64::vector(&[f64::NAN, 1.0]), 1.0).unwrap();
    assert!(norm.is_nan() && kept.as_slice()[1] == 1.0);
    for limit in [-1.0, 0.0, f64::NAN] {
        assert!(matches!(clip_norm(&T64::vector(&[3.0]), limit), Err(OptimizerError::Setting { name: "clip_norm", .. })));
    }
}

#[test]
fn wrong_settings_and_shapes_change_nothing() {
    let mut x = T64::vector(&[1.0, 2.0]);
    let before = x.clone();
    let bad = Sgd { learning_rate: f64::NAN, momentum: 0.0 };
    let error = bad.step(&mut x, &before, &mut Rule::<T64>::init(&bad, &before)).unwrap_err();
    assert!(matches!(error, OptimizerError::Setting { name: "learning_rate", .. }));
    let heavy = Sgd { momentum: 0.9, ..Sgd::default() };
    let error = heavy.step(&mut x, &before, &mut crate::SgdState { velocity: None }).unwrap_err();
    assert_eq!(error, OptimizerError::Shape { what: "the velocity", found: 0, expected: 2 });
    let rule = Adam { beta2: 1.0, ..Adam::default() };
    let mut state = rule.init(&x);
    assert!(matches!(rule.step(&mut x, &before, &mut state), Err(OptimizerError::Setting { name: "beta2", .. })));
    let rule = Adam::default();
    let error = rule.step(&mut x, &T64::vector(&[1.0]), &mut state).unwrap_err();
    assert_eq!(error, OptimizerError::Shape { what: "the gradient", found: 1, expected: 2 });
    assert_eq!((x, state.step), (before, 0));
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn draw(count: usize, seed: u64) -> T64 {
        T64::sample(&[count], rand_distr::StandardNormal, &mut gradus_base::stream(seed, "optimizers-test", 0))
    }

    proptest! {
        /// Adam's first step moves every coordinate by the learning rate, whatever the scale of the gradient.
        #[test]
        fn the_first_step_of_adam_ignores_the_scale(count in 0usize..20, scale in 1e-3f64..1e3, seed in 0u64..1000) {
            let rule = Adam { learning_rate: 0.1, epsilon: 1e-300, ..Adam::default() };
            let mut x = draw(count, seed);
            let (before, g) = (x.clone(), draw(count, seed + 1) * scale);
            let mut state = rule.init(&x);
            rule.step(&mut x, &g, &mut state).unwrap();
            for ((a, b), g) in before.as_slice().iter().zip(x.as_slice()).zip(g.as_slice()) {
                prop_assert!((a - b - 0.1 * g.signum()).abs() < 1e-12);
            }
        }

        /// With a constant gradient, momentum's displacement is the sum of a geometric series.
        #[test]
        fn momentum_is_a_geometric_series(momentum in 0.0f64..0.99, steps in 1u32..30, seed in 0u64..1000) {
            let rule = Sgd { learning_rate: 0.01, momentum };
            let g = draw(3, seed);
            let mut x = T64::zeros(&[3]);
            let mut state = rule.init(&x);
            for _ in 0..steps {
                rule.step(&mut x, &g, &mut state).unwrap();
            }
            let factor: f64 = (1..=steps).map(|n| (0..n).map(|k| momentum.powi(k as i32)).sum::<f64>()).sum();
            for (x, g) in x.as_slice().iter().zip(g.as_slice()) {
                prop_assert!((x + 0.01 * factor * g).abs() < 1e-9 * (1.0 + factor));
            }
        }

        /// Updates in place do not reach copies of the parameters.
        #[test]
        fn copies_keep_their_values(seed in 0u64..1000) {
            let mut x = draw(5, seed);
            let (copy, values) = (x.clone(), x.to_vec());
            let g = draw(5, seed + 1);
            let mut state = Rule::<T64>::init(&Adam::default(), &x);
            Adam::default().step(&mut x, &g, &mut state).unwrap();
            Sgd::default().step(&mut x, &g, &mut crate::SgdState { velocity: None }).unwrap();
            prop_assert_eq!(copy.to_vec(), values);
        }

        #[test]
        fn clipping_bounds_the_norm(count in 1usize..20, limit in 0.01f64..10.0, seed in 0u64..1000) {
            let g = draw(count, seed);
            let (clipped, norm) = clip_norm(&g, limit).unwrap();
            prop_assert!((norm - g.norm().item()).abs() < 1e-12);
            prop_assert!(clipped.norm().item() <= limit * (1.0 + 1e-12));
            if norm <= limit { prop_assert_eq!(clipped, g); }
        }
    }
}
