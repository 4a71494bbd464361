//! Contexts: services by name, in a file of the user.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Status};

/// Variables that name a service, or say how calls to it authenticate. If one is set, the current
/// context is not used: its token is not for that service.
const VARIABLES: [&str; 3] = ["PRESENCE_URL", "PRESENCE_TOKEN", "PRESENCE_SIGV4"];

/// The contexts of the user.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Contexts {
    /// The name of the context that is used unless a flag or variable names a service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// A service, and how calls to it authenticate.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    pub(crate) url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// Whether calls are signed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) sigv4: bool,
}

impl Context {
    /// The value of a variable according to the context.
    pub(crate) fn variable(&self, name: &str) -> Option<OsString> {
        match name {
            "PRESENCE_URL" => Some(self.url.clone().into()),
            "PRESENCE_TOKEN" => self.token.clone().map(OsString::from),
            "PRESENCE_SIGV4" => self.sigv4.then(|| "true".into()),
            _ => None,
        }
    }
}

/// The context to use: the one named by a flag or variable; else the current one, unless a URL or
/// one of [`VARIABLES`] is given. A context is used as a whole, so that its token is not sent to
/// another service.
pub(crate) fn selected(
    named: Option<&str>,
    has_url: bool,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<Context>, Failure> {
    if named.is_some() && has_url {
        return Err(Failure::new(
            Status::Usage,
            "--context and --url exclude each other",
        ));
    }
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let by_variable = || set("PRESENCE_CONTEXT").map(|name| name.to_string_lossy().into_owned());
    let named = named
        .map(str::to_owned)
        .or_else(|| if has_url { None } else { by_variable() });
    if named.is_none() && (has_url || VARIABLES.into_iter().any(|name| set(name).is_some())) {
        return Ok(None);
    }
    let Some(path) = path(&variable) else {
        return if named.is_some() {
            Err(no_path())
        } else {
            Ok(None)
        };
    };
    let mut contexts = Contexts::read(&path)?;
    match named.or_else(|| contexts.current.clone()) {
        Some(name) => contexts
            .contexts
            .remove(&name)
            .map(Some)
            .ok_or_else(|| unknown(&name)),
        None => Ok(None),
    }
}

impl Contexts {
    /// The contexts of the user, and the file that they are in.
    pub(crate) fn open() -> Result<(Self, PathBuf), Failure> {
        let path = path(|name| env::var_os(name)).ok_or_else(no_path)?;
        Ok((Self::read(&path)?, path))
    }

    fn read(path: &Path) -> Result<Self, Failure> {
        let json = match fs::read(path) {
            Ok(json) => json,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(path, &error.to_string())),
        };
        // The error has the line and not its content, which may be a token.
        let describe_error = |error: serde_json::Error| format!("invalid at line {}", error.line());
        serde_json::from_slice(&json).map_err(|cause| failed(path, &describe_error(cause)))
    }

    /// Replaces the file, which only its user can read.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            let new = path.with_extension("json.new");
            let mut json = serde_json::to_vec_pretty(self)?;
            json.push(b'\n');
            create_private(&new)?.write_all(&json)?;
            fs::rename(&new, path)
        };
        write().map_err(|error: io::Error| failed(path, &error.to_string()))
    }
}

/// A context that does not exist.
pub(crate) fn unknown(name: &str) -> Failure {
    Failure::new(Status::Usage, format!("there is no context {name:?}"))
        .with_hint("presence context list shows them.")
}

fn failed(path: &Path, what: &str) -> Failure {
    Failure::new(Status::Usage, format!("{}: {what}", path.display()))
}

fn no_path() -> Failure {
    Failure::new(
        Status::Usage,
        "contexts need a home directory: neither XDG_CONFIG_HOME nor HOME is set",
    )
}

fn path(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let find_directory = |name: &str| {
        variable(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let config = find_directory("XDG_CONFIG_HOME")
        .or_else(|| find_directory("HOME").map(|home| home.join(".config")))
        .or_else(|| find_directory("APPDATA"))?;
    Some(config.join("presence/contexts.json"))
}

fn create_private(path: &Path) -> io::Result<File> {
    // A file that an earlier run left behind may be readable by other users.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://presence.example.com";

    /// The URL of the context that is selected with one context `prod`, which is the current one.
    fn url(
        named: Option<&str>,
        has_url: bool,
        variables: &[(&str, &str)],
    ) -> Result<Option<String>, String> {
        let directory =
            std::env::temp_dir().join(format!("presence-contexts-{:x}", fastrand::u64(..)));
        let path = directory.join("presence/contexts.json");
        let context = Context {
            url: URL.to_owned(),
            token: Some("hunter2".to_owned()),
            sigv4: false,
        };
        let contexts = BTreeMap::from([("prod".to_owned(), context)]);
        Contexts {
            current: Some("prod".to_owned()),
            contexts,
        }
        .write(&path)
        .unwrap_or_else(|_| panic!("written"));
        let get_variable = |name: &str| match name {
            "XDG_CONFIG_HOME" => Some(directory.clone().into_os_string()),
            _ => variables
                .iter()
                .find(|(set, _)| *set == name)
                .map(|(_, value)| OsString::from(value)),
        };
        let selected = selected(named, has_url, get_variable);
        fs::remove_dir_all(&directory).unwrap();
        selected
            .map(|context| context.map(|context| context.url))
            .map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn a_context_is_used_if_it_is_named_or_no_service_is() {
        let expect_used = || Ok(Some(URL.to_owned()));
        assert_eq!(url(None, false, &[]), expect_used());
        assert_eq!(
            url(
                None,
                false,
                &[("PRESENCE_URL", ""), ("PRESENCE_CONTEXT", "")]
            ),
            expect_used()
        );
        assert_eq!(
            url(Some("prod"), false, &[("PRESENCE_URL", "http://other")]),
            expect_used()
        );
        assert_eq!(
            url(
                None,
                false,
                &[
                    ("PRESENCE_URL", "http://other"),
                    ("PRESENCE_CONTEXT", "prod")
                ]
            ),
            expect_used()
        );
        for name in VARIABLES {
            assert_eq!(
                url(None, false, &[(name, "x")]),
                Ok(None),
                "{name}: no token of one service goes to another"
            );
        }
        assert_eq!(
            url(None, true, &[("PRESENCE_CONTEXT", "prod")]),
            Ok(None),
            "a flag overrides a variable"
        );
        assert!(
            url(Some("prod"), true, &[])
                .unwrap_err()
                .contains("exclude each other")
        );
        assert!(
            url(Some("test"), false, &[])
                .unwrap_err()
                .contains(r#"no context \"test\""#)
        );
    }

    #[test]
    fn without_a_home_directory_there_are_no_contexts() {
        assert!(selected(None, false, |_| None).is_ok_and(|context| context.is_none()));
        assert!(selected(Some("prod"), false, |_| None).is_err());
        assert!(path(|name| (name == "HOME").then(|| "relative".into())).is_none());
    }
}
