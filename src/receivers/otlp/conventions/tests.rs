//! One span of each convention, as its packages send it.

use proptest::prelude::*;

use super::*;
use crate::model::Money;
use crate::proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value::Value};
use crate::proto::opentelemetry::proto::trace::v1::{Status, span::Event};

enum V {
    S(&'static str),
    I(i64),
    D(f64),
    B(bool),
}
use V::{B, D, I, S};

fn attributes(pairs: &[(&str, V)]) -> Vec<KeyValue> {
    let value = |v: &V| match v {
        S(text) => Value::StringValue((*text).to_owned()),
        I(n) => Value::IntValue(*n),
        D(n) => Value::DoubleValue(*n),
        B(b) => Value::BoolValue(*b),
    };
    pairs
        .iter()
        .map(|(key, v)| KeyValue { key: (*key).to_owned(), value: Some(AnyValue { value: Some(value(v)) }) })
        .collect()
}

fn span(name: &str, pairs: &[(&str, V)]) -> Span {
    Span { name: name.into(), parent_span_id: vec![1; 8], attributes: attributes(pairs), ..Span::default() }
}

/// Without rules of an operator. What is read points into the span, which a test may keep for ever.
fn read_one(scope: &str, span: &Span) -> Reading<'static> {
    let (scope, span) = (String::leak(scope.to_owned()), Box::leak(Box::new(span.clone())));
    read(Box::leak(Box::default()), &[], scope, span)
}

fn read_span(scope: &str, name: &str, pairs: &[(&str, V)]) -> Reading<'static> {
    read_one(scope, &span(name, pairs))
}

fn tokens(input: u64, output: u64, cached: u64, reasoning: u64) -> Usage {
    Usage {
        input: Some(input),
        output: Some(output),
        cached_input: Some(cached),
        reasoning: Some(reasoning),
        ..Usage::default()
    }
}

