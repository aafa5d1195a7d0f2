//! Words of the simulator's small languages (faults, scripts), each with its place in the text.

/// A word: what stands between spaces. Double quotes keep spaces in it and are dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Its first byte in the text that was split.
    pub(super) at: usize,
    /// It, without quotes.
    pub(super) text: String,
}

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TextFault {
    /// The byte at fault.
    pub(super) at: usize,
    /// Why.
    pub(super) why: String,
}

impl TextFault {
    pub(super) fn new(at: usize, why: &str) -> Self {
        Self {
            at,
            why: why.to_owned(),
        }
    }
}

impl Word {
    pub(super) fn fault(&self, why: &str) -> TextFault {
        TextFault::new(self.at, why)
    }
}

/// Splits at white space outside quotes.
pub(super) fn split_words(text: &str) -> Result<Vec<Word>, TextFault> {
    let mut words = Vec::new();
    let mut open: Option<Word> = None;
    let mut quote = None;
    for (at, c) in text.char_indices() {
        if quote.is_none() && c.is_whitespace() {
            words.extend(open.take());
            continue;
        }
        let word = open.get_or_insert_with(|| Word {
            at,
            text: String::new(),
        });
        if c == '"' {
            quote = if quote.is_some() { None } else { Some(at) };
        } else {
            word.text.push(c);
        }
    }
    if let Some(at) = quote {
        return Err(TextFault::new(at, "a quote is not closed"));
    }
    words.extend(open);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_their_places() {
        let words = split_words("create  url~=\"a b\" \"\" x").unwrap();
        let seen: Vec<_> = words.iter().map(|w| (w.at, w.text.as_str())).collect();
        assert_eq!(seen, [(0, "create"), (8, "url~=a b"), (19, ""), (22, "x")]);
    }

    #[test]
    fn an_open_quote_is_pointed_at() {
        assert_eq!(split_words("refuse \"oh").unwrap_err().at, 7);
    }
}
