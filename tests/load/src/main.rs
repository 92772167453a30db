//! The command `tidings-load`: `replay`, `verify`, `revocations`, `existence`, `generate`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use tidings_load::{existence, generate, replay, revocations, verify};

/// Everything was done and is as it must be, or is not, or could not be done.
const FAITHFUL: u8 = 0;
const DIFFERENT: u8 = 1;
const FAILED: u8 = 2;

const RATE_LIMITS: &str = "\
One client plays many users here, all from one address, so the server's rate limits must be raised for it: start the server with
`--rate-factor 1000`, or with TIDINGS_RATE_FACTOR=1000 in its environment. Without that it works too, for days.";

const REPLAY_EXAMPLES: &str = "\
Examples:
  tidings dev --rate-factor 1000                                the server, in another shell
  tidings-load replay messages.jsonl.gz --logs 2                the first two logs
  tidings-load replay messages.jsonl.gz --logs 2                again: nothing is stored twice
  tidings-load replay messages.jsonl.gz --run b                 everything again, as other people
  tidings-load replay messages.jsonl.gz --record acks.jsonl     for `verify`, while the server is killed and started again

Exit status: 0 when everything came back as it was sent, 1 when there is a difference, 2 when it could not be done.";

/// Plays real conversation through the public API of Tidings, and compares what comes back.
#[derive(Debug, Parser)]
#[command(version, after_long_help = RATE_LIMITS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play a file, read everything back in three ways, and compare.
    ///
    /// Registers the senders, makes a group and a chat for each log, and sends each log in its order, many at once, while members
    /// listen on streams. Control characters other than tab and newline are replaced by U+FFFD; blank texts are sent and must be
    /// refused. All names and request ids follow from the file and `--run`: playing it again, with nothing kept, must get the first
    /// message_id and sequence of each message, for as long as the server keeps request ids (7 days).
    #[command(after_long_help = [RATE_LIMITS, "\n\n", REPLAY_EXAMPLES].concat())]
    Replay(Replay),
    /// Hold a server to the record of what it has acknowledged: none lost, none twice, no hole.
    Verify(Verify),
    /// Measure how soon an end of somebody's rights is known at each process of the message service, while others send.
    Revocations(Revocations),
    /// Measure whether the time of a refusal tells what is there: of what is hidden and of what is absent, in turns.
    Existence(Existence),
    /// Make a small file of the same format, the same for the same seed.
    Generate(Generate),
}

#[derive(Debug, Args)]
struct Replay {
    /// The messages: JSON lines, compressed by gzip or not.
    file: PathBuf,
    /// Where the gateway listens: host:port, or an http:// URL.
    #[arg(long, value_name = "ADDR", default_value = "http://127.0.0.1:7700")]
    target: String,
    /// Play the first N logs. All by default.
    #[arg(long, value_name = "N")]
    logs: Option<usize>,
    /// Logs at once.
    #[arg(long, value_name = "N", default_value_t = 24)]
    chats: usize,
    /// Members of each chat who listen on a stream while it is sent to, at least one.
    #[arg(long, value_name = "N", default_value_t = 2)]
    subscribers: usize,
    /// Registrations at once. The server hashes few passwords at a time, so more only wait there.
    #[arg(long, value_name = "N", default_value_t = 4)]
    registrations: usize,
    /// Connections for calls; streams have some of their own.
    #[arg(long, value_name = "N", default_value_t = 4)]
    connections: usize,
    /// Names the run: usernames, passwords and request ids are made of it. Another run is other people and other chats.
    #[arg(long, value_name = "NAME", default_value = "")]
    run: String,
    /// Append to this file what the server acknowledges, for `verify`.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Seconds for which a call is repeated while the server is away, and a stream is waited for.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience: u64,
    /// Do not show how far it is.
    #[arg(long)]
    quiet: bool,
}

#[derive(Debug, Args)]
struct Verify {
    /// What `replay --record` wrote.
    record: PathBuf,
    /// Where the gateway listens: host:port, or an http:// URL.
    #[arg(long, value_name = "ADDR", default_value = "http://127.0.0.1:7700")]
    target: String,
    /// Seconds for which a call is repeated while the server is away.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience: u64,
}

