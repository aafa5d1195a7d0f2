//! The good rows of a file that was checked as a whole: what `push` sends.
//!
//! What must stay true: a row has the id that it has in a run on the same file, so that sending it twice is
//! noticed; memory is a constant and 8 bytes a row. What changes the file between check and reading is an
//! error, not another row.

use std::path::Path;

use crate::job::{Allowlist, Kinds, Request};

use super::check::{check_rows, judge, open_file, too_long};
use super::header::{Header, text};
use super::identity::{Keys, RowHash};
use super::input::{Input, Next};
use super::judge::{Judge, Judged};
use super::reader::ReadFault;
use super::row::Row;
use super::seen::Seen;
use super::{InputReport, OpenError};

/// A row that may be sent.
#[derive(Clone, Debug)]
pub struct GoodRow {
    /// Its request.
    pub request: Request,
    /// Its other columns, by name, in the file's order: those that are passed through.
    pub others: Vec<(String, String)>,
}

/// Says why a row that is good as such cannot be taken all the same.
pub(super) type Fits = fn(&GoodRow) -> Result<(), String>;

/// The good rows of a file, in order.
pub struct GoodRows {
    input: Input,
    judge: Judge,
    keys: Keys,
    seen: Seen,
    /// Rows that were checked and not read again yet.
    unread: u64,
}

impl std::fmt::Debug for GoodRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GoodRows({}, {} to go)", self.input.name, self.unread)
    }
}

impl GoodRows {
    /// Checks a whole file, and gives its good rows where its header is good. `fits` can refuse further rows.
    ///
    /// # Errors
    ///
    /// [`OpenError::InputUnreadable`] where it is no CSV file at all. Bad rows are no error: they are in the
    /// report.
    pub fn check(
        file: &Path,
        delimiter: Option<u8>,
        default_kind: Option<String>,
        kinds: Kinds,
        sites: Allowlist,
        fits: fn(&GoodRow) -> Result<(), String>,
    ) -> Result<(InputReport, Option<Self>), OpenError> {
        Self::checked(file, delimiter, default_kind, kinds, sites, Some(fits))
    }

    pub(super) fn checked(
        file: &Path,
        delimiter: Option<u8>,
        default_kind: Option<String>,
        kinds: Kinds,
        sites: Allowlist,
        fits: Option<Fits>,
    ) -> Result<(InputReport, Option<Self>), OpenError> {
        let mut input = open_file(file, delimiter)?;
        let (mut report, judge) = judge(&input, default_kind, kinds, sites);
        let Some(mut judge) = judge else {
            return Ok((report, None));
        };
        judge.fits = fits;
        let keys = Keys::new(judge.header.has_ids());
        let mut seen = Seen::default();
        check_rows(&mut input, &mut judge, &keys, None, &mut seen, &mut report)?;
        let rows = Self {
            input,
            judge,
            keys,
            seen,
            unread: report.rows,
        };
        let is_usable = report.header_problems == 0;
        Ok((report, is_usable.then_some(rows)))
    }

    /// The next good row; `None` after the last.
    ///
    /// # Errors
    ///
    /// [`OpenError::InputUnreadable`] where the file cannot be read on, or was changed since it was checked.
    pub fn next_row(&mut self) -> Result<Option<GoodRow>, OpenError> {
        let mut row = Row::default();
        loop {
            match self.input.next(&mut row, true) {
                Ok(Next::Row) => self.unread = self.unread.saturating_sub(1),
                Ok(Next::NotYet) => continue,
                Ok(Next::End) if self.unread > 0 => return Err(self.changed()),
                Ok(Next::End) => return Ok(None),
                Err(ReadFault::Io(e)) => {
                    return Err(OpenError::InputUnreadable {
                        file: self.input.name.clone(),
                        why: "cannot be read to its end".to_owned(),
                        source: Some(e),
                    });
                }
                Err(ReadFault::TooLong { .. }) => {
                    let why = too_long().problem.to_string();
                    return Err(OpenError::unreadable(&self.input.name, why));
                }
            }
            if let Some(request) = self.good(&row)? {
                return Ok(Some(self.judge.header.good_row(&row, &request)));
            }
        }
    }

    /// The request of a row; `None` where it is bad, and was reported.
    fn good(&mut self, row: &Row) -> Result<Option<Request>, OpenError> {
        let Judged { own_id, request } = self.judge.judge(row);
        let Ok(request) = request else {
            return Ok(None);
        };
        let Some(id) = own_id else {
            let hash = RowHash::of_fields(request.fields_hash());
            let occurrence = self.seen.take_generated(hash.short());
            let id = occurrence.and_then(|n| hash.id(n));
            let id = id.ok_or_else(|| self.changed())?;
            return Ok(Some(request.with_id(id)));
        };
        let (hash, check) = (
            self.keys.hash(id.as_str()),
            self.keys.check_hash(id.as_str()),
        );
        match self.seen.repeats.first_line(hash, check) {
            Some(first) if first != row.line => Ok(None),
            _ if self.seen.take_new(hash) => Ok(Some(request)),
            _ => Err(self.changed()),
        }
    }

    fn changed(&self) -> OpenError {
        OpenError::unreadable(&self.input.name, "was changed while it was read")
    }
}

