use gradus_autodiff::{Params, Tensor, check};
use gradus_base::{Cancel, Interrupted, Silent, stream};
use nalgebra::{DMatrix, DVector};

use super::*;

type Layer = LinearSelfAttention<f64>;

/// A matrix by rows: `dmatrix![1.0, 2.0; 3.0, 4.0]`.
macro_rules! dmatrix {
    ($($($x:expr),+);+) => {{
        let rows = [$(vec![$($x),+]),+];
        DMatrix::from_row_iterator(rows.len(), rows[0].len(), rows.iter().flatten().copied())
    }};
}

macro_rules! dvector {
    ($($x:expr),+) => { DVector::from_vec(vec![$($x),+]) };
}

/// The worked example of two examples in two dimensions.
fn tiny() -> Task {
    Task { inputs: dmatrix![1.0, 0.0; 1.0, 1.0], targets: dmatrix![2.0; 1.0], query: dvector![1.0, 2.0], query_target: dvector![0.0] }
}

fn tiny_batch() -> Batch<f64> {
    Batch::from_tasks(&[tiny()]).unwrap()
}

fn tasks(dimension: usize, context: usize, outputs: usize) -> RegressionTasks {
    RegressionTasks { dimension, context, outputs, input_range: 2.0, ..RegressionTasks::default() }
}

fn normal(rows: usize, columns: usize, seed: u64) -> DMatrix<f64> {
    let mut rng = stream(seed, "icl-test-matrix", 0);
    DMatrix::from_fn(rows, columns, |_, _| rand_distr::Distribution::sample(&rand_distr::StandardNormal, &mut rng))
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{found:?} differs from {expected:?}");
    }
}

/// The layer as the equation is written: columns, one pair of tokens at a time.
fn by_the_equation(layer: &Layer, context: &[Token<f64>], token: &Token<f64>) -> Token<f64> {
    let mut after = token.clone();
    for head in &layer.heads {
        let matrix = |x: &Tensor<f64>| x.to_dmatrix().unwrap();
        let (k, q) = (matrix(&head.key), matrix(&head.query));
        let (v, p) = (matrix(&head.value), matrix(&head.projection));
        for e in context {
            after += &p * (&v * e) * (&k * e).dot(&(&q * token));
        }
    }
    after
}

fn random_layer(width: usize, heads: usize, key_size: usize, options: AttentionOptions, seed: u64) -> Layer {
    Layer::random(width, heads, key_size, 1.0, options, &mut stream(seed, "icl-test-layer", 0)).unwrap()
}

#[test]
fn one_step_of_the_worked_example() {
    let layer = Layer::gd_construction(2, 1, 2, 0.5, None).unwrap();
    let after = layer.forward(&Tokens::constructed(&tiny_batch(), None).unwrap()).unwrap();
    assert_eq!(after.predictions().item(), 1.25);
    assert_eq!(after.token(0, 0).unwrap(), dvector![1.0, 0.0, 1.25]);
    assert_eq!(after.token(0, 1).unwrap(), dvector![1.0, 1.0, 0.0]);
    assert_eq!(after.token(0, 2).unwrap(), dvector![1.0, 2.0, -1.25]);
    assert_eq!(after.token(0, 3), None);
    assert_eq!(after.token(1, 0), None);
    let again = layer.forward(&after).unwrap();
    assert_eq!(again.predictions().item(), 1.5625);
    assert_eq!(again.token(0, 0).unwrap()[2], 0.9375);
    assert_eq!(again.token(0, 1).unwrap()[2], -0.3125);
    assert_eq!(gd(&tiny(), 0.5, 1, None).unwrap(), dmatrix![0.75, 0.25]);
    assert_eq!((gd(&tiny(), 0.5, 2, None).unwrap() * tiny().query)[0], 1.5625);
}

#[test]
fn the_worked_example_from_other_initial_weights() {
    let w0 = dmatrix![1.0, -1.0];
    assert_eq!(gd(&tiny(), 0.5, 1, Some(&w0)).unwrap(), dmatrix![1.5, -0.75]);
    let layer = Layer::gd_construction(2, 1, 2, 0.5, Some(&w0)).unwrap();
    let tokens = Tokens::constructed(&tiny_batch(), Some(&w0)).unwrap();
    assert_eq!(tokens.predictions().item(), -1.0);
    assert_eq!(layer.forward(&tokens).unwrap().predictions().item(), 0.0);
    let residual = Tokens::residual(&tiny_batch(), &w0).unwrap();
    assert_eq!(residual.token(0, 0).unwrap(), dvector![1.0, 0.0, 1.0]);
    assert_eq!(residual.token(0, 1).unwrap(), dvector![1.0, 1.0, 1.0]);
    let plain = Layer::gd_construction(2, 1, 2, 0.5, None).unwrap();
    assert_eq!(plain.forward(&residual).unwrap().predictions().item(), 0.0);
}

#[test]
fn gd_plus_plus_of_the_worked_example() {
    let weights = gd_plus_plus(&tiny(), &[0.5, 0.5], &[0.1, 0.1]).unwrap();
    assert!(((weights * tiny().query)[0] - 1.346875).abs() < 1e-12);
    let layer = Layer::gdpp_construction(2, 1, 2, 0.5, 0.1).unwrap();
    let after = layer.forward(&Tokens::constructed(&tiny_batch(), None).unwrap()).unwrap();
    assert_close(after.token(0, 0).unwrap().as_slice(), &[0.8, -0.1, 1.25], 1e-15);
    assert_close(after.token(0, 1).unwrap().as_slice(), &[0.7, 0.8, 0.0], 1e-15);
    assert_close(after.token(0, 2).unwrap().as_slice(), &[0.6, 1.7, -1.25], 1e-15);
    assert_close(layer.forward(&after).unwrap().predictions().as_slice(), &[1.346875], 1e-14);
    let reference = Reference::GradientDescentPlusPlus { etas: vec![0.5; 2], gammas: vec![0.1; 2] };
    assert_close(reference.predict(&tiny_batch()).unwrap().as_slice(), &[1.346875], 1e-14);
}

