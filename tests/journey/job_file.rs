//! Every field of a job file, each seen to have its effect.

use std::net::TcpListener;

use serde_json::Value;

use crate::Desk;
use crate::desk::guest;

/// How a job of `guest` with these fields failed.
fn failure(desk: &Desk, guest: &str, fields: &str) -> (String, String) {
    let page = desk.ended(&desk.submit_file(guest, fields));
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{page:#}")).to_owned();
    (text(&page["failure"]["kind"]), text(&page["failure"]["message"]))
}

/// What a program that ends well prints.
fn output(desk: &Desk, guest: &str, fields: &str) -> String {
    let job = desk.submit_file(guest, fields);
    let page = desk.ended(&job);
    assert_eq!(page["state"], "succeeded", "{page:#}");
    desk.says(&["output", &job])
}

#[test]
fn args_env_and_name() {
    let desk = Desk::start();
    let fields = "name = \"shown\"\nargs = [\"a b\", \"--c\"]\nenv = { A = \"1 2\", B = \"\" }";
    let seen = output(&desk, "probe", fields);
    for line in ["arg a b", "arg --c", "env A=1 2", "env B=", "env WRUN_JOB=1"] {
        assert!(seen.lines().any(|seen| seen == line), "{line}: {seen}");
    }
    let foreign = |line: &&str| {
        let name = line.strip_prefix("env ").unwrap_or("A=");
        !["A=", "B=", "WRUN_"].iter().any(|known| name.starts_with(known))
    };
    assert_eq!(seen.lines().find(foreign), None);
    assert!(desk.says(&["jobs"]).contains("shown"));
}

/// Relative to the job file, not to where the command runs.
#[test]
fn input_and_mounts_are_beside_the_file() {
    let desk = Desk::start();
    desk.write("jobs/in.txt", "from the file");
    assert_eq!(output(&desk, "cat", "input = \"in.txt\""), "from the file");
    assert_eq!(output(&desk, "cat", "stdin = \"from the key\""), "from the key");
    let large = "0123456789abcdef".repeat(40_000);
    desk.write("jobs/in.txt", &large);
    assert!(output(&desk, "cat", "input = \"in.txt\"") == large, "one that travels as a blob");

    desk.write("jobs/data/words.txt", "words");
    desk.write("jobs/data/deeper/more.txt", "more words");
    desk.write("jobs/single.txt", "x");
    let fields = "mounts = [\"data:/given\", \"single.txt\"]\n\
                  args = [\"open=/given/deeper/more.txt\", \"write=/given/words.txt\", \"write=/given/new\"]";
    let seen = output(&desk, "probe", fields);
    assert!(seen.contains("open /given/deeper/more.txt 10 bytes"), "{seen}");
    assert!(seen.contains("write /given/words.txt refused"), "read-only: {seen}");
    assert!(seen.contains("write /given/new refused"), "read-only: {seen}");
    assert!(seen.contains("single.txt 1"), "{seen}");
}

#[test]
fn count_makes_an_array() {
    let desk = Desk::start();
    let page = desk.ended(&desk.submit_file("noop", "count = 250"));
    assert_eq!(page["tasks"]["succeeded"], 250);
}

#[test]
fn cpu_memory_and_scratch_are_taken_on_the_node() {
    let desk = Desk::start();
    let fields = "cpu = 0.25\nmemory = \"96MiB\"\nscratch = \"32MiB\"\ncount = 2";
    let job = desk.submit_file("sleep_forever", fields);
    crate::until("both run", || (desk.json(&["job", &job])["tasks"]["running"] == 2).then_some(()));
    let used = desk.json(&["nodes"])["nodes"][0]["used"].clone();
    assert_eq!((&used["cpu_milli"], &used["memory"]), (&500.into(), &(192 << 20).into()));
    assert_eq!(used["scratch"], 64 << 20);
}

#[test]
fn limits_end_what_reaches_them() {
    let desk = Desk::start();
    for (guest, fields, word) in [
        ("grow_memory", "memory = \"16MiB\"", "memory"),
        ("huge_file", "scratch = \"4MiB\"", "scratch"),
        ("sleep_forever", "time_limit = \"300ms\"", "time"),
        ("endless_loop", "cpu_time_limit = \"200ms\"", "CPU"),
        ("flood_output", "output_limit = \"64KiB\"", "output"),
        ("flood_log", "log_limit = \"64KiB\"", "log"),
        ("flood_log", "log_rate = \"2KiB\"\ntime_limit = \"400ms\"", "time"),
        ("many_handles", "handles = 20", "handles"),
    ] {
        let (kind, message) = failure(&desk, guest, fields);
        assert_eq!(kind, "limit", "{guest}, {fields}: {message}");
        assert!(message.contains(word), "{guest}, {fields}: {message}");
    }
    let has = output(&desk, "try_memory", "memory = \"80MiB\"\nargs = [\"64\"]");
    assert_eq!(has, "has 64 MiB\n", "and what is within them is given");
}

#[test]
fn what_matters_more_runs_first() {
    let desk = Desk::with(&["--cpu", "1"]);
    let first = desk.submit(&[&guest("sleeper"), "--", "1200"]);
    desk.running(&first);
    let low = desk.submit_file("sleeper", "args = [\"100\"]\npriority = -1");
    let middle = desk.submit(&[&guest("sleeper"), "--", "100"]);
    let high = desk.submit_file("sleeper", "args = [\"100\"]\npriority = 7");
    let started = |job: &String| desk.ended(job)["started_ms"].as_u64().unwrap();
    let (low, middle, high) = (started(&low), started(&middle), started(&high));
    assert!(high < middle && middle < low, "high {high}, middle {middle}, low {low}");
}

#[test]
fn a_host_that_is_granted_is_reached() {
    let desk = Desk::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let args = format!("args = [\"connect={address}\"]\n");
    let seen = output(&desk, "probe", &args);
    assert!(seen.contains(&format!("connect {address} refused")), "{seen}");
    let seen = output(&desk, "probe", &format!("{args}network = [\"{address}\"]"));
    assert!(seen.contains(&format!("connect {address} yes")), "{seen}");
}

#[test]
fn flags_win_over_the_file() {
    let desk = Desk::start();
    let file = desk.job_file("sleep_forever", "time_limit = \"1h\"\npriority = 3\ncount = 9");
    let flags = ["--time-limit", "200ms", "--priority", "4", "--count", "1", "--label", "a=b"];
    let job = desk.submit(&[&[file.as_str()], &flags[..6]].concat());
    let page = desk.ended(&job);
    assert_eq!((&page["priority"], &page["spec"]["count"]), (&4.into(), &1.into()));
    assert_eq!(page["failure"]["kind"], "limit");
}

#[test]
fn the_schema_of_job_files_names_every_field() {
    let desk = Desk::start();
    let schema = desk.json(&["schema", "job"]);
    let known = schema["properties"].as_object().unwrap();
    for field in [
        "component",
        "name",
        "args",
        "env",
        "input",
        "stdin",
        "mounts",
        "count",
        "cpu",
        "memory",
        "scratch",
        "time_limit",
        "cpu_time_limit",
        "output_limit",
        "log_limit",
        "log_rate",
        "handles",
        "retries",
        "retry",
        "priority",
        "labels",
        "network",
        "on_disconnect",
    ] {
        assert!(known.contains_key(field), "{field}");
    }
    assert_eq!(schema["additionalProperties"], false);
}
