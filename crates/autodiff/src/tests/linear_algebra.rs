//! Factorisations, systems of equations and their derivatives.

use super::{T64, check_both, check_modes, check_per_example, random};
use crate::{Tensor, TensorError, Triangular, check, grad, hvp};

/// Positive definite matrices of a shape, whose eigenvalues lie above ½.
fn definite(x: &T64) -> T64 {
    let n = x.shape()[x.rank() - 1];
    x.matmul(&x.t()) + T64::eye(n) * 0.5
}

/// Matrices far from singular: their diagonals are larger than all else in a row.
fn regular(x: &T64) -> T64 {
    let n = x.shape()[x.rank() - 1];
    x.tanh() + T64::eye(n) * (2.0 * n as f64)
}

/// Symmetric matrices whose eigenvalues differ by more than ½: small perturbations of 0, 2, 4, ….
fn spread(x: &T64) -> T64 {
    let n = x.shape()[x.rank() - 1];
    let small = (x + &x.t()).tanh() * (0.2 / n.max(1) as f64);
    small + T64::from_fn(&[n, n], |i| if i / n.max(1) == i % n.max(1) { 2.0 * (i % n) as f64 } else { 0.0 })
}

/// Matrices whose singular values differ by more than ½: small perturbations of 2, 4, ….
fn spread_rectangular(x: &T64) -> T64 {
    let (m, n) = (x.shape()[x.rank() - 2], x.shape()[x.rank() - 1]);
    let small = x.tanh() * (0.2 / (m + n).max(1) as f64);
    small + T64::from_fn(&[m, n], |i| if i / n.max(1) == i % n.max(1) { 2.0 + 2.0 * (i % n) as f64 } else { 0.0 })
}

#[track_caller]
fn close(a: &T64, b: &T64, tolerance: f64) {
    assert_eq!(a.shape(), b.shape());
    let worst = (a - b).abs().as_slice().iter().fold(0.0f64, |worst, x| worst.max(*x));
    assert!(worst <= tolerance && (a - b).is_finite(), "{worst}: {a:?} {b:?}");
}

const FORMS: [Triangular; 8] = {
    let mut forms = [Triangular { upper: false, transposed: false, unit_diagonal: false, right: false }; 8];
    let mut i = 0;
    while i < 8 {
        forms[i] = Triangular { upper: i & 1 > 0, transposed: i & 2 > 0, unit_diagonal: i & 4 > 0, right: false };
        i += 1;
    }
    forms
};

/// The matrix that a form reads.
fn read(a: &T64, form: Triangular) -> T64 {
    let n = a.shape()[a.rank() - 1];
    let offset = isize::from(form.unit_diagonal);
    let triangle = if form.upper { a.triu(offset) } else { a.tril(-offset) };
    let whole = if form.unit_diagonal { triangle + T64::eye(n) } else { triangle };
    if form.transposed { whole.t() } else { whole }
}

#[test]
fn triangles() {
    let x = T64::from_fn(&[2, 3], |i| 1.0 + i as f64);
    assert_eq!(x.tril(0).to_vec(), [1.0, 0.0, 0.0, 4.0, 5.0, 0.0]);
    assert_eq!(x.tril(-1).to_vec(), [0.0, 0.0, 0.0, 4.0, 0.0, 0.0]);
    assert_eq!(x.triu(1).to_vec(), [0.0, 2.0, 3.0, 0.0, 0.0, 6.0]);
    assert_eq!((x.tril(isize::MAX), x.triu(isize::MIN)), (x.clone(), x.clone()));
    assert_eq!(x.tril(isize::MIN).sum().item(), 0.0);
    assert!(matches!(T64::zeros(&[2]).try_tril(0), Err(TensorError::Axis { operation: "tril", .. })));
    assert!(matches!(T64::zeros(&[2]).try_triu(0), Err(TensorError::Axis { operation: "triu", .. })));
}

#[test]
fn systems_of_many_rows_go_by_blocks() {
    for n in [31, 32, 33, 100] {
        let (a, b) = (regular(&random(&[n, n], 1)), random(&[n, 5], 2));
        for form in FORMS {
            // So small that ones on the diagonal rule.
            let small = &a * (0.3 / n as f64);
            close(&read(&small, form).matmul(&small.solve_triangular(&b, form)), &b, 1e-9);
        }
        close(&a.matmul(&a.solve(&b)), &b, 1e-10);
        close(&a.matmul(&a.inverse()), &T64::eye(n), 1e-10);
        let factor = definite(&a).cholesky();
        close(&factor.matmul(&factor.t()), &definite(&a), 1e-8);
        assert_eq!(factor, factor.tril(0));
    }
}

