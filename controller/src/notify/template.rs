//! `hookgate.dev/template` on an Alert: the words of its messages. Pure.
//!
//! A template is Jinja of the smallest kind: text, `{{ … }}`, `{% if %}`, `{% for %}` and the
//! filters below. It sees the event and nothing else: no files, no other templates, no functions,
//! no Secrets. Names, fields, filters and nesting are checked when the Alert changes; size, work
//! and output are bounded when it is used. Values are text: what an event says is never a template.
//!
//! It is applied when a message is sent, so that a retry says what the Alert says now. Whatever
//! goes wrong, the event's own message is sent: an alert is worth more than its wording.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::machinery::ast::{CallArg, Expr, Stmt};
use minijinja::machinery::{Token, parse, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, State, Value};

use crate::api::alert::Alert;
use crate::api::event::Event;

/// The annotation.
pub const ANNOTATION: &str = "hookgate.dev/template";
/// Bytes of a template.
pub const MAX_TEMPLATE: usize = 8 * 1024;
/// Bytes of a message that a template makes.
pub const MAX_OUTPUT: usize = 32 * 1024;
/// Bytes of one value that a template sees; longer ones are cut.
const MAX_VALUE: usize = 16 * 1024;
/// Steps of one rendering, and at once 64 times as many bytes that it may make.
const FUEL: u64 = 10_000;
/// `{{ … }}` and `{% … %}` of one template: they nest, and nesting takes stack.
const MAX_TAGS: usize = 200;
/// Tokens of one of them, likewise.
const MAX_TOKENS: usize = 200;
/// Templates that are kept compiled.
const MAX_KEPT: usize = 500;
/// The name that the engine wants; no template can refer to it.
const NAME: &str = "template";

/// What a template sees, and the fields of what has them; any where none are listed.
const NAMES: &[(&str, &[&str])] = &[
    ("alert", &["name", "namespace"]),
    (
        "event",
        &[
            "message",
            "reason",
            "reportingController",
            "severity",
            "timestamp",
        ],
    ),
    ("metadata", &[]),
    ("object", &["apiVersion", "kind", "name", "namespace"]),
    ("summary", &[]),
];
const FILTERS: &[&str] = &[
    "default",
    "first_line",
    "lower",
    "replace",
    "trim",
    "truncate",
    "upper",
];

/// Why a template can't be used, or made no message. Says nothing of the event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is too long.
    #[error("it has {0} bytes, and may have {MAX_TEMPLATE}")]
    Long(usize),
    /// It is written wrongly, or uses what there is not.
    #[error("line {line}: {what}")]
    Wrong {
        /// Where, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// It takes too many steps, or too much memory.
    #[error("it takes too many steps")]
    Fuel,
    /// Its message is too long.
    #[error("its message is longer than {MAX_OUTPUT} bytes")]
    Output,
    /// Its message is empty.
    #[error("its message is empty")]
    Empty,
}

/// A template, checked.
pub struct Template(Environment<'static>);

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Template")
    }
}

impl Template {
    /// Checks and compiles a template.
    ///
    /// # Errors
    /// [`TemplateError::Long`] and [`TemplateError::Wrong`].
    pub fn compile(source: &str) -> Result<Self, TemplateError> {
        if source.len() > MAX_TEMPLATE {
            return Err(TemplateError::Long(source.len()));
        }
        check_size(source)?;
        let tree = parse(source, NAME, SyntaxConfig::default()).map_err(|error| wrong(&error))?;
        Checker::default().statement(&tree)?;
        let mut environment = Environment::empty();
        environment.set_fuel(Some(FUEL));
        environment.add_filter("default", default);
        environment.add_filter("first_line", first_line);
        environment.add_filter("lower", lower);
        environment.add_filter("replace", replace);
        environment.add_filter("trim", trim);
        environment.add_filter("truncate", truncate);
        environment.add_filter("upper", upper);
        environment.add_test("defined", |value: &Value| !value.is_undefined());
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|error| wrong(&error))?;
        Ok(Self(environment))
    }

    /// The message for an event whose metadata is merged, on its way through an Alert.
    ///
    /// # Errors
    /// All but [`TemplateError::Long`].
    pub fn render(&self, event: &Event, alert: &Alert) -> Result<String, TemplateError> {
        let template = self.0.get_template(NAME).map_err(|error| wrong(&error))?;
        let mut output = Output::default();
        let rendered = template.render_captured_to(scope(event, alert), &mut output);
        if let Err(error) = rendered {
            return Err(if error.kind() == ErrorKind::OutOfFuel {
                TemplateError::Fuel
            } else if output.is_full {
                TemplateError::Output
            } else {
                wrong(&error)
            });
        }
        let message = String::from_utf8_lossy(&output.bytes).trim().to_owned();
        if message.is_empty() {
            return Err(TemplateError::Empty);
        }
        Ok(message)
    }
}

