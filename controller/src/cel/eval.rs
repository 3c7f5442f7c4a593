//! Evaluation: control flow, selection and the macros, every step of it counted.
//!
//! The count is what bounds time and memory. Visiting a node, an element of a list or an entry of a
//! map costs 1; reading text costs 1 per 64 bytes and making text 1 per 16 bytes, both before it is
//! done. Recursion is bounded by the depth of the expression and of JSON.

use super::check::{is_binding_macro, literal_text, qualified};
use super::functions;
use super::patterns::Pattern;
use super::value::{Key, Text, Val};
use super::{COST_LIMIT, Scope};
use ::cel::common::ast::{
    CallExpr, EntryExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr, SelectExpr,
};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Why an evaluation has no result.
#[derive(Debug)]
pub(super) enum Fault {
    /// An error of the expression on these values, at a node (0 until it is known).
    /// `&&`, `||`, `all` and `exists` absorb it as the language says.
    Value {
        node: u64,
        message: Cow<'static, str>,
    },
    /// Out of steps. Nothing absorbs it.
    Exhausted,
}

impl Fault {
    pub(super) fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self::Value {
            node: 0,
            message: message.into(),
        }
    }

    fn at(self, id: u64) -> Self {
        match self {
            Self::Value { node: 0, message } => Self::Value { node: id, message },
            placed @ (Self::Value { .. } | Self::Exhausted) => placed,
        }
    }
}

pub(super) type Outcome<T> = Result<T, Fault>;

/// One evaluation.
pub(super) struct Run<'e> {
    scope: &'e Scope<'e>,
    pub(super) patterns: &'e HashMap<String, Pattern>,
    locals: Vec<(&'e str, Val<'e>)>,
    left: u64,
}

/// What a macro runs over: the elements of a list or the keys of a map.
enum Elements<'e> {
    List(Val<'e>, usize),
    Keys(Vec<Val<'e>>),
}

impl<'e> Elements<'e> {
    fn len(&self) -> usize {
        match self {
            Self::List(_, len) => *len,
            Self::Keys(keys) => keys.len(),
        }
    }

    fn at(&self, index: usize) -> Val<'e> {
        match self {
            Self::List(list, _) => list.list_at(index),
            Self::Keys(keys) => keys.get(index).cloned(),
        }
        .unwrap_or(Val::Null)
    }
}

impl<'e> Run<'e> {
    pub(super) fn new(scope: &'e Scope<'e>, patterns: &'e HashMap<String, Pattern>) -> Self {
        Self {
            scope,
            patterns,
            locals: Vec::new(),
            left: COST_LIMIT,
        }
    }

    /// Pays for work about to be done.
    pub(super) fn pay(&mut self, steps: usize) -> Outcome<()> {
        let steps = u64::try_from(steps).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(steps).ok_or(Fault::Exhausted)?;
        Ok(())
    }

    /// Pays for reading so many bytes.
    pub(super) fn pay_read(&mut self, bytes: usize) -> Outcome<()> {
        self.pay(bytes / 64)
    }

    /// Pays for making so many bytes.
    pub(super) fn pay_made(&mut self, bytes: usize) -> Outcome<()> {
        self.pay(bytes / 16)
    }

    /// Pays for a deep copy of a value.
    pub(super) fn pay_copy(&mut self, value: &Val<'e>) -> Outcome<()> {
        self.pay(1)?;
        match value {
            Val::Text(text) => self.pay_made(text.len()),
            Val::Bytes(bytes) => self.pay_made(bytes.len()),
            Val::Optional(Some(held)) => self.pay_copy(held),
            Val::Array(_) | Val::List(_) => {
                let len = value.list_len().unwrap_or(0);
                (0..len).try_for_each(|index| {
                    value
                        .list_at(index)
                        .map_or(Ok(()), |item| self.pay_copy(&item))
                })
            }
            Val::Object(_) | Val::Map(_) | Val::Vars(_) => {
                self.pay(value.map_len().unwrap_or(0))?;
                value
                    .map_keys()
                    .unwrap_or_default()
                    .iter()
                    .try_for_each(|key| {
                        self.pay_copy(key)?;
                        value
                            .map_get(key)
                            .map_or(Ok(()), |held| self.pay_copy(&held))
                    })
            }
            _ => Ok(()),
        }
    }

