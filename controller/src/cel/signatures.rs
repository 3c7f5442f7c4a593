//! Every operator and function an expression can call: one table, from which the checker decides.
//!
//! It holds the standard library of the language, optional types, and the string, set and encoder
//! extensions that Flux enables. What is not in the table does not exist for an expression.

use super::types::Type;
use Pattern::{
    A, B, Bool, Bytes, Double, Duration, Dyn, Int, List, Map, Optional, String, Timestamp,
};
use Pattern::{TypeOf, Uint};

/// A parameter or result: a type, or one of the two type variables of the overload.
#[derive(Clone, Copy, Debug)]
enum Pattern {
    A,
    B,
    Dyn,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    TypeOf,
    List(&'static Self),
    Map(&'static Self, &'static Self),
    Optional(&'static Self),
}

/// One overload; a member takes the value before the dot as its first parameter.
struct Overload {
    name: &'static str,
    member: bool,
    parameters: &'static [Pattern],
    result: Pattern,
}

const fn function(name: &'static str, parameters: &'static [Pattern], result: Pattern) -> Overload {
    Overload {
        name,
        member: false,
        parameters,
        result,
    }
}

const fn member(name: &'static str, parameters: &'static [Pattern], result: Pattern) -> Overload {
    Overload {
        name,
        member: true,
        parameters,
        result,
    }
}

/// What the table says about a call.
#[derive(Debug, PartialEq)]
pub(super) enum Resolution {
    /// The result type; unknown when the overloads that may match differ.
    Returns(Type),
    /// The name exists, but not for these arguments.
    NoOverload,
    /// No such name.
    Unknown,
}

/// Resolves a call of `name` with arguments of these types.
pub(super) fn resolve(name: &str, is_member: bool, arguments: &[Type]) -> Resolution {
    let mut known = false;
    let mut result: Option<Type> = None;
    for overload in OVERLOADS.iter().filter(|overload| overload.name == name) {
        known = true;
        if overload.member != is_member {
            continue;
        }
        if let Some(returned) = overload.apply(arguments) {
            result = Some(match result {
                None => returned,
                Some(earlier) => earlier.join(returned),
            });
        }
    }
    match result {
        Some(returned) => Resolution::Returns(returned),
        None if known => Resolution::NoOverload,
        None => Resolution::Unknown,
    }
}

/// Whether a global function of that (qualified) name exists.
pub(super) fn is_function(name: &str) -> bool {
    OVERLOADS
        .iter()
        .any(|overload| !overload.member && overload.name == name)
}

impl Overload {
    fn apply(&self, arguments: &[Type]) -> Option<Type> {
        if self.parameters.len() != arguments.len() {
            return None;
        }
        let mut bindings = Bindings::default();
        let fits = self
            .parameters
            .iter()
            .zip(arguments)
            .all(|(parameter, argument)| bindings.unify(*parameter, argument));
        fits.then(|| bindings.substitute(self.result))
    }
}

/// What the type variables of one call stand for.
#[derive(Default)]
struct Bindings {
    a: Option<Type>,
    b: Option<Type>,
}

impl Bindings {
    fn unify(&mut self, pattern: Pattern, argument: &Type) -> bool {
        match (pattern, argument) {
            (A, _) => bind(&mut self.a, argument),
            (B, _) => bind(&mut self.b, argument),
            (Dyn, _) => true,
            (List(element), Type::Dyn) | (Optional(element), Type::Dyn) => {
                self.unify(*element, &Type::Dyn)
            }
            (Map(key, value), Type::Dyn) => {
                self.unify(*key, &Type::Dyn) && self.unify(*value, &Type::Dyn)
            }
            (_, Type::Dyn) => true,
            (List(element), Type::List(given)) | (Optional(element), Type::Optional(given)) => {
                self.unify(*element, given)
            }
            (Map(key, value), Type::Map(given, held)) => {
                self.unify(*key, given) && self.unify(*value, held)
            }
            (Bool, Type::Bool)
            | (Int, Type::Int)
            | (Uint, Type::Uint)
            | (Double, Type::Double)
            | (String, Type::String)
            | (Bytes, Type::Bytes)
            | (Timestamp, Type::Timestamp)
            | (Duration, Type::Duration)
            | (TypeOf, Type::Kind) => true,
            _ => false,
        }
    }

    fn substitute(&self, pattern: Pattern) -> Type {
        match pattern {
            A => self.a.clone().unwrap_or(Type::Dyn),
            B => self.b.clone().unwrap_or(Type::Dyn),
            Dyn => Type::Dyn,
            Bool => Type::Bool,
            Int => Type::Int,
            Uint => Type::Uint,
            Double => Type::Double,
            String => Type::String,
            Bytes => Type::Bytes,
            Timestamp => Type::Timestamp,
            Duration => Type::Duration,
            TypeOf => Type::Kind,
            List(element) => Type::list(self.substitute(*element)),
            Map(key, value) => Type::map(self.substitute(*key), self.substitute(*value)),
            Optional(inner) => Type::optional(self.substitute(*inner)),
        }
    }
}

/// Gives a type variable its value. `null` fits what can be absent: nothing here but unknowns.
fn bind(variable: &mut Option<Type>, argument: &Type) -> bool {
    match variable.take() {
        None => {
            *variable = Some(argument.clone());
            true
        }
        Some(earlier) => {
            let agrees = earlier.agrees(argument);
            *variable = Some(earlier.join(argument.clone()));
            agrees
        }
    }
}

#[rustfmt::skip]
const OVERLOADS: &[Overload] = &[
    // operators
    function("_?_:_", &[Bool, A, A], A),
    function("_&&_", &[Bool, Bool], Bool),
    function("_||_", &[Bool, Bool], Bool),
    function("!_", &[Bool], Bool),
    function("_==_", &[A, A], Bool),
    function("_!=_", &[A, A], Bool),
    function("@in", &[A, List(&A)], Bool),
    function("@in", &[A, Map(&A, &B)], Bool),
    function("-_", &[Int], Int),
    function("-_", &[Double], Double),
    function("_+_", &[Int, Int], Int),
    function("_+_", &[Uint, Uint], Uint),
    function("_+_", &[Double, Double], Double),
    function("_+_", &[String, String], String),
    function("_+_", &[Bytes, Bytes], Bytes),
    function("_+_", &[List(&A), List(&A)], List(&A)),
    function("_+_", &[Timestamp, Duration], Timestamp),
    function("_+_", &[Duration, Timestamp], Timestamp),
    function("_+_", &[Duration, Duration], Duration),
    function("_-_", &[Int, Int], Int),
    function("_-_", &[Uint, Uint], Uint),
    function("_-_", &[Double, Double], Double),
    function("_-_", &[Timestamp, Timestamp], Duration),
    function("_-_", &[Timestamp, Duration], Timestamp),
    function("_-_", &[Duration, Duration], Duration),
    function("_*_", &[Int, Int], Int),
    function("_*_", &[Uint, Uint], Uint),
    function("_*_", &[Double, Double], Double),
    function("_/_", &[Int, Int], Int),
    function("_/_", &[Uint, Uint], Uint),
    function("_/_", &[Double, Double], Double),
    function("_%_", &[Int, Int], Int),
    function("_%_", &[Uint, Uint], Uint),
    function("_[_]", &[List(&A), Int], A),
    function("_[_]", &[Map(&A, &B), A], B),
    function("_[_]", &[Optional(&List(&A)), Int], Optional(&A)),
    function("_[_]", &[Optional(&Map(&A, &B)), A], Optional(&B)),
    function("_[?_]", &[List(&A), Int], Optional(&A)),
    function("_[?_]", &[Map(&A, &B), A], Optional(&B)),
    function("_[?_]", &[Optional(&List(&A)), Int], Optional(&A)),
    function("_[?_]", &[Optional(&Map(&A, &B)), A], Optional(&B)),
    // `_<=>_`, which no source can spell, stands for the four order operators
    function("_<=>_", &[Bool, Bool], Bool),
    function("_<=>_", &[Int, Int], Bool),
    function("_<=>_", &[Int, Uint], Bool),
    function("_<=>_", &[Int, Double], Bool),
    function("_<=>_", &[Uint, Int], Bool),
    function("_<=>_", &[Uint, Uint], Bool),
    function("_<=>_", &[Uint, Double], Bool),
    function("_<=>_", &[Double, Int], Bool),
    function("_<=>_", &[Double, Uint], Bool),
    function("_<=>_", &[Double, Double], Bool),
    function("_<=>_", &[String, String], Bool),
    function("_<=>_", &[Bytes, Bytes], Bool),
    function("_<=>_", &[Timestamp, Timestamp], Bool),
    function("_<=>_", &[Duration, Duration], Bool),
    // conversions
    function("bool", &[Bool], Bool),
    function("bool", &[String], Bool),
    function("int", &[Int], Int),
    function("int", &[Uint], Int),
    function("int", &[Double], Int),
    function("int", &[String], Int),
    function("int", &[Timestamp], Int),
    function("uint", &[Uint], Uint),
    function("uint", &[Int], Uint),
    function("uint", &[Double], Uint),
    function("uint", &[String], Uint),
    function("double", &[Double], Double),
    function("double", &[Int], Double),
    function("double", &[Uint], Double),
    function("double", &[String], Double),
    function("string", &[String], String),
    function("string", &[Bool], String),
    function("string", &[Int], String),
    function("string", &[Uint], String),
    function("string", &[Double], String),
    function("string", &[Bytes], String),
    function("string", &[Timestamp], String),
    function("string", &[Duration], String),
    function("bytes", &[Bytes], Bytes),
    function("bytes", &[String], Bytes),
    function("timestamp", &[Timestamp], Timestamp),
    function("timestamp", &[String], Timestamp),
    function("timestamp", &[Int], Timestamp),
    function("duration", &[Duration], Duration),
    function("duration", &[String], Duration),
    function("type", &[A], TypeOf),
    function("dyn", &[A], Dyn),
    // sizes and text
    function("size", &[String], Int),
    function("size", &[Bytes], Int),
    function("size", &[List(&A)], Int),
    function("size", &[Map(&A, &B)], Int),
    member("size", &[String], Int),
    member("size", &[Bytes], Int),
    member("size", &[List(&A)], Int),
    member("size", &[Map(&A, &B)], Int),
    member("contains", &[String, String], Bool),
    member("startsWith", &[String, String], Bool),
    member("endsWith", &[String, String], Bool),
    member("matches", &[String, String], Bool),
    function("matches", &[String, String], Bool),
    // time
    member("getFullYear", &[Timestamp], Int),
    member("getFullYear", &[Timestamp, String], Int),
    member("getMonth", &[Timestamp], Int),
    member("getMonth", &[Timestamp, String], Int),
    member("getDayOfYear", &[Timestamp], Int),
    member("getDayOfYear", &[Timestamp, String], Int),
    member("getDayOfMonth", &[Timestamp], Int),
    member("getDayOfMonth", &[Timestamp, String], Int),
    member("getDate", &[Timestamp], Int),
    member("getDate", &[Timestamp, String], Int),
    member("getDayOfWeek", &[Timestamp], Int),
    member("getDayOfWeek", &[Timestamp, String], Int),
    member("getHours", &[Timestamp], Int),
    member("getHours", &[Timestamp, String], Int),
    member("getHours", &[Duration], Int),
    member("getMinutes", &[Timestamp], Int),
    member("getMinutes", &[Timestamp, String], Int),
    member("getMinutes", &[Duration], Int),
    member("getSeconds", &[Timestamp], Int),
    member("getSeconds", &[Timestamp, String], Int),
    member("getSeconds", &[Duration], Int),
    member("getMilliseconds", &[Timestamp], Int),
    member("getMilliseconds", &[Timestamp, String], Int),
    member("getMilliseconds", &[Duration], Int),
    // optional types
    function("optional.of", &[A], Optional(&A)),
    function("optional.ofNonZeroValue", &[A], Optional(&A)),
    function("optional.none", &[], Optional(&Dyn)),
    function("optional.unwrap", &[List(&Optional(&A))], List(&A)),
    member("unwrapOpt", &[List(&Optional(&A))], List(&A)),
    member("hasValue", &[Optional(&A)], Bool),
    member("value", &[Optional(&A)], A),
    member("or", &[Optional(&A), Optional(&A)], Optional(&A)),
    member("orValue", &[Optional(&A), A], A),
    member("first", &[List(&A)], Optional(&A)),
    member("last", &[List(&A)], Optional(&A)),
    // string extension
    member("charAt", &[String, Int], String),
    member("indexOf", &[String, String], Int),
    member("indexOf", &[String, String, Int], Int),
    member("lastIndexOf", &[String, String], Int),
    member("lastIndexOf", &[String, String, Int], Int),
    member("join", &[List(&String)], String),
    member("join", &[List(&String), String], String),
    member("lowerAscii", &[String], String),
    member("upperAscii", &[String], String),
    member("replace", &[String, String, String], String),
    member("replace", &[String, String, String, Int], String),
    member("split", &[String, String], List(&String)),
    member("split", &[String, String, Int], List(&String)),
    member("substring", &[String, Int], String),
    member("substring", &[String, Int, Int], String),
    member("trim", &[String], String),
    member("reverse", &[String], String),
    member("format", &[String, List(&Dyn)], String),
    function("strings.quote", &[String], String),
    // set and encoder extensions
    function("sets.contains", &[List(&A), List(&A)], Bool),
    function("sets.equivalent", &[List(&A), List(&A)], Bool),
    function("sets.intersects", &[List(&A), List(&A)], Bool),
    function("base64.encode", &[Bytes], String),
    function("base64.decode", &[String], Bytes),
];
