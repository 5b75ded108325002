//! What `deploy/` says about the binary is true of it, and its files say the same to each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use crate::support::{Node, data, root};
use yaml_rust2::{Yaml, YamlLoader};

fn text(file: &str) -> String {
    fs::read_to_string(root().join("deploy").join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

/// The lines of a file that are not comments.
fn lines(file: &str) -> Vec<String> {
    text(file).lines().filter(|line| !line.trim_start().starts_with('#')).map(str::to_owned).collect()
}

/// The flags in a text, without their values.
fn flags(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| c.is_whitespace() || "\"',[]=".contains(c));
    words.filter(|word| word.len() > 2 && word.starts_with("--")).map(str::to_owned).collect()
}

/// What `stride COMMAND --help` lists.
fn flags_of(command: &str) -> BTreeSet<String> {
    let help = Command::new(env!("CARGO_BIN_EXE_stride")).args([command, "--help"]).output().unwrap();
    assert!(help.status.success());
    flags(&String::from_utf8(help.stdout).unwrap())
}

/// The one line of a file that begins so.
fn line_of(file: &str, begin: &str) -> String {
    let found: Vec<_> = lines(file).into_iter().filter(|line| line.trim_start().starts_with(begin)).collect();
    assert_eq!(found.len(), 1, "{file} has one line that begins with {begin}: {found:?}");
    found[0].clone()
}

/// All documents in `deploy/kubernetes`, by kind and name.
fn kubernetes() -> BTreeMap<(String, String), Yaml> {
    let mut documents = BTreeMap::new();
    for entry in fs::read_dir(root().join("deploy/kubernetes")).unwrap() {
        let path = entry.unwrap().path();
        let parsed = YamlLoader::load_from_str(&fs::read_to_string(&path).unwrap());
        for document in parsed.unwrap_or_else(|e| panic!("{}: {e}", path.display())) {
            let name = |yaml: &Yaml| yaml.as_str().unwrap_or_else(|| panic!("{}", path.display())).to_owned();
            documents.insert((name(&document["kind"]), name(&document["metadata"]["name"])), document);
        }
    }
    documents
}

/// The `spec` of the StatefulSet.
fn stateful_set() -> Yaml {
    named(&kubernetes(), "StatefulSet", "stride")["spec"].clone()
}

fn named<'a>(documents: &'a BTreeMap<(String, String), Yaml>, kind: &str, name: &str) -> &'a Yaml {
    &documents[&(kind.to_owned(), name.to_owned())]
}

fn strings(list: &Yaml) -> Vec<&str> {
    list.as_vec().unwrap().iter().map(|it| it.as_str().unwrap()).collect()
}

#[test]
fn every_flag_that_the_files_use_is_one_of_the_binary() {
    let args = strings(&stateful_set()["template"]["spec"]["containers"][0]["args"]).join(" ");
    let used = [
        ("up", args),
        ("up", line_of("systemd/stride.service", "ExecStart=")),
        ("up", line_of("Containerfile", "CMD ")),
        ("cells", line_of("Containerfile", "HEALTHCHECK ").split("CMD").nth(1).unwrap().to_owned()),
    ];
    for (command, line) in used {
        assert!(line.split(|c: char| !c.is_alphanumeric()).any(|word| word == command), "{line}");
        let (used, known) = (flags(&line), flags_of(command));
        assert!(!used.is_empty(), "{line}");
        let unknown: Vec<_> = used.difference(&known).collect();
        assert!(unknown.is_empty(), "`stride {command}` has no {unknown:?}, but this uses it: {line}");
    }
}

#[tokio::test]
async fn the_routes_that_probes_ask_are_there() {
    let (_dir, data) = data();
    let node = Node::start(&data);
    let set = stateful_set();
    let container = &set["template"]["spec"]["containers"][0];
    for (probe, path) in [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
        let get = &container[probe]["httpGet"];
        assert_eq!((get["path"].as_str(), get["port"].as_str()), (Some(path), Some("http")), "{probe}");
        assert_eq!(node.get(path).await.status, 200, "{path}");
    }
}

