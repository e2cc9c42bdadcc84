//! Layers and models against PyTorch's and `transformers`'. `benches/peers/golden` writes the files: one module there and one
//! here for each area.

#![cfg(test)]

mod case;
mod language_models;
mod layers;
