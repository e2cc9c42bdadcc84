use gradus_autodiff::{Attention, AttentionMask, RecurrentWeights, Tensor, grad, hvp};

use crate::case::Golden;

type T64 = Tensor<f64>;

fn cosines(like: &T64) -> T64 {
    T64::from_fn(like.shape(), |i| (i as f64).cos())
}

/// The value, and both orders of derivative of Σ value² · weights with respect to each operand.
fn check(golden: &Golden, case: &str, names: &[&str], f: impl Fn(&[T64]) -> T64) {
    let operands: Vec<T64> = names.iter().map(|name| golden.get(&format!("{case}.{name}"))).collect();
    let value = f(&operands);
    golden.agrees(&format!("{case}.output"), &value, 1e-12);
    let weights = cosines(&value);
    let loss = |operands: &Vec<T64>| (f(operands).square() * &weights).sum();
    let gradients = grad(loss, &operands);
    let seconds = hvp(loss, &operands, &operands.iter().map(cosines).collect());
    for ((name, gradient), second) in names.iter().zip(&gradients).zip(&seconds) {
        golden.agrees(&format!("{case}.{name}.gradient"), gradient, 1e-11);
        golden.agrees(&format!("{case}.{name}.second"), second, 1e-10);
    }
}

#[test]
fn attention() {
    let golden = Golden::open("sequence");
    let padding = golden.get("padding");
    let attend =
        |x: &[T64], mask: AttentionMask<'_, f64>, scale| x[0].scaled_dot_product_attention(&x[1], &x[2], &Attention { mask, scale });
    let names = ["query", "key", "value"];
    check(&golden, "scaled", &names, |x| attend(x, AttentionMask::None, Some(0.3)));
    check(&golden, "causal", &names, |x| attend(x, AttentionMask::Causal, None));
    check(&golden, "cached", &names, |x| attend(x, AttentionMask::Causal, None));
    check(&golden, "grouped", &names, |x| attend(x, AttentionMask::None, None));
    check(&golden, "grouped causal", &names, |x| attend(x, AttentionMask::Causal, None));
    check(&golden, "padded", &names, |x| attend(x, AttentionMask::Additive(&padding), None));
    check(&golden, "masked", &["query", "key", "value", "mask"], |x| attend(x, AttentionMask::Additive(&x[3]), None));
}

#[test]
fn embedding() {
    let golden = Golden::open("sequence");
    let indices = golden.indices("indices");
    check(&golden, "embedding", &["table"], |x| x[0].embedding(&indices, &[2, 3]));
}

#[test]
fn recurrent_layers() {
    let golden = Golden::open("sequence");
    let weights = ["input", "hidden", "input_bias", "hidden_bias"];
    let layer = |x: &'_ [T64], f: &dyn Fn(&RecurrentWeights<'_, f64>) -> T64| {
        f(&RecurrentWeights { input: &x[0], hidden: &x[1], input_bias: Some(&x[2]), hidden_bias: Some(&x[3]) })
    };
    let rows = |y: &T64| y.reshape(&[3, y.count() / 3]);
    for (suffix, lengths) in [("", None), (" of lengths", Some(&[4usize, 2, 3][..]))] {
        let names = [&["x", "state", "cell"], &weights[..]].concat();
        check(&golden, &format!("lstm{suffix}"), &names, |x| {
            layer(&x[3..], &|w| {
                let (y, [h, c]) = x[0].lstm(w, Some([&x[1], &x[2]]), lengths);
                T64::concat(&[rows(&y), h, c], 1)
            })
        });
        let names = [&["x", "state"], &weights[..]].concat();
        check(&golden, &format!("gru{suffix}"), &names, |x| {
            layer(&x[2..], &|w| {
                let (y, h) = x[0].gru(w, Some(&x[1]), lengths);
                T64::concat(&[rows(&y), h], 1)
            })
        });
    }
}
