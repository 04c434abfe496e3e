//! Services, as their page of the documentation tells of them: deployed, looked at, scaled,
//! taken down, and what is refused before anything changes.

use std::net::SocketAddr;

use harness::http;
use serde_json::Value;

use crate::desk::{guest, signal, stderr, stdout};
use crate::schema::Schema;
use crate::{Desk, until};

/// The smallest component that exports an interface.
fn component(interface: &str, function: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            (core module $m (memory (export "memory") 1) (func (export "f") (result i32) i32.const 0))
            (core instance $i (instantiate $m))
            (func $f (result (result)) (canon lift (core func $i "f")))
            (instance $of (export "{function}" (func $f)))
            (export "{interface}" (instance $of)))"#
    );
    wat::parse_str(text).unwrap()
}

/// A desk with components in its folder: one that answers HTTP requests and is never asked here,
/// and a program.
fn desk() -> Desk {
    let desk = Desk::start();
    desk.write("api.wasm", component("wasi:http/incoming-handler@0.2.6", "handle"));
    desk.write("tool.wasm", component("wasi:cli/run@0.2.6", "run"));
    desk
}

/// What a command is refused with, which ends with that code.
fn refusal(desk: &Desk, arguments: &[&str], code: i32) -> String {
    let output = desk.wrun(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
    assert_eq!(stdout(&output), "", "{arguments:?}");
    stderr(&output)
}

fn services(desk: &Desk) -> Vec<Value> {
    desk.json(&["services"])["services"].as_array().unwrap().clone()
}

#[test]
fn a_service_is_deployed_looked_at_scaled_and_taken_down() {
    let desk = desk();
    let file = "component = \"api.wasm\"\n[http]\nroutes = [\"/api\", \"shop.example\"]\n\
                [scale]\nmin = 2\nmax = 8\n";
    desk.write("api.toml", file);
    let deployed = desk.json(&["deploy", "api.toml", "--detach"]);
    assert_eq!(deployed["rollout_state"], "under-way", "{deployed}");
    assert_eq!((&deployed["revision"], &deployed["changed"]), (&1.into(), &true.into()));
    let again = desk.says(&["deploy", "api.toml", "--detach"]);
    assert!(again.starts_with("api: unchanged (revision 1)\n"), "{again}");

    let rows = services(&desk);
    assert_eq!((rows[0]["name"].as_str(), rows[0]["kind"].as_str()), (Some("api"), Some("http")));
    assert_eq!(rows[0]["routes"], serde_json::json!(["/api", "shop.example"]));
    let text = desk.says(&["services"]);
    assert!(text.starts_with("NAME") && text.contains("/api shop.example"), "{text}");

    let page = desk.json(&["service", "api"]);
    let schema = Schema::of(&desk);
    schema.check("deploy", &deployed);
    schema.check("services", &desk.json(&["services"]));
    schema.check("service", &page);
    assert_eq!(page["internal_url"], "http://api.wrun.internal/");
    assert_eq!(page["scaling"]["on"], "concurrency");
    assert_eq!(page["revisions"][0]["job"], deployed["job"]);
    assert_eq!(page["replicas"].as_array().unwrap().len(), 2, "{page:#}");
    assert_eq!(page["events"].as_array().unwrap().last().unwrap()["what"], "deployed");
    let text = desk.says(&["service", "api"]);
    for line in ["service    api", "routes     /api, shop.example", "by name    http://api.wrun."] {
        assert!(text.contains(line), "{line}: {text}");
    }

    assert_eq!(desk.says(&["scale", "api", "5"]), "api: always 5 (by `wrun scale`)\n");
    assert_eq!(desk.json(&["service", "api"])["wanted"], 5);
    let text = desk.says(&["scale", "api", "--min", "1"]);
    assert!(text.starts_with("api: 1 to 5, 11.2 requests at once for each (by"), "{text}");
    schema.check("service-change", &desk.json(&["scale", "api", "4"]));
    let text = desk.says(&["scale", "api", "--auto"]);
    assert_eq!(text, "api: 2 to 8, 11.2 requests at once for each\n");

    let jobs = desk.json(&["jobs"]);
    assert_eq!(jobs["jobs"][0]["job_kind"], "service", "{jobs:#}");
    assert_eq!(jobs["jobs"][0]["revision"], 1);
    let job = deployed["job"].to_string();
    let said = refusal(&desk, &["cancel", &job], 72);
    assert!(said.contains("`wrun undeploy api`"), "{said}");

    assert_eq!(desk.says(&["undeploy", "api"]), "api is taken down\n");
    until("the service is gone", || services(&desk).is_empty().then_some(()));
    let said = refusal(&desk, &["service", "api"], 66);
    assert!(said.contains("there is no service `api`; `wrun services` lists"), "{said}");
}

#[test]
fn another_specification_is_another_revision() {
    let desk = desk();
    let deploy = ["deploy", "api.wasm", "--route", "/api", "--detach"];
    desk.says(&deploy);
    let second = desk.json(&[&deploy[..], &["--env", "A=1"]].concat());
    assert_eq!((&second["revision"], &second["changed"]), (&2.into(), &true.into()));
    let page = desk.json(&["service", "api"]);
    assert_eq!(page["revision"], 2);
    assert_eq!(page["revisions"].as_array().unwrap().len(), 2, "{page:#}");
    let status = desk.says(&["rollout", "status", "api"]);
    assert!(status.starts_with("api: ") && status.contains("REVISION"), "{status}");
}

#[test]
fn a_route_belongs_to_one_service() {
    let desk = desk();
    desk.says(&["deploy", "api.wasm", "--route", "/api", "--detach"]);
    let other = ["deploy", "api.wasm", "--name", "other", "--route", "/api", "--detach"];
    let said = refusal(&desk, &other, 72);
    assert!(said.contains("`/api` belongs to your service `api`"), "{said}");
    assert_eq!(services(&desk).len(), 1);
}

/// One wrong value, and nothing is deployed.
#[test]
fn a_bad_file_is_refused_whole_with_its_place() {
    let desk = desk();
    desk.write(
        "api.toml",
        "component = \"api.wasm\"\n[http]\nroutes = [\"/a\"]\ntimeout = \"soon\"\n",
    );
    let said = refusal(&desk, &["deploy", "api.toml"], 65);
    assert!(said.contains("api.toml:4:11: `http.timeout`: `soon` is not a duration"), "{said}");
    desk.write("api.toml", "component = \"api.wasm\"\n[scale]\nminn = 3\n");
    let said = refusal(&desk, &["deploy", "api.toml"], 65);
    assert!(said.contains("api.toml:3:1: unknown key `minn`; did you mean `min`?"), "{said}");
    desk.write("api.toml", "component = \"api.wasm\"\ncount = 3\n");
    let said = refusal(&desk, &["deploy", "api.toml"], 65);
    assert!(said.contains("`count`: cannot be set for a service: `scale` says"), "{said}");
    assert_eq!(services(&desk), Vec::<Value>::new());
}

#[test]
fn what_stays_is_deployed_and_what_ends_is_submitted() {
    let desk = desk();
    for command in ["submit", "run"] {
        let said = refusal(&desk, &[command, "api.wasm"], 65);
        assert!(said.contains("deploy it with `wrun deploy`"), "{said}");
    }
    desk.write("api.toml", "component = \"api.wasm\"\n[http]\n");
    let said = refusal(&desk, &["submit", "api.toml"], 65);
    assert!(said.contains("is a service, and a job is wanted; deploy it"), "{said}");
    let handler = harness::artefacts::guest("noop_handler");
    let said = refusal(&desk, &["deploy", handler.to_str().unwrap()], 65);
    assert!(said.contains("it is a handler") && said.contains("`wrun submit`"), "{said}");
    let said = refusal(&desk, &["deploy", "tool.wasm", "--route", "/x"], 65);
    assert!(said.contains("the component is a program"), "{said}");
    desk.write("tool.toml", "component = \"api.wasm\"\n[program]\nports = [5432]\n");
    let said = refusal(&desk, &["deploy", "tool.toml"], 65);
    assert!(said.contains("answers HTTP requests") && said.contains("is no program"), "{said}");
    desk.write(
        "flow.toml",
        "name = \"flow\"\n[steps.first]\ncomponent = \"tool.wasm\"\n\
         [steps.ask]\ncomponent = \"api.wasm\"\nneeds = [\"first\"]\n",
    );
    let said = refusal(&desk, &["submit", "flow.toml"], 65);
    assert!(said.contains("ask") && said.contains("deploy it with `wrun deploy`"), "{said}");
    assert_eq!(desk.json(&["jobs"])["jobs"], Value::Array(Vec::new()), "nothing of it was taken");
}

/// A desk whose cluster takes requests, and where.
pub fn served() -> (Desk, SocketAddr) {
    let mut desk = Desk::with(&["--cpu", "2", "--memory", "1GiB", "--http", "127.0.0.1:0"]);
    let ready: Value = serde_json::from_str(desk.dev().printed().lines().next().unwrap()).unwrap();
    let gateway = ready["http"][0].as_str().unwrap().parse().unwrap();
    (desk, gateway)
}

/// As the page of the documentation begins.
#[test]
fn a_service_answers_where_wrun_deploy_says() {
    let (desk, gateway) = served();
    let line = ["deploy", &guest("http_hello"), "--name", "hello", "--route", "/hello"];
    let said = desk.says(&line);
    assert_eq!(said, format!("hello: revision 1 is ready, 1 replica\n  http://{gateway}/hello\n"));
    let answer = http::get(gateway, "/hello").unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "Hello, world!\n"));
    assert_eq!(http::get(gateway, "/hello/x").unwrap().status, 200, "a prefix takes what is below");
    assert_eq!(http::get(gateway, "/helloo").unwrap().status, 404);
    let again = desk.says(&line);
    assert!(again.starts_with("hello: unchanged (revision 1)\n"), "{again}");
    desk.says(&["scale", "hello", "3"]);
    until("three are ready", || (desk.json(&["service", "hello"])["ready"] == 3).then_some(()));
    desk.says(&["undeploy", "hello"]);
    until("it is gone", || (http::get(gateway, "/hello").unwrap().status == 404).then_some(()));
}

