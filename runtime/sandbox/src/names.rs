//! Looking up names: only those that the job was granted, since a lookup is itself a
//! message to the outside.

use wasmtime::StoreContextMut;
use wasmtime::component::{Accessor, Linker, Resource};
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{Host, ResolveAddressStream};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, Network};
use wasmtime_wasi::p3::bindings::sockets::ip_name_lookup as lookup3;
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};

use crate::state::TaskState;

/// Shadows the lookup of WASI 0.2.
pub(crate) fn add_to_linker(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    type Told = Result<Resource<ResolveAddressStream>, ErrorCode>;
    linker.allow_shadowing(true);
    linker.instance("wasi:sockets/ip-name-lookup@0.2.12")?.func_wrap(
        "resolve-addresses",
        |mut store: StoreContextMut<'_, TaskState>,
         (network, name): (Resource<Network>, String)| {
            let state = store.data_mut();
            if !is_granted(state, &name) {
                let told: Told = Err(ErrorCode::AccessDenied);
                return Ok((told,));
            }
            let told: Told = match Host::resolve_addresses(&mut state.sockets(), network, name) {
                Ok(stream) => Ok(stream),
                Err(error) => Err(error.downcast()?),
            };
            Ok((told,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Shadows the lookup of WASI 0.3.
pub(crate) fn add_concurrent_to_linker(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance("wasi:sockets/ip-name-lookup@0.3.0")?.func_wrap_concurrent(
        "resolve-addresses",
        |accessor: &Accessor<TaskState>, (name,): (String,)| {
            Box::pin(async move {
                let granted = accessor.with(|mut access| is_granted(access.get(), &name));
                if !granted {
                    return Ok((Err(lookup3::ErrorCode::AccessDenied),));
                }
                let accessor = accessor.with_getter::<WasiSockets>(TaskState::sockets);
                let told = lookup3::HostWithStore::resolve_addresses(&accessor, name).await?;
                Ok((told,))
            })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn is_granted(state: &TaskState, name: &str) -> bool {
    state.network.as_ref().is_some_and(|network| network.allows_name(name))
}