#[derive(Debug, Args)]
struct Revocations {
    /// Where the gateway listens: host:port, or an http:// URL.
    #[arg(long, value_name = "ADDR", default_value = "http://127.0.0.1:7700")]
    target: String,
    /// Where a process of the message service listens; once for each of them.
    #[arg(long = "node", value_name = "ADDR", required = true)]
    nodes: Vec<String>,
    /// An administrator's username.
    #[arg(long, value_name = "NAME")]
    admin: String,
    /// A file with the administrator's password.
    #[arg(long, value_name = "FILE")]
    password_file: PathBuf,
    /// The folder that the server writes its mails into, for resets of passwords.
    #[arg(long, value_name = "FOLDER")]
    mail_dir: Option<PathBuf>,
    /// Ends to measure, of all ways in turn.
    #[arg(long, value_name = "N", default_value_t = 100)]
    rounds: usize,
    /// Users who send all the while, each as fast as they are answered.
    #[arg(long, value_name = "N", default_value_t = 8)]
    senders: usize,
    /// Milliseconds after which nothing may go on any more.
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    within: u64,
    /// Seconds after which a round is given up.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience: u64,
}

#[derive(Debug, Args)]
struct Existence {
    /// Where the gateway listens: host:port, or an http:// URL.
    #[arg(long, value_name = "ADDR", default_value = "http://127.0.0.1:7700")]
    target: String,
    /// Pairs of calls of each kind.
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    pairs: usize,
    /// Chats and deleted users that are there to be hidden.
    #[arg(long, value_name = "N", default_value_t = 20)]
    things: usize,
}

#[derive(Debug, Args)]
struct Generate {
    /// The file to write, compressed where its name ends in .gz.
    file: PathBuf,
    /// Logs.
    #[arg(long, value_name = "N", default_value_t = 2)]
    logs: usize,
    /// Messages of each log.
    #[arg(long, value_name = "N", default_value_t = 300)]
    messages: usize,
    /// Nicknames to choose from.
    #[arg(long, value_name = "N", default_value_t = 25)]
    senders: usize,
    /// The same seed makes the same file.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Replay(args) => run_replay(args).await,
        Command::Verify(args) => run_verify(args).await,
        Command::Revocations(args) => run_revocations(args).await,
        Command::Existence(args) => run_existence(args).await,
        Command::Generate(args) => run_generate(&args),
    };
    match outcome {
        Ok(true) => ExitCode::from(FAITHFUL),
        Ok(false) => ExitCode::from(DIFFERENT),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

async fn run_replay(args: Replay) -> anyhow::Result<bool> {
    let summary = replay::replay(&replay::Options {
        file: args.file,
        target: args.target,
        logs: args.logs.unwrap_or(usize::MAX),
        chats: args.chats,
        subscribers: args.subscribers,
        registrations: args.registrations,
        connections: args.connections,
        run: args.run,
        record: args.record,
        patience: Duration::from_secs(args.patience),
        progress: !args.quiet,
    })
    .await?;
    print!("{summary}");
    Ok(summary.is_faithful())
}

async fn run_verify(args: Verify) -> anyhow::Result<bool> {
    let verdict = verify::verify(&args.record, &args.target, Duration::from_secs(args.patience)).await?;
    print!("{verdict}");
    Ok(verdict.differences.is_empty())
}

async fn run_revocations(args: Revocations) -> anyhow::Result<bool> {
    let password = std::fs::read_to_string(&args.password_file)
        .with_context(|| format!("cannot read {}", args.password_file.display()))?;
    let report = revocations::run(&revocations::Options {
        gateway: args.target,
        nodes: args.nodes,
        admin: revocations::Admin {
            username: args.admin,
            password: password.trim_end_matches(['\r', '\n']).to_owned(),
        },
        mail_dir: args.mail_dir,
        rounds: args.rounds,
        senders: args.senders,
        patience: Duration::from_secs(args.patience),
    })
    .await?;
    print!("{report}");
    Ok(report.max() <= Duration::from_millis(args.within))
}

async fn run_existence(args: Existence) -> anyhow::Result<bool> {
    let report = existence::run(&existence::Options {
        target: args.target,
        pairs: args.pairs,
        things: args.things,
    })
    .await?;
    print!("{report}");
    Ok(true)
}

fn run_generate(args: &Generate) -> anyhow::Result<bool> {
    let Generate {
        logs,
        messages,
        senders,
        seed,
        ..
    } = *args;
    generate::write(
        &args.file,
        &generate::Options {
            logs,
            messages,
            senders,
            seed,
        },
    )?;
    Ok(true)
}
