//! Every bad input and its error.

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
    mismatch(Stack::new(vec![Layer::gd_construction(3, 1, 2, 0.5, None).unwrap()], 1).predict(&tiny_batch()));
    let other = Task { query_target: dvector![1.0, 2.0], targets: dmatrix![1.0, 2.0; 3.0, 4.0], ..tiny() };
    mismatch(Batch::<f64>::from_tasks(&[tiny(), other]));
    let (x, y) = (Tensor::<f64>::zeros(&[2, 3, 4]), Tensor::zeros(&[2, 3, 1]));
    mismatch(Batch::new(x.clone(), y.clone(), Tensor::zeros(&[2, 5]), Tensor::zeros(&[2, 1])));
    mismatch(Batch::new(x.clone(), y.clone(), Tensor::zeros(&[2, 4]), Tensor::zeros(&[2, 2])));
    mismatch(Batch::new(x, y, Tensor::zeros(&[4]), Tensor::zeros(&[2, 1])));
    let one = Stack::new(vec![Layer::gd_construction(2, 1, 2, 0.5, None).unwrap()], 1);
    mismatch(interpolate(&one, &Stack { repeats: 2, ..one.clone() }, 0.5));
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
    invalid(Tokens::classic(&tiny_batch(), 3, false), "positions");
    let layer = Layer::gd_construction(2, 1, 2, 0.5, None).unwrap();
    invalid(Stack::recurrent(layer.clone(), 1, 0).predict(&tiny_batch()), "the number of layer applications");
    invalid(Layer::new(layer.heads.clone(), AttentionOptions { dampening: 0.0, ..AttentionOptions::default() }), "dampening");
    invalid(Layer::new(layer.heads.clone(), AttentionOptions { clip: Some(-1.0), ..AttentionOptions::default() }), "clip");
    invalid(Layer::new(vec![], AttentionOptions::default()), "heads");
    let softmax = Layer::new(layer.heads, AttentionOptions { kind: AttentionKind::Softmax, ..AttentionOptions::default() }).unwrap();
    invalid(interpolate(&Stack::new(vec![softmax.clone()], 1), &Stack::new(vec![softmax], 1), 0.5), "kind");
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
    let nothing = Stack::new(vec![Params::zeros_like(&layer)], 1);
    assert!(matches!(interpolate(&nothing, &nothing, 0.5), Err(InContextError::Singular { .. })));
}

#[test]
fn runs_that_do_not_learn_are_stuck() {
    // With a step size of 0 the loss stays at that of predicting next to nothing.
    let tasks = TaskDistribution::from(RegressionTasks { dimension: 2, context: 4, ..RegressionTasks::default() });
    let options = TrainOptions { steps: 1000, batch: 8, learning_rate: 0.0, restarts: Some(1), ..TrainOptions::default() };
    let result = train::<f64>(&StackConfig::default(), &tasks, &options, &mut Silent, &Cancel::new());
    let Err(InContextError::Stuck { loss }) = result else { panic!("not stuck") };
    // ½ s² σ² d = 1/12, up to the spread of 400 tasks.
    assert!((loss * 12.0 - 1.0).abs() < 0.3, "{loss}");
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
    let result = train::<f32>(&StackConfig::default(), &RegressionTasks::default().into(), &TrainOptions::default(), &mut Silent, &cancel);
    assert_eq!(result, Err(InContextError::Interrupted(Interrupted)));
}

#[test]
fn losses_that_explode_later_name_the_step() {
    let tasks = TaskDistribution::from(RegressionTasks { dimension: 2, context: 3, ..RegressionTasks::default() });
    let config = StackConfig { repeats: 5, ..StackConfig::default() };
    // Steps of Adam are as long as the learning rate, whatever the gradient is.
    let options = TrainOptions { steps: 20, batch: 4, learning_rate: 3.0, ..TrainOptions::default() };
    let result = train::<f32>(&config, &tasks, &options, &mut Silent, &Cancel::new()).map(|trained| trained.history.len());
    assert!(matches!(result, Err(InContextError::Diverged { step: 1.. })), "{result:?}");

    let waves = TaskDistribution::from(SineTasks::default());
    let options = TrainOptions { learning_rate: 1e12, ..options };
    let config = NonlinearConfig { width: 4, hidden: 4, init_scale: 0.5 };
    let result = train_nonlinear::<f32>(&config, NonlinearHead::Trained, &waves, &options, &mut Silent, &Cancel::new());
    assert!(matches!(result, Err(InContextError::Diverged { step: 1.. })));
}

