//! Pass-through, from the configuration's words to the exporter's.

use std::path::Path;

use axum::http::{HeaderName, HeaderValue, header};
use base64::Engine as _;
use secrecy::ExposeSecret;

use crate::config::{self, Config};
use crate::exporters::forward::{self, Destination};

/// The folder of queues on disk, in the data directory.
const FOLDER: &str = "forward";

/// The destinations of the configuration.
pub fn destinations(config: &Config, data_dir: &Path) -> Vec<Destination> {
    let forward = config.exporters.forward.iter();
    forward.map(|(name, settings)| destination(name, settings, &data_dir.join(FOLDER).join(name))).collect()
}

fn destination(name: &str, settings: &config::Forward, folder: &Path) -> Destination {
    let (queue, retry) = (&settings.queue, &settings.retry);
    Destination {
        name: name.into(),
        endpoint: settings.endpoint.clone(),
        protocol: match settings.protocol {
            config::Protocol::Http => forward::Protocol::Http,
            config::Protocol::Grpc => forward::Protocol::Grpc,
            config::Protocol::Langfuse => forward::Protocol::Langfuse,
            config::Protocol::Webhook => forward::Protocol::Webhook,
        },
        headers: headers(settings),
        compression: match settings.compression {
            config::Compression::None => forward::Compression::None,
            config::Compression::Gzip => forward::Compression::Gzip,
            config::Compression::Zstd => forward::Compression::Zstd,
        },
        signals: settings.signals.iter().map(|s| signal(*s)).collect(),
        projects: settings.projects.clone(),
        timeout: settings.timeout,
        tls: forward::Tls { ca_file: settings.ca_file.clone(), insecure_skip_verify: settings.insecure_skip_verify },
        queue: forward::QueueSettings {
            consumers: queue.num_consumers,
            requests_max: queue.queue_size,
            bytes_max: queue.queue_bytes,
            on_full: match queue.on_full {
                config::OnFull::DropNew => forward::OnFull::DropNew,
                config::OnFull::DropOld => forward::OnFull::DropOld,
            },
            folder: (queue.storage == config::Storage::Disk).then(|| folder.to_owned()),
        },
        retry: forward::Retry {
            enabled: retry.enabled,
            initial_interval: retry.initial_interval,
            multiplier: retry.multiplier,
            max_interval: retry.max_interval,
            randomization_factor: retry.randomization_factor,
            max_elapsed_time: retry.max_elapsed_time,
        },
    }
}

const fn signal(signal: config::Signal) -> forward::Signal {
    match signal {
        config::Signal::Traces => forward::Signal::Traces,
        config::Signal::Logs => forward::Signal::Logs,
        config::Signal::Metrics => forward::Signal::Metrics,
        config::Signal::Langfuse => forward::Signal::Langfuse,
        config::Signal::Webhooks => forward::Signal::Webhooks,
    }
}

/// The headers of every request, never shown in logs. The configuration has checked that they are well formed.
fn headers(settings: &config::Forward) -> Vec<(HeaderName, HeaderValue)> {
    let written = settings.headers.iter().filter_map(|(name, value)| {
        Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value.expose_secret()).ok()?))
    });
    let basic = settings.langfuse.iter().filter_map(|(public, secret)| {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{public}:{}", secret.expose_secret()));
        Some((header::AUTHORIZATION, HeaderValue::try_from(format!("Basic {pair}")).ok()?))
    });
    written
        .chain(basic)
        .map(|(name, mut value)| {
            value.set_sensitive(true);
            (name, value)
        })
        .collect()
}
