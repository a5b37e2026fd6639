//! Server-sent events: how many streams there are, how long they last, and how they end.
//!
//! A stream is asked for its next message again and again. It ends when the inspector's streams are
//! ended, when nobody reads it any more, or after a while: the browser then connects again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Bytes;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::error::Refusal;

/// At a time, of all readers.
const MAX_STREAMS: usize = 32;
const LIFETIME: Duration = Duration::from_secs(600);
/// A stream without news says that it lives, which also finds out whether anybody reads it.
const SILENCE: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(crate) struct Streams {
    room: Arc<Semaphore>,
    ended: watch::Sender<bool>,
}

impl Default for Streams {
    fn default() -> Self {
        Streams { room: Arc::new(Semaphore::new(MAX_STREAMS)), ended: watch::Sender::new(false) }
    }
}

/// What a stream sends at one look.
pub(crate) enum Look {
    Message(Message),
    Nothing,
    /// Sent as the stream's last message.
    Failed(Refusal),
}

/// One event of a stream.
pub(crate) struct Message(String);

impl Message {
    /// `id` is what the browser repeats when it connects again.
    pub(crate) fn new(name: &str, id: Option<u64>, content: &impl Serialize) -> Self {
        let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
        // JSON that serde_json writes has no line breaks.
        let json = serde_json::to_string(content).unwrap_or_default();
        Message(format!("event: {name}\n{id}data: {json}\n\n"))
    }
}

impl Streams {
    pub(crate) fn end(&self) {
        self.ended.send_replace(true);
    }

    /// A stream that looks every `pause` for something to send.
    pub(crate) fn open<F>(&self, pause: Duration, look: F) -> Result<HttpResponse, Refusal>
    where
        F: AsyncFnMut() -> Look + 'static,
    {
        let full = |_| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too many live streams");
        let room = self.room.clone().try_acquire_owned().map_err(full)?;
        let open = Open {
            _room: room,
            ended: self.ended.subscribe(),
            began: Instant::now(),
            spoke: Instant::now(),
            is_last: false,
            pause: None,
            look,
        };
        let messages = stream::unfold(open, move |open| open.next(pause));
        Ok(HttpResponse::Ok()
            .insert_header(("content-type", "text/event-stream; charset=utf-8"))
            .insert_header(("x-accel-buffering", "no"))
            .streaming(messages))
    }
}

struct Open<F> {
    /// Given back when the stream is dropped.
    _room: OwnedSemaphorePermit,
    ended: watch::Receiver<bool>,
    began: Instant,
    spoke: Instant,
    is_last: bool,
    /// `None` before the first look.
    pause: Option<tokio::time::Interval>,
    look: F,
}

type Sent = Result<Bytes, std::convert::Infallible>;

impl<F: AsyncFnMut() -> Look> Open<F> {
    async fn next(mut self, pause: Duration) -> Option<(Sent, Self)> {
        loop {
            if self.is_last || *self.ended.borrow() || self.began.elapsed() > LIFETIME {
                return None;
            }
            let is_first = self.pause.is_none();
            let pause = self.pause.get_or_insert_with(|| {
                let mut interval = tokio::time::interval(pause);
                interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                interval
            });
            tokio::select! {
                _ = pause.tick() => {}
                _ = self.ended.wait_for(|ended| *ended) => return None,
            }
            let text = match (self.look)().await {
                Look::Message(message) => message.0,
                // What is sent first tells the browser that the stream is there.
                Look::Nothing if is_first || self.spoke.elapsed() > SILENCE => ":\n\n".to_owned(),
                Look::Nothing => continue,
                Look::Failed(refusal) => {
                    self.is_last = true;
                    Message::new("failed", None, &refusal.to_string()).0
                }
            };
            self.spoke = Instant::now();
            let text = if is_first { format!("retry: 2000\n{text}") } else { text };
            return Some((Ok(Bytes::from(text)), self));
        }
    }
}
