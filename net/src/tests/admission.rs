//! Who gets in, and what the others are told.

use std::net::UdpSocket;
use std::time::{Duration, SystemTime};

use wrun_protocol::wire::{ALPN, ALPN_JOIN};
use wrun_protocol::{NodeId, Role};

use super::{Cluster, HOUR, loopback, user, user_of};
use crate::connect::connect_by;
use crate::tls::{self, Trust};
use crate::{
    Authority, Closed, ConnectError, Connection, Identity, IdentityError, Limits, Listener, Peer,
    close_code, connect, connect_to_join, signing_request,
};

async fn try_connect(
    cluster: &Cluster,
    identity: Option<&Identity>,
    alpn: &[u8],
) -> Result<Connection, ConnectError> {
    let trust = Trust::Authority(cluster.authority.certificate_der());
    let tls = tls::client(&trust, identity, alpn).unwrap();
    connect_by(&cluster.address(), Peer::Server, tls, &impatient()).await
}

/// A busy server is asked again for this long.
fn impatient() -> Limits {
    Limits { handshake: Duration::from_secs(3), ..Limits::default() }
}

/// A user's identity with another time; not checked by the connecting side.
fn user_between(cluster: &Cluster, from: SystemTime, to: SystemTime) -> Identity {
    let (key, csr) = signing_request().unwrap();
    let der = cluster.authority.issue_between(&user(), &csr, from, to).unwrap();
    Identity::new(vec![der], key).unwrap()
}

#[tokio::test]
async fn users_and_nodes_are_known_by_their_certificates() {
    let cluster = Cluster::start();
    let (near, far) = cluster.connect().await;
    assert_eq!((near.peer(), far.peer()), (&Peer::Server, &user()));
    let address = cluster.address();
    let node = cluster.node(9);
    let connecting = connect(&address, &node, cluster.authority.certificate_der());
    let (near, far) = tokio::join!(connecting, cluster.listener.accept());
    assert_eq!(far.unwrap().peer(), &Peer::Node(NodeId(9)));
    assert_eq!(near.unwrap().remote_address(), cluster.listener.local_addr());
}

