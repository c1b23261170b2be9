//! `${env:NAME}`, `${env:NAME:-default}` and `${file:PATH}` inside the values of the file.

use std::path::Path;

use super::env::{Environment, loose};
use super::tree::{Fault, KeyPath, Node, Value};

/// Replaces every reference in the text values of `tree`. Relative paths are relative to `folder`, that of the file.
/// What is put in is not looked at for further references.
pub(super) fn substitute(tree: &mut Node, folder: &Path, env: &Environment, faults: &mut Vec<Fault>) {
    walk(tree, &KeyPath::default(), &|reference| resolve(reference, folder, env), faults);
}

type Resolve<'a> = &'a dyn Fn(&str) -> Result<String, String>;

fn walk(node: &mut Node, path: &KeyPath, resolve: Resolve<'_>, faults: &mut Vec<Fault>) {
    match &mut node.value {
        Value::Text(text) if text.contains("${") => match expand(text, resolve) {
            Ok(Expanded::Whole(text)) => *node = loose(&text, &node.origin),
            Ok(Expanded::Within(text)) => node.value = Value::Loose(text),
            Ok(Expanded::Literal(text)) => node.value = Value::Text(text),
            Err(problem) => {
                faults.push(Fault { path: path.clone(), origin: node.origin.clone(), problem });
                node.value = Value::Faulty;
            }
        },
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                walk(item, &path.index(index), resolve, faults);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                walk(&mut entry.node, &path.name(&entry.key), resolve, faults);
            }
        }
        _ => {}
    }
}

#[derive(Debug, PartialEq)]
enum Expanded {
    /// The text was one reference: what it stands for may be anything, also a list.
    Whole(String),
    /// References within text.
    Within(String),
    /// No reference, only `$${`.
    Literal(String),
}

fn expand(text: &str, resolve: Resolve<'_>) -> Result<Expanded, String> {
    let mut out = String::new();
    let mut rest = text;
    let mut references = 0;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &from[2..];
            continue;
        }
        let Some((reference, after)) = from[2..].split_once('}') else {
            return Err("a `${` without `}`; a literal `${` is written `$${`".into());
        };
        out.push_str(before);
        out.push_str(&resolve(reference)?);
        references += 1;
        if from.len() == text.len() && after.is_empty() {
            return Ok(Expanded::Whole(out));
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(if references > 0 { Expanded::Within(out) } else { Expanded::Literal(out) })
}

fn resolve(reference: &str, folder: &Path, env: &Environment) -> Result<String, String> {
    match reference.split_once(':') {
        Some(("env", name)) => {
            let (name, default) = name.split_once(":-").map_or((name, None), |(n, d)| (n, Some(d)));
            match (env.variable(name)?, default) {
                // As in a shell, `:-` also stands in for an empty value.
                (None | Some(""), Some(default)) => Ok(default.into()),
                (Some(value), _) => Ok(value.into()),
                (None, None) => Err(format!(
                    "the environment variable {name} is not set; set it, or give a default: ${{env:{name}:-default}}"
                )),
            }
        }
        Some(("file", path)) => match env.read_file(&folder.join(path)) {
            Ok(text) => Ok(text.strip_suffix('\n').map_or(&*text, |t| t.strip_suffix('\r').unwrap_or(t)).into()),
            Err(why) => Err(format!("${{file:{path}}}: {why}")),
        },
        _ => Err(format!(
            "`${{{reference}}}` means nothing here; write ${{env:NAME}} or ${{file:PATH}}, or `$${{` for a literal `${{`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<Expanded, String> {
        let env = Environment::of(&[("HOST", "::1"), ("EMPTY", "")])
            .with_file("conf/key", "s3cret\n")
            .with_file("/abs/key", "two\nlines\n\n");
        expand(text, &|reference| resolve(reference, Path::new("conf"), &env))
    }

    #[test]
    fn references_become_what_they_name() {
        for (text, becomes) in [
            ("${env:HOST}", Expanded::Whole("::1".into())),
            ("[${env:HOST}]:4319", Expanded::Within("[::1]:4319".into())),
            ("${env:HOST}${env:HOST}", Expanded::Within("::1::1".into())),
            ("${env:NOPE:-a:-b}", Expanded::Whole("a:-b".into())),
            ("${env:EMPTY:-x}", Expanded::Whole("x".into())),
            ("${env:EMPTY}", Expanded::Whole(String::new())),
            ("${env:EMPTY}y", Expanded::Within("y".into())),
            ("${file:key}", Expanded::Whole("s3cret".into())),
            ("${file:/abs/key}", Expanded::Whole("two\nlines\n".into())),
            ("$${env:HOST} costs $5", Expanded::Literal("${env:HOST} costs $5".into())),
            ("$${x} ${env:HOST}", Expanded::Within("${x} ::1".into())),
        ] {
            assert_eq!(expanded(text), Ok(becomes), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_found_says_so() {
        for (text, problem) in [
            (
                "${env:NOPE}",
                "the environment variable NOPE is not set; set it, or give a default: ${env:NOPE:-default}",
            ),
            ("${file:nope}", "${file:nope}: there is no such file"),
            ("${HOME}", "`${HOME}` means nothing here; write ${env:NAME} or ${file:PATH}, or `$${` for a literal `${`"),
            ("a ${env:HOST", "a `${` without `}`; a literal `${` is written `$${`"),
        ] {
            assert_eq!(expanded(text), Err(problem.into()), "{text}");
        }
    }
}
