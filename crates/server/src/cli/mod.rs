//! The command line: what `tidings` can be told, a file a command.

mod admin;
mod all;
mod banner;
mod dev;
mod doctor;
mod echo;
mod migrate;
mod services;
mod whole;

use std::process::ExitCode;

use clap::{FromArgMatches as _, Parser, Subcommand};

use crate::process;

const EXAMPLES: &str = "\
Examples:
  tidings dev
      Serve at 127.0.0.1:7700 with a private Postgres in .tidings
  tidings dev --data-dir /srv/chat --listen 0.0.0.0:7700 --admin ada
      The same elsewhere, for the whole network, with an administrator
  TIDINGS_DATABASE_URL_FILE=/run/secrets/database tidings migrate
      Make roles, schemas and tables in a database, or bring them up to date
  tidings all --help
      What one process needs for a deployment

Every setting is a flag and an environment variable, which the command's `--help` names. A flag
wins over the variable. What is asked of one run only, such as the name of `admin create`, is a
flag alone. Secrets are best given as files.";

/// The help's lines are no longer.
const WIDTH: usize = 100;

/// A self-hosted messaging backend: gRPC services over Postgres, with ordered, durable, resumable chats
#[derive(Debug, Parser)]
#[command(name = "tidings", version, after_help = EXAMPLES, max_term_width = WIDTH)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve everything, with a private Postgres: for development and small deployments
    Dev(Box<dev::Dev>),
    /// Serve everything in one process, on a database that runs
    All(Box<all::All>),
    /// Serve only auth: credentials and login sessions
    Auth(Box<services::Auth>),
    /// Serve only user: users and roles
    User(Box<services::User>),
    /// Serve only chat: groups, chats, memberships
    Chat(Box<services::Chat>),
    /// Serve only message: messages and their logs
    Message(Box<services::Message>),
    /// Serve only the gateway: the public port
    Gateway(Box<services::Gateway>),
    /// Make roles, schemas and tables, or bring them up to date
    Migrate(Box<migrate::Migrate>),
    /// Check settings, database, clock and ports, and say what to do
    Doctor(Box<doctor::Doctor>),
    /// Make administrators
    Admin(Box<admin::Admin>),
}

/// Runs what the command line says.
pub fn run() -> ExitCode {
    let given = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    let mut definition = flags_win(definition(), &given.collect::<Vec<_>>());
    let matches = definition.get_matches_mut();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut definition).exit());
    match arguments.command {
        Command::Dev(dev) => process::run(dev.run()),
        Command::All(all) => process::run(all.run()),
        Command::Auth(auth) => process::run(auth.run()),
        Command::User(user) => process::run(user.run()),
        Command::Chat(chat) => process::run(chat.run()),
        Command::Message(message) => process::run(message.run()),
        Command::Gateway(gateway) => process::run(gateway.run()),
        Command::Migrate(migrate) => process::run(migrate.run()),
        Command::Doctor(doctor) => process::run(doctor.run()),
        Command::Admin(admin) => process::run(admin.run()),
    }
}

/// Leaves out the variables of settings that a given flag excludes: that a flag wins over a variable counts also where they are two
/// forms of one setting, such as `--database-url-file` and `TIDINGS_DATABASE_URL`.
fn flags_win(command: clap::Command, given: &[String]) -> clap::Command {
    let is_given = |argument: &clap::Arg| {
        let Some(flag) = argument.get_long() else { return false };
        let named = given.iter().filter_map(|text| text.strip_prefix("--"));
        named
            .map(|text| text.split('=').next().unwrap_or_default())
            .any(|name| name == flag)
    };
    let mut beaten = Vec::new();
    for argument in command.get_arguments() {
        for other in command.get_arg_conflicts_with(argument) {
            for (winner, loser) in [(argument, other), (other, argument)] {
                if is_given(winner) && !is_given(loser) {
                    beaten.push(loser.get_id().clone());
                }
            }
        }
    }
    command
        .mut_args(|argument| {
            if beaten.contains(argument.get_id()) {
                argument.env(None)
            } else {
                argument
            }
        })
        .mut_subcommands(|subcommand| flags_win(subcommand, given))
}

/// The command line's definition, for tests that hold documents against it.
pub fn definition() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command with its settings, by path.
    fn commands(command: &clap::Command) -> Vec<&clap::Command> {
        let mut all = vec![command];
        all.extend(command.get_subcommands().flat_map(commands));
        all
    }

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn every_setting_is_a_flag_with_help_and_an_environment_variable_of_its_name() {
        let definition = definition();
        for command in commands(&definition) {
            for argument in command.get_arguments() {
                let Some(flag) = argument.get_long() else { continue };
                let name = format!("{} --{flag}", command.get_name());
                assert!(argument.get_help().is_some(), "{name} has no help");
                let expected = format!("TIDINGS_{}", flag.to_uppercase().replace('-', "_"));
                // What is asked of one run is none.
                let is_setting = match command.get_name() {
                    "create" => !["username", "email", "display-name"].contains(&flag),
                    "migrate" => flag != "print-roles",
                    _ => true,
                };
                if is_setting {
                    let variable = argument.get_env().map(|name| name.to_string_lossy().into_owned());
                    assert_eq!(variable, Some(expected), "{name}");
                }
            }
        }
    }

    #[test]
    fn every_command_has_examples_that_it_understands() {
        let definition = definition();
        for command in commands(&definition) {
            let name = command.get_name();
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            // Longer ones would be broken by clap.
            assert!(help.lines().all(|line| line.chars().count() <= WIDTH), "{name}: {help}");
            let help = help.replace("\\\n", " ");
            let mut examples = 0;
            for line in help.lines() {
                // Variables may stand before, and what a shell does with its output after.
                let words = line.split_whitespace().skip_while(|word| word.contains('='));
                let words: Vec<&str> = words.take_while(|word| *word != ">").collect();
                let ["tidings", first, ..] = words[..] else { continue };
                assert!(first == name || ["tidings", "create"].contains(&name), "{name}: {line}");
                if let Err(error) = self::definition().try_get_matches_from(&words) {
                    assert_eq!(error.kind(), clap::error::ErrorKind::DisplayHelp, "{line}: {error}");
                }
                examples += 1;
            }
            assert!(help.starts_with("Example") && examples > 0, "{name} has no examples");
        }
    }

    #[test]
    fn every_secret_can_be_given_as_a_file_and_is_not_shown() {
        let definition = definition();
        for command in commands(&definition) {
            let flags: Vec<&str> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
            for argument in command.get_arguments() {
                let Some(flag) = argument.get_long() else { continue };
                if ["suite-secret", "auth-secret", "database-url", "smtp-url", "password"].contains(&flag) {
                    assert!(argument.is_hide_env_values_set(), "{flag}");
                    assert!(flags.contains(&format!("{flag}-file").as_str()), "{flag}");
                }
            }
        }
    }
}