#[test]
fn a_right_side_may_be_a_vector_and_leading_axes_broadcast() {
    let (a, b) = (regular(&random(&[3, 2, 2], 1)), random(&[2], 2));
    assert_eq!(a.solve(&b).shape(), [3, 2]);
    assert_eq!(T64::eye(2).solve(&random(&[5, 1, 2, 4], 3)).shape(), [5, 1, 2, 4]);
    assert_eq!(a.solve_triangular(&random(&[4, 1, 2, 1], 3), Triangular::default()).shape(), [4, 3, 2, 1]);
    let rows = random(&[3, 4, 2], 5);
    let right = Triangular { right: true, ..Triangular::default() };
    close(&a.solve_triangular(&rows, right).matmul(&a.tril(0)), &rows, 1e-12);
    check_both("vector", |b| a.solve(b), &b);
    check_both("broadcast matrix", |a| regular(a).solve(&random(&[3, 2, 1], 4)), &random(&[2, 2], 6));
    check_both("right", |a| regular(a).solve_triangular(&rows, right), &random(&[2, 2], 6));
}

#[test]
fn what_cannot_be_factored_is_named() {
    use TensorError::{Argument, Axis, Mismatch, NotFinite, NotPositiveDefinite, Singular};
    let bad = T64::from_vec(vec![1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, -3.0], &[3, 3]).unwrap();
    let batch = T64::stack(&[T64::eye(3), bad], 0);
    assert_eq!(batch.try_cholesky().unwrap_err(), NotPositiveDefinite { matrix: 1, pivot: 2 });
    assert_eq!(T64::zeros(&[1, 1]).try_cholesky().unwrap_err(), NotPositiveDefinite { matrix: 0, pivot: 0 });
    let zero = T64::stack(&[T64::eye(2), T64::zeros(&[2, 2])], 0);
    let b = T64::ones(&[2, 1]);
    assert_eq!(zero.try_solve(&b).unwrap_err(), Singular { operation: "solve", matrix: 1, pivot: 0 });
    assert_eq!(T64::ones(&[2, 2]).try_inverse().unwrap_err(), Singular { operation: "inverse", matrix: 0, pivot: 1 });
    let form = Triangular::default();
    assert_eq!(zero.try_solve_triangular(&b, form).unwrap_err(), Singular { operation: "solve_triangular", matrix: 1, pivot: 0 });
    assert!(zero.try_solve_triangular(&b, Triangular { unit_diagonal: true, ..form }).is_ok());
    for bad in [f64::NAN, f64::INFINITY] {
        let x = T64::stack(&[T64::eye(2), T64::full(bad, &[2, 2])], 0);
        let found = |operation| NotFinite { operation, matrix: 1 };
        assert_eq!(x.try_cholesky().unwrap_err(), found("cholesky"));
        assert_eq!(x.try_solve(&b).unwrap_err(), found("solve"));
        assert_eq!(x.try_inverse().unwrap_err(), found("inverse"));
        assert_eq!(x.try_slogdet().unwrap_err(), found("slogdet"));
        assert_eq!(x.try_logdet().unwrap_err(), found("slogdet"));
        assert_eq!(x.try_symmetric_eigen().unwrap_err(), found("symmetric_eigen"));
        assert_eq!(x.try_svd().unwrap_err(), found("svd"));
    }
    let wide = T64::zeros(&[2, 3]);
    let mismatch = Mismatch { operation: "solve", left: vec![2, 2], right: vec![3, 1] };
    assert_eq!(T64::eye(2).try_solve(&T64::zeros(&[3, 1])).unwrap_err(), mismatch);
    let mismatch = Mismatch { operation: "solve", left: vec![3, 2, 2], right: vec![2, 2, 1] };
    assert_eq!(T64::zeros(&[3, 2, 2]).try_solve(&T64::zeros(&[2, 2, 1])).unwrap_err(), mismatch);
    assert!(matches!(wide.try_cholesky(), Err(Argument { operation: "cholesky", .. })));
    assert!(matches!(wide.try_inverse(), Err(Argument { operation: "inverse", .. })));
    assert!(matches!(wide.try_symmetric_eigen(), Err(Argument { operation: "symmetric_eigen", .. })));
    assert!(matches!(T64::zeros(&[2]).try_svd(), Err(Axis { operation: "svd", .. })));
    assert!(matches!(T64::eye(2).try_solve_triangular(&T64::zeros(&[2]), Triangular { right: true, ..form }), Err(Mismatch { .. })));
    // The right side's shape as it was given, though the transposed system is solved.
    let mismatch = Mismatch { operation: "solve_triangular", left: vec![2, 2], right: vec![4, 3] };
    assert_eq!(T64::eye(2).try_solve_triangular(&T64::zeros(&[4, 3]), Triangular { right: true, ..form }).unwrap_err(), mismatch);
}

