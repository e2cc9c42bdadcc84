//! `cargo xtask reproduce` and `cargo xtask list`: the `gradus` command, built on the way.

use std::ffi::{OsStr, OsString};

use crate::{Failure, cargo};

/// Runs `gradus COMMAND ARGUMENTS…` and passes its exit status on.
///
/// The dev profile is optimised, so this builds nothing that the tests do not need as well.
pub(crate) fn run(command: &OsStr, arguments: Vec<OsString>) -> Result<(), Failure> {
    let mut gradus = cargo::run(&["--package", "gradus-cli", "--"]);
    gradus.arg(command).args(arguments);
    // Relative paths (--data, --out) mean what they mean to the person who typed them; cargo finds
    // the workspace from any folder inside it, which is where `cargo xtask` works at all.
    if let Ok(folder) = std::env::current_dir() {
        gradus.current_dir(folder);
    }
    cargo::become_command(&mut gradus)
}
