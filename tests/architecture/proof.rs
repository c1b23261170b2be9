//! The checker itself: on small made-up sources every rule is seen to hold, and to fail.

use super::rules::{self, Allowed, Finding, Imports};
use super::scan::{self, File};

const TABLE: &[Imports] = &[
    Imports { module: "model", may: &[] },
    Imports { module: "store", may: &[&["model"]] },
    Imports { module: "api", may: &[&["store", "!store::sqlite"], &["http::ApiError"]] },
];

fn made_up(sources: &[(&str, &str)]) -> Vec<File> {
    scan::files(sources.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())))
}

fn imports(path: &str, text: &str) -> Vec<Finding> {
    rules::imports(&made_up(&[(path, text)]), TABLE)
}

#[test]
fn a_forbidden_import_is_found_with_file_line_and_remedy() {
    let found = imports("src/model/mod.rs", "//! Words.\n\nuse crate::store::Store;\n");
    assert_eq!(
        found[0].to_string(),
        "src/model/mod.rs:3: `model` imports `store::Store`, but may import only: nothing; move what is shared down, or \
         hand it in"
    );
}

#[test]
fn imports_hide_nowhere() {
    for text in [
        "use crate::api;",
        "use crate::{api, model::X};",
        "use crate::{\n    model::{X, Y as Z},\n    api::{V as W},\n};",
        "pub(crate) use crate::api::*;",
        "fn f() { let x = crate::api::look::<u8>(1); }",
        "type T = Vec<crate :: api::T>;".replace(" :: ", "::").as_str(),
        "use super::super::api::X;",
        "use super::{super::api::X, rows};",
        "fn f<'a>(x: &'a str) -> char { crate::api::f(x); 'x' }",
        "const C: &str = r#\"a \" b\"#; use crate::api::X;",
    ] {
        assert_eq!(imports("src/store/inner.rs", text).len(), 1, "{text}");
    }
}

#[test]
fn what_is_no_import_is_let_be() {
    for text in [
        "use crate::model::X; use crate::store::Y; use super::rows; use super::super::model::Z;",
        "// use crate::api::X;\n/* crate::api /* crate::api */ crate::api */",
        "/// See [`crate::api`].\nstruct S;",
        "const C: &str = \"crate::api\"; const D: &str = r#\"\"crate::api\"\"#; const E: char = '\"';",
        "#[cfg(test)]\nmod tests {\n    use crate::api::X;\n    fn f() { { } }\n}\n",
        "#[cfg(test)]\nuse crate::api::{X, Y};\n",
        "#[cfg(test)]\n#[path = \"inner_tests.rs\"]\nmod tests;\n",
        "fn f() { mycrate::api::x(); }",
    ] {
        assert!(imports("src/store/inner.rs", text).is_empty(), "{text}: {:?}", imports("src/store/inner.rs", text));
    }
}

#[test]
fn code_after_a_test_module_is_looked_at_again() {
    let text = "#[cfg(test)]\nmod tests {\n    fn f() {}\n}\n\nuse crate::api::X;\n";
    let found = imports("src/store/inner.rs", text);
    assert_eq!((found.len(), found[0].line), (1, 6));
}

#[test]
fn a_part_of_a_module_can_be_allowed_or_kept_out() {
    assert!(imports("src/api/mod.rs", "use crate::store::Store; use crate::http::{ApiError,};").is_empty());
    assert_eq!(imports("src/api/mod.rs", "use crate::store::{Store, sqlite::KeyFile};").len(), 1);
    assert_eq!(imports("src/api/mod.rs", "use crate::http::{ApiError, auth};").len(), 1);
    assert_eq!(imports("src/api/mod.rs", "use crate::http;").len(), 1, "the whole module is more than the part");
}

#[test]
fn a_module_nobody_thought_about_is_refused() {
    let found = imports("src/magic.rs", "fn f() {}");
    assert!(found[0].to_string().contains("src/magic.rs:1: module `magic` is not in the import table"), "{found:?}");
}

#[test]
fn files_of_tests_are_known_by_how_they_are_declared() {
    let files = made_up(&[
        ("src/model/mod.rs", "//! Words.\n#[cfg(test)]\nmod testing;\nmod word;\n"),
        ("src/model/testing.rs", "use crate::store::X;"),
        ("src/model/testing/deeper.rs", "use crate::store::X;"),
        ("src/model/word.rs", "#[cfg(test)]\n#[path = \"word_tests.rs\"]\nmod tests;\n#[cfg(test)]\nmod more;"),
        ("src/model/word_tests.rs", "use crate::store::X;"),
        ("src/model/word/more.rs", "use crate::store::X;"),
        ("src/model/words.rs", "use crate::store::X;"),
    ]);
    let found = rules::imports(&files, TABLE);
    assert_eq!(found.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["src/model/words.rs"]);
}

#[test]
fn a_long_file_is_found_unless_it_is_generated() {
    let long = "\n".repeat(rules::LINES_MAX + 1);
    let files = made_up(&[("src/a.rs", &long), ("src/b.rs", "\n"), ("src/proto/c.v1.rs", &long)]);
    let found = rules::length(&files);
    assert_eq!(found.len(), 1);
    assert!(found[0].to_string().starts_with("src/a.rs:501: 501 lines"), "{}", found[0]);
}

#[test]
fn a_silent_module_is_found() {
    let files = made_up(&[("src/a.rs", "//! Says it.\n"), ("src/b.rs", "/// Wrong kind.\nfn f() {}\n")]);
    let found = rules::documented(&files);
    assert_eq!(found.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["src/b.rs"]);
}

#[test]
fn panics_are_counted_outside_of_tests() {
    let text = "fn f() { a.unwrap(); b\n    .expect(\"x\"); c.unwrap_or(1); }\n#[cfg(test)]\nmod tests { fn g() { d.unwrap(); } }\n";
    let files = made_up(&[("src/a.rs", text)]);
    let allow = |count| [Allowed { path: "src/a.rs", count, reason: "it cannot fail" }];
    assert_eq!(rules::panics(&files, &[]).iter().map(|f| f.line).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(rules::panics(&files, &allow(1)).len(), 2, "one too many: any of them may be the new one");
    assert!(rules::panics(&files, &allow(2)).is_empty());
    assert!(rules::panics(&files, &allow(3))[0].to_string().contains("lower the allowance"));
    let gone = [Allowed { path: "src/gone.rs", count: 1, reason: "it could not fail" }];
    assert!(rules::panics(&made_up(&[]), &gone)[0].to_string().contains("remove its allowance"));
}

#[test]
fn drafts_are_found_even_in_tests() {
    let draft = ["to", "do!()"].concat();
    let text =
        format!("#[cfg(test)]\nmod tests {{ fn f() {{ {draft} }} }}\n// {draft}\nconst S: &str = \"{draft}\";\n");
    let found = rules::unfinished(&made_up(&[("src/a.rs", &text)]));
    assert_eq!(found.iter().map(|f| f.line).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_route_without_documentation_is_found() {
    let found = |text: &str| rules::documented_routes(&made_up(&[("src/api/x.rs", text)])).len();
    assert_eq!(found("fn f() { Router::new().route(\"/x\", get(f)).route(PATH, get(f)); }"), 2);
    assert_eq!(found("fn f() { Router::new()\n.route(\n\"/x/\", get(f)).routes(routes!(f)); }"), 0);
}
