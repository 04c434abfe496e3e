//! Rows of ended jobs, packed: jobs of neighbouring numbers share a row of the file, so that
//! a million small jobs cost some ten thousand insertions. One of them that is large has a
//! row of its own.

use redb::{ReadableTable, Table};
use wrun_protocol::JobId;
use wrun_protocol::wire::user::JobState;

use super::file::Boxed;
use super::layer::EncodedJob;
use super::row::{self, JobRow};

/// Jobs in a page.
pub(crate) const PAGE: u64 = 32;
/// A row above this, in bytes, is kept apart.
const LARGE: usize = 2048;
/// In place of the length of a row that is kept apart.
const APART: u32 = u32::MAX;

pub(crate) fn page_of(job: u64) -> u64 {
    job / PAGE
}

fn slot_of(job: u64) -> u8 {
    (job % PAGE) as u8
}

pub(crate) fn key(number: u64) -> [u8; 8] {
    number.to_le_bytes()
}

/// A job in a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    slot: u8,
    pub(crate) tag: u8,
    /// `None` where the row is kept apart.
    row: Option<&'a [u8]>,
}

/// A page as read: jobs in order of number.
#[derive(Debug, Default)]
pub(crate) struct Page<'a> {
    number: u64,
    entries: Vec<Entry<'a>>,
}

impl<'a> Page<'a> {
    pub(crate) fn read(number: u64, bytes: &'a [u8]) -> Result<Self, String> {
        let mut rest = row::unsealed(&key(number), bytes)?;
        let mut entries = Vec::with_capacity(PAGE as usize);
        while let Some(([slot, tag, len @ ..], after)) = rest.split_first_chunk::<6>() {
            let len = u32::from_le_bytes(*len);
            let short = || "a page is cut short".to_owned();
            let size = if len == APART { 0 } else { len as usize };
            let (row, after) = after.split_at_checked(size).ok_or_else(short)?;
            entries.push(Entry { slot: *slot, tag: *tag, row: (len != APART).then_some(row) });
            rest = after;
        }
        Ok(Self { number, entries })
    }

    fn sealed(&self) -> Vec<u8> {
        row::sealed(&key(self.number), 0, |bytes| {
            for entry in &self.entries {
                bytes.extend_from_slice(&[entry.slot, entry.tag]);
                let len = entry.row.map_or(APART, |row| row.len() as u32);
                bytes.extend_from_slice(&len.to_le_bytes());
                bytes.extend_from_slice(entry.row.unwrap_or_default());
            }
        })
    }

    /// Jobs and their tags, in order of number.
    pub(crate) fn jobs(&self) -> impl DoubleEndedIterator<Item = (u64, u8)> {
        self.entries.iter().map(|entry| (self.number * PAGE + u64::from(entry.slot), entry.tag))
    }

    fn entry(&self, job: u64) -> Option<&Entry<'a>> {
        let at = self.entries.binary_search_by_key(&slot_of(job), |entry| entry.slot).ok()?;
        self.entries.get(at)
    }

    /// The row of a job; `large` is the table of those kept apart.
    pub(crate) fn row(
        &self,
        job: u64,
        large: &impl ReadableTable<u64, &'static [u8]>,
    ) -> Boxed<Option<JobRow>> {
        let Some(entry) = self.entry(job) else { return Ok(None) };
        if let Some(row) = entry.row {
            return Ok(Some(row::payload(row)?));
        }
        let Some(bytes) = large.get(job)? else { return Ok(None) };
        Ok(Some(row::decode(&key(job), bytes.value())?))
    }

    /// Puts a job in, in place of an older row. Says whether there was none.
    fn put(&mut self, entry: Entry<'a>) -> bool {
        match self.entries.binary_search_by_key(&entry.slot, |entry| entry.slot) {
            Ok(at) => {
                if let Some(place) = self.entries.get_mut(at) {
                    *place = entry;
                }
                false
            }
            Err(at) => {
                self.entries.insert(at, entry);
                true
            }
        }
    }
}

