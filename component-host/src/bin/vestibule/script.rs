//! Runs the directives of one script, in order, as wasmtime's runner does.

use crate::failure::chain;
use crate::order::{Log, executor};
use crate::values;
use std::collections::HashMap;
use vestibule_component_host::{Component, Engine, Error, Instance, Linker, Store, Val};
use vestibule_executor::{Choices, Executor};
use wast::token::Id;
use wast::{QuoteWat, QuoteWatTest, Wast, WastDirective, WastExecute, WastInvoke, Wat};

/// What one script has defined and instantiated so far.
pub(crate) struct Script {
    engine: Engine,
    choices: Option<Choices>,
    log: Log,
    definitions: HashMap<String, Component>,
    last_definition: Option<Component>,
    linker: Linker<()>,
    instances: HashMap<String, Live>,
    current: Option<Live>,
    /// Shared by all stores of the script: threads left over go on at the next call. Declared
    /// last, so that it is dropped after the stores.
    executor: Executor,
}

/// An instance, and the store that it alone lives in.
#[derive(Clone)]
struct Live {
    store: Store<()>,
    instance: Instance,
}

/// Why there is no component to instantiate.
enum Unbuilt {
    /// The bytes or the text were rejected, with this text.
    Rejected(String),
    NotSupported(&'static str),
}

const CORE_MODULE: Unbuilt = Unbuilt::NotSupported("a core module outside a component");

type Outcome = Result<(), String>;

impl Script {
    pub(crate) fn new(engine: Engine, choices: Option<Choices>, log: Log) -> Script {
        Script {
            engine,
            definitions: HashMap::new(),
            last_definition: None,
            linker: Linker::new(),
            instances: HashMap::new(),
            current: None,
            executor: executor(choices.as_ref(), log.clone()),
            choices,
            log,
        }
    }

    /// Drops all stores and what waits in them. Definitions stay.
    pub(crate) fn drop_stores(&mut self) {
        self.current = None;
        self.instances.clear();
        self.linker = Linker::new();
        self.executor = executor(self.choices.as_ref(), self.log.clone());
    }

    /// As [`drop_stores`](Script::drop_stores), for what a panic left: nothing of it is touched
    /// again, not even to drop it, which could panic again.
    pub(crate) fn forget_stores(&mut self) {
        std::mem::forget((
            self.current.take(),
            std::mem::take(&mut self.instances),
            std::mem::replace(&mut self.linker, Linker::new()),
            std::mem::replace(
                &mut self.executor,
                executor(self.choices.as_ref(), self.log.clone()),
            ),
        ));
    }

    /// Runs one directive; an error says what is wrong with it.
    pub(crate) fn run(&mut self, directive: WastDirective<'_>) -> Outcome {
        match directive {
            WastDirective::Module(wat) => self.component(wat),
            WastDirective::ModuleDefinition(wat) => self.definition(wat),
            WastDirective::ModuleInstance {
                instance, module, ..
            } => self.instance(instance, module),
            WastDirective::AssertMalformed {
                module, message, ..
            }
            | WastDirective::AssertInvalid {
                module, message, ..
            } => self.rejected(module, message),
            WastDirective::AssertUnlinkable {
                module, message, ..
            } => self.unlinkable(module, message),
            WastDirective::Invoke(invoke) => self
                .invoke(&invoke)?
                .map(drop)
                .map_err(|error| expected_success(&error)),
            WastDirective::AssertReturn { exec, results, .. } => match self.execute(exec)? {
                Ok(result) => values::compare(&results, result.as_ref()),
                Err(error) => Err(expected_success(&error)),
            },
            WastDirective::AssertTrap { exec, message, .. }
            | WastDirective::AssertSuspension { exec, message, .. } => {
                trapped(self.execute(exec)?, message)
            }
            WastDirective::AssertExhaustion { call, message, .. } => {
                trapped(self.invoke(&call)?, message)
            }
            other => Err(format!("not supported: {}", kind(&other))),
        }
    }

