//! The page: text that was compiled in.

use axum::{
    http::header,
    response::{IntoResponse as _, Response},
};

/// Only what this server has itself, and nothing inline; no other page may show this one in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file of the page.
pub(super) struct Asset {
    pub(super) path: &'static str,
    content_type: &'static str,
    content: &'static str,
}

/// All of them.
pub(super) const ASSETS: &[Asset] = &[
    Asset { path: "/console", content_type: HTML, content: include_str!("../../console/index.html") },
    Asset { path: "/console/style.css", content_type: STYLE, content: include_str!("../../console/style.css") },
    Asset { path: "/console/main.js", content_type: SCRIPT, content: include_str!("../../console/main.js") },
    Asset { path: "/console/service.js", content_type: SCRIPT, content: include_str!("../../console/service.js") },
    Asset { path: "/console/chart.js", content_type: SCRIPT, content: include_str!("../../console/chart.js") },
    Asset { path: "/console/feed.js", content_type: SCRIPT, content: include_str!("../../console/feed.js") },
    Asset { path: "/console/gateways.js", content_type: SCRIPT, content: include_str!("../../console/gateways.js") },
    Asset { path: "/console/player.js", content_type: SCRIPT, content: include_str!("../../console/player.js") },
];

impl Asset {
    pub(super) fn response(&self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, self.content_type),
            // The next server may have another version.
            (header::CACHE_CONTROL, "no-cache"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        (headers, self.content).into_response()
    }
}
