use std::path::PathBuf;

use gradus_autodiff::{Params, Path, PerExampleError, Scalar, Tensor, per_example};
use gradus_base::{Cancel, Observer};
use gradus_checkpoint::Checkpoint;
use gradus_models::files;

use super::information::{check_values, entry, metadata, n_examples};
use super::outputs::{Outputs, Predictions};
use super::{DiagonalFisher, FisherMode};
use crate::{Arrays, MergeError, NameFilter};

/// Examples whose gradients are taken together.
const CHUNK: usize = 64;

/// How Fisher information is estimated. The default: the exact expectation, of all tensors, over all examples.
#[derive(Clone, Default)]
pub struct FisherOptions<'a> {
    /// Which expectation over the outputs is taken.
    pub mode: FisherMode,
    /// Which tensors, such as those of some of the layers; the others are constants.
    pub filter: NameFilter,
    /// The checkpoint that the model was read from, whose fingerprint is recorded: the Fisher is then accepted in merges of
    /// that file. It may hold more than the model (a head, counters) and in 16 bits, but must have the model's values under
    /// the model's names. `None`: the model itself, as [`gradus_models::files`] writes it.
    pub source: Option<&'a dyn Arrays>,
    /// The number of examples after which [`fisher_of_classifier`] stops; `None`: all.
    pub max_examples: Option<u64>,
    /// Where and how often [`fisher_of_classifier`] saves its state.
    pub saving: Option<Saving>,
    /// Stops [`fisher_of_classifier`] between two chunks of examples; with `saving`, its state is saved first.
    pub cancel: Cancel,
}

/// Where and how often the state of an estimate is saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saving {
    /// The safetensors file: the sums of squares of each tensor, in F64.
    pub file: PathBuf,
    /// Examples between two savings; 0 saves only at the end or on interruption.
    pub every: u64,
}

/// The diagonal Fisher information of a classifier at its own parameters (Matena, Raffel 2022, section 3.1): the mean over
/// examples of `E_y [(∇ log p(y|x))²]`, with the square of each single gradient.
///
/// `batches` gives inputs, with examples along the first axis, and labels, which [`FisherMode::Empirical`] alone looks at.
/// `logits` gives `[examples, classes]`, or `[examples, tokens, classes]` of sequences, and must treat examples apart (batch
/// statistics frozen, no dropout). An estimate whose file (see [`Saving`]) is there goes on from it, and skips as many
/// examples of the same batches: it gives the same bits as one that was never interrupted.
///
/// # Errors
/// Those of [`FisherEstimate::new`], [`FisherEstimate::add`] and [`FisherEstimate::resume`]; [`MergeError::NoExamples`];
/// [`MergeError::Metadata`] for a saved state of more examples than are given; [`MergeError::Interrupted`] once cancelled.
///
/// ```
/// use gradus_autodiff::Tensor;
/// use gradus_base::Silent;
/// use gradus_merging::fisher::{FisherOptions, fisher_of_classifier};
/// use gradus_models::Linear;
///
/// let model: Linear<f64> = Linear::with_weight(Tensor::zeros(&[2, 2]));
/// let x = Tensor::from_vec(vec![1.0, 2.0], &[1, 2])?;
/// let fisher = fisher_of_classifier(&model, [(x, vec![])], Linear::call, &FisherOptions::default(), &mut Silent)?;
/// assert_eq!(fisher.arrays().to_f32("weight")?, [0.25, 1.0, 0.25, 1.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn fisher_of_classifier<P: Params, X: Params<Elem = P::Elem>>(
    model: &P,
    batches: impl IntoIterator<Item = (X, Vec<usize>)>,
    logits: impl Fn(&P, &X) -> Tensor<P::Elem>,
    options: &FisherOptions<'_>,
    observer: &mut dyn Observer,
) -> Result<DiagonalFisher, MergeError> {
    let mut estimate = FisherEstimate::start(model, options)?;
    let (saved, limit) = (estimate.n_examples, options.max_examples.unwrap_or(u64::MAX));
    let mut first = 0;
    let mut batches = batches.into_iter();
    while let Some((inputs, labels)) = if first < limit { batches.next() } else { None } {
        let end = first + examples(&inputs)? as u64;
        let each = estimate.labels_each(&labels, end - first)?;
        // The chunks begin where those of an estimate without interruption do, so that the sums have the same bits.
        for start in (first..end).step_by(CHUNK) {
            let (start, stop) = (start.max(estimate.n_examples), (start + CHUNK as u64).min(end).min(limit));
            if start >= stop {
                continue;
            }
            let (from, count) = ((start - first) as usize, (stop - start) as usize);
            estimate.save_if(options, options.cancel.is_cancelled())?;
            options.cancel.check()?;
            estimate.add(&inputs.map(|_, x| x.narrow(0, from, count)), &labels[from * each..(from + count) * each], &logits)?;
            estimate.save_if(options, options.saving.as_ref().is_some_and(|saving| crosses(saving.every, start, stop)))?;
            observer.progress(stop, options.max_examples, "Fisher information");
        }
        first = end;
    }
    if first.min(limit) < saved {
        let expected = "at most the number of examples given";
        return Err(MergeError::Metadata { key: "n_examples", found: Some(saved.to_string()), expected });
    }
    let fisher = estimate.finish()?;
    estimate.save_if(options, estimate.n_examples > saved)?;
    Ok(fisher)
}

