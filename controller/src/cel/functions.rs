//! The functions and operators on values: numbers, conversions, lists, optionals and sets.
//!
//! Text functions are in `strings`; time and `format` are computed by the `cel` crate.

use super::eval::{Fault, Outcome, Run, no_overload};
use super::strings;
use super::value::Val;
use ::cel::common::ast::{CallExpr, Expr};
use ::cel::{Context, Env, IdedExpr, Value as Library, extensions};
use std::cmp::Ordering;
use std::sync::{Arc, LazyLock};

/// The library that computes time and formats text.
static LIBRARY: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    // Cannot conflict: these are its own extensions on its own library. If it ever did, `format`
    // would be reported as undeclared, and a test would say so.
    let _ = env.add_extension(extensions::strings);
    Arc::new(env)
});

/// The type an identifier names.
pub(super) fn type_named(name: &str) -> Option<&'static str> {
    const NAMES: [&str; 11] = [
        "bool",
        "bytes",
        "double",
        "int",
        "list",
        "map",
        "null_type",
        "optional_type",
        "string",
        "type",
        "uint",
    ];
    NAMES.into_iter().find(|known| *known == name)
}

/// Calls the function or operator `name`.
pub(super) fn call<'e>(
    run: &mut Run<'e>,
    name: &str,
    is_member: bool,
    arguments: &[Val<'e>],
) -> Outcome<Val<'e>> {
    let involves_time = arguments
        .iter()
        .any(|argument| matches!(argument, Val::Time(_)));
    if involves_time && let Some(result) = with_time(run, name, is_member, arguments) {
        return result;
    }
    match (name, arguments) {
        ("_==_", [a, b]) => run.equal(a, b).map(Val::Bool),
        ("_!=_", [a, b]) => run.equal(a, b).map(|equal| Val::Bool(!equal)),
        ("_<_" | "_<=_" | "_>_" | "_>=_", [a, b]) => compare(run, name, a, b),
        ("!_", [Val::Bool(value)]) => Ok(Val::Bool(!value)),
        ("-_", [Val::Double(value)]) => Ok(Val::Double(-value)),
        ("-_", [Val::Int(value)]) => value.checked_neg().map(Val::Int).ok_or_else(overflow),
        ("_+_" | "_-_" | "_*_" | "_/_" | "_%_", [a, b]) => arithmetic(run, name, a, b),
        ("@in", [value, range]) => contains(run, value, range),
        ("_[_]", [range, key]) => index(run, range, key),
        ("_[?_]", [range, key]) => optional_index(run, range, key),
        ("size", [value]) => size(run, value),
        ("type", [value]) => Ok(Val::Type(value.type_name())),
        ("dyn", [value]) => Ok(value.clone()),
        ("bool" | "int" | "uint" | "double" | "string" | "bytes", [value]) => {
            convert(run, name, value)
        }
        ("timestamp" | "duration", [Val::Text(_) | Val::Int(_)]) => {
            library(run, name, is_member, arguments)
        }
        ("format", [Val::Text(_), list]) if list.list_len().is_some() => {
            library(run, name, is_member, arguments)
        }
        ("first" | "last", [list]) if list.list_len().is_some() => {
            let len = list.list_len().unwrap_or(0);
            let at = if name == "first" {
                0
            } else {
                len.saturating_sub(1)
            };
            Ok(Val::optional(list.list_at(at)))
        }
        ("sets.contains" | "sets.equivalent" | "sets.intersects", [a, b]) => sets(run, name, a, b),
        ("unwrapOpt" | "optional.unwrap", [list]) if list.list_len().is_some() => {
            unwrap_all(run, list)
        }
        _ => optional(name, arguments)
            .or_else(|| strings::call(run, name, arguments))
            .unwrap_or_else(|| Err(no_overload(name, arguments))),
    }
}

/// Functions of optionals that need nothing but their arguments.
fn optional<'e>(name: &str, arguments: &[Val<'e>]) -> Option<Outcome<Val<'e>>> {
    Some(Ok(match (name, arguments) {
        ("optional.of", [value]) => Val::some(value.clone()),
        ("optional.none", []) => Val::Optional(None),
        ("optional.ofNonZeroValue", [value]) if value.is_zero() => Val::Optional(None),
        ("optional.ofNonZeroValue", [value]) => Val::some(value.clone()),
        ("hasValue", [Val::Optional(held)]) => Val::Bool(held.is_some()),
        ("value", [Val::Optional(Some(held))]) => (**held).clone(),
        ("value", [Val::Optional(None)]) => {
            return Some(Err(Fault::new("optional.none() dereference")));
        }
        _ => return None,
    }))
}

