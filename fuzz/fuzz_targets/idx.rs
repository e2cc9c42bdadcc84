#![no_main]
//! Pairs of IDX files; what loads must be a valid data set.

use gradus_data::{Dataset, idx};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|files: (&[u8], &[u8])| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [images, labels] = ["images", "labels"].map(|name| folder.path().join(name));
    std::fs::write(&images, files.0).expect("a written file");
    std::fs::write(&labels, files.1).expect("a written file");
    if let Ok(data) = idx::load(&images, &labels) {
        Dataset::new(&data.name, data.features, data.labels, data.width, data.classes).expect("a valid data set");
    }
});
