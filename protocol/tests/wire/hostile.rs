//! Bytes from anyone: decoding never panics, and never takes much more memory than the
//! bytes themselves.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use wrun_protocol::codec::{append_frame, decode, frame_size};
use wrun_protocol::job::{EncodedSpec, VersionedSpec};
use wrun_protocol::limits::{MAX_FRAME, MAX_SPEC};
use wrun_protocol::node::NodeState;
use wrun_protocol::task::{Content, Failure, Limit, Outcome};
use wrun_protocol::wire::forward::{Answer, Piece, RequestHead};
use wrun_protocol::wire::join::{JoinReply, JoinRequest};
use wrun_protocol::wire::peer::{FromPeer, ToPeer};
use wrun_protocol::wire::user::{
    ErrorCode, JobState, LogChunk, LogStream, Request, Response, Stdin, TaskState,
};
use wrun_protocol::wire::worker::{
    BlobReply, BlobRequest, ComponentKind, FromWorker, LiveReply, LiveRequest, Report, ToWorker,
};
use wrun_protocol::workflow::{EncodedWorkflow, VersionedWorkflow};
use wrun_protocol::{Digest, JobId, NodeId, Role, TenantName};

use crate::sample::Source;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, which remembers per thread what is held and the most that was.
struct Counting;

fn count(bytes: isize) {
    let held = HELD.get() + bytes;
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
}

#[expect(unsafe_code, reason = "an allocator is how a test sees what decoding allocates")]
// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that `work` held at once, in bytes.
fn peak_of(work: impl FnOnce()) -> usize {
    let before = HELD.get();
    PEAK.set(before);
    work();
    usize::try_from(PEAK.get() - before).unwrap_or(0)
}

/// In memory a message takes more than in its frame: an empty string is one byte there and
/// three words here, a report a few bytes and a dozen words. And serde trusts an announced
/// length for up to a mebibyte, in each list within a list.
fn bound(payload: usize) -> usize {
    payload * 64 + (3 << 20)
}

/// Decodes `bytes` as every kind of message; gives the most memory any took.
fn decode_as_everything(bytes: &[u8]) -> usize {
    macro_rules! all {
        ($($message:ty),*) => {
            [$(peak_of(|| drop(decode::<$message>(bytes)))),*].into_iter().max().unwrap_or(0)
        };
    }
    all!(
        Request,
        Response,
        Stdin,
        LogChunk,
        LogStream,
        ErrorCode,
        JobState,
        TaskState,
        ToWorker,
        FromWorker,
        Report,
        ComponentKind,
        BlobRequest,
        BlobReply,
        LiveRequest,
        LiveReply,
        JoinRequest,
        JoinReply,
        FromPeer,
        ToPeer,
        RequestHead,
        Answer,
        Piece,
        VersionedSpec,
        VersionedWorkflow,
        Content,
        Failure,
        Limit,
        Outcome,
        NodeState,
        Role,
        TenantName
    )
}

/// A sound message of some kind, encoded.
fn some_message(bytes: &[u8]) -> Vec<u8> {
    let mut source = Source::new(bytes);
    let mut frame = Vec::new();
    let encoded = match source.draw::<u8>() % 7 {
        0 => append_frame(&mut frame, &source.draw::<Request>()),
        1 => append_frame(&mut frame, &source.draw::<Response>()),
        2 => append_frame(&mut frame, &source.draw::<ToWorker>()),
        3 => append_frame(&mut frame, &source.draw::<FromWorker>()),
        4 => append_frame(&mut frame, &source.draw::<JoinRequest>()),
        5 => append_frame(&mut frame, &source.draw::<VersionedWorkflow>()),
        _ => append_frame(&mut frame, &source.draw::<VersionedSpec>()),
    };
    encoded.unwrap();
    frame.split_off(4)
}

