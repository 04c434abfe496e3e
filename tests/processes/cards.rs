//! Cards of nodes: found by a driver, here a library of that name that the tests make, or declared;
//! and that a task is held to those that it was given. The device is Vulkan in software.

use std::path::Path;

use harness::{Cluster, Settings, artefacts, library};
use serde_json::{Value, json};

use crate::{found, restart};

/// A driver with two cards, the second of which is in parts, and a third that has fallen off the
/// bus. What it says is as NVML's reference has it.
const DRIVER: &str = r#"
#include <string.h>
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } Memory;
typedef struct { unsigned gpu, memory; } Busy;
enum { WHOLE = 1, SPLIT, PART };
static const char *const UUID[] = { "", "GPU-1", "GPU-2", "MIG-1" };
static const char *const NAME[] = { "", "NVIDIA A100-SXM4-40GB", "NVIDIA A100-SXM4-40GB",
                                    "NVIDIA A100-SXM4-40GB MIG 1g.5gb" };
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 3; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **card) {
    *card = (void *)(unsigned long)(index + 1);
    return index < 2 ? 0 : 15;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **card) {
    for (unsigned long at = WHOLE; at <= PART; at++)
        if (!strcmp(uuid, UUID[at])) { *card = (void *)at; return 0; }
    return 6;
}
int nvmlDeviceGetMigMode(void *card, unsigned *now, unsigned *next) {
    *now = *next = (unsigned long)card == SPLIT;
    return 0;
}
int nvmlDeviceGetMaxMigDeviceCount(void *card, unsigned *count) { *count = 7; return 0; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *card, unsigned index, void **part) {
    *part = (void *)(unsigned long)PART;
    return index == 2 ? 0 : 6;
}
int nvmlDeviceGetName(void *card, char *name, unsigned length) {
    strncpy(name, NAME[(unsigned long)card], length);
    return 0;
}
int nvmlDeviceGetUUID(void *card, char *uuid, unsigned length) {
    strncpy(uuid, UUID[(unsigned long)card], length);
    return 0;
}
int nvmlDeviceGetMemoryInfo_v2(void *card, Memory *memory) {
    memory->total = (unsigned long)card == PART ? 5ull << 30 : 40ull << 30;
    memory->used = 1ull << 30;
    return 0;
}
int nvmlDeviceGetUtilizationRates(void *card, Busy *busy) {
    if ((unsigned long)card == PART) return 3;
    busy->gpu = 37;
    return 0;
}
"#;

fn cards(cluster: &Cluster) -> Value {
    let nodes: Value = serde_json::from_str(&cluster.stdout(&["nodes", "--json"])).unwrap();
    nodes["nodes"][0]["gpus"].clone()
}

#[test]
fn a_node_has_the_cards_that_its_driver_tells_of_and_those_that_are_declared() {
    let folder = tempfile::tempdir().unwrap();
    library::compiled(folder.path(), "libnvidia-ml.so.1", DRIVER);
    let path = |folder: &Path| ("LD_LIBRARY_PATH".to_owned(), folder.to_str().unwrap().to_owned());
    let file = "gpus = [\"2xl4:24GiB\"]\n";
    let mut cluster = Cluster::with(Settings {
        worker_file: file.to_owned(),
        worker_environment: vec![path(folder.path())],
        ..Settings::default()
    });
    found("the cards are told", || (cards(&cluster)[0]["source"] == "found").then_some(()));
    let (a100, gib) = ("a100-sxm4-40gb", 1_u64 << 30);
    let card = |model: &str, memory: u64, busy: Option<f64>| {
        json!({
            "model": model, "memory": memory * gib, "in_use": 0.0, "source": "found",
            "memory_used": gib, "busy": busy,
        })
    };
    let declared = json!({
        "model": "l4", "memory": 24 * gib, "in_use": 0.0, "source": "declared",
        "memory_used": null, "busy": null,
    });
    let expected = [
        card(a100, 40, Some(0.37)),
        card("a100-sxm4-40gb-mig-1g.5gb", 5, None),
        declared.clone(),
        declared.clone(),
    ];
    assert_eq!(cards(&cluster), json!(expected));
    let listed = cluster.stdout(&["nodes"]);
    let rows: Vec<Vec<&str>> =
        listed.lines().map(|line| line.split_whitespace().collect()).collect();
    for row in [
        &["w1", "0", a100, "40", "GiB", "1", "GiB", "0", "37", "%", "found"][..],
        &["w1", "1", "a100-sxm4-40gb-mig-1g.5gb", "5", "GiB", "1", "GiB", "0", "-", "found"],
        &["w1", "3", "l4", "24", "GiB", "-", "0", "-", "declared"],
    ] {
        assert!(rows.iter().any(|listed| listed == row), "{row:?} in\n{listed}");
    }
    assert!(cluster.workers[0].logged().contains("a card is left out"));

    // What was found can be asked for.
    let noop = artefacts::guest("noop");
    let noop = noop.to_str().unwrap();
    cluster.stdout(&["run", "--gpu", "1:a100-sxm4-40gb-mig-1g.5gb", noop]);

    let asked_not = format!("find_gpus = false\n{file}");
    restart(&mut cluster, &asked_not, vec![path(folder.path())]);
    found("the cards are told", || (cards(&cluster) == json!([declared, declared])).then_some(()));

    // A driver that does not start is none.
    let broken = tempfile::tempdir().unwrap();
    library::compiled(broken.path(), "libnvidia-ml.so.1", "int nvmlInit_v2(void) { return 9; }");
    restart(&mut cluster, "", vec![path(broken.path())]);
    found("the cards are gone", || (cards(&cluster) == json!([])).then_some(()));
    assert!(cluster.workers[0].logged().contains("no NVIDIA cards"));
}

