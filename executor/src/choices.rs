//! Records which of several ready tasks was polled next, and makes the same choices again.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::rc::Rc;
use std::str::FromStr;

use crate::schedule::draw;

/// One choice of the schedule: which of the tasks that were ready was polled.
///
/// As text, `3:1`: of three, the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Choice {
    /// How many were ready; two at least, since one alone is no choice.
    pub ready: u32,
    /// The position of the one that was polled, counted from 0.
    pub chosen: u32,
}

/// Makes and records the choices of one executor: drawn from a seed, or as they were recorded.
///
/// A cheap, cloneable handle: one clone is given to the executor, in
/// [`Schedule::Choices`](crate::Schedule::Choices), another one tells what was chosen. What is
/// recorded grows with every choice: this is for tests.
///
/// ```
/// use vestibule_executor::{Choices, Executor, Schedule};
/// use std::{cell::RefCell, rc::Rc};
///
/// fn order(choices: &Choices) -> Vec<u32> {
///     let schedule = Schedule::Choices(choices.clone());
///     let executor = Executor::builder().schedule(schedule).build();
///     let order = Rc::new(RefCell::new(Vec::new()));
///     for i in 0..4 {
///         let order = Rc::clone(&order);
///         executor.spawn(async move { order.borrow_mut().push(i) }).unwrap();
///     }
///     executor.tick().unwrap();
///     order.take()
/// }
///
/// let seeded = Choices::seeded(7);
/// let first = order(&seeded);
/// let trace = seeded.to_string();
/// let replayed = Choices::replayed(trace.parse().unwrap());
/// assert_eq!(order(&replayed), first);
/// assert_eq!(replayed.to_string(), trace);
/// ```
#[derive(Clone, Debug)]
pub struct Choices(Rc<RefCell<Inner>>);

/// Choices in a row, as text between blanks: `3:1 2:0`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChoiceTrace(pub Vec<Choice>);

#[derive(Debug)]
struct Inner {
    source: Source,
    made: Vec<Choice>,
    diverged: bool,
}

#[derive(Debug)]
enum Source {
    Seed(u64),
    Trace(VecDeque<Choice>),
}

impl Choices {
    /// Draws from a generator that starts at `seed`, as [`Schedule::Shuffle`] does.
    ///
    /// [`Schedule::Shuffle`]: crate::Schedule::Shuffle
    pub fn seeded(seed: u64) -> Choices {
        Choices::from(Source::Seed(seed))
    }

    /// Makes the choices that were recorded, and after them the first of those that are ready.
    pub fn replayed(trace: ChoiceTrace) -> Choices {
        Choices::from(Source::Trace(trace.0.into()))
    }

    fn from(source: Source) -> Choices {
        Choices(Rc::new(RefCell::new(Inner {
            source,
            made: Vec::new(),
            diverged: false,
        })))
    }

    /// What was chosen so far.
    pub fn made(&self) -> ChoiceTrace {
        ChoiceTrace(self.0.borrow().made.clone())
    }

    /// What was chosen so far, but for the first `skipped` choices: to go on with a record that was
    /// begun before.
    pub fn made_since(&self, skipped: usize) -> ChoiceTrace {
        let inner = self.0.borrow();
        ChoiceTrace(inner.made.iter().skip(skipped).copied().collect())
    }

    /// Whether a replay met another number of ready tasks than was recorded: then the program is
    /// not the one that was recorded, or depends on more than the schedule.
    pub fn has_diverged(&self) -> bool {
        self.0.borrow().diverged
    }

    /// A position below `len`, which is not 0.
    pub(crate) fn below(&self, len: usize) -> usize {
        let inner = &mut *self.0.borrow_mut();
        if len < 2 {
            if let Source::Seed(seed) = &mut inner.source {
                draw(seed, len);
            }
            return 0;
        }
        let chosen = match &mut inner.source {
            Source::Seed(seed) => draw(seed, len),
            Source::Trace(trace) => match trace.pop_front() {
                Some(choice) if choice.ready as usize == len && choice.chosen < choice.ready => {
                    choice.chosen as usize
                }
                Some(_) => {
                    inner.diverged = true;
                    0
                }
                None => 0,
            },
        };
        // More tasks than fit into 32 bits do not fit into memory.
        inner.made.push(Choice {
            ready: len as u32,
            chosen: chosen as u32,
        });
        chosen
    }
}

/// Two handles are equal when they are of the same record.
impl PartialEq for Choices {
    fn eq(&self, other: &Choices) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Choices {}

impl fmt::Display for Choices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.made().fmt(f)
    }
}

impl fmt::Display for ChoiceTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Choice { ready, chosen }) in self.0.iter().enumerate() {
            let blank = if i == 0 { "" } else { " " };
            write!(f, "{blank}{ready}:{chosen}")?;
        }
        Ok(())
    }
}

impl FromStr for ChoiceTrace {
    type Err = ParseChoiceError;

    fn from_str(text: &str) -> Result<ChoiceTrace, ParseChoiceError> {
        let choice = |word: &str| {
            let numbers = word.split_once(':');
            let numbers = numbers.and_then(|(ready, chosen)| {
                Some((ready.parse::<u32>().ok()?, chosen.parse::<u32>().ok()?))
            });
            match numbers {
                Some((ready, chosen)) if chosen < ready => Ok(Choice { ready, chosen }),
                _ => Err(ParseChoiceError(word.to_owned())),
            }
        };
        text.split_whitespace()
            .map(choice)
            .collect::<Result<_, _>>()
            .map(ChoiceTrace)
    }
}

/// A text is no trace of choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseChoiceError(String);

impl fmt::Display for ParseChoiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no choice: expected such as `3:1`, how many tasks were ready and which one, \
             counted from 0, was polled",
            self.0
        )
    }
}

impl Error for ParseChoiceError {}

#[cfg(all(test, not(vestibule_loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_trace_says_which_word() {
        for wrong in ["3", "3:", ":1", "3:3", "2:-1", "a:b", "4294967296:0"] {
            let error = format!("2:0 {wrong} 2:1").parse::<ChoiceTrace>();
            assert_eq!(error, Err(ParseChoiceError(wrong.to_owned())));
        }
        assert_eq!("".parse::<ChoiceTrace>(), Ok(ChoiceTrace::default()));
    }

    #[test]
    fn a_replay_of_another_program_says_so() {
        let choices = Choices::replayed("3:2 2:1".parse().unwrap());
        assert_eq!(choices.below(3), 2);
        assert_eq!(choices.below(1), 0, "no choice");
        assert!(!choices.has_diverged());
        assert_eq!(choices.below(4), 0);
        assert!(choices.has_diverged());
        assert_eq!(choices.below(9), 0, "the trace is over");
        assert_eq!(choices.to_string(), "3:2 4:0 9:0");
    }
}
