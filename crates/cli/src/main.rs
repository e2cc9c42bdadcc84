//! The gradus command: list and reproduce papers.

use std::process::ExitCode;

fn main() -> ExitCode {
    let listing = std::env::args().nth(1).is_some_and(|command| command == "list");
    if listing {
        return ExitCode::SUCCESS; // no system is registered yet, so there is nothing to print
    }
    eprintln!("error: no system can be reproduced yet");
    ExitCode::from(3)
}
