//! The data of the page, as JSON. All of it is read, none is changed.
//!
//! | request | answer |
//! |---|---|
//! | `GET api/about` | the title, and what the store's driver can do |
//! | `GET api/keys?prefix=&after=&limit=` | aggregates with their latest events |
//! | `GET api/aggregate?key=&before=&limit=` | an aggregate's events, the latest first |
//! | `GET api/event?key=&sequence=` | one event, whole |
//! | `GET api/log?before=&prefix=&type=&limit=` | the log, the latest first |
//! | `GET api/log/live?after=&prefix=&type=` | the log as it grows: server-sent events |
//! | `GET api/consumers` | consumers, their lag, what they parked |
//! | `GET api/figures` | the figures of this second |
//! | `GET api/figures/live` | figures every second: server-sent events |
//! | `POST api/session` | a cookie for the token |

mod aggregates;
mod consumers;
mod figures;
mod log;

use actix_web::http::StatusCode;
use actix_web::web::{self, Data, Json};
use serde::{Deserialize, Deserializer, Serialize};
use seriatim::AggregateKey;

use crate::error::Refusal;
use crate::{Inspector, access};

/// Of a page of anything.
const MAX_LIMIT: usize = 200;
const LIMIT: usize = 50;

pub(crate) fn routes(scope: &mut web::ServiceConfig) {
    let senseless = |error: actix_web::error::QueryPayloadError, _: &_| {
        Refusal::senseless(error.to_string()).into()
    };
    scope
        .app_data(web::QueryConfig::default().error_handler(senseless))
        .route("/api/about", web::get().to(about))
        .route("/api/keys", web::get().to(aggregates::keys))
        .route("/api/aggregate", web::get().to(aggregates::history))
        .route("/api/event", web::get().to(aggregates::event))
        .route("/api/log", web::get().to(log::page))
        .route("/api/log/live", web::get().to(log::live))
        .route("/api/consumers", web::get().to(consumers::list))
        .route("/api/figures", web::get().to(figures::now))
        .route("/api/figures/live", web::get().to(figures::live))
        .route("/api/session", web::post().to(access::begin_session));
}

pub(crate) async fn not_found() -> Result<Json<()>, Refusal> {
    Err(Refusal::new(StatusCode::NOT_FOUND, "there is nothing here"))
}

#[derive(Serialize)]
struct About<'a> {
    title: &'a str,
    version: &'static str,
    has_log: bool,
}

async fn about(inspector: Data<Inspector>) -> Result<actix_web::HttpResponse, Refusal> {
    Ok(actix_web::HttpResponse::Ok().json(About {
        title: &inspector.title,
        version: env!("CARGO_PKG_VERSION"),
        has_log: inspector.store.log().is_ok(),
    }))
}

/// How many things a page has, within bounds.
fn limit(asked: Option<usize>) -> usize {
    asked.unwrap_or(LIMIT).clamp(1, MAX_LIMIT)
}

/// A key in a query.
fn key<'de, D: Deserializer<'de>>(text: D) -> Result<AggregateKey, D::Error> {
    let text = String::deserialize(text)?;
    AggregateKey::new(&text).map_err(serde::de::Error::custom)
}
