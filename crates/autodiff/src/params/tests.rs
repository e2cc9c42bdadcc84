use crate::tests::{T64, check_per_example, random};
use crate::*;

/// Batch normalisation with kept statistics, in a model that has more of them.
#[derive(Clone, Debug, PartialEq, Params)]
struct Norm {
    scale: T64,
    #[params(buffer, rename = "running_mean")]
    mean: T64,
}

#[derive(Clone, Debug, PartialEq, Params)]
struct Network {
    norms: Vec<Norm>,
    weight: T64,
    /// A whole model as a buffer, such as a slowly moving copy.
    #[params(buffer)]
    teacher: Norm,
    #[params(skip)]
    size: usize,
}

fn network(seed: u64) -> Network {
    let norm = |seed| Norm { scale: random(&[3], seed), mean: random(&[3], seed + 1) };
    Network { norms: vec![norm(seed), norm(seed + 2)], weight: random(&[3, 2], seed + 4), teacher: norm(seed + 5), size: 3 }
}

impl Network {
    fn call(&self, x: &T64) -> T64 {
        let x = self.norms.iter().fold(x.clone(), |x, norm| (x - &norm.mean) * &norm.scale);
        (x + &self.teacher.scale).tanh().matmul(&self.weight)
    }
}

#[track_caller]
fn assert_buffers(a: &Network, b: &Network) {
    assert_eq!(a.buffers(), b.buffers());
}

#[test]
fn buffers_are_named_and_counted_apart() {
    let model = network(1);
    let names: Vec<String> = model.named().into_iter().map(|(name, _)| name).collect();
    let expected = [
        "norms.0.scale",
        "norms.0.running_mean",
        "norms.1.scale",
        "norms.1.running_mean",
        "weight",
        "teacher.scale",
        "teacher.running_mean",
    ];
    assert_eq!(names, expected);
    let buffers = [&model.norms[0].mean, &model.norms[1].mean, &model.teacher.scale, &model.teacher.mean];
    assert_eq!(model.buffers(), buffers);
    assert_eq!((model.leaves().len(), model.count()), (3, 12));
    assert_eq!(model.flatten().len(), 12);
    let mut seen = Vec::new();
    model.map(|name, x| {
        seen.push(name.to_owned());
        x.clone()
    });
    assert_eq!(seen, ["norms.0.scale", "norms.1.scale", "weight"]);
}

#[test]
fn arithmetic_keeps_the_buffers_of_the_model() {
    let (model, other) = (network(1), network(20));
    for made in [
        model.map(|_, x| x * 2.0),
        model.zip_map(&other, |x, y| x + y),
        model.axpy(-0.5, &other),
        model.zeros_like(),
        model.normal_like(&mut gradus_base::stream(1, "params", 0)),
        model.select(|_| true),
        model.unflatten(&other.flatten()).unwrap(),
        stop_gradient(&model),
    ] {
        assert_buffers(&made, &model);
    }
    let expected: f64 = [(&model.norms[0].scale, &other.norms[0].scale), (&model.norms[1].scale, &other.norms[1].scale)]
        .map(|(a, b)| (a * b).sum().item())
        .iter()
        .sum();
    assert!((model.dot(&other).item() - expected - (&model.weight * &other.weight).sum().item()).abs() < 1e-12);
    let mut changed = model.clone();
    changed.buffers_mut().into_iter().zip(other.buffers()).for_each(|(own, other)| *own = other.clone());
    assert_buffers(&changed, &other);
    assert_eq!(changed.flatten(), model.flatten());
}

#[test]
fn buffers_are_not_differentiated() {
    let (model, x) = (network(1), random(&[4, 3], 2));
    let loss = |m: &Network| m.call(&x).square().sum();
    for found in
        [grad(loss, &model), hvp(loss, &model, &network(7)), hessian_diagonal(loss, &model), vjp(loss, &model).1(&T64::scalar(1.0))]
    {
        assert_buffers(&found, &model);
    }
    check::both_orders(loss, &model).unwrap();
    // They enter the value all the same.
    let mut other = model.clone();
    *other.buffers_mut()[0] = T64::zeros(&[3]);
    assert_ne!(loss(&other), loss(&model));
    check_per_example(|m: &Network, x: &T64| m.call(x).square().sum_axis(1), &model, &x);
    // Batch statistics that a loss leaves in a buffer carry no history out of a constant model.
    let _ = grad(
        |m: &Network| {
            let mut m = m.clone();
            *m.buffers_mut()[0] = m.weight.sum_axis(1);
            assert!(m.buffers()[0].is_tracked() && stop_gradient(&m).buffers().iter().all(|x| !x.is_tracked()));
            m.call(&x).sum()
        },
        &model,
    );
}
