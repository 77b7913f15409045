//! Every route on one page, and the stack that each request goes through.

mod builder;
mod stack;

pub use builder::Routes;

use crate::a2a::jsonrpc;
use crate::api::{codebases, events, health, models, openapi, status, streams, tasks, tokens, workers};
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
        .route(Access::VIEWER, routes!(status::get))
        .long(Access::VIEWER, routes!(events::list))
        // Tokens
        .route(Access::ADMIN, routes!(tokens::create, tokens::list))
        .route(Access::ADMIN, routes!(tokens::revoke))
        // Workers
        .route(Access::WORKER, routes!(workers::register))
        .route(Access::VIEWER.or(Access::WORKER), routes!(workers::list))
        .route(Access::VIEWER.or(Access::WORKER), routes!(workers::get))
        .route(Access::WORKER, routes!(workers::heartbeat))
        .route(Access::WORKER.or(Access::OPERATOR), routes!(workers::unregister))
        .long(Access::WORKER, routes!(workers::pull))
        .route(Access::WORKER.or(Access::OPERATOR), routes!(workers::drain))
        .route(Access::WORKER.or(Access::OPERATOR), routes!(workers::resume))
        .route(Access::VIEWER, routes!(models::list))
        // Codebases
        .route(Access::OPERATOR.or(Access::WORKER), routes!(codebases::create))
        .route(Access::VIEWER.or(Access::WORKER), routes!(codebases::list))
        .route(Access::VIEWER.or(Access::WORKER), routes!(codebases::list_again))
        .route(Access::VIEWER.or(Access::WORKER), routes!(codebases::get))
        .route(Access::OPERATOR, routes!(codebases::delete))
        .route(Access::OPERATOR, routes!(codebases::trigger))
        .long(Access::VIEWER, routes!(streams::follow_codebase))
        // Tasks
        .route(Access::OPERATOR.or(Access::AGENT), routes!(tasks::submit))
        .route(Access::VIEWER.or(Access::AGENT).or(Access::WORKER), routes!(tasks::list))
        .route(Access::OPERATOR, routes!(tasks::submit_for_codebase))
        .route(Access::VIEWER.or(Access::WORKER), routes!(tasks::list_of_codebase))
        .route(Access::VIEWER.or(Access::AGENT).or(Access::WORKER), routes!(tasks::get))
        .route(Access::WORKER, routes!(tasks::report))
        .route(Access::OPERATOR.or(Access::AGENT), routes!(tasks::cancel))
        .route(Access::VIEWER.or(Access::AGENT), routes!(tasks::explain))
        .route(Access::OPERATOR.or(Access::AGENT), routes!(tasks::retry))
        .route(Access::OPERATOR.or(Access::AGENT), routes!(tasks::message))
        .route(Access::WORKER, routes!(tasks::append))
        .long(Access::VIEWER.or(Access::AGENT), routes!(streams::follow))
        .route(Access::VIEWER.or(Access::AGENT), routes!(streams::output))
        .route(Access::WORKER, routes!(tasks::post_output))
        .long(Access::VIEWER.or(Access::AGENT), routes!(streams::follow_output))
        // A2A
        .long(Access::AGENT, routes!(jsonrpc::handle))
        // Of the earlier system
        .dropped();
    routes.finish()
}

#[cfg(test)]
mod tests;
