//! Frames that are too large or garbage, and datagrams of anything, at the server's port:
//! it goes on serving everybody else.

use std::net::UdpSocket;

use harness::random::Random;
use harness::{Cluster, artefacts};
use wrun_protocol::wire::user::{Request, Response};

use crate::goes_on;

#[tokio::test]
async fn a_server_that_is_sent_garbage_goes_on_serving_others() {
    let cluster = Cluster::start();
    let sleeper = artefacts::guest("sleeper");
    let sleeper = sleeper.to_str().unwrap();
    let job = cluster.stdout(&["submit", sleeper, "--", "3000"]);
    let mut random = Random::from_environment();

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for number in 0..3000 {
        let size = 1 + (random.number() % 1400) as usize;
        let mut datagram: Vec<u8> = (0..size).map(|_| random.number() as u8).collect();
        if number % 2 == 0 {
            // Like the first packet of a connection, so that more of it is looked at.
            datagram.resize(1200, 0);
            datagram[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
        }
        let _ = socket.send_to(&datagram, cluster.address());
    }

    let client = cluster.client().await;
    let polite = cluster.client().await;
    let garbage: Vec<u8> = (0..4096).map(|_| random.number() as u8).collect();
    let too_large = (u32::MAX).to_le_bytes().repeat(8);
    let too_large_too = (u32::MAX >> 4).to_be_bytes().repeat(8);
    let cut = [40, 0, 0, 0, 1, 2, 3];
    for bytes in [&garbage[..], &too_large, &too_large_too, &cut, &[0; 64], &[]] {
        let connection = client.connection();
        let Ok((mut send, mut receive)) = connection.open().await else { break };
        let _ = send.write_raw(bytes).await;
        let _ = send.finish();
        let answer = tokio::time::timeout(harness::process::PATIENCE, receive.recv::<Response>());
        let answer = answer.await.expect("the stream ends");
        let refused = matches!(answer, Ok(None | Some(Response::Refused(_))) | Err(_));
        assert!(refused, "{answer:?}");
    }
    assert!(
        matches!(polite.ask(&Request::Nodes).await, Ok(Response::Nodes(nodes)) if nodes.len() == 1)
    );
    cluster.stdout(&["wait", job.trim()]);
    goes_on(&cluster, 1);
    let logged = cluster.server.logged();
    assert!(!logged.contains("panicked"), "{logged}");
    assert!(logged.lines().count() < 100, "garbage does not fill the log: {logged}");
}
