//! The kinds of a run.
//!
//! Those in `jobs/` are built into the binary. A folder of the user's adds to them or replaces them by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::kind::Kind;
use super::{Micros, Problem, quoted};

/// The files built in: name and text.
const BUILT_IN: [(&str, &str); 2] = [
    (
        "jobs/hcaptcha.toml",
        include_str!("../../jobs/hcaptcha.toml"),
    ),
    (
        "jobs/recaptcha-v2.toml",
        include_str!("../../jobs/recaptcha-v2.toml"),
    ),
];

/// All kinds known to a run, by name.
#[derive(Clone, Debug)]
pub struct Kinds {
    by_name: BTreeMap<String, Arc<Kind>>,
    /// The protocol of the run; `None` where any will do.
    protocol: Option<String>,
}

impl Kinds {
    /// The kinds built in.
    ///
    /// # Panics
    ///
    /// Where a file built in is wrong, which a test of this module rules out.
    #[must_use]
    pub fn built_in() -> Self {
        let kinds = BUILT_IN
            .iter()
            .map(|(file, text)| match Kind::from_toml(file, text) {
                Ok(kind) => (kind.name.clone(), Arc::new(kind)),
                Err(fault) => panic!("a kind that is built in is wrong: {fault}"),
            });
        Self {
            by_name: kinds.collect(),
            protocol: None,
        }
    }

    /// Adds a kind, or replaces the one of its name.
    pub fn insert(&mut self, kind: Kind) {
        self.by_name.insert(kind.name.clone(), Arc::new(kind));
    }

    /// Changes every kind, for settings that hold for all of them.
    pub fn for_each_mut(&mut self, mut change: impl FnMut(&mut Kind)) {
        self.by_name
            .values_mut()
            .for_each(|kind| change(Arc::make_mut(kind)));
    }

    /// Sets the prices of kinds, by name.
    pub fn set_prices(&mut self, prices: &BTreeMap<String, Micros>) {
        self.for_each_mut(|kind| {
            if let Some(price) = prices.get(&kind.name) {
                kind.price = Some(*price);
            }
        });
    }

    /// The kind of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Kind>> {
        self.by_name.get(name)
    }

    /// The kind of that name.
    ///
    /// # Errors
    ///
    /// [`Problem::UnknownKind`], naming those there are.
    pub fn find(&self, name: &str) -> Result<&Arc<Kind>, Problem> {
        self.get(name).ok_or_else(|| Problem::UnknownKind {
            name: quoted(name),
            known: self.names(),
        })
    }

    /// The same kinds for a run that speaks `protocol`.
    #[must_use]
    pub fn for_protocol(mut self, protocol: &str) -> Self {
        self.protocol = Some(protocol.to_owned());
        self
    }

    /// Why no job of `kind` can be created in this run; `None` where it can.
    #[must_use]
    pub fn not_spoken(&self, kind: &Kind) -> Option<Problem> {
        let protocol = self.protocol.as_deref()?;
        (!kind.speaks(protocol)).then(|| Problem::NotSpoken {
            kind: kind.name.clone(),
            file: kind.file.clone(),
            protocol: protocol.to_owned(),
        })
    }

    /// All kinds, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.by_name.values()
    }

    /// The names, for messages: `hcaptcha, recaptcha-v2`.
    #[must_use]
    pub fn names(&self) -> String {
        self.by_name
            .keys()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_built_in_are_right() {
        let kinds = Kinds::built_in();
        assert_eq!(kinds.names(), "hcaptcha, recaptcha-v2");
        let hcaptcha = kinds.get("hcaptcha").unwrap();
        assert_eq!(hcaptcha.protocols["v1"].wire_type, "11");
        assert_eq!(
            hcaptcha.column("websiteURL"),
            hcaptcha.column("website_url")
        );
        assert_eq!(hcaptcha.columns[0].wire["v1"], "website_url");
        assert_eq!(
            kinds.get("recaptcha-v2").unwrap().columns[0].wire["v1"],
            "websiteURL"
        );
    }

    #[test]
    fn a_kind_speaks_what_its_file_says() {
        let kinds = Kinds::built_in();
        let recaptcha = kinds.get("recaptcha-v2").unwrap();
        assert_eq!(recaptcha.protocols["v2"].wire_type, "RecaptchaV2TokenTask");
        assert!(recaptcha.speaks("v1") && recaptcha.speaks("v2") && !recaptcha.speaks("v3"));
        let hcaptcha = Arc::clone(kinds.get("hcaptcha").unwrap());
        assert_eq!(kinds.not_spoken(&hcaptcha), None, "any protocol will do");
        let kinds = kinds.for_protocol("v2");
        assert_eq!(kinds.not_spoken(kinds.get("recaptcha-v2").unwrap()), None);
        assert_eq!(
            kinds.not_spoken(&hcaptcha).unwrap().to_string(),
            "kind `hcaptcha` (jobs/hcaptcha.toml) has no [protocol.v2]: it cannot be sent by v2"
        );
    }
}
