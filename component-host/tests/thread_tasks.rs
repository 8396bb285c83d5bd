//! A guest thread has one task of the executor for all its waits, and none when it has ended.

mod common;

use common::Host;
use vestibule_component_host::{Instance, Store, Val};

/// `$C` is called by its host, and calls itself again through what is around it. Thread B is made by
/// `thread.new-indirect` and runs `$b`.
const THREADS: &str = r#"(component
  (core module $Around
    (table (export "table") 1 funcref)
    (func (export "again") (call_indirect (i32.const 0))))
  (core instance $around (instantiate $Around))
  (func $again (canon lift (core func $around "again")))
  (component $C
    (import "again" (func $again))
    (core func $again' (canon lower (func $again)))
    (core module $Table (table (export "table") 3 funcref))
    (core instance $table (instantiate $Table))
    (core type $start (func (param i32)))
    (core func $new (canon thread.new-indirect $start (core table $table "table")))
    (core func $yield (canon thread.yield))
    (core func $suspend (canon thread.suspend))
    (core func $index (canon thread.index))
    (core func $resume-later (canon thread.resume-later))
    (core func $yield-then-resume (canon thread.yield-then-resume))
    (core func $suspend-then-resume (canon thread.suspend-then-resume))
    (core func $return (canon task.return (result u32)))
    (core module $M
      (import "" "table" (table 3 funcref))
      (import "" "again" (func $again))
      (import "" "new" (func $new (param i32 i32) (result i32)))
      (import "" "yield" (func $yield (result i32)))
      (import "" "suspend" (func $suspend (result i32)))
      (import "" "index" (func $index (result i32)))
      (import "" "resume-later" (func $resume-later (param i32)))
      (import "" "yield-then-resume" (func $yield-then-resume (param i32) (result i32)))
      (import "" "suspend-then-resume" (func $suspend-then-resume (param i32) (result i32)))
      (import "" "return" (func $return (param i32)))
      (global $done (mut i32) (i32.const 0))
      (global $turns (mut i32) (i32.const 0))
      (func $b (param i32) (call $again))
      ;; Waits, and is then suspended until it ends in the place of another thread.
      (func $ends (param i32) (drop (call $yield)) (drop (call $suspend)))
      ;; Waits, and gives way to another thread once more before it ends.
      (func $gives-back (param $other i32)
        (drop (call $yield))
        (drop (call $yield-then-resume (local.get $other))))
      (elem (i32.const 0) $b $ends $gives-back)
      ;; Waits as a synchronous function, until thread A is done.
      (func (export "wait")
        (loop $more
          (if (global.get $done) (then (return)))
          (global.set $turns (i32.add (global.get $turns) (i32.const 1)))
          (if (i32.gt_u (global.get $turns) (i32.const 1000)) (then (unreachable)))
          (drop (call $yield))
          (br $more)))
      ;; Thread A: yields, and then yields to B, which enters the instance again and waits for A.
      (func (export "run")
        (drop (call $yield))
        (drop (call $yield-then-resume (call $new (i32.const 0) (i32.const 0))))
        (global.set $done (i32.const 1))
        (call $return (global.get $turns)))
      ;; Yields so often.
      (func (export "yields") (param $n i32)
        (loop $more
          (if (i32.eqz (local.get $n)) (then (call $return (i32.const 0)) (return)))
          (drop (call $yield))
          (local.set $n (i32.sub (local.get $n) (i32.const 1)))
          (br $more)))
      ;; Has others take its place, and takes that of others, so often.
      (func (export "switches") (param $n i32) (local $other i32)
        (drop (call $yield))
        (loop $more
          (if (i32.eqz (local.get $n)) (then (call $return (i32.const 0)) (return)))
          (call $resume-later (local.tee $other (call $new (i32.const 1) (i32.const 0))))
          (drop (call $yield)) (drop (call $yield)) (drop (call $yield))
          (drop (call $yield-then-resume (local.get $other)))
          (call $resume-later (local.tee $other (call $new (i32.const 1) (i32.const 0))))
          (drop (call $yield)) (drop (call $yield)) (drop (call $yield))
          (drop (call $suspend-then-resume (call $new (i32.const 2) (call $index))))
          (drop (call $yield-then-resume (local.get $other)))
          (drop (call $yield))
          (local.set $n (i32.sub (local.get $n) (i32.const 1)))
          (br $more))))
    (core instance $m (instantiate $M (with "" (instance
      (export "table" (table $table "table")) (export "again" (func $again'))
      (export "new" (func $new)) (export "yield" (func $yield)) (export "suspend" (func $suspend))
      (export "index" (func $index)) (export "resume-later" (func $resume-later))
      (export "yield-then-resume" (func $yield-then-resume))
      (export "suspend-then-resume" (func $suspend-then-resume))
      (export "return" (func $return))))))
    (func (export "wait") (canon lift (core func $m "wait")))
    (func (export "run") async (result u32) (canon lift (core func $m "run") async))
    (func (export "yields") async (param "n" u32) (result u32)
      (canon lift (core func $m "yields") async))
    (func (export "switches") async (param "n" u32) (result u32)
      (canon lift (core func $m "switches") async)))
  (instance $c (instantiate $C (with "again" (func $again))))
  (core func $wait (canon lower (func $c "wait")))
  (core module $Fill
    (import "" "table" (table 1 funcref))
    (import "" "wait" (func $wait))
    (elem (i32.const 0) $wait))
  (core instance (instantiate $Fill (with "" (instance
    (export "table" (table $around "table")) (export "wait" (func $wait))))))
  (export "run" (func $c "run"))
  (export "yields" (func $c "yields"))
  (export "switches" (func $c "switches")))"#;

struct Guest {
    host: Host,
    store: Store<()>,
    instance: Instance,
}

impl Guest {
    fn new() -> Guest {
        let host = Host::new();
        let (store, instance) = host.instantiate(THREADS).unwrap();
        Guest {
            host,
            store,
            instance,
        }
    }

    fn call(&self, name: &str, args: &[Val]) -> u32 {
        let func = self.instance.get_func(&self.store, name).unwrap();
        let result = self.store.block_on(func.call(&self.store, args));
        match result.unwrap_or_else(|error| panic!("{name}: {error}")) {
            Some(Val::U32(value)) => value,
            other => panic!("{name} returned {other:?}"),
        }
    }

    /// How many tasks of the executor a call makes; it leaves none.
    fn tasks_of(&self, name: &str, n: u32) -> u64 {
        let before = self.host.executor.metrics().spawned;
        self.call(name, &[Val::U32(n)]);
        self.host.run();
        assert_eq!(self.host.executor.metrics().live, 0, "{name}");
        self.host.executor.metrics().spawned - before
    }
}

#[test]
fn a_thread_that_yields_often_has_one_task() {
    let guest = Guest::new();
    assert_eq!(guest.tasks_of("yields", 1), 1);
    assert_eq!(guest.tasks_of("yields", 100), 1);
}

#[test]
fn no_task_is_left_of_threads_that_took_each_others_place() {
    let guest = Guest::new();
    // Of the three others that each turn has, two wait once and one waits twice; the thread itself
    // gives way twice. What gives way gets another task.
    let (once, often) = (
        guest.tasks_of("switches", 1),
        guest.tasks_of("switches", 11),
    );
    assert_eq!((often - once) / 10, 6);
}

#[test]
fn a_thread_that_yields_to_another_is_a_candidate_while_that_one_waits_for_it() {
    let guest = Guest::new();
    let turns = guest.call("run", &[]);
    assert!((1..10).contains(&turns), "{turns}");
    guest.host.run();
    assert_eq!(guest.host.executor.metrics().live, 0);
}
