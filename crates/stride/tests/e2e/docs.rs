//! What the README shows is what happens: its commands, typed into a shell beside a real node.

use std::{path::Path, process::Command};

use crate::support::{Node, data, root};

/// Lines that are not typed here: they start the node, or build what is built already.
const ELSEWHERE: [&str; 3] = ["cargo xtask ", "export PATH=", "stride up "];

/// Lines that have nothing to do on a node that is new, and say so.
const NOTHING_TO_DO: [&str; 2] = ["stride agents resume ", "stride rollback "];

/// The lines of all blocks of shell, without what is said about them.
fn commands(text: &str) -> Vec<&str> {
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines).filter(|line| !line.is_empty());
    let typed = lines.map(|line| line.split("  #").next().unwrap_or(line).trim());
    typed.filter(|line| !ELSEWHERE.iter().any(|elsewhere| format!("{line} ").starts_with(elsewhere))).collect()
}

fn run(line: &str, node: &Node, dir: &Path) -> std::process::Output {
    let binary = Path::new(env!("CARGO_BIN_EXE_stride")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let address = node.url.strip_prefix("http://").unwrap();
    // A problem is an answer to curl unless it is told otherwise.
    let line = line.replace("localhost:7373", address).replace("curl ", "curl -sS --fail-with-body ");
    Command::new("sh")
        .args(["-c", &line])
        .current_dir(dir)
        .env("PATH", path)
        .env("STRIDE_URL", &node.url)
        .output()
        .unwrap()
}

/// The blocks of a language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let begin = format!("```{language}\n");
    text.split(&*begin).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

#[tokio::test]
async fn the_examples_of_the_page_about_triggers_do_what_they_say() {
    let (dir, data) = data();
    let node = Node::start(&data);
    node.deploy("thumbnails").await;
    let page = std::fs::read_to_string(root().join("docs/triggers.md")).unwrap();
    let manifest = std::fs::read_to_string(root().join("examples/counter/stride.toml")).unwrap();
    let triggers = blocks(&page, "toml");
    assert!(triggers.len() >= 4, "{triggers:?}");
    let manifest = [&[&*manifest], &*triggers].concat().join("\n");
    node.deploy_with("counter", &manifest).await.json_of(reqwest::StatusCode::CREATED);
    let commands = commands(&page);
    assert!(commands.len() >= 12, "{commands:?}");
    for line in commands {
        let output = run(line, &node, dir.path());
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{line}\n{said}");
    }
    for (counter, total) in [("ann", "3"), ("bob", "7"), ("cid", "5"), ("dan", "5")] {
        while node.ask(&format!("counter/{counter}"), "get", "").await.body != total {
            tokio::task::yield_now().await;
        }
    }
    let loud = run("curl localhost:7373/r/loud/hello", &node, dir.path());
    assert_eq!(String::from_utf8(loud.stdout).unwrap(), "\"HELLO\"");
}

#[tokio::test]
async fn the_commands_of_the_readme_do_what_they_say() {
    let (dir, data) = data();
    let node = Node::start(&data);
    for name in ["README.md", "CHANGELOG.md", "examples"] {
        std::os::unix::fs::symlink(root().join(name), dir.path().join(name)).unwrap();
    }
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let commands = commands(&readme);
    assert!(commands.len() > 20, "{commands:?}");
    let answer = |line| String::from_utf8(run(line, &node, dir.path()).stdout).unwrap();
    let mut tips = 0;
    for line in commands {
        // A tip goes a minute after it is ordered, and the commands after that may take longer.
        if line.starts_with("stride ask account/ann pay_later") {
            assert_eq!(answer("stride ask account/ann balance"), "300\n");
            tips += 1;
        }
        let output = run(line, &node, dir.path());
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let expected = i32::from(NOTHING_TO_DO.iter().any(|idle| line.starts_with(idle)));
        assert_eq!(output.status.code(), Some(expected), "{line}\n{said}");
    }
    assert_eq!(tips, 1);
    assert_eq!(answer("stride call counter/shout '\"hello\"'"), "\"HELLO\"\n");
}
