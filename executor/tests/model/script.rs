//! What both the executor and its model are made to do: operations, and tasks made of them.

use proptest::collection::vec;
use proptest::prelude::*;

/// Everything about one run.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// Whether there is a host waker, whose wakes are counted.
    pub(crate) host: bool,
    pub(crate) max_poll_depth: u32,
    /// What the park does when it is asked to sleep, one script a sleep.
    pub(crate) parks: Vec<Vec<Op>>,
    pub(crate) ops: Vec<Op>,
}

/// A future: its steps, and what its destructor does.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) steps: Vec<Step>,
    pub(crate) on_drop: Vec<Op>,
    pub(crate) drop_panics: bool,
}

/// Tasks, groups and guards are named by numbers, taken modulo how many there have been.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Do(Op),
    /// Wakes itself and returns `Pending`.
    Yield,
    /// Leaves its waker for others and returns `Pending`.
    Wait,
    /// Takes the handle of a task and awaits it, with an `AbortOnDrop` if armed.
    Join {
        task: u8,
        armed: bool,
    },
    Panic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waking {
    Waker,
    Handle,
    Thread,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Commit,
    Discard,
    Drop,
    Forget,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocks {
    Refuse,
    Group,
    All(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    Ok,
    Err,
    Panic,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) polls: Option<u64>,
    pub(crate) rounds: Option<u64>,
    pub(crate) past: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Spawn {
        group: Option<u8>,
        defer: bool,
        task: Task,
    },
    SpawnRemotely(Task),
    Wake {
        task: u8,
        how: Waking,
    },
    DropWaker(u8),
    DropHandle(u8),
    Abort(u8),
    AbortAll(u8),
    AbortTree(u8),
    /// Below one of the groups that can go.
    NewGroup(u8),
    DropGroup(u8),
    Step(u8),
    Enter {
        group: u8,
        blocks: Blocks,
    },
    End {
        guard: u8,
        how: Ending,
    },
    WithPhase {
        group: u8,
        blocks: Blocks,
        ops: Vec<Op>,
        leaving: Leaving,
    },
    Tick,
    TickWith(Bounds),
    RunUntilStalled(Bounds),
    /// Until the condition has been asked so often.
    TickUntil(u8),
    BlockOn(Task),
    BlockInPhase(u8),
    HoldSpawner(bool),
    Shutdown,
}

/// `number` modulo how many there are.
pub(crate) fn pick(number: u8, len: usize) -> Option<usize> {
    (len > 0).then(|| usize::from(number) % len)
}

/// Mostly the same few groups: so that there is something in them.
fn group() -> impl Strategy<Value = u8> {
    prop_oneof![3 => 0..2u8, 1 => 2..8u8]
}

fn blocks() -> impl Strategy<Value = Blocks> {
    prop_oneof![
        1 => Just(Blocks::Refuse),
        4 => Just(Blocks::Group),
        3 => (0..3u32).prop_map(Blocks::All),
    ]
}

fn bounds() -> impl Strategy<Value = Bounds> {
    let bound = || prop_oneof![2 => Just(None), 1 => (0..5u64).prop_map(Some)];
    (bound(), bound(), prop::bool::weighted(0.05)).prop_map(|(polls, rounds, past)| Bounds {
        polls,
        rounds,
        past,
    })
}

/// An operation that contains no other.
fn simple() -> impl Strategy<Value = Op> {
    let how = prop_oneof![
        Just(Waking::Waker),
        Just(Waking::Handle),
        Just(Waking::Thread)
    ];
    let ending = prop_oneof![
        3 => Just(Ending::Commit),
        2 => Just(Ending::Discard),
        1 => Just(Ending::Drop),
        1 => Just(Ending::Forget),
    ];
    prop_oneof![
        8 => (any::<u8>(), how).prop_map(|(task, how)| Op::Wake { task, how }),
        2 => any::<u8>().prop_map(Op::DropWaker),
        2 => any::<u8>().prop_map(Op::DropHandle),
        5 => any::<u8>().prop_map(Op::Abort),
        1 => group().prop_map(Op::AbortAll),
        1 => group().prop_map(Op::AbortTree),
        1 => any::<u8>().prop_map(Op::NewGroup),
        1 => group().prop_map(Op::DropGroup),
        2 => group().prop_map(Op::Step),
        3 => (group(), blocks()).prop_map(|(group, blocks)| Op::Enter { group, blocks }),
        5 => (any::<u8>(), ending).prop_map(|(guard, how)| Op::End { guard, how }),
        4 => Just(Op::Tick),
        2 => bounds().prop_map(Op::TickWith),
        2 => bounds().prop_map(Op::RunUntilStalled),
        1 => (0..5u8).prop_map(Op::TickUntil),
        3 => (0..4u8).prop_map(Op::BlockInPhase),
        1 => any::<bool>().prop_map(Op::HoldSpawner),
    ]
}

/// An operation whose tasks nest at most so deeply.
fn op(depth: u32) -> BoxedStrategy<Op> {
    if depth == 0 {
        return simple().boxed();
    }
    let group_of = || prop::option::weighted(0.7, group());
    // In a phase one blocks.
    let block = prop_oneof![2 => op(depth - 1), 1 => (0..4u8).prop_map(Op::BlockInPhase)];
    let inner = vec(block, 0..5);
    let leaving = prop_oneof![
        3 => Just(Leaving::Ok),
        2 => Just(Leaving::Err),
        1 => Just(Leaving::Panic),
    ];
    prop_oneof![
        12 => simple(),
        6 => (group_of(), task(depth - 1)).prop_map(|(group, task)| Op::Spawn { group, defer: false, task }),
        2 => (group_of(), task(depth - 1)).prop_map(|(group, task)| Op::Spawn { group, defer: true, task }),
        1 => task(depth - 1).prop_map(Op::SpawnRemotely),
        2 => task(depth - 1).prop_map(Op::BlockOn),
        2 => (group(), blocks(), inner, leaving).prop_map(
            |(group, blocks, ops, leaving)| Op::WithPhase { group, blocks, ops, leaving }
        ),
    ]
    .boxed()
}

fn ops(depth: u32, most: usize) -> BoxedStrategy<Vec<Op>> {
    // One list in thirty shuts the executor down somewhere.
    let end = prop::option::weighted(0.03, any::<prop::sample::Index>());
    (vec(op(depth), 0..most), end)
        .prop_map(|(mut ops, end)| {
            if let Some(end) = end {
                ops.insert(end.index(ops.len() + 1), Op::Shutdown);
            }
            ops
        })
        .boxed()
}

fn task(depth: u32) -> BoxedStrategy<Task> {
    let step = prop_oneof![
        12 => Just(Step::Yield),
        12 => Just(Step::Wait),
        1 => Just(Step::Do(Op::Shutdown)),
        9 => (any::<u8>(), any::<bool>()).prop_map(|(task, armed)| Step::Join { task, armed }),
        3 => Just(Step::Panic),
        24 => op(depth).prop_map(Step::Do),
    ];
    let on_drop = prop_oneof![3 => Just(Vec::new()), 1 => vec(op(depth.min(1)), 1..3)];
    (vec(step, 0..6), on_drop, prop::bool::weighted(0.1))
        .prop_map(|(steps, on_drop, drop_panics)| Task {
            steps,
            on_drop,
            drop_panics,
        })
        .boxed()
}

pub(crate) fn case() -> impl Strategy<Value = Case> {
    let depth = prop_oneof![3 => Just(128), 1 => 1..4u32];
    (
        any::<bool>(),
        depth,
        vec(vec(op(1), 0..3), 0..3),
        ops(3, 24),
    )
        .prop_map(|(host, max_poll_depth, parks, ops)| Case {
            host,
            max_poll_depth,
            parks,
            ops,
        })
}
