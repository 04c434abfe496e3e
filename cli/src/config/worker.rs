//! The worker's settings, from flags, environment and `worker.toml`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wrun_net::{JoinAddress, ServerAddress};
use wrun_protocol::Resources;
use wrun_protocol::limits::MAX_NAME;
use wrun_worker::{AccessLog, AddressRange, HttpConfig, OWN_LABELS, TlsFiles, WorkerConfig};

use super::{beside, machine, setting_error, text, texts};
use crate::error::Error;
use crate::exit::Exit;
use crate::syntax::daemon::{Gateway, Inference, Worker};
use crate::value::{BackEnd, Cards, Cpu, ProviderName, Size, Span, Whole};

/// In the data folder: where the server was when the node last started, and its name then.
const LAST_FILE: &str = "last-start.toml";

/// What a start without flags goes by.
#[derive(Default, Deserialize, Serialize)]
struct LastStart {
    server: String,
    name: String,
}

/// The configuration file of `wrun worker`. A relative path is relative to the file's folder.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkerFile {
    /// TOKEN@HOST:PORT, needed once. A secret: keep the file private.
    #[serde(default, deserialize_with = "text")]
    #[schemars(with = "Option<String>")]
    join: Option<JoinAddress>,
    /// HOST:PORT of the server.
    #[serde(default, deserialize_with = "text")]
    #[schemars(with = "Option<String>")]
    server: Option<ServerAddress>,
    /// Where identity, caches and scratch space are kept; for one worker alone.
    data: Option<PathBuf>,
    /// The node's name, unique in the cluster.
    name: Option<String>,
    /// Cores that tasks may take.
    #[schemars(with = "Option<f64>")]
    cpu: Option<Cpu>,
    /// Memory that tasks may take.
    memory: Option<Size>,
    /// Disk that tasks may take as scratch space.
    scratch: Option<Size>,
    /// How many tasks may be there at once.
    slots: Option<Whole<1, 100_000>>,
    /// Labels that jobs may ask for.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// GPUs that jobs may ask for beside those that are found: "MODEL:MEMORY" or "NxMODEL:MEMORY".
    #[serde(default, deserialize_with = "texts")]
    #[schemars(with = "Vec<String>")]
    gpus: Vec<Cards>,
    /// Whether NVIDIA's driver is asked for the cards that there are. True unless set.
    find_gpus: Option<bool>,
    /// Resources that jobs may ask for by name, with the amount.
    #[serde(default)]
    resources: BTreeMap<String, u64>,
    /// How long running tasks may go on when the worker drains.
    grace: Option<Span>,
    /// The UDP address where other nodes reach this one, for messages within gangs.
    #[serde(default, deserialize_with = "text")]
    #[schemars(with = "Option<String>")]
    peer_listen: Option<SocketAddr>,
    /// TCP addresses where HTTP requests for services come in.
    #[serde(default, deserialize_with = "texts")]
    #[schemars(with = "Vec<String>")]
    http: Vec<SocketAddr>,
    /// The same with TLS.
    #[serde(default, deserialize_with = "texts")]
    #[schemars(with = "Vec<String>")]
    https: Vec<SocketAddr>,
    /// The certificate's chain in PEM, the server's own first.
    tls_cert: Option<PathBuf>,
    /// The certificate's private key in PEM.
    tls_key: Option<PathBuf>,
    /// From where X-Forwarded-* and Forwarded are believed.
    #[serde(default, deserialize_with = "texts")]
    #[schemars(with = "Vec<String>")]
    trusted_proxies: Vec<AddressRange>,
    /// A file in which each request leaves a line, or "log" for standard error.
    access_log: Option<PathBuf>,
    /// Threads that carry requests and messages.
    io_threads: Option<Whole<1, 1024>>,
    /// Connections of HTTP clients, at most.
    max_connections: Option<Whole<1, 1_000_000>>,
    /// HTTP requests under way for the services of one tenant, at most.
    max_requests_per_tenant: Option<Whole<1, 1_000_000>>,
    /// Disk that downloaded components and files may take.
    artefacts: Option<Size>,
    /// Disk that compiled components may take.
    compiled: Option<Size>,
    /// Memory that loaded models may take, beside that of tasks.
    model_memory: Option<Size>,
    /// What runs models, in the order in which it is tried: "tract", "onnxruntime".
    #[serde(default, deserialize_with = "texts")]
    #[schemars(with = "Vec<String>")]
    back_ends: Vec<BackEnd>,
    /// The library of ONNX Runtime.
    onnxruntime: Option<PathBuf>,
    /// What ONNX Runtime runs models on, in the order in which it is tried: "tensorrt", "cuda",
    /// "webgpu", "cpu".
    #[serde(default, deserialize_with = "texts")]
    #[schemars(with = "Vec<String>")]
    providers: Vec<ProviderName>,
}

