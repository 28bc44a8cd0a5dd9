//! Fields of one memory from JSON. What is malformed is refused by name; the value itself never gets into the message.

use serde_json::Value;

use super::value::{Cell, Number, Scalar};
use super::{INTEGER_FIELDS, STRING_FIELDS, column};
use crate::error::Error;
use crate::limits::{MAX_FIELDS_BYTES, MAX_LIST_VALUES};

/// Stands for an absent integer; a field with this very value is refused.
pub const NO_INTEGER: i64 = i64::MIN;

/// Fields as parsed, not yet in columns.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    /// In the order of `STRING_FIELDS`.
    pub strings: [Option<String>; STRING_FIELDS.len()],
    /// In the order of `INTEGER_FIELDS`.
    pub integers: [Option<i64>; INTEGER_FIELDS.len()],
    /// `importance`.
    pub importance: Option<f64>,
    /// `pinned`.
    pub pinned: Option<bool>,
    /// `tags`; None when there are none.
    pub tags: Option<Cell<String>>,
    /// `metadata`: keys with a value that is not null and not an empty list.
    pub metadata: Vec<(String, Cell<String>)>,
}

impl Fields {
    /// When it was said, else stored, microseconds since the epoch.
    pub fn said_us(&self) -> Option<i64> {
        self.integers[column::EVENT_TIME].or(self.integers[column::CREATE_TIME])
    }
}

fn wrong(field: &str, expected: &str) -> Error {
    Error::Fields(format!("{field} must be {expected}"))
}

/// Parse the JSON object `IndexEntry` describes. Unknown names are refused: a filter on them would silently find nothing.
pub fn parse_fields(json: &[u8]) -> Result<Fields, Error> {
    if json.len() > MAX_FIELDS_BYTES {
        return Err(Error::Fields(format!("more than {MAX_FIELDS_BYTES} bytes")));
    }
    let Ok(Value::Object(object)) = serde_json::from_slice(json) else {
        return Err(Error::Fields("not a JSON object in UTF-8".to_owned()));
    };
    let mut fields = Fields::default();
    for (name, value) in object {
        if !value.is_null() {
            set(&mut fields, &name, value)?;
        }
    }
    Ok(fields)
}

fn set(fields: &mut Fields, name: &str, value: Value) -> Result<(), Error> {
    if let Some(at) = STRING_FIELDS.iter().position(|field| *field == name) {
        let Value::String(string) = value else { return Err(wrong(name, "a string")) };
        fields.strings[at] = Some(string);
        return Ok(());
    }
    if let Some(at) = INTEGER_FIELDS.iter().position(|field| *field == name) {
        let integer = value.as_i64().filter(|i| *i != NO_INTEGER);
        fields.integers[at] = Some(integer.ok_or_else(|| wrong(name, "an integer of 64 bits"))?);
        return Ok(());
    }
    match name {
        "importance" => fields.importance = Some(value.as_f64().ok_or_else(|| wrong(name, "a number"))?),
        "pinned" => fields.pinned = Some(value.as_bool().ok_or_else(|| wrong(name, "a bool"))?),
        "tags" => fields.tags = tags(value)?,
        "metadata" => fields.metadata = metadata(value)?,
        _ => return Err(Error::Fields("an unknown name beside the fields of a memory".to_owned())),
    }
    Ok(())
}

fn tags(value: Value) -> Result<Option<Cell<String>>, Error> {
    let Value::Array(values) = value else { return Err(wrong("tags", "a list of strings")) };
    if !values.iter().all(Value::is_string) {
        return Err(wrong("tags", "a list of strings"));
    }
    list("tags", values)
}

fn metadata(value: Value) -> Result<Vec<(String, Cell<String>)>, Error> {
    let Value::Object(object) = value else { return Err(wrong("metadata", "an object")) };
    let cells = object.into_iter().filter_map(|(key, value)| Some((key, cell(value).transpose()?)));
    cells.map(|(key, cell)| Ok((key, cell?))).collect::<Result<Vec<_>, Error>>().map(only_keyed)
}

