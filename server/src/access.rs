//! Access control: bearer tokens (RFC 6750), compared in constant time, and checks of the request's
//! origin.

use std::sync::Arc;

use axum::{
    extract::Request,
    http::{HeaderMap, header::AUTHORIZATION},
};
use presence::config::{Secret, ServerConfig};
use subtle::{Choice, ConstantTimeEq as _};

use crate::{origin, refusals::Refusal};

/// The kind of access that a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// The call needs no token.
    Open,
    /// The call changes nothing. Any token is sufficient.
    Read,
    /// The call changes players. A read token is not sufficient.
    Change,
}

/// The configured tokens, and the access that they allow.
#[derive(Debug, Clone)]
pub(crate) struct AccessPolicy {
    /// Tokens for all calls. If the list is empty, every caller may make all calls.
    tokens: Arc<[Secret]>,
    /// Tokens for calls that change nothing.
    read_tokens: Arc<[Secret]>,
    /// Whether the server is open to programs on this machine. Without tokens, only the `Host`
    /// distinguishes them from pages in a browser.
    is_local: bool,
}

impl AccessPolicy {
    pub(crate) fn new(server: &ServerConfig) -> Self {
        Self {
            tokens: server.tokens.clone().into(),
            read_tokens: server.read_tokens.clone().into(),
            is_local: server.bind.ip().is_loopback() && server.tokens.is_empty(),
        }
    }

    /// Checks that a request may make a call.
    ///
    /// # Errors
    /// 401, 403 and 400, in this order.
    pub(crate) fn check(&self, access: Access, request: &Request) -> Result<(), Refusal> {
        let headers = request.headers();
        if access != Access::Open && !self.tokens.is_empty() {
            self.check_token(access, headers)?;
        }
        origin::check(request, access == Access::Open, self.is_local)
    }

    fn check_token(&self, access: Access, headers: &HeaderMap) -> Result<(), Refusal> {
        let token = headers
            .get(AUTHORIZATION)
            .and_then(|header| bearer(header.as_bytes()));
        let may_change = token.is_some_and(|token| is_among(token, &self.tokens));
        if may_change {
            return Ok(());
        }
        match (
            token.is_some_and(|token| is_among(token, &self.read_tokens)),
            access,
        ) {
            (true, Access::Change) => Err(Refusal::ReadToken),
            (true, _) => Ok(()),
            (false, _) => Err(Refusal::Token),
        }
    }
}

fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(b"Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| token.trim_ascii())
}

/// Compares a token with all tokens, in a time that does not depend on the one that matches.
fn is_among(token: &[u8], tokens: &[Secret]) -> bool {
    let matches = tokens
        .iter()
        .map(|known| known.expose().as_bytes().ct_eq(token));
    matches
        .fold(Choice::from(0), |any, is_equal| any | is_equal)
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_bearer_in_any_case() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer abc "), Some(&b"abc"[..]));
        assert_eq!(bearer(b"Basic abc"), None);
        assert_eq!(bearer(b"Bearer"), None);
    }
}
