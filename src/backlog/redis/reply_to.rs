//! Where producers may have their outcomes put: reply lists and keys of results.
//!
//! What must stay true: no message can make us write to a key that is ours, the queue's, or somebody
//! else's. A reply list begins with the operator's prefix; that prefix covers no key that anybody else
//! writes to or reads from, and neither does the one of result keys, which an id is put to.

/// Longest name of a reply list, in bytes.
const LONGEST_NAME: usize = 512;

/// Which reply lists are allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyPolicy {
    prefix: String,
    taken: Vec<String>,
    key_prefix: String,
    is_denied: bool,
}

/// Names that get into each other's way.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{setting}: {why}")]
pub struct PrefixConflict {
    /// The setting at fault: `reply_prefix` or `result_key_prefix`.
    pub setting: &'static str,
    /// Why it cannot be used.
    pub why: String,
}

/// The names in use around a queue.
#[derive(Clone, Copy, Debug)]
pub struct NamesInUse<'a> {
    /// The list that requests come from.
    pub list: &'a str,
    /// The list that outcomes go to, where the sink is one.
    pub results: Option<&'a str>,
    /// What our own keys begin with.
    pub key_prefix: &'a str,
}

impl ReplyPolicy {
    /// The policy for a queue: reply lists begin with `reply_prefix`, and keys of single outcomes, where
    /// there are any, with `result_key_prefix`.
    ///
    /// # Errors
    ///
    /// Where a prefix is empty, or covers or lies within what it must keep clear of.
    pub fn try_new(
        reply_prefix: &str,
        result_key_prefix: Option<&str>,
        names: NamesInUse<'_>,
    ) -> Result<Self, PrefixConflict> {
        check("reply_prefix", reply_prefix, names)?;
        if let Some(prefix) = result_key_prefix {
            check("result_key_prefix", prefix, names)?;
            if prefix.starts_with(reply_prefix) || reply_prefix.starts_with(prefix) {
                return Err(PrefixConflict {
                    setting: "result_key_prefix",
                    why: "a key could be a result's and a reply list at once; keep it and reply_prefix apart"
                        .to_owned(),
                });
            }
        }
        let taken = std::iter::once(names.list).chain(names.results);
        Ok(Self {
            prefix: reply_prefix.to_owned(),
            taken: taken.map(str::to_owned).collect(),
            key_prefix: names.key_prefix.to_owned(),
            is_denied: false,
        })
    }

    /// What reply lists begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Allows none: our user at Redis may not write to them.
    pub fn deny(&mut self) {
        self.is_denied = true;
    }

    /// Whether outcomes may go to the list `reply_to`.
    ///
    /// # Errors
    ///
    /// Why not, for `reply_error`.
    pub fn check(&self, reply_to: &str) -> Result<(), String> {
        if self.is_denied {
            return Err("the workers' user at Redis may not push to reply lists".to_owned());
        }
        if !reply_to.starts_with(&self.prefix) {
            return Err(format!("reply_to must begin with {}", self.prefix));
        }
        if self.taken.iter().any(|name| name == reply_to) || reply_to.starts_with(&self.key_prefix)
        {
            return Err("reply_to is a key of the queue's own".to_owned());
        }
        if reply_to.len() > LONGEST_NAME {
            return Err(format!("reply_to is longer than {LONGEST_NAME} bytes"));
        }
        if reply_to.chars().any(char::is_control) {
            return Err("reply_to contains a control character".to_owned());
        }
        Ok(())
    }
}

/// Whether keys that begin with `prefix` are nobody else's.
fn check(setting: &'static str, prefix: &str, names: NamesInUse<'_>) -> Result<(), PrefixConflict> {
    let conflict = |why: String| Err(PrefixConflict { setting, why });
    if prefix.is_empty() {
        return conflict("is empty, and would cover every key".to_owned());
    }
    if prefix.chars().any(char::is_control) {
        return conflict("contains a control character".to_owned());
    }
    for name in std::iter::once(names.list).chain(names.results) {
        if name.starts_with(prefix) {
            return conflict(format!("covers the list {}", name.escape_debug()));
        }
    }
    let ours = names.key_prefix;
    if prefix.starts_with(ours) || ours.starts_with(prefix) {
        return conflict(format!(
            "gets in the way of our own keys, {}…",
            ours.escape_debug()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: NamesInUse<'_> = NamesInUse {
        list: "solve:requests",
        results: Some("solve:results"),
        key_prefix: "pollwheel:",
    };

    #[test]
    fn a_reply_list_begins_with_the_prefix() {
        let policy = ReplyPolicy::try_new("reply:", Some("result:"), NAMES).unwrap();
        for good in ["reply:17", "reply:", "reply:{a}:é"] {
            assert_eq!(policy.check(good), Ok(()), "{good}");
        }
        let long = format!("reply:{}", "x".repeat(600));
        for bad in [
            "",
            "repl",
            "Reply:1",
            " reply:1",
            "solve:requests",
            "solve:results",
            "pollwheel:{x}:x:job",
            "result:1",
            "reply:a\0",
            "reply:\n",
            long.as_str(),
        ] {
            assert!(policy.check(bad).is_err(), "{bad}");
        }
        assert_eq!(
            policy.check("other:1").unwrap_err(),
            "reply_to must begin with reply:"
        );
    }

    #[test]
    fn prefixes_that_cover_too_much() {
        let conflict = |reply, result| {
            let made = ReplyPolicy::try_new(reply, result, NAMES);
            made.map(|_| String::new())
                .unwrap_or_else(|e| e.to_string())
        };
        assert_eq!(
            conflict("solve:", None),
            "reply_prefix: covers the list solve:requests"
        );
        assert_eq!(
            conflict("solve:results", None),
            "reply_prefix: covers the list solve:results"
        );
        for own in ["p", "pollwheel:", "pollwheel:x:"] {
            assert!(conflict(own, None).contains("our own keys"), "{own}");
            assert!(
                conflict("reply:", Some(own)).contains("our own keys"),
                "{own}"
            );
        }
        assert!(conflict("", None).contains("is empty"));
        assert!(conflict("reply:", Some("")).contains("is empty"));
        assert!(conflict("reply:", Some("reply:x:")).contains("apart"));
        assert!(conflict("reply:", Some("rep")).contains("apart"));
        assert!(conflict("reply:", Some("solve:r")).contains("covers the list"));
        assert_eq!(conflict("reply:", Some("result:")), "");
    }

    proptest::proptest! {
        #[test]
        fn nothing_but_what_the_prefix_covers(name in "(reply:|solve:|pollwheel:|r)?[a-z:{}\\x00]{0,12}") {
            let policy = ReplyPolicy::try_new("reply:", None, NAMES).unwrap();
            if policy.check(&name).is_ok() {
                proptest::prop_assert!(name.starts_with("reply:"));
                proptest::prop_assert!(!name.contains('\0'));
            }
        }
    }
}
