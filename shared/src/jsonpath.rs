//! kubectl's JSONPath templates, as `-o jsonpath=` takes them (k8s.io/client-go,
//! `util/jsonpath/jsonpath.go`).
//!
//! The language is older than RFC 9535, and what kubectl makes of it differs so much
//! that no library's paths would do:
//!
//! - `$` and `@` are both the object at hand: the item in a range or a filter.
//! - An index out of bounds, or of what is no array, is an error, and so is a name
//!   that nothing has, unless missing keys are allowed.
//! - An empty slice ends its step: `{.items[*].ports[*]}` stops at the first item
//!   whose ports are an empty list.
//! - A union finds all of its first member, then all of its second.
//! - A filter is for arrays, has one operator, compares values of one type and
//!   skips elements that lack the left side, also for `!=`.
//! - `..` by itself is everything that has parts; the parts of a text are its bytes.
//!
//! Ours differ from kubectl's results in this: `.*` and `..` go through an object
//! in the order of its keys, as `-o json` prints it, where kubectl's order is random;
//! a null that a range hands on is `null`, not `<no value>`; an array's index in a
//! range over nulls is nothing, where kubectl panics.

use std::borrow::Cow;

use serde_json::Value;

use crate::{
    error::{Error, Result},
    json,
    jsonpath_parse::{self, Filter, Node, Path},
    jsonpath_select::{Failure, Found, add_with_parts, compare, elements, kind, named, parts, single},
};

/// A template that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    text: String,
    lists: Vec<Vec<Node>>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// A usage error, in kubectl's words, if it makes no sense whatever it is
    /// applied to.
    pub fn parse(text: &str) -> Result<Self> {
        let failed = |why| Error::usage(format!("error parsing jsonpath {text}, {why}"));
        let lists = jsonpath_parse::template(text).map_err(failed)?;
        for node in lists.iter().flatten() {
            if let Node::Word(word) = node {
                return Err(failed(format!("unrecognized identifier {word}"))
                    .hint(format!("a path begins with a dot: {{.{word}}}")));
            }
        }
        let text = text.to_owned();
        Ok(Self { text, lists })
    }

    /// The text that the template makes of a document, without a newline at its end.
    ///
    /// # Errors
    /// If the document has not what the template demands. A missing key is no
    /// error if `allow_missing`.
    pub fn render(&self, document: &Value, allow_missing: bool) -> Result<String> {
        let mut text = String::new();
        for found in self.results(document, allow_missing)? {
            let found: Vec<_> = found.iter().map(|value| shown(value)).collect();
            text.push_str(&found.join(" "));
            self.has_room(&text)?;
        }
        Ok(text)
    }

    /// For each action, and each text between them, what it finds, as a JSON array.
    ///
    /// # Errors
    /// As for [`Template::render`].
    pub fn render_as_json(&self, document: &Value, allow_missing: bool) -> Result<String> {
        let mut text = String::new();
        for found in self.results(document, allow_missing)? {
            let found = found.into_iter().map(Cow::into_owned).collect();
            text.push_str(&json::indented(&Value::Array(found)));
            text.push('\n');
            self.has_room(&text)?;
        }
        Ok(text)
    }

    fn has_room(&self, text: &str) -> Result<()> {
        match text.len() > LONGEST {
            true => Err(self.failed(&format!("it makes more than {} MiB", LONGEST >> 20))),
            false => Ok(()),
        }
    }

    fn failed(&self, message: &str) -> Error {
        Error::new(format!("error executing jsonpath {:?}: {message}", self.text))
    }

    fn results<'a>(&'a self, document: &'a Value, allow_missing: bool) -> Result<Vec<Found<'a>>> {
        let mut walk = Walk {
            lists: &self.lists,
            allow_missing,
            begins: 0,
            inside: 0,
            ends: 0,
            last_end: 0,
            found: 0,
        };
        let results = walk.lists_from(0, Cow::Borrowed(document));
        results.map_err(|Failure { message, .. }| self.failed(&message))
    }
}

/// How deep ranges may be in each other, how many values a template may find with all that
/// its ranges repeat, and how many bytes it may make of them: what asks for more would take
/// the stack, the memory, or for ever.
const DEEPEST: usize = 100;
const MOST: usize = 1_000_000;
const LONGEST: usize = 256 << 20;

