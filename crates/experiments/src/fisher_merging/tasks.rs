//! The eight tasks, the encoder and its training.

use std::ops::ControlFlow;

use gradus_autodiff::Tensor;
use gradus_base::{Cancel, Observer, stream};
use gradus_checkpoint::Checkpoint;
use gradus_data::{Dataset, ImageTransform, accuracy, argmax_rows, digits, load_images, shuffled};
use gradus_merging::fisher::{DiagonalFisher, FisherMode, FisherOptions, fisher_of_classifier};
use gradus_models::{Activation, FitError, FitOptions, Linear, Mlp, Pass, Step, files, fit, init, loss};
use gradus_optimizers::Adam;
use rand::RngExt;

use crate::{Context, ExperimentError, Profile};

const HIDDEN: usize = 256;
const CODE: usize = 64;
/// The digits on which the shares of the rows are defined: rows of all, of the training pool, of the base model.
const ROWS: usize = 1797;
const TRAIN: usize = 1100;
const BASE: usize = 150;

/// How long is trained.
pub(super) struct Lengths {
    base: u64,
    fine_tune: u64,
}

impl Lengths {
    pub(super) fn of(profile: Profile) -> Self {
        match profile {
            Profile::Smoke => Self { base: 3, fine_tune: 3 },
            _ => Self { base: 30, fine_tune: 150 },
        }
    }
}

/// The images and what is done with which row.
pub(super) struct Tasks {
    data: Dataset,
    side: usize,
    /// One fixed random order; the training pool is its beginning, and the base model's rows are the pool's.
    order: Vec<usize>,
    train: usize,
    base: usize,
    cancel: Cancel,
}

impl Tasks {
    pub(super) fn load(context: &Context<'_>) -> Result<Self, ExperimentError> {
        let data = match context.data() {
            None => digits(),
            Some(folder) => load_images(folder).map_err(ExperimentError::data)?,
        };
        let side = match data.image {
            Some([1, height, width]) if height == width => height,
            _ => return Err(ExperimentError::data(format!("{}: the images are not grey and square", data.name))),
        };
        let share = |of: usize| (data.len() * of + ROWS / 2) / ROWS;
        let (train, base) = (share(TRAIN), share(BASE));
        // The Fisher information of the largest run needs 800 rows of the pool behind the base model's.
        if train < base + 800 {
            return Err(ExperimentError::data(format!("{}: {} images are too few, at least {ROWS} are needed", data.name, data.len())));
        }
        check_classes(&data)?;
        check_images(&data)?;
        let order = shuffled(data.len(), context.integer("row-order")?, "fisher-merging-rows", 0);
        Ok(Self { data, side, order, train, base, cancel: context.cancel().clone() })
    }

    pub(super) fn describe(&self) -> serde_json::Value {
        serde_json::json!({
            "name": self.data.name, "rows": self.data.len(), "base_rows": self.base, "train_rows": self.train,
            "test_rows": self.data.len() - self.train, "side": self.side,
        })
    }