/// Compiled templates, so that each is compiled once. Those of Alerts that changed go with time.
#[derive(Debug, Default)]
pub struct Templates(Mutex<HashMap<String, Compiled>>);

type Compiled = Result<Arc<Template>, TemplateError>;

impl Templates {
    /// The message that an Alert's template makes of an event; `None` if it has none.
    ///
    /// # Errors
    /// [`TemplateError`]: the event's own message is to be sent.
    pub fn message(&self, alert: &Alert, event: &Event) -> Result<Option<String>, TemplateError> {
        let Some(source) = alert.metadata.annotations.get(ANNOTATION) else {
            return Ok(None);
        };
        let template = self.compiled(source)?;
        template.render(event, alert).map(Some)
    }

    fn compiled(&self, source: &str) -> Compiled {
        if source.len() > MAX_TEMPLATE {
            return Err(TemplateError::Long(source.len()));
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(compiled) = kept.get(source) {
            return compiled.clone();
        }
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        let compiled = Template::compile(source).map(Arc::new);
        kept.insert(source.to_owned(), compiled.clone());
        compiled
    }
}

/// What takes no more than a message may have.
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    is_full: bool,
}

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > MAX_OUTPUT {
            self.is_full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a template sees.
fn scope(event: &Event, alert: &Alert) -> Value {
    let object = &event.involved_object;
    let time = event.timestamp.map(|time| time.to_string());
    let metadata = event.metadata.iter();
    let metadata: BTreeMap<_, _> = metadata
        .map(|(key, value)| (cut(key), cut(value)))
        .collect();
    let summary = event.metadata.get("summary");
    let scope = [
        (
            "alert",
            fields(&[
                ("name", &alert.metadata.name),
                ("namespace", &alert.metadata.namespace),
            ]),
        ),
        (
            "event",
            fields(&[
                ("message", &event.message),
                ("reason", &event.reason),
                ("reportingController", &event.reporting_controller),
                ("severity", &event.severity),
                ("timestamp", time.as_deref().unwrap_or_default()),
            ]),
        ),
        ("metadata", metadata.into()),
        (
            "object",
            fields(&[
                ("apiVersion", &object.api_version),
                ("kind", &object.kind),
                ("name", &object.name),
                ("namespace", &object.namespace),
            ]),
        ),
        ("summary", cut(summary.map_or("", String::as_str)).into()),
    ];
    let scope = scope.map(|(name, value)| (name.to_owned(), value));
    BTreeMap::from(scope).into()
}

fn fields(pairs: &[(&str, &str)]) -> Value {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), cut(value)))
        .collect::<BTreeMap<_, _>>()
        .into()
}

fn cut(text: &str) -> String {
    if text.len() <= MAX_VALUE {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(MAX_VALUE);
    format!("{}…", text.get(..end).unwrap_or_default())
}

/// Refuses what would take much stack to parse.
fn check_size(source: &str) -> Result<(), TemplateError> {
    let (mut tags, mut tokens) = (0, 0);
    for token in tokenize(source, false, SyntaxConfig::default()) {
        let (token, span) = token.map_err(|error| wrong(&error))?;
        tokens += 1;
        if matches!(token, Token::VariableStart | Token::BlockStart) {
            tags += 1;
            tokens = 0;
        }
        let what = match (tags, tokens) {
            (tags, _) if tags > MAX_TAGS => format!("more than {MAX_TAGS} tags"),
            (_, tokens) if tokens > MAX_TOKENS => format!("more than {MAX_TOKENS} words in a tag"),
            _ => continue,
        };
        return Err(TemplateError::Wrong {
            line: span.start_line.into(),
            what,
        });
    }
    Ok(())
}

fn wrong(error: &Error) -> TemplateError {
    let kind = error.kind();
    TemplateError::Wrong {
        line: error.line().unwrap_or(1),
        what: error
            .detail()
            .map_or_else(|| kind.to_string(), |detail| format!("{kind}: {detail}")),
    }
}

/// Looks for names, fields, filters and statements that there are not.
#[derive(Default)]
struct Checker<'t> {
    /// The variables of the loops around.
    locals: Vec<&'t str>,
}

