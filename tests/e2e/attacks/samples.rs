//! No process starts with a secret that somebody else may know: those of examples, and none at all (A42).

use std::{fs, process::Output, time::Duration};

use tidings_testkit::{Process, Shape, Suite};
use tokio::time::timeout;

/// A refusal to start takes no time; a machine that compiles beside it takes longer.
const SOON: Duration = Duration::from_secs(60);

/// Values as they stand in examples, here and in the field.
const SAMPLES: [&str; 12] = [
    "short",
    "change-me-change-me-change-me-change-me",
    "CHANGEME0123456789abcdefghijklmnopqrstuv",
    "replace-this-with-32-random-characters",
    "example-example-example-example-example",
    "a-secret-of-at-least-thirty-two-letters",
    "Secret123Secret123Secret123Secret123Secr",
    "password-password-password-password",
    "default-default-default-default-default",
    "sample-value-sample-value-sample-value",
    "0000000000000000000000000000000000000000",
    "0123456789abcdef0123456789abcdef01234567",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_process_starts_with_a_secret_of_an_example() {
    for shape in [Shape::One, Shape::Five] {
        let suite = Suite::prepare(shape, &[]).await;
        for process in Process::of(shape) {
            let auth = matches!(process, Process::All | Process::Auth);
            let secrets = if auth { &["suite", "auth"][..] } else { &["suite"] };
            for secret in secrets {
                for sample in SAMPLES {
                    refused(&suite, *process, secret, sample).await;
                }
            }
        }
    }
}

/// Starts it with this text in the file of the secret: it must say which setting is at fault, and not what it is.
async fn refused(suite: &Suite, process: Process, secret: &str, sample: &str) {
    let file = suite.folder().join(secret);
    let good = fs::read_to_string(&file).expect("a suite has its secrets");
    fs::write(&file, sample).expect("writes");
    let output = run(suite, process, &[]).await;
    fs::write(&file, good).expect("writes");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let what = format!("{process:?} with {sample:?} as the secret of {secret}");
    assert!(!output.status.success(), "{what} ends well: {text}");
    assert!(text.contains(&format!("--{secret}-secret-file")), "{what}: {text}");
    // The shortest is a word that messages have.
    assert!(sample == "short" || !text.contains(sample), "{what} is printed: {text}");
}

/// Starts it with these settings, of which `None` is one that is not made, and waits until it has ended.
async fn run(suite: &Suite, process: Process, settings: &[(&str, Option<&str>)]) -> Output {
    let mut command = suite.command(process.command());
    command
        .env("TIDINGS_LISTEN", suite.address_of(process).to_string())
        .kill_on_drop(true);
    for (name, value) in settings {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = timeout(SOON, command.output()).await;
    output
        .unwrap_or_else(|_| panic!("{process:?} goes on"))
        .expect("the binary runs")
}

/// Passwords as they stand in URLs of examples.
const URL_PASSWORDS: [&str; 5] = ["changeme", "Pa%73sword", "postgres", "tidings", "example-of-a-word"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_process_starts_with_the_password_of_an_example_in_a_url() {
    for shape in [Shape::One, Shape::Five] {
        let suite = Suite::prepare(shape, &[]).await;
        for process in Process::of(shape)
            .iter()
            .filter(|process| **process != Process::Gateway)
        {
            for password in URL_PASSWORDS {
                let url = format!("postgres://tidings:{password}@db.example.org:5432/tidings");
                let output = run(&suite, *process, &[("TIDINGS_DATABASE_URL", Some(&url))]).await;
                refused_url(&output, "the database", &url);
                if matches!(process, Process::All | Process::Auth) {
                    let url = format!("smtps://tidings:{password}@mail.example.org:465");
                    let settings = [("TIDINGS_SMTP_URL", Some(url.as_str())), ("TIDINGS_MAIL_DIR", None)];
                    refused_url(&run(&suite, *process, &settings).await, "the mail server", &url);
                }
            }
        }
    }
}

/// The process has ended, has said whose password it is, and not shown it.
fn refused_url(output: &Output, whose: &str, url: &str) {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(!output.status.success(), "with {url} it ends well: {text}");
    let told = format!("the password in the URL of {whose} is that of an example");
    assert!(text.contains(&told) && !text.contains("@"), "{url}: {text}");
}

/// What an operator copies has no secret that could be forgotten there.
#[test]
fn what_operators_copy_holds_no_secret() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut settings = 0;
    for file in ["deploy/example.env", "deploy/compose.yaml", "deploy/Dockerfile"] {
        let text = fs::read_to_string(root.join(file)).expect("it is there");
        for line in text.lines().map(|line| line.trim_start_matches(['#', ' '])) {
            let Some((name, value)) = line.split_once(['=', ':']) else {
                continue;
            };
            let is_secret = ["SECRET", "PASSWORD", "SMTP_URL", "DATABASE_URL"]
                .iter()
                .any(|word| name.contains(word));
            if name.contains(' ') || !is_secret {
                continue;
            }
            settings += 1;
            let value = value.trim();
            let is_file = name.ends_with("_FILE") && (value.is_empty() || value.starts_with("/run/secrets/"));
            assert!(is_file || value.is_empty(), "{file} has a value: {line}");
        }
    }
    assert!(settings >= 10, "only {settings} secrets are looked for");
}
