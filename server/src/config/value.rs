//! Values of the configuration as they are written, checked where they are read.
//!
//! Rule: each says in its error how it should be written. It knows no key's name; the caller does.

use serde::{Deserialize, Deserializer};
use shoal_wire::StreamName;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// A listener's address, or none where the text is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

impl FromStr for Listen {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let address = text.replacen("localhost:", "127.0.0.1:", 1);
        address.parse().map(|address| Self(Some(address))).map_err(|_| {
            format!("`{text}` is no address to listen on: write IP:PORT, as in 127.0.0.1:8080")
        })
    }
}

/// A file that may be left out: empty is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionalPath(pub Option<PathBuf>);

impl FromStr for OptionalPath {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self((!text.is_empty()).then(|| Path::new(text).to_path_buf())))
    }
}

/// A time in whole milliseconds, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Millis(pub Duration);

impl FromStr for Millis {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(millis) if millis > 0 => Ok(Self(Duration::from_millis(millis))),
            _ => Err(format!("`{text}` is no time: write a whole number of milliseconds above 0")),
        }
    }
}

/// A size in whole MiB, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mib(u32);

impl Mib {
    /// The number of MiB.
    pub const fn mib(self) -> u32 {
        self.0
    }

    /// The number of bytes.
    pub const fn bytes(self) -> usize {
        (self.0 as usize) << 20
    }
}

impl FromStr for Mib {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(mib) if mib > 0 => Ok(Self(mib)),
            _ => Err(format!("`{text}` is no size: write a whole number of MiB above 0")),
        }
    }
}

/// How many of something, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub usize);

impl FromStr for Count {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(count) if count > 0 => Ok(Self(count)),
            _ => Err(format!("`{text}` is no number: write a whole number above 0")),
        }
    }
}

/// A share in whole percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(pub u8);

impl FromStr for Percent {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim_end_matches('%').parse() {
            Ok(percent) if percent <= 100 => Ok(Self(percent)),
            _ => Err(format!("`{text}` is no share: write whole percent from 0 to 100")),
        }
    }
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("`{text}` is no format of a log: write `text` or `json`")),
        }
    }
}

macro_rules! read_as_text {
    ($($value:ident)*) => { $(
        impl<'de> Deserialize<'de> for $value {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = deserializer.deserialize_any($crate::config::value::Text)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )* };
}

pub(super) use read_as_text;

/// How far back viewers of a live stream may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DvrWindow {
    /// So much media.
    Last(Duration),
    /// To the beginning.
    Unlimited,
}

impl FromStr for DvrWindow {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "unlimited" {
            return Ok(Self::Unlimited);
        }
        match humantime::parse_duration(text) {
            Ok(window) if window >= Duration::from_secs(1) => Ok(Self::Last(window)),
            Ok(_) | Err(_) => {
                Err(format!("`{text}` is no window: write `2h`, `90min` or `unlimited`"))
            }
        }
    }
}

/// [`DvrWindow`], or none where the text is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionalDvr(pub Option<DvrWindow>);

impl FromStr for OptionalDvr {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(Self(None)) } else { text.parse().map(|it| Self(Some(it))) }
    }
}

/// Who brings low-latency parts to viewers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parts {
    /// Viewers share them.
    #[default]
    Share,
    /// The origin; viewers share whole segments.
    Origin,
}

impl FromStr for Parts {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "share" => Ok(Self::Share),
            "origin" => Ok(Self::Origin),
            _ => Err(format!("`{text}` is not who brings parts: write `share` or `origin`")),
        }
    }
}

/// A number of bytes, at least one, written with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no size: write it as in `500 MiB` or `20 GiB`");
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let shift = match text[digits..].trim() {
            "" | "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            "TiB" => 40,
            _ => return Err(wrong()),
        };
        let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
        match number.checked_mul(1 << shift) {
            Some(bytes) if bytes > 0 => Ok(Self(bytes)),
            Some(_) | None => Err(wrong()),
        }
    }
}