    pub(super) fn name(&self, task: usize) -> &'static str {
        ImageTransform::ALL[task].name()
    }

    /// One frozen random orthonormal head for each task, `[code, classes]`.
    pub(super) fn heads(&self, seed: u64) -> Vec<Tensor> {
        let head = |task: usize| init::orthogonal(CODE, self.data.classes, &mut stream(seed, "fisher-merging-head", task as u64));
        (0..ImageTransform::ALL.len()).map(head).collect()
    }

    /// The images of these rows as one task sees them, `[rows, pixels]`, and their labels.
    fn rows(&self, task: usize, rows: &[usize]) -> (Tensor, Vec<usize>) {
        let images = rows.iter().flat_map(|&row| ImageTransform::ALL[task].apply(self.data.row(row), self.side));
        let images: Vec<f32> = images.collect();
        let (count, width) = (rows.len(), self.data.width);
        (Tensor::from_fn(&[count, width], |i| images[i]), self.data.labels_of(rows))
    }

    /// Rows drawn with replacement out of a part of the order.
    fn draw(&self, part: std::ops::Range<usize>, count: usize, rng: &mut impl rand::Rng) -> Vec<usize> {
        (0..count).map(|_| self.order[rng.random_range(part.clone())]).collect()
    }

    fn encoder(&self, seed: u64) -> Mlp {
        let rng = &mut stream(seed, "fisher-merging-encoder", 0);
        let layer = |input: usize, output: usize, variance: f64, rng: &mut _| {
            Linear::with_weight(init::normal(&[output, input], (variance / input as f64).sqrt(), rng))
        };
        let layers = vec![layer(self.data.width, HIDDEN, 2.0, rng), layer(HIDDEN, CODE, 1.0, rng)];
        Mlp { layers, activation: Activation::Relu }
    }

    /// A new encoder, trained a little on all tasks.
    pub(super) fn base(&self, seed: u64, heads: &[Tensor], lengths: &Lengths, observer: &mut dyn Observer) -> Result<Mlp, ExperimentError> {
        let batch = |step: u64| -> Vec<(Tensor, Vec<usize>)> {
            let rng = &mut stream(seed, "fisher-merging-base", step);
            (0..heads.len()).map(|task| self.rows(task, &self.draw(0..self.base, 16, rng))).collect()
        };
        let mean_loss = |encoder: &Mlp, batch: &Vec<(Tensor, Vec<usize>)>, _: &mut Pass| {
            let losses = batch.iter().zip(heads).map(|((x, labels), head)| loss::cross_entropy(&logits(encoder, head, x), labels));
            losses.fold(Tensor::scalar(0.0), |sum, loss| sum + loss) * (1.0 / heads.len() as f32)
        };
        let rule = Adam { learning_rate: 3e-3, ..Adam::default() };
        let options = FitOptions { steps: lengths.base, cancel: self.cancel.clone(), ..FitOptions::default() };
        let watch = shown(lengths.base, "first training", observer);
        Ok(fit(self.encoder(seed), &rule, batch, mean_loss, &options, watch).map_err(|error| self.training(error))?.model)
    }

    /// The base encoder, trained on one task; `stream_of` seeds its batches.
    pub(super) fn fine_tune(
        &self,
        base: &Mlp,
        task: usize,
        head: &Tensor,
        stream_of: (u64, u64),
        lengths: &Lengths,
        observer: &mut dyn Observer,
    ) -> Result<Mlp, ExperimentError> {
        let (seed, index) = stream_of;
        let batch = |step: u64| {
            let rng = &mut stream(seed, "fisher-merging-tune", index * 1_000_000 + step);
            self.rows(task, &self.draw(self.base..self.train, 32, rng))
        };
        let batch_loss =
            |encoder: &Mlp, (x, labels): &(Tensor, Vec<usize>), _: &mut Pass| loss::cross_entropy(&logits(encoder, head, x), labels);
        let options = FitOptions { steps: lengths.fine_tune, cancel: self.cancel.clone(), ..FitOptions::default() };
        let watch = shown(lengths.fine_tune, "fine-tuning", observer);
        Ok(fit(base.clone(), &Adam::default(), batch, batch_loss, &options, watch).map_err(|error| self.training(error))?.model)
    }

    /// The Fisher information of an encoder at one task, from the first rows behind the base model's.
    pub(super) fn fisher(
        &self,
        encoder: &Mlp,
        task: usize,
        head: &Tensor,
        mode: FisherMode,
        count: usize,
        observer: &mut dyn Observer,
    ) -> Result<DiagonalFisher, ExperimentError> {
        let (x, labels) = self.rows(task, &self.order[self.base..self.base + count]);
        let own = |encoder: &Mlp, x: &Tensor| logits(encoder, head, x);
        let options = FisherOptions { mode, cancel: self.cancel.clone(), ..FisherOptions::default() };
        Ok(fisher_of_classifier(encoder, [(x, labels)], own, &options, observer)?)
    }

    /// A training that diverges may be the data's fault.
    fn training(&self, error: FitError) -> ExperimentError {
        match error {
            FitError::Interrupted(interrupted) => interrupted.into(),
            error => ExperimentError::method(format!("{}: {error}", self.data.name)),
        }
    }

    fn test_rows(&self) -> &[usize] {
        &self.order[self.train..]
    }

    /// The share of the test rows that an encoder classifies rightly.
    pub(super) fn accuracy(&self, encoder: &Mlp, task: usize, head: &Tensor) -> f64 {
        let (x, _) = self.rows(task, self.test_rows());
        self.score(logits(encoder, head, &x).as_slice())
    }

    /// The probabilities of the test rows' classes, `[rows, classes]`.
    pub(super) fn probabilities(&self, encoder: &Mlp, task: usize, head: &Tensor) -> Vec<f32> {
        let (x, _) = self.rows(task, self.test_rows());
        logits(encoder, head, &x).softmax().to_vec()
    }

    /// The accuracy of scores `[test rows, classes]`.
    pub(super) fn score(&self, scores: &[f32]) -> f64 {
        let predicted = argmax_rows(scores, self.data.classes);
        // Not a number only if there were no test rows.
        accuracy(&predicted, &self.data.labels_of(self.test_rows())).unwrap_or(f64::NAN)
    }
}

