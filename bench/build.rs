//! Tells the program which commit it was built from, so that every result can be traced to one.

use std::io::Write;
use std::process::Command;

/// What cargo is told when there is no git, or no work tree.
const UNKNOWN: &str = "unknown";

fn main() -> std::io::Result<()> {
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| UNKNOWN.to_owned());
    let changes = git(&["status", "--porcelain", "--untracked-files=no"]);
    let is_dirty = changes.is_some_and(|changes| !changes.is_empty());
    let mut cargo = std::io::stdout().lock();
    writeln!(cargo, "cargo::rustc-env=FANWIRE_BENCH_COMMIT={commit}")?;
    writeln!(cargo, "cargo::rustc-env=FANWIRE_BENCH_DIRTY={is_dirty}")?;
    // The index changes with every commit; sources are watched since they decide about "dirty".
    for path in ["HEAD", "index"] {
        if let Some(path) = git(&["rev-parse", "--path-format=absolute", "--git-path", path]) {
            writeln!(cargo, "cargo::rerun-if-changed={path}")?;
        }
    }
    writeln!(cargo, "cargo::rerun-if-changed=src")?;
    writeln!(cargo, "cargo::rerun-if-changed=build.rs")
}

/// The words of git, or `None` when it has none.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
