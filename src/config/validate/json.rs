//! `plugins.<name>.config`: free-form, handed to the plugin as JSON.

use serde_json::{Map, Number, Value};

use super::super::raw::Node;
use super::reader::{Item, Reader, Section};

pub(super) fn object<'a>(reader: &mut Reader<'a>, item: &Item<'a>) -> Map<String, Value> {
    let section = reader.any_section(Some(item.clone()));
    members(reader, &section)
}

fn members<'a>(reader: &mut Reader<'a>, section: &Section<'a>) -> Map<String, Value> {
    section.items().map(|(name, item)| (name.to_owned(), value(reader, &item))).collect()
}

/// The value; `null` stands in for what cannot be said in JSON, which is a problem.
fn value<'a>(reader: &mut Reader<'a>, item: &Item<'a>) -> Value {
    match item.node {
        // A tag is a problem already.
        Node::Null | Node::Tagged(_) => Value::Null,
        Node::Bool(value, _) => Value::Bool(*value),
        Node::Integer(..) | Node::Float(..) => number(reader, item).map_or(Value::Null, Value::Number),
        // Without resolving, the references of a disabled plugin stay as they are written.
        Node::Text(written) => {
            reader.secret(item).map_or_else(|| written.clone(), |scalar| scalar.value.into_owned()).into()
        }
        Node::List(_) => {
            let elements = reader.list(Some(item.clone()));
            elements.iter().map(|element| value(reader, element)).collect::<Vec<_>>().into()
        }
        Node::Map(_) => object(reader, item).into(),
    }
}

fn number<'a>(reader: &mut Reader<'a>, item: &Item<'a>) -> Option<Number> {
    let number = match item.node {
        Node::Integer(value, _) => Number::from_i128(*value),
        // An integer with more than 128 bits is read as a float, which would not be what was written.
        Node::Float(value, written) if value.is_finite() && is_integer(written) => None,
        Node::Float(value, written) if value.is_finite() => {
            if significant(written) != significant(&value.to_string()) {
                reader.refuse(
                    item,
                    "a number with more digits than 64 bits hold cannot be passed to a plugin; put it in quotes",
                );
                return None;
            }
            Number::from_f64(*value)
        }
        Node::Float(..) => {
            reader.refuse(item, "a number that is infinite or none at all cannot be passed to a plugin");
            return None;
        }
        _ => None,
    };
    if number.is_none() {
        reader.refuse(item, "an integer with more than 64 bits cannot be passed to a plugin; put it in quotes");
    }
    number
}

/// Whether a number is written as one without point and exponent.
fn is_integer(written: &str) -> bool {
    written.trim_start_matches(['+', '-']).bytes().all(|byte| byte.is_ascii_digit())
}

/// The digits of a number that say more than its magnitude.
fn significant(number: &str) -> String {
    let mantissa = number.split(['e', 'E']).next().unwrap_or(number);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    digits.trim_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{problems, validate};

    fn config(yaml: &str) -> String {
        let yaml = format!("plugins:\n  echo:\n    config: {yaml}\n");
        let mut plugins = validate(&yaml).map_err(|problems| panic!("{problems}")).unwrap().plugins;
        serde_json::Value::from(plugins.remove("echo").unwrap().config).to_string()
    }

    #[test]
    fn values_keep_their_types() {
        for (yaml, expected) in [
            ("{a: 1, b: -1, c: 1.5, d: true, e: ~, f: x, g: '1', h: [1, [2]], i: {j: {}}}", {
                r#"{"a":1,"b":-1,"c":1.5,"d":true,"e":null,"f":"x","g":"1","h":[1,[2]],"i":{"j":{}}}"#
            }),
            ("{a: 18446744073709551615, b: -9223372036854775808}", {
                r#"{"a":18446744073709551615,"b":-9223372036854775808}"#
            }),
            ("{a: 1e30}", r#"{"a":1e+30}"#),
            // What is put in stays text, whatever it looks like.
            ("{a: '${FOUR}', b: '${TRUE}', c: '${NASTY}', e: '$${x}'}", {
                r#"{"a":"4","b":"true","c":"a # b: 'c' \"d\"\n- e","e":"${x}"}"#
            }),
            ("{'${FOUR}': 1}", r#"{"${FOUR}":1}"#),
        ] {
            assert_eq!(config(yaml), expected);
        }
    }

    #[test]
    fn what_json_cannot_say_is_refused() {
        let too_long = "an integer with more than 64 bits cannot be passed to a plugin; put it in quotes";
        let too_exact = "a number with more digits than 64 bits hold cannot be passed to a plugin; put it in quotes";
        let no_number = "a number that is infinite or none at all cannot be passed to a plugin";
        let fifty_digits = "9".repeat(50);
        for (yaml, message) in [
            ("18446744073709551616", too_long),
            ("-9223372036854775809", too_long),
            (fifty_digits.as_str(), too_long),
            ("123456789.123456789123", too_exact),
            ("0.1000000000000000055511151231257827", too_exact),
            (".inf", no_number),
            (".nan", no_number),
        ] {
            let yaml = format!("plugins:\n  echo:\n    config: {{a: [{yaml}]}}\n");
            assert_eq!(problems(&yaml), format!("c.yaml:3:18: plugins.echo.config.a[0]: {message}"));
        }
    }
}
