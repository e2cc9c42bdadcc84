#![no_main]
//! An NPY file; what loads must be written and read again unchanged, to the bit.

use gradus_base::npy::NpyArray;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(array) = NpyArray::from_bytes(bytes) {
        let written = array.to_bytes();
        let again = NpyArray::from_bytes(&written).expect("what was written");
        assert_eq!(again.to_bytes(), written);
    }
});
