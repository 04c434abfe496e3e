//! Turns a core module built for WASI preview 1 into a component, by joining it with the
//! adapter that speaks preview 1 on one side and WASI 0.2 on the other.

use std::collections::BTreeSet;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
};
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

use crate::{ComponentError, scan};

/// Adapts a core module.
pub(crate) fn module(bytes: &[u8]) -> Result<Vec<u8>, ComponentError> {
    scan::module(bytes)?;
    Surface::of(bytes)?.check()?;
    ComponentEncoder::default()
        .validate(true)
        .module(bytes)
        .and_then(|encoder| {
            encoder.adapter(
                WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
                WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
            )
        })
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| refusal(format!("{error:#}")))
}

/// What a core module asks of its surroundings and shows to them.
#[derive(Default)]
struct Surface<'a> {
    /// Names of the modules it imports from, apart from preview 1.
    foreign: BTreeSet<&'a str>,
    exports: BTreeSet<&'a str>,
    /// Whether it carries the types of a component in a custom section. The encoder reads
    /// them, and on types that refer to themselves in a circle it recurses until the
    /// process dies: such a module is never given to it.
    typed: bool,
}

impl<'a> Surface<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, ComponentError> {
        let mut surface = Self::default();
        for payload in Parser::new(0).parse_all(bytes) {
            surface.note(payload).map_err(|error| ComponentError::Invalid {
                offset: error.offset() as u64,
                reason: error.message().to_owned(),
            })?;
        }
        Ok(surface)
    }

    fn note(&mut self, payload: wasmparser::Result<Payload<'a>>) -> wasmparser::Result<()> {
        match payload? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let module = import?.module;
                    if module != WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME {
                        self.foreign.insert(module);
                    }
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    self.exports.insert(export?.name);
                }
            }
            Payload::CustomSection(section) => {
                self.typed |= section.name().starts_with("component-type");
            }
            _ => {}
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ComponentError> {
        if self.typed {
            return Err(refusal(
                "it carries the types of a component that it is not yet; make that component first, with `wasm-tools component new` or by building for wasm32-wasip2"
                    .to_owned(),
            ));
        }
        if !self.foreign.is_empty() {
            let list = self.foreign.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
            return Err(refusal(format!(
                "it imports from {}, and a core module may import from `{WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME}` only; build it for a WASI target such as wasm32-wasip2{}",
                list.join(", "),
                self.hint(),
            )));
        }
        if !self.exports.contains("_start") {
            return Err(refusal(
                "it exports no `_start`, so it is a library and not a program; give it a main function, or build a component that exports `wrun:task/handler`"
                    .to_owned(),
            ));
        }
        if !self.exports.contains("memory") {
            return Err(refusal(
                "it exports no `memory`, through which WASI reads and writes".to_owned(),
            ));
        }
        Ok(())
    }

    fn hint(&self) -> &'static str {
        let has = |name: &str| self.foreign.contains(name);
        if has("wasi_unstable") {
            " (`wasi_unstable` is WASI from before preview 1)"
        } else if has("wasix_32v1") || has("wasix_64v1") {
            " (it is built for WASIX)"
        } else if has("__wbindgen_placeholder__") || has("wbg") {
            " (it is built for JavaScript by wasm-bindgen)"
        } else if has("gojs") || has("go") {
            " (for Go, set GOOS=wasip1)"
        } else if has("wasi") {
            " (it uses wasi-threads)"
        } else {
            ""
        }
    }
}

fn refusal(reason: String) -> ComponentError {
    ComponentError::NotAdaptable { reason: reason.replace('\n', ": ") }
}
