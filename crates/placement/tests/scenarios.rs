//! Scenarios as text: each file in `tests/scenarios` sets up nodes, asks, and holds below each question, behind `>`, the
//! answer that was recorded. `STRIDE_BLESS=1 cargo test -p stride-placement --test scenarios` records anew; read the diff.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{collections::BTreeSet, fs, num::NonZeroU64, path::Path, time::Duration};

use bytesize::ByteSize;
use stride_ids::Name;
use stride_placement::{
    DatumId, DelayCost, Demand, Hardware, Holding, Input, Label, Labels, Link, Load, Node, NodeId, Origin, Price, Rate,
    Reference, Request, lint, lint_plan, plan, replicate, text,
};
use stride_sim::Chance;

#[test]
fn every_scenario_ends_as_recorded() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let recorded = fs::read_to_string(&file).unwrap();
        let said = play(&recorded);
        if std::env::var_os("STRIDE_BLESS").is_some() {
            fs::write(&file, said).unwrap();
        } else {
            assert_eq!(said, recorded, "{}", file.display());
        }
    }
}

/// The script with its answers.
fn play(script: &str) -> String {
    let (mut input, mut request, mut demands) = (Input::default(), Request::default(), Vec::new());
    let mut out = String::new();
    for line in script.lines().filter(|line| !line.starts_with('>')) {
        out += &format!("{line}\n");
        let mut words = line.split_whitespace();
        let answer = match words.next() {
            Some("node") => {
                add_node(&mut input, &words.collect::<Vec<_>>());
                String::new()
            }
            Some("request") => {
                request = parse_request(words);
                String::new()
            }
            Some("demand") => {
                let Reference { datum, size, labels } = parse_reference(words.next().unwrap());
                let waiting = parse_time(words.next().unwrap());
                let hardware = words.map(hardware).collect();
                demands.push(Demand { datum, size, labels, hardware, waiting });
                String::new()
            }
            Some("new") => {
                (input, request, demands) = (Input::default(), Request::default(), Vec::new());
                String::new()
            }
            Some("elapse") => {
                input.elapse(parse_time(words.next().unwrap()));
                String::new()
            }
            Some("plan") => {
                let seed = words.next().map_or(1, |seed| seed.parse().unwrap());
                let planned = plan(&input, &request, &Chance::seeded(seed));
                let findings = planned.iter().flat_map(lint_plan).map(|f| format!("\nfinding: {f}"));
                text(&planned) + &findings.collect::<String>()
            }
            Some("lint") => lint(&input, &request).iter().map(|f| format!("{f}\n")).collect(),
            Some("replicate") => replicate(&input, &demands)
                .iter()
                .map(|c| format!("{} to {}: {} in {:?}, saves {:?}\n", c.datum, c.to, c.moves, c.takes, c.saves))
                .collect(),
            None | Some("#") => continue,
            Some(other) => panic!("no such command: {other}"),
        };
        let silent = matches!(line.split_whitespace().next(), Some("lint" | "replicate")) && answer.is_empty();
        let answer = if silent { "nothing" } else { &answer };
        out.extend(answer.lines().map(|line| format!("> {line}\n")));
    }
    out
}

fn add_node(input: &mut Input, words: &[&str]) {
    let id = NodeId(Name::new(words[0]).unwrap());
    let mut node = Node {
        slots: 4,
        accepted_max: 100,
        load: Load::default(),
        link: Link { rate: Rate(ByteSize::gib(1).0), waiting: ByteSize(0) },
        labels: Labels::default(),
        hardware: BTreeSet::new(),
        price: Price(0),
    };
    let mut held = Vec::new();
    for (key, value) in words[1..].iter().map(|field| field.split_once(':').unwrap()) {
        match key {
            "slots" => node.slots = value.parse().unwrap(),
            "max" => node.accepted_max = value.parse().unwrap(),
            "rate" => node.link.rate = Rate(value.parse::<ByteSize>().unwrap().0),
            "link" => node.link.waiting = value.parse().unwrap(),
            "has" => node.hardware = value.split(',').map(hardware).collect(),
            "is" => node.labels = labels(value),
            "price" => node.price = Price(value.parse().unwrap()),
            "accepted" => node.load.accepted = value.parse().unwrap(),
            "work" => node.load.work = parse_time(value),
            "holds" => held.push((value, true)),
            "awaits" => held.push((value, false)),
            other => panic!("no such field: {other}"),
        }
    }
    input.set_node(id.clone(), node);
    for (text, arrived) in held {
        let Reference { datum, size, .. } = parse_reference(text);
        let (here, coming) = if arrived { (size, ByteSize(0)) } else { (ByteSize(0), size) };
        input.set_holding(&datum, &id, Holding { here, coming });
    }
}

fn parse_request<'a>(words: impl Iterator<Item = &'a str>) -> Request {
    let mut request = Request::default();
    for (key, value) in words.map(|field| field.split_once(':').unwrap()) {
        match key {
            "reads" => request.references.push(parse_reference(value)),
            "wants" => request.hardware = value.split(',').map(hardware).collect(),
            "at" => {
                let (node, hop) = value.split_once('+').unwrap();
                request.origin = Some(Origin { node: NodeId(Name::new(node).unwrap()), hop: parse_time(hop) });
            }
            "run" => request.run = parse_time(value),
            "delay_cost" => request.delay_cost = Some(DelayCost(value.parse::<NonZeroU64>().unwrap())),
            other => panic!("no such field: {other}"),
        }
    }
    request
}

/// `images/a@64MiB` or `images/a@64MiB@region=eu,gdpr=yes`.
fn parse_reference(text: &str) -> Reference {
    let mut parts = text.split('@');
    let datum = DatumId::new(parts.next().unwrap()).unwrap();
    let size = parts.next().unwrap().parse().unwrap();
    Reference { datum, size, labels: parts.next().map(labels).unwrap_or_default() }
}

fn labels(text: &str) -> Labels {
    text.split(',').map(|label| label.parse::<Label>().unwrap()).collect()
}

fn hardware(text: &str) -> Hardware {
    Hardware(Name::new(text).unwrap())
}

fn parse_time(text: &str) -> Duration {
    Duration::from_millis(text.strip_suffix("ms").unwrap().parse().unwrap())
}
