//! The derive macro `Params` of `gradus-autodiff`: a model is a plain struct of tensors and of other models.
//!
//! Use it through `gradus_autodiff::Params`, which re-exports it beside the trait of the same name.
//!
//! ```ignore
//! use gradus_autodiff::{Params, Scalar, Tensor};
//!
//! #[derive(Clone, Params)]
//! struct Linear<T: Scalar = f32> {
//!     weight: Tensor<T>,
//!     bias: Option<Tensor<T>>,
//! }
//!
//! #[derive(Clone, Params)]
//! struct Network {
//!     layers: Vec<Linear>, // leaves "layers.0.weight", "layers.0.bias", …
//!     #[params(rename = "classifier")]
//!     head: Linear, // leaves "classifier.weight", "classifier.bias"
//!     #[params(buffer)]
//!     running_mean: Tensor, // part of the state, not trained
//!     #[params(skip)]
//!     dropout: f64, // not a tensor: copied as it is
//! }
//! ```
//!
//! # Attributes
//! On a field:
//! - `#[params(skip)]`: holds no tensors; numbers, flags and the like need it, and their types are refused without it;
//! - `#[params(buffer)]`: its tensors belong to the state of the model, such as running statistics: they are named and saved
//!   with the others, but neither differentiated nor trained, and arithmetic on models keeps them as they are. Everything
//!   below the field is a buffer. It may be renamed;
//! - `#[params(rename = "name")]`: the name of this field in the paths of its leaves;
//! - `#[params(flatten)]`: its leaves stand beside those of this struct, without a name of the field's own.
//!
//! On the struct:
//! - `#[params(elem = f64)]`: the element type of the tensors. Without it, it is the type parameter bounded by
//!   `Scalar`, or that of the first tensor among the fields, or that of the first field. It needs saying only where the
//!   compiler finds that the first field has a private type in the public interface (E0446).
//!
//! Fields keep the order of their definition; those of a tuple struct are named "0", "1", ….

mod expand;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Derives `gradus_autodiff::Params` for a struct of tensors and of other models; see the crate's documentation for
/// the attributes.
#[proc_macro_derive(Params, attributes(params))]
pub fn derive_params(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand::expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}
