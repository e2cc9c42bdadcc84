//! What several experiments share.

pub(crate) mod statistics;
