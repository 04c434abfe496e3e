//! Generated from `wit/task/task.wit`, `wit/gang/gang.wit` and `wit/nn/nn.wit`.

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

/// Of inference.
pub(crate) mod nn {
    wasmtime::component::bindgen!({
        path: "../../wit/nn",
        world: "ml",
        imports: {
            "wasi:nn/graph.load": async | trappable,
            "wasi:nn/graph.load-by-name": async | trappable,
            "wasi:nn/inference.[method]graph-execution-context.compute": async | trappable,
            default: trappable,
        },
        with: {
            "wasi:nn/tensor.tensor": crate::nn::HeldTensor,
            "wasi:nn/graph.graph": crate::nn::HeldGraph,
            "wasi:nn/inference.graph-execution-context": crate::nn::HeldContext,
            "wasi:nn/errors.error": crate::nn::HeldError,
        },
    });
}