/// The guest's steps on the node with these cards, as it is asked for.
fn steps(cluster: &Cluster, flags: &[&str], steps: &[&str]) -> String {
    let guest = artefacts::guest("nn-obedient");
    let models = ["run", "--model", "magika", "--model", "again"];
    cluster.stdout(&[&models, flags, &[guest.to_str().unwrap(), "--"], steps].concat())
}

#[test]
fn a_task_runs_models_on_the_card_that_it_was_given_and_takes_no_more_of_it() {
    let library = artefacts::onnx_runtime("onnxruntime-webgpu");
    let (loader, device) = artefacts::swiftshader();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let worker_file = format!(
        "gpus = [\"vulkan:64MiB\"]\nback_ends = [\"onnxruntime\"]\nonnxruntime = \"{}\"\n\
         providers = [\"webgpu\", \"cpu\"]\n",
        library.display()
    );
    let worker_environment = vec![
        ("LD_LIBRARY_PATH".to_owned(), text(&loader)),
        ("VK_DRIVER_FILES".to_owned(), text(&device)),
    ];
    let settings = Settings { worker_file, worker_environment, ..Settings::default() };
    let cluster = Cluster::with(settings);
    let model = artefacts::magika();
    let model = model.to_str().unwrap();
    for (name, delay) in [("magika", "0ms"), ("again", "1ms")] {
        let push = ["model", "push", name, model, "--max-batch", "1", "--max-delay", delay];
        cluster.stdout(&push);
    }
    let device = || {
        let shown: Value =
            serde_json::from_str(&cluster.stdout(&["model", "show", "magika", "--json"])).unwrap();
        shown["nodes"][0]["loaded"]["device"].as_str().map(str::to_owned)
    };
    // Without a card it is on the processor, though the node has one that goes first.
    assert_eq!(steps(&cluster, &[], &["load:magika"]), "loaded\n");
    found("it is told where the model is", || (device().as_deref() == Some("cpu")).then_some(()));
    // With a part of the card it is there, beside the one on the processor.
    let run = "run:bytes=i32:1x2048:8192b";
    let printed = steps(&cluster, &["--gpu", "0.5"], &["load:magika", run]);
    assert!(printed.starts_with("loaded\ntarget_label Fp32 1x214 "), "{printed}");
    let both = Some("cpu, webgpu:0");
    found("it is told where else the model is", || (device().as_deref() == both).then_some(()));
    // A quarter of its memory is too little for two of them, and enough for one that is loaded
    // twice.
    let printed =
        steps(&cluster, &["--gpu", "0.12"], &["load:magika", "load:magika", "load:again"]);
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[..2], ["loaded", "loaded"], "{printed}");
    assert!(lines[2].starts_with("TooLarge: the model takes "), "{printed}");
    assert!(lines[2].contains(" bytes on card 0, where the task was given 8053063 "), "{printed}");
    // A model that was pushed for a card is nowhere else.
    cluster.stdout(&["model", "push", "only", model, "--target", "gpu", "--max-batch", "1"]);
    let only = |flags: &[&str]| {
        let guest = artefacts::guest("nn-obedient");
        let guest = [guest.to_str().unwrap(), "--", "load:only"];
        cluster.stdout(&[&["run", "--model", "only"], flags, &guest].concat())
    };
    assert!(only(&[]).starts_with("UnsupportedOperation: the model needs a card"), "{}", only(&[]));
    assert_eq!(only(&["--gpu", "1"]), "loaded\n");
}