#[test]
fn tasks_without_entries() {
    let no_inputs = r#"[{"inputs": [[]], "targets": [[1]], "query": [], "query_target": [1]}]"#;
    invalid(Batch::<f64>::from_json(no_inputs), "the dimension of the inputs");
    let no_outputs = r#"[{"inputs": [[1]], "targets": [[]], "query": [1], "query_target": []}]"#;
    invalid(Batch::<f64>::from_json(no_outputs), "the number of outputs");
    let nothing = Task { inputs: DMatrix::zeros(2, 0), query: DVector::zeros(0), ..tiny() };
    invalid(step_limit(&nothing), "the dimension of the inputs");
    invalid(least_squares(&Task { targets: DMatrix::zeros(2, 0), query_target: DVector::zeros(0), ..tiny() }), "the number of outputs");
    let zeros = |shape: &[usize]| Tensor::<f64>::zeros(shape);
    invalid(Batch::new(zeros(&[2, 3, 0]), zeros(&[2, 3, 1]), zeros(&[2, 0]), zeros(&[2, 1])), "the dimension of the inputs");
    invalid(Batch::new(zeros(&[2, 3, 1]), zeros(&[2, 3, 0]), zeros(&[2, 1]), zeros(&[2, 0])), "the number of outputs");
}

#[test]
fn batches_without_tasks() {
    let zeros = |shape: &[usize]| Tensor::<f64>::zeros(shape);
    assert_eq!(Batch::new(zeros(&[0, 3, 1]), zeros(&[0, 3, 1]), zeros(&[0, 1]), zeros(&[0, 1])), Err(InContextError::EmptyContext));
    let rng = &mut stream(0, "", 0);
    assert_eq!(RegressionTasks::default().sample::<f64>(0, rng), Err(InContextError::EmptyContext));
    assert_eq!(SineTasks::default().sample::<f64>(0, rng), Err(InContextError::EmptyContext));
    assert_eq!(TaskDistribution::from(SineTasks::default()).sample::<f64>(0, rng), Err(InContextError::EmptyContext));
    let stack = Stack::new(vec![Layer::gd_construction(10, 1, 10, 0.5, None).unwrap()], 1);
    let tasks = RegressionTasks::default();
    let curve = ood_curve(&stack, &Reference::Zero, &tasks, OodAxis::InputRange, &[1.0], 0, 0);
    assert_eq!(curve, Err(InContextError::EmptyContext));
}

#[test]
fn numbers_too_large_for_the_precision() {
    let tasks = RegressionTasks { input_range: 1e30, weight_scale: 1e30, ..RegressionTasks::default() };
    let rng = &mut stream(0, "tasks", 0);
    assert_eq!(tasks.sample::<f32>(2, rng), Err(InContextError::NonFinite { what: "the targets" }));
    let wide = tasks.sample::<f64>(2, rng).unwrap();
    assert_eq!(wide.cast::<f32>(), Err(InContextError::NonFinite { what: "the targets" }));
    let options = TrainOptions { steps: 3, batch: 2, ..TrainOptions::default() };
    let result = train::<f32>(&StackConfig::default(), &tasks.into(), &options, &mut Silent, &Cancel::new()).map(|t| t.restarts);
    assert_eq!(result, Err(InContextError::Diverged { step: 0 }));
    let batch = tiny_batch().cast::<f32>().unwrap();
    let layer = LinearSelfAttention::<f32>::gd_construction(2, 1, 2, 1e38, None).unwrap();
    let once = layer.forward(&Tokens::constructed(&batch, None).unwrap()).unwrap();
    assert_eq!(layer.forward(&once), Err(InContextError::NonFinite { what: "the tokens" }));
}

#[test]
fn initial_weights_that_are_not_finite() {
    let w0 = dmatrix![1.0, f64::NAN];
    let what = InContextError::NonFinite { what: "W0" };
    assert_eq!(gd(&tiny(), 0.5, 1, Some(&w0)), Err(what.clone()));
    assert_eq!(gd_strict(&tiny(), 0.5, 1, Some(&w0)), Err(what.clone()));
    assert_eq!(Tokens::constructed(&tiny_batch(), Some(&w0)), Err(what.clone()));
    assert_eq!(Tokens::residual(&tiny_batch(), &w0), Err(what));
}

#[test]
fn mixing_parameters() {
    let options = AttentionOptions { kind: AttentionKind::Mix, ..AttentionOptions::default() };
    let mut layer = random_layer(3, 1, 2, options, 0);
    layer.mix = Some(Tensor::scalar(f64::INFINITY));
    assert_eq!(layer.validate(), Err(InContextError::NonFinite { what: "the mixing parameter" }));
    layer.mix = None;
    mismatch(layer.validate());
}

