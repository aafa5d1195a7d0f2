//! Outcomes as CSV: RFC 4180 with the input's delimiter, lines ended by `\n`.
//!
//! What must stay true: the same values give the same bytes, always. A crashed run's output is
//! continued byte for byte from what was committed before, so nothing here may depend on a clock,
//! a locale or a previous line. Cells of the input are written as they were read; of ours, only
//! `message` is free text, and it never begins like a spreadsheet formula.

use jiff::Timestamp;
use secrecy::ExposeSecret;

use crate::job::{Outcome, RESULT_COLUMNS, for_spreadsheet};

/// Appends one cell, quoted where it must be. The first cell of a line is pushed onto an empty line.
pub fn push_cell(line: &mut Vec<u8>, cell: &[u8], delimiter: u8) {
    if !cell
        .iter()
        .any(|b| matches!(b, b'"' | b'\n' | b'\r') || *b == delimiter)
    {
        line.extend_from_slice(cell);
        return;
    }
    line.push(b'"');
    for &byte in cell {
        if byte == b'"' {
            line.push(b'"');
        }
        line.push(byte);
    }
    line.push(b'"');
}

/// Joins cells to a row, without a line end.
#[must_use]
pub fn row<'a>(cells: impl IntoIterator<Item = &'a [u8]>, delimiter: u8) -> Vec<u8> {
    let mut line = Vec::new();
    for (n, cell) in cells.into_iter().enumerate() {
        if n > 0 {
            line.push(delimiter);
        }
        push_cell(&mut line, cell, delimiter);
    }
    line
}

/// The header line: these input columns, then the result columns.
#[must_use]
pub fn header_line<'a>(input_columns: impl IntoIterator<Item = &'a str>, delimiter: u8) -> Vec<u8> {
    let names = input_columns
        .into_iter()
        .chain(RESULT_COLUMNS)
        .map(str::as_bytes);
    let mut line = row(names, delimiter);
    line.push(b'\n');
    line
}

/// An output line: the input's cells, already joined by [`row`], then the outcome's.
#[must_use]
pub fn outcome_line(input_cells: &[u8], outcome: &Outcome, delimiter: u8) -> Vec<u8> {
    let token = outcome
        .token
        .as_ref()
        .map(|t| t.expose_secret())
        .unwrap_or_default();
    let mut line = Vec::with_capacity(input_cells.len() + token.len() + 256);
    line.extend_from_slice(input_cells);
    let time = |t: Option<Timestamp>| t.map(rfc3339).unwrap_or_default();
    let cells: [&str; RESULT_COLUMNS.len()] = [
        outcome.status.as_str(),
        token,
        outcome.error.map(|e| e.as_str()).unwrap_or_default(),
        &for_spreadsheet(&outcome.message),
        &outcome
            .remote_id
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        &outcome.attempts.to_string(),
        &outcome.polls.to_string(),
        &time(outcome.submitted_at),
        &rfc3339(outcome.finished_at),
        &time(outcome.expires_at),
        &outcome
            .elapsed
            .map(|e| format!("{}.{:03}", e.as_secs(), e.subsec_millis()))
            .unwrap_or_default(),
        &outcome.cost.to_string(),
    ];
    for cell in cells {
        line.push(delimiter);
        push_cell(&mut line, cell.as_bytes(), delimiter);
    }
    line.push(b'\n');
    line
}

/// A time as it stands in files: RFC 3339, UTC, milliseconds.
#[must_use]
pub fn rfc3339(time: Timestamp) -> String {
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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

    proptest::proptest! {
        #[test]
        fn any_cells_are_read_back(cells in proptest::collection::vec(".*", 2..6), n in 0usize..3) {
            let delimiter = b",;\t"[n];
            let mut text = header_line(["a"], delimiter);
            text.extend(row(cells.iter().map(|c| c.as_bytes()), delimiter));
            text.push(b'\n');
            let mut reader = csv::ReaderBuilder::new()
                .delimiter(delimiter)
                .flexible(true)
                .from_reader(text.as_slice());
            let read = reader.records().next().unwrap().unwrap();
            proptest::prop_assert_eq!(read.iter().collect::<Vec<_>>(), cells);
        }
    }
}