/// Whether a multiple of `every` lies in `start + 1..=stop`.
fn crosses(every: u64, start: u64, stop: u64) -> bool {
    every > 0 && stop / every > start / every
}

/// The number of examples: what all inputs agree on along their first axis.
fn examples<X: Params>(inputs: &X) -> Result<usize, MergeError> {
    let leaves = inputs.leaves();
    let count = leaves.first().and_then(|x| x.shape().first());
    match leaves.iter().position(|x| x.shape().is_empty() || x.shape().first() != count) {
        Some(index) => Err(PerExampleError::Inputs { index, shape: leaves[index].shape().to_vec() }.into()),
        None => Ok(count.copied().unwrap_or(0)),
    }
}

/// Fisher information that grows example by example, and that can be saved and gone on with. [`fisher_of_classifier`] does
/// all of it for a classifier; this is for examples that come otherwise, and for likelihoods of any kind.
///
/// ```
/// use gradus_autodiff::Tensor;
/// use gradus_merging::fisher::{FisherEstimate, FisherMode, FisherOptions};
///
/// // y ~ N(w x, 1), at observed y: the score of w is (y - w x) x.
/// let options = FisherOptions { mode: FisherMode::Empirical, ..FisherOptions::default() };
/// let w = Tensor::vector(&[2.0f64]);
/// let log_likelihood = |w: &Tensor<f64>, (x, y): &(Tensor<f64>, Tensor<f64>)| (x * w - y).square() * -0.5;
/// let mut estimate = FisherEstimate::new(&w, &options)?;
/// estimate.add_log_likelihoods(&(Tensor::vector(&[1.0, 3.0]), Tensor::vector(&[3.0, 6.0])), log_likelihood)?;
/// // Saved, and gone on with later.
/// let mut estimate = FisherEstimate::resume(&w, &options, &estimate.to_checkpoint()?)?;
/// estimate.add_log_likelihoods(&(Tensor::vector(&[1.0]), Tensor::vector(&[0.0])), log_likelihood)?;
/// assert_eq!(estimate.finish()?.arrays().to_f32("")?, [(1.0 + 0.0 + 4.0) / 3.0]);
/// # Ok::<(), gradus_merging::MergeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct FisherEstimate<P: Params> {
    model: P,
    mode: FisherMode,
    fingerprint: String,
    n_examples: u64,
    /// Which tensors, and of each the sum of its squared gradients.
    filter: NameFilter,
    sums: Vec<Vec<f64>>,
}

