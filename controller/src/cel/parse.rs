//! From source text to a syntax tree of bounded size, with the place of every node.

use super::{CelError, MAX_DEPTH, MAX_NODES, MAX_SOURCE};
use ::cel::Env;
use ::cel::common::ast::{EntryExpr, Expr, IdedEntryExpr, IdedExpr};
use ::cel::parser::ParseErrors;
use std::collections::BTreeMap;
use std::thread;

/// Stack of the thread that parses, in bytes. The parser recurses once per operator of a chain, so
/// 4 KiB of source can go thousands of calls deep, further than a worker's 2 MiB. Only touched
/// pages cost memory.
const PARSER_STACK: usize = 128 << 20;

/// A parsed expression.
pub(super) struct Parsed {
    pub(super) root: IdedExpr,
    pub(super) places: Places,
}

/// Where each node begins: line and column, both counted from 1, columns in characters.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(BTreeMap<u64, (u32, u32)>);

impl Places {
    /// Line and column of a node; the beginning for a node the parser did not place.
    pub(super) fn of(&self, node: u64) -> (u32, u32) {
        self.0.get(&node).copied().unwrap_or((1, 1))
    }
}

/// Parses `source`, refusing what is too long, too deep or too large.
pub(super) fn parse(source: &str) -> Result<Parsed, CelError> {
    if source.len() > MAX_SOURCE {
        return Err(CelError::SourceTooLong {
            length: source.len(),
        });
    }
    if source.trim().is_empty() {
        return Err(CelError::Empty);
    }
    thread::scope(|scope| {
        thread::Builder::new()
            .name("cel-parser".to_owned())
            .stack_size(PARSER_STACK)
            .spawn_scoped(scope, || parse_here(source))
            .map_err(|error| CelError::Parser {
                reason: error.to_string(),
            })?
            .join()
            .unwrap_or_else(|_| {
                Err(CelError::Parser {
                    reason: "it gave up".to_owned(),
                })
            })
    })
}

/// The part that needs the large stack, and that drops a tree too deep for any other.
fn parse_here(source: &str) -> Result<Parsed, CelError> {
    let (root, info) = Env::default()
        .parser()
        .parse_with_source_info(source)
        .map_err(|errors| syntax_error(source, &errors))?;
    let mut nodes = Vec::new();
    measure(&root, 1, &mut nodes)?;
    let places = nodes
        .into_iter()
        .filter_map(|node| Some((node, line_and_column(source, info.offset_for(node)?.0))))
        .collect();
    Ok(Parsed {
        root,
        places: Places(places),
    })
}

/// The first mistake the parser names, in one line.
fn syntax_error(source: &str, errors: &ParseErrors) -> CelError {
    let Some(first) = errors.errors.first() else {
        return CelError::Syntax {
            line: 1,
            column: 1,
            message: "not an expression".to_owned(),
        };
    };
    // Too deep nesting is reported without a place; everything else counts lines from 1.
    let deep = first.msg == "UNKNOWN" || first.msg.contains("Recursion limit");
    if deep {
        return CelError::TooDeep;
    }
    let lines = source.lines().count().max(1);
    let line = usize::try_from(first.pos.0).unwrap_or(1).clamp(1, lines);
    let column = usize::try_from(first.pos.1).unwrap_or(1).max(1);
    CelError::Syntax {
        line: u32::try_from(line).unwrap_or(1),
        column: u32::try_from(column).unwrap_or(1),
        message: first.msg.lines().collect::<Vec<_>>().join(" "),
    }
}

/// Collects the ids of all nodes, enforcing both limits.
fn measure(node: &IdedExpr, depth: usize, nodes: &mut Vec<u64>) -> Result<(), CelError> {
    if depth > MAX_DEPTH {
        return Err(CelError::TooDeep);
    }
    if nodes.len() >= MAX_NODES {
        return Err(CelError::TooLarge);
    }
    nodes.push(node.id);
    children(node)
        .into_iter()
        .try_for_each(|child| measure(child, depth + 1, nodes))
}

/// The direct operands of a node.
pub(super) fn children(node: &IdedExpr) -> Vec<&IdedExpr> {
    match &node.expr {
        Expr::Call(call) => call
            .target
            .as_deref()
            .into_iter()
            .chain(&call.args)
            .collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(entry_children).collect(),
        Expr::Struct(message) => message.entries.iter().flat_map(entry_children).collect(),
        Expr::Comprehension(fold) => vec![
            &fold.iter_range,
            &fold.accu_init,
            &fold.loop_cond,
            &fold.loop_step,
            &fold.result,
        ],
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
    }
}

fn entry_children(entry: &IdedEntryExpr) -> Vec<&IdedExpr> {
    match &entry.expr {
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
        EntryExpr::StructField(field) => vec![&field.value],
    }
}

/// Line and column of the character at `offset`, counted in characters.
fn line_and_column(source: &str, offset: u32) -> (u32, u32) {
    let mut place = (1, 1);
    for character in source
        .chars()
        .take(usize::try_from(offset).unwrap_or(usize::MAX))
    {
        place = if character == '\n' {
            (place.0 + 1, 1)
        } else {
            (place.0, place.1 + 1)
        };
    }
    place
}
