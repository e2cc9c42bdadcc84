use std::io::Write;
use std::path::{Path, PathBuf};

use crate::*;

mod cifar;
mod csv;
#[cfg(feature = "images")]
mod images;
mod metrics;
#[cfg(feature = "npz")]
mod npz;

/// The folder of real data, if there is one.
fn real() -> Option<PathBuf> {
    let folder = std::env::var_os("GRADUS_DATA").map(PathBuf::from);
    if folder.is_none() {
        // Not `println!`, which the test runner keeps to itself.
        let _ = writeln!(std::io::stderr(), "skipped: GRADUS_DATA");
    }
    folder
}

fn idx_images(count: u32, height: u32, width: u32, pixels: &[u8]) -> Vec<u8> {
    [&0x803u32.to_be_bytes()[..], &count.to_be_bytes(), &height.to_be_bytes(), &width.to_be_bytes(), pixels].concat()
}

fn idx_labels(count: u32, labels: &[u8]) -> Vec<u8> {
    [&0x801u32.to_be_bytes()[..], &count.to_be_bytes(), labels].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Writes the files into a new folder.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    folder
}

fn load_pair(images: &[u8], labels: &[u8]) -> Result<Dataset, DataError> {
    let folder = folder(&[("i", images), ("l", labels)]);
    idx::load(folder.path().join("i"), folder.path().join("l"))
}

fn load_rows(text: &str) -> Result<Dataset, DataError> {
    let folder = folder(&[("rows", text.as_bytes())]);
    optdigits::load(&[folder.path().join("rows")])
}

fn row(pixel: &str, label: &str) -> String {
    [&[pixel; 64][..], &[label]].concat().join(",")
}

