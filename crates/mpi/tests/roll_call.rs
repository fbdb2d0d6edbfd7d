//! The roll call between ranks that are threads of this process: over the connections that ranks on many machines would use. Needs
//! nothing but the loopback interface.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use ptbr_mpi::{Cause, LostRank, Member, RollCall, Settings};
use ptbr_train::collective::{GroupOptions, InProcess, Progress};

/// What a rank was told, with its number.
type Verdict = (usize, Option<LostRank>);

/// Three ranks; the verdicts come out of the channel. `live` is what a rank does, and says whether it leaves in the end.
fn ranks(live: fn(usize, &Progress) -> bool) -> Receiver<Verdict> {
    let (say, verdicts) = channel();
    let members: Vec<Member> = (0..3)
        .map(|rank| Member {
            rank,
            host: "loopback".to_owned(),
            pid: std::process::id(),
        })
        .collect();
    let over = Arc::new(Barrier::new(3));
    for (rank, mut transport) in InProcess::ranks(3).into_iter().enumerate() {
        let (members, over) = (members.clone(), Arc::clone(&over));
        let say: Sender<Verdict> = say.clone();
        thread::spawn(move || {
            let progress = Arc::<Progress>::default();
            let settings = Settings {
                options: GroupOptions::default(),
                patience: Duration::from_secs(1),
                on_lost: Box::new(move |lost| say.send((rank, lost)).expect("a listener")),
            };
            let watch = RollCall::begin(&mut transport, members, settings, Arc::clone(&progress));
            let watch = watch.expect("a roll call");
            progress.set_busy(false);
            if live(rank, &progress) {
                over.wait();
                watch.leave();
            } else {
                // As long as the test.
                thread::sleep(Duration::from_secs(60));
            }
        });
    }
    verdicts
}

#[test]
fn a_rank_that_hangs_is_named_to_all() {
    let begun = Instant::now();
    let verdicts = ranks(|rank, progress| {
        // Every rank begins three operations; the others then wait for rank 2.
        (0..if rank == 2 { 3 } else { 4 }).for_each(|_| progress.begin());
        false
    });
    let mut heard: Vec<Verdict> = (0..3)
        .map(|_| {
            verdicts
                .recv_timeout(Duration::from_secs(20))
                .expect("a verdict")
        })
        .collect();
    assert!(begun.elapsed() >= Duration::from_secs(1), "too early");
    heard.sort_by_key(|(rank, _)| *rank);
    let lost = heard[0].1.as_ref().expect("rank 0 knows who it is");
    assert_eq!(lost.member.rank, 2);
    assert!(matches!(lost.cause, Cause::Behind(_)), "{lost}");
    assert!(lost.to_string().starts_with("rank 2 (process "), "{lost}");
    // The others are told to end, and that rank 0 has said why.
    assert!(heard[1].1.is_none() && heard[2].1.is_none());
}

#[test]
fn who_leaves_at_the_end_is_not_missed() {
    let verdicts = ranks(|rank, progress| {
        if rank == 1 {
            // Busy for longer than the patience, which is allowed.
            progress.set_busy(true);
            thread::sleep(Duration::from_millis(1500));
        }
        progress.begin();
        progress.set_busy(false);
        true
    });
    // The channel closes when every rank has left, and nobody has said anything.
    let ended = verdicts.recv_timeout(Duration::from_secs(20));
    assert_eq!(ended, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
}
