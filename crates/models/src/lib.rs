//! Layers, architectures, initialisation, losses and the training loop. A model is a plain struct of tensors that derives
//! [`Params`](gradus_autodiff::Params); a layer is a small model with a method `call`.
//!
//! ```
//! use gradus_autodiff::Tensor;
//! use gradus_base::stream;
//! use gradus_models::{Activation, FitOptions, Mlp, carry_on, fit, loss};
//! use gradus_optimizers::Adam;
//!
//! // Learn XOR.
//! let x: Tensor = Tensor::from_vec(vec![0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], &[4, 2])?;
//! let model = Mlp::new(&[2, 16, 2], Activation::Tanh, &mut stream(7, "xor", 0));
//! let rule = Adam { learning_rate: 0.02, ..Adam::default() };
//! let options = FitOptions { steps: 300, ..FitOptions::default() };
//! let batches = |_step| (x.clone(), vec![0, 1, 1, 0]);
//! let fitted = fit(model, &rule, batches, |m, (x, y)| loss::cross_entropy(&m.call(x), y), &options, carry_on)?;
//! assert!(*fitted.losses.last().unwrap() < 0.01);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod activation;
mod attention;
mod cnn;
mod conv;
pub mod files;
mod fit;
pub mod init;
mod linear;
pub mod loss;
mod mlp;
mod norm;
mod stop;
#[cfg(test)]
mod tests;

pub use activation::Activation;
pub use attention::{AttentionHead, LinearSelfAttention, linear_attention};
pub use cnn::{Cnn, ConvBlock};
pub use conv::Conv2d;
pub use files::FileError;
pub use fit::{FitError, FitOptions, Fitted, Saving, Step, carry_on, fit};
pub use linear::Linear;
pub use mlp::Mlp;
pub use norm::LayerNorm;
pub use stop::EarlyStop;