/// Calls that involve a timestamp or a duration, unless they mean the same for every type.
fn with_time<'e>(
    run: &mut Run<'e>,
    name: &str,
    is_member: bool,
    arguments: &[Val<'e>],
) -> Option<Outcome<Val<'e>>> {
    let by_library = matches!(
        name,
        "_+_"
            | "_-_"
            | "_<_"
            | "_<=_"
            | "_>_"
            | "_>=_"
            | "int"
            | "string"
            | "timestamp"
            | "duration"
    ) || name.starts_with("get");
    by_library.then(|| library(run, name, is_member, arguments))
}

/// Has the `cel` crate compute one call.
fn library<'e>(
    run: &mut Run<'e>,
    name: &str,
    is_member: bool,
    arguments: &[Val<'e>],
) -> Outcome<Val<'e>> {
    // Building its context costs about as much as visiting so many nodes.
    run.pay(20)?;
    let mut context = Context::with_env(Arc::clone(&LIBRARY));
    let mut operands = Vec::with_capacity(arguments.len());
    for (position, argument) in arguments.iter().enumerate() {
        run.pay_copy(argument)?;
        let variable = format!("a{position}");
        context.add_variable_from_value(variable.clone(), argument.to_library());
        operands.push(IdedExpr {
            id: 0,
            expr: Expr::Ident(variable),
        });
    }
    let target = is_member.then(|| Box::new(operands.remove(0)));
    let call = CallExpr {
        func_name: name.to_owned(),
        target,
        args: operands,
    };
    let result = Library::resolve(
        &IdedExpr {
            id: 0,
            expr: Expr::Call(call),
        },
        &context,
    );
    match result.map(Val::from_library) {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(no_overload(name, arguments)),
        Err(::cel::ExecutionError::FunctionError { message, .. }) => {
            Err(Fault::new(format!("{name}: {}", clip(&message))))
        }
        Err(::cel::ExecutionError::Overflow(..)) => {
            Err(Fault::new("timestamp or duration overflow"))
        }
        Err(_) => Err(no_overload(name, arguments)),
    }
}

/// The beginning of a message that may quote the input at length.
fn clip(message: &str) -> &str {
    let end = message
        .char_indices()
        .nth(200)
        .map_or(message.len(), |(at, _)| at);
    message.get(..end).unwrap_or_default()
}

fn overflow() -> Fault {
    Fault::new("integer overflow")
}

fn compare<'e>(run: &mut Run<'e>, name: &str, a: &Val<'e>, b: &Val<'e>) -> Outcome<Val<'e>> {
    match (a, b) {
        (Val::Text(a), Val::Text(b)) => run.pay_read(a.len().min(b.len()))?,
        (Val::Bytes(a), Val::Bytes(b)) => run.pay_read(a.len().min(b.len()))?,
        _ => {}
    }
    let order = a
        .order(b)
        .map_err(|()| no_overload(name, &[a.clone(), b.clone()]))?;
    Ok(Val::Bool(match name {
        "_<_" => order == Some(Ordering::Less),
        "_<=_" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        "_>_" => order == Some(Ordering::Greater),
        _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }))
}

fn arithmetic<'e>(run: &mut Run<'e>, name: &str, a: &Val<'e>, b: &Val<'e>) -> Outcome<Val<'e>> {
    match (a, b) {
        (Val::Int(a), Val::Int(b)) => int_arithmetic(name, *a, *b),
        (Val::Uint(a), Val::Uint(b)) => uint_arithmetic(name, *a, *b),
        (Val::Double(a), Val::Double(b)) if name != "_%_" => Ok(Val::Double(match name {
            "_+_" => a + b,
            "_-_" => a - b,
            "_*_" => a * b,
            _ => a / b,
        })),
        _ if name == "_+_" => concatenate(run, a, b),
        _ => Err(no_overload(name, &[a.clone(), b.clone()])),
    }
}

fn int_arithmetic(name: &str, a: i64, b: i64) -> Outcome<Val<'static>> {
    let result = match name {
        "_+_" => a.checked_add(b),
        "_-_" => a.checked_sub(b),
        "_*_" => a.checked_mul(b),
        "_/_" if b == 0 => return Err(Fault::new("division by zero")),
        "_/_" => a.checked_div(b),
        _ if b == 0 => return Err(Fault::new("modulus by zero")),
        _ => a.checked_rem(b),
    };
    result.map(Val::Int).ok_or_else(overflow)
}

