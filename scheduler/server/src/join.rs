//! How a machine becomes a node: a one-time token against a certificate.

use std::sync::Arc;
use std::time::Duration;

use wrun_core::{Answer, Input};
use wrun_net::{Connection, JoinToken, SendStream, close_code};
use wrun_protocol::NodeId;
use wrun_protocol::limits::MAX_NAME;
use wrun_protocol::wire::join::{JoinReply, JoinRequest};
use wrun_protocol::wire::user::{ErrorCode, RequestError};

use crate::session::is_name;
use crate::shared::Shared;

/// How long a joining machine may take.
const JOIN_WITHIN: Duration = Duration::from_secs(10);

/// How long the answer may take to arrive before the connection is closed.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Serves the one request of a machine that has only a token.
pub(crate) async fn serve(shared: Arc<Shared>, connection: Connection) {
    let served = tokio::time::timeout(JOIN_WITHIN, async {
        let (send, mut recv) = connection.accept().await.ok()?;
        let request = recv.recv::<JoinRequest>().await.ok()??;
        let JoinRequest::Node { secret, csr, name } = request;
        let reply = match join(&shared, &connection, &secret, &csr, name).await {
            Ok(welcome) => welcome,
            Err(refused) => JoinReply::Refused(refused),
        };
        answer(send, &reply).await;
        Some(())
    });
    let reason = if matches!(served.await, Ok(Some(()))) { "done" } else { "no join request came" };
    connection.close(close_code::DONE, reason);
}

async fn answer(mut send: SendStream, reply: &JoinReply) {
    if send.send(reply).await.is_ok() {
        let _ = tokio::time::timeout(ANSWER_WITHIN, send.finish_and_wait()).await;
    }
}

async fn join(
    shared: &Shared,
    connection: &Connection,
    secret: &[u8; 32],
    csr: &[u8],
    name: String,
) -> Result<JoinReply, RequestError> {
    let invalid = |text: String| RequestError::new(ErrorCode::InvalidInput, text);
    if !is_name(&name) {
        return Err(invalid(format!(
            "a node's name has 1 to {MAX_NAME} bytes without control characters"
        )));
    }
    // A request that cannot be certified must not use up the token.
    certify(shared, NodeId(0), csr)?;
    let token_hash = JoinToken::hash_secret(secret);
    let asked = name.clone();
    let answer =
        shared.driver.ask(move |request| Input::Join { request, token_hash, name: asked }).await;
    let remote = connection.remote_address();
    match answer {
        Ok(Answer::Joined(node)) => {
            tracing::info!(target: "wrun::audit", %node, name, %remote, "node joined");
            let certificate = certify(shared, node, csr)?;
            let authority = shared.authority.certificate_der().to_vec();
            Ok(JoinReply::Welcome { node, certificate, authority })
        }
        Ok(_) => Err(RequestError::new(ErrorCode::Internal, "joining gave another answer")),
        Err(refused) => {
            tracing::warn!(target: "wrun::audit", name, %remote, reason = %refused, "join refused");
            Err(refused)
        }
    }
}

fn certify(shared: &Shared, node: NodeId, csr: &[u8]) -> Result<Vec<u8>, RequestError> {
    shared
        .authority
        .issue_node(node, csr, shared.config.node_certificate_ttl)
        .map_err(|error| RequestError::new(ErrorCode::InvalidInput, error.to_string()))
}