impl<P: Params> FisherEstimate<P> {
    /// No examples yet.
    ///
    /// # Errors
    /// [`MergeError::Option`] for a sampled mode without draws; [`MergeError::NoTensors`] for a filter that accepts none;
    /// [`MergeError::Source`] for a source that is not the model's; [`MergeError::Checkpoint`] for two tensors of one name.
    pub fn new(model: &P, options: &FisherOptions<'_>) -> Result<Self, MergeError> {
        if let FisherMode::Sampled { draws: 0, .. } = options.mode {
            return Err(MergeError::Option { name: "draws", value: 0.0, expected: "at least 1" });
        }
        let mut arrays = Checkpoint::new();
        files::insert(&mut arrays, "", model)?;
        let (model, mode, filter) = (model.clone(), options.mode, options.filter.clone());
        let mut estimate = Self { model, mode, fingerprint: String::new(), n_examples: 0, filter, sums: Vec::new() };
        estimate.fingerprint = match options.source {
            Some(source) => estimate.fingerprint_of(source)?,
            None => arrays.fingerprint(),
        };
        estimate.sums = estimate.tensors().iter().map(|(_, x)| vec![0.0; x.count()]).collect();
        if estimate.sums.is_empty() { Err(MergeError::NoTensors) } else { Ok(estimate) }
    }

    /// Checks that a checkpoint has the model's tensors, and takes its fingerprint.
    fn fingerprint_of(&self, source: &dyn Arrays) -> Result<String, MergeError> {
        for (tensor, x) in self.tensors() {
            let own = source.array(&tensor).and_then(|array| array.with_shape(x.shape())?.to_f64());
            if !own.is_ok_and(|own| own.iter().zip(x.as_slice()).all(|(own, x)| *own == x.to_f64())) {
                return Err(MergeError::Source { tensor });
            }
        }
        Ok(source.fingerprint())
    }

    /// What was saved, if there is something, or no examples yet.
    fn start(model: &P, options: &FisherOptions<'_>) -> Result<Self, MergeError> {
        match &options.saving {
            Some(saving) if saving.file.exists() => Self::resume(model, options, &Checkpoint::read(&saving.file)?),
            _ => Self::new(model, options),
        }
    }

    /// The number of examples so far.
    pub fn n_examples(&self) -> u64 {
        self.n_examples
    }

    /// Adds examples of a classifier: a few dozen at a time. `labels` are used by [`FisherMode::Empirical`] alone: one for
    /// each example, or for each token, example by example.
    ///
    /// # Errors
    /// [`MergeError::NoExamples`], [`MergeError::Logits`] naming the example, [`MergeError::LogitsShape`],
    /// [`MergeError::NotExact`] for sequences in the exact mode, [`MergeError::Labels`], [`MergeError::Label`],
    /// [`MergeError::FisherValue`] for gradients that are not finite, [`MergeError::PerExample`] for a model that mixes
    /// examples or inputs that disagree about their number. The estimate is then unchanged.
    pub fn add<X: Params<Elem = P::Elem>>(
        &mut self,
        inputs: &X,
        labels: &[usize],
        logits: impl Fn(&P, &X) -> Tensor<P::Elem>,
    ) -> Result<(), MergeError> {
        let count = self.count(inputs)?;
        let predictions = Predictions::new(&logits(&self.model, inputs), count, self.n_examples)?;
        let (tokens, classes) = (predictions.tokens, predictions.classes);
        let mut sums = self.sums.clone();
        for Outputs { chosen, weights } in predictions.outputs(self.mode, labels)? {
            // Scaling the log-likelihood by the root of its weight scales the squared gradient by the weight.
            let roots = Tensor::from_fn(&[count], |b| P::Elem::from_f64(weights[b].sqrt()));
            let score = |m: &P, (x, root): &(X, Tensor<P::Elem>)| {
                let each = logits(m, x).reshape(&[count * tokens, classes]).softmax_cross_entropy(&chosen);
                each.reshape(&[count, tokens]).sum_axis(1) * root
            };
            self.add_squares(&mut sums, score, &(inputs.clone(), roots))?;
        }
        self.accept(sums, count)
    }

