//! What `Cargo.toml` says of who knows whom (`design.md` sections 2 and 6), and what stands at the top of the tree.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use tidings_authn::Service;
use toml::{Table, Value};

/// The crates that serve a package.
const SERVICES: [&str; 5] = [
    "auth-service",
    "user-service",
    "chat-service",
    "message-service",
    "gateway",
];

/// Who calls whom with requests. Feeds stand apart, in `authn`.
const CALLS: [(&str, &[&str]); 5] = [
    ("auth-service", &["user"]),
    ("user-service", &[]),
    ("chat-service", &["message", "user"]),
    ("message-service", &[]),
    ("gateway", &["auth", "chat", "message", "user"]),
];

/// What stands visibly at the top, by `design.md` section 6.
const TOP: [&str; 8] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "buf.yaml",
    "crates",
    "deploy",
    "proto",
];

/// One crate's dependencies in the built product, those for tests and build scripts left out, with their features.
type Dependencies = BTreeMap<String, Vec<String>>;

#[test]
fn no_service_depends_on_another_services_crate() {
    for service in SERVICES {
        let dependencies = dependencies(service);
        let others: Vec<&&str> = SERVICES
            .iter()
            .filter(|other| **other != service && dependencies.contains_key(**other))
            .collect();
        assert!(others.is_empty(), "{service} depends on {others:?}");
    }
}

#[test]
fn the_clients_that_a_service_depends_on_are_the_call_graph() {
    for (service, callees) in CALLS {
        let own = service.trim_end_matches("-service");
        let clients: BTreeSet<String> = dependencies(service)
            .into_iter()
            .filter_map(|(name, features)| {
                let package = name.strip_prefix("proto-")?.to_owned();
                // The gateway forwards bytes and knows its peers by their descriptors alone.
                let calls = service == "gateway" || features.iter().any(|feature| feature == "client");
                (calls && package != own && package != "common").then_some(package)
            })
            .collect();
        let expected: BTreeSet<String> = callees.iter().map(|&callee| callee.to_owned()).collect();
        assert_eq!(clients, expected, "whom {service} calls");
    }
}

/// What a certificate permits is what is built.
#[test]
fn users_calls_are_taken_from_the_services_that_make_them() {
    for (service, callees) in CALLS {
        let caller = Service::from_name(service.trim_end_matches("-service")).expect("a service");
        for callee in Service::ALL.into_iter().filter(|callee| *callee != caller) {
            let expected = callees.contains(&callee.name());
            assert_eq!(caller.calls(callee), expected, "{caller} calls {callee}");
        }
    }
}

#[test]
fn requests_go_round_in_no_circle() {
    fn reaches(from: &str, to: &str) -> bool {
        let (_, callees) = CALLS
            .iter()
            .find(|(service, _)| service.trim_end_matches("-service") == from)
            .expect("every callee is a service");
        callees.iter().any(|&callee| callee == to || reaches(callee, to))
    }
    for (service, _) in CALLS {
        let service = service.trim_end_matches("-service");
        assert!(!reaches(service, service), "{service} calls itself over others");
    }
}

#[test]
fn crates_depend_downwards_only() {
    // server, then services, then the audit trail, then rpc, then what it stands on, then ids and contracts.
    let level = |name: &str| match name {
        "server" => 6,
        "gateway" | "auth-service" | "user-service" | "chat-service" | "message-service" | "assistant" => 5,
        "audit" => 4,
        "rpc" => 3,
        "authn" | "db" | "telemetry" => 2,
        name if name == "ids" || name.starts_with("proto-") => 1,
        // Tools of the project, which the product does not contain.
        "testkit" | "xtask" => 7,
        other => panic!("crates/{other} has no place in the order of crates: give it one here and in design.md"),
    };
    for name in crates() {
        for dependency in dependencies(&name).keys() {
            let down = level(dependency) < level(&name);
            let beside = level(&name) == 1 && level(dependency) == 1;
            assert!(down || beside, "{name} depends on {dependency}");
        }
    }
}

#[test]
fn a_database_is_known_only_to_the_services_that_own_a_schema() {
    let owners = ["auth-service", "user-service", "chat-service", "message-service"];
    // `audit` keeps a part of each owner's schema, `ids` knows how an id is stored, `rpc` how an error of the database is told,
    // `server` and `db` connect and migrate.
    let helpers = ["audit", "db", "ids", "rpc", "server", "testkit", "xtask"];
    for name in crates() {
        let manifest = manifest(&folder(&name));
        let knows = ["sqlx", "tidings-db"]
            .iter()
            .any(|krate| manifest["dependencies"].get(krate).is_some());
        let may = owners.contains(&name.as_str()) || helpers.contains(&name.as_str());
        assert!(!knows || may, "{name} speaks to a database");
    }
}

#[test]
fn every_dependency_is_named_once_in_the_workspace() {
    let folders = crates().into_iter().map(|name| folder(&name));
    for folder in folders.chain([root().join("tests"), root().join("tests/load")]) {
        let manifest = manifest(&folder);
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(Value::Table(section)) = manifest.get(section) else {
                continue;
            };
            for (name, how) in section {
                // A crate's own features for its own tests, and the server without its services for the tool that builds them.
                let of_the_tree = how.get("path").is_some();
                let of_the_workspace = how.get("workspace").and_then(Value::as_bool) == Some(true);
                assert!(of_the_workspace || of_the_tree, "{}: {name}", folder.display());
            }
        }
    }
}

#[test]
fn the_top_of_the_tree_shows_what_the_design_names() {
    let entries = fs::read_dir(root()).expect("the root can be read");
    let names: BTreeSet<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && name != "target")
        .collect();
    let expected: BTreeSet<String> = TOP.iter().chain(&["tests"]).map(|&name| name.to_owned()).collect();
    assert_eq!(names, expected);
}

#[test]
fn folders_and_crates_have_the_same_names() {
    for name in crates() {
        let manifest = manifest(&folder(&name));
        let package = manifest["package"]["name"].as_str().expect("a name").to_owned();
        assert_eq!(package, format!("tidings-{name}"));
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests stand in the root")
        .to_owned()
}

fn folder(name: &str) -> PathBuf {
    root().join("crates").join(name)
}

fn manifest(folder: &Path) -> Table {
    let path = folder.join("Cargo.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.parse()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The folders under `crates/`.
fn crates() -> Vec<String> {
    let entries = fs::read_dir(root().join("crates")).expect("crates can be read");
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert!(names.len() > 15, "the crates are {names:?}");
    names
}

/// The crates of this tree that a crate is built with, by their folders.
fn dependencies(name: &str) -> Dependencies {
    let manifest = manifest(&folder(name));
    let Some(Value::Table(section)) = manifest.get("dependencies") else {
        return Dependencies::new();
    };
    let own = section.iter().filter_map(|(name, how)| {
        let folder = name.strip_prefix("tidings-")?.to_owned();
        let features = how.get("features").and_then(Value::as_array);
        let features = features.into_iter().flatten().filter_map(Value::as_str);
        Some((folder, features.map(str::to_owned).collect()))
    });
    own.collect()
}
