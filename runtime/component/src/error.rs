//! Why a file cannot run as a component. Each text says what was found, where, and
//! what to do.

use thiserror::Error;

/// A file that [`prepare`](crate::prepare) or [`inspect`](crate::inspect) refuses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ComponentError {
    /// No bytes at all.
    #[error("the file is empty; give a WebAssembly component or a core module for WASI")]
    Empty,
    /// The file does not begin as WebAssembly does.
    #[error(
        "not a WebAssembly file: it begins with {begins}; give a component (.wasm), built for example with `cargo build --target wasm32-wasip2`"
    )]
    NotWasm {
        /// The first bytes in hexadecimal, with a guess at what they are.
        begins: String,
    },
    /// The text format, which must be assembled first.
    #[error(
        "this is WebAssembly text (WAT), not a binary; assemble it first, for example with `wasm-tools parse FILE -o FILE.wasm`"
    )]
    Text,
    /// A binary version or layer that nobody knows.
    #[error(
        "WebAssembly version {version:#x} is not known; rebuild it as a component (0x1000d) or a core module (0x1)"
    )]
    Version {
        /// The four bytes after the magic number, as a little-endian number.
        version: u32,
    },
    /// More bytes than [`wrun_protocol::limits::MAX_COMPONENT`].
    #[error(
        "{size} bytes; a component has at most {allowed}; strip its debug information (`wasm-tools strip`) or build it with optimisation"
    )]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The most it may have, in bytes.
        allowed: u64,
    },
    /// The file ends in the middle of something.
    #[error(
        "the file is cut off: it ends at byte {size} in the middle of a section; copy or build it again"
    )]
    Truncated {
        /// Its size in bytes.
        size: u64,
    },
    /// The bytes are not a valid component or module.
    #[error("not valid WebAssembly at byte {offset} ({offset:#x}): {reason}; build it again")]
    Invalid {
        /// Offset into the file, in bytes.
        offset: u64,
        /// What the validator said.
        reason: String,
    },
    /// It uses a proposal of WebAssembly that nodes do not run.
    #[error("it uses {feature}, which nodes do not run (byte {offset}); build it without")]
    Feature {
        /// Offset into the file, in bytes.
        offset: u64,
        /// What the validator said is missing.
        feature: String,
    },
    /// A core module that cannot be made into a component.
    #[error("a core module that cannot be adapted to a component: {reason}")]
    NotAdaptable {
        /// Why, and what to do.
        reason: String,
    },
    /// Something imported that no node gives.
    #[error("{}", imports_message(.names))]
    UnknownImport {
        /// Every such import, in order of appearance.
        names: Vec<String>,
    },
    /// No export that says how to run it.
    #[error("{}", exports_message(.found))]
    NoKnownExport {
        /// What it exports instead.
        found: Vec<String>,
    },
    /// A known interface in a version that nodes do not run.
    #[error("it exports `{export}`; nodes run version {supported} of it; rebuild it for that")]
    ExportVersion {
        /// The export with its version.
        export: String,
        /// The versions that nodes run.
        supported: &'static str,
    },
    /// A known interface without the function that nodes call.
    #[error(
        "its export `{export}` has no function `{function}`; build it against the published interface"
    )]
    ExportShape {
        /// The export with its version.
        export: String,
        /// What it lacks.
        function: String,
    },
    /// Nested components that unfold into too many instances.
    #[error(
        "one instance of it would be more than {allowed} core instances, or too deeply nested ones; compose it of fewer components"
    )]
    TooManyInstances {
        /// Most core instances in one component.
        allowed: u32,
    },
    /// More memories, tables or core instances than a node's pools have room for.
    #[error(
        "one instance of it would have {count} {kind}, and nodes allow {allowed}; compose it of fewer modules"
    )]
    TooManyParts {
        /// Of what there are too many.
        kind: &'static str,
        /// How many there are.
        count: u32,
        /// The most there may be.
        allowed: u32,
    },
}

fn imports_message(names: &[String]) -> String {
    let list = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    format!(
        "it imports {list}, which no node gives; nodes give WASI 0.2 and 0.3 (cli, clocks, filesystem, http, io, random, sockets) and `wrun:task/context@0.1.0`, and tasks of gangs `wrun:gang/exchange@0.1.0`"
    )
}

fn exports_message(found: &[String]) -> String {
    let found = if found.is_empty() {
        "nothing".to_owned()
    } else {
        found.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    format!(
        "it exports {found}; nodes run what exports `wasi:cli/run` (a program), `wrun:task/handler` (a function), or `wasi:http/incoming-handler` or `wasi:http/handler` (an HTTP service)"
    )
}
