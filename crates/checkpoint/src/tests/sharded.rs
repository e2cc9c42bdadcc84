use std::path::Path;

use super::sample;
use crate::{Arrays, Checkpoint, CheckpointError, MappedCheckpoint, write_sharded};

const INDEX: &str = "model.safetensors.index.json";

fn one(name: &str, values: &[f32]) -> Checkpoint {
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert_f32(name, &[values.len()], values).unwrap();
    checkpoint
}

/// A folder with `index` as its index and files of one array each, of a name and as many zeros as the name has letters.
fn folder(index: &str, shards: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(INDEX), index).unwrap();
    for (file, name) in shards {
        one(name, &vec![0.0; name.len()]).write(folder.path().join(file)).unwrap();
    }
    folder
}

fn error(index: &str, shards: &[(&str, &str)]) -> CheckpointError {
    MappedCheckpoint::open(folder(index, shards).path()).unwrap_err()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn an_index_as_transformers_writes_it() {
    let index = r#"{
  "metadata": {
    "total_parameters": 3,
    "total_size": 12
  },
  "weight_map": {
    "a": "model-00001-of-00002.safetensors",
    "bb": "model-00002-of-00002.safetensors"
  }
}
"#;
    let folder = folder(index, &[("model-00001-of-00002.safetensors", "a"), ("model-00002-of-00002.safetensors", "bb")]);
    for path in [folder.path().to_owned(), folder.path().join(INDEX)] {
        let mapped = MappedCheckpoint::open(&path).unwrap();
        assert_eq!(mapped.names().collect::<Vec<_>>(), ["a", "bb"]);
        assert_eq!(mapped.get("bb").unwrap().to_f32().unwrap(), [0.0, 0.0]);
        assert!(matches!(mapped.get("c"), Err(CheckpointError::Missing { file, .. }) if file.ends_with(INDEX)));
        let read = Checkpoint::read(&path).unwrap();
        assert_eq!(read.fingerprint(), mapped.fingerprint());
    }
    // Messages about an array name the file that holds it.
    let mapped = MappedCheckpoint::open(folder.path()).unwrap();
    let wrong = mapped.get("bb").unwrap().with_shape(&[3]).unwrap_err();
    assert!(matches!(wrong, CheckpointError::Shape { file, .. } if file.ends_with("model-00002-of-00002.safetensors")));
}

#[test]
fn the_files_of_a_small_checkpoint() {
    // a: 8 bytes, b: 8 bytes, flags: 3 bytes.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/model");
    write_sharded(&path, &sample(), 11).unwrap();
    let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    assert_eq!(names(&path), [shards[0], shards[1], INDEX]);
    let expected = concat!(
        "{\n  \"metadata\": {\n    \"total_size\": 19\n  },\n  \"weight_map\": {\n",
        "    \"a\": \"model-00001-of-00002.safetensors\",\n",
        "    \"b\": \"model-00002-of-00002.safetensors\",\n",
        "    \"flags\": \"model-00002-of-00002.safetensors\"\n  }\n}\n"
    );
    assert_eq!(std::fs::read_to_string(path.join(INDEX)).unwrap(), expected);
    let first = Checkpoint::read(path.join(shards[0])).unwrap();
    assert_eq!((first.names().collect::<Vec<_>>(), &first.metadata), (vec!["a"], &sample().metadata));
    assert_eq!(Checkpoint::read(&path).unwrap(), sample());

    // What fits is one file without an index, the one that `write` makes.
    let small = folder.path().join("small");
    write_sharded(&small, &sample(), 19).unwrap();
    assert_eq!(names(&small), ["model.safetensors"]);
    sample().write(folder.path().join("single")).unwrap();
    assert_eq!(std::fs::read(small.join("model.safetensors")).unwrap(), std::fs::read(folder.path().join("single")).unwrap());
    assert_eq!(MappedCheckpoint::open(&small).unwrap().fingerprint(), sample().fingerprint());

    for existing in [&path, &small] {
        let before = names(existing);
        assert!(matches!(write_sharded(existing, &sample(), 1), Err(CheckpointError::Exists { .. })));
        assert_eq!(names(existing), before);
    }
    std::fs::write(folder.path().join("file"), "").unwrap();
    assert!(matches!(write_sharded(folder.path().join("file"), &sample(), 1), Err(CheckpointError::Io { .. })));
}