#[test]
fn a_model_call_reads_the_same_in_every_convention() {
    let expected = tokens(112, 17, 64, 8);
    let anything = [
        (
            "",
            "chat gpt-4o-mini",
            vec![
                ("gen_ai.operation.name", S("chat")),
                ("gen_ai.request.model", S("gpt-4o-mini")),
                ("gen_ai.response.model", S("m")),
                ("gen_ai.usage.input_tokens", I(112)),
                ("gen_ai.usage.output_tokens", I(17)),
                ("gen_ai.usage.cache_read.input_tokens", I(64)),
                ("gen_ai.usage.reasoning.output_tokens", I(8)),
            ],
        ),
        (
            "",
            "openai.chat",
            vec![
                ("llm.request.type", S("chat")),
                ("gen_ai.request.model", S("m")),
                ("gen_ai.usage.prompt_tokens", I(112)),
                ("gen_ai.usage.completion_tokens", I(17)),
                ("gen_ai.usage.cache_read_input_tokens", I(64)),
                ("gen_ai.usage.reasoning_tokens", I(8)),
            ],
        ),
        (
            "openinference.instrumentation.openai",
            "ChatCompletion",
            vec![
                ("openinference.span.kind", S("LLM")),
                ("llm.model_name", S("m")),
                ("llm.token_count.prompt", I(112)),
                ("llm.token_count.completion", I(17)),
                ("llm.token_count.prompt_details.cache_read", I(64)),
                ("llm.token_count.completion_details.reasoning", I(8)),
            ],
        ),
        (
            "ai",
            "ai.generateText.doGenerate",
            vec![
                ("ai.operationId", S("ai.generateText.doGenerate")),
                ("ai.model.id", S("m")),
                ("ai.usage.promptTokens", I(112)),
                ("ai.usage.outputTokens", I(17)),
                ("ai.usage.cachedInputTokens", I(64)),
                ("ai.usage.reasoningTokens", I(8)),
            ],
        ),
        (
            "langfuse-sdk",
            "OpenAI-generation",
            vec![
                ("langfuse.observation.type", S("generation")),
                ("langfuse.observation.model.name", S("m")),
                (
                    "langfuse.observation.usage_details",
                    S(
                        r#"{"prompt_tokens":112,"completion_tokens":17,"total_tokens":129,"prompt_tokens_details":{"cached_tokens":64},"completion_tokens_details":{"reasoning_tokens":8}}"#,
                    ),
                ),
            ],
        ),
        (
            "langfuse-sdk",
            "ChatOpenAI",
            vec![
                ("langfuse.observation.type", S("generation")),
                ("langfuse.observation.model.name", S("m")),
                (
                    "langfuse.observation.usage_details",
                    S(r#"{"input":48,"input_cache_read":64,"output":9,"output_reasoning":8,"total":129}"#),
                ),
            ],
        ),
        (
            "codex",
            "handle_responses",
            vec![
                ("gen_ai.usage.input_tokens", S("112")),
                ("gen_ai.usage.output_tokens", I(17)),
                ("gen_ai.request.model", S("m")),
                ("gen_ai.usage.cache_read.input_tokens", I(64)),
                ("codex.usage.reasoning_output_tokens", I(8)),
            ],
        ),
    ];
    for (scope, name, pairs) in anything {
        let reading = read_span(scope, name, &pairs);
        assert_eq!((reading.class, reading.model, reading.usage), (SpanClass::Llm, Some("m"), expected), "{name}");
    }
    let claude = read_span(
        "com.anthropic.claude_code.tracing",
        "claude_code.llm_request",
        &[
            ("span.type", S("llm_request")),
            ("model", S("m")),
            ("input_tokens", I(40)),
            ("output_tokens", I(17)),
            ("cache_read_tokens", I(64)),
            ("cache_creation_tokens", I(8)),
        ],
    );
    assert_eq!((claude.class, claude.model), (SpanClass::Llm, Some("m")));
    assert_eq!((claude.usage.input, claude.usage.cached_input), (Some(112), Some(64)));
}

#[test]
fn aliases_are_never_added_up() {
    let reading = read_span(
        "strands.telemetry.tracer",
        "chat",
        &[
            ("gen_ai.operation.name", S("chat")),
            ("gen_ai.usage.prompt_tokens", I(100)),
            ("gen_ai.usage.input_tokens", I(112)),
            ("llm.token_count.prompt", I(90)),
            ("ai.usage.inputTokens", I(80)),
        ],
    );
    assert_eq!(reading.usage.input, Some(112));
}

#[test]
fn absurd_counts_are_unknown_and_exclusive_ones_are_converted() {
    let usage = |pairs: Vec<(&'static str, V)>| {
        let mut all = vec![("gen_ai.operation.name", S("chat"))];
        all.extend(pairs);
        read_span("", "chat", &all).usage
    };
    for bad in [I(-1), I(i64::MAX), D(1.5), D(f64::NAN), D(-0.5), S("many"), B(true)] {
        assert_eq!(usage(vec![("gen_ai.usage.input_tokens", bad)]).input, None);
    }
    assert_eq!(usage(vec![("gen_ai.usage.input_tokens", D(12.0))]).input, Some(12));
    let exclusive = usage(vec![
        ("gen_ai.usage.input_tokens", I(10)),
        ("gen_ai.usage.cache_read.input_tokens", I(90)),
        ("gen_ai.usage.cache_creation.input_tokens", I(5)),
    ]);
    assert_eq!((exclusive.input, exclusive.cached_input), (Some(105), Some(90)));
    assert_eq!(usage(vec![]), Usage::default(), "absent stays absent");
}

#[test]
fn langfuse_buckets_with_a_total_that_counts_them_once_are_inclusive() {
    let usage = |details: &'static str| {
        read_span(
            "langfuse-sdk",
            "x",
            &[("langfuse.observation.type", S("generation")), ("langfuse.observation.usage_details", S(details))],
        )
        .usage
    };
    let inclusive =
        usage(r#"{"input":100,"output":20,"total":120,"input_cached_tokens":40,"output_reasoning_tokens":5}"#);
    assert_eq!(inclusive, tokens(100, 20, 40, 5));
    let anthropic =
        usage(r#"{"input_tokens":10,"output_tokens":20,"cache_read_input_tokens":30,"cache_creation_input_tokens":5}"#);
    assert_eq!((anthropic.input, anthropic.cached_input, anthropic.output), (Some(45), Some(30), Some(20)));
    for broken in ["", "[]", "{", r#"{"input":-4,"output":"x"}"#, "null"] {
        assert_eq!(usage(broken), Usage::default(), "{broken}");
    }
}

#[test]
fn cost_is_read_where_it_is_told() {
    let cost = |pairs: Vec<(&'static str, V)>| {
        let mut all = vec![("gen_ai.operation.name", S("chat"))];
        all.extend(pairs);
        read_span("", "chat", &all).usage.cost
    };
    let cents = Some(Money(10_000_000));
    assert_eq!(cost(vec![("operation.cost", D(0.01)), ("llm.cost.total", D(0.5))]), cents);
    assert_eq!(cost(vec![("llm.cost.total", S("0.01"))]), cents);
    assert_eq!(cost(vec![("gen_ai.usage.cost", D(0.01))]), cents);
    assert_eq!(cost(vec![("gen_ai.usage.cost", I(0))]), None, "no price known");
    assert_eq!(cost(vec![("operation.cost", I(0))]), Some(Money(0)), "free");
    assert_eq!(cost(vec![("langfuse.observation.cost_details", S(r#"{"total":0.01}"#))]), cents);
    assert_eq!(cost(vec![("cost_usd", D(0.01))]), None, "anyone's attribute");
    for bad in [D(f64::NAN), D(f64::INFINITY), D(-1.0), D(1e300), S("cheap")] {
        assert_eq!(cost(vec![("operation.cost", bad)]), None);
    }
}

#[test]
fn classes_follow_the_first_rule_that_fits() {
    use SpanClass::{Agent, Definition, Llm, Other, Step, Tool, Workflow};
    let openai_agents = openinference::OPENAI_AGENTS_SCOPE;
    for (scope, name, pairs, class) in [
        ("", "GET /", vec![("http.request.method", S("GET"))], Other),
        ("", "x", vec![("gen_ai.operation.name", S("create_agent"))], Definition),
        ("", "x", vec![("gen_ai.operation.name", S("invoke_workflow"))], Workflow),
        ("", "x", vec![("gen_ai.operation.name", S("fetch_response"))], Step),
        ("", "x", vec![("gen_ai.operation.name", S("brand_new"))], Step),
        ("", "x", vec![("gen_ai.operation.name", S("brand_new")), ("openinference.span.kind", S("LLM"))], Llm),
        ("", "x", vec![("gen_ai.operation.name", S("execute_tool")), ("openinference.span.kind", S("CHAIN"))], Tool),
        ("ai", "x", vec![("ai.operationId", S("ai.streamText")), ("gen_ai.operation.name", S("chat"))], Agent),
        ("ai", "x", vec![("ai.operationId", S("ai.toolCall"))], Tool),
        ("", "x", vec![("traceloop.span.kind", S("workflow"))], Workflow),
        ("", "x", vec![("traceloop.span.kind", S("task"))], Step),
        ("", "x", vec![("langfuse.observation.type", S("event"))], Step),
        ("", "_prepare_chat_with_tools", vec![("openinference.span.kind", S("LLM"))], Step),
        (openai_agents, "handoff to billing", vec![("openinference.span.kind", S("TOOL"))], Step),
        ("gcp.vertex.agent", "execute_tool (merged tools)", vec![("gen_ai.operation.name", S("execute_tool"))], Step),
        (
            "openinference.instrumentation.smolagents",
            "T",
            vec![("openinference.span.kind", S("TOOL")), ("tool.name", S("final_answer"))],
            Step,
        ),
        (
            "openlit.instrumentation.langgraph",
            "invoke_agent model",
            vec![("gen_ai.operation.name", S("invoke_agent")), ("gen_ai.agent.name", S("model"))],
            Step,
        ),
        (
            "pydantic-ai",
            "chat",
            vec![("logfire.span_type", S("pending_span")), ("gen_ai.operation.name", S("chat"))],
            Step,
        ),
        ("", "claude_code.tool.execution", vec![("span.type", S("tool.execution"))], Step),
        ("", "claude_code.interaction", vec![("span.type", S("interaction"))], Agent),
        ("", "web.request", vec![("span.type", S("tool"))], Other),
        ("", "session_task.turn", vec![], Agent),
        ("", "handle_responses", vec![], Other),
    ] {
        assert_eq!(read_span(scope, name, &pairs).class, class, "{scope} {name}");
    }
    let root = |scope: &str, kind| {
        read_one(
            scope,
            &Span { parent_span_id: Vec::new(), ..span("Crew.kickoff", &[("openinference.span.kind", S(kind))]) },
        )
        .class
    };
    assert_eq!(root("openinference.instrumentation.crewai", "CHAIN"), Workflow);
    assert_eq!(root(openai_agents, "AGENT"), Workflow, "without a name it wraps the agents");
    assert_eq!(root("openinference.instrumentation.agno", "AGENT"), Agent);
}

#[test]
fn agents_are_named_by_whatever_names_them() {
    for (scope, name, pairs, agent) in [
        ("", "x", vec![("gen_ai.operation.name", S("chat")), ("gen_ai.agent.name", S(" bot "))], Some("bot")),
        ("", "x", vec![("openinference.span.kind", S("AGENT")), ("graph.node.id", S("bot"))], Some("bot")),
        ("", "x", vec![("openinference.span.kind", S("TOOL")), ("graph.node.id", S("bot"))], None),
        (
            "openinference.instrumentation.smolagents",
            "bot.run",
            vec![("openinference.span.kind", S("AGENT"))],
            Some("bot"),
        ),
        ("openinference.instrumentation.agno", "bot.run", vec![("openinference.span.kind", S("AGENT"))], None),
        (
            "",
            "x",
            vec![("openinference.span.kind", S("LLM")), ("metadata", S(r#"{"lc_agent_name":"bot"}"#))],
            Some("bot"),
        ),
        ("", "x", vec![("openinference.span.kind", S("LLM")), ("metadata", S("lc_agent_name"))], None),
        ("", "bot.agent", vec![("traceloop.span.kind", S("agent")), ("traceloop.entity.name", S("bot"))], Some("bot")),
        (
            "",
            "x",
            vec![("traceloop.span.kind", S("tool")), ("traceloop.association.properties.lc_agent_name", S("bot"))],
            Some("bot"),
        ),
        ("langfuse-sdk", "bot", vec![("langfuse.observation.type", S("agent"))], Some("bot")),
        ("ai", "x", vec![("ai.operationId", S("ai.generateText")), ("ai.telemetry.functionId", S("bot"))], Some("bot")),
        ("", "x", vec![("gen_ai.operation.name", S("chat")), ("gen_ai.agent.name", S("  "))], None),
    ] {
        assert_eq!(read_span(scope, name, &pairs).agent.as_deref(), agent, "{scope} {name}");
    }
}

#[test]
fn one_tool_call_has_one_digest_however_it_is_wrapped() {
    let tool = |arguments: (&'static str, V)| {
        let pairs = [("gen_ai.operation.name", S("execute_tool")), ("gen_ai.tool.name", S("get_weather")), arguments];
        read_span("", "execute_tool get_weather", &pairs).tool.unwrap()
    };
    let plain = tool(("gen_ai.tool.call.arguments", S(r#"{"city":"Paris","days":[1,null]}"#)));
    assert_eq!(plain.name, "get_weather");
    assert!(plain.digest.is_some());
    for (key, same) in [
        ("gen_ai.tool.call.arguments", r#" { "days" : [1, null], "city" : "Paris" } "#),
        ("gen_ai.tool.call.arguments", r#"{"input_str":"{'city': 'Paris', 'days': (1, None)}","tags":["seq:step:4"]}"#),
        ("gen_ai.tool.call.arguments", r#""{\"city\":\"Paris\",\"days\":[1,null]}""#),
        ("tool_arguments", r#"{"city":"Paris","days":[1,null]}"#),
        ("ai.toolCall.args", r#"{"city":"Paris","days":[1,null]}"#),
        ("langfuse.observation.input", r#"{"args":[],"kwargs":{"city":"Paris","days":[1,null]}}"#),
        ("input.value", r#"{"args":[],"sanitize_inputs_outputs":true,"kwargs":{"city":"Paris","days":[1,null]}}"#),
        ("traceloop.entity.input", r#"{"city":"Paris","days":[1,null]}"#),
        ("tool.parameters", r#"{"city":"Paris","days":[1,null]}"#),
    ] {
        assert_eq!(tool((key, S(same))), plain, "{key} {same}");
    }
    for (key, other) in [
        ("gen_ai.tool.call.arguments", r#"{"city":"Oslo","days":[1,null]}"#),
        ("gen_ai.tool.call.arguments", "Paris"),
        ("gen_ai.tool.call.arguments", "{'city': broken"),
        ("langfuse.observation.input", r#"{"args":["Paris"],"kwargs":{"city":"Paris","days":[1,null]}}"#),
    ] {
        let digest = tool((key, S(other))).digest;
        assert!(digest.is_some() && digest != plain.digest, "{other}");
    }
    for schema in [
        r#"{"type":"object","properties":{"city":{"type":"string"}}}"#,
        r#"{"city":{"type":"string","description":"name of the city"}}"#,
    ] {
        assert_eq!(tool(("tool.parameters", S(schema))).digest, None, "{schema}");
    }
    assert_eq!(tool(("other", S("x"))).digest, None, "not on the wire");
}

#[test]
fn arguments_in_an_event_are_found() {
    let mut tool = span("execute_tool lookup", &[("gen_ai.operation.name", S("execute_tool"))]);
    tool.events.push(Event {
        name: "gen_ai.tool.message".into(),
        attributes: attributes(&[("content", S(r#"{"id":1}"#))]),
        ..Event::default()
    });
    let key = read_one("strands.telemetry.tracer", &tool).tool.unwrap();
    assert_eq!(key.name, "lookup");
    assert!(key.digest.is_some());
}

#[test]
fn failures_have_a_class_and_a_short_text() {
    let chat = || span("chat", &[("gen_ai.operation.name", S("chat"))]);
    let error = |message: &str| Some(Status { code: 2, message: message.to_owned() });
    let exception = Event {
        name: "exception".into(),
        attributes: attributes(&[
            ("exception.type", S("openai.RateLimitError")),
            ("exception.message", S("slow down")),
        ]),
        ..Event::default()
    };
    let failure = |span: Span| read_one("", &span).failure.map(|f| (f.kind, f.message));
    let told = |kind: &str, message: &str| Some((kind.to_owned(), message.to_owned()));

    assert_eq!(failure(chat()), None);
    assert_eq!(failure(Span { events: vec![exception.clone()], ..chat() }), None, "an event alone is no failure");
    assert_eq!(failure(Span { status: error("no"), ..chat() }), told("_OTHER", "no"));
    assert_eq!(
        failure(Span { status: error(""), events: vec![exception.clone()], ..chat() }),
        told("openai.RateLimitError", "slow down")
    );
    let typed = |key, value| Span {
        attributes: attributes(&[("gen_ai.operation.name", S("chat")), (key, value)]),
        events: vec![exception.clone()],
        ..chat()
    };
    assert_eq!(failure(typed("error.type", S("500"))).unwrap().0, "500");
    assert_eq!(failure(typed("error.type", I(429))).unwrap().0, "429");
    assert_eq!(failure(typed("gen_ai.tool.status", S("error"))).unwrap().0, "openai.RateLimitError");
    assert_eq!(failure(typed("success", B(false))), None, "anyone's attribute");
    let status = Span {
        attributes: attributes(&[("gen_ai.operation.name", S("chat")), ("http.response.status_code", I(503))]),
        status: error("x"),
        ..chat()
    };
    assert_eq!(failure(status), told("503", "x"));

    let langfuse = span(
        "x",
        &[
            ("langfuse.observation.type", S("tool")),
            ("langfuse.observation.level", S("ERROR")),
            ("langfuse.observation.status_message", S("bad")),
        ],
    );
    assert_eq!(failure(langfuse), told("_OTHER", "bad"));
    let claude = span(
        "claude_code.llm_request",
        &[
            ("span.type", S("llm_request")),
            ("success", S("false")),
            ("status_code", S("529")),
            ("error", S("Overloaded")),
        ],
    );
    assert_eq!(failure(claude), told("529", "Overloaded"));
    let long = failure(Span { status: error(&"é".repeat(1000)), ..chat() }).unwrap().1;
    assert_eq!(long.len(), ERROR_TEXT_BYTES_MAX);
}

proptest! {
    /// Whatever the texts are: names are bounded, nothing panics.
    #[test]
    fn any_text_can_be_read(text in ".{0,400}", fact in 0..TABLES.concat().len(), json in r#"[\[\]{}'":,a-z0-9\\ ]{0,40}"#) {
        let key = TABLES.iter().copied().flatten().nth(fact).map_or("", |(key, _)| *key);
        for value in [text, json] {
            let value = Some(AnyValue { value: Some(Value::StringValue(value)) });
            for operation in ["execute_tool", "chat", "invoke_agent"] {
                let mut span = span("x", &[("gen_ai.operation.name", S(operation))]);
                span.attributes.push(KeyValue { key: key.to_owned(), value: value.clone() });
                let reading = read_one("openinference.instrumentation.langchain", &span);
                prop_assert!(reading.agent.is_none_or(|a| a.len() <= NAME_BYTES_MAX));
                prop_assert!(reading.model.is_none_or(|m| m.len() <= NAME_BYTES_MAX));
                prop_assert!(reading.failure.is_none_or(|f| f.kind.len() <= NAME_BYTES_MAX));
            }
        }
    }
}
