use std::fs;

use sqlx::{AssertSqlSafe, Row as _};
use tidings_testkit::{Collector, Process, Suite, mail};

use super::needles::{Needle, Search, Sort};

/// Where something can have been left.
#[derive(Debug)]
pub struct Place {
    pub name: String,
    kind: Kind,
    pub bytes: Vec<u8>,
}

/// What a place is, which decides what may stand there.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// Logs, traces, the command lines of processes, and audit trails: neither secrets nor texts.
    Record,
    /// A mail: no secret but the one that it brings.
    Mail { brings: Option<String> },
    /// A table: texts are kept there, and no secrets.
    Table,
}

/// All that the suite has left, after its processes have ended: nothing more is written.
pub async fn gather(suite: &Suite, collector: &Collector, command_lines: Vec<u8>) -> Vec<Place> {
    let record = |name: String, bytes: Vec<u8>| Place {
        name,
        kind: Kind::Record,
        bytes,
    };
    let mut places = vec![record("the command lines".to_owned(), command_lines)];
    for process in Process::of(suite.shape()) {
        let log = fs::read(suite.log_of(*process)).expect("every process writes a log");
        places.push(record(format!("the log of {}", process.command()), log));
    }
    let traces = collector.received().concat();
    places.push(record("the traces".to_owned(), traces));
    for mail in mail::all(&suite.mail_folder()) {
        places.push(Place {
            name: format!("the mail {}", mail.to),
            kind: Kind::Mail {
                brings: mail.token().map(str::to_owned),
            },
            bytes: mail.text.into_bytes(),
        });
    }
    places.extend(tables(suite).await);
    places
}

/// Every table, as text.
async fn tables(suite: &Suite) -> Vec<Place> {
    let pool = suite.database().pool();
    let names = sqlx::query(
        "select c.oid::regclass::text as name from pg_class c \
         where c.relnamespace::regnamespace::text in ('auth', 'users', 'chats', 'messages') \
         and c.relkind in ('r', 'p') and not c.relispartition order by 1",
    );
    let names = names.fetch_all(&pool).await.expect("the catalogue can be read");
    let mut places = Vec::new();
    for name in names.iter().map(|row| row.get::<String, _>("name")) {
        let rows = sqlx::query(AssertSqlSafe(format!("select t::text as line from {name} t")));
        let rows = rows.fetch_all(&pool).await.expect("a table can be read");
        let lines: Vec<String> = rows.iter().map(|row| row.get("line")).collect();
        let is_trail = name.contains(".audit_");
        places.push(Place {
            name: format!("the table {name}"),
            kind: if is_trail { Kind::Record } else { Kind::Table },
            bytes: lines.join("\n").into_bytes(),
        });
    }
    assert!(places.len() > 20, "the suite has more tables");
    places
}

impl Place {
    /// What stands here that must not.
    pub fn leaks(&self, search: &Search) -> Vec<String> {
        let found = search.find(&self.bytes).into_iter();
        let leaks = found.filter(|needle| !self.may_have(needle));
        leaks
            .map(|needle| format!("{} has {:?} of {}", self.name, needle.sort, needle.whence))
            .collect()
    }

    fn may_have(&self, needle: &Needle) -> bool {
        match &self.kind {
            Kind::Record => false,
            Kind::Mail { brings } => needle.sort == Sort::Text || brings.as_ref() == Some(&needle.value),
            Kind::Table => needle.sort == Sort::Text,
        }
    }
}

/// The command lines of the suite's processes while they run.
pub fn command_lines(suite: &Suite) -> Vec<u8> {
    let lines = Process::of(suite.shape()).iter().map(|process| {
        let path = format!("/proc/{}/cmdline", suite.pid(*process));
        fs::read(path).expect("a running process has a command line")
    });
    lines.collect::<Vec<_>>().concat()
}