impl Header {
    /// A row's request and what stands beside it.
    pub(super) fn good_row(&self, row: &Row, request: &Request) -> GoodRow {
        let is_passed =
            |name: &str| name != "id" && name != "job" && request.kind().column(name).is_none();
        let cells = self.names.iter().zip(row.iter());
        let others = cells
            .filter(|(name, _)| is_passed(name))
            .filter_map(|(name, cell)| Some((name.clone(), text(cell)?.to_owned())))
            .collect();
        GoodRow {
            request: request.clone(),
            others,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::SiteRule;

    fn check(text: &str, fits: Fits) -> (tempfile::TempDir, InputReport, Option<GoodRows>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("in.csv");
        std::fs::write(&file, text).unwrap();
        let sites = Allowlist::new(vec![SiteRule::try_new("a.example.com", vec![]).unwrap()]);
        let kinds = Kinds::built_in();
        let job = Some("hcaptcha".to_owned());
        let (report, rows) = GoodRows::check(&file, None, job, kinds, sites, fits).unwrap();
        (folder, report, rows)
    }

    fn all(rows: &mut GoodRows) -> Vec<GoodRow> {
        std::iter::from_fn(|| rows.next_row().unwrap()).collect()
    }

    fn ids(rows: &[GoodRow]) -> Vec<&str> {
        rows.iter().map(|row| row.request.id().as_str()).collect()
    }

    #[test]
    fn ids_and_other_columns() {
        let text = "note,id,url,sitekey,\"x\"\"y\"\nα,a,https://a.example.com,k,\n,b,https://a.example.com,k,\" 1\"\n";
        let (_folder, report, rows) = check(text, |_| Ok(()));
        assert!(report.is_good(), "{report}");
        let rows = all(&mut rows.unwrap());
        assert_eq!(ids(&rows), ["a", "b"]);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(rows[0].others, [pair("note", "α"), pair("x\"y", "")]);
        assert_eq!(rows[1].others, [pair("note", ""), pair("x\"y", " 1")]);
    }

    #[test]
    fn rows_without_ids_get_those_of_a_run_and_bad_ones_are_left_out() {
        let text = "url,sitekey\nhttps://a.example.com,k\nhttps://a.example.com,l\nhttps://b.example.com,k\nhttps://a.example.com,k\n";
        let (_folder, report, rows) = check(text, |_| Ok(()));
        assert_eq!((report.problem_count, report.only_authorization), (1, true));
        let rows = all(&mut rows.unwrap());
        assert_eq!(rows.len(), 3);
        let hash = RowHash::of_fields(rows[0].request.fields_hash());
        assert_eq!(rows[0].request.id(), &hash.id(1).unwrap());
        assert_eq!(rows[2].request.id(), &hash.id(2).unwrap());
    }

    #[test]
    fn of_two_rows_with_one_id_the_first_is_good() {
        let text = "id,url,sitekey\na,https://a.example.com,k\nb,https://a.example.com,k\na,https://a.example.com,l\n";
        let (_folder, report, rows) = check(text, |_| Ok(()));
        assert_eq!(report.problem_count, 1);
        assert_eq!(ids(&all(&mut rows.unwrap())), ["a", "b"]);
    }

    #[test]
    fn what_does_not_fit_is_a_bad_row() {
        let text = "id,url,sitekey\na,https://a.example.com,k\nb,https://a.example.com,k\n";
        let (_folder, report, rows) = check(text, |row| match row.request.id().as_str() {
            "a" => Err("is too much".to_owned()),
            _ => Ok(()),
        });
        assert!(
            report.to_string().ends_with("in.csv:2: is too much"),
            "{report}"
        );
        assert_eq!(ids(&all(&mut rows.unwrap())), ["b"]);
    }

    #[test]
    fn a_file_that_changes_meanwhile_is_an_error() {
        // More than is read ahead at once.
        let note = "x".repeat(300_000);
        let row = |id: &str| format!("{id},https://a.example.com,k,{note}\n");
        let text = |ids: &[&str]| {
            let rows: String = ids.iter().map(|id| row(id)).collect();
            format!("id,url,sitekey,note\n{rows}")
        };
        let before = text(&["a", "b", "c"]);
        for now in [
            text(&["a", "b", "d"]),
            text(&["a", "b"]),
            text(&["a", "b", "a"]),
        ] {
            let (folder, report, rows) = check(&before, |_| Ok(()));
            assert!(report.is_good(), "{report}");
            std::fs::write(folder.path().join("in.csv"), now).unwrap();
            let mut rows = rows.unwrap();
            let end = std::iter::from_fn(|| rows.next_row().transpose()).find_map(Result::err);
            let why = end.map(|e| e.to_string()).unwrap_or_default();
            assert!(why.contains("was changed while it was read"), "{why}");
        }
        // Rows added meanwhile are for the next time.
        let (folder, _report, rows) = check(&before, |_| Ok(()));
        std::fs::write(folder.path().join("in.csv"), text(&["a", "b", "c", "d"])).unwrap();
        assert_eq!(ids(&all(&mut rows.unwrap())), ["a", "b", "c"]);
    }
}
