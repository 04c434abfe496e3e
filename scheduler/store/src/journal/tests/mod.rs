//! The journal against failing disks, crashes, cuts and flipped bytes.

mod faulty;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use proptest::prelude::*;
use wrun_core::Fact;
use wrun_protocol::{NodeId, Timestamp};

use self::faulty::FaultyDisk;
use super::*;

const DIR: &str = "/journal";

fn fact(number: u64) -> Fact {
    let name = "x".repeat(number as usize % 40);
    Fact::NodeJoined { at: Timestamp(number), node: NodeId(number), name, token: [7; 32] }
}

fn numbers(facts: Facts) -> Result<Vec<u64>, OpenError> {
    facts
        .map(|entry| {
            let (seq, found) = entry?;
            assert_eq!(found, fact(seq));
            Ok(seq)
        })
        .collect()
}

type Told = Receiver<Result<u64, JournalError>>;

fn options(segment_bytes: u64) -> (JournalOptions, Told) {
    let (sender, told) = channel();
    let on_durable = Box::new(move |result| drop(sender.send(result)));
    (JournalOptions { segment_bytes, ..JournalOptions::new(on_durable) }, told)
}

/// Appends batches of growing size, waiting for each. Returns the last acknowledged fact.
fn fill(journal: &Journal, told: &Told, from: u64, batches: u64) -> u64 {
    let (mut next, mut acknowledged) = (from, from - 1);
    for size in 1..=batches {
        let facts = (next..next + size).map(fact).collect();
        next += size;
        let Ok(last) = journal.append(facts) else { break };
        assert_eq!(last, next - 1);
        while acknowledged < last {
            match told.recv() {
                Ok(Ok(seq)) => acknowledged = seq,
                _ => return acknowledged,
            }
        }
    }
    acknowledged
}

fn open(disk: &FaultyDisk, segment_bytes: u64) -> Result<(Journal, Recovered, Told), OpenError> {
    let (options, told) = options(segment_bytes);
    let (journal, recovered) = Journal::open_on(Arc::new(disk.clone()), Path::new(DIR), options)?;
    Ok((journal, recovered, told))
}

/// A closed journal of one segment on the real disk, and its bytes.
fn small() -> (tempfile::TempDir, PathBuf, Vec<u8>, u64) {
    let dir = tempfile::tempdir().unwrap();
    let (options, told) = options(1 << 20);
    let (journal, _) = Journal::open(dir.path(), options).unwrap();
    let last = fill(&journal, &told, 1, 4);
    journal.close().unwrap();
    let path = writer::segment_path(dir.path(), 1);
    let bytes = std::fs::read(&path).unwrap();
    (dir, path, bytes, last)
}

fn reopen(dir: &Path) -> Result<(Vec<u64>, Option<TailCut>), OpenError> {
    let (journal, recovered) = Journal::open(dir, options(1 << 20).0)?;
    let cut = recovered.cut.clone();
    let found = numbers(recovered.facts)?;
    journal.close().unwrap();
    Ok((found, cut))
}

#[test]
fn what_was_appended_is_there_after_reopening() {
    let (dir, _, _, last) = small();
    assert_eq!(reopen(dir.path()).unwrap(), ((1..=last).collect(), None));
}

#[test]
fn a_second_server_is_refused() {
    let (dir, ..) = small();
    let (journal, _) = Journal::open(dir.path(), options(1 << 20).0).unwrap();
    let second = Journal::open(dir.path(), options(1 << 20).0);
    assert!(matches!(second.map(drop), Err(OpenError::InUse { .. })));
    drop(journal);
}

