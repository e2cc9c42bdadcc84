//! Windows of images.

use super::Buffer;
use crate::Scalar;

/// The sizes of a pooling of `planes` images of `input` pixels each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Windows {
    pub(crate) planes: usize,
    pub(crate) input: [usize; 2],
    pub(crate) size: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) output: [usize; 2],
}

impl Windows {
    /// Calls `f(output index, input indices of the window, row by row)`.
    fn each(&self, mut f: impl FnMut(usize, &mut dyn Iterator<Item = usize>)) {
        let ([height, width], [oh, ow]) = (self.input, self.output);
        for plane in 0..self.planes {
            for (i, j) in (0..oh).flat_map(|i| (0..ow).map(move |j| (i, j))) {
                let corner = (plane * height + i * self.stride[0]) * width + j * self.stride[1];
                let mut window = (0..self.size[0]).flat_map(|y| (0..self.size[1]).map(move |x| corner + y * width + x));
                f((plane * oh + i) * ow + j, &mut window);
            }
        }
    }

    fn count(&self) -> usize {
        self.planes * self.output[0] * self.output[1]
    }

    /// Where the greatest element of each window is; the first of ties, and the first NaN before all.
    pub(crate) fn argmax<T: Scalar>(&self, x: &[T]) -> Vec<usize> {
        let mut best = vec![0; self.count()];
        self.each(|out, window| {
            let mut at = window.next().unwrap_or(0);
            for i in window {
                let nan = |x: T| x.partial_cmp(&x).is_none();
                if x[i] > x[at] || (nan(x[i]) && !nan(x[at])) {
                    at = i;
                }
            }
            best[out] = at;
        });
        best
    }

    /// The mean of each window.
    pub(crate) fn mean<T: Scalar>(&self, x: &[T]) -> Buffer<T> {
        let scale = T::from_f64(1.0 / (self.size[0] * self.size[1]) as f64);
        let mut y = Buffer::stale(self.count());
        self.each(|out, window| y[out] = window.fold(T::ZERO, |sum, i| sum + x[i]) * scale);
        y
    }

    /// The transpose of [`Windows::mean`].
    pub(crate) fn spread<T: Scalar>(&self, g: &[T]) -> Buffer<T> {
        let scale = T::from_f64(1.0 / (self.size[0] * self.size[1]) as f64);
        let mut x = Buffer::filled(T::ZERO, self.planes * self.input[0] * self.input[1]);
        self.each(|out, window| window.for_each(|i| x[i] += g[out] * scale));
        x
    }
}
