//! Outcomes as CSV: RFC 4180 with the input's delimiter, lines ended by `\n`.
//!
//! What must stay true: the same values give the same bytes, always. A crashed run's output is
//! continued byte for byte from what was committed before, so nothing here may depend on a clock,
//! a locale or a previous line. Cells of the input are written as they were read; of ours, only
//! `message` is free text, and it never begins like a spreadsheet formula.

use std::fmt::Display;
use std::io::Write as _;

use csv::{QuoteStyle, Terminator, WriterBuilder};
use memchr::{memchr, memchr3};
use secrecy::ExposeSecret;

use super::{rfc3339, seconds};
use crate::job::{Outcome, RESULT_COLUMNS, for_spreadsheet};

/// Appends a record and its line end to what is in `line`.
fn push_record<C: AsRef<[u8]>>(
    line: Vec<u8>,
    cells: impl IntoIterator<Item = C>,
    delimiter: u8,
) -> Vec<u8> {
    let mut writer = WriterBuilder::new()
        .delimiter(delimiter)
        .terminator(Terminator::Any(b'\n'))
        .quote_style(QuoteStyle::Necessary)
        .buffer_capacity(512)
        .from_writer(line);
    writer
        .write_record(cells)
        .expect("one record in memory is neither ragged nor can it fail to be written");
    let Ok(line) = writer.into_inner() else {
        unreachable!("memory takes what is flushed to it")
    };
    line
}

/// Joins cells to a row, without a line end: an output line's beginning.
#[must_use]
pub fn row<C: AsRef<[u8]>>(cells: impl IntoIterator<Item = C>, delimiter: u8) -> Vec<u8> {
    let mut line = push_record(Vec::new(), cells, delimiter);
    line.pop();
    line
}

/// The header line: these input columns, then the result columns.
#[must_use]
pub fn header_line<'a>(input_columns: impl IntoIterator<Item = &'a str>, delimiter: u8) -> Vec<u8> {
    let names = input_columns.into_iter().chain(RESULT_COLUMNS);
    push_record(Vec::new(), names, delimiter)
}

/// An output line: see [`push_outcome`].
#[must_use]
pub fn outcome_line(input_cells: &[u8], outcome: &Outcome, delimiter: u8) -> Vec<u8> {
    let mut line = Vec::new();
    push_outcome(&mut line, input_cells, outcome, delimiter);
    line
}

/// Appends an output line: the input's cells, already joined by [`row`], then the outcome's.
pub fn push_outcome(lines: &mut Vec<u8>, input_cells: &[u8], outcome: &Outcome, delimiter: u8) {
    let token = outcome
        .token
        .as_ref()
        .map(|t| t.expose_secret())
        .unwrap_or_default();
    lines.reserve(input_cells.len() + token.len() + 256);
    lines.extend_from_slice(input_cells);
    let mut line = Line { lines, delimiter };
    line.push_text(outcome.status.as_str());
    line.push_text(token);
    line.push_text(outcome.error.map(|e| e.as_str()).unwrap_or_default());
    line.push_text(&for_spreadsheet(&outcome.message));
    line.push_some(outcome.remote_id.as_ref());
    line.push(outcome.attempts);
    line.push(outcome.polls);
    line.push_some(outcome.submitted_at.map(rfc3339));
    line.push(rfc3339(outcome.finished_at));
    line.push_some(outcome.expires_at.map(rfc3339));
    line.push_some(outcome.elapsed.map(seconds));
    line.push(outcome.cost);
    lines.push(b'\n');
}

/// Lines whose last one a few cells are added to, by the rule of [`push_record`]; a writer that is made for
/// each line costs more than the line.
struct Line<'a> {
    lines: &'a mut Vec<u8>,
    delimiter: u8,
}

