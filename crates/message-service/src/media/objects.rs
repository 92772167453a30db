use std::{fs, path::Path, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::BoxStream};
use object_store::{
    Error, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload, local::LocalFileSystem, path::Path as Key,
};
use tidings_ids::AttachmentId;

/// Bytes that are handed to the store at once: what the object stores of clouds want at least.
const PART_BYTES: usize = 5 * 1024 * 1024;

/// Where the bytes of files are.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
}

impl Objects {
    /// Files in a folder, which is made if it is not there.
    pub(crate) fn in_folder(folder: &Path) -> Result<Self, Error> {
        let failed = |error: std::io::Error| Error::Generic {
            store: "folder",
            source: Box::new(error),
        };
        fs::create_dir_all(folder).map_err(failed)?;
        // Acknowledged is stored, for files as for messages.
        let store = LocalFileSystem::new_with_prefix(folder)?.with_fsync(true);
        Ok(Self { store: Arc::new(store) })
    }

    /// Begins to write a file. Nothing of it can be read before [`Writing::commit`].
    pub(crate) async fn write(&self, id: AttachmentId) -> Result<Writing, Error> {
        let upload = self.store.put_multipart(&key(id)).await?;
        Ok(Writing {
            upload,
            part: Vec::new(),
            part_bytes: 0,
        })
    }

    /// The bytes of a file.
    pub(crate) async fn read(&self, id: AttachmentId) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        Ok(self.store.get(&key(id)).await?.into_stream().boxed())
    }

    /// Deletes a file; one that is not there is deleted.
    pub(crate) async fn delete(&self, id: AttachmentId) -> Result<(), Error> {
        match self.store.delete(&key(id)).await {
            Err(Error::NotFound { .. }) => Ok(()),
            other => other,
        }
    }
}

/// The name of a file in the store: nothing that an uploader gave. The ids' last characters spread over folders.
fn key(id: AttachmentId) -> Key {
    let id = id.to_string();
    Key::from(format!("attachments/{}/{id}", &id[id.len() - 2..]))
}

/// A file that is being written.
pub(crate) struct Writing {
    upload: Box<dyn MultipartUpload>,
    part: Vec<Bytes>,
    part_bytes: usize,
}

impl Writing {
    /// Adds bytes.
    pub(crate) async fn push(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.part_bytes += bytes.len();
        self.part.push(bytes);
        if self.part_bytes >= PART_BYTES {
            self.flush().await
        } else {
            Ok(())
        }
    }

    /// Makes the file readable, whole.
    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        self.flush().await?;
        self.upload.complete().await.map(|_| ())
    }

    /// Forgets what was written.
    pub(crate) async fn abort(mut self) {
        if let Err(error) = self.upload.abort().await {
            tracing::warn!(%error, "an unfinished file cannot be deleted");
        }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        if self.part.is_empty() {
            return Ok(());
        }
        let part: PutPayload = std::mem::take(&mut self.part).into_iter().collect();
        self.part_bytes = 0;
        self.upload.put_part(part).await
    }
}
