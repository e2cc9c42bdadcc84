//! Inputs and outputs: arrays by name, as safetensors.

use std::collections::BTreeMap;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::Result;

/// An array of numbers of 32 bits; small whole ones, as classes and tokens are, are exact in them.
#[derive(Clone, Debug)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
    /// Whether the file has whole numbers.
    pub(crate) is_whole: bool,
}

impl Array {
    /// The values as whole numbers.
    pub(crate) fn whole(&self) -> Vec<u32> {
        self.values.iter().map(|&x| x as u32).collect()
    }
}

/// Arrays by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrays(pub(crate) BTreeMap<String, Array>);

impl Arrays {
    pub(crate) fn read(file: &str) -> Result<Self> {
        let bytes = std::fs::read(file)?;
        let mut arrays = Self::default();
        for (name, view) in SafeTensors::deserialize(&bytes)?.iter() {
            let values = match view.dtype() {
                Dtype::F32 => view.data().as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
                Dtype::I64 => view.data().as_chunks::<8>().0.iter().map(|&bytes| i64::from_le_bytes(bytes) as f32).collect(),
                other => return Err(format!("{name} has elements of type {other:?}").into()),
            };
            arrays.0.insert(name.to_owned(), Array { shape: view.shape().to_vec(), values, is_whole: view.dtype() == Dtype::I64 });
        }
        Ok(arrays)
    }

    pub(crate) fn write(&self, file: &str) -> Result<()> {
        let bytes: Vec<Vec<u8>> = self.0.values().map(|array| array.values.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
        let views =
            self.0.iter().zip(&bytes).map(|((name, array), bytes)| Ok((name, TensorView::new(Dtype::F32, array.shape.clone(), bytes)?)));
        let views = views.collect::<Result<Vec<_>>>()?;
        Ok(safetensors::serialize_to_file(views, None, std::path::Path::new(file))?)
    }

    pub(crate) fn get(&self, name: &str) -> Result<&Array> {
        self.0.get(name).ok_or_else(|| format!("there is no array {name:?}").into())
    }

    /// The array, taken out.
    pub(crate) fn take(&mut self, name: &str) -> Result<Array> {
        self.0.remove(name).ok_or_else(|| format!("there is no array {name:?}").into())
    }
}