/// Each class has images, and there are orthonormal directions for all of them.
fn check_classes(data: &Dataset) -> Result<(), ExperimentError> {
    let (name, classes) = (&data.name, data.classes);
    if classes > CODE {
        return Err(ExperimentError::data(format!("{name}: there are labels up to {}, expected at most {}", classes - 1, CODE - 1)));
    }
    match (0..classes).find(|class| !data.labels.contains(class)) {
        Some(class) => {
            Err(ExperimentError::data(format!("{name}: no image has the label {class}, but there are labels up to {}", classes - 1)))
        }
        None => Ok(()),
    }
}

/// No image is of one shade: of an image without contrast, black as it is or inverted, the encoder's code is 0, and has
/// no direction.
fn check_images(data: &Dataset) -> Result<(), ExperimentError> {
    let flat = |row: &usize| data.row(*row).windows(2).all(|pair| pair[0] == pair[1]);
    match (0..data.len()).find(flat) {
        Some(row) => Err(ExperimentError::data(format!("{}: image {row}, counted from 0, has the same value at every pixel", data.name))),
        None => Ok(()),
    }
}

/// Ten times the cosines between the code and the head's directions, `[rows, classes]`.
fn logits(encoder: &Mlp, head: &Tensor, x: &Tensor) -> Tensor {
    let code = encoder.call(x);
    let length = code.square().sum_keep(-1).sqrt();
    (code / length).matmul(head) * 10.0
}

pub(super) fn to_checkpoint(encoder: &Mlp) -> Result<Checkpoint, ExperimentError> {
    let mut arrays = Checkpoint::new();
    files::insert(&mut arrays, "", encoder).map_err(ExperimentError::method)?;
    Ok(arrays)
}

pub(super) fn from_checkpoint(arrays: &Checkpoint, like: &Mlp) -> Result<Mlp, ExperimentError> {
    files::extract(arrays, "", like).map_err(ExperimentError::method)
}

/// For [`fit`]: shows each step.
fn shown<'a, S: 'a>(steps: u64, stage: &'a str, observer: &'a mut dyn Observer) -> impl FnMut(&Step<'_, Mlp, S>) -> ControlFlow<()> + 'a {
    observer.progress(0, Some(steps), stage);
    move |step| {
        observer.progress(step.step, Some(steps), stage);
        ControlFlow::Continue(())
    }
}
