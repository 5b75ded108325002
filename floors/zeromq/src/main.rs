//! The floor of `stride bench prediction` and `stride bench peers`: libzmq's REQ and REP sockets, and nothing else.
//!
//! `serve DIR` answers batches with the model in `DIR/words`, `echo` with what they are; both print where. `ask DIR ENDPOINT` sends the batches in
//! `DIR/batches` over and over: for each line on its stdin, as many as the line says, and it prints one line with the nanoseconds
//! that each took. Two processes, because what they are compared with is two as well.
#![allow(clippy::disallowed_methods, reason = "nothing here is ever simulated, and stride-sim stays out of this build")]

use std::{
    error::Error,
    fs,
    io::{BufRead as _, Write as _, stdin, stdout},
    path::Path,
    time::Instant,
};

use models::blacklist::Blacklist;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve", dir] => {
            let model = Blacklist::new(&fs::read_to_string(Path::new(dir).join("words"))?);
            serve(|batch| model.clean(batch))
        }
        ["echo"] => serve(|_| {}),
        ["ask", dir, endpoint] => ask(Path::new(dir), endpoint),
        _ => Err("serve DIR, echo, or ask DIR ENDPOINT".into()),
    }
}

fn serve(answer: impl Fn(&mut [u8])) -> Result<(), Box<dyn Error>> {
    let socket = zmq::Context::new().socket(zmq::REP)?;
    socket.bind("tcp://127.0.0.1:*")?;
    let endpoint = socket.get_last_endpoint()?.map_err(|_| "libzmq names no endpoint")?;
    writeln!(stdout(), "zeromq ready {endpoint}")?;
    loop {
        let mut batch = socket.recv_bytes(0)?;
        answer(&mut batch);
        socket.send(batch, 0)?;
    }
}

fn ask(dir: &Path, endpoint: &str) -> Result<(), Box<dyn Error>> {
    let mut paths = fs::read_dir(dir.join("batches"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>, std::io::Error>>()?;
    paths.sort();
    let batches = paths.iter().map(fs::read).collect::<Result<Vec<_>, _>>()?;
    let socket = zmq::Context::new().socket(zmq::REQ)?;
    socket.connect(endpoint)?;
    let mut batches = batches.iter().cycle();
    for line in stdin().lock().lines() {
        let count: usize = line?.trim().parse()?;
        let mut taken = String::new();
        for batch in batches.by_ref().take(count) {
            let began = Instant::now();
            socket.send(&batch[..], 0)?;
            let answer = socket.recv_bytes(0)?;
            taken.push_str(&format!("{} ", began.elapsed().as_nanos()));
            if answer.len() != batch.len() {
                return Err("the answer is not as long as the batch".into());
            }
        }
        writeln!(stdout(), "{}", taken.trim_end())?;
    }
    Ok(())
}
