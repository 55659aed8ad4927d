//! `sockets`: what ten thousand sockets hold that have nothing to say, on the side of the server.
//!
//! The memory is that of the process; what the kernel keeps for a connection isn't in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::platform::Platform;
use crate::push_role::{Metric, PushRole};
use crate::report::{Reach, Report, Row};
use crate::socket::{AT_ONCE, Heard, Socket, check_open_files};
use crate::stack::Stack;
use crate::usage;

/// How many.
const SOCKETS: usize = 10_000;
/// What each may cost.
const REACH_KIB: f64 = 12.0;
/// How long they are left alone before the memory is read: two heartbeats and three looks at the key.
const SETTLES: Duration = Duration::from_secs(45);
/// How long the CPU of the idle ones is watched: one heartbeat.
const WATCHED: Duration = Duration::from_secs(20);
/// How long the role may take to agree that they are there.
const PATIENCE: Duration = Duration::from_secs(30);

/// The bench.
pub(crate) fn run(stack: &Stack, _: u64) -> anyhow::Result<Report> {
    check_open_files(SOCKETS)?;
    let platform = Platform::make(stack, 4)?;
    let role = PushRole::start(stack, &platform)?;
    let rows = platform.runtime.block_on(measure(&role))?;
    let reaches = rows.iter().map(|(row, kib)| {
        Reach::at_most(format!("a socket, {}", row.name), *kib, REACH_KIB, "KiB")
    });
    let reaches = reaches.collect();
    let rows = rows.into_iter().map(|(row, _)| row).collect();
    Ok(Report::new("sockets", SETTLES.as_secs(), rows, reaches, stack.broker_pid))
}

/// Both rows, with what a socket costs in each.
async fn measure(role: &PushRole) -> anyhow::Result<Vec<(Row, f64)>> {
    tokio::time::sleep(SETTLES).await;
    let before = Memory::of(role.pid())?;
    let began = Instant::now();
    let sockets: Vec<Socket> = stream::iter(0..SOCKETS)
        .map(|nth| Socket::open(role.address, nth, &role.key))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let rate = per_second(began);
    let mut crowd = Crowd::gather(sockets);
    role.until(Metric::Sockets, PATIENCE, |open| open >= count(SOCKETS)).await?;
    let authenticated = crowd.idle("authenticated", role, before, ("opened/s", rate)).await?;
    let began = Instant::now();
    crowd.subscribe();
    role.until(Metric::Subscriptions, PATIENCE, |open| open >= count(SOCKETS)).await?;
    let rate = ("subscribed/s", per_second(began));
    let subscribed = crowd.idle("subscribed to one execution each", role, before, rate).await?;
    Ok(vec![authenticated, subscribed])
}

/// Resident memory of a process in KiB.
#[derive(Clone, Copy, Debug)]
struct Memory {
    /// All of it.
    resident: f64,
    /// What no file stands behind: a kernel that is short of memory, or thrifty, can't drop it and make
    /// the sockets look cheap.
    anonymous: f64,
}

impl Memory {
    fn of(pid: u32) -> anyhow::Result<Self> {
        let kib = |name: &str| {
            let mib = usage::status_mib(pid, name);
            Ok::<_, anyhow::Error>(
                mib.with_context(|| format!("no {name} of the push role"))? * 1024.0,
            )
        };
        Ok(Self { resident: kib("VmRSS:")?, anonymous: kib("RssAnon:")? })
    }
}

/// Sockets that listen and answer pings, in a task each.
struct Crowd {
    tasks: JoinSet<anyhow::Result<()>>,
    subscribe: watch::Sender<bool>,
    subscribed: Arc<AtomicUsize>,
}

impl Crowd {
    fn gather(sockets: Vec<Socket>) -> Self {
        let (subscribe, told) = watch::channel(false);
        let (places, subscribed) = (Arc::new(Semaphore::new(AT_ONCE)), Arc::default());
        let mut tasks = JoinSet::new();
        for (nth, socket) in sockets.into_iter().enumerate() {
            let (told, places, subscribed) =
                (told.clone(), Arc::clone(&places), Arc::clone(&subscribed));
            tasks.spawn(live(socket, nth, told, places, subscribed));
        }
        Self { tasks, subscribe, subscribed }
    }