#[test]
fn the_files_for_kubernetes_name_each_other_rightly() {
    let documents = kubernetes();
    let names: Vec<_> = documents.keys().map(|(kind, name)| format!("{kind} {name}")).collect();
    let expected =
        ["PodDisruptionBudget stride", "Secret stride", "Service stride", "Service stride-peers", "StatefulSet stride"];
    assert_eq!(names, expected);
    let get = |kind, name| &named(&documents, kind, name)["spec"];
    let set = get("StatefulSet", "stride");
    let (pod, labels) = (&set["template"]["spec"], &set["template"]["metadata"]["labels"]);
    assert!(!labels.is_badvalue());
    for selector in [
        &set["selector"]["matchLabels"],
        &get("PodDisruptionBudget", "stride")["selector"]["matchLabels"],
        &get("Service", "stride")["selector"],
        &get("Service", "stride-peers")["selector"],
    ] {
        assert_eq!(selector, labels);
    }
    assert_eq!(set["serviceName"].as_str(), Some("stride-peers"));
    assert_eq!(get("Service", "stride-peers")["clusterIP"].as_str(), Some("None"));
    let container = &pod["containers"][0];
    let ports = |list: &Yaml, number: &str| -> BTreeSet<(String, i64)> {
        let port = |it: &Yaml| (it["name"].as_str().unwrap().to_owned(), it[number].as_i64().unwrap());
        list.as_vec().unwrap().iter().map(port).collect()
    };
    let of_services: BTreeSet<_> =
        ["stride", "stride-peers"].iter().flat_map(|name| ports(&get("Service", name)["ports"], "port")).collect();
    assert_eq!(ports(&container["ports"], "containerPort"), of_services);
    assert_eq!(container["envFrom"][0]["secretRef"]["name"].as_str(), Some("stride"));
    let mounted = container["volumeMounts"].as_vec().unwrap().iter().map(|it| it["name"].as_str().unwrap());
    let volumes = [&pod["volumes"][0]["name"], &set["volumeClaimTemplates"][0]["metadata"]["name"]];
    let volumes: BTreeSet<_> = volumes.map(|name| name.as_str().unwrap()).into();
    assert_eq!(mounted.collect::<BTreeSet<_>>(), volumes);
}

#[test]
fn the_arguments_for_kubernetes_are_in_the_secret_and_every_node_has_its_certificate() {
    let set = stateful_set();
    let container = &set["template"]["spec"]["containers"][0];
    let secret = named(&kubernetes(), "Secret", "stride")["stringData"].clone();
    for key in ["STRIDE_CLUSTER", "STRIDE_OBJECTS"] {
        assert!(secret[key].as_str().is_some(), "{key}");
    }
    for argument in strings(&container["args"]) {
        let Some((_, variable)) = argument.split_once("$(") else { continue };
        let variable = variable.split(')').next().unwrap();
        assert!(variable == "POD_NAME" || !secret[variable].is_badvalue(), "nothing sets {variable}");
    }
    let items = set["template"]["spec"]["volumes"][0]["secret"]["items"].as_vec().unwrap();
    let paths: BTreeSet<_> = items.iter().map(|item| item["path"].as_str().unwrap().to_owned()).collect();
    let nodes = 0..set["replicas"].as_i64().unwrap();
    let files = ["ca.pem", "node.pem", "node.key"];
    let wanted = nodes.flat_map(|n| files.map(|file| format!("stride-{n}/{file}")));
    assert_eq!(paths, wanted.collect());
}

#[test]
fn a_drain_is_given_its_time_everywhere() {
    let set = stateful_set();
    let pod = &set["template"]["spec"];
    let grace = pod["terminationGracePeriodSeconds"].as_i64().unwrap();
    let before = strings(&pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]);
    let ["sleep", before] = before[..] else { panic!("{before:?}") };
    let drain = grace - before.parse::<i64>().unwrap();
    let systemd = line_of("systemd/stride.service", "TimeoutStopSec=");
    let systemd: i64 = systemd.trim_start_matches("TimeoutStopSec=").parse().unwrap();
    assert!(drain >= 60 && systemd >= 60, "{drain} {systemd}");
    assert_eq!(line_of("systemd/stride.service", "KillSignal="), "KillSignal=SIGTERM");
    assert_eq!(line_of("Containerfile", "STOPSIGNAL"), "STOPSIGNAL SIGTERM");
}

#[test]
fn the_unit_reads_nothing_that_its_example_of_an_environment_does_not_set() {
    let set: BTreeSet<_> = lines("systemd/stride.env.example")
        .iter()
        .filter_map(|line| line.split_once('=').map(|(name, _)| name.to_owned()))
        .collect();
    assert!(set.contains("STRIDE_CLUSTER"));
    let start = line_of("systemd/stride.service", "ExecStart=");
    let read = start.split("${").skip(1).map(|rest| rest.split('}').next().unwrap());
    for variable in read {
        assert!(set.contains(variable), "{variable}");
    }
}

#[test]
fn systemd_accepts_the_unit_where_there_is_systemd() {
    let dir = tempfile::tempdir().unwrap();
    let unit = dir.path().join("stride.service");
    // It looks whether the program is there.
    let text = text("systemd/stride.service").replace("/usr/local/bin/stride", env!("CARGO_BIN_EXE_stride"));
    fs::write(&unit, text).unwrap();
    let Ok(output) = verify(&unit) else {
        eprintln!("there is no systemd-analyze on this machine");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

fn verify(unit: &Path) -> std::io::Result<std::process::Output> {
    Command::new("systemd-analyze").arg("verify").arg(unit).output()
}
