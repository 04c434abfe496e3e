//! Handlers: typed errors, retries they ask for, progress and checkpoints.

use crate::desk::{guest, stderr, stdout};
use crate::{Desk, until};

fn submit(desk: &Desk, orders: &str, flags: &[&str]) -> String {
    let file = desk.write("orders.json", orders);
    let input = ["--input", file.to_str().unwrap()];
    desk.submit(&[&[guest("obedient_handler").as_str()], &input[..], flags].concat())
}

#[test]
fn an_error_is_the_reason_of_failure_and_is_final_unless_it_says_otherwise() {
    let desk = Desk::start();
    for (retryable, attempts) in [(false, 1), (true, 3)] {
        let orders = format!(r#"[{{"fail": {{"message": "no luck", "retryable": {retryable}}}}}]"#);
        let file = desk.write("orders.json", orders);
        let fields = format!("input = {file:?}\nretries = 2\nretry = {{ backoff = \"10ms\" }}");
        let page = desk.ended(&desk.submit_file("obedient_handler", &fields));
        assert_eq!(page["failure"]["kind"], "handler-error", "{page:#}");
        assert!(page["failure"]["message"].as_str().unwrap().contains("no luck"), "{page:#}");
        assert_eq!(page["tasks_shown"][0]["attempts"], attempts);
    }
}

#[test]
fn a_task_that_asks_for_another_attempt_gets_it_with_its_checkpoint() {
    let desk = Desk::start();
    let orders = r#"[{"save_text": "so far"}, {"log": "trying"}, {"fail_before": 2}]"#;
    let job = submit(&desk, orders, &["--retries", "1"]);
    let page = desk.ended(&job);
    assert_eq!(
        (&page["state"], &page["tasks_shown"][0]["attempts"]),
        (&"succeeded".into(), &2.into())
    );
    let report: serde_json::Value = serde_json::from_str(&desk.says(&["output", &job])).unwrap();
    assert_eq!((&report["attempt"], &report["checkpoint"]), (&2.into(), &"so far".into()));
    assert_eq!(report["tenant"], "main");
    let output = desk.wrun(&["logs", &job]);
    let logs = stdout(&output) + &stderr(&output);
    assert_eq!(logs.matches("trying").count(), 1, "of the latest attempt: {logs}");
}

#[test]
fn progress_is_shown_while_it_runs() {
    let desk = Desk::start();
    let orders = r#"[{"progress": 420}, {"sleep": {"ms": 20000}}]"#;
    let job = submit(&desk, orders, &[]);
    let task = until("progress is known", || {
        let task = desk.json(&["job", &job])["tasks_shown"][0].clone();
        task["progress_permille"].is_u64().then_some(task)
    });
    assert_eq!(
        (&task["progress_permille"], &task["progress_message"]),
        (&420.into(), &"at 420".into())
    );
    let page = desk.says(&["job", &job]);
    assert!(page.contains("42.0% at 420"), "{page}");
    desk.says(&["cancel", &job]);
}

#[test]
fn a_handler_knows_its_deadline() {
    let desk = Desk::start();
    let job = submit(&desk, "[]", &["--time-limit", "30s"]);
    desk.ended(&job);
    let report: serde_json::Value = serde_json::from_str(&desk.says(&["output", &job])).unwrap();
    let remaining = report["remaining_ms"].as_u64().unwrap();
    assert!((20_000..=30_000).contains(&remaining), "{report}");
}
