use gradus_autodiff::{SortOrder, Tensor, grad};

use crate::case::Golden;

/// A function's name there, and ours.
type Function = (&'static str, fn(&Tensor<f64>) -> Tensor<f64>);

const FUNCTIONS: [Function; 6] = [
    ("cumsum.0", |x| x.cumsum(0)),
    ("cumsum.1", |x| x.cumsum(1)),
    ("cumsum_reversed.2", |x| x.cumsum_reversed(2)),
    ("sort.1", |x| x.sort(1, SortOrder::Ascending).0),
    ("sort_descending.2", |x| x.sort(2, SortOrder::Descending).0),
    ("top_k.1", |x| x.top_k(2, 1).0),
];

#[test]
fn running_sums_and_orders() {
    let golden = Golden::open("sort_scan");
    let x = golden.get("x");
    for (name, f) in FUNCTIONS {
        let weights = golden.get(&format!("{name}.weights"));
        golden.agrees(&format!("{name}.y"), &f(&x), 1e-14);
        golden.agrees(&format!("{name}.gradient"), &grad(|x: &Tensor<f64>| (f(x).square() * &weights).sum(), &x), 1e-13);
    }
    assert_eq!(golden.indices("sort.1.positions"), x.argsort(1, SortOrder::Ascending));
    assert_eq!(golden.indices("top_k.1.positions"), x.top_k(2, 1).1);
    assert_eq!(golden.indices("argmax.2"), x.argmax(2));
    assert_eq!(golden.indices("argmin.0"), x.argmin(0));
    let nan = f64::NAN;
    let odd = Tensor::vector(&[2.0, nan, 1.0, 2.0, -0.0, 0.0, f64::INFINITY, nan]);
    assert_eq!(golden.indices("odd.ascending"), odd.argsort(0, SortOrder::Ascending));
    assert_eq!(golden.indices("odd.descending"), odd.argsort(0, SortOrder::Descending));
    assert_eq!(golden.indices("odd.argmax"), odd.argmax(0));
    assert_eq!(golden.indices("odd.argmin"), odd.argmin(0));
}
