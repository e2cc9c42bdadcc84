use proptest::prelude::*;

use crate::*;

mod linear_algebra;
mod normalisation;
mod order;
mod pointwise;
mod spatial;

pub(crate) type T64 = Tensor<f64>;

pub(crate) fn random(shape: &[usize], seed: u64) -> T64 {
    let mut rng = gradus_base::stream(seed, "autodiff-test", 0);
    T64::sample(shape, rand_distr::StandardNormal, &mut rng)
}

/// Both orders of derivative against central differences ([`check::both_orders`]).
#[track_caller]
pub(crate) fn check_both(name: &str, f: impl Fn(&T64) -> T64, x: &T64) {
    if let Err(error) = check::both_orders(f, x) {
        panic!("{name}, shape {:?}: {error}", x.shape());
    }
}

#[test]
fn nested_derivatives_do_not_confuse_each_other() {
    // d/dx [x · d/dy (x + y)] = 1, and not 2 as when the two variables are mixed up.
    let f = |x: &T64| x * &grad(|y: &T64| x + y, &T64::scalar(1.0));
    assert_eq!(grad(f, &T64::scalar(1.0)).item(), 1.0);
    // d/dx [x · d/dy (x y)] = 2 x
    let f = |x: &T64| x * &grad(|y: &T64| x * y, &T64::scalar(2.0));
    assert_eq!(grad(f, &T64::scalar(3.0)).item(), 6.0);
}

#[test]
fn derivatives_of_any_order() {
    fn derivative(n: usize, x: &T64) -> T64 {
        if n == 0 { x.powf(6.0) } else { grad(|x: &T64| derivative(n - 1, x), x) }
    }
    let values: Vec<f64> = (0..=6).map(|n| derivative(n, &T64::scalar(1.0)).item()).collect();
    assert_eq!(values, [1.0, 6.0, 30.0, 120.0, 360.0, 720.0, 720.0]);
}

#[test]
fn jvp_agrees_with_the_jacobian() {
    let w = random(&[3, 4], 1);
    let f = |x: &T64| x.matmul(&w).tanh();
    let (x, v) = (random(&[3], 2), random(&[3], 3));
    let (value, derivative) = jvp(f, &x, &v);
    let expected = jacobian(f, &x).matmul(&v);
    assert_eq!(value, f(&x));
    for (a, b) in derivative.as_slice().iter().zip(expected.as_slice()) {
        assert!((a - b).abs() < 1e-12);
    }
}

/// The ways to a Jacobian against each other ([`check::modes`]).
#[track_caller]
pub(crate) fn check_modes(name: &str, f: impl Fn(&T64) -> T64, x: &T64) {
    assert_eq!(jacobian(&f, x).shape(), [f(x).shape(), x.shape()].concat(), "{name}");
    if let Err(error) = check::modes(f, x) {
        panic!("{name}, shape {:?}: {error}", x.shape());
    }
}

#[test]
fn stacked_cotangents_agree_with_single_ones() {
    let (x, w) = (random(&[3, 4], 1), random(&[4, 2], 2));
    check_modes("matmul left", |x| x.matmul(&w).tanh(), &x);
    check_modes("matmul right", |w| x.matmul(w).sin(), &w);
    check_modes("transposed", |x| x.t().matmul(&random(&[3, 2], 5)), &x);
    check_modes("linear both", |x| x.linear(&(x * 2.0), None), &x);
    check_modes("own product", |x| x.t().matmul(x), &x);
    check_modes("batched", |x| x.reshape(&[1, 3, 4]).matmul(&random(&[2, 4, 3], 6)), &x);
    check_modes("broadcasting", |x| (x + &x.sum_axis(0)) * &x.mean_keep(1) / &(x.narrow(1, 1, 1).square() + 1.0), &x);
    check_modes("broadcast of a vector", |v| &x * v, &random(&[4], 7));
    check_modes("broadcast_to", |v| v.broadcast_to(&[2, 3, 4]).square(), &random(&[3, 1], 8));
    check_modes("softmax", |x| x.softmax() * x.log_softmax(), &x);
    check_modes("loss", |x| x.softmax_cross_entropy(&[0, 3, 1]), &x);
    check_modes("pointwise", |x| x.relu() + x.abs() * x.sigmoid() + x.cos().exp() + (x.square() + 1.0).ln().sqrt().recip(), &x);
    check_modes("gather", |x| x.gather(1, &[0, 3, 1], &[3, 1]).square(), &x);
    check_modes("concat", |x| T64::concat(&[x.powf(2.0), x.permute(&[0, 1])], 0), &x);
    check_modes(
        "conv2d",
        |x| {
            x.reshape(&[1, 1, 3, 4])
                .conv2d(&random(&[2, 1, 2, 2], 3), None, Convolution { padding: [0, 1], ..Default::default() })
                .max_pool2d(Pooling { stride: [1, 1], ..Pooling::new([2, 2]) })
        },
        &x,
    );
    check_modes("more rows than one pass", |x| x.reshape(&[12, 1]).matmul(&random(&[1, 12], 4)), &x);
    check_modes("no dependence", |x| x.zeros_like(), &x);
    check_modes("nothing", |x| x.narrow(0, 0, 0), &x);
}

#[test]
fn hessian_of_a_quadratic_is_its_matrix() {
    let a = T64::from_vec(vec![2.0, 1.0, 1.0, 3.0], &[2, 2]).unwrap();
    let f = |x: &T64| (x.matmul(&a) * x).sum() * 0.5;
    assert_eq!(hessian(f, &T64::vector(&[0.4, -1.0])), a);
}

#[test]
fn stop_gradient_and_custom_vjp() {
    let f = |x: &T64| x * &stop_gradient(x);
    assert_eq!(grad(f, &T64::scalar(3.0)).item(), 3.0);
    let straight_through = |x: &T64| custom_vjp(|x| x.sign(), |_, g| g.clone(), x) * 2.0;
    assert_eq!(grad(straight_through, &T64::scalar(0.3)).item(), 2.0);
}

#[test]
fn a_graph_of_100_000_operations_overflows_no_stack() {
    let deep = |x: &T64| (0..100_000).fold(x.clone(), |z, _| z * 1.00001);
    let expected = 1.00001f64.powi(100_000);
    assert!((grad(deep, &T64::scalar(1.0)).item() / expected - 1.0).abs() < 1e-9);
    let (_, pullback) = vjp(deep, &T64::scalar(1.0));
    drop(pullback);
}

