use std::{fs, io, path::Path};

use lettre::{
    Address, AsyncFileTransport, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{
        Body, Mailbox,
        header::{ContentTransferEncoding, ContentType},
    },
};

use super::{smtp, text::Letter};
use crate::{Config, InvalidSetting, MailTransport};

/// Sends mails.
#[derive(Debug)]
pub(crate) struct Mailer {
    from: Mailbox,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Folder(AsyncFileTransport<Tokio1Executor>),
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
}

/// Why a mail was not sent. It names no address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error("the mail could not be put together")]
    Malformed,
    #[error("the folder took no file: {0}")]
    Folder(#[from] lettre::transport::file::Error),
    /// Only the code: a server's words may quote the address.
    #[error("the SMTP server did not take it (code {0})")]
    Smtp(String),
}

impl Mailer {
    /// The mailer of this configuration. A folder is made if it is not there.
    pub(crate) fn new(config: &Config) -> Result<Self, InvalidSetting> {
        let invalid = |setting, description: &str| InvalidSetting {
            setting,
            description: description.to_owned(),
        };
        let from = config.mail_from.parse().map_err(|_| {
            invalid(
                "mail-from",
                "must be an address such as `Tidings <no-reply@example.org>`",
            )
        })?;
        check_url(&config.public_url).map_err(|description| invalid("public-url", description))?;
        let way = match &config.mail {
            MailTransport::Folder(path) => {
                create_private(path).map_err(|error| {
                    invalid(
                        "mail-folder",
                        &format!("must be a folder that can be written to: {error}"),
                    )
                })?;
                Way::Folder(AsyncFileTransport::new(path))
            }
            MailTransport::Smtp(server) => Way::Smtp(smtp::connect(server)?),
        };
        Ok(Self { from, way })
    }

    /// Sends a letter, and says what may be logged of it.
    pub(crate) async fn send(&self, address: &str, letter: Letter) -> Result<String, Failed> {
        let address: Address = address.parse().map_err(|_| Failed::Malformed)?;
        let mail = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, address))
            .subject(letter.subject)
            .header(ContentType::TEXT_PLAIN)
            .body(body(letter.body))
            .map_err(|_| Failed::Malformed)?;
        match &self.way {
            Way::Folder(folder) => Ok(format!("{}.eml", folder.send(mail).await?)),
            Way::Smtp(server) => match server.send(mail).await {
                Ok(response) => Ok(response.code().to_string()),
                Err(error) => Err(Failed::Smtp(
                    error
                        .status()
                        .map_or_else(|| "none".to_owned(), |code| code.to_string()),
                )),
            },
        }
    }
}

/// As it is: all our letters are ASCII in lines below the 998 bytes of RFC 5322. lettre would encode lines above 76 and
/// break links in the middle, which whoever reads the file as it stands would have to mend.
fn body(text: String) -> Body {
    Body::dangerous_pre_encoded(
        text.replace('\n', "\r\n").into_bytes(),
        ContentTransferEncoding::SevenBit,
    )
}

/// Mails hold tokens, so nobody else on the machine reads the folder.
fn create_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(path)
}

/// Links begin with this, so it is held to what cannot surprise: scheme and host, perhaps a port and a path, no slash
/// at the end.
fn check_url(url: &str) -> Result<(), &'static str> {
    const MUST: &str = "must be such as `https://chat.example.org`, without a slash at its end, and at most 500 bytes";
    let host = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .ok_or(MUST)?;
    let plain = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/[]".contains(&byte));
    let valid = !host.is_empty() && url.len() <= 500 && plain && !host.starts_with('/') && !host.ends_with('/');
    if valid { Ok(()) } else { Err(MUST) }
}

#[cfg(test)]
mod tests {
    use super::check_url;

    #[test]
    fn links_begin_with_a_plain_url_only() {
        for good in [
            "https://chat.example.org",
            "http://127.0.0.1:7700",
            "http://[::1]:7700",
            "https://example.org/chat",
        ] {
            assert!(check_url(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "chat.example.org",
            "ftp://a",
            "https://",
            "https://a/",
            "https://a b",
            "https://a\nb",
            "https:///a",
            "https://a#b",
            "https://é.org",
        ] {
            assert!(check_url(bad).is_err(), "{bad:?}");
        }
    }
}
