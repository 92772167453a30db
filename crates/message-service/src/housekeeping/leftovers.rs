//! What uploads leave in the folder when the process is killed under them: files that are not whole, which nothing refers to.
//!
//! The store writes `<file>#<number>` and gives it the file's name when it is whole. Somebody who is dropped takes it away, somebody
//! who is killed does not; and the store hides such names from whoever lists it.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use time::OffsetDateTime;

/// How long nothing has been added to what is taken away: longer than any upload is under way.
const UNTOUCHED_FOR: Duration = Duration::from_secs(24 * 3_600);

/// How long after one walk the next begins.
const PAUSE: Duration = Duration::from_secs(24 * 3_600);

/// A walk over the folders, one in each round: when the process starts, and daily.
#[derive(Debug)]
pub(super) struct Leftovers {
    /// Where the folders of files are.
    root: PathBuf,
    /// Those that this walk has still to look at.
    folders: Vec<PathBuf>,
    /// When the next walk begins; at once in the beginning.
    due: Option<OffsetDateTime>,
}

impl Leftovers {
    /// For the files of the folder that the store was made with.
    pub(super) fn of(media_dir: &Path) -> Self {
        Self {
            root: media_dir.join("attachments"),
            folders: Vec::new(),
            due: None,
        }
    }

    /// Looks at one folder; whether there are more. What cannot be read or taken away is left for the next walk.
    pub(super) async fn round(&mut self, now: OffsetDateTime) -> bool {
        if self.folders.is_empty() {
            if self.due.is_some_and(|due| now < due) {
                return false;
            }
            self.due = Some(now + PAUSE);
            let root = self.root.clone();
            self.folders = blocking(&self.root, move || folders(&root)).await.unwrap_or_default();
        }
        if let Some(folder) = self.folders.pop() {
            let before = SystemTime::from(now - UNTOUCHED_FOR);
            let walked = folder.clone();
            blocking(&folder, move || clear(&walked, before)).await;
        }
        !self.folders.is_empty()
    }
}

/// Does what waits for the disk where nobody else has to; `None` where it cannot be done, which is logged.
async fn blocking<T: Send + 'static>(
    folder: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Option<T> {
    let done = tokio::task::spawn_blocking(work).await;
    match done.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok(done) => Some(done),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "a folder cannot be searched for unfinished files");
            None
        }
    }
}

/// The folders that files are spread over: some hundreds.
fn folders(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in root.read_dir()? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

/// Takes unfinished files away to which nothing was added since.
fn clear(folder: &Path, before: SystemTime) -> io::Result<()> {
    for entry in folder.read_dir()? {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(is_unfinished) {
            continue;
        }
        // One that is gone by now was finished or given up.
        let cleared = entry.metadata().and_then(|file| match file.modified()? < before {
            true => std::fs::remove_file(entry.path()),
            false => Ok(()),
        });
        match cleared {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(file = %entry.path().display(), %error, "an unfinished file cannot be deleted");
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether the store gives such a name to what is not whole. No name of a file has a `#`.
fn is_unfinished(name: &str) -> bool {
    name.rsplit_once('#')
        .is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        path::{Path, PathBuf},
        time::{Duration, SystemTime},
    };

    use tidings_ids::Source;
    use time::OffsetDateTime;

    use super::{Leftovers, is_unfinished};

    const HOUR: Duration = Duration::from_secs(3_600);

    /// A file that was written to last so long before `now`.
    fn file(root: &Path, name: &str, now: OffsetDateTime, age: Duration) -> PathBuf {
        let path = root.join("attachments").join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        let file = File::create(&path).expect("made");
        file.set_modified(SystemTime::from(now - age)).expect("aged");
        path
    }

    #[tokio::test]
    async fn what_killed_uploads_left_goes_after_a_day_and_nothing_else() {
        let root = tempfile::tempdir().expect("a folder");
        let now = Source::system().now();
        let mut left: Vec<PathBuf> = ["aa/att_1#1", "aa/att_1#12", "zz/att_2#1"]
            .iter()
            .map(|name| file(root.path(), name, now, 25 * HOUR))
            .collect();
        let kept = [
            file(root.path(), "aa/att_1", now, 25 * HOUR),
            file(root.path(), "aa/att_3#1", now, HOUR),
            file(root.path(), "att_4#1", now, 25 * HOUR),
        ];
        let mut leftovers = Leftovers::of(root.path());
        while leftovers.round(now).await {}
        assert!(left.iter().all(|path| !path.exists()));
        assert!(
            kept.iter().all(|path| path.exists()),
            "whole, under way, or not the store's"
        );

        left.push(file(root.path(), "aa/att_5#1", now, 25 * HOUR));
        let later = now + 23 * HOUR;
        assert!(!leftovers.round(later).await && left[3].exists(), "once a day");
        let later = now + 24 * HOUR;
        while leftovers.round(later).await {}
        assert!(left.iter().all(|path| !path.exists()));
        assert!(!kept[1].exists(), "nothing was added to it in a day");
    }

    #[tokio::test]
    async fn a_store_without_files_has_nothing_left() {
        let root = tempfile::tempdir().expect("a folder");
        assert!(!Leftovers::of(root.path()).round(Source::system().now()).await);
    }

    #[test]
    fn only_names_of_unfinished_files_are_known_as_such() {
        for (name, expected) in [
            ("att_01#1", true),
            ("att_01#12", true),
            ("att_01", false),
            ("att_01#", false),
            ("att_01#1a", false),
            ("1", false),
        ] {
            assert_eq!(is_unfinished(name), expected, "{name}");
        }
    }
}