#[tokio::test]
async fn a_server_of_another_authority_is_not_trusted() {
    let cluster = Cluster::start();
    let other = Authority::create().unwrap();
    let identity = user_of(&other);
    let error = connect(&cluster.address(), &identity, other.certificate_der()).await.unwrap_err();
    assert!(matches!(error, ConnectError::WrongAuthority { .. }), "{error}");
    let error = connect_to_join(&cluster.address(), other.fingerprint()).await.unwrap_err();
    assert!(matches!(error, ConnectError::WrongAuthority { .. }), "{error}");
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let cluster = Cluster::start();
    let stranger = user_of(&Authority::create().unwrap());
    let error = try_connect(&cluster, Some(&stranger), ALPN).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("credential of this cluster"), "{error}");
    cluster.serves().await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused_on_both_sides() {
    let cluster = Cluster::start();
    let now = SystemTime::now();
    let expired = user_between(&cluster, now - 48 * HOUR, now - HOUR);
    let authority = cluster.authority.certificate_der();
    let error = connect(&cluster.address(), &expired, authority).await.unwrap_err();
    let own = matches!(error, ConnectError::Identity(IdentityError::Expired { .. }));
    assert!(own, "{error}");
    let error = try_connect(&cluster, Some(&expired), ALPN).await.unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn a_certificate_from_the_future_is_refused_on_both_sides() {
    let cluster = Cluster::start();
    let now = SystemTime::now();
    let early = user_between(&cluster, now + HOUR, now + 48 * HOUR);
    let authority = cluster.authority.certificate_der();
    let error = connect(&cluster.address(), &early, authority).await.unwrap_err();
    assert!(error.to_string().contains("clock"), "{error}");
    let error = try_connect(&cluster, Some(&early), ALPN).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn an_expired_server_is_reported_as_such() {
    let authority = Authority::create().unwrap();
    let now = SystemTime::now();
    let expired = authority.issue_server_between(&[], now - 48 * HOUR, now - HOUR).unwrap();
    let listener = Listener::bind(loopback(), &expired, authority.certificate_der()).unwrap();
    let address = listener.local_addr().to_string();
    let identity = user_of(&authority);
    let error = connect(&address, &identity, authority.certificate_der()).await.unwrap_err();
    assert!(matches!(error, ConnectError::ServerCertificate { .. }), "{error}");
    let error = connect_to_join(&address, authority.fingerprint()).await.unwrap_err();
    assert!(matches!(error, ConnectError::ServerCertificate { .. }), "{error}");
}

#[tokio::test]
async fn a_node_or_user_cannot_pass_for_the_server() {
    let authority = Authority::create().unwrap();
    let user = user_of(&authority);
    let chain = vec![user.certificate_der().to_vec(), authority.certificate_der().to_vec()];
    let key = crate::PrivateKey::from_pem(&user.key_pem()).unwrap();
    let impostor = Identity::new(chain, key).unwrap();
    let listener = Listener::bind(loopback(), &impostor, authority.certificate_der()).unwrap();
    let address = listener.local_addr().to_string();
    assert!(connect(&address, &user, authority.certificate_der()).await.is_err());
    assert!(connect_to_join(&address, authority.fingerprint()).await.is_err());
}

#[tokio::test]
async fn the_servers_certificate_is_no_users() {
    let cluster = Cluster::start();
    let server = cluster.authority.issue_server(&[]).unwrap();
    let error = try_connect(&cluster, Some(&server), ALPN).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn whoever_knows_the_fingerprint_may_join_and_no_more() {
    let cluster = Cluster::start();
    let address = cluster.address();
    let joining = connect_to_join(&address, cluster.authority.fingerprint());
    let (near, far) = tokio::join!(joining, cluster.listener.accept());
    let (near, far) = (near.unwrap(), far.unwrap());
    assert_eq!(far.peer(), &Peer::Anonymous);
    let (mut send, _) = near.open().await.unwrap();
    send.send(&"let me in").await.unwrap();
    let (_, mut recv) = far.accept().await.unwrap();
    assert_eq!(recv.recv::<String>().await.unwrap().as_deref(), Some("let me in"));
    // One stream at a time is all it gets.
    let second = tokio::time::timeout(Duration::from_millis(200), near.open()).await;
    assert!(second.is_err());
}

#[tokio::test]
async fn an_anonymous_connection_may_only_join() {
    let cluster = Cluster::start();
    let error = try_connect(&cluster, None, ALPN).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("certificate is required"), "{error}");
    cluster.serves().await;
}

#[tokio::test]
async fn a_certificate_does_not_open_the_join_protocol() {
    let cluster = Cluster::start();
    let error = try_connect(&cluster, Some(&cluster.user()), ALPN_JOIN).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("need not join"), "{error}");
}

#[tokio::test]
async fn another_protocol_version_is_named_as_the_cause() {
    let cluster = Cluster::start();
    let error = try_connect(&cluster, Some(&cluster.user()), b"wrun/99").await.unwrap_err();
    assert!(matches!(error, ConnectError::Version { .. }), "{error}");
}

#[tokio::test]
async fn a_blast_of_garbage_does_not_stop_the_server() {
    let cluster = Cluster::start();
    let socket = UdpSocket::bind(loopback()).unwrap();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..20_000_usize {
        let mut packet = [0_u8; 1400];
        for chunk in packet.chunks_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            chunk.copy_from_slice(&state.to_le_bytes());
        }
        if round % 3 == 0 {
            // Begins like a version 1 Initial packet.
            packet[..5].copy_from_slice(&[0xc3, 0, 0, 0, 1]);
            packet[5] = 8;
        }
        // A full receive buffer drops packets; that is the point.
        let _ = socket.send_to(&packet[..round % packet.len()], cluster.listener.local_addr());
    }
    cluster.serves().await;
}

