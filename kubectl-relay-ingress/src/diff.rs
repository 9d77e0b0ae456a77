//! What a change changes: the fields that are wanted, beside those that are live.
//! What an object has beyond them is someone else's.

use std::fmt;

use relay_shared::json;
use serde_json::Value;

/// A field that is not as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The field, as `kubectl get -o jsonpath` would name it.
    field: String,
    /// What it is, if it is there.
    live: Option<Value>,
    /// What it is to be; a null removes it, as in a merge patch (RFC 7386).
    wanted: Value,
}

/// Every wanted field that is not so, in the order of their names.
pub(crate) fn differences(live: &Value, wanted: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(String::new(), Some(live), wanted, &mut found);
    found
}

fn compare(field: String, live: Option<&Value>, wanted: &Value, found: &mut Vec<Difference>) {
    match (live, wanted) {
        (live, Value::Object(wanted)) if live.is_none_or(Value::is_object) => {
            for (key, value) in wanted {
                let field = match key.contains(['.', '/']) {
                    true => format!("{field}[{key:?}]"),
                    false if field.is_empty() => key.clone(),
                    false => format!("{field}.{key}"),
                };
                compare(field, live.and_then(|live| live.get(key)), value, found);
            }
        }
        // A list without keys has one owner: it is ours as a whole, or not.
        (Some(Value::Array(live)), Value::Array(wanted)) if live.len() == wanted.len() => {
            for (i, (live, wanted)) in live.iter().zip(wanted).enumerate() {
                compare(format!("{field}[{i}]"), Some(live), wanted, found);
            }
        }
        (None, Value::Null) => {}
        (live, wanted) if live == Some(wanted) => {}
        (live, wanted) => found.push(Difference {
            field,
            live: live.cloned(),
            wanted: wanted.clone(),
        }),
    }
}

/// A line that goes and one that comes, as in a diff.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        if let Some(live) = &self.live {
            lines.push(format!("- {}: {}", self.field, json::compact(live)));
        }
        if !self.wanted.is_null() {
            lines.push(format!("+ {}: {}", self.field, json::compact(&self.wanted)));
        }
        f.write_str(&lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_wanted_is_compared() {
        #[track_caller]
        fn check(live: Value, wanted: Value, want: &[&str]) {
            let shown: Vec<_> = differences(&live, &wanted)
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(shown, want);
        }
        check(json!({"a": 1, "b": 2}), json!({"a": 1}), &[]);
        check(json!({"a": 1}), json!({"a": 2}), &["- a: 1\n+ a: 2"]);
        check(json!({"a": 1}), json!({"b": {"c": "x"}}), &["+ b.c: \"x\""]);
        check(json!({"a": [{"x": 1, "y": 2}]}), json!({"a": [{"x": 1}]}), &[]);
        check(
            json!({"a": [{"x": 1}]}),
            json!({"a": [{"x": 2}]}),
            &["- a[0].x: 1\n+ a[0].x: 2"],
        );
        check(json!({"a": [1, 2]}), json!({"a": [1]}), &["- a: [1,2]\n+ a: [1]"]);
        check(json!({"a": {}}), json!({"a": []}), &["- a: {}\n+ a: []"]);
        check(
            json!({"a": {"b": 1}}),
            json!({"a": {"b": null, "c": null}}),
            &["- a.b: 1"],
        );
        let annotated = json!({"annotations": {"example.com/a": "new"}});
        let want = "- annotations[\"example.com/a\"]: \"old\"\n+ annotations[\"example.com/a\"]: \"new\"";
        check(
            json!({"annotations": {"example.com/a": "old"}}),
            annotated,
            &[want],
        );
    }
}
