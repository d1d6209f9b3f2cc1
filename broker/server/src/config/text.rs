//! How durations, sizes, numbers, addresses and lists are spelled in a configuration: one module
//! each, for `#[serde(with = …)]`. Error texts have the cause on the first line, what to write
//! instead on the second; texts that may be secret are not quoted.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};

/// Durations: `"25s"`, `"500ms"`, `"1h 30m"`.
pub(super) mod duration {
    use super::{Deserializer, Duration, Expect, duration_from, spelled_duration};

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        reader: D,
    ) -> Result<Duration, D::Error> {
        reader.deserialize_str(Expect("a duration such as \"25s\"", duration_from))
    }

    pub(in super::super) fn serialize<S: serde::Serializer>(
        value: &Duration,
        writer: S,
    ) -> Result<S::Ok, S::Error> {
        writer.serialize_str(&spelled_duration(*value))
    }
}

/// Sizes in bytes: `"64KiB"`, `"1MiB"`, or a bare number of bytes.
pub(super) mod size {
    use super::{Deserializer, Expect, size_from, spelled_size};

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        reader: D,
    ) -> Result<usize, D::Error> {
        reader.deserialize_str(Expect("a size such as \"64KiB\"", size_from))
    }

    pub(in super::super) fn serialize<S: serde::Serializer>(
        value: &usize,
        writer: S,
    ) -> Result<S::Ok, S::Error> {
        writer.serialize_str(&spelled_size(*value))
    }
}

/// Counts: whole numbers from 0.
pub(super) mod count {
    use super::{CountVisitor, Deserializer};

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        reader: D,
    ) -> Result<usize, D::Error> {
        reader.deserialize_u64(CountVisitor)
    }

    pub(in super::super) fn serialize<S: serde::Serializer>(
        value: &usize,
        writer: S,
    ) -> Result<S::Ok, S::Error> {
        writer.serialize_u64(*value as u64)
    }
}

/// Addresses: IP address and port.
pub(super) mod address {
    use std::net::SocketAddr;

    use super::{Deserializer, Expect, address_from};

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        reader: D,
    ) -> Result<SocketAddr, D::Error> {
        reader.deserialize_str(Expect("an address such as \"127.0.0.1:8000\"", address_from))
    }

    pub(in super::super) fn serialize<S: serde::Serializer>(
        value: &SocketAddr,
        writer: S,
    ) -> Result<S::Ok, S::Error> {
        writer.collect_str(value)
    }
}

/// Lists of texts.
pub(super) mod list {
    use super::{Deserializer, ListVisitor};

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        reader: D,
    ) -> Result<Vec<String>, D::Error> {
        reader.deserialize_seq(ListVisitor)
    }

    pub(in super::super) fn serialize<S: serde::Serializer>(
        value: &[String],
        writer: S,
    ) -> Result<S::Ok, S::Error> {
        writer.collect_seq(value)
    }
}

/// A text with a meaning of its own: what is expected, for people, and how it is read. The
/// function's error is cause and remedy, on a line each.
struct Expect<T>(&'static str, fn(&str) -> Result<T, Misspelled>);

/// Why a text means nothing: cause, line break, remedy.
type Misspelled = String;

impl<T> Visitor<'_> for Expect<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.1)(text).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        // `65536` is a size as good as `"65536"`; whether a bare number will do, the text decides.
        (self.1)(&number.to_string()).map_err(E::custom)
    }
}

struct CountVisitor;

impl Visitor<'_> for CountVisitor {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number from 0")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<usize, E> {
        usize::try_from(number).map_err(|_| E::custom("number too large"))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<usize, E> {
        usize::try_from(number)
            .map_err(|_| E::custom(format_args!("expected a whole number from 0, found {number}")))
    }
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list such as [\"one\", \"two\"]")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Vec<String>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<String>()? {
            list.push(item);
        }
        Ok(list)
    }
}

fn duration_from(text: &str) -> Result<Duration, Misspelled> {
    humantime::parse_duration(text).map_err(|_| {
        format!("{text:?} is no duration\nwrite it with a unit, as in \"500ms\", \"25s\" or \"1h\"")
    })
}

fn size_from(text: &str) -> Result<usize, Misspelled> {
    let misspelled =
        || format!("{text:?} is no size\nwrite it in bytes or as in \"64KiB\" or \"1MiB\"");
    let size: bytesize::ByteSize = text.parse().map_err(|_| misspelled())?;
    usize::try_from(size.as_u64()).map_err(|_| misspelled())
}

fn address_from(text: &str) -> Result<std::net::SocketAddr, Misspelled> {
    text.parse().map_err(|_| {
        format!(
            "{text:?} is no address\nwrite IP address and port, as in \"127.0.0.1:8000\", \
             \"0.0.0.0:8000\" (all interfaces) or \"[::1]:8000\""
        )
    })
}

/// Exact, in the largest unit that divides it: `"25s"`, `"720h"`, `"1500ms"`.
pub(super) fn spelled_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let units = [(3_600_000_000_000, "h"), (60_000_000_000, "m"), (1_000_000_000, "s")];
    let finer = [(1_000_000, "ms"), (1_000, "us"), (1, "ns")];
    spelled_in(nanos, "0s", units.into_iter().chain(finer))
}

/// Exact, in the largest unit that divides it: `"64KiB"`, `"1MiB"`, `"1500B"`.
pub(super) fn spelled_size(bytes: usize) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")];
    spelled_in(bytes as u128, "0B", units)
}

fn spelled_in(
    value: u128,
    zero: &str,
    units: impl IntoIterator<Item = (u128, &'static str)>,
) -> String {
    if value == 0 {
        return zero.to_owned();
    }
    units
        .into_iter()
        .find(|(unit, _)| value.is_multiple_of(*unit))
        .map_or_else(|| value.to_string(), |(unit, name)| format!("{}{name}", value / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["25s", "500ms", "720h", "90m", "1500us", "0s"] {
            assert_eq!(spelled_duration(duration_from(text).unwrap()), text);
        }
        for text in ["64KiB", "1MiB", "1500B", "3GiB", "0B"] {
            assert_eq!(spelled_size(size_from(text).unwrap()), text);
        }
    }

    #[test]
    fn common_spellings_are_understood() {
        assert_eq!(duration_from("1h 30m").unwrap(), Duration::from_secs(5400));
        assert_eq!(size_from("65536").unwrap(), 65536);
        assert_eq!(size_from("64 KiB").unwrap(), 65536);
        assert_eq!(size_from("1kB").unwrap(), 1000);
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for text in ["", "25", "25x", "-1s", "25 s s"] {
            assert!(duration_from(text).is_err(), "{text}");
        }
        for text in ["", "KiB", "-1", "64Kibi"] {
            assert!(size_from(text).is_err(), "{text}");
        }
        for text in ["", "8000", ":8000", "localhost:8000", "127.0.0.1"] {
            assert!(address_from(text).is_err(), "{text}");
        }
    }
}
