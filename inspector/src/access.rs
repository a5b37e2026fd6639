//! Who may ask, and the headers of every answer.
//!
//! Three rules, by what was set up:
//!
//! - **Local** (no token): the request comes from a loopback address, under a local name, and through
//!   no proxy that tells of itself. The name is checked because a page of elsewhere can point its own
//!   name at this machine (DNS rebinding); its requests then carry that name.
//! - **Token**: the request carries the token. Files of the page hold no secret and need none.
//! - **Application**: what the application has put in front decides.
//!
//! In all three a request that a page of another site made is refused, as far as the browser tells.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::error::Refusal;
use crate::{Inspector, assets};

/// Who may ask.
pub(crate) enum Access {
    Local,
    Token(Token),
    Application,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::Local => "Local",
            Access::Token(_) => "Token",
            Access::Application => "Application",
        })
    }
}

/// A secret that requests must carry. Its `Debug` form does not show it.
///
/// ```
/// use seriatim_inspector::Token;
///
/// let token = Token::generate();
/// assert_eq!(token.as_str().len(), 64);
/// assert!("short".parse::<Token>().is_err());
/// ```
#[derive(Clone)]
pub struct Token(Arc<str>);

/// A text that cannot be a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token has {MIN_TOKEN} to {MAX_TOKEN} letters, digits, and . _ - of ASCII")]
pub struct TokenError;

const MIN_TOKEN: usize = 16;
const MAX_TOKEN: usize = 256;

impl Token {
    /// A token of the system's random numbers.
    pub fn generate() -> Self {
        let text = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        Token(text.into())
    }

    /// The secret itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes as long for every text of the token's length.
    fn is(&self, text: &str) -> bool {
        self.0.as_bytes().ct_eq(text.as_bytes()).into()
    }
}

impl FromStr for Token {
    type Err = TokenError;

    /// A token of one's own. What goes into a cookie and a header unchanged is allowed.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let fits = (MIN_TOKEN..=MAX_TOKEN).contains(&text.len());
        let is_plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if fits && is_plain { Ok(Token(text.into())) } else { Err(TokenError) }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Lets a request through or refuses it, and sets the headers of the answer.
pub(crate) async fn guard(
    access: Arc<Access>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    // Whatever is not named here is data.
    let is_api = !assets::has(request.match_info().unprocessed());
    let mut response = match check(&access, request.request(), is_api) {
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
        Err(refusal) => request.into_response(refusal.error_response()),
    };
    set_headers(response.headers_mut(), is_api);
    Ok(response)
}

fn check(access: &Access, request: &HttpRequest, is_api: bool) -> Result<(), Refusal> {
    let is_session = is_api && request.method() == Method::POST;
    if !(is_session || request.method() == Method::GET || request.method() == Method::HEAD) {
        let message = "this is read-only: GET and HEAD";
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message));
    }
    if is_api && is_from_another_site(request.headers()) {
        return Err(forbidden("a page of another site made this request"));
    }
    match access {
        Access::Local => check_local(request),
        Access::Token(token) if is_api && !carries(request, token) => {
            Err(Refusal::new(StatusCode::UNAUTHORIZED, "this needs the inspector's token"))
        }
        Access::Token(_) | Access::Application => Ok(()),
    }
}

fn forbidden(message: &str) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, message)
}

/// Browsers say where a request comes from, and pages cannot change it.
fn is_from_another_site(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    site.is_some_and(|site| site != b"same-origin" && site != b"none")
}

/// Headers with which proxies tell for whom they ask.
const PROXY_HEADERS: [&str; 4] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];

