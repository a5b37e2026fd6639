//! The name of an aggregate.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of one aggregate: UTF-8, 1 to 512 bytes, no control characters. A clone is cheap.
///
/// The part before the first `/` is the key's category: an entity's key is `{KIND}/{id}`.
///
/// ```
/// use seriatim::AggregateKey;
///
/// let key: AggregateKey = "account/1".parse()?;
/// assert_eq!(key.category(), "account");
/// assert!("".parse::<AggregateKey>().is_err());
/// # Ok::<(), seriatim::KeyError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AggregateKey(Arc<str>);

impl AggregateKey {
    /// The longest key, in bytes.
    pub const MAX_BYTES: usize = 512;

    /// A key with this text.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when the text is empty, too long or has control characters.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(KeyError::TooLong { bytes: text.len() });
        }
        // Most keys are printable ASCII, and a scan of bytes is faster than one of characters.
        let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let control = || text.char_indices().find(|(_, c)| c.is_control());
        if !is_plain && let Some((index, character)) = control() {
            return Err(KeyError::ControlCharacter { index, character });
        }
        Ok(AggregateKey(Arc::from(text)))
    }

    /// The key of an entity: `{kind}/{id}`.
    ///
    /// ```
    /// use seriatim::AggregateKey;
    ///
    /// let key = AggregateKey::of_entity("account", "1/savings")?;
    /// assert_eq!(key.as_str(), "account/1/savings");
    /// assert_eq!((key.category(), key.id()), ("account", Some("1/savings")));
    /// assert!(AggregateKey::of_entity("account", "").is_err());
    /// # Ok::<(), seriatim::KeyError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`KeyError`] when the kind is empty or has a `/`, when the id is empty, or when both
    /// together make no key.
    pub fn of_entity(kind: &str, id: &str) -> Result<Self, KeyError> {
        if kind.is_empty() || kind.contains('/') {
            return Err(KeyError::InvalidKind { kind: kind.to_owned() });
        }
        if id.is_empty() {
            return Err(KeyError::EmptyId { kind: kind.to_owned() });
        }
        Self::new(&format!("{kind}/{id}"))
    }

    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the first `/`; the whole key where there is none.
    pub fn category(&self) -> &str {
        self.0.split('/').next().unwrap_or(&self.0)
    }

    /// The part behind the first `/`: an entity's id. `None` where there is no `/`.
    pub fn id(&self) -> Option<&str> {
        self.0.split_once('/').map(|(_, id)| id)
    }
}

/// Why a text is not an aggregate key.
///
/// ```
/// use seriatim::{AggregateKey, KeyError};
///
/// assert!(matches!(AggregateKey::new(""), Err(KeyError::Empty)));
/// let long = "x".repeat(AggregateKey::MAX_BYTES + 1);
/// assert!(matches!(AggregateKey::new(&long), Err(KeyError::TooLong { .. })));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A key has at least one byte.
    #[error("an aggregate key must not be empty")]
    Empty,
    /// A key has at most [`AggregateKey::MAX_BYTES`] bytes. Shorten it, or hash its tail.
    #[error("an aggregate key of {bytes} bytes is over the limit of {}", AggregateKey::MAX_BYTES)]
    TooLong {
        /// The length of the text.
        bytes: usize,
    },
    /// The kind of an entity is empty or has a `/`. Change [`KIND`](crate::Aggregate::KIND).
    #[error("the kind {kind:?} must not be empty and must not have a '/'")]
    InvalidKind {
        /// The kind.
        kind: String,
    },
    /// The id of an entity is empty. Use another id.
    #[error("the id of an entity of kind {kind:?} must not be empty")]
    EmptyId {
        /// The kind.
        kind: String,
    },
    /// Control characters (line breaks, tabs, NUL …) are not allowed.
    #[error("an aggregate key must not have control characters ({character:?} at byte {index})")]
    ControlCharacter {
        /// Its offset in the text, in bytes.
        index: usize,
        /// The character.
        character: char,
    },
}

impl From<Infallible> for KeyError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl TryFrom<&str> for AggregateKey {
    type Error = KeyError;
    fn try_from(text: &str) -> Result<Self, KeyError> {
        AggregateKey::new(text)
    }
}

impl TryFrom<String> for AggregateKey {
    type Error = KeyError;
    fn try_from(text: String) -> Result<Self, KeyError> {
        AggregateKey::new(&text)
    }
}

impl TryFrom<&String> for AggregateKey {
    type Error = KeyError;
    fn try_from(text: &String) -> Result<Self, KeyError> {
        AggregateKey::new(text)
    }
}

impl From<&AggregateKey> for AggregateKey {
    fn from(key: &AggregateKey) -> Self {
        key.clone()
    }
}

impl FromStr for AggregateKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        AggregateKey::new(text)
    }
}

impl From<AggregateKey> for String {
    fn from(key: AggregateKey) -> Self {
        key.as_str().to_owned()
    }
}

impl AsRef<str> for AggregateKey {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AggregateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AggregateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}
