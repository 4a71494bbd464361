//! Calls: the bounds of concurrent calls and of memory for their bodies, the body of a request, and
//! the response. Calls beyond the bounds are refused, before memory or latency grows without bound.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes, HttpBody as _},
    extract::Request,
    http::Method,
    response::Response,
};
use http_body_util::BodyExt as _;
use presence::{
    PresenceService,
    http::{self, HandlerResult, MAX_BODY, Problem},
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

/// The number of concurrent calls.
const MAX_CALLS: usize = 512;

/// The memory for bodies that are being received or handled, in KiB.
const MAX_BODIES_KIB: usize = 64 * 1024;

/// The bytes of each body that need no permit, so that calls about one player are served while
/// batches are refused. With all connections in use, these bodies fit into memory.
const FREE_BODY_BYTES: usize = 4 * 1024;

/// The most bytes of a refused request's body that are read. A client that is still sending when
/// the connection closes would not see the response.
const MAX_DISCARDED_BYTES: usize = 8 * 1024 * 1024;

/// Time limit for draining a refused request's body.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// The bounds, and how much of them is in use.
#[derive(Debug)]
pub(crate) struct Admission {
    calls: Semaphore,
    bodies: Semaphore,
}

/// A permit for the memory of one body. It is returned when this is dropped.
#[derive(Debug, Default)]
struct BodyPermit<'a>(Option<SemaphorePermit<'a>>);

impl Admission {
    pub(crate) fn new() -> Self {
        Self {
            calls: Semaphore::new(MAX_CALLS),
            bodies: Semaphore::new(MAX_BODIES_KIB),
        }
    }

    /// Runs a handler on a request with its whole body, if both are admitted.
    pub(crate) async fn run<F>(
        &self,
        request: Request,
        presence: Arc<PresenceService>,
        handler: fn(Arc<PresenceService>, http::Request) -> F,
    ) -> Response
    where
        F: Future<Output = HandlerResult>,
    {
        let result = async {
            let (request, _permit) = self.read_body(request).await?;
            let _call = self.admit()?;
            handler(presence, request).await
        };
        respond(result.await)
    }

    /// Reads the body of a request. Returns the request, and the permit for the body's memory.
    ///
    /// # Errors
    /// 413 for a body that is too long; 400 for one that does not arrive; 503 if other bodies take
    /// up too much memory.
    async fn read_body(
        &self,
        request: Request,
    ) -> Result<(http::Request, BodyPermit<'_>), Problem> {
        let (parts, mut body) = request.into_parts();
        let mut whole = Vec::new();
        let mut permit = BodyPermit::default();
        if matches!(parts.method, Method::GET | Method::HEAD) {
            return Ok((http::Request::from_parts(parts, Bytes::new()), permit));
        }
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|_| Problem::invalid_request("the body did not arrive whole"))?;
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
            self.reserve(&mut permit, whole.capacity().max(data.len()))?;
            // The fast path: most bodies arrive in one piece, which is not copied.
            if whole.is_empty() && body.is_end_stream() {
                return Ok((http::Request::from_parts(parts, data), permit));
            }
            whole.extend_from_slice(&data);
        }
        Ok((http::Request::from_parts(parts, whole.into()), permit))
    }

    /// Admits a call until the permit is dropped. A call counts from the arrival of its whole body
    /// on, so that slow clients do not hold up others.
    ///
    /// # Errors
    /// 503 if too many calls are being handled.
    fn admit(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.calls.try_acquire().map_err(|_| Problem::overloaded())
    }

    /// Extends a permit to a body of `length` bytes.
    ///
    /// # Errors
    /// 503 if other bodies take up too much.
    fn reserve<'a>(&'a self, permit: &mut BodyPermit<'a>, length: usize) -> Result<(), Problem> {
        let wanted = length.saturating_sub(FREE_BODY_BYTES).div_ceil(1024);
        let held = permit.0.as_ref().map_or(0, SemaphorePermit::num_permits);
        let Ok(more @ 1..) = u32::try_from(wanted.saturating_sub(held)) else {
            return Ok(());
        };
        let more = self
            .bodies
            .try_acquire_many(more)
            .map_err(|_| Problem::overloaded())?;
        match &mut permit.0 {
            Some(held) => held.merge(more),
            held => *held = Some(more),
        }
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_are_refused_while_others_use_the_memory_and_small_ones_are_admitted() {
        let admission = Admission::new();
        let mut permits: Vec<_> = std::iter::repeat_with(BodyPermit::default)
            .take(65)
            .collect();
        let results = permits
            .iter_mut()
            .map(|permit| admission.reserve(permit, 1024 * 1024).is_ok());
        assert_eq!(results.filter(|is_reserved| *is_reserved).count(), 64);
        assert!(
            admission
                .reserve(&mut BodyPermit::default(), FREE_BODY_BYTES)
                .is_ok()
        );
        drop(permits);
        assert_eq!(admission.bodies.available_permits(), MAX_BODIES_KIB);
    }

    #[test]
    fn a_growing_body_uses_its_length_once() {
        let admission = Admission::new();
        let mut permit = BodyPermit::default();
        for length in (0..=100).map(|kib| kib * 1024) {
            admission.reserve(&mut permit, length).unwrap();
        }
        assert_eq!(admission.bodies.available_permits(), MAX_BODIES_KIB - 96);
    }

    #[test]
    fn calls_beyond_the_bound_are_refused() {
        let admission = Admission::new();
        let calls: Vec<_> = (0..MAX_CALLS).map(|_| admission.admit().unwrap()).collect();
        assert!(admission.admit().is_err());
        drop(calls);
        assert!(admission.admit().is_ok());
    }
}
