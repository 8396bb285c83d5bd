//! Runs the executor's tests, then its loom models, under every mutant of `cargo mutants`.
//!
//! All mutants that can be are compiled into one program and switched on by a number in the environment
//! (switch.rs); the others are built one by one. A first run of each test notes which mutants it
//! reaches, so that a mutant is tried with those tests alone.

mod programs;
mod switch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::{env, fs, thread};

use programs::{Program, Test, Verdict};

/// What cargo-mutants would change.
pub struct Mutant {
    pub number: usize,
    pub file: String,
    pub name: String,
    pub genre: String,
    pub range: Range<usize>,
    pub replacement: String,
    /// It returns `impl Trait`.
    pub hides_its_type: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    DoesNotBuild,
    Tests(Verdict),
    Models(Verdict),
    Survived { reached: bool },
}

/// What is built, with its tests: the executor with its features, without, and under loom.
const FEATURES: [&str; 10] = [
    "-p",
    "vestibule-executor",
    "--profile=mutants",
    "--all-features",
    "--lib",
    "--test=suite",
    "--test=leaks",
    "--test=model",
    "--test=blocking_detector",
    "--test=futures_guard",
];
const PLAIN: [&str; 7] = [
    "-p",
    "vestibule-executor",
    "--profile=mutants",
    "--lib",
    "--test=suite",
    "--test=leaks",
    "--test=model",
];
const LOOM: [&str; 2] = ["-p", "vestibule-loom-tests"];

fn main() -> ExitCode {
    // What is named on the command line is a part of a mutant's name.
    let parts: Vec<String> = env::args().skip(1).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().unwrap();
    let run = Run::new(&root, &parts);
    let outcomes = run.all();
    run.report(&outcomes);
    ExitCode::SUCCESS
}

struct Run {
    mutants: Vec<Mutant>,
    sources: BTreeMap<String, String>,
    /// Where cargo builds.
    target: PathBuf,
    /// A copy of the workspace with all mutants in it, and one that has one of them at a time.
    switched: PathBuf,
    single: PathBuf,
}

impl Run {
    fn new(root: &Path, parts: &[String]) -> Self {
        let scratch = root.join("target/mutants-switched");
        let run = |tree: &str| {
            let to = scratch.join(tree);
            let _ = fs::remove_dir_all(&to);
            fs::create_dir_all(&to).unwrap();
            let copy = "git ls-files -z | xargs -0 cp --parents -t \"$0\"";
            let mut copy_all = Command::new("sh");
            copy_all.args(["-c", copy]).arg(&to).current_dir(root);
            assert!(copy_all.status().unwrap().success());
            to
        };
        let (switched, single) = (run("all"), run("one"));
        let mutants = list(root, parts);
        let files: BTreeSet<_> = mutants.iter().map(|it| it.file.clone()).collect();
        let read = |file: String| (file.clone(), fs::read_to_string(root.join(file)).unwrap());
        Self {
            sources: files.into_iter().map(read).collect(),
            mutants,
            target: scratch.join("build"),
            switched,
            single,
        }
    }

    fn all(&self) -> Vec<Outcome> {
        let mut outcomes = vec![Outcome::Survived { reached: false }; self.mutants.len()];
        let apart = self.switch(&mut outcomes);
        let (all, alone) = (self.mutants.len(), apart.len());
        println!("{all} mutants, {alone} of them built one by one");
        let outcomes = Mutex::new(outcomes);
        thread::scope(|scope| {
            scope.spawn(|| self.try_apart(&apart, &outcomes));
            for (what, outcome) in [
                (&FEATURES[..], Outcome::Tests as fn(_) -> _),
                (&PLAIN, Outcome::Tests),
                (&LOOM, Outcome::Models),
            ] {
                let programs = programs::build(&self.switched, &self.target, what).unwrap();
                let programs = programs::reached(programs, &self.target);
                let is_left = |index: &usize| {
                    let survived =
                        matches!(outcomes.lock().unwrap()[*index], Outcome::Survived { .. });
                    survived && !apart.contains(&(index + 1))
                };
                let left = (0..all).rev().filter(is_left).collect();
                self.try_switched(&programs, left, &outcomes, outcome);
            }
        });
        outcomes.into_inner().unwrap()
    }

