//! Every route on one page, and the stack that each request goes through.

mod builder;
mod stack;

pub use builder::Routes;

use crate::api::{health, openapi, tokens};
use crate::app::App;
use crate::auth::Access;
use axum::Router;
use utoipa_axum::routes;

/// All routes.
pub fn router(app: App) -> Router {
    let routes = Routes::new(app)
        // Operations
        .route(Access::PUBLIC, routes!(health::healthz))
        .route(Access::PUBLIC, routes!(health::health))
        .route(Access::PUBLIC, routes!(health::readyz))
        .route(Access::VIEWER, routes!(health::metrics))
        .route(Access::PUBLIC, routes!(openapi::document))
        // Tokens
        .route(Access::ADMIN, routes!(tokens::create, tokens::list))
        .route(Access::ADMIN, routes!(tokens::revoke));
    routes.finish()
}

#[cfg(test)]
mod tests;
