//! What surrounds a rule: groups, schedules, averages, sharpness-aware gradients.

use gradus_autodiff::{Params, Tensor, grad};

use super::{T64, draw, other_shape, rosenbrock};
use crate::{Adam, AdamW, Averaged, Ema, EmaStart, Grouped, OptimizerError, RmsProp, Rule, Sam, Schedule, Scheduled, Sgd, clip_value};

/// A model of two layers and a buffer.
#[derive(Debug, Clone, PartialEq, Params)]
struct Model {
    embedding: T64,
    layers: Vec<Layer>,
    #[params(buffer)]
    mean: T64,
}

#[derive(Debug, Clone, PartialEq, Params)]
struct Layer {
    weight: T64,
    bias: T64,
}

fn model(seed: u64) -> Model {
    let layer = |seed| Layer { weight: draw(6, seed).reshape(&[2, 3]), bias: draw(3, seed + 1) };
    Model { embedding: draw(4, seed), layers: vec![layer(seed + 2), layer(seed + 4)], mean: draw(2, seed + 6) }
}

#[test]
fn each_tensor_has_the_rule_of_the_first_group_that_fits() {
    let sgd = |learning_rate| Sgd { learning_rate, momentum: 0.5, ..Sgd::default() };
    let rule = Grouped::new(sgd(0.1)).freeze("embedding").group("layers.1.*", sgd(1.0)).group("*.bias", sgd(0.01));
    let (before, gradient) = (model(1), model(2));
    let (mut after, mut state) = (before.clone(), rule.init(&before));
    rule.step(&mut after, &gradient, &mut state).unwrap();
    let moved = |x: &T64, g: &T64, rate: f64| x - &(g * rate);
    let expected = Model {
        embedding: before.embedding.clone(),
        layers: vec![
            Layer {
                weight: moved(&before.layers[0].weight, &gradient.layers[0].weight, 0.1),
                bias: moved(&before.layers[0].bias, &gradient.layers[0].bias, 0.01),
            },
            Layer {
                weight: moved(&before.layers[1].weight, &gradient.layers[1].weight, 1.0),
                bias: moved(&before.layers[1].bias, &gradient.layers[1].bias, 1.0),
            },
        ],
        mean: before.mean,
    };
    assert_eq!(after, expected);
    // Nothing is remembered of what is frozen.
    let names: Vec<_> = state.named().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["layers.0.bias.velocity", "layers.0.weight.velocity", "layers.1.bias.velocity", "layers.1.weight.velocity"]);
}

#[test]
fn wrong_groups_are_refused_and_change_nothing() {
    let (mut x, gradient) = (model(1), model(2));
    let before = x.clone();
    let rule = Grouped::new(Adam::default()).freeze("*.bias").group("layer.*", Adam::default());
    let mut state = rule.init(&x);
    let error = rule.step(&mut x, &gradient, &mut state).unwrap_err();
    assert_eq!(error, OptimizerError::Pattern { pattern: "layer.*".into() });
    assert_eq!(error.to_string(), "the group's pattern \"layer.*\" fits no tensor of the model");
    // Buffers are not trained: no group has them.
    let rule = Grouped::new(Adam::default()).freeze("mean");
    assert!(matches!(rule.step(&mut x, &gradient, &mut rule.init(&before)), Err(OptimizerError::Pattern { .. })));
    // The last tensor's rule is wrong; the first ones have not moved.
    let rule = Grouped::new(Adam::default()).group("layers.1.bias", Adam { beta1: 1.0, ..Adam::default() });
    let mut state = rule.init(&x);
    let error = rule.step(&mut x, &gradient, &mut state).unwrap_err();
    assert!(matches!(error, OptimizerError::Setting { name: "beta1", .. }));
    assert_eq!(state, rule.init(&x));
    let rule = Grouped::new(Adam::default());
    let mut state = rule.init(&x);
    state.remove("layers.1.bias");
    let error = rule.step(&mut x, &gradient, &mut state).unwrap_err();
    assert_eq!(error, OptimizerError::Tensors { what: "the state of a tensor", found: 0, expected: 1 });
    assert_eq!(x, before);
}

