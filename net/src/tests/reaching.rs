//! Finding the server, and losing it.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::{Cluster, loopback, user_of};
use crate::{
    Authority, Closed, ConnectError, Limits, ListenError, Listener, RecvError, close_code, connect,
    connect_with,
};

#[tokio::test]
async fn where_nothing_listens_is_said_at_once() {
    let free = UdpSocket::bind(loopback()).unwrap().local_addr().unwrap();
    let authority = Authority::create().unwrap();
    let begun = Instant::now();
    let identity = user_of(&authority);
    let error =
        connect(&free.to_string(), &identity, authority.certificate_der()).await.unwrap_err();
    assert!(matches!(error, ConnectError::NoServer { .. }), "{error}");
    assert!(error.to_string().contains("nothing listens"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_silent_address_is_given_up_after_the_handshake_time() {
    let silent = UdpSocket::bind(loopback()).unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let authority = Authority::create().unwrap();
    let limits = Limits { handshake: Duration::from_millis(100), ..Limits::default() };
    let identity = user_of(&authority);
    let error =
        connect_with(&address, &identity, authority.certificate_der(), &limits).await.unwrap_err();
    assert!(matches!(error, ConnectError::NoServer { .. }), "{error}");
    assert!(error.to_string().contains(&format!("{address}: no answer")), "{error}");
}

#[tokio::test]
async fn every_address_of_a_name_is_tried() {
    // `localhost` may stand for ::1 and 127.0.0.1; the listener has only the latter.
    let cluster = Cluster::start();
    let name = format!("localhost:{}", cluster.listener.local_addr().port());
    let identity = cluster.user();
    connect(&name, &identity, cluster.authority.certificate_der()).await.unwrap();
}

#[tokio::test]
async fn an_ipv6_address_is_reached_in_brackets() {
    let authority = Authority::create().unwrap();
    let identity = authority.issue_server(&[]).unwrap();
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    let listener = match Listener::bind(address, &identity, authority.certificate_der()) {
        Ok(listener) => listener,
        Err(ListenError::Bind { .. }) if UdpSocket::bind(address).is_err() => {
            return eprintln!("this machine has no IPv6: nothing to test");
        }
        Err(error) => panic!("{error}"),
    };
    let text = listener.local_addr().to_string();
    assert!(text.starts_with("[::1]:"));
    connect(&text, &user_of(&authority), authority.certificate_der()).await.unwrap();
}

#[tokio::test]
async fn names_and_addresses_that_cannot_be_are_refused() {
    let authority = Authority::create().unwrap();
    let identity = user_of(&authority);
    let to = |server: &'static str| connect(server, &identity, authority.certificate_der());
    assert!(matches!(to("localhost").await, Err(ConnectError::Address(_))));
    assert!(matches!(to("does-not-exist.invalid:1").await, Err(ConnectError::Resolve { .. })));
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = UdpSocket::bind(loopback()).unwrap();
    let authority = Authority::create().unwrap();
    let identity = authority.issue_server(&[]).unwrap();
    let address = taken.local_addr().unwrap();
    let Err(error) = Listener::bind(address, &identity, authority.certificate_der()) else {
        panic!("bound a port twice")
    };
    assert!(error.to_string().contains("another process has this port"), "{error}");
}

#[tokio::test]
async fn a_closed_connection_says_why_on_both_sides() {
    let cluster = Cluster::start();
    let (near, far) = cluster.connect().await;
    let (_send, mut recv) = near.open().await.unwrap();
    far.close(close_code::REPLACED, "another\nconnection came");
    let reason =
        Closed::Peer { code: close_code::REPLACED, reason: "another connection came".into() };
    assert_eq!(near.closed().await, reason);
    assert_eq!(near.close_reason(), Some(reason.clone()));
    assert_eq!(near.open().await.err(), Some(reason.clone()));
    assert_eq!(recv.recv::<u8>().await, Err(RecvError::Closed(reason)));
    assert_eq!(far.closed().await, Closed::Local);
}

#[tokio::test]
async fn a_listener_that_closes_tells_its_peers_and_ends() {
    let cluster = Cluster::start();
    let (near, _far) = cluster.connect().await;
    cluster.listener.close(close_code::GOING_AWAY, "restart").await;
    assert_eq!(
        near.closed().await,
        Closed::Peer { code: close_code::GOING_AWAY, reason: "restart".into() }
    );
    assert!(cluster.listener.accept().await.is_none());
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_noticed() {
    // Keeps alive less often than the idle time: as if the network were gone.
    let limits = Limits {
        idle: Duration::from_millis(300),
        keep_alive: Duration::from_secs(60),
        ..Limits::default()
    };
    let cluster = Cluster::start_with(limits.clone());
    let identity = cluster.user();
    let near =
        connect_with(&cluster.address(), &identity, cluster.authority.certificate_der(), &limits)
            .await
            .unwrap();
    assert_eq!(near.closed().await, Closed::TimedOut);
}

#[tokio::test]
async fn a_connection_ends_when_its_last_handle_is_dropped() {
    let cluster = Cluster::start();
    let (near, far) = cluster.connect().await;
    drop(near);
    assert!(matches!(far.closed().await, Closed::Peer { code: close_code::DONE, .. }));
}

#[tokio::test]
async fn a_listener_started_again_tells_the_peers_of_the_one_before() {
    let authority = Authority::create().unwrap();
    let (secret, identity) = (authority.listener_secret(), authority.issue_server(&[]).unwrap());
    let bind = |address| {
        Listener::bind_recognised(address, &identity, authority.certificate_der(), &secret).unwrap()
    };
    // A process that was killed says nothing more: its runtime is dropped here.
    let dying = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let entered = dying.enter();
    let first = bind(loopback());
    drop(entered);
    let address = first.local_addr();
    let user = user_of(&authority);
    let near = connect(&address.to_string(), &user, authority.certificate_der()).await.unwrap();
    let accepted = first.accept().await.unwrap();
    let gone = move || dying.shutdown_timeout(std::time::Duration::from_secs(5));
    tokio::task::spawn_blocking(gone).await.unwrap();
    drop((first, accepted));
    let _second = until_bound(|| {
        Listener::bind_recognised(address, &identity, authority.certificate_der(), &secret)
    })
    .await;

    let (mut send, _receive) = near.open().await.unwrap();
    send.send(&1_u8).await.unwrap();
    let told = tokio::time::timeout(std::time::Duration::from_secs(5), near.closed()).await;
    assert_eq!(told.unwrap(), Closed::Lost("the peer was restarted".to_owned()));
}

/// The port is free when the runtime that held it has gone.
async fn until_bound(bind: impl Fn() -> Result<Listener, ListenError>) -> Listener {
    loop {
        match bind() {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
        }
    }
}
