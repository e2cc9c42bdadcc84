use std::io::Read;

use crate::Dataset;

static ROWS: &[u8] = include_bytes!("../assets/digits.bin.gz");
const PIXELS: usize = 64;

/// 1,797 real handwritten digits of 8×8 pixels, scaled to `[0, 1]`, in ten classes: the test part of "Optical Recognition
/// of Handwritten Digits" (Alpaydin, Kaynak 1998, UCI Machine Learning Repository, CC BY 4.0), as packaged in
/// scikit-learn.
pub fn digits() -> Dataset {
    let mut bytes = Vec::new();
    // Reading from memory fails only if the program itself is damaged; a test reads every row.
    let _ = flate2::read::GzDecoder::new(ROWS).read_to_end(&mut bytes);
    let rows = bytes.as_chunks::<{ PIXELS + 1 }>().0;
    Dataset {
        name: "digits (8×8, UCI)".into(),
        features: rows.iter().flat_map(|row| &row[..PIXELS]).map(|&pixel| f32::from(pixel) / 16.0).collect(),
        labels: rows.iter().map(|row| row[PIXELS].into()).collect(),
        width: PIXELS,
        classes: 10,
        class_names: Vec::new(),
        image: Some([1, 8, 8]),
    }
}
