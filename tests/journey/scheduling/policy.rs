//! The policy is read, set, kept; shares and priorities follow from it.

use crate::Desk;
use crate::desk::{guest, stderr};

#[test]
fn a_policy_is_shown_as_a_file_that_can_be_set_again() {
    let mut desk = Desk::start();
    let new = desk.says(&["policy", "show"]);
    desk.write("new.toml", &new);
    assert_eq!(desk.says(&["policy", "check", "new.toml"]), "new.toml is a policy\n");
    desk.write("policy.toml", "order = \"fcfs\"\n[tenant.lab]\nshares = 3\n");
    assert_eq!(desk.says(&["policy", "set", "policy.toml"]), "the policy is set\n");
    let set = desk.says(&["policy", "show"]);
    assert!(set.contains("order = \"fcfs\"") && set.contains("[tenant.lab]"), "{set}");
    desk.dev().kill();
    desk.start_dev(&[]);
    assert_eq!(desk.says(&["policy", "show"]), set, "it survives the server's death");
}

#[test]
fn a_policy_that_cannot_be_changes_nothing_and_says_where() {
    let desk = Desk::start();
    let before = desk.says(&["policy", "show"]);
    desk.write("bad.toml", "[tenant.lab]\nparent = \"nobody\"\n");
    for verb in ["check", "set"] {
        let refused = desk.wrun(&["policy", verb, "bad.toml"]);
        let said = "error: bad.toml:2:10: `tenant.lab.parent`: there is no tenant `nobody`\n";
        assert_eq!((refused.status.code(), stderr(&refused).as_str()), (Some(65), said));
    }
    assert_eq!(desk.says(&["policy", "show"]), before);
}

#[test]
fn only_admins_set_policies_and_raise_priorities() {
    let desk = Desk::start();
    desk.write("policy.toml", "");
    desk.says(&["user", "add", "lab", "-o", "lab.toml"]);
    let as_user =
        |arguments: &[&str]| desk.wrun(&[&["--credential", "lab.toml"], arguments].concat());
    let refused = as_user(&["policy", "set", "policy.toml"]);
    assert!(stderr(&refused).contains("only an admin may set the policy"), "{}", stderr(&refused));
    let refused = as_user(&["submit", &guest("hello"), "--nice", "-1"]);
    assert!(stderr(&refused).contains("only an admin may; use 0 or more"), "{}", stderr(&refused));
    assert!(as_user(&["policy", "show"]).status.success());
    assert!(as_user(&["submit", &guest("hello"), "--nice", "1"]).status.success());
}

#[test]
fn shares_show_who_used_what() {
    let desk = Desk::start();
    desk.write("policy.toml", "[tenant.lab]\nshares = 3\n");
    desk.says(&["policy", "set", "policy.toml"]);
    let job = desk.submit(&[&guest("sleeper"), "--", "300"]);
    desk.ended(&job);
    let shares = desk.json(&["share"]);
    let row = |name: &str| {
        let rows = shares["tenants"].as_array().unwrap();
        rows.iter().find(|row| row["tenant"] == name).unwrap().clone()
    };
    assert_eq!((&row("lab")["share"], &row("main")["share"]), (&0.75.into(), &0.25.into()));
    let used = row("main")["cpu_seconds"].as_f64().unwrap();
    assert!((0.3..10.0).contains(&used), "one CPU for the time it slept: {used}");
    assert!(row("lab")["factor"].as_f64() > row("main")["factor"].as_f64(), "{shares}");
    let table = desk.says(&["share"]);
    assert!(table.starts_with("TENANT  SHARES"), "{table}");
}

#[test]
fn a_priority_is_shown_factor_by_factor() {
    let desk = Desk::start();
    let job = desk.submit(&[&guest("sleep_forever"), "--priority", "2", "--nice", "30"]);
    let of = desk.json(&["job", &job, "--priority"]);
    let points = |name: &str| {
        let factors = of["factors"].as_array().unwrap();
        factors.iter().find(|factor| factor["name"] == name).unwrap()["points"].as_i64().unwrap()
    };
    assert_eq!((points("user"), points("nice")), (2_000_000, -30));
    let names = ["age", "fair-share", "size", "qos", "partition", "user", "nice"];
    let sum: i64 = names.into_iter().map(points).sum();
    assert_eq!(of["total_priority"].as_i64(), Some(sum), "{of}");
    let table = desk.says(&["job", &job, "--priority"]);
    assert!(table.starts_with("FACTOR") && table.trim_end().ends_with(&sum.to_string()), "{table}");
}