proptest! {
    #[test]
    fn arbitrary_bytes_decode_or_are_refused(bytes in vec(any::<u8>(), 0..400)) {
        let peak = decode_as_everything(&bytes);
        prop_assert!(peak <= bound(bytes.len()), "{peak} bytes for {}", bytes.len());
        let bytes = Bytes::from(bytes);
        let spec = EncodedSpec::from(bytes.clone());
        let _ = spec.decode();
        let workflow = EncodedWorkflow::from(bytes);
        let _ = workflow.decode();
    }

    #[test]
    fn changed_messages_decode_or_are_refused(
        seed in vec(any::<u8>(), 0..400),
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = some_message(&seed);
        let place = at.index(bytes.len());
        bytes[place] = to;
        decode_as_everything(&bytes);
        let spec = EncodedSpec::from(Bytes::copy_from_slice(&bytes));
        let _ = spec.decode();
        let workflow = EncodedWorkflow::from(Bytes::copy_from_slice(&bytes));
        let _ = workflow.decode();
        bytes.truncate(cut.index(bytes.len()));
        let peak = decode_as_everything(&bytes);
        prop_assert!(peak <= bound(bytes.len()), "{peak} bytes for {}", bytes.len());
    }

    #[test]
    fn a_changed_specification_never_panics_and_stays_within_its_bounds(
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
    ) {
        let mut spec = wrun_protocol::JobSpec::new(Digest([1; 32]));
        spec.args = vec!["--level".into(), "9".into()];
        spec.env = vec![("HOME".into(), "/scratch".into())];
        let mut bytes = EncodedSpec::encode(&spec)?.as_bytes().to_vec();
        let place = at.index(bytes.len());
        bytes[place] = to;
        if let Ok(changed) = EncodedSpec::from(Bytes::from(bytes)).decode() {
            prop_assert_eq!(changed.check(), Ok(()));
        }
    }

    #[test]
    fn any_header_announces_a_bounded_size_or_is_refused(header in any::<[u8; 4]>()) {
        if let Ok(size) = frame_size(header) {
            prop_assert!(size <= MAX_FRAME);
        }
    }

    #[test]
    fn ids_are_parsed_or_refused(text in "\\PC{0,70}") {
        let _ = text.parse::<JobId>();
        let _ = text.parse::<NodeId>();
        let _ = text.parse::<Digest>();
        let _ = text.parse::<TenantName>();
        let _ = text.parse::<Role>();
    }
}

#[test]
fn a_message_cut_anywhere_is_refused() {
    let whole = some_message(&[2, 1, 9, 8, 7, 6, 5, 4, 3, 2, 1, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    assert!(decode::<ToWorker>(&whole).is_ok());
    for length in 0..whole.len() {
        assert!(decode::<ToWorker>(&whole[..length]).is_err(), "{length} bytes");
    }
    let longer = [whole.as_slice(), &[0]].concat();
    assert!(decode::<ToWorker>(&longer).is_err());
}

#[test]
fn an_announced_length_is_not_believed() {
    // Every variant that holds a list or text, said to be as long as can be.
    for variant in 0..=20 {
        for length in [u64::from(u32::MAX), u64::MAX, MAX_FRAME as u64] {
            let mut bytes = vec![variant];
            let mut rest = length;
            while rest >= 0x80 {
                bytes.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
            let peak = decode_as_everything(&bytes);
            assert!(peak <= bound(bytes.len()), "variant {variant}: {peak} bytes");
        }
    }
}

#[test]
fn the_largest_frame_of_any_byte_takes_bounded_memory() {
    // Repetition makes the longest lists of the smallest things.
    for byte in [0, 1, 2, 3, 0x7f, 0x80, 0xff] {
        for variant in 0..=20 {
            let mut bytes = vec![byte; 64 << 10];
            bytes[..4].copy_from_slice(&[variant, 0xff, 0xff, 0x03]);
            let peak = decode_as_everything(&bytes);
            assert!(peak <= bound(bytes.len()), "variant {variant} of {byte}: {peak} bytes");
        }
    }
}

#[test]
fn a_specification_above_its_bound_is_not_looked_at() {
    let spec = EncodedSpec::from(Bytes::from(vec![0; MAX_SPEC + 1]));
    let peak = peak_of(|| assert!(spec.decode().is_err()));
    assert!(peak < 4096, "{peak} bytes");
}
