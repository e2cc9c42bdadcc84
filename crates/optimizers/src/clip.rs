//! Clipping of gradients.

use gradus_autodiff::{Params, Scalar};

use crate::{OptimizerError, check, vector};

/// The gradient scaled so that its Euclidean norm over all tensors is at most `limit` (Pascanu, Mikolov, Bengio 2013), and
/// the norm before. A norm that is not finite leaves the gradient as it is, for the caller to see.
///
/// # Errors
/// [`OptimizerError::Setting`] for a limit that is not positive.
pub fn clip_norm<P: Params>(gradient: &P, limit: f64) -> Result<(P, f64), OptimizerError> {
    check("clip_norm", limit, limit > 0.0, "positive")?;
    let norm = vector::norm(gradient);
    if norm.is_finite() && norm > limit {
        let scale = P::Elem::from_f64(limit / norm);
        Ok((gradient.map(|_, g| g * scale), norm))
    } else {
        Ok((gradient.clone(), norm))
    }
}

/// The gradient with each element moved into `[-limit, limit]`; NaN stays.
///
/// # Errors
/// [`OptimizerError::Setting`] for a limit that is not positive.
pub fn clip_value<P: Params>(gradient: &P, limit: f64) -> Result<P, OptimizerError> {
    check("clip_value", limit, limit > 0.0, "positive")?;
    let limit = P::Elem::from_f64(limit);
    let mut clipped = gradient.clone();
    for (x, g) in clipped.leaves_mut().into_iter().zip(gradient.leaves()) {
        x.update(g, |_, g| {
            if g > limit {
                limit
            } else if g < -limit {
                -limit
            } else {
                g
            }
        });
    }
    Ok(clipped)
}
