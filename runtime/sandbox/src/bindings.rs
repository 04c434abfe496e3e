//! Generated from `wit/task/task.wit`.
#![expect(missing_docs, unreachable_pub, reason = "generated; the WIT file is the documentation")]

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
