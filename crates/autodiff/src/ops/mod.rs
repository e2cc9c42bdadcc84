//! The operations, each with its rule beside it.

mod activation;
mod arithmetic;
pub(crate) mod attention;
mod cast;
mod choice;
pub(crate) mod convolution;
mod dropout;
pub(crate) mod fuse;
mod index;
mod layout;
pub(crate) mod linear_algebra;
mod loss;
pub(crate) mod normalisation;
pub(crate) mod pooling;
mod product;
pub(crate) mod recurrent;
mod reduce;
pub(crate) mod resize;
mod scan;
mod softmax;
pub(crate) mod sort;
mod unary;
