//! What a service file may say, and how it is told that it may not.

use std::path::{Path, PathBuf};

use clap::Parser;
use wrun_protocol::JobSpec;
use wrun_protocol::service::{
    CanaryStep, HeaderMatch, RestartWhen, Reuse, ScaleOn, ServiceKind, ServiceSpec, Strategy,
};

use crate::error::Error;
use crate::exit::Exit;
use crate::plan::Loaded;
use crate::syntax::{Cli, Command};

/// The smallest component that exports an interface; what is in it is nobody's concern here.
fn component(interface: &str, function: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            (instance (export "{interface}") (export "{function}" (func $f))))"#
    );
    wat::parse_str(text).unwrap()
}

/// A folder with a component of each kind.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes| std::fs::write(folder.path().join(name), bytes).unwrap();
        write("api.wasm", component("wasi:http/incoming-handler@0.2.3", "handle"));
        write("tool.wasm", component("wasi:cli/run@0.2.3", "run"));
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, text: &str) -> PathBuf {
        std::fs::write(self.path("service.toml"), text).unwrap();
        self.path("service.toml")
    }

    /// What is wrong, without the folder's name.
    fn said(&self, error: &Error) -> String {
        error.to_string().replace(&format!("{}/", self.0.path().display()), "")
    }
}

fn load(service: &Path, flags: &[&str]) -> Result<Loaded, Error> {
    let line =
        ["wrun", "deploy", service.to_str().unwrap()].into_iter().chain(flags.iter().copied());
    let Command::Deploy(args) = Cli::try_parse_from(line).unwrap().command else { panic!() };
    super::load(&args)
}

fn service(spec: &JobSpec) -> &ServiceSpec {
    spec.service.as_deref().unwrap()
}

#[test]
fn a_component_alone_is_a_service() {
    let folder = Folder::new();
    std::fs::copy(folder.path("api.wasm"), folder.path("My_Api.wasm")).unwrap();
    let spec = load(&folder.path("My_Api.wasm"), &["--route", "/api"]).unwrap().spec;
    assert_eq!(spec.name, "my-api");
    let http = service(&spec).http().unwrap();
    assert_eq!(http.routes, ["/api".parse().unwrap()]);
    assert_eq!((http.concurrency, http.reuse), (16, None));
    let resources = spec.resources;
    assert_eq!((resources.cpu_milli, resources.memory, resources.slots), (100, 128 << 20, 16));
    let scale = &service(&spec).scale;
    assert_eq!((scale.min, scale.max, scale.on), (1, 1, None));
}

#[test]
fn a_full_file_reads() {
    let folder = Folder::new();
    let file = folder.file(
        r#"
        component = "api.wasm"
        name = "shop"
        env = { A = "1" }
        network = ["example.org:443"]
        log_limit = "1MiB"
        priority = 5
        [http]
        routes = ["shop.example.org", "/shop"]
        callers = ["lab"]
        concurrency = 64
        timeout = "10s"
        idle_timeout = "5s"
        max_body = "1MiB"
        max_waiting = 10
        wait = "2s"
        retries = 0
        [http.reuse]
        requests = 1000
        concurrent = 4
        idle = "10s"
        [readiness]
        path = "/healthz"
        interval = "2s"
        timeout = "500ms"
        failures = 2
        start = "30s"
        [scale]
        min = 0
        max = 20
        on = "latency"
        target = "200ms"
        window = "30s"
        panic_window = "3s"
        down_delay = "2m"
        idle = "10m"
        [rollout]
        strategy = "canary"
        surge = 2
        unavailable = 1
        max_errors = 0.05
        drain = "1m"
        keep = 3
        steps = [{ percent = 5, wait = "10m" }, { percent = 50 }]
        header = { name = "X-Canary", value = "yes" }
        [restart]
        when = "on-failure"
        backoff = "2s"
        max_backoff = "1m"
        "#,
    );
    let spec = load(&file, &[]).unwrap().spec;
    let of = service(&spec);
    let http = of.http().unwrap();
    assert_eq!(http.reuse, Some(Reuse { requests: 1000, concurrent: 4, idle_ms: 10_000 }));
    assert_eq!((http.timeout_ms, http.max_body, http.retries), (10_000, 1 << 20, 0));
    assert_eq!(http.readiness.path.as_deref(), Some("/healthz"));
    assert_eq!(of.scale.on, Some(ScaleOn::Latency { ms: 200 }));
    assert_eq!((of.rollout.surge, of.rollout.max_errors_milli, of.rollout.keep), (2, 50, 3));
    let steps = vec![
        CanaryStep { percent: 5, wait_ms: Some(600_000) },
        CanaryStep { percent: 50, wait_ms: None },
    ];
    let header = Some(HeaderMatch { name: "x-canary".into(), value: "yes".into() });
    assert_eq!(of.rollout.strategy, Strategy::Canary { steps, header });
    assert_eq!(of.restart.when, RestartWhen::OnFailure);
    // 64 requests in instances of 4 each.
    assert_eq!((spec.resources.slots, spec.resources.memory), (16, 64 * (12 << 20)));
}

