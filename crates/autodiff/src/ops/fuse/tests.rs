use super::program::live;
use super::*;
use crate::check;
use crate::{Params, ReluRule, grad, grad_with, hessian, hvp, jacobian, jvp, per_example, value_and_grad, vjp};

type T64 = Tensor<f64>;

fn random(shape: &[usize], seed: u64) -> T64 {
    T64::sample(shape, rand_distr::StandardNormal, &mut gradus_base::stream(seed, "fuse-test", 0))
}

/// `Σ y ∘ c` for a fixed, uneven `c`.
fn weighed(y: &T64) -> T64 {
    (y * &T64::from_fn(y.shape(), |i| 0.3 + (i as f64 * 0.7).sin())).sum()
}

#[track_caller]
fn assert_close(a: &T64, b: &T64, tolerance: f64) {
    assert_eq!(a.shape(), b.shape());
    for (i, (a, b)) in a.as_slice().iter().zip(b.as_slice()).enumerate() {
        let close = (a - b).abs() <= tolerance * (1.0 + b.abs()) || (a.is_nan() && b.is_nan()) || a == b;
        assert!(close, "element {i}: {a} and {b}");
    }
}

/// The chain of the elementwise benchmark.
fn chain<'t, T: Scalar + Operand<'t, T>>(x: Expression<'t, T>) -> Expression<'t, T> {
    (0..4).fold(x, |z, _| (-(z.tanh() * T::from_f64(1.1) + T::from_f64(0.3)).square()).exp())
}

fn eager_chain<T: Scalar>(x: &Tensor<T>) -> Tensor<T> {
    (0..4).fold(x.clone(), |z, _| (-(z.tanh() * T::from_f64(1.1) + T::from_f64(0.3)).square()).exp())
}

#[test]
fn a_worked_example() {
    let (x, w) = (T64::vector(&[1.0, -2.0]), T64::scalar(3.0));
    let f = |(x, w): &(T64, T64)| fuse(|[x, w]| 1.0 - x * w * w + 2.0 / x, [x, w]);
    assert_eq!(f(&(x.clone(), w.clone())).to_vec(), [-6.0, 18.0]);
    // ∂/∂x = -w² - 2/x², ∂/∂w = -2 x w, summed
    let (dx, dw) = grad(|p| f(p).sum(), &(x, w));
    assert_eq!((dx.to_vec(), dw.item()), (vec![-11.0, -9.5], 6.0));
}

#[test]
fn values_are_those_of_the_operations_one_by_one_to_the_bit() {
    for count in [0, 1, 7, 63, 255, 256, 257, 2049, 8191, 8193, 100_003] {
        let x = random(&[count], 1);
        let (wide, narrow) = (&x, x.cast::<f32>());
        assert_eq!(fuse(|[x]| chain(x), [wide]), eager_chain(wide), "{count}");
        assert_eq!(fuse(|[x]| chain(x), [&narrow]), eager_chain(&narrow), "{count}");
        assert_eq!(
            fuse(|[x]| x.sigmoid() * 2.0 - x.softplus() / 3.0 + x.relu().abs().maximum(0.25), [&narrow]),
            narrow.sigmoid() * 2.0 - narrow.softplus() / 3.0 + narrow.relu().abs().maximum(&Tensor::scalar(0.25))
        );
    }
}

#[test]
fn every_function_is_that_of_tensors() {
    let x = T64::vector(&[-2.0, -0.5, -0.0, 0.0, 0.3, 1.0, 40.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN]);
    let y = T64::vector(&[1.0, -0.5, 0.0, f64::NAN, 0.3, -1.0, 41.0, f64::INFINITY, 0.0, 2.0]);
    macro_rules! same {
        ($($name:ident),*) => { $(assert_close(&fuse(|[x]| x.$name(), [&x]), &x.$name(), 0.0);)* };
    }
    same!(exp, exp_m1, ln, ln_1p, tanh, sigmoid, softplus, log_sigmoid, relu, silu, gelu, erf, erfc, sqrt, square, recip, abs);
    same!(sign, floor, ceil, round, sin, cos, tan, atan, sinh, cosh);
    assert_close(&fuse(|[x]| x.gelu_tanh(), [&x]), &x.gelu_tanh(), 1e-15);
    assert_close(&fuse(|[x]| x.clamp(-0.5, 1.0), [&x]), &x.clamp(-0.5, 1.0), 0.0);
    assert_close(&fuse(|[x]| x.elu(0.7), [&x]), &x.elu(0.7), 0.0);
    assert_close(&fuse(|[x]| x.leaky_relu(0.1), [&x]), &x.leaky_relu(0.1), 0.0);
    macro_rules! same {
        ($($name:ident),*) => { $(assert_close(&fuse(|[x, y]| x.$name(y), [&x, &y]), &x.$name(&y), 0.0);)* };
    }
    same!(maximum, minimum, gt, ge, lt, le, equal, not_equal);
    for exponent in [-1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 2.7] {
        assert_close(&fuse(|[x]| x.powf(exponent), [&x]), &x.powf(exponent), 1e-15);
    }
    assert_close(&fuse(|[x, y]| x.gt(y).where_(x, 7.0), [&x, &y]), &x.gt(&y).where_(&x, &T64::scalar(7.0)), 0.0);
}

#[test]
fn numbers_stand_on_either_side() {
    let x: Tensor = Tensor::vector(&[2.0, 4.0]);
    assert_eq!(fuse(|[x]| (1.0 - x) * (8.0 / x) + (0.5 + x * 2.0), [&x]).to_vec(), [0.5, 2.5]);
}

#[test]
fn inputs_that_are_broadcast() {
    let whole = random(&[3, 4, 5], 1);
    for shape in [&[][..], &[5], &[1], &[4, 1], &[4, 5], &[3, 1, 1], &[3, 1, 5], &[1, 4, 1], &[3, 4, 1], &[3, 4, 5]] {
        let part = random(shape, 2);
        let found = fuse(|[a, b]| (a - b) * b.tanh(), [&whole, &part]);
        assert_eq!(found, (&whole - &part) * part.tanh(), "{shape:?}");
        assert_eq!(fuse(|[b, a]| (a - b) * b.tanh(), [&part, &whole]), found, "{shape:?}");
        let f = |p: &(T64, T64)| weighed(&fuse(|[a, b]| (a - b) * b.tanh(), [&p.0, &p.1]));
        check::gradient(f, &(whole.clone(), part.clone()), 1e-5, 1e-7).unwrap();
        check::second_order(f, &(whole.clone(), part.clone()), &(random(&[3, 4, 5], 3), random(shape, 4)), 1e-5, 1e-6).unwrap();
    }
    let (column, row) = (random(&[300, 1], 5), random(&[1, 211], 6));
    assert_eq!(fuse(|[a, b]| a * b + a, [&column, &row]), &column * &row + &column);
    let (empty, row) = (random(&[0, 3], 7), random(&[3], 8));
    assert_eq!(fuse(|[a, b]| a * b, [&empty, &row]).shape(), [0, 3]);
    let (_, db) = grad(|p: &(T64, T64)| fuse(|[a, b]| a * b.exp(), [&p.0, &p.1]).sum(), &(empty, row));
    assert_eq!(db.to_vec(), [0.0; 3]);
}

#[test]
fn what_is_an_input_or_a_constant_is_broadcast_too() {
    let (x, row) = (random(&[2, 3], 1), random(&[3], 2));
    assert_eq!(fuse(|[_, row]| row, [&x, &row]), row.broadcast_to(&[2, 3]));
    assert_eq!(fuse(|[x, _]| x.powf(0.0), [&x, &row]), T64::ones(&[2, 3]));
    let (dx, drow) = grad(|p: &(T64, T64)| fuse(|[_, row]| row, [&p.0, &p.1]).sum(), &(x.clone(), row));
    assert_eq!((dx, drow.to_vec()), (T64::zeros(&[2, 3]), vec![2.0; 3]));
    assert_eq!(grad(|x: &T64| fuse(|[x]| x.sign() + x.gt(0.5), [x]).sum(), &x), T64::zeros(&[2, 3]));
}

#[test]
fn shapes_that_do_not_fit() {
    let (a, b, c) = (T64::ones(&[2, 3]), T64::ones(&[3]), T64::ones(&[4, 3]));
    let expected = TensorError::Mismatch { operation: "fuse", left: vec![2, 3], right: vec![4, 3] };
    assert_eq!(try_fuse(|[a, b, c]| a * b * c, [&a, &b, &c]).unwrap_err(), expected);
    assert_eq!(try_fuse_many(|[a, b, c]| [a * b, c], [&a, &b, &c]).unwrap_err(), expected);
}

#[test]
#[should_panic(expected = "fuse: shapes [2] and [3] do not fit")]
fn the_panic_names_both_shapes() {
    fuse(|[a, b]| a + b, [&T64::ones(&[2]), &T64::ones(&[3])]);
}

#[test]
fn derivatives_of_any_order() {
    fn derivative(n: usize, x: &T64) -> T64 {
        if n == 0 { fuse(|[x]| x.powf(6.0), [x]) } else { grad(|x: &T64| derivative(n - 1, x), x) }
    }
    let values: Vec<f64> = (0..=6).map(|n| derivative(n, &T64::scalar(1.0)).item()).collect();
    assert_eq!(values, [1.0, 6.0, 30.0, 120.0, 360.0, 720.0, 720.0]);
    fn of_tanh(n: usize, x: &T64) -> T64 {
        if n == 0 { fuse(|[x]| x.tanh(), [x]) } else { grad(|x: &T64| of_tanh(n - 1, x), x) }
    }
    // tanh⁗ = -8 t (1 - t²) (3 t² - 2)... = 8 t (1 - t²)(2 - 3 t²)
    let t = 0.7f64.tanh();
    let expected = 8.0 * t * (1.0 - t * t) * (2.0 - 3.0 * t * t);
    assert!((of_tanh(4, &T64::scalar(0.7)).item() - expected).abs() < 1e-13);
}

#[test]
fn first_and_second_derivatives() {
    let x = random(&[3, 5], 1);
    let v = random(&[3, 5], 2);
    let check = |name: &str, f: &dyn Fn(&T64) -> T64| {
        let scalar = |x: &T64| weighed(&f(x));
        check::gradient(scalar, &x, 1e-5, 1e-7).unwrap_or_else(|error| panic!("{name}: {error}"));
        check::second_order(scalar, &x, &v, 1e-5, 1e-6).unwrap_or_else(|error| panic!("{name}, second order: {error}"));
    };
    macro_rules! check {
        ($(|$x:ident| $f:expr),* $(,)?) => { $(check(stringify!($f), &|x| fuse(|[$x]| $f, [x]));)* };
    }
    check!(
        |x| x.exp() - x.sin() * x.cos(),
        |x| (x.square() + 0.5).ln() + (x * x + 1.0).sqrt().recip(),
        |x| x.tanh() * x.sigmoid() / x.softplus(),
        |x| x.relu() * x.abs() + x.sign() * x,
        |x| (x * x + 0.3).powf(1.7) + x.powf(3.0) + x.powf(4.0),
        |x| x.maximum(x * x) + x.minimum(0.2) * x.silu(),
        |x| x.gt(0.1).where_(x.exp(), x * 3.0) * x.le(0.4),
        |x| x.exp_m1() * (x * x).ln_1p() + x.erf() - x.erfc() * x,
        |x| x.gelu() + x.gelu_tanh() * x.log_sigmoid() + x.leaky_relu(0.1) * x.elu(0.7),
        |x| x.atan() + (x * 0.3).tan() * x.sinh() - x.cosh() + x.clamp(-0.6, 0.9) * x + x.floor() * x.round() * x * x.ceil(),
        |x| 3.0 / (2.0 + x.cos()) - (1.0 - x) * -x,
        |x| chain(x),
    );
}

#[test]
fn transforms_agree_with_those_of_the_operations_one_by_one() {
    let (x, v) = (random(&[6], 1), random(&[6], 2));
    let fused = |x: &T64| fuse(|[x]| chain(x) * x.sin(), [x]);
    let eager = |x: &T64| eager_chain(x) * x.sin();
    assert_close(&jacobian(fused, &x), &jacobian(eager, &x), 1e-13);
    assert_close(&hessian(|x| fused(x).square().sum(), &x), &hessian(|x| eager(x).square().sum(), &x), 1e-12);
    assert_close(&hvp(|x: &T64| weighed(&fused(x)), &x, &v), &hvp(|x: &T64| weighed(&eager(x)), &x, &v), 1e-12);
    let (found, expected) = (jvp(fused, &x, &v), jvp(eager, &x, &v));
    assert_close(&found.0, &expected.0, 0.0);
    assert_close(&found.1, &expected.1, 1e-13);
    let (_, pullback) = vjp(fused, &x);
    assert_close(&pullback(&v), &vjp(eager, &x).1(&v), 1e-13);
    assert_close(&pullback(&v), &vjp(eager, &x).1(&v), 1e-13);
    let third = |f: &dyn Fn(&T64) -> T64| hvp(|x: &T64| hvp(|x: &T64| f(x).sum(), x, &v).dot(&v), &x, &v);
    assert_close(&third(&fused), &third(&eager), 1e-10);
}

#[test]
fn stacked_cotangents_with_broadcasting() {
    let (x, row) = (random(&[3, 4], 1), random(&[4], 2));
    let check = |fused: &dyn Fn(&T64) -> T64, eager: &dyn Fn(&T64) -> T64, at: &T64| {
        assert_close(&jacobian(fused, at), &jacobian(eager, at), 1e-13);
    };
    check(&|r| fuse(|[x, r]| (x * r).tanh() / r, [&x, r]), &|r| (&x * r).tanh() / r, &row);
    check(&|x| fuse(|[x, r]| (x * r).tanh() / r, [x, &row]), &|x| (x * &row).tanh() / &row, &x);
    check(&|r| fuse(|[x, r]| x * r, [&x, r]), &|r| &x * r, &row);
    check(&|s| fuse(|[x, s]| x - s * s, [&x, s]), &|s| &x - &s.square(), &T64::scalar(0.7));
    check(&|r| fuse(|[x, r]| x + r, [&x, r]), &|r| &x + r, &random(&[3, 1], 3));
    let f = |fused: bool, x: &T64| {
        let g = |x: &T64| if fused { fuse(|[x, r]| (x * r).sin(), [x, &row]) } else { (x * &row).sin() };
        grad(|x: &T64| g(x).square().sum(), x)
    };
    check(&|x| f(true, x), &|x| f(false, x), &x);
}

#[test]
fn several_outputs_share_their_inputs() {
    let p = (random(&[2, 5], 1), random(&[5], 2));
    let fused = |(x, y): &(T64, T64)| {
        let [a, b, c] = fuse_many(|[x, y]| [(x * y).exp(), x.sin() + y, x * y], [x, y]);
        weighed(&(a * b + c.square()))
    };
    let eager = |(x, y): &(T64, T64)| weighed(&((x * y).exp() * (x.sin() + y) + (x * y).square()));
    let v = (random(&[2, 5], 3), random(&[5], 4));
    let (value, gradient) = value_and_grad(fused, &p);
    let (expected, expected_gradient) = value_and_grad(eager, &p);
    assert_close(&value, &expected, 1e-14);
    assert_close(&gradient.0, &expected_gradient.0, 1e-13);
    assert_close(&gradient.1, &expected_gradient.1, 1e-13);
    let (found, expected) = (hvp(fused, &p, &v), hvp(eager, &p, &v));
    assert_close(&found.0, &expected.0, 1e-12);
    assert_close(&found.1, &expected.1, 1e-12);
}

#[test]
fn gradients_of_each_example_against_a_loop() {
    let (x, w) = (random(&[4, 6], 1), (random(&[6], 2), random(&[1, 6], 3), T64::scalar(0.4)));
    type Weights = (T64, T64, T64);
    let loss = |w: &Weights, x: &T64| {
        let hidden = fuse(|[x, a, b, c]| (x * a + b).tanh() * c, [x, &w.0, &w.1, &w.2]);
        fuse(|[h, a]| (h * a).exp(), [&hidden, &w.0]).sum_axis(1)
    };
    let each = per_example(loss, &w, &x).unwrap().gradients();
    for example in 0..4 {
        let own = grad(|w: &Weights| loss(w, &x.narrow(0, example, 1)).sum(), &w);
        for (all, one) in [(&each.0, &own.0), (&each.1, &own.1), (&each.2, &own.2)] {
            assert_close(&all.narrow(0, example, 1).reshape(one.shape()), one, 1e-13);
        }
    }
    // Inside another derivative.
    let outer = |w: &Weights| per_example(loss, w, &x).unwrap().gradients().0.square().sum();
    let looped = |w: &Weights| {
        let squares = (0..4).map(|i| grad(|w: &Weights| loss(w, &x.narrow(0, i, 1)).sum(), w).0.square().sum());
        squares.reduce(|a, b| a + b).unwrap()
    };
    let (found, expected) = (grad(outer, &w), grad(looped, &w));
    assert_close(&found.0, &expected.0, 1e-12);
    assert_close(&found.1, &expected.1, 1e-12);
    assert_close(&found.2, &expected.2, 1e-12);
}

#[test]
fn examples_that_are_mixed_are_refused() {
    let (x, w) = (random(&[4, 3], 1), random(&[3], 2));
    let mixing = |w: &T64, x: &T64| fuse(|[x, other, w]| x * other * w, [x, &x.narrow(0, 0, 1), w]).sum_axis(1);
    assert!(per_example(mixing, &w, &x).is_err());
    let fused = |w: &T64, x: &T64| fuse(|[a, b, w]| a * b * w, [&x.reshape(&[4, 1, 3]), &x.reshape(&[1, 4, 3]), w]).sum_axis(2).sum_axis(1);
    assert!(per_example(fused, &w, &x).is_err());
}

#[test]
fn activations_take_the_same_derivative_where_they_bend() {
    let x = T64::vector(&[0.0, -0.5, 1.0, 800.0, -800.0]);
    macro_rules! same {
        ($(|$x:ident| $f:expr),* $(,)?) => { $(
            let fused = grad(|x: &T64| weighed(&fuse(|[$x]| $f, [x])), &x);
            assert_close(&fused, &grad(|$x: &T64| weighed(&$f), &x), 1e-15);
        )* };
    }
    same!(|x| x.relu(), |x| x.abs(), |x| x.clamp(-0.5, 1.0), |x| x.elu(0.7), |x| x.leaky_relu(0.1), |x| x.softplus(), |x| x.gelu());
}

#[test]
fn backward_modes_of_relu_are_refused_inside() {
    macro_rules! refused {
        ($($chain:expr),*) => { $(
            for rule in [ReluRule::Deconvnet, ReluRule::Guided, ReluRule::GuidedBySign] {
                let found = std::panic::catch_unwind(|| grad_with(rule, |x: &T64| fuse($chain, [x]).sum(), &random(&[3], 1)));
                let message = *found.unwrap_err().downcast::<String>().unwrap();
                assert!(message.contains("the function uses `fuse` with a rectifier inside"), "{message}");
            }
        )* };
    }
    refused!(|[x]| x.relu() * 2.0, |[x]| x.softplus(), |[x]| x.leaky_relu(0.1), |[x]| x.elu(1.0));
    refused!(|[x]| x.silu(), |[x]| x.gelu(), |[x]| x.gelu_tanh().tanh());
    let f = |x: &T64| fuse(|[x]| (x.log_sigmoid() + x.tanh()).exp(), [x]).sum();
    assert_eq!(grad_with(ReluRule::Guided, f, &random(&[3], 1)), grad(f, &random(&[3], 1)));
}

#[test]
fn the_same_bits_on_any_number_of_threads() {
    let x: Tensor = Tensor::from_fn(&[411, 730], |i| (i as f32 * 0.37).sin());
    let row: Tensor = Tensor::from_fn(&[730], |i| (i as f32 * 0.11).cos());
    let all = || {
        let f = |p: &(Tensor, Tensor)| fuse(|[x, r]| chain(x * r + 0.1) - r.sin(), [&p.0, &p.1]);
        let p = (x.clone(), row.clone());
        let gradient = grad(|p| f(p).square().sum(), &p);
        let second = hvp(|p| f(p).sum(), &p, &p);
        [f(&p), gradient.0, gradient.1, second.0, second.1].map(|x| x.to_vec().into_iter().map(f32::to_bits).collect::<Vec<_>>())
    };
    let runs = [1, 2, 3, 7].map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(all));
    assert!(runs.iter().all(|run| run == &runs[0]));
}

