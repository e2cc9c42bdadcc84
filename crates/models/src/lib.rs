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
//! let fitted = fit(model, &rule, batches, |m, (x, y), _| loss::cross_entropy(&m.call(x), y), &options, carry_on)?;
//! assert!(*fitted.losses.last().unwrap() < 0.01);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod activation;
mod attention;
mod build;
mod cnn;
mod conv;
mod embedding;
mod error;
pub mod files;
mod fit;
pub mod gpt2;
pub mod init;
mod language_model;
mod linear;
pub mod llama;
pub mod loss;
mod mlp;
mod norm;
mod pass;
mod positions;
mod public_names;
mod recurrent;
mod residual;
mod sampling;
mod sequential;
mod settings;
mod stop;
#[cfg(test)]
mod tests;
mod transformer;

pub use activation::Activation;
pub use attention::{AttentionHead, KeyValue, MultiHeadAttention, linear_attention};
pub use cnn::{Cnn, ConvBlock};
pub use conv::{Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, SeparableConv2d};
pub use embedding::Embedding;
pub use error::SettingError;
pub use files::{FileError, TensorProblem};
pub use fit::{FitError, FitOptions, Fitted, Saving, Step, carry_on, fit};
pub use language_model::{LanguageConfig, LanguageModel, TokenError};
pub use linear::Linear;
pub use mlp::Mlp;
pub use norm::{BatchNorm, GroupNorm, InstanceNorm, LayerNorm, Norm, NormKind, RmsNorm};
pub use pass::Pass;
pub use positions::{Pairing, Positions, Rotary, RotaryScaling, sinusoidal};
pub use recurrent::{Gru, Lstm, LstmState, RecurrentDirection, RecurrentLayers};
pub use residual::ResidualBlock;
pub use sampling::{Sampling, SamplingError, generate};
pub use sequential::Sequential;
pub use settings::DescriptionError;
pub use stop::EarlyStop;
pub use transformer::{Cache, Context, Transformer, TransformerConfig, TransformerLayer, padding_mask};
