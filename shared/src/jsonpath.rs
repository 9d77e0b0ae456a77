//! kubectl's JSONPath templates, as `-o jsonpath=` takes them (k8s.io/client-go,
//! `util/jsonpath/jsonpath.go`).
//!
//! The language is older than RFC 9535. jsonpath-rust selects names at any depth,
//! elements and wildcards; what kubectl sees differently is ours:
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

use std::{borrow::Cow, cmp::Ordering, mem};

use jsonpath_rust::{parser::model::JpQuery, query};
use serde_json::Value;

use crate::{
    error::{Error, Result},
    json::{self, Decoded},
    jsonpath_parse::{self, Filter, Node, Path, Slice},
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
        }
        Ok(text)
    }

    fn results<'a>(&'a self, document: &'a Value, allow_missing: bool) -> Result<Vec<Found<'a>>> {
        let mut walk = Walk {
            lists: &self.lists,
            allow_missing,
            begins: 0,
            inside: 0,
            ends: 0,
            last_end: 0,
        };
        let results = walk.lists_from(0, Cow::Borrowed(document));
        results.map_err(|Failure { message, .. }| {
            Error::new(format!("error executing jsonpath {:?}: {message}", self.text))
        })
    }
}

/// What a step has found: values of the document, or written in the template.
type Found<'a> = Vec<Cow<'a, Value>>;

/// Why a step has failed.
struct Failure {
    message: String,
    /// Whether it leaves something behind, which is enough for `[?(…)]` to be true.
    leaves: bool,
}

impl Failure {
    fn new(message: impl Into<String>, leaves: bool) -> Self {
        let message = message.into();
        Self { message, leaves }
    }
}

/// One pass through a template. `range` and `end` only count; the loop over the
/// lists acts on it, as in kubectl, where they can stand anywhere in an action.
struct Walk<'a> {
    lists: &'a [Vec<Node>],
    allow_missing: bool,
    begins: usize,
    inside: usize,
    ends: usize,
    last_end: usize,
}

impl<'a> Walk<'a> {
    /// What the lists find from the one at `first` on, until the range ends.
    fn lists_from(&mut self, first: usize, current: Cow<'a, Value>) -> Result<Vec<Found<'a>>, Failure> {
        let mut all = Vec::new();
        let mut i = first;
        while let Some(list) = self.lists.get(i) {
            let found = self.list(vec![current.clone()], list)?;
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
            Node::Text(text) => Ok(vec![Cow::Owned(Value::from(text.as_str()))]),
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
            Node::Wildcard(query) => Ok(input.iter().flat_map(|value| parts(value, query)).collect()),
            Node::Array(slice) => elements(&input, slice),
            Node::Parts => {
                let mut found = Vec::new();
                for value in input {
                    with_parts(value, &mut found);
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
        let found: Found<'_> = input.iter().flat_map(|value| select(value, &path.query)).collect();
        let looked = match path.anywhere {
            true => input.iter().any(|value| has_parts(value)),
            false => !input.is_empty(),
        };
        if !found.is_empty() || self.allow_missing || !looked {
            return Ok(found);
        }
        let is_found = |end: usize| {
            let query = JpQuery::new(path.query.segments[..end].to_vec());
            input.iter().any(|value| !select(value, &query).is_empty())
        };
        let missing = (1..path.names.len()).find(|end| !is_found(*end)).unwrap_or(path.names.len());
        Err(Failure::new(format!("{} is not found", path.names[missing - 1]), false))
    }

    fn filter(&mut self, input: &Found<'a>, filter: &'a Filter) -> Result<Found<'a>, Failure> {
        let mut found = Vec::new();
        let all = JpQuery::new(vec![jsonpath_parse::wildcard()]);
        for value in input {
            let Value::Array(_) = **value else {
                let message = format!("{} is not an array and cannot be filtered", kind(value));
                return Err(Failure::new(message, true));
            };
            for element in select(value, &all) {
                let passes = self.passes(&element, filter);
                let passes = passes.map_err(|e| Failure::new(e.message, e.leaves || !found.is_empty()))?;
                if passes {
                    found.push(element);
                }
            }
        }
        Ok(found)
    }

    fn passes(&mut self, element: &Cow<'a, Value>, filter: &'a Filter) -> Result<bool, Failure> {
        let left = self.list(vec![element.clone()], &filter.left);
        let Some((operator, right)) = &filter.comparison else {
            return Ok(left.map_or_else(|e| e.leaves, |left| !left.is_empty()));
        };
        let mut sides = Vec::new();
        for side in [left, Ok(Vec::new())] {
            let side = match sides.len() {
                0 => side,
                _ => self.list(vec![element.clone()], right),
            };
            match side.map_err(|e| Failure::new(e.message, true))?.as_slice() {
                [] => return Ok(false),
                [value] => sides.push(value.clone()),
                _ => return Err(Failure::new("can only compare one element at a time", true)),
            }
        }
        compare(&sides[0], operator, &sides[1]).map_err(|e| Failure::new(e, false))
    }
}