#[tokio::test]
async fn strangers_of_one_address_are_bounded_and_leave_room_when_they_go() {
    let cluster = Cluster::start_with(Limits { anonymous_per_address: 2, ..Limits::default() });
    let join = || connect_to_join_at(&cluster);
    let first = join().await.unwrap();
    let _second = join().await.unwrap();
    let error = join().await.unwrap_err();
    assert!(error.to_string().contains("no more connections"), "{error}");
    // Who waits in line gets in as soon as there is room.
    let (again, ()) = tokio::join!(join(), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        first.close(close_code::DONE, "");
    });
    again.unwrap();
}

async fn connect_to_join_at(cluster: &Cluster) -> Result<Connection, ConnectError> {
    let trust = Trust::Fingerprint(cluster.authority.fingerprint());
    let tls = tls::client(&trust, None, ALPN_JOIN).unwrap();
    connect_by(&cluster.address(), Peer::Server, tls, &impatient()).await
}

#[tokio::test]
async fn a_stranger_that_lingers_is_sent_away() {
    let limits = Limits { anonymous_life: Duration::from_millis(100), ..Limits::default() };
    let cluster = Cluster::start_with(limits);
    let near = connect_to_join_at(&cluster).await.unwrap();
    let closed = near.closed().await;
    assert!(matches!(closed, Closed::Peer { code: close_code::LIMIT, .. }), "{closed}");
}

#[tokio::test]
async fn connections_of_one_tenant_are_bounded() {
    let cluster = Cluster::start_with(Limits { connections_per_peer: 1, ..Limits::default() });
    let (near, far) = cluster.connect().await;
    let error = try_connect(&cluster, Some(&cluster.user()), ALPN).await.unwrap_err();
    assert!(error.to_string().contains("too many connections"), "{error}");
    near.close(close_code::DONE, "");
    far.closed().await;
    drop(far);
    cluster.serves().await;
}

#[tokio::test]
async fn connections_in_total_are_bounded() {
    let cluster = Cluster::start_with(Limits { connections: 1, ..Limits::default() });
    let (_near, _far) = cluster.connect().await;
    let error = try_connect(&cluster, Some(&cluster.user()), ALPN).await.unwrap_err();
    assert!(error.to_string().contains("no more connections"), "{error}");
}

#[tokio::test]
async fn every_role_is_told_apart() {
    let cluster = Cluster::start();
    let (key, csr) = signing_request().unwrap();
    let tenant = "ops".parse().unwrap();
    let der = cluster.authority.issue_user(&tenant, Role::Admin, &csr, HOUR).unwrap();
    let admin = Identity::new(vec![der], key).unwrap();
    let _near = try_connect(&cluster, Some(&admin), ALPN).await.unwrap();
    let far = cluster.listener.accept().await.unwrap();
    assert_eq!(far.peer(), &Peer::User { tenant, role: Role::Admin });
}

#[tokio::test]
async fn a_burst_from_one_address_gets_in_one_after_the_other() {
    let cluster = Cluster::start_with(Limits { anonymous_per_address: 4, ..Limits::default() });
    let identity = cluster.user();
    let patient = Limits { handshake: Duration::from_secs(60), ..Limits::default() };
    let mut connecting = tokio::task::JoinSet::new();
    for _ in 0..24 {
        let (identity, address) = (identity.clone(), cluster.address());
        let authority = cluster.authority.certificate_der().to_vec();
        let patient = patient.clone();
        connecting.spawn(async move {
            crate::connect_with(&address, &identity, &authority, &patient).await
        });
    }
    let accepting = async {
        let mut inside = Vec::new();
        while let Some(connection) = cluster.listener.accept().await {
            inside.push(connection);
        }
    };
    let connected = tokio::select! {
        connected = connecting.join_all() => connected,
        () = accepting => panic!("the listener ended"),
    };
    for connection in connected {
        connection.unwrap();
    }
}
