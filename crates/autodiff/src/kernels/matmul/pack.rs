//! Factors copied in the order in which tiles read them.

use super::vector::Vector;

/// The lanes of the widest register.
const MOST_LANES: usize = 16;

/// Lines of a matrix in memory, each of neighbouring elements.
pub(super) struct Lines<T> {
    pub(super) first: *const T,
    pub(super) distance: usize,
    pub(super) count: usize,
    pub(super) length: usize,
}

/// Puts lines side by side: element `t` of line `i` goes to `t · width + i`. What is beyond the lines is arbitrary.
///
/// # Safety
/// As for [`Vector`]; the lines can be read, `width` elements be written for each of their elements, and `width` is a multiple of
/// the lanes.
#[inline(always)]
pub(super) unsafe fn side_by_side<V: Vector>(lines: &Lines<V::Element>, width: usize, panel: *mut V::Element) {
    let line = |i: usize| lines.first.wrapping_add(i.min(lines.count - 1) * lines.distance);
    for first in (0..lines.count).step_by(V::LANES) {
        let panel = panel.wrapping_add(first);
        if lines.length < V::LANES {
            for t in 0..lines.length {
                for i in first..lines.count.min(first + V::LANES) {
                    // SAFETY: the caller's.
                    unsafe { *panel.add(t * width + i - first) = *line(i).add(t) };
                }
            }
            continue;
        }
        // The last block overlaps the one before it.
        for t in (0..lines.length).step_by(V::LANES) {
            let t = t.min(lines.length - V::LANES);
            let mut block = [std::mem::MaybeUninit::<V>::uninit(); MOST_LANES];
            let block: *mut V::Element = block.as_mut_ptr().cast();
            // SAFETY: the caller's; lines beyond the last are the last again.
            unsafe {
                for i in 0..V::LANES {
                    V::load(line(first + i).wrapping_add(t)).store(block.add(i * V::LANES));
                }
                V::transpose(|i| block.add(i * V::LANES), panel.wrapping_add(t * width), width);
            }
        }
    }
}

/// Puts lines one after another: element `i` of line `t` goes to `t · width + i`. What is beyond the elements is arbitrary.
///
/// # Safety
/// As for [`side_by_side`].
#[inline(always)]
pub(super) unsafe fn in_sequence<V: Vector>(lines: &Lines<V::Element>, width: usize, panel: *mut V::Element) {
    // SAFETY: the caller's.
    unsafe {
        for first in (0..lines.length).step_by(V::LANES) {
            let lanes = V::first(lines.length - first);
            for t in 0..lines.count {
                let from = lines.first.wrapping_add(t * lines.distance + first);
                V::load_some(from, lanes).store(panel.wrapping_add(t * width + first));
            }
        }
    }
}
