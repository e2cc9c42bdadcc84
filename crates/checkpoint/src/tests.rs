use crate::floats::{bf16_to_f32, f16_to_f32};
use crate::*;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use std::fs;

mod floats;
mod sharded;

/// A file with the given header (not padded) and `data` zero bytes.
fn file(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; data]].concat()
}

fn error(header: &str, data: usize) -> CheckpointError {
    Checkpoint::from_bytes(&file(header, data)).unwrap_err()
}

fn sample() -> Checkpoint {
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert_f32("b", &[2, 1], &[1.5, -0.0]).unwrap();
    checkpoint.insert_f64("a", &[], &[0.1]).unwrap();
    checkpoint.insert(NamedArray { name: "flags".into(), dtype: DType::BOOL, shape: vec![3], bytes: vec![1, 0, 1] }).unwrap();
    checkpoint.metadata.insert("z".into(), "last".into());
    checkpoint.metadata.insert("format".into(), "pt".into());
    checkpoint
}

#[test]
fn the_bytes_of_a_small_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    sample().write(&path).unwrap();
    let header = concat!(
        r#"{"__metadata__":{"format":"pt","z":"last"},"#,
        r#""a":{"dtype":"F64","shape":[],"data_offsets":[0,8]},"#,
        r#""b":{"dtype":"F32","shape":[2,1],"data_offsets":[8,16]},"#,
        r#""flags":{"dtype":"BOOL","shape":[3],"data_offsets":[16,19]}}"#
    );
    let padded = format!("{header:width$}", width = header.len().next_multiple_of(8));
    let mut expected = file(&padded, 0);
    expected.extend(0.1f64.to_le_bytes());
    expected.extend(1.5f32.to_le_bytes());
    expected.extend([0, 0, 0, 0x80, 1, 0, 1]);
    assert_eq!(fs::read(path).unwrap(), expected);
}

#[test]
fn names_values_and_shapes() {
    let checkpoint = sample();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b", "flags"]);
    assert_eq!(checkpoint.to_f64("a").unwrap(), [0.1]);
    assert_eq!(checkpoint.to_f32("b").unwrap(), [1.5, 0.0]);
    assert!(checkpoint.to_f32("b").unwrap()[1].is_sign_negative());
    assert_eq!(checkpoint.to_f64("b").unwrap(), [1.5, 0.0]);
    assert_eq!(checkpoint.get("flags").unwrap().bytes, [1, 0, 1]);
    assert_eq!(checkpoint.get("b").unwrap().with_shape(&[2, 1]).unwrap().shape, [2, 1]);
}

#[test]
fn halves_of_known_bits() {
    // Values of IEEE 754-2008 binary16 and of bfloat16 by their definition.
    for (bits, value) in [
        (0x3c00, 1.0),
        (0xc000, -2.0),
        (0x3555, 0.333_251_95),
        (0x7bff, 65504.0),
        (0x0400, 2f32.powi(-14)),
        (0x03ff, 1023.0 * 2f32.powi(-24)),
        (0x0001, 2f32.powi(-24)),
        (0x7c00, f32::INFINITY),
        (0xfc00, f32::NEG_INFINITY),
    ] {
        assert_eq!(f16_to_f32(bits), value, "{bits:#x}");
    }
    assert_eq!(f16_to_f32(0x8000).to_bits(), (-0.0f32).to_bits());
    assert!(f16_to_f32(0x7e01).is_nan());
    assert_eq!(bf16_to_f32(0x3f80), 1.0);
    assert_eq!(bf16_to_f32(0xc040), -3.0);
    let mut checkpoint = Checkpoint::new();
    for (name, dtype, bits) in [("half", DType::F16, 0x3c00u16), ("brain", DType::BF16, 0x3f80)] {
        checkpoint.insert(NamedArray { name: name.into(), dtype, shape: vec![1], bytes: bits.to_le_bytes().to_vec() }).unwrap();
        assert_eq!(checkpoint.to_f32(name).unwrap(), [1.0]);
        assert_eq!(checkpoint.to_f64(name).unwrap(), [1.0]);
    }
}

