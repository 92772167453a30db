//! `tidings dev`, and the commands beside it.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Stdio, time::Instant};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sqlx::{Connection as _, PgConnection};
use tidings_server::postgres::{Cluster, SUPERUSER};
use tidings_testkit::until_some;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, process::Command, time::timeout};

use crate::tidings::{Dev, PATIENCE, folder, free_address, run, tidings};

const INFO: &str = "tidings.gateway.v1.GatewayService/GetServerInfo";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn it_serves_from_an_empty_folder_and_keeps_what_it_was_told() {
    let (_parent, path) = folder();
    let dev = Dev::start(&path, &[]).await;
    assert!(dev.banner.contains(text(&path)), "{}", dev.banner);
    let registered = dev
        .call(
            "tidings.auth.v1.AuthService/Register",
            r#"{"username": "ada", "email": "ada@example.org", "password": "correct horse battery", "requestId": "01890a5d-ac96-774b-bcce-b302099a8057"}"#,
        )
        .await;
    assert!(registered.starts_with("HTTP/1.1 200"), "{registered}");
    assert_eq!(dev.terminate().await, Some(0));

    let begun = Instant::now();
    let dev = Dev::start(&path, &[]).await;
    let took = begun.elapsed();
    let login = r#"{"identifier": "ada", "password": "correct horse battery"}"#;
    let answer = dev.call("tidings.auth.v1.AuthService/Login", login).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    eprintln!("serving {took:?} after the start on an existing folder");
}

#[tokio::test]
async fn its_banner_has_a_line_for_curl_that_works_as_printed() {
    let (_parent, path) = folder();
    let dev = Dev::start(&path, &[]).await;
    let line = dev
        .banner
        .lines()
        .find(|line| line.trim_start().starts_with("curl "))
        .unwrap();
    let output = Command::new("sh").args(["-c", line]).output().await.unwrap();
    let answer = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && answer.contains("\"version\""), "{answer}");
}

