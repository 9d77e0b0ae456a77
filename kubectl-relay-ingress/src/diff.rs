//! What a change changes: the fields that are wanted, beside those that are live.
//! What an object has beyond them is someone else's.

use relay_shared::{json, plan::Change};
use serde_json::Value;

/// Every wanted field that is not so, in the order of their names; a null removes one,
/// as in a merge patch (RFC 7386).
pub(crate) fn differences(live: &Value, wanted: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    compare(String::new(), Some(live), wanted, &mut found);
    found
}

fn compare(field: String, live: Option<&Value>, wanted: &Value, found: &mut Vec<Change>) {
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
        (live, wanted) => found.push(Change {
            field,
            from: live.map(json::compact).unwrap_or_default(),
            to: match wanted {
                Value::Null => String::new(),
                wanted => json::compact(wanted),
            },
        }),
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
            let found = differences(&live, &wanted).into_iter();
            let shown: Vec<_> = found
                .map(|c| format!("{}: {} > {}", c.field, c.from, c.to))
                .collect();
            assert_eq!(shown, want);
        }
        check(json!({"a": 1, "b": 2}), json!({"a": 1}), &[]);
        check(json!({"a": 1}), json!({"a": 2}), &["a: 1 > 2"]);
        check(json!({"a": 1}), json!({"b": {"c": "x"}}), &["b.c:  > \"x\""]);
        check(json!({"a": [{"x": 1, "y": 2}]}), json!({"a": [{"x": 1}]}), &[]);
        check(
            json!({"a": [{"x": 1}]}),
            json!({"a": [{"x": 2}]}),
            &["a[0].x: 1 > 2"],
        );
        check(json!({"a": [1, 2]}), json!({"a": [1]}), &["a: [1,2] > [1]"]);
        check(json!({"a": {}}), json!({"a": []}), &["a: {} > []"]);
        check(
            json!({"a": {"b": 1}}),
            json!({"a": {"b": null, "c": null}}),
            &["a.b: 1 > "],
        );
        let annotated = json!({"annotations": {"example.com/a": "new"}});
        let want = "annotations[\"example.com/a\"]: \"old\" > \"new\"";
        check(
            json!({"annotations": {"example.com/a": "old"}}),
            annotated,
            &[want],
        );
    }
}
