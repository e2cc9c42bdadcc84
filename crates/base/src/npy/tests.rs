use super::*;

/// The bytes of a file of version 1.0 with this header, not padded.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [MAGIC, &[1, 0], &(header.len() as u16).to_le_bytes(), header.as_bytes(), data].concat()
}

fn array(descr: &str, shape: &str, data: &[u8]) -> Result<NpyArray, NpyError> {
    NpyArray::from_bytes(&file(&format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"), data))
}

fn reason(header: &str) -> String {
    match NpyArray::from_bytes(&file(header, &[])) {
        Err(NpyError::Header { reason, .. }) => reason,
        other => panic!("{header}: {other:?}"),
    }
}

fn expected(case: &str) -> NpyValues {
    match case {
        "f4" => vec![-2.0f32, -1.0, 0.0, 1.0, 2.0, 3.0].into(),
        "f8" => vec![-2.0, -1.0, 0.0, 1.0, 2.0, 3.0].into(),
        "i1" => vec![-2i8, -1, 0, 1, 2, 3].into(),
        "i2" => vec![-2i16, -1, 0, 1, 2, 3].into(),
        "i4" => vec![-2, -1, 0, 1, 2, 3].into(),
        "i8" => vec![-2i64, -1, 0, 1, 2, 3].into(),
        "u1" => vec![0u8, 1, 2, 3, 4, 5].into(),
        "u2" => vec![0u16, 1, 2, 3, 4, 5].into(),
        "u4" => vec![0u32, 1, 2, 3, 4, 5].into(),
        "u8" => vec![0u64, 1, 2, 3, 4, 5].into(),
        "b1" => vec![false, true, true, true, true, true].into(),
        "cube" => (0..12).map(|i| i as f32).collect::<Vec<_>>().into(),
        "scalar" => vec![7].into(),
        "empty" => Vec::<f32>::new().into(),
        "one" => vec![1.5].into(),
        other => panic!("{other}"),
    }
}

#[test]
fn files_that_numpy_wrote() {
    let mut count = 0;
    for line in include_str!("golden.txt").lines().filter(|line| !line.starts_with('#')) {
        let [case, shape, hex] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let shape: Vec<usize> = shape.split(',').filter(|length| *length != "-").map(|length| length.parse().unwrap()).collect();
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
        let read = NpyArray::from_bytes(&bytes).unwrap();
        assert_eq!((read.shape(), read.values()), (&shape[..], &expected(case)), "{line}");
        // Byte for byte, where NumPy chose version 1.0, C order and little-endian, apart from the spaces that fill the header.
        let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>();
        if !hex.contains(&hex_of("True")) && !hex.contains(&hex_of("'>")) {
            assert_eq!(words(&read.to_bytes()[10..]), words(&bytes[10..]), "{line}");
        }
        count += 1;
    }
    assert_eq!(count, 50);
}

fn hex_of(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn what_is_written() {
    let bytes = NpyArray::new(&[3], vec![1u8, 2, 3]).unwrap().to_bytes();
    let header = format!("{:117}\n", "{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }");
    assert_eq!(bytes, [b"\x93NUMPY\x01\x00\x76\x00", header.as_bytes(), &[1, 2, 3]].concat());
    for shape in [&[][..], &[1], &[2, 0, 3], &[1; 40]] {
        let array = NpyArray::new(shape, vec![0.5; element_count(shape).unwrap()]).unwrap();
        let bytes = array.to_bytes();
        assert_eq!((bytes.len() - 8 * array.values().len()) % ALIGNMENT, 0);
        assert_eq!(NpyArray::from_bytes(&bytes).unwrap(), array);
    }
    // So many axes need the longer header.
    let long = NpyArray::new(&[1; 30_000], vec![1.0]).unwrap();
    assert_eq!(long.to_bytes()[6..8], [2, 0]);
    assert_eq!(NpyArray::from_bytes(&long.to_bytes()).unwrap(), long);
    assert!(matches!(NpyArray::new(&[2, 2], vec![1.0]), Err(NpyError::Count { values: 1, .. })));
    assert!(matches!(NpyArray::new(&[usize::MAX, 2], vec![1.0]), Err(NpyError::Count { .. })));
}

#[test]
fn headers_as_others_write_them() {
    let read = |header: &str| NpyArray::from_bytes(&file(header, &[1, 0, 2, 0])).unwrap();
    for header in [
        "{'descr': '<i2', 'fortran_order': False, 'shape': (2,)}",
        "{\"shape\":(2L,),\"fortran_order\":True,\"descr\":\"<i2\"}\n",
        " { 'fortran_order' : False , 'shape' : ( 2 , 1 , ) , 'descr' : '<i2' , } \n",
    ] {
        assert_eq!(read(header).values(), &vec![1i16, 2].into(), "{header}");
    }
    let native = [1i16, 2].map(i16::to_ne_bytes).concat();
    assert_eq!(array("=i2", "(2,)", &native).unwrap().values(), &vec![1i16, 2].into());
}

#[test]
fn large_arrays_are_turned_round_in_parts() {
    for shape in [&[70, 33][..], &[33, 2, 65], &[2, 40, 1, 35, 3]] {
        let count = element_count(shape).unwrap();
        let turned = row_major((0..count).collect(), shape);
        let place = |flat: usize| {
            let mut rest = flat;
            shape.iter().enumerate().rev().fold(0, |place, (axis, length)| {
                let index = rest % length;
                rest /= length;
                place + index * shape[..axis].iter().product::<usize>()
            })
        };
        assert_eq!(turned, (0..count).map(place).collect::<Vec<_>>(), "{shape:?}");
    }
}

#[test]
fn axes_of_one_entry_cost_nothing() {
    // A file of 400 kB: as many axes as its header holds, times as many elements as it has, would be 10^10 steps.
    let header = format!("{{'descr': '|u1', 'fortran_order': True, 'shape': (2, {}50000)}}", "1, ".repeat(100_000));
    let length = (header.len() as u32).to_le_bytes();
    let data: Vec<u8> = (0..100_000u32).map(|i| (i / 2 + 100 * (i % 2)) as u8).collect();
    let read = NpyArray::from_bytes(&[MAGIC, &[2, 0], &length, header.as_bytes(), &data].concat()).unwrap();
    let expected: Vec<u8> = (0..100_000u32).map(|i| (i % 50_000 + 100 * (i / 50_000)) as u8).collect();
    assert_eq!((read.shape().len(), read.values()), (100_002, &expected.into()));
}

#[test]
fn conversions_lose_nothing() {
    let all = |values: NpyValues| (values.to_f32(), values.to_f64(), values.to_usize());
    assert_eq!(all(vec![0.5f32].into()), (Some(vec![0.5]), Some(vec![0.5]), None));
    assert_eq!(all(vec![0.5f64].into()), (None, Some(vec![0.5]), None));
    assert_eq!(all(vec![7u8].into()), (Some(vec![7.0]), Some(vec![7.0]), Some(vec![7])));
    assert_eq!(all(vec![-7i8].into()), (Some(vec![-7.0]), Some(vec![-7.0]), None));
    assert_eq!(all(vec![i16::MIN].into()), (Some(vec![-32768.0]), Some(vec![-32768.0]), None));
    assert_eq!(all(vec![u16::MAX].into()), (Some(vec![65535.0]), Some(vec![65535.0]), Some(vec![65535])));
    assert_eq!(all(vec![i32::MAX].into()), (None, Some(vec![2147483647.0]), Some(vec![2147483647])));
    assert_eq!(all(vec![u32::MAX].into()), (None, Some(vec![4294967295.0]), Some(vec![4294967295])));
    assert_eq!(all(vec![3i64].into()), (None, None, Some(vec![3])));
    assert_eq!(all(vec![3u64].into()), (None, None, Some(vec![3])));
    assert_eq!(all(vec![true, false].into()), (Some(vec![1.0, 0.0]), Some(vec![1.0, 0.0]), Some(vec![1, 0])));
}

#[test]
fn bad_files() {
    assert!(matches!(NpyArray::from_bytes(b"PK\x03\x04"), Err(NpyError::Magic { .. })));
    assert!(matches!(NpyArray::from_bytes(b"\x93NUMPZ\x01\x00"), Err(NpyError::Magic { .. })));
    for version in [[1, 1], [4, 0], [0, 0]] {
        let error = NpyArray::from_bytes(&[MAGIC, &version, &[0; 8]].concat()).unwrap_err();
        assert!(matches!(error, NpyError::Version { major, minor, .. } if [major, minor] == version), "{error}");
    }
    let whole = NpyArray::new(&[2], vec![1.0f32, 2.0]).unwrap().to_bytes();
    for length in 0..whole.len() {
        let error = NpyArray::from_bytes(&whole[..length]).unwrap_err();
        assert!(matches!(error, NpyError::Truncated { found, expected, .. } if found == length as u64 && expected > found), "{error}");
    }
    let error = NpyArray::from_bytes(&[&whole[..], &[0]].concat()).unwrap_err();
    assert!(matches!(error, NpyError::TrailingBytes { expected: 136, found: 137, .. }), "{error}");
    for descr in ["<f2", "<c8", "|O", "<U4", "<M8[ns]", "", "f4", "<f16", "<i3", "é4", "<"] {
        let error = array(descr, "()", &[0; 8]).unwrap_err();
        assert!(matches!(&error, NpyError::Type { found, .. } if found == descr), "{descr}: {error}");
    }
    let records = file("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (), }", &[0; 4]);
    assert!(matches!(NpyArray::from_bytes(&records), Err(NpyError::Type { found, .. }) if found == "records"));
    let huge = format!("({}, {})", usize::MAX, usize::MAX);
    assert!(matches!(array("<f4", &huge, &[]), Err(NpyError::Size { shape, .. }) if shape == [usize::MAX; 2]));
    assert!(matches!(array("<f8", &format!("({},)", usize::MAX / 8), &[0; 8]), Err(NpyError::Truncated { .. })));
    assert!(array("<f8", &format!("({}, 4, 0)", usize::MAX), &[]).unwrap().values().is_empty());
    let missing = std::env::temp_dir().join("no such folder/x.npy");
    assert!(matches!(NpyArray::read(&missing), Err(NpyError::Io { file, .. }) if file == missing));
    assert!(matches!(NpyArray::new(&[], vec![1.0]).unwrap().write(&missing), Err(NpyError::Io { file, .. }) if file == missing));
}

#[test]
fn bad_headers() {
    assert_eq!(reason("{'shape': (), 'fortran_order': False}"), "no key \"descr\"");
    assert_eq!(reason("{'descr': '<f4', 'shape': ()}"), "no key \"fortran_order\"");
    assert_eq!(reason("{'descr': '<f4', 'fortran_order': False}"), "no key \"shape\"");
    assert_eq!(reason("{'shape': (), 'shape': ()}"), "the key \"shape\" twice");
    assert_eq!(reason("{'extra': ()}"), "unknown key \"extra\"");
    assert_eq!(reason("{'shape': (-1,)}"), "expected a length, found \"-1,)}\"");
    assert_eq!(reason("{'shape': 3}"), "expected \"(\", found \"3}\"");
    assert_eq!(reason("{'fortran_order': 0}"), "expected True or False, found \"0}\"");
    assert_eq!(reason("{'shape': () 'descr': 'x'}"), "expected \"}\", found \"'descr': 'x'}\"");
    assert_eq!(reason("{'descr"), "expected a text in quotes, found \"'descr\"");
    assert_eq!(reason(""), "expected \"{\", found \"\"");
    assert_eq!(reason("{'descr': '<f4', 'fortran_order': False, 'shape': ()} x"), "\"x\" after the dictionary");
    let invalid = [MAGIC, &[1, 0, 1, 0, 0xff]].concat();
    assert!(matches!(NpyArray::from_bytes(&invalid), Err(NpyError::Header { .. })));
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(shape in prop::collection::vec(0usize..4, 0..5), seed: u64) {
            let count = element_count(&shape).unwrap();
            let bits = |i: usize| seed.wrapping_mul(i as u64 + 1).rotate_left(i as u32);
            let arrays = [
                NpyArray::new(&shape, (0..count).map(bits).collect::<Vec<_>>()),
                NpyArray::new(&shape, (0..count).map(|i| bits(i) as i32).collect::<Vec<_>>()),
                NpyArray::new(&shape, (0..count).map(|i| bits(i) as f32).collect::<Vec<_>>()),
                NpyArray::new(&shape, (0..count).map(|i| bits(i) & 1 == 1).collect::<Vec<_>>()),
            ];
            for array in arrays {
                let array = array.unwrap();
                prop_assert_eq!(NpyArray::from_bytes(&array.to_bytes()).unwrap(), array);
            }
        }

        #[test]
        fn the_order_of_axes_is_turned_round(shape in prop::collection::vec(0usize..4, 0..5)) {
            // Element (i, j, …) is at i + n_0 (j + n_1 (…)) in column-major order.
            let count = element_count(&shape).unwrap();
            let places: Vec<u8> = (0..count as u8).collect();
            let lengths: String = shape.iter().map(|length| format!("{length},")).collect();
            let bytes = file(&format!("{{'descr': '|u1', 'fortran_order': True, 'shape': ({lengths})}}"), &places);
            let read = NpyArray::from_bytes(&bytes).unwrap();
            let expected = |mut flat: usize| {
                let mut index: Vec<usize> = shape.iter().rev().map(|length| { let i = flat % length; flat /= length; i }).collect();
                index.reverse();
                index.iter().zip(&shape).rev().fold(0, |place, (i, length)| place * length + i)
            };
            let expected: Vec<usize> = (0..count).map(expected).collect();
            prop_assert_eq!(read.values().to_usize().unwrap(), expected);
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), header in r"[{}()':,a-z0-9<|]{0,60}") {
            let _ = NpyArray::from_bytes(&bytes);
            let _ = NpyArray::from_bytes(&[MAGIC, &bytes].concat());
            let _ = NpyArray::from_bytes(&file(&header, &bytes));
        }

        #[test]
        fn a_damaged_file_never_panics(place: prop::sample::Index, byte: u8) {
            let mut bytes = NpyArray::new(&[2, 3], vec![1.0f32; 6]).unwrap().to_bytes();
            let place = place.index(bytes.len());
            bytes[place] = byte;
            let _ = NpyArray::from_bytes(&bytes);
        }
    }
}
