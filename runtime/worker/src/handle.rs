//! Starting a worker, and what its owner holds of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use wrun_gateway::{Gateway, Upstream};
use wrun_inference::Engine;
use wrun_protocol::card::CardState;
use wrun_protocol::inference::NodeInference;
use wrun_protocol::node::NodeInfo;
use wrun_protocol::wire::service::GatewayAddresses;
use wrun_protocol::{NodeId, Resources, limits};
use wrun_sandbox::{Sandbox, SandboxConfig};

use crate::agent::{Agent, Command, Parts};
use crate::artefacts::Artefacts;
use crate::blobs::Blobs;
use crate::cards::Cards;
use crate::data_dir::DataDir;
use crate::executor::Executor;
use crate::floor::{Floor, start_spiller};
use crate::gang::Gangs;
use crate::inference::{OWN_LABELS, labels};
use crate::join::membership;
use crate::link::{Dial, QuicDial};
use crate::log::SpillDir;
use crate::peers::Peers;
use crate::service::{Carrier, Entrance, Known, Replicas, Requests};
use crate::setup::Workshop;
use crate::{WorkerConfig, WorkerError, link};

/// How long the worker waits for what; tests have less patience.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// The first pause after a connection that was lost.
    pub(crate) first_pause: Duration,
    /// How often progress is passed on, and tasks that run long are told of.
    pub(crate) sweep: Duration,
    /// After the last task of a draining worker: how long the server may take to
    /// acknowledge its reports.
    pub(crate) last_reports: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(100),
            sweep: Duration::from_millis(100),
            last_reports: Duration::from_secs(5),
        }
    }
}

/// Commands that wait; the second of a kind changes nothing.
const COMMANDS: usize = 4;

/// How the worker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Runs,
    Ended,
    Fault,
}

/// A running worker. Dropping it stops the worker at once.
#[derive(Debug)]
pub struct WorkerHandle {
    node: NodeId,
    warnings: Vec<String>,
    /// Where its gateway listens, for HTTP and for HTTPS.
    listens: (Vec<SocketAddr>, Vec<SocketAddr>),
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<State>,
}

/// Takes the data directory, joins if it must, builds the sandbox and starts the agent,
/// which connects and reconnects on its own from then on.
pub async fn start(mut config: WorkerConfig) -> Result<WorkerHandle, WorkerError> {
    check(&config)?;
    let root = config.data_dir.clone();
    let data = off_thread(move || DataDir::open(&root)).await??;
    let member = membership(&config, &data).await?;
    let Cards { gpus, cards, states } = Cards::of_node(config.find_cards, &config.offer.gpus).await;
    config.offer.gpus = gpus;
    let inference = wrun_inference::Config {
        cards,
        threads: config.threads,
        model_memory: config.model_memory,
        back_ends: config.back_ends.clone(),
        // What can be pushed can be loaded.
        limits: wrun_inference::Limits {
            model_bytes: limits::MAX_MODEL,
            ..wrun_inference::Limits::default()
        },
        ..wrun_inference::Config::default()
    };
    // Native libraries are tried out, so that the server hears what can be had here.
    let engine = off_thread(move || Engine::start(inference)).await??;
    let inference = engine.about().clone();
    let sandbox_config = SandboxConfig {
        threads: config.threads,
        slots: config.capacity.slots,
        memory: config.capacity.memory,
        cache_bytes: config.compiled_bytes,
        inference: Some(engine),
        ..SandboxConfig::new(data.compiled())
    };
    let sandbox = off_thread(move || Sandbox::new(sandbox_config)).await??;
    let warnings = sandbox.warnings().to_vec();
    let peers = Peers::bind(config.peer_listen, member.identity.clone(), member.authority.clone())?;
    let dial = QuicDial {
        server: config.server.clone(),
        identity: member.identity,
        authority: member.authority,
    };
    let standing =
        Standing { node: member.node, warnings, inference, cards: states, peers: Some(peers) };
    launch(config, Timing::default(), data, standing, sandbox, Box::new(dial)).await
}

/// Who this worker is to others.
pub(crate) struct Standing {
    pub(crate) node: NodeId,
    pub(crate) warnings: Vec<String>,
    /// How it runs models.
    pub(crate) inference: NodeInference,
    /// How its cards are.
    pub(crate) cards: watch::Receiver<Vec<CardState>>,
    /// How it reaches other nodes; tests of one worker have none.
    pub(crate) peers: Option<Arc<Peers>>,
}

fn check(config: &WorkerConfig) -> Result<(), WorkerError> {
    let refuse = |setting, problem: String| Err(WorkerError::Setting { setting, problem });
    let Resources { cpu_milli, memory, slots, .. } = config.capacity;
    if config.threads == 0 {
        return refuse("threads", "at least 1".to_owned());
    }
    if cpu_milli == 0 || slots == 0 || memory < limits::MIN_MEMORY {
        return refuse(
            "capacity",
            format!("{}: give some CPU, at least 1 MiB of memory and 1 slot", config.capacity),
        );
    }
    if !config.http.https.is_empty() && config.http.tls.is_none() {
        return refuse("https", "it needs a certificate and its key".to_owned());
    }
    if let Some(label) = config.labels.keys().find(|key| key.starts_with(OWN_LABELS)) {
        let problem = format!("`{label}`: a node gives itself those that begin with {OWN_LABELS}");
        return refuse("labels", problem);
    }
    if config.name.is_empty() || config.name.len() > limits::MAX_NAME {
        return refuse("name", format!("use 1 to {} bytes", limits::MAX_NAME));
    }
    Ok(())
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, WorkerError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| WorkerError::Fault)
}

