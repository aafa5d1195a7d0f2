//! A refusal, in the terms of either protocol: v1 has words alone, v2 a code and a description.

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The account token is not accepted.
    BadToken,
    /// The balance is used up.
    NoBalance,
    /// The account is locked.
    Blocked,
    /// There is no such job.
    UnknownJob,
    /// The request is not well made; what is wrong with it.
    Malformed(String),
    /// A script says so, in these words. In v2 a first word that looks like a code is one.
    Scripted(String),
}

impl Refusal {
    /// The message of v1. "Invalid api token." is as documented.
    pub(super) fn words(&self) -> &str {
        match self {
            Self::BadToken => "Invalid api token.",
            Self::NoBalance => "Your balance is not enough.",
            Self::Blocked => "Your account has been blocked.",
            Self::UnknownJob => "Job not found.",
            Self::Malformed(why) | Self::Scripted(why) => why,
        }
    }

    /// The code and the description of v2.
    pub(super) fn code(&self) -> (&str, &str) {
        match self {
            Self::BadToken => ("ERROR_KEY_DOES_NOT_EXIST", "Account key not found"),
            Self::NoBalance => ("ERROR_ZERO_BALANCE", "Account has zero balance"),
            Self::Blocked => ("ERROR_ACCOUNT_SUSPENDED", "Account suspended"),
            Self::UnknownJob => ("ERROR_NO_SUCH_CAPCHA_ID", "Task not found"),
            Self::Malformed(why) => ("ERROR_INVALID_TASK_DATA", why),
            Self::Scripted(words) => match words.split_once(' ') {
                Some((code, rest)) if code.starts_with("ERROR_") => (code, rest),
                None if words.starts_with("ERROR_") => (words, ""),
                _ => ("ERROR_REFUSED", words),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_may_give_a_code() {
        let code = |words: &str| {
            let refusal = Refusal::Scripted(words.to_owned());
            let (code, description) = refusal.code();
            format!("{code}|{description}")
        };
        assert_eq!(
            code("ERROR_NO_SLOT_AVAILABLE No idle workers"),
            "ERROR_NO_SLOT_AVAILABLE|No idle workers"
        );
        assert_eq!(code("ERROR_IP_BLOCKED"), "ERROR_IP_BLOCKED|");
        assert_eq!(code("no such luck"), "ERROR_REFUSED|no such luck");
    }
}
