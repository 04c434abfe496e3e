//! Generated from `wit/task/task.wit` and `wit/gang/gang.wit`.

wasmtime::component::bindgen!({
    path: "../../wit/task",
    world: "task",
    imports: {
        "wrun:task/context.log": async | trappable,
        "wrun:task/context.save-checkpoint": async | trappable,
        default: trappable,
    },
    exports: { default: async },
});

/// Of a gang's tasks.
pub(crate) mod exchange {
    wasmtime::component::bindgen!({
        path: "../../wit/gang",
        world: "member",
        imports: { default: async | trappable },
    });
}
