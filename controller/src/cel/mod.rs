//! Filters, claim checks and names: expressions in the Common Expression Language (CEL).
//!
//! An [`Expression`] is compiled once, when its Receiver changes, and evaluated for each hook. The
//! parser, the computation of time and the formatting of text are those of the `cel` crate; the
//! static check and the evaluation are here, because a controller that runs other people's
//! expressions over other people's bodies needs what the crate has not: types before anything runs,
//! evaluation in place over JSON of many megabytes, and a bound on time and memory.
//!
//! ```text
//! source ─ parse ─► tree ─ check ─► Expression ─ eval(Scope) ─► bool or Value
//!           │                │                      │
//!     length, depth,    names, overloads,       steps (COST_LIMIT)
//!         nodes          types, patterns
//! ```
//!
//! # What an expression can use
//!
//! The standard library and macros, optional types (`?.`, `[?]`, `optional.*`, `optMap`,
//! `optFlatMap`, `first()`, `last()`), the string extension, `sets.*` and `base64.*`. Variables are
//! what [`Declared`] says: maps of text to values known only at evaluation.
//!
//! # What bounds an evaluation
//!
//! Every node visited, every element or entry looked at, every 64 bytes of text read and every
//! 16 bytes of text made is a step, paid before it is done, and a search costs what the pattern
//! could take at worst; [`COST_LIMIT`] steps end the evaluation
//! with [`CelError::Cost`], which no `||` absorbs. So an evaluation takes well under a second and
//! makes at most 32 MiB of text, or as many list elements as steps, whatever the input is and
//! however macros are nested. The stack is bounded by [`MAX_DEPTH`] and by the depth of JSON, 128.
//! No input makes a panic.
//!
//! # Differences from cel-go as Flux uses it
//!
//! - A broken or oversized pattern of `matches` that is written out is refused when compiled, not
//!   at each hook. Patterns have the syntax of the `regex` crate: that of RE2, except for `\C`,
//!   `\Q…\E`, and `[`, `&&`, `--` and `~~` inside brackets. `\d`, `\w`, `\s` and `\b` are ASCII, as
//!   in RE2.
//! - Limits on length, depth, nodes, patterns and steps; cel-go as used by Flux has almost none.
//! - Protobuf messages (`google.protobuf.Value{…}`) and their type names do not exist.
//! - `null` compares only with `null` and values of unknown type.
//! - The types of list and map parameters are inferred by joining, so a few calls that mix unknown
//!   and known types have a known type there and an unknown one here: such a filter is refused,
//!   never accepted wrongly. Write `== true` where that happens.
//! - Literals of one type are required as there, but only the outermost type of each element is
//!   compared: `[[1], ['a']]` is accepted.
//! - Keys of a map literal that repeat: the last one wins.
//! - A regular expression over long text is priced at its worst case, so the largest texts (above
//!   some megabytes, less for large patterns) end with [`CelError::Cost`].
//! - JSON nests at most 128 levels, and an escaped lone surrogate makes a body invalid.
//! - Time zones are those known to this build; the text of durations may differ in digits.

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "all other types are the same mistake"
)]
mod check;
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "all other types are the same mistake"
)]
mod eval;
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "all other types are the same mistake"
)]
mod functions;
mod parse;
mod patterns;
mod request;
mod signatures;
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "all other types are the same mistake"
)]
mod strings;
#[cfg(test)]
mod tests;
mod types;
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "all other types are the same mistake"
)]
mod value;

use self::eval::{Fault, Run};
use self::parse::Places;
use self::patterns::Pattern;
use self::types::Type;
use self::value::Val;
use ::cel::IdedExpr;
use serde_json::Value as Json;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use thiserror::Error;

pub use self::request::request_object;

/// The longest source of an expression, in bytes.
pub const MAX_SOURCE: usize = 4096;

/// How deep an expression may nest, in nodes of its tree.
pub const MAX_DEPTH: usize = 96;

/// How many nodes the tree of an expression may have.
pub const MAX_NODES: usize = 1024;

/// How many patterns of `matches` an expression may write out; each may take 256 KiB compiled,
/// and a search cache of 2 MiB.
pub const MAX_PATTERNS: usize = 16;

/// How many steps one evaluation may take.
pub const COST_LIMIT: u64 = 2_000_000;