/// The tables of jobs, to be written.
pub(crate) struct Jobs<'t> {
    pub(crate) pages: Table<'t, u64, &'static [u8]>,
    pub(crate) large: Table<'t, u64, &'static [u8]>,
}

impl Jobs<'_> {
    /// Adds the jobs of one page, in order of number. Returns how many are new.
    pub(crate) fn put(&mut self, number: u64, jobs: &[(u64, &EncodedJob)]) -> Boxed<u64> {
        let stored = self.pages.get(number)?.map(|bytes| bytes.value().to_vec());
        let mut page = match &stored {
            Some(bytes) => Page::read(number, bytes).unwrap_or_else(|reason| {
                tracing::warn!(number, reason, "a page of the history is lost");
                Page { number, ..Page::default() }
            }),
            None => Page { number, ..Page::default() },
        };
        let mut new = 0;
        for (job, row) in jobs {
            let apart = row.bytes.len() > LARGE;
            if apart {
                let bytes = row::sealed(&key(*job), row.tag, |to| to.extend_from_slice(&row.bytes));
                self.large.insert(job, bytes.as_slice())?;
            }
            let bytes = (!apart).then_some(&*row.bytes);
            let entry = Entry { slot: slot_of(*job), tag: row.tag, row: bytes };
            new += u64::from(page.put(entry));
        }
        self.pages.insert(number, page.sealed().as_slice())?;
        Ok(new)
    }

    /// Takes jobs out of a page; all of a page that cannot be read.
    pub(crate) fn remove(&mut self, number: u64, jobs: &[u64]) -> Boxed<()> {
        let Some(stored) = self.pages.get(number)?.map(|bytes| bytes.value().to_vec()) else {
            return Ok(());
        };
        let mut page = Page::read(number, &stored).unwrap_or_default();
        for job in jobs {
            if page.entry(*job).is_some_and(|entry| entry.row.is_none()) {
                self.large.remove(job)?;
            }
            page.entries.retain(|entry| entry.slot != slot_of(*job));
        }
        if page.entries.is_empty() {
            self.pages.remove(number)?;
        } else {
            self.pages.insert(number, page.sealed().as_slice())?;
        }
        Ok(())
    }
}

/// Which jobs of a page ended how, as bits: what the index of a tenant's jobs holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EndedBits([u32; 3]);

const STATES: [JobState; 3] = [JobState::Succeeded, JobState::Failed, JobState::Cancelled];

impl EndedBits {
    pub(crate) fn read(bytes: &[u8; 12]) -> Self {
        let mut words = [0; 3];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_le_bytes(bytes.try_into().unwrap_or_default());
        }
        Self(words)
    }

    pub(crate) fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        for (to, word) in bytes.chunks_exact_mut(4).zip(self.0) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    pub(crate) fn remove(&mut self, job: u64) {
        self.0.iter_mut().for_each(|word| *word &= !(1 << slot_of(job)));
    }

    pub(crate) fn put(&mut self, job: u64, tag: u8) {
        self.remove(job);
        for (word, state) in self.0.iter_mut().zip(STATES) {
            *word |= u32::from(row::state_tag(state) == tag) << slot_of(job);
        }
    }

    /// Jobs of the page `number` in this state, or in any, newest first.
    pub(crate) fn jobs(self, number: u64, state: Option<JobState>) -> impl Iterator<Item = JobId> {
        let wanted = |of: &JobState| state.is_none_or(|state| state == *of);
        let words = self.0.iter().zip(&STATES).filter(|(_, state)| wanted(state));
        let bits = words.fold(0, |bits, (word, _)| bits | word);
        let slots = (0..PAGE).rev().filter(move |slot| bits & (1 << slot) != 0);
        slots.map(move |slot| JobId(number * PAGE + slot))
    }
}
