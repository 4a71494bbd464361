//! The console: a page for operators, and the data that it requests.
//!
//! - `page`: the page's files, which contain no data.
//! - `players`: diagnostics and recent events of a player.
//! - `events`: live events.

mod events;
mod page;
mod players;

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use presence::runtime::App;
use tokio::sync::watch;

use crate::{access::Access, middleware::Middleware};

/// Builds the console's routes. Those with data need a token that reads. Streams end when the
/// sender of `closing` is dropped.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(
    app: &App,
    middleware: &Middleware,
    closing: watch::Receiver<()>,
) -> Router<S> {
    let operator_queries = app.operator_queries();
    let explain = async move |request, _| players::explain(&operator_queries, request).await;
    let players = middleware.calls("/console/players/{player_id}");
    let mut routes = players.get(Access::Read, explain);
    // Without events, these paths are a 404.
    if let Some(live) = app.live_events() {
        let histories = players::Histories::new(live.clone());
        let search = async move |request, _| histories.respond(request).await;
        let history = middleware.calls("/console/players/{player_id}/events");
        let streams = events::Streams::new(live, closing);
        let open = async move |_, _| streams.open().await;
        let events = middleware.calls("/console/events");
        routes = routes
            .merge(history.get(Access::Read, search))
            .merge(events.get(Access::Read, open));
    }
    for asset in page::ASSETS {
        let file = middleware.calls(asset.path);
        let respond = async |_, _| asset.response();
        routes = routes.merge(file.get_exactly(Access::Open, respond));
    }
    // The page refers to its files relative to `/console`, so that a proxy may add a prefix. Under
    // `/console/` those links would break, so it is redirected.
    for (path, location) in [("/", "console"), ("/console/", "../console")] {
        let link = middleware.calls(path);
        let redirect = async move |_, _| redirect_to(location);
        routes = routes.merge(link.get_exactly(Access::Open, redirect));
    }
    routes
}

fn redirect_to(location: &'static str) -> Response {
    (
        StatusCode::TEMPORARY_REDIRECT,
        [(header::LOCATION, location)],
    )
        .into_response()
}
