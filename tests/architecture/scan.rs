//! Reads Rust source as text: comments and strings blanked, test-only parts left out, paths to other modules found.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// One source file. Paths are written with `/`, beginning at the package's root.
pub struct File {
    pub path: String,
    pub text: String,
    /// As long as `text`, line by line, but with comments and the contents of strings blanked.
    pub bare: String,
    /// As `bare`, with test-only items blanked too; empty when the whole file is for tests.
    pub code: String,
}

/// A path to another place of the crate, for example `["store", "sqlite", "KeyFile"]`.
#[derive(Debug, PartialEq)]
pub struct Reference {
    pub line: usize,
    pub path: Vec<String>,
}

/// The files of `sources` (path and text), with those that only tests use recognised.
pub fn files(sources: impl IntoIterator<Item = (String, String)>) -> Vec<File> {
    let mut test_only = BTreeSet::new();
    let mut files: Vec<File> = sources
        .into_iter()
        .map(|(path, text)| {
            let bare = blank(&text);
            let code = without_tests(&path, &text, &bare, &mut test_only);
            File { path, text, bare, code }
        })
        .collect();
    for file in &mut files {
        let stem = file.path.trim_end_matches(".rs").trim_end_matches("/mod");
        let is_test = |module: &String| stem == module || stem.starts_with(&format!("{module}/"));
        if test_only.iter().any(is_test) || file.path.starts_with("tests/") {
            file.code.clear();
        }
    }
    files
}

/// Every `.rs` file below `root`/`dir`.
pub fn read(root: &Path, dir: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut todo: Vec<PathBuf> = vec![root.join(dir)];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

impl File {
    /// The module the file is, for example `["store", "sqlite", "rows"]`; empty for `src/lib.rs`.
    pub fn module(&self) -> Vec<String> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        let path = if path == "lib" { "" } else { path };
        path.split('/').filter(|p| !p.is_empty()).map(str::to_owned).collect()
    }

    /// Every path that leaves the file's own module by way of `crate::` or `super::`, outside of tests.
    pub fn references(&self) -> Vec<Reference> {
        let code = &self.code;
        let mut found = Vec::new();
        for root in ["crate::", "super::"] {
            for (at, _) in code.match_indices(root) {
                let before = code[..at].trim_end().as_bytes().last().copied();
                if code.as_bytes()[..at].last().is_some_and(|b| is_word(*b)) || before == Some(b':') {
                    continue;
                }
                let mut paths = Vec::new();
                tree(code, at, &mut Vec::new(), &mut paths);
                let line = line_of(code, at);
                found.extend(paths.into_iter().map(|path| Reference { line, path: self.resolve(&path) }));
            }
        }
        found.retain(|r| !r.path.is_empty());
        found
    }

    /// Where `path` leads from here. (Inside an inline module `super` leads one step less far up than assumed.)
    fn resolve(&self, path: &[String]) -> Vec<String> {
        let mut place = self.module();
        for step in path {
            match step.as_str() {
                "crate" => place.clear(),
                "super" => drop(place.pop()),
                "self" => {}
                _ => place.push(step.clone()),
            }
        }
        place
    }
}

/// The line (from 1) of byte `at`.
pub fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Reads the use tree at `at` and gives the place after it.
fn tree(code: &str, at: usize, prefix: &mut Vec<String>, out: &mut Vec<Vec<String>>) -> usize {
    let at = at + (code[at..].len() - code[at..].trim_start().len());
    let rest = &code[at..];
    if rest.starts_with('{') {
        let mut at = at + 1;
        loop {
            at = tree(code, at, prefix, out);
            // What may follow an item (`as name`) says nothing about where it leads.
            let Some(end) = code[at..].find([',', '}']) else { return code.len() };
            at += end + 1;
            if code.as_bytes()[at - 1] == b'}' {
                return at;
            }
        }
    }
    let word = rest.trim_start_matches("r#");
    let skipped = rest.len() - word.len();
    let len = word.bytes().position(|b| !is_word(b)).unwrap_or(word.len());
    if len == 0 {
        // `*` and `<` take what came before; after a last comma there is nothing.
        if !rest.starts_with('}') {
            out.push(prefix.clone());
        }
        return at;
    }
    prefix.push(word[..len].to_owned());
    let end = at + skipped + len;
    let after = match code[end..].trim_start().starts_with("::") {
        true => tree(code, end + code[end..].find("::").unwrap() + 2, prefix, out),
        false => {
            out.push(prefix.clone());
            end
        }
    };
    prefix.pop();
    after
}