fn uint_arithmetic(name: &str, a: u64, b: u64) -> Outcome<Val<'static>> {
    let result = match name {
        "_+_" => a.checked_add(b),
        "_-_" => a.checked_sub(b),
        "_*_" => a.checked_mul(b),
        "_/_" if b == 0 => return Err(Fault::new("division by zero")),
        "_/_" => a.checked_div(b),
        _ if b == 0 => return Err(Fault::new("modulus by zero")),
        _ => a.checked_rem(b),
    };
    result
        .map(Val::Uint)
        .ok_or_else(|| Fault::new("unsigned integer overflow"))
}

/// `+` of texts, bytes and lists.
fn concatenate<'e>(run: &mut Run<'e>, a: &Val<'e>, b: &Val<'e>) -> Outcome<Val<'e>> {
    match (a, b) {
        (Val::Text(a), Val::Text(b)) => {
            run.pay_made(a.len() + b.len())?;
            Ok(Val::text([&**a, &**b].concat()))
        }
        (Val::Bytes(a), Val::Bytes(b)) => {
            run.pay_made(a.len() + b.len())?;
            Ok(Val::Bytes([&**a, &**b].concat().into()))
        }
        _ => match (a.list_len(), b.list_len()) {
            (Some(first), Some(second)) => {
                run.pay(first + second)?;
                let items = (0..first).filter_map(|index| a.list_at(index));
                let more = (0..second).filter_map(|index| b.list_at(index));
                Ok(Val::list(items.chain(more).collect()))
            }
            _ => Err(no_overload("_+_", &[a.clone(), b.clone()])),
        },
    }
}

/// `value in range`.
fn contains<'e>(run: &mut Run<'e>, value: &Val<'e>, range: &Val<'e>) -> Outcome<Val<'e>> {
    if range.map_len().is_some() {
        pay_key(run, value)?;
        return Ok(Val::Bool(range.map_get(value).is_some()));
    }
    match range.list_len() {
        Some(len) => in_list(run, value, range, len).map(Val::Bool),
        None => Err(no_overload("@in", &[value.clone(), range.clone()])),
    }
}

fn in_list<'e>(run: &mut Run<'e>, value: &Val<'e>, list: &Val<'e>, len: usize) -> Outcome<bool> {
    for index in 0..len {
        if let Some(item) = list.list_at(index)
            && run.equal(value, &item)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn pay_key<'e>(run: &mut Run<'e>, key: &Val<'e>) -> Outcome<()> {
    match key {
        Val::Text(text) => run.pay_made(text.len()),
        _ => Ok(()),
    }
}

/// `range[key]`.
fn index<'e>(run: &mut Run<'e>, range: &Val<'e>, key: &Val<'e>) -> Outcome<Val<'e>> {
    if let Val::Optional(_) = range {
        return optional_index(run, range, key);
    }
    look_up(run, range, key)?.ok_or_else(|| match key {
        Val::Text(name) => Fault::new(format!("no such key: {}", clip(name))),
        key if range.list_len().is_some() => Fault::new(match key.integral() {
            Some(at) => format!("index out of bounds: {at}"),
            None => "index is not a whole number".to_owned(),
        }),
        key => Fault::new(match key.integral() {
            Some(at) => format!("no such key: {at}"),
            None => format!("no such key of type {}", key.type_name()),
        }),
    })
}

/// `range[?key]`.
fn optional_index<'e>(run: &mut Run<'e>, range: &Val<'e>, key: &Val<'e>) -> Outcome<Val<'e>> {
    match range {
        Val::Optional(None) => Ok(Val::Optional(None)),
        Val::Optional(Some(held)) => optional_index(run, held, key),
        range => look_up(run, range, key).map(Val::optional),
    }
}

fn look_up<'e>(run: &mut Run<'e>, range: &Val<'e>, key: &Val<'e>) -> Outcome<Option<Val<'e>>> {
    if range.map_len().is_some() {
        pay_key(run, key)?;
        return Ok(range.map_get(key));
    }
    let is_number = matches!(key, Val::Int(_) | Val::Uint(_) | Val::Double(_));
    if range.list_len().is_none() || !is_number {
        return Err(no_overload("_[_]", &[range.clone(), key.clone()]));
    }
    Ok(key
        .integral()
        .and_then(|at| usize::try_from(at).ok())
        .and_then(|at| range.list_at(at)))
}