#[test]
fn the_w0_block_in_the_first_layer_alone_does_not_descend() {
    let batch = tasks(3, 6, 1).sample::<f64>(20, &mut stream(5, "tasks", 0)).unwrap();
    let w0 = normal(1, 3, 5);
    let with = Layer::gd_construction(3, 1, 6, 0.4, Some(&w0)).unwrap();
    let without = Layer::gd_construction(3, 1, 6, 0.4, None).unwrap();
    let tokens = Tokens::constructed(&batch, Some(&w0)).unwrap();
    let second = |stack: &Stack<f64>| stack.predict_tokens(&tokens).unwrap().remove(1);
    let right = second(&Stack::recurrent(with.clone(), 2));
    let mixed = second(&Stack::new(vec![with, without]));
    let expected: Vec<f64> = (0..20)
        .map(|i| {
            let task = batch.task(i).unwrap();
            (gd(&task, 0.4, 2, Some(&w0)).unwrap() * task.query)[0]
        })
        .collect();
    assert_close(right.as_slice(), &expected, 1e-12);
    assert!((mixed - right).abs().mean().item() > 0.01);
}

#[test]
fn the_query_among_the_keys_hurts_only_when_its_slot_is_not_zero() {
    let batch = tasks(3, 5, 1).sample::<f64>(10, &mut stream(6, "tasks", 0)).unwrap();
    let plain = Layer::gd_construction(3, 1, 5, 0.4, None).unwrap();
    let mut including = plain.clone();
    including.options.include_query = true;
    let (one, other) = (Stack::recurrent(plain, 2), Stack::recurrent(including, 2));
    let (one, other) = (one.predict(&batch).unwrap(), other.predict(&batch).unwrap());
    assert_close(one[0].as_slice(), other[0].as_slice(), 1e-14);
    assert!((&one[1] - &other[1]).abs().mean().item() > 1e-3);
}

#[test]
fn the_closed_form_of_the_best_step() {
    for (d, n, r, eta, loss) in
        [(10, 10, 1.0, 6.0606061, 0.2062290), (10, 10, 2.0, 1.5151515, 0.8249158), (3, 5, 2.0, 1.9230769, 0.1794872)]
    {
        let tasks = RegressionTasks { dimension: d, context: n, input_range: r, ..RegressionTasks::default() };
        let best = optimal_eta(&tasks).unwrap();
        assert!((best.eta - eta).abs() < 5e-8 && (best.loss - loss).abs() < 5e-8, "{best:?}");
        // The sample agrees within four standard errors: a loss of one task deviates by about twice its mean.
        let batch = tasks.sample::<f64>(20_000, &mut stream(1, "tasks", 0)).unwrap();
        let sampled = Reference::GradientDescent { eta: best.eta, steps: 1 }.loss(&batch).unwrap();
        assert!((sampled / best.loss - 1.0).abs() < 0.06, "{sampled}");
        let tuned = tune_gd(&batch, 1).unwrap();
        assert!(tuned.loss <= sampled && (tuned.eta / best.eta - 1.0).abs() < 0.1, "{tuned:?}");
    }
}

#[test]
fn tuned_gd_plus_plus_beats_tuned_gradient_descent() {
    let batch = RegressionTasks::default().sample::<f64>(500, &mut stream(2, "tasks", 0)).unwrap();
    let plain = tune_gd(&batch, 2).unwrap();
    let plus = tune_gd_plus_plus(&batch, 2).unwrap();
    assert!(plus.loss < 0.9 * plain.loss, "{plus:?} {plain:?}");
    assert!(plus.gamma > 0.0);
}

#[test]
fn the_batched_layer_follows_the_equation() {
    let batch = tasks(3, 4, 2).sample::<f64>(3, &mut stream(7, "tasks", 0)).unwrap();
    let tokens = Tokens::constructed(&batch, None).unwrap();
    for include_query in [false, true] {
        let options = AttentionOptions { include_query, ..AttentionOptions::default() };
        let layer = random_layer(5, 2, 3, options, 7);
        let after = layer.forward(&tokens).unwrap();
        let query_alone = layer.apply_to_query(&tokens.sequence, 2);
        for b in 0..3 {
            let columns: Vec<_> = (0..5).map(|j| tokens.token(b, j).unwrap()).collect();
            let context = if include_query { &columns[..] } else { &columns[..4] };
            for (j, column) in columns.iter().enumerate() {
                let expected = by_the_equation(&layer, context, column);
                assert_close(after.token(b, j).unwrap().as_slice(), expected.as_slice(), 1e-12);
                if j == 4 {
                    assert_close(&query_alone.as_slice()[b * 5..(b + 1) * 5], expected.as_slice(), 1e-12);
                }
            }
        }
    }
}

#[test]
fn options_change_what_they_say() {
    let batch = tasks(2, 4, 1).sample::<f64>(3, &mut stream(8, "tasks", 0)).unwrap();
    let tokens = Tokens::constructed(&batch, None).unwrap();
    let after = |options| random_layer(3, 1, 3, options, 8).forward(&tokens).unwrap().sequence;
    let plain = after(AttentionOptions::default());
    let update = &plain - &tokens.sequence;

    let only_targets = after(AttentionOptions { y_update: true, ..AttentionOptions::default() });
    assert_eq!(only_targets.narrow(2, 0, 2), tokens.sequence.narrow(2, 0, 2));
    assert_eq!(only_targets.narrow(2, 2, 1), plain.narrow(2, 2, 1));

    let damped = after(AttentionOptions { dampening: 0.5, ..AttentionOptions::default() });
    assert_close(damped.as_slice(), (&tokens.sequence + &(update * 0.5)).as_slice(), 1e-14);

    let clipped = after(AttentionOptions { clip: Some(0.3), ..AttentionOptions::default() });
    let expected: Vec<f64> = plain.as_slice().iter().map(|x| x.clamp(-0.3, 0.3)).collect();
    assert_close(clipped.as_slice(), &expected, 1e-14);
}

