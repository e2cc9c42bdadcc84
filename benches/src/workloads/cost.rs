//! The least work that the workloads can be done with.

/// The arithmetic and the traffic that a workload needs at least.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cost {
    /// Operations: two for each term of a product of matrices, and only these, but for W10 and the outer products of W7.
    pub(crate) operations: f64,
    /// Numbers that are read or written once because they exist before the call or after it: inputs, parameters, optimizer
    /// state, results. What lies between may stay in a cache.
    pub(crate) numbers: f64,
}

impl Cost {
    /// A cost from whole numbers.
    pub(super) fn new(operations: usize, numbers: usize) -> Self {
        Self { operations: operations as f64, numbers: numbers as f64 }
    }

    /// Bytes of `f32`.
    pub(crate) fn bytes(self) -> f64 {
        4.0 * self.numbers
    }
}

/// Operations of a product of an `m × k` with a `k × n` matrix.
pub(super) fn product(m: usize, k: usize, n: usize) -> usize {
    2 * m * k * n
}

/// Forward, and backward to weights and inputs, of linear layers of these widths; the first layer's input needs no gradient.
pub(super) fn training(batch: usize, widths: &[usize]) -> usize {
    let forward: Vec<usize> = widths.windows(2).map(|pair| product(batch, pair[0], pair[1])).collect();
    3 * forward.iter().sum::<usize>() - forward[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_step_has_two_products_in_the_first_layer_and_three_in_the_others() {
        assert_eq!(training(4, &[2, 3, 5]), 2 * product(4, 2, 3) + 3 * product(4, 3, 5));
        assert_eq!(product(1024, 1024, 1024), 1 << 31);
    }
}
