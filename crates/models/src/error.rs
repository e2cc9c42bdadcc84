/// A setting of a model that is out of range or does not fit the others.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`{name}` is {found}, expected {expected}")]
pub struct SettingError {
    /// The field.
    pub name: &'static str,
    /// What would fit.
    pub expected: String,
    /// What was given.
    pub found: String,
}
