//! Who is lost: a rank that has ended, that says nothing any more, or that the others wait for in vain.

use std::time::Duration;

use thiserror::Error;

/// A rank that says nothing for so long is gone, or its machine is: it speaks four times a second from a thread that does nothing else.
pub(crate) const SILENCE: Duration = Duration::from_secs(20);

/// One of the processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its rank.
    pub rank: usize,
    /// Its machine.
    pub host: String,
    /// Its process id there.
    pub pid: u32,
}

/// Why a rank is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It has ended, and the run had not.
    Ended,
    /// It has said nothing for this long.
    Silent(Duration),
    /// Others have waited for it for this long.
    Behind(Duration),
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ended => f.write_str("has ended before the run was over"),
            Self::Silent(time) => write!(f, "has given no sign of life for {} s", time.as_secs()),
            Self::Behind(time) => write!(
                f,
                "hangs: the others have waited for it for {} s (--collective-timeout allows for longer)",
                time.as_secs()
            ),
        }
    }
}

/// A rank without which the run cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "rank {} (process {} on {}) {cause}; the last checkpoint is whole, go on with `resume`",
    member.rank, member.pid, member.host
)]
pub struct LostRank {
    /// Which.
    pub member: Member,
    /// Why.
    pub cause: Cause,
}

/// What is known of a rank.
#[derive(Debug)]
struct Known {
    member: Member,
    /// Collective operations that it has begun.
    begun: u64,
    busy: bool,
    /// It has said that the run is over, or it was never watched.
    left: bool,
    silent: Duration,
    behind: Duration,
}

/// Keeps account of what the ranks say. Time is what [`tick`](Self::tick) is told, so that a stop of the judge's own process is not held
/// against the others.
#[derive(Debug)]
pub struct Judge {
    ranks: Vec<Known>,
    patience: Duration,
    /// The longest time that others waited for a rank which came after all.
    longest: Duration,
}

impl Judge {
    /// A judge over `members`, who grants `patience` beyond the longest wait that ended well.
    pub fn new(members: Vec<Member>, patience: Duration) -> Self {
        let known = |member| Known {
            member,
            begun: 0,
            busy: true,
            left: false,
            silent: Duration::ZERO,
            behind: Duration::ZERO,
        };
        Self {
            ranks: members.into_iter().map(known).collect(),
            patience,
            longest: Duration::ZERO,
        }
    }

    /// A rank has spoken.
    pub fn heard(&mut self, rank: usize, begun: u64, busy: bool) {
        if let Some(known) = self.find(rank) {
            (known.begun, known.busy, known.silent) = (begun, busy, Duration::ZERO);
        }
    }

    /// A rank has said that the run is over for it; it is not watched any more.
    pub fn left(&mut self, rank: usize) {
        if let Some(known) = self.find(rank) {
            known.left = true;
        }
    }

    /// The connection to a rank has broken; what that means.
    pub fn broken(&mut self, rank: usize) -> Option<LostRank> {
        let known = self.find(rank)?;
        (!known.left).then(|| LostRank {
            member: known.member.clone(),
            cause: Cause::Ended,
        })
    }

    /// `time` has passed; who is lost by now, if anyone is.
    pub fn tick(&mut self, time: Duration) -> Option<LostRank> {
        let limit = self.patience + self.longest;
        let watched = self.ranks.iter_mut().filter(|known| !known.left);
        let mut watched: Vec<_> = watched.collect();
        let furthest = watched.iter().map(|known| known.begun).max()?;
        let mut lost = None;
        for known in &mut watched {
            known.silent += time;
            if known.begun < furthest && !known.busy {
                known.behind += time;
            } else {
                self.longest = self.longest.max(known.behind);
                known.behind = Duration::ZERO;
            }
            let cause = if known.silent > SILENCE {
                Cause::Silent(known.silent)
            } else if known.behind > limit {
                Cause::Behind(known.behind)
            } else {
                continue;
            };
            let member = known.member.clone();
            lost = lost.or(Some(LostRank { member, cause }));
        }
        lost
    }

    fn find(&mut self, rank: usize) -> Option<&mut Known> {
        self.ranks
            .iter_mut()
            .find(|known| known.member.rank == rank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn judge(world: usize) -> Judge {
        let member = |rank| Member {
            rank,
            host: "here".to_owned(),
            pid: 100 + rank as u32,
        };
        Judge::new((0..world).map(member).collect(), 30 * SECOND)
    }

    /// Lets every rank in `speaking` say its count once a second; the first verdict, and after how many seconds.
    fn after(
        judge: &mut Judge,
        speaking: &[(usize, u64, bool)],
        seconds: u64,
    ) -> Option<(u64, LostRank)> {
        (1..=seconds).find_map(|second| {
            for &(rank, begun, busy) in speaking {
                judge.heard(rank, begun, busy);
            }
            judge.tick(SECOND).map(|lost| (second, lost))
        })
    }

    #[test]
    fn a_silent_rank_is_lost_after_20_seconds() {
        let mut judge = judge(3);
        let (second, lost) = after(&mut judge, &[(0, 7, false), (2, 7, false)], 60).unwrap();
        assert_eq!((second, lost.member.rank), (21, 1));
        let message = lost.to_string();
        assert!(
            message.starts_with("rank 1 (process 101 on here) has given no sign of life for 21 s"),
            "{message}"
        );
    }

    #[test]
    fn a_rank_that_others_wait_for_is_lost_unless_it_is_busy() {
        let mut first = judge(2);
        let (second, lost) = after(&mut first, &[(0, 8, false), (1, 7, false)], 60).unwrap();
        assert_eq!((second, lost.member.rank), (31, 1));
        assert_eq!(lost.cause, Cause::Behind(31 * SECOND));
        let mut second = judge(2);
        assert_eq!(
            after(&mut second, &[(0, 7, true), (1, 8, false)], 600),
            None
        );
        // All wait together, as long as it takes.
        assert_eq!(
            after(&mut second, &[(0, 8, false), (1, 8, false)], 600),
            None
        );
    }

    #[test]
    fn patience_grows_with_what_was_seen() {
        let mut judge = judge(2);
        assert_eq!(after(&mut judge, &[(0, 1, false), (1, 0, false)], 25), None);
        assert_eq!(after(&mut judge, &[(0, 1, false), (1, 1, false)], 1), None);
        let (second, _) = after(&mut judge, &[(0, 2, false), (1, 1, false)], 90).unwrap();
        assert_eq!(second, 56);
    }

    #[test]
    fn who_has_left_is_not_missed() {
        let mut judge = judge(2);
        judge.left(1);
        assert_eq!(judge.broken(1), None);
        assert_eq!(after(&mut judge, &[(0, 9, false)], 600), None);
        let lost = judge.broken(0).unwrap();
        assert_eq!(lost.cause, Cause::Ended);
    }
}
