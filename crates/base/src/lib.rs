//! What every crate of the workspace needs and that is not about learning: seeded random streams, progress and
//! cancellation of long work, files that are written whole or not at all, and NPY, the format of NumPy's arrays.
//!
//! ```
//! use rand::RngExt;
//!
//! // The stream depends on the three arguments alone: not on threads, platform or what was drawn before.
//! let mut noise = gradus_base::stream(7, "exploration noise", 3);
//! let mut again = gradus_base::stream(7, "exploration noise", 3);
//! assert_eq!(noise.random::<u64>(), again.random::<u64>());
//! ```

mod files;
mod names;
pub mod npy;
mod observe;
mod random;

pub use files::{atomic_write, check_writable, with_lock};
pub use names::matches;
pub use observe::{Cancel, Interrupted, Observer, Silent};
pub use random::{StreamRng, stream};
