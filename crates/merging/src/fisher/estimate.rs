use gradus_autodiff::{Params, Scalar, Tensor, per_example};
use gradus_base::{Cancel, Observer, stream};
use gradus_checkpoint::Checkpoint;
use gradus_models::files;
use rand::RngExt;

use super::{DiagonalFisher, FisherMode};
use crate::{MergeError, NameFilter};

/// Examples whose gradients are taken together.
const CHUNK: usize = 64;

/// The diagonal Fisher information of a classifier at its own parameters, from examples along the first axis of `inputs`
/// (Matena, Raffel 2022, section 3.1): the mean over examples of `E_y [(∇ log p(y|x))²]`, with the square of each single
/// gradient. `logits` gives `[examples, classes]` and must treat examples apart (batch statistics frozen, no dropout).
/// `labels` are needed by [`FisherMode::Empirical`] alone.
///
/// # Errors
/// [`MergeError`]; [`MergeError::Interrupted`] when cancelled (use [`FisherEstimate`] to go on later).
///
/// ```
/// use gradus_autodiff::Tensor;
/// use gradus_base::{Cancel, Silent};
/// use gradus_merging::fisher::{FisherMode, fisher_of_classifier};
/// use gradus_models::Linear;
///
/// let model: Linear<f64> = Linear::with_weight(Tensor::zeros(&[2, 2]));
/// let x = Tensor::from_vec(vec![1.0, 2.0], &[1, 2])?;
/// let fisher = fisher_of_classifier(&model, &x, None, Linear::call, FisherMode::Exact, &Cancel::new(), &mut Silent)?;
/// assert_eq!(fisher.arrays().to_f32("weight")?, [0.25, 1.0, 0.25, 1.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn fisher_of_classifier<P: Params, X: Params<Elem = P::Elem>>(
    model: &P,
    inputs: &X,
    labels: Option<&[usize]>,
    logits: impl Fn(&P, &X) -> Tensor<P::Elem>,
    mode: FisherMode,
    cancel: &Cancel,
    observer: &mut dyn Observer,
) -> Result<DiagonalFisher, MergeError> {
    let total = examples(inputs);
    let labels = labels.unwrap_or(&[]);
    if mode == FisherMode::Empirical && labels.len() != total {
        return Err(MergeError::Labels { examples: total, labels: labels.len() });
    }
    let mut estimate = FisherEstimate::new(model, mode)?;
    for start in (0..total).step_by(CHUNK) {
        cancel.check()?;
        let count = CHUNK.min(total - start);
        let chunk = inputs.map(|_, x| x.narrow(0, start, count));
        let own = if mode == FisherMode::Empirical { &labels[start..start + count] } else { &[] };
        estimate.add(&chunk, own, &logits)?;
        observer.progress((start + count) as u64, Some(total as u64), "Fisher information");
    }
    estimate.finish()
}

fn examples<X: Params>(inputs: &X) -> usize {
    inputs.leaves().first().and_then(|x| x.shape().first().copied()).unwrap_or(0)
}

