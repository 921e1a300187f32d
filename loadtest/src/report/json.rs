//! JSON that a person can scroll through and a version control system can compare: indented down to the parts of a run, and
//! one line for each of those. Fully indented, the time series would be three quarters spaces.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Containers this deep or deeper stay on one line: report, sections, section, runs, run are indented, a run's parts are not.
const INDENTED_MOST: usize = 6;

/// `value` as JSON, with a newline at its end.
pub(super) fn to_string<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    let mut text = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut text, Shallow::default()))?;
    text.push(b'\n');
    String::from_utf8(text).map_err(serde::ser::Error::custom)
}

/// Indents the outer containers and no others.
#[derive(Debug, Default)]
struct Shallow {
    /// Containers that are open.
    depth: usize,
    /// The container that was closed or is open last has something in it.
    filled: bool,
}

impl Shallow {
    fn open<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.filled = false;
        writer.write_all(bracket)
    }

    fn close<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.filled && self.depth < INDENTED_MOST {
            self.line(writer)?;
        }
        self.filled = true;
        writer.write_all(bracket)
    }

    fn item<W: ?Sized + Write>(&self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(b",")?;
        }
        if self.depth <= INDENTED_MOST { self.line(writer) } else { Ok(()) }
    }

    fn line<W: ?Sized + Write>(&self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| writer.write_all(b" "))
    }
}

impl Formatter for Shallow {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.item(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.item(writer, first)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn outer_containers_are_indented_and_inner_ones_are_not() {
        let deep = json!([[[[[[[1, 2], { "a": [] }]]]]]]);
        let text = to_string(&deep).unwrap();
        assert!(text.ends_with("]\n"));
        assert!(text.contains("\n      [1,2],\n      {\"a\":[]}\n     ]"), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), deep);
    }

    #[test]
    fn an_empty_container_takes_no_lines() {
        assert_eq!(to_string(&json!({ "a": [], "b": {} })).unwrap(), "{\n \"a\":[],\n \"b\":{}\n}\n");
    }
}
