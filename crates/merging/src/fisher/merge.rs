use gradus_checkpoint::{Array, Checkpoint};

use super::DiagonalFisher;
use crate::arrays::{self, is_float};
use crate::{Arrays, MergeError, NameFilter};

/// What a coordinate gets where the Fisher of every model is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeadCoordinate {
    /// [`MergeError::DeadCoordinate`].
    #[default]
    Error,
    /// The target's value.
    KeepTarget,
    /// The λ-weighted mean.
    Mean,
}

/// How models are merged by Fisher information. The first model is the target. The defaults are those of the authors' code.
#[derive(Clone, Debug, PartialEq)]
pub struct FisherMerge {
    /// Smaller Fisher entries are raised to it, before normalisation; at least 0.
    pub floor: f64,
    /// Whether the floor holds for the target alone: where all others have a Fisher of 0, the target's value is then kept.
    /// Otherwise it holds for all models, and such coordinates get the λ-weighted mean.
    pub favor_target: bool,
    /// Whether λ_i is divided by ‖F_i‖₂ over all arrays, so that it means the same for models of different scale.
    pub normalize: bool,
    /// What happens where every weight is 0 (only with a floor of 0).
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
#[derive(Clone, Debug, PartialEq)]
pub struct MergeReport {
    /// The sum of the given coefficients; only their ratios matter.
    pub lambda_sum: f64,
    /// The coefficients with sum 1.
    pub lambdas: Vec<f64>,
    /// ‖F_i‖₂ of each model over the merged arrays, before the floor.
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
#[derive(Clone, Debug, PartialEq)]
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
    /// Merges models with their Fishers and importance coefficients λ. Arrays of integers are the target's.
    ///
    /// # Errors
    /// [`MergeError`]; nothing is merged unless everything is valid, also where a coefficient is 0.
    pub fn merge<A: Arrays>(
        &self,
        models: &[&A],
        fishers: &[DiagonalFisher],
        lambdas: &[f64],
    ) -> Result<(Checkpoint, MergeReport), MergeError> {
        self.check(models, fishers)?;
        let normalised = arrays::check_lambdas(lambdas, models.len())?;
        let fisher_norms = self.norms(models[0], fishers)?;
        let mut weights = normalised.clone();
        if self.normalize {
            for (model, (weight, norm)) in weights.iter_mut().zip(&fisher_norms).enumerate() {
                if *norm == 0.0 {
                    return Err(MergeError::ZeroFisher { model });
                }
                *weight /= norm;
            }
        }
        let mut merged = Checkpoint::new();
        let mut tensors = Vec::new();
        for array in models[0].all() {
            merged.insert(if !self.filter.accepts(array.name) || !is_float(array.dtype) {
                arrays::copy(&array)
            } else if self.is_averaged(array.name) {
                arrays::like_target(&array, &arrays::mean_array(models, array.name, &normalised)?)
            } else {
                let (values, report) = self.merge_array(&array, models, fishers, &normalised, &weights)?;
                tensors.push(report);
                arrays::like_target(&array, &values)
            })?;
        }
        Ok((merged, MergeReport { lambda_sum: lambdas.iter().sum(), lambdas: normalised, fisher_norms, tensors }))
    }

    fn is_averaged(&self, name: &str) -> bool {
        self.averaged.iter().any(|pattern| gradus_base::matches(pattern, name))
    }

    /// The arrays of the target that are merged by Fisher information.
    fn merged<'a>(&'a self, target: &'a impl Arrays) -> impl Iterator<Item = Array<'a>> {
        let merged = |array: &Array<'_>| self.filter.accepts(array.name) && is_float(array.dtype) && !self.is_averaged(array.name);
        target.all().into_iter().filter(merged)
    }

    fn check<A: Arrays>(&self, models: &[&A], fishers: &[DiagonalFisher]) -> Result<(), MergeError> {
        if !self.floor.is_finite() || self.floor < 0.0 {
            return Err(MergeError::Floor { value: self.floor });
        }
        arrays::check_models(models, &self.filter)?;
        if fishers.len() != models.len() {
            return Err(MergeError::FisherCount { models: models.len(), fishers: fishers.len() });
        }
        for (model, (own, fisher)) in models.iter().zip(fishers).enumerate() {
            if self.check_fingerprints {
                fisher.check_model(*own, model)?;
            }
            let wrong = models[0].all().into_iter().find(|array| !is_float(array.dtype) && fisher.arrays().get(array.name).is_ok());
            if let Some(array) = wrong {
                return Err(MergeError::NotFloat { tensor: array.name.into(), dtype: array.dtype });
            }
            for array in self.merged(models[0]) {
                check_fisher(fisher, model, &array)?;
            }
        }
        Ok(())
    }

