#![no_main]
//! The description of a network; what is accepted must be built and described again unchanged.

use gradus_models::Sequential;
use libfuzzer_sys::fuzz_target;

/// Elements of all tensors together, beyond which nothing is built.
const MOST: usize = 100_000;

fuzz_target!(|bytes: &[u8]| {
    let Ok(description) = serde_json::from_slice(bytes) else { return };
    let Ok(tensors) = Sequential::tensors_of(&description) else { return };
    let count = tensors.iter().fold(0usize, |sum, (_, shape)| sum.saturating_add(shape.iter().product()));
    if count <= MOST {
        let rng = &mut gradus_base::stream(1, "fuzz", 0);
        let network: Sequential = Sequential::from_json(&description, rng).expect("a checked description");
        let again = Sequential::tensors_of(&network.to_json()).expect("a description of our own");
        assert_eq!(again, tensors);
    }
});
