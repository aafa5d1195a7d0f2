//! What a check of an input found.

use std::collections::BTreeMap;
use std::fmt;

use crate::job::Problem;

use super::header::Fault;

/// Most problems that are kept; beyond, they are counted.
const MOST_PROBLEMS: usize = 50;

/// A problem, and where.
#[derive(Clone, Debug)]
pub struct RowProblem {
    /// The file as the user named it.
    pub file: String,
    /// The line that the row begins in, from 1.
    pub line: u64,
    /// The column, by its name in the file.
    pub column: Option<String>,
    /// What is wrong.
    pub problem: Problem,
}

/// `requests.csv:17: website_url: bad URL: it has no host`.
impl fmt::Display for RowProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        let why = self.problem.to_string();
        let Some(column) = &self.column else {
            return f.write_str(&why);
        };
        // A problem names the kind's column itself; the place in the file says it better.
        let quoted = self
            .problem
            .column()
            .map(|name| format!("`{name}`"))
            .unwrap_or_default();
        let bare = why
            .strip_prefix(&quoted)
            .filter(|_| !quoted.is_empty())
            .unwrap_or(&why);
        write!(
            f,
            "{}: {}",
            column.escape_debug(),
            bare.trim_start_matches([':', ' '])
        )
    }
}

/// What a check of a whole input found. Its `Display` lists the problems, one a line.
#[derive(Clone, Debug, Default)]
pub struct InputReport {
    /// The file as the user named it.
    pub file: String,
    /// Rows, the bad ones included. 0 for a stream, which cannot be checked ahead.
    pub rows: u64,
    /// Good rows by kind.
    pub kinds: BTreeMap<String, u64>,
    /// The first problems, 50 at most.
    pub problems: Vec<RowProblem>,
    /// How many problems there are.
    pub problem_count: u64,
    /// There are problems, and all of them are sites that are not listed.
    pub only_authorization: bool,
    /// Problems of the header: they refuse the run even where bad rows are skipped.
    pub header_problems: u64,
    /// The delimiter.
    pub delimiter: u8,
    /// The header's names.
    pub header: Vec<String>,
    /// Whether rows have ids of their own.
    pub has_ids: bool,
}

impl InputReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.problem_count == 0
    }

    pub(super) fn add(&mut self, line: u64, fault: Fault) {
        let is_authorization = fault.problem.is_authorization();
        self.only_authorization =
            is_authorization && (self.problem_count == 0 || self.only_authorization);
        self.problem_count += 1;
        if self.problems.len() < MOST_PROBLEMS {
            let Fault {
                column, problem, ..
            } = fault;
            self.problems.push(RowProblem {
                file: self.file.clone(),
                line,
                column,
                problem,
            });
        }
    }

    pub(super) fn add_header_faults(&mut self, line: u64, faults: impl IntoIterator<Item = Fault>) {
        for fault in faults {
            self.header_problems += 1;
            self.add(line, fault);
        }
    }
}

impl fmt::Display for InputReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut problems: Vec<_> = self.problems.iter().collect();
        problems.sort_by_key(|p| p.line);
        for (n, problem) in problems.into_iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        match self
            .problem_count
            .saturating_sub(self.problems.len() as u64)
        {
            0 => Ok(()),
            more => write!(f, "\n{}: and {more} problems more", self.file),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::SiteError;

    fn problem(column: &str, problem: Problem) -> String {
        RowProblem {
            file: "r.csv".into(),
            line: 17,
            column: Some(column.into()),
            problem,
        }
        .to_string()
    }

    #[test]
    fn a_problem_is_told_with_its_place() {
        let source = SiteError::BadUrl("it has no host");
        assert_eq!(
            problem(
                "url",
                Problem::Site {
                    column: "website_url".into(),
                    source
                }
            ),
            "r.csv:17: url: bad URL: it has no host"
        );
        assert_eq!(
            problem(
                "website_key",
                Problem::Missing {
                    column: "website_key".into(),
                    kind: "hcaptcha".into()
                }
            ),
            "r.csv:17: website_key: is empty; hcaptcha needs it"
        );
        assert_eq!(
            problem("note", Problem::Malformed("is not UTF-8".into())),
            "r.csv:17: note: is not UTF-8"
        );
        assert!(
            problem(
                "id",
                Problem::DuplicateId {
                    id: "x".into(),
                    first_line: 3
                }
            )
            .contains("id: id `x` stands already in line 3")
        );
    }

    #[test]
    fn the_report_is_bounded_and_counts_on() {
        let mut report = InputReport {
            file: "r.csv".into(),
            ..InputReport::default()
        };
        for line in 0..60 {
            report.add(line, Fault::new(None, Problem::NoKind));
        }
        assert_eq!((report.problems.len(), report.problem_count), (50, 60));
        assert!(report.to_string().ends_with("r.csv: and 10 problems more"));
    }

    #[test]
    fn one_malformed_row_makes_it_no_matter_of_authorization() {
        let source = || SiteError::NotListed { host: "h".into() };
        let unlisted = || {
            Fault::new(
                None,
                Problem::Site {
                    column: "u".into(),
                    source: source(),
                },
            )
        };
        let mut report = InputReport::default();
        report.add(1, unlisted());
        report.add(2, unlisted());
        assert!(report.only_authorization);
        report.add(3, Fault::new(None, Problem::NoKind));
        report.add(4, unlisted());
        assert!(!report.only_authorization);
    }
}
