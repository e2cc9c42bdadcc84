#![no_main]
//! Text in the format of UCI's digits, plain or gzip; what loads must be a valid data set.

use gradus_data::{Dataset, optdigits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("rows");
    std::fs::write(&file, bytes).expect("a written file");
    if let Ok(data) = optdigits::load(&[file]) {
        Dataset::new(&data.name, data.features, data.labels, data.width, data.classes).expect("a valid data set");
    }
});
