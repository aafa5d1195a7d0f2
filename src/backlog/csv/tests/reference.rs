//! The reader of input files, held against the `csv` crate.
//!
//! The crate parses; what it cannot know, or does not say, is added by a tap between it and the source: where a
//! record really begins and ends, in which line, and whether a quote was left open. The crate asks for more only
//! when it has used up all that it got, so a record that has just ended ends within the chunk that was handed
//! out last. For a quote that is never closed the tap adds two line ends to the source; the crate skips them as
//! blank lines, unless a quote is open: then both end up in the record.

use std::io::{self, Read};

use csv::{ByteRecord, ReaderBuilder, Terminator};
use proptest::prelude::*;

use super::super::reader::{ReadFault, Reader};
use super::super::row::Row;

/// Most bytes of a record, give or take a chunk.
const LONGEST_RECORD: u64 = 1 << 20;
/// Bytes that are asked of a source at once.
const CHUNK: usize = 1 << 16;

/// A source on its way to the crate: the bytes handed out last are kept, so that what they held
/// can be looked up once the crate has said where a record ends. The crate asks for more only when it has
/// used up all that it got.
struct Tap<R> {
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
struct Ended {
    line: u64,
    span: (u64, u64),
    cut: usize,
    in_quotes: bool,
    is_blank: bool,
}

impl<R> Tap<R> {
    /// A tap at the beginning of `source`, whose lines end with `line_end`.
    fn new(source: R, line_end: u8, chunk: usize) -> Self {
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

    /// Where the bytes handed out so far end.
    fn handed_out(&self) -> u64 {
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
    fn end_record(&mut self, end: u64) -> Ended {
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
            return Err(io::ErrorKind::OutOfMemory.into());
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

/// A row: cells, line, span, and whether a quote is open.
type Read1 = (Vec<Vec<u8>>, u64, (u64, u64), bool);

/// What the crate makes of a source; the last is `Err` where a record is too long.
fn by_the_crate(source: impl Read, delimiter: u8, line_end: u8) -> Vec<Result<Read1, ()>> {
    let mut csv = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .terminator(Terminator::Any(line_end))
        .buffer_capacity(CHUNK)
        .from_reader(Tap::new(source, line_end, CHUNK));
    let mut record = ByteRecord::new();
    let mut rows = Vec::new();
    loop {
        match csv.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return rows,
            Err(_) => {
                rows.push(Err(()));
                return rows;
            }
        }
        let end = csv.position().byte();
        let ended = csv.get_mut().end_record(end);
        if ended.is_blank {
            continue;
        }
        let mut cells: Vec<Vec<u8>> = record.iter().map(<[u8]>::to_vec).collect();
        if let Some(last) = cells.last_mut() {
            last.truncate(last.len().saturating_sub(ended.cut));
        }
        rows.push(Ok((cells, ended.line, ended.span, ended.in_quotes)));
    }
}

fn by_the_reader(source: impl Read, delimiter: u8, line_end: u8) -> Vec<Result<Read1, ()>> {
    let mut reader = Reader::with_line_end(source, delimiter, line_end);
    let mut row = Row::default();
    let mut rows = Vec::new();
    loop {
        match reader.read(&mut row) {
            Ok(true) => {
                let cells = row.iter().map(<[u8]>::to_vec).collect();
                rows.push(Ok((cells, row.line, row.span, row.fault.is_some())));
            }
            Ok(false) => return rows,
            Err(ReadFault::TooLong { .. } | ReadFault::Io(_)) => {
                rows.push(Err(()));
                return rows;
            }
        }
    }
}

/// Gives a few bytes at a time.
struct Dribble<'a>(&'a [u8], usize);

impl Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let some = self.1.min(buffer.len());
        self.0.read(&mut buffer[..some])
    }
}

fn assert_same(text: &[u8], delimiter: u8, line_end: u8, some: usize) {
    let by_the_crate = by_the_crate(Dribble(text, some), delimiter, line_end);
    let by_the_reader = by_the_reader(Dribble(text, some), delimiter, line_end);
    assert_eq!(
        by_the_reader,
        by_the_crate,
        "{:?}, {some} at a time",
        String::from_utf8_lossy(text)
    );
}

#[test]
fn long_records_are_the_same_records() {
    let quoted = format!("a,\"{}\"\"\"\r\nb,c\n", "x,\n".repeat(40_000));
    let open = format!("a,\"{}", "x,\n".repeat(40_000));
    let long = |len: usize| format!("a,b\n{}\n1,2\n", "x".repeat(len));
    let ends = |len: usize| format!("a,b\n{}", "x".repeat(len));
    for text in [
        quoted,
        open,
        long(1 << 20),
        long(3 << 20),
        ends(1 << 20),
        ends(3 << 20),
    ] {
        for some in [4096, CHUNK, 1 << 20] {
            assert_same(text.as_bytes(), b',', b'\n', some);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn records_are_those_of_the_crate(
        text in prop::collection::vec(prop::sample::select(&b"ab,,;\"\"\"\r\n\n\xc3\0"[..]), 0..60),
        is_cr: bool,
        is_semicolon: bool,
        some in 1_usize..20,
    ) {
        let delimiter = if is_semicolon { b';' } else { b',' };
        assert_same(&text, delimiter, if is_cr { b'\r' } else { b'\n' }, some);
    }
}
