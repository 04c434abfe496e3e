//! The engines and their pools. One knows nothing of concurrency and runs components that
//! use WASI 0.2 alone; the other runs everything else. A third, made when it is first
//! needed, runs deterministic tasks: its code gives the same bits on every processor. What
//! a task may take of a pool is counted in [`crate::permits`]; the sizes are decided here.

use std::sync::OnceLock;

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

use wrun_protocol::limits::{MAX_CONCURRENT, MEMORY_OF_REQUEST};

use crate::permits::Demand;
use crate::{SandboxConfig, SandboxError};

/// Linear memory that stays resident in a free slot, so that the next instance finds its
/// pages mapped: without it an instance costs several times as much.
const MEMORY_RESIDENT: usize = 2 << 20;
const TABLE_RESIDENT: usize = 64 << 10;
const STACK_RESIDENT: usize = 64 << 10;
/// What the host's own functions may use of a guest's stack, besides the guest's share.
const HOST_STACK: usize = 512 << 10;
/// Entries that a table may have: function tables of large C and Go programs.
const TABLE_ELEMENTS: usize = 1 << 17;
/// Bytes of engine-side state for one instance. Allocated by need, not reserved.
const INSTANCE_STATE: usize = 16 << 20;
/// Slots above this are refused: each reserves more than 8 GiB of address space.
const MAX_SLOTS: u32 = 4096;
/// Tasks on the engine with concurrency at once. Each may need many fibers, and each
/// fiber's stack costs two of the kernel's 65,530 mappings of a process.
const MAX_CONCURRENT_SLOTS: u32 = 64;
/// Fibers of all of them together.
const MAX_STACKS: u32 = 16_384;
/// Most fibers of one task; see [`fibers_for`]. An instance that handles as many requests at
/// once as it may needs so many.
const MAX_FIBERS: u32 = MAX_CONCURRENT * (MEMORY_OF_REQUEST >> 20) as u32;
/// Most memories, tables and core instances of one component.
const MAX_PARTS: u32 = 100;

/// Which engine a component runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavor {
    /// Without concurrency support: WASI 0.2.
    Plain,
    /// With it: WASI 0.3, or async functions of its own.
    Concurrent,
    /// With it, and deterministic: whatever the component uses.
    Deterministic,
}

/// An engine and what its pool holds.
pub(crate) struct Pooled {
    pub(crate) engine: Engine,
    pub(crate) pool: Demand,
}

/// All engines.
pub(crate) struct Engines {
    pub(crate) plain: Pooled,
    pub(crate) concurrent: Pooled,
    /// Or why it cannot be made.
    deterministic: OnceLock<Result<Pooled, String>>,
    config: SandboxConfig,
    pagemap: bool,
}

impl Engines {
    /// Builds the first two; adds to `warnings` what the machine lacks.
    pub(crate) fn new(
        config: &SandboxConfig,
        warnings: &mut Vec<String>,
    ) -> Result<Self, SandboxError> {
        let pagemap = PoolingAllocationConfig::is_pagemap_scan_available();
        if !pagemap {
            warnings.push(
                "this kernel has no PAGEMAP_SCAN (Linux 6.7 or later has): starting a sandbox \
                 costs several times as much"
                    .to_owned(),
            );
        }
        let build = |flavor, warnings: &mut Vec<String>| {
            let pool = pool_size(config, flavor);
            pooled(config, flavor, pool, pagemap).or_else(|error| {
                warnings.push(format!(
                    "the pool of sandboxes cannot be made ({error:#}); falling back to \
                     allocation by need, which is several times slower: raise the limit of \
                     address space or lower the slots"
                ));
                on_demand(config, flavor, pool)
            })
        };
        let plain = build(Flavor::Plain, warnings)?;
        let concurrent = build(Flavor::Concurrent, warnings)?;
        let (deterministic, config) = (OnceLock::new(), config.clone());
        Ok(Self { plain, concurrent, deterministic, config, pagemap })
    }

