//! Canaries (`reliability.md` A43, A44, C18): what stands in secret fields is found nowhere afterwards, and what users wrote only
//! where it is kept. All that the suite leaves is searched: logs at their most talkative, traces, command lines, mails, and every
//! table with the audit trails.
//!
//! Which fields are secret comes from the descriptors (`debug_redact`), of requests and of responses: whatever the suite issued
//! during the run is looked for as well.

mod calls;
mod needles;
mod places;

use std::{fs, io::Write as _};

use tidings_testkit::{Collector, Process, Shape, Suite};

use self::needles::{Needles, Sort};
use crate::{
    bad_inputs::{Field, Kind, public_methods},
    matrix::cast::Cast,
};

#[test]
fn what_is_a_secret_by_its_kind_is_a_secret_by_its_descriptor() {
    for method in public_methods() {
        for field in Field::all(&method) {
            let name = field.descriptor().full_name().to_owned();
            let kind = Kind::of(method.input().name(), &field).expect("every field has a kind");
            let is_secret = tidings_testkit::is_secret(field.descriptor());
            assert_eq!(
                is_secret,
                kind.is_secret(),
                "{name} is {kind:?}, and its descriptor says otherwise"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_left_anywhere_and_no_text_but_where_it_is_kept() {
    let collector = Collector::start().await;
    let endpoint = collector.endpoint();
    let settings = [("TIDINGS_OTLP_ENDPOINT", endpoint.as_str()), ("TIDINGS_LOG", "debug")];
    let mut suite = Suite::start_with(Shape::Five, &settings).await;
    let cast = Cast::gather(&suite).await;
    let needles = Needles::default();
    for name in ["suite", "auth"] {
        let secret = fs::read_to_string(suite.folder().join(name)).expect("the suite has secrets");
        needles.add(Sort::Secret, "the deployment", secret.trim());
    }
    calls::play(&suite, &cast, &needles).await;
    for mail in tidings_testkit::mail::all(&suite.mail_folder()) {
        needles.add(Sort::Secret, "a mail", mail.token().unwrap_or_default());
    }
    let (secrets, texts) = (needles.count(Sort::Secret), needles.count(Sort::Text));
    assert!(secrets > 200 && texts > 20, "only {secrets} secrets and {texts} texts");

    let command_lines = places::command_lines(&suite);
    for process in Process::of(Shape::Five) {
        suite.terminate(*process).await;
    }
    let search = needles.search();
    let places = places::gather(&suite, &collector, command_lines.clone()).await;
    everything_was_collected(&places);
    let leaks: Vec<String> = places.iter().flat_map(|place| place.leaks(&search)).collect();
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n"));

    // The same search finds a secret that is left on purpose, wherever that is.
    let planted = leak(&suite, &collector, &needles).await;
    let places = places::gather(&suite, &collector, [command_lines, planted.into_bytes()].concat()).await;
    let search = needles.search();
    for name in [
        "the command lines",
        "the log of gateway",
        "the traces",
        "the mail",
        "the table auth.audit_leak",
        "the table auth.leak",
    ] {
        let found = places
            .iter()
            .any(|place| place.name.starts_with(name) && !place.leaks(&search).is_empty());
        assert!(found, "a secret in {name} is not found");
    }
}

/// Every RPC has left its name in a log and in a trace: what was searched is what the calls have left.
fn everything_was_collected(places: &[places::Place]) {
    let all = |beginning: &str| {
        let bytes: Vec<&[u8]> = places
            .iter()
            .filter(|place| place.name.starts_with(beginning))
            .map(|place| place.bytes.as_slice())
            .collect();
        String::from_utf8_lossy(&bytes.concat()).into_owned()
    };
    let (logs, traces) = (all("the log"), all("the traces"));
    for method in public_methods() {
        let name = format!("{}/{}", method.parent_service().full_name(), method.name());
        assert!(logs.contains(&name), "{name} is in no log");
        assert!(traces.contains(&name), "{name} is in no trace");
    }
    assert!(
        places.iter().any(|place| place.name.starts_with("the mail")),
        "there is no mail"
    );
}

/// Leaves a secret in every kind of place, in one of the ways in which it can be written.
async fn leak(suite: &Suite, collector: &Collector, needles: &Needles) -> String {
    let plant = || needles.plant(Sort::Secret, "the control");
    let log = fs::File::options().append(true).open(suite.log_of(Process::Gateway));
    writeln!(log.expect("a log"), r#"{{"message":"{}"}}"#, plant()).expect("writes a line");
    collector.take(format!("\n\u{12}{}", plant()).into_bytes().into());
    let mail = format!("To: leak@example.org\r\n\r\n{}\r\n", plant());
    fs::write(suite.mail_folder().join("leak.eml"), mail).expect("writes a mail");
    let pool = suite.database().pool();
    let as_text = format!("create table auth.leak as select '{}' as line", plant());
    // A text of a user in a trail is a leak as well, and so is one that is stored as bytes.
    let text = needles.plant(Sort::Text, "the control");
    let as_bytes = format!("create table auth.audit_leak as select '{text}'::bytea as line");
    for statement in [as_text, as_bytes] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(&pool)
            .await
            .expect("writes a row");
    }
    plant()
}