fn check_local(request: &HttpRequest) -> Result<(), Refusal> {
    let is_local = request.peer_addr().is_some_and(|peer| is_loopback(peer.ip()));
    if !is_local {
        return Err(forbidden("only this machine may ask; for others, set a token"));
    }
    if PROXY_HEADERS.iter().any(|name| request.headers().contains_key(*name)) {
        return Err(forbidden("behind a proxy the inspector needs a token"));
    }
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    match host.or(request.uri().authority().map(|authority| authority.as_str())) {
        Some(host) if is_local_name(host) => Ok(()),
        _ => Err(Refusal::new(
            StatusCode::MISDIRECTED_REQUEST,
            "ask under the name localhost or under a loopback address; for others, set a token",
        )),
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether this value of a `Host` header names this machine.
fn is_local_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) if is_port(port) => name,
            _ => return false,
        },
        None => match host.find(':') {
            Some(colon) if is_port(&host[colon..]) => &host[..colon],
            Some(_) => return false,
            None => host,
        },
    };
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_loopback)
}

fn is_port(text: &str) -> bool {
    let digits = text.strip_prefix(':');
    text.is_empty() || digits.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
}

fn carries(request: &HttpRequest, token: &Token) -> bool {
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some((scheme, text)) = header.and_then(|value| value.split_once(' ')) {
        return scheme.eq_ignore_ascii_case("bearer") && token.is(text.trim());
    }
    let name = cookie_name(request);
    let cookies = request.headers().get_all(header::COOKIE).filter_map(|value| value.to_str().ok());
    let mut pairs =
        cookies.flat_map(|line| line.split(';')).filter_map(|p| p.trim().split_once('='));
    pairs.any(|(found, value)| found == name && token.is(value))
}

/// Cookies are shared by all ports of a name, so the port is part of the cookie's name.
fn cookie_name(request: &HttpRequest) -> String {
    format!("seriatim-inspector-{}", request.app_config().local_addr().port())
}

/// `POST api/session` with the token in its header: from now on a cookie carries it.
pub(crate) async fn begin_session(
    request: HttpRequest,
    inspector: web::Data<Inspector>,
) -> HttpResponse {
    let mut answer = HttpResponse::NoContent();
    if let Access::Token(token) = &*inspector.access {
        let path = request.path().strip_suffix("api/session").unwrap_or("/");
        let (name, secret) = (cookie_name(&request), token.as_str());
        let is_tls = request.connection_info().scheme() == "https";
        let secure = if is_tls { "; Secure" } else { "" };
        let cookie = format!("{name}={secret}; Path={path}; HttpOnly; SameSite=Strict{secure}");
        answer.insert_header((header::SET_COOKIE, cookie));
    }
    answer.finish()
}

/// The page's own script and style, data of its own origin, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

fn set_headers(headers: &mut HeaderMap, is_api: bool) {
    let mut set = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(header::CONTENT_SECURITY_POLICY, POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    set(header::CACHE_CONTROL, if is_api { "no-store" } else { "no-cache" });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine_are_told_from_others() {
        for host in ["localhost", "LocalHost:7070", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:80"]
        {
            assert!(is_local_name(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "localhost:80@evil.example",
            "127.0.0.1.evil.example:80",
            "192.168.0.1",
            "[::2]",
            "[::1",
            "[::1]evil",
            "::1",
            "0.0.0.0",
        ] {
            assert!(!is_local_name(host), "{host}");
        }
    }

    #[test]
    fn a_token_is_long_and_plain_and_not_shown() {
        let token = Token::generate();
        assert!(token.is(token.as_str()) && !token.is("") && !token.is(&token.as_str()[1..]));
        assert!(!token.is(Token::generate().as_str()));
        assert_eq!(format!("{token:?}"), "Token(…)");
        assert!("abcdefgh-0123456".parse::<Token>().is_ok());
        for text in
            ["", "abcdefgh-012345", "abcdefgh;0123456", "abcdefgh 0123456", "äbcdefgh01234567"]
        {
            assert_eq!(text.parse::<Token>().unwrap_err(), TokenError, "{text}");
        }
        assert!("a".repeat(257).parse::<Token>().is_err());
    }
}