/// An empty key cannot be named in a filter.
fn only_keyed(cells: Vec<(String, Cell<String>)>) -> Vec<(String, Cell<String>)> {
    cells.into_iter().filter(|(key, _)| !key.is_empty()).collect()
}

fn cell(value: Value) -> Result<Option<Cell<String>>, Error> {
    match value {
        Value::Null => Ok(None),
        Value::Array(values) => list("a metadata list", values),
        single => scalar(single).map(|value| Some(Cell::One(value))),
    }
}

fn list(what: &str, values: Vec<Value>) -> Result<Option<Cell<String>>, Error> {
    if values.len() > MAX_LIST_VALUES {
        return Err(wrong(what, &format!("at most {MAX_LIST_VALUES} long")));
    }
    let values: Box<[_]> = values.into_iter().map(scalar).collect::<Result<_, _>>()?;
    Ok((!values.is_empty()).then_some(Cell::Many(values)))
}

fn scalar(value: Value) -> Result<Scalar<String>, Error> {
    match value {
        Value::String(string) => Ok(Scalar::String(string)),
        Value::Bool(b) => Ok(Scalar::Bool(b)),
        Value::Number(n) => Number::from_json(&n).map(Scalar::Number).ok_or_else(|| wrong("a number", "finite")),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(wrong("a metadata value", "a string, a number, a bool or a list of those"))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_field_has_its_type() {
        let bad = [
            "",
            "[]",
            "{",
            "null",
            r#"{"user_id": 1}"#,
            r#"{"event_time": 1.5}"#,
            r#"{"event_time": "x"}"#,
            r#"{"event_time": 9223372036854775808}"#,
            r#"{"event_time": -9223372036854775808}"#,
            r#"{"position": true}"#,
            r#"{"importance": "1"}"#,
            r#"{"importance": true}"#,
            r#"{"pinned": 1}"#,
            r#"{"tags": "a"}"#,
            r#"{"tags": [1]}"#,
            r#"{"metadata": []}"#,
            r#"{"metadata": {"a": {}}}"#,
            r#"{"metadata": {"a": [[1]]}}"#,
            r#"{"metadata": {"a": [null]}}"#,
            r#"{"unknown": 1}"#,
            r#"{"memory_id": "x"}"#,
            "{\"user_id\": \"\u{1}\"}",
            r#"{"importance": 1e999}"#,
        ];
        for json in bad {
            assert!(parse_fields(json.as_bytes()).is_err(), "{json}");
        }
        let good = r#"{"user_id": null, "speaker": "Ada", "valid_to": -1, "importance": 1, "pinned": false, "tags": [],
            "metadata": {"a": null, "b": [], "c": [1, "x", true], "d": 2.5}}"#;
        let fields = parse_fields(good.as_bytes()).unwrap();
        assert_eq!((fields.strings[0].as_deref(), fields.strings[4].as_deref()), (None, Some("Ada")));
        assert_eq!((fields.importance, fields.pinned, fields.tags.is_none()), (Some(1.0), Some(false), true));
        assert_eq!(fields.metadata.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["c", "d"]);
    }

    #[test]
    fn the_value_never_gets_into_the_message() {
        for json in
            [r#"{"event_time": "hunter2"}"#, r#"{"hunter2": 1}"#, r#"{"metadata": {"a": {"hunter2": 1}}}"#, "hunter2"]
        {
            assert!(!parse_fields(json.as_bytes()).unwrap_err().to_string().contains("hunter2"));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[{}\\[\\]\":,a-e0-9. nulltrue]{0,80}") {
            let _ = parse_fields(&bytes);
            let _ = parse_fields(text.as_bytes());
            let _ = parse_fields(format!("{{\"metadata\":{text}}}").as_bytes());
        }
    }
}
