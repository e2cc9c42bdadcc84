//! Running sums and orders along an axis.

use super::{T64, check_both, check_modes, check_per_example, random};
use crate::{SortOrder, Tensor, TensorError, grad};

#[test]
fn running_sums_by_hand() {
    let x = T64::from_fn(&[2, 3], |i| i as f64);
    assert_eq!(x.cumsum(0).to_vec(), [0.0, 1.0, 2.0, 3.0, 5.0, 7.0]);
    assert_eq!(x.cumsum(-1).to_vec(), [0.0, 1.0, 3.0, 3.0, 7.0, 12.0]);
    assert_eq!(x.cumsum_reversed(0).to_vec(), [3.0, 5.0, 7.0, 3.0, 4.0, 5.0]);
    assert_eq!(x.cumsum_reversed(1).to_vec(), [3.0, 3.0, 2.0, 12.0, 9.0, 5.0]);
    assert!(matches!(x.try_cumsum(2), Err(TensorError::Axis { operation: "cumsum", axis: 2, .. })));
    assert!(matches!(x.try_cumsum_reversed(-3), Err(TensorError::Axis { .. })));
}

#[test]
fn long_running_sums_on_any_number_of_threads() {
    // Whole numbers, whose sums are exact: lines of one block, of several, and rows wider than a block.
    for shape in [[1, 200_001, 1], [3, 70_000, 1], [2, 300, 301], [1, 40, 40_000], [5000, 40, 1]] {
        let [outer, n, inner] = shape;
        let x = T64::from_fn(&shape, |i| (i % 7) as f64 - 2.0);
        let mut expected = x.to_vec();
        for (o, i, j) in (0..outer).flat_map(|o| (1..n).flat_map(move |i| (0..inner).map(move |j| (o, i, j)))) {
            expected[(o * n + i) * inner + j] += expected[(o * n + i - 1) * inner + j];
        }
        let all = || [x.cumsum(1), x.cumsum_reversed(1)];
        let run = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(all);
        let [sums, reversed] = run(1);
        assert!(sums.to_vec() == expected, "{shape:?}");
        let total = x.sum_keep(1);
        assert!(reversed == total - &sums + &x, "{shape:?}, reversed");
        let uneven = (&x * 0.1).cast::<f32>();
        let bits = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| [uneven.cumsum(1), uneven.cumsum_reversed(1)])
        };
        assert!(bits(1) == bits(3), "{shape:?}");
    }
}

#[test]
fn orders_by_hand() {
    let nan = f64::NAN;
    let x = T64::from_vec(vec![2.0, nan, 1.0, 2.0, -0.0, 0.0, f64::INFINITY, f64::NEG_INFINITY], &[2, 4]).unwrap();
    assert_eq!(x.argsort(1, SortOrder::Ascending), [2, 0, 3, 1, 3, 0, 1, 2]);
    assert_eq!(x.argsort(1, SortOrder::Descending), [1, 0, 3, 2, 2, 0, 1, 3]);
    assert_eq!(x.argsort(0, SortOrder::Ascending), [1, 1, 0, 1, 0, 0, 1, 0]);
    let (values, positions) = x.top_k(2, -1);
    assert!(values.as_slice()[0].is_nan() && values.to_vec()[1..] == [2.0, f64::INFINITY, -0.0]);
    assert_eq!(positions, [1, 0, 2, 0]);
    assert_eq!((x.argmax(1), x.argmin(1)), (vec![1, 2], vec![1, 3]));
    assert_eq!((x.argmax(0), x.argmin(0)), (vec![0, 0, 1, 0], vec![1, 0, 0, 1]));
    let tied = T64::vector(&[1.0, 3.0, 3.0, 1.0]);
    assert_eq!((tied.argmax(0), tied.argmin(0), tied.top_k(3, 0).1), (vec![1], vec![0], vec![1, 2, 0]));
    assert_eq!(grad(|x: &T64| x.top_k(1, 0).0.sum(), &tied).to_vec(), [0.0, 1.0, 0.0, 0.0]);
    assert_eq!((tied.top_k(0, 0).0.shape(), tied.top_k(0, 0).1), (&[0][..], vec![]));
}

