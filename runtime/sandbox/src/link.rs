//! Host functions, linked once per engine; and components linked against them.

use std::sync::OnceLock;

use wasmtime::component::{Component, HasSelf, InstancePre, Linker};
use wasmtime_wasi::p2::bindings::CommandPre as PlainCommandPre;
use wasmtime_wasi::p3::bindings::CommandIndices as ConcurrentCommandIndices;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p3::bindings::ServicePre;

use crate::bindings::{Task, TaskPre};
use crate::engines::{Engines, Flavor, Pooled, fibers_for};
use crate::facts::Facts;
use crate::permits::Demand;
use crate::state::TaskState;
use crate::{PrepareError, Prepared};

/// A component's entry, its exports already looked up.
pub(crate) enum Entry {
    /// A program for WASI 0.2.
    Command(PlainCommandPre<TaskState>),
    /// A program for WASI 0.3.
    ConcurrentCommand(InstancePre<TaskState>, ConcurrentCommandIndices),
    /// A typed function.
    Handler(TaskPre<TaskState>),
    /// An HTTP service for WASI 0.2.
    Http(ProxyPre<TaskState>),
    /// An HTTP service for WASI 0.3.
    ConcurrentHttp(ServicePre<TaskState>),
}

/// Everything a component may import, for each engine.
pub(crate) struct Linkers {
    plain: Linker<TaskState>,
    concurrent: Linker<TaskState>,
    /// Made when it is first needed; or why it cannot be.
    deterministic: OnceLock<Result<Linker<TaskState>, String>>,
}

impl Linkers {
    pub(crate) fn new(engines: &Engines) -> wasmtime::Result<Self> {
        let plain = with_plain_interfaces(&engines.plain)?;
        let concurrent = with_all_interfaces(&engines.concurrent)?;
        Ok(Self { plain, concurrent, deterministic: OnceLock::new() })
    }

    fn of(&self, flavor: Flavor, pooled: &Pooled) -> Result<&Linker<TaskState>, String> {
        match flavor {
            Flavor::Plain => Ok(&self.plain),
            Flavor::Concurrent => Ok(&self.concurrent),
            Flavor::Deterministic => {
                let made = self
                    .deterministic
                    .get_or_init(|| with_a_world(pooled).map_err(|error| format!("{error:#}")));
                made.as_ref().map_err(Clone::clone)
            }
        }
    }

    /// Checks that the pool can hold an instance and links the component.
    pub(crate) fn link(
        &self,
        engines: &Engines,
        component: &Component,
        facts: Facts,
    ) -> Result<Prepared, PrepareError> {
        let pooled = engines.of(facts.flavor).map_err(PrepareError::Engine)?;
        let linker = self.of(facts.flavor, pooled).map_err(PrepareError::Link)?;
        let demand = demand(component, facts);
        if let Some((what, needs, most)) = demand.excess(pooled.pool) {
            return Err(PrepareError::TooLarge { what, needs: needs.into(), most: most.into() });
        }
        let refused = |error: wasmtime::Error| PrepareError::Link(format!("{error:#}"));
        let instance = linker.instantiate_pre(component).map_err(refused)?;
        let entry = entry(instance, facts).map_err(refused)?;
        Ok(Prepared { entry, engine: pooled.engine.clone(), facts, demand })
    }
}

fn entry(instance: InstancePre<TaskState>, facts: Facts) -> wasmtime::Result<Entry> {
    use wrun_protocol::wire::worker::ComponentKind;
    Ok(match facts.kind {
        ComponentKind::Handler => Entry::Handler(TaskPre::new(instance)?),
        ComponentKind::Command if facts.concurrent_call => {
            let indices = ConcurrentCommandIndices::new(&instance)?;
            Entry::ConcurrentCommand(instance, indices)
        }
        ComponentKind::Command => Entry::Command(PlainCommandPre::new(instance)?),
        ComponentKind::Http if facts.concurrent_call => {
            Entry::ConcurrentHttp(ServicePre::new(instance)?)
        }
        ComponentKind::Http => Entry::Http(ProxyPre::new(instance)?),
    })
}

/// The engine's own count where it has one; it cannot count core instances.
fn demand(component: &Component, facts: Facts) -> Demand {
    let counted = component.resources_required();
    let of = |counted: Option<u32>, inspected: u32| counted.unwrap_or(0).max(inspected);
    Demand {
        components: 1,
        cores: facts.cores,
        memories: of(counted.as_ref().map(|counted| counted.num_memories), facts.memories),
        tables: of(counted.as_ref().map(|counted| counted.num_tables), facts.tables),
        stacks: 1,
    }
}

/// The stacks of a task that may have fibers besides its first.
pub(crate) fn stacks(facts: Facts, memory: u64, stack: usize) -> u32 {
    match facts.flavor {
        Flavor::Plain => 1,
        Flavor::Concurrent | Flavor::Deterministic => fibers_for(memory, stack),
    }
}

fn with_plain_interfaces(pooled: &Pooled) -> wasmtime::Result<Linker<TaskState>> {
    let mut linker = Linker::new(&pooled.engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    crate::bodies::add_to_linker(&mut linker)?;
    crate::files::add_to_linker(&mut linker)?;
    crate::names::add_to_linker(&mut linker)?;
    crate::environment::add_to_linker(&mut linker)?;
    Task::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
    crate::exchange::add_to_linker(&mut linker)?;
    crate::nn::add_to_linker(&mut linker)?;
    Ok(linker)
}

fn with_all_interfaces(pooled: &Pooled) -> wasmtime::Result<Linker<TaskState>> {
    let mut linker = with_plain_interfaces(pooled)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    crate::files3::add_to_linker(&mut linker)?;
    crate::hops::add_concurrent_to_linker(&mut linker)?;
    crate::names::add_concurrent_to_linker(&mut linker)?;
    crate::environment::add_concurrent_to_linker(&mut linker)?;
    Ok(linker)
}

/// For tasks that see their own world in place of the outside.
fn with_a_world(pooled: &Pooled) -> wasmtime::Result<Linker<TaskState>> {
    let mut linker = with_all_interfaces(pooled)?;
    crate::deterministic::add_to_linker(&mut linker)?;
    Ok(linker)
}