#[test]
fn tokens_that_are_none() {
    let tokens = |shape: &[usize], outputs| Tokens::new(Tensor::<f64>::zeros(shape), outputs);
    mismatch(tokens(&[2, 3], 1));
    mismatch(tokens(&[1, 2, 3, 4], 1));
    assert_eq!(tokens(&[0, 3, 3], 1), Err(InContextError::EmptyContext));
    assert_eq!(tokens(&[2, 0, 3], 1), Err(InContextError::EmptyContext));
    assert_eq!(tokens(&[2, 1, 3], 1), Err(InContextError::EmptyContext));
    invalid(tokens(&[2, 3, 3], 0), "outputs");
    invalid(tokens(&[2, 3, 3], 4), "outputs");
    assert_eq!(Tokens::new(Tensor::full(f64::NAN, &[1, 2, 3]), 1), Err(InContextError::NonFinite { what: "the tokens" }));
    assert!(tokens(&[2, 3, 3], 3).is_ok());
}

#[test]
fn dimension_and_outputs_that_only_add_up() {
    // Three entries of a token: two inputs and one target here, one input and two targets there.
    let stack = Stack::new(vec![Layer::gd_construction(2, 1, 4, 0.5, None).unwrap()], 1);
    let batch = tasks(1, 4, 2).sample::<f64>(3, &mut stream(0, "tasks", 0)).unwrap();
    let expected = InContextError::DimensionMismatch { what: "the number of outputs of the tasks".into(), found: 2, expected: 1 };
    assert_eq!(stack.predict(&batch), Err(expected.clone()));
    assert_eq!(stack.input_gradients(&batch), Err(expected.clone()));
    assert_eq!(stack.predict_prefixes(&batch), Err(expected));
    mismatch(stack.predict_tokens(&Tokens::constructed(&batch, None).unwrap()));
    let json = stack.to_json().unwrap().replace("\"outputs\": 1", "\"outputs\": 2");
    mismatch(Stack::<f64>::from_json(&json).unwrap().predict(&tiny_batch()));
    invalid(Stack { outputs: 3, ..stack.clone() }.validate(), "the width of the layers");
    invalid(Stack { outputs: 0, ..stack }.validate(), "outputs");

    let waves = SineTasks::default().sample::<f64>(2, &mut stream(0, "tasks", 0)).unwrap();
    let config = NonlinearConfig { width: 4, hidden: 3, init_scale: 0.5 };
    let options = TrainOptions { steps: 1, batch: 2, ..TrainOptions::default() };
    let narrow = RegressionTasks { dimension: 2, context: 3, ..RegressionTasks::default() };
    let trained: TrainedNonlinear<f64> =
        train_nonlinear(&config, NonlinearHead::Trained, &narrow.into(), &options, &mut Silent, &Cancel::new()).unwrap();
    mismatch(trained.model.predict(&batch));
    mismatch(trained.model.predict(&waves));
}

#[test]
fn targets_that_do_not_fit_into_a_shared_slot() {
    let batch = tasks(1, 4, 2).sample::<f64>(3, &mut stream(0, "tasks", 0)).unwrap();
    invalid(Tokens::classic(&batch, 0, true), "outputs");
    assert!(Tokens::classic(&batch, 0, false).is_ok());
    let config = StackConfig { layout: TokenLayout::Classic { positions: 2, shared: true }, ..StackConfig::default() };
    invalid(Stack::<f64>::random(&config, &tasks(1, 4, 2).into(), &mut stream(0, "", 0)), "outputs");
}

#[test]
fn layers_beyond_number() {
    let layer = Layer::gd_construction(2, 1, 2, 0.5, None).unwrap();
    let name = "the number of layer applications";
    invalid(Stack::recurrent(layer.clone(), 1, usize::MAX).predict(&tiny_batch()), name);
    invalid(Stack { repeats: usize::MAX, ..Stack::new(vec![layer.clone(), layer.clone()], 1) }.validate(), name);
    let json = Stack::new(vec![layer], 1).to_json().unwrap().replace("\"repeats\": 1", "\"repeats\": 18446744073709551615");
    invalid(Stack::<f64>::from_json(&json), name);
    let config = StackConfig { layers: 1 << 40, repeats: 1 << 40, ..StackConfig::default() };
    invalid(Stack::<f64>::random(&config, &RegressionTasks::default().into(), &mut stream(0, "", 0)), name);
}