/// A Fisher information that grows example by example, and that can be saved and gone on with.
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
    /// [`MergeError::Option`] for a sampled mode without draws; [`MergeError::Checkpoint`] for two tensors of one name.
    pub fn new(model: &P, mode: FisherMode) -> Result<Self, MergeError> {
        Self::of_tensors(model, mode, NameFilter::default())
    }

    /// No examples yet; only of the tensors that `filter` accepts, such as some of the layers. The others are constants.
    ///
    /// # Errors
    /// As [`FisherEstimate::new`].
    pub fn of_tensors(model: &P, mode: FisherMode, filter: NameFilter) -> Result<Self, MergeError> {
        if let FisherMode::Sampled { draws: 0, .. } = mode {
            return Err(MergeError::Option { name: "draws", value: 0.0, expected: "at least 1" });
        }
        let mut arrays = Checkpoint::new();
        files::insert(&mut arrays, "", model)?;
        let mut estimate = Self { model: model.clone(), mode, fingerprint: arrays.fingerprint(), n_examples: 0, filter, sums: Vec::new() };
        estimate.sums = estimate.tensors().iter().map(|(_, x)| vec![0.0; x.count()]).collect();
        Ok(estimate)
    }

    /// The number of examples so far.
    pub fn n_examples(&self) -> u64 {
        self.n_examples
    }

    /// Adds examples of a classifier: a few dozen at a time. `labels` are used by [`FisherMode::Empirical`] alone.
    ///
    /// # Errors
    /// [`MergeError::Logits`] naming the example, [`MergeError::LogitsShape`], [`MergeError::Labels`],
    /// [`MergeError::PerExample`] for a model that mixes examples. The estimate is then unchanged.
    pub fn add<X: Params<Elem = P::Elem>>(
        &mut self,
        inputs: &X,
        labels: &[usize],
        logits: impl Fn(&P, &X) -> Tensor<P::Elem>,
    ) -> Result<(), MergeError> {
        let count = examples(inputs);
        if count == 0 {
            return Err(MergeError::NoExamples);
        }
        let probabilities = self.probabilities(&logits(&self.model, inputs), count)?;
        let mut sums = self.sums.clone();
        for Outputs { chosen, weights } in self.outputs(&probabilities, labels)? {
            // Scaling the log-likelihood by the root of its weight scales the squared gradient by the weight.
            let roots = Tensor::from_fn(&[count], |b| P::Elem::from_f64(weights[b].sqrt()));
            let score = |m: &P, (x, root): &(X, Tensor<P::Elem>)| logits(m, x).softmax_cross_entropy(&chosen) * root;
            self.add_squares(&mut sums, score, &(inputs.clone(), roots))?;
        }
        self.sums = sums;
        self.n_examples += count as u64;
        Ok(())
    }

    /// Adds examples of any model by their log-likelihoods `[examples]`, one output each: a sample, or a label.
    ///
    /// # Errors
    /// [`MergeError::NoExamples`], [`MergeError::PerExample`].
    pub fn add_log_likelihoods<X: Params<Elem = P::Elem>>(
        &mut self,
        inputs: &X,
        log_likelihood: impl FnOnce(&P, &X) -> Tensor<P::Elem>,
    ) -> Result<(), MergeError> {
        let count = examples(inputs);
        if count == 0 {
            return Err(MergeError::NoExamples);
        }
        let mut sums = self.sums.clone();
        self.add_squares(&mut sums, log_likelihood, inputs)?;
        self.sums = sums;
        self.n_examples += count as u64;
        Ok(())
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

    /// The mean over the examples so far.
    ///
    /// # Errors
    /// [`MergeError::NoExamples`].
    pub fn finish(&self) -> Result<DiagonalFisher, MergeError> {
        let mut arrays = Checkpoint::new();
        for ((name, x), sum) in self.tensors().into_iter().zip(&self.sums) {
            let mean: Vec<f32> = sum.iter().map(|sum| (sum / self.n_examples.max(1) as f64) as f32).collect();
            arrays.insert_f32(name, x.shape(), &mean)?;
        }
        DiagonalFisher::new(arrays, self.n_examples, self.mode, self.fingerprint.clone())
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
        let entries = [("n_examples", self.n_examples.to_string()), ("mode", self.mode.to_string()), ("model", self.fingerprint.clone())];
        saved.metadata = entries.map(|(key, value)| (key.into(), value)).into();
        Ok(saved)
    }

    /// Goes on from a saved state of the same model and mode, with the same bits as if it had never been interrupted, for
    /// the tensors that the state holds.
    ///
    /// # Errors
    /// [`MergeError::Fingerprint`] for another model's state, [`MergeError::Metadata`] for a bad entry or another mode,
    /// [`MergeError::Checkpoint`] for an array of another shape.
    pub fn resume(model: &P, mode: FisherMode, saved: &Checkpoint) -> Result<Self, MergeError> {
        let filter = NameFilter { include: saved.names().map(String::from).collect(), exclude: Vec::new() };
        let mut estimate = Self::of_tensors(model, mode, filter)?;
        let entry = |key: &'static str| saved.metadata.get(key).cloned();
        let found = entry("model").unwrap_or_default();
        if found != estimate.fingerprint {
            return Err(MergeError::Fingerprint { model: 0, expected: found, found: estimate.fingerprint });
        }
        if entry("mode") != Some(mode.to_string()) {
            return Err(MergeError::Metadata { key: "mode", found: entry("mode"), expected: "the mode of this estimate" });
        }
        let count = entry("n_examples").and_then(|text| text.parse().ok());
        let bad = MergeError::Metadata { key: "n_examples", found: entry("n_examples"), expected: "a number" };
        estimate.n_examples = count.ok_or(bad)?;
        let tensors = estimate.tensors();
        let read = |(name, x): &(String, &Tensor<P::Elem>)| saved.get(name)?.with_shape(x.shape())?.to_f64();
        estimate.sums = tensors.iter().map(read).collect::<Result<_, _>>()?;
        Ok(estimate)
    }

    /// The differentiable tensors that the filter accepts.
    fn tensors(&self) -> Vec<(String, &Tensor<P::Elem>)> {
        let mut tensors = Vec::new();
        self.model.for_each(&mut gradus_autodiff::Path::default(), &mut |path, x| {
            if !path.is_buffer() && self.filter.accepts(path.name()) {
                tensors.push((path.name().to_owned(), x));
            }
        });
        tensors
    }

    /// The classes' probabilities, `[examples, classes]`.
    fn probabilities(&self, logits: &Tensor<P::Elem>, examples: usize) -> Result<Vec<Vec<f64>>, MergeError> {
        let classes = match *logits.shape() {
            [rows, classes] if rows == examples && classes > 0 => classes,
            _ => return Err(MergeError::LogitsShape { found: logits.shape().to_vec(), examples }),
        };
        if let Some(at) = logits.as_slice().iter().position(|x| !x.is_finite()) {
            let example = self.n_examples as usize + at / classes;
            return Err(MergeError::Logits { example, class: at % classes, value: logits.as_slice()[at].to_f64() });
        }
        let probabilities = logits.cast::<f64>().softmax();
        Ok(probabilities.as_slice().chunks(classes).map(<[f64]>::to_vec).collect())
    }

    /// The outputs whose squared gradients make the expectation, one per example and pass.
    fn outputs(&self, probabilities: &[Vec<f64>], labels: &[usize]) -> Result<Vec<Outputs>, MergeError> {
        let (examples, classes) = (probabilities.len(), probabilities[0].len());
        match self.mode {
            FisherMode::Exact => Ok((0..classes).map(|y| Outputs::of_class(y, probabilities.iter().map(|p| p[y]))).collect()),
            FisherMode::Sampled { draws, seed } => {
                let drawn: Vec<Vec<usize>> = (0..).zip(probabilities).map(|(b, p)| self.draw(b, p, draws, seed)).collect();
                // As many passes as draws or classes, whichever are fewer.
                if draws <= classes {
                    let weights = vec![1.0 / draws as f64; examples];
                    return Ok((0..draws)
                        .map(|s| Outputs { chosen: drawn.iter().map(|d| d[s]).collect(), weights: weights.clone() })
                        .collect());
                }
                let share = |d: &Vec<usize>, y: usize| d.iter().filter(|&&own| own == y).count() as f64 / draws as f64;
                Ok((0..classes).map(|y| Outputs::of_class(y, drawn.iter().map(|d| share(d, y)))).collect())
            }
            FisherMode::Empirical => {
                if labels.len() != examples {
                    return Err(MergeError::Labels { examples, labels: labels.len() });
                }
                if let Some((example, &label)) = labels.iter().enumerate().find(|(_, label)| **label >= classes) {
                    return Err(MergeError::Label { example: self.n_examples as usize + example, label, classes });
                }
                Ok(vec![Outputs { chosen: labels.to_vec(), weights: vec![1.0; examples] }])
            }
        }
    }

    /// Draws from one example's distribution, from a stream of its own.
    fn draw(&self, example: u64, probabilities: &[f64], draws: usize, seed: u64) -> Vec<usize> {
        let mut rng = stream(seed, "fisher-sample", self.n_examples + example);
        let mut one = || {
            let mut left: f64 = rng.random();
            let reached = probabilities.iter().position(|p| {
                left -= p;
                left < 0.0
            });
            // Rounding can leave a little at the end.
            reached.unwrap_or_else(|| probabilities.iter().rposition(|&p| p > 0.0).unwrap_or(0))
        };
        (0..draws).map(|_| one()).collect()
    }
}

/// One output for each example, and its weight in the expectation.
struct Outputs {
    chosen: Vec<usize>,
    weights: Vec<f64>,
}

impl Outputs {
    fn of_class(class: usize, weights: impl Iterator<Item = f64>) -> Self {
        let weights: Vec<f64> = weights.collect();
        Self { chosen: vec![class; weights.len()], weights }
    }
}