read_as_text!(
    Listen OptionalPath Millis Mib Count Percent LogFormat DvrWindow OptionalDvr Parts Bytes
);

/// Reads a TOML string or integer as text.
pub(super) struct Text;

impl serde::de::Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a whole number")
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_i64<E>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }
}

/// An encoder's secret.
#[derive(Clone, PartialEq, Eq)]
pub struct IngestKey(String);

impl IngestKey {
    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `given` is this key, in a time that does not depend on where they differ.
    pub fn matches(&self, given: &str) -> bool {
        // Hashes of BLAKE3 compare in constant time, and hide the lengths.
        blake3::hash(self.0.as_bytes()) == blake3::hash(given.as_bytes())
    }
}

impl fmt::Debug for IngestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IngestKey(…)")
    }
}

impl FromStr for IngestKey {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let fits = (1..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err("an ingest key is 1 to 128 characters of a-z A-Z 0-9 . _ ~ -".to_owned())
        }
    }
}

impl<'de> Deserialize<'de> for IngestKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A stream that encoders may push.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamConfig {
    /// Its name in URLs.
    pub name: StreamName,
    /// What an encoder must show.
    pub ingest_key: IngestKey,
    /// How far back its viewers may go, if not as `[origin]` has it.
    #[serde(default)]
    pub dvr_window: Option<OptionalDvr>,
    /// Disk for it, if not as `[origin]` has it.
    #[serde(default)]
    pub dvr_bytes_max: Option<Bytes>,
    /// Who brings low-latency parts to viewers.
    #[serde(default)]
    pub parts: Parts,
}

impl FromStr for StreamConfig {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, key) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` lacks its key: write NAME=KEY"))?;
        let name = name.parse().map_err(|error| format!("`{name}`: {error}"))?;
        let ingest_key = key.parse()?;
        let parts = Parts::default();
        Ok(Self { name, ingest_key, dvr_window: None, dvr_bytes_max: None, parts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!("".parse(), Ok(Listen(None)));
        let local = Listen(Some(([127, 0, 0, 1], 80).into()));
        assert_eq!("localhost:80".parse(), Ok(local));
        assert_eq!("127.0.0.1:80".parse(), Ok(local));
        assert!("8080".parse::<Listen>().unwrap_err().contains("IP:PORT"));
    }

    #[test]
    fn keys() {
        let key: IngestKey = "secret".parse().unwrap();
        assert!(key.matches("secret"));
        for wrong in ["", "secre", "secret1", "Secret"] {
            assert!(!key.matches(wrong), "{wrong}");
        }
        assert!("a/b".parse::<IngestKey>().is_err());
        assert!("cam".parse::<StreamConfig>().unwrap_err().contains("NAME=KEY"));
        assert!(!format!("{key:?}").contains("secret"));
    }

    #[test]
    fn windows_and_sizes() {
        assert_eq!("2h".parse(), Ok(DvrWindow::Last(Duration::from_secs(7200))));
        assert_eq!("unlimited".parse(), Ok(OptionalDvr(Some(DvrWindow::Unlimited))));
        assert_eq!("".parse(), Ok(OptionalDvr(None)));
        assert!("0s".parse::<DvrWindow>().unwrap_err().contains("`2h`"));
        assert_eq!("20 GiB".parse(), Ok(Bytes(20 << 30)));
        assert_eq!("7".parse(), Ok(Bytes(7)));
        for wrong in ["", "0", "GiB", "1 GB", "-1", "99999999999 TiB"] {
            assert!(wrong.parse::<Bytes>().unwrap_err().contains("`20 GiB`"), "{wrong}");
        }
    }

    #[test]
    fn numbers() {
        assert_eq!("64".parse::<Mib>().map(Mib::bytes), Ok(64 << 20));
        assert!("0".parse::<Mib>().is_err());
        assert!("-1".parse::<Millis>().is_err());
        assert!("".parse::<Count>().is_err());
    }
}
