//! Files that are hard to remove: what the store does not delete, and what a killed process left.

use std::{fs, path::PathBuf, time::Duration};

use tidings_ids::{AttachmentId, Source};

use crate::world::{World, until};

#[tokio::test]
async fn a_file_that_cannot_be_deleted_holds_up_no_other() {
    let mut folder = PathBuf::new();
    let world = World::begin_with(|config| {
        config.sweep_interval = Duration::from_millis(50);
        folder = config.media_dir.join("attachments");
    })
    .await;
    let alice = world.user();
    let chat = world.conversation(&[&alice]).await;
    // As many as one round takes, and one behind them: folders stand where their bytes should be.
    let stuck: Vec<AttachmentId> = (0..100).map(|_| world.source.new_id()).collect();
    for id in &stuck {
        let name = id.to_string();
        fs::create_dir_all(folder.join(&name[name.len() - 2..]).join(name).join("full")).expect("made");
    }
    let ids: Vec<uuid::Uuid> = stuck.iter().map(|id| id.uuid()).collect();
    let last: AttachmentId = world.source.new_id();
    for (ids, age) in [(&ids, 2), (&vec![last.uuid()], 1)] {
        sqlx::query(
            "insert into messages.attachments
                 (chat_id, attachment_id, uploader_id, file_name, media_type, size_bytes, sha256, state, create_time)
             select $1::uuid, id, $2::uuid, '', 'image/png', 1, decode(repeat('00', 32), 'hex'), 3, now() - make_interval(days => $3)
             from unnest($4::uuid[]) id",
        )
        .bind(&chat.id)
        .bind(&alice.id)
        .bind(age)
        .bind(ids)
        .execute(&world.pool())
        .await
        .expect("removed");
    }
    let pool = world.pool();
    let purged = async || {
        let ids: Vec<uuid::Uuid> = sqlx::query_scalar("select attachment_id from messages.attachments where purged")
            .fetch_all(&pool)
            .await
            .expect("rows");
        ids
    };
    until("the sweep", async || purged().await == [last.uuid()]).await;

    // They are tried again, too.
    let name = stuck[7].to_string();
    fs::remove_dir_all(folder.join(&name[name.len() - 2..]).join(name)).expect("gone");
    until("the next sweep", async || purged().await.contains(&stuck[7].uuid())).await;
    assert_eq!(purged().await.len(), 2);
}

#[tokio::test]
async fn what_a_killed_upload_left_is_removed() {
    let mut left = PathBuf::new();
    let _world = World::begin_with(|config| {
        config.sweep_interval = Duration::from_millis(50);
        let folder = config.media_dir.join("attachments").join("aa");
        fs::create_dir_all(&folder).expect("made");
        left = folder.join("att_1#1");
        let file = fs::File::create(&left).expect("made");
        let yesterday = Source::system().now() - Duration::from_secs(25 * 3_600);
        file.set_modified(yesterday.into()).expect("aged");
    })
    .await;
    until("the sweep", async || !left.exists()).await;
}
