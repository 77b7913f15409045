use super::*;
use crate::auth::Principal;
use crate::auth::local::Connection;
use crate::clock::{ManualClock, SystemIds};
use crate::config::{Config, ServeArgs, Surroundings};
use crate::domain::federation::Shared;
use crate::lifecycle::Lifecycle;
use crate::store::{OpenOptions, Store};
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode};
use muster_protocol::error::ErrorBody;
use muster_protocol::token::TokenCreated;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt;

struct Server {
    router: Router,
    clock: Arc<ManualClock>,
    _dir: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn error(&self) -> ErrorBody {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[utoipa::path(get, path = "/test/panic")]
async fn panics() {
    panic!("on purpose");
}

#[utoipa::path(get, path = "/test/hang")]
async fn hangs() {
    std::future::pending::<()>().await;
}

#[utoipa::path(get, path = "/test/who")]
async fn who(principal: Principal) -> String {
    principal.id.to_string()
}

#[utoipa::path(get, path = "/test/unguarded")]
async fn unguarded(principal: Principal) -> String {
    principal.id.to_string()
}

impl Server {
    async fn start(env: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let around = Surroundings { env, host: "here".to_owned(), user_data_dir: Some(dir.path().to_owned()) };
        let args = ServeArgs { data_dir: Some(dir.path().display().to_string()), ..ServeArgs::default() };
        let config = Config::load(&args, &around).unwrap();
        let (clock, ids) = (Arc::new(ManualClock::default()), Arc::new(SystemIds::default()));
        let options = OpenOptions {
            url: config.database.url(),
            name: config.name.clone(),
            shared: Shared::everything(),
            readers: 2,
            queue: 100,
            clock: clock.clone(),
            ids: ids.clone(),
        };
        let store = Store::open(options).await.unwrap();
        let app = App::new(config, store, clock.clone(), ids, Lifecycle::new());
        let tests = Routes::new(app.clone())
            .route(Access::VIEWER, routes!(panics))
            .route(Access::VIEWER, routes!(hangs))
            .route(Access::VIEWER, routes!(who))
            .route(Access::PUBLIC, routes!(unguarded));
        Self { router: Router::new().merge(router(app)).fallback_service(tests.finish()), clock, _dir: dir }
    }

    async fn ask(&self, request: axum::http::request::Builder, body: impl Into<Body>) -> Answer {
        let mut request = request.body(body.into()).unwrap();
        if !request.headers().contains_key("host") {
            request.headers_mut().insert("host", "localhost:5001".parse().unwrap());
        }
        let here = Connection { peer: ([127, 0, 0, 1], 4000).into(), listener: ([127, 0, 0, 1], 5001).into() };
        request.extensions_mut().insert(ConnectInfo(here));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec();
        Answer { status, headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Request::get(path), Body::empty()).await
    }

    async fn create_token(&self, body: Value) -> TokenCreated {
        let answer = self.ask(Request::post("/v1/tokens"), body.to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// Asks from elsewhere with a token.
    async fn with_token(&self, path: &str, secret: &str) -> Answer {
        let request = Request::get(path).header("host", "muster.example.com").header("authorization", format!("Bearer {secret}"));
        self.ask(request, Body::empty()).await
    }
}

#[tokio::test]
async fn probes_need_no_credential_and_say_ok() {
    let server = Server::start(&[]).await;
    for path in ["/healthz", "/readyz"] {
        let answer = server.ask(Request::get(path).header("host", "anything.example"), Body::empty()).await;
        assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({"status": "ok"})), "{path}");
    }
}

#[tokio::test]
async fn an_unknown_path_and_a_wrong_method_answer_with_our_error_body() {
    let server = Server::start(&[]).await;
    let unknown = server.get("/v1/nothing").await;
    assert_eq!((unknown.status, unknown.error().error.code.as_str()), (StatusCode::NOT_FOUND, "not_found"));
    let wrong = server.ask(Request::delete("/healthz"), Body::empty()).await;
    assert_eq!((wrong.status, wrong.error().error.code.as_str()), (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"));
    assert_eq!(wrong.headers["allow"], "GET,HEAD");
}

#[tokio::test]
async fn a_route_that_was_dropped_on_purpose_says_what_to_use_instead() {
    let server = Server::start(&[]).await;
    for (path, instead) in [
        ("/v1/opencode/codebases/c-1/interrupt", "/cancel"),
        ("/v1/opencode/codebases/c-1/watch/start", "/events"),
        ("/v1/opencode/codebases/c-1/sessions/s-1/ingest", "/messages/sync"),
        ("/v1/opencode/runtime/sessions", "/v1/opencode/workers"),
    ] {
        let answer = server.ask(Request::post(path), Body::empty()).await;
        assert_eq!((answer.status, answer.error().error.code.as_str()), (StatusCode::GONE, "gone"), "{path}");
        assert!(answer.error().detail.contains(instead), "{}", answer.error().detail);
    }
}

#[tokio::test]
async fn every_answer_carries_a_request_id_and_a_callers_own_is_kept() {
    let server = Server::start(&[]).await;
    assert!(server.get("/v1/nothing").await.headers.contains_key("x-request-id"));
    let own = "0193a0c0-0000-7000-8000-000000000001";
    let answer = server.ask(Request::get("/healthz").header("x-request-id", own), Body::empty()).await;
    assert_eq!(answer.headers["x-request-id"], own);
    let unfit = server.ask(Request::get("/healthz").header("x-request-id", "x y"), Body::empty()).await;
    assert_ne!(unfit.headers["x-request-id"], "x y");
}

#[tokio::test]
async fn a_panic_is_a_500_with_our_error_body_and_the_server_goes_on() {
    let server = Server::start(&[]).await;
    let answer = server.get("/test/panic").await;
    assert_eq!((answer.status, answer.error().error.code.as_str()), (StatusCode::INTERNAL_SERVER_ERROR, "internal"));
    assert!(!answer.error().detail.contains("on purpose"));
    assert_eq!(server.get("/healthz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_refused() {
    let server = Server::start(&[("MUSTER_LIMITS_REQUEST_TIMEOUT", "50ms")]).await;
    let answer = server.get("/test/hang").await;
    assert_eq!((answer.status, answer.error().error.code.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "overloaded"));
    assert!(answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_handler_that_asks_for_a_principal_without_a_guard_refuses() {
    let server = Server::start(&[]).await;
    assert_eq!(server.get("/test/who").await.body, b"local");
    assert_eq!(server.get("/test/unguarded").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_token_is_good_from_its_making_to_its_end() {
    let server = Server::start(&[]).await;
    let TokenCreated { token, secret } = server.create_token(json!({"scope": "viewer", "name": "laptop", "ttl_s": 60})).await;
    let answer = server.with_token("/test/who", &secret).await;
    assert_eq!((answer.status, String::from_utf8(answer.body).unwrap()), (StatusCode::OK, format!("token:{}", token.id)));
    assert_eq!(server.with_token("/v1/tokens", &secret).await.status, StatusCode::FORBIDDEN);
    server.clock.advance(Duration::from_secs(61));
    let expired = server.with_token("/test/who", &secret).await;
    assert_eq!(expired.status, StatusCode::UNAUTHORIZED);
    assert!(expired.error().detail.contains("has expired") && expired.headers.contains_key("www-authenticate"));
}

#[tokio::test]
async fn a_revoked_token_is_refused_and_stays_in_the_list_without_its_secret() {
    let server = Server::start(&[]).await;
    let TokenCreated { token, secret } = server.create_token(json!({"scope": "admin"})).await;
    let path = format!("/v1/tokens/{}", token.id);
    assert_eq!(server.ask(Request::delete(&path), Body::empty()).await.status, StatusCode::OK);
    assert_eq!(server.with_token("/v1/tokens", &secret).await.status, StatusCode::UNAUTHORIZED);
    let list = server.get("/v1/tokens").await;
    assert!(list.json()[0]["revoked_at"].is_string());
    assert!(!String::from_utf8(list.body).unwrap().contains(&secret));
    let unknown = server.ask(Request::delete("/v1/tokens/0193a0c0-0000-7000-8000-000000000001"), Body::empty()).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_wrong_token_request_names_each_field() {
    let server = Server::start(&[]).await;
    let body = json!({"scope": "viewer", "ttl_s": 0, "worker_id": "w-1"}).to_string();
    let answer = server.ask(Request::post("/v1/tokens"), body).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let fields = answer.error().error.details["fields"].clone();
    assert_eq!((fields[0]["field"].as_str(), fields[1]["field"].as_str()), (Some("ttl_s"), Some("worker_id")));
    let answer = server.ask(Request::post("/v1/tokens"), r#"{"scope":"root"}"#).await;
    assert!(answer.error().detail.starts_with("scope: unknown variant `root`"), "{}", answer.error().detail);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_also_while_bodies_are_logged() {
    for env in [&[("MUSTER_LIMITS_MAX_BODY", "64 KiB")][..], &[("MUSTER_LIMITS_MAX_BODY", "64 KiB"), ("MUSTER_LOG_HTTP", "true")]] {
        let server = Server::start(env).await;
        let answer = server.ask(Request::post("/v1/tokens"), vec![b' '; (64 << 10) + 1]).await;
        assert_eq!((answer.status, answer.error().error.code.as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "too_large"));
        let fits = server.ask(Request::post("/v1/tokens"), r#"{"scope":"viewer"}"#).await;
        assert_eq!(fits.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn the_document_describes_every_route_with_its_scope_and_its_errors() {
    let server = Server::start(&[]).await;
    let document = server.get("/openapi.json").await.json();
    assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    assert!(document["components"]["schemas"]["ErrorBody"].is_object());
    assert!(document["components"]["schemas"]["ErrorInfo"].is_object());
    let paths = document["paths"].as_object().unwrap();
    let mut ids = std::collections::BTreeSet::new();
    for (path, operation) in paths.iter().flat_map(|(path, item)| item.as_object().unwrap().iter().map(move |(_, op)| (path, op))) {
        let error = &operation["responses"]["default"]["content"]["application/json"]["schema"]["$ref"];
        assert_eq!(error, "#/components/schemas/ErrorBody", "{path}");
        assert!(ids.insert(operation["operationId"].to_string()), "{path}: {} is there twice", operation["operationId"]);
    }
    assert_eq!(paths["/v1/tokens"]["post"]["description"], "Scope: admin.");
    assert!(paths["/healthz"]["get"]["security"].is_null());
}

#[tokio::test]
async fn metrics_count_requests_by_route_template() {
    let server = Server::start(&[]).await;
    crate::telemetry::metrics().unwrap();
    server.ask(Request::delete("/v1/tokens/0193a0c0-0000-7000-8000-000000000001"), Body::empty()).await;
    let text = String::from_utf8(server.get("/metrics").await.body).unwrap();
    let expected = r#"muster_http_requests_total{method="DELETE",route="/v1/tokens/{id}",status="404"}"#;
    assert!(text.contains(expected), "{text}");
}
