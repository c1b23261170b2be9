//! The rules, each a function from files to findings, so that every one of them can be seen to fail.

use std::fmt;

use super::scan::{File, is_word, line_of};

/// How many lines a file may have.
pub const LINES_MAX: usize = 500;

/// What one module may import.
pub struct Imports {
    /// The top-level module.
    pub module: &'static str,
    /// Paths it may import, in groups; one that begins with `!` is an exception from the others.
    pub may: &'static [&'static [&'static str]],
}

/// A place where `unwrap` or `expect` is right.
pub struct Allowed {
    /// The file.
    pub path: &'static str,
    /// How often.
    pub count: usize,
    /// Why it cannot fail, or why the program must not go on when it does.
    pub reason: &'static str,
}

/// A broken rule: where, and what to do about it.
#[derive(Debug)]
pub struct Finding {
    pub path: String,
    pub line: usize,
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.remedy)
    }
}

fn finding(file: &File, line: usize, remedy: String) -> Finding {
    Finding { path: file.path.clone(), line, remedy }
}

/// `src/proto/package.of.the.messages.rs` is written by a program.
fn is_generated(file: &File) -> bool {
    file.path.strip_prefix("src/proto/").is_some_and(|name| name.matches('.').count() > 1)
}

/// Modules import only what `table` allows, and every top-level module is in it.
pub fn imports(files: &[File], table: &[Imports]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files.iter().filter(|f| f.path.starts_with("src/") && !is_generated(f)) {
        let module = file.module();
        let Some(own) = module.first() else { continue };
        let Some(row) = table.iter().find(|row| row.module == own) else {
            let remedy = format!("module `{own}` is not in the import table; add a row that says what it may import");
            found.push(finding(file, 1, remedy));
            continue;
        };
        let may = row.may.concat();
        for reference in file.references().into_iter().filter(|r| r.path.first() != Some(own)) {
            if !is_allowed(&may, &reference.path) {
                let to = reference.path.join("::");
                let may = if may.is_empty() { "nothing".to_owned() } else { may.join(", ") };
                let remedy = format!(
                    "`{own}` imports `{to}`, but may import only: {may}; move what is shared down, or hand it in"
                );
                found.push(finding(file, reference.line, remedy));
            }
        }
    }
    found
}

fn is_allowed(may: &[&str], path: &[String]) -> bool {
    let leads = |entry: &str| {
        entry == "*"
            || path.iter().map(String::as_str).zip(entry.split("::")).all(|(a, b)| a == b)
                && path.len() >= entry.split("::").count()
    };
    let allowed = may.iter().any(|entry| !entry.starts_with('!') && leads(entry));
    allowed && !may.iter().filter_map(|entry| entry.strip_prefix('!')).any(leads)
}

/// Files stay short.
pub fn length(files: &[File]) -> Vec<Finding> {
    let long = files.iter().filter(|f| !is_generated(f) && f.text.lines().count() > LINES_MAX);
    let remedy = |n: usize| format!("{n} lines; a file has at most {LINES_MAX}: split it by what its parts are about");
    long.map(|f| finding(f, LINES_MAX + 1, remedy(f.text.lines().count()))).collect()
}

/// Every module says at its top what it is. (`mod x { … }` inside a file needs nothing.)
pub fn documented(files: &[File]) -> Vec<Finding> {
    let modules = files.iter().filter(|f| f.path.starts_with("src/") && !f.code.trim().is_empty() && !is_generated(f));
    let silent = modules.filter(|f| f.path != "src/main.rs" && !f.text.trim_start().starts_with("//!"));
    silent.map(|f| finding(f, 1, "begin with a `//!` comment that says what the module is for".into())).collect()
}

/// Outside of tests nothing panics on purpose, apart from `allowed`, which must be exact.
pub fn panics(files: &[File], allowed: &[Allowed]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files.iter().filter(|f| !is_generated(f)) {
        let allowance = allowed.iter().find(|a| a.path == file.path);
        let mut places: Vec<usize> = Vec::new();
        for call in [".unwrap()", ".expect("] {
            places.extend(file.code.match_indices(call).map(|(at, _)| line_of(&file.code, at)));
        }
        places.sort_unstable();
        let count = allowance.map_or(0, |a| a.count);
        if places.len() > count {
            let remedy = |line: usize| {
                finding(file, line, format!("return an error, or allow it with a reason ({count} allowed here)"))
            };
            found.extend(places.iter().map(|line| remedy(*line)));
        } else if places.len() < count {
            let remedy = format!("{count} are allowed here, {} are left; lower the allowance", places.len());
            found.push(finding(file, places.first().copied().unwrap_or(1), remedy));
        }
    }
    for stale in allowed.iter().filter(|a| !files.iter().any(|f| f.path == a.path)) {
        let remedy = format!("the file is gone; remove its allowance ({})", stale.reason);
        found.push(Finding { path: stale.path.into(), line: 1, remedy });
    }
    found
}

/// A route is made by `routes!`, which takes its path from the documentation, so that none is without. Only the same
/// route with a trailing slash, the files that the documentation's pages load, and the API of another Langfuse that is passed
/// on may be made by hand.
pub fn documented_routes(files: &[File]) -> Vec<Finding> {
    const BY_HAND: [&str; 2] = ["src/api/docs/pages.rs", "src/exporters/forward/proxy.rs"];
    let mut found = Vec::new();
    for file in files.iter().filter(|f| !BY_HAND.contains(&f.path.as_str())) {
        for (at, call) in file.code.match_indices(".route(") {
            let argument = file.text[at + call.len()..].trim_start();
            let path = argument.strip_prefix('"').and_then(|rest| rest.split('"').next());
            if path.is_none_or(|path| !path.ends_with('/')) {
                let remedy = "describe the handler by `#[utoipa::path(…)]` and add it by `.routes(routes!(handler))`";
                found.push(finding(file, line_of(&file.code, at), remedy.into()));
            }
        }
    }
    found
}

/// Nothing unfinished, in tests neither.
pub fn unfinished(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files.iter().filter(|f| !is_generated(f)) {
        for word in ["todo!", "unimplemented!", "dbg!"] {
            for (at, _) in file.bare.match_indices(word) {
                let inside_word = file.bare.as_bytes()[..at].last().is_some_and(|b| is_word(*b));
                if !inside_word {
                    let remedy = format!("`{word}` is for drafts; finish it or take it out");
                    found.push(finding(file, line_of(&file.bare, at), remedy));
                }
            }
        }
    }
    found
}
