use gradus_autodiff::hvp;

use super::*;

#[test]
fn dropout_keeps_the_mean_and_its_rate() {
    let mut pass = Pass::training(stream(1, "models-test", 0));
    let y: T64 = pass.dropout(&Tensor::ones(&[200, 100]), 0.25);
    let dropped = y.as_slice().iter().filter(|y| **y == 0.0).count() as f64 / 20_000.0;
    assert!((dropped - 0.25).abs() < 0.01, "{dropped}");
    assert!(y.as_slice().iter().all(|y| *y == 0.0 || *y == 1.0 / 0.75));
    let x = random(&[3, 4], 2);
    assert_eq!(Pass::evaluation().dropout(&x, 0.25), x);
    assert_eq!(pass.dropout(&x, 0.0), x);
}

#[test]
fn a_pass_made_in_the_closure_is_one_function() {
    let x = random(&[4, 3], 3);
    let f = |w: &T64| {
        let mut pass = Pass::training(stream(4, "models-test", 0));
        pass.dropout(&x.linear(w, None).tanh(), 0.4).square().sum()
    };
    let w = random(&[5, 3], 5);
    check::gradient(f, &w, 1e-6, 1e-8).unwrap();
    check::second_order(f, &w, &random(&[5, 3], 6), 1e-6, 1e-7).unwrap();
    assert!(hvp(f, &w, &w).is_finite());
}

#[derive(Clone, Debug, PartialEq, Params)]
struct Counter {
    weight: T64,
    #[params(buffer)]
    calls: T64,
}

impl Counter {
    fn new() -> Self {
        Self { weight: random(&[2], 7), calls: Tensor::zeros(&[1]) }
    }

    fn call(&self, x: &T64, pass: &mut Pass<f64>) -> T64 {
        let calls = pass.buffer(&self.calls);
        pass.update(&self.calls, &calls.affine(1.0, 1.0));
        x * &self.weight
    }
}

#[test]
fn buffers_change_when_the_pass_is_folded_and_not_before() {
    let mut model = vec![Counter::new(), Counter::new()];
    let mut pass = Pass::training(stream(8, "models-test", 0));
    // The first layer is called twice.
    let f = |m: &Vec<Counter>| m[1].call(&m[0].call(&m[0].call(&T64::ones(&[2]), &mut pass), &mut pass), &mut pass).sum();
    let before = model.clone();
    gradus_autodiff::value_and_grad(f, &model);
    assert_eq!(model, before);
    pass.fold(&mut model);
    assert_eq!([&model[0], &model[1]].map(|layer| layer.calls.item()), [2.0, 1.0]);
    assert_eq!(model[0].weight, before[0].weight);
}

#[test]
#[should_panic(expected = "the buffers `0.calls` and `1.calls` share their storage")]
fn cloned_layers_are_refused() {
    let layer = Counter::new();
    let mut model = vec![layer.clone(), layer];
    let mut pass = Pass::training(stream(9, "models-test", 0));
    model[0].call(&T64::ones(&[2]), &mut pass);
    pass.fold(&mut model);
}

#[test]
#[should_panic(expected = "a buffer that is not one of this model's")]
fn the_buffers_of_another_model_are_refused() {
    let (model, mut other) = (Counter::new(), Counter::new());
    let mut pass = Pass::training(stream(10, "models-test", 0));
    model.call(&T64::ones(&[2]), &mut pass);
    pass.fold(&mut other);
}

/// Dropout and a buffer in a training that is interrupted and resumed.
#[test]
fn a_training_with_a_pass_resumes_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let model = (mlp(), Counter { weight: random(&[1], 11), calls: Tensor::zeros(&[1]) });
    let loss = |m: &(Mlp<f64>, Counter), (x, y): &(T64, T64), pass: &mut Pass<f64>| {
        let hidden = m.0.call(&pass.dropout(x, 0.2));
        loss::mean_squared_error(&m.1.call(&hidden, pass), y)
    };
    let rule = Averaged { rule: Adam::default(), ema: Ema { decay: 0.9, ..Ema::default() } };
    let run = |steps, seed, file: Option<&str>| {
        let saving = file.map(|name| Saving { file: folder.path().join(name), every: 3 });
        fit(model.clone(), &rule, batch, loss, &FitOptions { steps, seed, saving, ..FitOptions::default() }, carry_on).unwrap()
    };
    let whole = run(20, 1, None);
    run(11, 1, Some("part"));
    assert_eq!(run(20, 1, Some("part")), whole);
    assert_eq!((whole.model.1.calls.item(), whole.state.ema.average.1.calls.item()), (20.0, 20.0));
    assert_ne!(run(20, 2, None).losses, whole.losses);
}
