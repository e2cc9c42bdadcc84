#![no_main]
//! A PNG or JPEG file; what loads must be a valid data set of one image.

use gradus_data::{Dataset, load_image_folder};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(folder.path().join("class")).expect("a folder");
    std::fs::write(folder.path().join("class/image"), bytes).expect("a written file");
    if let Ok(data) = load_image_folder(folder.path()) {
        assert_eq!(data.image.map(|size| size.iter().product()), Some(data.width));
        Dataset::new(&data.name, data.features, data.labels, data.width, data.classes).expect("a valid data set");
    }
});
