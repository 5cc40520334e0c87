//! Text to located nodes, a document at a time. JSON is read as YAML: every JSON text is one.
//!
//! Bounded in every way a text can be hostile: size, nesting, and what aliases expand to.

use super::node::{Entry, Node, Place, Value};
use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, Tag, options};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;

pub const MAX_BYTES: usize = 16 << 20;
const MAX_NESTING: usize = 64;
/// How many nodes all aliases of a text may stand for.
const MAX_ALIASED: usize = 100_000;

/// One document of a text, or what is wrong with its form.
pub struct Document {
    /// `None` if it is empty, or broken.
    pub root: Option<Node>,
    pub problems: Vec<Problem>,
    /// The text from behind the document before up to its own end.
    pub range: Range<usize>,
    /// On which line (from 1) `range` begins.
    pub line: u32,
}

pub struct Problem {
    pub place: Place,
    pub message: String,
    pub label: String,
    pub help: Option<&'static str>,
}

impl Problem {
    fn new(place: Place, message: impl Into<String>) -> Self {
        Problem { place, message: message.into(), label: String::new(), help: None }
    }
}

/// Calls `each` with every document. A broken one doesn't hide those behind it.
pub fn documents(text: &str, mut each: impl FnMut(Document)) {
    let mut builder = Builder {
        parser: Parser::new_from_str_with_options(text, limits()),
        text,
        anchors: HashMap::new(),
        problems: Vec::new(),
        aliased: 0,
    };
    let mut begin = (0, 1);
    loop {
        let root = match builder.document() {
            Ok(Next::Document(root)) => Some(root),
            Ok(Next::End) => return,
            Err(problem) => {
                builder.problems.push(problem);
                None
            }
        };
        let broken = root.is_none();
        let more = if broken { builder.parser.proceed_next_document() } else { Ok(true) };
        let end = builder.boundary();
        each(Document {
            root: root.filter(|root| !root.is_null()),
            problems: std::mem::take(&mut builder.problems),
            range: begin.0..end.0.max(begin.0),
            line: begin.1,
        });
        begin = end;
        builder.anchors.clear();
        if !matches!(more, Ok(true)) {
            return;
        }
    }
}

fn limits() -> Options {
    options! {
        // On by default where another crate of the build has asked for the feature.
        emit_comments: false,
        flow_nesting_limit: MAX_NESTING,
        block_nesting_limit: MAX_NESTING,
    }
}

struct Builder<'t> {
    parser: Parser<'t, granit_parser::StrInput<'t>>,
    text: &'t str,
    anchors: HashMap<usize, Node>,
    problems: Vec<Problem>,
    aliased: usize,
}

enum Next {
    Document(Node),
    End,
}