fn size<'e>(run: &mut Run<'e>, value: &Val<'e>) -> Outcome<Val<'e>> {
    let len = match value {
        Val::Text(text) => {
            run.pay_read(text.len())?;
            Some(text.chars().count())
        }
        Val::Bytes(bytes) => Some(bytes.len()),
        other => other.list_len().or_else(|| other.map_len()),
    };
    match len.and_then(|len| i64::try_from(len).ok()) {
        Some(len) => Ok(Val::Int(len)),
        None => Err(no_overload("size", std::slice::from_ref(value))),
    }
}

fn convert<'e>(run: &mut Run<'e>, name: &str, value: &Val<'e>) -> Outcome<Val<'e>> {
    if value.type_name() == name {
        return Ok(value.clone());
    }
    let converted = match (name, value) {
        ("string", Val::Bytes(bytes)) => {
            run.pay_made(bytes.len())?;
            String::from_utf8(bytes.to_vec()).ok().map(Val::text)
        }
        ("bytes", Val::Text(text)) => {
            run.pay_made(text.len())?;
            Some(Val::Bytes(text.as_bytes().into()))
        }
        ("string", other) => strings::from_scalar(other).map(Val::text),
        (_, Val::Text(text)) => parse(run, name, text)?,
        ("double", Val::Int(_) | Val::Uint(_)) => to_double(value).map(Val::Double),
        ("int" | "uint", Val::Double(double)) => truncate(name, *double),
        ("int", Val::Uint(number)) => i64::try_from(*number).ok().map(Val::Int),
        ("uint", Val::Int(number)) => u64::try_from(*number).ok().map(Val::Uint),
        _ => return Err(no_overload(name, std::slice::from_ref(value))),
    };
    converted.ok_or_else(|| {
        Fault::new(format!(
            "type conversion error from '{}' to '{name}'",
            value.type_name()
        ))
    })
}

/// A number or bool written as text.
fn parse<'e>(run: &mut Run<'e>, name: &str, text: &str) -> Outcome<Option<Val<'e>>> {
    run.pay_read(text.len())?;
    Ok(match name {
        "int" => text.parse().ok().map(Val::Int),
        "uint" if text.starts_with('+') => None,
        "uint" => text.parse().ok().map(Val::Uint),
        "double" => text.parse().ok().map(Val::Double),
        _ => match text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(Val::Bool(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(Val::Bool(false)),
            _ => None,
        },
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the language rounds to the nearest double"
)]
fn to_double(value: &Val<'_>) -> Option<f64> {
    value.integral().map(|number| number as f64)
}

/// The whole part of a double, if the type can hold it.
fn truncate(name: &str, double: f64) -> Option<Val<'static>> {
    let whole = Val::Double(double.trunc()).integral()?;
    if name == "int" {
        i64::try_from(whole).ok().map(Val::Int)
    } else {
        u64::try_from(whole).ok().map(Val::Uint)
    }
}

fn sets<'e>(run: &mut Run<'e>, name: &str, a: &Val<'e>, b: &Val<'e>) -> Outcome<Val<'e>> {
    let (Some(first), Some(second)) = (a.list_len(), b.list_len()) else {
        return Err(no_overload(name, &[a.clone(), b.clone()]));
    };
    Ok(Val::Bool(match name {
        "sets.contains" => covers(run, a, first, b, second)?,
        "sets.equivalent" => covers(run, a, first, b, second)? && covers(run, b, second, a, first)?,
        _ => {
            let mut common = false;
            for item in (0..second).filter_map(|index| b.list_at(index)) {
                common = common || in_list(run, &item, a, first)?;
            }
            common
        }
    }))
}

/// Whether each item of `items` is in `list`.
fn covers<'e>(
    run: &mut Run<'e>,
    list: &Val<'e>,
    len: usize,
    items: &Val<'e>,
    count: usize,
) -> Outcome<bool> {
    for item in (0..count).filter_map(|index| items.list_at(index)) {
        if !in_list(run, &item, list, len)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn unwrap_all<'e>(run: &mut Run<'e>, list: &Val<'e>) -> Outcome<Val<'e>> {
    let len = list.list_len().unwrap_or(0);
    run.pay(len)?;
    let mut items = Vec::new();
    for item in (0..len).filter_map(|index| list.list_at(index)) {
        match item {
            Val::Optional(held) => items.extend(held.map(Arc::unwrap_or_clone)),
            other => return Err(no_overload("unwrapOpt", &[other])),
        }
    }
    Ok(Val::list(items))
}
