//! Finds threads that wait for one another in a circle.

use super::ThreadInfo;
use std::collections::{HashMap, HashSet};

/// The first cycle among threads that nothing can help.
///
/// A thread waits for *any* of several others, so a circle alone proves nothing: somebody beside it
/// may help. A thread is stuck when it is not ready, the host has no part in what it waits for, and
/// all who could help it are stuck themselves; the largest set of such threads is what is left when
/// the others are taken away one by one. A circle among them is one for good.
pub(super) fn cycle(threads: &[ThreadInfo]) -> Option<Vec<u32>> {
    let mut stuck: HashMap<u32, &[u32]> = threads
        .iter()
        .filter(|thread| !thread.ready && !thread.waits_for_host && waits(thread))
        .map(|thread| (thread.number, thread.waits_for.as_slice()))
        .collect();
    loop {
        let before = stuck.len();
        let still: HashSet<u32> = stuck.keys().copied().collect();
        stuck.retain(|_, helpers| helpers.iter().all(|helper| still.contains(helper)));
        if stuck.len() == before {
            break;
        }
    }
    let mut done = HashSet::new();
    threads
        .iter()
        .find_map(|thread| circle_from(thread.number, &stuck, &mut done))
}

/// Whether a thread waits at all: one that runs waits for nobody.
fn waits(thread: &ThreadInfo) -> bool {
    thread.state != super::RUNNING
}

/// The circle that a walk from a thread comes upon, depth first.
fn circle_from(
    start: u32,
    stuck: &HashMap<u32, &[u32]>,
    done: &mut HashSet<u32>,
) -> Option<Vec<u32>> {
    // The way to where the walk is, and what is left to try at each place of it.
    let mut path: Vec<u32> = Vec::new();
    let mut rest: Vec<std::slice::Iter<'_, u32>> = Vec::new();
    let mut next = Some(start);
    loop {
        if let Some(number) = next {
            if let Some(first) = path.iter().position(|seen| *seen == number) {
                return Some(path.split_off(first));
            }
            if let Some(helpers) = stuck.get(&number)
                && done.insert(number)
            {
                path.push(number);
                rest.push(helpers.iter());
            }
        }
        next = match rest.last_mut()?.next() {
            Some(helper) => Some(*helper),
            None => {
                path.pop();
                rest.pop();
                None
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(number: u32, waits_for: &[u32]) -> ThreadInfo {
        ThreadInfo {
            number,
            component: "component `c`".to_owned(),
            entry: "run".to_owned(),
            caller: "the host".to_owned(),
            state: "waits".to_owned(),
            since: 0,
            ready: false,
            waits_for: waits_for.to_vec(),
            waits_for_host: false,
        }
    }

    fn ready(number: u32, waits_for: &[u32]) -> ThreadInfo {
        let ready = true;
        ThreadInfo {
            ready,
            ..thread(number, waits_for)
        }
    }

    fn hopes_for_the_host(number: u32, waits_for: &[u32]) -> ThreadInfo {
        let waits_for_host = true;
        ThreadInfo {
            waits_for_host,
            ..thread(number, waits_for)
        }
    }

    #[test]
    fn a_cycle_is_found_behind_a_chain_that_leads_into_it() {
        let threads = [
            thread(1, &[2]),
            thread(2, &[3]),
            thread(3, &[4]),
            thread(4, &[2]),
        ];
        assert_eq!(cycle(&threads), Some(vec![2, 3, 4]));
    }

    #[test]
    fn a_cycle_is_found_behind_a_choice_that_leads_nowhere() {
        let threads = [thread(1, &[2, 3]), thread(2, &[]), thread(3, &[1])];
        assert_eq!(cycle(&threads), Some(vec![1, 3]));
    }

    #[test]
    fn a_chain_a_ready_thread_and_a_thread_that_is_gone_make_no_cycle() {
        assert_eq!(cycle(&[thread(1, &[2]), thread(2, &[])]), None);
        assert_eq!(cycle(&[thread(1, &[2]), ready(2, &[1])]), None);
        assert_eq!(cycle(&[thread(1, &[9])]), None);
    }

    #[test]
    fn a_circle_that_somebody_beside_it_can_help_is_no_cycle() {
        // 3 is ready, and may do what 2 waits for.
        assert_eq!(
            cycle(&[thread(1, &[2]), thread(2, &[1, 3]), ready(3, &[])]),
            None
        );
        assert_eq!(cycle(&[thread(1, &[2]), hopes_for_the_host(2, &[1])]), None);
        // Nor can who waits for somebody whom the host will help.
        let threads = [
            thread(1, &[2]),
            thread(2, &[1, 3]),
            hopes_for_the_host(3, &[]),
        ];
        assert_eq!(cycle(&threads), None);
    }

    #[test]
    fn a_thread_that_runs_is_in_no_cycle() {
        let mut runs = thread(2, &[]);
        runs.state = super::super::RUNNING.to_owned();
        assert_eq!(cycle(&[thread(1, &[2, 1]), runs]), None);
    }

    #[test]
    fn a_thread_that_waits_for_itself_is_a_cycle() {
        assert_eq!(cycle(&[thread(1, &[1])]), Some(vec![1]));
    }
}