#[test]
fn weights_in_json() {
    let stack = Stack::new(vec![Layer::gd_construction(1, 1, 2, 0.5, None).unwrap()], 1);
    let json = stack.to_json().unwrap();
    mismatch(Stack::<f64>::from_json(&json.replace("\"options\"", "\"mix\": 0.5, \"options\"")));
    mismatch(Stack::<f64>::from_json(&json.replace("\"linear\"", "\"mix\"")));
    let text = r#"{"layers": [{"heads": [{"key": [[1, 0]], "query": [[1, 0]], "value": [[0, -1]], "projection": [[0], [0.5, 1]]}]}]}"#;
    let what = "the length of layers[0].heads[0].projection[1]".into();
    assert_eq!(Stack::<f64>::from_json(text), Err(InContextError::DimensionMismatch { what, found: 2, expected: 1 }));
}

#[test]
fn networks_on_tokens_that_do_not_fit() {
    let config = NonlinearConfig { width: 4, hidden: 3, init_scale: 0.5 };
    let options = TrainOptions { steps: 1, batch: 2, ..TrainOptions::default() };
    let waves = SineTasks::default();
    let trained: TrainedNonlinear<f64> =
        train_nonlinear(&config, NonlinearHead::Trained, &waves.into(), &options, &mut Silent, &Cancel::new()).unwrap();
    let batch = waves.sample(2, &mut stream(0, "tasks", 0)).unwrap();
    let with = |change: &dyn Fn(&mut NonlinearIcl<f64>)| {
        let mut model = trained.model.clone();
        change(&mut model);
        model.predict(&batch)
    };
    for (result, name) in [
        (with(&|m| m.mlp.embedding = Tensor::zeros(&[4])), "embedding"),
        (with(&|m| m.mlp.inner = Tensor::zeros(&[3, 5])), "inner"),
        (with(&|m| m.mlp.inner_bias = Tensor::zeros(&[4])), "inner_bias"),
        (with(&|m| m.mlp.outer = Tensor::zeros(&[4, 4])), "outer"),
        (with(&|m| m.mlp.outer_bias = Tensor::zeros(&[3])), "outer_bias"),
    ] {
        let Err(InContextError::InvalidShape { what, .. }) = &result else { panic!("{result:?} for {name}") };
        assert_eq!(*what, format!("{name} of the network on tokens"));
    }
    let nan = with(&|m| m.mlp.outer = Tensor::full(f64::NAN, &[4, 3]));
    assert_eq!(nan, Err(InContextError::NonFinite { what: "the network on tokens" }));
    invalid(with(&|m| m.outputs = 5), "outputs");
}

#[test]
fn stacks_that_cannot_be_interpolated() {
    let one = Stack::new(vec![Layer::gd_construction(2, 1, 2, 0.5, None).unwrap()], 1);
    let incompatible = |a: &Stack<f64>, b: &Stack<f64>, expected: &str| match interpolate(a, b, 0.5) {
        Err(InContextError::Incompatible { what }) => assert_eq!(what, expected),
        other => panic!("{other:?}"),
    };
    let mut damped = one.clone();
    damped.layers[0].options.dampening = 0.5;
    incompatible(&one, &damped, "the options of the layers");
    incompatible(&one, &Stack { layout: TokenLayout::Classic { positions: 0, shared: false }, ..one.clone() }, "the layouts of the tokens");
    mismatch(interpolate(&one, &Stack { outputs: 2, ..one.clone() }, 0.5));
    // Two heads in other directions are no single head, and one that only swaps roles has no gauge.
    let mut turned = one.layers[0].heads[0].clone();
    turned.query = Tensor::from_vec(vec![1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0], &[3, 3]).unwrap();
    let with = |head| {
        let mut two = one.clone();
        two.layers[0].heads.push(head);
        two
    };
    incompatible(&with(turned.clone()), &one, "the directions of KᵀQ of the heads");
    turned.query = Tensor::from_vec(vec![0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0], &[3, 3]).unwrap();
    assert!(matches!(interpolate(&with(turned.clone()), &one, 0.5), Err(InContextError::Singular { .. })));
    // A head that does nothing needs no gauge.
    turned.value = Tensor::zeros(&[3, 3]);
    assert_eq!(interpolate(&with(turned), &one, 0.0), interpolate(&one, &one, 0.0));
}

#[test]
fn token_sizes_that_overflow_fit_no_width() {
    for (positions, outputs) in [(usize::MAX - 1, 2), (2, usize::MAX)] {
        let layout = TokenLayout::Classic { positions, shared: false };
        assert_eq!((layout.dimension(8, outputs), layout.width(3, outputs)), (None, usize::MAX));
    }
}
