#![no_main]
//! Records of CIFAR, of both kinds; what loads must be a valid data set.

use gradus_data::{Cifar, Dataset};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("records");
    std::fs::write(&file, bytes).expect("a written file");
    for kind in [Cifar::Ten, Cifar::Hundred] {
        if let Ok(data) = kind.load(&[&file]) {
            Dataset::new(&data.name, data.features, data.labels, data.width, data.classes).expect("a valid data set");
        }
    }
});
