use crate::DataError;
use crate::metrics::{below, finite};

/// Labelled rows of numbers.
///
/// ```
/// use gradus_data::Dataset;
///
/// let data = Dataset::new("two points each", vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], vec![0, 1, 1, 0], 2, 2)?;
/// assert_eq!(data.row(1), [2.0, 3.0]);
/// assert_eq!(data.rows(&[3, 0]), [6.0, 7.0, 0.0, 1.0]);
/// assert_eq!(data.select(&[1, 2]).class_counts(), [0, 2]);
/// # Ok::<(), gradus_data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// What the data are, with their source.
    pub name: String,
    /// The rows one behind the other, `[rows, width]`.
    pub features: Vec<f32>,
    /// The class of each row, below `classes`.
    pub labels: Vec<usize>,
    /// The number of features of a row.
    pub width: usize,
    /// The number of classes.
    pub classes: usize,
    /// The names of the classes, in their order; empty where they have none but their numbers.
    pub class_names: Vec<String>,
    /// Channels, height and width where rows are images, in row-major order; their product is `width`.
    pub image: Option<[usize; 3]>,
}

impl Dataset {
    /// The data set of these rows, which are not images; for images, set [`image`](Self::image) too.
    ///
    /// # Errors
    /// [`DataError::Empty`] for no rows or columns, [`DataError::Count`] when the lengths do not fit each other,
    /// [`DataError::NotFinite`] and [`DataError::Label`] naming the row.
    pub fn new(name: &str, features: Vec<f32>, labels: Vec<usize>, width: usize, classes: usize) -> Result<Self, DataError> {
        if labels.is_empty() || width == 0 {
            return Err(DataError::Empty { what: name.into() });
        }
        let expected = labels.len().saturating_mul(width);
        if features.len() != expected {
            return Err(DataError::Count { what: "the number of features", expected, found: features.len() });
        }
        finite(&features, width, name)?;
        below(&labels, classes, name)?;
        Ok(Self { name: name.into(), features, labels, width, classes, class_names: Vec::new(), image: None })
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Row `i`. Panics beyond the last.
    #[track_caller]
    pub fn row(&self, i: usize) -> &[f32] {
        &self.features[i * self.width..(i + 1) * self.width]
    }

    /// The rows of these indices one behind the other, `[indices, width]`. Panics for an index beyond the last row.
    #[track_caller]
    pub fn rows(&self, indices: &[usize]) -> Vec<f32> {
        let mut rows = Vec::with_capacity(indices.len() * self.width);
        indices.iter().for_each(|&i| rows.extend_from_slice(self.row(i)));
        rows
    }

    /// The labels of these indices. Panics for an index beyond the last row.
    #[track_caller]
    pub fn labels_of(&self, indices: &[usize]) -> Vec<usize> {
        indices.iter().map(|&i| self.labels[i]).collect()
    }

    /// The data set of these rows only, in this order. Panics for an index beyond the last row.
    #[track_caller]
    pub fn select(&self, indices: &[usize]) -> Self {
        Self {
            name: self.name.clone(),
            features: self.rows(indices),
            labels: self.labels_of(indices),
            width: self.width,
            classes: self.classes,
            class_names: self.class_names.clone(),
            image: self.image,
        }
    }

    /// The number of rows of each class. Panics for a label beyond the classes, which [`new`](Self::new) does not let pass.
    #[track_caller]
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes];
        self.labels.iter().for_each(|&label| counts[label] += 1);
        counts
    }
}
