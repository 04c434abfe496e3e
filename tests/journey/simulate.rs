//! `wrun simulate`, which needs no cluster: what it prints and writes, and what it says of
//! a trace with bad lines.

use crate::Desk;
use crate::desk::{stderr, stdout};
use crate::schema::Schema;

/// Three jobs on two processors, and lines that are none.
const TRACE: &str = "; MaxProcs: 2\n\
    1 0 -1 100 1 -1 -1 -1 120 -1 1 7 1 1 1 1 -1 -1\n\
    what is this\n\
    2 10 -1 50 1 -1 -1 -1 60 -1 1 7 1 1 1 1 -1 -1\n\
    3 20 -1 30 1 -1 -1 -1 40 -1 1 8 1 1 1 1 -1 -1\n\
    4 30 -1 -1 1 -1 -1 -1 40 -1 1 8 1 1 1 1 -1 -1\n";

#[test]
fn a_trace_is_simulated_without_a_cluster() {
    let desk = Desk::alone();
    let schema = Schema::of(&desk);
    desk.write("small.swf", TRACE);
    desk.write("fcfs.toml", "order = \"fcfs\"\n");
    let flags = ["--policy", "fcfs.toml", "--plot", "plot.svg", "--jobs-csv", "jobs.csv"];
    let said = desk.wrun(&[&["simulate", "small.swf"], &flags[..]].concat());
    assert!(said.status.success(), "{}", stderr(&said));
    assert_eq!(stderr(&said), "small.swf:3: it has 3 fields of 18\n");
    let page = stdout(&said);
    assert!(page.contains("2 of 5 lines: 1 malformed, 1 no run time"), "{page}");
    assert!(page.contains("policy       fcfs.toml"), "{page}");
    let read = |name: &str| std::fs::read_to_string(desk.folder().join(name)).unwrap();
    assert_eq!(read("jobs.csv").lines().count(), 4);
    assert!(read("plot.svg").contains("small.swf under fcfs.toml"));
    let printed = desk.json(&["simulate", "small.swf"]);
    schema.check("simulate", &printed);
    assert_eq!(printed["runs"][0]["wait_s"]["max"], 40.0);
    assert_eq!(printed["skipped"]["malformed"], 1);
}

#[test]
fn what_is_no_trace_ends_with_the_code_of_bad_input() {
    let desk = Desk::alone();
    desk.write("noise.swf", [0xff, 0xfe, 0x00]);
    assert_eq!(desk.wrun(&["simulate", "noise.swf"]).status.code(), Some(65));
    assert_eq!(desk.wrun(&["simulate", "none.swf"]).status.code(), Some(66));
    assert_eq!(desk.wrun(&["simulate", "none.swf", "--plot", "a.pdf"]).status.code(), Some(2));
}
