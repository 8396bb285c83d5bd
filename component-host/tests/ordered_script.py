"""Runs the program of the suite's `async/async-calls-sync.wast` on the specification's definitions.

Run in a folder with `definitions.py`; the argument says how many times. Prints one line a run: the
number that each of the four subtasks got, in the order of their handles. The script wants
`2 3 4 5`. Nothing is left to chance but which ready thread `Store.tick` resumes.
"""

import os
import sys

import definitions
from definitions import *

definitions.DETERMINISTIC_PROFILE = True

U32 = [U32Type()]


def options(callback=None, async_=False):
    opts = CanonicalOptions()
    opts.memory = MemInst(bytearray(64), "i32")
    opts.async_ = async_
    opts.callback = callback
    return opts


def run(middle_has_callback):
    store = Store()
    of_nothing, of_number = FuncType([], [], async_=True), FuncType([], U32, async_=True)
    inner, outer = ComponentInstance(store), ComponentInstance(store)
    blocked, counter = True, 2

    def blocking_call(args):
        nonlocal counter
        canon_context_set("i32", 0, counter)
        counter += 1
        return [CallbackCode.YIELD]

    def blocking_call_callback(args):
        if blocked:
            return [CallbackCode.YIELD]
        canon_task_return(U32, inner_opts, canon_context_get("i32", 0))
        return [CallbackCode.EXIT]

    def unblock(args):
        nonlocal blocked
        blocked = False
        canon_task_return([], inner_opts, [])
        return [CallbackCode.EXIT]

    inner_opts = options(blocking_call_callback, async_=True)
    blocking = store.lift(blocking_call, of_number, inner_opts, inner)
    unblocking = store.lift(unblock, of_nothing, inner_opts, inner)

    def middle(has_callback):
        inst = ComponentInstance(store)
        opts = options(lambda args: trap(), async_=True) if has_callback else options()
        lowered = store.lower(blocking, of_number, options(), inst)

        def sync_func(args):
            result = lowered([])
            if not has_callback:
                return result
            canon_task_return(U32, opts, result)
            return [CallbackCode.EXIT]

        return store.lift(sync_func, of_number, opts, inst)

    middles = [middle(False), middle(middle_has_callback)]
    remain, set_, numbers = 4, None, {}

    def outer_run(args):
        nonlocal set_
        [set_] = canon_waitable_set_new()
        for handle, state in ((2, 1), (3, 1), (4, 0), (5, 0)):
            # Each call has a memory of its own for its result.
            opts = options(async_=True)
            lowered = store.lower(middles[handle % 2], of_number, opts, outer)
            [packed] = lowered([0])
            assert packed == state | handle << 4, packed
            numbers[handle] = opts.memory
            canon_waitable_join(handle, set_)
        store.lower(unblocking, of_nothing, options(), outer)([])
        return [CallbackCode.WAIT | set_ << 4]

    def outer_callback(args):
        nonlocal remain
        event, handle, state = args
        assert event == EventCode.SUBTASK
        if state == 1:
            assert handle in (4, 5)
            return [CallbackCode.WAIT | set_ << 4]
        assert state == 2
        canon_subtask_drop(handle)
        remain -= 1
        if remain > 0:
            return [CallbackCode.WAIT | set_ << 4]
        canon_task_return(U32, outer_opts, [42])
        return [CallbackCode.EXIT]

    results = []
    outer_opts = options(outer_callback, async_=True)
    main = store.lift(outer_run, of_number, outer_opts, outer)
    store.invoke(main, lambda: [], results.append)
    while store.waiting:
        store.tick()
    assert results == [[42]]
    print(*(numbers[handle].bytes[0] for handle in (2, 3, 4, 5)), flush=True)


for i in range(int(sys.argv[1])):
    run(i % 2 == 1)
# Threads of the definitions that never end must not keep the process.
os._exit(0)