#[test]
fn schedules_and_groups_combine_either_way_and_resume_exactly() {
    let schedule = Schedule::one_cycle(20);
    let rate = |step| 0.1 * schedule.at(step);
    let adam = |learning_rate| AdamW { learning_rate, ..AdamW::default() };
    let outside = Scheduled(|step| Grouped::new(adam(rate(step))).group("*.bias", adam(2.0 * rate(step))).freeze("embedding"));
    let of_bias = |factor: f64| {
        let schedule = schedule.clone();
        Scheduled(move |step| adam(factor * 0.1 * schedule.at(step)))
    };
    let inside = Grouped::new(of_bias(1.0)).group("*.bias", of_bias(2.0)).freeze("embedding");
    let gradient = |x: &Model| grad(|x: &Model| x.dot(x).square(), x);
    let (mut x, mut y) = (model(3), model(3));
    let (mut x_state, mut y_state) = (outside.init(&x), inside.init(&y));
    for step in 0..20 {
        if step == 7 {
            // Through names, as a file keeps them.
            let mut read = outside.state_at(7, &x);
            for (to, (_, from)) in read.leaves_mut().into_iter().zip(x_state.named()) {
                *to = from.clone();
            }
            read.rule.values_mut().for_each(|state| assert_eq!(state.step, 7));
            assert_eq!(read, x_state);
            x_state = read;
        }
        let (g, h) = (gradient(&x), gradient(&y));
        outside.step(&mut x, &g, &mut x_state).unwrap();
        inside.step(&mut y, &h, &mut y_state).unwrap();
        assert_eq!(x, y);
    }
    assert_ne!(x, model(3));
    assert_eq!(x_state.step, 20);
}

#[test]
fn factors_by_hand() {
    let cosine = Schedule::Cosine { steps: 4, end: 0.2 };
    for (step, factor) in [(0, 1.0), (2, 0.6), (4, 0.2), (9, 0.2)] {
        assert!((cosine.at(step) - factor).abs() < 1e-15);
    }
    let steps = Schedule::MultiStep { steps: vec![3, 5, 5], factor: 0.5 };
    assert_eq!([2, 3, 4, 5, 6].map(|step| steps.at(step)), [1.0, 0.5, 0.5, 0.125, 0.125]);
    assert_eq!([0, 1, 2, 3].map(|step| Schedule::linear(2).at(step)), [1.0, 0.5, 0.0, 0.0]);
    let warm = Schedule::WarmUp { steps: 2, start: 0.5, then: Box::new(Schedule::Exponential { factor: 0.5 }) };
    assert_eq!([0, 1, 2, 3].map(|step| warm.at(step)), [0.5, 0.75, 1.0, 0.5]);
    // Schedules of no or few steps have no undefined factor.
    for steps in 0..4 {
        for rising in [0.0, 0.25, 0.5, 0.999] {
            let schedule = Schedule::OneCycle { steps, rising, start: 0.1, end: 0.01 };
            assert!((0..5).all(|step| (0.01..=1.0).contains(&schedule.at(step))), "{schedule:?}");
        }
        assert_eq!(Schedule::cosine(steps).at(steps), 0.0);
        assert_eq!(Schedule::linear(steps).after_warm_up(0).at(steps), 0.0);
    }
    assert_eq!(Schedule::Step { every: 0, factor: 0.5 }.at(1), 0.5);
}

#[test]
fn wrong_schedules_are_refused() {
    for (schedule, setting) in [
        (Schedule::Step { every: 0, factor: 0.5 }, "every"),
        (Schedule::Step { every: 1, factor: -0.5 }, "factor"),
        (Schedule::MultiStep { steps: vec![], factor: f64::NAN }, "factor"),
        (Schedule::Polynomial { steps: 1, power: 0.0, end: 0.0 }, "power"),
        (Schedule::Cosine { steps: 1, end: f64::INFINITY }, "end"),
        (Schedule::OneCycle { steps: 1, rising: 1.0, start: 0.0, end: 0.0 }, "rising"),
        (Schedule::WarmUp { steps: 1, start: -1.0, then: Box::new(Schedule::Constant) }, "start"),
        (Schedule::Exponential { factor: -1.0 }.after_warm_up(3), "factor"),
    ] {
        let error = schedule.validate().unwrap_err();
        assert!(matches!(error, OptimizerError::Setting { name, .. } if name == setting), "{error}");
    }
}

