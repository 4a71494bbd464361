//! The console: a page for people who want to see what goes on, and the data that it asks for.
//!
//! - `page`: the page itself, which holds no data.
//! - `players`: all that is known of a player.
//! - `events`: events as they come.

mod events;
mod page;
mod players;

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::MethodFilter,
};
use presence::runtime::App;
use tokio::sync::watch;

use crate::{access::Access, middleware::Middleware};

/// The console's routes. Those with data need a token that reads. Streams end when `closing` does: when the sender is gone.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(
    app: &App,
    middleware: &Middleware,
    closing: watch::Receiver<()>,
) -> Router<S> {
    let insight = app.insight();
    let explain = async move |request, _| players::explain(&insight, request).await;
    let players = middleware.calls("/console/players/{player_id}");
    let mut routes = players.on(MethodFilter::GET, Access::Read, explain);
    // Without events there is nothing at this path.
    if let Some(events) = app.live_events().map(|live| events::Streams::new(live, closing)) {
        let open = async move |_, _| events.open().await;
        routes = routes.merge(middleware.calls("/console/events").on(MethodFilter::GET, Access::Read, open));
    }
    for asset in page::ASSETS {
        let middleware = middleware.calls(asset.path);
        let show = async |_, _| asset.response();
        routes = routes.merge(middleware.exactly_on(MethodFilter::GET, Access::Open, show));
    }
    // The page names its parts relative to its own path, so that a proxy may put a prefix before it: `/console/` is no
    // place for it.
    for (path, location) in [("/", "console"), ("/console/", "../console")] {
        let lead = async move |_, _| redirect(location);
        routes = routes.merge(middleware.calls(path).exactly_on(MethodFilter::GET, Access::Open, lead));
    }
    routes
}

fn redirect(location: &'static str) -> Response {
    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response()
}
