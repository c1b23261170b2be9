//! Kinds of values that YAML does not know: addresses, amounts of bytes, secrets.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de};

/// Where to listen: `host:port`. The host is an IPv4 address, an IPv6 address in brackets, or `localhost`; port 0 lets
/// the system choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint(pub SocketAddr);

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Ok(address) = text.parse() {
            return Ok(Self(address));
        }
        let problem = |remedy: &str| Err(format!("`{text}` is not an endpoint; {remedy}"));
        if let Some((_, address)) = text.split_once("://") {
            return problem(&format!("leave out the scheme: {address}"));
        }
        if text.parse::<u16>().is_ok() {
            return problem(&format!("write the address too: 127.0.0.1:{text}"));
        }
        if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return problem(&format!("the port is missing: {}", SocketAddr::new(address, 4319)));
        }
        match text.rsplit_once(':') {
            Some((host, port)) => match (host, port.parse::<u16>()) {
                (_, Err(_)) => problem("the port must be a number from 0 to 65535"),
                ("localhost", Ok(port)) => Ok(Self(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))),
                ("" | "*", Ok(port)) => problem(&format!("for every address of this machine write 0.0.0.0:{port}")),
                _ => problem("the host must be an IPv4 address, an IPv6 address in brackets, or localhost"),
            },
            None => problem("write host:port, for example 127.0.0.1:4319"),
        }
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Endpoint {
    fn schema_name() -> Cow<'static, str> {
        "Endpoint".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(\\[[0-9A-Fa-f:.]+\\]|[0-9.]+|localhost|\\$\\{.*):[0-9]{1,5}$|\\$\\{",
            "examples": ["127.0.0.1:4319", "0.0.0.0:4319", "[::1]:4319", "localhost:0"],
            "description": "Where to listen, as host:port. The host is an IPv4 address, an IPv6 address in brackets, or localhost; port 0 lets the system choose."
        })
    }
}

/// An amount of bytes: a whole number, or text with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

/// Units, larger ones first.
const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = (text[..digits].parse::<u64>().ok(), text[digits..].trim());
        let factor = match unit {
            "" => Some(1),
            _ => UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, factor)| *factor),
        };
        match (number, factor) {
            (Some(number), Some(factor)) => {
                number.checked_mul(factor).map(Self).ok_or_else(|| format!("`{text}` is too large"))
            }
            _ => Err(format!("`{text}` is not an amount of bytes; write for example 67108864 or \"64MiB\"")),
        }
    }
}

impl fmt::Display for Bytes {
    /// In the largest unit (of 1024) that leaves no rest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().take(3).find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor)) {
            Some((name, factor)) => write!(f, "{}{name}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount of bytes such as 67108864 or \"64MiB\"")
            }
            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
                text.parse().map_err(E::custom)
            }
        }
        d.deserialize_any(Visitor)
    }
}

impl JsonSchema for Bytes {
    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{"type": "string", "examples": ["64MiB", "1GiB", "500kB"]}, {"type": "integer", "minimum": 0}],
            "description": "An amount of bytes: a number, or text with a unit (B, kB, MB, GB, KiB, MiB, GiB)."
        })
    }
}

/// A secret: never shown, also not by `Debug`.
#[derive(Clone, Debug)]
pub struct Secret(pub SecretString);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d).map(|text| Self(text.into()))
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "examples": ["${env:NAME}", "${file:path/to/secret}"],
            "description": "A secret. Keep it out of the file: ${env:NAME} or ${file:PATH}."
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Span, exact};

    #[test]
    fn endpoints_are_addresses_with_ports() {
        for (text, address) in [
            ("127.0.0.1:4319", "127.0.0.1:4319"),
            (" 0.0.0.0:0 ", "0.0.0.0:0"),
            ("[::1]:4319", "[::1]:4319"),
            ("localhost:80", "127.0.0.1:80"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().0.to_string(), address);
        }
    }

    #[test]
    fn an_endpoint_that_is_none_comes_with_its_remedy() {
        for (text, remedy) in [
            ("4319", "write the address too: 127.0.0.1:4319"),
            (":4319", "for every address of this machine write 0.0.0.0:4319"),
            ("http://127.0.0.1:4319", "leave out the scheme: 127.0.0.1:4319"),
            ("::1", "the port is missing: [::1]:4319"),
            ("10.0.0.1", "the port is missing: 10.0.0.1:4319"),
            ("127.0.0.1:70000", "the port must be a number from 0 to 65535"),
            ("gateway.example:4319", "the host must be an IPv4 address, an IPv6 address in brackets, or localhost"),
            ("gateway", "write host:port, for example 127.0.0.1:4319"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap_err(), format!("`{text}` is not an endpoint; {remedy}"));
        }
    }

    #[test]
    fn bytes_are_numbers_or_have_a_unit() {
        for (text, bytes, shown) in [
            ("64MiB", 64 << 20, "64MiB"),
            ("1 gib", 1 << 30, "1GiB"),
            ("500kB", 500_000, "500000"),
            ("2048", 2048, "2KiB"),
            ("0", 0, "0"),
        ] {
            let parsed: Bytes = text.parse().unwrap();
            assert_eq!((parsed.0, parsed.to_string().as_str()), (bytes, shown));
        }
        for text in ["", "MiB", "-1", "1.5GiB", "1 parsec", "99999999999GiB"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_back_as_they_were() {
        for nanos in [0, 1_000_000, 1_500_000_000, 90_061_000_000_000, 2_592_000_000_000_000, 1] {
            let span = Duration::from_nanos(nanos);
            let read: Span = serde_json::from_value(exact(span).into()).unwrap();
            assert_eq!(read.0, span, "{}", exact(span));
        }
    }
}
