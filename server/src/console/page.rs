//! The console's files, compiled into the program.

use axum::{
    http::header,
    response::{IntoResponse as _, Response},
};

/// The content security policy: the page loads only files of this server and nothing inline, and no
/// other page may show it in a frame.
const SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                               img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file of the console.
pub(super) struct Asset {
    pub(super) path: &'static str,
    content_type: &'static str,
    content: &'static str,
}

/// All files of the console.
pub(super) const ASSETS: &[Asset] = &[
    Asset {
        path: "/console",
        content_type: HTML,
        content: include_str!("../../console/index.html"),
    },
    Asset {
        path: "/console/style.css",
        content_type: STYLE,
        content: include_str!("../../console/style.css"),
    },
    Asset {
        path: "/console/main.js",
        content_type: SCRIPT,
        content: include_str!("../../console/main.js"),
    },
    Asset {
        path: "/console/server.js",
        content_type: SCRIPT,
        content: include_str!("../../console/server.js"),
    },
    Asset {
        path: "/console/service.js",
        content_type: SCRIPT,
        content: include_str!("../../console/service.js"),
    },
    Asset {
        path: "/console/chart.js",
        content_type: SCRIPT,
        content: include_str!("../../console/chart.js"),
    },
    Asset {
        path: "/console/feed.js",
        content_type: SCRIPT,
        content: include_str!("../../console/feed.js"),
    },
    Asset {
        path: "/console/gateways.js",
        content_type: SCRIPT,
        content: include_str!("../../console/gateways.js"),
    },
    Asset {
        path: "/console/outage.js",
        content_type: SCRIPT,
        content: include_str!("../../console/outage.js"),
    },
    Asset {
        path: "/console/player.js",
        content_type: SCRIPT,
        content: include_str!("../../console/player.js"),
    },
    Asset {
        path: "/console/tiles.js",
        content_type: SCRIPT,
        content: include_str!("../../console/tiles.js"),
    },
];

impl Asset {
    pub(super) fn response(&self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, self.content_type),
            // After a deployment, the server has another version.
            (header::CACHE_CONTROL, "no-cache"),
            (header::CONTENT_SECURITY_POLICY, SECURITY_POLICY),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        (headers, self.content).into_response()
    }
}