/// One pass through a template. `range` and `end` only count; the loop over the
/// lists acts on it, as in kubectl, where they can stand anywhere in an action.
struct Walk<'a> {
    lists: &'a [Vec<Node>],
    allow_missing: bool,
    begins: usize,
    inside: usize,
    ends: usize,
    last_end: usize,
    /// How many values it has found, and lists it has come to.
    found: usize,
}

impl<'a> Walk<'a> {
    /// What the lists find from the one at `first` on, until the range ends.
    fn lists_from(&mut self, first: usize, current: Cow<'a, Value>) -> Result<Vec<Found<'a>>, Failure> {
        if self.inside > DEEPEST {
            let message = format!("more than {DEEPEST} ranges are in each other");
            return Err(Failure::new(message, false));
        }
        let mut all = Vec::new();
        let mut i = first;
        while let Some(list) = self.lists.get(i) {
            let found = self.list(vec![current.clone()], list)?;
            self.found += 1 + found.len();
            if self.found > MOST {
                let message = format!("its ranges find more than {MOST} values");
                return Err(Failure::new(message, false));
            }
            if self.ends > 0 && self.ends <= self.inside {
                self.ends -= 1;
                self.last_end = i;
                break;
            }
            if self.begins == 0 {
                all.push(found);
            } else {
                self.begins -= 1;
                self.inside += 1;
                if found.is_empty() {
                    // To find its end; what is wrong in it is wrong all the same.
                    self.lists_from(i + 1, Cow::Owned(Value::Null))?;
                }
                for value in found {
                    all.append(&mut self.lists_from(i + 1, value)?);
                }
                self.inside -= 1;
                i = i.max(self.last_end);
            }
            i += 1;
        }
        Ok(all)
    }

    fn list(&mut self, mut found: Found<'a>, list: &'a [Node]) -> Result<Found<'a>, Failure> {
        for node in list {
            found = self.step(found, node)?;
        }
        Ok(found)
    }

    fn step(&mut self, input: Found<'a>, node: &'a Node) -> Result<Found<'a>, Failure> {
        match node {
            Node::Text(text) => Ok(vec![Cow::Borrowed(text)]),
            Node::Literal(value) => Ok(input.iter().map(|_| Cow::Borrowed(value)).collect()),
            Node::Range => {
                self.begins += 1;
                Ok(input)
            }
            Node::End if self.inside == 0 => Err(Failure::new("not in range, nothing to end", false)),
            Node::End => {
                self.ends += 1;
                Ok(Vec::new())
            }
            Node::Word(word) => Err(Failure::new(
                format!("unrecognized identifier {word}"),
                !input.is_empty(),
            )),
            Node::Path(path) => self.path(&input, path),
            Node::Wildcard => Ok(input.iter().flat_map(parts).collect()),
            Node::Array(slice) => elements(&input, slice),
            Node::Parts => {
                let mut found = Vec::new();
                for value in input {
                    add_with_parts(value, &mut found);
                }
                Ok(found)
            }
            Node::Union(members) => {
                let mut found = Vec::new();
                for member in members {
                    let member = self.list(input.clone(), member);
                    found.append(&mut member.map_err(|e| Failure::new(e.message, !input.is_empty()))?);
                }
                Ok(found)
            }
            Node::Filter(filter) => self.filter(&input, filter),
        }
    }

    fn path(&self, input: &Found<'a>, path: &Path) -> Result<Found<'a>, Failure> {
        let found: Found<'_> = input
            .iter()
            .flat_map(|value| named(value, &path.names, path.anywhere))
            .collect();
        let looked = match path.anywhere {
            true => input.iter().any(|value| !parts(value).is_empty()),
            false => !input.is_empty(),
        };
        if !found.is_empty() || self.allow_missing || !looked {
            return Ok(found);
        }
        let is_found = |end: usize| {
            let names = &path.names[..end];
            input
                .iter()
                .any(|value| !named(value, names, path.anywhere).is_empty())
        };
        let missing = (1..path.names.len())
            .find(|end| !is_found(*end))
            .unwrap_or(path.names.len());
        Err(Failure::new(
            format!("{} is not found", path.names[missing - 1]),
            false,
        ))
    }

    fn filter(&mut self, input: &Found<'a>, filter: &'a Filter) -> Result<Found<'a>, Failure> {
        let mut found = Vec::new();
        for value in input {
            if !value.is_array() {
                let message = format!("{} cannot be filtered: it is not an array", kind(value));
                return Err(Failure::new(message, true));
            }
            for element in parts(value) {
                let passes = self.passes(element.clone(), filter);
                if passes.map_err(|e| Failure::new(e.message, e.leaves || !found.is_empty()))? {
                    found.push(element);
                }
            }
        }
        Ok(found)
    }

    fn passes(&mut self, element: Cow<'a, Value>, filter: &'a Filter) -> Result<bool, Failure> {
        let left = self.list(vec![element.clone()], &filter.left);
        let Some((operator, right)) = &filter.comparison else {
            return Ok(left.map_or_else(|e| e.leaves, |left| !left.is_empty()));
        };
        let Some(left) = single(left)? else {
            return Ok(false);
        };
        let right = self.list(vec![element], right);
        let Some(right) = single(right)? else {
            return Ok(false);
        };
        compare(&left, operator, &right).map_err(|message| Failure::new(message, false))
    }
}

