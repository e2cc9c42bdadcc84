use gradus_base::{Cancel, Observer, Silent};
use gradus_checkpoint::{Array, Checkpoint, NamedArray};
use rayon::prelude::*;
use serde::Serialize;

use super::DiagonalFisher;
use crate::arrays::{self, is_float};
use crate::blocks::{self, BLOCK, Means};
use crate::{Arrays, MergeError, NameFilter};

/// What a coordinate gets where the weight of every model is 0.
///
/// With a positive floor that happens only with [`FisherMerge::favor_target`] and a coefficient of 0 for the target, which
/// alone is floored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeadCoordinate {
    /// [`MergeError::DeadCoordinate`] with a floor of 0. With a positive one the target's value, which it has for any
    /// coefficient of the target above 0, however small: a search over coefficients does not fail at its end.
    #[default]
    Error,
    /// The target's value.
    KeepTarget,
    /// The λ-weighted mean of the models whose λ is above 0.
    Mean,
}

/// How models are merged by Fisher information. The first model is the target. The defaults are those of the authors' code.
#[derive(Clone, Debug, PartialEq)]
pub struct FisherMerge {
    /// Smaller Fisher entries are raised to it, before normalisation; at least 0.
    pub floor: f64,
    /// Whether the floor holds for the target alone: where all others have a Fisher of 0, the target's value is then kept.
    /// Otherwise it holds for all models: where all have a Fisher of 0, their values are averaged with λ_i, or with
    /// λ_i / ‖F_i‖₂ if normalised.
    pub favor_target: bool,
    /// Whether λ_i is divided by ‖F_i‖₂ over all arrays of the Fisher, those too that are not merged, so that it means the
    /// same for models of different scale.
    pub normalize: bool,
    /// What happens where the weight of every model is 0.
    pub dead: DeadCoordinate,
    /// Which arrays are merged; the others are the target's, such as heads of different tasks.
    pub filter: NameFilter,
    /// Arrays that have no Fisher information and are averaged with λ instead, such as running statistics; patterns.
    pub averaged: Vec<String>,
    /// Whether a Fisher is refused that was estimated for another model.
    pub check_fingerprints: bool,
}

impl Default for FisherMerge {
    fn default() -> Self {
        Self {
            floor: 1e-6,
            favor_target: true,
            normalize: true,
            dead: DeadCoordinate::Error,
            filter: NameFilter::default(),
            averaged: vec!["*running_mean".into(), "*running_var".into()],
            check_fingerprints: true,
        }
    }
}

/// What a merge did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MergeReport {
    /// The sum of the given coefficients; only their ratios matter.
    pub lambda_sum: f64,
    /// The coefficients with sum 1.
    pub lambdas: Vec<f64>,
    /// ‖F_i‖₂ of each model's whole Fisher, before the floor.
    pub fisher_norms: Vec<f64>,
    /// Array by array, those that were merged by Fisher information.
    pub tensors: Vec<TensorReport>,
}

impl MergeReport {
    /// The share of all merged coordinates at which the floor raised some model's Fisher.
    pub fn floored_share(&self) -> f64 {
        let count: usize = self.tensors.iter().map(|tensor| tensor.count).sum();
        let floored: usize = self.tensors.iter().map(|tensor| tensor.floored).sum();
        floored as f64 / count.max(1) as f64
    }
}

/// What a merge did to one array.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorReport {
    /// Its name.
    pub name: String,
    /// Its number of elements.
    pub count: usize,
    /// Elements at which the floor raised some model's Fisher.
    pub floored: usize,
    /// Elements at which every weight was 0.
    pub dead: usize,
    /// The mean weight of each model, `λ_i F_ij / Σ_i λ_i F_ij` over the elements that are not dead.
    pub shares: Vec<f64>,
}

