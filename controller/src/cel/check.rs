//! The static check: every name is declared, every call has an overload, and the type is known.

use super::parse::Places;
use super::patterns::Pattern;
use super::signatures::{self, Resolution};
use super::types::Type;
use super::{CelError, Declared, MAX_PATTERNS, functions};
use ::cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr};
use std::collections::HashMap;

/// What a check finds out besides the type.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) result: Type,
    /// The patterns written out in the expression, compiled once.
    pub(super) patterns: HashMap<String, Pattern>,
}

/// Checks the expression under `root`.
pub(super) fn check(
    root: &IdedExpr,
    declared: Declared,
    places: &Places,
) -> Result<Checked, CelError> {
    let mut checker = Checker {
        declared,
        places,
        locals: Vec::new(),
        patterns: HashMap::new(),
        lenient: false,
    };
    let result = checker.check(root)?;
    Ok(Checked {
        result,
        patterns: checker.patterns,
    })
}

/// The macros that bind a variable over the elements of the value before the dot.
pub(super) fn is_binding_macro(call: &CallExpr) -> bool {
    call.target.is_some()
        && matches!(
            (call.func_name.as_str(), call.args.len()),
            (
                "all" | "exists" | "exists_one" | "existsOne" | "filter" | "optMap" | "optFlatMap",
                2
            ) | ("map", 2 | 3)
        )
}

/// The name of the global function a call of this shape means, such as `sets.contains`.
pub(super) fn qualified(call: &CallExpr) -> Option<String> {
    match &call.target.as_deref()?.expr {
        Expr::Ident(namespace) => {
            let name = format!("{namespace}.{}", call.func_name);
            signatures::is_function(&name).then_some(name)
        }
        Expr::Call(_)
        | Expr::Comprehension(_)
        | Expr::List(_)
        | Expr::Literal(_)
        | Expr::Map(_)
        | Expr::Select(_)
        | Expr::Struct(_)
        | Expr::Unspecified => None,
    }
}

struct Checker<'s> {
    declared: Declared,
    places: &'s Places,
    /// Variables bound by macros, innermost last.
    locals: Vec<(String, Type)>,
    patterns: HashMap<String, Pattern>,
    /// Inside the arguments of `format`, where a list may mix types.
    lenient: bool,
}

