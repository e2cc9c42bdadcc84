//! Values and derivatives against PyTorch's. `benches/peers/golden` writes the files: one module there and one here for
//! each area.

#![allow(clippy::unwrap_used)] // Helpers of tests stand outside the test functions.

mod case;
mod elementwise;
mod linear_algebra;
mod sequence;
mod sort_scan;
mod spatial;
mod transforms;