#[tokio::test]
async fn it_stops_while_its_postgres_is_not_ready() {
    let (parent, path) = folder();
    // A server that says who it is and gets ready never, as one does for long that recovers from a crash.
    let programs = parent.path().join("bin");
    fs::create_dir(&programs).unwrap();
    for (name, script) in [
        (
            "initdb",
            "#!/bin/sh\necho 15 > \"$2/PG_VERSION\"\n: > \"$2/postgresql.conf\"\n",
        ),
        (
            "postgres",
            "#!/bin/sh\n[ \"$1\" = --version ] && exec echo 'postgres (PostgreSQL) 15.1'\necho $$ > \"$2/begun\"\nexec sleep 600\n",
        ),
    ] {
        let program = programs.join(name);
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut dev = tidings()
        .args([
            "dev",
            "--listen",
            &free_address().to_string(),
            "--data-dir",
            text(&path),
        ])
        .args(["--postgres-bin-dir", text(&programs)])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = path.join("postgres/begun");
    let server = until_some("its Postgres is begun", PATIENCE, || async {
        fs::read_to_string(&begun).ok()?.trim().parse().ok().map(Pid::from_raw)
    })
    .await;
    kill(server, None).expect("it waits for this one");

    let pid = Pid::from_raw(i32::try_from(dev.id().unwrap()).unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    let status = timeout(PATIENCE, dev.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(kill(server, None), Err(Errno::ESRCH), "its Postgres is gone with it");
}

#[tokio::test]
async fn a_second_one_on_the_folder_says_so_and_stops() {
    let (_parent, path) = folder();
    let first = Dev::start(&path, &[]).await;
    let address = free_address().to_string();
    let second = run(&["dev", "--listen", &address, "--data-dir", text(&path)]).await;
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(
        said.contains("in use") && said.contains(&first.pid().to_string()),
        "{said}"
    );
    assert!(first.call(INFO, "{}").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_with_the_flag_to_change() {
    let (_parent, path) = folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = run(&["dev", "--listen", &address, "--data-dir", text(&path)]).await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains(&address) && said.contains("--listen"), "{said}");
    assert!(!path.exists(), "nothing was begun");
}

#[tokio::test]
async fn after_kill_9_the_next_start_recovers_by_itself() {
    let (_parent, path) = folder();
    Dev::start(&path, &["--admin", "ada"]).await.kill().await;
    let dev = Dev::start(&path, &["--admin", "ada"]).await;
    assert!(dev.call(INFO, "{}").await.starts_with("HTTP/1.1 200"));
    assert_eq!(dev.terminate().await, Some(0));
}

#[tokio::test]
async fn it_stops_in_time_whatever_its_peers_do() {
    let (_parent, path) = folder();
    let dev = Dev::start(&path, &[]).await;
    let _silent = TcpStream::connect(dev.address).await.unwrap();
    let mut in_preface = TcpStream::connect(dev.address).await.unwrap();
    in_preface.write_all(b"PRI * HT").await.unwrap();

    let begun = Instant::now();
    assert_eq!(dev.terminate().await, Some(0));
    assert!(begun.elapsed().as_secs() <= 20, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_admin_it_makes_can_log_in_with_the_password_it_keeps() {
    let (_parent, path) = folder();
    let dev = Dev::start(&path, &["--admin", "ada"]).await;
    assert!(dev.banner.contains("secrets/admin-ada"), "{}", dev.banner);
    let password = std::fs::read_to_string(path.join("secrets/admin-ada")).unwrap();
    let login = format!(r#"{{"identifier": "ada", "password": "{}"}}"#, password.trim());
    let answer = dev.call("tidings.auth.v1.AuthService/Login", &login).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(dev.terminate().await, Some(0));

    // As a start leaves it that is cut off when the account is made: the next one finds the password.
    let kept = path.join("secrets/admin-ada");
    fs::rename(&kept, path.join("secrets/admin-ada~unfinished")).unwrap();
    let dev = Dev::start(&path, &["--admin", "Ada"]).await;
    assert!(dev.banner.contains("secrets/admin-ada\n"), "{}", dev.banner);
    assert!(kept.exists());
    let answer = dev.call("tidings.auth.v1.AuthService/Login", &login).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn an_admin_whose_name_is_somebody_elses_is_refused_and_one_who_is_there_is_not() {
    let (_parent, path) = folder();
    let dev = Dev::start(&path, &[]).await;
    let register = r#"{"username": "ada", "email": "ada@example.org", "password": "correct horse battery"}"#;
    let answer = dev.call("tidings.auth.v1.AuthService/Register", register).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let made = tidings()
        .args(["admin", "create", "--username", "grace", "--email", "grace@example.org"])
        .arg("--data-dir")
        .arg(&path)
        .output()
        .await
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert_eq!(dev.terminate().await, Some(0));

    let address = free_address().to_string();
    let dev = ["dev", "--listen", &address, "--data-dir", text(&path), "--admin"];
    let refused = run(&[&dev[..], &["ada"]].concat()).await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(
        said.contains("ada is taken by somebody who is no administrator; choose another name"),
        "{said}"
    );
    let said = String::from_utf8_lossy(&refused.stdout);
    assert!(!said.contains("Admin"), "{said}");

    // Whose password is not kept here is said, and none is announced.
    let dev = Dev::start(&path, &["--admin", "grace"]).await;
    assert!(
        dev.banner
            .contains("grace, who was one before; the password is not kept here"),
        "{}",
        dev.banner
    );
    for file in fs::read_dir(path.join("secrets")).unwrap() {
        let name = file.unwrap().file_name();
        assert!(!name.to_str().unwrap().starts_with("admin-"), "{name:?}");
    }
}

#[tokio::test]
async fn an_admin_with_a_name_that_is_none_is_refused_before_anything_is_made() {
    let (_parent, path) = folder();
    for name in ["../../evil", "a b", ""] {
        let address = free_address().to_string();
        let refused = run(&["dev", "--listen", &address, "--data-dir", text(&path), "--admin", name]).await;
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_ne!(refused.status.code(), Some(0), "{said}");
        assert!(said.contains("username"), "{said}");
        assert!(!path.exists(), "nothing was begun");
    }
}

#[tokio::test]
async fn an_administrator_can_be_made_beside_a_suite_that_runs() {
    let (_parent, path) = folder();
    let dev = Dev::start(&path, &[]).await;
    let create = |name: &'static str| {
        let mut command = tidings();
        command
            .args([
                "admin",
                "create",
                "--username",
                name,
                "--email",
                "grace@example.org",
                "--data-dir",
            ])
            .arg(&path)
            .env("TIDINGS_PASSWORD", "correct horse battery");
        async move { tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap() }
    };
    let made = create("grace").await;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let login = r#"{"identifier": "grace", "password": "correct horse battery"}"#;
    let answer = dev.call("tidings.auth.v1.AuthService/Login", login).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let refused = create("hopper").await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("e-mail") && !said.contains("correct horse"), "{said}");
}

#[tokio::test]
async fn the_doctor_finds_nothing_wrong_with_a_suite_that_runs_and_names_what_is_missing() {
    let (_parent, path) = folder();
    let dev = Dev::start(&path, &[]).await;
    let listen = dev.address.to_string();
    let healthy = run(&["doctor", "--data-dir", text(&path), "--listen", &listen]).await;
    let said = String::from_utf8_lossy(&healthy.stdout);
    assert!(healthy.status.success(), "{said}");
    assert!(said.contains("taken by a suite that answers"), "{said}");
    drop(dev);

    let (_parent, empty) = folder();
    let ill = run(&["doctor", "--data-dir", text(&empty)]).await;
    let said = String::from_utf8_lossy(&ill.stdout);
    assert_eq!(ill.status.code(), Some(1));
    assert!(said.contains("tidings dev"), "{said}");
}

#[tokio::test]
async fn the_doctor_tells_once_why_a_database_is_not_reached_and_what_to_look_at() {
    let (_parent, path) = folder();
    let doctor = async |url: &str| {
        let ill = run(&["doctor", "--data-dir", text(&path), "--database-url", url]).await;
        assert_eq!(ill.status.code(), Some(1));
        String::from_utf8_lossy(&ill.stdout).into_owned()
    };
    // A port that nobody listens at.
    let said = doctor(&format!("postgres://tidings@{}/tidings", free_address())).await;
    assert_eq!(said.matches("Connection refused").count(), 1, "{said}");
    assert!(said.contains("is it running, and is the address right?"), "{said}");
    let said = doctor("nonsense").await;
    assert_eq!(said.matches("relative URL without a base").count(), 1, "{said}");
    assert!(said.contains("looks like postgres://"), "{said}");
}

#[tokio::test]
async fn the_version_before_works_on_the_schema_of_the_next() {
    let (_parent, path) = folder();
    let dev = Dev::start(&path, &[]).await;
    let url = Cluster::url_in(&path, SUPERUSER, "tidings");
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(
        "insert into users._sqlx_migrations (version, description, success, checksum, execution_time) \
         values (9001, 'of the next version', true, '', 0)",
    )
    .execute(&mut connection)
    .await
    .unwrap();

    let migrated = run(&["migrate", "--database-url", &url]).await;
    let said = String::from_utf8_lossy(&migrated.stdout);
    assert!(
        migrated.status.success(),
        "{}",
        String::from_utf8_lossy(&migrated.stderr)
    );
    assert!(
        said.contains("schema users is at 9001, newer than this version"),
        "{said}"
    );
    let listen = dev.address.to_string();
    let healthy = run(&["doctor", "--data-dir", text(&path), "--listen", &listen]).await;
    let said = String::from_utf8_lossy(&healthy.stdout);
    assert!(healthy.status.success(), "{said}");
    assert!(said.contains("note schema users") && said.contains("9001"), "{said}");
    drop(connection);
    assert_eq!(dev.terminate().await, Some(0));

    let dev = Dev::start(&path, &[]).await;
    assert!(dev.call(INFO, "{}").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn the_log_of_an_ordinary_start_and_stop_tells_of_no_trouble() {
    let (parent, path) = folder();
    let log = parent.path().join("log");
    for _ in 0..2 {
        let file = fs::File::options().create(true).append(true).open(&log).unwrap();
        let dev = Dev::start_with_log(&path, &[], file.into()).await;
        assert_eq!(dev.terminate().await, Some(0));
    }
    let log = fs::read_to_string(&log).unwrap();
    assert!(log.contains("serving"), "{log}");
    for line in log.lines() {
        let told = line.contains("already exists")
            || line.contains("cannot be followed now")
            || line.contains("ListSigningKeys Unavailable") && line.contains("DEPENDENCY_UNAVAILABLE");
        assert!(!told, "{line}");
    }
}

#[tokio::test]
async fn a_process_that_lacks_a_setting_names_it() {
    for command in ["all", "auth", "user", "chat", "message", "migrate"] {
        let refused = run(&[command, "--suite-secret", "q8v3Yk2m5Z7p0R4t6W9x1B3c5D8f0H2j"]).await;
        let refused = if command == "migrate" {
            run(&[command]).await
        } else {
            refused
        };
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_ne!(refused.status.code(), Some(0), "{command}");
        assert!(
            said.contains("--database-url") || said.contains("-file"),
            "{command}: {said}"
        );
    }
}

#[tokio::test]
async fn a_flag_wins_over_the_variable_of_the_other_form_of_its_setting() {
    let (parent, _) = folder();
    let absent = parent.path().join("absent");
    let migrate = |arguments: &[&str], variable: &str, value: &str| {
        let mut command = tidings();
        command.arg("migrate").args(arguments).env(variable, value);
        async move {
            let output = timeout(PATIENCE, command.output()).await.unwrap().unwrap();
            String::from_utf8_lossy(&output.stderr).into_owned()
        }
    };
    let file = ["--database-url-file", text(&absent)];
    let said = migrate(&file, "TIDINGS_DATABASE_URL", "nonsense").await;
    assert!(said.contains("cannot read") && said.contains(text(&absent)), "{said}");
    let said = migrate(&["--database-url=nonsense"], "TIDINGS_DATABASE_URL_FILE", text(&absent)).await;
    assert!(said.contains("database URL cannot be understood"), "{said}");

    let both = [&file[..], &["--database-url", "nonsense"]].concat();
    let said = migrate(&both, "TIDINGS_WAIT_SECS", "1").await;
    assert!(said.contains("cannot be used with"), "{said}");
    let said = migrate(&file, "TIDINGS_WAIT_SECS", "soon").await;
    assert!(said.contains("--wait-secs"), "{said}");
}
