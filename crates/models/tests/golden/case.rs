//! A golden file: named tensors of 64-bit floats.

use std::path::PathBuf;

use gradus_autodiff::Tensor;
use gradus_checkpoint::Checkpoint;

pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

pub(crate) struct Golden(pub(crate) Checkpoint);

impl Golden {
    pub(crate) fn open(area: &str) -> Self {
        Self(Checkpoint::read(folder().join(format!("{area}.safetensors"))).unwrap())
    }

    pub(crate) fn get(&self, name: &str) -> Tensor<f64> {
        let array = self.0.get(name).unwrap();
        Tensor::from_vec(array.to_f64().unwrap(), array.shape).unwrap()
    }

    /// Rows of indices, stored as floats.
    pub(crate) fn rows(&self, name: &str) -> Vec<Vec<usize>> {
        let x = self.get(name);
        x.as_slice().chunks(x.shape()[1]).map(|row| row.iter().map(|x| *x as usize).collect()).collect()
    }

    /// Panics unless `ours` has the shape and, to `tolerance` relative to 1 + |theirs|, the elements of the tensor `name`.
    #[track_caller]
    pub(crate) fn agrees(&self, name: &str, ours: &Tensor<f64>, tolerance: f64) {
        let theirs = self.get(name);
        assert_eq!(ours.shape(), theirs.shape(), "{name}");
        for (i, (a, b)) in ours.as_slice().iter().zip(theirs.as_slice()).enumerate() {
            assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{name}, element {i}: ours {a}, theirs {b}");
        }
    }
}