#[test]
fn a_tail_truncated_at_any_byte_is_cut_and_reported() {
    let (dir, path, bytes, last) = small();
    for len in 0..bytes.len() {
        std::fs::write(&path, &bytes[..len]).unwrap();
        let (found, cut) = reopen(dir.path()).unwrap();
        assert_eq!(found, (1..=found.len() as u64).collect::<Vec<_>>(), "cut to {len}");
        assert!(found.len() as u64 <= last);
        let whole = cut.as_ref().map_or(len as u64, |cut| cut.offset);
        assert!(
            whole <= len as u64 && cut.is_none_or(|cut| cut.offset + cut.dropped == len as u64)
        );
    }
}

#[test]
fn any_flipped_byte_is_refused_or_loses_nothing_acknowledged() {
    let (dir, path, bytes, last) = small();
    let mut refused = 0;
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            std::fs::write(&path, &damaged).unwrap();
            match reopen(dir.path()) {
                Ok((found, cut)) => {
                    assert_eq!(found.len() as u64, last, "byte {at} ^ {flip}");
                    assert!(cut.is_some());
                }
                Err(OpenError::Corrupt { path: named, offset, .. }) => {
                    refused += 1;
                    assert!(named == path && offset <= at as u64);
                    assert_eq!(std::fs::read(&path).unwrap(), damaged, "a refusal changes nothing");
                }
                Err(other) => panic!("byte {at} ^ {flip}: {other}"),
            }
        }
    }
    // All but the last mark, of which nothing depends.
    assert_eq!(refused, (bytes.len() - format::RECORD) * 3);
}

#[test]
fn every_failing_operation_leaves_a_prefix_with_all_that_was_acknowledged() {
    let healthy = FaultyDisk::default();
    let (journal, _, told) = open(&healthy, 400).unwrap();
    assert_eq!(fill(&journal, &told, 1, 8), 36);
    journal.close().unwrap();
    for n in 0..healthy.operations() {
        let disk = FaultyDisk::failing_at(n);
        let mut acknowledged = 0;
        match open(&disk, 400) {
            Ok((journal, _, told)) => {
                acknowledged = fill(&journal, &told, 1, 8);
                if acknowledged < 36 {
                    let error = journal.append(vec![fact(99)]).unwrap_err();
                    assert!(error.is_disk_full(), "{error}");
                }
                let _ = journal.close();
                drop(journal);
                assert!(told.iter().all(|told| told.is_err()), "nothing is acknowledged any more");
            }
            Err(error) => assert!(matches!(error, OpenError::Io { .. }), "{error}"),
        }
        for seed in 0..20 {
            let after = disk.crash(seed);
            let (journal, recovered, told) =
                open(&after, 400).unwrap_or_else(|error| panic!("{n}, {seed}: {error}"));
            let found = numbers(recovered.facts).unwrap();
            assert_eq!(found, (1..=found.len() as u64).collect::<Vec<_>>());
            assert!(found.len() as u64 >= acknowledged, "operation {n}, seed {seed}");
            let last = fill(&journal, &told, found.len() as u64 + 1, 2);
            assert_eq!(last, found.len() as u64 + 3, "it goes on after recovery");
            journal.close().unwrap();
        }
    }
}

#[test]
fn segments_are_dropped_once_snapshot_and_history_cover_them() {
    let disk = FaultyDisk::default();
    let (journal, _, told) = open(&disk, 400).unwrap();
    let last = fill(&journal, &told, 1, 12);
    journal.forget_up_to(last - 20);
    journal.snapshot(last - 5, b"state".to_vec()).unwrap();
    journal.close().unwrap();
    let (journal, recovered, told) = open(&disk, 400).unwrap();
    assert_eq!((recovered.covered(), &recovered.snapshot), (last - 5, &Some(b"state".to_vec())));
    let late = numbers(recovered.facts.again().after(last - 3)).unwrap();
    assert_eq!(late, [last - 2, last - 1, last]);
    let found = numbers(recovered.facts).unwrap();
    assert!(found[0] > 1 && found[0] <= last - 19 && found.last() == Some(&last), "{found:?}");
    // The snapshot itself is damaged: refused.
    fill(&journal, &told, last + 1, 1);
    journal.close().unwrap();
    let mut file = disk.open(&snapshot::snapshot_path(Path::new(DIR), last - 5)).unwrap();
    file.truncate(35).unwrap();
    assert!(matches!(open(&disk, 400).map(drop), Err(OpenError::Corrupt { .. })));
}

