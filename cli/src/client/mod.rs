//! Talking to the server as a user: one connection, a stream for each request. Knows the
//! protocol and nothing of what commands do with the answers.

pub(crate) mod blob;
pub(crate) mod model;
pub(crate) mod remembered;
pub(crate) mod service;
pub(crate) mod submit;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use wrun_net::{Closed, ConnectError, Connection, Credential, IdentityError, RecvError, SendError};
use wrun_net::{RecvStream, SendStream};
use wrun_protocol::wire::user::{Request, Response};

use crate::error::Error;
use crate::exit::Exit;

/// How long connecting may take; the transport itself tries every address of the server.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);

/// Turns of the runtime's one thread after which the transport has sent its last packet.
const TURNS: usize = 8;

/// A connection to the server, with what is needed to make it again. Clones share it.
#[derive(Clone)]
pub(crate) struct Client {
    connection: Connection,
    credential: Credential,
}

/// The answers to one request.
pub(crate) struct Answers(RecvStream);

/// Where the credential is: `--credential` and `WRUN_CREDENTIAL` come first.
pub(crate) fn credential_path(given: Option<&PathBuf>) -> Result<PathBuf, Error> {
    given.cloned().or_else(Credential::default_path).ok_or_else(|| {
        Error::new(Exit::Denied, "no credential: neither WRUN_CREDENTIAL nor HOME is set")
            .todo("name one with --credential")
    })
}

/// Reads the credential and checks its time.
pub(crate) fn credential(given: Option<&PathBuf>) -> Result<Credential, Error> {
    let path = credential_path(given)?;
    if !path.exists() {
        let text = format!("no credential at `{}`", path.display());
        return Err(Error::new(Exit::Denied, text).todo(
            "start a cluster with `wrun dev`, or name a credential with --credential or WRUN_CREDENTIAL",
        ));
    }
    let refused = |cause: IdentityError| {
        let text = crate::error::folded(&cause);
        let named = text.contains(&*path.to_string_lossy());
        let text = if named { text } else { format!("`{}`: {text}", path.display()) };
        let error = Error::new(Exit::Denied, text);
        match cause {
            IdentityError::Malformed { .. } => error.todo(
                "name a credential of the cluster with --credential, or ask an admin for one",
            ),
            _ => error,
        }
    };
    let credential = Credential::load(&path).map_err(refused)?;
    let identity = credential.identity().map_err(refused)?;
    identity.check(SystemTime::now()).map_err(refused)?;
    Ok(credential)
}

impl Client {
    /// Connects with the credential.
    pub(crate) async fn connect(given: Option<&PathBuf>) -> Result<Self, Error> {
        let credential = credential(given)?;
        let connection = dial(&credential).await?;
        Ok(Self { connection, credential })
    }

    /// Connects again, after the connection was lost.
    pub(crate) async fn reconnect(&mut self) -> Result<(), Error> {
        self.connection = dial(&self.credential).await?;
        Ok(())
    }

    /// With what it connected.
    pub(crate) fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Sends a request and leaves the stream open, to send more and to read the answers.
    pub(crate) async fn open(&self, request: &Request) -> Result<(SendStream, Answers), Error> {
        let (mut send, recv) = self.connection.open().await.map_err(|cause| closed(&cause))?;
        send.send(request).await.map_err(|cause| send_failed(&cause))?;
        Ok((send, Answers(recv)))
    }

    /// Sends a request that has any number of answers.
    pub(crate) async fn stream(&self, request: &Request) -> Result<Answers, Error> {
        let (mut send, answers) = self.open(request).await?;
        // A server that has answered already may have stopped the stream: the answer counts.
        let _ = send.finish();
        Ok(answers)
    }

    /// Sends a request that has one answer.
    pub(crate) async fn ask(&self, request: &Request) -> Result<Response, Error> {
        self.stream(request).await?.one().await
    }

    /// Sends a request whose answer is that it is done.
    pub(crate) async fn done(&self, request: &Request) -> Result<(), Error> {
        match self.ask(request).await? {
            Response::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Says goodbye, so that the server need not wait for a timeout. Nothing is lost where it
    /// does not arrive, so nothing is waited for: the transport only gets its turn to send.
    pub(crate) async fn close(&self) {
        self.connection.close(wrun_net::close_code::DONE, "");
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
    }
}

impl Answers {
    /// The next answer; `None` when the server has ended the stream. A refusal is an error.
    pub(crate) async fn next(&mut self) -> Result<Option<Response>, Error> {
        match self.0.recv().await {
            Ok(Some(Response::Refused(refusal))) => Err(refusal.into()),
            Ok(answer) => Ok(answer),
            Err(cause) => Err(recv_failed(&cause)),
        }
    }

    /// An answer that must come.
    pub(crate) async fn one(&mut self) -> Result<Response, Error> {
        self.next().await?.ok_or_else(|| {
            Error::new(Exit::Unavailable, "the server ended the answer before it was whole")
                .todo("try again")
        })
    }

    /// Raw bytes that follow an answer; `None` at the end.
    pub(crate) async fn chunk(&mut self, most: usize) -> Result<Option<bytes::Bytes>, Error> {
        self.0.read_chunk(most).await.map_err(|cause| recv_failed(&cause))
    }
}

async fn dial(credential: &Credential) -> Result<Connection, Error> {
    let refused = |cause: IdentityError| Error::from_cause(Exit::Denied, &cause);
    let identity = credential.identity().map_err(refused)?;
    let authority = credential.authority_der().map_err(refused)?;
    let connecting = wrun_net::connect(&credential.server, &identity, &authority);
    match tokio::time::timeout(CONNECT_WITHIN, connecting).await {
        Ok(connected) => connected.map_err(|cause| connect_failed(&cause)),
        Err(_) => Err(Error::new(
            Exit::Unavailable,
            format!("no wrun server answers at {} within {CONNECT_WITHIN:?}", credential.server),
        )
        .todo("is it running there, and does a firewall let UDP through?")),
    }
}

fn connect_failed(cause: &ConnectError) -> Error {
    Error::from_cause(exit_of(cause), cause)
}

/// How a command ends that reaches no server.
pub(crate) fn exit_of(cause: &ConnectError) -> Exit {
    match cause {
        ConnectError::Address(_) => Exit::InvalidInput,
        ConnectError::WrongAuthority { .. }
        | ConnectError::ServerCertificate { .. }
        | ConnectError::Identity(_)
        | ConnectError::Refused { .. } => Exit::Denied,
        _ => Exit::Unavailable,
    }
}

/// An answer that the request does not have.
pub(crate) fn unexpected(response: &Response) -> Error {
    let text = format!("{response:?}");
    let kind = text.split(['(', ' ', '{']).next().unwrap_or_default().to_owned();
    Error::new(Exit::Internal, format!("the server gave an answer of another kind ({kind})"))
        .todo("use the same version of wrun on both sides")
}

fn closed(cause: &Closed) -> Error {
    let exit = match cause {
        Closed::Certificate(_) => Exit::Denied,
        Closed::Peer { code, .. } if *code == wrun_net::close_code::DENIED => Exit::Denied,
        _ => Exit::Unavailable,
    };
    Error::from_cause(exit, cause)
}

fn send_failed(cause: &SendError) -> Error {
    match cause {
        SendError::Closed(closed_by) => closed(closed_by),
        _ => Error::from_cause(Exit::Unavailable, cause),
    }
}

fn recv_failed(cause: &RecvError) -> Error {
    match cause {
        RecvError::Closed(closed_by) => closed(closed_by),
        _ => Error::from_cause(Exit::Unavailable, cause),
    }
}
