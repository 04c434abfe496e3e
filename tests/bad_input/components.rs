//! Files that are no component which a node can run.

use harness::{Cluster, artefacts};

use crate::{exit, goes_on, refused};

#[test]
fn what_is_no_runnable_component_is_told_and_never_becomes_a_job() {
    let cluster = Cluster::start();
    let noop = std::fs::read(artefacts::guest("noop")).unwrap();
    let half = &noop[..noop.len() / 2];
    let mut broken = noop.clone();
    broken[3000..3004].fill(0xff);
    let cut = format!("ends at byte {}", half.len());
    let invalid = exit::INVALID_INPUT;
    let cases: [(&str, &[u8], &[&str]); 11] = [
        ("script.sh", b"#!/bin/sh\n", &["not a WebAssembly file", "a script", "give a component"]),
        ("empty.wasm", b"", &["the file is empty", "give a WebAssembly component"]),
        ("native", b"\x7fELF\x02\x01", &["a native program", "wasm32-wasip2"]),
        ("text.wat", b"(component)", &["WebAssembly text", "assemble it first"]),
        ("magic.wasm", b"\0as", &["cut off", "ends at byte 3", "copy or build it again"]),
        ("version.wasm", b"\0asm\x05\0\0\0", &["version 0x5 is not known", "rebuild it"]),
        ("nothing.wasm", b"\0asm\x0d\0\x01\0", &["exports nothing", "`wasi:cli/run`"]),
        ("library.wasm", b"\0asm\x01\0\0\0", &["cannot be adapted", "`_start`", "main function"]),
        ("half.wasm", half, &["cut off", &cut, "copy or build it again"]),
        ("broken.wasm", &broken, &["not valid WebAssembly at byte 3", "build it again"]),
        (
            "foreign.wasm",
            &artefacts::guest_bytes("preview1_foreign"),
            &["cannot be adapted", "imports from `env`", "build it for a WASI target"],
        ),
    ];
    for (name, bytes, words) in cases {
        std::fs::write(cluster.folder().join(name), bytes).unwrap();
        for verb in ["submit", "run"] {
            let line = refused(&cluster.wrun(&[verb, name]), invalid, words);
            assert!(line.contains(&format!("`{name}`")), "{line}");
        }
    }
    let file = cluster.folder().join("printer.wasm");
    std::fs::write(file, artefacts::guest_bytes("unknown_import")).unwrap();
    let words = ["`printer.wasm`", "`acme:printer/page@1.0.0`", "no node gives", "nodes give WASI"];
    refused(&cluster.wrun(&["submit", "printer.wasm"]), invalid, &words);
    let words = ["cannot read the component `gone.wasm`", "no such file", "check the path"];
    refused(&cluster.wrun(&["submit", "gone.wasm"]), exit::NOT_FOUND, &words);
    goes_on(&cluster, 0);
}

/// Every cut of a component is refused, whichever byte it ends at.
#[test]
fn a_component_cut_anywhere_is_refused() {
    let cluster = Cluster::start();
    let whole = std::fs::read(artefacts::guest("noop")).unwrap();
    for part in 1..24 {
        let end = whole.len() * part / 24;
        std::fs::write(cluster.folder().join("cut.wasm"), &whole[..end]).unwrap();
        refused(&cluster.wrun(&["submit", "cut.wasm"]), exit::INVALID_INPUT, &["`cut.wasm`"]);
    }
    goes_on(&cluster, 0);
}

#[test]
fn as_json_an_error_is_one_object_with_the_same_words() {
    let cluster = Cluster::start();
    std::fs::write(cluster.folder().join("x.wasm"), "text").unwrap();
    let output = cluster.wrun(&["submit", "x.wasm", "--json"]);
    let said: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(exit::INVALID_INPUT));
    assert_eq!(
        (&said["error"]["kind"], &said["error"]["exit_code"]),
        (&"invalid-input".into(), &65.into())
    );
    assert!(said["error"]["message"].as_str().unwrap().contains("not a WebAssembly file"));
}