#[test]
fn an_array_larger_than_the_maximum_has_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    write_sharded(folder.path(), &sample(), 0).unwrap();
    assert_eq!(names(folder.path()).len(), 4);
    assert_eq!(Checkpoint::read(folder.path()).unwrap(), sample());
    let empty = tempfile::tempdir().unwrap();
    write_sharded(empty.path(), &Checkpoint::new(), 0).unwrap();
    assert_eq!(Checkpoint::read(empty.path()).unwrap(), Checkpoint::new());
}

#[test]
fn a_folder_prefers_one_file_and_needs_either() {
    let both = folder(r#"{"weight_map":{}}"#, &[("model.safetensors", "a")]);
    assert_eq!(MappedCheckpoint::open(both.path()).unwrap().names().len(), 1);
    let none = tempfile::tempdir().unwrap();
    assert!(matches!(MappedCheckpoint::open(none.path()), Err(CheckpointError::NoCheckpoint { folder }) if folder == none.path()));
    assert!(matches!(MappedCheckpoint::open(none.path().join("x.json")), Err(CheckpointError::Io { .. })));
}

#[test]
fn a_bad_index() {
    for index in [
        "",
        "[]",
        "{}",
        r#"{"weight_map":[]}"#,
        r#"{"weight_map":{"a":1}}"#,
        r#"{"weight_map":{}} x"#,
        "\u{7f}",
        r#"{"weight_map":{},"weight_map":{}}"#,
    ] {
        assert!(matches!(error(index, &[]), CheckpointError::Index { .. }), "{index}");
    }
    let twice = r#"{"weight_map":{"a":"s","a":"s"}}"#;
    assert!(matches!(error(twice, &[("s", "a")]), CheckpointError::DuplicateName { name, file } if name == "a" && file.ends_with(INDEX)));
}

#[test]
fn shards_outside_the_folder_are_refused() {
    for shard in ["../s", "/s", "a/../../s", ".", "..", "", "./s", r"..\\s", r"C:\\s"] {
        let index = format!(r#"{{"weight_map":{{"a":"{shard}"}}}}"#);
        let error = error(&index, &[("s", "a")]);
        assert!(
            matches!(&error, CheckpointError::ShardPath { shard: found, .. } if *found == shard.replace(r"\\", r"\")),
            "{shard}: {error}"
        );
    }
}

#[test]
fn an_index_and_files_that_differ() {
    let missing = error(r#"{"weight_map":{"a":"s","b":"t"}}"#, &[("s", "a")]);
    assert!(matches!(&missing, CheckpointError::MissingShard { shard, .. } if shard == "t"), "{missing}");
    let not_there = error(r#"{"weight_map":{"a":"s","b":"s"}}"#, &[("s", "a")]);
    assert!(matches!(&not_there, CheckpointError::NotInShard { name, file, .. } if name == "b" && file.ends_with("s")), "{not_there}");
    let elsewhere = error(r#"{"weight_map":{"a":"t","b":"s"}}"#, &[("s", "a"), ("t", "b")]);
    assert!(matches!(&elsewhere, CheckpointError::NotInShard { name, .. } if name == "b"), "{elsewhere}");
    let unknown = {
        let folder = folder(r#"{"weight_map":{"a":"s"}}"#, &[]);
        let mut two = one("a", &[1.0]);
        two.insert_f32("b", &[1], &[2.0]).unwrap();
        two.write(folder.path().join("s")).unwrap();
        MappedCheckpoint::open(folder.path()).unwrap_err()
    };
    assert!(matches!(&unknown, CheckpointError::NotInIndex { name, file, .. } if name == "b" && file.ends_with("s")), "{unknown}");
    let twice = {
        let folder = folder(r#"{"weight_map":{"a":"s","b":"t"}}"#, &[("s", "a")]);
        let mut two = one("a", &[1.0]);
        two.insert_f32("b", &[1], &[2.0]).unwrap();
        two.write(folder.path().join("t")).unwrap();
        MappedCheckpoint::open(folder.path()).unwrap_err()
    };
    assert!(matches!(&twice, CheckpointError::DuplicateName { name, file } if name == "a" && file.ends_with(INDEX)), "{twice}");
    let cut = {
        let folder = folder(r#"{"weight_map":{"a":"s"}}"#, &[("s", "a")]);
        let bytes = std::fs::read(folder.path().join("s")).unwrap();
        std::fs::write(folder.path().join("s"), &bytes[..bytes.len() - 1]).unwrap();
        MappedCheckpoint::open(folder.path()).unwrap_err()
    };
    assert!(matches!(&cut, CheckpointError::Truncated { file, .. } if file.ends_with("s")), "{cut}");
}

#[test]
fn in_memory_in_a_file_and_in_several_alike() {
    let folder = tempfile::tempdir().unwrap();
    sample().write(folder.path().join("single")).unwrap();
    write_sharded(folder.path().join("several"), &sample(), 8).unwrap();
    let (memory, open) = (sample(), |name| MappedCheckpoint::open(folder.path().join(name)).unwrap());
    let (single, several) = (open("single"), open("several"));
    for arrays in [&memory as &dyn Arrays, &single, &several] {
        assert_eq!(arrays.fingerprint(), memory.fingerprint());
        assert_eq!(arrays.metadata(), &memory.metadata);
        assert_eq!(arrays.array("a").unwrap().to_f64().unwrap(), [0.1]);
        assert_eq!(arrays.all().iter().map(|array| array.name).collect::<Vec<_>>(), ["a", "b", "flags"]);
        assert!(matches!(arrays.array("c"), Err(CheckpointError::Missing { .. })));
    }
}

mod properties {
    use super::*;
    use crate::tests::properties::any_checkpoint;
    use proptest::prelude::*;

    proptest! {
        // Every file is flushed to the disk.
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_maximum_gives_the_same_arrays(checkpoint in any_checkpoint(), max in 0u64..200) {
            let folder = tempfile::tempdir().unwrap();
            write_sharded(folder.path(), &checkpoint, max).unwrap();
            let mapped = MappedCheckpoint::open(folder.path()).unwrap();
            prop_assert_eq!(mapped.fingerprint(), checkpoint.fingerprint());
            prop_assert_eq!(mapped.metadata(), &checkpoint.metadata);
            prop_assert_eq!(&Checkpoint::read(folder.path()).unwrap(), &checkpoint);
            for name in names(folder.path()).iter().filter(|name| name.ends_with(".safetensors")) {
                let shard = Checkpoint::read(folder.path().join(name)).unwrap();
                let bytes: usize = shard.arrays().map(|array| array.bytes.len()).sum();
                prop_assert!(bytes as u64 <= max || shard.names().len() == 1);
            }
            let again = tempfile::tempdir().unwrap();
            write_sharded(again.path(), &mapped, max).unwrap();
            prop_assert_eq!(names(again.path()), names(folder.path()));
            for name in names(again.path()) {
                prop_assert_eq!(std::fs::read(again.path().join(&name)).unwrap(), std::fs::read(folder.path().join(&name)).unwrap());
            }
        }

        #[test]
        fn a_damaged_index_never_panics(checkpoint in any_checkpoint(), place: prop::sample::Index, byte: u8) {
            let folder = tempfile::tempdir().unwrap();
            write_sharded(folder.path(), &checkpoint, 8).unwrap();
            let path = folder.path().join(INDEX);
            if let Ok(mut bytes) = std::fs::read(&path) {
                let place = place.index(bytes.len());
                bytes[place] = byte;
                std::fs::write(&path, bytes).unwrap();
                let _ = MappedCheckpoint::open(&path);
            }
        }
    }
}
