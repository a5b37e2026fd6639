//! A connection that sends and takes frames: four bytes of length, then JSON.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::codec::{Decoder, Encoder, LengthDelimitedCodec};

use super::protocol::{FRAME_TIME, WRITE_TIME};

/// The name of the socket in the store's directory.
pub(super) const DOOR: &str = "door";
/// What the address of a Unix socket can hold on every system that has them.
const MAX_ADDRESS_BYTES: usize = 100;
const CHUNK: usize = 16 << 10;

pub(super) struct DoorFrames {
    stream: UnixStream,
    codec: LengthDelimitedCodec,
    max_bytes: usize,
    received: BytesMut,
}

impl DoorFrames {
    /// Takes frames of at most `max_bytes`. A peer that does not read holds a write up for
    /// [`WRITE_TIME`] at most.
    pub(super) fn new(stream: UnixStream, max_bytes: usize) -> io::Result<Self> {
        // A listener that does not block may hand that down.
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(WRITE_TIME))?;
        let codec = LengthDelimitedCodec::builder().max_frame_length(max_bytes).new_codec();
        Ok(DoorFrames { stream, codec, max_bytes, received: BytesMut::new() })
    }

    pub(super) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    pub(super) fn send(&mut self, message: &impl Serialize, max_bytes: usize) -> io::Result<()> {
        let json = serde_json::to_vec(message)?;
        if json.len() > max_bytes {
            let what = format!("a message of {} bytes is over {max_bytes} bytes", json.len());
            return Err(io::Error::new(ErrorKind::InvalidInput, what));
        }
        let mut codec = LengthDelimitedCodec::builder().max_frame_length(max_bytes).new_codec();
        let mut frame = BytesMut::with_capacity(json.len() + 4);
        codec.encode(Bytes::from(json), &mut frame)?;
        let began = Instant::now();
        let mut rest = &frame[..];
        while !rest.is_empty() {
            // A peer that takes a byte now and then has a deadline for all of it.
            if began.elapsed() > WRITE_TIME {
                return Err(io::Error::new(ErrorKind::TimedOut, "the peer does not read"));
            }
            match self.stream.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(bytes) => rest = rest.get(bytes..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next message; `None` where the peer ended between two. `quiet` is how long it may take
    /// to begin, [`FRAME_TIME`] how long from then on.
    pub(super) fn receive<T>(&mut self, quiet: Duration) -> io::Result<Option<T>>
    where
        T: DeserializeOwned,
    {
        let mut deadline = Instant::now() + quiet;
        let mut has_begun = false;
        loop {
            if let Some(frame) = self.codec.decode(&mut self.received)? {
                return serde_json::from_slice(&frame).map(Some).map_err(|error| {
                    io::Error::new(ErrorKind::InvalidData, format!("no message: {error}"))
                });
            }
            if !has_begun && !self.received.is_empty() {
                (has_begun, deadline) = (true, Instant::now() + FRAME_TIME);
            }
            if self.read_some(deadline)? == 0 {
                return match has_begun {
                    true => Err(ErrorKind::UnexpectedEof.into()),
                    false => Ok(None),
                };
            }
        }
    }

    fn read_some(&mut self, deadline: Instant) -> io::Result<usize> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(ErrorKind::TimedOut, "the peer does not send"));
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut chunk = [0; CHUNK];
        // Never more than one frame and what follows it.
        let most = CHUNK.min(self.max_bytes + 4);
        let read = self.stream.read(chunk.get_mut(..most).unwrap_or_default());
        match read {
            Ok(bytes) => {
                self.received.extend_from_slice(chunk.get(..bytes).unwrap_or_default());
                Ok(bytes)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                Err(io::Error::new(ErrorKind::TimedOut, "the peer does not send"))
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => self.read_some(deadline),
            Err(error) => Err(error),
        }
    }
}

/// A path by which a socket in this directory can be reached: the address of a socket is short, and
/// a directory's path can be long. Valid while the file is held.
pub(super) struct SocketPath {
    pub(super) path: PathBuf,
    _directory: Option<File>,
}

impl SocketPath {
    pub(super) fn of(directory: &Path, name: &str) -> io::Result<Self> {
        let path = directory.join(name);
        if path.as_os_str().len() <= MAX_ADDRESS_BYTES {
            return Ok(SocketPath { path, _directory: None });
        }
        Self::through_descriptor(directory, name)
    }

    #[cfg(target_os = "linux")]
    fn through_descriptor(directory: &Path, name: &str) -> io::Result<Self> {
        use std::os::fd::AsRawFd;
        let directory = fs::File::open(directory)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()));
        Ok(SocketPath { path, _directory: Some(directory) })
    }

    #[cfg(not(target_os = "linux"))]
    fn through_descriptor(directory: &Path, name: &str) -> io::Result<Self> {
        let path = directory.join(name);
        fs::symlink_metadata(directory)?;
        let shown = path.display();
        let what = format!("{shown}: a socket's path has at most {MAX_ADDRESS_BYTES} bytes");
        Err(io::Error::new(ErrorKind::InvalidInput, what))
    }
}
