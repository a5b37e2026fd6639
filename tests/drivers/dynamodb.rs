//! DynamoDB: tables of several regions, and walks through tables that end no page with a key.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use seriatim::driver::DriverError;

use super::scripted::Reply;
use super::scripted::http::{Response, answer, serve};
use super::{open, put};

pub(super) fn url(address: SocketAddr, options: &str) -> String {
    format!(
        "dynamodb://events?endpoint=http%3A%2F%2F{address}&access_key_id=AK&secret_access_key=hush\
         {options}"
    )
}

/// A table description with something more in it.
pub(super) fn table(more: &str) -> Reply<Response> {
    let body = format!(
        r#"{{"Table":{{"TableStatus":"ACTIVE","KeySchema":[
        {{"AttributeName":"pk","KeyType":"HASH"}},{{"AttributeName":"seq","KeyType":"RANGE"}}],
        "AttributeDefinitions":[{{"AttributeName":"pk","AttributeType":"S"}},
        {{"AttributeName":"seq","AttributeType":"N"}}]{more}}}}}"#
    );
    answer(200, body)
}

fn described_as(more: &'static str) -> SocketAddr {
    serve(move |_| table(more))
}

/// A table without items, that takes every write.
pub(super) fn empty() -> SocketAddr {
    serve(|request| match request.operation() {
        "DescribeTable" => table(""),
        "Query" => answer(200, r#"{"Items":[]}"#),
        _ => answer(200, "{}"),
    })
}

const REPLICAS: &str = r#","GlobalTableVersion":"2019.11.21","Replicas":[
    {"RegionName":"eu-west-1","ReplicaStatus":"ACTIVE"}]"#;
const STRONG: &str = r#","MultiRegionConsistency":"STRONG","Replicas":[
    {"RegionName":"eu-west-1","ReplicaStatus":"ACTIVE"}]"#;

#[tokio::test]
async fn a_global_table_is_refused_unless_one_region_writes() {
    let address = described_as(REPLICAS);
    let error = open(&url(address, "")).await.err().unwrap();
    assert!(matches!(error, DriverError::Failed { .. }), "{error:?}");
    assert!(error.to_string().contains("global table"), "{error}");
    let promised = open(&url(address, "&global_table=one_writing_region")).await.unwrap();
    assert!(promised.limits().events_per_put > 1);
    open(&url(described_as(""), "")).await.unwrap();
}

#[tokio::test]
async fn a_strongly_consistent_global_table_takes_one_event_a_put() {
    let driver = open(&url(described_as(STRONG), "")).await.unwrap();
    assert_eq!(driver.limits().events_per_put, 1);
    let refused = driver.put_events(put(2)).await;
    assert!(matches!(refused, Err(DriverError::LimitExceeded(_))), "{refused:?}");
}

#[tokio::test]
async fn keys_are_handed_out_as_the_engine_pages_them() {
    let scans = Arc::new(AtomicUsize::new(0));
    let counter = scans.clone();
    let address = serve(move |request| match request.operation() {
        "Scan" => {
            let number = counter.fetch_add(1, Ordering::SeqCst);
            let items = match number {
                0 => String::new(),
                _ => format!(r#"{{"pk":{{"S":"k{}"}}}}"#, 9 - number),
            };
            let last = r#","LastEvaluatedKey":{"pk":{"S":"x"},"seq":{"N":"1"}}"#;
            let last = if number == 3 { "" } else { last };
            answer(200, format!(r#"{{"Items":[{items}]{last}}}"#))
        }
        _ => table(""),
    });
    let driver = open(&url(address, "")).await.unwrap();
    let mut pages = driver.keys("", None);
    let mut seen = Vec::new();
    for scanned in 1..=4 {
        let page = pages.next().await.unwrap().unwrap();
        // One call of the engine a page, and none ahead of whoever reads.
        assert_eq!(scans.load(Ordering::SeqCst), scanned);
        seen.extend(page.into_iter().map(String::from));
    }
    assert!(pages.next().await.is_none());
    assert_eq!(seen, ["k8", "k7", "k6"]);
}

#[cfg(feature = "dynamodb-sso")]
mod single_sign_on {
    use std::sync::Mutex;

    use super::super::in_a_process;
    use super::*;

    const SERVICE: &str = "SERIATIM_TEST_URL";

    /// Opens the store.
    #[tokio::test]
    #[ignore = "the other half of the tests of single sign-on"]
    async fn opens() {
        let Ok(url) = std::env::var(SERVICE) else { return };
        match open(&url).await {
            Ok(_) => println!("it is open"),
            Err(error) => println!("{error} {error:?}"),
        }
    }

    /// Opens with a profile of single sign-on, in a home folder with this session's token, or none.
    fn opened(signed_in: bool) -> (String, Vec<String>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = asked.clone();
        let address = serve(move |request| {
            let wanted = ["authorization: ", "x-amz-sso_bearer_token: "];
            let is_wanted = |h: &&String| wanted.iter().any(|wanted| h.starts_with(wanted));
            let header = request.headers.iter().find(is_wanted).map_or("", String::as_str);
            noted.lock().unwrap().push(format!("{} {header}", request.path));
            match request.path.starts_with("/federation/credentials") {
                true => answer(
                    200,
                    r#"{"roleCredentials":{"accessKeyId":"AKOFSSO","secretAccessKey":"hush",
                        "sessionToken":"hush","expiration":4102444800000}}"#,
                ),
                false => table(""),
            }
        });
        let home = tempfile::tempdir().unwrap();
        let cache = home.path().join(".aws/sso/cache");
        std::fs::create_dir_all(&cache).unwrap();
        let config = "[profile work]\nsso_session = dev\nsso_account_id = 012345678901\n\
                      sso_role_name = Writer\nregion = us-east-1\n[sso-session dev]\n\
                      sso_region = us-east-1\nsso_start_url = https://d-1.awsapps.com/start\n";
        let file = home.path().join(".aws/config");
        std::fs::write(&file, config).unwrap();
        if signed_in {
            // Named by the SHA-1 of the session's name.
            let token = r#"{"accessToken":"t0k","expiresAt":"2100-01-01T00:00:00Z"}"#;
            let name = "34c6fceca75e456f25e7e99531e2425c6c1de443.json";
            std::fs::write(cache.join(name), token).unwrap();
        }
        let said = in_a_process(
            "dynamodb::single_sign_on::opens",
            &[
                (
                    SERVICE,
                    format!("dynamodb://events?profile=work&endpoint=http%3A%2F%2F{address}"),
                ),
                ("HOME", home.path().display().to_string()),
                ("AWS_CONFIG_FILE", file.display().to_string()),
                ("AWS_ENDPOINT_URL_SSO", format!("http://{address}")),
                ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ],
        );
        (said, asked.lock().unwrap().clone())
    }

    #[test]
    fn a_profile_that_is_signed_in_gets_its_roles_credentials() {
        let (said, asked) = opened(true);
        assert!(said.contains("it is open"), "{said} {asked:?}");
        assert!(
            asked[0].contains("role_name=Writer") && asked[0].ends_with("token: t0k"),
            "{asked:?}"
        );
        assert!(asked[1].contains("credential=akofsso/"), "{asked:?}");
    }

    #[test]
    fn a_profile_that_is_not_signed_in_says_so() {
        let (said, asked) = opened(false);
        assert!(!said.contains("it is open") && said.contains("token"), "{said}");
        assert!(asked.is_empty(), "{asked:?}");
    }
}
