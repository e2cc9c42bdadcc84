//! Learning from examples in the context of a sequence model, without a change of its weights.

pub mod gradient_descent;
