//! Components and what is said of them, and everything that is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use wrun_component::{ComponentError, Generation, Kind, inspect, prepare};
use wrun_protocol::limits::MAX_COMPONENT;

const COMMAND: &str = include_str!("wat/command.wat");
const HANDLER: &str = include_str!("wat/handler.wat");
const PREVIEW1: &str = include_str!("wat/preview1.wat");

fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

fn refusal(bytes: &[u8]) -> ComponentError {
    prepare(bytes).unwrap_err()
}

/// A component that exports `handle` as a member of that interface.
fn http(export: &str) -> String {
    COMMAND
        .replace("wasi:cli/run@0.2.6", export)
        .replace("(export \"run\" (func $run))", "(export \"handle\" (func $run))")
}

/// A command with `more` put before its own definitions.
fn command_with(more: &str) -> Vec<u8> {
    wasm(&COMMAND.replacen("(component", &format!("(component {more}"), 1))
}

#[test]
fn a_program_is_a_command_and_stays_as_it_is() {
    let bytes = wasm(COMMAND);
    let prepared = prepare(&bytes).unwrap();
    assert_eq!(prepared.component, bytes);
    let found = prepared.inspected;
    assert_eq!((found.kind, found.wasi), (Kind::Command, Generation::P2));
    assert_eq!(found.export, "wasi:cli/run@0.2.6");
    assert!(found.imports.is_empty() && !found.needs_concurrency);
    assert_eq!((found.core_instances, found.memories, found.tables), (1, 1, 0));
    assert_eq!(found.initial_memory, 1 << 16);
}

#[test]
fn a_handler_wins_over_a_program() {
    let found = inspect(&wasm(HANDLER)).unwrap();
    assert_eq!((found.kind, found.wasi), (Kind::Handler, Generation::P2));
    assert_eq!(found.export, "wrun:task/handler@0.1.0");
    assert_eq!(found.imports, ["wrun:task/context@0.1.0"]);
    assert_eq!((found.memories, found.tables), (1, 1));
}

#[test]
fn every_patch_release_of_an_interface_is_known() {
    for version in ["0.2.0", "0.2.12", "0.2.99"] {
        let bytes = wasm(&COMMAND.replace("0.2.6", version));
        assert_eq!(inspect(&bytes).unwrap().kind, Kind::Command, "{version}");
    }
}

#[test]
fn a_program_for_wasi_0_3_needs_concurrency() {
    let bytes = wasm(&COMMAND.replace("0.2.6", "0.3.0"));
    let found = inspect(&bytes).unwrap();
    assert_eq!(found.wasi, Generation::P3);
    assert!(found.needs_concurrency);
}

#[test]
fn anything_asynchronous_needs_concurrency() {
    let cases = [
        "(type (stream u8))",
        "(type (future))",
        "(type (func async))",
        "(type (instance (type (func async (param \"x\" u32)))))",
        "(component (type (stream)))",
        "(core func (canon waitable-set.new))",
        "(type $s (stream u8)) (core func (canon stream.new $s))",
    ];
    for case in cases {
        assert!(inspect(&command_with(case)).unwrap().needs_concurrency, "{case}");
    }
}

#[test]
fn an_async_lift_needs_concurrency() {
    let text = COMMAND
        .replace("(func $run (result (result)) (canon", "(func $run async (result (result)) (canon")
        .replace(
            "(canon lift (core func $i \"run\"))",
            "(canon lift (core func $i \"run\") async (callback (core func $i \"back\")))",
        )
        .replace(
            "(func (export \"run\")",
            "(func (export \"back\") (param i32 i32 i32) (result i32) i32.const 0) (func (export \"run\")",
        );
    assert!(inspect(&wasm(&text)).unwrap().needs_concurrency);
}

#[test]
fn a_core_module_for_preview_1_is_adapted() {
    let bytes = wasm(PREVIEW1);
    let prepared = prepare(&bytes).unwrap();
    assert_eq!(prepared.inspected.kind, Kind::Command);
    assert_eq!(prepared.inspected.wasi, Generation::P2);
    assert!(prepared.inspected.imports.iter().any(|name| name.starts_with("wasi:cli/stdout@0.2")));
    assert!(!prepared.inspected.needs_concurrency);
    assert!(prepared.inspected.core_instances >= 2);
    // Adapting is a function of the bytes, so that the digest is one too.
    assert_eq!(prepare(&bytes).unwrap().component, prepared.component);
    assert_eq!(prepare(&prepared.component).unwrap().inspected, prepared.inspected);
}