#[test]
fn what_replicas_write_is_read_behind_their_names() {
    let (desk, gateway) = served();
    desk.says(&["deploy", &guest("http_obedient"), "--name", "api", "--route", "/"]);
    let mut follow = desk.command();
    follow.args(["logs", "api", "--follow"]);
    let mut follow = harness::Process::start(follow, desk.folder(), "follow");
    assert_eq!(http::get(gateway, "/log").unwrap().text(), "logged");
    until("the line is there", || follow.logged().contains("api/1/0 | a line").then_some(()));
    follow.kill();
    let logs = desk.wrun(&["logs", "api"]);
    assert!(stderr(&logs).contains("api/1/0 | a line\n"), "{}", stderr(&logs));
    let lines = desk.says(&["logs", "api", "--json"]);
    let event: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    Schema::of(&desk).check("event", &event);
    assert_eq!((&event["revision"], &event["task"]), (&1.into(), &0.into()), "{event}");
}

#[test]
fn ctrl_c_lets_a_rollout_go_on_alone() {
    let (desk, _) = served();
    // Two replicas of two cores each: the second one waits for a place.
    let guest = guest("http_hello");
    let mut command = desk.command();
    command.args(["deploy", &guest, "--name", "api", "--cpu", "2", "--min", "2", "--json"]);
    let mut deploy = harness::Process::start(command, desk.folder(), "deploy");
    until("one is ready", || (services(&desk).first()?["ready"] == 1).then_some(()));
    signal(deploy.id(), "INT");
    assert_eq!(deploy.wait().code(), Some(130));
    let told: Value = serde_json::from_str(&deploy.printed()).unwrap();
    assert_eq!(told["rollout_state"], "under-way", "{told}");
    assert_eq!(services(&desk)[0]["revision"], 1);
}

