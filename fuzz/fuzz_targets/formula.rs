#![no_main]
//! A formula of a game; what is wrong with it must be at one of its characters, or at its end.

use gradus_games::file::formula::check;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = check(text, &["x", "y"], &[("k", 0.5), ("n", 3.0)]) {
        assert!((1..=text.chars().count() + 1).contains(&error.column));
        assert!(!error.message.contains(char::is_control));
    }
});
