//! The server that runs all handlers in one process.

use std::net::SocketAddr;

use super::variables::{ConfigError, Result, Secret, Variables};

/// Where the server listens, and who may call.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// `PRESENCE_BIND` (`127.0.0.1:8080`).
    pub bind: SocketAddr,
    /// `PRESENCE_AUTH_TOKENS`: bearer tokens, separated by commas; any of them is accepted, so that they can be
    /// rotated. Empty where anybody may call: on a loopback address, or with `PRESENCE_AUTH=none`.
    pub tokens: Vec<Secret>,
}

impl ServerConfig {
    /// Reads the configuration through `lookup`.
    ///
    /// # Errors
    /// [`ConfigError`] for the first value that cannot be used, and where anybody could call from anywhere.
    pub fn from_lookup(lookup: impl Fn(&'static str) -> Option<String>) -> Result<Self> {
        const TOKENS: &str = "PRESENCE_AUTH_TOKENS";
        let variables = Variables(&lookup);
        let bind: SocketAddr = variables.parse(
            "PRESENCE_BIND",
            "127.0.0.1:8080",
            "an address and a port, such as 127.0.0.1:8080 or 0.0.0.0:8080",
            |text| text.parse().ok(),
        )?;
        let is_open = variables.parse("PRESENCE_AUTH", "", "none, or nothing", |text| match text {
            "" => Some(false),
            "none" => Some(true),
            _ => None,
        })?;
        let accepts = "bearer tokens of printable ASCII, separated by commas, none of them empty";
        let tokens = match variables.text(TOKENS) {
            Some(tokens) => parse_tokens(&tokens).ok_or_else(|| ConfigError::new(TOKENS, accepts))?,
            None => Vec::new(),
        };
        if tokens.is_empty() && !is_open && !bind.ip().is_loopback() {
            let accepts = format!(
                "{accepts}; it must be set where PRESENCE_BIND is not a loopback address, unless PRESENCE_AUTH=none"
            );
            return Err(ConfigError::new(TOKENS, accepts));
        }
        Ok(Self { bind, tokens })
    }
}

fn parse_tokens(text: &str) -> Option<Vec<Secret>> {
    let is_token = |token: &str| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    text.split(',').map(|token| is_token(token.trim()).then(|| Secret::new(token.trim()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::variables::table;

    fn config(variables: &[(&'static str, &str)]) -> Result<ServerConfig> {
        ServerConfig::from_lookup(table(variables))
    }

    #[test]
    fn an_open_server_listens_on_loopback_only() {
        assert!(config(&[]).unwrap().tokens.is_empty());
        assert!(config(&[("PRESENCE_BIND", "[::1]:8080")]).is_ok());
        assert_eq!(config(&[("PRESENCE_BIND", "0.0.0.0:8080")]).unwrap_err().variable, "PRESENCE_AUTH_TOKENS");
        assert!(config(&[("PRESENCE_BIND", "0.0.0.0:8080"), ("PRESENCE_AUTH", "none")]).is_ok());
        assert!(config(&[("PRESENCE_BIND", "0.0.0.0:8080"), ("PRESENCE_AUTH_TOKENS", "a,b")]).is_ok());
    }

    #[test]
    fn a_bad_value_names_its_variable() {
        for (variable, value) in [
            ("PRESENCE_BIND", "8080"),
            ("PRESENCE_AUTH", "off"),
            ("PRESENCE_AUTH_TOKENS", ","),
            ("PRESENCE_AUTH_TOKENS", "a,,b"),
            ("PRESENCE_AUTH_TOKENS", "a b"),
        ] {
            assert_eq!(config(&[(variable, value)]).unwrap_err().variable, variable);
        }
    }
}
