//! Shapes: the sizes of a tensor's axes, row-major, at most eight of them.

use std::fmt;
use std::ops::Deref;

use crate::TensorError;

/// The largest number of axes of a tensor.
pub const MAX_RANK: usize = 8;

/// The sizes of a tensor's axes, outermost first. Dereferences to a slice.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    rank: u8,
    sizes: [usize; MAX_RANK],
}

impl Shape {
    /// No elements.
    pub(crate) const EMPTY: Self = Self { rank: 1, sizes: [0; MAX_RANK] };

    /// The shape with the given sizes.
    ///
    /// # Errors
    /// [`TensorError::Rank`] for more than eight axes; [`TensorError::TooLarge`] when the number of elements overflows.
    pub fn new(sizes: &[usize]) -> Result<Self, TensorError> {
        if sizes.len() > MAX_RANK {
            return Err(TensorError::Rank { rank: sizes.len() });
        }
        // Empty axes do not hide the others: sizes before and after an axis are multiplied apart.
        let count = sizes.iter().try_fold(1usize, |n, &s| n.checked_mul(s.max(1)));
        if count.is_none_or(|n| n > isize::MAX as usize / 8) {
            return Err(TensorError::TooLarge { sizes: sizes.to_vec() });
        }
        let mut all = [0; MAX_RANK];
        all[..sizes.len()].copy_from_slice(sizes);
        Ok(Self { rank: sizes.len() as u8, sizes: all })
    }

    /// Number of elements; 1 for a scalar.
    pub fn count(&self) -> usize {
        self.iter().product()
    }

    /// The shape that both operands take under NumPy broadcasting, or `None` when they do not fit.
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.len().max(other.len());
        let mut sizes = [0; MAX_RANK];
        for (axis, size) in sizes.iter_mut().enumerate().take(rank) {
            let a = self.size_from_end(rank - 1 - axis);
            let b = other.size_from_end(rank - 1 - axis);
            *size = match (a, b) {
                (a, b) if a == b => a,
                (1, b) => b,
                (a, 1) => a,
                _ => return None,
            };
        }
        Some(Shape { rank: rank as u8, sizes })
    }

    /// Whether `other` ends with this shape, so that broadcasting repeats it whole.
    pub(crate) fn is_suffix_of(&self, other: &Shape) -> bool {
        other.ends_with(self)
    }

    /// Changes the size of one axis.
    pub(crate) fn set(&mut self, axis: usize, size: usize) {
        self.sizes[axis] = size;
    }

    fn size_from_end(&self, back: usize) -> usize {
        if back < self.len() { self[self.len() - 1 - back] } else { 1 }
    }

    /// Row-major strides that walk this shape as if it were broadcast to `target`: zero along broadcast axes.
    pub(crate) fn strides_for(&self, target: &Shape) -> [usize; MAX_RANK] {
        let mut strides = [0; MAX_RANK];
        let lead = target.len() - self.len();
        let mut step = 1;
        for axis in (0..self.len()).rev() {
            if self[axis] != 1 {
                strides[lead + axis] = step;
            }
            step *= self[axis];
        }
        strides
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.sizes[..self.rank as usize]
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
