//! The only way to add a route: with what it demands of its callers.

use super::stack;
use crate::a2a::rest;
use crate::api::gone;
use crate::api::openapi::Document;
use crate::app::App;
use crate::auth::Access;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::MethodRouter;
use axum::{Extension, Router};
use muster_protocol::error::ErrorBody;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, ContentBuilder, Info, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter, UtoipaMethodRouterExt};

const SECURITY: &str = "token";

/// Routes under construction.
pub struct Routes {
    app: App,
    router: OpenApiRouter<App>,
}

impl Routes {
    /// None yet.
    #[must_use]
    pub fn new(app: App) -> Self {
        Self { app, router: OpenApiRouter::with_openapi(document()) }
    }

    /// Adds a route whose answer takes `limits.request_timeout` at most.
    #[must_use]
    pub fn route(self, access: Access, routes: UtoipaMethodRouter<App>) -> Self {
        let timeout = from_fn_with_state(self.app.config.limits.request_timeout, stack::within);
        self.long(access, routes.map(|methods| methods.route_layer(timeout)))
    }

    /// Adds a route that may take as long as it likes: a long poll or a stream.
    #[must_use]
    pub fn long(self, access: Access, routes: UtoipaMethodRouter<App>) -> Self {
        let guard = from_fn_with_state((self.app.clone(), access), stack::guard);
        let (schemas, mut paths, methods) = routes;
        paths.paths.values_mut().flat_map(operations).for_each(|operation| describe(operation, access));
        Self { router: self.router.routes((schemas, paths, methods.route_layer(guard))), ..self }
    }

    /// Adds a route of A2A's HTTP+JSON: refusals have A2A's body. The specification of A2A describes it, so that the document does not.
    #[must_use]
    pub fn a2a(self, access: Access, path: &str, methods: MethodRouter<App>) -> Self {
        let guard = from_fn_with_state((self.app.clone(), access), stack::guard);
        // As a layer: a route for any method is a fallback, which route layers pass over.
        let methods = methods.layer(guard).layer(from_fn(rest::spelled));
        Self { router: self.router.route(path, methods), ..self }
    }

    /// Adds a route of A2A's gRPC, which the document says nothing of either.
    #[must_use]
    pub fn grpc(self, access: Access, path: &str, methods: MethodRouter<App>) -> Self {
        let guard = from_fn_with_state((self.app.clone(), access), stack::guard);
        Self { router: self.router.route(path, methods.route_layer(guard)), ..self }
    }

    /// Adds the routes that were dropped on purpose.
    #[must_use]
    pub fn dropped(self) -> Self {
        Self { router: self.router.merge(gone::routes().into()), ..self }
    }

    /// The router with its stack, and the document at `/openapi.json`.
    pub fn finish(self) -> Router {
        let (router, document) = self.router.split_for_parts();
        let json = document.to_json().unwrap_or_else(|error| {
            tracing::error!("the OpenAPI document cannot be written: {error}");
            "{}".to_owned()
        });
        let router = router.layer(Extension(Document(json.into())));
        stack::around(router, &self.app).with_state(self.app)
    }
}

fn document() -> OpenApi {
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("`Authorization: Bearer muster_..`. On a server that listens on loopback only, the local user needs none."))
        .build();
    let mut components = Components::new();
    components.add_security_scheme(SECURITY, SecurityScheme::Http(token));
    let mut schemas = vec![(ErrorBody::name().into_owned(), ErrorBody::schema())];
    ErrorBody::schemas(&mut schemas);
    components.schemas.extend(schemas);
    let mut info = Info::new("Muster", env!("CARGO_PKG_VERSION"));
    info.description = Some(env!("CARGO_PKG_DESCRIPTION").to_owned());
    OpenApiBuilder::new().info(info).components(Some(components)).build()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, patch, .. } = item;
    [get, put, post, delete, patch].into_iter().flatten()
}

/// Names the operation, says what it demands, and what its errors look like.
fn describe(operation: &mut Operation, access: Access) {
    // A handler's name is one among those of its resource only: `tasks.list`, `workers.list`.
    if let (Some(tag), Some(name)) = (operation.tags.iter().flatten().next(), &operation.operation_id) {
        operation.operation_id = Some(format!("{tag}.{name}"));
    }
    let error = ContentBuilder::new().schema(Some(Ref::from_schema_name(ErrorBody::name()))).build();
    let error = ResponseBuilder::new().description("A refusal").content("application/json", error).build();
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && response.description.is_empty()
        {
            // The specification wants a text for each.
            let text = if status.starts_with('2') { "The answer" } else { "A refusal" };
            text.clone_into(&mut response.description);
        }
    }
    operation.responses.responses.entry("default".to_owned()).or_insert_with(|| error.into());
    if !access.is_public() {
        operation.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>(SECURITY, [])]);
        let scope = format!("Scope: {}.", access.words());
        let text = operation.description.take().map_or_else(|| scope.clone(), |text| format!("{text}\n\n{scope}"));
        operation.description = Some(text);
    }
}
