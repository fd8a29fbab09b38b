//! The abuse suite finds nothing wrong with the yardstick, says so by its exit code, and is described as it is.

mod yardstick;

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use yardstick::{Yardstick, example_file};

fn example(name: &str) -> Command {
    let mut command = Command::new(example_file(name));
    command.stdin(Stdio::null()).env_remove("PORT");
    command
}

fn abuse(arguments: &[&str]) -> Output {
    example("abuse")
        .args(arguments)
        .output()
        .expect("it starts")
}

fn yardstick(arguments: &[&str]) -> Yardstick {
    Yardstick::run_by(example("yardstick").args(["--port", "0"]).args(arguments))
}

#[test]
fn the_yardstick_with_short_deadlines_passes_every_attack() {
    let deadlines = [
        "--first-byte-timeout",
        "1",
        "--header-timeout",
        "1",
        "--body-timeout",
        "1",
        "--write-timeout",
        "2",
        "--keepalive-timeout",
        "2",
    ];
    let pings = ["--ping-after", "1", "--pong-timeout", "1"];
    let server = yardstick(&[&deadlines[..], &pings].concat());
    let pid = server.child.id().to_string();
    let mut arguments = vec![server.address.as_str(), "--connections", "200"];
    // Other tests run beside this one: what is measured here is not how fast anyone is.
    arguments.extend(["--floor", "500"]);
    if cfg!(target_os = "linux") {
        arguments.extend(["--pid", &pid]);
    }
    arguments.extend(deadlines);
    arguments.extend(["--ws-timeout", "2"]);
    let output = abuse(&arguments);
    let card = String::from_utf8(output.stdout).expect("it prints UTF-8");
    assert!(output.status.success(), "{}\n{card}", output.status);
    assert!(
        card.contains(" 0 failed, 0 not applicable, 0 not waited for"),
        "{card}"
    );
}

#[test]
fn a_deadline_that_is_broken_fails_the_attack_and_the_run() {
    let server = yardstick(&["--first-byte-timeout", "60"]);
    let promises = ["--first-byte-timeout", "1", "--slack", "0"];
    let output = abuse(
        &[
            &[server.address.as_str(), "--only", "no-bytes"],
            &promises[..],
        ]
        .concat(),
    );
    let card = String::from_utf8(output.stdout).expect("it prints UTF-8");
    assert_eq!(output.status.code(), Some(1), "{card}");
    let row = card.lines().find(|line| line.starts_with("no-bytes "));
    let row = row.expect("it has a row");
    assert!(
        row.contains("FAIL") && row.contains("20 left open"),
        "{row}"
    );
}

#[test]
fn wrong_usage_nobody_there_and_other_machines_end_with_2_and_a_sentence() {
    let free = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let nobody = free.local_addr().expect("it is bound").to_string();
    drop(free);
    for (arguments, sentence) in [
        (&[][..], "HOST:PORT is missing"),
        (&["127.0.0.1:1", "--what"], "unknown argument --what"),
        (
            &["127.0.0.1:1", "--only", "magic"],
            "there is no attack magic",
        ),
        (
            &["127.0.0.1:1", "--slack", "soon"],
            "--slack: \"soon\" is not a number",
        ),
        (
            &["192.0.2.1:80"],
            "192.0.2.1:80 is not on the loopback interface",
        ),
        (&[&nobody], "refused"),
    ] {
        let output = abuse(arguments);
        let error = String::from_utf8(output.stderr).expect("it prints UTF-8");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(sentence), "{arguments:?}: {error}");
    }
}

#[test]
fn the_page_has_each_attack_as_the_program_lists_it() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/abuse.md");
    let page = std::fs::read_to_string(path).expect("the page is there");
    let output = abuse(&["--list"]);
    let list = String::from_utf8(output.stdout).expect("it prints UTF-8");
    assert!(list.lines().count() >= 30, "{list}");
    for line in list.lines() {
        assert!(page.contains(line), "docs/abuse.md lacks the line: {line}");
    }
}
