//! Nodes with ONNX Runtime itself, in its process beside the worker: what runs on it, what is told
//! of what cannot be had, and that nothing of it takes the worker along.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::process::PATIENCE;
use harness::{Cluster, Settings, artefacts, library, models};

use crate::{found, restart};

/// Settings of a worker with the library at that place, and tract beside it.
fn worker_file(library: &Path, providers: &str) -> String {
    format!(
        "back_ends = [\"onnxruntime\", \"tract\"]\nonnxruntime = \"{}\"\nproviders = {providers}\n",
        library.display()
    )
}

/// A cluster that has the model `double`.
fn cluster(worker_file: String) -> Cluster {
    let cluster = Cluster::with(Settings { worker_file, ..Settings::default() });
    std::fs::write(cluster.folder().join("double.onnx"), models::double()).unwrap();
    cluster.stdout(&["model", "push", "double", "double.onnx"]);
    cluster
}

/// What a guest prints that does these steps, with such flags of `wrun run`.
fn steps(cluster: &Cluster, flags: &[&str], steps: &[&str]) -> String {
    let guest = artefacts::guest("nn-obedient");
    let guest = guest.to_str().unwrap();
    cluster.stdout(&[&["run", "--model", "double"], flags, &[guest, "--"], steps].concat())
}

const LOAD: &str = "load:double";
const RUN: &str = "run:x=fp32:1x2:1/-2";
const RIGHT: &str = "loaded\ny Fp32 1x2 2/-4\n";

/// The version of the published library, as its file's name ends.
fn version(library: &Path) -> String {
    let name = library.file_name().unwrap().to_str().unwrap();
    name.strip_prefix("libonnxruntime.so.").unwrap().to_owned()
}

#[test]
fn a_model_runs_on_onnx_runtime_and_what_cannot_be_had_is_told() {
    let library = artefacts::onnx_runtime("onnxruntime");
    let version = version(&library);
    let cluster = cluster(worker_file(&library, "[\"cuda\", \"cpu\"]"));
    let wanted = format!("nn.onnxruntime={version}");
    assert_eq!(steps(&cluster, &["--label", &wanted], &[LOAD, RUN]), RIGHT);
    let logged = cluster.workers[0].logged();
    assert!(logged.contains("back_end=\"onnxruntime\" device=\"cpu\""), "{logged}");
    assert_eq!(logged.matches("the provider cannot be had").count(), 1, "{logged}");

    let listed = cluster.stdout(&["nodes"]);
    assert!(listed.contains(&format!("onnxruntime {version}: cpu; tract: cpu")), "{listed}");
    let problem = format!("\nw1: onnxruntime {version}: cuda: ");
    assert!(listed.contains(&problem), "{listed}");
    let nodes: serde_json::Value =
        serde_json::from_str(&cluster.stdout(&["nodes", "--json"])).unwrap();
    let inference = &nodes["nodes"][0]["inference"];
    assert!(inference["model_memory"].as_u64().unwrap() > 0);
    let back_end = &inference["back_ends"][0];
    assert_eq!(back_end["version"], version.as_str());
    assert!(back_end["providers"][0]["problem"].is_string(), "{back_end}");
    assert_eq!(back_end["providers"][1]["name"], "cpu");
    assert_eq!(nodes["nodes"][0]["labels"]["nn.provider.cpu"], "yes");

    // Nothing that is not there can be asked for.
    let guest = artefacts::guest("noop");
    let refused =
        cluster.wrun(&["submit", "--label", "nn.provider.cuda=yes", guest.to_str().unwrap()]);
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(told.contains("no node carries the labels nn.provider.cuda=yes"), "{told}");
}