#[test]
fn averages_by_hand() {
    let values = [2.0, 4.0, 12.0].map(|x| T64::vector(&[x]));
    let run = |ema: Ema| {
        let mut state = ema.init(&T64::vector(&[1.0]));
        values.each_ref().map(|x| {
            ema.update(&mut state, x).unwrap();
            state.average.item()
        })
    };
    assert_eq!(run(Ema { decay: 0.5, start: EmaStart::Initial }), [1.5, 2.75, 7.375]);
    // (0.5 · 2 + 4) / 1.5 and (0.25 · 2 + 0.5 · 4 + 12) / 1.75
    let corrected = run(Ema { decay: 0.5, start: EmaStart::Corrected });
    for (found, expected) in corrected.into_iter().zip([2.0, 10.0 / 3.0, 14.5 / 1.75]) {
        assert!((found - expected).abs() < 1e-14);
    }
    assert_eq!(run(Ema { decay: 1.0, start: EmaStart::Corrected }), [2.0, 3.0, 6.0]);
    // Decays 2/11, 3/12 and the given one.
    let warm = run(Ema { decay: 0.3, start: EmaStart::WarmUp });
    let first = 1.0 * 2.0 / 11.0 + 2.0 * 9.0 / 11.0;
    let second = 0.25 * first + 0.75 * 4.0;
    for (found, expected) in warm.into_iter().zip([first, second, 0.3 * second + 0.7 * 12.0]) {
        assert!((found - expected).abs() < 1e-14);
    }
}

#[test]
fn a_rule_keeps_the_average_of_its_weights() {
    let ema = Ema { decay: 0.7, start: EmaStart::Corrected };
    let rule = Averaged { rule: Adam::default(), ema };
    let (mut x, mut y) = (model(1), model(1));
    let (mut state, mut plain, mut average) = (rule.init(&x), Adam::default().init(&y), ema.init(&y));
    for step in 0..3 {
        rule.step(&mut x, &model(2 + step), &mut state).unwrap();
        Adam::default().step(&mut y, &model(2 + step), &mut plain).unwrap();
        ema.update(&mut average, &y).unwrap();
    }
    assert_eq!((&x, &state.ema, &state.rule), (&y, &average, &plain));
    let wrong = Averaged { ema: Ema { decay: 2.0, ..ema }, ..rule };
    let before = state.clone();
    assert!(wrong.step(&mut x, &model(5), &mut state).is_err());
    assert_eq!((x, state), (y, before));
}

#[test]
fn averages_copy_buffers_and_refuse_other_models() {
    let (start, next) = (model(1), model(2));
    let ema = Ema::default();
    let mut state = ema.init(&start);
    ema.update(&mut state, &next).unwrap();
    assert_eq!(state.average.mean, next.mean);
    assert_ne!(state.average.embedding, next.embedding);
    let names = |named: Vec<(String, &T64)>| named.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(state.named()), names(next.named()));
    let mut state = ema.init(&T64::vector(&[1.0]));
    let error = ema.update(&mut state, &T64::vector(&[1.0, 2.0])).unwrap_err();
    assert_eq!(error, other_shape("the average", &[1], &[2]));
    for decay in [-0.1, 1.1, f64::NAN] {
        let error = Ema { decay, ..ema }.update(&mut state, &T64::vector(&[1.0])).unwrap_err();
        assert!(matches!(error, OptimizerError::Setting { name: "decay", .. }));
    }
    assert_eq!(state, ema.init(&T64::vector(&[1.0])));
}