#[test]
fn parts_of_an_array() {
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert_f64("wide", &[4], &[0.1, 0.2, 0.3, 0.4]).unwrap();
    checkpoint.insert_f32("narrow", &[2, 2], &[1.0, 2.0, 3.0, 4.0]).unwrap();
    let bytes = [0x3c00u16, 0xc000, 0x7c00, 0].iter().flat_map(|bits| bits.to_le_bytes()).collect();
    checkpoint.insert(NamedArray { name: "half".into(), dtype: DType::F16, shape: vec![4], bytes }).unwrap();
    let part = |name: &str, start| {
        let mut values = [0.0; 2];
        checkpoint.get(name).unwrap().read_f64(start, &mut values).map(|()| values)
    };
    assert_eq!(part("wide", 2).unwrap(), [0.3, 0.4]);
    assert_eq!(part("narrow", 1).unwrap(), [2.0, 3.0]);
    assert_eq!(part("half", 1).unwrap(), [-2.0, f64::INFINITY]);
    assert!(std::panic::catch_unwind(|| part("wide", 3)).is_err());
    checkpoint.insert(NamedArray { name: "empty".into(), dtype: DType::F32, shape: vec![usize::MAX, 4, 0], bytes: vec![] }).unwrap();
    assert_eq!(checkpoint.get("empty").unwrap().count(), 0);
    assert!(checkpoint.to_f64("empty").unwrap().is_empty());
}

