//! What a component is, before anything runs: parse, classify by exports, check every
//! import against what nodes give, adapt core modules built for WASI preview 1.
//!
//! Nothing here executes guest code, reads files or knows a clock; the bytes may come
//! from anyone.
//!
//! A component's kind follows from its exports. One that exports several is, in this
//! order, a handler, a command, an HTTP service: `wrun:task/handler` is exported on
//! purpose only, while toolchains add `wasi:cli/run` to what was meant as a library.

mod adapt;
mod census;
mod classify;
mod error;
mod foreign;
mod given;
mod name;
mod scan;

use std::borrow::Cow;

use wrun_protocol::limits::MAX_COMPONENT;

pub use census::MAX_PARTS;
pub use error::ComponentError;
use name::{InterfaceName, Track};

/// A component that nodes run, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared<'a> {
    /// The bytes to store and address: those given, or an adapted core module's new ones.
    pub component: Cow<'a, [u8]>,
    /// What it is and needs.
    pub inspected: Inspected,
}

/// What a component's own types say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// How it is run.
    pub kind: Kind,
    /// The generation of WASI that its main export belongs to; a handler counts as
    /// [`Generation::P3`] when it imports any interface of WASI 0.3.
    pub wasi: Generation,
    /// The export that decided `kind`, with its version, as in `wasi:cli/run@0.2.6`.
    pub export: String,
    /// Its imports with their versions, in order of appearance.
    pub imports: Vec<String>,
    /// Whether it needs an engine with concurrency: it uses WASI 0.3, or lifts or lowers
    /// any function asynchronously, or knows streams or futures.
    pub needs_concurrency: bool,
    /// Core instances that one instantiation makes, over all nested components. The
    /// engine adds its own, at most one for each call between nested components.
    pub core_instances: u32,
    /// Linear memories defined by all its core instances.
    pub memories: u32,
    /// Tables defined by all its core instances.
    pub tables: u32,
    /// Sum of the memories' initial sizes, in bytes: less than this can never hold it.
    pub initial_memory: u64,
}

/// How a component is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A program: exports `wasi:cli/run`.
    Command,
    /// A function from bytes to bytes: exports `wrun:task/handler`.
    Handler,
    /// An HTTP service: exports `wasi:http/incoming-handler` or `wasi:http/handler`.
    Http,
}

/// A generation of WASI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Generation {
    /// 0.2: functions that block.
    P2,
    /// 0.3: async functions, streams, futures.
    P3,
}

/// Makes `bytes` ready to run: adapts a core module for WASI preview 1, checks and
/// classifies a component.
///
/// # Errors
/// Says what is wrong, where, and what to do.
pub fn prepare(bytes: &[u8]) -> Result<Prepared<'_>, ComponentError> {
    let component = match layer(bytes)? {
        Layer::Component => Cow::Borrowed(bytes),
        Layer::Module => Cow::Owned(adapt::module(bytes)?),
    };
    let inspected = inspect(&component)?;
    Ok(Prepared { component, inspected })
}

/// Checks and classifies bytes that must already be a component. Unlike [`prepare`] it
/// adapts nothing.
///
/// # Errors
/// As [`prepare`]; a core module is [`ComponentError::NotAdaptable`].
pub fn inspect(component: &[u8]) -> Result<Inspected, ComponentError> {
    if let Layer::Module = layer(component)? {
        return Err(ComponentError::NotAdaptable {
            reason: "a component is wanted here, not a core module; submit it to have it adapted"
                .to_owned(),
        });
    }
    let scan = scan::component(component)?;
    let main = classify::main_export(&scan)?;
    let names = given::missing(&scan.types, scan.imports.iter().copied());
    if !names.is_empty() {
        return Err(ComponentError::UnknownImport { names });
    }
    let census = census::take(&scan)?;
    let third = scan.imports.iter().any(|name| is_third_generation(name));
    let wasi = if third { Generation::P3 } else { main.wasi };
    Ok(Inspected {
        kind: main.kind,
        wasi,
        export: main.export,
        imports: scan.imports.iter().map(|&name| name.to_owned()).collect(),
        needs_concurrency: scan.is_async || wasi == Generation::P3,
        core_instances: census.core_instances,
        memories: census.memories,
        tables: census.tables,
        initial_memory: census.initial_memory,
    })
}

fn is_third_generation(import: &str) -> bool {
    let name = InterfaceName::parse(import);
    name.path.starts_with("wasi:") && name.track == Track::Zero(3)
}

/// What a WebAssembly file holds, by its version field.
enum Layer {
    Module,
    Component,
}

fn layer(bytes: &[u8]) -> Result<Layer, ComponentError> {
    const MAGIC: &[u8] = b"\0asm";
    let size = bytes.len() as u64;
    if size > MAX_COMPONENT {
        return Err(ComponentError::TooLarge { size, allowed: MAX_COMPONENT });
    }
    let Some(version) = bytes.strip_prefix(MAGIC) else {
        return Err(foreign::refusal(bytes, MAGIC));
    };
    match version.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)) {
        None => Err(ComponentError::Truncated { size }),
        Some(0x1) => Ok(Layer::Module),
        Some(0x1_000d) => Ok(Layer::Component),
        Some(version) => Err(ComponentError::Version { version }),
    }
}