#[test]
fn the_same_bits_on_any_number_of_threads() {
    let wave = |shape: &[usize], rate: f32| Tensor::from_fn(shape, |i| (i as f32 * rate).sin());
    let (long, table) = (wave(&[300_000], 0.37), wave(&[400, 300], 0.11));
    let (images, filters) = (wave(&[24, 3, 20, 20], 0.7), wave(&[8, 3, 3, 3], 1.3));
    let labels: Vec<usize> = (0..400).map(|i| i % 300).collect();
    let products = [([256, 300], [300, 256]), ([2048, 4], [4, 2048]), ([3, 5000], [5000, 2]), ([300, 300], [300, 300])];
    let all = || {
        let mut found = vec![
            grad(|x: &Tensor| (x.tanh() * x).sum(), &long),
            long.square().sum(),
            table.sum_axis(0),
            table.max_axis(1),
            table.t(),
            table.softmax().log_softmax(),
            grad(|x: &Tensor| x.softmax_cross_entropy(&labels).sum(), &table),
            grad(|x: &Tensor| x.layer_norm(None, None, 1e-5).square().sum(), &table),
            table.index_select(0, &labels).scatter_add(0, &labels, 400),
            images.conv2d(&filters, None, Convolution { padding: [1, 1], ..Default::default() }).max_pool2d(Pooling::new([2, 2])),
            grad(
                |w: &Tensor| images.conv2d(w, None, Convolution { stride: [2, 1], padding: [1, 0], ..Default::default() }).square().sum(),
                &filters,
            ),
            grad(
                |x: &Tensor| {
                    x.conv2d(&filters, None, Convolution { padding: [1, 1], ..Default::default() })
                        .avg_pool2d(Pooling { stride: [2, 2], ..Pooling::new([3, 3]) })
                        .square()
                        .sum()
                },
                &images,
            ),
            jacobian(|x: &Tensor| x.matmul(&table).tanh(), &table.narrow(1, 0, 1).reshape(&[400])),
            hvp(|w: &Tensor| images.conv2d(w, None, Convolution::default()).tanh().sum(), &filters, &filters),
        ];
        found.extend(products.iter().map(|(a, b)| wave(a, 0.3).matmul(&wave(b, 0.9))));
        let loss = |w: &Tensor, x: &Tensor| {
            x.conv2d(w, None, Convolution { padding: [1, 1], ..Default::default() }).tanh().reshape(&[24, 3200]).sum_axis(1)
        };
        let each = per_example(loss, &filters, &images).unwrap();
        found.extend([each.gradients(), each.sum_of_squares(), each.gram(), each.squared_norms(), each.dot(&filters)]);
        let bits = |x: &Tensor| x.as_slice().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        found.iter().map(bits).collect::<Vec<_>>()
    };
    let run = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(all);
    let one = run(1);
    for threads in [2, 3, 7] {
        for (i, (a, b)) in one.iter().zip(run(threads)).enumerate() {
            assert!(*a == b, "result {i} on {threads} threads");
        }
    }
}

#[test]
fn buffers_of_dead_intermediates_are_freed_during_backward() {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    static LIVE: AtomicUsize = AtomicUsize::new(0);
    static SEEN: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    /// Lives as long as the operation whose rule captured it.
    struct Held;
    impl Drop for Held {
        fn drop(&mut self) {
            LIVE.fetch_sub(1, Ordering::SeqCst);
        }
    }
    const DEPTH: usize = 10;
    let f = |x: &T64| {
        (0..DEPTH).fold(x.clone(), |x, _| {
            LIVE.fetch_add(1, Ordering::SeqCst);
            let held = Held;
            let backward = move |x: &T64, g: &T64| {
                let _own = &held;
                SEEN.lock().unwrap().push(LIVE.load(Ordering::SeqCst));
                x.cos() * g
            };
            crate::custom_vjp(|x| x.sin(), backward, &x)
        })
    };
    grad(|x: &T64| f(x).sum(), &T64::vector(&[0.3, 0.4]));
    // When an operation's turn comes, those after it are gone with what they saved.
    assert_eq!(*SEEN.lock().unwrap(), (1..=DEPTH).rev().collect::<Vec<_>>());
    assert_eq!(LIVE.load(Ordering::SeqCst), 0);
}

#[test]
fn products_of_every_pair_of_ranks() {
    // `[.., 2, 3]` times `[.., 3, 4]`; a vector has the inner size alone.
    let shapes = |matrix: [usize; 2], vector: usize| {
        let [rows, columns] = matrix;
        [vec![vector], vec![rows, columns], vec![2, rows, columns], vec![3, 1, rows, columns]]
    };
    for (i, a) in shapes([2, 3], 3).iter().enumerate() {
        for (j, b) in shapes([3, 4], 3).iter().enumerate() {
            let (x, y) = (random(a, 1), random(b, 2));
            let product = x.try_matmul(&y).unwrap();
            let lead: &[usize] = [&[][..], &[], &[2], &[3, 1]][i.max(j)];
            let lead = if i.min(j) == 2 && i.max(j) == 3 { &[3, 2] } else { lead };
            let own = [if i == 0 { &[][..] } else { &[2] }, if j == 0 { &[] } else { &[4] }].concat();
            assert_eq!(product.shape(), [lead, &own].concat(), "{a:?} {b:?}");
            check_both("matmul", |x| x.matmul(&y), &x);
            check_both("matmul", |y| x.matmul(y), &y);
        }
    }
    assert_eq!(T64::vector(&[1.0, 2.0]).matmul(&T64::vector(&[3.0, 4.0])).item(), 11.0);
    assert!(T64::zeros(&[2]).try_matmul(&T64::zeros(&[3])).is_err());
    assert!(T64::scalar(1.0).try_matmul(&T64::zeros(&[3])).is_err());
}

#[test]
fn infinite_elements_have_maxima() {
    let x = T64::from_vec(vec![1.0, f64::NEG_INFINITY, f64::INFINITY, 0.0], &[2, 2]).unwrap();
    let (top, g) = value_and_grad(|x: &T64| x.max_axis(1).narrow(0, 0, 1).sum(), &x);
    assert_eq!((top.item(), g.to_vec()), (1.0, vec![1.0, 0.0, 0.0, 0.0]));
    assert_eq!(grad(|x: &T64| x.max_axis(1).sum(), &x).to_vec(), [1.0, 0.0, 1.0, 0.0]);
    let least = T64::full(f64::NEG_INFINITY, &[1, 2]);
    assert_eq!(least.logsumexp_keep().item(), f64::NEG_INFINITY);
    assert_eq!(x.logsumexp_keep().to_vec(), [1.0, f64::INFINITY]);
}

