//! What the server last told the node's gateway, kept on disk: a node that is started again
//! while the server is gone brings requests to replicas on other nodes all the same.
//!
//! It is a saving, and never waited for: a file that is missing, damaged, of another version or
//! some seconds old costs requests, and nothing else. Attempts that have ended since then are
//! refused by their nodes, and the server's first word takes the place of all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use tokio::sync::Notify;
use tokio::time::Instant;
use wrun_protocol::NodeId;
use wrun_protocol::codec::{self, HEADER};
use wrun_protocol::service::ServiceId;
use wrun_protocol::wire::ALPN;
use wrun_protocol::wire::service::Endpoints;
use wrun_protocol::wire::worker::ToWorker;

/// Between two times that it is written, at least.
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// Writing takes at most one part in so many of the time.
const SHARE: u32 = 20;

/// Largest file. Services beyond it are not kept.
const LARGEST: usize = 64 << 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct Known {
    path: PathBuf,
    state: Mutex<State>,
    changed: Notify,
    closing: Notify,
}

#[derive(Debug, Default)]
struct State {
    services: BTreeMap<ServiceId, Endpoints>,
    nodes: BTreeMap<NodeId, SocketAddr>,
    /// It differs from what is in the file.
    is_new: bool,
    closed: bool,
}

impl Known {
    /// That in the file, which need not be there. Blocks on the disk.
    pub(crate) fn open(path: PathBuf) -> Self {
        let (changed, closing) = (Notify::new(), Notify::new());
        let known = Self { path, state: Mutex::default(), changed, closing };
        match read(&known.path) {
            Ok(messages) => messages.into_iter().for_each(|message| known.on_message(&message)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let path = known.path.display();
                tracing::warn!(%path, %error, "what the gateway knew before is not used");
            }
        }
        known.state().is_new = false;
        known
    }

    /// What the server says, of which only what gateways need is looked at.
    pub(crate) fn on_message(&self, message: &ToWorker) {
        let mut state = self.state();
        match message {
            ToWorker::Services { whole, services } => {
                if *whole {
                    state.services.clear();
                }
                let told = services.iter().map(|told| (told.id.clone(), told.clone()));
                state.services.extend(told);
            }
            ToWorker::ServicesGone(gone) => {
                gone.iter().for_each(|id| drop(state.services.remove(id)));
            }
            ToWorker::Nodes(said) => {
                for (node, address) in said {
                    match address {
                        Some(address) => drop(state.nodes.insert(*node, *address)),
                        None => drop(state.nodes.remove(node)),
                    }
                }
            }
            _ => return,
        }
        state.is_new = true;
        drop(state);
        self.changed.notify_one();
    }

    /// What a gateway of `node` begins with: where others listen, and services with their
    /// replicas elsewhere. Those that were here have ended with the process before.
    pub(crate) fn elsewhere(
        &self,
        node: NodeId,
    ) -> (Vec<(NodeId, Option<SocketAddr>)>, Vec<Endpoints>) {
        let state = self.state();
        let nodes = state.nodes.iter().map(|(node, address)| (*node, Some(*address))).collect();
        let mut services: Vec<_> = state.services.values().cloned().collect();
        for revision in services.iter_mut().flat_map(|service| &mut service.revisions) {
            revision.replicas.retain(|replica| replica.node != node);
        }
        (nodes, services)
    }

    /// Writes what is new, again and again, until it is closed.
    pub(crate) async fn keep(self: Arc<Self>) {
        let mut pause = WRITE_EVERY;
        loop {
            self.changed.notified().await;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.closing.notified() => {}
            }
            let closed = self.state().closed;
            let (known, begun) = (Arc::clone(&self), Instant::now());
            let written = tokio::task::spawn_blocking(move || known.write()).await;
            if let Ok(Err(error)) = written {
                let path = self.path.display();
                tracing::warn!(%path, %error, "what the gateway knows is not kept");
            }
            pause = WRITE_EVERY.max(begun.elapsed() * SHARE);
            if closed {
                return;
            }
        }
    }

    /// [`Self::keep`] writes for the last time, and returns.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.closing.notify_one();
        self.changed.notify_one();
    }

    fn write(&self) -> io::Result<()> {
        let content = {
            let mut state = self.state();
            if !std::mem::take(&mut state.is_new) {
                return Ok(());
            }
            state.encode()
        };
        let new = self.path.with_extension("new");
        // Not synced: what a power failure leaves of it is found to be damaged.
        fs::write(&new, content)?;
        fs::rename(&new, &self.path)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The messages by which the server would say the same.
    fn encode(&self) -> Vec<u8> {
        let mut frames = Vec::new();
        let mut on = BTreeSet::new();
        for told in self.services.values() {
            let services = vec![told.clone()];
            let message = ToWorker::Services { whole: false, services };
            let fits = codec::append_frame(&mut frames, &message).is_ok();
            if !fits || frames.len() > LARGEST / 2 {
                tracing::warn!(service = %told.id, "too much is known of services to keep all");
                break;
            }
            let replicas = told.revisions.iter().flat_map(|revision| &revision.replicas);
            on.extend(replicas.map(|replica| replica.node));
        }
        let nodes = self.nodes.iter().filter(|(node, _)| on.contains(node));
        for (node, address) in nodes {
            let message = ToWorker::Nodes(vec![(*node, Some(*address))]);
            if codec::append_frame(&mut frames, &message).is_err() || frames.len() > LARGEST {
                break;
            }
        }
        [ALPN, digest(&SHA256, &frames).as_ref(), &frames].concat()
    }
}