    /// Writes the tree that has all mutants; returns those that it does not have and that may build.
    fn switch(&self, outcomes: &mut [Outcome]) -> BTreeSet<usize> {
        let parsed: HashMap<_, _> = self
            .sources
            .iter()
            .map(|(file, source)| (file, syn::parse_file(source).unwrap()))
            .collect();
        let parsed_all: Vec<_> = parsed.values().cloned().collect();
        let in_constants = switch::called_in_constants(&parsed_all);
        let lib = "executor/src/lib.rs";
        let text = fs::read_to_string(self.switched.join(lib)).unwrap();
        fs::write(self.switched.join(lib), text + "\nmod mutant;\n").unwrap();
        fs::write(self.switched.join("executor/src/mutant.rs"), switch::MODULE).unwrap();
        // Those that the compiler refuses, and whether they were the cause.
        let mut refused = BTreeMap::new();
        loop {
            let left_out: BTreeSet<usize> = refused.keys().copied().collect();
            let mut apart = left_out.clone();
            let mut texts = HashMap::new();
            for (file, source) in &self.sources {
                let mutants: Vec<_> = self.mutants.iter().filter(|it| it.file == *file).collect();
                let switched =
                    switch::switch(source, &parsed[file], &mutants, &left_out, &in_constants);
                apart.extend(switched.apart);
                fs::write(self.switched.join(file), &switched.text).unwrap();
                texts.insert(file.clone(), switched.text);
            }
            let errors = self.errors(&self.switched);
            if errors.is_empty() {
                break self.may_build(apart, &refused, outcomes);
            }
            println!("{} errors", errors.len());
            for error in errors {
                let text = texts
                    .get(&error.file)
                    .unwrap_or_else(|| panic!("{}", error.text));
                let (certain, numbers) =
                    blame(text, error.at).unwrap_or_else(|| panic!("{}", error.text));
                for number in numbers {
                    let certain = certain && self.is_certain(number, &error.code);
                    *refused.entry(number).or_insert(false) |= certain;
                }
            }
        }
    }

    /// What the compiler says against a tree; of what it says more than once, the first.
    fn errors(&self, tree: &Path) -> Vec<programs::Error> {
        let loom = [LOOM[0], LOOM[1], "--lib"];
        let mut all = [&FEATURES[..5], &PLAIN[..4], &loom].into_iter();
        all.find_map(|what| {
            let errors = programs::errors(tree, &self.target, what);
            (!errors.is_empty()).then_some(errors)
        })
        .unwrap_or_default()
    }

    /// Whether what the compiler says of the code that the mutant adds, it would say of the mutant.
    fn is_certain(&self, number: usize, code: &str) -> bool {
        let mutant = &self.mutants[number - 1];
        match &*mutant.genre {
            "FnValue" => true,
            // There is no such operation on these types.
            "BinaryOperator" => matches!(code, "E0369" | "E0277" | "E0368" | "E0067"),
            _ => false,
        }
    }

    fn may_build(
        &self,
        apart: BTreeSet<usize>,
        refused: &BTreeMap<usize, bool>,
        outcomes: &mut [Outcome],
    ) -> BTreeSet<usize> {
        let (sure, ask): (BTreeSet<_>, BTreeSet<_>) = apart
            .into_iter()
            .partition(|it| refused.get(it) == Some(&true));
        for number in sure {
            outcomes[number - 1] = Outcome::DoesNotBuild;
        }
        ask
    }

    /// Tries those that are left, from the last, with the tests that reach them.
    fn try_switched(
        &self,
        programs: &[(Program, Vec<Test>)],
        left: Vec<usize>,
        outcomes: &Mutex<Vec<Outcome>>,
        outcome: fn(Verdict) -> Outcome,
    ) {
        let left = Mutex::new(left);
        let work = || {
            while let Some(index) = { left.lock().unwrap().pop() } {
                let number = index + 1;
                let mutant = [("MUTANT", number.to_string())];
                let mut any = false;
                let verdict = programs.iter().find_map(|(program, tests)| {
                    let tests = tests.iter().filter(|it| it.reached.contains(&number));
                    let tests: Vec<_> = tests.collect();
                    any |= !tests.is_empty();
                    (!tests.is_empty())
                        .then(|| program.fails(&mutant, &tests))
                        .flatten()
                });
                let outcome = match (verdict, &outcomes.lock().unwrap()[index]) {
                    (Some(verdict), _) => outcome(verdict),
                    (None, Outcome::Survived { reached }) => Outcome::Survived {
                        reached: any || *reached,
                    },
                    (None, _) => unreachable!(),
                };
                println!("{} {outcome:?}", self.mutants[index].name);
                outcomes.lock().unwrap()[index] = outcome;
            }
        };
        thread::scope(|scope| {
            for _ in 0..jobs() {
                scope.spawn(work);
            }
        });
    }

    /// Builds what can't be switched, one by one.
    fn try_apart(&self, apart: &BTreeSet<usize>, outcomes: &Mutex<Vec<Outcome>>) {
        for &number in apart {
            let mutant = &self.mutants[number - 1];
            let source = &self.sources[&mutant.file];
            let Range { start, end } = mutant.range;
            let mutated = [&source[..start], &mutant.replacement, &source[end..]].concat();
            let file = self.single.join(&mutant.file);
            fs::write(&file, mutated).unwrap();
            let outcome = self.try_one();
            println!("{} {outcome:?}", mutant.name);
            outcomes.lock().unwrap()[number - 1] = outcome;
            fs::write(&file, source).unwrap();
        }
    }

