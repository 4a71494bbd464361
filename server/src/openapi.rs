//! The API description at `GET /openapi.json`, which is `docs/openapi.yaml` as JSON.

use axum::{
    http::header,
    response::{IntoResponse as _, Response},
};

/// The description as JSON, which `build.rs` generates from the YAML.
const DESCRIPTION: &str = include_str!(concat!(env!("OUT_DIR"), "/openapi.json"));

/// Responds with the API description.
pub(crate) fn describe() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DESCRIPTION).into_response()
}