/// Which variables an expression may name.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Declared {
    /// `claims`: the verified claims of the token.
    pub claims: bool,
    /// `vars`: the results of the provider's variables before this one.
    pub vars: bool,
    /// `res` and `req`: the resource and the request body.
    pub objects: bool,
    /// `event`, `provider` and `alert`: what a commit status is made of.
    pub alerting: bool,
}

impl Declared {
    /// The names, in the order messages list them.
    fn names(self) -> Vec<&'static str> {
        [
            (self.objects, "res"),
            (self.objects, "req"),
            (self.claims, "claims"),
            (self.vars, "vars"),
            (self.alerting, "event"),
            (self.alerting, "provider"),
            (self.alerting, "alert"),
        ]
        .into_iter()
        .filter_map(|(is_declared, name)| is_declared.then_some(name))
        .collect()
    }
}

/// What the variables stand for in one evaluation.
///
/// A variable that is declared but not given is an error of the evaluation that asks for it.
#[derive(Clone, Copy, Default)]
pub struct Scope<'a> {
    /// The metadata of the resource.
    pub res: Option<&'a Json>,
    /// The body, from [`request_object`].
    pub req: Option<&'a Json>,
    /// The verified claims.
    pub claims: Option<&'a Json>,
    /// The variables evaluated so far.
    pub vars: Option<&'a Vars>,
    /// The event, its metadata merged.
    pub event: Option<&'a Json>,
    /// The Provider.
    pub provider: Option<&'a Json>,
    /// The Alert.
    pub alert: Option<&'a Json>,
}

impl fmt::Debug for Scope<'_> {
    /// Says what is given, never what it holds: claims and bodies stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("res", &self.res.is_some())
            .field("req", &self.req.is_some())
            .field("claims", &self.claims.is_some())
            .field("vars", &self.vars.is_some())
            .field("event", &self.event.is_some())
            .field("provider", &self.provider.is_some())
            .field("alert", &self.alert.is_some())
            .finish()
    }
}

/// The results of variables, by name: what `vars` stands for.
#[derive(Clone, Default)]
pub struct Vars(BTreeMap<String, Val<'static>>);

impl Vars {
    /// Names a result. A name given twice means the later result.
    pub fn insert(&mut self, name: impl Into<String>, value: Value) {
        self.0.insert(name.into(), value.0);
    }

    fn values(&self) -> &BTreeMap<String, Val<'static>> {
        &self.0
    }
}

impl fmt::Debug for Vars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The result of an expression of any type, kept with its type for later expressions.
#[derive(Clone)]
pub struct Value(Val<'static>);

impl Value {
    /// The name of its type in the language, such as `string`.
    pub fn type_name(&self) -> &'static str {
        self.0.type_name()
    }

    fn mistaken_for(&self, wanted: &Type) -> CelError {
        CelError::OutputType {
            wanted: wanted.to_string(),
            found: self.type_name().to_owned(),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({})", self.type_name())
    }
}

/// A compiled expression.
pub struct Expression {
    source: String,
    root: IdedExpr,
    places: Places,
    patterns: HashMap<String, Pattern>,
}

impl Expression {
    /// Compiles a filter or validation: an expression whose static type is exactly bool.
    ///
    /// # Errors
    ///
    /// What is wrong with the source, and where. The caller names the expression.
    pub fn filter(source: &str, declared: &Declared) -> Result<Self, CelError> {
        Self::of_type(source, *declared, &Type::Bool)
    }

    /// Compiles a name: an expression whose static type is exactly string.
    ///
    /// # Errors
    ///
    /// What is wrong with the source, and where. The caller names the expression.
    pub fn text(source: &str, declared: &Declared) -> Result<Self, CelError> {
        Self::of_type(source, *declared, &Type::String)
    }

    fn of_type(source: &str, declared: Declared, wanted: &Type) -> Result<Self, CelError> {
        let (expression, result) = Self::compile(source, declared)?;
        if result != *wanted {
            return Err(CelError::OutputType {
                wanted: wanted.to_string(),
                found: result.to_string(),
            });
        }
        Ok(expression)
    }

    /// Compiles a variable: an expression of any type.
    ///
    /// # Errors
    ///
    /// What is wrong with the source, and where. The caller names the expression.
    pub fn value(source: &str, declared: &Declared) -> Result<Self, CelError> {
        Self::compile(source, *declared).map(|(expression, _)| expression)
    }

    fn compile(source: &str, declared: Declared) -> Result<(Self, Type), CelError> {
        let parse::Parsed { root, places } = parse::parse(source)?;
        let check::Checked { result, patterns } = check::check(&root, declared, &places)?;
        Ok((
            Self {
                source: source.to_owned(),
                root,
                places,
                patterns,
            },
            result,
        ))
    }

    /// The text it was compiled from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Evaluates a filter.
    ///
    /// # Errors
    ///
    /// [`CelError::Evaluation`] for what the language calls an error, such as a missing key;
    /// [`CelError::Cost`] if it takes too many steps.
    pub fn matches(&self, scope: &Scope<'_>) -> Result<bool, CelError> {
        match self.run(scope)? {
            Value(Val::Bool(value)) => Ok(value),
            other => Err(other.mistaken_for(&Type::Bool)),
        }
    }

    /// Evaluates a name.
    ///
    /// # Errors
    ///
    /// As [`matches`](Self::matches).
    pub fn render(&self, scope: &Scope<'_>) -> Result<String, CelError> {
        match self.run(scope)? {
            Value(Val::Text(text)) => Ok(text.to_string()),
            other => Err(other.mistaken_for(&Type::String)),
        }
    }

    /// Evaluates a variable.
    ///
    /// # Errors
    ///
    /// As [`matches`](Self::matches).
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, CelError> {
        self.run(scope)
    }

    fn run(&self, scope: &Scope<'_>) -> Result<Value, CelError> {
        let mut run = Run::new(scope, &self.patterns);
        run.eval(&self.root)
            .and_then(|value| {
                run.pay_copy(&value)?;
                Ok(Value(value.into_owned()))
            })
            .map_err(|fault| match fault {
                Fault::Exhausted => CelError::Cost,
                Fault::Value { node, message } => {
                    let (line, column) = self.places.of(node);
                    CelError::Evaluation {
                        line,
                        column,
                        message: message.into_owned(),
                    }
                }
            })
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.source).finish()
    }
}

