//! Generated from `wit/task/task.wit`.

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
