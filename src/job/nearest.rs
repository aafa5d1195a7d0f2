//! What a misspelt word was probably meant to be.

/// The word of `known` that `given` was probably meant to be.
#[must_use]
pub fn closest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|word| (edits(given, word), word))
        .filter(|(edits, word)| *edits <= word.len() / 4 + 1)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, word)| word)
}

/// Letters to insert, delete or replace to get from one word to the other (Levenshtein).
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (n, a) in from.chars().enumerate() {
        let mut diagonal = n;
        row[0] = n + 1;
        for (m, b) in to.iter().enumerate() {
            let replace = diagonal + usize::from(a != *b);
            diagonal = row[m + 1];
            row[m + 1] = replace.min(row[m] + 1).min(row[m + 1] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_another_word_is_not() {
        let known = ["website_url", "website_key", "id"];
        let closest = |given| closest(given, known.into_iter());
        assert_eq!(closest("website_ulr"), Some("website_url"));
        assert_eq!(closest("websitekey"), Some("website_key"));
        assert_eq!(closest("colour"), None);
    }
}
