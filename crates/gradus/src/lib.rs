//! Gradient-based learning beyond plain training. One feature per crate; each module below is that crate.

#[cfg(feature = "autodiff")]
pub use gradus_autodiff as autodiff;
pub use gradus_base as base;
#[cfg(feature = "checkpoint")]
pub use gradus_checkpoint as checkpoint;
#[cfg(feature = "data")]
pub use gradus_data as data;
#[cfg(feature = "learning")]
pub use gradus_learning as learning;
#[cfg(feature = "merging")]
pub use gradus_merging as merging;
#[cfg(feature = "models")]
pub use gradus_models as models;
#[cfg(feature = "optimizers")]
pub use gradus_optimizers as optimizers;
