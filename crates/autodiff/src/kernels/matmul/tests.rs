use proptest::prelude::*;

use super::*;

fn values<T: Scalar>(count: usize, seed: usize) -> Vec<T> {
    let mut x = seed as u32 + 1;
    let mut next = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        T::from_f64(f64::from(x >> 8) / f64::from(1 << 23) - 1.0)
    };
    (0..count).map(|_| next()).collect()
}

/// A factor whose memory ends with its last element, with lines that are `gap` further apart than they need be.
struct Stored<T> {
    values: Vec<T>,
    distance: usize,
    transposed: bool,
}

impl<T: Scalar> Stored<T> {
    fn new(rows: usize, columns: usize, gap: usize, transposed: bool) -> Self {
        let (lines, length) = if transposed { (columns, rows) } else { (rows, columns) };
        let distance = length + gap;
        let count = if lines == 0 { 0 } else { (lines - 1) * distance + length };
        let mut values = values(count, rows * 31 + columns);
        values.shrink_to_fit();
        Self { values, distance, transposed }
    }

    fn matrix(&self) -> Matrix<'_, T> {
        Matrix { values: &self.values, distance: self.distance, transposed: self.transposed }
    }

    fn get(&self, row: usize, column: usize) -> f64 {
        let place = if self.transposed { column * self.distance + row } else { row * self.distance + column };
        self.values[place].to_f64()
    }
}

#[derive(Debug, Clone, Copy)]
struct Case {
    size: [usize; 3],
    transposed: [bool; 2],
    gap: usize,
    add: bool,
    bias: bool,
}

/// Every kind of processor gives the sums of the definition, to the rounding of plain summation; touches nothing between the rows of the
/// output; and gives the same bits for every number of threads.
fn check<T: Scalar>(case: Case) {
    let Case { size: [m, n, k], transposed: [ta, tb], gap, add, bias } = case;
    let (a, b) = (Stored::<T>::new(m, k, gap, ta), Stored::<T>::new(k, n, gap, tb));
    let (before, row) = (values::<T>(m * (n + gap), 5), values::<T>(n, 6));
    let finish = Finish { add, bias: bias.then_some(&row[..]) };
    for processor in Processor::kinds() {
        let run = |threads: usize| {
            let mut out = before.clone();
            multiply_on(processor, case.size, a.matrix(), b.matrix(), &mut out, n + gap, finish, threads);
            out
        };
        let out = run(1);
        for (place, (&found, &old)) in out.iter().zip(&before).enumerate() {
            let (i, j) = (place / (n + gap), place % (n + gap));
            if j >= n {
                assert_eq!(found, old, "{processor:?} {case:?}: beyond row {i}");
                continue;
            }
            let start = f64::from(u8::from(add)) * old.to_f64() + f64::from(u8::from(bias)) * row[j].to_f64();
            let (sum, size) = (0..k).fold((start, 2.0), |(sum, size), t| {
                let term = a.get(i, t) * b.get(t, j);
                (sum + term, size + term.abs())
            });
            let error = (found.to_f64() - sum).abs();
            assert!(error <= (k + 2) as f64 * T::EPSILON.to_f64() * size, "{processor:?} {case:?}: [{i}, {j}] is {found}, not {sum}");
        }
        assert!([2, 3, 5].into_iter().all(|threads| run(threads) == out), "{processor:?} {case:?}: threads");
    }
}

fn check_both(case: Case) {
    check::<f32>(case);
    check::<f64>(case);
}

#[test]
fn sizes_around_tiles_and_blocks() {
    let sides: &[usize] = if cfg!(miri) { &[1, 5, 9] } else { &[1, 2, 4, 6, 7, 8, 12, 13, 14, 15, 16, 17, 29, 31, 32, 33, 64, 65, 97] };
    for &side in sides {
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            for size in [[side, 17, 19], [13, side, 18], [15, 33, side]] {
                check_both(Case { size, transposed: [ta, tb], gap: 0, add: side % 2 == 0, bias: side % 3 == 0 });
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore)]
fn sizes_beyond_a_block() {
    for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
        for size in [[3, 5, 600], [530, 20, 30], [20, 530, 30], [300, 130, 257]] {
            check::<f32>(Case { size, transposed: [ta, tb], gap: 3, add: ta, bias: tb });
        }
        // Enough work for several threads.
        check::<f32>(Case { size: [70, 577, 130], transposed: [ta, tb], gap: 0, add: false, bias: true });
        check::<f64>(Case { size: [577, 70, 130], transposed: [ta, tb], gap: 1, add: true, bias: false });
    }
}

#[test]
#[cfg_attr(miri, ignore)]
fn large_products() {
    let size @ [m, n, k] = [LARGE[0] + 1, LARGE[1] + 3, LARGE[2] + 5];
    let (a, b) = (values::<f32>(m * k, 1), values::<f32>(k * n, 2));
    let (a, b) = (Matrix { values: &a, distance: k, transposed: false }, Matrix { values: &b, distance: n, transposed: false });
    let before = values::<f32>(m * n, 3);
    for add in [false, true] {
        let run = |threads: usize| {
            let mut out = before.clone();
            multiply(size, a, b, &mut out, n, Finish { add, bias: None }, threads);
            out
        };
        let mut expected = before.clone();
        multiply_on(Processor::Portable, size, a, b, &mut expected, n, Finish { add, bias: None }, 1);
        let out = run(1);
        assert!(out.iter().zip(&expected).all(|(x, y)| (x - y).abs() < 1e-4));
        assert!([2, 3, 5].into_iter().all(|threads| run(threads) == out));
    }
}

#[test]
#[should_panic(expected = "assertion failed")]
fn factors_that_are_too_short_are_refused() {
    let short = Matrix { values: &[1.0f32; 5], distance: 3, transposed: false };
    let fits = Matrix { values: &[1.0f32; 6], distance: 2, transposed: false };
    multiply([2, 2, 3], short, fits, &mut [0.0; 4], 2, Finish::default(), 1);
}

mod properties {
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 200 }))]

        #[test]
        fn products_are_those_of_the_definition(
            size in prop::array::uniform3(0usize..if cfg!(miri) { 8 } else { 71 }),
            transposed in any::<[bool; 2]>(),
            gap in 0usize..4,
            add in any::<bool>(),
            bias in any::<bool>(),
        ) {
            check_both(Case { size, transposed, gap, add, bias });
        }
    }
}
