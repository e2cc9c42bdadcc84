#![no_main]
//! A NumPy archive; what loads must be written and read again.

use gradus_data::npz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("arrays.npz");
    std::fs::write(&file, bytes).expect("a written file");
    if let Ok(arrays) = npz::read(&file) {
        if npz::write(&file, &arrays, true).is_ok() {
            assert_eq!(npz::read(&file).expect("what was written").len(), arrays.len());
        }
    }
});