#[test]
fn reductions_over_several_axes() {
    let x = T64::from_fn(&[2, 3, 4], |i| i as f64);
    assert_eq!(x.sum_axes(&[0, -1]), x.sum_axis(2).sum_axis(0));
    assert_eq!(x.sum_axes(&[2, -1]).shape(), [2, 3]);
    assert_eq!(x.sum_axes(&[]), x);
    assert_eq!(x.mean_axes(&[1, 2]).to_vec(), [5.5, 17.5]);
    assert_eq!(x.min_axis(1).to_vec(), [0.0, 1.0, 2.0, 3.0, 12.0, 13.0, 14.0, 15.0]);
    check_both("mean_axes", |x| x.mean_axes(&[0, 2]).square(), &random(&[2, 3, 2], 1));
    check_both("min_axis", |x| x.min_axis(1).square(), &random(&[2, 3, 2], 2));
    check_modes("min_axis", |x| x.min_axis(0), &random(&[3, 2], 3));
    assert_eq!(grad(|x: &T64| x.min_axis(0).sum(), &T64::ones(&[2])).to_vec(), [0.5, 0.5]);
}

#[test]
fn scalars_divide_and_negate_exactly() {
    assert_eq!((T64::scalar(49.0) / 49.0).item(), 1.0);
    assert_eq!((Tensor::<f32>::scalar(0.0) / 1e-39).item(), 0.0);
    assert_eq!((-T64::scalar(0.0)).item().to_bits(), (-0.0f64).to_bits());
    check_both("div", |x| x / 3.0, &random(&[2, 3], 1));
}

#[test]
#[should_panic(expected = "add: shapes [2] and [3] do not fit")]
fn operators_panic_with_both_shapes() {
    let _ = T64::zeros(&[2]) + T64::zeros(&[3]);
}

#[test]
fn try_forms_return_the_shapes() {
    let error = T64::zeros(&[2, 3]).try_matmul(&T64::zeros(&[2, 3])).unwrap_err();
    assert_eq!(error.to_string(), "matmul: shapes [2, 3] and [2, 3] do not fit");
    assert!(matches!(T64::from_vec(vec![1.0], &[2]), Err(TensorError::Count { found: 1, .. })));
    assert!(matches!(T64::from_vec(vec![], &[0; 9]), Err(TensorError::Rank { rank: 9 })));
    assert!(matches!(T64::from_vec(vec![], &[usize::MAX, 2]), Err(TensorError::TooLarge { .. })));
}

#[test]
fn try_forms_say_what_does_not_fit() {
    use TensorError::{Argument, Axis, Count, Index, Mismatch, Rank, TooLarge};
    let (x, scalar, wide) = (T64::zeros(&[2, 3]), T64::scalar(1.0), T64::zeros(&[1; 8]));
    macro_rules! fails {
        ($($result:expr => $error:pat),* $(,)?) => {
            $(assert!(matches!($result, Err($error)), "{} gave {:?}", stringify!($result), $result);)*
        };
    }
    fails! {
        x.try_reshape(&[4]) => Count { found: 6, .. },
        x.try_reshape(&[usize::MAX, 2]) => TooLarge { .. },
        x.try_unsqueeze(3) => Axis { axis: 3, .. },
        x.try_unsqueeze(isize::MIN) => Axis { .. },
        wide.try_unsqueeze(0) => Rank { rank: 9 },
        x.try_permute(&[0, 0]) => Argument { operation: "permute", .. },
        x.try_permute(&[0]) => Argument { .. },
        T64::zeros(&[2]).try_t() => Axis { operation: "t", .. },
        x.try_narrow(1, 2, 2) => Argument { .. },
        x.try_narrow(1, usize::MAX, 2) => Argument { .. },
        x.try_narrow(2, 0, 1) => Axis { .. },
        x.try_pad(0, usize::MAX, 1) => TooLarge { .. },
        x.try_pad(-3, 0, 1) => Axis { axis: -3, .. },
        T64::try_concat(&[], 0) => Argument { .. },
        T64::try_concat(&[x.clone(), T64::zeros(&[2])], 0) => Mismatch { .. },
        T64::try_concat(&[x.clone(), T64::zeros(&[3, 3])], 1) => Mismatch { .. },
        T64::try_stack(&[], 0) => Argument { operation: "stack", .. },
        T64::try_stack(&[x.clone(), T64::zeros(&[3, 3])], 0) => Mismatch { operation: "stack", .. },
        T64::try_stack(std::slice::from_ref(&x), 3) => Axis { .. },
        x.try_index_select(0, &[2]) => Index { .. },
        x.try_scatter_add(0, &[0], 4) => Argument { .. },
        x.try_scatter_add(0, &[0, 4], 4) => Index { .. },
        x.try_gather(1, &[0, 0, 0], &[3, 1]) => Mismatch { .. },
        x.try_gather(1, &[0], &[2, 1]) => Count { found: 1, .. },
        x.try_gather(1, &[0, 3], &[2, 1]) => Index { .. },
        T64::try_one_hot(&[1, 3], 3) => Argument { operation: "one_hot", .. },
        T64::try_one_hot(&[1, 3], usize::MAX) => TooLarge { .. },
        x.try_linear(&T64::zeros(&[4, 2]), None) => Mismatch { .. },
        x.try_linear(&T64::zeros(&[4, 3]), Some(&T64::zeros(&[3]))) => Mismatch { .. },
        T64::zeros(&[1 << 40, 0]).try_linear(&T64::zeros(&[1 << 40, 0]), None) => TooLarge { .. },
        scalar.try_linear(&T64::zeros(&[4, 3]), None) => Mismatch { .. },
        scalar.try_softmax_cross_entropy(&[0]) => Argument { .. },
        x.try_softmax_cross_entropy(&[0]) => Argument { .. },
        x.try_softmax_cross_entropy(&[0, 3]) => Argument { .. },
        x.try_broadcast_to(&[2]) => Mismatch { .. },
        x.try_broadcast_to(&[1; 9]) => Rank { rank: 9 },
        x.try_sum_to(&[1, 2, 3]) => Mismatch { .. },
        x.try_sum_to(&[2, 2]) => Mismatch { .. },
        x.try_sum_axis(2) => Axis { operation: "sum_axis", .. },
        x.try_sum_keep(-3) => Axis { .. },
        x.try_mean_axis(2) => Axis { .. },
        x.try_mean_keep(2) => Axis { .. },
        x.try_max_axis(2) => Axis { .. },
        x.try_min_axis(2) => Axis { operation: "min_axis", .. },
        x.try_sum_axes(&[0, 2]) => Axis { operation: "sum_axes", axis: 2, .. },
        x.try_mean_axes(&[-3]) => Axis { operation: "mean_axes", .. },
        x.try_softmax_axis(2) => Axis { .. },
        x.try_log_softmax_axis(2) => Axis { .. },
        scalar.try_softmax() => Axis { .. },
        scalar.try_log_softmax() => Axis { .. },
        scalar.try_logsumexp_keep() => Axis { .. },
        scalar.try_layer_norm(None, None, 1e-5) => Axis { .. },
        x.try_gt(&T64::zeros(&[2])) => Mismatch { operation: "gt", .. },
        x.try_maximum(&T64::zeros(&[2])) => Mismatch { operation: "maximum", .. },
        x.try_minimum(&T64::zeros(&[2])) => Mismatch { .. },
    }
    let empty = Tensor::<f64>::from_vec(vec![], &[0, 1 << 40, 1 << 40]);
    assert!(matches!(empty, Err(TooLarge { .. })), "sizes beside an empty axis are multiplied too");
}

