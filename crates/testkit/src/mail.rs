//! What has been mailed, read from the folder that the suite writes mails into.

use std::{fs, path::Path};

/// The mails to an address, oldest first, as text with soft line breaks undone.
#[must_use]
pub fn to(folder: &Path, address: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut mails: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "eml"))
        .filter_map(|entry| {
            Some((
                entry.metadata().ok()?.modified().ok()?,
                fs::read_to_string(entry.path()).ok()?,
            ))
        })
        .map(|(time, text)| (time, unfold(&text)))
        .filter(|(_, text)| {
            text.lines()
                .any(|line| line.starts_with("To:") && line.contains(address))
        })
        .collect();
    mails.sort_by_key(|(time, _)| *time);
    mails.into_iter().map(|(_, text)| text).collect()
}

/// The token in the newest mail to an address: what follows `token=` in its link.
#[must_use]
pub fn newest_token(folder: &Path, address: &str) -> Option<String> {
    let mail = to(folder, address).pop()?;
    let (_, rest) = mail.split_once("token=")?;
    let end = rest
        .find(|letter: char| !(letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_')))
        .unwrap_or(rest.len());
    Some(rest[..end].to_owned())
}

/// Undoes quoted-printable as far as ASCII needs it.
fn unfold(text: &str) -> String {
    text.replace("=\r\n", "")
        .replace("=\n", "")
        .replace("=3D", "=")
        .replace("\r\n", "\n")
}