/// The two tasks of a published worked example of flat multi-task learning: quadratics in the plane.
#[test]
fn sharpness_aware_worked_example() {
    let x = T64::vector(&[0.5, 1.0]);
    let quadratic = |h: [f64; 4], centre: [f64; 2]| {
        move |x: &T64| {
            let d = x - &T64::vector(&centre);
            let h = T64::from_vec(h.to_vec(), &[2, 2]).unwrap();
            (h.matmul(&d.reshape(&[2, 1])).reshape(&[2]) * &d).sum() * 0.5
        }
    };
    let sam = Sam { rho: 0.1, ..Sam::default() };
    for (loss, clean, flat) in [
        (quadratic([4.0, 0.0, 0.0, 1.0], [1.0, 0.0]), [-2.0, 1.0], [-0.3577708764, 0.0447213595]),
        (quadratic([1.0, 0.5, 0.5, 3.0], [-1.0, 2.0]), [1.0, -2.25], [-0.0050767308, -0.2538365413]),
    ] {
        let found = sam.gradient(&loss, &x).unwrap();
        assert_eq!(found.clean_gradient.to_vec(), clean);
        let difference = (&found.gradient - &found.clean_gradient).to_vec();
        assert!((difference[0] - flat[0]).abs() < 1e-10 && (difference[1] - flat[1]).abs() < 1e-10, "{difference:?}");
        assert_eq!(found.value, loss(&x).item());
        // ρ ‖g‖ to first order.
        let norm = found.clean_gradient.norm().item();
        assert!(found.perturbed_value - found.value > 0.1 * norm);
    }
}

#[test]
fn perturbations_by_hand() {
    let (x, g) = (T64::vector(&[2.0, -1.0, 0.0]), T64::vector(&[1.0, 2.0, 5.0]));
    let adaptive = Sam { rho: 0.5, adaptive: true, eta: 0.0 };
    // T g = (2, 2, 0), so ε = 0.5 (4, 2, 0) / √8.
    let found = adaptive.perturbation(&x, &g).unwrap();
    let expected = T64::vector(&[4.0, 2.0, 0.0]) * (0.5 / 8f64.sqrt());
    assert!((found - expected).norm().item() < 1e-15);
    // T g = (3, 4, 5), ε = 0.5 (9, 8, 5) / √50.
    let found = Sam { eta: 1.0, ..adaptive }.perturbation(&x, &g).unwrap();
    let expected = T64::vector(&[9.0, 8.0, 5.0]) * (0.5 / 50f64.sqrt());
    assert!((found - expected).norm().item() < 1e-15);
    // A gradient of zero gives no direction.
    for g in [T64::zeros(&[3]), T64::vector(&[1e-13, 0.0, 0.0])] {
        assert_eq!(Sam::default().perturbation(&x, &g).unwrap(), T64::zeros(&[3]));
    }
    let found = Sam::default().gradient(|x: &T64| (x * 0.0).sum(), &x).unwrap();
    assert_eq!((found.gradient, found.perturbed_value), (T64::zeros(&[3]), 0.0));
    for (sam, setting) in [(Sam { rho: -0.1, ..adaptive }, "rho"), (Sam { eta: f64::NAN, ..adaptive }, "eta")] {
        let error = sam.gradient(|x: &T64| x.sum(), &x).unwrap_err();
        assert!(matches!(error, OptimizerError::Setting { name, .. } if name == setting));
    }
    let error = adaptive.perturbation(&x, &T64::vector(&[1.0])).unwrap_err();
    assert_eq!(error, other_shape("the gradient", &[1], &[3]));
}

#[test]
fn clipping_by_value() {
    let g = T64::vector(&[-3.0, -0.5, 0.0, 2.0, f64::INFINITY]);
    assert_eq!(clip_value(&g, 1.5).unwrap().to_vec(), [-1.5, -0.5, 0.0, 1.5, 1.5]);
    assert!(clip_value(&T64::vector(&[f64::NAN]), 1.5).unwrap().item().is_nan());
    assert!(matches!(clip_value(&g, 0.0), Err(OptimizerError::Setting { name: "clip_value", .. })));
}