#[test]
fn a_program_is_a_service_too() {
    let folder = Folder::new();
    let file = folder.file("component = \"tool.wasm\"\n[program]\nports = [7000]\n");
    let spec = load(&file, &["--", "serve"]).unwrap().spec;
    let ServiceKind::Program(program) = &service(&spec).kind else { panic!() };
    assert_eq!((program.ports.as_slice(), program.ready_after_ms), (&[7000][..], 1000));
    assert_eq!((spec.args.as_slice(), spec.resources.slots), (&["serve".to_owned()][..], 1));
    let error = load(&folder.path("tool.wasm"), &["--route", "/x"]).unwrap_err();
    let text = "tool.wasm`: the component is a program (it exports `wasi:cli/run`) and answers no HTTP requests";
    assert!(error.to_string().ends_with(text), "{error}");
}

#[test]
fn replicas_that_may_vary_are_scaled_by_their_requests() {
    let folder = Folder::new();
    let scale = |flags: &[&str]| {
        let spec = load(&folder.path("api.wasm"), flags).unwrap().spec;
        let scale = &service(&spec).scale;
        (scale.min, scale.max, scale.on)
    };
    let on = |milli| Some(ScaleOn::Concurrency { milli });
    assert_eq!(scale(&["--min", "3"]), (3, 3, None));
    assert_eq!(scale(&["--max", "9"]), (1, 9, on(11_200)));
    assert_eq!(scale(&["--min", "0"]), (0, 1, on(11_200)));
    assert_eq!(scale(&["--max", "9", "--target", "5"]), (1, 9, on(5000)));
    assert_eq!(scale(&["--max", "9", "--concurrency", "100"]), (1, 9, on(70_000)));
}

#[test]
fn flags_win_over_the_file_and_lists_add_up() {
    let folder = Folder::new();
    let file = folder.file(
        "component = \"api.wasm\"\nenv = { A = \"1\", B = \"2\" }\nnetwork = [\"a.org\"]\n\
         [http]\nroutes = [\"/a\"]\nconcurrency = 8\n[http.reuse]\nidle = \"5s\"\n",
    );
    let flags = [
        "--env",
        "B=3",
        "--allow-host",
        "b.org:443",
        "--route",
        "/b",
        "--reuse=10",
        "--name",
        "x",
        "--memory",
        "1GiB",
        "--cpu",
        "2",
    ];
    let spec = load(&file, &flags).unwrap().spec;
    assert_eq!(spec.env, [("A".into(), "1".into()), ("B".into(), "3".into())]);
    assert_eq!(spec.network.len(), 2);
    let http = service(&spec).http().unwrap();
    assert_eq!(http.routes, ["/b".parse().unwrap()], "a copy is not to take the other's place");
    assert_eq!(http.reuse, Some(Reuse { requests: 10, concurrent: 1, idle_ms: 5000 }));
    assert_eq!((spec.name.as_str(), spec.resources.memory), ("x", 1 << 30));
}

