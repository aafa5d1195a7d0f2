//! A record of a CSV file, split into cells.
//!
//! What must stay true: cells are those that the `csv` crate reads (see [`super::reader`]); they are parted by
//! ASCII, so that a row that is text as a whole is text in each cell.

use std::ops::Range;

use memchr::{memchr, memchr_iter, memchr2};

/// A record: its cells, unquoted.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    /// The cells, with a delimiter behind each but the last.
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
    /// The line it begins in, from 1.
    pub(super) line: u64,
    /// Where it begins and ends in the source, in bytes; its line end belongs to it.
    pub(super) span: (u64, u64),
    /// What is wrong with its quoting.
    pub(super) fault: Option<&'static str>,
}

impl Row {
    /// The number of cells.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// A cell's bytes.
    pub(super) fn get(&self, n: usize) -> Option<&[u8]> {
        self.bytes.get(cell(&self.ends, n)?)
    }

    /// All cells.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|n| self.get(n))
    }

    /// Its cells as text, looked at as a whole; `None` where some cell is not UTF-8, or holds a NUL byte.
    pub(super) fn texts(&self) -> Option<Texts<'_>> {
        let all = std::str::from_utf8(&self.bytes).ok()?;
        let is_text = memchr(0, all.as_bytes()).is_none();
        is_text.then_some(Texts {
            all,
            ends: &self.ends,
        })
    }

    /// Takes in a record in which no quote stands.
    pub(super) fn take_bare(&mut self, record: &[u8], delimiter: u8) {
        self.bytes.clear();
        self.bytes.extend_from_slice(record);
        self.ends.clear();
        self.ends.extend(memchr_iter(delimiter, record));
        self.ends.push(record.len());
    }

    /// Takes in the record that `source` begins with; `None` where it may go on behind it.
    pub(super) fn take_quoted(
        &mut self,
        source: &[u8],
        delimiter: u8,
        line_end: u8,
        is_last: bool,
    ) -> Option<Extent> {
        self.bytes.clear();
        self.ends.clear();
        let mut at = 0;
        loop {
            if source.get(at) == Some(&b'"') {
                at += 1;
                loop {
                    let Some(len) = memchr(b'"', &source[at..]) else {
                        self.bytes.extend_from_slice(&source[at..]);
                        self.ends.push(self.bytes.len());
                        let extent = Extent {
                            end: source.len(),
                            is_open: true,
                        };
                        return is_last.then_some(extent);
                    };
                    self.bytes.extend_from_slice(&source[at..at + len]);
                    at += len + 1;
                    if source.get(at) != Some(&b'"') {
                        break;
                    }
                    self.bytes.push(b'"');
                    at += 1;
                }
            }
            // What is bare, also behind a closing quote.
            let len = match memchr2(delimiter, line_end, &source[at..]) {
                Some(len) => len,
                None if is_last => source.len() - at,
                None => return None,
            };
            let bare = &source[at..at + len];
            let is_end = source.get(at + len) != Some(&delimiter);
            let bare = if is_end {
                without_crs(bare, line_end)
            } else {
                bare
            };
            self.bytes.extend_from_slice(bare);
            self.ends.push(self.bytes.len());
            at += len;
            if is_end {
                let end = source.len().min(at + 1);
                return Some(Extent {
                    end,
                    is_open: false,
                });
            }
            at += 1;
            self.bytes.push(delimiter);
        }
    }
}

/// The cells of a row that is text throughout.
#[derive(Clone, Copy, Debug)]
pub(super) struct Texts<'a> {
    all: &'a str,
    ends: &'a [usize],
}

impl<'a> Texts<'a> {
    /// A cell.
    pub(super) fn get(self, n: usize) -> Option<&'a str> {
        // Cells are parted by ASCII, so that none begins or ends within a character.
        self.all.get(cell(self.ends, n)?)
    }
}

/// Where a cell stands in a row's bytes.
fn cell(ends: &[usize], n: usize) -> Option<Range<usize>> {
    let start = match n {
        0 => 0,
        n => ends.get(n - 1)? + 1,
    };
    Some(start..*ends.get(n)?)
}

/// Where a record ends in what it was read from, its line end included, and whether that is amid quotes.
pub(super) struct Extent {
    pub(super) end: usize,
    pub(super) is_open: bool,
}

/// A line without the CRs that belong to its end.
pub(super) fn without_crs(bytes: &[u8], line_end: u8) -> &[u8] {
    let mut line = bytes;
    while let (b'\n', [rest @ .., b'\r']) = (line_end, line) {
        line = rest;
    }
    line
}