/// The library of those who have NVIDIA's cards. Where the machine has no CUDA it says what it
/// misses, and computes on the processor.
#[test]
fn the_library_for_cuda_says_what_it_misses_or_has_it() {
    let library = artefacts::onnx_runtime("onnxruntime-gpu");
    let cluster = cluster(worker_file(&library, "[\"tensorrt\", \"cuda\", \"cpu\"]"));
    assert_eq!(steps(&cluster, &[], &[LOAD, RUN]), RIGHT);
    let nodes: serde_json::Value =
        serde_json::from_str(&cluster.stdout(&["nodes", "--json"])).unwrap();
    let node = &nodes["nodes"][0];
    let providers = node["inference"]["back_ends"][0]["providers"].as_array().unwrap();
    assert_eq!(providers.len(), 3);
    for provider in &providers[..2] {
        let name = provider["name"].as_str().unwrap();
        match provider["problem"].as_str() {
            Some(problem) => {
                let missing = format!("libonnxruntime_providers_{name}.so");
                assert!(problem.contains(&missing), "{problem}");
            }
            None => assert_eq!(node["labels"][format!("nn.provider.{name}")], "yes"),
        }
    }
    assert_eq!(node["labels"]["nn.provider.cpu"], "yes");
}

#[test]
fn a_kill_of_its_process_fails_what_runs_there_and_no_more() {
    let library = artefacts::onnx_runtime("onnxruntime");
    let mut cluster = cluster(worker_file(&library, "[\"cpu\"]"));
    let guest = artefacts::guest("nn-obedient");
    let endless = "until-error:4000000:x=fp32:1x2:1/2";
    let mut run = cluster.command();
    run.args(["run", "--model", "double"]).arg(guest).args(["--", LOAD, endless, RUN]);
    run.stdout(std::process::Stdio::piped());
    let run = run.spawn().unwrap();
    cluster.workers[0].wait_for_log("the model is loaded", |logged| {
        logged.contains("loaded a model").then_some(())
    });
    let worker = cluster.workers[0].id();
    let child = child_of(worker).expect("the process of the back end");
    // It computes by now: its time on a processor grows.
    let begun = (Instant::now(), ticks(child));
    while ticks(child) < begun.1 + 10 {
        assert!(begun.0.elapsed() < PATIENCE, "it computes nothing");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(Command::new("kill").args(["-9", &child.to_string()]).status().unwrap().success());
    let output = run.wait_with_output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 3, "{printed}");
    assert!(lines[1].starts_with("RuntimeError: onnxruntime failed: "), "{printed}");
    assert!(lines[1].contains("its process crashed (killed"), "{printed}");
    assert_eq!(lines[2], "y Fp32 1x2 2/-4");
    let next = child_of(worker).expect("another process");
    assert_ne!(next, child);
    cluster.workers[0].terminate();
    assert!(cluster.workers[0].wait().success());
    let begun = Instant::now();
    while is_alive(next) {
        assert!(begun.elapsed() < PATIENCE, "it outlives its node");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_model_that_ends_its_process_takes_nothing_else_along() {
    let cluster = cluster(String::new());
    std::fs::write(cluster.folder().join("ends.onnx"), models::ends_its_process()).unwrap();
    cluster.stdout(&["model", "push", "ends", "ends.onnx"]);
    let guest = artefacts::guest("nn-obedient");
    let guest = guest.to_str().unwrap();
    // Of another job, beside it: it goes on where it is.
    let endless = ["--", LOAD, "until-error:4000000:x=fp32:1x2:1/2"];
    let submit = [&["submit", "--model", "double", guest][..], &endless].concat();
    let other = cluster.stdout(&submit);
    let run =
        |step| ["run", "--model", "ends", guest, "--", "load:ends", step, step].map(str::to_owned);
    let printed = cluster.stdout(&run("run:x=fp32:1:1").each_ref().map(String::as_str));
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 3, "{printed}");
    for line in &lines[1..] {
        assert!(
            line.starts_with("RuntimeError: tract failed: its process crashed (abort"),
            "{line}"
        );
    }
    let shown = || cluster.stdout(&["model", "show", "ends"]).contains("cpu, apart");
    found("where the model runs", || shown().then_some(()));
    assert_eq!(steps(&cluster, &[], &[LOAD, RUN]), RIGHT);
    let job = cluster.stdout(&["job", other.trim(), "--json"]);
    let job: serde_json::Value = serde_json::from_str(&job).unwrap();
    let task = &job["tasks_shown"][0];
    assert_eq!((&task["state"], &task["attempts"]), (&"running".into(), &1.into()), "{job}");
}

/// Whether the process runs: one that nobody has asked for its end yet does not.
fn is_alive(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

#[test]
fn a_model_that_makes_room_for_another_is_told_of_as_on_disk_and_comes_back() {
    let mut cluster = Cluster::with(Settings::default());
    let model = artefacts::magika();
    for (name, delay) in [("one", "0ms"), ("two", "1ms")] {
        let push = ["model", "push", name, model.to_str().unwrap(), "--max-batch", "1"];
        cluster.stdout(&[&push[..], &["--max-delay", delay]].concat());
    }
    let load = |cluster: &Cluster, name: &str| {
        let guest = artefacts::guest("nn-obedient");
        let step = format!("load:{name}");
        let run = ["run", "--model", name, guest.to_str().unwrap(), "--", &step];
        assert_eq!(cluster.stdout(&run), "loaded\n");
    };
    let on_node = |cluster: &Cluster, name: &str| {
        let shown = cluster.stdout(&["model", "show", name, "--json"]);
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        shown["nodes"][0].clone()
    };
    let until = |cluster: &Cluster, name: &str, state: &str| {
        found(&format!("{name} is {state}"), || {
            Some(on_node(cluster, name)).filter(|node| node["node_state"] == state)
        })
    };
    load(&cluster, "one");
    let bytes = until(&cluster, "one", "loaded")["loaded"]["bytes"].as_u64().unwrap();
    // Room for one, and for what loading takes besides, and not for two.
    restart(&mut cluster, &format!("model_memory = {}\n", bytes * 2 - 1), Vec::new());
    load(&cluster, "one");
    for (loaded, gone) in [("two", "one"), ("one", "two")] {
        load(&cluster, loaded);
        until(&cluster, loaded, "loaded");
        until(&cluster, gone, "on-disk");
    }
}

#[test]
fn a_library_that_will_not_do_is_told_and_the_node_goes_on_with_the_others() {
    let mut cluster = cluster(String::new());
    let folder = cluster.folder().to_owned();
    let base = "typedef struct { const void *(*api)(unsigned); const char *(*version)(void); } B;\n\
                static const void *api(unsigned v) { return 0; }\n";
    let old = "static const char *version(void) { return \"1.14.1\"; }\n\
               static B b = { api, version };\nB *OrtGetApiBase(void) { return &b; }";
    let text = folder.join("text.so");
    std::fs::write(&text, "no library at all").unwrap();
    let none = folder.join("none.so");
    for (place, told) in [
        (none.clone(), format!("`{}` cannot be loaded: ", none.display())),
        (text.clone(), format!("`{}` cannot be loaded: ", text.display())),
        (
            library::compiled(&folder, "other.so", "int other(void) { return 1; }"),
            "is no ONNX Runtime: it has no `OrtGetApiBase`".to_owned(),
        ),
        (
            library::compiled(&folder, "empty.so", "void *OrtGetApiBase(void) { return 0; }"),
            "is a broken ONNX Runtime: its base is missing".to_owned(),
        ),
        (
            library::compiled(&folder, "old.so", &format!("{base}{old}")),
            "is ONNX Runtime 1.14.1, and 1.17 or newer is needed".to_owned(),
        ),
        (
            library::compiled(
                &folder,
                "aborts.so",
                "#include <stdlib.h>\nvoid *OrtGetApiBase(void) { abort(); }",
            ),
            "its process crashed (abort, signal 6)".to_owned(),
        ),
    ] {
        restart(&mut cluster, &worker_file(&place, "[\"cpu\"]"), Vec::new());
        let listed = said(&cluster, &told);
        assert!(listed.contains("\nw1: onnxruntime: "), "{listed}");
        let logged = cluster.workers[0].logged();
        assert!(logged.contains(&told), "{logged}");
        assert_eq!(steps(&cluster, &[], &[LOAD, RUN]), RIGHT, "{told}");
    }
    let alone = format!("back_ends = [\"onnxruntime\"]\nonnxruntime = \"{}\"\n", none.display());
    restart(&mut cluster, &alone, Vec::new());
    said(&cluster, &format!("`{}` cannot be loaded: ", none.display()));
    let printed = steps(&cluster, &[], &[LOAD]);
    assert!(printed.starts_with("RuntimeError: no back end of this node can be used"), "{printed}");
}

/// A real model on a device that is no processor, as far as ONNX Runtime can tell: Vulkan in
/// software.
#[test]
fn a_model_computes_on_a_device_what_it_computes_on_the_processor() {
    let library = artefacts::onnx_runtime("onnxruntime-webgpu");
    let (loader, device) = artefacts::swiftshader();
    let alone = |provider: &str| {
        format!(
            "back_ends = [\"onnxruntime\"]\nonnxruntime = \"{}\"\nproviders = [\"{provider}\"]\n",
            library.display()
        )
    };
    let mut cluster = Cluster::with(Settings { worker_file: alone("cpu"), ..Settings::default() });
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let environment = vec![
        ("LD_LIBRARY_PATH".to_owned(), text(&loader)),
        ("VK_DRIVER_FILES".to_owned(), text(&device)),
    ];
    cluster.set_worker(&alone("webgpu"), environment);
    cluster.add_worker("w2");
    // Each item alone: to prove that it may be merged with others takes many runs.
    let model = artefacts::magika();
    let push = ["model", "push", "magika", model.to_str().unwrap(), "--max-batch", "1"];
    cluster.stdout(&push);
    let guest = artefacts::guest("nn-obedient");
    let scores = |provider: &str| {
        let label = format!("nn.provider.{provider}=yes");
        let zeros = "run:bytes=i32:1x2048:8192b";
        let printed = cluster.stdout(&[
            "run",
            "--model",
            "magika",
            "--label",
            &label,
            guest.to_str().unwrap(),
            "--",
            "load:magika",
            zeros,
        ]);
        let line = printed.lines().nth(1).unwrap_or_default();
        let numbers = line.strip_prefix("target_label Fp32 1x214 ").expect(&printed);
        numbers.split('/').map(|number| number.parse().unwrap()).collect::<Vec<f32>>()
    };
    let (on_cpu, on_device) = (scores("cpu"), scores("webgpu"));
    for (name, at) in [("cpu", 0), ("webgpu", 1)] {
        let logged = cluster.workers[at].logged();
        assert!(logged.contains(&format!("device=\"{name}\"")), "{logged}");
    }
    let sum: f32 = on_cpu.iter().sum();
    assert!((sum - 1.0).abs() < 1e-3, "these are probabilities: {sum}");
    for (ours, theirs) in on_device.iter().zip(&on_cpu) {
        assert!((ours - theirs).abs() < 1e-4, "{ours} against {theirs}");
    }
}

/// `wrun nodes`, once the node has said that of how it runs models.
fn said(cluster: &Cluster, told: &str) -> String {
    found(told, || Some(cluster.stdout(&["nodes"])).filter(|listed| listed.contains(told)))
}

/// The process of a back end that a worker started.
fn child_of(worker: u32) -> Option<u32> {
    let processes = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
    let is_child = |process: &u32| {
        let arguments = std::fs::read_to_string(format!("/proc/{process}/cmdline"));
        arguments.is_ok_and(|line| line.contains("\0inference-child\0"))
            && stat(*process).is_some_and(|stat| stat[1] == worker.to_string())
    };
    processes.into_iter().find(is_child)
}

/// Its time on a processor, in hundredths of a second.
fn ticks(process: u32) -> u64 {
    let stat = stat(process).expect("it runs");
    stat[11].parse::<u64>().unwrap() + stat[12].parse::<u64>().unwrap()
}

/// What the system says of it, from its state on.
fn stat(process: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}