#[test]
fn determinants() {
    let a = T64::from_vec(vec![0.0, 2.0, 3.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0], &[3, 2, 2]).unwrap();
    let (sign, log) = a.slogdet();
    assert_eq!(sign.to_vec(), [-1.0, 1.0, 0.0]);
    close(&log.narrow(0, 0, 2), &T64::vector(&[6f64.ln(), 0.0]), 1e-15);
    assert_eq!(log.to_vec()[2], f64::NEG_INFINITY);
    let values = a.logdet().to_vec();
    assert!(values[0].is_nan() && values[1..] == [0.0, f64::NEG_INFINITY]);
    // The gradient of log det is the transposed inverse, its derivative along V is -A⁻ᵀ Vᵀ A⁻ᵀ.
    let (a, v) = (regular(&random(&[3, 3], 1)), random(&[3, 3], 2));
    close(&grad(|a: &T64| a.logdet().sum(), &a), &a.inverse().t(), 1e-14);
    let expected = -a.inverse().t().matmul(&v.t()).matmul(&a.inverse().t());
    close(&hvp(|a: &T64| a.logdet().sum(), &a, &v), &expected, 1e-14);
    let (sign, log) = T64::zeros(&[2, 0, 0]).slogdet();
    assert_eq!((sign.to_vec(), log.to_vec()), (vec![1.0; 2], vec![0.0; 2]));
}

#[test]
fn derivatives_stack_and_keep_examples() {
    let x = random(&[2, 3, 3], 1);
    let b = random(&[2, 3, 2], 2);
    check_modes("cholesky", |x| definite(x).cholesky(), &x);
    check_modes("solve", |x| regular(x).solve(&b), &x);
    check_modes("solve right side", |b| regular(&x).solve(b).square(), &b);
    for form in FORMS {
        check_modes("solve_triangular", |x| regular(x).solve_triangular(&b, form), &x);
    }
    check_modes("inverse", |x| regular(x).inverse(), &x);
    check_modes("logdet", |x| definite(x).logdet(), &x);
    let packed = |parts: &[T64]| T64::concat(parts, 1);
    let eigen = |x: &T64| {
        let (values, vectors) = spread(x).symmetric_eigen();
        packed(&[values.unsqueeze(1), vectors])
    };
    check_modes("symmetric_eigen", eigen, &x);
    for (m, n) in [(3, 3), (3, 2), (2, 3)] {
        let svd = |x: &T64| {
            let (u, s, vt) = spread_rectangular(x).svd();
            packed(&[u, s.unsqueeze(1), vt.t()])
        };
        check_modes("svd", svd, &random(&[2, m, n], 3));
    }
    let (w, x) = (random(&[3, 3], 4) * 0.3, random(&[4, 3, 3], 5));
    let total = |y: &T64| y.square().reshape(&[y.shape()[0], y.count() / y.shape()[0]]).sum_axis(1);
    check_per_example(|w: &T64, x: &T64| total(&definite(&x.matmul(w)).cholesky()), &w, &x);
    check_per_example(|w: &T64, x: &T64| total(&regular(&x.matmul(w)).inverse()), &w, &x);
    check_per_example(|w: &T64, x: &T64| total(&regular(&x.matmul(w)).solve(x)), &w, &x);
    check_per_example(|w: &T64, x: &T64| definite(&x.matmul(w)).logdet(), &w, &x);
    check_per_example(|w: &T64, x: &T64| total(&spread(&x.matmul(w)).symmetric_eigen().1.narrow(-1, 0, 1)), &w, &x);
    check_per_example(|w: &T64, x: &T64| total(&spread_rectangular(&x.matmul(w)).svd().0.narrow(-1, 0, 1)), &w, &x);
}