/// How a worker is set up.
pub(crate) struct Configured {
    pub(crate) worker: WorkerConfig,
    pub(crate) io_threads: usize,
}

/// How many threads carry requests and messages beside so many that run guests: each of them does
/// little, and the more they are the more often one has to be woken up for it.
pub(crate) fn io_threads(guest_threads: usize) -> usize {
    (guest_threads / 2).max(1)
}

/// Puts together what was said, and checks it.
pub(crate) fn config(args: &Worker) -> Result<Configured, Error> {
    let (file, source) = super::read::<WorkerFile>(args.config.as_deref(), "worker")?;
    let source = source.as_ref();
    let data = args
        .data
        .clone()
        .or_else(|| file.data.map(|path| beside(source, path)))
        .or_else(|| machine::data_dir("worker"))
        .ok_or_else(|| {
            Error::new(Exit::Config, "no data folder: neither --data nor HOME is set")
                .todo("name one with --data")
        })?;
    let last = last_start(&data);
    let join = args.join.clone().or(file.join);
    let server = args
        .server
        .clone()
        .or(file.server)
        .or_else(|| join.as_ref().map(|join| join.server.clone()))
        .or_else(|| last.as_ref()?.server.parse().ok())
        .ok_or_else(|| {
            Error::new(Exit::Config, "it is not said which cluster to join")
                .todo("pass --join TOKEN@HOST:PORT, as `wrun token create` prints it")
        })?;
    let name_in_file = args.name.is_none() && file.name.is_some();
    let mut config = WorkerConfig::new(server.to_string(), data);
    config.join = join.map(|join| join.token);
    config.name =
        args.name.clone().or(file.name).or_else(|| Some(last?.name)).unwrap_or_else(machine::name);
    if config.name.is_empty()
        || config.name.len() > MAX_NAME
        || config.name.contains(char::is_control)
    {
        let problem = format!("`{}`: use 1 to {MAX_NAME} bytes", config.name.escape_default());
        return Err(setting_error(source, name_in_file, "name", &problem));
    }
    let defaults = config.capacity;
    let cpu = args.cpu.or(file.cpu).map_or(machine::cores() * 1000, |cpu| cpu.milli);
    config.threads = usize::try_from(cpu.div_ceil(1000)).unwrap_or(1).max(1);
    config.capacity = Resources {
        cpu_milli: cpu,
        memory: args.memory.or(file.memory).map_or_else(machine::memory_for_tasks, |size| size.0),
        scratch: args.scratch.or(file.scratch).map_or(defaults.scratch, |size| size.0),
        slots: args.slots.or(file.slots).map_or(defaults.slots, |slots| slots.0),
    };
    if let Some(label) = file.labels.keys().find(|key| key.starts_with(OWN_LABELS)) {
        return Err(setting_error(source, true, "labels", &own_label(label)));
    }
    if let Some(pair) = args.label.iter().find(|pair| pair.key.starts_with(OWN_LABELS)) {
        return Err(setting_error(source, false, "label", &own_label(&pair.key)));
    }
    config.labels = file.labels;
    config.labels.extend(args.label.iter().map(|pair| (pair.key.clone(), pair.value.clone())));
    let cards = if args.gpu.is_empty() { file.gpus } else { args.gpu.clone() };
    config.offer.gpus = cards.into_iter().flat_map(|cards| cards.0).collect();
    config.find_cards = file.find_gpus.unwrap_or(true);
    config.offer.named = file.resources;
    let named = args.resource.iter().map(|amount| (amount.name.clone(), amount.amount));
    config.offer.named.extend(named);
    if let Err(problem) = config.offer.check() {
        return Err(setting_error(source, args.gpu.is_empty(), "gpus", &problem));
    }
    if let Some(grace) = args.grace.or(file.grace) {
        config.grace = grace.duration();
    }
    config.peer_listen = args.peer_listen.or(file.peer_listen).unwrap_or(config.peer_listen);
    let path = |path| beside(source, path);
    let from_file = Gateway {
        http: file.http,
        https: file.https,
        tls_cert: file.tls_cert.map(path),
        tls_key: file.tls_key.map(path),
        trusted_proxy: file.trusted_proxies,
        access_log: file.access_log.map(|log| if is_log(&log) { log } else { path(log) }),
    };
    config.http = gateway(&args.gateway, from_file)?;
    config.http.connections = file.max_connections.map(|most| most.0 as usize);
    config.http.requests_per_tenant = file.max_requests_per_tenant.map(|most| most.0);
    config.artefact_bytes = file.artefacts.map_or(config.artefact_bytes, |size| size.0);
    config.compiled_bytes = file.compiled.map_or(config.compiled_bytes, |size| size.0);
    let models = file.model_memory.map(|size| size.0);
    config.model_memory = models.unwrap_or_else(machine::memory_for_models);
    let from_file = Inference {
        back_end: file.back_ends,
        onnxruntime: file.onnxruntime.map(path),
        provider: file.providers,
    };
    config.back_ends =
        super::inference::back_ends(&args.inference, from_file, source, config.threads)?;
    let io_threads = file.io_threads.map_or(io_threads(config.threads), |most| most.0 as usize);
    Ok(Configured { worker: config, io_threads })
}

