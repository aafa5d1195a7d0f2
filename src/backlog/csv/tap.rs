//! What stands between a source and the `csv` crate, and knows what the crate does not say: where a
//! record really begins and ends, in which line, and whether a quote was left open.
//!
//! What must stay true: the crate asks for more only when it has used up all that it got, so a record
//! that has just ended ends within the chunk that was handed out last.

use std::io::{self, Read};

/// Most bytes of a record, give or take a chunk.
pub(super) const LONGEST_RECORD: u64 = 1 << 20;

/// What [`Tap`] tells the crate, and is told again by it.
#[derive(Debug, thiserror::Error)]
#[error("a record is longer than 1 MiB")]
pub(super) struct RecordTooLong;

/// A source on its way to the crate: the bytes handed out last are kept, so that what they held
/// can be looked up once the crate has said where a record ends. The crate asks for more only when it has
/// used up all that it got.
pub(super) struct Tap<R> {
    source: R,
    /// The byte that ends a line.
    line_end: u8,
    /// What was handed out last.
    chunk: Vec<u8>,
    /// Where it begins, in bytes of the source.
    chunk_start: u64,
    /// CRs right before it.
    crs_before: usize,
    /// Where the record that is being read begins.
    start: u64,
    /// The line it begins in.
    line: u64,
    /// Lines that ended within it, before this chunk.
    lines_before: u64,
    /// The source's length, once it has ended.
    source_len: Option<u64>,
}

/// What is known of a record that has ended.
pub(super) struct Ended {
    pub(super) line: u64,
    pub(super) span: (u64, u64),
    pub(super) cut: usize,
    pub(super) in_quotes: bool,
    pub(super) is_blank: bool,
}

impl<R> Tap<R> {
    /// A tap at the beginning of `source`, whose lines end with `line_end`.
    pub(super) fn new(source: R, line_end: u8, chunk: usize) -> Self {
        Self {
            source,
            line_end,
            chunk: Vec::with_capacity(chunk),
            chunk_start: 0,
            crs_before: 0,
            start: 0,
            line: 1,
            lines_before: 0,
            source_len: None,
        }
    }

    /// The line that the record being read begins in.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Where the bytes handed out so far end.
    pub(super) fn handed_out(&self) -> u64 {
        self.chunk_start + self.chunk.len() as u64
    }

    /// The index of a place in the chunk, or of the chunk's nearer end.
    fn index(&self, place: u64) -> usize {
        usize::try_from(place.saturating_sub(self.chunk_start))
            .map_or(self.chunk.len(), |index| index.min(self.chunk.len()))
    }

    fn count_line_ends(&self, from: usize, to: usize) -> u64 {
        let ends = self.chunk[from..to].iter().filter(|b| **b == self.line_end);
        ends.count() as u64
    }

    /// CRs right before an index.
    fn crs(&self, before: usize) -> usize {
        let bytes = self.chunk[..before].iter().rev();
        let crs = bytes.take_while(|b| **b == b'\r').count();
        if crs == before {
            crs + self.crs_before
        } else {
            crs
        }
    }

    /// Lets the record begin behind the blank lines that the crate skips.
    fn skip_blank_lines(&mut self) {
        if self.start >= self.chunk_start {
            let bytes = self.chunk[self.index(self.start)..].iter();
            let skipped = bytes.take_while(|b| **b == self.line_end).count() as u64;
            self.start += skipped;
            self.line += skipped;
        }
    }

    /// Ends the record at a place in the chunk, and begins the next one there.
    pub(super) fn end_record(&mut self, end: u64) -> Ended {
        self.skip_blank_lines();
        let (line, start) = (self.line, self.start);
        let (from, to) = (self.index(start), self.index(end));
        self.line += self.lines_before + self.count_line_ends(from, to);
        self.lines_before = 0;
        self.start = end;
        let in_quotes = self.source_len.is_some_and(|len| end == len + 2);
        let cut = match self.line_end {
            _ if in_quotes => 2,
            b'\n' => self.crs(to.saturating_sub(1)),
            _ => 0,
        };
        Ended {
            line,
            span: (start, self.source_len.map_or(end, |len| end.min(len))),
            cut,
            in_quotes,
            is_blank: !in_quotes && end - start == cut as u64 + 1,
        }
    }
}

impl<R: Read> Read for Tap<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.skip_blank_lines();
        let handed_out = self.handed_out();
        if handed_out - self.start > LONGEST_RECORD {
            return Err(io::Error::other(RecordTooLong));
        }
        self.lines_before += self.count_line_ends(self.index(self.start), self.chunk.len());
        self.crs_before = self.crs(self.chunk.len());
        self.chunk_start = handed_out;
        self.chunk.clear();
        let mut got = 0;
        if self.source_len.is_none() {
            got = loop {
                match self.source.read(buffer) {
                    // The crate would take it for the end.
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    read => break read?,
                }
            };
        }
        if got == 0 {
            let len = *self.source_len.get_or_insert(handed_out);
            while got < buffer.len() && handed_out + (got as u64) < len + 2 {
                buffer[got] = self.line_end;
                got += 1;
            }
        }
        self.chunk.extend_from_slice(&buffer[..got]);
        Ok(got)
    }
}
