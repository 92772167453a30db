//! Compressed requests. Answers are not compressed.

use std::io::Read as _;

use bytes::Bytes;
use flate2::bufread::GzDecoder;
use tidings_proto_common::v1::ErrorReason;
use tidings_rpc::Problem;

/// The content, which is never larger than `bytes_max`, whatever the compressed bytes make of themselves.
///
/// # Errors
///
/// `MESSAGE_TOO_LARGE`; `FIELD_INVALID` when the bytes are not one whole gzip member.
pub fn decompress(compressed: &[u8], bytes_max: usize) -> Result<Bytes, Problem> {
    let malformed = || Problem::field("", "the body must be well-formed gzip");
    let mut decoder = GzDecoder::new(compressed);
    let mut content = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    decoder
        .by_ref()
        .take(limit)
        .read_to_end(&mut content)
        .map_err(|_| malformed())?;
    if content.len() > bytes_max {
        return Err(Problem::new(ErrorReason::MessageTooLarge).with("limit_bytes", bytes_max));
    }
    if !decoder.into_inner().is_empty() {
        return Err(malformed());
    }
    Ok(content.into())
}

/// The refusal of an encoding other than gzip.
pub fn unknown_encoding() -> Problem {
    Problem::new(ErrorReason::ProtocolUnsupported).with("accept_encoding", "gzip, identity")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};
    use tidings_proto_common::v1::ErrorReason;

    use super::decompress;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content).expect("in memory");
        encoder.finish().expect("in memory")
    }

    #[test]
    fn a_bomb_is_refused_and_so_is_what_is_cut_or_has_a_tail() {
        assert_eq!(decompress(&gzip(b"hello"), 5).expect("fits"), "hello");
        let reason = |bytes: &[u8]| decompress(bytes, 1_000).expect_err("refused").reason();
        assert_eq!(reason(&gzip(&vec![0; 8 << 20])), ErrorReason::MessageTooLarge);
        let good = gzip(b"hello");
        assert_eq!(reason(&good[..good.len() - 3]), ErrorReason::FieldInvalid);
        assert_eq!(reason(&[good.as_slice(), b"tail"].concat()), ErrorReason::FieldInvalid);
        assert_eq!(reason(b"hello"), ErrorReason::FieldInvalid);
    }
}
