#![no_main]
//! The file of a game; what is accepted must have a side for each variable, and be computed without a panic.

use gradus_games::file::GameFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| match GameFile::parse(bytes) {
    Ok(file) => {
        assert_eq!(file.variables.len(), file.game.size());
        assert_eq!(file.players.len(), file.game.dimensions().len());
        let Some(region) = file.region else { return };
        assert_eq!(region.len(), file.game.size());
        let middle: Vec<f64> = region.iter().map(|side| side.midpoint()).collect();
        // A finite value lies in its enclosure.
        let enclosures = file.game.field_box(&region);
        let values = file.game.field(&middle);
        if file.game.is_finite_at(&middle) {
            assert!(enclosures.iter().zip(&values).all(|(around, &value)| around.contains(value)));
        }
    }
    Err(error) => assert!(!error.to_string().contains(char::is_control)),
});
