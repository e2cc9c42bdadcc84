#![no_main]
//! The index of a checkpoint in two files, and the first of these; what opens must be written and read again unchanged.

use gradus_checkpoint::{Checkpoint, MappedCheckpoint, write_sharded};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|files: (&[u8], &[u8])| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name| folder.path().join(name);
    std::fs::write(file("model.safetensors.index.json"), files.0).expect("a written file");
    std::fs::write(file("a"), files.1).expect("a written file");
    let mut second = Checkpoint::new();
    second.insert_f32("b", &[1], &[0.0]).expect("a new name");
    second.write(file("b")).expect("a written file");
    if let Ok(checkpoint) = MappedCheckpoint::open(folder.path()) {
        write_sharded(file("again"), &checkpoint, 16).expect("written files");
        let again = MappedCheckpoint::open(file("again")).expect("what was written");
        assert_eq!(again.fingerprint(), checkpoint.fingerprint());
    }
});