#[test]
fn softmax_and_mixed_attention_follow_their_equations() {
    let batch = tasks(2, 4, 1).sample::<f64>(1, &mut stream(9, "tasks", 0)).unwrap();
    let tokens = Tokens::constructed(&batch, None).unwrap();
    let columns: Vec<_> = (0..5).map(|j| tokens.token(0, j).unwrap()).collect();
    for (kind, sum_norm) in
        [(AttentionKind::Softmax, false), (AttentionKind::Mix, false), (AttentionKind::Mix, true), (AttentionKind::Linear, true)]
    {
        let mut layer = random_layer(3, 1, 2, AttentionOptions { kind, sum_norm, ..AttentionOptions::default() }, 9);
        layer.mix = (kind == AttentionKind::Mix).then(|| Tensor::scalar(0.07));
        let after = layer.forward(&tokens).unwrap();
        let matrix = |x: &Tensor<f64>| x.to_dmatrix().unwrap();
        let head = &layer.heads[0];
        let normed = |x: DVector<f64>| if sum_norm { &x / (x.sum() + 1e-6) } else { x };
        for (j, token) in columns.iter().enumerate() {
            let query = normed(matrix(&head.query) * token);
            let products = DVector::from_iterator(4, columns[..4].iter().map(|e| normed(matrix(&head.key) * e).dot(&query)));
            let exponentials = products.map(|p| (p / 2f64.sqrt()).exp());
            let softmax = &exponentials / exponentials.sum();
            let share = 1.0 / (1.0 + (-0.7f64).exp());
            let weights = match kind {
                AttentionKind::Linear => products,
                AttentionKind::Softmax => softmax,
                AttentionKind::Mix => softmax * share + products * (1.0 - share),
            };
            let mut expected = token.clone();
            for (e, weight) in columns[..4].iter().zip(weights.iter()) {
                expected += matrix(&head.projection) * (matrix(&head.value) * e) * *weight;
            }
            assert_close(after.token(0, j).unwrap().as_slice(), expected.as_slice(), 1e-10);
            if j == 4 {
                assert_close(layer.apply_to_query(&tokens.sequence, 1).as_slice(), expected.as_slice(), 1e-10);
            }
        }
    }
}

#[test]
fn gradients_by_all_weights_agree_with_differences() {
    let batch = tasks(2, 4, 1).sample::<f64>(5, &mut stream(10, "tasks", 0)).unwrap();
    for kind in [AttentionKind::Linear, AttentionKind::Softmax, AttentionKind::Mix] {
        for repeats in [1, 2] {
            let layer = random_layer(3, 2, 2, AttentionOptions { kind, ..AttentionOptions::default() }, 10);
            let stack = Stack::recurrent(layer, repeats);
            check::gradient(|s: &Stack<f64>| s.training_loss(&batch), &stack, 1e-5, 1e-6).unwrap();
        }
    }
}

#[test]
fn leaves_are_named_by_their_place() {
    let stack = Stack::new(vec![random_layer(3, 1, 2, AttentionOptions { kind: AttentionKind::Mix, ..AttentionOptions::default() }, 0)]);
    let names: Vec<String> = stack.named().into_iter().map(|(name, _)| name).collect();
    let expected = ["heads.0.key", "heads.0.query", "heads.0.value", "heads.0.projection", "mix"];
    assert_eq!(names, expected.map(|name| format!("layers.0.{name}")));
}

#[test]
fn both_precisions_see_the_same_tasks() {
    let tasks = RegressionTasks { distractors: 2, law: InputLaw::Mixed, ..RegressionTasks::default() };
    let wide = tasks.sample::<f64>(4, &mut stream(3, "tasks", 0)).unwrap();
    let narrow = tasks.sample::<f32>(4, &mut stream(3, "tasks", 0)).unwrap();
    assert_eq!(wide.cast::<f32>(), narrow);
    let sine = SineTasks::default();
    let wide = sine.sample::<f64>(4, &mut stream(3, "tasks", 0)).unwrap();
    assert_eq!(wide.cast::<f32>(), sine.sample::<f32>(4, &mut stream(3, "tasks", 0)).unwrap());
}

#[test]
fn laws_have_their_ranges_and_moments() {
    let count = 4000;
    let base = RegressionTasks { dimension: 3, context: 4, input_range: 1.5, ..RegressionTasks::default() };
    let uniform = base.sample::<f64>(count, &mut stream(4, "tasks", 0)).unwrap();
    assert!(uniform.inputs().as_slice().iter().all(|x| x.abs() <= 0.75));
    let second = uniform.inputs().square().mean().item();
    assert!((second - 0.75f64.powi(2) / 3.0).abs() < 0.005, "{second}");
    for law in [InputLaw::Exponential, InputLaw::Normal, InputLaw::Laplace, InputLaw::Mixed] {
        let batch = RegressionTasks { law, ..base }.sample::<f64>(count, &mut stream(4, "tasks", 0)).unwrap();
        let norms = batch.inputs().square().sum_axis(2).sum_axis(1).sqrt();
        assert!(norms.as_slice().iter().all(|norm| (norm - 1.5).abs() < 1e-12));
        let negative = batch.inputs().as_slice().iter().filter(|x| **x < 0.0).count() as f64 / batch.inputs().count() as f64;
        let expected = match law {
            InputLaw::Exponential => 0.0,
            InputLaw::Mixed => 1.0 / 3.0,
            _ => 0.5,
        };
        assert!((negative - expected).abs() < 0.03, "{law:?}: {negative}");
    }
    let noisy = RegressionTasks { distractors: 4, ..base }.sample::<f64>(count, &mut stream(4, "tasks", 0)).unwrap();
    assert!((noisy.targets().square().mean().item() - 1.0).abs() < 0.05);
}

#[test]
fn distractors_replace_so_many_targets() {
    let tasks = RegressionTasks { distractors: 3, dimension: 2, context: 6, ..RegressionTasks::default() };
    let batch = tasks.sample::<f64>(20, &mut stream(4, "tasks", 0)).unwrap();
    for i in 0..20 {
        // The four undisturbed targets and the query's lie on one plane, so among all fits to two of them some fits them all.
        let task = batch.task(i).unwrap();
        let fits = |a: usize, b: usize| {
            let x = task.inputs.select_rows([&a, &b]);
            let weights = x.try_inverse().map(|inverse| inverse * task.targets.select_rows([&a, &b]));
            let errors = weights.map(|w| (&task.inputs * w - &task.targets).map(f64::abs));
            errors.map_or(0, |e| e.iter().filter(|e| **e < 1e-8).count())
        };
        let most = (0..6).flat_map(|a| (0..a).map(move |b| (a, b))).map(|(a, b)| fits(a, b)).max();
        assert_eq!(most, Some(3));
    }
}

#[test]
fn sine_tasks_are_sines() {
    let batch = SineTasks::default().sample::<f64>(500, &mut stream(4, "tasks", 0)).unwrap();
    assert!(batch.inputs().as_slice().iter().all(|x| x.abs() <= 5.0));
    let top = batch.targets().as_slice().iter().fold(0.0f64, |top, y| top.max(y.abs()));
    assert!(top > 0.4 && top <= 0.5, "{top}");
    let flat = SineTasks { amplitude: [0.5, 0.5], phase: [0.0, 0.0], ..SineTasks::default() };
    let batch = flat.sample::<f64>(5, &mut stream(4, "tasks", 0)).unwrap();
    assert_close(batch.targets().as_slice(), (batch.inputs().sin() * 0.5).as_slice(), 1e-15);
}

