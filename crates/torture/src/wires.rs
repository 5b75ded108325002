//! A network of our own: a namespace for each node and one for the database, on one switch, with wires that can be cut.
//!
//! A wire goes one way, from one host to another. It is cut by sending what goes there to a hardware address that nobody has: it leaves as
//! always and never arrives, as on a real wire. That needs nothing but `ip`: no kernel module, no packet filter. Hosts know each other's
//! addresses from the beginning, so nothing is asked for on the network.
//!
//! The switch is in a namespace as well, and this process is on it with one device. So whatever the machine filters concerns none of this,
//! and removing the namespaces removes everything.

use std::{
    collections::BTreeMap,
    io::Write as _,
    net::Ipv4Addr,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use parking_lot::Mutex;

use crate::Error;

/// Who is on the network. This process is as well, and its wires are never cut: clients see everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Host {
    Database,
    Node(usize),
}

/// From whom to whom.
pub(crate) type Wire = (Host, Host);

/// The last parts of the addresses of this process, the database, and the first node.
const HERE: u8 = 1;
const DATABASE: u8 = 2;
const FIRST_NODE: u8 = 10;
/// The hardware address that nobody has.
const NOBODY: &str = "02:53:54:52:ff:ff";

/// The network. It is gone when this is dropped.
pub(crate) struct Wires {
    prefix: String,
    /// Of addresses: 198.18.0.0/15 is set aside for tests of networks (RFC 2544).
    net: [u8; 3],
    nodes: usize,
    /// How many faults have cut each wire.
    cut: Mutex<BTreeMap<Wire, u32>>,
}

impl Wires {
    /// What this machine lacks for it, if anything.
    pub(crate) fn missing() -> Option<String> {
        let name = own_name();
        let added = Command::new("ip").args(["netns", "add", &name]).output();
        let because = match added {
            Err(error) => format!("`ip` of iproute2 cannot be run: {error}"),
            Ok(output) if !output.status.success() => {
                format!(
                    "network namespaces need root and a kernel that has them; `ip netns add` says: {}",
                    said(&output)
                )
            }
            Ok(_) => match Command::new("nsenter").args([&net_of(&name), "--", "true"]).output() {
                Ok(output) if output.status.success() => String::new(),
                Ok(output) => format!("`nsenter` says: {}", said(&output)),
                Err(error) => format!("`nsenter` of util-linux cannot be run: {error}"),
            },
        };
        // If it could not be made there is none to remove.
        let _ = Command::new("ip").args(["netns", "del", &name]).output();
        (!because.is_empty()).then_some(because)
    }

    /// A network for so many nodes.
    pub(crate) fn lay(nodes: usize) -> Result<Self, Error> {
        let wires = Self { prefix: own_name(), net: free_net()?, nodes, cut: Mutex::default() };
        let hosts: Vec<Host> = wires.hosts().collect();
        let (switch, here) = (wires.switch(), format!("st{}", wires.prefix.trim_start_matches(PREFIX)));
        let mut lines = vec![format!("netns add {switch}")];
        lines.extend(hosts.iter().map(|host| format!("netns add {}", wires.namespace(*host))));
        ip(None, &lines)?;
        let mut lines = vec!["link add name switch type bridge".to_owned(), "link set dev switch up".to_owned()];
        for (number, host) in hosts.iter().enumerate() {
            lines.push(format!(
                "link add name port{number} type veth peer name eth0 address {} netns {}",
                hardware(last_part(*host)),
                wires.namespace(*host)
            ));
            lines.push(format!("link set dev port{number} master switch up"));
        }
        lines.push(format!(
            "link add name here type veth peer name {here} address {} netns {}",
            hardware(HERE),
            std::process::id()
        ));
        lines.push("link set dev here master switch up".to_owned());
        ip(Some(&switch), &lines)?;
        let everyone: Vec<u8> = hosts.iter().map(|host| last_part(*host)).chain([HERE]).collect();
        for host in hosts {
            let own = last_part(host);
            let mut lines = vec!["link set dev lo up".to_owned()];
            lines.extend(wires.device("eth0", own, &everyone));
            ip(Some(&wires.namespace(host)), &lines)?;
        }
        ip(None, &wires.device(&here, HERE, &everyone))?;
        Ok(wires)
    }

