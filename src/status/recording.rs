//! A recorded decision as the status and the log carry it: packed into one short line.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::engine::recording::Recording;

/// Longest packed recording that a status takes, in characters. A longer one stays in the log.
pub const LONGEST: usize = 65_536;
/// Longest unpacked recording, in bytes: what is larger was not written by us.
const LONGEST_UNPACKED: u64 = 64 * 1024 * 1024;

/// gzip, then base64.
pub fn pack(recording: &Recording) -> Result<String, String> {
    let document = serde_json::to_vec(recording).map_err(|e| e.to_string())?;
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(&document).map_err(|e| e.to_string())?;
    packer.finish().map(|bytes| STANDARD.encode(bytes)).map_err(|e| e.to_string())
}

/// The other way round.
pub fn unpack(text: &str) -> Result<Recording, String> {
    let bytes = STANDARD.decode(text.trim()).map_err(|e| format!("the recording is no base64: {e}"))?;
    let mut document = String::new();
    GzDecoder::new(bytes.as_slice())
        .take(LONGEST_UNPACKED)
        .read_to_string(&mut document)
        .map_err(|e| format!("the recording is no gzip: {e}"))?;
    Recording::read(&document)
}