#[test]
fn classic_tokens_alternate() {
    let tokens = Tokens::classic(&tiny_batch(), 0).unwrap();
    let rows = [[1.0, 0.0, 0.0], [0.0, 0.0, 2.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 2.0, 0.0]];
    assert_eq!(tokens.sequence.as_slice(), rows.concat());
    let encoded = Tokens::classic(&tiny_batch(), 4).unwrap();
    assert_eq!(encoded.sequence.shape(), [1, 5, 7]);
    let third = encoded.token(0, 3).unwrap();
    assert_close(third.as_slice(), &[3f64.sin(), 3f64.cos(), 0.03f64.sin(), 0.03f64.cos(), 0.0, 0.0, 1.0], 1e-15);
    assert_eq!(encoded.predictions().item(), 0.0);
}

#[test]
fn prefixes_agree_with_tasks_that_were_cut() {
    let batch = tasks(2, 4, 1).sample::<f64>(3, &mut stream(11, "tasks", 0)).unwrap();
    let options = AttentionOptions { kind: AttentionKind::Mix, ..AttentionOptions::default() };
    let stack = Stack::recurrent(random_layer(3, 1, 3, options, 11), 2);
    let all = stack.predict_prefixes(&batch).unwrap();
    assert_eq!(all.shape(), [3, 5, 1]);
    assert_eq!(all.narrow(1, 0, 1), Tensor::zeros(&[3, 1, 1]));
    for b in 0..3 {
        let whole = batch.task(b).unwrap();
        for n in 1..=4 {
            let query = if n < 4 { whole.inputs.row(n).transpose() } else { whole.query.clone() };
            let cut = Task {
                inputs: whole.inputs.rows(0, n).into_owned(),
                targets: whole.targets.rows(0, n).into_owned(),
                query,
                ..whole.clone()
            };
            let expected = stack.predict(&Batch::from_tasks(&[cut]).unwrap()).unwrap()[1].item();
            assert_close(&[all.as_slice()[b * 5 + n]], &[expected], 1e-12);
        }
    }
}

#[test]
fn references_of_the_worked_example() {
    assert_close(least_squares(&tiny()).unwrap().as_slice(), &[2.0, -1.0], 1e-12);
    // (XᵀX + I) w = Xᵀy: [[3, 1], [1, 2]] w = (3, 1).
    assert_close(ridge(&tiny(), 1.0).unwrap().as_slice(), &[1.0, 0.0], 1e-12);
    // Logits 1 and 3: softmax weights in the ratio 1 to e².
    let e2 = 2f64.exp();
    assert_close(kernel_smoother(&tiny(), 1.0).unwrap().as_slice(), &[(2.0 + e2) / (1.0 + e2)], 1e-12);
    assert_eq!(nearest_neighbour(&tiny()).unwrap(), dvector![1.0]);
    // The eigenvalues of XᵀX = [[2, 1], [1, 1]] are (3 ± √5)/2.
    assert_close(&[step_limit(&tiny()).unwrap()], &[8.0 / (3.0 + 5f64.sqrt())], 1e-12);
    assert_eq!(Reference::Zero.predict(&tiny_batch()).unwrap().item(), 0.0);
    assert_close(&[Reference::LeastSquares.predict(&tiny_batch()).unwrap().item()], &[0.0], 1e-12);
    assert_close(&[Reference::Ridge { lambda: 1.0 }.predict(&tiny_batch()).unwrap().item()], &[1.0], 1e-12);
}

#[test]
fn every_reference_agrees_with_its_input_gradient() {
    let tasks = tasks(3, 5, 2);
    let batch = tasks.sample::<f64>(4, &mut stream(12, "tasks", 0)).unwrap();
    let references = [
        Reference::Zero,
        Reference::GradientDescent { eta: 0.6, steps: 3 },
        Reference::GradientDescentPlusPlus { etas: vec![0.6, 0.4], gammas: vec![0.05, 0.1] },
        Reference::Ridge { lambda: 0.3 },
        Reference::LeastSquares,
        Reference::KernelSmoother { beta: 0.7 },
        Reference::NearestNeighbour,
    ];
    let h = 1e-6;
    let moved = |axis: usize, by: f64| {
        let shift = Tensor::from_fn(&[4, 3], |i| if i % 3 == axis { by } else { 0.0 });
        Batch::new(batch.inputs().clone(), batch.targets().clone(), batch.queries() + &shift, batch.query_targets().clone()).unwrap()
    };
    for reference in references {
        let gradients = reference.input_gradients(&batch).unwrap();
        for axis in 0..3 {
            let (up, down) = (reference.predict(&moved(axis, h)).unwrap(), reference.predict(&moved(axis, -h)).unwrap());
            let differences = (up - &down) * (0.5 / h);
            assert_close(gradients.narrow(2, axis, 1).as_slice(), differences.as_slice(), 1e-6);
        }
    }
    let construction = Stack::recurrent(Layer::gd_construction(3, 2, 5, 0.6, None).unwrap(), 3);
    let descent = Reference::GradientDescent { eta: 0.6, steps: 3 };
    let own = construction.input_gradients(&batch).unwrap();
    assert_close(own.as_slice(), descent.input_gradients(&batch).unwrap().as_slice(), 1e-12);
}

#[test]
fn the_construction_is_aligned_with_gradient_descent() {
    let batch = tasks(3, 5, 2).sample::<f64>(50, &mut stream(13, "tasks", 0)).unwrap();
    let stack = Stack::recurrent(Layer::gd_construction(3, 2, 5, 0.6, None).unwrap(), 2);
    let alignment = align(&stack, &Reference::GradientDescent { eta: 0.6, steps: 2 }, &batch).unwrap();
    assert!(alignment.preds_diff < 1e-12 && alignment.model_diff < 1e-12, "{alignment:?}");
    assert!((alignment.model_cos - 1.0).abs() < 1e-6);
    assert_close(&[alignment.loss_model], &[alignment.loss_reference], 1e-12);
    // Predicting the opposite gives the opposite derivative.
    let mut opposite = stack;
    opposite.repeats = 1;
    opposite.layers[0].heads[0].projection = -&opposite.layers[0].heads[0].projection;
    let alignment = align(&opposite, &Reference::GradientDescent { eta: 0.6, steps: 1 }, &batch).unwrap();
    assert!((alignment.model_cos + 1.0).abs() < 1e-6);
}