#[test]
fn a_tensor_prints_for_people() {
    let x = T64::from_vec(vec![1.0, 2.5, -3.0, 4.0], &[2, 2]).unwrap();
    assert_eq!(format!("{x}"), "[[1, 2.5],\n [-3, 4]]");
    assert_eq!(format!("{:?}", T64::scalar(2.0)), "Tensor<f64> [] 2");
    assert_eq!(format!("{}", T64::vector(&[1e-20, 1e30, 0.0, 0.25])), "[1e-20, 1e30, 0, 0.25]");
}

#[derive(Clone, Params)]
struct Mlp {
    first: (T64, T64),
    second: T64,
}

impl Mlp {
    fn call(&self, x: &T64) -> T64 {
        x.linear(&self.first.0, Some(&self.first.1)).tanh().linear(&self.second, None)
    }
}

fn mlp() -> Mlp {
    Mlp { first: (random(&[5, 3], 4), random(&[5], 5)), second: random(&[2, 5], 6) }
}

#[test]
fn params_names_flatten_and_arithmetic() {
    let model = mlp();
    let names: Vec<String> = model.named().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["first.0", "first.1", "second"]);
    let flat = model.flatten();
    assert_eq!(flat.len(), 30);
    assert_eq!(model.unflatten(&flat).unwrap().flatten(), flat);
    assert!(model.unflatten(&nalgebra::DVector::zeros(3)).is_err());
    assert!((model.dot(&model).item() - flat.dot(&flat)).abs() < 1e-12);
    assert_eq!(model.axpy(-1.0, &model).norm().item(), 0.0);
    assert_eq!(model.select(|name| name == "second").first.0.sum().item(), 0.0);
}

/// The per-example gradients, and every reduction of them, against one ordinary gradient for each example.
pub(crate) fn check_per_example<P: Params<Elem = f64>>(f: impl Fn(&P, &T64) -> T64, params: &P, x: &T64) {
    let batch = x.shape()[0];
    let each = per_example(&f, params, x).unwrap();
    let gradients: Vec<P> = (0..batch).map(|b| grad(|p: &P| f(p, &x.narrow(0, b, 1)).sum(), params)).collect();
    let close = |a: &T64, b: &T64| assert!((a - b).abs().as_slice().iter().all(|d| *d < 1e-9), "{a:?} {b:?}");
    let all_close = |a: &P, b: &P| a.leaves().iter().zip(b.leaves()).for_each(|(a, b)| close(a, b));
    let vector = |f: &dyn Fn(&P) -> f64| T64::vector(&gradients.iter().map(f).collect::<Vec<_>>());
    let v = params.map(|_, p| random(p.shape(), 9));
    let weights = random(&[batch], 11);
    let (mut squares, mut sum) = (params.zeros_like(), params.zeros_like());
    for (b, g) in gradients.iter().enumerate() {
        all_close(&each.gradients().map(|_, rows| rows.index_select(0, &[b]).reshape(&rows.shape()[1..])), g);
        close(&each.gram().narrow(0, b, 1).reshape(&[batch]), &vector(&|other| g.dot(other).item()));
        squares = squares.axpy(1.0, &g.map(|_, g| g.square()));
        sum = sum.axpy(weights.as_slice()[b], g);
    }
    close(&each.dot(&v), &vector(&|g| g.dot(&v).item()));
    close(&each.squared_norms(), &vector(&|g| g.dot(g).item()));
    all_close(&each.sum_of_squares(), &squares);
    all_close(&each.weighted_sum(&weights), &sum);
}

#[test]
fn per_example_gradients_agree_with_a_loop() {
    let x = random(&[4, 3], 7);
    check_per_example(|m: &Mlp, x: &T64| m.call(x).softmax_cross_entropy(&vec![1; x.shape()[0]]), &mlp(), &x);
    // A weight used twice, once transposed, and time steps folded into the rows.
    let w = random(&[3, 3], 8);
    check_per_example(|w: &T64, x: &T64| x.matmul(w).tanh().matmul(&w.t()).square().sum_axis(1), &w, &x);
    let tied = |w: &T64, x: &T64| x.linear(w, None).tanh().linear(w, None).square().sum_axis(1);
    check_per_example(tied, &random(&[3, 3], 8), &x);
    check_per_example(tied, &random(&[9, 9], 8), &random(&[4, 9], 7));
    let x = random(&[4, 2, 3], 7);
    check_per_example(|w: &T64, x: &T64| x.linear(w, None).tanh().sum_axis(2).square().sum_axis(1), &w, &x);
    // Examples that are cells of a product of parameters, whose rows are no examples.
    let cells = |(u, v): &(T64, T64), x: &T64| {
        let all = u.matmul(v).reshape(&[12]);
        // One cell for each example, in order, so that a single example is its own cell.
        let own: Vec<usize> = x.as_slice().iter().map(|&x| x as usize).collect();
        (all.index_select(0, &own) - x).square()
    };
    let numbers = T64::from_fn(&[12], |i| i as f64);
    check_per_example(cells, &(random(&[3, 2], 1), random(&[2, 4], 2)), &numbers);
    check_per_example(
        |v: &T64, x: &T64| (x.matmul(&v.broadcast_to(&[x.shape()[0], 3, 2]))).square().reshape(&[x.shape()[0], 2]).sum_axis(1),
        &random(&[3, 2], 3),
        &random(&[4, 1, 3], 4),
    );
    // A single example mixes with nothing.
    let mixed = |w: &T64, x: &T64| x.matmul(w).t().softmax().t().matmul(&x.matmul(w).t()).sum_axis(1);
    check_per_example(mixed, &random(&[3, 2], 5), &random(&[1, 3], 6));
    // A parameter whose first axis happens to have as many entries as there are examples, and a mask.
    let (w, mask, x) = (random(&[4, 3], 8), random(&[4, 3], 10), random(&[4, 3], 7));
    check_per_example(|w: &T64, x: &T64| x.matmul(&(w * &mask).t()).tanh().sum_axis(1), &w, &x);
}