/// Every bad value is told with file, line, column and key, and nothing is deployed.
#[test]
fn bad_values_are_placed() {
    let folder = Folder::new();
    for (lines, expected) in [
        ("[http]\nroutes = [\"a b\"]", "3:10: `http.routes`: `a b` is not a route"),
        ("[http]\nrouts = []", "3:1: unknown key `routs`; did you mean `routes`?"),
        ("[http]\nconcurrency = 0", "3:15: `http.concurrency`: `0`: write a whole number from 1"),
        ("[http]\ntimeout = 10", "3:11: `http.timeout`: `10` is not a duration"),
        ("[http]\nmax_body = \"1 potato\"", "3:12: `http.max_body`: `1 potato` is not a size"),
        ("[http]\ncallers = [\"A\"]", "3:11: `http.callers`: `A` is not a tenant name"),
        (
            "[http]\nconcurrency = 4\n[http.reuse]\nconcurrent = 8",
            "5:14: `http.reuse.concurrent`: 8; use 1 to 4",
        ),
        ("[readiness]\npath = \"healthz\"", "3:8: `readiness.path`: `healthz` is not a path"),
        ("[scale]\nmin = 5\nmax = 3", "3:7: `scale.min`: 5; use 0 to 3"),
        ("[scale]\non = \"luck\"", "3:6: `scale.on`: unknown variant `luck`"),
        ("[scale]\non = \"rate\"", "3:6: `scale.on`: it needs `scale.target`"),
        (
            "[scale]\nmax = 4\non = \"rate\"\ntarget = \"1s\"",
            "5:10: `scale.target`: write a number",
        ),
        ("[scale]\nmax = 4\non = \"latency\"\ntarget = 5", "5:10: `scale.target`: write a time"),
        ("[scale]\nmax = 4\ntarget = 0", "4:10: `scale.target`: `0`: write a number above 0"),
        (
            "[scale]\nmax = 4\non = \"model-queue\"\ntarget = 2",
            "4:6: `scale.on`: the service names no model",
        ),
        (
            "[scale]\nmax = 4\non = \"model-latency\"\ntarget = 2",
            "5:10: `scale.target`: write a time",
        ),
        ("[scale]\ntarget = 5", "3:10: `scale.target`: there are always as many replicas"),
        ("[rollout]\nstrategy = \"canary\"", "3:12: `rollout.strategy`: a canary needs `steps`"),
        ("[rollout]\nsteps = []", "3:9: `rollout.steps`: it is for `strategy = \"canary\"`"),
        ("[rollout]\nkeep_old = \"1m\"", "3:12: `rollout.keep_old`: it is for"),
        ("[rollout]\nmax_errors = 2", "3:14: `rollout.max_errors`: `2`: write a part"),
        ("[rollout]\nsurge = 0", "3:9: `rollout.surge`: with `surge` and `unavailable` both 0"),
        ("[program]\nports = []", "2:1: `program`: the component answers HTTP requests"),
        ("count = 3", "2:9: `count`: cannot be set for a service: `scale` says how many"),
        ("time_limit = \"1m\"", "2:14: `time_limit`: cannot be set for a service: a service stays"),
        ("retry = { backoff = \"1s\" }", "2:9: `retry`: cannot be set for a service: `restart`"),
        ("htp = { }", "2:1: unknown key `htp`; did you mean `http`?"),
        ("zzzzzzzzzz = 1", "2:1: unknown key `zzzzzzzzzz`; a service has fields of a job file"),
        ("cpu = 100", "2:7: `cpu`: 100: a component instance has one thread, so a replica"),
        ("name = \"My Api\"", "2:8: `name`: `My Api` is not a service name"),
    ] {
        let file = folder.file(&format!("component = \"api.wasm\"\n{lines}\n"));
        let error = load(&file, &[]).unwrap_err();
        assert_eq!(error.exit(), Exit::InvalidInput);
        let said = folder.said(&error);
        assert!(said.starts_with(&format!("service.toml:{expected}")), "{lines}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    let error = load(&folder.file("name = \"x\"\n"), &[]).unwrap_err();
    assert!(folder.said(&error).contains("`component` is missing"), "{error}");
}

#[test]
fn a_bad_option_is_told_by_its_name() {
    let folder = Folder::new();
    let refused = |flags: &[&str]| load(&folder.path("api.wasm"), flags).unwrap_err().to_string();
    let text = refused(&["--min", "5", "--max", "2"]);
    assert!(text.starts_with("`--min`: 5; use 0 to 2"), "{text}");
    let text = refused(&["--ready-path", "x"]);
    assert!(text.starts_with("`--ready-path`: `x` is not a path"), "{text}");
    let text = refused(&["--port", "80"]);
    assert!(text.contains("api.wasm`: the component answers HTTP requests"), "{text}");
}
