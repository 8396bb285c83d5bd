//! The order of ready threads: a function of the seed, recorded, and made again from the record.

mod common;

use common::Host;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::process::{Command, Output};
use std::rc::Rc;
use vestibule_component_host::{Config, Engine, Val};
use vestibule_executor::{ChoiceTrace, Choices, Executor, Hooks, PollOutcome, Schedule, TaskId};

const TURNS: &str = include_str!("schedules.wat");

/// What the executor did, as text: tasks are numbered in the order in which they were spawned.
#[derive(Clone, Default)]
struct Events(Rc<RefCell<(HashMap<TaskId, usize>, String)>>);

impl Hooks for Events {
    fn on_spawn(&self, id: TaskId, name: Option<&str>) {
        let (numbers, text) = &mut *self.0.borrow_mut();
        let number = numbers.len();
        // Ids may be used again.
        numbers.insert(id, number);
        text.push_str(&format!("spawn {number} {}\n", name.unwrap_or_default()));
    }

    fn after_poll(&self, id: TaskId, outcome: PollOutcome) {
        let (numbers, text) = &mut *self.0.borrow_mut();
        text.push_str(&format!("poll {:?} {outcome:?}\n", numbers.get(&id)));
    }
}

/// Runs the component: who had which turn, what was chosen, and what the executor did.
fn run(choices: &Choices) -> (u32, String, String) {
    let events = Events::default();
    let host = Host {
        executor: Executor::builder()
            .schedule(Schedule::Choices(choices.clone()))
            .hooks(events.clone())
            .build(),
        engine: Engine::default(),
    };
    let (store, instance) = host.instantiate(TURNS).unwrap();
    let run = instance.get_func(&store, "run").unwrap();
    let turns = match store.block_on(run.call(&store, &[])).unwrap() {
        Some(Val::U32(turns)) => turns,
        other => panic!("run returned {other:?}"),
    };
    assert!(store.is_quiet().unwrap());
    let text = events.0.take().1;
    (turns, choices.to_string(), text)
}

#[test]
fn one_seed_gives_one_trace_and_replaying_it_gives_the_same_events() {
    let mut orders = HashSet::new();
    for seed in 0..50 {
        let first = run(&Choices::seeded(seed));
        assert_eq!(first, run(&Choices::seeded(seed)), "seed {seed}");
        let trace: ChoiceTrace = first.1.parse().unwrap();
        assert!(
            trace.0.len() > 5,
            "there is something to choose: {}",
            first.1
        );
        let replay = Choices::replayed(trace);
        assert_eq!(first, run(&replay), "the replay of seed {seed}");
        assert!(!replay.has_diverged());
        orders.insert(first.0);
    }
    assert!(orders.len() > 20, "{} orders in 50 seeds", orders.len());
}

#[test]
fn the_executor_of_a_configuration_takes_its_seed() {
    let turns = |config: Config| {
        let engine = Engine::new(config);
        let executor = engine.executor();
        let host = Host { executor, engine };
        let (store, instance) = host.instantiate(TURNS).unwrap();
        let run = instance.get_func(&store, "run").unwrap();
        store.block_on(run.call(&store, &[])).unwrap()
    };
    for seed in 0..10 {
        let (recorded, _, _) = run(&Choices::seeded(seed));
        let configured = turns(Config::new().seed(seed));
        assert_eq!(configured, Some(Val::U32(recorded)), "seed {seed}");
    }
}

#[test]
fn the_replay_of_something_else_says_that_it_is_not_the_same() {
    let replay = Choices::replayed("9:3 9:3 9:3".parse().unwrap());
    run(&replay);
    assert!(replay.has_diverged());
}

fn wast(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vestibule"))
        .arg("wast")
        .args(args)
        .output()
        .expect("the command can be run")
}

#[test]
fn a_script_that_relies_on_an_order_fails_with_the_choices_that_show_it() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("schedules");
    fs::create_dir_all(&folder).unwrap();
    let script = folder.join("relies-on-an-order.wast");
    // First come, first served.
    let turns = (0..4).fold(0u32, |turns, _| (turns << 6) | 0b00_01_10);
    let text = format!("{TURNS}\n(assert_return (invoke \"run\") (u32.const {turns}))\n");
    fs::write(&script, text).unwrap();
    let script = script.to_str().unwrap();
    assert!(wast(&[script]).status.success(), "in the usual order");

    let failed = wast(&["--seed", "3", script]);
    assert_eq!(failed.status.code(), Some(1));
    assert_eq!(failed.stdout, wast(&["--seed", "3", script]).stdout);
    let text = String::from_utf8(failed.stdout).unwrap();
    let (_, rest) = text
        .split_once("with --seed 3, which chose: --replay '")
        .unwrap_or_else(|| panic!("no choices in {text}"));
    let (choices, _) = rest.split_once('\'').unwrap();

    let replayed = wast(&["--replay", choices, script]);
    assert_eq!(replayed.status.code(), Some(1));
    let again = String::from_utf8(replayed.stdout).unwrap();
    let failure = |text: &str| text.lines().nth(1).map(str::to_owned);
    assert_eq!(failure(&again), failure(&text), "the same failure");
    let choices = format!("with --replay '{choices}'");
    assert!(again.contains(&choices), "the same choices: {again}");

    let wrong = wast(&["--replay", "3:3", script]);
    assert_eq!(wrong.status.code(), Some(2));
    let other = wast(&["--replay", "9:8", script]);
    let text = String::from_utf8(other.stdout).unwrap();
    // Whether it passes or not, a replay of something else is not taken for the run it was made of.
    assert!(
        other.status.success() || text.contains("met other choices"),
        "{text}"
    );
}