impl FisherMerge {
    /// Merges models with their Fishers and importance coefficients λ.
    ///
    /// Names and shapes must fit for all models. A model whose λ is 0 is then dropped: neither its values nor its Fisher's
    /// have any influence, not even where they are not numbers.
    ///
    /// # Errors
    /// [`MergeError`]; nothing is merged unless everything is valid.
    ///
    /// ```
    /// use gradus_checkpoint::Checkpoint;
    /// use gradus_merging::fisher::{DiagonalFisher, FisherMerge, FisherMode};
    /// use gradus_merging::{MergeError, NameFilter};
    ///
    /// let arrays = |body: [f32; 3], head: f32| {
    ///     let mut arrays = Checkpoint::new();
    ///     arrays.insert_f32("body", &[3], &body)?;
    ///     arrays.insert_f32("head", &[1], &[head])?;
    ///     Ok::<_, MergeError>(arrays)
    /// };
    /// let (a, b) = (arrays([1.0, 2.0, 3.0], 7.0)?, arrays([3.0, 6.0, -1.0], 8.0)?);
    /// let fisher = |arrays, model: &Checkpoint| DiagonalFisher::new(arrays, 100, FisherMode::Exact, model.fingerprint());
    /// let fishers = [fisher(arrays([4.0, 0.0, 1.0], 0.0)?, &a)?, fisher(arrays([1.0, 0.0, 3.0], 0.0)?, &b)?];
    ///
    /// let filter = NameFilter { exclude: vec!["head".into()], ..NameFilter::default() };
    /// let merge = FisherMerge { normalize: false, filter, ..FisherMerge::default() };
    /// let (merged, report) = merge.merge(&[&a, &b], &fishers, &[0.5, 0.5])?;
    /// // The second coordinate tells neither model anything, and is the target's; so is the head.
    /// assert_eq!(merged.to_f32("body")?, [1.4, 2.0, 0.0]);
    /// assert_eq!(merged.to_f32("head")?, [7.0]);
    /// assert_eq!(report.tensors[0].floored, 1);
    /// # Ok::<(), MergeError>(())
    /// ```
    pub fn merge<A: Arrays + ?Sized>(
        &self,
        models: &[&A],
        fishers: &[DiagonalFisher],
        lambdas: &[f64],
    ) -> Result<(Checkpoint, MergeReport), MergeError> {
        self.merge_watched(models, fishers, lambdas, &Cancel::new(), &mut Silent)
    }

    /// [`FisherMerge::merge`], for large models: `observer` hears of each array, and of coefficients that do not sum to 1.
    ///
    /// # Errors
    /// As [`FisherMerge::merge`]; [`MergeError::Interrupted`] once cancelled.
    pub fn merge_watched<A: Arrays + ?Sized>(
        &self,
        models: &[&A],
        fishers: &[DiagonalFisher],
        lambdas: &[f64],
        cancel: &Cancel,
        observer: &mut dyn Observer,
    ) -> Result<(Checkpoint, MergeReport), MergeError> {
        self.check(models, fishers)?;
        let normalised = arrays::check_lambdas(lambdas, models.len())?;
        let weights = self.weights(fishers, &normalised)?;
        arrays::report_sum(lambdas, observer);
        let mut tensors = Vec::new();
        let merged = arrays::each_array(models[0], &self.filter, (cancel, observer), |array| {
            if self.is_averaged(array.name) {
                return arrays::mean_array(array, models, &normalised, cancel);
            }
            let (merged, report) = self.merge_array(array, models, fishers, (&normalised, &weights), cancel)?;
            tensors.push(report);
            Ok(merged)
        })?;
        let fisher_norms = fishers.iter().map(DiagonalFisher::norm).collect();
        Ok((merged, MergeReport { lambda_sum: lambdas.iter().sum(), lambdas: normalised, fisher_norms, tensors }))
    }

    fn is_averaged(&self, name: &str) -> bool {
        arrays::fits(&self.averaged, name)
    }

