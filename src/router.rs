//! Every route on one page, and the stack that each request goes through.

mod builder;
mod stack;

pub use builder::Routes;

use crate::a2a::{card, grpc, jsonrpc, rest};
use crate::api::{
    agents, codebase_events, codebases, events, health, interactions, models, monitor, network, openapi, peers, sessions, status, streams,
    tasks, tokens, workers,
};
use crate::app::App;
use crate::auth::Access;
use axum::Router;
use axum::routing::{any, post};
use utoipa_axum::routes;

/// All routes.
pub fn router(app: App) -> Router {
    let speaks_grpc = app.config.a2a.grpc;
    let mut routes = a2a(Routes::new(app))
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
        .long(Access::VIEWER, routes!(codebase_events::follow_codebase))
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
        // Interactions
        .route(Access::VIEWER.or(Access::AGENT), routes!(interactions::list))
        .route(Access::VIEWER.or(Access::AGENT), routes!(interactions::list_of_task))
        .route(Access::OPERATOR.or(Access::AGENT), routes!(interactions::reply))
        // Sessions
        .route(Access::WORKER, routes!(sessions::sync))
        .route(Access::WORKER, routes!(sessions::sync_messages))
        .route(Access::VIEWER.or(Access::WORKER), routes!(sessions::list))
        .route(Access::VIEWER.or(Access::WORKER), routes!(sessions::list_of_codebase))
        .route(Access::VIEWER.or(Access::WORKER), routes!(sessions::get))
        .route(Access::VIEWER.or(Access::WORKER), routes!(sessions::messages))
        .route(Access::OPERATOR, routes!(sessions::resume))
        // Agents
        .route(Access::VIEWER.or(Access::AGENT), routes!(agents::directory))
        .route(Access::VIEWER.or(Access::AGENT), routes!(agents::get))
        .route(Access::OPERATOR, routes!(agents::add))
        .route(Access::OPERATOR, routes!(agents::remove))
        // The network of servers
        .route(Access::VIEWER, routes!(peers::list))
        .route(Access::ADMIN, routes!(peers::add))
        .route(Access::ADMIN, routes!(peers::remove))
        .route(Access::PUBLIC, routes!(network::hello))
        .route(Access::PUBLIC, routes!(network::callback))
        .long(Access::PEER, routes!(network::feed))
        .route(Access::PEER, routes!(network::push))
        .route(Access::PEER, routes!(network::events))
        // Of the earlier system
        .route(Access::VIEWER.or(Access::AGENT), routes!(agents::list))
        .route(Access::VIEWER, routes!(monitor::agents))
        .route(Access::VIEWER, routes!(monitor::messages))
        .route(Access::VIEWER, routes!(monitor::search))
        .route(Access::VIEWER, routes!(monitor::count))
        .route(Access::VIEWER, routes!(monitor::stats))
        .long(Access::VIEWER, routes!(monitor::stream))
        .long(Access::VIEWER, routes!(monitor::export_json))
        .long(Access::VIEWER, routes!(monitor::export_csv))
        .route(Access::OPERATOR, routes!(monitor::intervene))
        .dropped();
    if speaks_grpc {
        routes = routes.grpc(Access::AGENT.or(Access::PEER), grpc::PATH, post(grpc::handle));
    }
    routes.finish()
}

/// A2A with JSON: the server's address, and that of each agent.
fn a2a(routes: Routes) -> Routes {
    let caller = Access::AGENT.or(Access::PEER);
    routes
        .long(caller, routes!(jsonrpc::handle))
        .long(caller, routes!(jsonrpc::handle_again))
        .long(caller, routes!(jsonrpc::handle_agent))
        .route(Access::PUBLIC, routes!(card::server))
        .route(Access::VIEWER.or(caller), routes!(card::agent))
        .a2a(caller, "/message:send", any(rest::server))
        .a2a(caller, "/message:stream", any(rest::server))
        .a2a(caller, "/extendedAgentCard", any(rest::server))
        .a2a(caller, "/tasks", any(rest::server))
        .a2a(caller, "/tasks/{*rest}", any(rest::tasks))
        .a2a(caller, "/agents/{name}/{*rest}", any(rest::agent))
}

#[cfg(test)]
mod tests;
