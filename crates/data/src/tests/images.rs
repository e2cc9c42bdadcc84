use super::folder;
use crate::*;

macro_rules! files {
    ($($name:literal),*) => {
        /// The images beside this file, which a script there wrote.
        const FILES: &[(&str, &[u8])] = &[$(($name, include_bytes!(concat!("files/", $name)))),*];
    };
}

files!(
    "grey.png",
    "bit.png",
    "grey_alpha.png",
    "colour.png",
    "alpha.png",
    "sixteen.png",
    "palette.png",
    "small.png",
    "grey.jpg",
    "colour.jpg"
);

fn file(name: &str) -> &'static [u8] {
    FILES.iter().find(|(own, _)| *own == name).unwrap().1
}

fn load(files: &[(&str, &[u8])]) -> Result<Dataset, DataError> {
    load_image_folder(folder(files).path())
}

/// The one image of a folder, in whole numbers.
fn pixels(name: &str) -> ([usize; 3], Vec<u8>) {
    let data = load_image_folder(folder(&[("class/x", file(name))]).path()).unwrap();
    (data.image.unwrap(), data.features.iter().map(|x| (x * 255.0).round() as u8).collect())
}

#[test]
fn every_kind_of_pixel() {
    let grey = vec![0, 51, 102, 153, 204, 255];
    assert_eq!(pixels("grey.png"), ([1, 2, 3], grey.clone()));
    assert_eq!(pixels("grey_alpha.png"), ([1, 2, 3], grey));
    assert_eq!(pixels("bit.png"), ([1, 2, 3], vec![255, 0, 255, 0, 255, 0]));
    let colour = vec![1, 4, 7, 10, 40, 70, 2, 5, 8, 20, 50, 80, 3, 6, 9, 30, 60, 90];
    for name in ["colour.png", "alpha.png", "sixteen.png"] {
        assert_eq!(pixels(name), ([3, 2, 3], colour.clone()), "{name}");
    }
    assert_eq!(pixels("palette.png"), ([3, 2, 3], vec![1, 4, 7, 7, 4, 1, 2, 5, 8, 8, 5, 2, 3, 6, 9, 9, 6, 3]));
}

#[test]
fn flat_blocks_of_jpeg() {
    let (size, values) = pixels("grey.jpg");
    assert_eq!(size, [1, 8, 16]);
    assert!(values.chunks(8).enumerate().all(|(k, block)| block.iter().all(|&x| x == if k % 2 == 0 { 10 } else { 200 })));
    // Red, green and blue by the conversion of JFIF 1.02, up to its rounding.
    let (size, values) = pixels("colour.jpg");
    assert_eq!(size, [3, 8, 24]);
    for (channel, plane) in values.chunks(8 * 24).enumerate() {
        for (k, &value) in plane.iter().enumerate() {
            let expected = if k % 24 / 8 == channel { 255 } else { 0 };
            assert!(i32::from(value).abs_diff(expected) <= 2, "{channel} {k} {value}");
        }
    }
}

#[test]
fn folders_are_classes() {
    let files = [
        ("b/2.png", file("colour.png")),
        ("b/1.png", file("palette.png")),
        ("a/x.png", file("alpha.png")),
        ("a/.hidden", b"anything"),
        (".git/x", b"anything"),
        ("c/x", file("sixteen.png")),
        ("readme", b"text"),
    ];
    let folder = folder(&files);
    let data = load_image_folder(folder.path()).unwrap();
    assert_eq!(
        (data.class_names.clone(), data.labels.clone(), data.classes),
        (["a", "b", "c"].map(str::to_owned).to_vec(), vec![0, 1, 1, 2], 3)
    );
    assert_eq!(data.row(1)[1], 4.0 / 255.0);
    assert_eq!(load_images(folder.path()).unwrap(), data);
    // A folder of something else is none of images.
    let mixed = super::folder(&[("a/x.png", file("grey.png")), ("b/notes", b"text")]);
    assert!(matches!(load_images(mixed.path()), Err(DataError::Unknown { .. })));
}

#[test]
fn bad_images_are_named() {
    let error = |bytes: &[u8]| load_image_folder(folder(&[("class/x.png", bytes)]).path()).unwrap_err();
    let named = |error: &DataError| error.to_string().contains("x.png");
    for bytes in [&b"GIF89a"[..], &[]] {
        let error = error(bytes);
        assert!(matches!(&error, DataError::ImageFormat { .. }) && named(&error), "{error}");
    }
    for (name, bytes) in FILES {
        // A PNG may lack its last chunk, which says nothing; a JPEG its last marker.
        for length in 8..bytes.len() - 14 {
            let error = error(&bytes[..length]);
            assert!(matches!(&error, DataError::Image { .. }) && named(&error), "{name} {length}: {error}");
        }
    }
    let error = load(&[("a/1", file("grey.png")), ("a/2", file("small.png"))]).unwrap_err();
    assert!(matches!(&error, DataError::ImageSize { what, expected: [1, 2, 3], found: [1, 1, 1] } if what.ends_with("2")), "{error}");
    let error = load(&[("a/1", file("grey.png")), ("b/1", file("colour.png"))]).unwrap_err();
    assert!(matches!(error, DataError::ImageSize { expected: [1, 2, 3], found: [3, 2, 3], .. }));
    assert!(matches!(load(&[("readme", b"text")]), Err(DataError::Empty { .. })));
    assert!(matches!(load_image_folder("/no/such/folder"), Err(DataError::Io { .. })));
}

#[test]
fn claims_of_huge_images_cost_nothing() {
    // The size of a PNG is at byte 16, and its checksum at 29.
    let mut png = file("grey.png").to_vec();
    png[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    let checksum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    let mut jpeg = file("grey.jpg").to_vec();
    let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].fill(0xff);
    for bytes in [png, jpeg] {
        let files = folder(&[("class/x", &bytes)]);
        let error = load_image_folder(files.path()).unwrap_err();
        assert!(matches!(error, DataError::TooManyPixels { .. }), "{error}");
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let bit = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| bit(crc)))
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn damaged_images_never_panic(which: prop::sample::Index, place: prop::sample::Index, byte: u8) {
            let mut bytes = FILES[which.index(FILES.len())].1.to_vec();
            let place = place.index(bytes.len());
            bytes[place] = byte;
            if let Ok(data) = load_image_folder(folder(&[("class/x", &bytes)]).path()) {
                prop_assert!(Dataset::new(&data.name, data.features, data.labels, data.width, data.classes).is_ok());
            }
        }
    }
}
