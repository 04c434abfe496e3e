//! Which submission made which ended job. Ids of submissions are random: instead of a row
//! each, at a random place of the file, they are hashed into buckets, each a few rows that
//! are written from one end. An entry is a hash and a job; the job's row decides.

use redb::{ReadableTable, Table};
use wrun_protocol::{SubmitId, TenantName};

use super::file::Boxed;
use super::row;

/// Buckets, by the topmost bits of the hash.
const BUCKET_BITS: u32 = 10;
/// Entries in a row: a page of the file.
const ENTRIES: usize = 250;
/// Bytes of an entry: hash and job.
const ENTRY: usize = 16;

/// The place of a row: bucket, and number within it.
pub(crate) type Key = (u16, u32);

/// The hash of a submission. `salt` is the file's: who chooses ids must not choose buckets.
pub(crate) fn hash(salt: u64, tenant: &TenantName, id: SubmitId) -> u64 {
    let id = u128::from_le_bytes(id.0);
    let name = u64::from(crc32c::crc32c(tenant.as_str().as_bytes()));
    mix(mix(mix(salt ^ name) ^ id as u64) ^ (id >> 64) as u64)
}

/// A bijection of 64 bits in which every bit matters to every other (splitmix64).
fn mix(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn bucket_of(hash: u64) -> u16 {
    (hash >> (64 - BUCKET_BITS)) as u16
}

fn sealing_key(key: Key) -> [u8; 6] {
    let ([a, b], [c, d, e, f]) = (key.0.to_le_bytes(), key.1.to_le_bytes());
    [a, b, c, d, e, f]
}

fn read(key: Key, bytes: &[u8]) -> Result<Vec<(u64, u64)>, String> {
    let payload = row::unsealed(&sealing_key(key), bytes)?;
    let entries = payload.chunks_exact(ENTRY).filter_map(|entry| {
        let (hash, job) = entry.split_first_chunk()?;
        Some((u64::from_le_bytes(*hash), u64::from_le_bytes(*job.first_chunk()?)))
    });
    Ok(entries.collect())
}

fn sealed(key: Key, entries: &[(u64, u64)]) -> Vec<u8> {
    row::sealed(&sealing_key(key), 0, |bytes| {
        bytes.reserve(entries.len() * ENTRY);
        for (hash, job) in entries {
            bytes.extend_from_slice(&hash.to_le_bytes());
            bytes.extend_from_slice(&job.to_le_bytes());
        }
    })
}

fn rows_of(bucket: u16) -> std::ops::RangeInclusive<Key> {
    (bucket, 0)..=(bucket, u32::MAX)
}

/// Jobs whose submission has this hash, newest first.
pub(crate) fn find(table: &impl ReadableTable<Key, &'static [u8]>, hash: u64) -> Boxed<Vec<u64>> {
    let mut found = Vec::new();
    for entry in table.range(rows_of(bucket_of(hash)))?.rev() {
        let (key, bytes) = entry?;
        // What a damaged row held is not known any more, as after its retention.
        let entries = read(key.value(), bytes.value()).unwrap_or_default();
        found.extend(entries.iter().rev().filter(|(of, _)| *of == hash).map(|(_, job)| *job));
    }
    Ok(found)
}

/// Adds entries.
pub(crate) fn put(
    table: &mut Table<'_, Key, &'static [u8]>,
    mut entries: Vec<(u64, u64)>,
) -> Boxed<()> {
    entries.sort_unstable();
    for more in entries.chunk_by(|one, other| bucket_of(one.0) == bucket_of(other.0)) {
        let bucket = more.first().map_or(0, |(hash, _)| bucket_of(*hash));
        let last = match table.range(rows_of(bucket))?.next_back() {
            Some(entry) => {
                let (key, bytes) = entry?;
                let number = key.value().1;
                match read(key.value(), bytes.value()) {
                    Ok(entries) => (number, entries),
                    Err(_) => (number.saturating_add(1), Vec::new()),
                }
            }
            None => (0, Vec::new()),
        };
        let (number, mut row) = last;
        row.extend_from_slice(more);
        for (number, row) in (number..).zip(row.chunks(ENTRIES)) {
            let key = (bucket, number);
            table.insert(key, sealed(key, row).as_slice())?;
        }
    }
    Ok(())
}

/// Takes entries out.
pub(crate) fn remove(
    table: &mut Table<'_, Key, &'static [u8]>,
    mut entries: Vec<(u64, u64)>,
) -> Boxed<()> {
    entries.sort_unstable();
    for gone in entries.chunk_by(|one, other| bucket_of(one.0) == bucket_of(other.0)) {
        let bucket = gone.first().map_or(0, |(hash, _)| bucket_of(*hash));
        let mut left = gone.len();
        let mut changed = Vec::new();
        // The oldest go first, and are in the first rows.
        for entry in table.range(rows_of(bucket))? {
            if left == 0 {
                break;
            }
            let (key, bytes) = entry?;
            let mut row = read(key.value(), bytes.value()).unwrap_or_default();
            let before = row.len();
            row.retain(|entry| gone.binary_search(entry).is_err());
            if row.len() < before {
                left = left.saturating_sub(before - row.len());
                changed.push((key.value(), row));
            }
        }
        for (key, row) in changed {
            if row.is_empty() {
                table.remove(key)?;
            } else {
                table.insert(key, sealed(key, &row).as_slice())?;
            }
        }
    }
    Ok(())
}
