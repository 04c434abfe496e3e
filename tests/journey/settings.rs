//! Settings of the processes that stay: a flag wins over the environment, that over the
//! file, that over the default; what cannot be is told with its place.

use harness::{Cluster, Process, Settings};
use serde_json::Value;

use crate::desk::stderr;
use crate::{Desk, until};

/// Starts a server with these settings and returns its ready line.
fn server(desk: &Desk, variables: &[(&str, &str)], flags: &[&str]) -> Value {
    let mut command = desk.command();
    command.args(["server", "--json", "--config", "server.toml"]).args(flags);
    command.envs(variables.iter().copied());
    let mut server = Process::start(command, desk.folder(), "another");
    server.wait_for("the server is ready", |printed| {
        printed.contains('\n').then(|| serde_json::from_str(printed).unwrap())
    })
}

#[test]
fn a_server_goes_by_flag_then_environment_then_file() {
    let desk = Desk::start();
    desk.write("server.toml", "listen = \"127.0.0.2:0\"\ndata = \"from-file\"\n");
    let variables = [("WRUN_LISTEN", "127.0.0.3:0"), ("WRUN_DATA", "from-environment")];
    let flags = ["--listen", "127.0.0.4:0", "--data", "from-flag"];
    for (ready, host, data) in [
        (server(&desk, &[], &[]), "127.0.0.2", "from-file"),
        (server(&desk, &variables, &[]), "127.0.0.3", "from-environment"),
        (server(&desk, &variables, &flags), "127.0.0.4", "from-flag"),
        (server(&desk, &variables[..1], &flags[2..]), "127.0.0.3", "from-flag"),
    ] {
        assert!(ready["listen"].as_str().unwrap().starts_with(&format!("{host}:")), "{ready}");
        assert!(ready["data"].as_str().unwrap().ends_with(data), "{ready}");
        assert!(desk.folder().join(data).join("journal").exists());
    }
}

#[test]
fn a_worker_goes_by_flag_then_environment_then_file() {
    let mut desk = Desk::of(Cluster::with(Settings { workers: 0, ..Settings::default() }));
    let file = "name = \"filed\"\ncpu = 1\nmemory = \"300MiB\"\nscratch = \"1GiB\"\nslots = 5\n\
                [labels]\nzone = \"file\"\ndisk = \"fast\"\n";
    desk.write("worker.toml", file);
    let address = desk.cluster().address().to_owned();
    let variables = [("WRUN_CPU", "2"), ("WRUN_MEMORY", "400MiB"), ("WRUN_NAME", "said")];
    let flags = ["--cpu", "1.5", "--label", "zone=flag"];
    let mut workers = Vec::new();
    for (number, (variables, flags)) in
        [(&[][..], &[][..]), (&variables[..], &[]), (&variables[..2], &flags[..])]
            .into_iter()
            .enumerate()
    {
        let token = desk.says(&["token", "create", "--server", &address]);
        let mut command = desk.command();
        command.args(["worker", "--config", "worker.toml", "--join", token.trim()]);
        command.args(["--data", &format!("worker-{number}")]).args(flags);
        command.envs(variables.iter().copied());
        if number == 2 {
            command.args(["--name", "flagged"]);
        }
        let mut worker = Process::start(command, desk.folder(), &format!("w{number}"));
        worker.wait_for("the worker is ready", |printed| printed.contains('\n').then_some(()));
        workers.push(worker);
    }
    // Ready is what listens; it registers with the server from then on.
    let nodes = until("three nodes", || {
        let nodes = desk.json(&["nodes"]);
        (nodes["nodes"].as_array().unwrap().len() == 3).then_some(nodes)
    });
    let node = |name: &str| {
        let nodes = nodes["nodes"].as_array().unwrap();
        nodes.iter().find(|node| node["name"] == name).unwrap_or_else(|| panic!("{nodes:?}"))
    };
    for (name, cpu, memory, zone) in
        [("filed", 1000, 300, "file"), ("said", 2000, 400, "file"), ("flagged", 1500, 400, "flag")]
    {
        let node = node(name);
        let capacity = &node["capacity"];
        assert_eq!((&capacity["cpu_milli"], &capacity["slots"]), (&cpu.into(), &5.into()));
        assert_eq!(capacity["memory"], memory << 20);
        assert_eq!(capacity["scratch"], 1 << 30);
        assert_eq!(
            (&node["labels"]["zone"], &node["labels"]["disk"]),
            (&zone.into(), &"fast".into())
        );
    }
}

#[test]
fn what_a_file_says_wrongly_is_told_with_file_line_and_key() {
    let desk = Desk::start();
    for (process, text, place, key) in [
        ("server", "listen = \"127.0.0.1:0\"\nlese = \"1s\"\n", "c.toml:2:1", "`lese`"),
        ("server", "\nheartbeat = \"-2s\"\n", "c.toml:2:13", "`heartbeat`"),
        ("server", "lease = \"1ms\"\n", "c.toml:1:9", "`lease`"),
        ("server", "listen = \n", "c.toml:1:", ""),
        ("worker", "server = \"127.0.0.1:9\"\ncpu = -4\n", "c.toml:2:7", "`cpu`"),
        ("worker", "server = \"127.0.0.1:9\"\nslots = 0\n", "c.toml:2:9", "`slots`"),
        ("worker", "server = \"127.0.0.1:9\"\nlabel = 0\n", "c.toml:2:1", "did you mean `labels`"),
    ] {
        desk.write("c.toml", text);
        let output = desk.wrun(&[process, "--config", "c.toml", "--data", "refused"]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(78), "{text}: {said}");
        assert!(said.contains(place) && said.contains(key), "{text}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(!desk.folder().join("refused").exists(), "nothing was changed");
    }
}

#[test]
fn what_the_environment_says_wrongly_is_told_too() {
    let desk = Desk::start();
    let mut command = desk.command();
    command.args(["server", "--data", "refused"]).env("WRUN_LEASE", "soon");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("soon"), "{}", stderr(&output));
    assert!(!desk.folder().join("refused").exists());
}
