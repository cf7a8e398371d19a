//! The walk: order, parallelism, blocking, stop.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use seachange_engine::Stop;
use seachange_engine::walk::{Ended, walk};

struct Seen {
    began: RefCell<Vec<usize>>,
    skipped: RefCell<Vec<usize>>,
    busy: Cell<usize>,
    most: Cell<usize>,
}

async fn run(
    needs: &[&[usize]],
    parallelism: usize,
    stop: &Stop,
    ends: impl Fn(usize) -> Ended,
    lends: bool,
) -> Seen {
    let seen = Seen {
        began: RefCell::default(),
        skipped: RefCell::default(),
        busy: Cell::new(0),
        most: Cell::new(0),
    };
    let needs: Vec<Vec<usize>> = needs.iter().map(|needs| needs.to_vec()).collect();
    let ends = &ends;
    let start = |step, mut slot: seachange_engine::walk::Slot| {
        let seen = &seen;
        async move {
            seen.began.borrow_mut().push(step);
            seen.busy.set(seen.busy.get() + 1);
            seen.most.set(seen.most.get().max(seen.busy.get()));
            let second = tokio::time::sleep(Duration::from_secs(1));
            if lends {
                seen.busy.set(seen.busy.get() - 1);
                slot.lend(second).await;
            } else {
                second.await;
                seen.busy.set(seen.busy.get() - 1);
            }
            ends(step)
        }
    };
    let skip = |step| seen.skipped.borrow_mut().push(step);
    walk(&needs, parallelism, stop, start, skip).await;
    seen
}

#[tokio::test(start_paused = true)]
async fn as_many_as_allowed_in_order_of_number() {
    let needs: Vec<&[usize]> = vec![&[]; 7];
    let began = tokio::time::Instant::now();
    let seen = run(&needs, 3, &Stop::new(), |_| Ended::Well, false).await;
    assert_eq!(*seen.began.borrow(), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!((seen.most.get(), began.elapsed().as_secs()), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_step_that_only_waits_is_not_busy() {
    let needs: Vec<&[usize]> = vec![&[]; 100];
    let began = tokio::time::Instant::now();
    let seen = run(&needs, 3, &Stop::new(), |_| Ended::Well, true).await;
    assert_eq!(seen.began.borrow().len(), 100);
    assert!(seen.most.get() <= 3);
    assert_eq!(began.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_blocks_only_what_needs_it() {
    //          0    1    2     3     4        5
    let needs: [&[usize]; 6] = [&[], &[], &[0], &[1], &[2, 3], &[3]];
    let ends = |step| if step == 0 { Ended::Otherwise } else { Ended::Well };
    let seen = run(&needs, 10, &Stop::new(), ends, false).await;
    assert_eq!(*seen.began.borrow(), [0, 1, 3, 5]);
    assert_eq!(*seen.skipped.borrow(), [2, 4]);
}

#[tokio::test(start_paused = true)]
async fn nothing_begins_after_a_stop() {
    let stop = Stop::new();
    let needs: [&[usize]; 4] = [&[], &[], &[0], &[]];
    let ends = |_| {
        stop.request();
        Ended::Well
    };
    let seen = run(&needs, 2, &stop, ends, false).await;
    assert_eq!(*seen.began.borrow(), [0, 1], "both were under way and ended");
    assert_eq!(*seen.skipped.borrow(), [2, 3]);
}