/// Blanks comments and the contents of strings and characters; lines and offsets stay.
fn blank(text: &str) -> String {
    let from = text.as_bytes();
    let mut to = from.to_vec();
    let mut at = 0;
    while at < from.len() {
        let rest = &from[at..];
        let after_word = at > 0 && is_word(from[at - 1]) && !matches!(from[at - 1], b'b' | b'c');
        let (skip, end) = if rest.starts_with(b"//") {
            (0, rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()))
        } else if rest.starts_with(b"/*") {
            (0, block_comment(rest))
        } else if rest[0] == b'"' {
            (1, quoted(rest))
        } else if rest[0] == b'r' && !after_word && raw_string(rest).is_some() {
            (1, raw_string(rest).unwrap_or(1))
        } else if rest[0] == b'\'' {
            (1, character(&text[at..]))
        } else {
            (1, 1)
        };
        for byte in to[at + skip.min(end)..at + end].iter_mut().filter(|b| **b != b'\n') {
            if end > 1 {
                *byte = b' ';
            }
        }
        at += end;
    }
    String::from_utf8(to).expect("whole characters were blanked")
}

fn block_comment(text: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        match &text[at..text.len().min(at + 2)] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

fn quoted(text: &[u8]) -> usize {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

fn raw_string(text: &[u8]) -> Option<usize> {
    let hashes = text[1..].iter().take_while(|b| **b == b'#').count();
    if text.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let end: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = hashes + 2;
    let found = text[body..].windows(end.len()).position(|w| w == end);
    Some(found.map_or(text.len(), |at| body + at + end.len()))
}

/// The length of a character literal; 1 for the tick of a lifetime.
fn character(text: &str) -> usize {
    let mut rest = text[1..].char_indices();
    match rest.next() {
        Some((_, '\\')) => text[3..].find('\'').map_or(1, |at| at + 4),
        Some((_, c)) if text[1 + c.len_utf8()..].starts_with('\'') => c.len_utf8() + 2,
        _ => 1,
    }
}

/// Blanks the items under `#[cfg(test)]`; modules of their own file are added to `test_only`, by path without `.rs`.
fn without_tests(path: &str, text: &str, bare: &str, test_only: &mut BTreeSet<String>) -> String {
    let mut code = bare.as_bytes().to_vec();
    for mark in ["#[cfg(test)]", "#[cfg(all(test,"] {
        for (from, _) in bare.match_indices(mark) {
            let (head, end) = item(bare, from);
            let declared = bare[head..end].trim().trim_end_matches(';').split_whitespace().next_back();
            if bare[head..end].contains("mod ") && bare[head..end].ends_with(';') {
                let (dir, file) = path.rsplit_once('/').unwrap_or(("", path));
                let inner = match file {
                    "mod.rs" | "lib.rs" | "main.rs" => dir.to_owned(),
                    other => format!("{dir}/{}", other.trim_end_matches(".rs")),
                };
                let named = text[from..head].split_once("path = \"").and_then(|(_, rest)| rest.split_once('"'));
                test_only.insert(match named {
                    Some((file, _)) => format!("{dir}/{}", file.trim_end_matches(".rs")),
                    None => format!("{inner}/{}", declared.unwrap_or_default()),
                });
            }
            code[from..end].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
        }
    }
    String::from_utf8(code).expect("whole characters were blanked")
}

/// Where the item whose attributes begin at `at` begins itself, and where it ends.
fn item(bare: &str, mut at: usize) -> (usize, usize) {
    let bytes = bare.as_bytes();
    while bare[at..].trim_start().starts_with("#[") {
        at += bare[at..].find('[').map_or(0, |open| closing(bytes, at + open) - at);
    }
    let head = at;
    let end = match bare[at..].find([';', '{']) {
        Some(found) if bytes[at + found] == b'{' => closing(bytes, at + found),
        Some(found) => at + found + 1,
        None => bytes.len(),
    };
    (head, end)
}

/// The place after the bracket that closes the one at `open`.
fn closing(bytes: &[u8], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in bytes.iter().enumerate().skip(open) {
        match byte {
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    bytes.len()
}