    /// Adds examples of any model by the log-likelihoods of given outputs: `[examples]` of the true ones in the empirical
    /// mode, `[examples, draws]` of outputs that were drawn from the model's own distribution in the sampled mode.
    ///
    /// # Errors
    /// [`MergeError::NotExact`] in the exact mode, [`MergeError::NoExamples`], [`MergeError::LikelihoodShape`],
    /// [`MergeError::FisherValue`] for gradients that are not finite, [`MergeError::PerExample`]. The estimate is then
    /// unchanged.
    pub fn add_log_likelihoods<X: Params<Elem = P::Elem>>(
        &mut self,
        inputs: &X,
        log_likelihood: impl Fn(&P, &X) -> Tensor<P::Elem>,
    ) -> Result<(), MergeError> {
        let count = self.count(inputs)?;
        let (draws, expected) = match self.mode {
            FisherMode::Exact => return Err(MergeError::NotExact { outputs: "outputs that are given one by one" }),
            FisherMode::Sampled { draws, .. } => (draws, vec![count, draws]),
            FisherMode::Empirical => (1, vec![count]),
        };
        let found = log_likelihood(&self.model, inputs).shape().to_vec();
        if found != expected {
            return Err(MergeError::LikelihoodShape { found, expected });
        }
        let mut sums = self.sums.clone();
        let root = P::Elem::from_f64((1.0 / draws as f64).sqrt());
        for draw in 0..draws {
            let of_draw = |m: &P, x: &X| log_likelihood(m, x).reshape(&[count, draws]).narrow(1, draw, 1).reshape(&[count]) * root;
            self.add_squares(&mut sums, of_draw, inputs)?;
        }
        self.accept(sums, count)
    }

    /// The number of examples, not 0.
    fn count<X: Params>(&self, inputs: &X) -> Result<usize, MergeError> {
        match examples(inputs)? {
            0 => Err(MergeError::NoExamples),
            count => Ok(count),
        }
    }

    /// The number of labels of each example of a batch.
    fn labels_each(&self, labels: &[usize], examples: u64) -> Result<usize, MergeError> {
        let (labels, examples) = (labels.len(), examples as usize);
        if self.mode != FisherMode::Empirical {
            return Ok(0);
        }
        if !labels.is_multiple_of(examples) {
            return Err(MergeError::Labels { expected: examples, labels });
        }
        Ok(labels.checked_div(examples).unwrap_or(0))
    }

    /// Adds the squares of the gradients of each example's score to `sums`.
    fn add_squares<X: Params<Elem = P::Elem>>(
        &self,
        sums: &mut [Vec<f64>],
        score: impl FnOnce(&P, &X) -> Tensor<P::Elem>,
        inputs: &X,
    ) -> Result<(), MergeError> {
        let tensors: Vec<Tensor<P::Elem>> = self.tensors().into_iter().map(|(_, x)| x.clone()).collect();
        let of_tensors = |tensors: &Vec<Tensor<P::Elem>>, x: &X| score(&self.with(tensors), x);
        let squares = per_example(of_tensors, &tensors, inputs)?.sum_of_squares();
        for (sum, squares) in sums.iter_mut().zip(&squares) {
            sum.iter_mut().zip(squares.as_slice()).for_each(|(sum, square)| *sum += square.to_f64());
        }
        Ok(())
    }

    /// The model with other tensors in place of those that the filter accepts.
    fn with(&self, tensors: &[Tensor<P::Elem>]) -> P {
        let mut tensors = tensors.iter();
        let mut next = |x: &Tensor<P::Elem>| tensors.next().unwrap_or(x).clone();
        self.model.map(|name, x| if self.filter.accepts(name) { next(x) } else { x.detach() })
    }

