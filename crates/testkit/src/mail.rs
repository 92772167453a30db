//! What has been mailed, read from the folder that the suite writes mails into.

use std::{fs, path::Path};

/// A mail.
#[derive(Debug, Clone)]
pub struct Mail {
    /// Whom it is to: the line `To` of its head.
    pub to: String,
    /// All of it, as text with soft line breaks undone.
    pub text: String,
}

/// All mails, oldest first.
#[must_use]
pub fn all(folder: &Path) -> Vec<Mail> {
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
        .map(|(time, text)| (time, Mail::read(&text)))
        .collect();
    mails.sort_by_key(|(time, _)| *time);
    mails.into_iter().map(|(_, mail)| mail).collect()
}

/// The mails to an address, oldest first, as text with soft line breaks undone.
#[must_use]
pub fn to(folder: &Path, address: &str) -> Vec<String> {
    let mails = all(folder).into_iter().filter(|mail| mail.to.contains(address));
    mails.map(|mail| mail.text).collect()
}

/// The token in the newest mail to an address whose link leads to this page: what follows `token=` in it. Mails of another kind may
/// come later though they were asked for before.
#[must_use]
pub fn newest_token(folder: &Path, address: &str, page: &str) -> Option<String> {
    let link = format!("/{page}#token=");
    let mail = all(folder)
        .into_iter()
        .rfind(|mail| mail.to.contains(address) && mail.text.contains(&link))?;
    mail.token().map(str::to_owned)
}

impl Mail {
    fn read(text: &str) -> Self {
        let text = unfold(text);
        let to = text.lines().find(|line| line.starts_with("To:")).unwrap_or_default();
        Self {
            to: to.to_owned(),
            text,
        }
    }

    /// The token that it brings: what follows `token=` in its link. A mail that ends within it is not yet written whole.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        let (_, rest) = self.text.split_once("token=")?;
        let end = rest.find(|letter: char| !(letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_')))?;
        Some(&rest[..end])
    }
}

/// Undoes quoted-printable as far as ASCII needs it.
fn unfold(text: &str) -> String {
    text.replace("=\r\n", "")
        .replace("=\n", "")
        .replace("=3D", "=")
        .replace("\r\n", "\n")
}