#[test]
fn gradients_that_are_not_finite_are_passed_on() {
    let mut x = Tensor::<f32>::vector(&[1.0]);
    let nan = Tensor::vector(&[f32::NAN]);
    let rule = RmsProp::default();
    let mut state = rule.init(&x);
    rule.step(&mut x, &nan, &mut state).unwrap();
    assert!(x.item().is_nan());
    let rule = crate::Lion::default();
    let (mut x, mut state) = (Tensor::<f32>::vector(&[1.0]), rule.init(&nan));
    rule.step(&mut x, &nan, &mut state).unwrap();
    assert!(x.item().is_nan());
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A rule without groups is the same to the bit when it has each tensor for itself.
        #[test]
        fn no_groups_are_no_change(seed in 0u64..1000, steps in 1u64..5) {
            let rule = Adam { learning_rate: 0.1, weight_decay: 0.1, ..Adam::default() };
            let grouped = Grouped::new(rule);
            let (mut x, mut y) = (model(seed), model(seed));
            let (mut x_state, mut y_state) = (rule.init(&x), grouped.init(&y));
            for step in 0..steps {
                let gradient = model(seed + 10 + step);
                rule.step(&mut x, &gradient, &mut x_state).unwrap();
                grouped.step(&mut y, &gradient, &mut y_state).unwrap();
            }
            prop_assert_eq!(x, y);
        }

        /// Factors stay between the ends of their schedule.
        #[test]
        fn factors_are_bounded(steps in 0u64..50, step in 0u64..100, rising in 0.0f64..1.0, start in 0.0f64..1.0, end in 0.0f64..1.0) {
            let low = start.min(end);
            for schedule in [
                Schedule::Polynomial { steps, power: 1.0 + rising, end },
                Schedule::Cosine { steps, end },
                Schedule::OneCycle { steps, rising, start, end },
                Schedule::WarmUp { steps, start, then: Box::new(Schedule::Cosine { steps, end }) },
            ] {
                let factor = schedule.at(step);
                prop_assert!(factor >= low - 1e-12 && factor <= 1.0 + 1e-12, "{:?}: {}", schedule, factor);
                prop_assert!((schedule.at(u64::MAX) - end).abs() < 1e-12);
            }
        }

        /// The perturbation of SAM has length ρ and points along the gradient; that of ASAM does not change when a
        /// weight is scaled and its gradient by the inverse, which is what it is for.
        #[test]
        fn perturbations_have_their_length_and_invariance(count in 1usize..20, rho in 0.001f64..1.0, scale in 0.1f64..10.0, seed in 0u64..1000) {
            let (x, g) = (draw(count, seed), draw(count, seed + 1));
            let plain = Sam { rho, ..Sam::default() }.perturbation(&x, &g).unwrap();
            prop_assert!((plain.norm().item() - rho).abs() < 1e-12);
            prop_assert!((plain.dot(&g).item() - rho * g.norm().item()).abs() < 1e-12 * (1.0 + g.norm().item()));
            let adaptive = Sam { rho, adaptive: true, eta: 0.0 };
            let own = adaptive.perturbation(&x, &g).unwrap();
            let scales = T64::from_fn(&[count], |i| if i % 2 == 0 { scale } else { 1.0 / scale });
            let other = adaptive.perturbation(&(&x * &scales), &(&g / &scales)).unwrap();
            prop_assert!((other - own * &scales).norm().item() < 1e-9);
        }

        /// A corrected average of equal models is that model, and lies between the least and the largest otherwise.
        #[test]
        fn averages_are_convex(decay in 0.0f64..=1.0, updates in 1u64..20, seed in 0u64..1000) {
            for start in [EmaStart::Initial, EmaStart::Corrected, EmaStart::WarmUp] {
                let ema = Ema { decay, start };
                let mut state = ema.init(&T64::zeros(&[1]));
                let (mut low, mut high) = if start == EmaStart::Corrected { (f64::INFINITY, f64::NEG_INFINITY) } else { (0.0, 0.0) };
                for update in 0..updates {
                    let x = draw(1, seed + update);
                    (low, high) = (low.min(x.item()), high.max(x.item()));
                    ema.update(&mut state, &x).unwrap();
                    let average = state.average.item();
                    prop_assert!(average >= low - 1e-12 && average <= high + 1e-12);
                }
            }
        }
    }
}

#[test]
fn sharpness_aware_steps_lead_down_rosenbrock() {
    let rule = Adam { learning_rate: 0.02, ..Adam::default() };
    let mut x = T64::vector(&[-1.2, 1.0]);
    let mut state = rule.init(&x);
    let sam = Sam { rho: 1e-3, ..Sam::default() };
    for _ in 0..4000 {
        let gradient = sam.gradient(rosenbrock, &x).unwrap().gradient;
        rule.step(&mut x, &gradient, &mut state).unwrap();
    }
    assert!(rosenbrock(&x).item() < 1e-2, "{x:?}");
}
