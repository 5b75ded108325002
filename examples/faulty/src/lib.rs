//! Does everything wrong that a guest can do, and a few things right to compare with. For the end-to-end tests.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is one of the things to be tested")]

mod maps;
mod objects;
mod post;

use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use stride::prelude::*;

#[stride::function]
fn echo(input: Payload) -> Payload {
    input
}

#[stride::function]
fn spin() {
    spin_for_ever();
}

#[stride::function]
fn hog() -> usize {
    take_all_memory()
}

#[stride::function]
fn panics() {
    panic!("on purpose");
}

#[stride::function]
fn fails() -> Result<(), String> {
    Err("no luck".into())
}

#[stride::function]
#[expect(unconditional_recursion, reason = "that is what is wrong with it")]
fn recurses(n: u64) -> u64 {
    black_box(recurses(black_box(n + 1)) + 1)
}

/// Asks an agent with one argument.
#[stride::function]
fn asks(kind: String, key: String, method: String, argument: i64) -> Result<i64, Failure> {
    stride::agent(kind, key).ask(&method, &argument)
}

/// A function has no state.
#[stride::function]
fn writes_state() -> Result<(), Failure> {
    state::set("key", "value")
}

#[stride::function]
#[expect(clippy::disallowed_methods, reason = "a guest's only clock is the host's, and waiting is what is tested")]
fn sleeps(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// Computes for a while: as many rounds as it is told.
#[stride::function]
fn computes(rounds: u64) -> u64 {
    (0..rounds).fold(0xcbf2_9ce4_8422_2325, |hash, round| black_box((hash ^ round).wrapping_mul(0x0100_0000_01b3)))
}

/// How many calls this instance has served.
#[stride::function]
fn served() -> u64 {
    static SERVED: AtomicU64 = AtomicU64::new(0);
    SERVED.fetch_add(1, Ordering::Relaxed) + 1
}

#[stride::function]
fn prints(text: String) {
    println!("stdout: {text}");
    eprintln!("stderr: {text}");
}

#[stride::function]
fn opens(path: String) -> Result<usize, std::io::Error> {
    Ok(std::fs::read(path)?.len())
}

#[stride::function]
fn connects(address: String) -> Result<(), std::io::Error> {
    std::net::TcpStream::connect(address).map(drop)
}

#[stride::function]
fn answers_too_much(bytes: usize) -> Payload {
    Payload { content_type: "application/octet-stream".into(), body: vec![b'x'; bytes] }
}

#[derive(Default, Serialize, Deserialize)]
struct Ledger {
    total: i64,
}

#[stride::agent]
impl Ledger {
    fn add(&mut self, n: i64) -> i64 {
        self.total += n;
        self.total
    }

    fn total(&self) -> i64 {
        self.total
    }

    fn put(&mut self, key: String, value: String) -> Result<(), Failure> {
        state::set(&key, &value)
    }

    fn read(&self, key: String) -> Result<Option<String>, Failure> {
        state::get(&key)
    }

    fn list(&self, prefix: String) -> Result<Vec<(String, String)>, Failure> {
        state::scan(&prefix).collect()
    }

    fn remove(&mut self, key: String) {
        state::delete(&key);
    }

    fn add_then_panic(&mut self, n: i64) {
        self.change(n);
        panic!("after adding");
    }

    fn add_then_fail(&mut self, n: i64) -> Result<(), String> {
        self.change(n);
        Err("after adding".into())
    }

    fn add_then_spin(&mut self, n: i64) {
        self.change(n);
        spin_for_ever();
    }

    fn add_then_hog(&mut self, n: i64) -> usize {
        self.change(n);
        take_all_memory()
    }

    fn write_in_read_only(&self) -> Result<(), Failure> {
        state::set("key", "value")
    }

    /// Writes `entries` entries of `bytes` bytes each.
    fn bulk(&mut self, entries: u32, bytes: usize) -> Result<(), Failure> {
        let value = "x".repeat(bytes);
        (0..entries).try_for_each(|i| state::set(&format!("bulk/{i:06}"), &value))
    }

    fn asks_another(&mut self, key: String) -> Result<i64, Failure> {
        stride::agent("ledger", key).ask("total", &())
    }
}

/// Holds memory between its turns.
#[derive(Default, Serialize, Deserialize)]
struct Hoarder {
    turns: u64,
    #[serde(skip)]
    here: u64,
    #[serde(skip)]
    held: Vec<u8>,
}

#[stride::agent]
impl Hoarder {
    /// Holds so many MiB from now on. How many turns it has had, and how many of them since it came into memory.
    fn hold(&mut self, mib: usize) -> (u64, u64) {
        self.turns += 1;
        self.here += 1;
        self.held = black_box(vec![1; mib << 20]);
        (self.turns, self.here)
    }

    fn is_scarce(&self) -> bool {
        memory::is_scarce()
    }
}

impl Ledger {
    fn change(&mut self, n: i64) {
        self.total += n;
        state::set("k", "changed").expect("text is JSON");
    }
}

fn spin_for_ever() {
    let mut n = 0u64;
    while black_box(true) {
        n = black_box(n.wrapping_add(1));
    }
}

fn take_all_memory() -> usize {
    let mut taken = Vec::new();
    while black_box(true) {
        taken.push(black_box(vec![1u8; 1 << 20]));
    }
    taken.len()
}

/// An agent of which tests make other versions: they replace the digit in the component's bytes.
mod fragile {
    use stride::prelude::*;

    use super::black_box;

    /// 1 cannot take odd numbers, 2 and 5 can, 3 can take nothing, 4 cannot read what the others left.
    static VERSION: &[u8] = b"this is fragile version 1";

    #[derive(Default, Serialize, Deserialize)]
    struct Fragile {
        taken: Vec<u64>,
        /// The versions that have taken over from another one.
        #[serde(default)]
        moved: String,
    }

    fn move_on(old: Fragile) -> Result<Fragile, String> {
        match black_box(VERSION).last() {
            Some(b'4') => Err("version 4 cannot read what was left".to_owned()),
            Some(version) => Ok(Fragile { moved: format!("{}{}", old.moved, char::from(*version)), ..old }),
            None => Ok(old),
        }
    }

    #[stride::agent(migrate = move_on)]
    impl Fragile {
        fn take(&mut self, n: u64) -> usize {
            match black_box(VERSION).last() {
                Some(b'1') if n % 2 == 1 => panic!("version 1 cannot take {n}"),
                Some(b'3') => panic!("version 3 cannot take anything"),
                _ => self.taken.push(n),
            }
            self.taken.len()
        }

        fn taken(&self) -> Vec<u64> {
            self.taken.clone()
        }

        fn moved(&self) -> String {
            self.moved.clone()
        }
    }
}