    /// `(component ..)`: validated, instantiated in a fresh store, and the current instance.
    fn component(&mut self, wat: QuoteWat<'_>) -> Outcome {
        // When this fails, later calls must fail too, and not reach an older instance.
        self.current = None;
        let name = wat.name();
        let component = self.build(wat).map_err(not_built)?;
        self.make_current(name, &component)
    }

    /// `(component definition ..)`: validated, compiled, and remembered.
    fn definition(&mut self, wat: QuoteWat<'_>) -> Outcome {
        self.last_definition = None;
        let name = wat.name();
        if let Some(name) = name {
            self.definitions.remove(name.name());
        }
        let component = self.build(wat).map_err(not_built)?;
        if let Some(name) = name {
            self.definitions
                .insert(name.name().to_owned(), component.clone());
        }
        self.last_definition = Some(component);
        Ok(())
    }

    /// `(component instance $instance $definition)`.
    fn instance(&mut self, name: Option<Id<'_>>, definition: Option<Id<'_>>) -> Outcome {
        self.current = None;
        let component = match definition {
            Some(id) => self.definitions.get(id.name()).cloned().ok_or_else(|| {
                format!(
                    "there is no component definition `${}`, or it failed",
                    id.name()
                )
            }),
            None => self
                .last_definition
                .clone()
                .ok_or_else(|| "there is no component definition before it".to_owned()),
        }?;
        self.make_current(name, &component)
    }

    fn make_current(&mut self, name: Option<Id<'_>>, component: &Component) -> Outcome {
        if let Some(name) = name {
            self.instances.remove(name.name());
        }
        let live = self
            .instantiate(component)
            .map_err(|error| expected_success(&error))?;
        if let Some(name) = name {
            // Later components import core modules and resource types by the instance's name.
            live.instance
                .define_in(&mut self.linker, name.name())
                .map_err(|error| expected_success(&error))?;
            self.instances.insert(name.name().to_owned(), live.clone());
        }
        self.current = Some(live);
        Ok(())
    }

    fn instantiate(&self, component: &Component) -> Result<Live, Error> {
        let store = Store::new(&self.engine, &self.executor, ());
        let instance = self.linker.instantiate(&store, component)?;
        Ok(Live { store, instance })
    }

    fn build(&self, mut wat: QuoteWat<'_>) -> Result<Component, Unbuilt> {
        if matches!(
            wat,
            QuoteWat::Wat(Wat::Module(_)) | QuoteWat::QuoteModule(..)
        ) {
            return Err(CORE_MODULE);
        }
        // What is quoted goes to the host as text, as an embedder's would.
        let (QuoteWatTest::Binary(bytes) | QuoteWatTest::Text(bytes)) = wat
            .to_test()
            .map_err(|error| Unbuilt::Rejected(error.message()))?;
        Component::new(&self.engine, &bytes).map_err(|error| Unbuilt::Rejected(chain(&error)))
    }

    /// The outer result is the script's fault, the inner one what the guest came to.
    fn execute(&mut self, execute: WastExecute<'_>) -> Result<Result<Option<Val>, Error>, String> {
        match execute {
            WastExecute::Invoke(invoke) => self.invoke(&invoke),
            WastExecute::Wat(wat) => {
                let component = self.build(QuoteWat::Wat(wat)).map_err(not_built)?;
                Ok(self.instantiate(&component).map(|_| None))
            }
            WastExecute::Get { .. } => Err("not supported: get".to_owned()),
        }
    }

    fn invoke(&mut self, invoke: &WastInvoke<'_>) -> Result<Result<Option<Val>, Error>, String> {
        let live = match invoke.module {
            Some(id) => self
                .instances
                .get(id.name())
                .ok_or_else(|| format!("there is no instance `${}`, or it failed", id.name())),
            None => self
                .current
                .as_ref()
                .ok_or_else(|| "there is no current instance: the last one failed".to_owned()),
        }?;
        let args = values::arguments(&invoke.args)?;
        let func = live
            .instance
            .get_func(&live.store, invoke.name)
            .map_err(|error| expected_success(&error))?;
        Ok(live.store.block_on(func.call(&live.store, &args)))
    }

