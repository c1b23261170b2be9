//! Which format and which encoding an answer has, by what the scraper says it takes.

use axum::http::HeaderMap;
use axum::http::header::{self, HeaderName};

use super::text::Format;

/// The format a scraper likes best: the highest `q`, and of equal ones the first. Without a preference we know, the
/// older text, which everything reads.
pub fn format(headers: &HeaderMap) -> Format {
    let mut best = (Format::Text004, 0.0);
    for range in ranges(headers, &header::ACCEPT) {
        let format = match range.name.as_str() {
            "application/openmetrics-text" if range.version_is("1.0.0") => Format::OpenMetrics100,
            "text/plain" if range.version_is("0.0.4") => Format::Text004,
            "text/*" | "*/*" => Format::Text004,
            _ => continue,
        };
        if range.quality > best.1 {
            best = (format, range.quality);
        }
    }
    best.0
}

/// Whether the scraper takes gzip.
pub fn gzip(headers: &HeaderMap) -> bool {
    let mut any = false;
    for range in ranges(headers, &header::ACCEPT_ENCODING) {
        match range.name.as_str() {
            "gzip" | "x-gzip" => return range.quality > 0.0,
            "*" => any = range.quality > 0.0,
            _ => {}
        }
    }
    any
}

/// One entry of an `Accept` header.
struct Range {
    name: String,
    version: Option<String>,
    quality: f32,
}

impl Range {
    fn version_is(&self, version: &str) -> bool {
        self.version.as_deref().is_none_or(|v| v == version)
    }
}

fn ranges<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = Range> + 'a {
    headers.get_all(name).into_iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).map(|entry| {
        let mut parts = entry.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut range = Range { name, version: None, quality: 1.0 };
        for (key, value) in parts.filter_map(|p| p.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match key.trim().to_ascii_lowercase().as_str() {
                // A quality nobody can read is no reason to take what was not asked for.
                "q" => range.quality = value.parse().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0),
                "version" => range.version = Some(value.to_owned()),
                _ => {}
            }
        }
        range
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn the_best_liked_known_format_wins() {
        use Format::{OpenMetrics100 as Open, Text004 as Text};
        // The first two are what Prometheus 2.42 and 3 send.
        for (accept, expected) in [
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited, \
                 application/openmetrics-text;version=1.0.0;q=0.8, application/openmetrics-text;version=0.0.1;q=0.75, \
                 text/plain;version=0.0.4;q=0.5, */*;q=0.1",
                Open,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5, \
                 application/openmetrics-text;version=0.0.1;q=0.4, text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3, \
                 text/plain;version=0.0.4;q=0.2, */*;q=0.1",
                Open,
            ),
            ("", Text),
            ("*/*", Text),
            ("text/*;q=0.9, application/openmetrics-text;q=0.5", Text),
            ("application/openmetrics-text", Open),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\" ; Q=1", Open),
            ("application/openmetrics-text; version=0.0.1", Text),
            ("application/openmetrics-text; version=2.0.0, text/plain", Text),
            ("text/plain;version=0.0.4;q=0.5, application/openmetrics-text;version=1.0.0;q=0.6", Open),
            ("text/plain;version=0.0.4;q=0.6, application/openmetrics-text;version=1.0.0;q=0.5", Text),
            ("text/plain, application/openmetrics-text", Text),
            ("application/openmetrics-text, text/plain", Open),
            ("application/openmetrics-text;q=0", Text),
            ("application/openmetrics-text;q=NaN, text/plain;q=0.1", Text),
            ("application/openmetrics-text;q=7, text/plain;q=0.1", Text),
            ("text/html, application/json", Text),
            (";;;,,=;q", Text),
        ] {
            assert_eq!(format(&with(header::ACCEPT, accept)), expected, "{accept}");
        }
        assert_eq!(format(&HeaderMap::new()), Text);
    }

    #[test]
    fn several_accept_lines_are_one_list() {
        let mut headers = with(header::ACCEPT, "text/plain;q=0.5");
        headers.append(header::ACCEPT, "application/openmetrics-text".parse().unwrap());
        assert_eq!(format(&headers), Format::OpenMetrics100);
    }

    #[test]
    fn gzip_is_used_only_where_it_is_taken() {
        for (encodings, expected) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("*", true),
            ("gzip;q=0, *", false),
            ("*, gzip;q=0.0", false),
            ("identity, br", false),
            ("", false),
        ] {
            assert_eq!(gzip(&with(header::ACCEPT_ENCODING, encodings)), expected, "{encodings}");
        }
        assert!(!gzip(&HeaderMap::new()));
    }
}
