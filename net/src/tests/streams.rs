//! What streams promise, over QUIC and in memory alike.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;
use wrun_protocol::codec::CodecError;
use wrun_protocol::limits::MAX_FRAME;
use wrun_protocol::wire::user::{LogChunk, LogStream, Stdin};
use wrun_protocol::wire::worker::FromWorker;

use super::{Cluster, user};
use crate::{
    Closed, Connection, Limits, Peer, RecvError, RecvStream, SendError, SendStream, memory, socket,
};

/// Both kinds of connection; the cluster is kept for as long as its connections are used.
async fn both() -> Vec<(Connection, Connection, Option<Cluster>)> {
    let cluster = Cluster::start();
    let (near, far) = cluster.connect().await;
    let (a, b) = memory::pair(user(), Peer::Server);
    vec![(near, far, Some(cluster)), (a, b, None)]
}

/// A stream from `near` to `far`, with both of its ends.
async fn stream(
    near: &Connection,
    far: &Connection,
) -> ((SendStream, RecvStream), (SendStream, RecvStream)) {
    let mut opened = near.open().await.unwrap();
    opened.0.send(&()).await.unwrap();
    opened.0.write_raw(b"!").await.unwrap();
    let mut accepted = far.accept().await.unwrap();
    accepted.1.recv::<()>().await.unwrap().unwrap();
    assert_eq!(accepted.1.read_chunk(1).await.unwrap().unwrap(), "!");
    (opened, accepted)
}

#[tokio::test]
async fn messages_arrive_in_order_and_then_the_end() {
    for (near, far, _cluster) in both().await {
        let ((mut send, mut back), (mut answer, mut recv)) = stream(&near, &far).await;
        let beats: Vec<_> = (0..5000).map(|beat| FromWorker::Heartbeat { beat }).collect();
        let sending = async {
            send.send_all(&beats).await.unwrap();
            send.finish_and_wait().await.unwrap();
        };
        let receiving = async {
            let mut received: Vec<FromWorker> = Vec::new();
            while recv.recv_many(&mut received, 1000).await.unwrap() > 0 {}
            assert_eq!(received, beats);
            answer.send(&"done").await.unwrap();
        };
        tokio::join!(sending, receiving);
        assert_eq!(back.recv::<String>().await.unwrap().as_deref(), Some("done"));
        drop(answer);
        assert_eq!(back.recv::<String>().await.unwrap(), None);
    }
}

#[tokio::test]
async fn the_largest_frame_passes_and_a_larger_one_is_not_sent() {
    for (near, far, _cluster) in both().await {
        let ((mut send, _back), (_answer, mut recv)) = stream(&near, &far).await;
        let fits = Stdin::Data(Bytes::from(vec![7; MAX_FRAME - 4]));
        let larger = Stdin::Data(Bytes::from(vec![7; MAX_FRAME]));
        let sending = async {
            let refused = send.send(&larger).await;
            assert!(matches!(refused, Err(SendError::Codec(CodecError::TooLarge { .. }))));
            let last = [Stdin::End, larger.clone(), Stdin::End];
            let refused = send.send_all(&last).await;
            assert!(matches!(refused, Err(SendError::Codec(CodecError::TooLarge { .. }))));
            send.send(&fits).await.unwrap();
        };
        let receiving = async {
            assert_eq!(recv.recv::<Stdin>().await.unwrap(), Some(Stdin::End));
            assert_eq!(recv.recv::<Stdin>().await.unwrap().as_ref(), Some(&fits));
        };
        tokio::join!(sending, receiving);
    }
}

