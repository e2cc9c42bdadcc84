//! The gradus command: list and reproduce papers
fn main() {}
