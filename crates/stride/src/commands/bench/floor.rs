//! The floors: what the machine itself takes for a message and for making bytes durable.

use std::{
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use stride_sim::{
    Clock,
    disk::{Disk as _, DiskFile, RealDisk},
};

use super::table::Latencies;

/// A file of zeros, as the journal's segments are: appending to it changes no metadata.
pub(crate) struct BareLog {
    file: Arc<dyn DiskFile>,
    at: u64,
}

impl BareLog {
    const LEN: u64 = 32 << 20;

    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = RealDisk.create(path)?;
        for at in 0..Self::LEN >> 20 {
            file.write_at(&vec![0; 1 << 20], at << 20)?;
        }
        file.sync()?;
        Ok(Self { file, at: 0 })
    }

    /// Writes and syncs; at the end of the file it begins again, so that the file never grows.
    pub(crate) fn append(&mut self, record: &[u8]) -> io::Result<()> {
        if self.at + record.len() as u64 > Self::LEN {
            self.at = 0;
        }
        self.file.write_at(record, self.at)?;
        self.file.sync()?;
        self.at += record.len() as u64;
        Ok(())
    }

    pub(crate) fn time(&mut self, clock: &Clock, record: &[u8], count: usize, into: &mut Latencies) -> io::Result<()> {
        for _ in 0..count {
            let began = clock.now();
            self.append(record)?;
            into.add(clock.now() - began);
        }
        Ok(())
    }

    /// How many records a second it takes, each synced before the next.
    pub(crate) fn rate(&mut self, clock: &Clock, record: &[u8], lasting: Duration) -> io::Result<f64> {
        let (began, mut appended) = (clock.now(), 0u64);
        while clock.now() - began < lasting {
            self.append(record)?;
            appended += 1;
        }
        Ok(appended as f64 / (clock.now() - began).as_secs_f64())
    }
}

/// A thread at the other end of a TCP connection that sends every byte back.
pub(crate) struct PingPong(TcpStream);

impl PingPong {
    pub(crate) fn open() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let here = TcpStream::connect(listener.local_addr()?)?;
        let (mut there, _) = listener.accept()?;
        here.set_nodelay(true)?;
        there.set_nodelay(true)?;
        std::thread::spawn(move || {
            let mut byte = [0];
            // It ends when this end is dropped, which is an error or an end of file.
            while there.read_exact(&mut byte).and_then(|()| there.write_all(&byte)).is_ok() {}
        });
        Ok(Self(here))
    }

    pub(crate) fn time(&mut self, clock: &Clock, count: usize, into: &mut Latencies) -> io::Result<()> {
        for _ in 0..count {
            let began = clock.now();
            self.0.write_all(&[1])?;
            self.0.read_exact(&mut [0])?;
            into.add(clock.now() - began);
        }
        Ok(())
    }
}
