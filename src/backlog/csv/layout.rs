//! The output's columns, and which of the input's cells go there.
//!
//! What must stay true: an output keeps the header that it was begun with; later inputs are fitted to
//! it by name.

use std::borrow::Cow;

use crate::job::RequestId;
use crate::sink::csv;

use super::header::Header;
use super::reader::Row;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Source {
    Id,
    Cell(usize),
    Nothing,
}

/// Fits rows of an input to an output.
#[derive(Debug)]
pub(super) struct Layout {
    /// The output's columns before the result columns.
    pub(super) columns: Vec<String>,
    pub(super) delimiter: u8,
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
                sources,
            },
            warnings,
        )
    }

    /// A row's cells as they go to the output, without a line end. Cells that are missing are empty; what is
    /// not UTF-8, and NUL, is replaced by U+FFFD (such rows are rejected, and only told of).
    pub(super) fn row(&self, row: &Row, id: &RequestId) -> Vec<u8> {
        let cell = |source: &Source| {
            let cell = match source {
                Source::Id => id.as_str().as_bytes(),
                Source::Cell(n) => row.get(*n).unwrap_or_default(),
                Source::Nothing => b"",
            };
            if super::header::text(cell).is_some() {
                return Cow::Borrowed(cell);
            }
            let text = String::from_utf8_lossy(cell).replace('\0', "\u{fffd}");
            Cow::Owned(text.into_bytes())
        };
        csv::row(self.sources.iter().map(cell), self.delimiter)
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
            layout.row(&rows[1], &RequestId::try_new("r1").unwrap()),
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
            layout.row(&rows[1], &RequestId::try_new("r1").unwrap()),
            b"u,r1,"
        );
        assert!(
            warnings[0].contains("`new`") && warnings[1].contains("`old`"),
            "{warnings:?}"
        );
        assert_eq!(layout.id_column(), 1);
    }
}
