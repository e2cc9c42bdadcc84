//! Values and derivatives against PyTorch's. `benches/peers/golden` writes the files: one module there and one here for
//! each area.

mod case;
mod elementwise;