#[test]
fn interpolation_ignores_the_gauge_and_adds_heads() {
    let batch = tasks(3, 5, 1).sample::<f64>(20, &mut stream(14, "tasks", 0)).unwrap();
    let constructed = Stack::new(vec![Layer::gd_construction(3, 1, 5, 0.6, None).unwrap()]);
    let head = &constructed.layers[0].heads[0];
    let scaled = |c: f64, share: f64| Head {
        key: &head.key * (1.0 / c),
        query: &head.query * c,
        value: &head.value * (share / c),
        projection: &head.projection * c,
    };
    let two_heads = Layer::new(vec![scaled(3.0, 0.25), scaled(-0.5, 0.75)], AttentionOptions::default()).unwrap();
    let same = interpolate(&Stack::new(vec![two_heads.clone()]), &constructed, 3, 0.5).unwrap();
    assert_close(same.predict(&batch).unwrap()[0].as_slice(), constructed.predict(&batch).unwrap()[0].as_slice(), 1e-12);
    // At the ends: a step of 0.6 and one of 1.2; in the middle, a step of 0.9, since K and Q agree.
    let longer = Stack::new(vec![Layer::gd_construction(3, 1, 5, 1.2, None).unwrap()]);
    for (t, eta) in [(0.0, 0.6), (0.5, 0.9), (1.0, 1.2)] {
        let between = interpolate(&Stack::new(vec![two_heads.clone()]), &longer, 3, t).unwrap();
        let expected = Reference::GradientDescent { eta, steps: 1 }.predict(&batch).unwrap();
        assert_close(between.predict(&batch).unwrap()[0].as_slice(), expected.as_slice(), 1e-12);
    }
}

#[test]
fn the_curves_out_of_distribution_compare_on_the_same_tasks() {
    let tasks = tasks(3, 5, 1);
    let stack = Stack::new(vec![Layer::gd_construction(3, 1, 5, 0.6, None).unwrap()]);
    let descent = Reference::GradientDescent { eta: 0.6, steps: 1 };
    let weights = ood_curve(&stack, &descent, &tasks, OodAxis::WeightScale, &[0.5, 1.0, 3.0], 200, 1).unwrap();
    for point in &weights {
        assert_close(&[point.loss_model], &[point.loss_reference], 1e-12);
        assert_close(&[point.loss_model], &[weights[1].loss_model * point.scale * point.scale], 1e-12);
    }
    let law = RegressionTasks { law: InputLaw::Laplace, ..tasks };
    let ranges = ood_curve(&stack, &descent, &law, OodAxis::InputRange, &[1.0, 2.0], 200, 1).unwrap();
    assert!(ranges[1].loss_model != ranges[0].loss_model);
    assert_close(&[ranges[1].loss_model], &[ranges[1].loss_reference], 1e-12);
}

#[test]
fn copy_analysis_sees_a_layer_that_copies_the_next_token() {
    let batch = tasks(2, 3, 1).sample::<f64>(10, &mut stream(15, "tasks", 0)).unwrap();
    let tokens = Tokens::classic(&batch, 8).unwrap();
    let untouched = Layer::new(
        vec![Head { key: Tensor::eye(11), query: Tensor::eye(11), value: Tensor::zeros(&[11, 11]), projection: Tensor::eye(11) }],
        AttentionOptions::default(),
    )
    .unwrap();
    let analysis = copy_analysis(&untouched, &tokens).unwrap();
    assert_close(&[analysis.own, analysis.next, analysis.other], &[11f64.sqrt(), 0.0, 0.0], 1e-14);
    // Keys are the position, queries the position turned on by one: sharp softmax then picks the next token.
    let mut turn = DMatrix::<f64>::zeros(8, 11);
    let mut positions = DMatrix::<f64>::zeros(8, 11);
    for pair in 0..4 {
        let (sin, cos) = (1.0 / 10_000f64.powf(pair as f64 / 4.0)).sin_cos();
        let block = dmatrix![cos, sin; -sin, cos];
        turn.view_mut((2 * pair, 2 * pair), (2, 2)).copy_from(&(block * 300.0));
        positions.view_mut((2 * pair, 2 * pair), (2, 2)).fill_with_identity();
    }
    let mut values = DMatrix::<f64>::zeros(11, 11);
    (8..11).for_each(|i| values[(i, i)] = 1.0);
    let copying = Layer::new(
        vec![Head {
            key: Tensor::from_dmatrix(&positions),
            query: Tensor::from_dmatrix(&turn),
            value: Tensor::from_dmatrix(&values),
            projection: Tensor::eye(11),
        }],
        AttentionOptions { kind: AttentionKind::Softmax, ..AttentionOptions::default() },
    )
    .unwrap();
    let moved = copying.forward(&tokens).unwrap();
    let merged = moved.token(0, 0).unwrap();
    let y = batch.targets().as_slice()[0];
    assert!((merged[10] - y).abs() < 1e-6, "the token of x holds {} and not y = {y}", merged[10]);
    let analysis = copy_analysis(&copying, &tokens).unwrap();
    assert!(analysis.next > 1.5 && analysis.other < 0.1, "{analysis:?}");
}

#[test]
fn json_keeps_every_bit() {
    let options = AttentionOptions { kind: AttentionKind::Mix, clip: Some(10.0), ..AttentionOptions::default() };
    let mut layer = random_layer(3, 2, 2, options, 16);
    layer.mix = Some(Tensor::scalar(0.125));
    let stack = Stack { layers: vec![layer.clone(), layer], repeats: 3, layout: TokenLayout::Classic { positions: 4 } };
    assert_eq!(Stack::from_json(&stack.to_json().unwrap()).unwrap(), stack);
    let short = r#"{"layers": [{"heads": [{"key": [[1, 0]], "query": [[1, 0]], "value": [[0, -1]], "projection": [[0], [0.5]]}]}]}"#;
    let read: Stack<f64> = Stack::from_json(short).unwrap();
    assert_eq!((read.depth(), read.layers[0].width(), read.layout), (1, 2, TokenLayout::Constructed));
}

#[test]
fn tasks_are_read_from_json() {
    let text = r#"[{"inputs": [[1, 0], [1, 1]], "targets": [[2], [1]], "query": [1, 2], "query_target": [0]}]"#;
    assert_eq!(Batch::<f64>::from_json(text).unwrap(), tiny_batch());
    let error = Batch::<f64>::from_json("[{\"inputs\": 3}]").unwrap_err();
    assert!(matches!(&error, InContextError::Json { what: "the tasks", .. }), "{error}");
    let ragged = text.replace("[1, 1]", "[1]");
    let expected = InContextError::DimensionMismatch { what: "the dimension of an input", found: 1, expected: 2 };
    assert_eq!(Batch::<f64>::from_json(&ragged), Err(expected));
    assert!(matches!(Stack::<f64>::from_json("{"), Err(InContextError::Json { what: "the weights", .. })));
}