#[test]
fn orders_that_do_not_exist() {
    let x = T64::zeros(&[2, 0]);
    assert!(matches!(x.try_sort(2, SortOrder::Ascending), Err(TensorError::Axis { operation: "sort", .. })));
    assert!(matches!(x.try_argsort(2, SortOrder::Ascending), Err(TensorError::Axis { operation: "argsort", .. })));
    assert!(matches!(x.try_top_k(3, 0), Err(TensorError::Argument { operation: "top_k", .. })));
    assert!(matches!(x.try_top_k(1, 2), Err(TensorError::Axis { .. })));
    assert!(matches!(x.try_argmax(1), Err(TensorError::Argument { operation: "argmax", .. })));
    assert!(matches!(x.try_argmin(1), Err(TensorError::Argument { operation: "argmin", .. })));
    assert!(matches!(T64::scalar(1.0).try_argmin(0), Err(TensorError::Axis { .. })));
    assert!(x.argmax(0).is_empty());
    assert_eq!(x.sort(1, SortOrder::Descending).0.shape(), [2, 0]);
}

#[test]
fn long_lines_are_sorted_on_any_number_of_threads() {
    let values: Vec<f32> = (0..150_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as f32).collect();
    let x = Tensor::vector(&values);
    let sorted = || (x.argsort(0, SortOrder::Ascending), x.reshape(&[3, 50_000]).top_k(100, 1));
    let run = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(sorted);
    let (order, top) = run(1);
    // Stable: equal values, of which there are many, in their order.
    let mut expected: Vec<usize> = (0..values.len()).collect();
    expected.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    assert!(order == expected);
    assert!(run(3) == (order, top));
}

#[test]
fn running_sums_and_orders_stack_and_keep_examples() {
    let x = random(&[4, 3], 1);
    check_modes("cumsum", |x| x.cumsum(0).square(), &x);
    check_modes("cumsum_reversed", |x| x.cumsum_reversed(1).square(), &x);
    check_modes("sort", |x| x.sort(0, SortOrder::Descending).0.square(), &x);
    check_modes("top_k", |x| x.top_k(2, 1).0.square(), &x);
    let w = random(&[3, 3], 2);
    check_per_example(|w: &T64, x: &T64| x.matmul(w).cumsum(1).square().sum_axis(1), &w, &x);
    check_per_example(|w: &T64, x: &T64| x.matmul(w).sort(-1, SortOrder::Ascending).0.cumsum(1).square().sum_axis(1), &w, &x);
    check_per_example(|w: &T64, x: &T64| x.matmul(w).top_k(2, -1).0.square().sum_axis(1), &w, &x);
}

mod properties {
    use proptest::prelude::*;

    use super::*;
    use crate::check::strategies;
    use crate::tests::properties::config;

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn running_sums_and_orders(shape in strategies::shape(3, 4), axis in 0usize..3, seed in 0u64..1000) {
            prop_assume!(!shape.is_empty());
            let axis = (axis % shape.len()) as isize;
            let x = random(&shape, seed);
            let n = shape[axis as usize];
            check_both("cumsum", |x| x.cumsum(axis).square(), &x);
            check_both("cumsum_reversed", |x| x.cumsum_reversed(axis).square(), &x);
            check_both("sort", |x| x.sort(axis, SortOrder::Ascending).0.square(), &x);
            check_both("top_k", |x| x.top_k(n / 2, axis).0.square(), &x);
            let (values, positions) = x.sort(axis, SortOrder::Descending);
            prop_assert_eq!(&x.gather(axis, &positions, &shape), &values);
            prop_assert_eq!(x.argsort(axis, SortOrder::Descending), positions);
            prop_assert_eq!(x.top_k(n, axis).0, values.clone());
            prop_assert_eq!(x.top_k(n / 2, axis).0, values.narrow(axis, 0, n / 2));
            let reversed: Vec<usize> = (0..n).rev().collect();
            prop_assert_eq!(x.sort(axis, SortOrder::Ascending).0, values.index_select(axis, &reversed));
            prop_assert!(values.narrow(axis, 0, n.saturating_sub(1)).ge(&values.narrow(axis, n.min(1), n.saturating_sub(1))).as_slice().iter().all(|x| *x == 1.0));
            if n > 0 {
                let mut one = shape.clone();
                one[axis as usize] = 1;
                prop_assert_eq!(x.gather(axis, &x.argmax(axis), &one).to_vec(), x.max_axis(axis).to_vec());
                prop_assert_eq!(x.gather(axis, &x.argmin(axis), &one).to_vec(), x.min_axis(axis).to_vec());
            }
        }
    }
}
