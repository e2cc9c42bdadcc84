//! Clipping of gradients.

use gradus_autodiff::{Params, Scalar};

/// The gradient scaled so that its Euclidean norm over all tensors is at most `limit` (Pascanu, Mikolov, Bengio 2013), and
/// the norm before. A norm that is not finite leaves the gradient as it is, for the caller to see.
pub fn clip_norm<P: Params>(gradient: &P, limit: f64) -> (P, f64) {
    let norm = gradient.norm().item().to_f64();
    if norm.is_finite() && norm > limit {
        let scale = P::Elem::from_f64(limit / norm);
        (gradient.map(|_, g| g * scale), norm)
    } else {
        (gradient.clone(), norm)
    }
}
