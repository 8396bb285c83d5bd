//! Calls an export that is named, with its arguments, as text.

use crate::failure::{Failure, chain};
use std::str::FromStr;
use vestibule_component_host::{Error, Func, Instance, Store, Type, Val};
use wasm_wave::untyped::UntypedFuncCall;

/// A call as it was written: `[interface#]name`, or `[interface#]name(args)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invocation {
    /// With its interface: `name`, or `interface#name`.
    name: String,
    /// Each argument's text, in WAVE.
    args: Vec<String>,
}

impl FromStr for Invocation {
    type Err = String;

    fn from_str(text: &str) -> Result<Invocation, String> {
        // The parenthesis ends the name: a `#` after it belongs to an argument. The name, its
        // interface with it, is none of WAVE's business: WAVE knows no interface names.
        let (name, rest) = match text.find('(') {
            Some(at) => text.split_at(at),
            None => (text, "()"),
        };
        let shift = name.chars().count();
        let name = name.trim();
        if name.is_empty() || name.starts_with('#') || name.ends_with('#') {
            return Err("a function's name is expected: `[interface#]name(args)`".to_owned());
        }
        // WAVE reads a call as a whole; any name will do.
        let source = format!("f{rest}");
        let call = UntypedFuncCall::parse(&source).map_err(|error| {
            let before = source
                .get(1..error.span().start)
                .unwrap_or_default()
                .chars()
                .count();
            let detail = error
                .detail()
                .map(|detail| format!(": {detail}"))
                .unwrap_or_default();
            let column = shift + before + 1;
            format!(
                "{}{detail}, at character {column} of the call",
                error.kind()
            )
        })?;
        let args = match call.params_node() {
            Some(params) => params.as_tuple().map_err(|error| error.to_string())?,
            None => {
                return Ok(Invocation {
                    name: name.to_owned(),
                    args: Vec::new(),
                });
            }
        };
        let args = args
            .map(|arg| source.get(arg.span()).unwrap_or_default().to_owned())
            .collect();
        Ok(Invocation {
            name: name.to_owned(),
            args,
        })
    }
}

pub(crate) fn invoke(
    store: &Store<()>,
    instance: &Instance,
    invocation: &Invocation,
) -> Result<Option<Val>, InvokeError> {
    let func = instance.get_func(store, &invocation.name);
    let func = func.map_err(|error| InvokeError::Other(error.into()))?;
    let args = arguments(&func, invocation).map_err(InvokeError::Other)?;
    let called = store.block_on(func.call(store, &args));
    called.map_err(InvokeError::Call)
}

/// How an invocation failed.
pub(crate) enum InvokeError {
    /// The call itself.
    Call(Error),
    /// What came before it.
    Other(Failure),
}

/// Reads the arguments as values of the parameters' types; as WAVE has it, trailing options may be
/// left out.
fn arguments(func: &Func, invocation: &Invocation) -> Result<Vec<Val>, Failure> {
    let Invocation { name, args } = invocation;
    let ty = func.ty();
    let mut texts = args.iter();
    let mut values = Vec::new();
    let mut params = 0;
    for (param, ty) in ty.params() {
        params += 1;
        match texts.next() {
            Some(text) => values.push(argument(func, name, param, ty, text)?),
            None if matches!(ty, Type::Option(_)) => values.push(Val::Option(None)),
            None => {}
        }
    }
    if args.len() > params || values.len() < params {
        let plural = if params == 1 { "" } else { "s" };
        return Err(Failure::Error(format!(
            "function `{name}` takes {params} argument{plural}, and {} given: it is `{ty}`",
            match args.len() {
                1 => "1 was".to_owned(),
                count => format!("{count} were"),
            }
        )));
    }
    Ok(values)
}

fn argument(func: &Func, name: &str, param: &str, ty: &Type, text: &str) -> Result<Val, Failure> {
    // The error's own text begins with what was found.
    Val::from_wave(ty, text).map_err(|error| {
        Failure::Error(format!(
            "argument `{param}` of function `{name}`: expected {ty}, found {}\n    \
             the function is `{}`",
            chain(&error),
            func.ty()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, Vec<String>) {
        match text.parse::<Invocation>() {
            Ok(call) => (call.name, call.args),
            Err(error) => panic!("{text}: {error}"),
        }
    }

    fn call(name: &str, args: &[&str]) -> (String, Vec<String>) {
        (
            name.to_owned(),
            args.iter().map(|&arg| arg.to_owned()).collect(),
        )
    }

    #[test]
    fn a_name_alone_has_no_arguments() {
        assert_eq!(parsed("run"), call("run", &[]));
        assert_eq!(parsed("run()"), call("run", &[]));
        assert_eq!(parsed(" run ( ) "), call("run", &[]));
    }

    #[test]
    fn the_interface_is_part_of_the_name() {
        let name = "demo:init/api@0.1.0#value";
        assert_eq!(parsed(name), call(name, &[]));
        assert_eq!(parsed(&format!("{name}(1)")), call(name, &["1"]));
        assert_eq!(
            parsed("a:b/c#[method]r.m(1)"),
            call("a:b/c#[method]r.m", &["1"])
        );
    }

    #[test]
    fn arguments_are_split_where_wave_splits_them() {
        let text = r##"f(1, "a, #(b", {x: 1, y: [2, 3]}, some((4, '5')))"##;
        let args = ["1", r##""a, #(b""##, "{x: 1, y: [2, 3]}", "some((4, '5'))"];
        assert_eq!(parsed(text), call("f", &args));
    }

    #[test]
    fn what_is_no_call_is_refused() {
        for text in ["", "(1)", "f(", "f(1", "f(1))", "f(1 2)", "a#", "#b", "f)("] {
            let parsed = text.parse::<Invocation>();
            assert!(parsed.is_err(), "{text}: {parsed:?}");
        }
    }
}
