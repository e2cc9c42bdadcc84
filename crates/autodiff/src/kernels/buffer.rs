//! Memory for elements, recycled: training allocates the same sizes again and again, and fresh pages cost more than the
//! arithmetic on them.

use std::ops::{Deref, DerefMut};

use crate::Scalar;

/// Elements below which the allocator is as fast as a free list.
const SMALL: usize = 256;
/// Bytes that one thread keeps for reuse.
const KEPT_BYTES: usize = 512 << 20;

/// Elements of a tensor. Always initialised: memory that comes back holds old values, never none.
pub(crate) struct Buffer<T: Scalar> {
    memory: Vec<T>,
    count: usize,
}

impl<T: Scalar> Buffer<T> {
    /// `count` elements with arbitrary values, for a kernel that writes each of them.
    pub(crate) fn stale(count: usize) -> Self {
        let size = size_class(count);
        let memory = if count < SMALL { None } else { T::with_pool(|pool| pool.take(size)) };
        Self { memory: memory.unwrap_or_else(|| vec![T::ZERO; size]), count }
    }

    /// `count` elements of the same value.
    pub(crate) fn filled(value: T, count: usize) -> Self {
        let mut buffer = Self::stale(count);
        buffer.fill(value);
        buffer
    }
}

impl<T: Scalar> From<Vec<T>> for Buffer<T> {
    fn from(memory: Vec<T>) -> Self {
        let count = memory.len();
        Self { memory, count }
    }
}

impl<T: Scalar> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        let mut copy = Self::stale(self.count);
        copy.copy_from_slice(self);
        copy
    }
}

impl<T: Scalar> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.memory[..self.count]
    }
}

impl<T: Scalar> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory[..self.count]
    }
}

impl<T: Scalar> PartialEq for Buffer<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Scalar> Drop for Buffer<T> {
    fn drop(&mut self) {
        if self.memory.len() >= SMALL && self.memory.len() == size_class(self.memory.len()) {
            let memory = std::mem::take(&mut self.memory);
            T::with_pool(|pool| {
                pool.give(memory);
                None
            });
        }
    }
}

/// The next size in steps of one eighth of a power of two, so that at most an eighth of a buffer is unused.
fn size_class(count: usize) -> usize {
    if count < SMALL {
        return count;
    }
    let step = 1 << (count.ilog2() - 3);
    count.next_multiple_of(step)
}

/// One thread's free buffers, sorted by size; the smallest sizes first.
#[allow(unreachable_pub)] // In the signature of a hidden method of a public, sealed trait.
pub struct Pool<T> {
    free: Vec<Vec<T>>,
    bytes: usize,
}

impl<T> Pool<T> {
    pub(crate) const fn new() -> Self {
        Self { free: Vec::new(), bytes: 0 }
    }

    fn take(&mut self, size: usize) -> Option<Vec<T>> {
        // The last of its size: the one that came back most recently is the likeliest to be in the cache.
        let end = self.free.partition_point(|memory| memory.len() <= size);
        let found = end.checked_sub(1).filter(|&at| self.free[at].len() == size)?;
        self.bytes -= size * size_of::<T>();
        Some(self.free.remove(found))
    }

    fn give(&mut self, memory: Vec<T>) {
        let bytes = size_of_val(&memory[..]);
        if self.bytes + bytes <= KEPT_BYTES {
            self.bytes += bytes;
            let at = self.free.partition_point(|other| other.len() <= memory.len());
            self.free.insert(at, memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_buffer_is_used_again() {
        let first: Buffer<f32> = Buffer::stale(1000);
        let place = first.as_ptr();
        drop(first);
        let again: Buffer<f32> = Buffer::stale(1010);
        assert_eq!((again.as_ptr(), again.len()), (place, 1010));
        assert!(Buffer::<f32>::filled(1.5, 1010).iter().all(|&x| x == 1.5));
    }

    #[test]
    fn sizes_waste_at_most_an_eighth() {
        for count in [0, 1, 255, 256, 257, 1000, 1025, 123_457, 9_999_999] {
            let size = size_class(count);
            assert!(size >= count && (size - count) * 8 <= count, "{count}: {size}");
            assert_eq!(size_class(size), size);
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut pool = Pool::new();
        pool.give(vec![0u8; KEPT_BYTES - 10]);
        pool.give(vec![0u8; 11]);
        assert_eq!(pool.free.len(), 1);
        assert!(pool.take(11).is_none());
        pool.give(vec![0u8; 10]);
        assert!(pool.take(10).is_some() && pool.take(KEPT_BYTES - 10).is_some());
        assert_eq!(pool.bytes, 0);
    }
}
