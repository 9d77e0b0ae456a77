//! Reads kubectl's JSONPath templates (k8s.io/client-go, `util/jsonpath/parser.go`).
//!
//! A template is text and actions in braces; an action is a list of [`Node`]s, each
//! of which is handed what the one before it has found.

use std::str::Chars;

use serde_json::Value;

/// What a template is made of, in the order it is written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    /// A string: text outside of braces, or quoted.
    Text(Value),
    /// A number or a boolean.
    Literal(Value),
    /// `range`.
    Range,
    /// `end`.
    End,
    /// A bare word that means nothing.
    Word(String),
    /// `.a.b`, or `..a.b`.
    Path(Path),
    /// `.*`.
    Wildcard,
    /// `[i]`, `[a:b:c]` or `[*]`.
    Array(Slice),
    /// `..` that no name follows: everything that has parts.
    Parts,
    /// `[x,y]`.
    Union(Vec<Vec<Self>>),
    /// `[?(…)]`.
    Filter(Filter),
}

/// Names, one below the other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Path {
    /// Whether the first name is looked for at any depth.
    pub(crate) anywhere: bool,
    /// The names.
    pub(crate) names: Vec<String>,
}

/// Elements of an array.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slice {
    /// The first, counted from the end if negative.
    pub(crate) start: i64,
    /// The one after the last, likewise; the array's length if there is none.
    pub(crate) end: Option<i64>,
    /// Whether it is an index: the end is not written.
    pub(crate) single: bool,
    /// How far from one to the next.
    pub(crate) step: i64,
}

/// A condition on the elements of an array.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Filter {
    /// What is looked at.
    pub(crate) left: Vec<Node>,
    /// What it is compared with, and how; nothing if it only has to be there.
    pub(crate) comparison: Option<(String, Vec<Node>)>,
}

/// A template: a list of nodes for each action, and one for each text between them.
pub(crate) fn template(text: &str) -> Result<Vec<Vec<Node>>, String> {
    let mut parser = Parser { text, at: 0 };
    let mut lists = Vec::new();
    loop {
        let (plain, action) = match parser.rest().split_once('{') {
            Some((plain, _)) => (plain, true),
            None => (parser.rest(), false),
        };
        if !plain.is_empty() {
            lists.push(vec![Node::Text(plain.into())]);
        }
        if !action {
            return Ok(lists);
        }
        parser.at += plain.len() + 1;
        lists.push(parser.action()?);
    }
}