fn read(path: &Path) -> io::Result<Vec<ToWorker>> {
    if fs::metadata(path)?.len() > 2 * LARGEST as u64 {
        return Err(io::Error::other("it is too large"));
    }
    let content = fs::read(path)?;
    let rest = content.strip_prefix(ALPN);
    let Some((sum, frames)) = rest.and_then(|rest| rest.split_at_checked(SHA256_OUTPUT_LEN)) else {
        return Err(io::Error::other("another version of wrun wrote it"));
    };
    if digest(&SHA256, frames).as_ref() != sum {
        return Err(io::Error::other("it is damaged"));
    }
    messages(frames).ok_or_else(|| io::Error::other("it cannot be read"))
}

fn messages(mut frames: &[u8]) -> Option<Vec<ToWorker>> {
    let mut messages = Vec::new();
    while !frames.is_empty() {
        let (header, rest) = frames.split_first_chunk::<HEADER>()?;
        let size = codec::frame_size(*header).ok()?;
        let (payload, rest) = rest.split_at_checked(size)?;
        messages.push(codec::decode(payload).ok()?);
        frames = rest;
    }
    Some(messages)
}

#[cfg(test)]
mod tests {
    use wrun_protocol::JobId;
    use wrun_protocol::service::HttpService;
    use wrun_protocol::wire::service::{Endpoint, RevisionEndpoints};

    use super::*;

    fn endpoints(name: &str, nodes: &[u64]) -> Endpoints {
        let endpoint =
            |(index, node): (u32, &u64)| Endpoint { index, attempt: 1, node: NodeId(*node) };
        let revision = RevisionEndpoints {
            revision: 3,
            job: JobId(7),
            weight: 1,
            header: None,
            concurrency: 16,
            replicas: (0..).zip(nodes).map(endpoint).collect(),
        };
        Endpoints {
            id: ServiceId { tenant: "lab".parse().unwrap(), name: name.parse().unwrap() },
            http: HttpService { routes: vec!["/api".parse().unwrap()], ..HttpService::default() },
            revisions: vec![revision],
        }
    }

    fn services(whole: bool, services: Vec<Endpoints>) -> ToWorker {
        ToWorker::Services { whole, services }
    }

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    async fn kept(path: &Path, messages: &[ToWorker]) {
        let known = Arc::new(Known::open(path.to_owned()));
        let keeping = tokio::spawn(Arc::clone(&known).keep());
        messages.iter().for_each(|message| known.on_message(message));
        known.close();
        keeping.await.unwrap();
    }

    #[tokio::test]
    async fn what_the_server_said_last_is_there_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("services");
        let gone = endpoints("gone", &[2]);
        let messages = [
            services(true, vec![endpoints("old", &[2])]),
            services(true, vec![endpoints("api", &[1]), gone.clone()]),
            services(false, vec![endpoints("api", &[1, 2, 3])]),
            ToWorker::ServicesGone(vec![gone.id]),
            ToWorker::Nodes(vec![(NodeId(2), Some(address(2))), (NodeId(9), Some(address(9)))]),
            ToWorker::Nodes(vec![(NodeId(3), Some(address(3)))]),
            ToWorker::Nodes(vec![(NodeId(3), None)]),
        ];
        kept(&path, &messages).await;
        let (nodes, services) = Known::open(path.clone()).elsewhere(NodeId(1));
        assert_eq!(nodes, [(NodeId(2), Some(address(2)))], "without those that have no replica");
        let mut expected = endpoints("api", &[1, 2, 3]);
        expected.revisions[0].replicas.remove(0);
        assert_eq!(services, [expected], "what was here has ended");
        // A start that hears of nothing keeps it.
        kept(&path, &[]).await;
        assert_eq!(Known::open(path).elsewhere(NodeId(9)).1, [endpoints("api", &[1, 2, 3])]);
    }

    #[tokio::test]
    async fn a_file_that_is_damaged_or_of_another_version_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("services");
        kept(&path, &[services(true, vec![endpoints("api", &[2])])]).await;
        let good = fs::read(&path).unwrap();
        let is_used = |content: &[u8]| {
            fs::write(&path, content).unwrap();
            !Known::open(path.clone()).elsewhere(NodeId(1)).1.is_empty()
        };
        assert!(is_used(&good));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(!is_used(&bad), "byte {at}");
            assert!(!is_used(&good[..at]), "cut at {at}");
        }
        kept(&path, &[services(true, vec![endpoints("new", &[2])])]).await;
        assert_eq!(Known::open(path).elsewhere(NodeId(1)).1, [endpoints("new", &[2])]);
    }
}