fn own_label(label: &str) -> String {
    format!("`{label}`: labels that begin with `{OWN_LABELS}` are those that a node gives itself")
}

/// Where the lines of requests go that go to the log.
const LOG: &str = "log";

/// How large a file of such lines becomes, and how many older ones are kept.
const ACCESS_LOG: (u64, u32) = (100 << 20, 5);

fn is_log(path: &Path) -> bool {
    path.as_os_str() == LOG
}

/// How HTTP comes in: what was said on the command line before what the file says.
pub(crate) fn gateway(args: &Gateway, file: Gateway) -> Result<HttpConfig, Error> {
    let listed = |args: &[SocketAddr], file| if args.is_empty() { file } else { args.to_vec() };
    let mut config = HttpConfig {
        http: listed(&args.http, file.http),
        https: listed(&args.https, file.https),
        ..HttpConfig::default()
    };
    let certificate = args.tls_cert.clone().or(file.tls_cert);
    let key = args.tls_key.clone().or(file.tls_key);
    config.tls = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
        (None, None) if config.https.is_empty() => None,
        (certificate, _) => {
            let missing = if certificate.is_none() { "--tls-cert" } else { "--tls-key" };
            let text = format!(
                "`{missing}`: a certificate and its key go together, and --https needs both"
            );
            return Err(Error::new(Exit::Config, text).todo(format_args!("add {missing} FILE")));
        }
    };
    config.trusted_proxies =
        if args.trusted_proxy.is_empty() { file.trusted_proxy } else { args.trusted_proxy.clone() };
    let (bytes, keep) = ACCESS_LOG;
    config.access_log = match args.access_log.clone().or(file.access_log) {
        None => AccessLog::Off,
        Some(path) if is_log(&path) => AccessLog::Events,
        Some(path) => AccessLog::File { path, bytes, keep },
    };
    Ok(config)
}

fn last_start(data: &Path) -> Option<LastStart> {
    toml::from_str(&std::fs::read_to_string(data.join(LAST_FILE)).ok()?).ok()
}

/// Keeps where the server is and the node's name, so that the next start needs no flag.
pub(crate) fn remember(config: &WorkerConfig) -> Result<(), Error> {
    let path = config.data_dir.join(LAST_FILE);
    let last = LastStart { server: config.server.clone(), name: config.name.clone() };
    let text = toml::to_string(&last).map_err(|cause| Error::from_cause(Exit::Internal, &cause))?;
    std::fs::write(&path, text).map_err(|cause| Error::file("write", &path, &cause))
}