    /// Takes the sums after `count` more examples, if they are valid.
    fn accept(&mut self, sums: Vec<Vec<f64>>, count: usize) -> Result<(), MergeError> {
        for ((name, _), sum) in self.tensors().iter().zip(&sums) {
            check_values(name, sum)?;
        }
        self.sums = sums;
        self.n_examples += count as u64;
        Ok(())
    }

    /// The mean over the examples so far.
    ///
    /// # Errors
    /// [`MergeError::NoExamples`]; [`MergeError::FisherValue`] for a mean beyond the range of F32.
    pub fn finish(&self) -> Result<DiagonalFisher, MergeError> {
        let mut arrays = Checkpoint::new();
        for ((name, x), sum) in self.tensors().into_iter().zip(&self.sums) {
            let mean: Vec<f32> = sum.iter().map(|sum| (sum / self.n_examples.max(1) as f64) as f32).collect();
            arrays.insert_f32(name, x.shape(), &mean)?;
        }
        DiagonalFisher::new(arrays, self.n_examples, self.mode, self.fingerprint.clone())
    }

    fn save_if(&self, options: &FisherOptions<'_>, due: bool) -> Result<(), MergeError> {
        match &options.saving {
            Some(saving) if due && self.n_examples > 0 => Ok(self.to_checkpoint()?.write(&saving.file)?),
            _ => Ok(()),
        }
    }

    /// The state as arrays, for a file.
    ///
    /// # Errors
    /// [`MergeError::Checkpoint`] for two tensors of one name.
    pub fn to_checkpoint(&self) -> Result<Checkpoint, MergeError> {
        let mut saved = Checkpoint::new();
        for ((name, x), sum) in self.tensors().into_iter().zip(&self.sums) {
            saved.insert_f64(name, x.shape(), sum)?;
        }
        saved.metadata = metadata(self.n_examples, self.mode, &self.fingerprint);
        Ok(saved)
    }

    /// Goes on from a saved state of the same model and mode. Added in the same parts as by an estimate that was never
    /// interrupted, the same examples give the same bits; cut otherwise, sums differ by their rounding.
    ///
    /// # Errors
    /// Those of [`FisherEstimate::new`]; [`MergeError::Fingerprint`] for another model's state, [`MergeError::Metadata`]
    /// for a bad entry or another mode, [`MergeError::Checkpoint`] for an array that is missing or of another shape,
    /// [`MergeError::FisherValue`] for sums that are no sums of squares.
    pub fn resume(model: &P, options: &FisherOptions<'_>, saved: &Checkpoint) -> Result<Self, MergeError> {
        let mut estimate = Self::new(model, options)?;
        let found = entry(&saved.metadata, "model", "a fingerprint")?;
        if found != estimate.fingerprint {
            return Err(MergeError::Fingerprint { model: 0, expected: found.into(), found: estimate.fingerprint });
        }
        let (key, expected) = ("mode", "the mode of this estimate");
        let found = entry(&saved.metadata, key, expected)?;
        if found != estimate.mode.to_string() {
            return Err(MergeError::Metadata { key, found: Some(found.into()), expected });
        }
        estimate.n_examples = n_examples(&saved.metadata, 0)?;
        let tensors = estimate.tensors();
        let read = |(name, x): &(String, &Tensor<P::Elem>)| {
            let sum = saved.get(name)?.with_shape(x.shape())?.to_f64()?;
            check_values(name, &sum).map(|()| sum)
        };
        estimate.sums = tensors.iter().map(read).collect::<Result<_, _>>()?;
        Ok(estimate)
    }

    /// The differentiable tensors that the filter accepts.
    fn tensors(&self) -> Vec<(String, &Tensor<P::Elem>)> {
        let mut tensors = Vec::new();
        self.model.for_each(&mut Path::default(), &mut |path, x| {
            if !path.is_buffer() && self.filter.accepts(path.name()) {
                tensors.push((path.name().to_owned(), x));
            }
        });
        tensors
    }
}