#[tokio::test]
async fn frames_that_lie_are_refused() {
    for (near, far, _cluster) in both().await {
        // Too large: refused by its header, before its bytes are kept.
        let ((mut send, _back), (_answer, mut recv)) = stream(&near, &far).await;
        send.write_raw(&u32::MAX.to_le_bytes()).await.unwrap();
        let size = u32::MAX as usize;
        let too_large = RecvError::Codec(CodecError::TooLarge { size });
        assert_eq!(recv.recv::<Stdin>().await, Err(too_large));

        // Garbage.
        let ((mut send, _back), (_answer, mut recv)) = stream(&near, &far).await;
        send.write_raw(&[3, 0, 0, 0, 0xff, 0xff, 0xff]).await.unwrap();
        let garbled = recv.recv::<Stdin>().await;
        assert!(matches!(garbled, Err(RecvError::Codec(CodecError::Garbled { size: 3, .. }))));

        // Cut in the payload, and in the header.
        for (bytes, wanted) in [(&[9, 0, 0, 0, 1, 2][..], 13), (&[9, 0][..], 4)] {
            let ((mut send, _back), (_answer, mut recv)) = stream(&near, &far).await;
            send.write_raw(bytes).await.unwrap();
            send.finish().unwrap();
            let got = bytes.len() as u64;
            assert_eq!(recv.recv::<Stdin>().await, Err(RecvError::Truncated { wanted, got }));
        }
    }
}

#[tokio::test]
async fn raw_bytes_follow_frames() {
    for (near, far, _cluster) in both().await {
        let ((mut send, _back), (_answer, mut recv)) = stream(&near, &far).await;
        let blob: Vec<u8> = (0..3_000_000_u32).map(|i| ((i * 7) >> 3) as u8).collect();
        let sending = async {
            send.send(&(blob.len() as u64)).await.unwrap();
            send.write_raw(&blob[..1_000_000]).await.unwrap();
            let mut rest =
                [&blob[1_000_000..1_000_001], &blob[1_000_001..]].map(Bytes::copy_from_slice);
            send.write_chunks(&mut rest).await.unwrap();
            send.finish().unwrap();
        };
        let receiving = async {
            let size = recv.recv::<u64>().await.unwrap().unwrap() as usize;
            let mut received = vec![0; size];
            recv.read_exact(&mut received).await.unwrap();
            assert!(received == blob);
            assert_eq!(recv.read_chunk(10).await.unwrap(), None);
            let (wanted, got) = (1, 0);
            let beyond = recv.read_exact(&mut [0]).await;
            assert_eq!(beyond, Err(RecvError::Truncated { wanted, got }));
        };
        tokio::join!(sending, receiving);
    }
}

#[tokio::test]
async fn a_cancelled_receive_loses_nothing() {
    for (near, far, _cluster) in both().await {
        let ((mut send, _back), (_answer, mut recv)) = stream(&near, &far).await;
        let chunk = LogChunk { stream: LogStream::Stderr, data: Bytes::from(vec![1; 50_000]) };
        let mut bytes = Vec::new();
        wrun_protocol::codec::append_frame(&mut bytes, &chunk).unwrap();
        for part in bytes.chunks(20_000) {
            send.write_raw(part).await.unwrap();
            let waited = timeout(Duration::from_millis(20), recv.recv::<LogChunk>()).await;
            if let Ok(received) = waited {
                assert_eq!(received.unwrap().as_ref(), Some(&chunk));
                bytes.clear();
                break;
            }
        }
        if !bytes.is_empty() {
            assert_eq!(recv.recv().await.unwrap(), Some(chunk));
        }
    }
}

