//! Hostile guests: one body of core code, put where a guest can run code.

/// Where the body runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Start,
    Export,
    Realloc,
    PostReturn,
    Destructor,
    Callback,
}

impl Place {
    pub(crate) const ALL: [Place; 6] = [
        Place::Start,
        Place::Export,
        Place::Realloc,
        Place::PostReturn,
        Place::Destructor,
        Place::Callback,
    ];

    /// The export that runs the body; none when the instantiation does.
    pub(crate) fn export(self) -> Option<&'static str> {
        match self {
            Place::Start => None,
            Place::Export => Some("run"),
            Place::Realloc => Some("take"),
            Place::PostReturn => Some("give"),
            Place::Destructor => Some("drop"),
            Place::Callback => Some("later"),
        }
    }
}

/// The built-ins that a body may call, and the imports of its module.
const BUILTINS: &str = r#"
  (core func $set-new (canon waitable-set.new))
  (core func $yield (canon thread.yield))
  (core func $stream-new (canon stream.new $bytes))
  (core func $stream-write (canon stream.write $bytes async (memory (core memory $memory "mem"))))
  (core func $stream-read (canon stream.read $bytes async (memory (core memory $memory "mem"))))
  (core func $future-new (canon future.new $later))
  (core func $context (canon error-context.new (memory (core memory $memory "mem"))))
  (core func $thread-new (canon thread.new-indirect $thread-type (core table $memory "table")))
  (core func $resume-later (canon thread.resume-later))
  (core func $set-poll (canon waitable-set.poll (memory (core memory $memory "mem"))))
  (core func $set-wait (canon waitable-set.wait (memory (core memory $memory "mem"))))
  (core func $suspend (canon thread.suspend))
  (core func $backpressure (canon backpressure.inc))
  (core func $call-wait (canon lower (func $sibling "wait") async))
  (core func $block (canon lower (func $sibling "wait")))
  (core func $plain (canon lower (func $sibling "plain")))"#;

const IMPORTS: &str = r#"
    (import "m" "mem" (memory 1))
    (import "m" "table" (table $table 1 funcref))
    (import "b" "set-new" (func $set-new (result i32)))
    (import "b" "yield" (func $yield (result i32)))
    (import "b" "stream-new" (func $stream-new (result i64)))
    (import "b" "stream-write" (func $stream-write (param i32 i32 i32) (result i32)))
    (import "b" "stream-read" (func $stream-read (param i32 i32 i32) (result i32)))
    (import "b" "future-new" (func $future-new (result i64)))
    (import "b" "context" (func $context (param i32 i32) (result i32)))
    (import "b" "thread-new" (func $thread-new (param i32 i32) (result i32)))
    (import "b" "resume-later" (func $resume-later (param i32)))
    (import "b" "set-poll" (func $set-poll (param i32 i32) (result i32)))
    (import "b" "set-wait" (func $set-wait (param i32 i32) (result i32)))
    (import "b" "suspend" (func $suspend (result i32)))
    (import "b" "backpressure" (func $backpressure))
    (import "b" "call-wait" (func $call-wait (result i32)))
    (import "b" "block" (func $block))
    (import "b" "plain" (func $plain))"#;

const INSTANCE: &str = r#"(with "m" (instance $memory)) (with "b" (instance
    (export "set-new" (func $set-new)) (export "yield" (func $yield))
    (export "stream-new" (func $stream-new)) (export "future-new" (func $future-new))
    (export "stream-write" (func $stream-write)) (export "stream-read" (func $stream-read))
    (export "context" (func $context)) (export "thread-new" (func $thread-new))
    (export "resume-later" (func $resume-later)) (export "set-poll" (func $set-poll))
    (export "set-wait" (func $set-wait)) (export "suspend" (func $suspend))
    (export "backpressure" (func $backpressure)) (export "call-wait" (func $call-wait))
    (export "block" (func $block)) (export "plain" (func $plain))))"#;

/// A component that runs `body` in the given place. Beside the imports above, the body may call
/// itself as `$bomb`, and use `mem` (one page at first) and `$table` (one element).
pub(crate) fn guest(place: Place, body: &str) -> String {
    let at = |this: Place| if place == this { "(call $bomb)" } else { "" };
    let start = if place == Place::Start {
        "(start $bomb)"
    } else {
        ""
    };
    let (export, realloc, post, dtor, callback) = (
        at(Place::Export),
        at(Place::Realloc),
        at(Place::PostReturn),
        at(Place::Destructor),
        at(Place::Callback),
    );
    format!(
        r#"(component $hostile
  (component $Sibling
    (core func $new (canon waitable-set.new))
    (core module $Memory (memory (export "mem") 1))
    (core instance $memory (instantiate $Memory))
    (core func $wait (canon waitable-set.wait (memory (core memory $memory "mem"))))
    (core module $S
      (import "" "new" (func $new (result i32)))
      (import "" "wait" (func $wait (param i32 i32) (result i32)))
      (func (export "wait") (drop (call $wait (call $new) (i32.const 0))))
      (func (export "plain")))
    (core instance $s (instantiate $S
      (with "" (instance (export "new" (func $new)) (export "wait" (func $wait))))))
    (func (export "wait") async (canon lift (core func $s "wait") async))
    (func (export "plain") (canon lift (core func $s "plain"))))
  (instance $sibling (instantiate $Sibling))
  (core module $Memory
    (memory (export "mem") 1)
    (func $thread (param i32) (unreachable))
    (table (export "table") 1 funcref)
    (elem (i32.const 0) func $thread))
  (core instance $memory (instantiate $Memory))
  (type $bytes (stream u8))
  (type $later (future))
  (core type $thread-type (func (param i32)))
  {BUILTINS}
  (core module $D {IMPORTS}
    (func $bomb {body})
    (func $dtor (export "dtor") (param i32) {dtor}))
  (core instance $d (instantiate $D {INSTANCE}))
  (type $r (resource (rep i32) (dtor (core func $d "dtor"))))
  (core func $resource-new (canon resource.new $r))
  (core func $resource-drop (canon resource.drop $r))
  (core func $return (canon task.return))
  (core module $M {IMPORTS}
    (import "r" "new" (func $resource-new (param i32) (result i32)))
    (import "r" "drop" (func $resource-drop (param i32)))
    (import "r" "return" (func $return))
    (func $bomb {body})
    {start}
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc} (i32.const 8))
    (func (export "run") {export})
    (func (export "take") (param i32 i32))
    (func (export "give") (result i32) (i32.const 1))
    (func (export "post") (param i32) {post})
    (func (export "drop") (call $resource-drop (call $resource-new (i32.const 1))))
    (func (export "later") (result i32) (i32.const 1))
    (func (export "callback") (param i32 i32 i32) (result i32)
      {callback} (call $return) (i32.const 0)))
  (core instance $m (instantiate $M {INSTANCE} (with "r" (instance
    (export "new" (func $resource-new)) (export "drop" (func $resource-drop))
    (export "return" (func $return))))))
  (func (export "run") (canon lift (core func $m "run")))
  (func (export "take") (param "s" string) (canon lift (core func $m "take")
    (memory (core memory $memory "mem")) (realloc (core func $m "cabi_realloc"))))
  (func (export "give") (result u32) (canon lift (core func $m "give")
    (post-return (core func $m "post"))))
  (func (export "drop") (canon lift (core func $m "drop")))
  (func (export "later") async (canon lift (core func $m "later") async
    (callback (core func $m "callback")))))"#
    )
}
