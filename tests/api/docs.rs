//! The API's documentation: complete, and committed as it is served.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use crate::gateway::Gateway;

/// The document as a running gateway serves it.
pub async fn document(gateway: &Gateway) -> Value {
    gateway.get("", "/api/openapi.json").await.expect(200)
}

/// Every operation: method, path, and what is said of it.
pub fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        item.as_object()
            .unwrap()
            .iter()
            .map(move |(method, operation)| (method.to_uppercase(), path.clone(), operation))
    });
    operations.filter(|(.., operation)| operation["responses"].is_object()).collect()
}

/// With UPDATE_DOCS=1 the file is written instead of compared.
#[tokio::test]
async fn the_committed_document_is_the_served_one() {
    let gateway = Gateway::start().await;
    let served = format!("{:#}\n", document(&gateway).await);
    gateway.stop().await;
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, served).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == served,
        "docs/openapi.json is out of date; write it by UPDATE_DOCS=1 cargo test --test api committed"
    );
}

#[tokio::test]
async fn every_operation_is_described_with_examples_and_errors() {
    let gateway = Gateway::start().await;
    let document = document(&gateway).await;
    gateway.stop().await;
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    let mut lacking = Vec::new();
    for (method, path, operation) in operations(&document) {
        let mut lacks = |what: &str| lacking.push(format!("{method} {path}: {what}"));
        if !ids.insert(operation["operationId"].as_str().unwrap_or_default()) {
            lacks("an operationId of its own");
        }
        if operation["summary"].as_str().is_none_or(str::is_empty) {
            lacks("a first line of its doc comment");
        }
        if operation["tags"].as_array().is_none_or(Vec::is_empty) {
            lacks("a tag");
        }
        let responses = operation["responses"].as_object().unwrap();
        if !responses.keys().any(|status| status.starts_with('2')) {
            lacks("an answer when all is well");
        }
        match operation["security"].as_array().map(Vec::as_slice) {
            None | Some([]) => lacks("security((\"api_key\" = [\"scope\"])), or security(()) when it is open"),
            Some(ways) if ways.iter().any(|way| way["api_key"].is_array()) => {
                for status in ["401", "403", "429", "503"] {
                    if !responses.contains_key(status) {
                        lacks(&format!("a {status} (doc::Keyed)"));
                    }
                }
            }
            Some(_) => {}
        }
        if path.contains("{id}") && !responses.contains_key("404") {
            lacks("a 404 (doc::Found)");
        }
        for (status, response) in responses {
            for (kind, content) in response["content"].as_object().into_iter().flatten() {
                if kind == "application/json" && !has_example(&document, content) {
                    lacks(&format!("an example of the answer {status}"));
                }
            }
        }
        if let Some(content) = operation["requestBody"]["content"].get("application/json")
            && !has_example(&document, content)
        {
            lacks("an example of its body");
        }
        for status in ["413", "422"] {
            if operation["requestBody"].is_object() && !responses.contains_key(status) {
                lacks(&format!("a {status} (doc::Sent)"));
            }
        }
    }
    assert!(lacking.is_empty(), "{} lacks:\n{}", lacking.len(), lacking.join("\n"));
}

/// Whether the content, its schema or a part of the schema has an example.
fn has_example(document: &Value, content: &Value) -> bool {
    content.get("example").is_some()
        || content.get("examples").is_some()
        || schema_has_example(document, &content["schema"], 8)
}

fn schema_has_example(document: &Value, schema: &Value, depth: u32) -> bool {
    if depth == 0 {
        return false;
    }
    let named = schema["$ref"].as_str().and_then(|name| document.pointer(name.trim_start_matches('#')));
    if let Some(named) = named {
        return schema_has_example(document, named, depth - 1);
    }
    let parts = |name: &str| schema[name].as_array().into_iter().flatten();
    let properties = schema["properties"].as_object().into_iter().flat_map(|p| p.values());
    schema.get("example").is_some()
        || schema.get("examples").is_some()
        || schema.get("items").is_some_and(|items| schema_has_example(document, items, depth - 1))
        || ["oneOf", "anyOf", "allOf"]
            .into_iter()
            .flat_map(parts)
            .any(|part| schema_has_example(document, part, depth - 1))
        || properties.into_iter().any(|property| schema_has_example(document, property, depth - 1))
}

#[tokio::test]
async fn every_reference_leads_somewhere() {
    let gateway = Gateway::start().await;
    let document = document(&gateway).await;
    gateway.stop().await;
    let text = document.to_string();
    for part in text.split("\"$ref\":\"").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(document.pointer(name.trim_start_matches('#')).is_some(), "{name}");
    }
}

#[tokio::test]
async fn the_pages_come_from_the_binary_and_forbid_everything_from_elsewhere() {
    let gateway = Gateway::start().await;
    for (page, files) in [
        ("/api/docs", &["docs/swagger-ui.css", "docs/swagger-ui-bundle.js", "docs/start.js"][..]),
        ("/api/redoc", &["redoc/redoc.standalone.js", "redoc/start.js"]),
    ] {
        let answer = gateway.get("", page).await;
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
        let policy = answer.header("content-security-policy").to_owned();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        let html = answer.expect(200).as_str().unwrap().to_owned();
        for file in files {
            assert!(html.contains(&format!("\"{file}\"")), "{html}");
            assert!(gateway.get("", &format!("/api/{file}")).await.expect(200).as_str().unwrap().len() > 100);
        }
        assert!(!html.contains("://"), "{html}");
        assert_eq!(gateway.get("", &format!("{page}/nothing.js")).await.status, 404);
    }
    assert!(gateway.get("", "/api/redoc/LICENSE.txt").await.expect(200).as_str().unwrap().contains("MIT"));
    gateway.stop().await;
}