    fn norms(&self, target: &impl Arrays, fishers: &[DiagonalFisher]) -> Result<Vec<f64>, MergeError> {
        let norm = |fisher: &DiagonalFisher| {
            let mut sum = 0.0;
            for array in self.merged(target) {
                sum += fisher.arrays().to_f64(array.name)?.iter().map(|f| f * f).sum::<f64>();
            }
            Ok(sum.sqrt())
        };
        fishers.iter().map(norm).collect()
    }

    fn merge_array<A: Arrays>(
        &self,
        array: &Array<'_>,
        models: &[&A],
        fishers: &[DiagonalFisher],
        lambdas: &[f64],
        weights: &[f64],
    ) -> Result<(Vec<f64>, TensorReport), MergeError> {
        let theta: Vec<Vec<f64>> = models.iter().map(|model| model.array(array.name)?.to_f64()).collect::<Result<_, _>>()?;
        let mut fisher: Vec<Vec<f64>> = fishers.iter().map(|f| f.arrays().to_f64(array.name)).collect::<Result<_, _>>()?;
        let count = theta[0].len();
        let used: Vec<usize> = (0..models.len()).filter(|&i| lambdas[i] > 0.0).collect();
        let floors = |i: usize| i == 0 || !self.favor_target;
        let floored = (0..count).filter(|&j| used.iter().any(|&i| floors(i) && fisher[i][j] < self.floor)).count();
        for &i in used.iter().filter(|&&i| floors(i)) {
            fisher[i].iter_mut().for_each(|f| *f = f.max(self.floor));
        }
        let total = |j: usize| used.iter().map(|&i| weights[i] * fisher[i][j]).sum::<f64>();
        let dead: Vec<usize> = (0..count).filter(|&j| total(j) == 0.0).collect();
        if let (DeadCoordinate::Error, Some(&index)) = (self.dead, dead.first()) {
            return Err(MergeError::DeadCoordinate { tensor: array.name.into(), index });
        }
        let mean = |j: usize, weight: &dyn Fn(usize) -> f64| arrays::weighted_mean(used.iter().map(|&i| (weight(i), theta[i][j])));
        let merged = arrays::coordinates(count, |j| match (total(j) == 0.0, self.dead) {
            (false, _) => mean(j, &|i| weights[i] * fisher[i][j]),
            (true, DeadCoordinate::Mean) => mean(j, &|i| lambdas[i]),
            (true, _) => theta[0][j],
        });
        let mut shares = vec![0.0; models.len()];
        for j in (0..count).filter(|&j| total(j) > 0.0) {
            used.iter().for_each(|&i| shares[i] += weights[i] * fisher[i][j] / total(j));
        }
        let alive = (count - dead.len()).max(1) as f64;
        shares.iter_mut().for_each(|share| *share /= alive);
        Ok((merged, TensorReport { name: array.name.into(), count, floored, dead: dead.len(), shares }))
    }
}

/// Checks one array of a Fisher against the target's.
fn check_fisher(fisher: &DiagonalFisher, model: usize, target: &Array<'_>) -> Result<(), MergeError> {
    let (what, tensor) = ("the Fisher", target.name.to_owned());
    let Ok(own) = fisher.arrays().get(target.name) else { return Err(MergeError::Missing { what, model, tensor }) };
    if own.shape != target.shape {
        let (expected, found) = (target.shape.to_vec(), own.shape.to_vec());
        return Err(MergeError::Shape { what, model, tensor, expected, found });
    }
    match own.to_f64()?.into_iter().enumerate().find(|(_, value)| !value.is_finite() || *value < 0.0) {
        Some((index, value)) => Err(MergeError::FisherValue { model, tensor, index, value }),
        None => Ok(()),
    }
}