#[test]
fn equal_eigenvalues_and_singular_values() {
    // The sum of squares of the eigenvalues is ‖A‖², and the sum of their exponentials the trace of the exponential.
    let a = T64::from_vec(vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 3.0], &[3, 3]).unwrap();
    close(&grad(|a: &T64| a.symmetric_eigen().0.square().sum(), &a), &(&a * 2.0), 1e-14);
    // A rotated copy, whose equal eigenvalues differ by rounding.
    let (q, _, _) = random(&[3, 3], 1).svd();
    let rotated = q.matmul(&a).matmul(&q.t());
    close(&grad(|a: &T64| a.symmetric_eigen().0.square().sum(), &rotated), &(&rotated * 2.0), 1e-13);
    // The projector on the subspace of the equal eigenvalues, against central differences.
    let weights = random(&[3, 3], 2);
    let projector = |a: &T64| {
        let vectors = a.symmetric_eigen().1.narrow(1, 0, 2);
        (vectors.matmul(&vectors.t()) * &weights).sum()
    };
    check::gradient(projector, &rotated, 1e-5, 1e-8).unwrap();
    // The polar factor of a matrix with equal singular values.
    let polar = |a: &T64| {
        let (u, _, vt) = a.svd();
        (u.matmul(&vt) * &weights).sum()
    };
    check::gradient(polar, &(&q * 2.0), 1e-5, 1e-8).unwrap();
    check::gradient(polar, &T64::eye(3), 1e-5, 1e-8).unwrap();
    // The nuclear norm's gradient is the polar factor, and finite at 0.
    let nuclear = |a: &T64| a.svd().1.sum();
    close(&grad(nuclear, &(&q * 2.0)), &q, 1e-14);
    assert!(grad(nuclear, &T64::zeros(&[3, 2])).is_finite());
    // Functions of what lies beside the zeros of a matrix of rank 1 stay right.
    let thin = random(&[4, 1], 3).matmul(&random(&[1, 3], 4));
    let top = |a: &T64| a.svd().1.narrow(0, 0, 1).sum();
    check::gradient(top, &thin, 1e-5, 1e-8).unwrap();
}

#[test]
fn singular_values_of_graded_matrices_are_accurate_to_the_least() {
    // Powers of two scale exactly, so the product of the singular values is known.
    for seed in 0..40 {
        let n = 2 + seed as usize % 5;
        let core = random(&[n, n], seed).tanh() * (0.5 / n as f64) + T64::eye(n);
        let exponents = (random(&[2, n], seed + 100) * 80.0).clamp(-240.0, 240.0).round();
        let powers = exponents.to_vec().iter().map(|e| 2f64.powi(*e as i32)).collect::<Vec<_>>();
        let graded = &core * T64::vector(&powers[..n]).unsqueeze(1) * T64::vector(&powers[n..]);
        let logarithms = graded.svd().1.ln().sum();
        let expected = core.slogdet().1 + exponents.sum() * 2f64.ln();
        close(&logarithms, &expected, 1e-10);
    }
}

#[test]
fn singular_values_at_the_ends_of_the_range() {
    let golden = (1.0 + 5f64.sqrt()) / 2.0;
    for scale in [1e-300, 1.0, 1e308] {
        let (u, s, vt) = T64::from_vec(vec![scale, 0.0, scale, scale], &[2, 2]).unwrap().svd();
        close(&(s / scale), &T64::vector(&[golden, 1.0 / golden]), 1e-14);
        close(&u.t().matmul(&u), &T64::eye(2), 1e-14);
        close(&vt.matmul(&vt.t()), &T64::eye(2), 1e-14);
    }
    // Equal, none but zeros, and a row as a matrix.
    let (_, q) = random(&[5, 5], 3).symmetric_eigen();
    close(&(q * 2.0).svd().1, &T64::full(2.0, &[5]), 1e-14);
    let (u, s, vt) = T64::zeros(&[4, 3]).svd();
    assert_eq!(s, T64::zeros(&[3]));
    assert_eq!((u.t().matmul(&u), vt.matmul(&vt.t())), (T64::eye(3), T64::eye(3)));
    let (u, s, vt) = T64::from_vec(vec![-3.0, 4.0], &[1, 2]).unwrap().svd();
    close(&T64::concat(&[u.reshape(&[1]), s, vt.reshape(&[2])], 0), &T64::vector(&[1.0, 5.0, -0.6, 0.8]), 1e-14);
}

#[test]
fn single_precision_is_factored_in_double() {
    let x = random(&[2, 5, 5], 1);
    let a = definite(&x);
    let single = a.cast::<f32>();
    let near = |found: Tensor, expected: T64| close(&found.cast(), &expected, 2e-5);
    near(single.cholesky(), a.cholesky());
    near(single.inverse(), a.inverse());
    near(single.symmetric_eigen().0, a.symmetric_eigen().0);
    near(single.svd().1, a.svd().1);
    near(single.logdet(), a.logdet());
    near(grad(|a: &Tensor| a.logdet().sum(), &single), grad(|a: &T64| a.logdet().sum(), &a));
}