/// What is wrong with an expression, its evaluation or the body it is about.
///
/// Lines and columns are counted from 1, columns in characters. Messages quote the expression and
/// keys it asks for, never other parts of a body or a token.
#[derive(Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum CelError {
    /// The body announced as JSON is none.
    #[error("the body is not JSON: {reason}")]
    Body {
        /// What the JSON parser says.
        reason: String,
    },
    /// A name, type or overload is wrong.
    #[error("line {line}, column {column}: {message}")]
    Check {
        /// The line of the mistake.
        line: u32,
        /// The column of the mistake.
        column: u32,
        /// The mistake.
        message: String,
    },
    /// An evaluation took more than [`COST_LIMIT`] steps.
    #[error(
        "expression needs more than {COST_LIMIT} steps on this input; \
         look at fewer elements or shorter text"
    )]
    Cost,
    /// There is no expression.
    #[error("expression is empty")]
    Empty,
    /// The expression has no value for this input.
    #[error("line {line}, column {column}: {message}")]
    Evaluation {
        /// The line of the operation that failed.
        line: u32,
        /// The column of the operation that failed.
        column: u32,
        /// Why it failed.
        message: String,
    },
    /// The body is JSON, but no object.
    #[error("the body must be a JSON object, not {found}")]
    NotObject {
        /// What it is instead.
        found: &'static str,
    },
    /// A filter is not a bool, or a name not a string.
    #[error("CEL expression output type mismatch: expected {wanted}, got {found}")]
    OutputType {
        /// The type it must have.
        wanted: String,
        /// The type of the expression.
        found: String,
    },
    /// The parser could not be run.
    #[error("the CEL parser failed: {reason}")]
    Parser {
        /// Why.
        reason: String,
    },
    /// The source is longer than [`MAX_SOURCE`].
    #[error("expression is {length} bytes long; the limit is {MAX_SOURCE}")]
    SourceTooLong {
        /// The length of the source in bytes.
        length: usize,
    },
    /// The source is not an expression.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// The line of the mistake.
        line: u32,
        /// The column of the mistake.
        column: u32,
        /// What the parser expected.
        message: String,
    },
    /// The expression nests deeper than [`MAX_DEPTH`].
    #[error("expression nests deeper than {MAX_DEPTH} levels; use shorter chains of operators")]
    TooDeep,
    /// The expression has more nodes than [`MAX_NODES`].
    #[error("expression has more than {MAX_NODES} parts; use several filters or a shorter one")]
    TooLarge,
    /// The expression has more patterns than [`MAX_PATTERNS`].
    #[error("expression has more than {MAX_PATTERNS} patterns; join some with |")]
    TooManyPatterns,
}
