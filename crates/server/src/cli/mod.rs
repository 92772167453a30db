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

use clap::{Parser, Subcommand};

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

Every setting is a flag and an environment variable. A flag wins over the variable. Secrets are best given as files.";

/// A self-hosted messaging backend: gRPC services over Postgres, with ordered, durable, resumable chats
#[derive(Debug, Parser)]
#[command(name = "tidings", version, after_help = EXAMPLES, max_term_width = 100)]
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
    match Arguments::parse().command {
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
                let is_setting =
                    !["admin", "username", "email", "display-name", "print-roles", "wait-secs"].contains(&flag);
                if is_setting {
                    let variable = argument.get_env().map(|name| name.to_string_lossy().into_owned());
                    assert_eq!(variable, Some(expected), "{name}");
                }
            }
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
