//! Records of a CSV file, each with the line it begins in.
//!
//! What must stay true: a record takes at most 1 MiB of memory, whatever the file holds, and its line
//! is right after blank lines, CRLF and quoted newlines. Both are why this is not the `csv` crate's
//! reader: that one buffers a quote left open to the end of a file of any size, and its positions
//! count a CRLF to the record after it. The tests hold the two against each other.
//!
//! Read are RFC 4180 and what common tools make of it: lines end with LF, CRLF or CR; blank lines are
//! skipped; a quote inside a bare cell is text. Text after a closing quote and a quote that is never
//! closed are faults, which the `csv` crate accepts in silence.

use std::io::{self, BufRead, BufReader, Cursor, Read};

/// Most bytes of a record.
const LONGEST_RECORD: usize = 1 << 20;

/// Delimiters that are looked for in a header.
const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];

/// A record: its cells, unquoted.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    bytes: Vec<u8>,
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
        let end = *self.ends.get(n)?;
        let start = if n == 0 { 0 } else { self.ends[n - 1] };
        Some(&self.bytes[start..end])
    }

    /// All cells.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|n| self.get(n))
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.fault = None;
    }

    fn end_cell(&mut self) {
        self.ends.push(self.bytes.len());
    }
}

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

#[derive(Clone, Copy, PartialEq)]
enum At {
    CellStart,
    Bare,
    Quoted,
    AfterQuote,
}

/// Reads records from a source.
pub(super) struct Reader<R> {
    source: BufReader<R>,
    delimiter: u8,
    /// Of the next byte.
    line: u64,
    offset: u64,
    /// The last byte was a CR: an LF now belongs to it.
    after_cr: bool,
}

/// A source whose first bytes were read ahead.
pub(super) type Sniffed<R> = io::Chain<Cursor<Vec<u8>>, R>;

impl<R: Read> Reader<R> {
    /// Reads records parted by `delimiter`.
    pub(super) fn new(source: R, delimiter: u8) -> Self {
        Self {
            source: BufReader::with_capacity(1 << 16, source),
            delimiter,
            line: 1,
            offset: 0,
            after_cr: false,
        }
    }

    /// The delimiter.
    pub(super) fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// Reads the next record into `row`; `false` at the end.
    pub(super) fn read(&mut self, row: &mut Row) -> Result<bool, ReadFault> {
        row.clear();
        let delimiter = self.delimiter;
        let mut at = At::CellStart;
        let mut begun = false;
        loop {
            let buffer = match self.source.fill_buf() {
                Ok(buffer) => buffer,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(ReadFault::Io(e)),
            };
            if buffer.is_empty() {
                if !begun {
                    return Ok(false);
                }
                if at == At::Quoted {
                    row.fault = Some("a quote that is opened here is never closed");
                }
                row.end_cell();
                row.span.1 = self.offset;
                return Ok(true);
            }
            let mut used = 0;
            let mut ended = false;
            while used < buffer.len() {
                let byte = buffer[used];
                if self.after_cr {
                    self.after_cr = false;
                    if byte == b'\n' {
                        used += 1;
                        continue;
                    }
                }
                let is_line_end = (byte == b'\n' || byte == b'\r') && at != At::Quoted;
                if !begun && !is_line_end {
                    begun = true;
                    row.line = self.line;
                    row.span.0 = self.offset + used as u64;
                }
                used += 1;
                if is_line_end {
                    self.line += 1;
                    self.after_cr = byte == b'\r';
                    if begun {
                        row.end_cell();
                        ended = true;
                        break;
                    }
                    continue;
                }
                match at {
                    At::CellStart if byte == b'"' => at = At::Quoted,
                    At::Quoted if byte == b'"' => at = At::AfterQuote,
                    At::AfterQuote if byte == b'"' => {
                        row.bytes.push(byte);
                        at = At::Quoted;
                    }
                    At::CellStart | At::Bare | At::AfterQuote if byte == delimiter => {
                        row.end_cell();
                        at = At::CellStart;
                    }
                    At::CellStart | At::Bare | At::AfterQuote => {
                        if at == At::AfterQuote {
                            row.fault = Some("there is text after a closing quote");
                        }
                        at = At::Bare;
                        let rest = &buffer[used..];
                        let stop = |b: &u8| *b == delimiter || *b == b'\n' || *b == b'\r';
                        let run = rest.iter().position(stop).unwrap_or(rest.len());
                        row.bytes.push(byte);
                        row.bytes.extend_from_slice(&rest[..run]);
                        used += run;
                    }
                    At::Quoted => {
                        self.line += u64::from(byte == b'\n');
                        row.bytes.push(byte);
                    }
                }
            }
            self.offset += used as u64;
            self.source.consume(used);
            if ended {
                row.span.1 = self.offset;
                return Ok(true);
            }
            // A cell costs a byte at least, so that a record of nothing but delimiters is bounded too.
            if row.bytes.len() + row.ends.len() > LONGEST_RECORD {
                return Err(ReadFault::TooLong { line: row.line });
            }
        }
    }
}

