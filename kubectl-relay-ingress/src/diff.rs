//! What a change changes: the fields that are wanted, beside those that are live.
//! What an object has beyond them is someone else's.

use relay_shared::{json, plan::Change};
use serde_json::{Value, json};

/// Every wanted field that is not so, in the order of their names; a null removes one,
/// as in a merge patch (RFC 7386).
pub(crate) fn differences(live: &Value, wanted: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    compare(String::new(), Some(live), wanted, None, &mut found);
    found
}

/// What applying an object on the server's side changes, which is more where a manager
/// has applied it before: fields of its own that it wants no more go, and lists that
/// somebody else has set since are set again.
pub(crate) fn differences_of(manager: &str, live: &Value, wanted: &Value) -> Vec<Change> {
    let managers = live["metadata"]["managedFields"].as_array().into_iter().flatten();
    let mut applied = managers.filter(|entry| entry["manager"] == manager && entry["operation"] == "Apply");
    let own = applied.next().map(|entry| &entry["fieldsV1"]);
    let mut found = Vec::new();
    compare(String::new(), Some(live), wanted, own, &mut found);
    found
}

/// `own` is what a manager has applied of the value before (`FieldsV1` of Kubernetes'
/// `meta/v1`), null where that is nothing of it; without one, nobody asks.
fn compare(
    field: String,
    live: Option<&Value>,
    wanted: &Value,
    own: Option<&Value>,
    found: &mut Vec<Change>,
) {
    match (live, wanted) {
        (live, Value::Object(wanted)) if live.is_none_or(Value::is_object) => {
            let own_of = |key: &str| own.map(|own| &own[format!("f:{key}")]);
            for (key, value) in wanted {
                let live = live.and_then(|live| live.get(key));
                compare(child(&field, key), live, value, own_of(key), found);
            }
            let unwanted = live.and_then(Value::as_object).into_iter().flatten();
            let unwanted = unwanted.filter(|(key, _)| {
                !wanted.contains_key(*key) && own_of(key).is_some_and(|own| !own.is_null())
            });
            found.extend(unwanted.map(|(key, value)| Change {
                field: child(&field, key),
                from: json::compact(value),
                to: String::new(),
            }));
        }
        (Some(Value::Array(live)), Value::Array(wanted)) if live.len() == wanted.len() => {
            let before = found.len();
            for (i, (live, wanted)) in live.iter().zip(wanted).enumerate() {
                compare(format!("{field}[{i}]"), Some(live), wanted, None, found);
            }
            // What an item has beyond what is wanted may be a default, unless it is
            // somebody else who has set the list: a list without keys has one owner.
            if found.len() == before && own.is_some_and(Value::is_null) && live != wanted {
                found.push(Change {
                    field,
                    from: json::compact(&json!(live)),
                    to: json::compact(&json!(wanted)),
                });
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

/// A field of a field, quoted where it is no plain name.
fn child(field: &str, key: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    match key.chars().all(is_plain) {
        false => format!("{field}[{key:?}]"),
        true if field.is_empty() => key.to_owned(),
        true => format!("{field}.{key}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(found: Vec<Change>) -> Vec<String> {
        let shown = found.into_iter();
        shown
            .map(|c| format!("{}: {} > {}", c.field, c.from, c.to))
            .collect()
    }

    #[test]
    fn only_what_is_wanted_is_compared() {
        #[track_caller]
        fn check(live: Value, wanted: Value, want: &[&str]) {
            assert_eq!(shown(differences(&live, &wanted)), want);
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

    #[test]
    fn what_was_applied_before_is_compared_as_a_whole() {
        #[track_caller]
        fn check(own: Value, live: Value, wanted: Value, want: &[&str]) {
            let mut live = json!({ "spec": live });
            let ours = json!({ "manager": "us", "operation": "Apply", "fieldsV1": { "f:spec": own } });
            let update = json!({ "manager": "us", "operation": "Update", "fieldsV1": {} });
            live["metadata"]["managedFields"] = json!([update, ours]);
            let wanted = json!({ "spec": wanted });
            assert_eq!(shown(differences_of("us", &live, &wanted)), want);
            // Others have applied nothing of it.
            let lenient = shown(differences(&live, &wanted));
            assert_eq!(shown(differences_of("them", &live, &wanted)), lenient);
        }
        let both = json!({ "f:a": {}, "f:b": {} });
        let live = json!({ "a": 1, "b": 2, "c": 3 });
        check(both.clone(), live.clone(), json!({ "a": 1, "b": 2 }), &[]);
        check(both, live, json!({ "a": 1 }), &["spec.b: 2 > "]);
        let nested = json!({ "f:labels": { ".": {}, "f:x/y": {} } });
        let live = json!({ "labels": { "x/y": "1", "z": "2" } });
        check(
            nested,
            live,
            json!({ "labels": {} }),
            &["spec.labels[\"x/y\"]: \"1\" > "],
        );

        let live = json!({ "list": [{ "a": 1, "b": 2 }] });
        let wanted = json!({ "list": [{ "a": 1 }] });
        check(json!({ "f:list": {} }), live.clone(), wanted.clone(), &[]);
        let want = "spec.list: [{\"a\":1,\"b\":2}] > [{\"a\":1}]";
        check(json!({}), live.clone(), wanted, &[want]);
        check(json!({}), live.clone(), live, &[]);
        let wanted = json!({ "list": [{ "a": 2 }] });
        check(
            json!({}),
            json!({ "list": [{ "a": 1, "b": 2 }] }),
            wanted,
            &["spec.list[0].a: 1 > 2"],
        );
    }
}
