//! Who is answered: this machine under its own names, or who has the token; and with which headers.

use std::net::TcpListener;

use seriatim_inspector::{Inspector, ServeError, Token};

use crate::support::{Served, memory};

const TOKEN: &str = "0123456789abcdef0123";
const DATA: [&str; 4] = ["api/about", "api/keys", "api/log", "api/nothing"];
const FILES: [&str; 6] = ["", "app.js", "json.js", "plot.js", "app.css", "icon.svg"];

fn with_token() -> Served {
    Served::new(|inspector| inspector.token(TOKEN.parse::<Token>().unwrap()))
}

#[test]
fn a_name_of_elsewhere_is_refused() {
    let served = Served::new(|inspector| inspector);
    for path in DATA.iter().chain(&FILES) {
        let answer = served.ask("GET", path, &[("Host", "evil.example")]);
        answer.refused(421, "localhost");
    }
    for host in ["localhost", "127.0.0.1:80", "[::1]:9"] {
        assert_eq!(served.ask("GET", "api/keys", &[("Host", host)]).status, 200, "{host}");
    }
}

#[test]
fn a_proxy_that_tells_of_itself_is_refused_without_a_token() {
    let served = Served::new(|inspector| inspector);
    let forwarded = [("X-Forwarded-For", "198.51.100.1")];
    served.ask("GET", "api/keys", &forwarded).refused(403, "token");
    let headers = [forwarded[0], ("Authorization", &format!("Bearer {TOKEN}"))];
    assert_eq!(with_token().ask("GET", "api/keys", &headers).status, 200);
}

#[test]
fn a_page_of_another_site_is_refused() {
    for served in [Served::new(|inspector| inspector), Served::new(|i| i.access_by_application())] {
        for site in ["cross-site", "same-site"] {
            served.ask("GET", "api/keys", &[("Sec-Fetch-Site", site)]).refused(403, "another site");
        }
        for site in ["same-origin", "none"] {
            assert_eq!(served.ask("GET", "api/keys", &[("Sec-Fetch-Site", site)]).status, 200);
        }
        // A link from elsewhere opens the page.
        assert_eq!(served.ask("GET", "", &[("Sec-Fetch-Site", "cross-site")]).status, 200);
    }
}

#[test]
fn data_needs_the_token_and_files_do_not() {
    let served = with_token();
    for path in DATA.iter().chain(&["api/figures/live", "api/log/live", "%61pi/keys", "/api/keys"])
    {
        served.get(path).refused(401, "token");
        for wrong in ["", "Bearer", "Bearer x", "Basic 0123456789abcdef0123", TOKEN] {
            let answer = served.ask("GET", path, &[("Authorization", wrong)]);
            answer.refused(401, "token");
        }
    }
    for path in FILES {
        assert_eq!(served.get(path).status, 200, "{path}");
    }
    let right = format!("Bearer {TOKEN}");
    // Under any name, because the token is what counts.
    let headers = [("Authorization", right.as_str()), ("Host", "store.example")];
    assert_eq!(served.ask("GET", "api/keys", &headers).status, 200);
}

#[test]
fn a_session_keeps_the_token_in_a_cookie_that_scripts_do_not_see() {
    let served = with_token();
    served.ask("POST", "api/session", &[]).refused(401, "token");
    let answer =
        served.ask("POST", "api/session", &[("Authorization", &format!("Bearer {TOKEN}"))]);
    let cookie = answer.header("set-cookie").unwrap();
    assert_eq!(answer.status, 204);
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    assert_eq!(served.ask("GET", "api/keys", &[("Cookie", pair)]).status, 200);
    let among_others = format!("a=b; {pair}; c=d");
    assert_eq!(served.ask("GET", "api/keys", &[("Cookie", &among_others)]).status, 200);
    let wrong = format!("{}x", &pair[..pair.len() - 1]);
    served.ask("GET", "api/keys", &[("Cookie", &wrong)]).refused(401, "token");
}

#[test]
fn nothing_but_reading_is_allowed() {
    let served = Served::new(|inspector| inspector);
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        for path in ["api/keys", "api/session", ""] {
            assert_eq!(served.ask(method, path, &[]).status, 405, "{method} {path}");
        }
    }
    assert_eq!(served.ask("POST", "", &[]).status, 405);
    assert_ne!(served.ask("POST", "api/keys", &[]).status, 200);
}

#[test]
fn every_answer_has_the_headers_that_keep_a_page_to_itself() {
    let served = Served::new(|inspector| inspector);
    let strange: [(&str, &str); 1] = [("Host", "evil.example")];
    let answers = FILES.iter().chain(&DATA).map(|path| served.get(path));
    for answer in answers.chain([served.ask("GET", "", &strange), served.ask("PUT", "", &[])]) {
        let policy = answer.header("content-security-policy").unwrap();
        for part in ["default-src 'none'", "script-src 'self';", "style-src 'self';"] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("http") && !policy.contains('*'));
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("x-frame-options", "DENY"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name}");
        }
    }
    assert_eq!(served.get("api/keys").header("cache-control"), Some("no-store"));
}

#[test]
fn the_page_names_nothing_of_elsewhere() {
    let served = Served::new(|inspector| inspector);
    for path in FILES {
        let text = served.get(path).body;
        let names = text.match_indices("://").map(|(at, _)| &text[at..]);
        assert!(names.into_iter().all(|name| name.starts_with("://www.w3.org/")), "{path}");
        for other in ["\"//", "'//", "url(", "import(", "eval(", "Function("] {
            assert!(!text.contains(other), "{path}: {other}");
        }
        assert!(!text.contains("innerHTML") && !text.contains("insertAdjacentHTML"), "{path}");
        assert!(!text.contains(" style=") && !text.contains("<script>"), "{path}");
    }
}

#[test]
fn an_address_that_others_reach_needs_a_token() {
    let inspector = Inspector::new(memory());
    let open = || TcpListener::bind("0.0.0.0:0").unwrap();
    let refused = inspector.serve(open());
    assert!(matches!(refused, Err(ServeError::TokenNeeded { .. })));
    assert!(inspector.token(Token::generate()).serve(open()).is_ok());
}

#[test]
fn a_scope_of_an_application_is_found_with_and_without_its_slash() {
    let store = memory();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (started, handle) = std::sync::mpsc::channel();
    let inspector = Inspector::new(store).token(TOKEN.parse().unwrap());
    let thread = std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let app = move || actix_web::App::new().service(inspector.scope("/in/spect"));
            let server = actix_web::HttpServer::new(app).workers(1).listen(listener).unwrap().run();
            started.send(server.handle()).unwrap();
            server.await.unwrap();
        });
    });
    let handle = handle.recv().unwrap();
    let ask =
        |method: &str, path: &str, headers| crate::support::ask(address, method, path, headers);
    let moved = ask("GET", "in/spect", &[]);
    assert_eq!((moved.status, moved.header("location")), (308, Some("./spect/")));
    assert!(ask("GET", "in/spect/", &[]).body.contains("<title>"));
    assert_eq!(ask("GET", "in/spect/app.js", &[]).status, 200);
    ask("GET", "in/spect/api/keys", &[]).refused(401, "token");
    let session =
        ask("POST", "in/spect/api/session", &[("Authorization", &format!("Bearer {TOKEN}"))]);
    assert!(session.header("set-cookie").unwrap().contains("; Path=/in/spect/;"));
    crate::support::block_on(handle.stop(false));
    thread.join().unwrap();
}
