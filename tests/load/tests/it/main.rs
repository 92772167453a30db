//! The whole tool against a server in memory: that it finds nothing where nothing is wrong, and what is wrong where something is.

#![expect(clippy::unwrap_used, reason = "a test may fail by unwrapping")]

mod fake;

use std::{path::Path, time::Duration};

use fake::{Fake, Fault};
use tempfile::TempDir;
use tidings_load::{
    generate, replay,
    summary::Summary,
    verify::{self, Verdict},
};

const LOGS: usize = 3;
const MESSAGES: usize = 300;
const PATIENCE: Duration = Duration::from_secs(60);

/// A generated file, and a server.
struct Stage {
    folder: TempDir,
    server: Fake,
}

impl Stage {
    async fn with(fault: Fault) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = generate::Options {
            logs: LOGS,
            messages: MESSAGES,
            senders: 20,
            seed: 3,
        };
        generate::write(&folder.path().join("messages.jsonl.gz"), &options).unwrap();
        Self {
            folder,
            server: Fake::start(fault).await,
        }
    }

    fn record(&self) -> std::path::PathBuf {
        self.folder.path().join("acks.jsonl")
    }

    async fn replay(&self) -> Summary {
        self.replay_with(None).await
    }

    async fn replay_with(&self, record: Option<&Path>) -> Summary {
        let options = replay::Options {
            file: self.folder.path().join("messages.jsonl.gz"),
            target: self.server.target(),
            logs: usize::MAX,
            chats: 2,
            subscribers: 2,
            registrations: 4,
            connections: 2,
            run: String::new(),
            record: record.map(Path::to_owned),
            patience: PATIENCE,
            progress: false,
        };
        replay::replay(&options).await.unwrap()
    }

    async fn verify(&self) -> Verdict {
        verify::verify(&self.record(), &self.server.target(), PATIENCE)
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn a_replay_reads_back_what_it_sent_and_a_second_one_stores_nothing() {
    let stage = Stage::with(Fault::None).await;

    let first = stage.replay().await;
    assert!(first.is_faithful(), "{first}");
    let blank = first.survey.blank;
    assert!(blank > 0 && first.played.refused == blank, "{first}");
    let accepted = (LOGS * MESSAGES) as u64 - blank;
    assert_eq!((first.played.accepted, first.played.stored_before), (accepted, 0));
    assert_eq!(
        (first.played.listed, first.played.synced, first.played.streamed),
        (accepted, accepted, 2 * accepted)
    );
    assert_eq!(first.meter.deliveries().count as u64, 2 * accepted);
    let stored = stage.server.stored();

    let second = stage.replay().await;
    assert!(second.is_faithful(), "{second}");
    assert_eq!(
        (second.played.stored_before, second.meter.repeated()),
        (accepted, accepted)
    );
    assert!(second.to_string().contains("this was a repetition"), "{second}");
    assert_eq!(stage.server.stored(), stored);
}

#[tokio::test]
async fn a_server_that_stumbles_is_asked_again_and_nothing_is_lost_or_doubled() {
    let stage = Stage::with(Fault::Stumbles).await;
    let summary = stage.replay_with(Some(&stage.record())).await;
    assert!(summary.is_faithful(), "{summary}");
    assert!(
        summary.meter.rate_limited() > 0 && summary.meter.refreshes() > 0 && summary.meter.reopened() > 0,
        "{summary}"
    );
    let verdict = stage.verify().await;
    assert!(verdict.differences.is_empty(), "{verdict}");
    assert_eq!(
        (verdict.acknowledged, verdict.stored),
        (summary.played.accepted, summary.played.accepted)
    );
}

#[tokio::test]
async fn each_way_of_reading_tells_its_own_differences() {
    for (fault, told) in [
        (Fault::ListsAnotherText, "ListMessages: the text is"),
        (
            Fault::SyncLeavesOut,
            "SyncChanges: positions 10 to 10 follow position 8",
        ),
        (Fault::StreamsNoReply, "StreamChanges: the reply target is"),
        (Fault::TakesBlank, "a blank text was accepted"),
    ] {
        let summary = Stage::with(fault).await.replay().await;
        assert!(!summary.is_faithful(), "{fault:?}");
        assert!(summary.to_string().contains(told), "{fault:?}: {summary}");
    }
}

#[tokio::test]
async fn a_repetition_that_is_stored_again_is_found() {
    let stage = Stage::with(Fault::StoresTwice).await;
    assert!(stage.replay().await.is_faithful());
    let second = stage.replay().await;
    assert!(
        second.to_string().contains("a repetition was answered with"),
        "{second}"
    );
}

#[tokio::test]
async fn an_acknowledged_message_that_is_gone_is_found() {
    let stage = Stage::with(Fault::None).await;
    assert!(stage.replay_with(Some(&stage.record())).await.is_faithful());
    stage.server.lose_one();
    let verdict = stage.verify().await;
    assert!(verdict.to_string().contains("lost: "), "{verdict}");
}