impl<'t> Checker<'t> {
    fn statements(&mut self, statements: &[Stmt<'t>]) -> Result<(), TemplateError> {
        statements.iter().try_for_each(|one| self.statement(one))
    }

    fn statement(&mut self, statement: &Stmt<'t>) -> Result<(), TemplateError> {
        let (line, word) = match statement {
            Stmt::Template(template) => return self.statements(&template.children),
            Stmt::EmitRaw(_) => return Ok(()),
            Stmt::EmitExpr(emit) => return self.expression(&emit.expr),
            Stmt::IfCond(condition) => {
                self.expression(&condition.expr)?;
                self.statements(&condition.true_body)?;
                return self.statements(&condition.false_body);
            }
            Stmt::ForLoop(each) if !each.recursive => {
                self.expression(&each.iter)?;
                let around = self.locals.len();
                self.targets(&each.target)?;
                self.locals.push("loop");
                if let Some(filter) = &each.filter_expr {
                    self.expression(filter)?;
                }
                self.statements(&each.body)?;
                self.locals.truncate(around);
                return self.statements(&each.else_body);
            }
            Stmt::ForLoop(each) => (each.span().start_line, "recursive"),
            Stmt::WithBlock(it) => (it.span().start_line, "with"),
            Stmt::Set(it) => (it.span().start_line, "set"),
            Stmt::SetBlock(it) => (it.span().start_line, "set"),
            Stmt::AutoEscape(it) => (it.span().start_line, "autoescape"),
            Stmt::FilterBlock(it) => (it.span().start_line, "filter"),
            Stmt::Do(it) => (it.span().start_line, "do"),
        };
        Err(TemplateError::Wrong {
            line: line.into(),
            what: format!("there is no {word:?} here; there are \"if\" and \"for\""),
        })
    }

    /// The variables of a loop.
    fn targets(&mut self, target: &Expr<'t>) -> Result<(), TemplateError> {
        if let Expr::Var(name) = target {
            self.locals.push(name.id);
            return Ok(());
        }
        Err(refused(target, "a loop has one variable"))
    }

    fn expressions<'e>(
        &self,
        expressions: impl IntoIterator<Item = &'e Expr<'t>>,
    ) -> Result<(), TemplateError>
    where
        't: 'e,
    {
        let mut expressions = expressions.into_iter();
        expressions.try_for_each(|one| self.expression(one))
    }

    fn expression(&self, expression: &Expr<'t>) -> Result<(), TemplateError> {
        match expression {
            Expr::Const(_) => Ok(()),
            Expr::Var(name) => {
                match self.locals.contains(&name.id) || field_list(name.id).is_some() {
                    true => Ok(()),
                    false => Err(refused(
                        expression,
                        &format!("there is no {:?}; there are {}", name.id, names()),
                    )),
                }
            }
            Expr::GetAttr(get) => {
                self.expression(&get.expr)?;
                self.field(expression, &get.expr, get.name)
            }
            Expr::GetItem(get) => self.expressions([&get.expr, &get.subscript_expr]),
            Expr::Slice(slice) => {
                let ends = [&slice.start, &slice.stop, &slice.step];
                self.expressions(ends.into_iter().flatten().chain([&slice.expr]))
            }
            Expr::UnaryOp(one) => self.expression(&one.expr),
            Expr::BinOp(two) => self.expressions([&two.left, &two.right]),
            Expr::Compare(all) => {
                let others = all.ops.iter().map(|one| &one.expr);
                self.expressions(others.chain([&all.expr]))
            }
            Expr::IfExpr(one) => {
                let parts = [&one.test_expr, &one.true_expr];
                self.expressions(parts.into_iter().chain(&one.false_expr))
            }
            Expr::Filter(filter) => {
                if !FILTERS.contains(&filter.name) {
                    let text = format!(
                        "there is no filter {:?}; there are {}",
                        filter.name,
                        FILTERS.join(", ")
                    );
                    return Err(refused(expression, &text));
                }
                self.expressions(&filter.expr)?;
                self.arguments(expression, &filter.args)
            }
            Expr::Test(test) => {
                if test.name != "defined" {
                    return Err(refused(expression, "the only test is \"is defined\""));
                }
                self.expression(&test.expr)?;
                self.arguments(expression, &test.args)
            }
            Expr::List(list) => self.expressions(&list.items),
            Expr::Tuple(tuple) => self.expressions(&tuple.items),
            Expr::Map(map) => self.expressions(map.keys.iter().chain(&map.values)),
            Expr::Call(_) => Err(refused(expression, "there are no functions")),
        }
    }

