use gradus_autodiff::{Params, Scalar, Tensor};
use rand::Rng;

use crate::build::Build;
use crate::init;

/// A table of vectors, one for each number: the layer that reads tokens.
#[derive(Clone, Debug, PartialEq, Params)]
pub struct Embedding<T: Scalar = f32> {
    /// The vectors, `[count, width]`.
    pub weight: Tensor<T>,
}

impl<T: Scalar> Embedding<T> {
    /// Vectors of standard normal draws, as PyTorch's.
    #[track_caller]
    pub fn new(count: usize, width: usize, rng: &mut impl Rng) -> Self {
        Self { weight: init::normal(&[count, width], 1.0, rng) }
    }

    pub(crate) fn build(count: usize, width: usize, mut build: Build<'_, T>) -> Self {
        Self { weight: build.tensor("weight", &[count, width]) }
    }

    /// How many vectors there are.
    pub fn count(&self) -> usize {
        self.weight.shape()[0]
    }

    /// The vectors of rows of numbers, `[rows, numbers, width]`.
    ///
    /// ```
    /// use gradus_autodiff::Tensor;
    /// use gradus_models::Embedding;
    ///
    /// let table: Embedding = Embedding { weight: Tensor::from_vec(vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], &[3, 2])? };
    /// let vectors = table.call(&[[2, 0], [1, 1]]);
    /// assert_eq!(vectors.shape(), [2, 2, 2]);
    /// assert_eq!(vectors.to_vec(), [4.0, 5.0, 0.0, 1.0, 2.0, 3.0, 2.0, 3.0]);
    /// # Ok::<(), gradus_autodiff::TensorError>(())
    /// ```
    ///
    /// # Panics
    /// When the rows have different lengths, or a number is beyond the table.
    #[track_caller]
    pub fn call(&self, rows: &[impl AsRef<[usize]>]) -> Tensor<T> {
        let length = rows.first().map_or(0, |row| row.as_ref().len());
        if let Some(other) = rows.iter().map(|row| row.as_ref().len()).find(|other| *other != length) {
            panic!("Embedding: rows of {length} and of {other} numbers");
        }
        let numbers: Vec<usize> = rows.iter().flat_map(|row| row.as_ref()).copied().collect();
        self.weight.embedding(&numbers, &[rows.len(), length])
    }

    /// The vectors of the whole numbers in a tensor, `[.., width]`: for per-example gradients, which need to know to which
    /// example each number belongs.
    ///
    /// # Panics
    /// When an element is no whole number, or beyond the table.
    #[track_caller]
    pub fn call_of(&self, numbers: &Tensor<T>) -> Tensor<T> {
        self.weight.embedding_of(numbers)
    }
}
