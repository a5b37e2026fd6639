//! Pages of events and of keys, read from the engine one by one.

use std::future::Future;

use futures_util::{StreamExt, stream};

use crate::driver::{EventPage, EventPages, Fetch, KeyPages};
use crate::error::DriverError;
use crate::event::{AggregateKey, KeyedEvent, Sequence};

/// Pages made one by one by a function that asks the engine for the page at a [`Fetch`], each
/// behind the last event of the one before. An engine's own page limit therefore never cuts a
/// history short.
///
/// Sequences that do not follow one another are [`DriverError::Damaged`]: an event was lost, or the
/// engine does not keep the order that the driver asks for.
pub(crate) fn paged_events<F, R>(fetch: Fetch, read: F) -> EventPages
where
    F: Fn(Fetch) -> R + Send + 'static,
    R: Future<Output = Result<EventPage, DriverError>> + Send + 'static,
{
    let first = fetch.bounds().map(|(low, _)| {
        // Backwards the latest event can be anywhere; forwards the first one is known.
        let expected = if fetch.backwards { None } else { Some(low) };
        (fetch, expected)
    });
    stream::unfold((first, read), |(next, read)| async move {
        let (mut fetch, expected) = next?;
        let page = match read(fetch).await {
            Err(error) => return Some((Err(error), (None, read))),
            Ok(page) => page,
        };
        let last = page.events.last()?.sequence;
        if let Err(damaged) = check_order(fetch, expected, &page.events) {
            return Some((Err(damaged), (None, read)));
        }
        fetch.after = Some(last);
        fetch.limit = fetch.limit.map(|limit| limit.saturating_sub(page.events.len()));
        let behind = Some(following(last, fetch.backwards));
        let next = (page.more && fetch.bounds().is_some()).then_some((fetch, behind));
        Some((Ok(page.events), (next, read)))
    })
    .boxed()
}

fn following(sequence: Sequence, backwards: bool) -> Sequence {
    if backwards { sequence.previous() } else { sequence.next() }
}

fn check_order(
    fetch: Fetch,
    mut expected: Option<Sequence>,
    events: &[KeyedEvent],
) -> Result<(), DriverError> {
    for event in events {
        let (key, found) = (&event.key, event.sequence);
        let within = fetch.bounds().is_some_and(|(low, high)| low <= found && found <= high);
        if !within || expected.is_some_and(|expected| expected != found) {
            let wanted = match expected {
                Some(expected) => format!("{expected} should"),
                None => "none should".to_owned(),
            };
            return Err(DriverError::damaged(format!(
                "{key}: sequence {found} stands where {wanted}: an event is missing, or the \
                 engine does not keep their order"
            )));
        }
        expected = Some(following(found, fetch.backwards));
    }
    Ok(())
}

/// Keys in the order in which the engine keeps them, page by page as it hands them out: one page
/// is in memory at a time, and a page without a wanted key is handed out too, so that a caller's
/// deadline for a page covers one call of the engine.
///
/// `read` gets where the page begins, `None` for the first one, and answers where the next begins.
pub(crate) fn engine_key_pages<C, F, R>(read: F) -> KeyPages
where
    C: Send + 'static,
    F: Fn(Option<C>) -> R + Send + 'static,
    R: Future<Output = Result<(Vec<AggregateKey>, Option<C>), DriverError>> + Send + 'static,
{
    stream::unfold((Some(None), read), |(next, read)| async move {
        match read(next?).await {
            Err(error) => Some((Err(error), (None, read))),
            Ok((keys, behind)) => Some((Ok(keys), (behind.map(Some), read))),
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use uuid::Uuid;

    use super::*;
    use crate::event::{NewEvent, Timestamp};

    fn key() -> AggregateKey {
        AggregateKey::new("account/1").unwrap()
    }

    fn page(sequences: &[u64], more: bool) -> EventPage {
        let event = |&sequence: &u64| {
            let event = NewEvent::raw("Tested", "{}").check().unwrap();
            event.place(&key(), Sequence::new(sequence), Uuid::nil(), Timestamp::from_micros(1))
        };
        EventPage::new(sequences.iter().map(event).collect(), more)
    }

    /// The sequences that an engine with these pages hands out, and the error at the end.
    async fn read(fetch: Fetch, pages: &[&[u64]]) -> (Vec<u64>, Option<DriverError>) {
        let pages: Vec<Vec<u64>> = pages.iter().map(|page| page.to_vec()).collect();
        let asked = Arc::new(AtomicUsize::new(0));
        let mut stream = paged_events(fetch, move |_| {
            let at = asked.fetch_add(1, Ordering::SeqCst);
            let page = page(&pages[at], at + 1 < pages.len());
            async move { Ok(page) }
        });
        let mut seen = Vec::new();
        while let Some(page) = stream.next().await {
            match page {
                Ok(page) => seen.extend(page.iter().map(|event| event.sequence.get())),
                Err(error) => return (seen, Some(error)),
            }
        }
        (seen, None)
    }

    #[tokio::test]
    async fn sequences_that_follow_one_another_are_handed_out() {
        let (seen, error) = read(Fetch::ALL, &[&[1, 2], &[3]]).await;
        assert!(error.is_none() && seen == [1, 2, 3], "{seen:?} {error:?}");
        let backwards = Fetch::ALL.after(Sequence::new(9)).backwards();
        let (seen, error) = read(backwards, &[&[7, 6], &[5, 4]]).await;
        assert!(error.is_none() && seen == [7, 6, 5, 4], "{seen:?} {error:?}");
    }

    #[tokio::test]
    async fn a_gap_a_repetition_or_another_order_is_damage() {
        let behind = Fetch::ALL.after(Sequence::new(4));
        let cases: [(Fetch, &[&[u64]]); 9] = [
            (Fetch::ALL, &[&[1, 3]]),
            (Fetch::ALL, &[&[2]]),
            (Fetch::ALL, &[&[1, 2], &[4]]),
            (Fetch::ALL, &[&[1, 2, 2]]),
            (Fetch::ALL, &[&[2, 1]]),
            (behind, &[&[6]]),
            (behind.backwards(), &[&[3, 1]]),
            (behind.backwards(), &[&[4, 3]]),
            (behind.backwards(), &[&[3, 2], &[2]]),
        ];
        for (fetch, pages) in cases {
            let (_, error) = read(fetch, pages).await;
            assert!(matches!(error, Some(DriverError::Damaged { .. })), "{pages:?}: {error:?}");
        }
    }
}
