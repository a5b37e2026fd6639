//! The page, its script and its style: files of this program, so nothing is loaded from elsewhere.

use actix_web::http::header::{self, ContentType};
use actix_web::{HttpRequest, HttpResponse, web};

const PAGE: &str = include_str!("assets/index.html");

/// Path below the scope, kind, content.
const FILES: [(&str, &str, &str); 5] = [
    ("/app.js", JAVASCRIPT, include_str!("assets/app.js")),
    ("/json.js", JAVASCRIPT, include_str!("assets/json.js")),
    ("/plot.js", JAVASCRIPT, include_str!("assets/plot.js")),
    ("/app.css", "text/css; charset=utf-8", include_str!("assets/app.css")),
    ("/icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
];
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Whether this path below the scope is the page or one of its files. They hold no secret.
pub(crate) fn has(path: &str) -> bool {
    path.is_empty() || path == "/" || FILES.iter().any(|(of, ..)| *of == path)
}

pub(crate) fn routes(scope: &mut web::ServiceConfig) {
    scope.route("", web::get().to(page)).route("/", web::get().to(page));
    for (path, kind, content) in FILES {
        let file = move || async move { HttpResponse::Ok().content_type(kind).body(content) };
        scope.route(path, web::get().to(file));
    }
}

/// The page's links are relative to it, so its address ends with a slash.
async fn page(request: HttpRequest) -> HttpResponse {
    match request.path() {
        path if path.ends_with('/') => {
            HttpResponse::Ok().content_type(ContentType::html()).body(PAGE)
        }
        path => {
            let last = path.rsplit('/').next().unwrap_or_default();
            let slash = format!("./{last}/");
            HttpResponse::PermanentRedirect().insert_header((header::LOCATION, slash)).finish()
        }
    }
}
