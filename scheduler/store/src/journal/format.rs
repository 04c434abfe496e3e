//! The bytes of segments and snapshots. All numbers are little-endian. No I/O.
//!
//! Segment: magic, version, first sequence, salt, CRC; then records. Record: CRC, length,
//! sequence, place in its batch, payload. After each batch that was synced a mark follows:
//! a record without payload that says up to which sequence everything is durable.
//!
//! A batch is written only when the one before is durable. So a bad record was durable,
//! and is damage, exactly if behind it is a mark of its sequence or later, or a record of
//! a later batch; else it is a torn tail that nobody was told of. The salt differs from
//! segment to segment and enters every CRC: no payload can imitate a record.

/// First bytes of a segment.
const SEGMENT_MAGIC: [u8; 8] = *b"wrun.log";
/// First bytes of a snapshot.
const SNAPSHOT_MAGIC: [u8; 8] = *b"wrunsnap";
/// Version of both.
pub(crate) const VERSION: u32 = 1;
/// Bytes of a segment's header, and of a snapshot's.
pub(crate) const HEADER: usize = 32;
/// Bytes of a record before its payload.
pub(crate) const RECORD: usize = 20;
/// Largest batch in bytes, record headers included.
pub(crate) const MAX_BATCH: usize = 1 << 20;
/// The place of a mark.
const MARK: u32 = u32::MAX;

/// Why a header is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// What is wrong.
    Damaged(&'static str),
    /// Intact, of this version.
    Version(u32),
}

/// A record as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) seq: u64,
    place: u32,
    pub(crate) payload: &'a [u8],
}

impl Record<'_> {
    pub(crate) fn is_mark(&self) -> bool {
        self.place == MARK
    }

    /// Everything below this sequence was durable when the record was written.
    fn durable_below(&self) -> u64 {
        if self.is_mark() {
            self.seq.saturating_add(1)
        } else {
            self.seq.saturating_sub(u64::from(self.place))
        }
    }

    /// Bytes of the record.
    pub(crate) fn size(&self) -> usize {
        RECORD + self.payload.len()
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn header(magic: [u8; 8], first: u64, second: u64, crc: impl Fn(&[u8]) -> u32) -> [u8; HEADER] {
    let mut bytes = Vec::with_capacity(HEADER);
    bytes.extend_from_slice(&magic);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&first.to_le_bytes());
    bytes.extend_from_slice(&second.to_le_bytes());
    let crc = crc(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.first_chunk().copied().unwrap_or([0; HEADER])
}

/// The two numbers of a header whose CRC `crc` computes over the bytes before it.
fn read_header(
    bytes: &[u8],
    magic: [u8; 8],
    crc: impl Fn(&[u8]) -> u32,
) -> Result<(u64, u64), BadHeader> {
    let short = BadHeader::Damaged("the header is cut short");
    let Some((covered, rest)) = bytes.split_at_checked(HEADER - 4) else { return Err(short) };
    let (Some(stored), Some(version)) = (u32_at(rest, 0), u32_at(bytes, 8)) else {
        return Err(short);
    };
    if stored != crc(covered) {
        return Err(BadHeader::Damaged("the header, or what it covers, does not match its CRC"));
    }
    if !bytes.starts_with(&magic) {
        return Err(BadHeader::Damaged("it is not a file of wrun's journal"));
    }
    if version != VERSION {
        return Err(BadHeader::Version(version));
    }
    u64_at(bytes, 12).zip(u64_at(bytes, 20)).ok_or(short)
}

pub(crate) fn segment_header(first_seq: u64, salt: u64) -> [u8; HEADER] {
    header(SEGMENT_MAGIC, first_seq, salt, crc32c::crc32c)
}

/// First sequence and salt of a segment.
pub(crate) fn read_segment_header(bytes: &[u8]) -> Result<(u64, u64), BadHeader> {
    read_header(bytes, SEGMENT_MAGIC, crc32c::crc32c)
}

/// The header of a snapshot of `state` after the fact `seq`.
pub(crate) fn snapshot_header(seq: u64, state: &[u8]) -> [u8; HEADER] {
    let crc = |covered: &[u8]| crc32c::crc32c_append(crc32c::crc32c(covered), state);
    header(SNAPSHOT_MAGIC, seq, state.len() as u64, crc)
}

/// Sequence and state of a snapshot.
pub(crate) fn read_snapshot(bytes: &[u8]) -> Result<(u64, &[u8]), BadHeader> {
    let state = bytes.get(HEADER..).unwrap_or_default();
    let crc = |covered: &[u8]| crc32c::crc32c_append(crc32c::crc32c(covered), state);
    let (seq, len) = read_header(bytes, SNAPSHOT_MAGIC, crc)?;
    if len == state.len() as u64 {
        Ok((seq, state))
    } else {
        Err(BadHeader::Damaged("its length is not what its header says"))
    }
}

fn seed(salt: u64) -> u32 {
    crc32c::crc32c(&salt.to_le_bytes())
}

/// Fills in the header of the record that begins at `start` of `batch` and ends with it.
pub(crate) fn seal(batch: &mut [u8], start: usize, seq: u64, place: u32, salt: u64) {
    let Some(record) = batch.get_mut(start..) else { return };
    let len = record.len().saturating_sub(RECORD) as u32;
    let fields = [len.to_le_bytes().as_slice(), &seq.to_le_bytes(), &place.to_le_bytes()].concat();
    if let Some(bytes) = record.get_mut(4..RECORD) {
        bytes.copy_from_slice(&fields);
    }
    let crc = crc32c::crc32c_append(seed(salt), record.get(4..).unwrap_or_default());
    if let Some(bytes) = record.first_chunk_mut() {
        *bytes = crc.to_le_bytes();
    }
}

/// The mark that everything up to `seq` is durable.
pub(crate) fn mark(seq: u64, salt: u64) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    seal(&mut bytes, 0, seq, MARK, salt);
    bytes
}

/// The record at the beginning of `bytes`, if an intact one is there.
pub(crate) fn read_record(bytes: &[u8], salt: u64) -> Option<Record<'_>> {
    let len = u32_at(bytes, 4)? as usize;
    if len > MAX_BATCH {
        return None;
    }
    let covered = bytes.get(4..RECORD.checked_add(len)?)?;
    if crc32c::crc32c_append(seed(salt), covered) != u32_at(bytes, 0)? {
        return None;
    }
    let (seq, place) = (u64_at(bytes, 8)?, u32_at(bytes, 16)?);
    Some(Record { seq, place, payload: bytes.get(RECORD..RECORD + len)? })
}

/// Whether something in `rest` shows that the fact `seq`, which should be at its
/// beginning and is not, was durable once.
pub(crate) fn was_durable(rest: &[u8], seq: u64, salt: u64) -> bool {
    let highest = seq.saturating_add((rest.len() / RECORD) as u64);
    (0..rest.len().saturating_sub(RECORD - 1)).any(|at| {
        // The sequence is looked at first: computing a CRC everywhere would be quadratic.
        let Some(bytes) = rest.get(at..) else { return false };
        u64_at(bytes, 8).is_some_and(|found| (seq..=highest).contains(&found))
            && read_record(bytes, salt).is_some_and(|record| record.durable_below() > seq)
    })
}