#[tokio::test]
async fn a_slow_reader_makes_its_writer_wait() {
    let small = Limits { send_window: 1 << 20, ..Limits::default() };
    let cluster = Cluster::start_with(small.clone());
    let identity = cluster.user();
    let near = crate::connect_with(
        &cluster.address(),
        &identity,
        cluster.authority.certificate_der(),
        &small,
    )
    .await
    .unwrap();
    let far = cluster.listener.accept().await.unwrap();
    let (a, b) = memory::pair(user(), Peer::Server);
    for (near, far) in [(near, far), (a, b)] {
        let ((mut send, _back), (_answer, mut recv)) = stream(&near, &far).await;
        let chunk = [0_u8; 64 << 10];
        let mut sent = 0;
        while timeout(Duration::from_millis(300), send.write_raw(&chunk)).await.is_ok() {
            sent += chunk.len();
            assert!(sent < 8 << 20, "nothing bounds what is under way");
        }
        assert!(sent >= chunk.len());
        // It goes on as soon as the reader does.
        let mut read = 0;
        while read < sent {
            read += recv.read_chunk(1 << 20).await.unwrap().unwrap().len();
        }
        timeout(Duration::from_secs(5), send.write_raw(&chunk)).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_frame_larger_than_the_window_arrives_as_its_reader_takes_it() {
    let limits = Limits { stream_window: 16 << 10, ..Limits::default() };
    let cluster = Cluster::start_with(limits);
    let (near, far) = cluster.connect().await;
    let ((mut send, _back), (_answer, mut recv)) = stream(&near, &far).await;
    let large = Stdin::Data(Bytes::from(vec![7; 300 << 10]));
    let (sent, received) = tokio::join!(send.send(&large), recv.recv::<Stdin>());
    sent.unwrap();
    assert!(received.unwrap() == Some(large));
}

#[tokio::test]
async fn joined_bytes_are_those_that_were_sent() {
    for (near, far, _cluster) in both().await {
        let ((mut send, _back), (_answer, mut recv)) = stream(&near, &far).await;
        let blob: Vec<u8> = (0..500_000_u32).map(|i| ((i * 7) >> 3) as u8).collect();
        let sending = async {
            send.write_raw(&blob).await.unwrap();
            send.send(&7_u32).await.unwrap();
            send.finish().unwrap();
        };
        let receiving = async {
            let mut received = Vec::new();
            while received.len() < blob.len() {
                let most = (blob.len() - received.len()).min(100_000);
                let part = recv.read_joined(most).await.unwrap().unwrap();
                assert!((1..=most).contains(&part.len()));
                received.extend_from_slice(&part);
            }
            assert!(received == blob);
            assert_eq!(recv.recv::<u32>().await.unwrap(), Some(7));
            assert_eq!(recv.read_joined(1).await.unwrap(), None);
        };
        tokio::join!(sending, receiving);
    }
}

#[tokio::test]
async fn streams_beyond_the_limit_wait_for_one_to_end() {
    let cluster = Cluster::start_with(Limits { streams: 3, ..Limits::default() });
    let (near, far) = cluster.connect().await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(stream(&near, &far).await);
    }
    let mut fourth = Box::pin(near.open());
    assert!(timeout(Duration::from_millis(200), &mut fourth).await.is_err());
    let ((mut send, mut back), (mut answer, mut recv)) = open.pop().unwrap();
    send.finish().unwrap();
    answer.finish().unwrap();
    assert_eq!(recv.recv::<()>().await.unwrap(), None);
    assert_eq!(back.recv::<()>().await.unwrap(), None);
    timeout(Duration::from_secs(5), fourth).await.unwrap().unwrap();
}

#[tokio::test]
async fn many_streams_in_turn_and_at_once_all_arrive() {
    for (near, far, _cluster) in both().await {
        let serving = tokio::spawn({
            let far = far.clone();
            async move {
                while let Ok((mut send, mut recv)) = far.accept().await {
                    tokio::spawn(async move {
                        let number = recv.recv::<u64>().await.unwrap().unwrap();
                        send.send(&(number * 2)).await.unwrap();
                    });
                }
            }
        });
        let asking = (0..3000_u64).map(|number| {
            let near = near.clone();
            tokio::spawn(async move {
                let (mut send, mut recv) = near.open().await.unwrap();
                send.send(&number).await.unwrap();
                assert_eq!(recv.recv::<u64>().await.unwrap(), Some(number * 2));
            })
        });
        for asked in asking.collect::<Vec<_>>() {
            asked.await.unwrap();
        }
        near.close(0, "");
        serving.await.unwrap();
    }
}

#[tokio::test]
async fn giving_a_stream_up_is_told_to_the_other_side() {
    for (near, far, _cluster) in both().await {
        let ((mut send, _back), (_answer, mut recv)) = stream(&near, &far).await;
        send.reset(9);
        assert_eq!(recv.recv::<()>().await, Err(RecvError::Reset(9)));

        let ((mut send, _back), (_answer, mut recv)) = stream(&near, &far).await;
        recv.stop(8);
        assert_eq!(send.stopped().await, SendError::Stopped(8));
        assert_eq!(send.send(&1_u8).await, Err(SendError::Stopped(8)));

        let ((mut send, _back), (_answer, recv)) = stream(&near, &far).await;
        drop(recv);
        assert_eq!(send.stopped().await, SendError::Stopped(0));

        let ((mut send, _back), (_answer, _recv)) = stream(&near, &far).await;
        send.finish().unwrap();
        assert_eq!(send.send(&1_u8).await, Err(SendError::Finished));
    }
}

#[tokio::test]
async fn a_message_whose_sending_was_cancelled_goes_out_with_the_next() {
    for (near, far, _cluster) in both().await {
        let ((mut send, _back), (_answer, mut recv)) = stream(&near, &far).await;
        let large = Stdin::Data(Bytes::from(vec![7; MAX_FRAME - 4]));
        let mut sent = 0;
        // Fill the windows until a call must wait, and give that call up.
        while timeout(Duration::from_millis(100), send.send(&large)).await.is_ok() {
            sent += 1;
        }
        let sending = async {
            send.send(&Stdin::End).await.unwrap();
            send.finish_and_wait().await.unwrap();
        };
        let receiving = async {
            for _ in 0..=sent {
                assert!(recv.recv::<Stdin>().await.unwrap().as_ref() == Some(&large));
            }
            assert_eq!(recv.recv::<Stdin>().await.unwrap(), Some(Stdin::End));
            assert_eq!(recv.recv::<Stdin>().await.unwrap(), None);
        };
        tokio::join!(sending, receiving);
    }
}

#[tokio::test]
async fn a_connection_lives_as_long_as_its_streams() {
    for (near, far, _cluster) in both().await {
        let ((mut send, back), (_answer, mut recv)) = stream(&near, &far).await;
        drop(near);
        send.send(&5_u8).await.unwrap();
        assert_eq!(recv.recv::<u8>().await.unwrap(), Some(5));
        drop((send, back));
        let closed = far.closed().await;
        assert!(matches!(closed, Closed::Peer { code: 0, .. }), "{closed}");
    }
}

#[tokio::test]
async fn closing_ends_every_wait_with_the_reason() {
    for (near, far, _cluster) in both().await {
        let ((mut send, mut back), _theirs) = stream(&near, &far).await;
        let reason = Closed::Peer { code: 5, reason: "enough".into() };
        let chunk = vec![0; 1 << 20];
        let writing = async {
            loop {
                if let Err(error) = send.write_raw(&chunk).await {
                    return error;
                }
            }
        };
        let closing = async {
            tokio::task::yield_now().await;
            far.close(5, "enough");
        };
        let (written, read, accepted, ()) =
            tokio::join!(writing, back.recv::<u8>(), near.accept(), closing);
        assert_eq!(written, SendError::Closed(reason.clone()));
        assert_eq!(read, Err(RecvError::Closed(reason.clone())));
        assert_eq!(accepted.err(), Some(reason.clone()));
        assert_eq!(near.open().await.err(), Some(reason));
        assert_eq!(far.closed().await, Closed::Local);
    }
}

#[tokio::test]
async fn packets_grow_to_what_the_path_carries_and_none_is_too_large_for_the_system() {
    let size = 32 << 20;
    let cluster = Cluster::start();
    let (near, far) = cluster.connect().await;
    let (mut send, _recv) = near.open().await.unwrap();
    let sending = async {
        send.write_raw(&vec![7; size]).await.unwrap();
        send.finish().unwrap();
    };
    let receiving = async {
        let (_send, mut recv) = far.accept().await.unwrap();
        let mut got = 0;
        while let Some(chunk) = recv.read_joined(1 << 16).await.unwrap() {
            got += chunk.len();
        }
        got
    };
    assert_eq!(tokio::join!(sending, receiving).1, size);
    let path = near.path();
    assert_eq!((path.current_mtu, path.black_holes_detected), (socket::PAYLOAD, 0));
}