#[test]
fn fingerprints() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    // The test vector of FIPS 180-2.
    fs::write(&path, "abc").unwrap();
    assert_eq!(file_fingerprint(&path).unwrap(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    // Without arrays nothing is hashed: the SHA-256 of the empty string.
    assert_eq!(Checkpoint::new().fingerprint(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");

    let one = |name: &str, shape: &[usize], values: &[f32]| {
        let mut checkpoint = Checkpoint::new();
        checkpoint.insert_f32(name, shape, values).unwrap();
        checkpoint.fingerprint()
    };
    let base = one("a", &[2], &[1.0, 2.0]);
    assert_ne!(base, one("b", &[2], &[1.0, 2.0]));
    assert_ne!(base, one("a", &[2, 1], &[1.0, 2.0]));
    assert_ne!(base, one("a", &[2], &[1.0, 2.5]));
    let mut as_integers = Checkpoint::new();
    let bytes = [1.0f32, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    as_integers.insert(NamedArray { name: "a".into(), dtype: DType::I32, shape: vec![2], bytes }).unwrap();
    assert_ne!(base, as_integers.fingerprint());
    // Another array, another fingerprint, also after the first was asked for.
    let before = as_integers.fingerprint();
    let copy = as_integers.clone();
    as_integers.insert_f32("b", &[0], &[]).unwrap();
    assert_ne!(as_integers.fingerprint(), before);
    assert_eq!(copy.fingerprint(), before);
}

#[test]
fn fingerprint_of_a_known_array() {
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert_f32("w", &[2], &[1.0, -2.0]).unwrap();
    // From hashlib and struct in Python, by the layout that `of_arrays` documents.
    assert_eq!(checkpoint.fingerprint(), "cc6b3701ea75cb687ac0299b8498e9800486c73398bfece5d50b4356e79b7a4a");
}

#[test]
fn a_missing_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none");
    for error in [
        Checkpoint::read(&path).unwrap_err(),
        MappedCheckpoint::open(&path).unwrap_err(),
        file_fingerprint(&path).unwrap_err(),
        Checkpoint::new().write(path.join("below")).unwrap_err(),
    ] {
        assert!(matches!(&error, CheckpointError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound), "{error}");
        assert!(error.to_string().contains("none"), "{error}");
    }
}

#[test]
fn a_truncated_or_overlong_file() {
    let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    let whole = file(header, 8);
    assert!(Checkpoint::from_bytes(&whole).is_ok());
    for length in 0..whole.len() {
        let error = Checkpoint::from_bytes(&whole[..length]).unwrap_err();
        let expected = if length < 8 { 8 } else { whole.len() - if length < 8 + header.len() { 8 } else { 0 } };
        assert!(
            matches!(error, CheckpointError::Truncated { expected: e, found: f, .. } if e == expected as u64 && f == length as u64),
            "{error}"
        );
    }
    let error = Checkpoint::from_bytes(&[whole.as_slice(), &[0]].concat()).unwrap_err();
    assert!(matches!(error, CheckpointError::TrailingBytes { expected: 70, found: 71, .. }), "{error}");
}

#[test]
fn every_prefix_of_a_mapped_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("part");
    for length in [0, 7, 8, 40] {
        fs::write(&path, &file(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 8)[..length]).unwrap();
        let error = MappedCheckpoint::open(&path).unwrap_err();
        assert!(matches!(error, CheckpointError::Truncated { found, .. } if found == length as u64), "{error}");
    }
}

#[test]
fn a_bad_header() {
    let metadata_twice = r#"{"__metadata__":{},"__metadata__":{}}"#;
    for header in ["", "[]", "{", r#"{"a":{}}"#, r#"{"a":{"dtype":"F33","shape":[],"data_offsets":[0,8]}}"#, "\u{7f}", metadata_twice] {
        assert!(matches!(error(header, 8), CheckpointError::Header { .. }), "{header}");
    }
    let named = error(r#"{"a":{"dtype":"F33","shape":[],"data_offsets":[0,8]}}"#, 8).to_string();
    assert!(named.contains("array `a`") && named.contains("F33"), "{named}");
    let mut huge = file("{}", 0);
    huge[7] = 1;
    assert!(matches!(Checkpoint::from_bytes(&huge).unwrap_err(), CheckpointError::Header { .. }));
}

#[test]
fn duplicate_and_reserved_names() {
    // Without elements, the two places are the same and only the name is wrong.
    let twice = r#"{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#;
    assert!(matches!(error(twice, 0), CheckpointError::DuplicateName { name, .. } if name == "a"));
    let mut checkpoint = sample();
    assert!(matches!(checkpoint.insert_f32("a", &[0], &[]), Err(CheckpointError::DuplicateName { name, .. }) if name == "a"));
    assert!(matches!(checkpoint.insert_f32("__metadata__", &[0], &[]), Err(CheckpointError::ReservedName { .. })));
    assert_eq!(checkpoint, sample());
}

#[test]
fn wrong_offsets() {
    let gap = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
    assert!(matches!(error(gap, 2), CheckpointError::Offsets { expected: 0, begin: 1, end: 2, .. }));
    let overlap = r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#;
    assert!(matches!(error(overlap, 3), CheckpointError::Offsets { name, expected: 2, begin: 1, .. } if name == "b"));
    let end_first = r#"{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[0],"data_offsets":[3,2]}}"#;
    assert!(matches!(error(end_first, 3), CheckpointError::Offsets { name, begin: 3, end: 2, .. } if name == "b"));
}

#[test]
fn wrong_sizes() {
    let header = r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#;
    assert!(matches!(error(header, 8), CheckpointError::Size { expected: Some(12), found: 8, .. }));
    let overflow = format!(r#"{{"a":{{"dtype":"F32","shape":[{0},{0}],"data_offsets":[0,8]}}}}"#, usize::MAX);
    assert!(matches!(error(&overflow, 8), CheckpointError::Size { expected: None, found: 8, .. }));
    let half_a_byte = r#"{"a":{"dtype":"F4","shape":[1],"data_offsets":[0,1]}}"#;
    assert!(matches!(error(half_a_byte, 1), CheckpointError::Size { expected: None, .. }));
    let past_the_end = format!(r#"{{"a":{{"dtype":"U8","shape":[{0}],"data_offsets":[0,{0}]}}}}"#, usize::MAX / 8);
    assert!(matches!(error(&past_the_end, 1), CheckpointError::Truncated { .. }));
    let error = Checkpoint::new().insert_f32("a", &[2, 2], &[0.0]).unwrap_err();
    assert_eq!(error.to_string(), "<memory>: array `a`: F32 of shape [2, 2] takes 16 bytes, found 4");
}

#[test]
fn missing_arrays_wrong_types_and_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    sample().write(&path).unwrap();
    let read = Checkpoint::read(&path).unwrap();
    let mapped = MappedCheckpoint::open(&path).unwrap();
    for found in [read.get("c"), mapped.get("c")] {
        let error = found.unwrap_err();
        assert!(matches!(&error, CheckpointError::Missing { name, file } if name == "c" && *file == path));
        assert!(error.to_string().contains("model.safetensors: no array is named `c`"), "{error}");
    }
    assert!(matches!(read.to_f32("a"), Err(CheckpointError::DType { found: DType::F64, .. })));
    assert!(matches!(read.to_f64("flags"), Err(CheckpointError::DType { found: DType::BOOL, .. })));
    let error = mapped.get("b").unwrap().with_shape(&[1, 2]).unwrap_err();
    assert!(matches!(&error, CheckpointError::Shape { expected, found, .. } if expected == &[1, 2] && found == &[2, 1]));
    assert!(error.to_string().ends_with("array `b`: expected the shape [1, 2], found [2, 1]"), "{error}");
}

pub(crate) mod properties {
    use super::*;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    fn any_array() -> impl Strategy<Value = (DType, Vec<usize>, Vec<u8>)> {
        let dtype = prop_oneof![
            Just(DType::F64),
            Just(DType::F32),
            Just(DType::F16),
            Just(DType::BF16),
            Just(DType::I64),
            Just(DType::U16),
            Just(DType::I8),
            Just(DType::BOOL),
            Just(DType::C64)
        ];
        (dtype, vec(0usize..4, 0..4)).prop_flat_map(|(dtype, shape)| {
            let size = shape.iter().product::<usize>() * dtype.bitsize() / 8;
            (Just(dtype), Just(shape), vec(any::<u8>(), size))
        })
    }

    pub(super) fn any_checkpoint() -> impl Strategy<Value = Checkpoint> {
        let text = r#"[a-z."\\é\n]{0,6}"#;
        (btree_map(text, any_array(), 0..6), btree_map(text, text, 0..4)).prop_map(|(arrays, metadata)| {
            let mut checkpoint = Checkpoint::new();
            checkpoint.metadata = metadata;
            for (name, (dtype, shape, bytes)) in arrays {
                checkpoint.insert(NamedArray { name, dtype, shape, bytes }).unwrap();
            }
            checkpoint
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(checkpoint in any_checkpoint()) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("file");
            checkpoint.write(&path).unwrap();
            let read = Checkpoint::read(&path).unwrap();
            prop_assert_eq!(&read, &checkpoint);
            let mapped = MappedCheckpoint::open(&path).unwrap();
            prop_assert_eq!(mapped.metadata(), &checkpoint.metadata);
            prop_assert!(mapped.arrays().eq(read.arrays()));
            prop_assert!(mapped.names().eq(read.names()));
            prop_assert_eq!(mapped.fingerprint(), checkpoint.fingerprint());
        }

        #[test]
        fn the_reference_implementation_reads_what_is_written(checkpoint in any_checkpoint()) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("file");
            checkpoint.write(&path).unwrap();
            let bytes = fs::read(&path).unwrap();
            let reference = SafeTensors::deserialize(&bytes).unwrap();
            prop_assert_eq!(reference.len(), checkpoint.names().len());
            for array in checkpoint.arrays() {
                let found = reference.tensor(array.name).unwrap();
                prop_assert_eq!((found.dtype(), found.shape(), found.data()), (array.dtype, array.shape, array.bytes));
            }
        }

        #[test]
        fn what_the_reference_implementation_writes_is_read(checkpoint in any_checkpoint()) {
            let views = checkpoint.arrays().map(|array| (array.name, TensorView::new(array.dtype, array.shape.to_vec(), array.bytes).unwrap()));
            let metadata = (!checkpoint.metadata.is_empty()).then(|| checkpoint.metadata.clone().into_iter().collect());
            let bytes = safetensors::serialize(views, metadata).unwrap();
            prop_assert_eq!(Checkpoint::from_bytes(&bytes).unwrap(), checkpoint);
        }

        #[test]
        fn numbers_survive(values in vec(any::<f32>(), 0..20), wide in vec(any::<f64>(), 0..20)) {
            let mut checkpoint = Checkpoint::new();
            checkpoint.insert_f32("narrow", &[values.len()], &values).unwrap();
            checkpoint.insert_f64("wide", &[wide.len()], &wide).unwrap();
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&checkpoint.to_f32("narrow").unwrap()), bits(&values));
            let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&checkpoint.to_f64("wide").unwrap()), bits(&wide));
        }

        #[test]
        fn halves_keep_their_order(a: u16, b: u16) {
            // As sign and magnitude, the bits of two numbers are ordered as the numbers are.
            let key = |bits: u16| { let magnitude = i32::from(bits & 0x7fff); if bits >> 15 == 1 { -magnitude } else { magnitude } };
            let (x, y) = (f16_to_f32(a), f16_to_f32(b));
            if !x.is_nan() && !y.is_nan() {
                prop_assert_eq!(x.partial_cmp(&y), Some(key(a).cmp(&key(b))));
            }
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in vec(any::<u8>(), 0..64), header in r#"[{}\[\]",:a-z0-9]{0,40}"#, data in 0usize..16) {
            let _ = Checkpoint::from_bytes(&bytes);
            let _ = Checkpoint::from_bytes(&file(&header, data));
        }

        #[test]
        fn a_damaged_file_never_panics(checkpoint in any_checkpoint(), place: prop::sample::Index, byte: u8) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("file");
            checkpoint.write(&path).unwrap();
            let mut bytes = fs::read(&path).unwrap();
            let place = place.index(bytes.len());
            bytes[place] = byte;
            if let Ok(read) = Checkpoint::from_bytes(&bytes) {
                let _ = read.fingerprint();
            }
        }
    }
}
