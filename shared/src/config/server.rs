//! Configuration of the server, which runs all handlers in one process.

use std::net::SocketAddr;

use super::{
    WatchConfig,
    variables::{ConfigError, Result, Secret, Variables},
};

/// Configuration of the server: its address, its tokens, and the limits of watching.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// `PRESENCE_BIND` (`127.0.0.1:8080`): the address to listen on.
    pub bind: SocketAddr,
    /// `PRESENCE_AUTH_TOKENS`: bearer tokens, separated by commas; any of them is accepted, so that
    /// they can be rotated. Empty if every caller may do everything: on a loopback address, or with
    /// `PRESENCE_AUTH=none`.
    pub tokens: Vec<Secret>,
    /// `PRESENCE_READ_TOKENS`: bearer tokens, separated by commas, that may read and change
    /// nothing.
    pub read_tokens: Vec<Secret>,
    /// Limits and intervals of watching players.
    pub watch: WatchConfig,
}

/// The variable of the tokens that may do everything.
const TOKENS: &str = "PRESENCE_AUTH_TOKENS";

/// The variable of the tokens that may only read.
const READ_TOKENS: &str = "PRESENCE_READ_TOKENS";

/// The value that both variables of tokens accept.
const ACCEPTED_TOKENS: &str =
    "bearer tokens of printable ASCII, separated by commas, none of them empty";

/// The length below which a token might be guessed.
const MIN_TOKEN_BYTES: usize = 16;

impl ServerConfig {
    /// Reads the configuration through `lookup`.
    ///
    /// # Errors
    /// [`ConfigError`] for the first value that cannot be used, and if the server would be open to
    /// any host without a token.
    pub fn from_lookup(lookup: impl Fn(&'static str) -> Option<String>) -> Result<Self> {
        let variables = Variables(&lookup);
        let bind = Self::bind_from_lookup(&lookup)?;
        let is_open =
            variables.parse("PRESENCE_AUTH", "", "none, or nothing", |text| match text {
                "" => Some(false),
                "none" => Some(true),
                _ => None,
            })?;
        let tokens = tokens(&variables, TOKENS)?;
        let read_tokens = tokens_that_read(&variables, &tokens)?;
        if is_open && !tokens.is_empty() {
            return Err(ConfigError::new(
                "PRESENCE_AUTH",
                "none, unless PRESENCE_AUTH_TOKENS is set; or nothing",
            ));
        }
        if tokens.is_empty() && !is_open && !bind.ip().is_loopback() {
            let accepts = format!(
                "{ACCEPTED_TOKENS}; it must be set if PRESENCE_BIND is not a loopback address, unless PRESENCE_AUTH=none"
            );
            return Err(ConfigError::new(TOKENS, accepts));
        }
        Ok(Self {
            bind,
            tokens,
            read_tokens,
            watch: WatchConfig::from(&variables)?,
        })
    }

    /// Reads `PRESENCE_BIND` alone. A health check needs only the address, and must not fail because
    /// of variables that come from secrets, which it does not read.
    ///
    /// # Errors
    /// [`ConfigError`] if it is not an address and a port.
    pub fn bind_from_lookup(lookup: impl Fn(&'static str) -> Option<String>) -> Result<SocketAddr> {
        Variables(&lookup).parse(
            "PRESENCE_BIND",
            "127.0.0.1:8080",
            "an address and a port, such as 127.0.0.1:8080 or 0.0.0.0:8080",
            |text| text.parse().ok(),
        )
    }

    /// The names of the variables that hold a token short enough to be guessed.
    pub fn variables_with_short_tokens(&self) -> Vec<&'static str> {
        let is_short = |token: &Secret| token.expose().len() < MIN_TOKEN_BYTES;
        let variables = [(TOKENS, &self.tokens), (READ_TOKENS, &self.read_tokens)];
        variables
            .into_iter()
            .filter(|(_, tokens)| tokens.iter().any(is_short))
            .map(|(name, _)| name)
            .collect()
    }
}

fn tokens(variables: &Variables<'_>, variable: &'static str) -> Result<Vec<Secret>> {
    match variables.text(variable) {
        Some(tokens) => {
            parse_tokens(&tokens).ok_or_else(|| ConfigError::new(variable, ACCEPTED_TOKENS))
        }
        None => Ok(Vec::new()),
    }
}

/// Reads the read tokens. They must differ from the tokens that may do everything, and require at
/// least one of those: with read tokens alone, no caller could change anything.
fn tokens_that_read(variables: &Variables<'_>, all: &[Secret]) -> Result<Vec<Secret>> {
    let read = tokens(variables, READ_TOKENS)?;
    let is_known = |token: &Secret| all.iter().any(|known| known.expose() == token.expose());
    if !read.is_empty() && (all.is_empty() || read.iter().any(is_known)) {
        let accepts = format!(
            "{ACCEPTED_TOKENS}, only with PRESENCE_AUTH_TOKENS, and other tokens than those"
        );
        return Err(ConfigError::new(READ_TOKENS, accepts));
    }
    Ok(read)
}

fn parse_tokens(text: &str) -> Option<Vec<Secret>> {
    let is_token =
        |token: &str| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    text.split(',')
        .map(|token| is_token(token.trim()).then(|| Secret::new(token.trim())))
        .collect()
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
        assert_eq!(
            config(&[("PRESENCE_BIND", "0.0.0.0:8080")])
                .unwrap_err()
                .variable,
            "PRESENCE_AUTH_TOKENS"
        );
        assert!(config(&[("PRESENCE_BIND", "0.0.0.0:8080"), ("PRESENCE_AUTH", "none")]).is_ok());
        assert!(
            config(&[
                ("PRESENCE_BIND", "0.0.0.0:8080"),
                ("PRESENCE_AUTH_TOKENS", "a,b")
            ])
            .is_ok()
        );
        let both = config(&[("PRESENCE_AUTH", "none"), ("PRESENCE_AUTH_TOKENS", "a,b")]);
        assert_eq!(
            both.unwrap_err().variable,
            "PRESENCE_AUTH",
            "one of the two would be ignored"
        );
    }