#[test]
fn factors_only_where_rows_are_examples() {
    // Six rows of a product and four examples, one for each three cells.
    let by_cells = |(u, v): &(T64, T64), x: &T64| (u.matmul(v).reshape(&[4, 3]) - x).square().sum_axis(1);
    let (u, v, x) = (random(&[6, 2], 1), random(&[2, 2], 2), random(&[4, 3], 3));
    let all = per_example(by_cells, &(u.clone(), v.clone()), &x).unwrap().gradients();
    // A constant image, of which each example is a pixel.
    let image = random(&[1, 1, 3, 3], 4);
    let pixels = |w: &T64, x: &T64| (image.conv2d(w, None, Convolution::default()).reshape(&[4]) - x).square();
    let (w, y) = (random(&[1, 1, 2, 2], 5), random(&[4], 6));
    let of_pixels = per_example(pixels, &w, &y).unwrap().gradients();
    for b in 0..4 {
        let own = grad(|p: &(T64, T64)| by_cells(p, &x).narrow(0, b, 1).sum(), &(u.clone(), v.clone()));
        let row = |x: &T64| x.index_select(0, &[b]).to_vec();
        assert!(row(&all.0).iter().zip(own.0.as_slice()).all(|(a, b)| (a - b).abs() < 1e-12));
        assert!(row(&all.1).iter().zip(own.1.as_slice()).all(|(a, b)| (a - b).abs() < 1e-12));
        let own = grad(|w: &T64| pixels(w, &y).narrow(0, b, 1).sum(), &w);
        assert!(row(&of_pixels).iter().zip(own.as_slice()).all(|(a, b)| (a - b).abs() < 1e-12));
    }
}

#[test]
fn reductions_of_per_example_gradients_are_differentiated() {
    let x = random(&[4, 3], 7);
    let v = mlp().map(|_, p| random(p.shape(), 9));
    let loss = |m: &Mlp, x: &T64| m.call(x).softmax_cross_entropy(&[0, 1, 1, 0]);
    type Reduction<'a> = &'a dyn Fn(&crate::ExampleGrads<Mlp>) -> T64;
    let reductions: [Reduction; 6] = [
        &|each| each.squared_norms().square().sum(),
        &|each| each.gram().square().sum(),
        &|each| each.dot(&v).square().sum(),
        &|each| each.sum_of_squares().dot(&v),
        &|each| each.weighted_sum(&T64::vector(&[0.1, 0.2, 0.3, 0.4])).dot(&v),
        &|each| each.gradients().norm() + each.losses().square().sum(),
    ];
    for reduce in reductions {
        check::gradient(|m: &Mlp| reduce(&per_example(loss, m, &x).unwrap()), &mlp(), 1e-5, 1e-6).unwrap();
        check::second_order(|m: &Mlp| reduce(&per_example(loss, m, &x).unwrap()), &mlp(), &v, 1e-5, 1e-5).unwrap();
    }
    // Convolutions, and parameters of which every example uses all.
    let images = random(&[3, 1, 4, 4], 8);
    let f = |w: &T64, x: &T64| x.conv2d(w, None, Convolution::default()).tanh().reshape(&[3, 9]).sum_axis(1) * w.square().sum();
    check::gradient(|w: &T64| per_example(f, w, &images).unwrap().squared_norms().sum(), &random(&[1, 1, 2, 2], 1), 1e-5, 1e-6).unwrap();
}

#[test]
fn per_example_gradients_of_a_convolutional_network() {
    #[derive(Clone, Params)]
    struct Cnn {
        filters: [(T64, T64); 2],
        head: T64,
    }
    let filters = [(random(&[3, 2, 3, 3], 1), random(&[3], 2)), (random(&[2, 3, 2, 2], 3), random(&[2], 4))];
    let model = Cnn { filters, head: random(&[3, 2], 5) };
    let f = |m: &Cnn, x: &T64| {
        let [(w1, b1), (w2, b2)] = &m.filters;
        let x = x.conv2d(w1, Some(b1), Convolution { padding: [1, 1], ..Default::default() }).relu().max_pool2d(Pooling::new([2, 2]));
        let x = x.conv2d(w2, Some(b2), Convolution::default()).tanh().avg_pool2d(Pooling { stride: [1, 1], ..Pooling::new([2, 2]) });
        let x = x.reshape(&[x.shape()[0], 2]).linear(&m.head, None);
        let labels = vec![1; x.shape()[0]];
        x.softmax_cross_entropy(&labels)
    };
    check_per_example(f, &model, &random(&[3, 2, 6, 6], 6));
    // A filter as large as the image: one position, and still four axes.
    let whole = |w: &T64, x: &T64| x.conv2d(w, None, Convolution::default()).square().reshape(&[x.shape()[0], 4]).sum_axis(1);
    check_per_example(whole, &random(&[4, 2, 3, 3], 1), &random(&[3, 2, 3, 3], 2));
}

#[test]
fn convolution_against_the_definition() {
    let (x, w, b) = (random(&[2, 3, 5, 6], 1), random(&[4, 3, 3, 2], 2), random(&[4], 3));
    for (stride, padding) in [([1, 1], [0, 0]), ([2, 1], [1, 2]), ([1, 3], [2, 0]), ([2, 2], [0, 1])] {
        let y = x.conv2d(&w, Some(&b), Convolution { stride, padding, ..Default::default() });
        let [n, o, h, v] = y.shape() else { panic!() };
        let at = |n: usize, c: usize, i: isize, j: isize| {
            if (0..5).contains(&i) && (0..6).contains(&j) { x.as_slice()[((n * 3 + c) * 5 + i as usize) * 6 + j as usize] } else { 0.0 }
        };
        for place in 0..n * o * h * v {
            let (n, o, i, j) = (place / (o * h * v), place / (h * v) % o, place / v % h, place % v);
            let mut sum = b.as_slice()[o];
            for (c, ki, kj) in (0..3).flat_map(|c| (0..3).flat_map(move |i| (0..2).map(move |j| (c, i, j)))) {
                let source = |o: usize, k: usize, axis: usize| (o * stride[axis] + k) as isize - padding[axis] as isize;
                sum += w.as_slice()[((o * 3 + c) * 3 + ki) * 2 + kj] * at(n, c, source(i, ki, 0), source(j, kj, 1));
            }
            assert!((y.as_slice()[place] - sum).abs() < 1e-12, "{stride:?} {padding:?} {place}");
        }
    }
}

#[test]
fn pooling_by_hand_and_its_ties() {
    let x = T64::from_vec(vec![1.0, 5.0, 5.0, 2.0, 0.0, 3.0, 1.0, 7.0, 7.0], &[1, 1, 3, 3]).unwrap();
    assert_eq!(x.max_pool2d(Pooling { stride: [1, 1], ..Pooling::new([2, 2]) }).to_vec(), [5.0, 5.0, 7.0, 7.0]);
    assert_eq!(
        grad(|x: &T64| x.max_pool2d(Pooling { stride: [1, 1], ..Pooling::new([2, 2]) }).sum(), &x).to_vec(),
        [0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0]
    );
    let tied = T64::ones(&[1, 1, 2, 2]);
    assert_eq!(grad(|x: &T64| x.max_pool2d(Pooling::new([2, 2])).sum(), &tied).to_vec(), [1.0, 0.0, 0.0, 0.0]);
    assert_eq!(x.avg_pool2d(Pooling::new([2, 2])).to_vec(), [2.0]);
}

