//! Routes, and which status each error becomes.
//!
//! | status | when |
//! |---|---|
//! | 400 | the request makes no sense: bad JSON, no `Idempotency-Key`, an id that is none |
//! | 404 | no such show |
//! | 409 | `If-Match` names an earlier change than the show's latest |
//! | 422 | the show refuses the command |
//! | 503 | the store is closed, unavailable, or could not say in time: send the same again |

use std::fmt;
use std::net::TcpListener;

use actix_web::dev::Server;
use actix_web::http::StatusCode;
use actix_web::http::header::{ContentType, ETAG, IF_MATCH};
use actix_web::web::{self, Data, Json, Path, Query};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, ResponseError};
use serde::{Deserialize, Serialize};
use serde_json::json;
use seriatim::{
    AppendError, Entities, EventStore, ExecuteError, ExecuteOptions, LoadError, ReadError,
};
use uuid::{Uuid, uuid};

use crate::show::{Command, Event, Order, Refusal, Show};

/// Turns the text of an `Idempotency-Key` into a commit id.
const IDEMPOTENCY_KEYS: Uuid = uuid!("9d3c1e5e-6b0f-4f0e-9a43-3c8a3d0d6c51");
const MOST_EVENTS_A_PAGE: usize = 1_000;

/// The service, on a socket that listens already. It ends on the process's signals, or when told by its
/// handle; the store stays open.
pub fn serve(listener: TcpListener, store: EventStore) -> std::io::Result<Server> {
    let app = move || {
        App::new()
            .app_data(Data::new(store.clone()))
            .app_data(Data::new(store.entities::<Show>()))
            .app_data(web::JsonConfig::default().error_handler(|e, _| Problem::senseless(e).into()))
            .app_data(
                web::QueryConfig::default().error_handler(|e, _| Problem::senseless(e).into()),
            )
            .route("/shows/{id}", web::post().to(order))
            .route("/shows/{id}", web::get().to(show))
            .route("/shows/{id}/history", web::get().to(history))
    };
    Ok(HttpServer::new(app).listen(listener)?.run())
}

#[derive(Serialize)]
struct Ordered {
    sequence: u64,
    /// Whether an earlier request with the same `Idempotency-Key` did it.
    repeated: bool,
    events: Vec<Event>,
}

async fn order(
    request: HttpRequest,
    id: Path<String>,
    command: Json<Command>,
    shows: Data<Entities<Show>>,
) -> Result<Json<Ordered>, Problem> {
    let key = header(&request, "Idempotency-Key")?
        .ok_or_else(|| Problem::senseless("the header Idempotency-Key is missing"))?;
    let options = ExecuteOptions::new()
        .commit_id(Uuid::new_v5(&IDEMPOTENCY_KEYS, key.as_bytes()))
        .correlation_id(key);
    let known = match header(&request, IF_MATCH.as_str())? {
        None => None,
        Some(tag) => {
            let sequence = tag.trim_matches('"').parse();
            Some(sequence.map_err(|_| Problem::senseless("If-Match names no sequence"))?)
        }
    };
    let order = Order { command: command.into_inner(), known };
    let executed = shows.execute_with(id.as_str(), order, options).await?;
    Ok(Json(Ordered {
        sequence: executed.sequence.get(),
        repeated: executed.appended.is_some_and(|appended| appended.repeated),
        events: executed.events,
    }))
}

#[derive(Deserialize)]
struct Past {
    at: Option<u64>,
}

async fn show(
    id: Path<String>,
    past: Query<Past>,
    shows: Data<Entities<Show>>,
) -> Result<HttpResponse, Problem> {
    let found = match past.at {
        Some(sequence) => shows.at(id.as_str(), sequence).await?,
        None => shows.state(id.as_str()).await?,
    };
    if found.sequence == 0 {
        return Err(Problem::unknown());
    }
    let show = found.state;
    let body = json!({ "seats": show.seats, "left": show.left(), "reserved": show.reserved });
    Ok(HttpResponse::Ok().insert_header((ETAG, format!("\"{}\"", found.sequence))).json(body))
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    from: u64,
    #[serde(default = "most_events_a_page")]
    limit: usize,
}

fn most_events_a_page() -> usize {
    MOST_EVENTS_A_PAGE
}

async fn history(
    id: Path<String>,
    page: Query<Page>,
    store: Data<EventStore>,
    shows: Data<Entities<Show>>,
) -> Result<HttpResponse, Problem> {
    let key = shows.key(id.as_str()).map_err(Problem::senseless)?;
    let events = store.read(&key).from(page.from).limit(page.limit.min(MOST_EVENTS_A_PAGE));
    let events = events.collect().await?;
    if events.is_empty() && !store.exists(&key).await? {
        return Err(Problem::unknown());
    }
    Ok(HttpResponse::Ok().json(events))
}

fn header<'a>(request: &'a HttpRequest, name: &str) -> Result<Option<&'a str>, Problem> {
    let text = request.headers().get(name).map(|value| value.to_str()).transpose();
    match text {
        Ok(text) => Ok(text.map(str::trim).filter(|text| !text.is_empty())),
        Err(_) => Err(Problem::senseless(format!("the header {name} is no text"))),
    }
}

/// What a client is told instead of an answer: `{"error": "…"}`.
#[derive(Debug)]
struct Problem {
    status: StatusCode,
    message: String,
}

impl Problem {
    fn new(status: StatusCode, message: impl fmt::Display) -> Self {
        Problem { status, message: message.to_string() }
    }

    fn senseless(message: impl fmt::Display) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, message)
    }

    fn unknown() -> Self {
        Problem::new(StatusCode::NOT_FOUND, Refusal::Unknown)
    }

    fn of_the_store(retryable: bool, error: &impl fmt::Display) -> Self {
        match retryable {
            true => Problem::new(StatusCode::SERVICE_UNAVAILABLE, error),
            false => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let body = json!({ "error": self.message });
        HttpResponse::build(self.status).content_type(ContentType::json()).json(body)
    }
}

impl From<ExecuteError<Refusal>> for Problem {
    fn from(error: ExecuteError<Refusal>) -> Self {
        match error {
            ExecuteError::Rejected(refusal) => refusal.into(),
            ExecuteError::Append(error) => error.into(),
            ExecuteError::Load(error) => error.into(),
            other => Problem::of_the_store(other.is_retryable(), &other),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unknown => Problem::unknown(),
            Refusal::Changed { .. } => Problem::new(StatusCode::CONFLICT, refusal),
            _ => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, refusal),
        }
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::InvalidEvent { .. } | AppendError::TooLarge { .. } => {
                Problem::senseless(error)
            }
            AppendError::Conflict { .. } => Problem::new(StatusCode::CONFLICT, error),
            AppendError::Closed => Problem::of_the_store(true, &error),
            _ => Problem::of_the_store(error.is_retryable(), &error),
        }
    }
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::InvalidKey(error) => Problem::senseless(error),
            LoadError::Read(error) => error.into(),
            _ => Problem::of_the_store(error.is_retryable(), &error),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let closed = matches!(error, ReadError::Closed);
        Problem::of_the_store(closed || error.is_retryable(), &error)
    }
}