    /// What holds for every model, with a coefficient of 0 too.
    fn check<A: Arrays + ?Sized>(&self, models: &[&A], fishers: &[DiagonalFisher]) -> Result<(), MergeError> {
        if !self.floor.is_finite() || self.floor < 0.0 {
            return Err(MergeError::Floor { value: self.floor });
        }
        arrays::check_models(models, &self.filter)?;
        if fishers.len() != models.len() {
            return Err(MergeError::FisherCount { models: models.len(), fishers: fishers.len() });
        }
        if self.check_fingerprints {
            // All are computed before the first is looked at, so that the first mismatch is reported for any number of threads.
            let checks: Vec<_> =
                models.par_iter().zip(fishers).enumerate().map(|(model, (own, fisher))| fisher.check_model(*own, model)).collect();
            checks.into_iter().collect::<Result<(), _>>()?;
        }
        for array in models[0].all().iter().filter(|array| self.filter.accepts(array.name)) {
            for (model, fisher) in fishers.iter().enumerate() {
                self.check_fisher(array, fisher, model)?;
            }
        }
        Ok(())
    }

    /// Checks that a Fisher has an array for a merged one, and none for one of integers.
    fn check_fisher(&self, array: &Array<'_>, fisher: &DiagonalFisher, model: usize) -> Result<(), MergeError> {
        let found = fisher.arrays().get(array.name).ok();
        if !is_float(array.dtype) {
            let error = |_| Err(MergeError::NotFloat { tensor: array.name.into(), dtype: array.dtype });
            return found.map_or(Ok(()), error);
        }
        if self.is_averaged(array.name) { Ok(()) } else { arrays::check_like(array, found, "the Fisher", model) }
    }

    /// `λ_i`, or `λ_i / ‖F_i‖₂` if normalised; of the models that are not dropped, the Fisher must be valid.
    fn weights(&self, fishers: &[DiagonalFisher], lambdas: &[f64]) -> Result<Vec<f64>, MergeError> {
        let mut weights = lambdas.to_vec();
        for (model, (weight, fisher)) in weights.iter_mut().zip(fishers).enumerate().filter(|(_, (weight, _))| **weight > 0.0) {
            fisher.check_values()?;
            if self.normalize && fisher.norm() == 0.0 {
                return Err(MergeError::ZeroFisher { model });
            }
            *weight /= if self.normalize { fisher.norm() } else { 1.0 };
        }
        Ok(weights)
    }

    fn merge_array<A: Arrays + ?Sized>(
        &self,
        array: &Array<'_>,
        models: &[&A],
        fishers: &[DiagonalFisher],
        (lambdas, weights): (&[f64], &[f64]),
        cancel: &Cancel,
    ) -> Result<(NamedArray, TensorReport), MergeError> {
        let part = |model: usize| {
            let floor = if model == 0 || !self.favor_target { self.floor } else { 0.0 };
            let (theta, fisher) = (models[model].array(array.name)?, fishers[model].arrays().get(array.name)?);
            Ok(Part { model, theta, fisher, lambda: lambdas[model], weight: weights[model], floor })
        };
        let used = (0..models.len()).filter(|&model| lambdas[model] > 0.0);
        let parts: Vec<Part<'_>> = used.map(part).collect::<Result<_, MergeError>>()?;
        let block = |tally: &mut Tally, start: usize, out: &mut [f64]| self.merge_block(array, &parts, tally, start, out);
        let (merged, tallies) = blocks::fill(array, cancel, || Tally::new(parts.len()), block)?;

        let dead: usize = tallies.iter().map(|tally| tally.dead).sum();
        let first = tallies.iter().find_map(|tally| tally.first_dead);
        if let (DeadCoordinate::Error, true, Some(index)) = (self.dead, self.floor == 0.0, first) {
            return Err(MergeError::DeadCoordinate { tensor: array.name.into(), index });
        }
        let count = array.count();
        let mut shares = vec![0.0; models.len()];
        for (k, part) in parts.iter().enumerate() {
            let sum: f64 = tallies.iter().map(|tally| tally.shares[k]).sum();
            shares[part.model] = sum / (count - dead).max(1) as f64;
        }
        let floored = tallies.iter().map(|tally| tally.floored).sum();
        Ok((merged, TensorReport { name: array.name.into(), count, floored, dead, shares }))
    }