    #[test]
    fn a_bad_value_names_its_variable() {
        for (variable, value) in [
            ("PRESENCE_BIND", "8080"),
            ("PRESENCE_AUTH", "off"),
            ("PRESENCE_AUTH_TOKENS", ","),
            ("PRESENCE_AUTH_TOKENS", "a,,b"),
            ("PRESENCE_AUTH_TOKENS", "a b"),
            ("PRESENCE_READ_TOKENS", "a,"),
            ("PRESENCE_READ_TOKENS", "alone"),
        ] {
            assert_eq!(config(&[(variable, value)]).unwrap_err().variable, variable);
        }
    }

    #[test]
    fn tokens_that_read_are_others_than_those_that_change() {
        let read = |tokens| {
            config(&[
                ("PRESENCE_AUTH_TOKENS", "a,b"),
                ("PRESENCE_READ_TOKENS", tokens),
            ])
        };
        assert_eq!(read("c, d").unwrap().read_tokens.len(), 2);
        assert_eq!(read("c,b").unwrap_err().variable, "PRESENCE_READ_TOKENS");
    }

    #[test]
    fn short_tokens_are_noticed() {
        let long = "0123456789abcdef";
        let find_short = |tokens: &str, read_tokens: &str| {
            let variables = [
                ("PRESENCE_AUTH_TOKENS", tokens),
                ("PRESENCE_READ_TOKENS", read_tokens),
            ];
            config(&variables).unwrap().variables_with_short_tokens()
        };
        assert!(find_short(long, "0123456789abcdeg").is_empty());
        assert_eq!(
            find_short("0123456789abcde,0123456789abcdef", ""),
            ["PRESENCE_AUTH_TOKENS"]
        );
        assert_eq!(find_short(long, "short"), ["PRESENCE_READ_TOKENS"]);
    }
}