    /// The lines that bring a device up and tell it who has which hardware address.
    fn device(&self, name: &str, own: u8, everyone: &[u8]) -> Vec<String> {
        let mut lines = vec![format!("link set dev {name} up"), format!("addr add {}/24 dev {name}", self.at(own))];
        let others = everyone.iter().filter(|other| **other != own);
        lines.extend(others.map(|other| self.neighbour(*other, &hardware(*other), name)));
        lines
    }

    fn neighbour(&self, last: u8, hardware: &str, device: &str) -> String {
        format!("neigh replace {} lladdr {hardware} dev {device} nud permanent", self.at(last))
    }

    fn hosts(&self) -> impl Iterator<Item = Host> {
        std::iter::once(Host::Database).chain((0..self.nodes).map(Host::Node))
    }

    fn at(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.net;
        Ipv4Addr::new(a, b, c, last)
    }

    pub(crate) fn address(&self, host: Host) -> Ipv4Addr {
        self.at(last_part(host))
    }

    /// Its name, for `nsenter` and for people: `ip netns exec` takes it.
    pub(crate) fn namespace(&self, host: Host) -> String {
        format!("{}-{}", self.prefix, last_part(host))
    }

    fn switch(&self) -> String {
        format!("{}-switch", self.prefix)
    }

    /// From now on nothing arrives that is sent over these.
    pub(crate) fn cut(&self, wires: &[Wire]) -> Result<(), Error> {
        self.change(wires, |count| count + 1)
    }

    /// Undoes one [`Wires::cut`] of these.
    pub(crate) fn mend(&self, wires: &[Wire]) -> Result<(), Error> {
        self.change(wires, |count| count.saturating_sub(1))
    }

    fn change(&self, wires: &[Wire], change: impl Fn(u32) -> u32) -> Result<(), Error> {
        let mut lines: BTreeMap<Host, Vec<String>> = BTreeMap::new();
        let mut cut = self.cut.lock();
        for (from, to) in wires {
            let count = cut.entry((*from, *to)).or_default();
            *count = change(*count);
            let hardware = if *count == 0 { hardware(last_part(*to)) } else { NOBODY.to_owned() };
            lines.entry(*from).or_default().push(self.neighbour(last_part(*to), &hardware, "eth0"));
        }
        for (from, lines) in lines {
            ip(Some(&self.namespace(from)), &lines)?;
        }
        Ok(())
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        // One that was not made yet cannot be removed, which is what was wanted.
        for name in self.hosts().map(|host| self.namespace(host)).chain([self.switch()]) {
            let _ = Command::new("ip").args(["netns", "del", &name]).output();
        }
    }
}

const PREFIX: &str = "stride-torture-";

