//! The console: a page for people who want to see what goes on, and the data that it asks for.
//!
//! - `page`: the page itself, which holds no data.
//! - `players`: all that is known of a player.
//! - `events`: events as they come.

mod events;
mod page;
mod players;

use axum::{Router, routing::MethodFilter};
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
    let explain = async move |request, _| players::explain(&insight, request).await;
    let mut routes = gates.private("/console/players/{player_id}").on(MethodFilter::GET, explain);
    // Where no events are made there is nothing at this path.
    if let Some(events) = app.live_events().map(|live| events::Streams::new(live, closing)) {
        let open = async move |_, _| events.open().await;
        routes = routes.merge(gates.private("/console/events").on(MethodFilter::GET, open));
    }
    page::ASSETS.iter().fold(routes, |routes, asset| {
        routes.merge(gates.public(asset.path).on(MethodFilter::GET, async |_, _| asset.response()))
    })
}
