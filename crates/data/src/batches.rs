use rand::seq::SliceRandom;

/// Seeded batches of row indices, as a function of the step: a training that resumes at step `k` sees the same batches as
/// one that was never interrupted.
///
/// Each epoch is a new permutation of the rows; its last batch is short where `batch` does not divide `rows`.
///
/// ```
/// use gradus_data::Batches;
///
/// let batches = Batches { rows: 10, batch: 4, seed: 7 };
/// assert_eq!(batches.per_epoch(), 3);
/// let mut epoch: Vec<usize> = (0..3).flat_map(|step| batches.at(step)).collect();
/// epoch.sort();
/// assert_eq!(epoch, (0..10).collect::<Vec<_>>());
/// assert_eq!(batches.at(5), batches.at(5));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batches {
    /// The number of rows.
    pub rows: usize,
    /// The largest number of rows of a batch; 0 counts as 1.
    pub batch: usize,
    /// The seed of the permutations.
    pub seed: u64,
}

impl Batches {
    /// The number of batches in an epoch.
    pub fn per_epoch(&self) -> u64 {
        self.rows.div_ceil(self.batch.max(1)) as u64
    }

    /// The rows of the batch at `step`, counted from 0; none where there are no rows.
    pub fn at(&self, step: u64) -> Vec<usize> {
        if self.rows == 0 {
            return Vec::new();
        }
        let order = shuffled(self.rows, self.seed, "batches", step / self.per_epoch());
        let first = (step % self.per_epoch()) as usize * self.batch.max(1);
        order[first..(first + self.batch.max(1)).min(self.rows)].to_vec()
    }
}

/// The indices below `rows` in a random order, from the stream `(seed, purpose, index)`.
pub fn shuffled(rows: usize, seed: u64, purpose: &str, index: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows).collect();
    order.shuffle(&mut gradus_base::stream(seed, purpose, index));
    order
}

/// The indices below `rows` in a random order, cut into consecutive parts by `shares`; what the shares leave goes to a last
/// part. A share of a quarter of 10 rows is `⌊2.5⌋`.
///
/// ```
/// let [train, rest] = &gradus_data::split(10, &[0.8], 7)[..] else { panic!() };
/// assert_eq!((train.len(), rest.len()), (8, 2));
/// ```
pub fn split(rows: usize, shares: &[f64], seed: u64) -> Vec<Vec<usize>> {
    let order = shuffled(rows, seed, "split", 0);
    let mut rest = &order[..];
    let mut parts: Vec<Vec<usize>> = Vec::with_capacity(shares.len() + 1);
    for share in shares {
        // Converting a negative share or NaN gives 0, and one above 1 stops at what is left.
        let count = ((share * rows as f64 + 1e-9) as usize).min(rest.len());
        let (part, after) = rest.split_at(count);
        parts.push(part.to_vec());
        rest = after;
    }
    parts.push(rest.to_vec());
    parts
}
