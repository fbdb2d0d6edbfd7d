//! A connection from every rank to rank 0, beside MPI, over which each says four times a second that it is there and how far it is.
//!
//! Beside MPI because what it watches over is MPI: a rank that is gone leaves the others inside of a call that does not return, `mpirun`
//! notices only processes that it started itself and that have ended, and `srun` leaves the others alone unless told not to. A process
//! that dies closes its connections, so a rank that was killed is known at once.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ptbr_train::collective::{Collective, CollectiveError, Progress};

use crate::judge::Judge;
use crate::{LostRank, Member, Settings};

/// Between two words of a rank.
const INTERVAL: Duration = Duration::from_millis(250);
/// How long rank 0 waits for the others to connect, and they to reach it.
const TO_CONNECT: Duration = Duration::from_secs(10);
/// Bytes of a word: a number and what it means, both little-endian u64.
const WORD: usize = 16;
/// Bytes in which rank 0 says where it can be reached.
const ADDRESSES: usize = 512;

/// What a word means.
const WORKING: u64 = 0;
const BUSY: u64 = 1;
/// The run is over.
const LEAVING: u64 = 2;
/// From rank 0: a rank is lost, and rank 0 has said so.
const LOST: u64 = 3;

fn word(number: u64, meaning: u64) -> [u8; WORD] {
    let mut word = [0; WORD];
    word[..8].copy_from_slice(&number.to_le_bytes());
    word[8..].copy_from_slice(&meaning.to_le_bytes());
    word
}

/// The watch of this process.
pub struct RollCall {
    leaving: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// One connection, read without waiting.
struct Wire {
    rank: usize,
    stream: TcpStream,
    /// The beginning of a word that has not come as a whole.
    partial: Vec<u8>,
}

impl Wire {
    fn new(rank: usize, stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            rank,
            stream,
            partial: Vec::new(),
        })
    }

    /// A word that cannot be sent at once is left out: the next one says the same and more.
    fn say(&mut self, word: [u8; WORD]) {
        let _ = self.stream.write(&word);
    }

    /// What has come since the last call; `Err` when the other end is gone.
    fn words(&mut self) -> Result<Vec<(u64, u64)>, ()> {
        let mut buffer = [0; 64 * WORD];
        let mut gone = false;
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => gone = true,
                Ok(read) => {
                    self.partial.extend_from_slice(&buffer[..read]);
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => gone = true,
            }
            break;
        }
        let whole = self.partial.len() / WORD * WORD;
        let words: Vec<_> = self
            .partial
            .drain(..whole)
            .collect::<Vec<u8>>()
            .chunks_exact(WORD)
            .map(|word| {
                let half = |range: std::ops::Range<usize>| {
                    word[range].try_into().map_or(0, u64::from_le_bytes)
                };
                (half(0..8), half(8..16))
            })
            .collect();
        if gone && words.is_empty() {
            return Err(());
        }
        Ok(words)
    }
}

impl RollCall {
    /// Connects all ranks; called by each of them at the same time.
    pub fn begin(
        transport: &mut dyn Collective,
        members: Vec<Member>,
        settings: Settings,
        progress: Arc<Progress>,
    ) -> Result<Self, CollectiveError> {
        let place = transport.place();
        let failed = |source: io::Error| CollectiveError::Transport {
            rank: place.rank,
            operation: "watch over the run",
            reason: source.to_string(),
        };
        let mut said = vec![0; ADDRESSES];
        let mut host = None;
        if place.rank == 0 {
            let alone = members.iter().all(|member| member.host == members[0].host);
            let listener = TcpListener::bind(if alone { "127.0.0.1:0" } else { "0.0.0.0:0" });
            let listener = listener.map_err(failed)?;
            let port = listener.local_addr().map_err(failed)?.port();
            // A word that only the ranks of this run know: others may find the port.
            let secret = secret();
            let text = format!("{secret} {}", addresses(&members[0].host, port).join(" "));
            let len = text.len().min(ADDRESSES);
            said[..len].copy_from_slice(&text.as_bytes()[..len]);
            host = Some((listener, secret));
        }
        transport.broadcast(&mut said, 0)?;
        let leaving = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&leaving);
        let thread = thread::Builder::new().name("ptbr-roll-call".to_owned());
        let thread = match host {
            Some((listener, secret)) => {
                let wires = accept(&listener, secret, place.world);
                thread.spawn(move || lead(wires, members, settings, &progress, &until))
            }
            None => {
                let text = String::from_utf8_lossy(&said);
                let same_machine = members[0].host == members[place.rank].host;
                let wire = join(text.trim_end_matches('\0'), place.rank, same_machine);
                thread.spawn(move || follow(wire, members, settings, &progress, &until))
            }
        };
        Ok(Self {
            leaving,
            thread: Some(thread.map_err(failed)?),
        })
    }

    /// The run is over: says so, and watches no more.
    pub fn leave(mut self) {
        self.leaving.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // It ends within an interval.
            let _ = thread.join();
        }
    }
}

/// A number that nobody can guess.
fn secret() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}

/// Where rank 0 can be reached by other machines.
fn addresses(host: &str, port: u16) -> Vec<String> {
    // Which interface leads outside: connecting a UDP socket sends nothing. The address is one that documents use.
    let outside = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    let outside = outside.map(|address| format!("{}:{port}", address.ip()));
    let mut all = vec![format!("{host}:{port}")];
    all.extend(outside);
    all
}

