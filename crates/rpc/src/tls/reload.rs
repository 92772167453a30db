use std::{path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::files::{Contents, Fingerprint, InvalidTls};
use crate::Drain;

type Make<T> = Box<dyn Fn(&Contents) -> Result<T, InvalidTls> + Send + Sync>;

/// What was found when files were looked at again.
#[derive(Debug)]
pub enum Reload {
    /// They are what they were, fit or not.
    Unchanged,
    /// They are others, and in use from now on.
    Replaced,
    /// They are others and not fit: what was in use stays so.
    Refused(InvalidTls),
}

/// A value made out of files, and made again when they change.
///
/// Files are compared by what they hold and not by their times, so that it does not matter how they are replaced: written over,
/// renamed, or by a link that is turned, as Kubernetes does. They may be caught half replaced; such a mixture is not fit, and
/// the next look finds the rest.
pub struct Reloaded<T> {
    paths: Vec<PathBuf>,
    make: Make<T>,
    /// What was looked at last, fit or not; nothing where it could not be read.
    seen: Mutex<Option<Fingerprint>>,
    current: ArcSwap<T>,
}

impl<T: Send + Sync + 'static> Reloaded<T> {
    /// Reads the files for the first time.
    pub fn load(
        paths: Vec<PathBuf>,
        make: impl Fn(&Contents) -> Result<T, InvalidTls> + Send + Sync + 'static,
    ) -> Result<Self, InvalidTls> {
        let contents = Contents::read(&paths)?;
        let current = make(&contents)?;
        Ok(Self {
            paths,
            make: Box::new(make),
            seen: Mutex::new(Some(contents.fingerprint())),
            current: ArcSwap::from_pointee(current),
        })
    }

    /// What is in use.
    pub fn current(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Looks at the files again.
    pub fn reload(&self) -> Reload {
        let mut seen = self.seen.lock();
        let contents = match Contents::read(&self.paths) {
            Ok(contents) => contents,
            Err(error) => {
                return if seen.take().is_some() {
                    Reload::Refused(error)
                } else {
                    Reload::Unchanged
                };
            }
        };
        let fingerprint = Some(contents.fingerprint());
        if *seen == fingerprint {
            return Reload::Unchanged;
        }
        *seen = fingerprint;
        match (self.make)(&contents) {
            Ok(new) => {
                self.current.store(Arc::new(new));
                Reload::Replaced
            }
            Err(error) => Reload::Refused(error),
        }
    }

    /// Looks at the files every so often until the process stops, and says in the log what came of it.
    pub async fn watch(self: Arc<Self>, interval: Duration, drain: Drain) {
        while tokio::time::timeout(interval, drain.begun()).await.is_err() {
            let reloaded = Arc::clone(&self);
            let reload = tokio::task::spawn_blocking(move || reloaded.reload()).await;
            match reload {
                Ok(Reload::Unchanged) => {}
                Ok(Reload::Replaced) => tracing::info!(files = ?self.paths, "certificates were replaced"),
                Ok(Reload::Refused(error)) => {
                    let error = crate::tls::files::chain(&error);
                    tracing::error!(files = ?self.paths, error, "new certificates cannot be used: the old ones stay in use");
                }
                Err(error) => tracing::error!(%error, "certificates cannot be looked at"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use super::{Reload, Reloaded};
    use crate::tls::files::InvalidTls;

    #[test]
    fn what_cannot_be_used_is_said_once_and_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder of its own");
        let path = folder.path().join("file");
        fs::write(&path, "1").expect("writes");
        let reloaded = Reloaded::load(vec![path.clone()], move |contents| match contents.fingerprint() {
            bad if bad == super::super::files::fingerprint_of(b"bad") => Err(InvalidTls::NoKey { path: "file".into() }),
            good => Ok(good),
        })
        .expect("fit");
        let first = reloaded.current();
        assert!(matches!(reloaded.reload(), Reload::Unchanged));

        fs::write(&path, "bad").expect("writes");
        assert!(matches!(reloaded.reload(), Reload::Refused(InvalidTls::NoKey { .. })));
        assert!(matches!(reloaded.reload(), Reload::Unchanged), "it was said before");
        fs::remove_file(&path).expect("removes");
        assert!(matches!(
            reloaded.reload(),
            Reload::Refused(InvalidTls::Unreadable { .. })
        ));
        assert!(matches!(reloaded.reload(), Reload::Unchanged), "it was said before");
        assert!(Arc::ptr_eq(&first, &reloaded.current()));

        fs::write(&path, "2").expect("writes");
        assert!(matches!(reloaded.reload(), Reload::Replaced));
        assert_ne!(first, reloaded.current());
    }
}