/// Looks at a source's first record: finds the delimiter (unless one is given) and skips a BOM.
/// A header in which no delimiter stands is a file of one column.
pub(super) fn sniff<R: Read>(
    mut source: R,
    delimiter: Option<u8>,
) -> Result<Reader<Sniffed<R>>, SniffFault> {
    let mut head = Vec::new();
    let mut chunk = [0; 4096];
    let mut counts = [0usize; DELIMITERS.len()];
    let mut quoted = false;
    let mut anything = false;
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
                b'"' => quoted = !quoted,
                b'\n' | b'\r' if !quoted && anything => break 'header,
                b'\n' | b'\r' => continue,
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
    if head.starts_with(b"\xef\xbb\xbf") {
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
    Ok(Reader::new(
        Cursor::new(head).chain(source),
        delimiter.unwrap_or(found),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }

    #[test]
    fn the_delimiter_is_found_in_the_header_outside_quotes() {
        for (text, delimiter) in [
            ("a;b,c;d\n", b';'),
            ("a\tb\n1,2,3,4", b'\t'),
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
        let long = vec![b'a'; LONGEST_RECORD + 5000];
        assert!(matches!(
            sniff(long.as_slice(), None),
            Err(SniffFault::TooLong)
        ));
    }

    #[test]
    fn faults_of_quoting_are_told() {
        assert_eq!(
            read_all(b"a,b\n\"x\"y,2\n3,4\n")[1].2,
            Some("there is text after a closing quote")
        );
        let open = read_all(b"a,b\n1,\"x\n3,4\n");
        assert_eq!((open[1].0, open[1].2.is_some()), (2, true));
        assert_eq!(
            read_all(b"a,b\nx\"y\",\"\"\n")[1],
            (2, vec!["x\"y\"".into(), String::new()], None)
        );
    }

    #[test]
    fn an_open_quote_does_not_eat_the_file() {
        let endless = b"a,b\n1,\"".chain(io::repeat(b'x'));
        let mut reader = sniff(endless, None).unwrap();
        let mut row = Row::default();
        assert!(reader.read(&mut row).unwrap());
        assert!(matches!(
            reader.read(&mut row),
            Err(ReadFault::TooLong { line: 2 })
        ));
        assert!(row.bytes.capacity() < 8 * LONGEST_RECORD);
    }

    #[test]
    fn spans_part_the_file() {
        let text = b"a,b\n1,\"x\ny\"\n3,4\n";
        let mut reader = sniff(&text[..], None).unwrap();
        let (mut row, mut next) = (Row::default(), 0);
        while reader.read(&mut row).unwrap() {
            assert_eq!(row.span.0, next);
            next = row.span.1;
        }
        assert_eq!(next, text.len() as u64);
    }

    proptest::proptest! {
        /// Whatever a correct writer writes, both readers read alike.
        #[test]
        fn it_reads_what_the_csv_crate_reads(
            rows in proptest::collection::vec(proptest::collection::vec("[a-c,;\"\r\n ]{0,4}", 2), 1..6),
            crlf: bool,
        ) {
            let terminator = if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
            let mut writer = csv::WriterBuilder::new().terminator(terminator).from_writer(Vec::new());
            writer.write_record(["h1", "h2"]).unwrap();
            for row in &rows {
                writer.write_record(row).unwrap();
            }
            let text = writer.into_inner().unwrap();
            let read: Vec<_> = read_all(&text).into_iter().skip(1).map(|(_, cells, fault)| {
                assert_eq!(fault, None);
                cells
            }).collect();
            proptest::prop_assert_eq!(read, rows);
        }
    }
}
