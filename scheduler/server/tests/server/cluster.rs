//! Nodes, tokens, users, and who may deal with them.

use wrun_net::{Peer, signing_request};
use wrun_protocol::Role;
use wrun_protocol::node::NodeState;
use wrun_protocol::wire::join::JoinReply;
use wrun_protocol::wire::user::{ErrorCode, NodeSummary, Request, Response};
use wrun_protocol::wire::worker::{FromWorker, ToWorker};

use crate::harness::*;

async fn nodes(client: &Client) -> Vec<NodeSummary> {
    match client.ask(Request::Nodes).await {
        Response::Nodes(nodes) => nodes,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn hello_says_who_one_is() {
    let cluster = Cluster::start().await;
    let Response::Hello { tenant, role, version } = cluster.user("lab").ask(Request::Hello).await
    else {
        panic!("no hello");
    };
    assert_eq!((tenant.as_str(), role), ("lab", Role::User));
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn a_token_works_once_even_over_a_restart() {
    let cluster = Cluster::start().await;
    let Response::Token { secret, .. } =
        cluster.admin().ask(Request::CreateToken { ttl_ms: 60_000 }).await
    else {
        panic!("no token");
    };
    let cluster = cluster.restart().await;
    assert!(matches!(cluster.join_with(secret, "a").await, JoinReply::Welcome { .. }));
    let JoinReply::Refused(error) = cluster.join_with(secret, "b").await else { panic!("joined") };
    assert!(error.message.contains("token"), "{error}");
    let cluster = cluster.restart().await;
    assert!(matches!(cluster.join_with(secret, "c").await, JoinReply::Refused(_)));
    assert!(matches!(cluster.join_with([0; 32], "d").await, JoinReply::Refused(_)));
}

#[tokio::test]
async fn a_request_that_cannot_be_certified_does_not_use_the_token_up() {
    let cluster = Cluster::start().await;
    let ttl = std::time::Duration::from_secs(60);
    let secret = cluster.server.create_token(ttl).await.unwrap().secret;
    let connection = cluster.server.connect(Peer::Anonymous);
    let request = wrun_protocol::wire::join::JoinRequest::Node {
        secret,
        csr: b"garbage".to_vec(),
        name: "a".into(),
    };
    let (reply, _) = exchange::<_, JoinReply>(&connection, &request, b"").await;
    assert!(matches!(reply, JoinReply::Refused(_)));
    assert!(matches!(cluster.join_with(secret, "a").await, JoinReply::Welcome { .. }));
}

#[tokio::test]
async fn a_drained_node_gets_no_tasks_and_one_taken_back_does() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut worker = cluster.worker("a").await;
    let drain = |node: &str, drain| Request::Drain { node: node.to_owned(), drain };
    assert_eq!(admin.ask(drain("a", true)).await, Response::Done);
    assert_eq!(nodes(&admin).await[0].state, NodeState::Draining);
    let client = cluster.user("lab");
    let job = client.submit(1).await;
    let reason = client.job(job).await.pending_reason;
    assert!(reason.is_some(), "every pending task has a reason");
    assert_eq!(admin.ask(drain(&worker.node.to_string(), false)).await, Response::Done);
    assert_eq!(worker.assigned().await.job, job);
    assert_eq!(admin.refusal(drain("nobody", true)).await.code, ErrorCode::NotFound);
}

#[tokio::test]
async fn a_node_that_was_removed_gets_no_session() {
    let cluster = Cluster::start().await;
    let mut worker = cluster.worker("a").await;
    let node = worker.node;
    worker.say(&FromWorker::Goodbye).await;
    let admin = cluster.admin();
    soon("the node's removal", async {
        while admin.ask(Request::RemoveNode("a".into())).await != Response::Done {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(nodes(&admin).await.is_empty());
    let connection = cluster.server.connect(Peer::Node(node));
    let (mut send, mut recv) = connection.open().await.unwrap();
    let info = wrun_protocol::node::NodeInfo {
        name: "a".into(),
        capacity: Default::default(),
        labels: Default::default(),
        version: "test".into(),
    };
    send.send(&FromWorker::Hello { info, incarnation: 1, attempts: Vec::new() }).await.unwrap();
    let answer = soon("the end", recv.recv::<ToWorker>()).await;
    assert!(!matches!(answer, Ok(Some(_))), "{answer:?}");
}

#[tokio::test]
async fn a_user_is_certified_by_an_admin() {
    let cluster = Cluster::start().await;
    let (_, csr) = signing_request().unwrap();
    let request = |csr, ttl_ms| Request::CreateUser {
        tenant: "lab".parse().unwrap(),
        role: Role::User,
        csr,
        ttl_ms,
    };
    let admin = cluster.admin();
    let Response::Certificate(der) = admin.ask(request(csr.clone(), 60_000)).await else {
        panic!("no certificate");
    };
    assert!(!der.is_empty());
    for (csr, ttl_ms) in [(b"x".to_vec(), 60_000), (csr.clone(), 0), (csr, u64::MAX)] {
        assert_eq!(admin.refusal(request(csr, ttl_ms)).await.code, ErrorCode::InvalidInput);
    }
}

#[tokio::test]
async fn more_requests_than_allowed_are_refused_and_later_ones_served() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.max_requests_per_connection = 2;
    let server = wrun_server::start(config).await.unwrap();
    let cluster = Cluster { dir, server };
    let client = cluster.user("lab");
    let job = client.submit(1).await;
    let mut watches = Vec::new();
    for _ in 0..2 {
        let mut watch = client.open(&Request::Watch(job)).await;
        assert!(matches!(watch.next().await, Some(Response::Progress(_))));
        watches.push(watch);
    }
    assert_eq!(client.refusal(Request::Hello).await.code, ErrorCode::LimitReached);
    drop(watches);
    soon("room", async {
        while !matches!(client.ask(Request::Hello).await, Response::Hello { .. }) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}
