use super::folder;
use crate::*;

fn record(labels: &[u8], first: u8) -> Vec<u8> {
    let pixels = (0..3072u32).map(|i| if i == 0 { first } else { (i / 1024 * 51) as u8 });
    labels.iter().copied().chain(pixels).collect()
}

#[test]
fn records_of_both_kinds() {
    let ten = [record(&[3], 255), record(&[9], 0)].concat();
    let hundred = record(&[19, 99], 255);
    let files = folder(&[("ten", &ten), ("packed", &super::gzip(&ten)), ("hundred", &hundred)]);
    for name in ["ten", "packed"] {
        let data = Cifar::Ten.load(&[files.path().join(name)]).unwrap();
        assert_eq!((data.labels.clone(), data.classes, data.width, data.image), (vec![3, 9], 10, 3072, Some([3, 32, 32])));
        assert_eq!([data.row(0)[0], data.row(0)[1], data.row(1)[1024], data.row(1)[3071]], [1.0, 0.0, 0.2, 0.4]);
    }
    let data = Cifar::Hundred.load(&[files.path().join("hundred"), files.path().join("hundred")]).unwrap();
    assert_eq!((data.labels, data.classes), (vec![99, 99], 100));
}

#[test]
fn bad_records() {
    let error = |kind: Cifar, bytes: &[u8]| {
        let files = folder(&[("x", bytes)]);
        kind.load(&[files.path().join("x")]).unwrap_err()
    };
    assert!(matches!(Cifar::Ten.load(&["/no/such/file"]), Err(DataError::Io { .. })));
    assert!(matches!(error(Cifar::Ten, &[]), DataError::Empty { .. }));
    assert!(matches!(Cifar::Ten.load::<&str>(&[]), Err(DataError::Empty { .. })));
    let files = folder(&[("whole", &record(&[1], 0)), ("empty", &[])]);
    let partly = Cifar::Ten.load(&["whole", "empty"].map(|name| files.path().join(name)));
    assert!(matches!(partly, Err(DataError::Empty { what }) if what.ends_with("empty")));
    let two = [record(&[1], 0), record(&[10], 0)].concat();
    assert!(matches!(error(Cifar::Ten, &two), DataError::Label { row: 1, label: 10, classes: 10, .. }));
    assert!(matches!(error(Cifar::Ten, &two[..3074]), DataError::Truncated { expected: 6146, found: 3074, .. }));
    assert!(matches!(error(Cifar::Hundred, &record(&[20, 0], 0)), DataError::Label { label: 20, classes: 20, .. }));
    assert!(matches!(error(Cifar::Hundred, &record(&[0, 100], 0)), DataError::Label { label: 100, classes: 100, .. }));
}

#[test]
fn folders_are_recognised() {
    let (one, two, test) = (record(&[1], 0), record(&[2], 0), record(&[3], 0));
    let ten = folder(&[("a/test_batch.bin", &test), ("a/data_batch_2.bin", &two), ("a/data_batch_1.bin", &one), ("a/names.txt", b"x")]);
    assert_eq!(load_images(ten.path()).unwrap().labels, [1, 2, 3]);
    let hundred = folder(&[("test.bin", &record(&[0, 70], 0)), ("train.bin", &record(&[1, 80], 0))]);
    assert_eq!(load_images(hundred.path()).unwrap().labels, [80, 70]);
    let neither = folder(&[("x.bin", &[200; 3073])]);
    assert!(matches!(load_images(neither.path()), Err(DataError::Unknown { .. })));
}