#[test]
fn images_and_windows_that_do_not_fit() {
    let x = T64::zeros(&[1, 2, 3, 3]);
    let conv = |w: &[usize], stride, padding| {
        let options = Convolution { stride, padding, ..Default::default() };
        x.try_conv2d(&T64::zeros(w), None, options).unwrap_err()
    };
    assert!(matches!(conv(&[1, 1, 2, 2], [1, 1], [0, 0]), TensorError::Mismatch { operation: "conv2d", .. }));
    assert!(matches!(conv(&[1, 2, 4, 4], [1, 1], [0, 0]), TensorError::Argument { operation: "conv2d", .. }));
    assert!(matches!(conv(&[1, 2, 2, 2], [0, 1], [0, 0]), TensorError::Argument { .. }));
    assert!(matches!(conv(&[1, 2, 2, 2], [1, 1], [usize::MAX, 0]), TensorError::Argument { .. }));
    assert!(matches!(conv(&[1, 2, 2, 2], [1, 1], [1 << 31, 1 << 31]), TensorError::TooLarge { .. }));
    let wide = T64::zeros(&[1 << 33, 0]).try_matmul(&T64::zeros(&[0, 1 << 33]));
    assert!(matches!(wide, Err(TensorError::TooLarge { .. })));
    let bias = x.try_conv2d(&T64::zeros(&[1, 2, 2, 2]), Some(&T64::zeros(&[2])), Convolution::default()).unwrap_err();
    assert!(matches!(bias, TensorError::Mismatch { .. }));
    assert!(matches!(
        x.try_max_pool2d(Pooling { stride: [1, 1], ..Pooling::new([4, 1]) }).unwrap_err(),
        TensorError::Argument { operation: "max_pool2d", .. }
    ));
    assert!(matches!(T64::zeros(&[3, 3]).try_avg_pool2d(Pooling::new([1, 1])).unwrap_err(), TensorError::Argument { .. }));
}

#[test]
fn comparisons_choices_and_gathering() {
    let (a, b) = (T64::vector(&[1.0, 2.0, 3.0]), T64::scalar(2.0));
    assert_eq!(a.gt(&b).to_vec(), [0.0, 0.0, 1.0]);
    assert_eq!(a.ge(&b).to_vec(), [0.0, 1.0, 1.0]);
    assert_eq!(b.lt(&a).to_vec(), [0.0, 0.0, 1.0]);
    assert_eq!(a.le(&b).to_vec(), [1.0, 1.0, 0.0]);
    assert_eq!(a.equal(&b).to_vec(), [0.0, 1.0, 0.0]);
    assert_eq!(a.not_equal(&b).to_vec(), [1.0, 0.0, 1.0]);
    assert_eq!(a.maximum(&b).to_vec(), [2.0, 2.0, 3.0]);
    assert_eq!(a.minimum(&b).to_vec(), [1.0, 2.0, 2.0]);
    assert!(a.maximum(&T64::scalar(f64::NAN)).as_slice().iter().all(|x| x.is_nan()));
    // What is not chosen gets 0, even where the gradient is infinite.
    let chosen = |x: &T64| x.gt(&T64::scalar(0.0)).where_(x, &(x * 2.0)).ln().sum();
    assert_eq!(grad(chosen, &T64::vector(&[4.0, 0.0])).to_vec(), [0.25, f64::INFINITY]);
    let left = |x: &T64| T64::vector(&[1.0, 0.0]).where_(x, &T64::zeros(&[2])).ln().sum();
    assert_eq!(grad(left, &T64::vector(&[4.0, 3.0])).to_vec(), [0.25, 0.0]);
    let rows = T64::from_fn(&[2, 3], |i| i as f64);
    assert_eq!(rows.gather(1, &[2, 0], &[2, 1]).to_vec(), [2.0, 3.0]);
    assert_eq!(rows.gather(0, &[1, 0, 1], &[1, 3]).to_vec(), [3.0, 1.0, 5.0]);
    assert!(rows.try_where(&T64::zeros(&[4]), &b).is_err());
}

#[test]
fn softmax_of_extreme_logits() {
    let x = T64::from_vec(vec![1000.0, 0.0, -1000.0, f64::NEG_INFINITY], &[1, 4]).unwrap();
    assert_eq!(x.softmax().to_vec(), [1.0, 0.0, 0.0, 0.0]);
    assert_eq!(x.log_softmax().as_slice()[1], -1000.0);
    assert_eq!(x.softmax_cross_entropy(&[1]).item(), 1000.0);
    assert!(T64::from_vec(vec![f64::NAN, 0.0], &[1, 2]).unwrap().softmax().as_slice().iter().all(|p| p.is_nan()));
}

#[test]
fn per_example_refuses_what_it_cannot_do() {
    let (w, x) = (random(&[3, 2], 1), random(&[4, 3], 2));
    let normed = |w: &T64, x: &T64| {
        let y = x.matmul(w);
        (&y - &y.mean_keep(0)).sum_axis(1)
    };
    // Seen from the losses, the subtraction is what spreads one value over all examples.
    assert_eq!(per_example(normed, &w, &x).err(), Some(PerExampleError::MixesExamples { operation: "sub" }));
    let softmax_over_examples = |w: &T64, x: &T64| x.matmul(w).t().softmax().t().sum_axis(1);
    assert_eq!(per_example(softmax_over_examples, &w, &x).err(), Some(PerExampleError::MixesExamples { operation: "permute" }));
    // What mixes the inputs before any parameter is seen too.
    let refused = |f: &dyn Fn(&T64, &T64) -> T64| match per_example(f, &w, &x) {
        Err(PerExampleError::MixesExamples { operation }) => operation,
        other => panic!("{:?}", other.map(|_| ())),
    };
    assert_eq!(refused(&|w, x| (x - &x.mean_keep(0)).matmul(w).sum_axis(1)), "sub");
    assert_eq!(refused(&|w, x| x.matmul(w).matmul(&x.narrow(1, 0, 2).t()).softmax_cross_entropy(&[0, 1, 2, 3])), "matmul");
    assert_eq!(refused(&|w, x| x.index_select(0, &[3, 2, 1, 0]).matmul(w).sum_axis(1)), "index_select");
    let scalar = per_example(|w: &T64, x: &T64| x.matmul(w).sum(), &w, &x);
    assert_eq!(scalar.err(), Some(PerExampleError::NotOneLossEach { found: vec![], batch: 4 }));
    let captured = per_example(|w: &T64, _: &T64| x.matmul(w).sum_axis(1), &w, &x);
    assert_eq!(captured.err(), Some(PerExampleError::InputsUnused));
    let empty = per_example(|w: &T64, x: &T64| x.matmul(w).sum_axis(1), &w, &T64::zeros(&[0, 3]));
    assert_eq!(empty.err(), Some(PerExampleError::Inputs { index: 0, shape: vec![0, 3] }));
}

