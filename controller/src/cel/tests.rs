//! Tests of expressions: tables of sources and results, limits, and that nothing panics.

use super::{
    CelError, Declared, Expression, MAX_DEPTH, MAX_NODES, MAX_SOURCE, Scope, Vars, request_object,
};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use std::fmt::Write as _;

const FILTER: Declared = Declared {
    claims: false,
    vars: false,
    objects: true,
    alerting: false,
};
const OIDC_FILTER: Declared = Declared {
    claims: true,
    vars: false,
    objects: true,
    alerting: false,
};
const OIDC: Declared = Declared {
    claims: true,
    vars: true,
    objects: false,
    alerting: false,
};

fn resource() -> Json {
    json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": {
            "name": "podinfo",
            "namespace": "apps",
            "labels": {"team": "a"},
            "annotations": {"update-image": "ghcr.io/stefan/podinfo:v1.2.3"},
        },
    })
}

fn request() -> Json {
    json!({
        "value": "test",
        "bool": true,
        "text": "straße",
        "null": null,
        "three": 3,
        "half": 0.5,
        "big": 12_345_678,
        "list": [1, 2, 3],
        "names": ["b", "a"],
        "empty": [],
        "map": {"k": "v", "n": 1},
        "items": [{"id": 1, "tag": "x"}, {"id": 2}],
        "tag": "ghcr.io/hello/world:v1.0.0",
        "time": "2026-02-03T04:05:06Z",
    })
}

/// Compiles and evaluates a filter over [`resource`], [`request`] and two claims.
fn eval(source: &str) -> Result<bool, CelError> {
    let (res, req) = (resource(), request());
    let claims = json!({"repository": "org/app", "run_number": 7, "environment": "prod"});
    let scope = Scope {
        res: Some(&res),
        req: Some(&req),
        claims: Some(&claims),
        vars: None,
        ..Scope::default()
    };
    Expression::filter(source, &OIDC_FILTER)?.matches(&scope)
}