/// A name that no other process uses, nor another network of this one. What follows the prefix is short enough for a device.
fn own_name() -> String {
    static MADE: AtomicU32 = AtomicU32::new(0);
    format!("{PREFIX}{}x{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed))
}

/// The argument of `nsenter` for a network.
pub(crate) fn net_of(namespace: &str) -> String {
    format!("--net=/run/netns/{namespace}")
}

fn last_part(host: Host) -> u8 {
    match host {
        Host::Database => DATABASE,
        Host::Node(number) => FIRST_NODE + u8::try_from(number).unwrap_or(u8::MAX - FIRST_NODE),
    }
}

fn hardware(last: u8) -> String {
    format!("02:53:54:52:00:{last:02x}")
}

/// The first three parts of addresses that nobody uses here.
fn free_net() -> Result<[u8; 3], Error> {
    let used = output(Command::new("ip").args(["-oneline", "-4", "address", "show"]))?;
    let used = String::from_utf8_lossy(&used.stdout).into_owned();
    // Runs that begin together begin their search at different places.
    let begin = std::process::id() % 512;
    let nets = (begin..512).chain(0..begin).map(|n| [198, if n < 256 { 18 } else { 19 }, n.to_le_bytes()[0]]);
    let mut free = nets.filter(|[a, b, c]| !used.contains(&format!(" {a}.{b}.{c}.")));
    free.next()
        .ok_or_else(|| Error::Command { command: "ip address show".into(), said: "198.18.0.0/15 is full".into() })
}

/// Runs lines of `ip`, in a namespace or here, and stops at the first that fails.
fn ip(namespace: Option<&str>, lines: &[String]) -> Result<(), Error> {
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-netns", namespace]);
    }
    command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut process = command.spawn().map_err(|error| failed(&command, error.to_string()))?;
    if let Some(mut stdin) = process.stdin.take() {
        // If it has ended already it says why.
        let _ = stdin.write_all(lines.join("\n").as_bytes());
    }
    let output = process.wait_with_output()?;
    if output.status.success() { Ok(()) } else { Err(failed(&command, said(&output))) }
}

/// Runs a program to its end.
pub(crate) fn output(command: &mut Command) -> Result<Output, Error> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| failed(command, error.to_string()))?;
    if output.status.success() { Ok(output) } else { Err(failed(command, said(&output))) }
}

fn failed(command: &Command, said: String) -> Error {
    Error::Command { command: format!("{command:?}"), said }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use stride_sim::Clock;

    use super::*;

    /// Sends a datagram to a port on which nobody listens.
    fn send(wires: &Wires, from: Host, to: Host) {
        let script = format!("echo > /dev/udp/{}/9", wires.address(to));
        let mut command = Command::new("nsenter");
        command.arg(net_of(&wires.namespace(from))).args(["--", "bash", "-c", &script]);
        output(&mut command).unwrap();
    }

    /// How many of those have arrived.
    fn arrived(wires: &Wires, at: Host) -> u32 {
        let mut command = Command::new("nsenter");
        command.arg(net_of(&wires.namespace(at))).args(["--", "cat", "/proc/net/snmp"]);
        let text = String::from_utf8(output(&mut command).unwrap().stdout).unwrap();
        let counts: Vec<&str> =
            text.lines().filter(|line| line.starts_with("Udp:")).nth(1).unwrap().split(' ').collect();
        counts[2].parse().unwrap()
    }

    fn until_arrived(wires: &Wires, at: Host, count: u32) {
        let clock = Clock::real();
        while arrived(wires, at) < count {
            assert!(clock.now().as_secs() < 10, "nothing arrives");
        }
        assert_eq!(arrived(wires, at), count);
    }

    #[test]
    fn a_wire_that_is_cut_carries_nothing_one_way_and_in_the_end_all_is_gone() {
        if let Some(missing) = Wires::missing() {
            eprintln!("left out: {missing}");
            return;
        }
        let wires = Wires::lay(2).unwrap();
        let (a, b) = (Host::Node(0), Host::Node(1));
        send(&wires, a, b);
        until_arrived(&wires, b, 1);
        wires.cut(&[(a, b)]).unwrap();
        wires.cut(&[(a, b)]).unwrap();
        wires.mend(&[(a, b)]).unwrap();
        send(&wires, a, b);
        // What is sent later, over another wire, is there, so what was sent before is lost.
        send(&wires, Host::Database, b);
        until_arrived(&wires, b, 2);
        send(&wires, b, a);
        until_arrived(&wires, a, 1);
        wires.mend(&[(a, b)]).unwrap();
        send(&wires, a, b);
        until_arrived(&wires, b, 3);
        let prefix = wires.prefix.clone();
        drop(wires);
        let left = output(Command::new("ip").args(["netns", "list"])).unwrap().stdout;
        assert!(!String::from_utf8_lossy(&left).contains(&prefix));
    }
}
