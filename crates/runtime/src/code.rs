//! From WebAssembly to machine code, once: compiled components are kept on disk.
//!
//! Always true: an entry is used only if it is the very bytes that this engine version wrote for this component;
//! anything else is compiled again and replaced, never an error.
//! A cache entry is machine code, so whoever can write the data directory can run code in the node. That is so with
//! every file there; the directory belongs to the node alone.

use std::{
    fs,
    hash::{Hash as _, Hasher},
    path::{Path, PathBuf},
};

use stride_ids::{Code, Failure};
use wasmtime::{Engine, component::Component};

/// Compiled components on disk, by content hash and engine version.
pub(crate) struct CodeCache {
    dir: PathBuf,
    engine_hash: u64,
}

/// The content hash of a component, in hex: its identity.
pub fn content_hash(wasm: &[u8]) -> String {
    blake3::hash(wasm).to_hex().to_string()
}

const DIGEST_LEN: usize = 32;

impl CodeCache {
    pub(crate) fn open(dir: PathBuf, engine: &Engine) -> Result<Self, Failure> {
        fs::create_dir_all(&dir).map_err(|e| {
            Failure::new(Code::Internal, format!("cannot create the code cache {}: {e}", dir.display()))
        })?;
        let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self { dir, engine_hash: hasher.finish() })
    }

    /// The compiled component, from the cache if its entry is sound.
    pub(crate) fn load(&self, engine: &Engine, wasm: &[u8]) -> Result<Component, Failure> {
        let path = self.dir.join(format!("{}-{:016x}.cwasm", content_hash(wasm), self.engine_hash));
        if let Some(component) = read_sound(&path).and_then(|code| deserialize(engine, &code, &path)) {
            return Ok(component);
        }
        let code = engine.precompile_component(wasm).map_err(|e| not_a_component(wasm, &e))?;
        if let Err(e) = write_whole(&path, &code) {
            tracing::warn!(path = %path.display(), error = %e, "the compiled component is not cached");
        }
        deserialize(engine, &code, &path)
            .ok_or_else(|| Failure::new(Code::Internal, "the engine does not accept the code it has just compiled"))
    }
}

fn not_a_component(wasm: &[u8], error: &wasmtime::Error) -> Failure {
    let message = match wasm {
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => {
            "this is a core WebAssembly module, not a component; build it with --target wasm32-wasip2".to_owned()
        }
        [0, b'a', b's', b'm', ..] => format!("this component is not valid: {error:#}"),
        _ => "this is not a WebAssembly component; is `artifact` in stride.toml the right file?".to_owned(),
    };
    Failure::new(Code::InvalidRequest, message)
}

/// The code in a cache entry, if the entry is whole.
fn read_sound(path: &Path) -> Option<Vec<u8>> {
    let mut entry = fs::read(path).ok()?;
    let digest = entry.split_off(entry.len().checked_sub(DIGEST_LEN)?);
    if blake3::hash(&entry).as_bytes() == digest.as_slice() {
        return Some(entry);
    }
    tracing::warn!(path = %path.display(), "a damaged cache entry is compiled again");
    None
}

fn write_whole(path: &Path, code: &[u8]) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    let mut entry = code.to_vec();
    entry.extend_from_slice(blake3::hash(code).as_bytes());
    fs::write(&partial, entry)?;
    fs::rename(&partial, path)
}

#[expect(unsafe_code, reason = "compiled code cannot be loaded any other way; see below why this is sound")]
fn deserialize(engine: &Engine, code: &[u8], path: &Path) -> Option<Component> {
    // SAFETY: `code` came from `precompile_component` of this very engine, either just now or through a file whose
    // digest shows that its bytes are unchanged and whose name holds the engine's compatibility hash.
    match unsafe { Component::deserialize(engine, code) } {
        Ok(component) => Some(component),
        Err(e) => {
            tracing::warn!(path = %path.display(), error = %e, "a cache entry does not load and is compiled again");
            None
        }
    }
}

/// FNV-1a, because the name of a cache entry must not change from one build of Stride to the next.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