#[test]
fn the_embedded_digits() {
    let data = digits();
    assert_eq!(data.class_counts(), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    let valid = Dataset::new(&data.name, data.features.clone(), data.labels.clone(), 64, 10).unwrap();
    assert_eq!(valid.features, data.features);
    assert_eq!(data.row(0)[..8], [0.0, 0.0, 5.0, 13.0, 9.0, 1.0, 0.0, 0.0].map(|x| x / 16.0));
    assert!(data.features.iter().all(|x| (0.0..=1.0).contains(x)));
}

#[test]
fn the_embedded_digits_are_the_rows_of_the_original() {
    let Some(folder) = real() else { return };
    for original in ["digits/optdigits.tes.csv", "optdigits/optdigits.tes"] {
        let data = optdigits::load(&[folder.join(original)]).unwrap();
        assert_eq!((data.features, data.labels), (digits().features, digits().labels), "{original}");
    }
}

#[test]
fn real_files_in_their_original_formats() {
    let Some(folder) = real() else { return };
    let mnist = load_images(folder.join("mnist-t10k")).unwrap();
    assert_eq!(mnist.class_counts(), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
    assert_eq!(mnist.labels[..10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]);
    let mean = mnist.features.iter().map(|&x| f64::from(x) * 255.0).sum::<f64>() / mnist.features.len() as f64;
    assert!((mean - 33.791224).abs() < 1e-4, "{mean}");
    assert_eq!(load_images(folder.join("digits")).unwrap().labels, digits().labels);
    let uci = load_images(folder.join("optdigits")).unwrap();
    assert_eq!(uci.len(), 2999 + 824 + 1797);
    let counts = [288 + 88 + 178, 307 + 82 + 182, 295 + 85 + 177, 300 + 89 + 183, 308 + 79 + 181];
    assert_eq!(uci.class_counts()[..5], counts);
    assert_eq!(uci.labels[2999 + 824..], digits().labels);
    assert!(matches!(load_images(&folder), Err(DataError::Ambiguous { found, .. }) if found.len() == 3));
}

#[test]
fn idx_plain_and_compressed() {
    let (images, labels) = (idx_images(2, 1, 2, &[0, 255, 51, 102]), idx_labels(2, &[3, 11]));
    let data = load_pair(&images, &labels).unwrap();
    assert_eq!(data.features, [0.0, 1.0, 0.2, 0.4]);
    assert_eq!((data.labels.clone(), data.classes, data.image), (vec![3, 11], 12, Some([1, 1, 2])));
    assert_eq!(load_pair(&gzip(&images), &gzip(&labels)).unwrap().features, data.features);
}

#[test]
fn bad_idx_files() {
    let (images, labels) = (idx_images(2, 1, 2, &[0; 4]), idx_labels(2, &[0; 2]));
    let check = |images: &[u8], labels: &[u8]| load_pair(images, labels).unwrap_err();
    assert!(matches!(check(&images[..19], &labels), DataError::Truncated { expected: 20, found: 19, .. }));
    assert!(matches!(check(&images[..7], &labels), DataError::Truncated { expected: 16, found: 7, .. }));
    assert!(matches!(check(&[], &labels), DataError::Truncated { found: 0, .. }));
    assert!(matches!(check(&[&images[..], &[0]].concat(), &labels), DataError::TrailingBytes { expected: 20, found: 21, .. }));
    assert!(matches!(check(&labels, &labels), DataError::Magic { expected: 0x803, found: 0x801, .. }));
    assert!(matches!(check(&images, &images), DataError::Magic { expected: 0x801, found: 0x803, .. }));
    assert!(matches!(check(&images, &idx_labels(1, &[0])), DataError::Pair { images: 2, labels: 1, .. }));
    assert!(matches!(check(&idx_images(0, 1, 2, &[]), &idx_labels(0, &[])), DataError::Empty { .. }));
    assert!(matches!(check(&idx_images(2, 0, 2, &[]), &labels), DataError::Header { sizes, .. } if sizes == [2, 0, 2]));
    let lie = |height| check(&idx_images(u32::MAX, height, 1 << 10, &[0; 4]), &labels);
    assert!(matches!(lie(u32::MAX), DataError::Header { sizes, .. } if sizes == [u32::MAX, u32::MAX, 1 << 10]));
    assert!(matches!(lie(1 << 10), DataError::Truncated { expected, found: 20, .. } if expected == (u64::from(u32::MAX) << 20) + 16));
    // One pixel is declared; the rest of what decompresses is only counted.
    let bomb = gzip(&[&idx_images(1, 1, 1, &[])[..], &vec![0; 1 << 22]].concat());
    assert!(matches!(check(&bomb, &labels), DataError::TrailingBytes { expected: 17, found, .. } if found == (1 << 22) + 16));
    assert!(matches!(check(&gzip(&images)[..20], &labels), DataError::Gzip { .. }));
    let missing = idx::load("no such file", "nor this").unwrap_err();
    assert!(matches!(missing, DataError::Io { .. }));
    assert!(missing.to_string().starts_with("no such file: "));
}

#[test]
fn optdigits_rows() {
    let text = format!("# a comment\n{}\n\r\n{}", row("16", "9"), row(" 4 ", "0"));
    let data = load_rows(&text).unwrap();
    assert_eq!((data.len(), data.labels.clone(), data.row(1)[0]), (2, vec![9, 0], 0.25));
}

#[test]
fn bad_optdigits_rows() {
    let ragged = load_rows(&format!("#\n{}\n1,2,3\n", row("0", "0"))).unwrap_err();
    assert!(matches!(ragged, DataError::Ragged { line: 3, byte, expected: 65, found: 3, .. } if byte == 3 + row("0", "0").len() as u64));
    for cell in ["nan", "", "17", "-1", "1.5", "\u{fffd}"] {
        let error = load_rows(&row(cell, "0")).unwrap_err();
        assert!(matches!(error, DataError::Cell { line: 1, column: 0, byte: 0, .. }), "{cell}");
    }
    let label = load_rows(&format!("  {}", row("0", "10"))).unwrap_err();
    // Two blanks, and 64 cells of one digit with their commas.
    assert!(label.to_string().ends_with("rows: line 1, column 64 (byte 130): expected a class from 0 to 9, found \"10\""), "{label}");
    assert!(matches!(load_rows("# only a comment\n"), Err(DataError::Empty { .. })));
    let endless = load_rows(&format!("{}\n{}", row("0", "0"), "0,".repeat(1 << 15)));
    assert!(matches!(endless, Err(DataError::LongLine { line: 2, byte: 130, limit: 65536, .. })));
    let none: [&str; 0] = [];
    assert!(matches!(optdigits::load(&none), Err(DataError::Empty { .. })));
}

#[test]
fn damage_in_compressed_files_is_told_by_the_byte_of_the_content() {
    let damaged = |content: &[u8]| {
        let mut bytes = gzip(content);
        let checksum = bytes.len() - 8;
        bytes[checksum] ^= 1;
        bytes
    };
    let row = row("0", "0");
    let folder = folder(&[("cut", &gzip(row.as_bytes())[..20]), ("damaged", &damaged(row.as_bytes()))]);
    let load = |name| optdigits::load(&[folder.path().join(name)]).unwrap_err();
    assert!(matches!(load("cut"), DataError::Gzip { byte, .. } if byte < row.len() as u64));
    assert!(matches!(load("damaged"), DataError::Gzip { byte, .. } if byte == row.len() as u64));
    assert!(load("damaged").to_string().contains("damaged: bad gzip data after byte 129 of what it decompresses to: "));
    // Beyond the values that the header declares, too.
    let longer = [&idx_images(1, 1, 1, &[7])[..], &vec![0; 1 << 20]].concat();
    let error = load_pair(&damaged(&longer), &idx_labels(1, &[0])).unwrap_err();
    assert!(matches!(error, DataError::Gzip { byte, .. } if byte == longer.len() as u64), "{error}");
}

#[test]
fn folders_are_recognised_by_content() {
    let (images, labels) = (gzip(&idx_images(1, 1, 1, &[9])), idx_labels(1, &[1]));
    let below = folder(&[("a/readme.txt", b"text"), ("b/x-images", &images), ("b/x-labels", &labels)]);
    assert_eq!(load_images(below.path()).unwrap().labels, [1]);

    let train = idx_images(2, 1, 1, &[1, 2]);
    let both = folder(&[
        ("t10k-images-idx3-ubyte.gz", &images),
        ("t10k-labels-idx1-ubyte", &labels),
        ("train-images-idx3-ubyte", &train),
        ("train-labels-idx1-ubyte", &idx_labels(2, &[4, 5])),
    ]);
    assert_eq!(load_images(both.path()).unwrap().labels, [4, 5, 1]);

    let (one, two) = (row("1", "1"), row("2", "2"));
    let parts = folder(&[("o.tes", one.as_bytes()), ("o.tra", two.as_bytes())]);
    assert_eq!(load_images(parts.path()).unwrap().labels, [2, 1]);

    let nothing = folder(&[("notes", b"1,2,3"), ("a/b/o.tes", one.as_bytes())]);
    assert!(matches!(load_images(nothing.path()), Err(DataError::Unknown { looked_at, .. }) if looked_at.len() == 1));
    assert!(load_images(nothing.path()).unwrap_err().to_string().ends_with("notes"));
    assert!(matches!(load_images(Path::new("/no/such/folder")), Err(DataError::Io { .. })));
    let two = folder(&[("a/o.tes", one.as_bytes()), ("b/x-images", &images), ("b/x-labels", &labels)]);
    assert!(matches!(load_images(two.path()), Err(DataError::Ambiguous { found, .. }) if found.len() == 2));
}

#[test]
fn a_file_and_its_gz_count_once() {
    let (images, labels) = (idx_images(1, 1, 1, &[9]), idx_labels(1, &[1]));
    let (images_gz, labels_gz) = (gzip(&images), gzip(&labels));
    let raw = folder(&[
        ("train-images-idx3-ubyte", &images),
        ("train-images-idx3-ubyte.gz", &images_gz),
        ("train-labels-idx1-ubyte", &labels),
        ("train-labels-idx1-ubyte.gz", &labels_gz),
    ]);
    assert_eq!(load_images(raw.path()).unwrap().len(), 1);
    let one = row("1", "1");
    let text = folder(&[("o.tes", one.as_bytes()), ("o.tes.gz", &gzip(one.as_bytes()))]);
    assert_eq!(load_images(text.path()).unwrap().len(), 1);
}

#[test]
fn files_that_do_not_belong_together() {
    let (images, labels) = (idx_images(1, 1, 1, &[9]), idx_labels(1, &[1]));
    let load = |files: &[(&str, &[u8])]| load_images(folder(files).path()).unwrap_err();
    // Two files of images never share one of labels.
    let error = load(&[("t10k-images", &images), ("t10k-labels", &labels), ("train-images", &images)]);
    assert!(matches!(error, DataError::Unpaired { file, expected: "labels" } if file.ends_with("train-images")));
    let error = load(&[("t10k-images", &images), ("t10k-labels", &labels), ("train-labels", &labels)]);
    assert!(matches!(error, DataError::Unpaired { file, expected: "images" } if file.ends_with("train-labels")));
    let error = load(&[("a-images", &images), ("a-labels", &labels), ("b-images", &images), ("b-labels", &labels)]);
    assert!(matches!(error, DataError::Ambiguous { found, .. } if found.len() == 2));
    let wide = idx_images(1, 1, 2, &[9, 9]);
    let error = load(&[("t10k-images", &wide), ("t10k-labels", &labels), ("train-images", &images), ("train-labels", &labels)]);
    assert!(matches!(error, DataError::ImageSize { expected: [1, 1, 1], found: [1, 1, 2], .. }));
    let one = row("1", "1");
    let error = load(&[("o.tes", one.as_bytes()), ("o.tes.csv", one.as_bytes())]);
    assert!(matches!(error, DataError::Ambiguous { found, .. } if found.len() == 2));
    // Names do not matter where there is no choice.
    let pair = folder(&[("pixels", &images), ("classes", &labels)]);
    assert_eq!(load_images(pair.path()).unwrap().labels, [1]);
}

#[test]
fn data_sets_are_checked() {
    let new = |features: Vec<f32>, labels, width| Dataset::new("rows", features, labels, width, 2);
    assert!(matches!(new(vec![], vec![], 2), Err(DataError::Empty { .. })));
    assert!(matches!(new(vec![1.0; 3], vec![0, 1], 2), Err(DataError::Count { expected: 4, found: 3, .. })));
    assert!(matches!(new(vec![1.0, 2.0, f32::NAN, 0.0], vec![0, 1], 2), Err(DataError::NotFinite { row: 1, column: 0, .. })));
    assert!(matches!(new(vec![1.0; 4], vec![0, 2], 2), Err(DataError::Label { row: 1, label: 2, classes: 2, .. })));
}

#[test]
fn metrics_by_hand() {
    const NAN: f32 = f32::NAN;
    assert_eq!(argmax_rows(&[1.0, 3.0, 3.0, 0.0, NAN, -1.0], 3), [1, 0]);
    assert_eq!(argmax_rows(&[NAN, -1.0, 2.0, NAN, NAN, NAN, NAN, NAN, f32::NEG_INFINITY], 3), [2, 0, 2]);
    assert!(argmax_rows(&[], 3).is_empty());
    assert_eq!((argmax_rows(&[1.0; 4], 3), argmax_rows(&[1.0; 4], 0)), (vec![0], vec![]));
    assert_eq!(accuracy(&[1, 0, 2], &[1, 1, 2]).unwrap(), 2.0 / 3.0);
    assert!(matches!(accuracy(&[], &[]), Err(DataError::Empty { .. })));
    assert!(matches!(accuracy(&[1], &[1, 2]), Err(DataError::Count { expected: 2, found: 1, .. })));
    assert_eq!(confusion_matrix(&[1, 0, 1], &[1, 1, 0], 2).unwrap(), [0, 1, 1, 1]);
    assert!(matches!(confusion_matrix(&[2], &[0], 2), Err(DataError::Label { label: 2, row: 0, classes: 2, .. })));
    assert!(matches!(confusion_matrix(&[0, 0], &[0], 2), Err(DataError::Count { expected: 1, found: 2, .. })));
    assert!(matches!(confusion_matrix(&[], &[], 2), Err(DataError::Empty { .. })));
    assert_eq!(one_hot(&[1, 0], 2).unwrap(), [0.0, 1.0, 1.0, 0.0]);
    assert!(matches!(one_hot(&[1, 2], 2), Err(DataError::Label { row: 1, .. })));
}

#[test]
fn standardising_what_cannot_be() {
    assert!(matches!(Standardise::fit(&[], 2), Err(DataError::Empty { .. })));
    assert!(matches!(Standardise::fit(&[1.0; 3], 2), Err(DataError::Count { found: 3, .. })));
    assert!(matches!(Standardise::fit(&[1.0], 0), Err(DataError::Empty { .. })));
    assert!(matches!(Standardise::fit(&[1.0, f32::INFINITY], 2), Err(DataError::NotFinite { column: 1, .. })));
    let standardise = Standardise { mean: vec![0.0; 2], scale: vec![1.0] };
    assert!(matches!(standardise.apply(&mut [1.0; 2]), Err(DataError::Count { expected: 2, found: 1, .. })));
    let standardise = Standardise { mean: vec![], scale: vec![] };
    assert!(matches!(standardise.apply(&mut [1.0]), Err(DataError::Empty { .. })));
}

#[test]
fn rounding_makes_no_spread() {
    // In f64, the sum of these divided by their number is not always 0.1f32.
    for count in 1..50 {
        assert_eq!(Standardise::fit(&vec![0.1; count], 1).unwrap(), Standardise { mean: vec![f64::from(0.1f32)], scale: vec![1.0] });
    }
    let mut tiny = [0.0, f32::from_bits(1)];
    Standardise::fit(&tiny, 1).unwrap().apply(&mut tiny).unwrap();
    assert_eq!(tiny, [-1.0, 1.0]);
    let mut huge = [f32::MIN, f32::MAX];
    Standardise::fit(&huge, 1).unwrap().apply(&mut huge).unwrap();
    assert_eq!(huge, [-1.0, 1.0]);
}

#[test]
fn batches_at_the_edges() {
    let batches = |rows, batch, drop_last| Batches { rows, batch, seed: 1, drop_last };
    assert_eq!((batches(10, 4, true).per_epoch(), batches(10, 4, false).per_epoch()), (2, 3));
    assert_eq!((batches(10, 4, true).at(2).len(), batches(10, 4, false).at(2).len()), (4, 2));
    for none in [batches(0, 4, false), batches(3, 4, true)] {
        assert_eq!((none.per_epoch(), none.at(5), none.starting_at(0).count()), (0, vec![], 0));
    }
    assert_eq!(batches(2, usize::MAX, false).at(u64::MAX).len(), 2);
    assert_eq!(batches(2, 0, false).at(u64::MAX).len(), 1);
}

#[test]
fn splits_at_the_edges() {
    let sizes = |shares: &[f64]| split(10, shares, 3).map(|parts| parts.iter().map(Vec::len).collect::<Vec<_>>());
    assert_eq!(sizes(&[]).unwrap(), [10]);
    assert_eq!(sizes(&[0.25, 0.5]).unwrap(), [2, 5, 3]);
    assert_eq!(sizes(&[0.1, 0.2, 0.7]).unwrap(), [1, 2, 7, 0]);
    for wrong in [&[-0.1][..], &[1.1], &[0.6, 0.5], &[f64::NAN], &[f64::INFINITY]] {
        assert!(matches!(sizes(wrong), Err(DataError::Shares { .. })), "{wrong:?}");
    }
}

#[test]
fn transforms_by_hand() {
    let image: Vec<f32> = (0..9).map(|x| x as f32).collect();
    let apply = |transform: ImageTransform| transform.apply(&image, 3);
    // What numpy.rot90 gives.
    assert_eq!(apply(ImageTransform::Rotate90), [2.0, 5.0, 8.0, 1.0, 4.0, 7.0, 0.0, 3.0, 6.0]);
    assert_eq!(apply(ImageTransform::Transpose), [0.0, 3.0, 6.0, 1.0, 4.0, 7.0, 2.0, 5.0, 8.0]);
    assert_eq!(apply(ImageTransform::FlipHorizontal), [2.0, 1.0, 0.0, 5.0, 4.0, 3.0, 8.0, 7.0, 6.0]);
    assert_eq!(apply(ImageTransform::ShiftHalf), [6.0, 7.0, 8.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(apply(ImageTransform::Invert)[2], -1.0);
}

mod properties {
    use super::*;
    use ImageTransform::{FlipHorizontal, Identity, Invert, Rotate90, Rotate180, Rotate270, ShiftHalf, Transpose};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_epoch_is_a_permutation(rows in 1usize..60, batch in 0usize..70, seed: u64, epoch in 0u64..3) {
            let batches = Batches { rows, batch, seed, drop_last: false };
            let first = epoch * batches.per_epoch();
            let mut seen: Vec<usize> = (first..first + batches.per_epoch()).flat_map(|step| batches.at(step)).collect();
            seen.sort();
            prop_assert_eq!(seen, (0..rows).collect::<Vec<_>>());
        }

        #[test]
        fn batches_do_not_depend_on_where_a_run_starts(
            rows in 1usize..60, batch in 1usize..70, seed: u64, drop_last: bool, start in 0u64..20,
        ) {
            let batches = Batches { rows, batch, seed, drop_last };
            let whole: Vec<_> = batches.starting_at(0).take(25).collect();
            let resumed: Vec<_> = batches.starting_at(start).take(25 - start as usize).collect();
            prop_assert_eq!(&whole[(start as usize).min(whole.len())..], &resumed[..]);
            for (step, expected) in whole.iter().enumerate().rev() {
                prop_assert_eq!(&batches.at(step as u64), expected);
                prop_assert!(expected.len() == batch || !drop_last && expected.len() == rows % batch);
            }
        }

        #[test]
        fn a_split_keeps_every_row(rows in 0usize..100, shares in prop::collection::vec(0f64..0.33, 0..4), seed: u64) {
            let mut all: Vec<usize> = split(rows, &shares, seed).unwrap().concat();
            all.sort();
            prop_assert_eq!(all, (0..rows).collect::<Vec<_>>());
        }

        #[test]
        fn transforms_undo_each_other(side in 1usize..6, seed: u64) {
            let pixel = |i: usize| f32::from((seed.rotate_left(i as u32 * 7) & 255) as u8) / 256.0;
            let image: Vec<f32> = (0..side * side).map(pixel).collect();
            let chain = |transforms: &[ImageTransform]| transforms.iter().fold(image.clone(), |x, t| t.apply(&x, side));
            for undone in [
                &[Identity][..], &[Rotate90; 4], &[Rotate90, Rotate270], &[Rotate180; 2], &[Invert; 2], &[FlipHorizontal; 2],
                &[Transpose; 2], &[Rotate90, Rotate90, Rotate180], &[Transpose, FlipHorizontal, Rotate90],
            ] {
                prop_assert_eq!(chain(undone), image.clone(), "{:?}", undone);
            }
            if side.is_multiple_of(2) {
                prop_assert_eq!(chain(&[ShiftHalf; 2]), image);
            }
        }

        #[test]
        fn standardised_columns_have_mean_0_and_variance_1(rows in prop::collection::vec(-100f32..100.0, 6..60)) {
            let width = 3;
            let mut rows = rows[..rows.len() / width * width].to_vec();
            let standardise = Standardise::fit(&rows, width).unwrap();
            standardise.apply(&mut rows).unwrap();
            let count = (rows.len() / width) as f64;
            for j in 0..width {
                let column: Vec<f64> = rows.iter().skip(j).step_by(width).map(|&x| f64::from(x)).collect();
                prop_assert!((column.iter().sum::<f64>() / count).abs() < 1e-3);
                prop_assert!((column.iter().map(|x| x * x).sum::<f64>() / count - 1.0).abs() < 1e-2);
            }
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), compressed: bool) {
            let bytes = if compressed { gzip(&bytes) } else { bytes };
            let _ = load_pair(&bytes, &bytes);
            let folder = folder(&[("a", &bytes), ("b", &bytes)]);
            let _ = load_images(folder.path());
            let _ = optdigits::load(&[folder.path().join("a")]);
        }

        #[test]
        fn damaged_files_never_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut: Option<prop::sample::Index>, compressed: bool,
        ) {
            let damage = |bytes: &[u8]| {
                let mut bytes = if compressed { gzip(bytes) } else { bytes.to_vec() };
                for (at, value) in &changes {
                    let at = at.index(bytes.len());
                    bytes[at] = *value;
                }
                bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
                bytes
            };
            let (images, labels) = (idx_images(2, 3, 2, &[7; 12]), idx_labels(2, &[0, 1]));
            let rows = format!("# digits\n{}\n{}\n", row("3", "1"), row("4", "2"));
            let folder = folder(&[
                ("images", &damage(&images)), ("labels", &damage(&labels)), ("sound-labels", &labels),
                ("rows", &damage(rows.as_bytes())),
            ]);
            let file = |name| folder.path().join(name);
            let loaded = [
                idx::load(file("images"), file("labels")), idx::load(file("images"), file("sound-labels")),
                optdigits::load(&[file("rows")]), load_images(folder.path()),
            ];
            for data in loaded.into_iter().flatten() {
                // What loads is a valid data set.
                prop_assert!(Dataset::new(&data.name, data.features, data.labels, data.width, data.classes).is_ok());
            }
        }
    }
}