    fn subscribe(&self) {
        self.subscribe.send_replace(true);
    }

    /// Leaves them alone, then looks at the server. The row, and what a socket costs.
    async fn idle(
        &mut self,
        name: &str,
        role: &PushRole,
        before: Memory,
        rate: (&str, f64),
    ) -> anyhow::Result<(Row, f64)> {
        tokio::time::sleep(SETTLES).await;
        let cpu = || usage::cpu_seconds(role.pid()).context("the push role is gone");
        let used = cpu()?;
        tokio::time::sleep(WATCHED).await;
        let used = cpu()? - used;
        let now = Memory::of(role.pid())?;
        let resident = (now.resident - before.resident) / count(SOCKETS);
        let anonymous = (now.anonymous - before.anonymous) / count(SOCKETS);
        let void = match self.gate(role).await {
            Ok(()) => None,
            Err(why) => Some(format!("{why:#}")),
        };
        let row = Row {
            name: name.into(),
            sent: SOCKETS as u64,
            completed: self.tasks.len() as u64,
            void,
            more: vec![
                ("resident KiB each".into(), resident),
                ("of that anonymous".into(), anonymous),
                ("resident before MiB".into(), before.resident / 1024.0),
                ("resident now MiB".into(), now.resident / 1024.0),
                (rate.0.into(), rate.1),
                ("CPU % idle".into(), used * 100.0 / WATCHED.as_secs_f64()),
            ],
            ..Row::default()
        };
        Ok((row, resident.max(anonymous)))
    }

    /// Each is still there, for itself and for the server.
    async fn gate(&mut self, role: &PushRole) -> anyhow::Result<()> {
        if let Some(ended) = self.tasks.try_join_next() {
            ended.context("a socket's task panicked")?.context("a socket broke")?;
            bail!("a socket ended");
        }
        let wanted = if *self.subscribe.borrow() { SOCKETS } else { 0 };
        let own = self.subscribed.load(Ordering::Acquire);
        if own != wanted {
            bail!("{own} of {wanted} subscriptions were answered");
        }
        for (metric, wanted) in [(Metric::Sockets, SOCKETS), (Metric::Subscriptions, wanted)] {
            let value = role.metric(metric).await?;
            if value != count(wanted) {
                bail!("{metric} is {value}, and not {wanted}");
            }
        }
        Ok(())
    }
}

/// A socket that says nothing but what it has to, until it breaks.
async fn live(
    mut socket: Socket,
    nth: usize,
    mut told: watch::Receiver<bool>,
    places: Arc<Semaphore>,
    subscribed: Arc<AtomicUsize>,
) -> anyhow::Result<()> {
    loop {
        if let Some(heard) = socket.arrived().await? {
            bail!("{heard:?} came before anything was asked");
        }
        tokio::select! {
            read = socket.fill() => read?,
            changed = told.wait_for(|subscribe| *subscribe) => {
                changed.context("the bench is over")?;
                break;
            }
        }
    }
    let place = places.acquire().await.context("nobody closes it")?;
    // As long as ours are: a UUID.
    let execution = format!("00000000-0000-7000-8000-{nth:012}");
    socket.subscribe("s", &execution).await?;
    drop(place);
    subscribed.fetch_add(1, Ordering::AcqRel);
    match socket.next().await? {
        Heard::Text(text) => bail!("{} came unasked", String::from_utf8_lossy(&text)),
        Heard::Closed(code, reason) => bail!("closed with {code}: {reason}"),
    }
}

fn per_second(began: Instant) -> f64 {
    count(SOCKETS) / began.elapsed().as_secs_f64()
}

fn count(sockets: usize) -> f64 {
    crate::lane::precise(sockets as u64)
}
