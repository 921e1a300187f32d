//! The map in ARCHITECTURE.md, held to: who may depend on whom, and what no file of ours may be.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

/// Which crates of ours a crate may use, for anything: running, building or testing.
const ALLOWED: [(&str, &[&str]); 7] = [
    ("ferry-protocol", &[]),
    ("ferry-stun", &[]),
    ("ferry-record", &[]),
    ("ferry-relay", &["ferry-protocol", "ferry-record", "ferry-stun"]),
    ("ferry-client", &["ferry-protocol", "ferry-record", "ferry-stun"]),
    ("ferry-loadtest", &["ferry-client", "ferry-protocol", "ferry-record", "ferry-stun"]),
    ("ferry-tests", &["ferry-protocol", "ferry-stun", "ferry-relay", "ferry-client", "ferry-loadtest"]),
];

/// The files that say what the system tells, or takes, only through `unsafe`.
const UNSAFE: [&str; 3] =
    ["relay/src/sys.rs", "stun/benches/servers/floor.rs", "stun/src/server/sys/linux.rs"];

/// A file that is longer wants to be two.
const LINES_MAX: usize = 700;

/// What is never left in a file. In pieces, so that this one passes.
const FORBIDDEN: [(&str, &str); 5] = [
    (concat!("to", "do!("), "unfinished code"),
    (concat!("unimplem", "ented!("), "unfinished code"),
    (concat!("#[ign", "ore"), "a test that does not run"),
    (concat!("dbg", "!("), "left from debugging"),
    (concat!("allow(unsafe", "_code)"), "a lint may be expected with a reason, never allowed"),
];

#[test]
fn crates_depend_on_each_other_only_as_the_map_says() {
    let allowed = BTreeMap::from(ALLOWED);
    let packages = packages();
    assert_eq!(
        packages.iter().map(|package| package.name.as_str()).collect::<Vec<_>>(),
        [
            "ferry-client",
            "ferry-loadtest",
            "ferry-protocol",
            "ferry-record",
            "ferry-relay",
            "ferry-stun",
            "ferry-tests"
        ],
        "a crate came or went: say in the map what it may use"
    );
    for package in &packages {
        for dependency in
            package.dependencies.iter().filter(|dependency| allowed.contains_key(&*dependency.name))
        {
            assert!(
                allowed[&*package.name].contains(&&*dependency.name),
                "{} depends on {} ({}), which the map does not allow",
                package.name,
                dependency.name,
                dependency.kind.as_deref().unwrap_or("normal"),
            );
        }
    }
}

#[test]
fn unsafe_code_is_denied_in_every_crate() {
    let workspace = read(&root().join("Cargo.toml"));
    assert!(workspace.contains("unsafe_code = \"deny\""), "the workspace's lints do not deny unsafe code");
    for package in packages() {
        let manifest = read(&package.manifest_path);
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{} does not take the workspace's lints",
            package.manifest_path.display()
        );
    }
    // This crate, and those that read bytes of strangers and need no socket: not even with a reason.
    for root_file in ["client/src/lib.rs", "protocol/src/lib.rs", "record/src/lib.rs", "tests/src/lib.rs"] {
        assert!(
            read(&root().join(root_file)).contains("#![forbid(unsafe_code)]"),
            "{root_file} does not forbid unsafe code"
        );
    }
}

#[test]
fn unsafe_code_is_expected_only_where_the_map_says() {
    let exceptions: Vec<_> = rust_files()
        .into_iter()
        .filter(|file| {
            let text = read(file);
            let mut lines = text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
            lines.any(|line| {
                line.starts_with(concat!("unsafe", "_code,"))
                    || line.contains(concat!("expect(unsafe", "_code"))
            })
        })
        .map(|file| file.strip_prefix(root()).expect("a file of the repository").to_owned())
        .collect();
    assert_eq!(exceptions, UNSAFE.map(PathBuf::from));
    let map = read(&root().join("ARCHITECTURE.md"));
    for file in UNSAFE {
        assert!(map.contains(&format!("`{file}`")), "ARCHITECTURE.md does not name {file}");
    }
}

#[test]
fn no_file_is_too_long_or_unfinished() {
    let files = rust_files();
    assert!(files.len() > 50, "only {} files found", files.len());
    let mut faults = Vec::new();
    for file in files {
        let text = read(&file);
        let lines = text.lines().count();
        if lines > LINES_MAX {
            faults.push(format!("{}: {lines} lines, more than {LINES_MAX}", file.display()));
        }
        for (line, number) in text.lines().zip(1..) {
            for (words, why) in FORBIDDEN.iter().filter(|(words, _)| line.contains(words)) {
                faults.push(format!("{}:{number}: {words} ({why})", file.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_file_says_first_what_it_is() {
    let silent: Vec<_> = rust_files().into_iter().filter(|file| !read(file).starts_with("//!")).collect();
    assert!(silent.is_empty(), "files that do not start with a sentence about themselves: {silent:?}");
}

/// What `cargo metadata` tells, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// A crate of the workspace.
#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

/// What a crate's manifest asks for.
#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// None for an ordinary one.
    kind: Option<String>,
}

/// The workspace's crates by name.
fn packages() -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--offline", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut metadata: Metadata = serde_json::from_slice(&output.stdout).expect("metadata in JSON");
    metadata.packages.sort_by(|a, b| a.name.cmp(&b.name));
    metadata.packages
}

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the crate is in a workspace").to_owned()
}

/// All Rust files of the repository that are ours.
fn rust_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for dir in ["protocol", "stun", "record", "relay", "client", "loadtest", "tests", "fuzz"] {
        collect(&root().join(dir), &mut files);
    }
    files.sort();
    files
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            // What cargo builds is not ours.
            if path.file_name().is_some_and(|name| name != "target") {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
