//! Whether the functions of a component are pure: what one answers follows from its input and the component's version alone.
//!
//! A proof and no promise of the author: it follows from what the component imports, function by function, and from what its manifest
//! asks for. What a guest could observe is one of three things:
//! - **the same always**: no environment, arguments or files, an empty stdin, outputs that take everything; state and timers, which end
//!   a function that touches them; agents, objects and maps, which are refused to whom nothing is granted;
//! - **seeded**: `wasi:random/insecure-seed`, from which hash maps take their keys. WASI allows that it is not random. For a pure component
//!   it follows from the version, so that the order of a hash map is the same in every call;
//! - **anything else**: clocks, the memory that is left on the node, `wasi:random/random` (which WASI forbids to foresee), sockets. Who imports a function of these is not pure.
//!
//! Always true: an import that is not known here makes impure, so what a later version links is no hole.
//! Not seen here: what a call prints, which is as often in the log as it runs; limits of memory and time, so only answers are reused
//! and never failures; the bits of a NaN, which differ between kinds of processors and not on one node.

use std::fmt;

use wasmtime::{
    Engine,
    component::{Component, types::ComponentItem},
};

use crate::spec::ComponentSpec;

/// Whether the functions of a component are pure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purity {
    /// What a function answers follows from its input and the version. It can be called twice, or not at all if the answer is known.
    Pure,
    /// What a function answers may follow from something else.
    Impure(Cause),
}

/// Why functions are not pure. There may be more reasons; this is the first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The manifest asks for this capability.
    Granted(&'static str),
    /// The component imports something whose answers cannot be foreseen.
    Imports {
        /// Of which interface, without its version.
        interface: String,
        /// Which function.
        function: String,
    },
}

/// Interfaces of which every function answers the same whenever it is called, or is refused to whom nothing is granted.
const CONSTANT: [&str; 22] = [
    "stride:guest/agents",
    "stride:guest/maps",
    "stride:guest/objects",
    "stride:guest/state",
    "stride:guest/timers",
    "stride:guest/types",
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    // Seeded by the host, see `seed`.
    "wasi:random/insecure-seed",
];

impl Purity {
    pub(crate) fn of(spec: &ComponentSpec, component: &Component, engine: &Engine) -> Self {
        let imports = component.component_type();
        let imports = imports.imports(engine).flat_map(|(interface, item)| match item.ty {
            ComponentItem::ComponentInstance(instance) => {
                let is_function = |item: &ComponentItem| matches!(item, ComponentItem::ComponentFunc(_));
                let functions = instance.exports(engine).filter(|(_, item)| is_function(&item.ty));
                functions.map(|(function, _)| (interface.to_owned(), function.to_owned())).collect()
            }
            // Types can be imported as well, and bring nothing in.
            ComponentItem::Type(_) | ComponentItem::Resource(_) => Vec::new(),
            _ => vec![(interface.to_owned(), interface.to_owned())],
        });
        Self::judge(spec, imports)
    }

    /// The same from the names of what is imported: interface and function.
    fn judge(spec: &ComponentSpec, imports: impl IntoIterator<Item = (String, String)>) -> Self {
        let granted = [
            ("agents", spec.may_reach.is_empty()),
            ("objects", spec.objects.is_empty()),
            ("maps", spec.may_map.is_empty()),
        ];
        if let Some((capability, _)) = granted.into_iter().find(|(_, is_empty)| !is_empty) {
            return Self::Impure(Cause::Granted(capability));
        }
        let mut imports =
            imports.into_iter().map(|(interface, function)| (unversioned(&interface).to_owned(), function));
        match imports.find(|(interface, _)| !CONSTANT.contains(&interface.as_str())) {
            Some((interface, function)) => Self::Impure(Cause::Imports { interface, function }),
            None => Self::Pure,
        }
    }

    /// Whether it is pure.
    pub fn is_pure(&self) -> bool {
        matches!(self, Self::Pure)
    }

    /// What `wasi:random/insecure-seed` answers; none if it need not be foreseen. Whoever knows it can make a hash map slow, but every
    /// call has an instance and a time limit of its own, so that is all they reach.
    pub(crate) fn seed(&self, version: &str) -> Option<u128> {
        let seed = || {
            let hash = blake3::hash(version.as_bytes());
            let (seed, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
            u128::from_le_bytes(*seed)
        };
        self.is_pure().then(seed)
    }
}

fn unversioned(interface: &str) -> &str {
    interface.split_once('@').map_or(interface, |(name, _)| name)
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granted(capability) => write!(f, "stride.toml asks for `{capability}` in [capabilities]"),
            Self::Imports { interface, function } => write!(f, "it imports `{function}` of {interface}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(spec: &ComponentSpec, imports: &[(&str, &str)]) -> Purity {
        Purity::judge(spec, imports.iter().map(|(interface, function)| ((*interface).into(), (*function).into())))
    }

    #[test]
    fn who_is_granted_nothing_and_imports_nothing_that_changes_is_pure() {
        let imports = [
            ("wasi:cli/environment@0.2.6", "get-environment"),
            ("wasi:random/insecure-seed@0.2.6", "insecure-seed"),
            ("stride:guest/state@0.1.0", "load"),
        ];
        assert_eq!(judged(&ComponentSpec::default(), &imports), Purity::Pure);
        assert_eq!(judged(&ComponentSpec::default(), &[]), Purity::Pure);
    }

    #[test]
    fn clocks_chance_sockets_and_what_is_not_known_are_not_pure() {
        for (interface, function) in [
            ("wasi:clocks/wall-clock@0.2.6", "now"),
            ("wasi:clocks/monotonic-clock@0.2.6", "subscribe-duration"),
            ("wasi:random/random@0.2.6", "get-random-bytes"),
            ("wasi:random/insecure@0.2.6", "get-insecure-random-u64"),
            ("wasi:sockets/tcp-create-socket@0.2.6", "create-tcp-socket"),
            ("wasi:http/outgoing-handler@0.2.6", "handle"),
            ("stride:guest/later@0.1.0", "peek"),
        ] {
            let Purity::Impure(cause) = judged(&ComponentSpec::default(), &[(interface, function)]) else {
                panic!("{interface} is not pure")
            };
            let why = cause.to_string();
            assert!(why.contains(unversioned(interface)) && why.contains(function), "{why}");
        }
    }

    #[test]
    fn a_capability_is_enough_to_be_impure_also_one_that_only_reads() {
        let agents = ComponentSpec { may_reach: vec!["log/*".into()], ..Default::default() };
        assert_eq!(judged(&agents, &[]), Purity::Impure(Cause::Granted("agents")));
        let objects = ComponentSpec { objects: vec!["data/*:read".parse().unwrap()], ..Default::default() };
        assert_eq!(judged(&objects, &[]), Purity::Impure(Cause::Granted("objects")));
        let maps = ComponentSpec { may_map: vec!["words/*".into()], ..Default::default() };
        assert_eq!(judged(&maps, &[]), Purity::Impure(Cause::Granted("maps")));
    }

    #[test]
    fn a_seed_follows_from_the_version_and_only_where_it_has_to() {
        let impure = Purity::Impure(Cause::Granted("agents"));
        assert_eq!((impure.seed("a"), Purity::Pure.seed("a")), (None, Purity::Pure.seed("a")));
        assert_ne!(Purity::Pure.seed("a"), Purity::Pure.seed("b"));
    }
}
