//! The text-format guests of the whole-system tests are what they are meant to be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use std::path::Path;

use wrun_component::{ComponentError, Generation, Kind, Prepared, prepare};

fn text_guest(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/wat");
    wat::parse_file(folder.join(name)).unwrap()
}

fn counts(name: &str) -> (u32, u32, u32) {
    let bytes = text_guest(name);
    let Prepared { inspected, .. } = prepare(&bytes).unwrap();
    assert_eq!(inspected.kind, Kind::Command, "{name}");
    (inspected.core_instances, inspected.memories, inspected.tables)
}

#[test]
fn hostile_programs_pass_and_are_counted() {
    assert_eq!(counts("noop.wat"), (1, 0, 0));
    assert_eq!(counts("trap.wat"), (1, 0, 0));
    assert_eq!(counts("many_memories.wat"), (1, 16, 0));
    assert_eq!(counts("many_instances.wat"), (13, 12, 0));
    assert_eq!(counts("many_tables.wat"), (1, 0, 3));
    assert_eq!(counts("fibers.wat"), (61, 0, 0));
    assert_eq!(counts("tasks.wat"), (2, 0, 0));
    let huge = text_guest("huge_start.wat");
    assert_eq!(prepare(&huge).unwrap().inspected.initial_memory, 1 << 30);
}

#[test]
fn guests_with_calls_under_way_are_of_the_third_generation() {
    for name in ["fibers.wat", "tasks.wat"] {
        let bytes = text_guest(name);
        let Prepared { inspected, .. } = prepare(&bytes).unwrap();
        assert_eq!(inspected.wasi, Generation::P3);
        assert!(inspected.needs_concurrency);
    }
}

#[test]
fn a_core_module_becomes_a_program() {
    assert_eq!(prepare(&text_guest("preview1.wat")).unwrap().inspected.kind, Kind::Command);
}

#[test]
fn what_no_node_runs_is_refused() {
    let refusal = |name| prepare(&text_guest(name)).unwrap_err();
    assert!(matches!(refusal("unknown_import.wat"), ComponentError::UnknownImport { .. }));
    assert!(matches!(refusal("preview1_foreign.wat"), ComponentError::NotAdaptable { .. }));
    assert!(matches!(refusal("unfolding.wat"), ComponentError::TooManyInstances { .. }));
}
