//! Memory for elements, recycled: training allocates the same sizes again and again, and fresh pages cost more than the
//! arithmetic on them.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::pointwise;
use crate::Scalar;

/// Bytes of a cache line: elements begin on one, so that vectors do not lie across two.
const LINE: usize = 64;
/// Bytes that one thread keeps for reuse.
const KEPT_BYTES: usize = 512 << 20;

/// Memory for the elements of a tensor. Always initialised: what comes back holds old values, never none.
#[allow(unreachable_pub)] // In the signature of a hidden method of a public, sealed trait.
pub struct Memory<T> {
    elements: Vec<T>,
    /// Where the first cache line begins.
    first: usize,
    /// The size class, of memory that may be reused.
    class: Option<usize>,
}

impl<T: Scalar> Memory<T> {
    fn new(class: usize) -> Self {
        let line = LINE / size_of::<T>();
        let elements = vec![T::ZERO; size_of_class(class) + line];
        let first = elements.as_ptr().align_offset(LINE).min(line);
        Self { elements, first, class: Some(class) }
    }

    fn bytes(&self) -> usize {
        size_of_val(&self.elements[..])
    }
}

/// Elements with one owner, who may change them.
pub(crate) struct Buffer<T: Scalar>(Shared<T>);

impl<T: Scalar> Buffer<T> {
    /// `count` elements with arbitrary values, for a kernel that writes each of them.
    pub(crate) fn stale(count: usize) -> Self {
        let class = class_of(count);
        let kept = T::pool().try_with(|pool| pool.borrow_mut().take(class)).ok().flatten();
        Self(Shared { memory: Some(kept.unwrap_or_else(|| Arc::new(Memory::new(class)))), count })
    }

    /// No elements, and no memory for them.
    pub(crate) fn empty() -> Self {
        Self(Shared::default())
    }

    /// `count` elements of the same value.
    pub(crate) fn filled(value: T, count: usize) -> Self {
        let mut buffer = Self::stale(count);
        pointwise::fill(&mut buffer, value);
        buffer
    }

    /// The same elements, for several owners.
    pub(crate) fn share(self) -> Shared<T> {
        self.0
    }
}

impl<T: Scalar> From<Vec<T>> for Buffer<T> {
    fn from(elements: Vec<T>) -> Self {
        let count = elements.len();
        Self(Shared { memory: Some(Arc::new(Memory { elements, first: 0, class: None })), count })
    }
}

impl<T: Scalar> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Scalar> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        debug_assert!(self.0.memory.as_ref().is_none_or(|memory| Arc::strong_count(memory) == 1));
        self.0.unique().unwrap_or_default()
    }
}

/// Elements that may have several owners. When the last of them lets go, the memory is kept for reuse.
pub(crate) struct Shared<T: Scalar> {
    memory: Option<Arc<Memory<T>>>,
    count: usize,
}

impl<T: Scalar> Shared<T> {
    /// The elements, for their only owner. To make sure that it is takes as long as some elements: not once for each.
    pub(crate) fn unique(&mut self) -> Option<&mut [T]> {
        // A look at the count costs less than what `get_mut` does.
        let memory = self.memory.as_mut().filter(|memory| Arc::strong_count(memory) == 1)?;
        let memory = Arc::get_mut(memory)?;
        Some(&mut memory.elements[memory.first..][..self.count])
    }

    /// A copy with one owner.
    pub(crate) fn copied(&self) -> Self {
        let mut copy = Buffer::stale(self.count);
        copy.copy_from_slice(self);
        copy.share()
    }
}

impl<T: Scalar> Default for Shared<T> {
    fn default() -> Self {
        Self { memory: None, count: 0 }
    }
}

impl<T: Scalar> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self { memory: self.memory.clone(), count: self.count }
    }
}

impl<T: Scalar> Deref for Shared<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        match &self.memory {
            Some(memory) => &memory.elements[memory.first..][..self.count],
            None => &[],
        }
    }
}

