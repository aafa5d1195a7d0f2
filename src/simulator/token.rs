//! Make-believe tokens: derived from a seed and a job's id, so that a test (or the user, with
//! `/ledger/jobs` at hand) can tell which job any token in an output belongs to.

/// What a solved token looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenStyle {
    /// `P1_` and a JSON web token.
    HCaptcha,
    /// `03AFcWeA…` or `3AHJ_…`.
    Recaptcha,
}

/// The alphabet of base64url.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The token of a job: the same for the same seed, job and style, and unlike that of any other.
#[must_use]
pub fn token_for(seed: u64, job_id: u64, style: TokenStyle) -> String {
    let mut noise = [0_u8; 320];
    let mut hasher = blake3::Hasher::new_derive_key("pollwheel simulator 2026 solved token");
    hasher.update(&seed.to_le_bytes());
    hasher.update(&job_id.to_le_bytes());
    hasher.finalize_xof().fill(&mut noise);
    let text = |from: usize, to: usize| {
        noise[from..to]
            .iter()
            .map(|byte| char::from(ALPHABET[usize::from(byte & 63)]))
    };
    let mut token = String::with_capacity(360);
    match style {
        TokenStyle::HCaptcha => {
            // {"typ":"JWT","alg":"HS256"}, as the documents print it.
            token.push_str("P1_eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.");
            token.extend(text(0, 240));
            token.push('.');
            token.extend(text(240, 283));
        }
        TokenStyle::Recaptcha => {
            token.push_str(if job_id.is_multiple_of(2) {
                "03AFcWeA"
            } else {
                "3AHJ_"
            });
            token.extend(text(0, 320));
        }
    }
    token
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_token_is_its_jobs_alone_and_can_be_had_again() {
        let mut seen = HashSet::new();
        for seed in [1, 2] {
            for id in 1..500 {
                for style in [TokenStyle::HCaptcha, TokenStyle::Recaptcha] {
                    let token = token_for(seed, id, style);
                    assert_eq!(token, token_for(seed, id, style));
                    assert!(
                        token
                            .bytes()
                            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
                    );
                    assert!(seen.insert(token));
                }
            }
        }
    }

    #[test]
    fn tokens_look_like_the_documents() {
        assert!(token_for(1, 2, TokenStyle::HCaptcha).starts_with("P1_eyJ0eXAi"));
        assert!(token_for(1, 2, TokenStyle::Recaptcha).starts_with("03AFcWeA"));
        assert!(token_for(1, 3, TokenStyle::Recaptcha).starts_with("3AHJ_"));
    }
}
