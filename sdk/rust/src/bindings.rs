//! What wit-bindgen generates from `wit/stride`, and the export that ties it to the rest of the SDK.
#![allow(missing_docs, unreachable_pub, unsafe_code, clippy::all, unused_qualifications)]

wit_bindgen::generate!({
    path: "../../wit/stride",
    world: "guest",
});

export!(Exports);

/// The component's `handler`, served from what the attributes registered.
struct Exports;

impl exports::stride::guest::handler::Guest for Exports {
    fn describe() -> exports::stride::guest::handler::Exports {
        crate::dispatch::describe()
    }

    fn call(
        function: String,
        input: stride::guest::types::Payload,
    ) -> Result<stride::guest::types::Payload, stride::guest::types::Failure> {
        crate::dispatch::call(&function, input.into()).map(Into::into).map_err(Into::into)
    }

    fn turn(
        kind: String,
        key: String,
        method: String,
        input: stride::guest::types::Payload,
    ) -> Result<stride::guest::types::Payload, stride::guest::types::Failure> {
        crate::dispatch::turn(&kind, &key, &method, input.into()).map(Into::into).map_err(Into::into)
    }

    fn migrate(kind: String, key: String, _from_version: String) -> Result<(), stride::guest::types::Failure> {
        crate::dispatch::migrate(&kind, &key).map_err(Into::into)
    }
}
