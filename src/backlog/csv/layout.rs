//! The output's columns, which of the input's cells go there, and how an outcome is written.
//!
//! What must stay true: an output keeps the header that it was begun with; later inputs are fitted to
//! it by name. JSON has no header: what is passed through is an object of strings by column.

use std::borrow::Cow;

use crate::job::{Outcome, Request, RequestId};
use crate::sink::{csv, json};

use super::header::{Header, text};
use super::journal::NewJob;
use super::row::Row;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Source {
    Id,
    Cell(usize),
    Nothing,
}

/// How outcomes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Lines of a CSV file.
    Csv {
        /// Between cells.
        delimiter: u8,
    },
    /// JSON documents.
    Json,
}

impl Form {
    /// Appends an outcome of a request whose cells were joined by [`Layout::row`].
    pub(super) fn push_outcome(
        self,
        lines: &mut Vec<u8>,
        job: &NewJob,
        row: &[u8],
        outcome: &Outcome,
    ) {
        match self {
            Self::Csv { delimiter } => csv::push_outcome(lines, row, outcome, delimiter),
            Self::Json => {
                let about = json::About {
                    id: Some(job.id.as_str()),
                    job: job.kind.as_deref(),
                    // Nothing is passed through where it is empty.
                    meta: serde_json::from_slice(row).ok(),
                    ..json::About::default()
                };
                lines.extend(json::outcome(about, outcome));
            }
        }
    }

    /// An outcome by itself.
    pub(super) fn outcome(self, job: &NewJob, row: &[u8], outcome: &Outcome) -> Vec<u8> {
        let mut line = Vec::new();
        self.push_outcome(&mut line, job, row, outcome);
        line
    }
}

/// Fits rows of an input to an output.
#[derive(Debug)]
pub(super) struct Layout {
    /// The output's columns before the result columns.
    pub(super) columns: Vec<String>,
    pub(super) delimiter: u8,
    pub(super) form: Form,
    sources: Vec<Source>,
}

impl Layout {
    /// The output's columns for an input that begins one: an `id` first where there is none.
    pub(super) fn columns_for(header: &Header) -> Vec<String> {
        let mut columns = Vec::with_capacity(header.names.len() + 1);
        if !header.has_ids() {
            columns.push("id".to_owned());
        }
        columns.extend(header.names.iter().cloned());
        columns
    }

    /// Fits an input to an output of these columns. The warnings name columns that do not fit.
    pub(super) fn new(header: &Header, columns: Vec<String>, delimiter: u8) -> (Self, Vec<String>) {
        let form = Form::Csv { delimiter };
        let source = |name: &String| match header.names.iter().position(|n| n == name) {
            _ if name == "id" => Source::Id,
            Some(n) => Source::Cell(n),
            None => Source::Nothing,
        };
        let sources: Vec<Source> = columns.iter().map(source).collect();
        let mut warnings = Vec::new();
        for name in header.names.iter().filter(|name| !columns.contains(name)) {
            let name = name.escape_debug();
            warnings.push(format!(
                "column `{name}` is not in the output, which was begun without it, and is dropped"
            ));
        }
        for (name, _) in columns
            .iter()
            .zip(&sources)
            .filter(|(_, s)| **s == Source::Nothing)
        {
            let name = name.escape_debug();
            warnings.push(format!(
                "column `{name}` of the output is not in the input, and stays empty"
            ));
        }
        (
            Self {
                columns,
                delimiter,
                form,
                sources,
            },
            warnings,
        )
    }

    /// For JSON documents, which every input fits.
    pub(super) fn json(header: &Header, delimiter: u8) -> Self {
        let (layout, _) = Self::new(header, Self::columns_for(header), delimiter);
        Self {
            form: Form::Json,
            ..layout
        }
    }

    /// A row's cells as they go to the output: joined, without a line end, or as a JSON object. Cells that are
    /// missing are empty; what is not UTF-8, and NUL, is replaced by U+FFFD (such rows are rejected, and only
    /// told of).
    ///
    /// In JSON the request's own fields are left out, where there is a request.
    pub(super) fn row(&self, row: &Row, id: &RequestId, request: Option<&Request>) -> Vec<u8> {
        let cell = |source: &Source| match source {
            Source::Id => Cow::Borrowed(id.as_str()),
            Source::Cell(n) => shown(row.get(*n).unwrap_or_default()),
            Source::Nothing => Cow::Borrowed(""),
        };
        if self.form != Form::Json {
            let cells = self.sources.iter().map(|source| match cell(source) {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            });
            return csv::row(cells, self.delimiter);
        }
        let is_passed = |name: &str| {
            name != "id"
                && name != "job"
                && request.is_none_or(|request| request.kind().column(name).is_none())
        };
        let cells: Vec<(&str, Cow<'_, str>)> = self
            .columns
            .iter()
            .zip(&self.sources)
            .filter(|(name, _)| is_passed(name))
            .map(|(name, source)| (name.as_str(), cell(source)))
            .collect();
        if cells.is_empty() {
            return Vec::new();
        }
        json::strings(cells.iter().map(|(name, text)| (*name, text.as_ref()))).into_bytes()
    }

    /// The output's header line.
    pub(super) fn header_line(&self) -> Vec<u8> {
        csv::header_line(self.columns.iter().map(String::as_str), self.delimiter)
    }

    /// Where the id stands in the output.
    pub(super) fn id_column(&self) -> usize {
        self.sources
            .iter()
            .position(|s| *s == Source::Id)
            .unwrap_or_default()
    }
}

/// A cell as text.
fn shown(cell: &[u8]) -> Cow<'_, str> {
    text(cell).map_or_else(
        || Cow::Owned(String::from_utf8_lossy(cell).replace('\0', "\u{fffd}")),
        Cow::Borrowed,
    )
}

#[cfg(test)]
mod tests {
    use super::super::reader::sniff;
    use super::*;

    fn rows(text: &str) -> Vec<Row> {
        let mut reader = sniff(text.as_bytes(), None).unwrap();
        let mut all = vec![Row::default()];
        while reader.read(all.last_mut().unwrap()).unwrap() {
            all.push(Row::default());
        }
        all
    }

    #[test]
    fn an_input_without_ids_gets_them_first() {
        let rows = rows("url;note\nu;\"a;b\"\n");
        let header = Header::parse(&rows[0]).unwrap();
        let (layout, warnings) = Layout::new(&header, Layout::columns_for(&header), b';');
        assert!(warnings.is_empty());
        assert!(
            layout
                .header_line()
                .starts_with(b"id;url;note;status;token;")
        );
        assert_eq!(
            layout.row(&rows[1], &RequestId::try_new("r1").unwrap(), None),
            b"r1;u;\"a;b\""
        );
    }

    #[test]
    fn a_later_input_is_fitted_by_name() {
        let rows = rows("new,id,url\n1,r1,u\n");
        let header = Header::parse(&rows[0]).unwrap();
        let columns = ["url", "id", "old"].map(str::to_owned).to_vec();
        let (layout, warnings) = Layout::new(&header, columns, b',');
        assert_eq!(
            layout.row(&rows[1], &RequestId::try_new("r1").unwrap(), None),
            b"u,r1,"
        );
        assert!(
            warnings[0].contains("`new`") && warnings[1].contains("`old`"),
            "{warnings:?}"
        );
        assert_eq!(layout.id_column(), 1);
    }
}
