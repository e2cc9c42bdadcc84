//! A golden file: named tensors of 64-bit floats.

use gradus_autodiff::Tensor;
use safetensors::{Dtype, SafeTensors};

pub(crate) struct Golden(Vec<u8>);

impl Golden {
    pub(crate) fn open(area: &str) -> Self {
        let file = format!("{}/tests/golden/{area}.safetensors", env!("CARGO_MANIFEST_DIR"));
        Self(std::fs::read(&file).unwrap_or_else(|error| panic!("{file}: {error}")))
    }

    pub(crate) fn get(&self, name: &str) -> Tensor<f64> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let view = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(view.dtype(), Dtype::F64, "{name}");
        let values = view.data().chunks_exact(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect();
        Tensor::from_vec(values, view.shape()).unwrap()
    }

    /// Elements that are indices, stored as floats.
    #[allow(dead_code)]
    pub(crate) fn indices(&self, name: &str) -> Vec<usize> {
        self.get(name).to_vec().into_iter().map(|x| x as usize).collect()
    }

    /// Panics unless `ours` has the shape and, to `tolerance` relative to 1 + |theirs|, the elements of the tensor `name`.
    #[track_caller]
    pub(crate) fn agrees(&self, name: &str, ours: &Tensor<f64>, tolerance: f64) {
        let theirs = self.get(name);
        assert_eq!(ours.shape(), theirs.shape(), "{name}");
        for (i, (a, b)) in ours.as_slice().iter().zip(theirs.as_slice()).enumerate() {
            assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{name}, element {i}: ours {a}, PyTorch's {b}");
        }
    }
}
