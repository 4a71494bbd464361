//! Bodies: requests' whole and bounded, answers' as axum has them.

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::Method,
    response::Response,
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use presence::http::{self, Answer, MAX_BODY, Problem};

/// How much of a body is read that nobody wants, in bytes: a client that is still sending when the connection closes
/// would not see why.
const MAX_UNWANTED: usize = 8 * 1024 * 1024;

/// The request with its whole body.
///
/// # Errors
/// 413 for a body that is too long; 400 for one that does not arrive.
pub(crate) async fn with_body(request: Request) -> Result<http::Request, Problem> {
    let (parts, mut body) = request.into_parts();
    if matches!(parts.method, Method::GET | Method::HEAD) {
        return Ok(http::Request::from_parts(parts, Bytes::new()));
    }
    match Limited::new(&mut body, MAX_BODY).collect().await {
        Ok(body) => Ok(http::Request::from_parts(parts, body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => {
            discard(body).await;
            Err(Problem::too_large(MAX_BODY))
        }
        Err(_) => Err(Problem::invalid_request("the body did not arrive whole")),
    }
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
    let mut length = 0;
    while let Some(Ok(frame)) = body.frame().await {
        length += frame.data_ref().map_or(0, Bytes::len);
        if length > MAX_UNWANTED {
            break;
        }
    }
}
