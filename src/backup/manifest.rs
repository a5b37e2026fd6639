//! The list of a backup's files, which is written last: what it does not name is not there.
//!
//! Two lines: a JSON object, and the checksum of that line in hexadecimal digits.

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use crate::event::{Position, Timestamp};

const FORMAT: &str = "seriatim backup";
const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    format: String,
    version: u32,
    /// Of the backup's first and last event: what tells its store from others.
    pub(super) first_event: Option<Digest>,
    pub(super) last_event: Option<Digest>,
    /// In position order, without gaps, from position 1.
    pub(super) files: Vec<ListedFile>,
}

/// A file of the backup. Its name follows from its positions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ListedFile {
    pub(super) first: Position,
    pub(super) last: Position,
    pub(super) last_recorded_at: Timestamp,
    pub(super) bytes: u64,
    pub(super) checksum: Digest,
}

/// A checksum; in JSON as text, because not every reader keeps 64 bits of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Digest(pub(super) u64);

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        format!("{:016x}", digest.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = std::num::ParseIntError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        u64::from_str_radix(&text, 16).map(Digest)
    }
}

impl ListedFile {
    pub(super) fn name(&self) -> String {
        format!("events-{:020}-{:020}", self.first.get(), self.last.get())
    }
}

impl Default for Manifest {
    fn default() -> Self {
        Manifest {
            format: FORMAT.to_owned(),
            version: VERSION,
            first_event: None,
            last_event: None,
            files: Vec::new(),
        }
    }
}

impl Manifest {
    /// The last position that the backup has; 0 for none.
    pub(super) fn last(&self) -> Position {
        self.files.last().map_or(Position::new(0), |file| file.last)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut text = serde_json::to_vec(self)?;
        let sum = XxHash3_64::oneshot(&text);
        text.extend_from_slice(format!("\n{sum:016x}\n").as_bytes());
        Ok(text)
    }

    /// The manifest, or what is wrong with it.
    pub(super) fn decode(text: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Form {
            format: String,
            version: u32,
        }
        let mut lines = text.split(|byte| *byte == b'\n');
        let (json, sum) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        // The second line ends too, and nothing follows it.
        if lines.next() != Some(b"".as_slice()) || lines.next().is_some() {
            return Err("the manifest is cut, or something was added to it".to_owned());
        }
        if format!("{:016x}", XxHash3_64::oneshot(json)).as_bytes() != sum {
            return Err("the manifest's checksum is wrong".to_owned());
        }
        let form: Form = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        if form.format != FORMAT || form.version != VERSION {
            return Err(format!(
                "it has version {}, which this version does not know",
                form.version
            ));
        }
        let manifest: Manifest = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        let mut next = Position::new(1);
        for file in &manifest.files {
            // Behind the last position there is no other.
            if file.first != next || file.last < file.first || file.last.get() == u64::MAX {
                return Err(format!("the file with position {next} is not listed"));
            }
            next = file.last.plus(1);
        }
        Ok(manifest)
    }
}
