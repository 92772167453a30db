//! Every public RPC from a shell: with grpcurl, and with curl and JSON.

use std::{
    env,
    net::SocketAddr,
    path::Path,
    process::{Output, Stdio},
};

use serde_json::Value;
use tidings_testkit::{Api, Shape, Suite};
use tokio::{io::AsyncReadExt as _, process::Command};

use super::{
    Door,
    cast::{Cast, Role},
    expected::{Expected, expected},
    is_internal, policies,
    rows::{Relation, Row, rows},
    scene::Scene,
};

/// A stream goes on; it is let go once it has opened, and given up after this many seconds.
const STREAM_SECS: &str = "60";

/// What the first frame of every stream holds.
const OPENED: &str = "opened";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rpc_can_be_called_from_a_shell() {
    let suite = Suite::start_with(Shape::One, &[("TIDINGS_REFLECTION", "true")]).await;
    let cast = Cast::gather(&suite).await;
    let mut wrong = Vec::new();
    for row in rows() {
        for shell in [grpcurl, curl] {
            wrong.extend(called(&suite, &cast, row, shell).await);
        }
    }
    assert!(wrong.is_empty(), "{} calls failed:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_readable_in_a_shell() {
    let suite = Suite::start_with(Shape::One, &[("TIDINGS_REFLECTION", "true")]).await;
    let name = "tidings.auth.v1.AuthService/Register";
    for (shell, field) in [
        (grpcurl as Shell, r#""field": "username""#),
        (curl, r#""field":"username""#),
    ] {
        let output = shell(suite.gateway_address(), name, false, r#"{"username": "no name"}"#, None).output();
        let output = output.await.expect("the program is there");
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told);
        assert!(!output.status.success(), "{told}");
        assert!(told.contains(field) && told.contains("FIELD_INVALID"), "{told}");
    }
}

/// How a shell calls: the address, the method, the request, the token.
type Shell = fn(SocketAddr, &str, bool, &str, Option<&str>) -> Command;

/// Calls the RPC in a scene of its own as somebody who may, and says what is wrong with the answer.
async fn called(suite: &Suite, cast: &Cast, row: &Row, shell: Shell) -> Option<String> {
    let method = Api::method(&format!("tidings.{}", row.rpc));
    // What is switched off, or can be done only so often, says so; the matrix has had its answers.
    if is_internal(&method) || matches!(row.relation, Relation::Off | Relation::InTime) {
        return None;
    }
    let may = |role: &Role| {
        let expected = expected(policies(), &method, row.relation, *role, Door::Gateway);
        matches!(expected, Expected::Ok | Expected::Reached)
    };
    let role = [Role::Owner, Role::Member, Role::Admin, Role::BotInside, Role::Product]
        .into_iter()
        .find(may);
    let role = role.unwrap_or_else(|| panic!("nobody may call {}", row.rpc));
    let (scene, token) = Scene::set_for(cast, row.needs, role).await;
    let request = scene.fill(row.request).to_string();
    let name = format!("{}/{}", method.parent_service().full_name(), method.name());
    let streams = method.is_server_streaming();
    let mut command = shell(suite.gateway_address(), &name, streams, &request, token.as_deref());
    let output = if streams {
        until_opened(&mut command).await
    } else {
        command.output().await
    };
    judge(
        &name,
        streams,
        &output.expect("the program is there: `cargo xtask tools` brings it"),
    )
}

/// Reads what the program prints until the stream has opened, and ends it then.
async fn until_opened(command: &mut Command) -> std::io::Result<Output> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut printed = child.stdout.take().expect("piped");
    let mut stdout = Vec::new();
    while !String::from_utf8_lossy(&stdout).contains(OPENED) && printed.read_buf(&mut stdout).await? > 0 {}
    child.start_kill()?;
    let rest = child.wait_with_output().await?;
    Ok(Output { stdout, ..rest })
}

fn judge(name: &str, streams: bool, output: &Output) -> Option<String> {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let right = if streams {
        out.contains(OPENED)
    } else {
        output.status.success() && is_object(&out)
    };
    (!right).then(|| format!("{name}: {}\n    {out}\n    {err}", output.status))
}

fn is_object(text: &str) -> bool {
    serde_json::from_str(text).is_ok_and(|value: Value| value.is_object())
}

fn grpcurl(address: SocketAddr, name: &str, streams: bool, request: &str, token: Option<&str>) -> Command {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin");
    let mut command = Command::new("grpcurl");
    command.env(
        "PATH",
        format!("{}:{}", tools.display(), env::var("PATH").unwrap_or_default()),
    );
    command.args(["-plaintext", "-d", &with_plain_mask(request)]);
    if streams {
        command.args(["-max-time", STREAM_SECS]);
    }
    if let Some(token) = token {
        command.arg("-H").arg(format!("Authorization: Bearer {token}"));
    }
    command.arg(address.to_string()).arg(name).kill_on_drop(true);
    command
}

/// grpcurl reads a field mask as the message that it is, not in its JSON form.
fn with_plain_mask(request: &str) -> String {
    let mut request: Value = serde_json::from_str(request).expect("a row's request is JSON");
    if let Some(mask) = request.get_mut("updateMask") {
        let path: String = mask.as_str().unwrap_or_default().chars().flat_map(snake).collect();
        *mask = serde_json::json!({ "paths": [path] });
    }
    request.to_string()
}

fn snake(letter: char) -> Vec<char> {
    if letter.is_uppercase() {
        vec!['_', letter.to_ascii_lowercase()]
    } else {
        vec![letter]
    }
}

fn curl(address: SocketAddr, name: &str, streams: bool, request: &str, token: Option<&str>) -> Command {
    let mut command = Command::new("curl");
    command.args([
        "-sSN",
        "--fail-with-body",
        "-H",
        "Content-Type: application/json",
        "-d",
        request,
    ]);
    if streams {
        command.args(["--max-time", STREAM_SECS, "-H", "Accept: text/event-stream"]);
    }
    if let Some(token) = token {
        command.arg("-H").arg(format!("Authorization: Bearer {token}"));
    }
    command.arg(format!("http://{address}/{name}")).kill_on_drop(true);
    command
}
