use proptest::prelude::*;

use crate::tests::{T64, check_both, check_modes, check_per_example, random};
use crate::*;

#[test]
fn an_index_beyond_the_vocabulary_is_named_with_its_place() {
    let table = T64::zeros(&[5, 3]);
    let index = |operation, index, position, size| Some(TensorError::Index { operation, index, position, size });
    let error = table.try_embedding(&[0, 4, 5, 9], &[2, 2]).err();
    assert_eq!(error, index("embedding", 5, 2, 5));
    assert_eq!(error.unwrap().to_string(), "embedding: index 5 at position 2 is not below 5");
    assert_eq!(table.try_embedding_of(&T64::vector(&[1.0, 7.0])).err(), index("embedding", 7, 1, 5));
    assert_eq!(table.try_index_select(1, &[2, 3]).err(), index("index_select", 3, 1, 3));
    assert_eq!(table.try_scatter_add(1, &[0, 1, 8], 4).err(), index("scatter_add", 8, 2, 4));
    assert_eq!(table.try_gather(0, &[1, 2, 6], &[1, 3]).err(), index("gather", 6, 2, 5));
    assert_eq!(table.try_embedding(&[0], &[2]).err(), Some(TensorError::Count { shape: vec![2], found: 1 }));
    let scalar = TensorError::Axis { operation: "embedding", axis: 0, shape: vec![] };
    assert_eq!(T64::scalar(1.0).try_embedding(&[0], &[1]).err(), Some(scalar));
    assert!(matches!(table.try_embedding(&[], &[0, usize::MAX, 2]), Err(TensorError::TooLarge { .. })));
    assert!(matches!(T64::zeros(&[0, 3]).try_embedding(&[0], &[1]), Err(TensorError::Index { size: 0, .. })));
    for bad in [-1.0, 0.5, f64::NAN, f64::INFINITY] {
        let error = table.try_embedding_of(&T64::vector(&[0.0, bad])).err();
        assert!(matches!(error, Some(TensorError::Argument { operation: "embedding", .. })), "{bad}: {error:?}");
    }
}

#[test]
fn examples_hold_the_rows_which_they_use() {
    let tokens = T64::from_vec(vec![0.0, 2.0, 2.0, 3.0, 1.0, 3.0, 0.0, 0.0, 0.0], &[3, 3]).unwrap();
    let table = random(&[4, 2], 1);
    let weights = random(&[3, 2], 2);
    check_per_example(|e: &T64, t: &T64| (e.embedding_of(t) * &weights).tanh().square().sum_axis(2).sum_axis(1), &table, &tokens);
    // A large vocabulary, where inner products of rows are cheaper than those of gradients.
    check_per_example(
        |e: &T64, t: &T64| (e.embedding_of(t) * &weights).tanh().square().sum_axis(2).sum_axis(1),
        &random(&[90, 2], 3),
        &tokens,
    );
    // Used twice, and tied to the output: factors of both kinds.
    let tied = |e: &T64, t: &T64| {
        let h = e.embedding_of(t).tanh() + e.embedding_of(t).square();
        h.linear(e, None).softmax().square().sum_axis(2).sum_axis(1)
    };
    check_per_example(tied, &table, &tokens);
    check_per_example(tied, &random(&[300, 2], 4), &tokens);
    // Rows chosen by captured indices.
    let flat =
        |e: &T64, x: &T64| (e.embedding(&[3, 3].repeat(x.shape()[0]), &[x.shape()[0], 2]).sum_axis(1) * x.narrow(1, 0, 2)).sum_axis(1);
    check_per_example(flat, &table, &random(&[3, 2], 5));
}

#[test]
fn norms_of_rows_are_differentiated() {
    let tokens = T64::from_vec(vec![0.0, 2.0, 2.0, 1.0], &[2, 2]).unwrap();
    let loss = |table: &T64, tokens: &T64| table.embedding_of(tokens).square().sum_axis(2).sum_axis(1);
    let each = |table: &T64| per_example(loss, table, &tokens).unwrap();
    let table = random(&[3, 2], 1);
    check_both("norms", |table| each(table).squared_norms(), &table);
    check_both("gram", |table| each(table).gram(), &table);
    check_both("gradients", |table| each(table).gradients(), &table);
    check_both("sum of squares", |table| each(table).sum_of_squares(), &table);
    check_both("weighted sum", |table| each(table).weighted_sum(&T64::vector(&[0.3, -1.2])), &table);
}

#[test]
fn the_same_bits_on_any_number_of_threads() {
    let table: Tensor = Tensor::from_fn(&[700, 40], |i| (i as f32 * 0.37).sin());
    let indices: Vec<usize> = (0..9000).map(|i| (i * i + 3 * i) % 700).collect();
    let weights: Tensor = Tensor::from_fn(&[9000, 40], |i| (i as f32 * 0.11).cos());
    let all = || {
        let rows = table.embedding(&indices, &[9000]);
        let gradient = grad(|table: &Tensor| (table.embedding(&indices, &[9000]) * &weights).sum(), &table);
        let inner = weights.reshape(&[4, 90, 1000]).scatter_add(1, &indices[..90], 700);
        (rows, gradient, inner)
    };
    let run = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(all);
    let one = run(1);
    assert_eq!(one.0.narrow(0, 8999, 1).as_slice(), table.narrow(0, indices[8999], 1).as_slice());
    for threads in [2, 3, 7] {
        assert!(one == run(threads), "{threads} threads");
    }
}

mod properties {
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn embedding(vocabulary in 1usize..5, width in prop::collection::vec(0usize..4, 0..2), shape in prop::collection::vec(0usize..4, 0..3), seed in 0u64..1000) {
            let table = random(&[&[vocabulary], &width[..]].concat(), seed);
            let indices: Vec<usize> = (0..shape.iter().product()).map(|i| (i * 7 + i * i + seed as usize) % vocabulary).collect();
            check_both("embedding", |table| table.embedding(&indices, &shape).square(), &table);
            check_modes("embedding", |table| table.embedding(&indices, &shape).square(), &table);
            let each = table.embedding(&indices, &shape);
            let inner: usize = width.iter().product();
            for (i, &index) in indices.iter().enumerate() {
                prop_assert_eq!(&each.as_slice()[i * inner..(i + 1) * inner], &table.as_slice()[index * inner..(index + 1) * inner]);
            }
        }
    }
}
