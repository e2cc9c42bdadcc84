//! The operations, each with its rule beside it.

mod arithmetic;
mod index;
mod layout;
mod loss;
mod product;
mod reduce;
mod unary;