impl<'t> Builder<'t> {
    fn event(&mut self) -> Result<Option<(Event<'t>, Span)>, Problem> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok(event)) => Ok(Some(event)),
            Some(Err(error)) => Err(self.syntax(&error)),
        }
    }

    fn syntax(&self, error: &ScanError) -> Problem {
        let marker = error.marker();
        let start = marker.byte_offset().unwrap_or(0).min(self.text.len());
        let place = Place {
            line: number(marker.line()),
            column: number(marker.col() + 1),
            start,
            end: start,
        };
        Problem { label: error.info(), ..Problem::new(place, "this is not valid YAML") }
    }

    /// Where the next event begins: the end of what was read.
    fn boundary(&mut self) -> (usize, u32) {
        let end = (self.text.len(), u32::MAX);
        match self.parser.peek() {
            Some(Ok((Event::DocumentStart(..), span))) => {
                (span.start.byte_offset().unwrap_or(end.0), number(span.start.line()))
            }
            _ => end,
        }
    }

    fn document(&mut self) -> Result<Next, Problem> {
        loop {
            match self.event()? {
                None | Some((Event::StreamEnd, _)) => return Ok(Next::End),
                Some((Event::DocumentStart(..), _)) => break,
                Some(_) => {}
            }
        }
        let root = match self.event()? {
            Some((event, span)) => self.node(event, span)?,
            None => return Ok(Next::End),
        };
        match self.event()? {
            None | Some((Event::DocumentEnd, _)) => Ok(Next::Document(root)),
            Some((_, span)) => {
                Err(Problem::new(self.place(&span), "something follows the document's value"))
            }
        }
    }

    fn place(&self, span: &Span) -> Place {
        let start = span.start.byte_offset().unwrap_or(0).min(self.text.len());
        let end = span.end.byte_offset().unwrap_or(start).clamp(start, self.text.len());
        Place { line: number(span.start.line()), column: number(span.start.col() + 1), start, end }
    }

    fn node(&mut self, event: Event<'t>, span: Span) -> Result<Node, Problem> {
        let mut place = self.place(&span);
        let tag_place = span.tag_span().map_or(place, |span| self.place(&span));
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (self.scalar(&text, style, tag, tag_place), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(tag, "seq", tag_place);
                (self.sequence(&mut place)?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(tag, "map", tag_place);
                (self.mapping(&mut place)?, anchor)
            }
            Event::Alias(id) => return self.alias(id, place),
            _ => return Err(Problem::new(place, "a value is missing here")),
        };
        let node = Node::new(value, place);
        if node.height > MAX_NESTING {
            return Err(Problem::new(place, format!("nested more than {MAX_NESTING} deep")));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, place: Place) -> Result<Node, Problem> {
        // Errors inside name the place of the anchor, where the text stands.
        let Some(node) = self.anchors.get(&id).cloned() else {
            return Err(Problem::new(place, "an alias inside of what it stands for"));
        };
        self.aliased = self.aliased.saturating_add(node.weight);
        if self.aliased > MAX_ALIASED {
            let message = format!("aliases stand for more than {MAX_ALIASED} values");
            return Err(Problem {
                help: Some("write fewer aliases"),
                ..Problem::new(place, message)
            });
        }
        Ok(node)
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        tag: Option<Cow<'t, Tag>>,
        place: Place,
    ) -> Value {
        let mut quoted = style != ScalarStyle::Plain;
        match tag.as_ref().and_then(|tag| tag.core_suffix()) {
            Some("str") => quoted = true,
            Some("int" | "bool" | "null" | "float") => quoted = false,
            _ => self.check_tag(tag, "str", place),
        }
        Value::Scalar { text: text.into(), quoted }
    }

    fn check_tag(&mut self, tag: Option<Cow<'t, Tag>>, fits: &str, place: Place) {
        let Some(tag) = tag else { return };
        if tag.core_suffix() != Some(fits) && tag.suffix() != "!" {
            self.problems
                .push(Problem::new(place, format!("tag `{}` has no meaning here", tag.original())));
        }
    }

    fn sequence(&mut self, place: &mut Place) -> Result<Value, Problem> {
        let mut items = Vec::new();
        loop {
            match self.event()? {
                Some((Event::SequenceEnd, span)) => {
                    place.end = self.place(&span).end.max(place.start);
                    return Ok(Value::Sequence(items.into()));
                }
                Some((event, span)) => items.push(self.node(event, span)?),
                None => return Err(Problem::new(*place, "this list has no end")),
            }
        }
    }

    fn mapping(&mut self, place: &mut Place) -> Result<Value, Problem> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut many = HashSet::new();
        loop {
            let key = match self.event()? {
                Some((Event::MappingEnd, span)) => {
                    place.end = self.place(&span).end.max(place.start);
                    return Ok(Value::Mapping(entries.into()));
                }
                Some((event, span)) => self.node(event, span)?,
                None => return Err(Problem::new(*place, "this mapping has no end")),
            };
            let value = match self.event()? {
                Some((event, span)) => self.node(event, span)?,
                None => return Err(Problem::new(*place, "this mapping has no end")),
            };
            let Value::Scalar { text: name, .. } = &key.value else {
                self.problems.push(Problem::new(key.place, "a key must be text"));
                continue;
            };
            // The common small mapping needs no set.
            let first = if entries.len() < 8 {
                entries.iter().find(|entry| entry.key == *name)
            } else {
                if many.len() < entries.len() {
                    many = entries.iter().map(|entry| Rc::clone(&entry.key)).collect();
                }
                many.contains(name).then(|| entries.iter().find(|e| e.key == *name)).flatten()
            };
            if let Some(first) = first {
                self.problems.push(Problem {
                    label: format!("line {} has it first", first.key_place.line),
                    ..Problem::new(key.place, format!("key `{name}` is given twice"))
                });
                continue;
            }
            if &**name == "<<" {
                self.problems.push(Problem {
                    help: Some("write the fields out, or alias whole values"),
                    ..Problem::new(key.place, "merge keys are not supported")
                });
                continue;
            }
            if entries.len() >= 8 {
                many.insert(Rc::clone(name));
            }
            entries.push(Entry { key: Rc::clone(name), key_place: key.place, value });
        }
    }
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
