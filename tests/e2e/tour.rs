//! The README's tour, line by line as it stands there.

use std::{fs, path::Path, time::Duration};

use tidings_testkit::{Shape, Suite};
use tokio::process::Command;

/// The tour waits for a mail and takes seconds.
const LIMIT: Duration = Duration::from_secs(300);

/// The commands of the README's section with this title, in their order.
fn commands(readme: &str, title: &str) -> String {
    let (_, section) = readme
        .split_once(&format!("## {title}\n"))
        .unwrap_or_else(|| panic!("the README has no section {title}"));
    let section = section.split("\n## ").next().unwrap_or_default();
    let blocks = section
        .split("```sh\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap_or_default());
    blocks.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readmes_tour_works_as_pasted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests stand in the project");
    let readme = fs::read_to_string(root.join("README.md")).expect("there is a README");
    let suite = Suite::start_with(Shape::One, &[("TIDINGS_REFLECTION", "true")]).await;
    // A mail of before, which by its name would come last.
    fs::create_dir_all(suite.mail_folder()).expect("the folder of mails can be made");
    let before = "https://chat.example.org/reset-password#token=of-before\n";
    fs::write(suite.mail_folder().join("zz.eml"), before).expect("a mail can be written");
    let script = commands(&readme, "A tour").replace("127.0.0.1:7700", &suite.gateway_address().to_string());
    let tools = root.join(".tools/bin");
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("bash");
    command
        .args(["-euo", "pipefail", "-c", &script])
        .env("PATH", path)
        .env("MAIL_DIR", suite.mail_folder());
    command.current_dir(suite.folder()).kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output())
        .await
        .expect("the tour ends in time")
        .expect("bash runs");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{}\n--- out\n{out}\n--- err\n{err}",
        output.status
    );

    // The message that was sent twice is there once, and Bob's stream has told of it.
    assert_eq!(
        out.matches("\"sequence\": \"1\"").count(),
        3,
        "sent, repeated, listed:\n{out}"
    );
    assert!(
        out.contains("\"sequence\":\"2\"") && out.contains("hello Ada"),
        "Bob's answer:\n{out}"
    );
    assert!(
        out.contains("data: ") && out.contains("hello Bob"),
        "Bob's stream:\n{out}"
    );
    let ada = out
        .lines()
        .find_map(|line| line.trim().strip_prefix("\"userId\": \""))
        .and_then(|rest| rest.split('"').next());
    let ada = ada.expect("grpcurl tells Ada's id");
    assert!(
        out.trim_end().ends_with(ada),
        "at last Ada logs in by the new password:\n{out}"
    );
}
