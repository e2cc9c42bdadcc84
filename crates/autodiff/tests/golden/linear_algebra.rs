use gradus_autodiff::{Tensor, Triangular, grad, hvp};

use crate::case::Golden;

type T64 = Tensor<f64>;

/// A function's name there, its input, and ours of the input and the right sides.
type Function = (&'static str, &'static str, fn(&T64, &T64) -> T64);

fn definite(x: &T64) -> T64 {
    x.matmul(&x.t()) + Tensor::eye(4)
}

fn symmetric(x: &T64) -> T64 {
    x + &x.t()
}

fn svd_product(x: &T64) -> T64 {
    let (u, s, vt) = x.svd();
    (u * s.ln().unsqueeze(-2)).matmul(&vt)
}

const LOWER: Triangular = Triangular { upper: false, transposed: false, unit_diagonal: false, right: false };

const FUNCTIONS: [Function; 15] = [
    ("cholesky", "square", |x, _| definite(x).cholesky()),
    ("solve", "square", |x, b| x.solve(b)),
    ("solve_lower", "square", |x, b| x.solve_triangular(b, LOWER)),
    ("solve_upper_unit", "square", |x, b| x.solve_triangular(b, Triangular { upper: true, unit_diagonal: true, ..LOWER })),
    ("solve_right", "square", |x, b| x.solve_triangular(&b.t(), Triangular { upper: true, right: true, ..LOWER })),
    ("inverse", "square", |x, _| x.inverse()),
    ("slogdet", "square", |x, _| x.slogdet().1),
    ("logdet", "square", |x, _| definite(x).logdet()),
    ("eigenvalues", "square", |x, _| symmetric(x).symmetric_eigen().0),
    ("eigenvectors", "square", |x, _| symmetric(x).symmetric_eigen().1.square()),
    ("singular_values", "tall", |x, _| x.svd().1),
    ("svd_tall", "tall", |x, _| svd_product(x)),
    ("svd_wide", "wide", |x, _| svd_product(x)),
    ("left_vectors", "tall", |x, _| x.svd().0.square()),
    ("right_vectors", "wide", |x, _| x.svd().2.square()),
];

#[test]
fn factorisations_and_systems() {
    let golden = Golden::open("linear_algebra");
    let b = golden.get("b");
    for (name, input, f) in FUNCTIONS {
        let (x, weights) = (golden.get(input), golden.get(&format!("{name}.weights")));
        let loss = |x: &T64| (f(x, &b).square() * &weights).sum();
        golden.agrees(&format!("{name}.y"), &f(&x, &b), 1e-12);
        golden.agrees(&format!("{name}.gradient"), &grad(loss, &x), 1e-10);
        golden.agrees(&format!("{name}.second"), &hvp(loss, &x, &x.ones_like()), 1e-9);
    }
    golden.agrees("slogdet.sign", &golden.get("square").slogdet().0, 0.0);
}