#[test]
fn packed_matrices_are_cut_into_heads() {
    let layer = random_layer(3, 2, 2, AttentionOptions::default(), 17);
    let pack =
        |part: fn(&Head<f64>) -> &Tensor<f64>, axis| Tensor::concat(&layer.heads.iter().map(|h| part(h).clone()).collect::<Vec<_>>(), axis);
    let (key, query) = (pack(|h| &h.key, 0), pack(|h| &h.query, 0));
    let (value, projection) = (pack(|h| &h.value, 0), pack(|h| &h.projection, 1));
    let again = Layer::from_packed(2, &key, &query, &value, &projection, AttentionOptions::default()).unwrap();
    assert_eq!(again, layer);
    let error = Layer::from_packed(3, &key, &query, &value, &projection, AttentionOptions::default()).unwrap_err();
    let expected = InContextError::InvalidShape { what: "the key matrix of all heads".into(), found: vec![4, 3], expected: vec![6, 3] };
    assert_eq!(error, expected);
}

#[test]
fn initial_weights_have_the_deviation_asked_for() {
    let layer = LinearSelfAttention::<f64>::random(100, 1, 100, 0.5, AttentionOptions::default(), &mut stream(0, "w", 0)).unwrap();
    let deviation = layer.heads[0].key.square().mean().sqrt().item();
    let expected = (0.5f64 / 100.0).sqrt();
    assert!((deviation / expected - 1.0).abs() < 0.03, "{deviation}");
    let most = layer.heads[0].key.as_slice().iter().fold(0.0f64, |most, x| most.max(x.abs()));
    assert!(most <= 2.0 * expected / 0.8796 && most > 1.9 * expected, "{most}");
}

#[test]
fn training_is_reproducible_and_learns() {
    let tasks = TaskDistribution::from(RegressionTasks { dimension: 2, context: 6, input_range: 2.0, ..RegressionTasks::default() });
    let config = StackConfig { init_scale: 0.05, ..StackConfig::default() };
    let options =
        TrainOptions { steps: 400, batch: 64, learning_rate: 5e-3, seed: 1, snapshot_every: Some(200), ..TrainOptions::default() };
    let run = || train::<f64>(&config, &tasks, &options, &mut Silent, &Cancel::new()).unwrap();
    let trained = run();
    assert_eq!(run(), trained);
    assert_eq!(trained.snapshots.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [0, 200, 400]);
    assert_eq!(trained.snapshots[2].1, trained.stack);
    let test = tasks.sample(2000, &mut stream(0, "test", 0)).unwrap();
    let (before, after) = (trained.snapshots[0].1.loss(&test).unwrap(), trained.stack.loss(&test).unwrap());
    assert!(after < 0.7 * before, "{before} {after}");
}

#[test]
fn nonlinear_training_moves_only_what_it_may() {
    let tasks = TaskDistribution::from(SineTasks::default());
    let config = NonlinearConfig { width: 8, hidden: 16, init_scale: 0.5 };
    let options = TrainOptions { steps: 60, batch: 32, learning_rate: 3e-3, ..TrainOptions::default() };
    let run = |head| train_nonlinear::<f64>(&config, head, &tasks, &options, &mut Silent, &Cancel::new()).unwrap();
    let fixed = run(NonlinearHead::GradientDescent { eta: 1.0 });
    assert_eq!(fixed.model.attention, Layer::gd_construction(7, 1, 10, 1.0, None).unwrap());
    assert_eq!(run(NonlinearHead::GradientDescent { eta: 1.0 }), fixed);
    let trained = run(NonlinearHead::Trained);
    let first: f64 = trained.history[..10].iter().map(|(_, loss)| loss).sum();
    let last: f64 = trained.history[50..].iter().map(|(_, loss)| loss).sum();
    assert!(last < first, "{first} {last}");
    let batch = tasks.sample(7, &mut stream(0, "test", 0)).unwrap();
    assert_eq!(trained.model.predict(&batch).unwrap().shape(), [7, 1]);
    assert!(trained.model.loss(&batch).unwrap().is_finite());
}

mod bad_input {
    use super::*;

    fn invalid<T: std::fmt::Debug>(result: Result<T, InContextError>, expected: &str) {
        match result {
            Err(InContextError::InvalidOption { name, .. }) => assert_eq!(name, expected),
            other => panic!("{other:?} is not InvalidOption {{ {expected} }}"),
        }
    }

    fn mismatch<T: std::fmt::Debug>(result: Result<T, InContextError>) {
        assert!(matches!(result, Err(InContextError::DimensionMismatch { .. })), "{result:?}");
    }

    #[test]
    fn empty_contexts() {
        let empty = Task { inputs: DMatrix::zeros(0, 2), targets: DMatrix::zeros(0, 1), ..tiny() };
        assert_eq!(gd(&empty, 0.5, 1, None), Err(InContextError::EmptyContext));
        assert_eq!(Batch::<f64>::from_tasks(&[empty]), Err(InContextError::EmptyContext));
        assert_eq!(Batch::<f64>::from_tasks(&[]), Err(InContextError::EmptyContext));
        let none = RegressionTasks { context: 0, ..RegressionTasks::default() };
        assert_eq!(none.sample::<f64>(1, &mut stream(0, "", 0)), Err(InContextError::EmptyContext));
        assert_eq!(SineTasks { context: 0, ..SineTasks::default() }.validate(), Err(InContextError::EmptyContext));
        assert_eq!(Layer::gd_construction(2, 1, 0, 0.5, None), Err(InContextError::EmptyContext));
        assert_eq!(Layer::gdpp_construction(2, 1, 0, 0.5, 0.1), Err(InContextError::EmptyContext));
    }