    /// The engine for components of that kind; the error is for the user.
    pub(crate) fn of(&self, flavor: Flavor) -> Result<&Pooled, String> {
        match flavor {
            Flavor::Plain => Ok(&self.plain),
            Flavor::Concurrent => Ok(&self.concurrent),
            Flavor::Deterministic => {
                let made = self.deterministic.get_or_init(|| self.make_deterministic());
                made.as_ref().map_err(Clone::clone)
            }
        }
    }

    fn make_deterministic(&self) -> Result<Pooled, String> {
        let (config, flavor) = (&self.config, Flavor::Deterministic);
        let pool = pool_size(config, flavor);
        pooled(config, flavor, pool, self.pagemap).or_else(|error| {
            let problem = format!("{error:#}");
            tracing::warn!(problem, "deterministic tasks are allocated by need, which is slower");
            on_demand(config, flavor, pool).map_err(|error| error.to_string())
        })
    }

    /// What the pool of an engine holds, made or not.
    pub(crate) fn pool(&self, flavor: Flavor) -> Demand {
        pool_size(&self.config, flavor)
    }

    /// Those that are made.
    pub(crate) fn made(&self) -> impl Iterator<Item = &Engine> {
        let deterministic = self.deterministic.get().and_then(|made| made.as_ref().ok());
        let made = [Some(&self.plain), Some(&self.concurrent), deterministic];
        made.into_iter().flatten().map(|pooled| &pooled.engine)
    }
}

/// The engine that runs components of WASI 0.2, pool and all, without a sandbox around it:
/// the floor that benchmarks measure a [`crate::Sandbox`] against.
///
/// # Errors
/// [`SandboxError::Setting`] for a setting that cannot be, [`SandboxError::Engine`] where
/// the machine does not give the pool its address space.
pub fn plain_engine(config: &SandboxConfig) -> Result<Engine, SandboxError> {
    check(config)?;
    let pagemap = PoolingAllocationConfig::is_pagemap_scan_available();
    let pooled = pooled(config, Flavor::Plain, pool_size(config, Flavor::Plain), pagemap)
        .map_err(|error| SandboxError::Engine(format!("{error:#}")))?;
    Ok(pooled.engine)
}

/// Fibers that a task with this memory limit may have: their stacks together stay within
/// the memory limit, besides 32 that every task may have.
pub(crate) fn fibers_for(memory: u64, stack: usize) -> u32 {
    let fit = memory / (stack as u64).max(1);
    u32::try_from(fit).unwrap_or(u32::MAX).clamp(32, MAX_FIBERS)
}

/// Checks what an engine would otherwise refuse in its own words.
pub(crate) fn check(config: &SandboxConfig) -> Result<(), SandboxError> {
    let setting = |holds: bool, setting, problem: &str| {
        let problem = problem.to_owned();
        if holds { Ok(()) } else { Err(SandboxError::Setting { setting, problem }) }
    };
    setting((1..=1024).contains(&config.threads), "threads", "use 1 to 1024")?;
    setting((1..=MAX_SLOTS).contains(&config.slots), "slots", "use 1 to 4096")?;
    setting(config.memory >= 1 << 20, "memory", "at least 1 MiB")?;
    setting((1..=256).contains(&config.compile_threads), "compile_threads", "use 1 to 256")?;
    setting((1..=256).contains(&config.io_threads), "io_threads", "use 1 to 256")?;
    let stack = (64 << 10..=64 << 20).contains(&config.stack);
    setting(stack, "stack", "use 64 KiB to 64 MiB")?;
    let tick = config.tick.as_micros();
    setting((500..=10_000).contains(&tick), "tick", "use 0.5 to 10 ms")
}