impl Line<'_> {
    fn push_text(&mut self, cell: &str) {
        self.lines.push(self.delimiter);
        let start = self.lines.len();
        self.lines.extend_from_slice(cell.as_bytes());
        self.quote(start);
    }

    fn push(&mut self, cell: impl Display) {
        self.lines.push(self.delimiter);
        let start = self.lines.len();
        write!(self.lines, "{cell}").expect("memory takes what is written to it");
        self.quote(start);
    }

    /// Puts quotes around the last cell, which begins at `start`, where it needs them.
    fn quote(&mut self, start: usize) {
        let cell = &self.lines[start..];
        let needs_quotes = memchr3(b'"', b'\n', b'\r', cell).is_some();
        if needs_quotes || memchr(self.delimiter, cell).is_some() {
            let bare = self.lines.split_off(start);
            self.lines.push(b'"');
            for byte in bare {
                if byte == b'"' {
                    self.lines.push(b'"');
                }
                self.lines.push(byte);
            }
            self.lines.push(b'"');
        }
    }

    fn push_some(&mut self, cell: Option<impl Display>) {
        match cell {
            Some(cell) => self.push(cell),
            None => self.lines.push(self.delimiter),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::job::{ErrorClass, Micros, RemoteId, Status};

    fn solved() -> Outcome {
        Outcome {
            status: Status::Solved,
            token: Some("P1_tok\"en".to_owned().into()),
            error: None,
            message: String::new(),
            remote_id: RemoteId::number("123"),
            attempts: 2,
            polls: 7,
            submitted_at: Timestamp::from_millisecond(1_700_000_000_000).ok(),
            finished_at: Timestamp::from_millisecond(1_700_000_012_345).unwrap(),
            expires_at: Timestamp::from_millisecond(1_700_000_132_345).ok(),
            elapsed: Some(Duration::from_millis(12_345)),
            cost: Micros(1000),
        }
    }

    #[test]
    fn a_solved_line() {
        let cells = row([&b"a,b"[..], b"x"], b',');
        let line = String::from_utf8(outcome_line(&cells, &solved(), b',')).unwrap();
        assert_eq!(
            line,
            "\"a,b\",x,solved,\"P1_tok\"\"en\",,,123,2,7,2023-11-14T22:13:20.000Z,\
             2023-11-14T22:13:32.345Z,2023-11-14T22:15:32.345Z,12.345,0.001\n"
        );
    }

    #[test]
    fn a_message_is_no_formula() {
        let message = "=HYPERLINK(\"http://x\")".to_owned();
        let outcome = Outcome::rejected(ErrorClass::InvalidRequest, message, solved().finished_at);
        let line = String::from_utf8(outcome_line(b"r1", &outcome, b';')).unwrap();
        assert!(
            line.starts_with("r1;rejected;;invalid_request;\"'=HYPERLINK("),
            "{line}"
        );
    }

    /// Rows of earlier runs stand in journals and outputs: their bytes are held against what is written now.
    #[test]
    fn cells_are_quoted_where_they_must_be_and_nowhere_else() {
        for (cells, line) in [
            (&["a", "", " b "][..], "a,, b "),
            (&["a;b", "a,b", "a\tb"], "a;b,\"a,b\",a\tb"),
            (&["\"", "x\ny", "x\r"], "\"\"\"\",\"x\ny\",\"x\r\""),
            (&["", ""], ","),
            (&["\u{fffd}#", "'", "\0"], "\u{fffd}#,',\0"),
            // Alone and bare it would be a blank line.
            (&[""], "\"\""),
        ] {
            assert_eq!(row(cells, b','), line.as_bytes(), "{cells:?}");
        }
    }

    proptest::proptest! {
        /// Against the `csv` crate's writer.
        #[test]
        fn a_line_has_the_bytes_that_its_record_has(
            cells in proptest::collection::vec("[-a.,;:T0\t\"\r\n]{0,4}|[a-cé\"]{0,9}", 2..9),
            n in 0usize..6,
        ) {
            let delimiter = b",;\t.:-"[n];
            for shown in [false, true] {
                let mut lines = row(&cells[..1], delimiter);
                if cells[0].is_empty() {
                    lines.clear();
                }
                let mut line = Line { lines: &mut lines, delimiter };
                for cell in &cells[1..] {
                    match shown {
                        false => line.push_text(cell),
                        true => line.push(cell),
                    }
                }
                proptest::prop_assert_eq!(lines, row(&cells, delimiter));
            }
        }

        #[test]
        fn a_line_of_two_parts_is_read_back_as_one(
            cells in proptest::collection::vec("[a-c,;\t\"\r\n]{0,4}|[a-cé\"]{500,600}", 1..6),
            n in 0usize..3,
        ) {
            let delimiter = b",;\t"[n];
            let mut text = header_line(cells.iter().map(String::as_str), delimiter);
            text.extend(outcome_line(&row(&cells, delimiter), &solved(), delimiter));
            // Not flexible: both lines have as many cells.
            let mut reader = csv::ReaderBuilder::new()
                .delimiter(delimiter)
                .has_headers(false)
                .from_reader(text.as_slice());
            let read: Vec<_> = reader.records().map(Result::unwrap).collect();
            proptest::prop_assert_eq!(read.len(), 2);
            for line in &read {
                proptest::prop_assert_eq!(line.len(), cells.len() + RESULT_COLUMNS.len());
                proptest::prop_assert_eq!(line.iter().take(cells.len()).collect::<Vec<_>>(), &cells[..]);
            }
            proptest::prop_assert_eq!(&read[0][cells.len()], "status");
            proptest::prop_assert_eq!(&read[1][cells.len() + 1], "P1_tok\"en");
        }
    }
}
