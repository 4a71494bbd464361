//! Bearer tokens (RFC 6750), compared in constant time.

use std::sync::Arc;

use axum::http::{HeaderMap, header::AUTHORIZATION};
use presence::{config::Secret, http::Problem};
use subtle::{Choice, ConstantTimeEq as _};

/// The tokens, any of which is accepted; none where anybody may call.
pub(crate) type Tokens = Arc<[Secret]>;

/// Checks that a request carries one of the tokens.
///
/// # Errors
/// 401.
pub(crate) fn authorize(tokens: &[Secret], headers: &HeaderMap) -> Result<(), Problem> {
    let token = || headers.get(AUTHORIZATION).and_then(|header| bearer(header.as_bytes()));
    if tokens.is_empty() || token().is_some_and(|token| is_known(token, tokens)) {
        return Ok(());
    }
    Err(Problem::unauthorized("send one of the configured tokens: Authorization: Bearer <token>"))
}

fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// Looks at all tokens, whichever matches.
fn is_known(token: &[u8], tokens: &[Secret]) -> bool {
    let matches = tokens.iter().map(|known| known.expose().as_bytes().ct_eq(token));
    matches.fold(Choice::from(0), |any, is_equal| any | is_equal).into()
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
