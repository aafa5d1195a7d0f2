//! The input's header, and how faults are told of it and of rows.

use std::collections::HashMap;

use crate::job::{Problem, RESULT_COLUMNS};

use super::row::Row;

/// A header, checked.
#[derive(Clone, Debug)]
pub(super) struct Header {
    /// The columns' names, trimmed, in the file's order.
    pub(super) names: Vec<String>,
    pub(super) id: Option<usize>,
    pub(super) job: Option<usize>,
}

/// A problem of a row or of the header, before its file and line are put to it.
#[derive(Debug)]
pub(super) struct Fault {
    /// The column's name in this file.
    pub(super) column: Option<String>,
    pub(super) problem: Problem,
    /// The header is at fault, not the row: told once, and not for each row.
    pub(super) is_of_header: bool,
}

impl Fault {
    pub(super) fn new(column: Option<&str>, problem: Problem) -> Self {
        Self {
            column: column.map(str::to_owned),
            problem,
            is_of_header: false,
        }
    }

    /// Of a row, but told of the header already.
    pub(super) fn told_once(self) -> Self {
        Self {
            is_of_header: true,
            ..self
        }
    }

    pub(super) fn malformed(column: Option<&str>, why: impl Into<String>) -> Self {
        Self::new(column, Problem::Malformed(why.into()))
    }
}

impl Header {
    /// Takes a header row.
    pub(super) fn parse(row: &Row) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        if let Some(fault) = row.fault {
            return Err(vec![Fault::malformed(None, fault)]);
        }
        let mut names: Vec<String> = Vec::with_capacity(row.len());
        let mut places = HashMap::new();
        for cell in row.iter() {
            let Some(name) = text(cell).map(str::trim) else {
                faults.push(Fault::malformed(
                    None,
                    format!(
                        "column {} has a name that is no UTF-8 text",
                        names.len() + 1
                    ),
                ));
                names.push(String::new());
                continue;
            };
            let shown = name.escape_debug();
            if RESULT_COLUMNS.contains(&name) {
                let why = "is a result column of pollwheel's; rename it or leave it out".to_owned();
                faults.push(Fault::malformed(Some(&shown.to_string()), why));
            } else if let Some(first) = places.insert(name, names.len()) {
                let why = format!(
                    "stands twice, as columns {} and {}",
                    first + 1,
                    names.len() + 1
                );
                faults.push(Fault::malformed(Some(&shown.to_string()), why));
            }
            names.push(name.to_owned());
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let position = |name: &str| names.iter().position(|n| n == name);
        Ok(Self {
            id: position("id"),
            job: position("job"),
            names,
        })
    }

    /// Whether rows have ids of their own.
    pub(super) fn has_ids(&self) -> bool {
        self.id.is_some()
    }

    /// Names that look like a column of ours, and are not.
    pub(super) fn warnings(&self) -> Vec<String> {
        let near = |ours: &str, has: bool| {
            let found = self
                .names
                .iter()
                .find(|n| !has && n.eq_ignore_ascii_case(ours))?;
            Some(format!(
                "column `{}` is not `{ours}`, and is passed through only",
                found.escape_debug()
            ))
        };
        [
            near("id", self.id.is_some()),
            near("job", self.job.is_some()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// A cell as text, if it is.
pub(super) fn text(cell: &[u8]) -> Option<&str> {
    std::str::from_utf8(cell)
        .ok()
        .filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::super::reader::sniff;
    use super::*;

    #[test]
    fn headers_that_cannot_be_used() {
        for (header, why) in [
            ("id,url,url\n", "stands twice, as columns 2 and 3"),
            ("id,url,token\n", "result column"),
            ("id, status \n", "result column"),
            ("id,a\0b\n", "no UTF-8 text"),
            ("id,\"a\n", "never closed"),
        ] {
            let mut row = Row::default();
            assert!(
                sniff(header.as_bytes(), None)
                    .unwrap()
                    .read(&mut row)
                    .unwrap()
            );
            let faults = Header::parse(&row).unwrap_err();
            assert!(
                faults[0].problem.to_string().contains(why),
                "{header}: {faults:?}"
            );
        }
    }
}
