//! Filters from JSON, bounded in bytes, depth and nodes. Messages name the place, never a value.

use serde_json::Value;

use super::{Field, Filter, Order};
use crate::error::Error;
use crate::fields::{FILTERABLE_STRINGS, INTEGER_FIELDS, Number, STRING_FIELDS, Scalar, Text};
use crate::limits::{MAX_FILTER_BYTES, MAX_FILTER_DEPTH, MAX_FILTER_NODES};

fn refuse<T>(why: &str) -> Result<T, Error> {
    Err(Error::Filter(why.to_owned()))
}

/// Parse the grammar of `memd/domain/filters.py`.
pub fn parse_filter(json: &[u8]) -> Result<Filter, Error> {
    if json.len() > MAX_FILTER_BYTES {
        return Err(Error::Filter(format!("more than {MAX_FILTER_BYTES} bytes")));
    }
    match serde_json::from_slice(json) {
        Ok(value) => Parser { nodes: 0 }.filter(value, 1),
        Err(_) => refuse("not JSON in UTF-8, or nested too deep"),
    }
}

struct Parser {
    nodes: usize,
}

impl Parser {
    fn count(&mut self, nodes: usize) -> Result<(), Error> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_FILTER_NODES {
            return Err(Error::Filter(format!("more than {MAX_FILTER_NODES} parts")));
        }
        Ok(())
    }

    fn filter(&mut self, value: Value, depth: usize) -> Result<Filter, Error> {
        self.count(1)?;
        if depth > MAX_FILTER_DEPTH {
            return Err(Error::Filter(format!("more than {MAX_FILTER_DEPTH} levels")));
        }
        let Value::Object(object) = value else { return refuse("each part must be an object") };
        let mut entries = object.into_iter();
        let (Some((operator, operand)), None) = (entries.next(), entries.next()) else {
            return refuse("each part must be an object with one operator");
        };
        match operator.as_str() {
            "and" => Ok(Filter::And(self.parts(operand, depth)?)),
            "or" => Ok(Filter::Or(self.parts(operand, depth)?)),
            "not" => Ok(Filter::Not(Box::new(self.filter(operand, depth + 1)?))),
            "exists" => Ok(Filter::Exists(field(&operand)?)),
            "in" => self.member(operand),
            "eq" => comparison(operand).map(|(field, value)| Filter::In(field, vec![value])),
            "ne" => {
                let (field, value) = comparison(operand)?;
                Ok(Filter::Not(Box::new(Filter::In(field, vec![value]))))
            }
            "lt" => ordered(Order::Lt, operand),
            "le" => ordered(Order::Le, operand),
            "gt" => ordered(Order::Gt, operand),
            "ge" => ordered(Order::Ge, operand),
            _ => refuse("unknown operator; known are and or not eq ne lt le gt ge in exists"),
        }
    }

    fn parts(&mut self, operand: Value, depth: usize) -> Result<Vec<Filter>, Error> {
        let Value::Array(parts) = operand else { return refuse("and, or take a list of filters") };
        parts.into_iter().map(|part| self.filter(part, depth + 1)).collect()
    }

    fn member(&mut self, operand: Value) -> Result<Filter, Error> {
        let (name, values) = pair(operand)?;
        let Value::Array(values) = values else { return refuse("in takes a field and a list of values") };
        self.count(values.len())?;
        Ok(Filter::In(field(&name)?, values.into_iter().map(scalar).collect::<Result<_, _>>()?))
    }
}

fn ordered(order: Order, operand: Value) -> Result<Filter, Error> {
    comparison(operand).map(|(field, value)| Filter::Ordered(order, field, value))
}

fn comparison(operand: Value) -> Result<(Field, Text), Error> {
    let (name, value) = pair(operand)?;
    Ok((field(&name)?, scalar(value)?))
}

fn pair(operand: Value) -> Result<(Value, Value), Error> {
    let Value::Array(operands) = operand else { return refuse("a comparison takes a list of a field and a value") };
    match <[Value; 2]>::try_from(operands) {
        Ok([name, value]) => Ok((name, value)),
        Err(_) => refuse("a comparison takes exactly a field and a value"),
    }
}

