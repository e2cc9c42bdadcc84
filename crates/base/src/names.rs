/// Whether a name fits a pattern, in which each `*` stands for any characters, dots and none included.
///
/// ```
/// use gradus_base::matches;
///
/// assert!(matches("encoder.*.weight", "encoder.layers.0.weight"));
/// assert!(matches("*", "bias") && matches("bias", "bias"));
/// assert!(!matches("encoder.*.weight", "encoder.layers.0.bias"));
/// ```
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_take_what_is_left() {
        for (pattern, name, fits) in [
            ("", "", true),
            ("", "a", false),
            ("a*", "a", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("*ab", "aab", true),
            ("**", "anything", true),
            ("a*b*ab", "abab", true),
            ("a*b*ab", "abb", false),
            ("é*", "été", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern:?} {name:?}");
        }
    }
}
