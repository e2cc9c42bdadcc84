use gradus_base::{Cancel, Silent};
use gradus_report::Verdict;

use super::*;
use crate::{Settings, reproduce};

fn smoke(data: Option<&str>) -> Result<crate::Reproduction, ExperimentError> {
    let settings = Settings { profile: Profile::Smoke, data: data.map(Into::into), ..Settings::default() };
    reproduce(&EXPERIMENT, &settings, &Cancel::new(), &mut Silent)
}

#[test]
fn the_smoke_profile_runs_the_whole_path() {
    let run = smoke(None).unwrap();
    assert_eq!(run.report.system.claims[0].verdict, Verdict::Holds);
    assert!(run.report.figures.len() >= 4);
    assert_eq!(smoke(None).unwrap().report.values, run.report.values);
}

#[test]
fn real_data_in_their_original_formats() {
    let Some(folder) = std::env::var_os("GRADUS_DATA") else {
        println!("skipped: GRADUS_DATA");
        return;
    };
    for name in ["optdigits", "mnist-t10k"] {
        let path = std::path::Path::new(&folder).join(name);
        assert_eq!(smoke(path.to_str()).unwrap().report.system.claims[0].verdict, Verdict::Holds);
    }
}

#[test]
fn data_that_cannot_be_used_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let error = smoke(folder.path().to_str()).unwrap_err();
    assert!(matches!(&error, ExperimentError::Data(message) if message.contains("no known data set")), "{error}");
    let row = |label: usize| [vec!["0"; 64], vec![["1", "2"][label]]].concat().join(",");
    std::fs::write(folder.path().join("few.tes"), format!("{}\n{}\n", row(0), row(1))).unwrap();
    let error = smoke(folder.path().to_str()).unwrap_err();
    assert!(matches!(&error, ExperimentError::Data(message) if message.contains("too few")), "{error}");
}

#[test]
fn cancelled_before_it_begins() {
    let cancel = Cancel::new();
    cancel.cancel();
    let settings = Settings { profile: Profile::Smoke, ..Settings::default() };
    let result = reproduce(&EXPERIMENT, &settings, &cancel, &mut Silent);
    assert!(matches!(result, Err(ExperimentError::Interrupted(_))));
}

#[test]
fn a_gradient_that_is_not_a_number_is_seen() {
    let model = |value: f32| {
        let mut model = Checkpoint::new();
        model.insert_f32("weight", &[2], &[value, 1.0]).unwrap();
        model
    };
    let fisher = |value| DiagonalFisher::new(model(value), 1, FisherMode::Exact, String::new()).unwrap();
    let gradient = |at| relative_gradient(&[model(1.0), model(3.0)], &[fisher(1.0), fisher(1.0)], &model(at)).unwrap();
    assert!(gradient(2.0) < 1e-12 && gradient(2.5) > 0.1);
    assert!(gradient(f32::NAN).is_nan() && gradient(f32::INFINITY).is_nan());
}

/// A folder with images of `side` 8 and labels as IDX files.
fn idx(pixels: impl Fn(usize) -> u8, label: impl Fn(usize) -> u8) -> tempfile::TempDir {
    let (folder, rows) = (tempfile::tempdir().unwrap(), 1797);
    let header = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let images = (0..rows * 64).map(pixels);
    std::fs::write(
        folder.path().join("t-images-idx3-ubyte"),
        header(&[0x803, rows as u32, 8, 8]).into_iter().chain(images).collect::<Vec<_>>(),
    )
    .unwrap();
    let labels = header(&[0x801, rows as u32]).into_iter().chain((0..rows).map(label));
    std::fs::write(folder.path().join("t-labels-idx1-ubyte"), labels.collect::<Vec<_>>()).unwrap();
    folder
}

#[test]
fn corrupt_labels_and_images_are_named_before_anything_is_trained() {
    let checkered = |i: usize| (i % 2) as u8 * 200;
    let digit = |row: usize| (row % 10) as u8;
    for (folder, words) in [
        (idx(checkered, |row| if row == 7 { 200 } else { digit(row) }), "there are labels up to 200, expected at most 63"),
        (idx(checkered, |row| if row == 7 { 30 } else { digit(row) }), "no image has the label 10, but there are labels up to 30"),
        (idx(|_| 0, digit), "image 0, counted from 0, has the same value at every pixel"),
        (idx(|i| if i / 64 == 5 { 255 } else { checkered(i) }, digit), "image 5, counted from 0, has the same value"),
    ] {
        let error = smoke(folder.path().to_str()).unwrap_err();
        assert!(matches!(&error, ExperimentError::Data(message) if message.contains(words) && message.contains("t-")), "{error}");
    }
}
