use super::*;
use crate::*;

#[test]
fn casts_are_differentiated_in_both_directions() {
    let x = T32::vector(&[1.0, 2.0]);
    let cubes = |x: &T32| (x.cast::<f64>() * x.square().cast::<f64>()).sum().cast::<f32>();
    assert_eq!(cubes(&x).item(), 9.0);
    assert_eq!(grad(cubes, &x).to_vec(), [3.0, 12.0]);
    assert_eq!(hvp(cubes, &x, &T32::ones(&[2])).to_vec(), [6.0, 12.0]);
    assert_eq!(hessian(cubes, &x).to_vec(), [6.0, 0.0, 0.0, 12.0]);
    assert_eq!(grad(|x: &T32| grad(|x: &T32| grad(cubes, x).sum(), x).sum(), &x).to_vec(), [6.0, 6.0]);
    let wide = |x: &T64| (x.cast::<f32>().square().cast::<f64>() * x).cast::<f64>();
    let x = x.cast::<f64>();
    assert_eq!(jacobian_reverse(wide, &x).to_vec(), [3.0, 0.0, 0.0, 12.0]);
    assert_eq!(jacobian_forward(wide, &x).to_vec(), [3.0, 0.0, 0.0, 12.0]);
    assert_eq!(jvp(wide, &x, &T64::vector(&[1.0, 0.5])).1.to_vec(), [3.0, 6.0]);
    assert_eq!(linearize_gradient(|x: &T64| wide(x).sum(), &x).diagonal().to_vec(), [6.0, 12.0]);
    assert_eq!(grad(|x: &T64| checkpoint(move |x: &T64| wide(x), x).sum(), &x).to_vec(), [3.0, 12.0]);
}

#[test]
fn a_value_may_cross_many_times_and_in_several_places() {
    // x, rounded and widened again at each of 20 steps, of which every one is used.
    let f = |x: &T64| {
        let steps = (0..20).scan(x.clone(), |x, _| {
            *x = x.cast::<f32>().cast::<f64>() * 0.5 + x.clone() * 0.5;
            Some(x.clone())
        });
        steps.fold(T64::scalar(0.0), |sum, x| sum + x.sum())
    };
    assert_eq!(grad(f, &T64::ones(&[3])).to_vec(), [20.0; 3]);
    let tapped = tapped_grad(|x: &T64| (tap("h", &(x * 2.0)).cast::<f32>().square().cast::<f64>() + tap("k", x)).sum(), &T64::ones(&[2]));
    assert_eq!(tapped.gradient.to_vec(), [9.0, 9.0]);
    assert_eq!(tapped.tap("h").unwrap().gradient.to_vec(), [4.0, 4.0]);
    // A tapped value that is reached in both precisions, the other after its own.
    let both = |x: &T64| {
        let h = tap("h", &(x * 2.0));
        (h.cast::<f32>().cast::<f64>() * 3.0 + &h).sum()
    };
    let found = tapped_grad(both, &T64::ones(&[1]));
    assert_eq!((found.taps[0].gradient.item(), found.gradient.item()), (4.0, 8.0));
}

#[test]
fn casts_to_the_own_precision_change_nothing() {
    let _ = grad(
        |x: &T64| {
            let y = x.square();
            assert_eq!(y.cast::<f64>().node().unwrap().id, y.node().unwrap().id);
            y.sum()
        },
        &T64::ones(&[2]),
    );
    assert!(T64::ones(&[2]).cast::<f32>().node().is_none());
    assert_eq!(T64::vector(&[0.1]).cast::<f32>().as_slice(), [0.1f32]);
    let (huge, empty) = (T64::vector(&[1e300, f64::NAN]).cast::<f32>(), T64::zeros(&[0, 3]).cast::<f32>());
    assert!(huge.as_slice()[0] == f32::INFINITY && huge.as_slice()[1].is_nan() && empty.shape() == [0, 3]);
    assert_eq!(grad(|x: &T64| x.detach().cast::<f32>().cast::<f64>().sum() + x.sum(), &T64::ones(&[1])).to_vec(), [1.0]);
}

#[test]
fn where_a_cast_is_refused() {
    let (w, x) = (random(&[3, 2], 1), random(&[4, 3], 2));
    let f = |w: &T64, x: &T64| x.matmul(w).cast::<f32>().cast::<f64>().sum_axis(1);
    assert_eq!(per_example(f, &w, &x).err(), Some(PerExampleError::MixesExamples { operation: "cast" }));
    let of_weights = |w: &T64, x: &T64| x.matmul(&w.cast::<f32>().cast::<f64>()).sum_axis(1);
    assert_eq!(per_example(of_weights, &w, &x).err(), Some(PerExampleError::MixesExamples { operation: "cast" }));
    let captured = |w: &T64| {
        let narrow = w.cast::<f32>();
        checkpoint(move |x: &T64| x * &narrow.cast::<f64>(), &T64::ones(&[3, 2])).sum()
    };
    assert!(panic_of(|| drop(grad(captured, &w))).contains("captured a tensor of shape [3, 2]"));
    let rounded = |w: &T64| w.relu().cast::<f32>().cast::<f64>().sum();
    assert!(panic_of(|| drop(grad_with(ReluRule::Guided, rounded, &w))).contains("another precision"));
    assert_close(&grad_with(ReluRule::Plain, rounded, &w), &grad(|w: &T64| w.relu().sum(), &w));
}

#[test]
fn a_deep_chain_of_casts_overflows_no_stack() {
    let deep = |x: &T64| (0..20_000).fold(x.clone(), |x, _| x.cast::<f32>().cast());
    assert_eq!(grad(deep, &T64::scalar(1.0)).item(), 1.0);
    let (_, pullback) = vjp(deep, &T64::scalar(1.0));
    drop(pullback);
}
