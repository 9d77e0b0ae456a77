//! JSON and numbers as Go writes them, so that the bytes are kubectl's.
//!
//! Objects go in the order of their keys, which is that of [`Value`] and of the
//! maps that kubectl prints.

use serde_json::{Number, Value};

/// JSON on one line, as `json.Marshal` writes it.
pub fn compact(value: &Value) -> String {
    let mut text = String::new();
    write(&mut text, value, None);
    text
}

/// JSON with four spaces of indentation and no newline at its end, as
/// `json.MarshalIndent` writes it for kubectl.
pub fn indented(value: &Value) -> String {
    let mut text = String::new();
    write(&mut text, value, Some(0));
    text
}

/// A number outside of JSON, as `fmt.Print` writes it: `1e+06`, where JSON has `1000000`.
pub fn plain(number: &Number) -> String {
    match Decoded::of(number) {
        Decoded::Int(integer) => integer.to_string(),
        Decoded::Float(float) => match exponent(float) {
            -4..6 => float.to_string(),
            _ => scientific(float, 2),
        },
    }
}

/// A number as kubectl holds it: one that is no `int64` is a `float64`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Decoded {
    Int(i64),
    Float(f64),
}

impl Decoded {
    pub(crate) fn of(number: &Number) -> Self {
        match number.as_i64() {
            Some(integer) => Self::Int(integer),
            None => Self::Float(number.as_f64().unwrap_or_default()),
        }
    }
}

fn write(text: &mut String, value: &Value, indent: Option<usize>) {
    let inner = indent.map(|depth| depth + 1);
    match value {
        Value::Array(values) if !values.is_empty() => {
            for (i, value) in values.iter().enumerate() {
                text.push(if i == 0 { '[' } else { ',' });
                break_line(text, inner);
                write(text, value, inner);
            }
            break_line(text, indent);
            text.push(']');
        }
        Value::Object(members) if !members.is_empty() => {
            for (i, (key, value)) in members.iter().enumerate() {
                text.push(if i == 0 { '{' } else { ',' });
                break_line(text, inner);
                text.push_str(&string(key));
                text.push_str(if indent.is_some() { ": " } else { ":" });
                write(text, value, inner);
            }
            break_line(text, indent);
            text.push('}');
        }
        Value::Number(value) => text.push_str(&number(value)),
        Value::String(value) => text.push_str(&string(value)),
        constant => text.push_str(&constant.to_string()),
    }
}

fn break_line(text: &mut String, indent: Option<usize>) {
    if let Some(depth) = indent {
        text.push('\n');
        text.push_str(&" ".repeat(4 * depth));
    }
}

/// Go escapes what could end a script or its line, in case the JSON is put in HTML.
fn string(value: &str) -> String {
    let mut text = serde_json::to_string(value).expect("a string can always be written as JSON");
    for unsafe_in_html in ['<', '>', '&', '\u{2028}', '\u{2029}'] {
        if text.contains(unsafe_in_html) {
            text = text.replace(unsafe_in_html, &format!("\\u{:04x}", u32::from(unsafe_in_html)));
        }
    }
    text
}

fn number(number: &Number) -> String {
    match Decoded::of(number) {
        Decoded::Int(integer) => integer.to_string(),
        Decoded::Float(float) => match exponent(float) {
            -6..21 => float.to_string(),
            _ => scientific(float, 1),
        },
    }
}

/// The power of ten of the first digit.
fn exponent(float: f64) -> i32 {
    let text = format!("{float:e}");
    let exponent = text
        .split_once('e')
        .and_then(|(_, exponent)| exponent.parse().ok());
    exponent.unwrap_or_default()
}

/// `1.5e-07`, with a sign and at least so many digits in the exponent.
fn scientific(float: f64, digits: usize) -> String {
    let text = format!("{float:e}");
    let (mantissa, _) = text.split_once('e').unwrap_or((&text, ""));
    let exponent = exponent(float);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:0digits$}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_gos() {
        let value = json!({"b": [1, {}, []], "a": {"<c>": "x & \u{2028} \u{7f}\u{8}\u{1}"}});
        let text = r#"{"a":{"\u003cc\u003e":"x \u0026 \u2028 "#.to_owned() + "\u{7f}";
        assert_eq!(compact(&value), text + r#"\b\u0001"},"b":[1,{},[]]}"#);
        assert_eq!(
            indented(&json!({"b": [1, {}], "a": {"c": null}})),
            "{\n    \"a\": {\n        \"c\": null\n    },\n    \"b\": [\n        1,\n        {}\n    ]\n}"
        );
    }

    #[test]
    fn numbers_are_gos() {
        #[track_caller]
        fn check(number: Value, json: &str, text: &str) {
            assert_eq!(compact(&number), json);
            assert_eq!(plain(number.as_number().expect("is a number")), text);
        }
        check(json!(-7), "-7", "-7");
        check(json!(i64::MAX), "9223372036854775807", "9223372036854775807");
        check(json!(u64::MAX), "18446744073709552000", "1.8446744073709552e+19");
        check(json!(0.0), "0", "0");
        check(json!(1.0), "1", "1");
        check(json!(0.5), "0.5", "0.5");
        check(json!(123_456.5), "123456.5", "123456.5");
        check(json!(1e6), "1000000", "1e+06");
        check(json!(1.5e20), "150000000000000000000", "1.5e+20");
        check(json!(1e21), "1e+21", "1e+21");
        check(json!(0.0001), "0.0001", "0.0001");
        check(json!(0.00001), "0.00001", "1e-05");
        check(json!(1e-6), "0.000001", "1e-06");
        check(json!(-2.5e-7), "-2.5e-7", "-2.5e-07");
    }
}
