//! Bodies: requests' whole and bounded, answers' as axum has them.

use std::time::Duration;

use axum::{
    body::{Body, Bytes, HttpBody as _},
    extract::Request,
    http::Method,
    response::Response,
};
use http_body_util::BodyExt as _;
use presence::http::{self, Answer, MAX_BODY, Problem};
use tokio::time::timeout;

use crate::load::{Load, Room};

/// How much of a body is read that nobody wants, in bytes: a client that is still sending when the connection closes
/// would not see why.
const MAX_UNWANTED: usize = 8 * 1024 * 1024;

/// For how long, likewise.
const UNWANTED_LIMIT: Duration = Duration::from_secs(5);

/// The request with its whole body, and the room that this takes up.
///
/// # Errors
/// 413 for a body that is too long; 400 for one that does not arrive; 503 where others take up the room for it.
pub(crate) async fn with_body(request: Request, load: &Load) -> Result<(http::Request, Room<'_>), Problem> {
    let (parts, mut body) = request.into_parts();
    let (mut whole, mut room) = (Vec::new(), Room::default());
    if matches!(parts.method, Method::GET | Method::HEAD) {
        return Ok((http::Request::from_parts(parts, Bytes::new()), room));
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::invalid_request("the body did not arrive whole"))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > MAX_BODY {
            drop((whole, room));
            discard(body).await;
            return Err(Problem::too_large(MAX_BODY));
        }
        whole.reserve(if whole.is_empty() && body.is_end_stream() { 0 } else { data.len() });
        load.make_room(&mut room, whole.capacity().max(data.len()))?;
        if whole.is_empty() && body.is_end_stream() {
            return Ok((http::Request::from_parts(parts, data), room)); // as most are: one piece, not copied
        }
        whole.extend_from_slice(&data);
    }
    Ok((http::Request::from_parts(parts, whole.into()), room))
}

/// A handler's answer, as axum has it.
pub(crate) fn respond(answer: Answer) -> Response {
    answer.unwrap_or_else(Into::into).map(Body::from)
}

/// Answers a request whose body nobody wants.
pub(crate) async fn refuse(request: Request, problem: Problem) -> Response {
    discard(request.into_body()).await;
    respond(Err(problem))
}

async fn discard(mut body: Body) {
    let read = async {
        let mut length = 0;
        while let Some(Ok(frame)) = body.frame().await {
            length += frame.data_ref().map_or(0, Bytes::len);
            if length > MAX_UNWANTED {
                break;
            }
        }
    };
    let _ = timeout(UNWANTED_LIMIT, read).await; // who is as slow as that does not see why
}
