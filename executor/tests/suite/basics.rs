//! The executor runs tasks, joins them and reports what it did.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use vestibule_executor::{Executor, TickEnd, yield_now};

#[test]
fn a_task_runs_when_the_executor_is_driven_and_not_before() {
    let executor = Executor::new();
    let log = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&log);
    let task = executor
        .spawn(async move { seen.borrow_mut().push("task") })
        .unwrap();
    log.borrow_mut().push("before");
    let tick = executor.tick().unwrap();
    assert_eq!(*log.borrow(), ["before", "task"]);
    assert_eq!((tick.polled, tick.completed, tick.live), (1, 1, 0));
    assert_eq!(tick.end, TickEnd::Empty);
    assert!(task.is_finished());
}

#[test]
fn the_main_future_may_borrow_from_the_stack() {
    let executor = Executor::new();
    let text = String::from("borrowed");
    let length = executor
        .try_block_on(async {
            yield_now().await;
            text.len()
        })
        .unwrap();
    assert_eq!(length, 8);
}

#[test]
fn a_main_future_that_joins_tasks_which_yield_gets_all_their_outputs() {
    let executor = Executor::new();
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            executor
                .spawn(async move {
                    for _ in 0..n % 7 {
                        yield_now().await;
                    }
                    n
                })
                .unwrap()
        })
        .collect();
    let sum = executor
        .try_block_on(async {
            let mut sum = 0;
            for task in tasks {
                sum += task.await.unwrap();
            }
            sum
        })
        .unwrap();
    assert_eq!(sum, 4950);
    assert_eq!(executor.metrics().live, 0);
}

#[test]
fn a_handle_of_an_executor_that_is_gone_refuses_everything_and_gives_futures_back() {
    let executor = Executor::new();
    let handle = executor.handle();
    drop(executor);
    assert!(!handle.is_alive());
    assert!(handle.tick().is_err());
    let returned = handle
        .spawn(std::future::ready(7))
        .unwrap_err()
        .into_inner();
    assert_eq!(returned.into_inner(), 7);
}

#[test]
fn a_future_has_the_alignment_and_the_room_that_it_asks_for() {
    macro_rules! run_aligned_to {
        ($($align:literal),*) => {$({
            #[repr(align($align))]
            struct Aligned([u8; 100], u8);
            impl Future for Aligned {
                type Output = Self;
                fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self> {
                    let own = self.1;
                    assert!(std::ptr::from_ref(&*self).addr().is_multiple_of($align));
                    assert_eq!(self.0, [own; 100]);
                    self.0 = [own + 100; 100];
                    Poll::Ready(Self([own; 100], own))
                }
            }
            let executor = Executor::new();
            let tasks: Vec<_> = (0..10)
                .map(|own| executor.spawn(Aligned([own; 100], own)).unwrap())
                .collect();
            let _ = executor.tick().unwrap();
            for (own, task) in tasks.into_iter().enumerate() {
                let output = executor.try_block_on(task).unwrap().unwrap();
                assert_eq!((output.0, output.1), ([own as u8; 100], own as u8));
            }
        })*};
    }
    run_aligned_to!(2, 4, 8, 16, 32, 64, 128, 1024);
}
