//! Bodies for the responses that hyper sends to requests that it cannot parse: 400, 414 and 431.
//!
//! hyper has no hook for them: it writes a head without a body, then ends the connection. So they
//! are recognized in the bytes that it is about to write. No response of this service looks like
//! that, as each of its errors has a body.

use presence::http::{Problem, Response};

/// The beginning of hyper's own responses, up to the first digit of the status.
const BEGINNING: &[u8] = b"HTTP/1.1 4";

/// The header of hyper's own responses that announces an empty body.
const NO_BODY: &[u8] = b"content-length: 0\r\n";

/// The position of hyper's own response in the bytes that it is about to write. It is always at the
/// end.
pub(super) fn find(bytes: &[u8]) -> Option<usize> {
    // The fast path: this service's bodies do not end like a head.
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let start = bytes
        .windows(BEGINNING.len())
        .rposition(|window| window == BEGINNING)?;
    position_of_no_body(&bytes[start..]).map(|_| start)
}

/// Adds a body to hyper's own response that says what was wrong.
pub(super) fn with_problem(response: &[u8]) -> Vec<u8> {
    let problem = match response.get(BEGINNING.len() - 1..BEGINNING.len() + 2) {
        Some(b"431" | b"414") => Problem::headers_too_large(),
        _ => Problem::malformed(),
    };
    let body = Response::from(problem).into_body();
    let at = position_of_no_body(response).unwrap_or_default();
    let headers = format!(
        "content-type: application/problem+json\r\ncache-control: no-store\r\ncontent-length: {}\r\n",
        body.len()
    );
    [
        &response[..at],
        headers.as_bytes(),
        &response[at + NO_BODY.len()..],
        &body,
    ]
    .concat()
}

fn position_of_no_body(response: &[u8]) -> Option<usize> {
    response
        .windows(NO_BODY.len())
        .position(|window| window == NO_BODY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_HYPER: &[u8] =
        b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n";
    const OF_SERVICE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

    #[test]
    fn a_response_of_hyper_gets_a_body() {
        assert_eq!(find(OF_HYPER), Some(0));
        let response = String::from_utf8(with_problem(OF_HYPER)).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 431 ") && head.contains("date: x"),
            "{head}"
        );
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{head}"
        );
        assert_eq!(head.matches("content-length").count(), 1);
        assert!(body.contains("\"status\":431"), "{body}");
    }

    #[test]
    fn it_is_found_after_a_response_of_the_service() {
        assert_eq!(
            find(&[OF_SERVICE, OF_HYPER].concat()),
            Some(OF_SERVICE.len())
        );
    }

    #[test]
    fn responses_of_the_service_are_unchanged() {
        let to_head = b"HTTP/1.1 404 Not Found\r\ncontent-length: 145\r\n\r\n";
        let redirect = b"HTTP/1.1 307 Temporary Redirect\r\ncontent-length: 0\r\n\r\n";
        let stream = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
        for bytes in [OF_SERVICE, to_head, redirect, stream, b"", b"\r\n\r\n"] {
            assert_eq!(find(bytes), None, "{}", String::from_utf8_lossy(bytes));
        }
    }
}
