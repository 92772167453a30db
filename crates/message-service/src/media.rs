//! The bytes of files: signed URLs, and the HTTP routes that they lead to.
//!
//! A URL is for one file, one method and five minutes at the most, and is given out only after a membership check. Whoever has it
//! can use it, so it is never logged. Names and media types that uploaders give are never trusted: the store knows a file by its
//! id, and what a browser might run is sent as bytes to be saved.

mod disposition;
mod objects;
mod places;
mod routes;
mod urls;

pub(crate) use objects::Objects;
pub(crate) use routes::{Media, router};
pub(crate) use urls::{Action, MediaUrls, SignedUrl};