#[test]
fn a_program_stays_and_one_that_fails_says_how() {
    let desk = Desk::start();
    let said = desk.says(&["deploy", &guest("sleep_forever"), "--name", "daemon"]);
    assert_eq!(said, "daemon: revision 1 is ready, 1 replica\n");
    assert_eq!(services(&desk)[0]["kind"], "program");
    let crash = ["deploy", &guest("exit_with"), "--name", "crash", "--", "3"];
    let output = desk.wrun(&crash);
    assert_eq!(output.status.code(), Some(119), "{}", stderr(&output));
    let said = stderr(&output);
    let expected = "error: the replicas of crash, revision 1, fail; its last failure: exit code 3";
    assert!(said.lines().last().unwrap().starts_with(expected), "{said}");
    let page = desk.json(&["service", "crash"]);
    assert_eq!(
        (&page["state"], &page["replicas"][0]["outcome"]["code"]),
        (&"failing".into(), &3.into())
    );
    assert!(desk.says(&["logs", "crash"]).contains("crash/1/0 | ending with 3\n"));
}

#[test]
fn a_canary_waits_for_its_word_and_is_reached_by_its_header() {
    let (desk, gateway) = served();
    desk.says(&["deploy", &guest("http_hello"), "--name", "api", "--route", "/"]);
    std::fs::copy(harness::artefacts::guest("http_obedient"), desk.folder().join("next.wasm"))
        .unwrap();
    desk.write(
        "api.toml",
        "component = \"next.wasm\"\nname = \"api\"\n[http]\nroutes = [\"/\"]\n[rollout]\n\
         strategy = \"canary\"\nsteps = [{ percent = 10 }]\n\
         header = { name = \"X-Canary\", value = \"yes\" }\n",
    );
    let said = desk.says(&["deploy", "api.toml"]);
    let expected =
        "api: revision 2 gets 10% of the requests, and waits for `wrun rollout resume api`\n";
    assert!(said.starts_with(expected), "{said}");
    let asked = |more| http::get_of(gateway, "localhost", "/hello", more).unwrap().text();
    let with_header: Vec<_> = (0..20).map(|_| asked("x-canary: yes\r\n")).collect();
    assert!(with_header.iter().all(|text| text == "hello"), "{with_header:?}");
    let without: Vec<_> = (0..100).map(|_| asked("")).collect();
    let new = without.iter().filter(|text| *text == "hello").count();
    assert!((1..50).contains(&new), "{new} of 100 went to the canary");
    let status = desk.json(&["rollout", "status", "api"]);
    assert_eq!((&status["rollout"]["step"], &status["rollout"]["steps"]), (&1.into(), &1.into()));
    assert_eq!(desk.says(&["rollout", "resume", "api"]), "the rollout of api goes on\n");
    let end = desk.json(&["rollout", "status", "api", "--wait"]);
    assert_eq!((&end["rollout_state"], &end["revision"]), (&"ready".into(), &2.into()), "{end}");
    assert!((0..20).all(|_| asked("") == "hello"));
}
