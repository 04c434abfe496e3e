//! Bytes from anyone: whatever they are, an answer comes back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;
use wrun_component::{inspect, prepare};

const TEXTS: [&str; 3] = [
    include_str!("wat/command.wat"),
    include_str!("wat/handler.wat"),
    include_str!("wat/preview1.wat"),
];

fn valid() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = TEXTS.iter().map(|text| wat::parse_str(text).unwrap()).collect();
    let adapted = prepare(&all[2]).unwrap().component.into_owned();
    all.push(adapted);
    all
}

/// One change to a file.
#[derive(Clone, Debug)]
enum Change {
    Flip(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    Copy(prop::sample::Index, prop::sample::Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (any::<prop::sample::Index>(), 1_u8..).prop_map(|(at, bits)| Change::Flip(at, bits)),
        1 => (any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 1..9))
            .prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => (any::<prop::sample::Index>(), 1_usize..9).prop_map(|(at, n)| Change::Remove(at, n)),
        1 => (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1_usize..65)
            .prop_map(|(from, to, n)| Change::Copy(from, to, n)),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    if bytes.is_empty() {
        return;
    }
    let len = bytes.len();
    match change {
        Change::Flip(at, bits) => bytes[at.index(len)] ^= bits,
        Change::Insert(at, new) => {
            let at = at.index(len);
            bytes.splice(at..at, new.iter().copied());
        }
        Change::Remove(at, n) => {
            let at = at.index(len);
            bytes.drain(at..(at + n).min(len));
        }
        Change::Copy(from, to, n) => {
            let (from, to) = (from.index(len), to.index(len));
            let n = (*n).min(len - from).min(len - to);
            bytes.copy_within(from..from + n, to);
        }
    }
}

fn answers(bytes: &[u8]) {
    let _ = inspect(bytes);
    match prepare(bytes) {
        Ok(prepared) => {
            let again = inspect(&prepared.component).expect("what is prepared can be inspected");
            assert_eq!(again, prepared.inspected);
        }
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty() && !text.contains('\n'), "one line: {text:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        answers(&bytes);
    }

    #[test]
    fn arbitrary_bytes_after_a_header_get_an_answer(
        component in any::<bool>(),
        bytes in prop::collection::vec(any::<u8>(), 0..512),
    ) {
        let header = if component { b"\0asm\x0d\0\x01\0" } else { b"\0asm\x01\0\0\0" };
        answers(&[header, bytes.as_slice()].concat());
    }

    #[test]
    fn changed_files_get_an_answer(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec(change(), 1..8),
    ) {
        let mut bytes = which.get(&valid()).clone();
        for change in &changes {
            apply(&mut bytes, change);
        }
        answers(&bytes);
    }
}

#[test]
fn every_byte_of_a_small_file_may_be_anything() {
    for bytes in valid().iter().filter(|bytes| bytes.len() < 1024) {
        for position in 0..bytes.len() {
            for bits in [0x01, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[position] ^= bits;
                answers(&changed);
            }
        }
    }
}