fn pool_size(config: &SandboxConfig, flavor: Flavor) -> Demand {
    let slots = match flavor {
        Flavor::Plain => config.slots,
        Flavor::Concurrent | Flavor::Deterministic => config.slots.min(MAX_CONCURRENT_SLOTS),
    };
    let stacks = match flavor {
        Flavor::Plain => slots,
        Flavor::Concurrent | Flavor::Deterministic => {
            (slots * fibers_for(config.memory, config.stack)).min(MAX_STACKS)
        }
    };
    // Rust programs take 1 to 3 core instances, Go 4 or 5; one large component fits
    // besides, whatever the slots.
    Demand {
        components: slots,
        cores: slots * 5 + MAX_PARTS,
        memories: slots * 2 + MAX_PARTS,
        tables: slots * 3 + MAX_PARTS,
        stacks,
    }
}

fn base(config: &SandboxConfig, flavor: Flavor) -> Config {
    let mut base = Config::new();
    base.wasm_component_model(true)
        .epoch_interruption(true)
        .max_wasm_stack(config.stack)
        .async_stack_size(config.stack + HOST_STACK)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        // Shared memories escape the limiter, and waiting on one would hold a guest thread.
        .wasm_threads(false)
        // The collector's heap escapes the count of memories.
        .wasm_gc(false)
        // One component compiles on one thread: several compile side by side.
        .parallel_compilation(config.compile_threads > 1);
    match flavor {
        Flavor::Plain => base.concurrency_support(false).wasm_component_model_async(false),
        Flavor::Concurrent => base.concurrency_support(true).wasm_component_model_async(true),
        // Bits of a NaN and the rounding of relaxed operations differ between processors.
        Flavor::Deterministic => base
            .concurrency_support(true)
            .wasm_component_model_async(true)
            .cranelift_nan_canonicalization(true)
            .relaxed_simd_deterministic(true),
    };
    base
}

fn pooled(
    config: &SandboxConfig,
    flavor: Flavor,
    size: Demand,
    pagemap: bool,
) -> wasmtime::Result<Pooled> {
    let mut pool = PoolingAllocationConfig::new();
    let largest = config.memory.min(4 << 30).next_multiple_of(64 << 10);
    pool.total_component_instances(size.components)
        .total_core_instances(size.cores)
        .total_memories(size.memories)
        .total_tables(size.tables)
        .total_stacks(size.stacks)
        .max_core_instances_per_component(MAX_PARTS)
        .max_memories_per_component(MAX_PARTS)
        .max_tables_per_component(MAX_PARTS)
        .max_memories_per_module(MAX_PARTS)
        .max_tables_per_module(MAX_PARTS)
        .max_component_instance_size(INSTANCE_STATE)
        .max_core_instance_size(INSTANCE_STATE)
        .table_elements(TABLE_ELEMENTS)
        .max_memory_size(usize::try_from(largest).unwrap_or(usize::MAX))
        .linear_memory_keep_resident(MEMORY_RESIDENT)
        .table_keep_resident(TABLE_RESIDENT)
        .async_stack_keep_resident(STACK_RESIDENT)
        .pagemap_scan(if pagemap { Enabled::Yes } else { Enabled::No });
    let mut engine = base(config, flavor);
    engine.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Ok(Pooled { engine: Engine::new(&engine)?, pool: size })
}

fn on_demand(config: &SandboxConfig, flavor: Flavor, pool: Demand) -> Result<Pooled, SandboxError> {
    let engine = Engine::new(&base(config, flavor))
        .map_err(|error| SandboxError::Engine(format!("{error:#}")))?;
    Ok(Pooled { engine, pool })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fibers_stay_within_the_memory_limit() {
        assert_eq!(fibers_for(128 << 20, 1 << 20), 128);
        assert_eq!(fibers_for(1 << 20, 1 << 20), 32);
        assert_eq!(fibers_for(u64::MAX, 1 << 20), MAX_FIBERS);
    }

    #[test]
    fn a_setting_that_cannot_be_is_refused_by_name() {
        let config = SandboxConfig { threads: 0, ..SandboxConfig::new("/nowhere") };
        let error = check(&config).unwrap_err().to_string();
        assert!(error.starts_with("`threads`"), "{error}");
    }
}