    /// Merges one block and adds to the tally what was done.
    fn merge_block(
        &self,
        target: &Array<'_>,
        parts: &[Part<'_>],
        tally: &mut Tally,
        start: usize,
        out: &mut [f64],
    ) -> Result<(), MergeError> {
        let count = out.len();
        let (mut means, mut theta, mut floored) = (Means::new(), [0.0; BLOCK], [false; BLOCK]);
        let theta = &mut theta[..count];
        for (part, weights) in parts.iter().zip(&mut tally.weights) {
            let weights = &mut weights[..count];
            part.theta.read_f64(start, theta)?;
            part.fisher.read_f64(start, weights)?;
            for (weight, floored) in weights.iter_mut().zip(&mut floored) {
                *floored |= *weight < part.floor;
                *weight = part.weight * weight.max(part.floor);
            }
            means.add(theta, weights);
        }
        means.write(out);
        tally.floored += floored.iter().filter(|floored| **floored).count();
        if means.total[..count].contains(&0.0) {
            self.fill_dead(target, parts, (&means, start), out)?;
        }
        tally.count(&means.total[..count], start);
        Ok(())
    }

    /// Fills the coordinates of a block at which every weight is 0.
    fn fill_dead(
        &self,
        target: &Array<'_>,
        parts: &[Part<'_>],
        (means, start): (&Means, usize),
        out: &mut [f64],
    ) -> Result<(), MergeError> {
        let (mut values, mut theta) = ([0.0; BLOCK], [0.0; BLOCK]);
        let (values, theta) = (&mut values[..out.len()], &mut theta[..out.len()]);
        if self.dead == DeadCoordinate::Mean {
            let mut plain = Means::new();
            for part in parts {
                part.theta.read_f64(start, theta)?;
                plain.add(theta, &[part.lambda; BLOCK]);
            }
            plain.write(values);
        } else {
            target.read_f64(start, values)?;
        }
        let dead = out.iter_mut().zip(values).zip(&means.total).filter(|(_, total)| **total == 0.0);
        dead.for_each(|((out, value), _)| *out = *value);
        Ok(())
    }
}

/// What one model gives to one array.
struct Part<'a> {
    model: usize,
    theta: Array<'a>,
    fisher: Array<'a>,
    lambda: f64,
    /// λ, normalised if asked for.
    weight: f64,
    floor: f64,
}

/// What was done to one piece of an array.
struct Tally {
    floored: usize,
    dead: usize,
    first_dead: Option<usize>,
    /// Of each model, the sum of its shares.
    shares: Vec<f64>,
    /// Of each model, the weights in the block at hand.
    weights: Vec<[f64; BLOCK]>,
}

impl Tally {
    fn new(models: usize) -> Self {
        Self { floored: 0, dead: 0, first_dead: None, shares: vec![0.0; models], weights: vec![[0.0; BLOCK]; models] }
    }

    /// Counts the block at hand, whose weights have these sums.
    fn count(&mut self, totals: &[f64], start: usize) {
        let mut inverse = [0.0; BLOCK];
        let inverse = &mut inverse[..totals.len()];
        for (inverse, &total) in inverse.iter_mut().zip(totals) {
            // Finite also for a sum that is next to nothing.
            *inverse = if total > 0.0 { (1.0 / total).min(f64::MAX) } else { 0.0 };
        }
        for (share, weights) in self.shares.iter_mut().zip(&self.weights) {
            *share += blocks::dot(&weights[..totals.len()], inverse);
        }
        let dead = totals.iter().filter(|total| **total == 0.0).count();
        self.dead += dead;
        if dead > 0 && self.first_dead.is_none() {
            self.first_dead = totals.iter().position(|total| *total == 0.0).map(|j| start + j);
        }
    }
}