/// A part of an action, read like an action of its own.
fn part(text: &str) -> Result<Vec<Node>, String> {
    Ok(template(&format!("{{{text}}}"))?.swap_remove(0))
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest().chars().next();
        self.at += next.map_or(0, char::len_utf8);
        next
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !wanted(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    /// What is between an opening brace, which was read, and its closing one.
    fn action(&mut self) -> Result<Vec<Node>, String> {
        let mut nodes = Vec::new();
        loop {
            let rest = self.rest();
            let c = rest.chars().next().filter(|c| !matches!(c, '\n' | '\r'));
            match c.ok_or("unclosed action")? {
                '}' => {
                    self.at += 1;
                    return Ok(nodes);
                }
                ' ' | '@' | '$' => self.at += 1,
                '[' if rest.starts_with("[?(") => nodes.push(Node::Filter(self.filter()?)),
                '[' => self.brackets(&mut nodes)?,
                '.' if rest.starts_with("..") => {
                    if nodes.last() == Some(&Node::Parts) {
                        return Err("invalid multiple recursive descent".to_owned());
                    }
                    self.at += 2;
                    nodes.push(Node::Parts);
                    if self.rest().starts_with(|c: char| c == '_' || c.is_alphanumeric()) {
                        self.name(&mut nodes);
                    }
                }
                '.' => {
                    self.at += 1;
                    self.name(&mut nodes);
                }
                quote @ ('"' | '\'') => nodes.push(Node::Text(self.quoted(quote)?.into())),
                '+' | '-' | '0'..='9' => nodes.push(Node::Literal(self.number()?)),
                '_' => nodes.push(self.word()),
                c if c.is_alphanumeric() => nodes.push(self.word()),
                c => {
                    let code = u32::from(c);
                    return Err(format!("unrecognized character in action: U+{code:04X} {c:?}"));
                }
            }
        }
    }

    /// A name behind a dot, in which a backslash makes the next character plain.
    fn name(&mut self, nodes: &mut Vec<Node>) {
        let mut name = String::new();
        while let Some(c) = self.rest().chars().next().filter(|c| !ends_word(*c)) {
            self.at += c.len_utf8();
            match c {
                '\\' => name.extend(self.next().filter(|c| *c != '\\')),
                c => name.push(c),
            }
        }
        if name == "*" {
            return nodes.push(Node::Wildcard);
        }
        match nodes.last_mut() {
            Some(Node::Path(path)) => path.names.push(name),
            Some(parts @ Node::Parts) => {
                *parts = Node::Path(Path {
                    anywhere: true,
                    names: vec![name],
                });
            }
            _ => nodes.push(Node::Path(Path {
                anywhere: false,
                names: vec![name],
            })),
        }
    }

    fn word(&mut self) -> Node {
        match self.take(|c| !ends_word(c)) {
            "range" => Node::Range,
            "end" => Node::End,
            "true" => Node::Literal(true.into()),
            "false" => Node::Literal(false.into()),
            other => Node::Word(other.to_owned()),
        }
    }

    fn number(&mut self) -> Result<Value, String> {
        let rest = self.rest();
        if rest.starts_with(['+', '-']) {
            self.at += 1;
        }
        self.take(|c| c == '.' || c.is_ascii_digit());
        let text = &rest[..rest.len() - self.rest().len()];
        match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(integer), _) => Ok(integer.into()),
            (_, Ok(float)) => Ok(float.into()),
            _ => Err(format!("cannot parse number {text}")),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let rest = self.rest();
        self.at += 1;
        loop {
            match self.next() {
                None | Some('\n') => return Err("unterminated quoted string".to_owned()),
                Some(c) if c == quote && !self.text[..self.at - 1].ends_with('\\') => break,
                Some(_) => {}
            }
        }
        let text = &rest[..rest.len() - self.rest().len()];
        unescaped(&text[1..text.len() - 1], quote)
            .ok_or_else(|| format!("unquote string {text} error invalid syntax"))
    }

    /// An index, a slice, a quoted name, or several of them.
    fn brackets(&mut self, nodes: &mut Vec<Node>) -> Result<(), String> {
        let inside = &self.rest()[1..];
        let end = inside
            .find([']', '\n'])
            .filter(|end| inside[*end..].starts_with(']'));
        let inside = &inside[..end.ok_or("unterminated array")?];
        self.at += inside.len() + 2;
        if inside.contains(',') {
            let members = inside
                .split(',')
                .map(|member| part(&format!("[{}]", member.trim_matches(' '))));
            nodes.push(Node::Union(members.collect::<Result<_, _>>()?));
            return Ok(());
        }
        let name = inside.strip_prefix('\'').and_then(|name| name.strip_suffix('\''));
        match name.filter(|name| !name.contains('\'')) {
            // It is read like what follows a dot: dots in it lead further down.
            Some(name) => nodes.extend(part(&format!(".{name}"))?),
            None => nodes.push(Node::Array(slice(inside)?)),
        }
        Ok(())
    }

    fn filter(&mut self) -> Result<Filter, String> {
        self.at += "[?(".len();
        let rest = self.rest();
        let (mut quote, mut closed) = (None, false);
        loop {
            match self.next() {
                None | Some('\n') => return Err("unterminated filter".to_owned()),
                Some(c @ ('"' | '\'')) => match quote {
                    None => quote = Some(c),
                    Some(quote) => closed |= c == quote && !self.text[..self.at - 1].ends_with('\\'),
                },
                Some(')') if quote.is_some() == closed => break,
                Some(_) => {}
            }
        }
        if self.next() != Some(']') {
            return Err("unclosed array expect ]".to_owned());
        }
        condition(&rest[..rest.len() - self.rest().len() - 2])
    }
}

/// `LEFT OPERATOR RIGHT`, or `LEFT` alone.
fn condition(text: &str) -> Result<Filter, String> {
    let compares = |c: char| matches!(c, '!' | '<' | '>' | '=');
    let left = &text[..text.find(compares).unwrap_or(text.len())];
    let rest = &text[left.len()..];
    let mut operator = &rest[..rest.find(|c| !compares(c)).unwrap_or(rest.len())];
    if operator.len() == rest.len() {
        // There is no right side but the operator's own end.
        operator = &operator[..operator.len().saturating_sub(1)];
    }
    if left.is_empty() || operator.is_empty() {
        let left = part(text)?;
        return Ok(Filter {
            left,
            comparison: None,
        });
    }
    let left = part(left)?;
    let right = part(&rest[operator.len()..])?;
    let comparison = Some((operator.to_owned(), right));
    Ok(Filter { left, comparison })
}

