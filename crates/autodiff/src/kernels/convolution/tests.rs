//! Every way of convolution against the definition, on whole numbers, which all ways add without rounding.

use proptest::prelude::*;

use super::*;

fn places(sizes: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    let [a, b, c] = sizes;
    (0..a * b * c).map(move |i| [i / (b * c), i / c % b, i % c])
}

fn offset(place: [usize; 3], sizes: [usize; 3]) -> usize {
    (place[0] * sizes[1] + place[1]) * sizes[2] + place[2]
}

/// Calls `f(place in y, place in x, place in w)` for each product of the sum that defines `y`.
fn each_product(g: &Geometry, mut f: impl FnMut(usize, usize, usize)) {
    let [pixels, positions, entries] = [g.input, g.output, g.kernel].map(|sizes| sizes.iter().product::<usize>());
    for (unit, filter, channel) in
        (0..g.batch * g.groups).flat_map(|u| (0..g.filters).flat_map(move |f| (0..g.channels).map(move |c| (u, f, c))))
    {
        for (o, k) in places(g.output).flat_map(|o| places(g.kernel).map(move |k| (o, k))) {
            let at: [usize; 3] = std::array::from_fn(|i| (o[i] * g.stride[i] + k[i] * g.dilation[i]).wrapping_sub(g.padding[i]));
            if (0..3).all(|i| at[i] < g.input[i]) {
                let weight = (unit % g.groups * g.filters + filter) * g.channels + channel;
                let (y, x) = ((unit * g.filters + filter) * positions, (unit * g.channels + channel) * pixels);
                f(y + offset(o, g.output), x + offset(at, g.input), weight * entries + offset(k, g.kernel));
            }
        }
    }
}

fn whole<T: Scalar>(count: usize, seed: usize) -> Vec<T> {
    (0..count).map(|i| T::from_f64(((i + seed).wrapping_mul(2_654_435_761) >> 7 & 7) as f64 - 3.0)).collect()
}

/// Output, images and filters by the definition, and by all ways that the processor has.
fn check<T: Scalar>(g: Geometry) {
    let [pixels, positions, entries] = [g.input, g.output, g.kernel].map(|sizes| sizes.iter().product::<usize>());
    let units = g.batch * g.groups;
    let (x, dy) = (whole::<T>(units * g.channels * pixels, 1), whole::<T>(units * g.filters * positions, 2));
    let w = whole::<T>(g.groups * g.filters * g.channels * entries, 3);
    let (y_bias, x_bias) = (whole::<T>(g.groups * g.filters, 4), whole::<T>(g.groups * g.channels, 5));
    let start = |bias: &[T], size: usize| {
        (0..units).flat_map(|unit| part(bias, unit % g.groups, bias.len() / g.groups)).flat_map(|&b| vec![b; size]).collect::<Vec<T>>()
    };
    let (mut y, mut dx, mut dw) = (start(&y_bias, positions), start(&x_bias, pixels), vec![T::ZERO; w.len()]);
    each_product(&g, |at_y, at_x, at_w| {
        y[at_y] += x[at_x] * w[at_w];
        dx[at_x] += dy[at_y] * w[at_w];
        dw[at_w] += dy[at_y] * x[at_x];
    });
    let all = |way: &str, found: [Buffer<T>; 3]| {
        for (found, expected) in found.iter().zip([&y, &dx, &dw]) {
            assert!(found[..] == expected[..], "{way}: {g:?}");
        }
    };
    all("chosen", [g.convolve(&x, &w, Some(&y_bias)), g.convolve_transposed(&dy, &w, Some(&x_bias)), g.correlate(&x, &dy)]);
    all("patches", [g.convolve_patches(&x, &w, Some(&y_bias)), g.transpose_patches(&dy, &w, Some(&x_bias)), g.correlate_patches(&x, &dy)]);
    for tile in T::row_tiles().into_iter().flatten() {
        let [filter, channel] = g.weight_steps();
        if let (Some(output), Some(images)) = (g.output_directly(tile), g.images_directly(tile)) {
            all(
                "direct",
                [
                    output.run(&g, &x, &w, [filter, channel], Some(&y_bias)),
                    images.run(&g, &dy, &w, [channel, filter], Some(&x_bias)),
                    output.filters(&g, &x, &dy),
                ],
            );
        }
    }
}

/// A geometry whose output has the size that belongs to the rest, if it has one.
fn with_output(mut g: Geometry) -> Option<Geometry> {
    for i in 0..3 {
        let room = (g.input[i] + 2 * g.padding[i]).checked_sub((g.kernel[i] - 1) * g.dilation[i] + 1)?;
        g.output[i] = room / g.stride[i] + 1;
    }
    Some(g)
}

#[test]
fn shapes_of_networks() {
    let g = |[batch, channels, filters]: [usize; 3], size: usize, kernel: usize, stride: usize| {
        let square = |n: usize| [1, n, n];
        let (stride, padding) = (square(stride), [0, kernel / 2, kernel / 2]);
        let rest = Geometry {
            batch,
            groups: 1,
            channels,
            filters,
            input: square(size),
            kernel: square(kernel),
            stride,
            padding,
            dilation: [1; 3],
            output: [0; 3],
        };
        with_output(rest).unwrap()
    };
    let sizes = if cfg!(miri) {
        vec![g([1, 2, 3], 4, 3, 1)]
    } else {
        vec![g([2, 3, 20], 14, 5, 1), g([17, 1, 32], 9, 5, 1), g([1, 33, 65], 16, 3, 1), g([2, 16, 7], 15, 3, 2), g([3, 5, 48], 30, 1, 1)]
    };
    for size in sizes {
        check::<f32>(size);
        check::<f64>(size);
    }
}

mod properties {
    use super::*;

    fn three(sizes: [std::ops::Range<usize>; 3]) -> impl Strategy<Value = [usize; 3]> {
        sizes
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 96 }, ..ProptestConfig::default() })]

        #[test]
        fn agree_with_the_definition(
            batch in 0usize..4, groups in 1usize..3, channels in 0usize..5, filters in 0usize..36, input in three([1..3, 1..5, 1..20]),
            kernel in three([1..3, 1..4, 1..6]), stride in three([1..3, 1..4, 1..4]), padding in three([0..2, 0..3, 0..5]),
            dilation in three([1..3, 1..3, 1..4]), swap: bool,
        ) {
            let (channels, filters) = if swap { (filters, channels) } else { (channels, filters) };
            let g = Geometry { batch, groups, channels, filters, input, kernel, stride, padding, dilation, output: [0; 3] };
            if let Some(g) = with_output(g) {
                check::<f32>(g);
                check::<f64>(g);
            }
        }
    }
}
