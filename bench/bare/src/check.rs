//! The least that a check of an input has to do: read every record, parse its URL, and find ids that
//! stand twice, by a set of 64-bit hashes.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use url::Url;

use crate::Error;

pub fn run(input: &str) -> Result<(), Error> {
    let mut rows = csv::Reader::from_path(input)?;
    let header = rows.byte_headers()?.clone();
    let place = |name: &str| {
        header
            .iter()
            .position(|column| column == name.as_bytes())
            .ok_or_else(|| format!("no column {name}"))
    };
    let (id, url) = (place("id")?, place("website_url")?);
    let hash = RandomState::new();
    let mut seen = HashSet::new();
    let mut record = csv::ByteRecord::new();
    let (mut count, mut repeats) = (0_u64, 0_u64);
    while rows.read_byte_record(&mut record)? {
        let text = std::str::from_utf8(record.get(url).ok_or("short record")?)?;
        let parsed = Url::parse(text)?;
        if parsed.host_str().is_none() {
            return Err(format!("row {count}: no host").into());
        }
        if !seen.insert(hash.hash_one(record.get(id).ok_or("short record")?)) {
            repeats += 1;
        }
        count += 1;
    }
    println!("{count} rows, {repeats} repeats");
    Ok(())
}
