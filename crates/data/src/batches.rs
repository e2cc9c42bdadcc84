use rand::seq::SliceRandom;

use crate::DataError;

/// Seeded batches of row indices, as a function of the step: a training that resumes at step `k` sees the same batches as
/// one that was never interrupted.
///
/// Each epoch is a new permutation of the rows: that of epoch `e` comes from the stream `(seed, "batches", e)`.
///
/// ```
/// use gradus_data::Batches;
///
/// let batches = Batches { rows: 10, batch: 4, seed: 7, drop_last: false };
/// assert_eq!(batches.per_epoch(), 3);
/// let mut epoch: Vec<usize> = (0..3).flat_map(|step| batches.at(step)).collect();
/// epoch.sort();
/// assert_eq!(epoch, (0..10).collect::<Vec<_>>());
///
/// let resumed: Vec<_> = batches.starting_at(5).take(2).collect();
/// assert_eq!(resumed, [batches.at(5), batches.at(6)]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batches {
    /// The number of rows.
    pub rows: usize,
    /// The number of rows of a batch; 0 counts as 1.
    pub batch: usize,
    /// The seed of the permutations.
    pub seed: u64,
    /// Whether to leave out the last batch of an epoch where `batch` does not divide `rows`; otherwise it is short.
    pub drop_last: bool,
}

impl Batches {
    /// The number of batches in an epoch; 0 where there are no rows, or fewer than a batch and `drop_last`.
    pub fn per_epoch(&self) -> u64 {
        let batch = self.batch.max(1);
        (if self.drop_last { self.rows / batch } else { self.rows.div_ceil(batch) }) as u64
    }

    /// The rows of the batch at `step`, counted from 0; none where an epoch has no batches.
    ///
    /// It shuffles the epoch anew: for many steps one behind the other, [`starting_at`](Self::starting_at) is faster.
    pub fn at(&self, step: u64) -> Vec<usize> {
        self.starting_at(step).next().unwrap_or_default()
    }

    /// The batches from `step` on, without end; none where an epoch has no batches.
    pub fn starting_at(&self, step: u64) -> impl Iterator<Item = Vec<usize>> + use<> {
        let (batches, per_epoch, batch) = (*self, self.per_epoch(), self.batch.max(1));
        let mut shuffled_epoch = None;
        let mut order = Vec::new();
        let steps = (per_epoch > 0).then_some(step..=u64::MAX).into_iter().flatten();
        steps.map(move |step| {
            let (epoch, within) = (step / per_epoch, (step % per_epoch) as usize);
            if shuffled_epoch != Some(epoch) {
                order = shuffled(batches.rows, batches.seed, "batches", epoch);
                shuffled_epoch = Some(epoch);
            }
            let first = within * batch;
            order[first..first.saturating_add(batch).min(batches.rows)].to_vec()
        })
    }
}

/// The indices below `rows` in a random order, from the stream `(seed, purpose, index)`.
///
/// ```
/// let mut order = gradus_data::shuffled(5, 7, "order of the examples", 0);
/// order.sort();
/// assert_eq!(order, [0, 1, 2, 3, 4]);
/// ```
pub fn shuffled(rows: usize, seed: u64, purpose: &str, index: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows).collect();
    order.shuffle(&mut gradus_base::stream(seed, purpose, index));
    order
}

/// The indices below `rows` in a random order, from the stream `(seed, "split", 0)`, cut into consecutive parts by `shares`;
/// what the shares leave goes to a last part, which may be empty. A share of a quarter of 10 rows is `⌊2.5⌋`.
///
/// ```
/// let parts = gradus_data::split(10, &[0.8], 7)?;
/// assert_eq!((parts[0].len(), parts[1].len()), (8, 2));
/// # Ok::<(), gradus_data::DataError>(())
/// ```
///
/// # Errors
/// [`DataError::Shares`] for a share that is negative or not a number, and for shares that are more than 1 together.
pub fn split(rows: usize, shares: &[f64], seed: u64) -> Result<Vec<Vec<usize>>, DataError> {
    // Shares such as 0.1, 0.2 and 0.7 may add up to slightly more than 1, and their products with `rows` may fall short.
    const ROUNDING: f64 = 1e-9;
    if !(shares.iter().all(|&share| share >= 0.0) && shares.iter().sum::<f64>() <= 1.0 + ROUNDING) {
        return Err(DataError::Shares { shares: shares.to_vec() });
    }
    let order = shuffled(rows, seed, "split", 0);
    let mut rest = &order[..];
    let mut parts: Vec<Vec<usize>> = Vec::with_capacity(shares.len() + 1);
    for share in shares {
        let count = ((share * rows as f64 + ROUNDING) as usize).min(rest.len());
        let (part, after) = rest.split_at(count);
        parts.push(part.to_vec());
        rest = after;
    }
    parts.push(rest.to_vec());
    Ok(parts)
}