/// Whether a name or a bare word ends before a character.
fn ends_word(c: char) -> bool {
    matches!(
        c,
        ' ' | '\t' | '\r' | '\n' | '.' | ',' | '[' | ']' | '$' | '@' | '{' | '}'
    )
}

/// `*`, `INDEX`, or `START:END:STEP` of which each can be left out.
fn slice(text: &str) -> Result<Slice, String> {
    let invalid = || format!("invalid array index {text}");
    let fields: Vec<_> = if text == "*" {
        vec!["", ""]
    } else {
        text.split(':').collect()
    };
    let number = |field: &str| {
        let digits = field.strip_prefix('-').unwrap_or(field);
        match (field, digits.bytes().all(|c| c.is_ascii_digit())) {
            ("", _) => Ok(None),
            (_, false) => Err(invalid()),
            (_, true) => match field.parse::<i64>() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(format!("array index {field} is not a number")),
            },
        }
    };
    let (start, end, step, single) = match fields.as_slice() {
        [start] => (number(start)?, None, None, true),
        [start, end] => (number(start)?, number(end)?, None, false),
        [start, end, step] => (number(start)?, number(end)?, number(step)?, false),
        _ => return Err(invalid()),
    };
    let start = start.unwrap_or_default();
    Ok(Slice {
        start,
        end: if single { start.checked_add(1) } else { end },
        single,
        step: step.unwrap_or(1),
    })
}

/// What a quoted text means: Go's `strconv.UnquoteChar` until its end.
fn unescaped(text: &str, quote: char) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let character = match c {
            '\\' => match rest.next()? {
                'a' => '\u{7}',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\u{b}',
                '\\' => '\\',
                c @ ('\'' | '"') if c == quote => c,
                'u' => char::from_u32(code(&mut rest, 4, 16)?)?,
                'U' => char::from_u32(code(&mut rest, 8, 16)?)?,
                'x' => {
                    bytes.push(u8::try_from(code(&mut rest, 2, 16)?).ok()?);
                    continue;
                }
                c @ '0'..='7' => {
                    let last = code(&mut rest, 2, 8)?;
                    bytes.push(u8::try_from(c.to_digit(8)? * 64 + last).ok()?);
                    continue;
                }
                _ => return None,
            },
            c if c == quote => return None,
            c => c,
        };
        bytes.extend(character.to_string().bytes());
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// So many digits of a number.
fn code(rest: &mut Chars<'_>, digits: usize, radix: u32) -> Option<u32> {
    let text = rest.as_str().get(..digits)?;
    rest.nth(digits - 1)?;
    let plain = text.bytes().all(|c| c.is_ascii_alphanumeric());
    plain.then(|| u32::from_str_radix(text, radix).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_one_below_the_other() {
        #[track_caller]
        fn check(text: &str, anywhere: bool, names: &[&str]) {
            let names = names.iter().copied().map(str::to_owned).collect();
            let want = Node::Path(Path { anywhere, names });
            assert_eq!(part(text), Ok(vec![want]), "{text}");
        }
        check(".a.b", false, &["a", "b"]);
        check("$ .a@.b", false, &["a", "b"]);
        check(r".a\.b/c", false, &["a.b/c"]);
        check("['a.b']", false, &["a", "b"]);
        check("..a.b", true, &["a", "b"]);
    }

    #[test]
    fn elements_are_counted_from_either_end() {
        #[track_caller]
        fn check(text: &str, start: i64, end: Option<i64>, step: i64) {
            let single = !text.contains([':', '*']);
            let want = Node::Array(Slice {
                start,
                end,
                single,
                step,
            });
            assert_eq!(part(text), Ok(vec![want]), "{text}");
        }
        check("[2]", 2, Some(3), 1);
        check("[-1]", -1, Some(0), 1);
        check("[1:]", 1, None, 1);
        check("[:-2:3]", 0, Some(-2), 3);
        check("[*]", 0, None, 1);
    }

    #[test]
    fn a_condition_has_one_operator() {
        #[track_caller]
        fn check(text: &str, operator: Option<&str>) {
            let filter = condition(text).expect("is a condition");
            assert_eq!(
                filter.comparison.as_ref().map(|(o, _)| o.as_str()),
                operator,
                "{text}"
            );
        }
        check("@.a", None);
        check("@.a==1", Some("=="));
        check("@.a >= '=='", Some(">="));
        check("@.a<>1", Some("<>"));
    }
}
