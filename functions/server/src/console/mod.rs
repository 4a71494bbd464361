//! The console: a page for people who want to see what goes on, and the data that it asks for.
//!
//! - `page`: the page itself, which holds no data.
//! - `players`: all that is known of a player.
//! - `events`: events as they come.

mod events;
mod page;
mod players;

use axum::{Router, routing::get};
use presence::runtime::App;
use tokio::sync::watch;

use crate::gate::Gates;

/// The console's routes. Those with data ask for a token. Streams end when `closing` does: when the sender is gone.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(
    app: &App,
    gates: &Gates,
    closing: watch::Receiver<()>,
) -> Router<S> {
    let insight = app.insight();
    let explain = get(async move |path| players::explain(&insight, path).await);
    let path = "/console/players/{player_id}";
    let mut routes = Router::new().route(path, gates.private(path, explain));
    // Where no events are made there is nothing at this path.
    if let Some(events) = app.live_events().map(|live| events::Streams::new(live, closing)) {
        let path = "/console/events";
        routes = routes.route(path, gates.private(path, get(async move || events.open().await)));
    }
    page::ASSETS.iter().fold(routes, |routes, asset| {
        routes.route(asset.path, gates.public(asset.path, get(async || asset.response())))
    })
}
