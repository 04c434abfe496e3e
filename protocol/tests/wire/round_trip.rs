//! What is encoded reads back as it was.

use std::fmt::Debug;

use proptest::collection::vec;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wrun_protocol::codec::{CodecError, HEADER, append_frame, decode, frame_size};
use wrun_protocol::job::{EncodedSpec, VersionedSpec};
use wrun_protocol::limits::MAX_FRAME;
use wrun_protocol::node::NodeState;
use wrun_protocol::wire::forward::{Answer, Piece, RequestHead};
use wrun_protocol::wire::join::{JoinReply, JoinRequest};
use wrun_protocol::wire::peer::{FromPeer, ToPeer};
use wrun_protocol::wire::user::{LogChunk, Request, Response, Stdin};
use wrun_protocol::wire::worker::{
    BlobReply, BlobRequest, FromWorker, LiveReply, LiveRequest, ToWorker,
};
use wrun_protocol::workflow::VersionedWorkflow;
use wrun_protocol::{Digest, JobId, JobSpec, NodeId, TenantName};

use crate::sample::{Sample, Source};

fn reads_back<M>(bytes: &[u8]) -> Result<(), TestCaseError>
where
    M: Sample + Serialize + DeserializeOwned + PartialEq + Debug,
{
    let message: M = Source::new(bytes).draw();
    let mut frames = b"before".to_vec();
    append_frame(&mut frames, &message)?;
    append_frame(&mut frames, &message)?;
    prop_assert!(frames.starts_with(b"before"));
    let frames = &frames[6..];
    let size = frame_size(frames[..HEADER].try_into()?)?;
    prop_assert_eq!(frames.len(), 2 * (HEADER + size));
    prop_assert_eq!(&decode::<M>(&frames[HEADER..HEADER + size])?, &message);
    prop_assert_eq!(&decode::<M>(&frames[2 * HEADER + size..])?, &message);
    Ok(())
}

/// One test for each kind of message.
macro_rules! every_message_reads_back {
    ($($name:ident: $message:ty,)*) => {
        proptest! {
            $(
                #[test]
                fn $name(bytes in vec(any::<u8>(), 0..600)) {
                    reads_back::<$message>(&bytes)?;
                }
            )*
        }
    };
}

every_message_reads_back! {
    requests_read_back: Request,
    responses_read_back: Response,
    stdin_reads_back: Stdin,
    log_chunks_read_back: LogChunk,
    messages_to_workers_read_back: ToWorker,
    messages_from_workers_read_back: FromWorker,
    blob_requests_read_back: BlobRequest,
    blob_replies_read_back: BlobReply,
    live_requests_read_back: LiveRequest,
    live_replies_read_back: LiveReply,
    messages_between_workers_read_back: FromPeer,
    answers_between_workers_read_back: ToPeer,
    heads_of_requests_read_back: RequestHead,
    answers_to_requests_read_back: Answer,
    pieces_of_bodies_read_back: Piece,
    join_requests_read_back: JoinRequest,
    join_replies_read_back: JoinReply,
    specifications_read_back: VersionedSpec,
    node_states_read_back: NodeState,
    workflows_read_back: VersionedWorkflow,
}

proptest! {
    #[test]
    fn a_specification_is_stored_as_it_was_accepted_or_refused(
        bytes in vec(any::<u8>(), 0..600),
    ) {
        let spec: JobSpec = Source::new(&bytes).draw();
        match (spec.check(), EncodedSpec::encode(&spec)) {
            (Ok(()), Ok(encoded)) => prop_assert_eq!(encoded.decode(), Ok(spec)),
            (Err(problem), Err(refused)) => prop_assert_eq!(problem, refused),
            (checked, encoded) => prop_assert!(false, "{checked:?} but {encoded:?}"),
        }
    }

    #[test]
    fn a_sound_specification_is_accepted(
        args in vec("[^\0]{0,20}", 0..9),
        count in 1_u32..=10_000_000,
        memory in (1_u64 << 20)..=(1 << 50),
        priority in any::<i32>(),
    ) {
        let mut spec = JobSpec::new(Digest([7; 32]));
        (spec.args, spec.count, spec.resources.memory, spec.priority) =
            (args, count, memory, priority);
        let encoded = EncodedSpec::encode(&spec)?;
        prop_assert_eq!(encoded.decode()?, spec);
    }

    #[test]
    fn job_ids_parse_what_they_print(number in 1_u64..) {
        prop_assert_eq!(JobId(number).to_string().parse(), Ok(JobId(number)));
        prop_assert_eq!(NodeId(number).to_string().parse(), Ok(NodeId(number)));
    }

    #[test]
    fn digests_parse_what_they_print(bytes in any::<[u8; 32]>()) {
        prop_assert_eq!(Digest(bytes).to_string().parse(), Ok(Digest(bytes)));
    }

    #[test]
    fn a_tenants_name_is_kept_or_refused_whole(text in "\\PC{0,80}") {
        if let Ok(name) = text.parse::<TenantName>() {
            prop_assert_eq!(name.to_string(), text);
        }
    }
}

#[test]
fn a_message_that_is_too_large_leaves_the_buffer_as_it_was() {
    let mut buffer = b"before".to_vec();
    let refused = append_frame(&mut buffer, &Stdin::Data(vec![0; MAX_FRAME].into()));
    assert!(matches!(refused, Err(CodecError::TooLarge { .. })));
    assert_eq!(buffer, b"before");
}

#[test]
fn a_value_that_cannot_be_encoded_leaves_the_buffer_as_it_was() {
    struct Unfinished;
    impl Serialize for Unfinished {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::{Error, SerializeTuple};
            let mut tuple = serializer.serialize_tuple(2)?;
            tuple.serialize_element(&7_u8)?;
            Err(S::Error::custom("there is no end to it"))
        }
    }
    let mut buffer = b"before".to_vec();
    assert!(matches!(append_frame(&mut buffer, &Unfinished), Err(CodecError::Garbled { .. })));
    assert_eq!(buffer, b"before");
}
