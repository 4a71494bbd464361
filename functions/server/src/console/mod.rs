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
    routing::{MethodRouter, get},
};
use presence::runtime::App;
use tokio::sync::watch;

/// The console's routes. Those with data pass through `private`, which asks for a token. Streams end when `closing` does:
/// when the sender is gone.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(
    app: &App,
    private: impl Fn(MethodRouter<S>) -> MethodRouter<S>,
    closing: watch::Receiver<()>,
) -> Router<S> {
    let insight = app.insight();
    let explain = get(async move |path| players::explain(&insight, path).await);
    let mut routes = Router::new().route("/console/players/{player_id}", private(explain));
    // Where no events are made there is nothing at this path.
    if let Some(events) = app.live_events().map(|live| events::Streams::new(live, closing)) {
        routes = routes.route("/console/events", private(get(async move || events.open().await)));
    }
    page::ASSETS.iter().fold(routes, |routes, asset| routes.route(asset.path, get(async || asset.response())))
}
