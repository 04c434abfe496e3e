//! A component's kind, from the interfaces it exports.

use wasmparser::component_types::ComponentEntityType;

use crate::name::{InterfaceName, Track};
use crate::scan::Scan;
use crate::{ComponentError, Generation, Kind};

/// An interface that says how to run a component.
struct Known {
    path: &'static str,
    /// Its minor version below 1.0, and the generation of WASI that this is.
    versions: &'static [(u64, Generation)],
    /// The versions, for people.
    supported: &'static str,
    kind: Kind,
    /// The function it must have.
    function: &'static str,
}

/// In order of precedence: what comes first wins where several are exported.
const KNOWN: [Known; 4] = [
    Known {
        path: "wrun:task/handler",
        versions: &[(1, Generation::P2)],
        supported: "0.1",
        kind: Kind::Handler,
        function: "handle",
    },
    Known {
        path: "wasi:cli/run",
        versions: &[(3, Generation::P3), (2, Generation::P2)],
        supported: "0.2 and 0.3",
        kind: Kind::Command,
        function: "run",
    },
    Known {
        path: "wasi:http/handler",
        versions: &[(3, Generation::P3)],
        supported: "0.3",
        kind: Kind::Http,
        function: "handle",
    },
    Known {
        path: "wasi:http/incoming-handler",
        versions: &[(2, Generation::P2)],
        supported: "0.2",
        kind: Kind::Http,
        function: "handle",
    },
];

/// What decides how a component is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Main {
    pub(crate) kind: Kind,
    pub(crate) wasi: Generation,
    pub(crate) export: String,
}

/// Finds the export that decides.
pub(crate) fn main_export(scan: &Scan<'_>) -> Result<Main, ComponentError> {
    for known in &KNOWN {
        for (minor, wasi) in known.versions {
            let wanted = InterfaceName { path: known.path, track: Track::Zero(*minor) };
            let found = scan.exports.iter().find(|name| InterfaceName::parse(name) == wanted);
            if let Some(export) = found {
                has_function(scan, export, known.function)?;
                return Ok(Main { kind: known.kind, wasi: *wasi, export: (*export).to_owned() });
            }
        }
    }
    Err(none_known(&scan.exports))
}

fn has_function(scan: &Scan<'_>, export: &str, function: &str) -> Result<(), ComponentError> {
    let item = scan.types.component_item_for_export(export).map(|item| item.ty);
    let is_there = match item {
        Some(ComponentEntityType::Instance(id)) => scan.types[id]
            .exports
            .get(function)
            .is_some_and(|item| matches!(item.ty, ComponentEntityType::Func(_))),
        _ => false,
    };
    if is_there {
        Ok(())
    } else {
        Err(ComponentError::ExportShape {
            export: export.to_owned(),
            function: function.to_owned(),
        })
    }
}

fn none_known(exports: &[&str]) -> ComponentError {
    for known in &KNOWN {
        let other = exports.iter().find(|name| InterfaceName::parse(name).path == known.path);
        if let Some(export) = other {
            return ComponentError::ExportVersion {
                export: (*export).to_owned(),
                supported: known.supported,
            };
        }
    }
    ComponentError::NoKnownExport { found: exports.iter().map(|&name| name.to_owned()).collect() }
}
