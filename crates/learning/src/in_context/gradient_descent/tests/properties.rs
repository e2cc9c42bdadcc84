//! The invariants, on random sizes.

use proptest::prelude::*;

use super::*;

fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_some() { config } else { ProptestConfig { cases: 48, ..config } }
}

/// Sizes (dimension, context, outputs), steps, step size and a seed.
fn case() -> impl Strategy<Value = (usize, usize, usize, usize, f64, u64)> {
    (1usize..6, 1usize..8, 1usize..4, 1usize..6, 0.01f64..1.0, 0u64..1_000_000)
}

fn sample(d: usize, n: usize, o: usize, seed: u64) -> Batch<f64> {
    tasks(d, n, o).sample(3, &mut stream(seed, "properties", 0)).unwrap()
}

fn random_stack(d: usize, o: usize, kind: AttentionKind, seed: u64) -> Stack<f64> {
    let options = AttentionOptions { kind, ..AttentionOptions::default() };
    Stack::new(vec![random_layer(d + o, 2, 3, options, seed), random_layer(d + o, 1, 2, options, seed + 1)], o)
}

fn last(stack: &Stack<f64>, batch: &Batch<f64>) -> Tensor<f64> {
    stack.predict(batch).unwrap().pop().unwrap()
}

fn close(a: &Tensor<f64>, b: &Tensor<f64>, tolerance: f64) -> bool {
    a.shape() == b.shape() && a.as_slice().iter().zip(b.as_slice()).all(|(a, b)| (a - b).abs() <= tolerance * (1.0 + b.abs()))
}

/// The batch with inputs and queries `x ↦ R x`.
fn rotated(batch: &Batch<f64>, r: &DMatrix<f64>) -> Batch<f64> {
    let r = Tensor::from_dmatrix(r);
    let turn = |x: &Tensor<f64>| x.linear(&r, None);
    Batch::new(turn(batch.inputs()), batch.targets().clone(), turn(batch.queries()), batch.query_targets().clone()).unwrap()
}

