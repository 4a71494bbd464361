//! The health probe, for a schedule (an unhealthy service fails the invocation, so that an alarm
//! can see it) and for HTTP (an unhealthy service responds with 503).

use std::sync::Arc;

use presence::{
    http::{Problem, ready},
    runtime::{App, Error, Event, http_method, lambda_response},
};
use serde_json::Value;

/// Checks Redis, scripts, JetStream, the sweep and the outbox.
///
/// # Errors
/// If the event is not an HTTP request and the service is unavailable.
pub async fn handle(app: Arc<App>, event: Event) -> Result<Value, Error> {
    match http_method(&event.payload) {
        Some(("GET" | "HEAD", origin)) => Ok(lambda_response(
            Ok(ready(&app.health().latest().await)),
            &origin,
        )),
        Some((_, origin)) => Ok(lambda_response(
            Err(Problem::method_not_allowed("GET, HEAD")),
            &origin,
        )),
        None => {
            let health = app
                .health_probe()
                .check_and_count(&app.operator_queries())
                .await;
            let report = serde_json::to_value(&health)?;
            if health.is_available() {
                Ok(report)
            } else {
                Err(format!("presence is unavailable: {report}").into())
            }
        }
    }
}
