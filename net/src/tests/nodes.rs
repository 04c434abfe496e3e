//! Nodes reach each other, and nobody else reaches a node.

use std::net::SocketAddr;

use wrun_protocol::NodeId;
use wrun_protocol::wire::{ALPN, ALPN_JOIN, ALPN_PEER};

use super::{Cluster, loopback, user_of};
use crate::connect::connect_by;
use crate::tls::{self, Trust};
use crate::{
    Authority, ConnectError, Connection, Identity, Limits, Listener, Peer, connect_to_node,
};

/// A node of the cluster that listens for others.
fn listening(cluster: &Cluster, number: u64) -> Listener {
    let authority = cluster.authority.certificate_der();
    let identity = cluster.node(number);
    Listener::bind_for_nodes(loopback(), &identity, authority, Limits::default()).unwrap()
}

async fn dial(
    cluster: &Cluster,
    node: u64,
    address: SocketAddr,
    identity: &Identity,
) -> Result<Connection, ConnectError> {
    let authority = cluster.authority.certificate_der();
    connect_to_node(NodeId(node), address, identity, authority, &Limits::default()).await
}

#[tokio::test]
async fn two_nodes_know_each_other_by_their_certificates() {
    let cluster = Cluster::start();
    let listener = listening(&cluster, 1);
    let identity = cluster.node(2);
    let connecting = dial(&cluster, 1, listener.local_addr(), &identity);
    let (near, far) = tokio::join!(connecting, listener.accept());
    let (near, far) = (near.unwrap(), far.unwrap());
    assert_eq!((near.peer(), far.peer()), (&Peer::Node(NodeId(1)), &Peer::Node(NodeId(2))));
    let (mut send, _recv) = far.open().await.unwrap();
    send.send(&7_u32).await.unwrap();
    assert_eq!(near.accept().await.unwrap().1.recv::<u32>().await.unwrap(), Some(7));
}

#[tokio::test]
async fn another_node_at_the_address_is_not_taken_for_it() {
    let cluster = Cluster::start();
    let listener = listening(&cluster, 1);
    let error = dial(&cluster, 3, listener.local_addr(), &cluster.node(2)).await.unwrap_err();
    assert!(matches!(error, ConnectError::WrongAuthority { .. }), "{error}");
}

#[tokio::test]
async fn nodes_of_another_cluster_reach_nobody() {
    let cluster = Cluster::start();
    let listener = listening(&cluster, 1);
    let other = Cluster::start();
    // It trusts whom it should not, and still is not let in.
    let error = dial(&cluster, 1, listener.local_addr(), &other.node(2)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
    let error = dial(&other, 1, listener.local_addr(), &other.node(2)).await.unwrap_err();
    assert!(matches!(error, ConnectError::WrongAuthority { .. }), "{error}");
}

#[tokio::test]
async fn users_and_machines_without_a_certificate_reach_no_node() {
    let cluster = Cluster::start();
    let listener = listening(&cluster, 1);
    let address = listener.local_addr().to_string();
    let (user, node) = (user_of(&cluster.authority), cluster.node(2));
    let foreign = user_of(&Authority::create().unwrap());
    for (identity, alpn) in [
        (Some(&user), ALPN_PEER),
        (Some(&foreign), ALPN_PEER),
        (None, ALPN_PEER),
        (None, ALPN_JOIN),
        (Some(&node), ALPN),
    ] {
        let trust = Trust::Node(NodeId(1), cluster.authority.certificate_der());
        let tls = tls::client(&trust, identity, alpn).unwrap();
        let connected = connect_by(&address, Peer::Server, tls, &Limits::default()).await;
        assert!(connected.is_err(), "{}", String::from_utf8_lossy(alpn));
    }
    let error = dial(&cluster, 1, listener.local_addr(), &user).await.unwrap_err();
    assert!(error.to_string().contains("only nodes of the cluster are served here"), "{error}");
}

#[tokio::test]
async fn a_node_is_no_server() {
    let cluster = Cluster::start();
    let listener = listening(&cluster, 1);
    let authority = cluster.authority.certificate_der();
    let address = listener.local_addr().to_string();
    let error = crate::connect(&address, &cluster.user(), authority).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::WrongAuthority { .. } | ConnectError::Version { .. }),
        "{error}"
    );
}
