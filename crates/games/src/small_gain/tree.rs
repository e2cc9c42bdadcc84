//! A region that is cut into boxes, with bounds on each.

use super::SmallGainError;
use super::probe::{Probe, Sight, halves_of};
use crate::rigorous::Interval;

/// What the boxes of a tree may need in all.
pub(super) const MOST_BYTES: usize = 4 << 30;

/// A box, and what is known of it.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) region: Vec<Interval>,
    /// An upper bound of each quantity.
    pub(super) bounds: Vec<f64>,
    /// The quantities in the middle, rounded up; of leaves only.
    pub(super) middle: Vec<f64>,
    /// For each quantity, the variable along which its block changes most, if a side can be cut; of leaves only.
    axes: Vec<Option<u16>>,
    /// The variable and the first of the two children, if it was cut.
    pub(super) cut: Option<(usize, usize)>,
}

/// The boxes that a region was cut into, the whole one first.
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
}

impl Tree {
    /// The whole region.
    ///
    /// # Errors
    /// [`SmallGainError::NonFinite`] where the Jacobian is not finite in the middle.
    pub(super) fn new(probe: &mut Probe<'_>, region: &[Interval]) -> Result<Self, SmallGainError> {
        Ok(Self { nodes: probe.see_all(&[(region.to_vec(), ())], node)? })
    }

    /// Number of boxes that were not cut.
    pub(super) fn boxes(&self) -> usize {
        self.nodes.len().div_ceil(2)
    }

    /// The most boxes for which there is room in [`MOST_BYTES`].
    pub(super) fn most_boxes(&self) -> usize {
        let root = &self.nodes[0];
        // Of each cut, a node that keeps its bounds and a leaf with all that it has.
        MOST_BYTES / (2 * size_of::<Node>() + 32 * root.region.len() + 32 * root.bounds.len() + 64)
    }

    /// The boxes that were not cut.
    pub(super) fn leaves(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|&node| self.nodes[node].cut.is_none())
    }

    /// The variable along which a quantity's block changes most.
    pub(super) fn axis(&self, leaf: usize, quantity: usize) -> Option<usize> {
        self.nodes[leaf].axes[quantity].map(usize::from)
    }

    /// Cuts boxes along variables; the halves come at the end in this order.
    ///
    /// # Errors
    /// [`SmallGainError::NonFinite`] where the Jacobian is not finite in the middle of a half.
    pub(super) fn cut(&mut self, probe: &mut Probe<'_>, cuts: &[(usize, usize)]) -> Result<(), SmallGainError> {
        let mut halves = Vec::with_capacity(2 * cuts.len());
        for &(node, axis) in cuts {
            self.nodes[node].cut = Some((axis, self.nodes.len() + halves.len()));
            halves.extend(halves_of(&self.nodes[node].region, axis).map(|half| (half, ())));
            (self.nodes[node].axes, self.nodes[node].middle) = (Vec::new(), Vec::new());
        }
        self.nodes.extend(probe.see_all(&halves, node)?);
        Ok(())
    }
}

fn node(sight: &Sight<'_>, (): ()) -> Node {
    let quantities = 0..sight.middle.len();
    Node {
        region: sight.region.to_vec(),
        bounds: quantities.clone().map(|quantity| sight.bound(quantity)).collect(),
        middle: sight.middle.to_vec(),
        axes: quantities.map(|quantity| sight.axis(quantity)).collect(),
        cut: None,
    }
}
