//! Who answers in sessions.

use clap::{Args, ValueEnum};

/// Who answers in sessions.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Assistants")]
pub struct AssistantArgs {
    /// Who answers in sessions for which the caller names nobody
    #[arg(long, env = "TIDINGS_ASSISTANT", value_name = "WHO")]
    assistant: Option<Assistant>,
}

/// Who answers in sessions for which the caller names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Assistant {
    /// The built-in assistant, which answers `echo:` and the same words (what `dev` does)
    Echo,
    /// Nobody: such sessions are refused (what `all` does)
    None,
}

impl AssistantArgs {
    /// Who is set, else `default`.
    pub fn or(&self, default: Assistant) -> Assistant {
        self.assistant.unwrap_or(default)
    }
}
