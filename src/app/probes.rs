//! Dependency probes, from the configuration's words to the receiver's.

use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue, Method};
use secrecy::ExposeSecret;

use super::rules::ConfigRules;
use crate::config::{self, Config, ProbeEndpoint, ProbeTarget};
use crate::receivers::probes::{Expect, HttpProbe, Probe, Target};

/// The targets of the configuration.
pub fn targets(config: &Config, rules: &Arc<ConfigRules>) -> Vec<Target> {
    config.receivers.probes.iter().map(|(name, settings)| target(name, settings, rules.clone())).collect()
}

fn target(name: &str, settings: &ProbeTarget, rules: Arc<ConfigRules>) -> Target {
    let patterns = settings.agents.clone();
    let projects = settings.projects.clone();
    Target {
        name: name.into(),
        probe: match &settings.endpoint {
            ProbeEndpoint::Http(url) => Probe::Http(Box::new(http(url, settings))),
            ProbeEndpoint::Tcp(address) => Probe::Tcp(address.clone()),
            ProbeEndpoint::Grpc(endpoint) => Probe::Grpc {
                endpoint: endpoint.clone(),
                service: settings.service.clone(),
                ca_file: settings.ca_file.clone(),
            },
        },
        interval: settings.interval,
        timeout: settings.timeout,
        failures: settings.failures,
        agents: settings.agents.iter().map(ToString::to_string).collect(),
        matches: Arc::new(move |agent| patterns.iter().any(|pattern| pattern.matches(agent))),
        in_project: Arc::new(move |project| {
            let Some(projects) = &projects else { return true };
            rules.project_name(project).is_some_and(|name| projects.iter().any(|p| **p == *name))
        }),
    }
}

fn http(url: &reqwest::Url, settings: &ProbeTarget) -> HttpProbe {
    // The configuration has checked that they are well formed.
    let headers = settings.headers.iter().filter_map(|(name, value)| {
        let mut value = HeaderValue::try_from(value.expose_secret()).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::try_from(name).ok()?, value))
    });
    HttpProbe {
        url: url.clone(),
        method: match settings.method {
            config::Method::Get => Method::GET,
            config::Method::Head => Method::HEAD,
            config::Method::Post => Method::POST,
        },
        headers: headers.collect(),
        body: settings.body.clone(),
        ca_file: settings.ca_file.clone(),
        expect: Expect {
            status: settings.status.clone(),
            json: settings.json.clone(),
            completion: settings.completion,
        },
    }
}
