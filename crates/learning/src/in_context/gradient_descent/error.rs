use gradus_base::Interrupted;
use gradus_models::FitError;
use gradus_optimizers::OptimizerError;

/// What can go wrong in this module.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InContextError {
    /// A context without examples, or a batch without tasks.
    #[error("there is no task or no example in its context, but at least one of each is needed")]
    EmptyContext,
    /// Two sizes that must agree do not.
    #[error("{what} is {found}, but must be {expected}")]
    DimensionMismatch {
        /// Which size.
        what: String,
        /// Its value.
        found: usize,
        /// The value that fits.
        expected: usize,
    },
    /// An infinite or undefined number in the data.
    #[error("{what} contains a value that is infinite or not a number")]
    NonFinite {
        /// Where.
        what: &'static str,
    },
    /// An option outside its range.
    #[error("{name} is {value}, but must be {expected}")]
    InvalidOption {
        /// The option's name.
        name: &'static str,
        /// Its value.
        value: f64,
        /// Its range.
        expected: &'static str,
    },
    /// Gradient descent with this step size would not converge on the task.
    #[error("the step size {eta} is not below 2N/λmax = {limit}, so gradient descent does not converge on this task")]
    StepTooLarge {
        /// The step size asked for.
        eta: f64,
        /// The smallest step size that is too large.
        limit: f64,
    },
    /// A weight matrix that does not fit its layer.
    #[error("{what} has shape {found:?}, but must have {expected:?}")]
    InvalidShape {
        /// Which matrix.
        what: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that fits.
        expected: Vec<usize>,
    },
    /// Two stacks, or two heads, that cannot be combined.
    #[error("{what} must be the same to be combined, but differ")]
    Incompatible {
        /// In what they differ.
        what: &'static str,
    },
    /// A linear system or a normalisation without a unique solution.
    #[error("{what} is singular")]
    Singular {
        /// Which system.
        what: &'static str,
    },
    /// Every restart of a training ended in the role-swapped stationary point.
    #[error("training and all its restarts ended role-swapped; the last mean loss is {loss}")]
    Stuck {
        /// Mean loss over the steps that decide it.
        loss: f64,
    },
    /// The training loss became infinite or undefined.
    #[error("the loss is not finite at step {step}")]
    Diverged {
        /// The step, counted from 0.
        step: u64,
    },
    /// JSON that does not hold what was expected.
    #[error("{what}: {message}")]
    Json {
        /// What was read.
        what: &'static str,
        /// Where and why it failed.
        message: String,
    },
    /// The training loop failed for another reason.
    #[error("{message}")]
    Training {
        /// Why.
        message: String,
    },
    /// The optimizer's settings are wrong.
    #[error(transparent)]
    Optimizer(#[from] OptimizerError),
    /// The work was cancelled.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl From<FitError> for InContextError {
    fn from(error: FitError) -> Self {
        match error {
            // The loop counts steps from 1.
            FitError::Diverged { step, .. } => Self::Diverged { step: step - 1 },
            FitError::Rule(error) => Self::Optimizer(error),
            FitError::Interrupted(error) => Self::Interrupted(error),
            other => Self::Training { message: other.to_string() },
        }
    }
}

pub(super) type Result<T> = std::result::Result<T, InContextError>;

/// `Ok` when `valid`, otherwise [`InContextError::InvalidOption`].
pub(super) fn option(name: &'static str, value: f64, valid: bool, expected: &'static str) -> Result<()> {
    if valid { Ok(()) } else { Err(InContextError::InvalidOption { name, value, expected }) }
}

/// `Ok` for a size of at least 1, otherwise [`InContextError::InvalidOption`].
pub(super) fn positive(name: &'static str, size: usize) -> Result<()> {
    option(name, size as f64, size > 0, "at least 1")
}

/// `Ok` when the sizes agree, otherwise [`InContextError::DimensionMismatch`].
pub(super) fn same(what: impl Into<String>, found: usize, expected: usize) -> Result<()> {
    if found == expected { Ok(()) } else { Err(InContextError::DimensionMismatch { what: what.into(), found, expected }) }
}

/// `Ok` when every number is finite, otherwise [`InContextError::NonFinite`].
pub(super) fn finite(what: &'static str, all_finite: bool) -> Result<()> {
    if all_finite { Ok(()) } else { Err(InContextError::NonFinite { what }) }
}
