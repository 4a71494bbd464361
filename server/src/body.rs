//! Bodies: bounded reading of requests, and conversion of responses to axum's type.

use std::time::Duration;

use axum::{
    body::{Body, Bytes, HttpBody as _},
    extract::Request,
    http::Method,
    response::Response,
};
use http_body_util::BodyExt as _;
use presence::http::{self, HandlerResult, MAX_BODY, Problem};
use tokio::time::timeout;

use crate::admission::{Admission, BodyPermit};

/// The most bytes of a refused request's body that are read. A client that is still sending when
/// the connection closes would not see the response.
const MAX_DISCARDED_BYTES: usize = 8 * 1024 * 1024;

/// Time limit for draining a refused request's body.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads the body of a request. Returns the request, and the permit for the body's memory.
///
/// # Errors
/// 413 for a body that is too long; 400 for one that does not arrive; 503 if other bodies take up
/// too much memory.
pub(crate) async fn with_body(
    request: Request,
    admission: &Admission,
) -> Result<(http::Request, BodyPermit<'_>), Problem> {
    let (parts, mut body) = request.into_parts();
    let mut whole = Vec::new();
    let mut permit = BodyPermit::default();
    if matches!(parts.method, Method::GET | Method::HEAD) {
        return Ok((http::Request::from_parts(parts, Bytes::new()), permit));
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::invalid_request("the body did not arrive whole"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if whole.len() + data.len() > MAX_BODY {
            drop((whole, permit));
            discard(body).await;
            return Err(Problem::too_large(MAX_BODY));
        }
        whole.reserve(if whole.is_empty() && body.is_end_stream() {
            0
        } else {
            data.len()
        });
        admission.reserve(&mut permit, whole.capacity().max(data.len()))?;
        // The fast path: most bodies arrive in one piece, which is not copied.
        if whole.is_empty() && body.is_end_stream() {
            return Ok((http::Request::from_parts(parts, data), permit));
        }
        whole.extend_from_slice(&data);
    }
    Ok((http::Request::from_parts(parts, whole.into()), permit))
}

/// Converts the result of a handler to axum's response.
pub(crate) fn respond(result: HandlerResult) -> Response {
    result.unwrap_or_else(Into::into).map(Body::from)
}

/// Responds to a request with a problem. The body is read and discarded.
pub(crate) async fn refuse(request: Request, problem: Problem) -> Response {
    discard(request.into_body()).await;
    respond(Err(problem))
}

async fn discard(mut body: Body) {
    let read = async {
        let mut length = 0;
        while let Some(Ok(frame)) = body.frame().await {
            length += frame.data_ref().map_or(0, Bytes::len);
            if length > MAX_DISCARDED_BYTES {
                break;
            }
        }
    };
    let _ = timeout(DISCARD_TIMEOUT, read).await; // a slower client may not see the response
}
