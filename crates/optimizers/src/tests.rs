use gradus_autodiff::{Params, Tensor, grad};

use crate::{Adagrad, Adam, AdamW, Adamax, AmsGrad, Lion, OptimizerError, RmsProp, Rule, Schedule, Scheduled, Sgd, clip_norm};

mod minimisers;
mod training;

type T64 = Tensor<f64>;

fn draw(count: usize, seed: u64) -> T64 {
    T64::sample(&[count], rand_distr::StandardNormal, &mut gradus_base::stream(seed, "optimizers-test", 0))
}

/// What a model of one tensor answers to a tensor of another shape.
fn other_shape(what: &'static str, found: &[usize], expected: &[usize]) -> OptimizerError {
    OptimizerError::Shape { what, tensor: String::new(), found: found.into(), expected: expected.into() }
}

#[test]
fn momentum_worked_step() {
    let rule = Sgd { learning_rate: 0.1, momentum: 0.5, ..Sgd::default() };
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

/// `steps` steps down `f`.
fn descend<R: Rule<T64>>(rule: &R, f: impl Fn(&T64) -> T64, x: &mut T64, state: &mut R::State, steps: usize) {
    for _ in 0..steps {
        let g = grad(&f, x);
        rule.step(x, &g, state).unwrap();
    }
}

/// The rule goes on from its state's tensors after an odd number of steps as if nothing had happened, and both find the
/// minimum of Rosenbrock's function and of a logistic regression.
#[track_caller]
fn converges_and_resumes<R: Rule<T64, State: PartialEq + std::fmt::Debug>>(rule: &R, steps: usize, logistic: &R, logistic_steps: usize) {
    let start = T64::vector(&[-1.2, 1.0]);
    let (mut x, mut state) = (start.clone(), rule.init(&start));
    descend(rule, rosenbrock, &mut x, &mut state, 777);
    let (mut y, mut saved) = (x.clone(), rule.state_at(777, &x));
    for (to, from) in saved.leaves_mut().into_iter().zip(state.leaves()) {
        *to = from.clone();
    }
    assert_eq!(saved, state);
    descend(rule, rosenbrock, &mut x, &mut state, steps - 777);
    descend(rule, rosenbrock, &mut y, &mut saved, steps - 777);
    assert_eq!((&x, state), (&y, saved));
    assert!((&x - 1.0).norm().item() < 1e-2, "Rosenbrock: {x:?}");

    let mut w = T64::zeros(&[minimisers::FEATURES]);
    let mut state = logistic.init(&w);
    descend(logistic, minimisers::logistic_regression, &mut w, &mut state, logistic_steps);
    // The regression is strongly convex: the gradient bounds the distance from the optimum.
    let distance = grad(minimisers::logistic_regression, &w).norm().item() / minimisers::RIDGE;
    assert!(distance < 1e-2, "logistic regression: {distance} from the optimum");
}

#[test]
fn rules_converge_and_resume_exactly() {
    let sgd = Sgd { learning_rate: 1e-3, momentum: 0.9, ..Sgd::default() };
    let plain = Sgd { learning_rate: 1.5e-3, ..Sgd::default() };
    converges_and_resumes(&plain, 15000, &Sgd { learning_rate: 0.5, ..plain }, 300);
    converges_and_resumes(&sgd, 4000, &Sgd { learning_rate: 0.2, ..sgd }, 300);
    let nesterov = Sgd { nesterov: true, ..sgd };
    converges_and_resumes(&nesterov, 4000, &Sgd { learning_rate: 0.2, ..nesterov }, 300);
    let adam = Adam { learning_rate: 0.02, ..Adam::default() };
    converges_and_resumes(&adam, 6000, &adam, 600);
    let adam_w = AdamW { learning_rate: 0.02, weight_decay: 1e-6, ..AdamW::default() };
    converges_and_resumes(&adam_w, 6000, &adam_w, 600);
    let ams_grad = AmsGrad { learning_rate: 0.2, ..AmsGrad::default() };
    converges_and_resumes(&ams_grad, 6000, &ams_grad, 600);
    let adamax = Adamax { learning_rate: 0.1, ..Adamax::default() };
    converges_and_resumes(&adamax, 6000, &adamax, 600);
    let adagrad = Adagrad { learning_rate: 0.5, ..Adagrad::default() };
    converges_and_resumes(&adagrad, 10000, &adagrad, 600);
}

/// These move by their rate until the end: the rate must fall.
#[test]
fn scheduled_rules_converge_and_resume_exactly() {
    fn lion(scale: f64, steps: u64) -> Scheduled<impl Fn(u64) -> Lion> {
        let schedule = Schedule::cosine(steps);
        Scheduled(move |step| Lion { learning_rate: scale * schedule.at(step), ..Lion::default() })
    }
    let both = lion(0.02, 6000);
    converges_and_resumes(&both, 6000, &both, 6000);
    for (centered, momentum, tensorflow) in [(false, 0.0, false), (true, 0.0, false), (false, 0.9, true), (true, 0.5, false)] {
        let schedule = Schedule::cosine(6000);
        let rule = Scheduled(move |step| RmsProp {
            learning_rate: 0.01 * (1.0 - momentum) * schedule.at(step),
            centered,
            momentum,
            tensorflow,
            ..RmsProp::default()
        });
        converges_and_resumes(&rule, 6000, &rule, 6000);
    }
}

/// Elements do not see each other: a tensor that is long enough for threads moves as its parts do.
#[test]
fn long_tensors_move_as_their_parts() {
    fn check<R>(rule: &R)
    where
        R: Rule<T64> + Rule<Vec<T64>>,
    {
        let count = 100_003;
        let parts = |x: &T64| vec![x.narrow(0, 0, 40_000), x.narrow(0, 40_000, count - 40_000)];
        let (mut x, gradients) = (draw(count, 1), [draw(count, 2), draw(count, 3)]);
        let mut y = parts(&x);
        let (mut x_state, mut y_state) = (rule.init(&x), rule.init(&y));
        for g in &gradients {
            rule.step(&mut x, g, &mut x_state).unwrap();
            rule.step(&mut y, &parts(g), &mut y_state).unwrap();
        }
        assert_eq!(Tensor::concat(&y, 0), x);
    }
    check(&Sgd { momentum: 0.5, ..Sgd::default() });
    check(&Adam::default());
    check(&AmsGrad::default());
    check(&RmsProp { momentum: 0.5, centered: true, ..RmsProp::default() });
}

#[test]
fn nesterov_worked_step() {
    let rule = Sgd { learning_rate: 0.1, momentum: 0.5, nesterov: true, weight_decay: 0.5 };
    let (mut x, g) = (T64::vector(&[1.0]), T64::vector(&[2.0]));
    let mut state = rule.init(&x);
    rule.step(&mut x, &g, &mut state).unwrap();
    // g = 2 + 0.5 · 1, v = 2.5, and the step is 2.5 + 0.5 · 2.5.
    assert!((x.item() - 0.625).abs() < 1e-15);
}

#[test]
fn adam_w_worked_step() {
    let rule = AdamW { learning_rate: 0.1, weight_decay: 0.5, ..AdamW::default() };
    let mut x = T64::vector(&[2.0]);
    let mut state = rule.init(&x);
    rule.step(&mut x, &T64::vector(&[-3.0]), &mut state).unwrap();
    // (1 − 0.1 · 0.5) · 2 + 0.1
    assert!((x.item() - 2.0).abs() < 1e-9);
    assert!((state.first_moment.item() + 0.3).abs() < 1e-15 && (state.second_moment.item() - 0.009).abs() < 1e-15);
}

#[test]
fn ams_grad_keeps_the_largest_moment() {
    let rule = AmsGrad { learning_rate: 0.1, beta1: 0.0, beta2: 0.5, epsilon: 1e-300, ..AmsGrad::default() };
    let mut x = T64::vector(&[0.0]);
    let mut state = rule.init(&x);
    rule.step(&mut x, &T64::vector(&[4.0]), &mut state).unwrap();
    assert!((x.item() + 0.1).abs() < 1e-15 && state.largest_second_moment.item() == 8.0);
    rule.step(&mut x, &T64::vector(&[1.0]), &mut state).unwrap();
    // The second moment fell to 4.5; the step is 0.1 · 1 / √(8 / 0.75).
    assert_eq!((state.second_moment.item(), state.largest_second_moment.item()), (4.5, 8.0));
    assert!((x.item() + 0.1 + 0.1 / (8.0f64 / 0.75).sqrt()).abs() < 1e-15);
}

#[test]
fn lion_worked_steps() {
    let rule = Lion { learning_rate: 0.25, beta1: 0.5, beta2: 0.75, weight_decay: 0.5 };
    let mut x = T64::vector(&[2.0, 1.0]);
    let mut state = rule.init(&x);
    rule.step(&mut x, &T64::vector(&[4.0, 0.0]), &mut state).unwrap();
    // 2 − 0.25 (1 + 0.5 · 2), and only the decay where the gradient is zero.
    assert_eq!((x.to_vec(), state.momentum.to_vec()), (vec![1.5, 0.875], vec![1.0, 0.0]));
    rule.step(&mut x, &T64::vector(&[-0.5, -1.0]), &mut state).unwrap();
    // The momentum outweighs the gradient: sign(0.5 · 1 − 0.5 · 0.5) = 1.
    assert_eq!((x.to_vec(), state.momentum.to_vec()), (vec![1.0625, 1.015625], vec![0.625, -0.25]));
}

#[test]
fn rms_prop_of_tensorflow_worked_step() {
    let rule = RmsProp { learning_rate: 0.1, decay: 0.75, epsilon: 0.25, tensorflow: true, ..RmsProp::default() };
    let mut x = T64::vector(&[1.0]);
    let mut state = rule.init(&x);
    rule.step(&mut x, &T64::vector(&[5.0f64.sqrt()]), &mut state).unwrap();
    // s = 0.75 · 1 + 0.25 · 5 = 2, and the step is 0.1 √5 / √2.25.
    assert!((x.item() - (1.0 - 0.1 * 5f64.sqrt() / 1.5)).abs() < 1e-15);
}

#[test]
fn the_variance_of_a_constant_gradient_is_not_negative() {
    // Rounding makes the mean square less than the squared mean after some thousand steps.
    let rule = RmsProp { centered: true, epsilon: 1.0, ..RmsProp::default() };
    for g in [0.3f32, 1.7, 7.7] {
        let (mut x, g) = (Tensor::vector(&[1.0f32]), Tensor::vector(&[g]));
        let mut state = rule.init(&x);
        (0..4000).for_each(|_| rule.step(&mut x, &g, &mut state).unwrap());
        assert!(x.is_finite(), "{x:?} {state:?}");
    }
}

#[test]
fn errors_name_the_tensor_with_both_shapes() {
    let x = vec![(T64::zeros(&[2, 3]), T64::zeros(&[3])); 2];
    let mut wrong = x.clone();
    wrong[1].0 = T64::zeros(&[3, 2]);
    let error = Sgd::default().step(&mut x.clone(), &wrong, &mut Sgd::default().init(&x)).unwrap_err();
    let expected = r#"the gradient has shape [3, 2], but the model's tensor "1.0" has [2, 3]"#;
    assert_eq!(error.to_string(), expected);
    let error = Adam::default().step(&mut x.clone(), &x[..1].to_vec(), &mut Adam::default().init(&x)).unwrap_err();
    assert_eq!(error.to_string(), "the gradient has 2 tensors, but the model has 4");
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
    for scale in [1e200, 1e-200] {
        let (_, norm) = clip_norm(&(T64::vector(&[3.0, 4.0]) * scale), 1.0).unwrap();
        assert!((norm / (5.0 * scale) - 1.0).abs() < 1e-14);
    }
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
    let bad = Sgd { learning_rate: f64::NAN, ..Sgd::default() };
    let error = bad.step(&mut x, &before, &mut Rule::<T64>::init(&bad, &before)).unwrap_err();
    assert!(matches!(error, OptimizerError::Setting { name: "learning_rate", .. }));
    let heavy = Sgd { momentum: 0.9, ..Sgd::default() };
    let error = heavy.step(&mut x, &before, &mut crate::SgdState { velocity: None }).unwrap_err();
    assert_eq!(error, OptimizerError::Tensors { what: "the velocity", found: 0, expected: 1 });
    let rule = Adam { beta2: 1.0, ..Adam::default() };
    let mut state = rule.init(&x);
    assert!(matches!(rule.step(&mut x, &before, &mut state), Err(OptimizerError::Setting { name: "beta2", .. })));
    let rule = Adam::default();
    let error = rule.step(&mut x, &T64::vector(&[1.0]), &mut state).unwrap_err();
    assert_eq!(error, other_shape("the gradient", &[1], &[2]));
    assert_eq!((x, state.step), (before, 0));
}

/// A rule with a wrong setting, a gradient or a state of another model: the error, and nothing has moved.
#[track_caller]
fn refuses<R: Rule<T64, State: Clone + PartialEq + std::fmt::Debug>>(rule: &R, wrong: &[(R, &str)], states: usize) {
    let x = T64::vector(&[1.0, 2.0]);
    let try_step = |rule: &R, gradient: &T64, state: R::State| {
        let (mut moved, mut changed) = (x.clone(), state.clone());
        let error = rule.step(&mut moved, gradient, &mut changed).unwrap_err();
        assert_eq!((&moved, changed), (&x, state));
        error
    };
    for (wrong, setting) in wrong {
        let error = try_step(wrong, &x, rule.init(&x));
        assert!(matches!(error, OptimizerError::Setting { name, .. } if name == *setting), "{error}");
    }
    let long = T64::zeros(&[3]);
    assert_eq!(try_step(rule, &long, rule.init(&x)), other_shape("the gradient", &[3], &[2]));
    assert_eq!(rule.init(&x).leaves().len(), states);
    for wrong in 0..states {
        let mut state = rule.init(&x);
        *state.leaves_mut()[wrong] = long.clone();
        assert!(matches!(try_step(rule, &x, state), OptimizerError::Shape { found, expected, .. } if found == [3] && expected == [2]));
    }
}

#[test]
fn every_rule_refuses_what_is_wrong() {
    let sgd = Sgd { momentum: 0.5, ..Sgd::default() };
    let wrong = [
        (Sgd { learning_rate: -1.0, ..sgd }, "learning_rate"),
        (Sgd { momentum: 1.0, ..sgd }, "momentum"),
        (Sgd { momentum: 0.0, nesterov: true, ..sgd }, "momentum"),
        (Sgd { weight_decay: f64::NAN, ..sgd }, "weight_decay"),
    ];
    refuses(&sgd, &wrong, 1);
    let adam = Adam::default();
    refuses(&adam, &[(Adam { epsilon: 0.0, ..adam }, "epsilon"), (Adam { weight_decay: -1.0, ..adam }, "weight_decay")], 2);
    let adam_w = AdamW::default();
    refuses(&adam_w, &[(AdamW { beta1: -0.1, ..adam_w }, "beta1"), (AdamW { weight_decay: -1.0, ..adam_w }, "weight_decay")], 2);
    let ams_grad = AmsGrad::default();
    let wrong = [
        (AmsGrad { beta2: 1.0, ..ams_grad }, "beta2"),
        (AmsGrad { decoupled_weight_decay: f64::INFINITY, ..ams_grad }, "decoupled_weight_decay"),
    ];
    refuses(&ams_grad, &wrong, 3);
    refuses(&Adamax::default(), &[(Adamax { beta1: f64::NAN, ..Adamax::default() }, "beta1")], 2);
    let rms_prop = RmsProp { momentum: 0.5, centered: true, ..RmsProp::default() };
    let wrong = [(RmsProp { decay: 1.0, ..rms_prop }, "decay"), (RmsProp { momentum: 1.5, ..rms_prop }, "momentum")];
    refuses(&rms_prop, &wrong, 3);
    let adagrad = Adagrad::default();
    refuses(&adagrad, &[(Adagrad { initial_sum: -1.0, ..adagrad }, "initial_sum")], 1);
    let lion = Lion::default();
    refuses(&lion, &[(Lion { beta2: 1.0, ..lion }, "beta2"), (Lion { learning_rate: f64::INFINITY, ..lion }, "learning_rate")], 1);
    let scheduled = |rate: f64| Scheduled(move |_| Lion { learning_rate: rate, ..Lion::default() });
    refuses(&scheduled(1.0), &[(scheduled(-1.0), "learning_rate")], 1);
    // A state without what the settings need.
    let state = RmsProp::default().init(&T64::zeros(&[2]));
    let error = rms_prop.check(&T64::zeros(&[2]), &T64::zeros(&[2]), &state).unwrap_err();
    assert_eq!(error, OptimizerError::Tensors { what: "the mean", found: 0, expected: 1 });
}

mod properties {
    use super::*;
    use proptest::prelude::*;

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

        /// The steps of Adam do not change with the scale of the gradients as ε goes to 0.
        #[test]
        fn adam_ignores_the_scale(scale in 1e-3f64..1e3, seed in 0u64..1000) {
            let rule = Adam { learning_rate: 0.1, epsilon: 1e-300, ..Adam::default() };
            let (mut x, mut y) = (draw(4, seed), draw(4, seed));
            let (mut x_state, mut y_state) = (rule.init(&x), rule.init(&y));
            for step in 0..5 {
                let g = draw(4, seed + 1 + step);
                rule.step(&mut x, &g, &mut x_state).unwrap();
                rule.step(&mut y, &(g * scale), &mut y_state).unwrap();
            }
            prop_assert!((x - y).norm().item() < 1e-12);
        }

        /// Lion sees signs only: without decay every element moves by the rate, and the scale of the gradients
        /// changes nothing.
        #[test]
        fn lion_moves_by_the_rate(count in 0usize..20, power in -20i32..20, seed in 0u64..1000) {
            let rule = Lion { learning_rate: 0.5, ..Lion::default() };
            let (mut x, mut y) = (T64::zeros(&[count]), T64::zeros(&[count]));
            let (mut x_state, mut y_state) = (rule.init(&x), rule.init(&y));
            for step in 0..5 {
                let (before, g) = (x.clone(), draw(count, seed + step));
                rule.step(&mut x, &g, &mut x_state).unwrap();
                rule.step(&mut y, &(g * 2f64.powi(power)), &mut y_state).unwrap();
                prop_assert!((&x - &before).as_slice().iter().all(|d| d.abs() == 0.5));
            }
            prop_assert_eq!(x, y);
        }

        /// AMSGrad divides by what never falls; where the second moment only grows it is Adam.
        #[test]
        fn ams_grad_is_adam_on_growing_gradients(growth in 1.0f64..3.0, seed in 0u64..1000) {
            let adam = Adam { learning_rate: 0.1, ..Adam::default() };
            let ams_grad = AmsGrad { learning_rate: 0.1, ..AmsGrad::default() };
            let (mut x, mut y) = (draw(4, seed), draw(4, seed));
            let (mut x_state, mut y_state) = (adam.init(&x), ams_grad.init(&y));
            let mut g = draw(4, seed + 1);
            for _ in 0..5 {
                adam.step(&mut x, &g, &mut x_state).unwrap();
                ams_grad.step(&mut y, &g, &mut y_state).unwrap();
                g = g * growth;
            }
            prop_assert_eq!(x, y);
        }

        /// With a constant gradient, momentum's displacement is the sum of a geometric series.
        #[test]
        fn momentum_is_a_geometric_series(momentum in 0.0f64..0.99, steps in 1u32..30, seed in 0u64..1000) {
            let rule = Sgd { learning_rate: 0.01, momentum, ..Sgd::default() };
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