    /// `assert_invalid` and `assert_malformed`.
    fn rejected(&self, wat: QuoteWat<'_>, message: &str) -> Outcome {
        match self.build(wat) {
            Ok(_) => Err(format!(
                "expected it to be rejected with \"{message}\", got accepted"
            )),
            Err(Unbuilt::Rejected(text)) if text.contains(message) => Ok(()),
            Err(Unbuilt::Rejected(text)) => Err(format!(
                "rejected, with another text: expected \"{message}\", got \"{text}\""
            )),
            Err(other) => Err(not_built(other)),
        }
    }

    fn unlinkable(&self, wat: Wat<'_>, message: &str) -> Outcome {
        let component = self.build(QuoteWat::Wat(wat)).map_err(not_built)?;
        match self.instantiate(&component) {
            Ok(_) => Err(format!("expected \"{message}\", got an instance")),
            Err(error) => failed_with(&error, message),
        }
    }
}

fn trapped(result: Result<Option<Val>, Error>, message: &str) -> Outcome {
    match result {
        Ok(Some(value)) => Err(format!("expected trap \"{message}\", got {value}")),
        Ok(None) => Err(format!("expected trap \"{message}\", got success")),
        Err(error) => failed_with(&error, message),
    }
}

/// The text may stand anywhere in the chain.
fn failed_with(error: &Error, message: &str) -> Outcome {
    let text = chain(error);
    if text.contains(message) {
        return Ok(());
    }
    Err(format!("expected \"{message}\", got \"{text}\""))
}

fn expected_success(error: &Error) -> String {
    format!("expected success, got \"{}\"", chain(error))
}

fn not_built(unbuilt: Unbuilt) -> String {
    match unbuilt {
        Unbuilt::Rejected(text) => format!("expected a valid component, got \"{text}\""),
        Unbuilt::NotSupported(what) => format!("not supported: {what}"),
    }
}

/// Parses a script and hands its directives to `f`; an error has its message and its place.
pub(crate) fn parse<R>(
    text: &str,
    f: impl FnOnce(Vec<WastDirective<'_>>) -> R,
) -> Result<R, wast::Error> {
    let mut lexer = wast::lexer::Lexer::new(text);
    // Scripts test strings of all kinds, also those that look like something else.
    lexer.allow_confusing_unicode(true);
    let buffer = wast::parser::ParseBuffer::new_with_lexer(lexer)?;
    let script = wast::parser::parse::<Wast<'_>>(&buffer)?;
    Ok(f(script.directives))
}

/// The directive's keywords.
pub(crate) fn kind(directive: &WastDirective<'_>) -> &'static str {
    match directive {
        WastDirective::Module(wat) if is_core(wat) => "module",
        WastDirective::Module(_) => "component",
        WastDirective::ModuleDefinition(wat) if is_core(wat) => "module definition",
        WastDirective::ModuleDefinition(_) => "component definition",
        WastDirective::ModuleInstance { .. } => "component instance",
        WastDirective::AssertMalformed { .. } => "assert_malformed",
        WastDirective::AssertMalformedCustom { .. } => "assert_malformed_custom",
        WastDirective::AssertInvalid { .. } => "assert_invalid",
        WastDirective::AssertInvalidCustom { .. } => "assert_invalid_custom",
        WastDirective::Register { .. } => "register",
        WastDirective::Invoke(_) => "invoke",
        WastDirective::AssertTrap { .. } => "assert_trap",
        WastDirective::AssertReturn { .. } => "assert_return",
        WastDirective::AssertExhaustion { .. } => "assert_exhaustion",
        WastDirective::AssertUnlinkable { .. } => "assert_unlinkable",
        WastDirective::AssertException { .. } => "assert_exception",
        WastDirective::AssertSuspension { .. } => "assert_suspension",
        WastDirective::Thread(_) => "thread",
        WastDirective::Wait { .. } => "wait",
    }
}

fn is_core(wat: &QuoteWat<'_>) -> bool {
    matches!(
        wat,
        QuoteWat::Wat(Wat::Module(_)) | QuoteWat::QuoteModule(..)
    )
}