/// A worker's error as the command's.
pub(crate) fn explain(error: &wrun_worker::WorkerError) -> Error {
    use wrun_worker::WorkerError as W;
    let exit = match error {
        W::Setting { .. } => Exit::Config,
        W::Locked { .. } => Exit::Conflict,
        W::DataDir { source, .. } if crate::error::is_disk_full(source) => Exit::StorageFull,
        W::DataDir { .. } | W::PeerListen(_) => Exit::Io,
        W::NoIdentity { .. } | W::Identity { .. } => Exit::Denied,
        W::Unreachable(cause) => crate::client::exit_of(cause),
        W::Refused { refusal, .. } => refusal.code.into(),
        W::Join { .. } => Exit::Unavailable,
        _ => Exit::Internal,
    };
    Error::from_cause(exit, error)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use wrun_worker::{BackEndConfig, Provider};

    use super::*;
    use crate::syntax::{Cli, Command};

    fn with_file(text: &str, flags: &[&str]) -> Result<WorkerConfig, String> {
        configured(text, flags).map(|configured| configured.worker)
    }

    fn configured(text: &str, flags: &[&str]) -> Result<Configured, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worker.toml");
        std::fs::write(&path, text).unwrap();
        let line = ["wrun", "worker", "--config", path.to_str().unwrap()];
        let cli = Cli::try_parse_from(line.into_iter().chain(flags.iter().copied())).unwrap();
        let Command::Worker(args) = cli.command else { panic!() };
        config(&args).map_err(|error| {
            error.to_string().replace(&format!("{}/", folder.path().display()), "")
        })
    }

    #[test]
    fn half_as_many_threads_carry_as_run_guests() {
        let of = |rest: &str| configured(&format!("server = \"a:1\"\n{rest}"), &[]);
        let threads = |rest: &str| of(rest).map(|configured| configured.io_threads).unwrap();
        assert_eq!(["cpu = 1", "cpu = 2.5", "cpu = 8"].map(threads), [1, 1, 4]);
        assert_eq!(threads("cpu = 8\nio_threads = 8"), 8);
    }

    #[test]
    fn a_flag_wins_over_the_file_and_labels_add_up() {
        let file = "server = \"a:1\"\nname = \"x\"\ncpu = 4\nmemory = \"1G\"\nlabels = { a = \"1\", b = \"2\" }\n";
        let config = with_file(file, &["--name", "y", "--label", "b=3"]).unwrap();
        assert_eq!((config.name.as_str(), config.server.as_str()), ("y", "a:1"));
        assert_eq!((config.capacity.cpu_milli, config.threads), (4000, 4));
        assert_eq!(config.capacity.memory, 1 << 30);
        assert_eq!(config.labels["a"], "1");
        assert_eq!(config.labels["b"], "3");
    }

    #[test]
    fn a_gateway_is_said_by_flags_or_file() {
        let file = "server = \"a:1\"\nhttp = [\"0.0.0.0:80\", \"[::]:80\"]\ntls_cert = \"c.pem\"\n\
                    tls_key = \"/k.pem\"\naccess_log = \"log\"\ntrusted_proxies = [\"10.0.0.0/8\"]\n\
                    max_connections = 100\nmax_requests_per_tenant = 50\n";
        let config = with_file(file, &["--https", "127.0.0.1:0"]).unwrap().http;
        assert_eq!((config.http.len(), config.https.len()), (2, 1));
        let tls = config.tls.unwrap();
        assert!(tls.certificate.ends_with("c.pem") && tls.certificate != Path::new("c.pem"));
        assert_eq!(tls.key, Path::new("/k.pem"));
        assert_eq!((config.access_log, config.trusted_proxies.len()), (AccessLog::Events, 1));
        assert_eq!((config.connections, config.requests_per_tenant), (Some(100), Some(50)));
        let config = with_file(file, &["--http", "127.0.0.1:0"]).unwrap().http;
        assert_eq!(config.http, ["127.0.0.1:0".parse().unwrap()]);
        for (flags, missing) in [
            (&["--https", "127.0.0.1:0"][..], "--tls-cert"),
            (&["--tls-cert", "c.pem"], "--tls-key"),
        ] {
            let error = with_file("server = \"a:1\"\n", flags).unwrap_err();
            assert!(error.starts_with(&format!("`{missing}`: a certificate")), "{error}");
        }
        let error = with_file("http = [\"80\"]", &[]).unwrap_err();
        assert!(error.starts_with("worker.toml:1:8: `http`"), "{error}");
    }

    #[test]
    fn back_ends_are_said_by_flags_or_file_and_are_tract_unless_said() {
        let tract = with_file("server = \"a:1\"", &[]).unwrap();
        assert_eq!(tract.back_ends, [BackEndConfig::Tract]);
        let file = "server = \"a:1\"\ncpu = 2\nback_ends = [\"onnxruntime\", \"tract\"]\n\
                    onnxruntime = \"lib/libonnxruntime.so\"\nproviders = [\"cuda\", \"cpu\"]\n";
        let of = |config: WorkerConfig| match config.back_ends.as_slice() {
            [BackEndConfig::OnnxRuntime(runtime), BackEndConfig::Tract] => runtime.clone(),
            other => panic!("{other:?}"),
        };
        let runtime = of(with_file(file, &[]).unwrap());
        assert_eq!((runtime.providers, runtime.threads), (vec![Provider::Cuda, Provider::Cpu], 2));
        let library = runtime.library.unwrap();
        assert!(library.is_absolute() && library.ends_with("lib/libonnxruntime.so"));
        let flags = ["--provider", "webgpu,cpu", "--onnxruntime", "/o.so"];
        let runtime = of(with_file(file, &flags).unwrap());
        assert_eq!(runtime.providers, [Provider::WebGpu, Provider::Cpu]);
        assert_eq!(runtime.library.as_deref(), Some(Path::new("/o.so")));
        let error = with_file("server = \"a:1\"", &["--label", "nn.x=1"]).unwrap_err();
        assert!(error.starts_with("`label`: `nn.x`: labels"), "{error}");
    }

    #[test]
    fn server_and_name_are_remembered() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().to_str().unwrap();
        let none = with_file("", &["--data", path]).unwrap_err();
        assert!(none.contains("--join"), "{none}");
        let mut config = WorkerConfig::new("a:7", data.path());
        config.name = "x".to_owned();
        remember(&config).unwrap();
        let config = with_file("", &["--data", path]).unwrap();
        assert_eq!((config.server.as_str(), config.name.as_str()), ("a:7", "x"));
    }

    #[test]
    fn what_cannot_be_is_told_with_file_line_and_key() {
        for (text, expected) in [
            ("memroy = 1", "worker.toml:1:1: unknown key `memroy`; did you mean `memory`?"),
            ("slots = 0", "worker.toml:1:9: `slots`: `0`: write a whole number from 1"),
            ("max_connections = 0", "worker.toml:1:19: `max_connections`: `0`: write a whole"),
            ("back_ends = [\"onnx\"]", "worker.toml:1:13: `back_ends`: `onnx`: write tract or"),
            (
                "providers = [\"gpu\"]",
                "worker.toml:1:13: `providers`: `gpu`: write one of tensorrt",
            ),
            (
                "server = \"a:1\"\nback_ends = [\"tract\", \"tract\"]",
                "worker.toml:2:13: `back_ends`: `tract` is there twice",
            ),
            (
                "server = \"a:1\"\nproviders = [\"cpu\"]",
                "worker.toml:2:13: `providers`: it is for the back end onnxruntime, which",
            ),
            (
                "server = \"a:1\"\nlabels = { \"nn.tract\" = \"1\" }",
                "worker.toml:2:10: `labels`: `nn.tract`: labels that begin with `nn.`",
            ),
            ("join = \"x\"", "worker.toml:1:8: `join`: expected TOKEN@HOST:PORT"),
            ("server = \"a:1\"\nname = \"\"", "worker.toml:2:8: `name`: ``: use 1 to"),
        ] {
            let error = with_file(text, &[]).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