/// A value as kubectl prints it: text without quotes, and JSON for what has parts.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => json::plain(number),
        other => json::compact(other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ExitCode;

    fn document() -> Value {
        json!({
            "kind": "Mesh",
            "metadata": {"name": "ab", "annotations": {"a.b/c": "<x>"}},
            "replicas": 2, "ratio": 1e6, "weight": 1.0, "paused": true, "none": null, "empty": [],
            "servers": [
                {"name": "x", "ready": true, "ports": [80, 443]},
                {"name": "y", "ready": false, "ports": []},
                {"name": "z", "ports": [9900], "labels": {"name": "deep"}},
            ],
        })
    }

    fn render(template: &str, allow_missing: bool) -> Result<String> {
        Template::parse(template)?.render(&document(), allow_missing)
    }

    #[test]
    fn templates_are_kubectls() {
        #[track_caller]
        fn check(template: &str, want: &str) {
            assert_eq!(render(template, true).expect("renders"), want, "{template}");
        }
        check("", "");
        check(".kind", ".kind");
        check("{.kind}", "Mesh");
        check("{$.kind} is {@.metadata.name}\n", "Mesh is ab\n");
        check("{.}", "");
        check("{.missing.too}", "");
        check(
            "{.replicas} {.ratio} {.weight} {.paused} {.none}",
            "2 1e+06 1 true null",
        );
        check("{.metadata.annotations}", r#"{"a.b/c":"\u003cx\u003e"}"#);
        check(r"{.metadata.annotations.a\.b/c}", "<x>");
        check(r"{.metadata.annotations['a\.b/c']}", "<x>");
        check("{['metadata.name','kind']}", "ab Mesh");
        check(
            r#"{"\t\u00e9\x41\101\""}{'it\'s'}{5}{1.50}{true}"#,
            "\té\u{41}A\"it's51.5true",
        );
        check("{.metadata.name.*}", "97 98");
        check("{.metadata..name}", "ab");
        check("{..name}", "ab x y z deep");
        check(
            "{.servers[2]..}",
            r#"{"labels":{"name":"deep"},"name":"z","ports":[9900]} {"name":"deep"} deep z [9900]"#,
        );
        check("{.servers[0].*}", "x [80,443] true");
        check("{.servers[0,-1].name}", "x z");
        check("{.servers[-2:].name}", "y z");
        check("{.servers[::2].name}", "x z");
        check("{.servers[:-1].name}", "x y");
        check("{.servers[1:1]}", "");
        check("{.servers[*]['name','ready']}", "x y z true false");
        check("{.servers[*].ports[*]}", "80 443");
        check("{.none[5]}", "");
        check(r#"{.servers[?(@.name=="z")].ports}"#, "[9900]");
        check("{.servers[?(@.name!='x')].name}", "y z");
        check("{.servers[?(@.ready!=true)].name}", "y");
        check("{.servers[?(@.ready)].name}", "x y");
        check("{.servers[?(@.ports[0])].name}", "x y z");
        check("{.servers[*].ports[?(@>=443)]}", "443 9900");
        check(
            "{range .servers[*]}{.name}={.ready};{end}!",
            "x=true;y=false;z=;!",
        );
        check(
            "{range .servers[*]}{range .ports[*]}{@} {end}{.name}\n{end}",
            "80 443 x\ny\n9900 z\n",
        );
        check("{range .missing[*]}{.name}{end}{.kind}", "Mesh");
        check("{range .servers[:2]}{.name}", "xy");
    }

    #[test]
    fn what_a_document_has_not_is_an_error() {
        #[track_caller]
        fn check(template: &str, want: &str) {
            let error = render(template, false).expect_err("does not render");
            assert_eq!(error.exit_code(), ExitCode::Failed);
            let message = format!("error: error executing jsonpath {template:?}: {want}");
            assert_eq!(error.to_string(), message);
        }
        check("{.a}", "a is not found");
        check("{.metadata.a.b}", "a is not found");
        check("{.metadata.name.b}", "b is not found");
        check("{..a}", "a is not found");
        check("{range .servers[*]}{.ready}{end}", "ready is not found");
        check("{.empty[0]}", "array index out of bounds: index 0, length 0");
        check("{.servers[-4]}", "array index out of bounds: index -1, length 3");
        check("{.servers[1:4]}", "array index out of bounds: index 3, length 3");
        check(
            "{.servers[2:1]}",
            "starting index 2 is greater than ending index 1",
        );
        check("{.servers[::0]}", "step must be > 0");
        check("{.metadata[*]}", "an object is not an array");
        check(
            "{.metadata[?(@.name)]}",
            "an object cannot be filtered: it is not an array",
        );
        check(
            "{.servers[?(@.name==1)]}",
            "a string == an integer cannot be compared",
        );
        check(
            "{.servers[?(@.ready<true)]}",
            "a boolean < a boolean cannot be compared",
        );
        check(
            "{.servers[?(@.ports[*]==80)]}",
            "can only compare one element at a time",
        );
        check(
            "{.servers[?(@.ports[0]==80)]}",
            "array index out of bounds: index 0, length 0",
        );
        check("{.servers[?(@.name===1)]}", "unrecognized filter operator ===");
        check("{end}", "not in range, nothing to end");
        let deep = |range: &str, count| range.repeat(count) + "{@}" + &"{end}".repeat(count);
        check(
            &deep("{range @}", 100_000),
            "more than 100 ranges are in each other",
        );
        check(
            &deep("{range ..}", 50),
            "its ranges find more than 1000000 values",
        );
        let long = format!("{{range [*]}}{}{{end}}", "x".repeat(1 << 20));
        let template = Template::parse(&long).expect("is a template");
        let error = template.render(&Value::from(vec![0; 300]), false);
        let error = error.expect_err("is too long").to_string();
        assert!(error.ends_with(": it makes more than 256 MiB"), "{error:.200}");
    }

    #[test]
    fn a_template_that_makes_no_sense_is_a_usage_error() {
        #[track_caller]
        fn check(template: &str, want: &str) {
            let error = Template::parse(template).expect_err("is no template");
            assert_eq!(error.exit_code(), ExitCode::Usage);
            assert_eq!(
                error.to_string(),
                format!("error: error parsing jsonpath {template}, {want}")
            );
        }
        check("{.a", "unclosed action");
        check("{.a[0}", "unterminated array");
        check("{.a[x]}", "invalid array index x");
        check("{.a[1:2:3:4]}", "invalid array index 1:2:3:4");
        check(r#"{.a["b"]}"#, r#"invalid array index "b""#);
        check("{.a[-]}", "array index - is not a number");
        check("{'a}", "unterminated quoted string");
        check(r#"{"\q"}"#, r#"unquote string "\q" error invalid syntax"#);
        check("{1.2.3}", "cannot parse number 1.2.3");
        check("{....a}", "invalid multiple recursive descent");
        check("{.a[?(@.b]}", "unterminated filter");
        check("{.a[?(@.b)}", "unclosed array expect ]");
        check("{(.a)}", "unrecognized character in action: U+0028 '('");
        check(
            "{.a[?(@.b=='x' && @.c)]}",
            "unrecognized character in action: U+0026 '&'",
        );
        check("{..*}", "unrecognized character in action: U+002A '*'");
        check(
            "{kind}",
            "unrecognized identifier kind\n  hint: a path begins with a dot: {.kind}",
        );
    }

    #[test]
    fn as_json_every_list_is_an_array() {
        let template = Template::parse("{.servers[*].name}, {.missing}").expect("is a template");
        let got = template.render_as_json(&document(), true).expect("renders");
        assert_eq!(
            got,
            "[\n    \"x\",\n    \"y\",\n    \"z\"\n]\n[\n    \", \"\n]\n[]\n"
        );
    }
}