/// Puts the parts together around `executor` and sets them going.
pub(crate) async fn launch<E: Executor>(
    config: WorkerConfig,
    timing: Timing,
    data: DataDir,
    standing: Standing,
    executor: E,
    dial: Box<dyn Dial>,
) -> Result<WorkerHandle, WorkerError> {
    let in_data = |source| WorkerError::DataDir { path: data.root().to_owned(), source };
    let spill = Arc::new(SpillDir::new(&data.logs()));
    let (spiller, _thread) = start_spiller(spill.clone()).map_err(in_data)?;
    let (current, connection) = watch::channel(None);
    let blobs = Arc::new(Blobs::new(connection));
    let artefacts =
        Artefacts::open(&data.artefacts(), &data.incoming(), config.artefact_bytes, blobs.clone())
            .map_err(in_data)?;
    let Standing { node, warnings, inference, cards, peers } = standing;
    let listens = peers.as_ref().map(|peers| peers.local_addr());
    let replicas = Arc::new(Replicas::new());
    let carrier = Arc::new(Carrier::new(node, Arc::clone(&replicas), peers.clone()));
    let upstream = Arc::clone(&carrier) as Arc<dyn Upstream>;
    let gateway = Gateway::new(config.http.gateway(node), upstream)?;
    let known = off_thread({
        let path = data.services();
        move || Arc::new(Known::open(path))
    });
    let known = known.await?;
    let (nodes, services) = known.elsewhere(node);
    carrier.on_nodes(nodes);
    gateway.on_services(true, services);
    let entrance = Entrance::open(&gateway, &config.http).await?;
    let GatewayAddresses { http, https } = entrance.addresses();
    let gangs = Gangs::new(node, peers.clone());
    if let Some(peers) = &peers {
        peers.serve(&gangs, &(Arc::clone(&replicas) as Arc<dyn Requests>));
    }
    let (scratch, mounts) = (data.scratch(), data.mounts());
    let (capacity, for_floor) = (config.capacity, Arc::clone(&gangs));
    let floor = Floor::new(executor, capacity, scratch, spill, spiller, for_floor, replicas);
    let workshop = Workshop::new(floor.clone(), Arc::new(artefacts), mounts, gateway.clone());
    let (events, link_events) = mpsc::channel(link::INWARD);
    let (commands, received) = mpsc::channel(COMMANDS);
    let parts = Parts {
        info: NodeInfo {
            name: config.name,
            capacity: config.capacity,
            labels: config.labels.into_iter().chain(labels(&inference)).collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        offer: config.offer,
        inference,
        cards,
        listens,
        gangs,
        gateway,
        carrier,
        known: Arc::clone(&known),
        entrance: Some(entrance),
        incarnation: link::random(),
        grace: config.grace,
        timing,
        floor: floor.clone(),
        workshop: Arc::new(workshop),
        blobs,
        link: link_events,
        commands: received,
    };
    let connecting = tokio::spawn(link::run(dial, timing.first_pause, floor, events, current));
    let keeping = tokio::spawn(Arc::clone(&known).keep());
    let agent = tokio::spawn(Agent::new(parts).run());
    let (tell, state) = watch::channel(State::Runs);
    tokio::spawn(async move {
        let ended = agent.await;
        connecting.abort();
        let _ = connecting.await;
        known.close();
        let _ = keeping.await;
        // Released before the owner hears of the end, who may start the next one here.
        drop(data);
        tell.send_replace(if ended.is_ok() { State::Ended } else { State::Fault });
    });
    Ok(WorkerHandle { node, warnings, listens: (http, https), commands, state })
}

impl WorkerHandle {
    /// The node's number in the cluster.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// What this machine lacks, in words for the operator; empty when nothing.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Where its gateway takes HTTP, in the order of [`crate::HttpConfig::http`].
    pub fn http_addresses(&self) -> &[SocketAddr] {
        &self.listens.0
    }

    /// Where its gateway takes HTTPS, in the order of [`crate::HttpConfig::https`].
    pub fn https_addresses(&self) -> &[SocketAddr] {
        &self.listens.1
    }

    /// Hands back what has not started, waits for the rest up to the grace time, hands
    /// back what is left, and ends. Returns when that is done.
    pub async fn drain(&self) {
        // If it has ended already, there is nothing to drain.
        let _ = self.commands.send(Command::Drain).await;
        let _ = self.ended().await;
    }

    /// Stops at once: guests are stopped, nothing is handed back. Returns before that is
    /// done; see [`WorkerHandle::ended`].
    pub fn stop(&self) {
        // A full queue holds a stop or a drain that a stop follows when this is dropped.
        let _ = self.commands.try_send(Command::Stop);
    }

    /// Waits until the worker has ended.
    pub async fn ended(&self) -> Result<(), WorkerError> {
        let mut state = self.state.clone();
        match state.wait_for(|state| *state != State::Runs).await.as_deref() {
            Ok(State::Ended) => Ok(()),
            _ => Err(WorkerError::Fault),
        }
    }
}