fn traced(f: impl for<'t> FnOnce([Expression<'t, f64>; 2]) -> Expression<'t, f64>) -> (Vec<Instruction>, Value) {
    let trace = RefCell::new(Builder::new());
    let symbols = std::array::from_fn(|i| Expression::new(&trace, trace.borrow_mut().input(i)));
    let output = f(symbols).value;
    (trace.into_inner().instructions, output)
}

#[test]
fn equal_values_are_one_and_constants_are_computed_at_once() {
    let count = |f: fn([Expression<'_, f64>; 2]) -> Expression<'_, f64>| {
        let (program, output) = traced(f);
        live(&program, &[output]).into_iter().filter(|&live| live).count()
    };
    assert_eq!(count(|[x, y]| (x + y) * (y + x)), 4);
    assert_eq!(count(|[x, _]| x * 1.0 / 1.0), 1);
    assert_eq!(count(|[x, _]| -(-x)), 1);
    assert_eq!(count(|[x, _]| (x.powf(0.0) + 2.0).exp() * x), 3);
    assert_eq!(count(|[x, y]| x.powf(0.0).where_(x, y.exp())), 1);
}

#[test]
fn code_is_short_and_its_registers_few() {
    let (program, output) = traced(|[x, _]| chain(x));
    let code = compile::<f64>(&program, &[output], &[Known::InPlace; 2]);
    // tanh, scale and shift, negative square, exp; four times
    assert_eq!((code.steps.len(), code.registers), (16, 2));
    let trace = RefCell::new(Builder::<f64>::continuing(&program));
    let slope = slopes(&trace, output, &[0])[0].unwrap();
    let code = compile::<f64>(&trace.into_inner().instructions, &[output, slope], &[Known::InPlace; 2]);
    // and the derivative: of exp and the negative square, of the square and the scale, two for tanh; the first has no gradient yet
    assert!(code.steps.len() <= 32 && code.registers <= 14, "{} steps, {} registers", code.steps.len(), code.registers);
    // An input of one element makes what depends on it alone a constant.
    let (program, output) = traced(|[x, c]| x * (c.exp() + c.sin()).sqrt());
    let code = compile(&program, &[output], &[Known::InPlace, Known::Uniform(0.3)]);
    assert_eq!(code.steps.len(), 1);
}

mod properties {
    use proptest::prelude::*;

    use super::*;
    use crate::check::strategies;

    /// What tensors and expressions have in common.
    trait Element: Clone {
        fn unary(&self, kind: usize) -> Self;
        fn binary(&self, other: &Self, kind: usize) -> Self;
    }

    const UNARY: usize = 13;
    const BINARY: usize = 8;

    /// Functions that are tame in both derivatives.
    macro_rules! unary {
        ($x:expr, $kind:expr) => {
            match $kind {
                0 => $x.tanh(),
                1 => $x.sigmoid(),
                2 => $x.softplus(),
                3 => $x.sin(),
                4 => $x.cos(),
                5 => (-$x.square()).exp(),
                6 => ($x.square() + 0.5).ln(),
                7 => ($x.square() + 0.5).sqrt(),
                8 => ($x.square() + 1.0).recip(),
                9 => ($x.square() + 0.5).powf(0.7),
                10 => $x.relu() - $x.abs() * 0.5,
                11 => $x.tanh().powf(3.0) / 2.0 - 1.0,
                _ => -$x.clone(),
            }
        };
    }

    impl Element for T64 {
        fn unary(&self, kind: usize) -> Self {
            unary!(self, kind)
        }
        fn binary(&self, other: &Self, kind: usize) -> Self {
            match kind {
                0 => self + other,
                1 => self - other,
                2 => self * other,
                3 => self / &(other.square() + 0.7),
                4 => self.maximum(other),
                5 => self.minimum(other),
                6 => self.gt(other).where_(&(self * 0.3), other),
                _ => self * &self.le(other),
            }
        }
    }

    impl Element for Expression<'_, f64> {
        fn unary(&self, kind: usize) -> Self {
            unary!(self, kind)
        }
        fn binary(&self, other: &Self, kind: usize) -> Self {
            match kind {
                0 => *self + *other,
                1 => *self - *other,
                2 => *self * *other,
                3 => *self / (other.square() + 0.7),
                4 => self.maximum(*other),
                5 => self.minimum(*other),
                6 => self.gt(*other).where_(*self * 0.3, *other),
                _ => *self * self.le(*other),
            }
        }
    }

    /// One function of earlier values after the other; the last value, bounded, is the result.
    type Steps = Vec<(bool, usize, usize, usize)>;

    fn run<E: Element>(steps: &Steps, inputs: [E; 3]) -> E {
        let mut values = inputs.to_vec();
        for &(binary, kind, a, b) in steps {
            let (a, b) = (&values[a % values.len()], &values[b % values.len()]);
            values.push(if binary { a.binary(b, kind % BINARY) } else { a.unary(kind % UNARY) });
        }
        let all = values.iter().skip(1).fold(values[0].clone(), |sum, value| sum.binary(&value.unary(0), 0));
        all.unary(3)
    }

    fn programs() -> impl Strategy<Value = Steps> {
        prop::collection::vec((any::<bool>(), 0..100usize, 0..100usize, 0..100usize), 0..12)
    }

    fn inputs() -> impl Strategy<Value = (T64, T64, T64)> {
        (strategies::broadcastable(3, 4), any::<bool>()).prop_flat_map(|((a, b), scalar)| {
            let c = if scalar { vec![] } else { a.clone() };
            let tensor = |shape| strategies::tensor(shape, -1.5..1.5);
            (tensor(a), tensor(b), tensor(c))
        })
    }

    /// Whether two gradients agree to rounding.
    fn agree(a: &(T64, T64, T64), b: &(T64, T64, T64)) -> bool {
        let close = |a: &T64, b: &T64| {
            a.shape() == b.shape() && a.as_slice().iter().zip(b.as_slice()).all(|(a, b)| (a - b).abs() <= 1e-8 * (1.0 + b.abs()))
        };
        close(&a.0, &b.0) && close(&a.1, &b.1) && close(&a.2, &b.2)
    }

    proptest! {
        #[test]
        fn random_programs_are_the_operations_one_by_one(steps in programs(), p in inputs(), seed in 0..1000u64) {
            let fused = |p: &(T64, T64, T64)| fuse(|symbols| run(&steps, symbols), [&p.0, &p.1, &p.2]);
            let eager = |p: &(T64, T64, T64)| {
                let shape = common_shape(&[&p.0, &p.1, &p.2]).unwrap();
                run(&steps, [p.0.broadcast_to(&shape), p.1.broadcast_to(&shape), p.2.broadcast_to(&shape)])
            };
            assert_close(&fused(&p), &eager(&p), 1e-12);
            let (found, expected) = (grad(|p| weighed(&fused(p)), &p), grad(|p| weighed(&eager(p)), &p));
            prop_assert!(agree(&found, &expected), "{found:?} {expected:?}");
            let v = (random(p.0.shape(), seed), random(p.1.shape(), seed + 1), random(p.2.shape(), seed + 2));
            let (found, expected) = (hvp(|p| weighed(&fused(p)), &p, &v), hvp(|p| weighed(&eager(p)), &p, &v));
            prop_assert!(agree(&found, &expected), "{found:?} {expected:?}");
        }
    }
}