impl Checker<'_> {
    fn check(&mut self, node: &IdedExpr) -> Result<Type, CelError> {
        match &node.expr {
            Expr::Literal(literal) => Ok(literal_type(literal)),
            Expr::Ident(name) => self.ident(node, name),
            Expr::Select(select) => self.select(node, select),
            Expr::Call(call) => self.call(node, call),
            Expr::List(list) => {
                let mut element: Option<Type> = None;
                for (index, item) in list.elements.iter().enumerate() {
                    let given = self.check(item)?;
                    let given =
                        self.element(item, given, list.optional_indices.contains(&index))?;
                    element = Some(self.merge(item, element, given)?);
                }
                Ok(Type::list(element.unwrap_or(Type::Dyn)))
            }
            Expr::Map(map) => {
                let (mut key, mut value): (Option<Type>, Option<Type>) = (None, None);
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else {
                        continue;
                    };
                    let given = self.check(&entry.key)?;
                    key = Some(self.merge(&entry.key, key, given)?);
                    let given = self.check(&entry.value)?;
                    let given = self.element(&entry.value, given, entry.optional)?;
                    value = Some(self.merge(&entry.value, value, given)?);
                }
                Ok(Type::map(
                    key.unwrap_or(Type::Dyn),
                    value.unwrap_or(Type::Dyn),
                ))
            }
            Expr::Struct(message) => Err(self.undeclared(node, &message.type_name)),
            Expr::Comprehension(_) | Expr::Unspecified => {
                Err(self.error(node, "this form is not supported".to_owned()))
            }
        }
    }

    fn ident(&self, node: &IdedExpr, name: &str) -> Result<Type, CelError> {
        let local = self.locals.iter().rev().find(|(local, _)| local == name);
        if let Some((_, bound)) = local {
            return Ok(bound.clone());
        }
        let name = name.strip_prefix('.').unwrap_or(name);
        if self.declared.names().contains(&name) {
            return Ok(Type::map(Type::String, Type::Dyn));
        }
        if functions::type_named(name).is_some() {
            return Ok(Type::Kind);
        }
        Err(self.undeclared(node, name))
    }

    fn select(&mut self, node: &IdedExpr, select: &SelectExpr) -> Result<Type, CelError> {
        let operand = self.check(&select.operand)?;
        self.field(node, &operand, &select.field)
    }

    fn field(&self, node: &IdedExpr, operand: &Type, field: &str) -> Result<Type, CelError> {
        match operand {
            Type::Dyn => Ok(Type::Dyn),
            Type::Map(key, value) if key.agrees(&Type::String) => Ok((**value).clone()),
            Type::Optional(inner) => self.field(node, inner, field).map(Type::optional),
            other => Err(self.error(
                node,
                format!("type '{other}' does not support field selection (of '{field}')"),
            )),
        }
    }

    fn call(&mut self, node: &IdedExpr, call: &CallExpr) -> Result<Type, CelError> {
        if call.func_name == "has" && call.target.is_none() {
            return self.has(node, call);
        }
        if is_binding_macro(call) {
            return self.binding_macro(node, call);
        }
        if call.func_name == "_?._" {
            return self.optional_select(node, call);
        }
        let qualified = match qualified(call) {
            Some(name) if !self.is_variable(name.split('.').next().unwrap_or_default()) => {
                Some(name)
            }
            _ => None,
        };
        let mut arguments = Vec::with_capacity(call.args.len() + 1);
        if let (Some(target), None) = (&call.target, &qualified) {
            arguments.push(self.check(target)?);
        }
        let lenient = std::mem::replace(&mut self.lenient, call.func_name == "format");
        for argument in &call.args {
            arguments.push(self.check(argument)?);
        }
        self.lenient = lenient;
        self.pattern(call)?;
        let is_member = call.target.is_some() && qualified.is_none();
        let name = qualified.as_deref().unwrap_or(&call.func_name);
        self.resolve(node, name, is_member, &arguments)
    }

    fn resolve(
        &self,
        node: &IdedExpr,
        name: &str,
        is_member: bool,
        arguments: &[Type],
    ) -> Result<Type, CelError> {
        let entry = if is_order(name) { "_<=>_" } else { name };
        match signatures::resolve(entry, is_member, arguments) {
            Resolution::Returns(result) => Ok(result),
            Resolution::Unknown => Err(self.undeclared(node, name)),
            Resolution::NoOverload => {
                let mut given: Vec<String> = arguments.iter().map(Type::to_string).collect();
                let target = if is_member {
                    format!("{}.", given.remove(0))
                } else {
                    String::new()
                };
                Err(self.error(
                    node,
                    format!(
                        "found no matching overload for '{name}' applied to '{target}({})'",
                        given.join(", ")
                    ),
                ))
            }
        }
    }

    fn has(&mut self, node: &IdedExpr, call: &CallExpr) -> Result<Type, CelError> {
        match call.args.as_slice() {
            [argument] => match &argument.expr {
                Expr::Select(select) => {
                    self.select(argument, select)?;
                    Ok(Type::Bool)
                }
                Expr::Call(optional) if optional.func_name == "_?._" => {
                    self.check(argument)?;
                    Ok(Type::Bool)
                }
                _ => Err(self.error(
                    argument,
                    "invalid argument to has() macro: write has(value.field)".to_owned(),
                )),
            },
            _ => Err(self.error(
                node,
                "has() takes one argument: has(value.field)".to_owned(),
            )),
        }
    }

    fn optional_select(&mut self, node: &IdedExpr, call: &CallExpr) -> Result<Type, CelError> {
        let [operand, field] = call.args.as_slice() else {
            return Err(self.error(node, "unsupported optional selection".to_owned()));
        };
        let operand = self.check(operand)?;
        let field = literal_text(field).unwrap_or_default();
        Ok(match self.field(node, &operand, field)? {
            already @ Type::Optional(_) if matches!(operand, Type::Optional(_)) => already,
            selected => Type::optional(selected),
        })
    }

    /// `all`, `exists`, `exists_one`, `map`, `filter`, `optMap` and `optFlatMap`.
    fn binding_macro(&mut self, node: &IdedExpr, call: &CallExpr) -> Result<Type, CelError> {
        let (Some(target), Some((binder, bodies))) = (&call.target, call.args.split_first()) else {
            return Err(self.error(node, "unsupported macro".to_owned()));
        };
        let Expr::Ident(variable) = &binder.expr else {
            return Err(self.error(binder, "argument must be a simple name".to_owned()));
        };
        let range = self.check(target)?;
        let is_optional = call.func_name.starts_with("opt");
        let element = match (&range, is_optional) {
            (Type::Dyn, _) => Type::Dyn,
            (Type::List(element), false) | (Type::Map(element, _), false) => (**element).clone(),
            (Type::Optional(inner), true) => (**inner).clone(),
            (other, true) => {
                let message = format!("'{}' needs an optional, not '{other}'", call.func_name);
                return Err(self.error(target, message));
            }
            (other, false) => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension \
                     (must be list, map, or dynamic)"
                );
                return Err(self.error(target, message));
            }
        };
        self.locals.push((variable.clone(), element.clone()));
        let types: Result<Vec<Type>, CelError> =
            bodies.iter().map(|body| self.check(body)).collect();
        self.locals.pop();
        self.macro_type(node, call, element, &types?)
    }

    fn macro_type(
        &self,
        node: &IdedExpr,
        call: &CallExpr,
        element: Type,
        types: &[Type],
    ) -> Result<Type, CelError> {
        let bodies = call.args.get(1..).unwrap_or_default();
        let condition = |index: usize| match (bodies.get(index), types.get(index)) {
            (Some(body), Some(given)) if !given.agrees(&Type::Bool) => Err(self.error(
                body,
                format!(
                    "'{}' needs a condition of type bool, not '{given}'",
                    call.func_name
                ),
            )),
            _ => Ok(()),
        };
        let last = types.last().cloned().unwrap_or(Type::Dyn);
        match call.func_name.as_str() {
            "map" => {
                if types.len() == 2 {
                    condition(0)?;
                }
                Ok(Type::list(last))
            }
            "filter" => condition(0).map(|()| Type::list(element)),
            "optMap" => Ok(Type::optional(last)),
            "optFlatMap" if last.agrees(&Type::optional(Type::Dyn)) => Ok(last),
            "optFlatMap" => Err(self.error(
                bodies.last().unwrap_or(node),
                format!("'optFlatMap' needs an optional as its result, not '{last}'"),
            )),
            _ => condition(0).map(|()| Type::Bool),
        }
    }

    /// Compiles a pattern that is written out, so that a broken one is refused now.
    fn pattern(&mut self, call: &CallExpr) -> Result<(), CelError> {
        if call.func_name != "matches" {
            return Ok(());
        }
        if let Some((node, pattern)) = call
            .args
            .last()
            .and_then(|node| Some((node, literal_text(node)?)))
        {
            let compiled = Pattern::compile(pattern).map_err(|reason| self.error(node, reason))?;
            self.patterns.insert(pattern.to_owned(), compiled);
            if self.patterns.len() > MAX_PATTERNS {
                return Err(CelError::TooManyPatterns);
            }
        }
        Ok(())
    }

    /// The type an element adds to a literal; `?element` adds what its optional holds.
    fn element(&self, node: &IdedExpr, given: Type, optional: bool) -> Result<Type, CelError> {
        match given {
            Type::Optional(inner) if optional => Ok(*inner),
            Type::Dyn if optional => Ok(Type::Dyn),
            other if optional => Err(self.error(
                node,
                format!("expected an optional after '?', not '{other}'"),
            )),
            other => Ok(other),
        }
    }

    /// Literals hold one type, except in the arguments of `format`.
    fn merge(&self, node: &IdedExpr, earlier: Option<Type>, given: Type) -> Result<Type, CelError> {
        match earlier {
            None => Ok(given),
            Some(earlier) if self.lenient || earlier.same_kind(&given) => Ok(earlier.join(given)),
            Some(earlier) => Err(self.error(
                node,
                format!("expected type '{earlier}' but found '{given}'"),
            )),
        }
    }

    fn is_variable(&self, name: &str) -> bool {
        self.locals.iter().any(|(local, _)| local == name) || self.declared.names().contains(&name)
    }

    fn undeclared(&self, node: &IdedExpr, name: &str) -> CelError {
        let names = self.declared.names().join(", ");
        self.error(
            node,
            format!("undeclared reference to '{name}' (variables here: {names})"),
        )
    }

    fn error(&self, node: &IdedExpr, message: String) -> CelError {
        let (line, column) = self.places.of(node.id);
        CelError::Check {
            line,
            column,
            message,
        }
    }
}

fn is_order(name: &str) -> bool {
    matches!(name, "_<_" | "_<=_" | "_>_" | "_>=_")
}

fn literal_type(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Bytes(_) => Type::Bytes,
        LiteralValue::Double(_) => Type::Double,
        LiteralValue::Int(_) => Type::Int,
        LiteralValue::Null => Type::Null,
        LiteralValue::String(_) => Type::String,
        LiteralValue::UInt(_) => Type::Uint,
    }
}

/// The text of a string literal.
pub(super) fn literal_text(node: &IdedExpr) -> Option<&str> {
    match &node.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}
