//! The columns against the definition of `memd/domain/filters.py`, written out over plain JSON.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::fields::{Columns, parse_fields};

const SLOTS: u32 = 70;

struct Ids(BTreeMap<u32, String>);

impl MemoryIds for Ids {
    fn slot_of(&self, memory_id: &str) -> Option<u32> {
        self.0.iter().find(|(_, id)| *id == memory_id).map(|(slot, _)| *slot)
    }

    fn id_of(&self, slot: u32) -> Option<&str> {
        self.0.get(&slot).map(String::as_str)
    }
}

fn have<'v>(fields: &'v Map<String, Value>, name: &str) -> &'v Value {
    let found = match name.strip_prefix("metadata.") {
        Some(key) => fields.get("metadata").and_then(|metadata| metadata.get(key)),
        None => fields.get(name),
    };
    found.unwrap_or(&Value::Null)
}

/// None for values of different kinds.
fn compare(have: &Value, want: &Value) -> Option<Ordering> {
    match (have, want) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        _ => None,
    }
}

fn equal(have: &Value, want: &Value) -> bool {
    match have {
        Value::Array(values) => values.iter().any(|value| equal(value, want)),
        single => compare(single, want) == Some(Ordering::Equal),
    }
}

fn matches(filter: &Value, fields: &Map<String, Value>) -> bool {
    let (operator, operand) = filter.as_object().unwrap().iter().next().unwrap();
    let parts = || operand.as_array().unwrap().iter();
    let value = || have(fields, operand[0].as_str().unwrap());
    match operator.as_str() {
        "and" => parts().all(|part| matches(part, fields)),
        "or" => parts().any(|part| matches(part, fields)),
        "not" => !matches(operand, fields),
        "exists" => {
            !matches!(have(fields, operand.as_str().unwrap()), Value::Null)
                && *have(fields, operand.as_str().unwrap()) != json!([])
        }
        "in" => operand[1].as_array().unwrap().iter().any(|want| equal(value(), want)),
        "eq" => equal(value(), &operand[1]),
        "ne" => !equal(value(), &operand[1]),
        order => match compare(value(), &operand[1]) {
            Some(_) if operand[1].is_boolean() => false,
            Some(ordering) => match order {
                "lt" => ordering.is_lt(),
                "le" => ordering.is_le(),
                "gt" => ordering.is_gt(),
                _ => ordering.is_ge(),
            },
            None => false,
        },
    }
}

fn string() -> impl Strategy<Value = Value> {
    prop_oneof![Just(json!("a")), Just(json!("b")), Just(json!("")), Just(json!("m3"))]
}

fn scalar() -> impl Strategy<Value = Value> {
    let half = (-4i32..4).prop_map(|v| json!(f64::from(v) / 2.0));
    prop_oneof![string(), (-2i64..3).prop_map(|v| json!(v)), half, any::<bool>().prop_map(|v| json!(v))]
}

fn fields() -> impl Strategy<Value = Value> {
    let cell = prop_oneof![scalar(), vec(scalar(), 0..3).prop_map(Value::Array)];
    let metadata = proptest::collection::btree_map(prop_oneof![Just("k"), Just("l")], cell, 0..3);
    let absent = || proptest::option::weighted(0.7, -2i64..3);
    (proptest::option::of(string()), absent(), absent(), proptest::option::of(-2f64..2.0), proptest::option::of(any::<bool>()), vec(string(), 0..3), metadata)
        .prop_map(|(user_id, valid_to, position, importance, pinned, tags, metadata)| {
            json!({"user_id": user_id, "valid_to": valid_to, "position": position, "importance": importance, "pinned": pinned, "tags": tags, "metadata": metadata})
        })
}

fn filter() -> impl Strategy<Value = Value> {
    let names = [
        "memory_id",
        "user_id",
        "agent_id",
        "valid_to",
        "position",
        "importance",
        "pinned",
        "tags",
        "metadata.k",
        "metadata.none",
    ];
    let name = || proptest::sample::select(names.to_vec());
    let operator = proptest::sample::select(vec!["eq", "ne", "lt", "le", "gt", "ge"]);
    let leaf = prop_oneof![
        3 => (operator, name(), scalar()).prop_map(|(operator, name, value)| json!({operator: [name, value]})),
        1 => (name(), vec(scalar(), 0..3)).prop_map(|(name, values)| json!({"in": [name, values]})),
        1 => name().prop_map(|name| json!({"exists": name})),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(|parts| json!({"and": parts})),
            vec(inner.clone(), 0..3).prop_map(|parts| json!({"or": parts})),
            inner.prop_map(|part| json!({"not": part})),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn columns_filter_as_the_definition_says(
        changes in vec((0..SLOTS, proptest::option::weighted(0.8, fields())), 0..40),
        filter in filter(),
    ) {
        let (mut columns, mut ids, mut model) = (Columns::new(), Ids(BTreeMap::new()), BTreeMap::new());
        for (slot, change) in changes {
            match change {
                Some(fields) => {
                    columns.insert(slot, &parse_fields(fields.to_string().as_bytes()).unwrap());
                    let mut fields = fields.as_object().unwrap().clone();
                    fields.insert("memory_id".into(), json!(format!("m{slot}")));
                    ids.0.insert(slot, format!("m{slot}"));
                    model.insert(slot, fields);
                }
                None => {
                    columns.remove(slot);
                    ids.0.remove(&slot);
                    model.remove(&slot);
                }
            }
        }
        let passing = evaluate(&parse_filter(filter.to_string().as_bytes()).unwrap(), &columns, &ids);
        for (slot, fields) in &model {
            prop_assert_eq!(passing.get(*slot), matches(&filter, fields), "{} {:?}", filter, fields);
        }
        for slot in model.into_keys() {
            columns.remove(slot);
        }
        prop_assert!(columns.holds_nothing());
    }
}