#[test]
fn batches_give_the_same_bits_on_any_number_of_threads() {
    let (a, b) = (random(&[40, 20, 20], 1), random(&[40, 20, 3], 2));
    let all = || {
        let gradient = grad(|a: &T64| (definite(a).cholesky().sum() + regular(a).solve(&b).sum()) + a.svd().1.sum(), &a);
        [gradient, a.svd().0, definite(&a).symmetric_eigen().1, a.slogdet().1]
    };
    let run = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(all);
    assert!(run(1) == run(3));
}

mod properties {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::properties::config;

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn factors_multiply_to_the_matrix(lead in prop::collection::vec(0usize..3, 0..2), m in 0usize..8, n in 0usize..8, rank in 0usize..8, seed in 0u64..1000) {
            let shape = |matrix: &[usize]| [&lead[..], matrix].concat();
            let scale = 10f64.powi((seed % 13) as i32 - 6);
            let a = random(&shape(&[m, rank]), seed).matmul(&random(&shape(&[rank, n]), seed + 1)) * scale;
            let k = m.min(n);
            let identity = |n: usize| T64::eye(n).broadcast_to(&shape(&[n, n]));
            let (u, s, vt) = a.svd();
            close(&u.t().matmul(&u), &identity(k), 1e-12);
            close(&vt.matmul(&vt.t()), &identity(k), 1e-12);
            close(&(&u * s.unsqueeze(-2)).matmul(&vt), &a, 1e-12 * scale * 30.0);
            prop_assert!(s.as_slice().iter().all(|s| *s >= 0.0));
            prop_assert!(s.as_slice().chunks(k.max(1)).all(|s| s.is_sorted_by(|a, b| a >= b)));
            let square = a.matmul(&a.t());
            let (values, vectors) = square.symmetric_eigen();
            close(&vectors.t().matmul(&vectors), &identity(m), 1e-12);
            close(&(&vectors * values.unsqueeze(-2)).matmul(&vectors.t()), &square, 1e-12 * scale * scale * 900.0);
            prop_assert!(values.as_slice().chunks(m.max(1)).all(|s| s.is_sorted()));
            // The squares of the singular values are the eigenvalues of A Aᵀ.
            if m <= n && m > 0 {
                let reversed: Vec<usize> = (0..m).rev().collect();
                close(&values, &s.square().index_select(-1, &reversed), 1e-12 * scale * scale * 900.0);
            }
        }

        #[test]
        fn derivatives_of_both_orders(lead in prop::collection::vec(0usize..3, 0..2), n in 0usize..4, k in 0usize..3, form in 0usize..8, seed in 0u64..1000) {
            let shape = |matrix: &[usize]| [&lead[..], matrix].concat();
            let (x, b) = (random(&shape(&[n, n]), seed), random(&shape(&[n, k]), seed + 1));
            check_both("cholesky", |x| definite(x).cholesky(), &x);
            check_both("cholesky, not symmetric", |x| (x * 0.1 + T64::eye(n)).cholesky(), &x);
            let form = FORMS[form];
            check_both("solve_triangular", |x| regular(x).solve_triangular(&b, form), &x);
            check_both("solve_triangular right side", |b| regular(&x).solve_triangular(b, form).square(), &b);
            check_both("solve", |x| regular(x).solve(&b), &x);
            check_both("solve right side", |b| regular(&x).solve(b).square(), &b);
            check_both("inverse", |x| regular(x).inverse(), &x);
            check_both("slogdet", |x| (x.tanh() - T64::eye(n) * (2.0 * n as f64)).slogdet().1, &x);
            check_both("logdet", |x| definite(x).logdet(), &x);
            check_both("eigenvalues", |x| spread(x).symmetric_eigen().0.square(), &x);
            check_both("eigenvectors", |x| spread(x).symmetric_eigen().1, &x);
            check_both("tril", |x| x.tril(-1).square() + x.triu(1).sin(), &x);
        }

        #[test]
        fn derivatives_of_singular_values_and_vectors(lead in prop::collection::vec(0usize..3, 0..2), m in 0usize..4, n in 0usize..4, seed in 0u64..1000) {
            let x = random(&[&lead[..], &[m, n]].concat(), seed);
            check_both("singular values", |x| spread_rectangular(x).svd().1.square(), &x);
            check_both("left vectors", |x| spread_rectangular(x).svd().0, &x);
            check_both("right vectors", |x| spread_rectangular(x).svd().2, &x);
            check_both("all", |x| {
                let (u, s, vt) = spread_rectangular(x).svd();
                (u * s.ln_1p().unsqueeze(-2)).matmul(&vt)
            }, &x);
        }
    }
}