fn compile_error(source: &str) -> String {
    match Expression::filter(source, &FILTER) {
        Ok(_) => "compiles".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// The message of an evaluation error, without its place.
fn fault(source: &str) -> String {
    match eval(source) {
        Err(CelError::Evaluation { message, .. }) => message,
        other => format!("{other:?}"),
    }
}

fn assert_all_true(sources: &[&str]) {
    let wrong: Vec<_> = sources
        .iter()
        .map(|source| (source, eval(source)))
        .filter(|(_, result)| *result != Ok(true))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_expressions_of_the_reference_evaluate_as_there() {
    assert_all_true(&[
        "true",
        "!false",
        "req.value == 'test'",
        "req.bool == true",
        "claims.repository == 'org/app'",
        "req.tag.split(':').last().value().startsWith('v')",
        "has(res.metadata.annotations) \
         && res.metadata.annotations['update-image'].split('/').last().value() \
         == req.tag.split('/').last().value().replace('world:v1.0.0', 'podinfo:v1.2.3')",
        "res.metadata.name in ['podinfo', 'other']",
        "req.items[0].tag == 'x'",
    ]);
}

#[test]
fn an_object_without_annotations_is_guarded_by_has() {
    let source = "has(res.metadata.annotations) && res.metadata.annotations['x'] == 'y'";
    let bare = json!({"metadata": {"name": "n"}});
    let req = json!({});
    let scope = Scope {
        res: Some(&bare),
        req: Some(&req),
        ..Scope::default()
    };
    let guarded = Expression::filter(source, &FILTER).unwrap();
    assert_eq!(guarded.matches(&scope), Ok(false));

    let unguarded = Expression::filter("res.metadata.annotations['x'] == 'y'", &FILTER).unwrap();
    assert_eq!(
        unguarded.matches(&scope),
        Err(CelError::Evaluation {
            line: 1,
            column: 13,
            message: "no such key: annotations".to_owned(),
        })
    );
}

#[test]
fn a_filter_must_be_statically_bool() {
    let mismatch =
        |found: &str| format!("CEL expression output type mismatch: expected bool, got {found}");
    for (source, found) in [
        ("'test'", "string"),
        ("req.flag", "dyn"),
        ("req", "map(string, dyn)"),
        ("1", "int"),
        ("1u", "uint"),
        ("1.0", "double"),
        ("b'x'", "bytes"),
        ("null", "null"),
        ("[1]", "list(int)"),
        ("[]", "list(dyn)"),
        ("{'a': 1}", "map(string, int)"),
        ("req.?a", "optional_type(dyn)"),
        ("req.?a.b", "optional_type(dyn)"),
        ("req.list.map(x, x > 1)", "list(bool)"),
        ("[1, 2].filter(x, x > 1)", "list(int)"),
        ("'a'.split('b')", "list(string)"),
        ("'a,b'.split(',').first()", "optional_type(string)"),
        (
            "timestamp('2026-01-01T00:00:00Z')",
            "google.protobuf.Timestamp",
        ),
        (
            "timestamp(req.a) - timestamp(req.b)",
            "google.protobuf.Duration",
        ),
        ("req.a + req.b", "dyn"),
        ("size(req.a)", "int"),
        ("true ? req.a : true", "dyn"),
        ("req.?a.orValue(false)", "dyn"),
        ("dyn(true)", "dyn"),
        ("type(1)", "type"),
    ] {
        assert_eq!(compile_error(source), mismatch(found), "{source}");
    }
}

#[test]
fn expressions_over_unknown_types_can_be_bool() {
    for source in [
        "req.flag == true",
        "req.flag && true",
        "!req.flag",
        "req.a < req.b",
        "req.a.contains(req.b)",
        "req.a.exists(x, x.y)",
        "req.a in req.b",
        "has(req.a)",
        "bool(req.a)",
        "req.a.all(k, req.a[k] == 1)",
        "[req.a].size() > 0",
        "type(req.a) == string",
        "optional.none().hasValue()",
        "'%s %d'.format([req.a, 1]) == 'x'",
        "true ? req.a == 1 : false",
    ] {
        assert_eq!(compile_error(source), "compiles", "{source}");
    }
}

#[test]
fn a_mistake_is_named_with_its_place() {
    for (source, message) in [
        (
            "requrest.body.value == 1",
            "line 1, column 1: undeclared reference to 'requrest' (variables here: res, req)",
        ),
        (
            "true &&\n  claims.sub == 'x'",
            "line 2, column 3: undeclared reference to 'claims' (variables here: res, req)",
        ),
        (
            "req.a.map(x, y)",
            "line 1, column 14: undeclared reference to 'y' (variables here: res, req)",
        ),
        (
            "req.a.exists(x, x) && x",
            "line 1, column 23: undeclared reference to 'x' (variables here: res, req)",
        ),
        (
            "foo(1)",
            "line 1, column 4: undeclared reference to 'foo' (variables here: res, req)",
        ),
        (
            "compare(1, 2)",
            "line 1, column 8: undeclared reference to 'compare' (variables here: res, req)",
        ),
        (
            "req.a.nonsense()",
            "line 1, column 15: undeclared reference to 'nonsense' (variables here: res, req)",
        ),
        (
            "1 == 'a'",
            "line 1, column 3: found no matching overload for '_==_' applied to '(int, string)'",
        ),
        (
            "'a'.startsWith(1)",
            "line 1, column 15: found no matching overload for 'startsWith' applied to \
             'string.(int)'",
        ),
        (
            "'a'.b == 1",
            "line 1, column 4: type 'string' does not support field selection (of 'b')",
        ),
        (
            "[1, 'a'] == []",
            "line 1, column 5: expected type 'int' but found 'string'",
        ),
        (
            "'a'.all(x, true)",
            "line 1, column 1: expression of type 'string' cannot be range of a comprehension \
             (must be list, map, or dynamic)",
        ),
        (
            "[1].all(x, x)",
            "line 1, column 12: 'all' needs a condition of type bool, not 'int'",
        ),
        (
            "[1].all(x.y, true)",
            "line 1, column 10: argument must be a simple name",
        ),
        (
            "has(req)",
            "line 1, column 5: invalid argument to has() macro: write has(value.field)",
        ),
        (
            "'a'.matches('(')",
            "line 1, column 13: invalid regular expression: unclosed group",
        ),
        (
            "'a'.matches('([a-z]{1000}){1000}')",
            "line 1, column 13: regular expression is too large",
        ),
        (
            "google.protobuf.Value{} == 1",
            "line 1, column 22: undeclared reference to 'google.protobuf.Value' \
             (variables here: res, req)",
        ),
        ("", "expression is empty"),
        (" \n", "expression is empty"),
    ] {
        assert_eq!(compile_error(source), message, "{source}");
    }
}

#[test]
fn a_syntax_error_has_line_and_column() {
    for (source, line, column, part) in [
        ("not-valid-cel ===", 1, 17, "="),
        ("true &&", 1, 8, "mismatched input"),
        ("req.a ==\n== 1", 2, 1, "=="),
        ("'open", 1, 1, "token recognition error"),
        ("(true", 1, 6, "missing"),
    ] {
        match Expression::filter(source, &FILTER) {
            Err(CelError::Syntax {
                line: l,
                column: c,
                message,
            }) => {
                assert_eq!((l, c), (line, column), "{source}: {message}");
                assert!(message.contains(part), "{source}: {message}");
                assert!(!message.contains('\n'), "{source}: {message}");
            }
            other => panic!("{source}: {other:?}"),
        }
    }
}

#[test]
fn claims_and_vars_exist_where_they_are_declared() {
    assert!(Expression::filter("claims.sub == 'x'", &FILTER).is_err());
    assert!(Expression::filter("claims.sub == 'x'", &OIDC_FILTER).is_ok());
    assert!(Expression::filter("vars.a == claims.b", &OIDC).is_ok());
    assert!(Expression::filter("req.a == 1", &OIDC).is_err());
    assert!(Expression::filter("vars.a == 1", &OIDC_FILTER).is_err());
}

#[test]
fn later_variables_see_earlier_ones_with_their_types() {
    let claims = json!({"sub": "repo:org/app:ref:refs/heads/main", "run": 7});
    let mut vars = Vars::default();
    for (name, source) in [
        ("parts", "claims.sub.split(':')"),
        ("repo", "vars.parts[1]"),
        ("run", "int(claims.run)"),
        ("at", "timestamp('2026-01-01T00:00:00Z')"),
        ("all", "claims"),
    ] {
        let scope = Scope {
            claims: Some(&claims),
            vars: Some(&vars),
            ..Scope::default()
        };
        let value = Expression::value(source, &OIDC)
            .unwrap()
            .evaluate(&scope)
            .unwrap();
        vars.insert(name, value);
    }
    let scope = Scope {
        claims: Some(&claims),
        vars: Some(&vars),
        ..Scope::default()
    };
    for source in [
        "vars.repo == 'org/app'",
        "vars.run == claims.run",
        "type(vars.run) == int",
        "vars.at.getFullYear() == 2026",
        "vars.all == claims && claims == vars.all",
        "has(vars.repo) && !has(vars.other)",
    ] {
        let result = Expression::filter(source, &OIDC).unwrap().matches(&scope);
        assert_eq!(result, Ok(true), "{source}");
    }
    assert_eq!(
        Expression::filter("vars.other == 1", &OIDC)
            .unwrap()
            .matches(&scope)
            .unwrap_err(),
        CelError::Evaluation {
            line: 1,
            column: 5,
            message: "no such key: other".to_owned()
        }
    );
    assert_eq!(
        format!("{vars:?}"),
        r#"{"all", "at", "parts", "repo", "run"}"#
    );
}

#[test]
fn json_numbers_are_doubles_and_compare_across_types() {
    assert_all_true(&[
        "type(req.three) == double",
        "req.three == 3",
        "req.three == 3u",
        "3 == req.three",
        "req.three * 2.0 == 6.0",
        "req.three >= 3",
        "req.half < 1",
        "1 < 1.5",
        "2u > 1",
        "-1 < 1u",
        "9223372036854775807 < 9223372036854775808.0",
        "req.three in [1.0, 3.0]",
        "3 in req.list",
        "req.list[req.three - 3.0] == 1",
        "req.list[1] == 2",
        "int(req.three) + 1 == 4",
        "string(req.three) == '3'",
        "string(req.half) == '0.5'",
        "string(req.big) == '1.2345678e+07'",
        "string(0.00001) == '1e-05'",
        "string(1.0 / 0.0) == '+Inf'",
    ]);
    assert_eq!(
        fault("req.three * 2 == 6"),
        "no such overload: _*_(double, int)"
    );
    assert_eq!(
        fault("req.list[req.half] == 1"),
        "index is not a whole number"
    );
    assert_eq!(fault("req.list[3] == 1"), "index out of bounds: 3");
    assert_eq!(fault("req.list[-1] == 1"), "index out of bounds: -1");
}

#[test]
fn errors_are_absorbed_by_and_or_all_and_exists() {
    assert_all_true(&[
        "true || req.missing == 1",
        "req.missing == 1 || true",
        "!(false && req.missing == 1)",
        "!(req.missing == 1 && false)",
        "req.items.exists(i, i.tag == 'x')",
        "!req.items.all(i, i.tag == 'y')",
        "[2, 1].exists(i, 1 / (i - 1) > 5 || i == 2)",
        "true ? true : req.missing == 1",
        "req.bool ? true : req.missing == 1",
    ]);
    assert_eq!(fault("req.missing == 1 || false"), "no such key: missing");
    assert_eq!(fault("false || req.missing == 1"), "no such key: missing");
    assert_eq!(fault("req.missing == 1 && true"), "no such key: missing");
    assert_eq!(
        fault("req.items.exists(i, i.tag == 'z')"),
        "no such key: tag"
    );
    assert_eq!(
        fault("req.items.exists_one(i, i.tag == 'x')"),
        "no such key: tag"
    );
    assert_eq!(fault("req.value && true"), "no such overload: _&&_(string)");
    assert_eq!(fault("res.name == 'x'"), "no such key: name");
    assert_eq!(
        fault("req.value.inner == 1"),
        "no such overload: select 'inner'(string)"
    );
}

#[test]
fn macros_work_over_lists_and_maps() {
    assert_all_true(&[
        "req.list.all(x, x > 0)",
        "req.empty.all(x, false)",
        "!req.empty.exists(x, true)",
        "req.list.exists_one(x, x == 2)",
        "req.list.existsOne(x, x == 2)",
        "!req.list.exists_one(x, x > 1)",
        "req.list.map(x, x + 1.0) == [2.0, 3.0, 4.0]",
        "req.list.map(x, x > 1, x * 10.0) == [20.0, 30.0]",
        "req.list.filter(x, x > 2) == [3]",
        "req.map.all(k, k in ['k', 'n'])",
        "req.map.map(k, k).size() == 2",
        "{'a': 1, 'b': 2}.exists(k, k == 'b')",
        "[[1, 2], [3]].all(l, l.exists(x, x in [1, 3]))",
        "[1].all(req, req == 1)",
        "req.list.map(x, req.list.map(y, x * y)).size() == 3",
    ]);
}

#[test]
fn optionals_work() {
    assert_all_true(&[
        "req.?missing.orValue('x') == 'x'",
        "req.?value.orValue('x') == 'test'",
        "!req.?missing.hasValue()",
        "req.?map.?k.hasValue()",
        "req.?map.k.value() == 'v'",
        "req.?missing.?k.k == optional.none()",
        "req[?'value'].value() == 'test'",
        "!req.list[?7].hasValue()",
        "req.?list[0].value() == 1",
        "optional.of(1) == optional.of(1)",
        "optional.ofNonZeroValue('') == optional.none()",
        "optional.ofNonZeroValue('a').value() == 'a'",
        "optional.none().or(optional.of(1)).value() == 1",
        "optional.of(1).or(optional.of(req.missing)).value() == 1",
        "optional.of(1).optMap(x, x + 1).value() == 2",
        "!req.?missing.optMap(x, x + 1).hasValue()",
        "optional.of(req).optFlatMap(r, r.?value).value() == 'test'",
        "req.list.first().value() == 1",
        "req.list.last().value() == 3",
        "!req.empty.last().hasValue()",
        "[?req.?missing, ?optional.of(dyn('b'))] == ['b']",
        "{?'a': req.?missing, ?'b': optional.of(dyn(1))} == {'b': 1}",
        "optional.unwrap([optional.of(1), optional.none()]) == [1]",
        "[optional.of(1), optional.none()].unwrapOpt() == [1]",
        "has({'a': {'b': 1}}.a.b)",
        "has(req.?map.k)",
    ]);
    assert_eq!(
        fault("optional.none().value() == 1"),
        "optional.none() dereference"
    );
}

#[test]
fn string_functions_count_characters() {
    assert_all_true(&[
        "size(req.text) == 6 && req.text.size() == 6",
        "req.text.charAt(4) == 'ß' && 'abc'.charAt(3) == ''",
        "req.text.indexOf('e') == 5 && 'abcabc'.indexOf('a', 1) == 3 && 'a'.indexOf('b') == -1",
        "'abcabc'.lastIndexOf('abc') == 3 && 'abcabc'.lastIndexOf('abc', 2) == 0",
        "'aßb'.lastIndexOf('ß', 1) == 1 && 'abc'.lastIndexOf('') == 3",
        "['a', 'b'].join() == 'ab' && ['a', 'b'].join('-') == 'a-b' && [].join('-') == ''",
        "req.names.join(',') == 'b,a'",
        "'TacoCÆt'.lowerAscii() == 'tacocÆt' && 'tacocÆt'.upperAscii() == 'TACOCÆT'",
        "'abab'.replace('a', 'x') == 'xbxb' && 'abab'.replace('a', 'x', 1) == 'xbab'",
        "'ab'.replace('', '-') == '-a-b-' && 'ab'.replace('a', 'x', 0) == 'ab'",
        "'a,b,c'.split(',') == ['a', 'b', 'c'] && 'a,b,c'.split(',', 2) == ['a', 'b,c']",
        "'a,b'.split(',', 0) == [] && 'a,b'.split(',', 1) == ['a,b'] && ''.split(',') == ['']",
        "'aßc'.split('') == ['a', 'ß', 'c'] && ''.split('') == [] && 'abc'.split('', 2) == ['a', 'bc']",
        "'tacocat'.substring(4) == 'cat' && req.text.substring(4, 5) == 'ß'",
        "' \\t x\\n'.trim() == 'x' && '  '.trim() == ''",
        "'gnüß'.reverse() == 'ßüng'",
        "strings.quote('a\"b\\n') == '\"a\\\\\"b\\\\n\"'",
        "'%s is %d, %.2f, %x'.format(['a', 2, 1.5, 255]) == 'a is 2, 1.50, ff'",
        "'%s'.format([req.map]) == '{k: v, n: 1}'",
        "'abc'.matches('^a.c$') && matches('abc', 'b')",
        "!'٣'.matches('\\\\d') && 'a1_'.matches('^[\\\\w]+$') && 'a b'.matches('a\\\\sb\\\\b')",
        "req.value.matches('t' + 'e')",
        "base64.encode(b'hello') == 'aGVsbG8=' && base64.decode('aGVsbG8') == b'hello'",
        "'a' < 'b' && b'a' < b'b' && 'a' + 'b' == 'ab' && b'a' + b'b' == b'ab'",
    ]);
    assert_eq!(fault("'abc'.charAt(4) == ''"), "index out of range: 4");
    assert_eq!(
        fault("'abc'.substring(2, 1) == ''"),
        "invalid substring range. start: 2, end: 1"
    );
    assert_eq!(
        fault("'abc'.indexOf('a', -1) == 0"),
        "index out of range: -1"
    );
    assert_eq!(
        fault("base64.decode('?') == b''"),
        "base64.decode: not base64"
    );
    assert_eq!(
        fault("'a'.matches(req.text + '(')"),
        "invalid regular expression: unclosed group"
    );
}

#[test]
fn sets_are_compared_by_value() {
    assert_all_true(&[
        "sets.contains(req.list, [1, 2])",
        "!sets.contains([1], req.list)",
        "sets.contains([], [])",
        "sets.equivalent(['a', 'b', 'a'], req.names)",
        "!sets.equivalent(['a'], req.names)",
        "sets.intersects(req.names, ['z', 'b'])",
        "!sets.intersects(req.names, [])",
    ]);
}

#[test]
fn arithmetic_conversions_and_time_work() {
    assert_all_true(&[
        "7 / 2 == 3 && -7 % 2 == -1 && 7u / 2u == 3u && 1.0 / 2.0 == 0.5",
        "int('-12') == -12 && uint('12') == 12u && double('1e3') == 1000.0 && bool('true')",
        "int(-1.9) == -1 && uint(1.9) == 1u && double(2) == 2.0 && string(12u) == '12'",
        "string(true) == 'true' && string(b'a') == 'a' && bytes('ß').size() == 2",
        "[1] + [2] == [1, 2] && 1 in {1: 'a'} && dyn(1.0) in {1: 'a'} && !('b' in {'a': 1})",
        "{'a': 1, 'b': 2} == {'b': 2, 'a': 1} && {1: 'x'}[dyn(1u)] == 'x'",
        "type(1) == int && type([]) == list && type(null) == null_type && type(int) == type",
        "req['null'] == null && req.three != null && type(req.map) == map",
        "timestamp(req.time) < timestamp('2026-02-03T04:05:07Z')",
        "timestamp(req.time) - timestamp('2026-02-03T04:05:00Z') == duration('6s')",
        "timestamp(req.time) + duration('1h') == timestamp('2026-02-03T05:05:06Z')",
        "timestamp(req.time).getHours() == 4 && timestamp(req.time).getMonth() == 1",
        "timestamp(req.time).getHours('Europe/Berlin') == 5",
        "duration('90m').getHours() == 1 && int(timestamp('1970-01-01T00:00:05Z')) == 5",
        "string(timestamp(req.time)) == req.time",
        "type(duration('1s')) == type(duration('2s'))",
    ]);
    assert_eq!(fault("9223372036854775807 + 1 == 0"), "integer overflow");
    assert_eq!(fault("-9223372036854775808 - 1 == 0"), "integer overflow");
    assert_eq!(fault("1u - 2u == 0u"), "unsigned integer overflow");
    assert_eq!(fault("1 / 0 == 0"), "division by zero");
    assert_eq!(fault("1 % 0 == 0"), "modulus by zero");
    assert_eq!(
        fault("int('x') == 0"),
        "type conversion error from 'string' to 'int'"
    );
    assert_eq!(
        fault("int(1e300) == 0"),
        "type conversion error from 'double' to 'int'"
    );
    assert_eq!(
        fault("uint(-1) == 0u"),
        "type conversion error from 'int' to 'uint'"
    );
    for source in [
        "timestamp('nope') == timestamp('nope')",
        "duration('nope') == duration('1s')",
        "timestamp('9999-12-31T23:59:59Z') + duration('24h') == timestamp(0)",
        "timestamp(9223372036854775807) == timestamp(0)",
        "duration('99999999999999h') == duration('1s')",
        "timestamp(req.time).getHours('No/Where') == 1",
        "'%.999999999f'.format([1.0]) == ''",
        "'%d'.format(['x']) == ''",
    ] {
        assert!(
            matches!(eval(source), Err(CelError::Evaluation { .. })),
            "{source}"
        );
    }
}

#[test]
fn a_long_source_is_refused() {
    let longest = format!("true{}", " ".repeat(MAX_SOURCE - 4));
    assert_eq!(compile_error(&longest), "compiles");
    assert_eq!(
        compile_error(&format!("{longest} ")),
        "expression is 4097 bytes long; the limit is 4096"
    );
}

#[test]
fn deep_and_wide_sources_are_refused_without_overflowing_the_stack() {
    let fill = |part: &str, around: &str| part.repeat((MAX_SOURCE - around.len()) / part.len());
    let ladder = |count: usize| format!("{}true", "!(".repeat(count)) + &")".repeat(count);
    let mut wide = "[1".to_owned();
    for _ in 0..MAX_NODES {
        wide.push_str(",1");
    }
    for source in [
        fill("(", ""),
        fill("[", ""),
        fill("{", ""),
        fill("{1:", ""),
        fill("-", "1") + "1",
        fill("- ", "1") + "1",
        format!("req{}", fill(".a", "req")),
        format!("req{}", fill("[0]", "req")),
        format!("req{}", fill(".f()", "req")),
        format!("1{}", fill("+1", "1")),
        format!("true{}", fill("?1:1", "true")),
        format!("1{}", fill("==1", "1")),
        fill("f(", ""),
        fill("a.map(x,", ""),
        fill("a?", ""),
        fill("'", ""),
        ladder(MAX_DEPTH),
        ladder(1000),
        wide + "]",
    ] {
        // A panic of the parser would come back as `CelError::Parser`.
        match Expression::filter(&source, &FILTER) {
            Err(CelError::Parser { .. }) | Ok(_) => panic!("{source}"),
            Err(_) => {}
        }
    }
    assert_eq!(compile_error(&ladder(MAX_DEPTH / 2)), "compiles");
    assert_eq!(
        compile_error(&format!("req{} == 1", ".a".repeat(MAX_DEPTH))),
        CelError::TooDeep.to_string()
    );
    assert_eq!(
        compile_error(&format!("req{} == 1", ".a".repeat(MAX_DEPTH - 2))),
        "compiles"
    );
}

#[test]
fn too_many_patterns_are_refused() {
    let mut source = "false".to_owned();
    for index in 0..17 {
        write!(source, " || req.a.matches('{index}')").unwrap();
    }
    assert_eq!(
        compile_error(&source),
        CelError::TooManyPatterns.to_string()
    );
}

/// Everything below multiplies work or memory; all of it ends with the same error.
#[test]
fn an_expression_that_explodes_runs_out_of_steps() {
    let req = json!({
        "list": vec![0; 3_000],
        "text": "a".repeat(1 << 20),
        "deep": "b".repeat(1 << 20),
    });
    let res = json!({});
    let scope = Scope {
        res: Some(&res),
        req: Some(&req),
        ..Scope::default()
    };
    let doubling = format!("optional.of('ab'){}", ".optMap(a,a+a)".repeat(60));
    for source in [
        "req.list.all(a, req.list.all(b, req.list.all(c, true)))",
        "req.list.map(a, req.list).map(b, b.map(c, c)).size() == 0",
        "req.text.split('').map(a, req.text.split('')).size() == 0",
        "req.text.replace('a', req.deep) == ''",
        "req.text.replace('', req.deep) == ''",
        "req.list.map(a, req.text.upperAscii()).size() == 0",
        "req.list.all(a, req.text.contains(req.deep) == false)",
        "req.list.all(a, !req.text.matches('(x+x+)+y$'))",
        "req.list.all(a, !req.text.matches('b' + 'c'))",
        "req.list.all(a, sets.equivalent(req.list, req.list))",
        "req.list.map(a, req.text).join(req.text) == ''",
        "req.list.all(a, '%s'.format([req.text]) != '')",
        "req.list.all(a, req.text == req.text) || true",
        "{'a': req.list}.a.map(x, [req.list, req.list].map(y, y + y)).size() == 0",
        &format!("{doubling} == optional.none()"),
    ] {
        let expression =
            Expression::filter(source, &FILTER).unwrap_or_else(|e| panic!("{source}: {e}"));
        assert_eq!(expression.matches(&scope), Err(CelError::Cost), "{source}");
    }
}

#[test]
fn a_body_of_the_largest_size_is_filtered_within_the_limit() {
    let req = json!({"text": "a".repeat(25 << 20), "list": vec![1; 300_000]});
    let res = json!({});
    let scope = Scope {
        res: Some(&res),
        req: Some(&req),
        ..Scope::default()
    };
    for source in [
        "!req.text.contains('b')",
        "req.text.size() > 0",
        "!req.text.substring(0, 1000000).matches('b$')",
        "req.text.startsWith('a') && req.text.substring(0, 3) == 'aaa'",
        "req.list.all(x, x == 1)",
        "req.list.last().value() == 1",
    ] {
        let result = Expression::filter(source, &FILTER).unwrap().matches(&scope);
        assert_eq!(result, Ok(true), "{source}");
    }
}

#[test]
fn json_of_the_deepest_kind_is_compared_and_copied() {
    let text = format!("{{\"a\":{}1{}}}", "[".repeat(126), "]".repeat(126));
    let claims = request_object(Some(b"application/json"), text.as_bytes()).unwrap();
    let scope = Scope {
        claims: Some(&claims),
        ..Scope::default()
    };
    let equal = Expression::filter("claims.a == claims.a && claims == claims", &OIDC).unwrap();
    assert_eq!(equal.matches(&scope), Ok(true));
    let copy = Expression::value("[[[claims]]]", &OIDC)
        .unwrap()
        .evaluate(&scope)
        .unwrap();
    assert_eq!(copy.type_name(), "list");
    assert_eq!(format!("{copy:?}"), "Value(list)");

    let deeper = format!("{{\"a\":{}1{}}}", "[".repeat(128), "]".repeat(128));
    let error = request_object(Some(b"application/json"), deeper.as_bytes()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("the body is not JSON: recursion limit exceeded")
    );
}

#[test]
fn the_body_is_read_only_as_json() {
    let body = br#"{"a": 1} trailing"#;
    let (read, not_read) = (json!({"a": 1}), json!({}));
    for (header, expected) in [
        ("application/json", &read),
        ("Application/JSON", &read),
        (" application/json ", &read),
        ("application/json; charset=utf-8", &read),
        ("application/json;", &read),
        ("application/json ; charset=\"utf-8\"; q=1", &read),
        ("application/json; a=1; a=1", &read),
        ("text/plain, application/json", &read),
        ("text, application/json", &read),
        ("application/json, ???", &read),
        ("", &not_read),
        ("???, application/json", &not_read),
        (", application/json", &not_read),
        ("application/json; charset", &not_read),
        ("application/json; charset=", &not_read),
        ("application/json; a=1; a=2", &not_read),
        ("application/json; a=\"open", &not_read),
        ("application/json; =1", &not_read),
        ("application /json", &not_read),
        ("application/", &not_read),
        ("application/json/x", &not_read),
        ("application/json charset=utf-8", &not_read),
        ("application/vnd.github+json", &not_read),
        ("application/x-www-form-urlencoded", &not_read),
        ("text/plain", &not_read),
    ] {
        assert_eq!(
            request_object(Some(header.as_bytes()), body).as_ref(),
            Ok(expected),
            "{header}"
        );
    }
    assert_eq!(request_object(None, body), Ok(not_read.clone()));
    assert_eq!(
        request_object(Some(b"\xff\xfe"), body),
        Ok(not_read.clone())
    );
    assert_eq!(request_object(None, b""), Ok(not_read));
}

#[test]
fn a_json_body_must_be_an_object() {
    let read = |body: &[u8]| request_object(Some(b"application/json"), body);
    assert_eq!(read(b"null"), Ok(json!({})));
    assert_eq!(read(b" {} {"), Ok(json!({})));
    assert_eq!(read(br#"{"a": 1, "a": 2}"#), Ok(json!({"a": 2})));
    assert_eq!(read(b"{\"a\": \"\xff\"}"), Ok(json!({"a": "\u{fffd}"})));
    assert_eq!(read(b"[]"), Err(CelError::NotObject { found: "an array" }));
    assert_eq!(
        read(b"\"x\""),
        Err(CelError::NotObject { found: "a string" })
    );
    assert_eq!(read(b"1"), Err(CelError::NotObject { found: "a number" }));
    assert_eq!(read(b"true"), Err(CelError::NotObject { found: "a bool" }));
    assert_eq!(
        read(b"").unwrap_err().to_string(),
        "the body is not JSON: EOF while parsing a value at line 1 column 0"
    );
    assert!(matches!(read(b"{\"a\":"), Err(CelError::Body { .. })));
    assert!(matches!(
        read(b"payload=%7B%7D"),
        Err(CelError::Body { .. })
    ));
}

#[test]
fn a_form_body_leaves_filters_without_keys() {
    let req = request_object(
        Some(b"application/x-www-form-urlencoded"),
        b"payload=%7B%7D",
    )
    .unwrap();
    let res = json!({});
    let scope = Scope {
        res: Some(&res),
        req: Some(&req),
        ..Scope::default()
    };
    let filter = Expression::filter("req.action == 'push'", &FILTER).unwrap();
    assert_eq!(
        filter.matches(&scope).unwrap_err().to_string(),
        "line 1, column 4: no such key: action"
    );
}

#[test]
fn expressions_cross_threads_and_show_their_source() {
    fn shared<T: Send + Sync>(value: T) -> T {
        value
    }
    let expression = shared(Expression::filter("true", &FILTER).unwrap());
    assert_eq!(expression.source(), "true");
    assert_eq!(format!("{expression:?}"), "Expression(\"true\")");
    shared(Vars::default());
}

/// Pieces that make many random sources parse.
fn soup() -> impl Strategy<Value = String> {
    let pieces = "req res claims x .a .?a [0] [?'a'] [ ] ( ) { } , : ? == != < >= + - * / % ! && || \
                  in 1 2u 1.5 'a' b'a' r'\\d' null true .map(x,x) .all(x,x==1) has(req.a) .size() \
                  .split('a') .last() .value() optional.of(1) timestamp('0') duration('1h') \
                  .format([1,'a']) '%s%d' .matches('a') sets.contains( int( \u{a0} ' \" ` \\ é //";
    let pieces = prop::sample::select(pieces.split(' ').collect::<Vec<_>>());
    prop::collection::vec(pieces, 0..24).prop_map(|pieces| pieces.join(" "))
}

/// One of the words of a list.
fn word(words: &'static str) -> impl Strategy<Value = &'static str> {
    prop::sample::select(words.split_whitespace().collect::<Vec<_>>())
}

/// Well-formed expressions, not all well-typed, over the variable `req`.
fn expression() -> impl Strategy<Value = String> {
    let leaf = word(
        "req req.a req.?b req.list 1 -1 9223372036854775807 2u 1e308 0.0 'aß' '' b'\\xff' null true \
         [] {} [1,2] optional.none() int timestamp(253402300799) duration('-100000h') '%s%d%x'",
    )
    .prop_map(str::to_owned);
    leaf.prop_recursive(5, 32, 3, |inner| {
        let binary = word("+ - * / % == != < <= > >= in && ||");
        let method = word(
            "size first last value hasValue trim reverse lowerAscii join getHours getMilliseconds \
             getDayOfYear getDate",
        );
        let method_with = word(
            "charAt indexOf lastIndexOf split substring format contains or orValue matches \
             startsWith getHours",
        );
        let function = word(
            "int uint double string bytes bool timestamp duration type size dyn optional.of \
             optional.ofNonZeroValue strings.quote base64.encode base64.decode - !",
        );
        let fold = word("all exists exists_one map filter optMap optFlatMap");
        prop_oneof![
            (inner.clone(), binary, inner.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            (inner.clone(), method).prop_map(|(a, name)| format!("dyn({a}).{name}()")),
            (inner.clone(), method_with, inner.clone())
                .prop_map(|(a, name, b)| format!("dyn({a}).{name}(dyn({b}))")),
            (function, inner.clone()).prop_map(|(name, a)| format!("{name}(dyn({a}))")),
            (inner.clone(), fold, inner.clone())
                .prop_map(|(a, name, b)| format!("dyn({a}).{name}(req, dyn({b}))")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("(dyn({a}) ? {b} : {c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("dyn({a})[dyn({b})]")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("dyn({a}).replace('', dyn({b}), 3)")),
        ]
    })
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        "\\PC{0,6}".prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map("[abx]", inner, 0..4)
                .prop_map(|fields| Json::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_source_makes_the_compiler_panic(source in "\\PC{0,80}") {
        // A panic of the parser would come back as this error.
        let broken = matches!(
            Expression::filter(&source, &OIDC_FILTER),
            Err(CelError::Parser { .. })
        );
        prop_assert!(!broken);
    }

    #[test]
    fn no_mix_of_tokens_makes_compiler_or_evaluation_panic(source in soup(), req in any_json()) {
        let compiled = Expression::value(&source, &OIDC_FILTER);
        let broken = matches!(compiled, Err(CelError::Parser { .. }));
        prop_assert!(!broken);
        if let Ok(expression) = compiled {
            let scope = Scope { req: Some(&req), ..Scope::default() };
            let _ = expression.evaluate(&scope);
        }
    }

    #[test]
    fn no_values_make_the_evaluation_panic_and_bool_filters_stay_bool(
        source in expression(), a in any_json(), b in any_json(),
    ) {
        let req = json!({"a": a, "b": b, "list": [1, "x", null]});
        let scope = Scope { req: Some(&req), ..Scope::default() };
        if let Ok(expression) = Expression::value(&source, &FILTER) {
            let _ = expression.evaluate(&scope);
        }
        if let Ok(filter) = Expression::filter(&source, &FILTER) {
            let mistyped = matches!(filter.matches(&scope), Err(CelError::OutputType { .. }));
            prop_assert!(!mistyped);
        }
    }

    #[test]
    fn no_header_or_body_makes_the_request_panic(
        header in prop::collection::vec(any::<u8>(), 0..24),
        body in prop::collection::vec(any::<u8>(), 0..24),
    ) {
        let _ = request_object(Some(&header), &body);
        let parameters = [b"application/json;".as_slice(), &header].concat();
        let _ = request_object(Some(&parameters), &body);
        let _ = request_object(Some(b"application/json"), &body);
    }
}