impl<T: Scalar> Drop for Shared<T> {
    fn drop(&mut self) {
        // Nobody else can take a share of what only this one holds.
        if let Some(memory) = self.memory.take()
            && Arc::strong_count(&memory) == 1
            && memory.class.is_some()
        {
            give(memory);
        }
    }
}

/// Keeps memory that nobody holds.
fn give<T: Scalar>(memory: Arc<Memory<T>>) {
    // What outlives its thread's pool is freed by the allocator.
    let _ = T::pool().try_with(|pool| pool.borrow_mut().give(memory));
}

/// The size class of `count` elements, and the elements of a class: whole cache lines up to eight of them, then steps of
/// one eighth of a power of two, so that at most an eighth of what is larger is unused.
fn class_of(count: usize) -> usize {
    let units = count.div_ceil(UNIT).max(1);
    let shift = units.ilog2().saturating_sub(3) as usize;
    8 * shift + units.div_ceil(1 << shift)
}

fn size_of_class(class: usize) -> usize {
    let shift = (class / 8).saturating_sub(1);
    ((class - 8 * shift) << shift) * UNIT
}

/// Elements of the smallest class.
const UNIT: usize = 16;

/// One thread's free memory by size class.
#[allow(unreachable_pub)] // In the signature of a hidden method of a public, sealed trait.
pub struct Pool<T> {
    free: Vec<Vec<Arc<Memory<T>>>>,
    bytes: usize,
}

impl<T: Scalar> Pool<T> {
    pub(crate) const fn new() -> Self {
        Self { free: Vec::new(), bytes: 0 }
    }

    fn take(&mut self, class: usize) -> Option<Arc<Memory<T>>> {
        // What came back last is the likeliest to be in the cache.
        let memory = self.free.get_mut(class)?.pop()?;
        self.bytes -= memory.bytes();
        Some(memory)
    }

    fn give(&mut self, memory: Arc<Memory<T>>) {
        let (Some(class), bytes) = (memory.class, memory.bytes()) else { return };
        if self.bytes + bytes <= KEPT_BYTES {
            self.bytes += bytes;
            if self.free.len() <= class {
                self.free.resize_with(class + 1, Vec::new);
            }
            self.free[class].push(memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returned_memory_is_used_again() {
        for count in [3, 1000] {
            let first: Buffer<f32> = Buffer::stale(count);
            let place = first.as_ptr();
            let shared = first.share();
            let other = shared.clone();
            drop(shared);
            assert_ne!(Buffer::<f32>::stale(count).as_ptr(), place);
            drop(other);
            let again: Buffer<f32> = Buffer::stale(count + 10);
            assert_eq!((again.as_ptr(), again.len()), (place, count + 10));
            drop(again);
            assert!(Buffer::<f32>::filled(1.5, count + 10).iter().all(|&x| x == 1.5));
        }
    }

    #[test]
    fn only_a_single_owner_may_change_elements() {
        let mut one = Buffer::from(vec![1.0, 2.0]).share();
        let mut two = one.clone();
        assert!(one.unique().is_none());
        two = two.copied();
        two.unique().unwrap()[0] = 5.0;
        assert_eq!((&one[..], &two[..]), (&[1.0, 2.0][..], &[5.0, 2.0][..]));
        assert!(one.unique().is_some());
    }

    #[test]
    fn sizes_waste_at_most_an_eighth_and_a_line() {
        for count in (0..5000).chain([123_457, 9_999_999, usize::MAX >> 8]) {
            let size = size_of_class(class_of(count));
            assert!(size >= count && (size - count) * 8 < count.max(8 * UNIT + 1), "{count}: {size}");
            assert_eq!(class_of(size.max(1)), class_of(count));
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut pool = Pool::<f64>::new();
        let class = class_of(KEPT_BYTES / size_of::<f64>() / 3);
        let memory = || Arc::new(Memory::new(class));
        (0..4).for_each(|_| pool.give(memory()));
        assert!(pool.bytes <= KEPT_BYTES && pool.free[class].len() == 2);
        assert!(pool.take(class + 1).is_none());
        assert!(pool.take(class).is_some() && pool.take(class).is_some() && pool.take(class).is_none());
        assert_eq!(pool.bytes, 0);
    }
}
