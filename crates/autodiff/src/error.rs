//! What can be wrong with a tensor operation.

/// Errors of tensor construction and of the `try_` forms.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// Too many axes.
    #[error("a tensor has at most 8 axes, but {rank} were given")]
    Rank {
        /// The number of axes asked for.
        rank: usize,
    },
    /// The number of elements overflows the address space.
    #[error("a tensor of shape {sizes:?} has more elements than can be addressed")]
    TooLarge {
        /// The sizes asked for.
        sizes: Vec<usize>,
    },
    /// The number of values is not the number of elements of the shape.
    #[error("shape {shape:?} needs {} values, but {found} were given", shape.iter().product::<usize>())]
    Count {
        /// The shape asked for.
        shape: Vec<usize>,
        /// How many values there are.
        found: usize,
    },
    /// Two operands do not fit each other.
    #[error("{operation}: shapes {left:?} and {right:?} do not fit")]
    Mismatch {
        /// The operation's name.
        operation: &'static str,
        /// The left operand's shape.
        left: Vec<usize>,
        /// The right operand's shape.
        right: Vec<usize>,
    },
    /// An axis beyond the tensor's rank.
    #[error("{operation}: axis {axis} does not exist in a tensor of shape {shape:?}")]
    Axis {
        /// The operation's name.
        operation: &'static str,
        /// The axis asked for.
        axis: isize,
        /// The tensor's shape.
        shape: Vec<usize>,
    },
    /// An index beyond the entries that it selects from.
    #[error("{operation}: index {index} at position {position} is not below {size}")]
    Index {
        /// The operation's name.
        operation: &'static str,
        /// The index.
        index: usize,
        /// Its place among the indices, which are row-major.
        position: usize,
        /// The number of entries; the size of the vocabulary for an embedding.
        size: usize,
    },
    /// An argument of an operation that the tensor's shape does not allow.
    #[error("{operation}: {what} (shape {shape:?})")]
    Argument {
        /// The operation's name.
        operation: &'static str,
        /// What is wrong.
        what: String,
        /// The tensor's shape.
        shape: Vec<usize>,
    },
    /// A matrix of a batch has an element that is infinite or not a number.
    #[error("{operation}: matrix {matrix} of the batch has an element that is not finite")]
    NotFinite {
        /// The operation's name.
        operation: &'static str,
        /// Which matrix, row-major over the leading axes.
        matrix: usize,
    },
    /// A matrix of a batch is not positive definite.
    #[error("cholesky: matrix {matrix} of the batch is not positive definite (pivot {pivot})")]
    NotPositiveDefinite {
        /// Which matrix, row-major over the leading axes.
        matrix: usize,
        /// The first row, from 0, at which the factorisation fails.
        pivot: usize,
    },
    /// A matrix of a batch has no inverse.
    #[error("{operation}: matrix {matrix} of the batch is singular (pivot {pivot} is zero)")]
    Singular {
        /// The operation's name.
        operation: &'static str,
        /// Which matrix, row-major over the leading axes.
        matrix: usize,
        /// The first row, from 0, whose pivot is zero.
        pivot: usize,
    },
    /// An iteration for a matrix of a batch did not end.
    #[error("{operation}: the iteration for matrix {matrix} of the batch did not converge")]
    NotConverged {
        /// The operation's name.
        operation: &'static str,
        /// Which matrix, row-major over the leading axes.
        matrix: usize,
    },
}