#[test]
fn a_snapshot_ahead_of_what_is_durable_is_never_written() {
    let disk = FaultyDisk::default();
    let (journal, _, told) = open(&disk, 400).unwrap();
    let last = fill(&journal, &told, 1, 4);
    journal.snapshot(last + 1, b"ahead".to_vec()).unwrap();
    journal.forget_up_to(1);
    journal.close().unwrap();
    let (_journal, recovered, _told) = open(&disk, 400).unwrap();
    assert_eq!((recovered.snapshot.clone(), recovered.last_seq()), (None, last));
}

#[test]
fn a_missing_segment_is_refused() {
    let disk = FaultyDisk::default();
    let (journal, _, told) = open(&disk, 400).unwrap();
    fill(&journal, &told, 1, 12);
    journal.close().unwrap();
    let mut files = disk.list(Path::new(DIR)).unwrap();
    files.sort();
    disk.remove(&files[1]).unwrap();
    assert!(matches!(open(&disk, 400).map(drop), Err(OpenError::Gap { .. })));
}

#[test]
fn more_than_may_wait_is_refused_and_large_hand_overs_are_split_into_batches() {
    let dir = tempfile::tempdir().unwrap();
    let (mut options, told) = options(1 << 22);
    options.max_waiting = 100_000;
    let (journal, _) = Journal::open(dir.path(), options).unwrap();
    let last = journal.append((1..=100_000).map(fact).collect()).unwrap();
    let full = journal.append((1..=100_000).map(fact).collect());
    assert!(matches!(full, Err(JournalError::Full { .. })));
    let mut batches = 0;
    while told.recv().unwrap().unwrap() < last {
        batches += 1;
    }
    assert!(batches >= 5);
    journal.close().unwrap();
    assert_eq!(journal.append(vec![fact(1)]), Err(JournalError::Closed));
    assert_eq!(reopen(dir.path()).unwrap().0.len(), 100_000);
}

#[test]
fn the_format_on_disk_is_what_it_always_was() {
    let mut bytes = format::segment_header(3, 0x1122_3344_5566_7788).to_vec();
    let start = bytes.len();
    bytes.extend_from_slice(&[0; format::RECORD]);
    bytes.extend_from_slice(b"fact");
    format::seal(&mut bytes, start, 3, 0, 0x1122_3344_5566_7788);
    bytes.extend_from_slice(&format::mark(3, 0x1122_3344_5566_7788));
    bytes.extend_from_slice(&format::snapshot_header(3, b"state"));
    let text: String = bytes.chunks(16).map(hex_line).collect();
    assert_eq!(text, include_str!("golden.txt"));
}

fn hex_line(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n"
}

proptest! {
    #[test]
    fn garbage_is_no_record_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), salt: u64) {
        prop_assert_eq!(format::read_record(&bytes, salt), None);
        prop_assert!(!format::was_durable(&bytes, 1, salt));
        prop_assert!(format::read_segment_header(&bytes).is_err());
        prop_assert!(format::read_snapshot(&bytes).is_err());
    }

    #[test]
    fn garbage_behind_intact_records_is_a_tail(garbage in prop::collection::vec(any::<u8>(), 1..200)) {
        let (dir, path, mut bytes, last) = small();
        bytes.extend_from_slice(&garbage);
        std::fs::write(&path, &bytes).unwrap();
        let (found, cut) = reopen(dir.path()).unwrap();
        prop_assert_eq!(found.len() as u64, last);
        prop_assert_eq!(cut.unwrap().dropped, garbage.len() as u64);
    }
}
