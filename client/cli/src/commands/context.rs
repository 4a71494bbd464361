//! `presence context`: services by name.

use std::env;

use serde::Serialize;

use crate::{
    args::{ContextCommand, Target},
    context::{Context, Contexts, unknown},
    failure::{Failure, Status},
    output::Output,
    table::{Cell, Table},
    target::Authentication,
};

/// A context in the list, without its token.
#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    url: &'a str,
    /// `token`, `signature` or `none`.
    authentication: &'static str,
    is_current: bool,
}

impl<'a> Listed<'a> {
    fn new(name: &'a str, context: &'a Context, current: Option<&str>) -> Self {
        let authentication = match (&context.token, context.sigv4) {
            (Some(_), _) => "token",
            (None, true) => "signature",
            (None, false) => "none",
        };
        Self {
            name,
            url: &context.url,
            authentication,
            is_current: current == Some(name),
        }
    }
}

pub(super) fn run(
    command: ContextCommand,
    target: Target,
    output: Output,
) -> Result<Status, Failure> {
    let (mut contexts, path) = Contexts::open()?;
    match command {
        ContextCommand::List => return list(&contexts, output),
        ContextCommand::Save { name } => {
            contexts.contexts.insert(name, given(target)?);
        }
        ContextCommand::Use { name } => {
            if !contexts.contexts.contains_key(&name) {
                return Err(unknown(&name));
            }
            contexts.current = Some(name);
        }
        ContextCommand::Remove { name } => {
            contexts
                .contexts
                .remove(&name)
                .ok_or_else(|| unknown(&name))?;
            contexts.current = contexts.current.filter(|current| *current != name);
        }
    }
    contexts.write(&path)?;
    Ok(Status::Done)
}

/// The service that flags and variables describe.
fn given(target: Target) -> Result<Context, Failure> {
    let read_variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let url = target
        .url
        .clone()
        .or_else(|| read_variable("PRESENCE_URL"))
        .ok_or_else(|| {
            Failure::new(Status::Usage, "a context needs a URL")
                .with_hint("--url or PRESENCE_URL gives it.")
        })?;
    let token = target
        .token
        .clone()
        .or_else(|| read_variable("PRESENCE_TOKEN"))
        .filter(|token| !token.is_empty());
    let (_, authentication) = target.endpoint(|name| env::var_os(name))?; // a service that cannot be used is not saved
    Ok(Context {
        url,
        token: token.filter(|_| authentication == Authentication::Token),
        sigv4: authentication == Authentication::Signature,
    })
}

fn list(contexts: &Contexts, output: Output) -> Result<Status, Failure> {
    let current = contexts.current.as_deref();
    let listed: Vec<_> = contexts
        .contexts
        .iter()
        .map(|(name, context)| Listed::new(name, context, current))
        .collect();
    let to_text = || {
        let mut table = Table::new(["CONTEXT", "URL", "AUTHENTICATION", "CURRENT"]);
        for Listed {
            name,
            url,
            authentication,
            is_current,
        } in &listed
        {
            let mark = if *is_current { "yes" } else { "-" };
            table.push([
                Cell::plain(name),
                Cell::plain(url),
                Cell::plain(authentication),
                Cell::plain(mark),
            ]);
        }
        table
    };
    output.show(&listed, to_text)?;
    Ok(Status::Done)
}
