//! `GET /openapi.json`: what this server answers, as `docs/openapi.yaml` describes it.

use axum::{
    http::header,
    response::{IntoResponse as _, Response},
};

/// Made of the YAML by `build.rs`.
const DESCRIPTION: &str = include_str!(concat!(env!("OUT_DIR"), "/openapi.json"));

/// The description.
pub(crate) fn describe() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DESCRIPTION).into_response()
}