fn with_targets(batch: &Batch<f64>, targets: Tensor<f64>) -> Batch<f64> {
    Batch::new(batch.inputs().clone(), targets, batch.queries().clone(), batch.query_targets().clone()).unwrap()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn layers_are_steps_of_gradient_descent((d, n, o, k, eta, seed) in case()) {
        let batch = sample(d, n, o, seed);
        let w0 = normal(o, d, seed);
        let explicit = Stack::recurrent(Layer::gd_construction(d, o, n, eta, Some(&w0)).unwrap(), o, k);
        let residual = Stack::recurrent(Layer::gd_construction(d, o, n, eta, None).unwrap(), o, k);
        let explicit = explicit.predict_tokens(&Tokens::constructed(&batch, Some(&w0)).unwrap()).unwrap();
        let residual = residual.predict_tokens(&Tokens::residual(&batch, &w0).unwrap()).unwrap();
        for step in 1..=k {
            let rows: Vec<f64> = (0..batch.len()).flat_map(|b| {
                let task = batch.task(b).unwrap();
                (gd(&task, eta, step, Some(&w0)).unwrap() * task.query).iter().copied().collect::<Vec<_>>()
            }).collect();
            let expected = Tensor::from_vec(rows, &[batch.len(), o]).unwrap();
            prop_assert!(close(&explicit[step - 1], &expected, 1e-9));
            prop_assert!(close(&residual[step - 1], &expected, 1e-9));
        }
    }

    #[test]
    fn layers_are_steps_of_gd_plus_plus((d, n, o, k, eta, seed) in case(), gamma in 0.0f64..0.1) {
        let batch = sample(d, n, o, seed);
        let stack = Stack::recurrent(Layer::gdpp_construction(d, o, n, eta, gamma).unwrap(), o, k);
        let reference = Reference::GradientDescentPlusPlus { etas: vec![eta; k], gammas: vec![gamma; k] };
        prop_assert!(close(&last(&stack, &batch), &reference.predict(&batch).unwrap(), 1e-9));
        let plain = Reference::GradientDescentPlusPlus { etas: vec![eta; k], gammas: vec![0.0; k] };
        let descent = Reference::GradientDescent { eta, steps: k };
        prop_assert!(close(&plain.predict(&batch).unwrap(), &descent.predict(&batch).unwrap(), 1e-9));
    }

    #[test]
    fn every_layer_may_have_a_step_of_its_own((d, n, o, _, _, seed) in case(), steps in prop::collection::vec((0.01f64..1.0, 0.0f64..0.1), 1..6)) {
        let batch = sample(d, n, o, seed);
        let (etas, gammas): (Vec<f64>, Vec<f64>) = steps.iter().copied().unzip();
        let layers = steps.iter().map(|&(eta, gamma)| Layer::gdpp_construction(d, o, n, eta, gamma).unwrap()).collect();
        let reference = Reference::GradientDescentPlusPlus { etas, gammas };
        prop_assert!(close(&last(&Stack::new(layers, o), &batch), &reference.predict(&batch).unwrap(), 1e-9));
    }

    #[test]
    fn gd_plus_plus_shrinks_eigenvalues((d, n, o, _, eta, seed) in case(), gamma in 0.0f64..0.3) {
        let batch = sample(d, n, o, seed);
        let layer = Layer::gdpp_construction(d, o, n, eta, gamma).unwrap();
        let after = layer.forward(&Tokens::constructed(&batch, None).unwrap()).unwrap();
        for b in 0..batch.len() {
            let spectrum = |x: &DMatrix<f64>| {
                let mut values: Vec<f64> = (x.transpose() * x).symmetric_eigenvalues().iter().copied().collect();
                values.sort_by(f64::total_cmp);
                values
            };
            let moved = DMatrix::from_fn(n, d, |i, j| after.token(b, i).unwrap()[j]);
            let mut expected: Vec<f64> = spectrum(&batch.task(b).unwrap().inputs).iter().map(|l| l * (1.0 - gamma * l).powi(2)).collect();
            expected.sort_by(f64::total_cmp);
            prop_assert!(spectrum(&moved).iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-9 * (1.0 + b)));
        }
    }

    #[test]
    fn causal_layers_predict_every_prefix_at_once((d, n, o, _, _, seed) in case(), kind in 0usize..3, sum_norm: bool) {
        let kind = [AttentionKind::Linear, AttentionKind::Softmax, AttentionKind::Mix][kind];
        let batch = sample(d, n, o, seed);
        let mut stack = random_stack(d, o, kind, seed);
        for layer in &mut stack.layers {
            layer.options = AttentionOptions { causal: true, sum_norm: sum_norm && kind == AttentionKind::Softmax, ..layer.options };
        }
        let all = stack.predict_prefixes(&batch).unwrap();
        for examples in 1..=n {
            let prefix = batch.prefix(examples).unwrap();
            let own = all.narrow(1, examples, 1).reshape(&[batch.len(), o]);
            prop_assert!(close(&own, &last(&stack, &prefix), 1e-9));
        }
        // The query of one layer sees the same examples with the option and without.
        stack.layers.truncate(1);
        let mut plain = stack.clone();
        plain.layers[0].options.causal = false;
        prop_assert!(close(&stack.predict_prefixes(&batch).unwrap(), &plain.predict_prefixes(&batch).unwrap(), 1e-9));
    }

    #[test]
    fn the_order_of_examples_does_not_matter((d, n, o, _, _, seed) in case(), kind in 0usize..3, turn in 0usize..8) {
        let batch = sample(d, n, o, seed);
        let order: Vec<usize> = (0..n).map(|i| (i + turn) % n).rev().collect();
        let pick = |x: &Tensor<f64>| x.index_select(1, &order);
        let other = Batch::new(pick(batch.inputs()), pick(batch.targets()), batch.queries().clone(), batch.query_targets().clone()).unwrap();
        let kind = [AttentionKind::Linear, AttentionKind::Softmax, AttentionKind::Mix][kind];
        let stack = random_stack(d, o, kind, seed);
        prop_assert!(close(&last(&stack, &batch), &last(&stack, &other), 1e-9));
    }

    #[test]
    fn scaled_targets_scale_predictions((d, n, o, k, eta, seed) in case(), c in -3.0f64..3.0) {
        let batch = sample(d, n, o, seed);
        let scaled = with_targets(&batch, batch.targets() * c);
        let stack = Stack::recurrent(Layer::gdpp_construction(d, o, n, eta, 0.05).unwrap(), o, k);
        prop_assert!(close(&(last(&stack, &batch) * c), &last(&stack, &scaled), 1e-9));
    }

    #[test]
    fn rotations_of_the_inputs_do_not_matter((d, n, o, k, eta, seed) in case()) {
        let batch = sample(d, n, o, seed);
        let rotation = normal(d, d, seed).qr().q();
        let stack = Stack::recurrent(Layer::gdpp_construction(d, o, n, eta, 0.05).unwrap(), o, k);
        prop_assert!(close(&last(&stack, &batch), &last(&stack, &rotated(&batch, &rotation)), 1e-9));
    }

    #[test]
    fn a_context_twice_gives_the_same_prediction((d, n, o, k, eta, seed) in case()) {
        let batch = sample(d, n, o, seed);
        let twice = |x: &Tensor<f64>| Tensor::concat(&[x.clone(), x.clone()], 1);
        let doubled = Batch::new(twice(batch.inputs()), twice(batch.targets()), batch.queries().clone(), batch.query_targets().clone()).unwrap();
        let once = Stack::recurrent(Layer::gd_construction(d, o, n, eta, None).unwrap(), o, k);
        let double = Stack::recurrent(Layer::gd_construction(d, o, 2 * n, eta, None).unwrap(), o, k);
        prop_assert!(close(&last(&once, &batch), &last(&double, &doubled), 1e-9));
    }

    #[test]
    fn gradient_descent_tends_to_least_squares(d in 1usize..4, extra in 3usize..8, o in 1usize..3, share in 0.05f64..0.97, seed in 0u64..1_000_000) {
        let batch = sample(d, d + extra, o, seed);
        let task = batch.task(0).unwrap();
        let eigenvalues = (task.inputs.transpose() * &task.inputs).symmetric_eigenvalues();
        prop_assume!(eigenvalues.min() > 1e-2 * eigenvalues.max());
        let eta = share * step_limit(&task).unwrap();
        let weights = gd_strict(&task, eta, 40_000, None).unwrap();
        prop_assert!((weights - least_squares(&task).unwrap()).norm() < 1e-8);
    }

    #[test]
    fn the_gauge_of_keys_and_queries_does_not_matter((d, n, o, _, _, seed) in case(), c in 0.2f64..5.0) {
        let batch = sample(d, n, o, seed);
        let stack = random_stack(d, o, AttentionKind::Linear, seed);
        let mut other = stack.clone();
        for head in other.layers.iter_mut().flat_map(|layer| &mut layer.heads) {
            head.query = &head.query * c;
            head.key = &head.key * (1.0 / c);
            head.value = &head.value * -c;
            head.projection = &head.projection * (-1.0 / c);
        }
        prop_assert!(close(&last(&stack, &batch), &last(&other, &batch), 1e-8));
    }

    #[test]
    fn ridge_is_least_squares_of_more_examples((d, n, o, _, lambda, seed) in case()) {
        let task = sample(d, n, o, seed).task(0).unwrap();
        let stacked = |top: &DMatrix<f64>, bottom: DMatrix<f64>| {
            DMatrix::from_fn(n + d, top.ncols(), |i, j| if i < n { top[(i, j)] } else { bottom[(i - n, j)] })
        };
        let more = Task {
            inputs: stacked(&task.inputs, DMatrix::identity(d, d) * lambda.sqrt()),
            targets: stacked(&task.targets, DMatrix::zeros(d, o)),
            ..task.clone()
        };
        prop_assert!((ridge(&task, lambda).unwrap() - least_squares(&more).unwrap()).norm() < 1e-8);
    }

    #[test]
    fn single_precision_agrees_with_double((d, n, o, k, eta, seed) in case()) {
        let batch = sample(d, n, o, seed);
        let wide = Stack::recurrent(Layer::gdpp_construction(d, o, n, eta, 0.02).unwrap(), o, k);
        let narrow = Stack::recurrent(LinearSelfAttention::<f32>::gdpp_construction(d, o, n, eta, 0.02).unwrap(), o, k);
        let narrow = narrow.predict(&batch.cast().unwrap()).unwrap().pop().unwrap();
        prop_assert!(close(&narrow.cast(), &last(&wide, &batch), 1e-4));
    }
}
