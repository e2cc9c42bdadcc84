use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::path::Path;

use gradus_base::npy::{NpyArray, NpyError};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use super::folder;
use crate::{DataError, npz};

const STORED: &[u8] = include_bytes!("files/stored.npz");
const DEFLATED: &[u8] = include_bytes!("files/deflated.npz");

fn read(bytes: &[u8]) -> Result<BTreeMap<String, NpyArray>, DataError> {
    let files = folder(&[("a.npz", bytes)]);
    npz::read(files.path().join("a.npz"))
}

#[test]
fn archives_that_numpy_wrote() {
    for bytes in [STORED, DEFLATED] {
        let arrays = read(bytes).unwrap();
        assert_eq!(arrays.keys().collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(arrays["x"], NpyArray::new(&[2, 3], vec![0.0f32, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap());
        assert_eq!(arrays["y"], NpyArray::new(&[2, 2], vec![0i64, 1, 2, 3]).unwrap());
    }
}

#[test]
fn what_is_written_is_read_back() {
    let files = folder(&[]);
    let arrays = read(STORED).unwrap();
    for compressed in [false, true] {
        let [first, again] = ["first", "again"].map(|name| files.path().join(name));
        npz::write(&first, &arrays, compressed).unwrap();
        npz::write(&again, &arrays, compressed).unwrap();
        assert_eq!(npz::read(&first).unwrap(), arrays);
        assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(&again).unwrap());
    }
    npz::write(files.path().join("none"), &BTreeMap::new(), true).unwrap();
    assert!(npz::read(files.path().join("none")).unwrap().is_empty());
    assert!(matches!(npz::write(files.path().join("no/folder"), &arrays, true), Err(DataError::Io { .. })));
}

#[test]
fn bad_archives() {
    assert!(matches!(npz::read("/no/such/file"), Err(DataError::Io { .. })));
    assert!(matches!(read(b"no archive"), Err(DataError::Zip { .. })));
    for bytes in [STORED, DEFLATED] {
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_err());
        }
        // Every change of a byte of an array is told: the archive has checksums.
        let mut damaged = bytes.to_vec();
        damaged[bytes.len() / 4] ^= 1;
        assert!(read(&damaged).is_err());
    }
    let archive = |name: &str, content: &[u8]| {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        archive.start_file(name, SimpleFileOptions::default()).unwrap();
        archive.write_all(content).unwrap();
        archive.finish().unwrap().into_inner()
    };
    let error = read(&archive("notes.txt", b"text that is long enough")).unwrap_err();
    assert!(matches!(&error, DataError::Npy(NpyError::Magic { file }) if file.ends_with("a.npz/notes.txt")), "{error}");
    let two = |names: [&str; 2]| {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        archive.add_directory("d", SimpleFileOptions::default()).unwrap();
        for name in names {
            archive.start_file(name, SimpleFileOptions::default()).unwrap();
            archive.write_all(&NpyArray::new(&[], vec![1.0]).unwrap().to_bytes()).unwrap();
        }
        archive.finish().unwrap().into_inner()
    };
    assert_eq!(read(&two(["x.npy", "y"])).unwrap().keys().collect::<Vec<_>>(), ["x", "y"]);
    let error = read(&two(["x.npy", "x"])).unwrap_err();
    assert!(matches!(&error, DataError::Zip { reason, .. } if reason.contains("\"x\"")), "{error}");
    // A small archive of many zeros.
    let bomb = archive("x.npy", &vec![0; 1 << 20]);
    assert!(bomb.len() < 1 << 12);
    let limited = npz::read_archive(Path::new("bomb"), ZipArchive::new(Cursor::new(bomb)).unwrap(), 1 << 16);
    assert!(matches!(limited, Err(DataError::TooLarge { limit: 65536, .. })));
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn damaged_archives_never_panic(compressed: bool, place: prop::sample::Index, byte: u8) {
            let mut bytes = if compressed { DEFLATED } else { STORED }.to_vec();
            let place = place.index(bytes.len());
            bytes[place] = byte;
            let _ = read(&bytes);
        }
    }
}
