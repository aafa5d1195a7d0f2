//! Records of a CSV file, each with the line it begins in.
//!
//! What must stay true:
//!
//! - Cells are those that the `csv` crate reads; a test holds both against each other. Of quoting it takes what
//!   it gets: a quote inside a bare cell is text, and so is what follows a closing quote.
//! - A record takes about 1 MiB of the source at most: a quote left open in a file of any size is a
//!   fault, not a full memory.
//! - A record's line is right after blank lines, CRLF and quoted line ends.
//! - A quote that is never closed is a fault of its record.
//! - More is asked of a source only once all records that it gave were read: a stream's row is not held up by what
//!   comes behind it.
//!
//! Lines end with LF, and CRs right before it belong to the line end; where the header ends with a CR
//! alone, all lines do. Blank lines are skipped.

use std::io::{self, Cursor, Read};

use memchr::{memchr_iter, memchr2};

use super::row::{Extent, Row, without_crs};

/// Most bytes of a record, give or take a chunk.
const LONGEST_RECORD: usize = 1 << 20;

/// Bytes that are asked of a source at once.
const CHUNK: usize = 1 << 16;

/// Delimiters that are looked for in a header.
const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];

/// What a UTF-8 file may begin with.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// What a quote that is never closed is called.
const OPEN_QUOTE: &str = "a quote that is opened here is never closed";

/// Why no further record can be read.
#[derive(Debug)]
pub(super) enum ReadFault {
    /// The source failed.
    Io(io::Error),
    /// A record is longer than 1 MiB. It begins in this line.
    TooLong { line: u64 },
}

/// What a source turned out to be at its first bytes.
#[derive(Debug)]
pub(super) enum SniffFault {
    /// The source failed.
    Io(io::Error),
    /// It holds nothing.
    Empty,
    /// It is UTF-16.
    Utf16,
    /// The header is longer than 1 MiB.
    TooLong,
}

/// Reads records from a source.
pub(super) struct Reader<R> {
    source: R,
    delimiter: u8,
    line_end: u8,
    /// What was read of the source: those of its bytes are left that are before `filled` and not before `at`.
    buffer: Vec<u8>,
    at: usize,
    filled: usize,
    /// Where the buffer begins in the source.
    offset: u64,
    /// The line at `at`.
    line: u64,
    /// Nothing was read yet.
    is_new: bool,
    /// The source has ended, or failed.
    has_ended: bool,
}

/// A source whose first bytes were read ahead.
pub(super) type Sniffed<R> = io::Chain<Cursor<Vec<u8>>, R>;

impl<R: Read> Reader<R> {
    /// Reads records parted by `delimiter`, which is ASCII, and whose lines end with LF.
    pub(super) fn new(source: R, delimiter: u8) -> Self {
        Self::with_line_end(source, delimiter, b'\n')
    }

    /// Reads records whose lines end with `line_end`.
    pub(super) fn with_line_end(source: R, delimiter: u8, line_end: u8) -> Self {
        Self {
            source,
            delimiter,
            line_end,
            buffer: Vec::new(),
            at: 0,
            filled: 0,
            offset: 0,
            line: 1,
            is_new: true,
            has_ended: false,
        }
    }

    /// The delimiter.
    pub(super) fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// Reads the next record into `row`; `false` at the end. After a fault there is no further one.
    pub(super) fn read(&mut self, row: &mut Row) -> Result<bool, ReadFault> {
        loop {
            while self.at < self.filled && self.buffer[self.at] == self.line_end {
                self.at += 1;
                self.line += 1;
            }
            match self.take(row) {
                Some(true) => return Ok(true),
                Some(false) => {}
                None if self.has_ended => return Ok(false),
                None => self.fill()?,
            }
        }
    }

    /// Takes the next record out of the buffer; `false` for a blank line, `None` where no whole record is there.
    fn take(&mut self, row: &mut Row) -> Option<bool> {
        let source = &self.buffer[self.at..self.filled];
        let (len, is_bare) = match memchr2(self.line_end, b'"', source) {
            Some(len) => (len, source[len] == self.line_end),
            None if self.has_ended && !source.is_empty() => (source.len(), true),
            None => return None,
        };
        let bare = without_crs(&source[..len], self.line_end);
        let extent = if is_bare {
            row.take_bare(bare, self.delimiter);
            Extent {
                end: source.len().min(len + 1),
                is_open: false,
            }
        } else {
            row.take_quoted(source, self.delimiter, self.line_end, self.has_ended)?
        };
        row.line = self.line;
        let start = self.offset + self.at as u64;
        row.span = (start, start + extent.end as u64);
        row.fault = extent.is_open.then_some(OPEN_QUOTE);
        self.line += match is_bare {
            true => 1,
            false => memchr_iter(self.line_end, &source[..extent.end]).count() as u64,
        };
        self.at += extent.end;
        Some(!is_bare || !bare.is_empty())
    }