    fn field(&self, at: &Expr<'t>, of: &Expr<'t>, field: &str) -> Result<(), TemplateError> {
        let Expr::Var(name) = of else {
            return Ok(());
        };
        let fields = field_list(name.id).unwrap_or_default();
        if self.locals.contains(&name.id) || fields.is_empty() || fields.contains(&field) {
            return Ok(());
        }
        let text = format!("{} has no {field:?}; it has {}", name.id, fields.join(", "));
        Err(refused(at, &text))
    }

    fn arguments(&self, at: &Expr<'t>, arguments: &[CallArg<'t>]) -> Result<(), TemplateError> {
        arguments.iter().try_for_each(|argument| match argument {
            CallArg::Pos(value) => self.expression(value),
            CallArg::Kwarg(..) | CallArg::PosSplat(_) | CallArg::KwargSplat(_) => {
                Err(refused(at, "arguments have no names and no stars"))
            }
        })
    }
}

fn field_list(name: &str) -> Option<&'static [&'static str]> {
    let found = NAMES.iter().find(|(known, _)| *known == name);
    found.map(|(_, fields)| *fields)
}

fn names() -> String {
    let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

fn refused(at: &Expr<'_>, what: &str) -> TemplateError {
    TemplateError::Wrong {
        line: at.span().start_line.into(),
        what: what.to_owned(),
    }
}

/// The text of a filter's input. Reading it is work, too.
fn text<'v>(state: &State<'_, '_>, value: &'v Value) -> Result<Cow<'v, str>, Error> {
    if let Some(text) = value.as_str() {
        state.consume_fuel(text.len() as u64 / 64)?;
        return Ok(text.into());
    }
    if value.is_undefined() || value.is_none() {
        return Ok("".into());
    }
    if value.is_number() {
        return Ok(value.to_string().into());
    }
    let text = "filters take text and numbers";
    Err(Error::new(ErrorKind::InvalidOperation, text))
}

/// Another value where there is none, or an empty text.
fn default(value: &Value, other: &Value) -> Value {
    let is_empty = value.is_undefined() || value.as_str() == Some("");
    if is_empty { other } else { value }.clone()
}

fn first_line(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    let text = text(state, value)?;
    Ok(text.trim().lines().next().unwrap_or_default().to_owned())
}

fn lower(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    Ok(text(state, value)?.to_lowercase())
}

fn trim(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    Ok(text(state, value)?.trim().to_owned())
}

fn upper(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    Ok(text(state, value)?.to_uppercase())
}

/// At most so many characters, and `…` if there were more.
fn truncate(state: &State<'_, '_>, value: &Value, length: usize) -> Result<String, Error> {
    let text = text(state, value)?;
    Ok(match text.char_indices().nth(length) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.into_owned(),
    })
}

/// One text in place of every other.
fn replace(state: &State<'_, '_>, value: &Value, from: &str, to: &str) -> Result<String, Error> {
    let text = text(state, value)?;
    if from.is_empty() {
        return Ok(text.into_owned());
    }
    // What is made is work before it is there.
    let made = text.matches(from).count().saturating_mul(to.len());
    state.consume_fuel(made as u64 / 64)?;
    Ok(text.replace(from, to))
}

#[cfg(test)]
mod tests;
