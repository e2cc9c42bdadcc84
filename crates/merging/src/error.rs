use gradus_checkpoint::{CheckpointError, DType};

/// What can be wrong with a merge, or with what goes into it. Models are counted from 0; the first is the target.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // The messages say what the fields are.
pub enum MergeError {
    /// Fewer than two models.
    #[error("{found} models were given, but a merge needs at least two")]
    TooFewModels { found: usize },

    /// Another number of Fishers than of models.
    #[error("{fishers} Fishers were given for {models} models")]
    FisherCount { models: usize, fishers: usize },

    /// Another number of coefficients than of models.
    #[error("{lambdas} coefficients were given for {models} models")]
    LambdaCount { models: usize, lambdas: usize },

    /// A coefficient that is negative, infinite or not a number.
    #[error("the coefficient of model {model} is {value}, but must be finite and at least 0")]
    Lambda { model: usize, value: f64 },

    /// All coefficients are 0.
    #[error("all coefficients are 0")]
    ZeroLambdas,

    /// A model or its Fisher has no array of that name.
    #[error("{what} of model {model} has no array `{tensor}`, which the target has")]
    Missing { what: &'static str, model: usize, tensor: String },

    /// A model has an array that the target has not.
    #[error("model {model} has an array `{tensor}`, which the target has not: leave it out by a filter, if it is not to be merged")]
    Unexpected { model: usize, tensor: String },

    /// A model's or Fisher's array has another shape than the target's.
    #[error("{what} of model {model}: array `{tensor}` has shape {found:?}, the target's {expected:?}")]
    Shape { what: &'static str, model: usize, tensor: String, expected: Vec<usize>, found: Vec<usize> },

    /// A Fisher entry that is negative, infinite or not a number.
    #[error("Fisher information: array `{tensor}`, element {index} is {value}, but must be finite and at least 0")]
    FisherValue { tensor: String, index: usize, value: f64 },

    /// A floor that is negative or not a number.
    #[error("the floor is {value}, but must be finite and at least 0")]
    Floor { value: f64 },

    /// A Fisher of zeros cannot be normalised.
    #[error("the Fisher of model {model} is 0 everywhere and cannot be normalised")]
    ZeroFisher { model: usize },

    /// Every model has weight 0 at a coordinate: its coefficient or its Fisher is 0 there.
    #[error("array `{tensor}`, element {index}: the weight of every model, its coefficient times its Fisher, is 0")]
    DeadCoordinate { tensor: String, index: usize },

    /// An array of integers that was asked for cannot be averaged.
    #[error("array `{tensor}` has elements of type {dtype}, and only F64, F32, F16 and BF16 can be merged: leave it out by the filter")]
    NotFloat { tensor: String, dtype: DType },

    /// Fisher entries span more orders of magnitude than 16 bits hold.
    #[error("the Fisher's array `{tensor}` has elements of type {dtype}, but must be F32")]
    FisherType { tensor: String, dtype: DType },

    /// A Fisher that was estimated for another model.
    #[error("the Fisher of model {model} was estimated for the model with fingerprint {expected}, but this one has {found}")]
    Fingerprint { model: usize, expected: String, found: String },

    /// A Fisher file without an entry that it needs, or with one that does not make sense.
    #[error("the Fisher's metadata entry `{key}` is {found:?}, expected {expected}")]
    Metadata { key: &'static str, found: Option<String>, expected: &'static str },

    /// No examples.
    #[error("there are no examples to estimate the Fisher information from")]
    NoExamples,

    /// No tensor to estimate.
    #[error("the filter accepts no differentiable tensor of the model")]
    NoTensors,

    /// The checkpoint that a model is said to come from holds something else.
    #[error("array `{tensor}` of the source is missing or is not the model's: the Fisher information would be saved as another model's")]
    Source { tensor: String },

    /// An exact expectation over outputs that cannot all be gone through.
    #[error("no exact expectation is taken over {outputs}: use the sampled mode")]
    NotExact { outputs: &'static str },

    /// Logits that are infinite or not numbers.
    #[error("the logits of example {example} are not finite: class {class} has {value}")]
    Logits { example: usize, class: usize, value: f64 },

    /// Logits of another shape than `[examples, classes]` or `[examples, tokens, classes]`.
    #[error("the logits have shape {found:?}, expected [{examples}, classes] or [{examples}, tokens, classes]")]
    LogitsShape { found: Vec<usize>, examples: usize },

    /// Log-likelihoods of another shape than the mode asks for.
    #[error("the log-likelihoods have shape {found:?}, expected {expected:?}")]
    LikelihoodShape { found: Vec<usize>, expected: Vec<usize> },

    /// The empirical Fisher without labels, or with another number of them.
    #[error("the empirical Fisher needs {expected} labels, one for each example or token, but {labels} were given")]
    Labels { expected: usize, labels: usize },

    /// A label beyond the classes.
    #[error("the label of example {example} is {label}, but there are {classes} classes")]
    Label { example: usize, label: usize, classes: usize },

    /// A setting outside its range.
    #[error("{name} is {value}, but must be {expected}")]
    Option { name: &'static str, value: f64, expected: &'static str },

    /// A grid of pairs for another number of models than two.
    #[error("a grid of pairs needs two models, but there are {models}")]
    GridModels { models: usize },

    /// A point of a search with bad coefficients.
    #[error("point {point} of the search: {source}")]
    Point { point: usize, source: Box<MergeError> },

    /// A score that is not a number.
    #[error("the score of point {point} of the search is not a number")]
    Score { point: usize },

    /// The checkpoints cannot be read, or an array of them cannot be converted.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),

    /// Per-example gradients are not defined for this model.
    #[cfg(feature = "autodiff")]
    #[error(transparent)]
    PerExample(#[from] gradus_autodiff::PerExampleError),

    /// The work was cancelled.
    #[error(transparent)]
    Interrupted(#[from] gradus_base::Interrupted),
}
