//! What one step of kubectl's JSONPath selects, and how its filters compare.

use std::{borrow::Cow, cmp::Ordering};

use serde_json::Value;

use crate::{error::Result, json::Decoded, jsonpath_parse::Slice};

/// What a step has found: values of the document, or written in the template.
pub(crate) type Found<'a> = Vec<Cow<'a, Value>>;

/// Why a step has failed.
pub(crate) struct Failure {
    pub(crate) message: String,
    /// Whether it leaves something behind, which is enough for `[?(…)]` to be true.
    pub(crate) leaves: bool,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>, leaves: bool) -> Self {
        let message = message.into();
        Self { message, leaves }
    }
}

/// What has these names, one below the other, of which the first may be at any depth.
/// Only what is of the document has any.
pub(crate) fn named<'a>(value: &Cow<'a, Value>, names: &[String], anywhere: bool) -> Found<'a> {
    let (Cow::Borrowed(value), Some((first, below))) = (value, names.split_first()) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    match anywhere {
        true => add_anywhere(value, first, &mut found),
        false => found.extend(value.get(first)),
    }
    let found = found.into_iter();
    found
        .filter_map(|value| below.iter().try_fold(value, |value, name| value.get(name)))
        .map(Cow::Borrowed)
        .collect()
}

/// Adds what has a name: above before below, in the order of the document.
fn add_anywhere<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
    found.extend(value.get(name));
    match value {
        Value::Array(elements) => elements.iter().for_each(|value| add_anywhere(value, name, found)),
        Value::Object(members) => members
            .values()
            .for_each(|value| add_anywhere(value, name, found)),
        _ => {}
    }
}

/// The elements of an array, the values of an object, the bytes of a text.
pub(crate) fn parts<'a>(value: &Cow<'a, Value>) -> Found<'a> {
    match value {
        Cow::Borrowed(Value::Array(elements)) => elements.iter().map(Cow::Borrowed).collect(),
        Cow::Borrowed(Value::Object(members)) => members.values().map(Cow::Borrowed).collect(),
        value => {
            let text = value.as_str().unwrap_or_default();
            text.bytes().map(|byte| Cow::Owned(byte.into())).collect()
        }
    }
}

/// Adds a value, if it has parts, and those below it that have some.
pub(crate) fn add_with_parts<'a>(value: Cow<'a, Value>, found: &mut Found<'a>) {
    let parts = parts(&value);
    if !parts.is_empty() {
        found.push(value);
    }
    for part in parts {
        add_with_parts(part, found);
    }
}

/// The elements of arrays, once kubectl has nothing against it.
pub(crate) fn elements<'a>(input: &Found<'a>, slice: &Slice) -> Result<Found<'a>, Failure> {
    let failed = |message| Err(Failure::new(message, true));
    let mut found = Vec::new();
    for value in input {
        let length = match &**value {
            Value::Array(array) => i64::try_from(array.len()).unwrap_or(i64::MAX),
            Value::Null => continue,
            other => return failed(format!("{} is not an array", kind(other))),
        };
        let start = slice.start + if slice.start < 0 { length } else { 0 };
        let end = match slice.end.unwrap_or(length) {
            end if end < 0 || (end == 0 && slice.single) => end + length,
            end => end,
        };
        if start == end {
            return Ok(found);
        }
        let beyond = |index| {
            failed(format!(
                "array index out of bounds: index {index}, length {length}"
            ))
        };
        if !(0..length).contains(&start) {
            return beyond(start);
        }
        if !(0..=length).contains(&end) {
            return beyond(end - 1);
        }
        if start > end {
            return failed(format!(
                "starting index {start} is greater than ending index {end}"
            ));
        }
        if slice.step <= 0 {
            return failed("step must be > 0".to_owned());
        }
        let size = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
        let elements = parts(value).into_iter().skip(size(start)).take(size(end - start));
        found.extend(elements.step_by(size(slice.step)));
    }
    Ok(found)
}

/// The one side of a comparison, if there is any.
pub(crate) fn single<'a>(side: Result<Found<'a>, Failure>) -> Result<Option<Cow<'a, Value>>, Failure> {
    let mut side = side.map_err(|e| Failure::new(e.message, true))?;
    match side.len() {
        0 | 1 => Ok(side.pop()),
        _ => Err(Failure::new("can only compare one element at a time", true)),
    }
}

pub(crate) fn compare(left: &Value, operator: &str, right: &Value) -> Result<bool, String> {
    let holds = match operator {
        "==" => Ordering::is_eq,
        "!=" => Ordering::is_ne,
        "<" => Ordering::is_lt,
        "<=" => Ordering::is_le,
        ">" => Ordering::is_gt,
        ">=" => Ordering::is_ge,
        _ => return Err(format!("unrecognized filter operator {operator}")),
    };
    let ordering = match (left, right) {
        (Value::Bool(left), Value::Bool(right)) if matches!(operator, "==" | "!=") => Some(left.cmp(right)),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => match (Decoded::of(left), Decoded::of(right)) {
            (Decoded::Int(left), Decoded::Int(right)) => Some(left.cmp(&right)),
            (Decoded::Float(left), Decoded::Float(right)) => left.partial_cmp(&right),
            _ => None,
        },
        _ => None,
    };
    ordering.map(holds).ok_or_else(|| {
        let (left, right) = (kind(left), kind(right));
        format!("{left} {operator} {right} cannot be compared")
    })
}

pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) => match Decoded::of(number) {
            Decoded::Int(_) => "an integer",
            Decoded::Float(_) => "a float",
        },
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