    fn try_one(&self) -> Outcome {
        // One program at a time: the first ones are built quickly, and see most.
        let features = FEATURES[4..]
            .iter()
            .map(|it| [&FEATURES[..4], &[*it]].concat());
        let plain = PLAIN[3..].iter().map(|it| [&PLAIN[..3], &[*it]].concat());
        let tests = features
            .chain(plain)
            .map(|it| (it, Outcome::Tests as fn(_) -> _));
        let models = [(LOOM.to_vec(), Outcome::Models as fn(_) -> _)];
        for (what, outcome) in tests.chain(models) {
            let Some(programs) = programs::build(&self.single, &self.target.join("one"), &what)
            else {
                return Outcome::DoesNotBuild;
            };
            let mut verdicts = programs.iter().map(|it| it.fails(&[], &[]));
            if let Some(verdict) = verdicts.find_map(|it| it) {
                return outcome(verdict);
            }
        }
        Outcome::Survived { reached: true }
    }

    fn report(&self, outcomes: &[Outcome]) {
        println!(
            "\n| file | mutants | do not build | a test fails | a test hangs | a model fails | survived |"
        );
        println!("|---|---|---|---|---|---|---|");
        let files = self
            .sources
            .keys()
            .map(|it| (it.rsplit('/').next().unwrap(), Some(it)));
        for (title, file) in files.chain([("all", None)]) {
            let mut counts = [0; 6];
            for (mutant, outcome) in self.mutants.iter().zip(outcomes) {
                if file.is_none_or(|file| *file == mutant.file) {
                    counts[0] += 1;
                    counts[match outcome {
                        Outcome::DoesNotBuild => 1,
                        Outcome::Tests(Verdict::Fails(_)) => 2,
                        Outcome::Tests(Verdict::Hangs) => 3,
                        Outcome::Models(_) => 4,
                        Outcome::Survived { .. } => 5,
                    }] += 1;
                }
            }
            let counts = counts.map(|it| it.to_string()).join(" | ");
            println!(
                "| {} | {counts} |",
                if file.is_some() {
                    format!("`{title}`")
                } else {
                    title.into()
                }
            );
        }
        println!();
        for (mutant, outcome) in self.mutants.iter().zip(outcomes) {
            if let Outcome::Survived { reached } = outcome {
                let never = if *reached {
                    ""
                } else {
                    ", and no test reaches it"
                };
                println!("survived: {}{never}", mutant.name);
            }
        }
    }
}

fn jobs() -> usize {
    let number = env::var("MUTANTS_JOBS").ok().map(|it| it.parse().unwrap());
    number.unwrap_or_else(|| thread::available_parallelism().map_or(2, usize::from))
}

/// The mutants whose code is around a place: those of the innermost mark, and whether it is the code that one adds.
fn blame(text: &str, at: usize) -> Option<(bool, Vec<usize>)> {
    let mut marks = Vec::new();
    let mut rest = 0;
    while let Some(start) = text[rest..at].find("/*~").map(|it| it + rest) {
        let end = start + text[start..].find("*/")?;
        let numbers = &text[start + 3..end];
        if numbers.is_empty() {
            marks.pop();
        } else {
            marks.push(
                numbers
                    .split(',')
                    .map(|it| it.parse().unwrap())
                    .collect::<Vec<_>>(),
            );
        }
        rest = end + 2;
    }
    let innermost = marks.pop()?;
    // An edit's own mark has the code of all its mutants inside, each marked again.
    let around = innermost.len() > 1
        || text[at..]
            .find("/*~")
            .is_some_and(|it| !text[at + it..].starts_with("/*~*/"));
    Some((!around, innermost))
}

fn list(root: &Path, parts: &[String]) -> Vec<Mutant> {
    let mut cargo = Command::new(env::var("CARGO").unwrap_or("cargo".into()));
    cargo.args(["mutants", "-p", "vestibule-executor", "--list", "--json"]);
    let output = cargo.current_dir(root).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut sources = HashMap::new();
    let mut mutants = Vec::new();
    for it in list.as_array().unwrap() {
        let text = |key: &str| it[key].as_str().unwrap().to_owned();
        let (file, name) = (text("file"), text("name"));
        if !parts.is_empty() && !parts.iter().any(|part| name.contains(part)) {
            continue;
        }
        let source = sources.entry(file.clone());
        let source = source.or_insert_with(|| fs::read_to_string(root.join(&file)).unwrap());
        let place = |end: &str| {
            let number = |key| it["span"][end][key].as_u64().unwrap() as usize - 1;
            let line = source.split_inclusive('\n').nth(number("line")).unwrap();
            let start = line.as_ptr() as usize - source.as_ptr() as usize;
            start
                + line
                    .chars()
                    .take(number("column"))
                    .map(char::len_utf8)
                    .sum::<usize>()
        };
        mutants.push(Mutant {
            number: mutants.len() + 1,
            range: place("start")..place("end"),
            replacement: text("replacement"),
            hides_its_type: it["function"]["return_type"]
                .as_str()
                .is_some_and(|it| it.contains("impl ")),
            genre: text("genre"),
            file,
            name,
        });
    }
    mutants
}