#[test]
fn tensors_without_elements() {
    for shape in [&[0][..], &[0, 3], &[2, 0], &[0, 0], &[1, 0, 2]] {
        let x = random(shape, 1);
        let last = shape.len() as isize - 1;
        for axis in 0..shape.len() as isize {
            check_both("sum_axis", |x| x.sum_axis(axis).square(), &x);
            check_both("sum_axes", |x| x.sum_axes(&[axis, -1]).square(), &x);
            check_both("min_axis", |x| x.min_axis(axis).square(), &x.narrow(0, 0, 0));
            check_both("sum_keep", |x| x.sum_keep(axis).square(), &x);
            check_both("narrow", |x| x.narrow(axis, 0, 0).square(), &x);
            check_both("pad", |x| x.pad(axis, 1, 1).square(), &x);
            check_both("index_select", |x| x.index_select(axis, &[]).square(), &x);
            check_both("scatter_add", |x| x.scatter_add(axis, &vec![0; shape[axis as usize]], 2).square(), &x);
            check_both("concat", |x| T64::concat(&[x.square(), x.clone()], axis), &x);
            check_both("softmax_axis", |x| x.softmax_axis(axis).square(), &x);
        }
        check_both("log_softmax", |x| x.log_softmax().square(), &x);
        check_both("permute", |x| x.permute(&(0..shape.len()).rev().collect::<Vec<_>>()).square(), &x);
        check_both("broadcast_to", |x| x.broadcast_to(&[&[2], shape].concat()).square(), &x);
        check_both("stack", |x| T64::stack(&[x.square(), x.clone()], 0), &x);
        check_both("where_", |x| x.gt(&T64::scalar(0.0)).where_(&x.square(), x), &x);
        if shape[last as usize] > 0 {
            check_both("max_axis", |x| x.max_axis(last).square(), &x);
            check_both("layer_norm", |x| x.layer_norm(None, None, 0.1), &x);
        }
    }
    assert_eq!(T64::zeros(&[0, 3]).softmax_cross_entropy(&[]).shape(), [0]);
}

#[test]
fn a_custom_rule_has_derivatives_of_every_order() {
    // softplus with its own rule, which is the logistic function; x and g may both be differentiated.
    let softplus = |x: &T64| custom_vjp(|x| (x.exp() + 1.0).ln(), |x, g| x.sigmoid() * g, x);
    check_both("custom_vjp", |x| softplus(x).square(), &random(&[5], 3));
    check_modes("custom_vjp", |x| softplus(x).square(), &random(&[5], 3));
}

#[test]
fn ties_share_the_gradient_of_a_maximum() {
    let x = T64::from_vec(vec![1.0, 3.0, 3.0], &[1, 3]).unwrap();
    assert_eq!(grad(|x: &T64| x.max_axis(1).sum(), &x).to_vec(), [0.0, 0.5, 0.5]);
}

pub(crate) mod properties {
    use super::*;

    /// Two dozen cases, each of many operations, unless `PROPTEST_CASES` asks for another number.
    pub(crate) fn config() -> ProptestConfig {
        let config = ProptestConfig::default();
        if std::env::var_os("PROPTEST_CASES").is_some() { config } else { ProptestConfig { cases: 24, ..config } }
    }

    fn shape() -> impl Strategy<Value = Vec<usize>> {
        prop::collection::vec(0usize..4, 1..4)
    }