fn scalar(value: Value) -> Result<Text, Error> {
    match value {
        Value::String(string) => Ok(Scalar::String(string)),
        Value::Bool(b) => Ok(Scalar::Bool(b)),
        Value::Number(n) => match Number::from_json(&n) {
            Some(number) => Ok(Scalar::Number(number)),
            None => refuse("a number must be finite"),
        },
        Value::Null | Value::Array(_) | Value::Object(_) => refuse("a value must be a string, a number or a bool"),
    }
}

fn field(name: &Value) -> Result<Field, Error> {
    let Value::String(name) = name else { return refuse("a field is named by a string") };
    if let Some(at) = STRING_FIELDS[..FILTERABLE_STRINGS].iter().position(|field| field == name) {
        return Ok(Field::String(at));
    }
    if let Some(at) = INTEGER_FIELDS.iter().position(|field| field == name) {
        return Ok(Field::Integer(at));
    }
    match name.as_str() {
        "memory_id" => Ok(Field::MemoryId),
        "importance" => Ok(Field::Importance),
        "pinned" => Ok(Field::Pinned),
        "tags" => Ok(Field::Tags),
        other => match other.strip_prefix("metadata.") {
            Some(key) if !key.is_empty() => Ok(Field::Metadata(key.to_owned())),
            _ => refuse("unknown field; use metadata.KEY or a fixed field"),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_in_the_grammar_is_refused() {
        let bad = [
            "",
            "[]",
            "{}",
            "1",
            r#"{"and": {}}"#,
            r#"{"and": [], "or": []}"#,
            r#"{"xor": []}"#,
            r#"{"eq": ["user_id"]}"#,
            r#"{"eq": ["user_id", "a", "b"]}"#,
            r#"{"eq": ["nobody", 1]}"#,
            r#"{"eq": ["metadata.", 1]}"#,
            r#"{"eq": ["metadata", 1]}"#,
            r#"{"eq": ["user_id", null]}"#,
            r#"{"eq": ["user_id", []]}"#,
            r#"{"in": ["user_id", "a"]}"#,
            r#"{"in": ["user_id", [[]]]}"#,
            r#"{"exists": ["user_id"]}"#,
            r#"{"exists": "x"}"#,
            r#"{"not": []}"#,
            r#"{"lt": ["importance", {}]}"#,
            r#"{"eq": ["importance", NaN]}"#,
        ];
        for json in bad {
            assert!(matches!(parse_filter(json.as_bytes()), Err(Error::Filter(_))), "{json}");
        }
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let nested = |depth: usize| {
            format!("{}{}{}", r#"{"not":"#.repeat(depth - 1), r#"{"exists":"tags"}"#, "}".repeat(depth - 1))
        };
        assert!(parse_filter(nested(MAX_FILTER_DEPTH).as_bytes()).is_ok());
        assert!(parse_filter(nested(MAX_FILTER_DEPTH + 1).as_bytes()).is_err());
        assert!(parse_filter(nested(100_000).as_bytes()).is_err());
        let values = |n: usize| format!(r#"{{"in":["position",[{}]]}}"#, vec!["1"; n].join(","));
        assert!(parse_filter(values(MAX_FILTER_NODES - 1).as_bytes()).is_ok());
        assert!(parse_filter(values(MAX_FILTER_NODES).as_bytes()).is_err());
        assert!(parse_filter(" ".repeat(MAX_FILTER_BYTES + 1).as_bytes()).is_err());
    }

    #[test]
    fn the_value_never_gets_into_the_message() {
        for json in
            [r#"{"hunter2": []}"#, r#"{"eq": ["hunter2", 1]}"#, r#"{"eq": ["user_id", {"hunter2": 1}]}"#, "hunter2"]
        {
            assert!(!parse_filter(json.as_bytes()).unwrap_err().to_string().contains("hunter2"));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[{}\\[\\]\":,a-e0-9. notinexistsandor]{0,80}") {
            let _ = parse_filter(&bytes);
            let _ = parse_filter(text.as_bytes());
            let _ = parse_filter(format!("{{\"and\":[{text}]}}").as_bytes());
        }
    }
}