/// On rank 0: the connections of the others, as many as come in time.
fn accept(listener: &TcpListener, secret: u64, world: usize) -> Vec<Wire> {
    let begun = Instant::now();
    let mut wires: Vec<Wire> = Vec::new();
    if listener.set_nonblocking(true).is_err() {
        return wires;
    }
    while wires.len() + 1 < world && begun.elapsed() < TO_CONNECT {
        match listener.accept() {
            Ok((stream, _)) => {
                if let Some(wire) = welcome(stream, secret)
                    && wire.rank > 0
                    && wire.rank < world
                    && wires.iter().all(|other| other.rank != wire.rank)
                {
                    wires.push(wire);
                }
            }
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
    wires
}

/// Reads who connects; `None` for a stranger.
fn welcome(mut stream: TcpStream, secret: u64) -> Option<Wire> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    let mut hello = [0; WORD];
    stream.read_exact(&mut hello).ok()?;
    let number = |range: std::ops::Range<usize>| hello[range].try_into().map(u64::from_le_bytes);
    let (theirs, rank) = (number(0..8).ok()?, number(8..16).ok()?);
    let rank = usize::try_from(rank).ok()?;
    (theirs == secret).then(|| Wire::new(rank, stream).ok())?
}

/// On another rank: the connection to rank 0, if it can be reached.
fn join(said: &str, rank: usize, same_machine: bool) -> Option<Wire> {
    let mut words = said.split(' ');
    let secret: u64 = words.next()?.parse().ok()?;
    let mut addresses: Vec<String> = words.map(str::to_owned).collect();
    if same_machine {
        let port = addresses.first()?.rsplit_once(':')?.1.to_owned();
        addresses.insert(0, format!("127.0.0.1:{port}"));
    }
    let resolved = addresses
        .iter()
        .filter_map(|address| address.to_socket_addrs().ok())
        .flatten()
        .collect::<Vec<SocketAddr>>();
    let mut stream = resolved
        .iter()
        .find_map(|address| TcpStream::connect_timeout(address, Duration::from_secs(3)).ok())?;
    stream.write_all(&word(secret, rank as u64)).ok()?;
    Wire::new(rank, stream).ok()
}

/// Sleeps for an interval; returns how long that counts. A process that was stopped meanwhile does not hold it against the others.
fn rest(since: &mut Instant) -> Duration {
    thread::sleep(INTERVAL);
    let passed = since.elapsed();
    *since = Instant::now();
    passed.min(2 * INTERVAL)
}

fn state(progress: &Progress) -> [u8; WORD] {
    let meaning = if progress.is_busy() { BUSY } else { WORKING };
    word(progress.begun(), meaning)
}

/// Rank 0: hears all, judges, and tells them.
fn lead(
    mut wires: Vec<Wire>,
    members: Vec<Member>,
    settings: Settings,
    progress: &Progress,
    leaving: &AtomicBool,
) {
    let mut judge = Judge::new(members.clone(), settings.patience);
    for member in &members[1..] {
        if wires.iter().all(|wire| wire.rank != member.rank) {
            judge.left(member.rank);
            eprintln!(
                "note: rank {} ({}) does not reach rank 0 by TCP; were it lost, only MPI would notice",
                member.rank, member.host
            );
        }
    }
    let mut since = Instant::now();
    let lost = loop {
        let passed = rest(&mut since);
        if leaving.load(Ordering::SeqCst) {
            wires.iter_mut().for_each(|wire| wire.say(word(0, LEAVING)));
            return;
        }
        judge.heard(0, progress.begun(), progress.is_busy());
        let mut lost = None;
        wires.retain_mut(|wire| {
            let Ok(words) = wire.words() else {
                lost = lost.take().or(judge.broken(wire.rank));
                return false;
            };
            for (number, meaning) in words {
                match meaning {
                    LEAVING => judge.left(wire.rank),
                    _ => judge.heard(wire.rank, number, meaning == BUSY),
                }
            }
            wire.say(state(progress));
            true
        });
        if let Some(lost) = lost.or_else(|| judge.tick(passed)) {
            break lost;
        }
    };
    wires
        .iter_mut()
        .for_each(|wire| wire.say(word(lost.member.rank as u64, LOST)));
    (settings.on_lost)(Some(lost));
}

/// Another rank: speaks to rank 0, and watches over it.
fn follow(
    wire: Option<Wire>,
    members: Vec<Member>,
    settings: Settings,
    progress: &Progress,
    leaving: &AtomicBool,
) {
    let Some(mut wire) = wire else { return };
    let mut judge = Judge::new(members[..1].to_vec(), settings.patience);
    let mut since = Instant::now();
    let lost: Option<LostRank> = loop {
        let passed = rest(&mut since);
        if leaving.load(Ordering::SeqCst) {
            wire.say(word(0, LEAVING));
            return;
        }
        let Ok(words) = wire.words() else {
            match judge.broken(0) {
                Some(lost) => break Some(lost),
                None => return,
            }
        };
        for (number, meaning) in &words {
            match *meaning {
                LEAVING => judge.left(0),
                meaning => judge.heard(0, *number, meaning == BUSY),
            }
        }
        if words.iter().any(|(_, meaning)| *meaning == LOST) {
            break None;
        }
        wire.say(state(progress));
        if let Some(lost) = judge.tick(passed) {
            break Some(lost);
        }
    };
    (settings.on_lost)(lost);
}