    /// The value of a node.
    pub(super) fn eval(&mut self, node: &'e IdedExpr) -> Outcome<Val<'e>> {
        self.pay(1)?;
        match &node.expr {
            Expr::Literal(literal) => Ok(constant(literal)),
            Expr::Ident(name) => self.ident(name),
            Expr::Select(select) => self.select(select),
            Expr::Call(call) => self.call(call),
            Expr::List(list) => self.list(list),
            Expr::Map(map) => self.map(map),
            Expr::Comprehension(_) | Expr::Struct(_) | Expr::Unspecified => {
                Err(Fault::new("unsupported form"))
            }
        }
        .map_err(|fault| fault.at(node.id))
    }

    fn ident(&mut self, name: &'e str) -> Outcome<Val<'e>> {
        let local = self.locals.iter().rev().find(|(local, _)| *local == name);
        if let Some((_, bound)) = local {
            return Ok(bound.clone());
        }
        let name = name.strip_prefix('.').unwrap_or(name);
        let given = match name {
            "res" => self.scope.res.map(Val::from_json),
            "req" => self.scope.req.map(Val::from_json),
            "claims" => self.scope.claims.map(Val::from_json),
            "event" => self.scope.event.map(Val::from_json),
            "provider" => self.scope.provider.map(Val::from_json),
            "alert" => self.scope.alert.map(Val::from_json),
            "vars" => self.scope.vars.map(|vars| Val::Vars(vars.values())),
            _ => functions::type_named(name).map(Val::Type),
        };
        given.ok_or_else(|| Fault::new(format!("no such attribute: {name}")))
    }

    fn select(&mut self, select: &'e SelectExpr) -> Outcome<Val<'e>> {
        let operand = self.eval(&select.operand)?;
        field(&operand, &select.field)
    }

    fn call(&mut self, call: &'e CallExpr) -> Outcome<Val<'e>> {
        match (call.func_name.as_str(), call.args.as_slice()) {
            ("_&&_", [left, right]) => self.logic(left, right, false),
            ("_||_", [left, right]) => self.logic(left, right, true),
            ("_?_:_", [condition, yes, no]) => match self.eval(condition)? {
                Val::Bool(true) => self.eval(yes),
                Val::Bool(false) => self.eval(no),
                other => Err(no_overload("_?_:_", &[other])),
            },
            ("has", [argument]) if call.target.is_none() => self.has(argument),
            ("_?._", [operand, name]) => {
                let operand = self.eval(operand)?;
                optional_field(&operand, literal_text(name).unwrap_or_default())
            }
            ("or" | "orValue", [alternative]) if call.target.is_some() => {
                self.or(call, alternative)
            }
            _ if is_binding_macro(call) => self.binding_macro(call),
            _ => self.function(call),
        }
    }

    /// `&&` (decided by false) and `||` (decided by true): the deciding value wins over an error
    /// on either side.
    fn logic(
        &mut self,
        left: &'e IdedExpr,
        right: &'e IdedExpr,
        decides: bool,
    ) -> Outcome<Val<'e>> {
        let name = if decides { "_||_" } else { "_&&_" };
        let left = match self.condition(left, name) {
            Ok(value) if value == decides => return Ok(Val::Bool(decides)),
            Err(Fault::Exhausted) => return Err(Fault::Exhausted),
            other => other,
        };
        match self.condition(right, name) {
            Ok(value) if value == decides => Ok(Val::Bool(decides)),
            Err(Fault::Exhausted) => Err(Fault::Exhausted),
            right => left.and(right).map(Val::Bool),
        }
    }

    fn condition(&mut self, node: &'e IdedExpr, name: &str) -> Outcome<bool> {
        match self.eval(node)? {
            Val::Bool(value) => Ok(value),
            other => Err(no_overload(name, &[other]).at(node.id)),
        }
    }

    fn has(&mut self, argument: &'e IdedExpr) -> Outcome<Val<'e>> {
        let (operand, name) = match &argument.expr {
            Expr::Select(select) => (self.eval(&select.operand)?, select.field.as_str()),
            Expr::Call(call) => match call.args.as_slice() {
                [operand, name] => (self.eval(operand)?, literal_text(name).unwrap_or_default()),
                _ => return Err(Fault::new("unsupported has()")),
            },
            _ => return Err(Fault::new("unsupported has()")),
        };
        match optional_field(&operand, name)? {
            Val::Optional(found) => Ok(Val::Bool(found.is_some())),
            other => Err(no_overload("has", &[other])),
        }
    }

    /// `or` and `orValue`: the alternative is evaluated only when it is needed.
    fn or(&mut self, call: &'e CallExpr, alternative: &'e IdedExpr) -> Outcome<Val<'e>> {
        let Some(target) = &call.target else {
            return Err(Fault::new("unsupported call"));
        };
        match (self.eval(target)?, call.func_name.as_str()) {
            (Val::Optional(Some(held)), "orValue") => Ok(Arc::unwrap_or_clone(held)),
            (held @ Val::Optional(Some(_)), _) => Ok(held),
            (Val::Optional(None), _) => self.eval(alternative),
            (other, name) => Err(no_overload(name, &[other])),
        }
    }

    fn list(&mut self, list: &'e ListExpr) -> Outcome<Val<'e>> {
        let mut items = Vec::with_capacity(list.elements.len());
        for (index, element) in list.elements.iter().enumerate() {
            let value = self.eval(element)?;
            if list.optional_indices.contains(&index) {
                items.extend(held(value)?);
            } else {
                items.push(value);
            }
        }
        Ok(Val::list(items))
    }

    fn map(&mut self, map: &'e MapExpr) -> Outcome<Val<'e>> {
        let mut entries: BTreeMap<Key, (Val<'e>, Val<'e>)> = BTreeMap::new();
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else {
                continue;
            };
            let key = self.eval(&entry.key)?;
            let value = self.eval(&entry.value)?;
            let value = if entry.optional {
                held(value)?
            } else {
                Some(value)
            };
            let id = key
                .as_key()
                .ok_or_else(|| Fault::new(format!("unsupported key type: {}", key.type_name())))?;
            if let Some(value) = value {
                entries.insert(id, (key, value));
            }
        }
        Ok(Val::Map(Arc::new(entries)))
    }

    fn elements(&mut self, range: Val<'e>) -> Outcome<Elements<'e>> {
        if let Some(len) = range.list_len() {
            return Ok(Elements::List(range, len));
        }
        self.pay(range.map_len().unwrap_or(0))?;
        match range.map_keys() {
            Some(keys) => Ok(Elements::Keys(keys)),
            None => Err(no_overload("range", &[range])),
        }
    }

    fn binding_macro(&mut self, call: &'e CallExpr) -> Outcome<Val<'e>> {
        let (Some(target), Some((binder, bodies))) = (&call.target, call.args.split_first()) else {
            return Err(Fault::new("unsupported macro"));
        };
        let (Expr::Ident(variable), [first, rest @ ..]) = (&binder.expr, bodies) else {
            return Err(Fault::new("unsupported macro"));
        };
        let range = self.eval(target)?;
        match call.func_name.as_str() {
            "optMap" | "optFlatMap" => self.opt_map(call, variable, range, first),
            "exists" => self.quantify(variable, range, first, true),
            "all" => self.quantify(variable, range, first, false),
            "map" => match rest {
                [] => self.collect(variable, range, None, Some(first)),
                [result, ..] => self.collect(variable, range, Some(first), Some(result)),
            },
            "filter" => self.collect(variable, range, Some(first), None),
            _ => match self.collect(variable, range, Some(first), None)? {
                Val::List(found) => Ok(Val::Bool(found.len() == 1)),
                _ => Ok(Val::Bool(false)),
            },
        }
    }

    fn opt_map(
        &mut self,
        call: &'e CallExpr,
        variable: &'e str,
        range: Val<'e>,
        body: &'e IdedExpr,
    ) -> Outcome<Val<'e>> {
        match range {
            Val::Optional(None) => Ok(Val::Optional(None)),
            Val::Optional(Some(held)) => {
                let result = self.with(variable, Arc::unwrap_or_clone(held), body)?;
                match (call.func_name.as_str(), result) {
                    ("optMap", result) => Ok(Val::some(result)),
                    (_, result @ Val::Optional(_)) => Ok(result),
                    (name, other) => Err(no_overload(name, &[other])),
                }
            }
            other => Err(no_overload(&call.func_name, &[other])),
        }
    }

    /// `exists` (decided by true) and `all` (decided by false) over the elements; an error counts
    /// only if no element decides.
    fn quantify(
        &mut self,
        variable: &'e str,
        range: Val<'e>,
        body: &'e IdedExpr,
        decides: bool,
    ) -> Outcome<Val<'e>> {
        let elements = self.elements(range)?;
        let mut error = None;
        for index in 0..elements.len() {
            self.pay(1)?;
            match self.with(variable, elements.at(index), body) {
                Ok(Val::Bool(value)) if value == decides => return Ok(Val::Bool(decides)),
                Ok(Val::Bool(_)) => {}
                Ok(other) => {
                    error.get_or_insert_with(|| no_overload("condition", &[other]).at(body.id));
                }
                Err(Fault::Exhausted) => return Err(Fault::Exhausted),
                Err(fault) => {
                    error.get_or_insert(fault);
                }
            }
        }
        error.map_or(Ok(Val::Bool(!decides)), Err)
    }

    /// `map` and `filter`: the elements that meet `condition`, each turned into `result`.
    fn collect(
        &mut self,
        variable: &'e str,
        range: Val<'e>,
        condition: Option<&'e IdedExpr>,
        result: Option<&'e IdedExpr>,
    ) -> Outcome<Val<'e>> {
        let elements = self.elements(range)?;
        let mut items = Vec::new();
        for index in 0..elements.len() {
            self.pay(1)?;
            let element = elements.at(index);
            let wanted = match condition {
                None => true,
                Some(body) => match self.with(variable, element.clone(), body)? {
                    Val::Bool(value) => value,
                    other => return Err(no_overload("condition", &[other]).at(body.id)),
                },
            };
            if wanted {
                items.push(match result {
                    None => element,
                    Some(body) => self.with(variable, element, body)?,
                });
            }
        }
        Ok(Val::list(items))
    }

    /// Evaluates `body` with `variable` bound.
    fn with(&mut self, variable: &'e str, value: Val<'e>, body: &'e IdedExpr) -> Outcome<Val<'e>> {
        self.locals.push((variable, value));
        let result = self.eval(body);
        self.locals.pop();
        result
    }

    fn function(&mut self, call: &'e CallExpr) -> Outcome<Val<'e>> {
        let qualified = qualified(call).filter(|name| {
            let namespace = name.split('.').next().unwrap_or_default();
            !self.locals.iter().any(|(local, _)| *local == namespace)
        });
        let mut arguments = Vec::with_capacity(call.args.len() + 1);
        if let (Some(target), None) = (&call.target, &qualified) {
            arguments.push(self.eval(target)?);
        }
        for argument in &call.args {
            arguments.push(self.eval(argument)?);
        }
        let is_member = call.target.is_some() && qualified.is_none();
        let name = qualified.as_deref().unwrap_or(&call.func_name);
        functions::call(self, name, is_member, &arguments)
    }

    /// Whether two values are equal; different types are different, numbers compare by value.
    pub(super) fn equal(&mut self, a: &Val<'e>, b: &Val<'e>) -> Outcome<bool> {
        self.pay(1)?;
        if let (Some(len), Some(other)) = (a.list_len(), b.list_len()) {
            return self.equal_lists(a, b, len, other);
        }
        if let (Some(len), Some(other)) = (a.map_len(), b.map_len()) {
            return self.equal_maps(a, b, len, other);
        }
        match (a, b) {
            (Val::Null, Val::Null) => Ok(true),
            (Val::Type(a), Val::Type(b)) => Ok(a == b),
            (Val::Time(a), Val::Time(b)) => Ok(a == b),
            (Val::Optional(Some(a)), Val::Optional(Some(b))) => self.equal(a, b),
            (Val::Optional(a), Val::Optional(b)) => Ok(a.is_none() && b.is_none()),
            (Val::Text(a), Val::Text(b)) => {
                self.pay_read(a.len().min(b.len()))?;
                Ok(**a == **b)
            }
            (Val::Bytes(a), Val::Bytes(b)) => {
                self.pay_read(a.len().min(b.len()))?;
                Ok(a == b)
            }
            _ => Ok(a.order(b) == Ok(Some(std::cmp::Ordering::Equal))),
        }
    }

    fn equal_lists(&mut self, a: &Val<'e>, b: &Val<'e>, len: usize, other: usize) -> Outcome<bool> {
        if len != other {
            return Ok(false);
        }
        for index in 0..len {
            match (a.list_at(index), b.list_at(index)) {
                (Some(a), Some(b)) if self.equal(&a, &b)? => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    fn equal_maps(&mut self, a: &Val<'e>, b: &Val<'e>, len: usize, other: usize) -> Outcome<bool> {
        if len != other {
            return Ok(false);
        }
        self.pay(len)?;
        for key in a.map_keys().unwrap_or_default() {
            if let Val::Text(name) = &key {
                self.pay_made(name.len())?;
            }
            match (a.map_get(&key), b.map_get(&key)) {
                (Some(a), Some(b)) if self.equal(&a, &b)? => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// The error for a call that no overload takes.
pub(super) fn no_overload(name: &str, arguments: &[Val<'_>]) -> Fault {
    let types: Vec<&str> = arguments.iter().map(Val::type_name).collect();
    Fault::new(format!("no such overload: {name}({})", types.join(", ")))
}

fn constant(literal: &LiteralValue) -> Val<'_> {
    match literal {
        LiteralValue::Boolean(value) => Val::Bool(*value.inner()),
        LiteralValue::Bytes(bytes) => Val::Bytes(bytes.inner().into()),
        LiteralValue::Double(value) => Val::Double(*value.inner()),
        LiteralValue::Int(value) => Val::Int(*value.inner()),
        LiteralValue::Null => Val::Null,
        LiteralValue::String(text) => Val::Text(Text::Borrowed(text.inner())),
        LiteralValue::UInt(value) => Val::Uint(*value.inner()),
    }
}

/// What an optional holds.
fn held(value: Val<'_>) -> Outcome<Option<Val<'_>>> {
    match value {
        Val::Optional(held) => Ok(held.map(Arc::unwrap_or_clone)),
        other => Err(no_overload("?", &[other])),
    }
}

/// `operand.name`.
fn field<'e>(operand: &Val<'e>, name: &'e str) -> Outcome<Val<'e>> {
    if let Val::Optional(_) = operand {
        return optional_field(operand, name);
    }
    if operand.map_len().is_none() {
        return Err(no_overload(
            &format!("select '{name}'"),
            std::slice::from_ref(operand),
        ));
    }
    operand
        .map_get(&Val::Text(Text::Borrowed(name)))
        .ok_or_else(|| Fault::new(format!("no such key: {name}")))
}

/// `operand.?name`.
fn optional_field<'e>(operand: &Val<'e>, name: &'e str) -> Outcome<Val<'e>> {
    match operand {
        Val::Optional(None) => Ok(Val::Optional(None)),
        Val::Optional(Some(held)) => optional_field(held, name),
        map if map.map_len().is_some() => {
            Ok(Val::optional(map.map_get(&Val::Text(Text::Borrowed(name)))))
        }
        other => Err(no_overload(
            &format!("select '{name}'"),
            std::slice::from_ref(other),
        )),
    }
}