    #[test]
    fn sizes_that_differ() {
        mismatch(ridge(&Task { query: dvector![1.0], ..tiny() }, 1.0));
        mismatch(ridge(&Task { targets: dmatrix![1.0], ..tiny() }, 1.0));
        mismatch(ridge(&Task { query_target: dvector![1.0, 2.0], ..tiny() }, 1.0));
        mismatch(gd(&tiny(), 0.5, 1, Some(&dmatrix![1.0])));
        mismatch(gd(&tiny(), 0.5, 1, Some(&dmatrix![1.0, 2.0; 3.0, 4.0])));
        mismatch(gd_plus_plus(&tiny(), &[0.5], &[]));
        mismatch(Layer::gd_construction(2, 1, 2, 0.5, Some(&dmatrix![1.0])));
        mismatch(Tokens::constructed(&tiny_batch(), Some(&dmatrix![1.0])));
        mismatch(Tokens::residual(&tiny_batch(), &dmatrix![1.0, 2.0; 3.0, 4.0]));
        mismatch(Stack::new(vec![Layer::gd_construction(3, 1, 2, 0.5, None).unwrap()]).predict(&tiny_batch()));
        let other = Task { query_target: dvector![1.0, 2.0], targets: dmatrix![1.0, 2.0; 3.0, 4.0], ..tiny() };
        mismatch(Batch::<f64>::from_tasks(&[tiny(), other]));
        let (x, y) = (Tensor::<f64>::zeros(&[2, 3, 4]), Tensor::zeros(&[2, 3, 1]));
        mismatch(Batch::new(x.clone(), y.clone(), Tensor::zeros(&[2, 5]), Tensor::zeros(&[2, 1])));
        mismatch(Batch::new(x.clone(), y.clone(), Tensor::zeros(&[2, 4]), Tensor::zeros(&[2, 2])));
        mismatch(Batch::new(x, y, Tensor::zeros(&[4]), Tensor::zeros(&[2, 1])));
        let one = Stack::new(vec![Layer::gd_construction(2, 1, 2, 0.5, None).unwrap()]);
        mismatch(interpolate(&one, &Stack { repeats: 2, ..one.clone() }, 2, 0.5));
    }

    #[test]
    fn numbers_that_are_not_finite() {
        let nan = Task { query: dvector![1.0, f64::NAN], ..tiny() };
        assert_eq!(gd(&nan, 0.5, 1, None), Err(InContextError::NonFinite { what: "the query" }));
        let infinite = Task { targets: dmatrix![f64::INFINITY; 1.0], ..tiny() };
        assert_eq!(Batch::<f32>::from_tasks(std::slice::from_ref(&infinite)), Err(InContextError::NonFinite { what: "the targets" }));
        let w0 = dmatrix![f64::NAN, 0.0];
        assert_eq!(Layer::gd_construction(2, 1, 2, 0.5, Some(&w0)), Err(InContextError::NonFinite { what: "W0" }));
        let mut layer = Layer::gd_construction(2, 1, 2, 0.5, None).unwrap();
        layer.heads[0].key = Tensor::full(f64::NAN, &[3, 3]);
        assert_eq!(layer.validate(), Err(InContextError::NonFinite { what: "a weight matrix" }));
    }

    #[test]
    fn options_out_of_range() {
        invalid(gd(&tiny(), 0.0, 1, None), "eta");
        invalid(gd(&tiny(), f64::NAN, 1, None), "eta");
        invalid(gd(&tiny(), 0.5, 0, None), "steps");
        invalid(gd_plus_plus(&tiny(), &[], &[]), "steps");
        invalid(gd_plus_plus(&tiny(), &[0.5], &[-0.1]), "gamma");
        invalid(gd_plus_plus(&tiny(), &[-0.5], &[0.1]), "eta");
        invalid(Layer::gd_construction(2, 1, 2, 0.0, None), "eta");
        invalid(Layer::gdpp_construction(2, 1, 2, 0.5, -0.1), "gamma");
        invalid(Layer::gd_construction(0, 1, 2, 0.5, None), "dimension");
        invalid(ridge(&tiny(), -1.0), "lambda");
        invalid(kernel_smoother(&tiny(), f64::INFINITY), "beta");
        invalid(RegressionTasks { distractors: 11, ..RegressionTasks::default() }.validate(), "distractors");
        invalid(RegressionTasks { input_range: 0.0, ..RegressionTasks::default() }.validate(), "input_range");
        invalid(RegressionTasks { weight_scale: f64::NAN, ..RegressionTasks::default() }.validate(), "weight_scale");
        invalid(SineTasks { input: [1.0, 0.0], ..SineTasks::default() }.validate(), "input");
        invalid(optimal_eta(&RegressionTasks { distractors: 1, ..RegressionTasks::default() }), "distractors");
        invalid(optimal_eta(&RegressionTasks { law: InputLaw::Normal, ..RegressionTasks::default() }), "law");
        invalid(Tokens::classic(&tiny_batch(), 3), "positions");
        let layer = Layer::gd_construction(2, 1, 2, 0.5, None).unwrap();
        invalid(Stack::recurrent(layer.clone(), 0).predict(&tiny_batch()), "the number of layer applications");
        invalid(Layer::new(layer.heads.clone(), AttentionOptions { dampening: 0.0, ..AttentionOptions::default() }), "dampening");
        invalid(Layer::new(layer.heads.clone(), AttentionOptions { clip: Some(-1.0), ..AttentionOptions::default() }), "clip");
        invalid(Layer::new(vec![], AttentionOptions::default()), "heads");
        let softmax = Layer::new(layer.heads, AttentionOptions { kind: AttentionKind::Softmax, ..AttentionOptions::default() }).unwrap();
        invalid(interpolate(&Stack::new(vec![softmax.clone()]), &Stack::new(vec![softmax]), 2, 0.5), "kind");
        let short = Tokens::constructed(&tiny_batch(), None).unwrap();
        invalid(copy_analysis(&Layer::gd_construction(2, 1, 2, 0.5, None).unwrap(), &short), "the number of tokens in the context");
        for (options, name) in [
            (TrainOptions { steps: 0, ..TrainOptions::default() }, "steps"),
            (TrainOptions { batch: 0, ..TrainOptions::default() }, "batch"),
            (TrainOptions { clip_norm: 0.0, ..TrainOptions::default() }, "clip_norm"),
            (TrainOptions { snapshot_every: Some(0), ..TrainOptions::default() }, "snapshot_every"),
        ] {
            invalid(options.validate(), name);
        }
        let wrong = TrainOptions { learning_rate: -1.0, ..TrainOptions::default() };
        assert!(matches!(wrong.validate(), Err(InContextError::Optimizer(_))));
    }

    #[test]
    fn steps_that_are_too_large() {
        let limit = step_limit(&tiny()).unwrap();
        assert_eq!(gd_strict(&tiny(), limit, 1, None), Err(InContextError::StepTooLarge { eta: limit, limit }));
        assert_eq!(gd_strict(&tiny(), 0.5, 1, None), gd(&tiny(), 0.5, 1, None));
    }