    /// Reads on, behind what of the buffer is left.
    fn fill(&mut self) -> Result<(), ReadFault> {
        if self.filled - self.at > LONGEST_RECORD {
            self.end();
            return Err(ReadFault::TooLong { line: self.line });
        }
        if self.at > 0 {
            self.buffer.copy_within(self.at..self.filled, 0);
            self.offset += self.at as u64;
            self.filled -= self.at;
            self.at = 0;
        }
        if self.buffer.len() < self.filled + CHUNK {
            self.buffer.resize(self.filled + CHUNK, 0);
        }
        let free = self.filled..self.filled + CHUNK;
        let got = loop {
            match self.source.read(&mut self.buffer[free.clone()]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.end();
                    return Err(ReadFault::Io(e));
                }
                Ok(got) => break got,
            }
        };
        self.filled += got;
        self.has_ended = got == 0;
        if std::mem::take(&mut self.is_new) && self.buffer[..self.filled].starts_with(BOM) {
            self.at = BOM.len();
        }
        Ok(())
    }

    /// Nothing comes any more.
    fn end(&mut self) {
        self.has_ended = true;
        self.filled = self.at;
    }
}

/// Looks at a source's first record: finds what ends its lines and the delimiter (unless one is given), and
/// skips a BOM. A header in which no delimiter stands is a file of one column.
pub(super) fn sniff<R: Read>(
    mut source: R,
    delimiter: Option<u8>,
) -> Result<Reader<Sniffed<R>>, SniffFault> {
    let mut head = Vec::new();
    let mut chunk = [0; 4096];
    let mut counts = [0usize; DELIMITERS.len()];
    let mut quoted = false;
    let mut anything = false;
    let mut after_cr = false;
    let mut line_end = b'\n';
    'header: loop {
        let got = match source.read(&mut chunk) {
            Ok(0) => break,
            Ok(got) => got,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(SniffFault::Io(e)),
        };
        let new = head.len();
        head.extend_from_slice(&chunk[..got]);
        if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
            return Err(SniffFault::Utf16);
        }
        for &byte in &head[new..] {
            match byte {
                b'\n' if !quoted && anything => break 'header,
                b'\r' if !quoted && anything => {
                    after_cr = true;
                    continue;
                }
                b'\n' | b'\r' => continue,
                _ if after_cr => {
                    line_end = b'\r';
                    break 'header;
                }
                b'"' => quoted = !quoted,
                _ => {}
            }
            anything = true;
            if let (false, Some(n)) = (quoted, DELIMITERS.iter().position(|d| *d == byte)) {
                counts[n] += 1;
            }
        }
        if head.len() > LONGEST_RECORD {
            return Err(SniffFault::TooLong);
        }
    }
    if head.starts_with(BOM) {
        head.drain(..3);
    }
    if head.iter().all(|b| matches!(b, b'\n' | b'\r')) {
        return Err(SniffFault::Empty);
    }
    let most = counts.iter().copied().max().unwrap_or_default();
    let found = counts
        .iter()
        .position(|c| *c == most)
        .map_or(b',', |n| DELIMITERS[n]);
    Ok(Reader::with_line_end(
        Cursor::new(head).chain(source),
        delimiter.unwrap_or(found),
        line_end,
    ))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;

    use super::*;

    const OPEN: Option<&str> = Some(OPEN_QUOTE);

    fn read_all(text: &[u8]) -> Vec<(u64, Vec<String>, Option<&'static str>)> {
        let mut reader = sniff(text, None).unwrap();
        let mut row = Row::default();
        let mut all = Vec::new();
        while reader.read(&mut row).unwrap() {
            let cells = row
                .iter()
                .map(|c| String::from_utf8_lossy(c).into_owned())
                .collect();
            all.push((row.line, cells, row.fault));
        }
        all
    }

    fn lines(text: &str) -> Vec<u64> {
        read_all(text.as_bytes())
            .into_iter()
            .map(|(line, ..)| line)
            .collect()
    }

    #[test]
    fn a_record_knows_its_line() {
        assert_eq!(lines("a,b\n1,2\n3,4\n"), [1, 2, 3]);
        assert_eq!(lines("a,b\r\n1,2\r\n3,4"), [1, 2, 3]);
        assert_eq!(lines("a,b\r1,2\r3,4"), [1, 2, 3]);
        assert_eq!(lines("\n\na,b\n\n1,\"x\ny\"\n\r\n3,4\n"), [3, 5, 8]);
        assert_eq!(lines("a,b\r\n1,\"x\r\ny\"\r\n3,4"), [1, 2, 4]);
        assert_eq!(lines("\r\ra,b\r\r1,\"x\ry\"\r\r\r3,4\r"), [3, 5, 9]);
        assert_eq!(lines("a,b\r\r\n1,2\r\r\n\r\r\n3,4\r\r\n"), [1, 2, 4]);
    }

    #[test]
    fn a_line_end_is_not_of_the_last_cell_and_a_quoted_one_is() {
        let last = |text: &str| read_all(text.as_bytes()).pop().unwrap().1.pop().unwrap();
        for (text, cell) in [
            ("a,b\r\n1,2\r\n", "2"),
            ("a,b\r\n1,2\r", "2"),
            ("a,b\n1,2\r\n", "2"),
            ("a,b\r\n1,\"2\r\"\r\n", "2\r"),
            ("a,b\r\n1,\"2\r\"\n", "2\r"),
            ("a,b\r\n1,\"2\r\"", "2\r"),
            ("a,b\n1,\"2\n\n\"", "2\n\n"),
            ("a,b\n1,\r\n", ""),
            ("a,b\r1,2\n\r", "2\n"),
            ("a\n\"\"\r\n", ""),
        ] {
            assert_eq!(last(text), cell, "{text:?}");
        }
        assert_eq!(lines("a\n\"\"\r\n\r\n\n1"), [1, 2, 5]);
    }

    #[test]
    fn the_delimiter_is_found_in_the_header_outside_quotes() {
        for (text, delimiter) in [
            ("a;b,c;d\n", b';'),
            ("a\tb\n1,2,3,4", b'\t'),
            ("a;b\r1,2,3,4", b';'),
            ("\"a;;;\",b\n", b','),
            ("a\n", b','),
            ("\"a\n;;\",b", b','),
        ] {
            assert_eq!(
                sniff(text.as_bytes(), None).unwrap().delimiter(),
                delimiter,
                "{text}"
            );
        }
        assert_eq!(
            sniff(&b"a;b;c,d"[..], Some(b',')).unwrap().delimiter(),
            b','
        );
    }

    #[test]
    fn what_a_source_may_turn_out_to_be() {
        assert!(matches!(sniff(&b""[..], None), Err(SniffFault::Empty)));
        assert!(matches!(
            sniff(&b"\xef\xbb\xbf\r\n\n"[..], None),
            Err(SniffFault::Empty)
        ));
        assert!(matches!(
            sniff(&b"\xff\xfea\0"[..], None),
            Err(SniffFault::Utf16)
        ));
        assert_eq!(read_all(b"\xef\xbb\xbfid,x\n")[0].1, ["id", "x"]);
        let long = io::repeat(b'a').take(LONGEST_RECORD as u64 + 5000);
        assert!(matches!(sniff(long, None), Err(SniffFault::TooLong)));
    }

    #[test]
    fn a_quote_that_is_never_closed_is_told() {
        for text in [
            "a,b\n1,\"x\n3,4\n",
            "a,b\n1,\"x\n3,4",
            "a,b\r\n1,\"x\r\n3,4\r\n",
            "a,b\r1,\"x\r3,4",
            "a,b\n1,\"",
            "a,b\n1,\"x\"\"",
            "a,b\n1,\"x\n\n",
        ] {
            let all = read_all(text.as_bytes());
            assert_eq!((all.len(), all[1].0, all[1].2), (2, 2, OPEN), "{text:?}");
        }
        assert_eq!(read_all(b"a,b\n1,\"x\n3,4\n")[1].1, ["1", "x\n3,4\n"]);
        for (text, cells) in [
            ("a,b\nx\"y\",\"\"\n", ["x\"y\"", ""]),
            ("a,b\n5\",\"x\"", ["5\"", "x"]),
            ("a,b\n\"x\"y,2\n", ["xy", "2"]),
        ] {
            let cells = cells.map(str::to_owned).to_vec();
            assert_eq!(read_all(text.as_bytes())[1], (2, cells, None), "{text:?}");
        }
    }

    #[test]
    fn an_open_quote_does_not_eat_the_file() {
        for endless in [b'x', b'\n', b','] {
            let endless = b"a,b\n\n1,\"".chain(io::repeat(endless));
            let mut reader = sniff(endless, None).unwrap();
            let mut row = Row::default();
            assert!(reader.read(&mut row).unwrap());
            assert!(matches!(
                reader.read(&mut row),
                Err(ReadFault::TooLong { line: 3 })
            ));
            // As much was asked of the source as a record may take.
            assert!(reader.buffer.len() <= LONGEST_RECORD + 2 * CHUNK);
        }
    }

    #[test]
    fn only_a_record_is_bounded_not_a_file_nor_its_blank_lines() {
        let record = format!("{},1\n", "x".repeat(1 << 19));
        let blank = "\n".repeat(3 << 20);
        let text = format!("a,b\n{record}{record}{record}{record}{blank}{record}\r\n{record}");
        let after = 5 + (3 << 20) + 1;
        assert_eq!(lines(&text), [1, 2, 3, 4, 5, after, after + 2]);
    }

    #[test]
    fn a_source_that_fails_is_told_from_one_that_ends() {
        struct Failing(Vec<io::ErrorKind>);
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                self.0.pop().map_or(Ok(0), |kind| Err(kind.into()))
            }
        }
        let read = |kinds| {
            let mut reader = Reader::new(b"a,b\n".chain(Failing(kinds)), b',');
            let mut row = Row::default();
            assert!(reader.read(&mut row).unwrap());
            reader.read(&mut row)
        };
        assert!(matches!(read(vec![io::ErrorKind::Interrupted]), Ok(false)));
        assert!(matches!(
            read(vec![io::ErrorKind::TimedOut]),
            Err(ReadFault::Io(e)) if e.kind() == io::ErrorKind::TimedOut
        ));
    }

    /// Gives a few bytes at a time.
    struct Dribble<'a>(&'a [u8], usize);

    impl Read for Dribble<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let some = self.1.min(buffer.len());
            self.0.read(&mut buffer[..some])
        }
    }

    fn written(cells: &[String], is_quoted: bool, line_end: &str) -> String {
        let quote = |cell: &String| {
            let is_bare = !cell.contains([',', '"', '\r', '\n']) && cells.len() > 1;
            match is_quoted || !is_bare {
                true => format!("\"{}\"", cell.replace('"', "\"\"")),
                false => cell.clone(),
            }
        };
        cells.iter().map(quote).collect::<Vec<_>>().join(",") + line_end
    }

    proptest::proptest! {
        /// Whatever the line ends and wherever the chunks are cut: cells, lines and spans are right.
        #[test]
        fn records_are_read_with_their_lines_and_spans(
            rows in vec((vec("[ab,\"\r\n ]{0,4}", 1..4), proptest::bool::ANY, 0usize..3, 0usize..3), 1..6),
            is_cr: bool,
            is_ended: bool,
            is_open: bool,
            some in 1usize..9,
        ) {
            let line_ends = if is_cr { ["\r"; 3] } else { ["\n", "\r\n", "\r\r\n"] };
            let mut text = String::new();
            let mut expected = Vec::new();
            for (cells, is_quoted, blanks, line_end) in rows {
                let line_end = line_ends[line_end];
                text += &line_end.repeat(blanks);
                let line_of = |text: &str| 1 + text.matches(line_ends[0]).count() as u64;
                let line = line_of(&text);
                let start = text.len() as u64;
                text += &written(&cells, is_quoted, line_end);
                expected.push((cells, line, (start, text.len() as u64), None));
            }
            if !is_ended {
                text.truncate(text.trim_end_matches(['\r', '\n']).len());
            }
            if is_open {
                let last = expected.last_mut().unwrap();
                let start = usize::try_from(last.2.0).unwrap();
                text.truncate(start);
                text += "b,\"c\r\n";
                last.0 = vec!["b".to_owned(), "c\r\n".to_owned()];
                last.3 = OPEN;
            }
            expected.last_mut().unwrap().2.1 = text.len() as u64;
            let line_end = line_ends[0].as_bytes()[0];
            let mut reader = Reader::with_line_end(Dribble(text.as_bytes(), some), b',', line_end);
            let mut row = Row::default();
            for (cells, line, span, fault) in expected {
                proptest::prop_assert!(reader.read(&mut row).unwrap());
                let read: Vec<_> = row.iter().map(|c| String::from_utf8_lossy(c)).collect();
                proptest::prop_assert_eq!(read, cells);
                proptest::prop_assert_eq!((row.line, row.span, row.fault), (line, span, fault));
            }
            proptest::prop_assert!(!reader.read(&mut row).unwrap());
        }
    }
}
