#![no_main]
//! A safetensors file; what loads must be written and read again unchanged.

use gradus_checkpoint::Checkpoint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(checkpoint) = Checkpoint::from_bytes(bytes) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("again.safetensors");
        checkpoint.write(&file).expect("a written file");
        let again = Checkpoint::read(&file).expect("what was written");
        assert_eq!(again.fingerprint(), checkpoint.fingerprint());
    }
});
