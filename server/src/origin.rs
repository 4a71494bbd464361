//! Checks of a request's origin and target, by its `Host`, `Origin` and `Sec-Fetch-…` headers.

use std::net::IpAddr;

use axum::{
    extract::Request,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method,
        header::{HOST, ORIGIN, TRANSFER_ENCODING},
        uri::Authority,
    },
};

use crate::refusals::Refusal;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Checks that a request does not come from another site's page, and names one host. With
/// `is_local`, that host has to be this machine. With `is_open`, links on other sites' pages may
/// lead to the path.
///
/// # Errors
/// 403 and 400, in this order.
pub(crate) fn check(request: &Request, is_open: bool, is_local: bool) -> Result<(), Refusal> {
    let headers = request.headers();
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    if is_cross_site(headers, host) && !(is_open && is_link(request)) {
        return Err(Refusal::CrossSite);
    }
    if is_local && !names_this_machine(request, host) {
        return Err(Refusal::Host);
    }
    if host.is_none() || hosts.next().is_some() {
        return Err(Refusal::Malformed("a request has exactly one Host header"));
    }
    match headers
        .get_all(TRANSFER_ENCODING)
        .iter()
        .all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        true => Ok(()),
        false => Err(Refusal::Malformed("the only transfer encoding is chunked")),
    }
}

/// Whether a browser sends the request on behalf of another site. Other programs send neither
/// header.
fn is_cross_site(headers: &HeaderMap, host: Option<&HeaderValue>) -> bool {
    let is_foreign = |site: &HeaderValue| site != "same-origin" && site != "none";
    headers.get_all(SEC_FETCH_SITE).iter().any(is_foreign)
        || headers
            .get_all(ORIGIN)
            .iter()
            .any(|origin| !is_origin_of(origin, host))
}

/// Whether an `Origin` is this host. TLS may end before this server, so any scheme is accepted.
fn is_origin_of(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let (Ok(origin), Some(Ok(host))) = (origin.to_str(), host.map(HeaderValue::to_str)) else {
        return false;
    };
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let default_port = if scheme.eq_ignore_ascii_case("https") {
        ":443"
    } else {
        ":80"
    };
    let strip_port = |authority: &'_ str| {
        authority
            .strip_suffix(default_port)
            .unwrap_or(authority)
            .to_owned()
    };
    strip_port(authority).eq_ignore_ascii_case(&strip_port(host))
}

/// Whether a browser follows a link or opens an address that was entered. Other sites cannot read
/// the response then.
fn is_link(request: &Request) -> bool {
    let has = |name, value: &str| {
        request
            .headers()
            .get(name)
            .is_some_and(|header| header == value)
    };
    request.method() == Method::GET
        && has(SEC_FETCH_MODE, "navigate")
        && has(SEC_FETCH_DEST, "document")
}

/// Whether a request names this machine. A page that attacks by DNS rebinding resolves to a
/// loopback address, but names its own host.
fn names_this_machine(request: &Request, host: Option<&HeaderValue>) -> bool {
    let in_target = request
        .uri()
        .authority()
        .is_none_or(|authority| is_loopback(authority.host()));
    // A request without a Host is refused as such.
    in_target
        && host.is_none_or(|host| {
            let authority = Authority::try_from(host.as_bytes());
            authority.is_ok_and(|authority| is_loopback(authority.host()))
        })
}

fn is_loopback(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let address = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(&name);
    match address.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    /// The reason for which a request with these headers is refused.
    fn refused(headers: &[(&str, &str)], is_open: bool, is_local: bool) -> Option<&'static str> {
        let mut request = Request::get("/console");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(Body::empty()).unwrap(), is_open, is_local)
            .err()
            .map(Refusal::reason)
    }

    #[test]
    fn requests_of_programs_and_of_the_servers_own_pages_are_accepted() {
        for headers in [
            &[("host", "presence:8080")][..],
            &[
                ("host", "presence:8080"),
                ("origin", "http://presence:8080"),
            ],
            &[("host", "presence"), ("origin", "https://Presence")],
            &[("host", "presence:443"), ("origin", "https://presence")],
            &[("host", "presence"), ("sec-fetch-site", "same-origin")],
            &[
                ("host", "presence"),
                ("sec-fetch-site", "none"),
                ("transfer-encoding", "Chunked"),
            ],
        ] {
            assert_eq!(refused(headers, false, false), None, "{headers:?}");
        }
    }

    #[test]
    fn requests_of_other_sites_are_refused() {
        for headers in [
            [("host", "presence"), ("sec-fetch-site", "cross-site")],
            [("host", "presence"), ("sec-fetch-site", "same-site")],
            [("host", "presence"), ("sec-fetch-site", "anything")],
            [("host", "presence:8080"), ("origin", "http://presence")],
            [("host", "presence"), ("origin", "http://presence.evil")],
            [("host", "presence"), ("origin", "http://evil/presence")],
            [("host", "presence"), ("origin", "https://presence:80")],
            [("host", "presence"), ("origin", "null")],
            [("host", "presence"), ("origin", "")],
        ] {
            assert_eq!(
                refused(&headers, true, false),
                Some("cross_site"),
                "{headers:?}"
            );
        }
    }

    #[test]
    fn links_of_other_sites_may_lead_to_open_paths() {
        let site = [
            ("host", "presence"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
        ];
        let to = |dest: &'static str| [&site[..], &[("sec-fetch-dest", dest)]].concat();
        assert_eq!(refused(&to("document"), true, false), None);
        assert_eq!(refused(&to("document"), false, false), Some("cross_site"));
        assert_eq!(refused(&to("iframe"), true, false), Some("cross_site"));
    }

    #[test]
    fn a_local_server_accepts_loopback_names() {
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "presence.localhost",
            "localhost.",
            "127.0.0.1:1",
            "127.1.2.3",
            "[::1]:8080",
        ] {
            assert_eq!(refused(&[("host", host)], true, true), None, "{host}");
        }
        for host in [
            "evil",
            "127.0.0.1.evil:80",
            "localhost.evil",
            "10.0.0.1",
            "0.0.0.0",
            "[::2]",
            "",
            "a b",
            "::1",
        ] {
            assert_eq!(
                refused(&[("host", host)], true, true),
                Some("host"),
                "{host}"
            );
            assert_eq!(refused(&[("host", host)], true, false), None, "{host}");
        }
        let absolute = Request::get("http://evil/presence")
            .header("host", "localhost")
            .body(Body::empty())
            .unwrap();
        assert_eq!(check(&absolute, true, true).unwrap_err(), Refusal::Host);
    }

    #[test]
    fn a_request_has_one_host_and_one_encoding() {
        for headers in [
            &[][..],
            &[("host", "localhost"), ("host", "localhost")],
            &[
                ("host", "localhost"),
                ("transfer-encoding", "gzip, chunked"),
            ],
            &[
                ("host", "localhost"),
                ("transfer-encoding", "gzip"),
                ("transfer-encoding", "chunked"),
            ],
        ] {
            assert_eq!(
                refused(headers, true, true),
                Some("malformed"),
                "{headers:?}"
            );
        }
    }
}
