//! The program as an operator meets it: what it prints, where, and how it ends.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// How a run of the program ended.
#[derive(Debug, PartialEq)]
struct Ended {
    status: i32,
    stdout: String,
    stderr: String,
}

fn fanwire(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanwire"));
    command.args(arguments).env_clear();
    command
}

#[track_caller]
fn run(command: &mut Command) -> Ended {
    let Output { status, stdout, stderr } = command.output().unwrap();
    Ended {
        status: status.code().unwrap(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

/// A configuration file of this test's own, and the text that names it in messages.
fn file(name: &str, text: &str) -> (PathBuf, String) {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.toml"));
    std::fs::write(&path, text).unwrap();
    let shown = path.display().to_string();
    (path, shown)
}

#[track_caller]
fn assert_refused(ended: &Ended, lines: &[&str]) {
    let stderr: String = lines.iter().map(|line| format!("{line}\n")).collect();
    assert_eq!(*ended, Ended { status: 1, stdout: String::new(), stderr });
}

#[test]
fn help_shows_every_command_and_examples() {
    let ended = run(&mut fanwire(&["--help"]));
    assert_eq!(ended.status, 0);
    for word in ["dev", "serve", "config", "token", "pub", "sub", "Examples:", "fanwire dev"] {
        assert!(ended.stdout.contains(word), "{word} in {}", ended.stdout);
    }
    assert!(ended.stdout.lines().all(|line| line.chars().count() <= 100), "{}", ended.stdout);
}

#[test]
fn version_is_the_packages() {
    let ended = run(&mut fanwire(&["--version"]));
    assert_eq!(ended.stdout, format!("fanwire {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in [&["nonsense"][..], &["sub"], &["pub", "news"], &["serve", "--set", "x"]] {
        let ended = run(&mut fanwire(arguments));
        assert_eq!((ended.status, ended.stdout.as_str()), (2, ""), "{ended:?}");
    }
}

#[test]
fn the_default_configuration_is_right() {
    let text = run(&mut fanwire(&["config", "default"])).stdout;
    let (_, path) = file("default", &text);
    let ended = run(&mut fanwire(&["config", "check", "--config", &path]));
    assert_eq!((ended.status, ended.stdout), (0, format!("{path}: ok\n")));
    // Nobody is let in before the operator says so.
    for (line, key) in ended.stderr.lines().zip(["client.anonymous", "api.keys"]) {
        assert!(line.starts_with("warning: ") && line.contains(key), "{line}");
    }
    assert_eq!(ended.stderr.lines().count(), 2, "{}", ended.stderr);
}

#[test]
fn the_configuration_in_the_readme_is_right() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let (_, block) = readme.split_once("```toml\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let (secret, _) = file("readme-secret", &"s".repeat(64));
    let block = block.replace("/etc/fanwire/secret", secret.to_str().unwrap());
    let (path, shown) = file("readme", &block);
    let ended = run(&mut fanwire(&["config", "check", "--config", path.to_str().unwrap()]));
    let stdout = format!("{shown}: ok\n");
    assert_eq!(ended, Ended { status: 0, stdout, stderr: String::new() });
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let (_, path) = file("unknown", "[client]\n# a comment\nping_intervall = \"25s\"\n");
    for command in [&["config", "check"][..], &["config", "show"], &["serve"]] {
        let ended = run(fanwire(command).args(["--config", &path]));
        assert_refused(
            &ended,
            &[
                &format!("fanwire: {path}:3: unknown key `client.ping_intervall`"),
                "  did you mean `client.ping_interval`?",
            ],
        );
    }
}

#[test]
fn a_bad_value_is_named_with_its_line_and_what_to_write() {
    let (_, path) = file("value", "[client]\nping_interval = \"25\"\n");
    let ended = run(&mut fanwire(&["config", "check", "--config", &path]));
    assert_refused(
        &ended,
        &[
            &format!("fanwire: {path}:2: `client.ping_interval`: \"25\" is no duration"),
            "  write it with a unit, as in \"500ms\", \"25s\" or \"1h\"",
        ],
    );
}

#[test]
fn broken_toml_is_named_with_its_line() {
    let (_, path) = file("broken", "[client]\nanonymous = tru\n");
    let ended = run(&mut fanwire(&["config", "check", "--config", &path]));
    assert!(ended.stderr.starts_with(&format!("fanwire: {path}:2: ")), "{}", ended.stderr);
    assert_eq!(ended.status, 1);
}

#[test]
fn a_missing_file_is_named() {
    let ended = run(&mut fanwire(&["serve", "--config", "/nowhere/fanwire.toml"]));
    assert!(ended.stderr.starts_with("fanwire: /nowhere/fanwire.toml: cannot read"), "{ended:?}");
    assert_eq!((ended.status, ended.stderr.lines().count()), (1, 2), "{ended:?}");
}

#[test]
fn an_unknown_variable_is_named() {
    let ended = run(fanwire(&["config", "check"]).env("FANWIRE_SERVER_ADRESS", "x"));
    assert_refused(
        &ended,
        &[
            "fanwire: environment variable FANWIRE_SERVER_ADRESS: unknown key `server.adress`",
            "  did you mean FANWIRE_SERVER_ADDRESS?",
        ],
    );
}

#[test]
fn a_bad_variable_is_named() {
    let ended = run(fanwire(&["config", "check"]).env("FANWIRE_CLIENT_INSECURE", "yes"));
    assert_refused(
        &ended,
        &["fanwire: environment variable FANWIRE_CLIENT_INSECURE: `client.insecure`: \"yes\" is \
           neither true nor false"],
    );
}

#[test]
fn a_bad_flag_is_named_without_its_value() {
    let ended = run(&mut fanwire(&["config", "check", "--set", "api.keys=hidden"]));
    assert_refused(
        &ended,
        &[
            "fanwire: --set api.keys: `api.keys`: a key is shorter than 8 characters",
            "  make one that cannot be guessed, as with `openssl rand -hex 16`",
        ],
    );
}

#[test]
fn show_prints_what_is_in_force_without_secrets() {
    let (_, path) = file("show", "[server]\nshards = 1\n[api]\nkeys = [\"hidden-key\"]\n");
    let mut command = fanwire(&["config", "show", "--set", "client.topics_max=7"]);
    let command = command.env("FANWIRE_CONFIG", &path);
    let ended = run(command.env("FANWIRE_SERVER_SHARDS", "2"));
    for line in ["shards = 2", "topics_max = 7", "keys = [\"***\"]", "ping_interval = \"25s\""] {
        assert!(ended.stdout.lines().any(|shown| shown == line), "{line} in {}", ended.stdout);
    }
    assert!(!ended.stdout.contains("hidden"), "{}", ended.stdout);
}

#[test]
fn what_is_allowed_but_hardly_wanted_is_a_warning() {
    let (_, path) = file("no-key", "[client]\nanonymous = true\n");
    let ended = run(&mut fanwire(&["config", "check", "--config", &path]));
    assert_eq!(
        ended.stderr,
        "warning: no backend may publish, for there is no API key: set api.keys\n"
    );
    assert_eq!(ended.status, 0);
}

#[test]
fn clients_without_a_broker_say_how_to_start_one() {
    // The port of a listener that is closed again: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("ws://127.0.0.1:{port}");
    for arguments in [
        &["sub", "--url", &url, "news"][..],
        &["pub", "--url", &url, "news", "1"],
        &["pub", "--url", &url, "--api-key", "a-key", "news", "1"],
    ] {
        let ended = run(&mut fanwire(arguments));
        let cause = format!("fanwire: cannot connect to 127.0.0.1:{port}: Connection refused");
        assert!(ended.stderr.starts_with(&cause), "{ended:?}");
        assert!(ended.stderr.contains("start it with `fanwire dev`"), "{ended:?}");
        assert_eq!(ended.status, 1);
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = run(fanwire(&["config", "default"]).stdout(writer));
    assert_eq!(ended, Ended { status: 0, stdout: String::new(), stderr: String::new() });
}

#[test]
fn data_from_stdin_must_be_text() {
    let mut command = fanwire(&["pub", "news", "-"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&[0xff, 0xfe]).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("fanwire: cannot read the data from stdin: "), "{stderr}");
}