    #[test]
    fn matrices_that_do_not_fit() {
        let head = Head {
            key: Tensor::zeros(&[2, 3]),
            query: Tensor::zeros(&[4, 3]),
            value: Tensor::zeros(&[2, 3]),
            projection: Tensor::zeros(&[3, 2]),
        };
        let expected = InContextError::InvalidShape { what: "the query matrix of head 0".into(), found: vec![4, 3], expected: vec![2, 3] };
        assert_eq!(Layer::new(vec![head], AttentionOptions::default()), Err(expected));
    }

    #[test]
    fn systems_without_a_unique_solution() {
        let what = "least squares without ridge";
        let collinear = Task { inputs: dmatrix![1.0, 2.0; 2.0, 4.0], ..tiny() };
        assert_eq!(least_squares(&collinear), Err(InContextError::Singular { what }));
        assert!(ridge(&collinear, 0.1).is_ok());
        let few = Task { inputs: dmatrix![1.0, 2.0], targets: dmatrix![1.0], ..tiny() };
        assert_eq!(least_squares(&few), Err(InContextError::Singular { what }));
        let layer = Layer::gd_construction(2, 1, 2, 0.5, None).unwrap();
        let nothing = Stack::new(vec![Params::zeros_like(&layer)]);
        assert!(matches!(interpolate(&nothing, &nothing, 2, 0.5), Err(InContextError::Singular { .. })));
    }

    #[test]
    fn runs_that_do_not_learn_are_stuck() {
        // With a step size of 0 the loss stays at that of predicting next to nothing.
        let tasks = TaskDistribution::from(RegressionTasks { dimension: 1, context: 2, ..RegressionTasks::default() });
        let options = TrainOptions { steps: 1000, batch: 2, learning_rate: 0.0, restarts: Some(1), ..TrainOptions::default() };
        let result = train::<f64>(&StackConfig::default(), &tasks, &options, &mut Silent, &Cancel::new());
        let Err(InContextError::Stuck { loss }) = result else { panic!("{result:?}") };
        assert!(loss > 0.0);
        for options in [TrainOptions { steps: 999, ..options }, TrainOptions { restarts: None, ..options }] {
            assert_eq!(train::<f64>(&StackConfig::default(), &tasks, &options, &mut Silent, &Cancel::new()).unwrap().restarts, 0);
        }
    }

    #[test]
    fn losses_that_explode_end_the_training() {
        let tasks = TaskDistribution::from(RegressionTasks { input_range: 1e3, ..RegressionTasks::default() });
        let config = StackConfig { repeats: 6, init_scale: 10.0, ..StackConfig::default() };
        let options = TrainOptions { steps: 20, batch: 4, ..TrainOptions::default() };
        let result = train::<f32>(&config, &tasks, &options, &mut Silent, &Cancel::new());
        assert_eq!(result, Err(InContextError::Diverged { step: 0 }));
    }

    #[test]
    fn cancelled_work() {
        let cancel = Cancel::new();
        cancel.cancel();
        let result =
            train::<f32>(&StackConfig::default(), &RegressionTasks::default().into(), &TrainOptions::default(), &mut Silent, &cancel);
        assert_eq!(result, Err(InContextError::Interrupted(Interrupted)));
    }
}

mod properties {
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
        Stack::new(vec![random_layer(d + o, 2, 3, options, seed), random_layer(d + o, 1, 2, options, seed + 1)])
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
            let explicit = Stack::recurrent(Layer::gd_construction(d, o, n, eta, Some(&w0)).unwrap(), k);
            let residual = Stack::recurrent(Layer::gd_construction(d, o, n, eta, None).unwrap(), k);
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
            let stack = Stack::recurrent(Layer::gdpp_construction(d, o, n, eta, gamma).unwrap(), k);
            let reference = Reference::GradientDescentPlusPlus { etas: vec![eta; k], gammas: vec![gamma; k] };
            prop_assert!(close(&last(&stack, &batch), &reference.predict(&batch).unwrap(), 1e-9));
            let plain = Reference::GradientDescentPlusPlus { etas: vec![eta; k], gammas: vec![0.0; k] };
            let descent = Reference::GradientDescent { eta, steps: k };
            prop_assert!(close(&plain.predict(&batch).unwrap(), &descent.predict(&batch).unwrap(), 1e-9));
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
            let stack = Stack::recurrent(Layer::gdpp_construction(d, o, n, eta, 0.05).unwrap(), k);
            prop_assert!(close(&(last(&stack, &batch) * c), &last(&stack, &scaled), 1e-9));
        }

        #[test]
        fn rotations_of_the_inputs_do_not_matter((d, n, o, k, eta, seed) in case()) {
            let batch = sample(d, n, o, seed);
            let rotation = normal(d, d, seed).qr().q();
            let stack = Stack::recurrent(Layer::gdpp_construction(d, o, n, eta, 0.05).unwrap(), k);
            prop_assert!(close(&last(&stack, &batch), &last(&stack, &rotated(&batch, &rotation)), 1e-9));
        }

        #[test]
        fn a_context_twice_gives_the_same_prediction((d, n, o, k, eta, seed) in case()) {
            let batch = sample(d, n, o, seed);
            let twice = |x: &Tensor<f64>| Tensor::concat(&[x.clone(), x.clone()], 1);
            let doubled = Batch::new(twice(batch.inputs()), twice(batch.targets()), batch.queries().clone(), batch.query_targets().clone()).unwrap();
            let once = Stack::recurrent(Layer::gd_construction(d, o, n, eta, None).unwrap(), k);
            let double = Stack::recurrent(Layer::gd_construction(d, o, 2 * n, eta, None).unwrap(), k);
            prop_assert!(close(&last(&once, &batch), &last(&double, &doubled), 1e-9));
        }

        #[test]
        fn gradient_descent_tends_to_least_squares(d in 1usize..4, extra in 3usize..8, o in 1usize..3, seed in 0u64..1_000_000) {
            let batch = sample(d, d + extra, o, seed);
            let task = batch.task(0).unwrap();
            let eigenvalues = (task.inputs.transpose() * &task.inputs).symmetric_eigenvalues();
            prop_assume!(eigenvalues.min() > 1e-2 * eigenvalues.max());
            let eta = 0.5 * step_limit(&task).unwrap();
            let weights = gd_strict(&task, eta, 4000, None).unwrap();
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
            let wide = Stack::recurrent(Layer::gdpp_construction(d, o, n, eta, 0.02).unwrap(), k);
            let narrow = Stack::recurrent(LinearSelfAttention::<f32>::gdpp_construction(d, o, n, eta, 0.02).unwrap(), k);
            let narrow = narrow.predict(&batch.cast()).unwrap().pop().unwrap();
            prop_assert!(close(&narrow.cast(), &last(&wide, &batch), 1e-4));
        }
    }
}
