use gradus_base::npy::{NpyArray, NpyError};

use crate::{InteropError, Tensor, TensorError};

#[test]
fn npy_elements_that_fit_and_that_do_not() {
    let single = |values: gradus_base::npy::NpyValues| Tensor::<f32>::from_npy(&NpyArray::new(&[2], values).unwrap());
    let double = |values: gradus_base::npy::NpyValues| Tensor::<f64>::from_npy(&NpyArray::new(&[2], values).unwrap());
    assert_eq!(single(vec![0.5f32, -0.0].into()).unwrap().to_vec(), [0.5, -0.0]);
    assert_eq!(single(vec![true, false].into()).unwrap().to_vec(), [1.0, 0.0]);
    assert_eq!(double(vec![0.1f64, 0.2].into()).unwrap().to_vec(), [0.1, 0.2]);
    assert_eq!(double(vec![i32::MAX, -1].into()).unwrap().to_vec(), [2147483647.0, -1.0]);
    for (error, name) in [(single(vec![0.1f64, 0.2].into()), "f8"), (single(vec![1i32, 2].into()), "i4")] {
        assert!(matches!(error, Err(InteropError::Npy(NpyError::Type { found, .. })) if found == name));
    }
    assert!(matches!(double(vec![1i64, 2].into()), Err(InteropError::Npy(NpyError::Type { found, .. })) if found == "i8"));
    let deep = NpyArray::new(&[1; 9], vec![1.0f32]).unwrap();
    assert!(matches!(Tensor::<f32>::from_npy(&deep), Err(InteropError::Tensor(TensorError::Rank { rank: 9 }))));
}

#[test]
fn npy_files_are_named() {
    let file = std::env::temp_dir().join(format!("gradus-npy-{}", std::process::id()));
    let x: Tensor<f64> = Tensor::from_fn(&[2, 0, 3], |i| i as f64);
    x.write_npy(&file).unwrap();
    assert_eq!(Tensor::<f64>::read_npy(&file).unwrap().shape(), [2, 0, 3]);
    assert!(matches!(Tensor::<f32>::read_npy(&file), Err(InteropError::Npy(NpyError::Type { file: named, .. })) if named == file));
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(Tensor::<f32>::read_npy(&file), Err(InteropError::Npy(NpyError::Io { file: named, .. })) if named == file));
}

#[cfg(feature = "ndarray")]
#[test]
fn arrays_of_ndarray_in_every_layout() {
    use ndarray::{Array3, ArrayD, ArrayViewD, IxDyn, ShapeBuilder, s};
    let logical = |array: &Array3<f32>| array.iter().copied().collect::<Vec<_>>();
    let row_major = Array3::from_shape_fn((2, 3, 4), |(i, j, k)| (i * 100 + j * 10 + k) as f32);
    let column_major = Array3::from_shape_fn((2, 3, 4).f(), |(i, j, k)| (i * 100 + j * 10 + k) as f32);
    for array in [&row_major, &column_major] {
        let tensor = Tensor::try_from(array).unwrap();
        assert_eq!((tensor.shape(), tensor.to_vec()), (&[2, 3, 4][..], logical(&row_major)));
        assert_eq!(ArrayD::try_from(&tensor).unwrap(), array.clone().into_dyn());
        assert_eq!(ArrayViewD::try_from(&tensor).unwrap(), array.clone().into_dyn());
    }
    // Every second, backwards, with the axes in another order.
    let view = row_major.slice(s![.., ..;2, ..;-1]).permuted_axes([2, 0, 1]);
    let tensor = Tensor::try_from(&view).unwrap();
    assert_eq!(tensor.shape(), [4, 2, 2]);
    assert_eq!(tensor.to_vec()[..5], [3.0, 23.0, 103.0, 123.0, 2.0]);
    let scalar = Tensor::try_from(&ndarray::arr0(7.0f64)).unwrap();
    assert_eq!((scalar.shape(), scalar.item()), (&[][..], 7.0));
    assert_eq!(Tensor::try_from(&Array3::<f64>::zeros((0, 2, 1))).unwrap().shape(), [0, 2, 1]);
    let deep = ArrayD::<f32>::zeros(IxDyn(&[1; 9]));
    assert!(matches!(Tensor::try_from(&deep), Err(TensorError::Rank { rank: 9 })));
}

#[cfg(feature = "candle")]
#[test]
fn tensors_of_candle() {
    use candle_core::{DType, Device};
    let x: Tensor = Tensor::from_fn(&[2, 3], |i| i as f32);
    let theirs = candle_core::Tensor::try_from(&x).unwrap();
    assert_eq!((theirs.dims(), theirs.dtype()), (&[2, 3][..], DType::F32));
    assert_eq!(theirs.to_vec2::<f32>().unwrap(), [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]);
    // A transposed one is not contiguous.
    let back = Tensor::<f32>::try_from(&theirs.t().unwrap()).unwrap();
    assert_eq!((back.shape(), back.to_vec()), (&[3, 2][..], vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
    let double: Tensor<f64> = Tensor::scalar(0.1);
    assert_eq!(Tensor::<f64>::try_from(&candle_core::Tensor::try_from(&double).unwrap()).unwrap().item(), 0.1);
    let error = Tensor::<f64>::try_from(&theirs).unwrap_err();
    assert!(matches!(error, InteropError::CandleType { expected: DType::F64, found: DType::F32 }), "{error}");
    let deep = candle_core::Tensor::zeros(vec![1; 9], DType::F32, &Device::Cpu).unwrap();
    assert!(matches!(Tensor::<f32>::try_from(&deep), Err(InteropError::Tensor(TensorError::Rank { rank: 9 }))));
    let empty = candle_core::Tensor::zeros((0, 2), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(Tensor::<f32>::try_from(&empty).unwrap().shape(), [0, 2]);
}
