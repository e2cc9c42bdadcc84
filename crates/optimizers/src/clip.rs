//! Clipping of gradients.

use gradus_autodiff::{Params, Scalar};

use crate::{OptimizerError, check};

/// The gradient scaled so that its Euclidean norm over all tensors is at most `limit` (Pascanu, Mikolov, Bengio 2013), and
/// the norm before. A norm that is not finite leaves the gradient as it is, for the caller to see.
///
/// # Errors
/// [`OptimizerError::Setting`] for a limit that is not positive.
pub fn clip_norm<P: Params>(gradient: &P, limit: f64) -> Result<(P, f64), OptimizerError> {
    check("clip_norm", limit, limit > 0.0, "positive")?;
    let norm = gradient.norm().item().to_f64();
    // The squares may leave the range of the elements where the norm does not.
    let norm = if norm.is_finite() && norm > 0.0 { norm } else { scaled_norm(gradient) };
    if norm.is_finite() && norm > limit {
        let scale = P::Elem::from_f64(limit / norm);
        Ok((gradient.map(|_, g| g * scale), norm))
    } else {
        Ok((gradient.clone(), norm))
    }
}

/// The norm from elements divided by the largest.
fn scaled_norm<P: Params>(gradient: &P) -> f64 {
    let elements = || gradient.leaves().into_iter().flat_map(|g| g.as_slice()).map(|x| x.to_f64());
    let largest = elements().fold(0.0f64, |largest, x| largest.max(x.abs()));
    let scale = if largest > 0.0 && largest.is_finite() { largest } else { 1.0 };
    scale * elements().map(|x| (x / scale).powi(2)).sum::<f64>().sqrt()
}