#[test]
fn a_core_module_that_imports_nothing_is_adapted_too() {
    let bytes = wasm("(module (memory (export \"memory\") 1) (func (export \"_start\")))");
    assert_eq!(prepare(&bytes).unwrap().inspected.kind, Kind::Command);
}

#[test]
fn a_core_module_that_cannot_be_adapted_says_why() {
    let cases = [
        ("(module (import \"env\" \"f\" (func)))", "`env`"),
        ("(module (import \"wasi_unstable\" \"fd_write\" (func)))", "before preview 1"),
        ("(module (import \"gojs\" \"runtime.wasmExit\" (func)))", "GOOS=wasip1"),
        ("(module (memory (export \"memory\") 1))", "no `_start`"),
        ("(module (func (export \"_start\")))", "no `memory`"),
        (
            "(module (@custom \"component-type:world\" \"x\") (memory (export \"memory\") 1) (func (export \"_start\")))",
            "wasm-tools component new",
        ),
        (
            "(module (import \"wasi_snapshot_preview1\" \"no_such_call\" (func)) (memory (export \"memory\") 1) (func (export \"_start\")))",
            "no_such_call",
        ),
        (
            "(module (memory (export \"memory\") 1) (func (export \"_start\") (param i32)))",
            "_start",
        ),
    ];
    for (text, expected) in cases {
        let error = refusal(&wasm(text));
        assert!(matches!(error, ComponentError::NotAdaptable { .. }), "{text}: {error}");
        assert!(error.to_string().contains(expected), "{text}: {error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn unknown_imports_are_refused_all_of_them_by_name() {
    let bytes = command_with(
        "(import \"acme:printer/page@1.0.0\" (instance (export \"print\" (func))))
         (import \"wasi:keyvalue/store@0.2.0\" (instance (export \"open\" (func))))
         (import \"plain\" (func))
         (import \"wasi:random/random@0.2.0\" (instance (export \"get-random-u64\" (func (result u64)))))",
    );
    let ComponentError::UnknownImport { names } = refusal(&bytes) else { panic!() };
    assert_eq!(names, ["acme:printer/page@1.0.0", "wasi:keyvalue/store@0.2.0", "plain"]);
}

#[test]
fn an_unknown_function_of_a_known_interface_is_named() {
    let bytes = command_with(
        "(import \"wasi:cli/environment@0.2.99\" (instance
            (export \"get-arguments\" (func (result (list string))))
            (export \"get-weather\" (func (result string)))
            (export \"cloud\" (type (sub resource)))))",
    );
    let ComponentError::UnknownImport { names } = refusal(&bytes) else { panic!() };
    assert_eq!(
        names,
        ["wasi:cli/environment@0.2.99#get-weather", "wasi:cli/environment@0.2.99#cloud"]
    );
}

#[test]
fn a_release_candidate_of_an_interface_is_not_the_interface() {
    let bytes = command_with("(import \"wasi:cli/stdin@0.3.0-rc-2025-09-16\" (instance))");
    assert!(matches!(refusal(&bytes), ComponentError::UnknownImport { .. }));
    let bytes = wasm(&COMMAND.replace("0.2.6", "0.3.0-rc-2025-09-16"));
    let error = refusal(&bytes);
    assert!(matches!(error, ComponentError::ExportVersion { .. }), "{error}");
    assert!(error.to_string().contains("0.2 and 0.3"), "{error}");
}

#[test]
fn an_http_service_is_known_by_either_generation_of_its_export() {
    for (export, wasi) in [
        ("wasi:http/incoming-handler@0.2.0", Generation::P2),
        ("wasi:http/incoming-handler@0.2.12", Generation::P2),
        ("wasi:http/handler@0.3.0", Generation::P3),
        ("wasi:http/handler@0.3.2", Generation::P3),
    ] {
        let found = prepare(&wasm(&http(export))).unwrap().inspected;
        assert_eq!((found.kind, found.wasi), (Kind::Http, wasi), "{export}");
        assert_eq!(found.export, export);
        assert_eq!(found.needs_concurrency, wasi == Generation::P3, "{export}");
    }
}

#[test]
fn an_http_service_may_import_what_the_proxy_world_gives_and_no_more() {
    let imports = "(import \"wasi:http/types@0.2.3\" (instance
            (export \"fields\" (type $fields (sub resource)))
            (export \"[constructor]fields\" (func (result (own $fields))))))
         (import \"wasi:http/outgoing-handler@0.2.3\" (instance (export \"handle\" (func))))
         (import \"wasi:cli/stderr@0.2.3\" (instance))
         (import \"wasi:clocks/wall-clock@0.2.3\" (instance))
         (import \"wasi:random/random@0.2.3\" (instance))
         (import \"wasi:io/streams@0.2.3\" (instance))";
    let with = |more: &str| {
        let text = http("wasi:http/incoming-handler@0.2.3");
        wasm(&text.replacen("(component", &format!("(component {imports} {more}"), 1))
    };
    assert_eq!(prepare(&with("")).unwrap().inspected.kind, Kind::Http);
    let error = refusal(&with("(import \"wasi:keyvalue/store@0.2.0\" (instance))"));
    assert!(matches!(error, ComponentError::UnknownImport { .. }), "{error}");
}

#[test]
fn an_http_service_in_a_version_that_nodes_do_not_run_is_refused() {
    for export in ["wasi:http/handler@0.3.0-rc-2025-09-16", "wasi:http/incoming-handler@0.3.0"] {
        let error = refusal(&wasm(&http(export)));
        assert!(matches!(error, ComponentError::ExportVersion { .. }), "{error}");
    }
}

#[test]
fn what_exports_nothing_known_is_told_what_it_exports() {
    let error = refusal(&wasm(&COMMAND.replace("wasi:cli/run@0.2.6", "acme:tools/run@1.0.0")));
    assert_eq!(
        error,
        ComponentError::NoKnownExport { found: vec!["acme:tools/run@1.0.0".to_owned()] }
    );
    let error = refusal(&wasm("(component)"));
    assert!(error.to_string().starts_with("it exports nothing"), "{error}");
}

#[test]
fn an_export_without_its_function_is_refused() {
    let text = COMMAND.replace("(export \"run\" (func $run))", "(export \"walk\" (func $run))");
    let expected = ComponentError::ExportShape {
        export: "wasi:cli/run@0.2.6".to_owned(),
        function: "run".to_owned(),
    };
    assert_eq!(refusal(&wasm(&text)), expected);
}

#[test]
fn nested_components_are_counted_as_often_as_they_are_instantiated() {
    let bytes = command_with(
        "(component $inner
            (core module $two (memory 1) (memory 2) (table 1 funcref))
            (core instance (instantiate $two))
            (core instance (instantiate $two)))
         (instance (instantiate $inner))
         (instance (instantiate $inner))
         (component $unused (core module $m (memory 9)) (core instance (instantiate $m)))",
    );
    let found = inspect(&bytes).unwrap();
    assert_eq!((found.core_instances, found.memories, found.tables), (5, 9, 4));
    assert_eq!(found.initial_memory, (4 * 3 + 1) << 16);
}

#[test]
fn modules_given_as_arguments_and_through_aliases_are_counted() {
    let bytes = command_with(
        "(core module $given (memory 1))
         (component $takes
            (import \"m\" (core module $m))
            (core instance (instantiate $m))
            (export \"again\" (core module $m)))
         (instance $taken (instantiate $takes (with \"m\" (core module $given))))
         (alias export $taken \"again\" (core module $again))
         (core instance (instantiate $again))
         (component $outer
            (alias outer 1 $given (core module $far))
            (core instance (instantiate $far)))
         (instance (instantiate $outer))
         (component $maker
            (component $made (core module $m (memory 1)) (core instance (instantiate $m)))
            (export \"made\" (component $made)))
         (instance $maker (instantiate $maker))
         (alias export $maker \"made\" (component $made))
         (instance (instantiate $made))
         (instance $bundle (export \"c\" (component $made)))
         (alias export $bundle \"c\" (component $bundled))
         (instance (instantiate $bundled))",
    );
    assert_eq!(inspect(&bytes).unwrap().memories, 1 + 5);
}

#[test]
fn a_component_that_unfolds_into_billions_is_refused_at_once() {
    let mut nested = "(component $c0 (core module $m) (core instance (instantiate $m)))".to_owned();
    for level in 1..40 {
        let below = level - 1;
        nested = format!(
            "(component $c{level} {nested} (instance (instantiate $c{below})) (instance (instantiate $c{below})))"
        );
    }
    let bytes = command_with(&format!("{nested} (instance (instantiate $c39))"));
    assert!(matches!(refusal(&bytes), ComponentError::TooManyInstances { .. }));
}

#[test]
fn more_memories_or_tables_than_a_node_has_room_for_are_refused() {
    for (kind, part) in [("memories", "(memory 1)"), ("tables", "(table 1 funcref)")] {
        // One memory is the program's own.
        let twice = |count| {
            let module = format!("(core module $p {})", part.repeat(count));
            format!("{module} (core instance (instantiate $p)) (core instance (instantiate $p))")
        };
        assert!(inspect(&command_with(&twice(49))).is_ok());
        let error = refusal(&command_with(&twice(51)));
        let ComponentError::TooManyParts { kind: found, .. } = error else { panic!("{error}") };
        assert_eq!(found, kind);
    }
}

#[test]
fn shared_memory_and_unfinished_proposals_are_refused_by_name() {
    let shared = command_with("(core module (memory 1 1 shared))");
    let error = refusal(&shared);
    assert!(error.to_string().contains("shared memory"), "{error}");
    let wide = command_with(
        "(core module (func (param i64 i64 i64 i64) (result i64 i64)
            local.get 0 local.get 1 local.get 2 local.get 3 i64.add128))",
    );
    let error = refusal(&wide);
    assert!(matches!(error, ComponentError::Feature { .. }), "{error}");
    let shared =
        wasm("(module (memory (export \"memory\") 1 1 shared) (func (export \"_start\")))");
    assert!(matches!(refusal(&shared), ComponentError::Feature { .. }));
}

#[test]
fn what_is_not_webassembly_is_told_what_it_is() {
    assert_eq!(refusal(b""), ComponentError::Empty);
    for (bytes, expected) in [
        (&b"\x7fELF\x02\x01\x01\0"[..], "native program"),
        (b"#!/bin/sh\n", "script"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"hello", "68 65 6c 6c 6f"),
        (b"(define (square x) (* x x))", "not a WebAssembly file"),
    ] {
        let error = refusal(bytes);
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(refusal(b"\0asm\x0f\0\0\0"), ComponentError::Version { version: 15 });
}

#[test]
fn text_format_is_told_to_be_assembled() {
    for text in [COMMAND, PREVIEW1, "(module)", " (; a (; b ;) \n(component)", ";; x\n( module)"] {
        assert_eq!(refusal(text.as_bytes()), ComponentError::Text, "{text}");
    }
}

#[test]
fn a_file_that_is_too_large_is_refused_before_it_is_read() {
    let bytes = vec![0; usize::try_from(MAX_COMPONENT).unwrap() + 1];
    assert_eq!(
        refusal(&bytes),
        ComponentError::TooLarge { size: MAX_COMPONENT + 1, allowed: MAX_COMPONENT }
    );
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    for text in [COMMAND, HANDLER, PREVIEW1] {
        let bytes = wasm(text);
        let mut cut = 0;
        for length in 0..bytes.len() {
            // Between two sections a shorter file is another whole file, and the last
            // section may be one that only holds names; everywhere else the cut is named.
            let Err(error) = prepare(&bytes[..length]) else { continue };
            let message = error.to_string();
            assert!(!message.contains('\n'), "{message}");
            let is_whole = matches!(
                error,
                ComponentError::NoKnownExport { .. }
                    | ComponentError::NotAdaptable { .. }
                    | ComponentError::Invalid { .. }
                    | ComponentError::Empty
            );
            assert!(is_whole || error == ComponentError::Truncated { size: length as u64 });
            cut += usize::from(!is_whole);
        }
        assert!(cut * 10 > bytes.len() * 8, "{cut} of {}", bytes.len());
    }
}
