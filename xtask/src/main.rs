//! The developer's commands: `cargo xtask <command>`. One file per command; shells out to cargo.

mod test;

use std::process::ExitCode;

const HELP: &str = "\
Usage: cargo xtask <command>

Commands:
  test    Check everything: formatting, lints, tests, documentation
          --properties     run the property tests alone, with many more cases
          --cases N        cases for each property (default 1000)
          -p, --package P  only this crate
  help    Show this text
";

fn main() -> ExitCode {
    match run(lexopt::Parser::from_env()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

fn run(mut arguments: lexopt::Parser) -> Result<ExitCode, lexopt::Error> {
    use lexopt::Arg::{Long, Short, Value};
    match arguments.next()? {
        Some(Value(command)) if command == "test" => test::run(test::Options::parse(arguments)?),
        Some(Value(command)) if command == "help" => Ok(help()),
        Some(Long("help") | Short('h')) | None => Ok(help()),
        Some(other) => Err(other.unexpected()),
    }
}

fn help() -> ExitCode {
    print!("{HELP}");
    ExitCode::SUCCESS
}
