//! The beginning of a text.

/// As much of the text as so many bytes hold, in whole characters.
pub(crate) fn beginning(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_is_cut() {
        let told: Vec<&str> = (0..=7).map(|most| beginning("aé€b", most)).collect();
        assert_eq!(told, ["", "a", "a", "aé", "aé", "aé", "aé€", "aé€b"]);
        assert_eq!(beginning("aé", usize::MAX), "aé");
    }
}
