//! The example of an operator's settings, held against the command line.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use tidings_server::cli::definition;

#[test]
fn the_example_holds_every_setting_of_all_and_nothing_else() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/example.env");
    let example = fs::read_to_string(path).unwrap();
    let named = example
        .lines()
        .filter_map(|line| line.trim_start_matches('#').split_once('='));
    let named: BTreeSet<&str> = named
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("TIDINGS_"))
        .collect();

    let definition = definition();
    let all = definition.find_subcommand("all").expect("there is `tidings all`");
    let settings = all
        .get_arguments()
        .filter_map(|argument| argument.get_env())
        .map(|name| name.to_str().unwrap());
    let settings: BTreeSet<&str> = settings.collect();

    let missing: Vec<_> = settings.difference(&named).collect();
    let unknown: Vec<_> = named.difference(&settings).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "not in the example: {missing:?}; no settings: {unknown:?}"
    );
}

#[test]
fn the_defaults_that_the_example_shows_are_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/example.env");
    let example = fs::read_to_string(path).unwrap();
    let definition = definition();
    let all = definition.find_subcommand("all").expect("there is `tidings all`");
    for argument in all.get_arguments() {
        let (Some(name), [default]) = (argument.get_env(), argument.get_default_values()) else {
            continue;
        };
        let (name, default) = (name.to_str().unwrap(), default.to_str().unwrap());
        let shown = example.lines().find_map(|line| line.strip_prefix(&format!("#{name}=")));
        if let Some(shown) = shown.filter(|shown| !shown.is_empty()) {
            assert_eq!(shown.trim_matches('\''), default, "{name}");
        }
    }
}

#[test]
fn a_shell_reads_the_example_with_every_line_of_it_in_use() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/example.env");
    let example = fs::read_to_string(path).unwrap();
    let settings: String = example
        .lines()
        .map(|line| {
            line.strip_prefix('#')
                .filter(|line| line.starts_with("TIDINGS_"))
                .unwrap_or(line)
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let shell = Command::new("sh")
        .args(["-eu", "-c", &format!("set -a\n{settings}env")])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .output()
        .unwrap();
    let read = String::from_utf8(shell.stdout).unwrap();
    assert!(shell.status.success(), "{}", String::from_utf8_lossy(&shell.stderr));
    for line in settings.lines().filter(|line| line.starts_with("TIDINGS_")) {
        let line = line.replace('\'', "");
        assert!(read.lines().any(|read| read == line), "{line}");
    }
}

#[test]
fn what_git_leaves_out_does_not_get_into_an_image_either() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let lines = |path: &str| -> BTreeSet<String> {
        let text = fs::read_to_string(root.join(path)).unwrap();
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(|line| line.trim_matches('/').to_owned()).collect()
    };
    let in_deploy = lines("deploy/.gitignore")
        .into_iter()
        .map(|line| format!("deploy/{line}"));
    // What is named without a folder, git means wherever it is, and Docker only at the top.
    let left_out = lines(".gitignore").into_iter().map(|line| match line.as_str() {
        "node_modules" => "**/node_modules".to_owned(),
        _ => line,
    });
    let expected: BTreeSet<String> = left_out.chain(in_deploy).chain([".git".to_owned()]).collect();
    assert!(root.join("deploy/Dockerfile").exists());
    assert_eq!(lines("deploy/Dockerfile.dockerignore"), expected);
}
