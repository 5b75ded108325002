//! What wasmtime generates from `wit/stride`, and nothing else.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

wasmtime::component::bindgen!({
    path: "../../wit/stride",
    world: "guest",
    imports: {
        "stride:guest/agents.ask": async | trappable,
        "stride:guest/agents.tell": async | trappable,
        "stride:guest/objects.[method]object.read": async | trappable,
        "stride:guest/objects.open": async | trappable,
        "stride:guest/objects.list": async | trappable,
        "stride:guest/objects.put": async | trappable,
        "stride:guest/objects.delete": async | trappable,
        "stride:guest/maps.begin": async | trappable,
        "stride:guest/maps.look": async | trappable,
        "stride:guest/maps.results": async | trappable,
        "stride:guest/maps.reduced": async | trappable,
        "stride:guest/maps.cancel": async | trappable,
        default: trappable,
    },
    exports: { default: async },
});