    /// One operation on activations `[batch, 4]` with the weights `[4, 4]` and the bias `[4]`. Some mix examples.
    fn apply(operation: usize, (w, b): &(T64, T64), h: &T64) -> T64 {
        let batch = h.shape()[0];
        let folded = |f: &dyn Fn(&T64) -> T64| f(&h.reshape(&[batch * 2, 2])).reshape(&[batch, 4]);
        match operation {
            0 => h.matmul(w),
            1 => h.linear(w, Some(b)).tanh(),
            2 => h * b,
            3 => h - &b.square(),
            4 => h.matmul(&w.t().softmax()),
            5 => h.layer_norm(None, None, 0.1),
            6 => h.softmax() * w.square().sum(),
            7 => folded(&|x| x.matmul(&w.narrow(0, 0, 2).narrow(1, 1, 2))),
            8 => folded(&|x| x * &b.narrow(0, 1, 2)),
            9 => h.reshape(&[batch, 2, 2]).permute(&[0, 2, 1]).reshape(&[batch, 4]) + h.max_axis(1).unsqueeze(1),
            10 => h.reshape(&[batch, 2, 2]).matmul(&w.narrow(0, 2, 2).reshape(&[2, 2, 2]).narrow(0, 1, 1)).reshape(&[batch, 4]),
            11 => T64::concat(&[h.narrow(1, 2, 2), h.narrow(1, 0, 2)], 1),
            12 => h.gt(&T64::scalar(0.0)).where_(h, &(h * b)),
            13 => h + &w.broadcast_to(&[batch, 4, 4]).sum_axis(1),
            14 => h.reshape(&[batch, 1, 2, 2]).conv2d(&w.reshape(&[4, 1, 2, 2]), None, Convolution::default()).reshape(&[batch, 4]),
            15 => h - &h.mean_keep(0),
            16 => h.index_select(0, &(0..batch).rev().collect::<Vec<_>>()),
            17 => h.t().softmax().t(),
            _ => (h.matmul(&h.t())).softmax().matmul(h),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 8 * config().cases, ..config() })]

        /// Whatever a program does: the gradients of single examples, or a refusal, never a wrong number.
        #[test]
        fn per_example_gradients_of_random_programs(operations in prop::collection::vec(0usize..19, 1..6), batch in 1usize..5, seed in 0u64..1000) {
            let model = (random(&[4, 4], seed), random(&[4], seed + 1));
            let x = random(&[batch, 4], seed + 2);
            let f = |m: &(T64, T64), x: &T64| operations.iter().fold(x.clone(), |h, &o| apply(o, m, &h)).tanh().sum_axis(1);
            match per_example(f, &model, &x) {
                Ok(_) => check_per_example(f, &model, &x),
                Err(PerExampleError::MixesExamples { .. }) => prop_assert!(batch > 1 && operations.iter().any(|o| *o >= 15)),
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn pointwise_functions(shape in shape(), seed in 0u64..1000) {
            let x = random(&shape, seed);
            let positive = x.square() + 0.5;
            check_both("exp", T64::exp, &x);
            check_both("tanh", T64::tanh, &x);
            check_both("sigmoid", T64::sigmoid, &x);
            check_both("softplus", T64::softplus, &x);
            check_both("square", T64::square, &x);
            check_both("sin", T64::sin, &x);
            check_both("cos", T64::cos, &x);
            check_both("affine", |x| x.clone().affine(1.5, -0.5), &x);
            check_both("ln", T64::ln, &positive);
            check_both("sqrt", T64::sqrt, &positive);
            check_both("recip", T64::recip, &positive);
            check_both("powf", |x| x.powf(1.7), &positive);
            let away = x.map(|_, x| T64::from_fn(x.shape(), |i| { let v = x.as_slice()[i]; v + v.signum() * 0.01 }));
            check_both("relu", |x| x.relu().square(), &away);
            check_both("abs", |x| x.abs().square(), &away);
        }

        #[test]
        fn arithmetic_broadcasts((left, right) in check::strategies::broadcastable(3, 3), seed in 0u64..1000) {
            let (x, y) = (random(&left, seed), random(&right, seed + 1).square() + 0.5);
            check_both("add", |x| (x + &y).square(), &x);
            check_both("sub", |x| (&y - x).square(), &x);
            check_both("mul", |x| (x * &y).square(), &x);
            check_both("div", |x| (x / &y).square(), &x);
            check_both("add broadcast", |y| (&x + y).square(), &y);
            check_both("mul broadcast", |y| &x * y * y, &y);
            check_both("div broadcast", |y| &x / y, &y);
        }

        #[test]
        fn reductions_and_layout(shape in prop::collection::vec(1usize..4, 1..4), axis in 0usize..3, seed in 0u64..1000) {
            let axis = (axis % shape.len()) as isize;
            let x = random(&shape, seed);
            let n = shape[axis as usize];
            check_both("sum_axis", |x| x.sum_axis(axis).square(), &x);
            check_both("sum_axes", |x| x.sum_axes(&[axis, -1]).square(), &x);
            check_both("min_axis", |x| x.min_axis(axis).square(), &x.narrow(0, 0, 0));
            check_both("mean_keep", |x| x.mean_keep(axis).square(), &x);
            check_both("max_axis", |x| x.max_axis(axis).square(), &x);
            check_both("softmax", |x| x.softmax().square(), &x);
            check_both("softmax_axis", |x| x.softmax_axis(axis).square(), &x);
            check_both("log_softmax_axis", |x| x.log_softmax_axis(axis).square(), &x);
            let mut one = shape.clone();
            one[axis as usize] = 2;
            let picks: Vec<usize> = (0..one.iter().product()).map(|i| (i * 7 + seed as usize) % n).collect();
            check_both("gather", |x| x.gather(axis, &picks, &one).square(), &x);
            let other = random(&shape[1..], seed + 1);
            check_both("where_", |x| other.gt(&T64::scalar(0.0)).where_(&x.square(), &x.sin()), &x);
            check_both("maximum", |x| x.square().maximum(&other), &x);
            check_both("minimum", |x| other.minimum(&x.square()), &x);
            check_both("log_softmax", |x| x.log_softmax().square(), &x);
            check_both("layer_norm", |x| x.layer_norm(None, None, 0.1), &x);
            check_both("narrow", |x| x.narrow(axis, n - 1, 1).square(), &x);
            check_both("pad", |x| x.pad(axis, 1, 2).square(), &x);
            check_both("index_select", |x| x.index_select(axis, &[0, n - 1, 0]).square(), &x);
            check_both("scatter_add", |x| x.scatter_add(axis, &vec![1; n], 3).square(), &x);
            check_both("concat", |x| T64::concat(&[x.square(), x.clone()], axis), &x);
            check_both("stack", |x| T64::stack(&[x.square(), x.clone()], axis), &x);
            let reversed: Vec<usize> = (0..shape.len()).rev().collect();
            check_both("permute", |x| x.permute(&reversed).square(), &x);
            check_both("broadcast_to", |x| x.broadcast_to(&[&[2], &shape[..]].concat()).square(), &x);
        }

        #[test]
        fn images(
            batch in 0usize..3, channels in 1usize..3, filters in 1usize..3, size in (1usize..6, 1usize..6),
            kernel in (1usize..4, 1usize..4), stride in (1usize..3, 1usize..3), padding in (0usize..3, 0usize..2), seed in 0u64..1000,
        ) {
            let (size, kernel, stride, padding) = ([size.0, size.1], [kernel.0, kernel.1], [stride.0, stride.1], [padding.0, padding.1]);
            let x = random(&[batch, channels, size[0], size[1]], seed);
            let w = random(&[filters, channels, kernel[0], kernel[1]], seed + 1);
            let options = Convolution { stride, padding, ..Default::default() };
            if x.try_conv2d(&w, None, options).is_ok() {
                check_both("conv2d images", |x| x.conv2d(&w, None, options).square(), &x);
                check_both("conv2d filters", |w| x.conv2d(w, None, options).square(), &w);
                check_both("conv2d bias", |b| x.conv2d(&w, Some(b), options).square(), &random(&[filters], seed));
            }
            let windows = Pooling { stride, ..Pooling::new(kernel) };
            if x.try_max_pool2d(windows).is_ok() {
                check_both("max_pool2d", |x| x.max_pool2d(windows).square(), &x);
                check_both("avg_pool2d", |x| x.avg_pool2d(windows).square(), &x);
            }
        }

        #[test]
        fn products(m in 0usize..4, k in 0usize..4, n in 0usize..4, batch in 1usize..3, seed in 0u64..1000) {
            let (a, b) = (random(&[m, k], seed), random(&[k, n], seed + 1));
            check_both("matmul left", |a| a.matmul(&b).square(), &a);
            check_both("matmul right", |b| a.matmul(b).square(), &b);
            let w = random(&[n, k], seed + 2);
            check_both("linear input", |a| a.linear(&w, None).square(), &a);
            check_both("linear weight", |w| a.linear(w, None).square(), &w);
            let (p, q) = (random(&[batch, m, k], seed + 3), random(&[1, k, n], seed + 4));
            check_both("batched left", |p| p.matmul(&q).square(), &p);
            check_both("batched right", |q| p.matmul(q).square(), &q);
            check_both("linear bias", |n| a.linear(&w, Some(n)).square(), &random(&[n], seed));
            let logits = random(&[m, k + 1], seed);
            check_both("cross entropy", |x| x.softmax_cross_entropy(&vec![k; m]), &logits);
        }
    }
}
