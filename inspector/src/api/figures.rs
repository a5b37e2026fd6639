//! The store's figures: those of this second, and every second's.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::Data;

use crate::Inspector;
use crate::error::Refusal;
use crate::streams::{Look, Message};

const PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn now(inspector: Data<Inspector>) -> HttpResponse {
    HttpResponse::Ok().json(&*inspector.figures.now(&inspector.store))
}

/// First what is known of the last minutes, then a sample each second.
pub(super) async fn live(inspector: Data<Inspector>) -> Result<HttpResponse, Refusal> {
    let (figures, store) = (inspector.figures.clone(), inspector.store.clone());
    let mut seen = 0;
    inspector.streams.open(PAUSE, async move || {
        let sample = figures.now(&store);
        let is_first = seen == 0;
        if sample.number == seen {
            return Look::Nothing;
        }
        seen = sample.number;
        Look::Message(match is_first {
            true => {
                let history = figures.history();
                Message::new("history", None, &history.iter().map(|s| &**s).collect::<Vec<_>>())
            }
            false => Message::new("sample", None, &*sample),
        })
    })
}
