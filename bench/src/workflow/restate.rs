//! Restate, for comparison: its server and a handler of its SDK on a Node of its own, out of the packages
//! that `peers/restate` pins. A workflow is a call over HTTP that waits for the last of its durable steps.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::flight::{Leg, Plan, REST};
use super::process::Process;
use crate::asks::http;
use crate::flight::{Id, Schedule, Tally};
use crate::installed;
use crate::operator::{free_address, until_ready};
use crate::usage::{Usage, tree_seconds};

/// What is installed.
const MANIFEST: &str = include_str!("../../peers/restate/package.json");
/// With what, exactly.
const LOCK: &str = include_str!("../../peers/restate/package-lock.json");
/// The handler.
const HANDLER: &str = include_str!("../../peers/restate/handler.mjs");
/// How long the two may take to start.
const READY: Duration = Duration::from_secs(60);
/// Calls that may be open at once, in seconds of their rate: with more, none of them is in time any more.
const OPEN_S: u64 = 5;
/// The same where that would be too few.
const OPEN: u64 = 1_000;
/// What a single call may take where nothing else is to be done.
const RESTED: Duration = Duration::from_millis(500);

static FLIGHTS: AtomicU32 = AtomicU32::new(0);

/// When the server's log is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    /// Before a step counts: as it comes.
    Synced,
    /// When the kernel gets to it, as with Kafka.
    Unsynced,
}

impl Disk {
    /// What is promised, for the notes.
    pub(crate) fn durability(self) -> &'static str {
        match self {
            Self::Synced => {
                "Restate: as it comes, one node, replication 1; each batch of its log is synced to disk \
                 (`log-server.rocksdb-disable-wal-fsync = false`)"
            }
            Self::Unsynced => {
                "Restate without fsync: the same, but its log is left to the kernel, as Kafka's is \
                 (`log-server.rocksdb-disable-wal-fsync = true`)"
            }
        }
    }
}

/// Server and handler, running.
pub(crate) struct Restate {
    http: reqwest::Client,
    url: String,
    // Ended before the server, which would try again.
    handler: Process,
    server: Process,
    _folder: tempfile::TempDir,
}

/// What is compared, as its row says it.
pub(crate) fn version() -> &'static str {
    let after = MANIFEST.split_once("\"@restatedev/restate-server\": \"");
    let version = after.and_then(|(_, rest)| rest.split_once('"'));
    version.map_or("of an unknown version", |(version, _)| version)
}

impl Restate {
    /// Starts both, and makes the handler known. Installs them first where need be.
    pub(crate) fn start(runtime: &Runtime, disk: Disk) -> anyhow::Result<Self> {
        let modules = installed::node("restate", MANIFEST, LOCK)?;
        let machine = match std::env::consts::ARCH {
            "x86_64" => "x64",
            "aarch64" => "arm64",
            other => bail!("there is no Restate for {other}"),
        };
        let node = modules.join(format!("node_modules/node-linux-{machine}/bin/node"));
        let server = modules.join(format!(
            "node_modules/@restatedev/restate-server-linux-{machine}/bin/restate-server"
        ));
        let folder = tempfile::tempdir().context("making a directory for Restate")?;
        // Beside its modules, which Node looks for from there upwards.
        let script = modules.join("handler.mjs");
        std::fs::write(&script, HANDLER).context("writing the handler")?;
        let [at_handler, at_ingress, at_admin, at_node] = {
            let free = || free_address();
            [free()?, free()?, free()?, free()?]
        };
        let mut command = Command::new(node);
        command.arg(&script).arg(at_handler.port().to_string()).env("NODE_ENV", "production");
        // No line for each call: neither has ours.
        command.env("RESTATE_LOGGING", "ERROR");
        let mut handler = Process::start("restate-handler", &mut command, folder.path())?;
        let mut command = Command::new(server);
        command
            .args(["--no-logo", "--node-name", "bench", "--base-dir"])
            .arg(folder.path().join("data"))
            .env("RESTATE_LISTEN_MODE", "tcp")
            .env("RESTATE_BIND_ADDRESS", at_node.to_string())
            .env("RESTATE_INGRESS__BIND_ADDRESS", at_ingress.to_string())
            .env("RESTATE_ADMIN__BIND_ADDRESS", at_admin.to_string())
            .env("RESTATE_LOG_FILTER", "warn")
            .env("RESTATE_DISABLE_TELEMETRY", "true")
            .env("DO_NOT_TRACK", "1");
        if disk == Disk::Unsynced {
            command.env("RESTATE_LOG_SERVER__ROCKSDB_DISABLE_WAL_FSYNC", "true");
        }
        let mut server = Process::start("restate-server", &mut command, folder.path())?;
        let http = http()?;
        let admin = format!("http://{at_admin}");
        runtime.block_on(async {
            until_ready(&http, &format!("{admin}/health"), READY, || server.still_runs()).await?;
            listens(&mut handler).await?;
            let uri = format!("http://{at_handler}");
            let told = http
                .post(format!("{admin}/deployments"))
                .header("content-type", "application/json")
                .body(json!({ "uri": uri }).to_string())
                .send()
                .await
                .context("making the handler known to Restate")?;
            let status = told.status();
            ensure!(status.is_success(), "Restate refuses the handler with {status}");
            anyhow::Ok(())
        })?;
        let url = format!("http://{at_ingress}/bench/run");
        Ok(Self { http, url, handler, server, _folder: folder })
    }

    /// Calls at a rate, open loop. Ends early when it is hopelessly behind, which voids the flight.
    pub(crate) fn fly(&self, runtime: &Runtime, plan: Plan) -> anyhow::Result<Leg> {
        runtime.block_on(self.until_rested(plan.steps))?;
        let flight = FLIGHTS.fetch_add(1, Ordering::Relaxed);
        let schedule = plan.schedule(flight, Instant::now() + Duration::from_millis(20));
        let board = Arc::new(Mutex::new(Board { tally: Tally::new(schedule), failed: 0 }));
        let mut before = (Usage::default(), 0.0);
        runtime.block_on(async {
            let calls = self.send(plan.steps, &schedule, &board, &mut before);
            calls.await
        });
        let (used, cpu) = (Usage::now(None).since(before.0), self.cpu() - before.1);
        let board = Arc::into_inner(board).context("a call still runs")?;
        let Board { tally, failed } = board.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Leg::of(schedule, tally, failed, used, cpu))
    }

    /// CPU seconds of server and handler.
    fn cpu(&self) -> f64 {
        tree_seconds(self.server.pid()) + tree_seconds(self.handler.pid())
    }

    async fn send(
        &self,
        steps: u32,
        schedule: &Schedule,
        board: &Shared,
        before: &mut (Usage, f64),
    ) {
        let bound = usize::try_from((OPEN_S * schedule.rate).max(OPEN)).unwrap_or(usize::MAX);
        let mut calls = JoinSet::new();
        for nth in 0..schedule.total {
            tokio::time::sleep_until(schedule.intended(nth).into()).await;
            if nth == schedule.warm {
                *before = (Usage::now(None), self.cpu());
            }
            while calls.try_join_next().is_some() {}
            if calls.len() > bound {
                tracing::info!(open = calls.len(), rate = schedule.rate, "Restate is far behind");
                break;
            }
            let (call, board) = (self.call(steps), Arc::clone(board));
            let id = Id { flight: schedule.flight, nth };
            calls.spawn(async move {
                match call.await {
                    Ok(()) => locked(&board).tally.came_out(id, Instant::now()),
                    Err(error) => {
                        locked(&board).failed += 1;
                        tracing::warn!("a call of Restate failed: {error:#}");
                    }
                }
            });
        }
        while calls.join_next().await.is_some() {}
    }

    /// One workflow.
    fn call(&self, steps: u32) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
        let asked = self
            .http
            .post(&self.url)
            .timeout(REST)
            .header("content-type", "application/json")
            .body(json!({ "steps": steps }).to_string());
        async move {
            let answer = asked.send().await.context("asking")?;
            let (status, said) = (answer.status(), answer.bytes().await.context("reading")?);
            let gave: Option<Value> = serde_json::from_slice(&said).ok();
            ensure!(
                status.is_success() && gave == Some(Value::from(steps)),
                "{status}: {}",
                String::from_utf8_lossy(&said)
            );
            Ok(())
        }
    }

    /// Waits until single calls are answered as they are when nothing else is to be done.
    async fn until_rested(&self, steps: u32) -> anyhow::Result<()> {
        const IN_A_ROW: u32 = 5;
        let until = Instant::now() + 2 * REST;
        let mut good = 0;
        while good < IN_A_ROW {
            let began = Instant::now();
            let answered = self.call(steps).await;
            good = match answered.is_ok() && began.elapsed() <= RESTED {
                true => good + 1,
                false => 0,
            };
            if good < IN_A_ROW && Instant::now() >= until {
                answered.context("Restate doesn't come to rest")?;
                bail!("Restate doesn't come to rest: its answers stay slow");
            }
        }
        Ok(())
    }
}

/// Waits until the handler says its port.
async fn listens(handler: &mut Process) -> anyhow::Result<()> {
    let until = Instant::now() + READY;
    while handler.said().is_empty() {
        handler.still_runs()?;
        ensure!(Instant::now() < until, "the handler of Restate doesn't listen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// What came back so far.
struct Board {
    tally: Tally,
    failed: u64,
}

type Shared = Arc<Mutex<Board>>;

fn locked(board: &Shared) -> MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_pinned_and_the_version_is_told() {
        let manifest: Value = serde_json::from_str(MANIFEST).unwrap();
        for list in ["dependencies", "optionalDependencies"] {
            for (name, version) in manifest[list].as_object().unwrap() {
                let version = version.as_str().unwrap();
                assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{name} {version}");
                assert!(LOCK.contains(&format!("\"node_modules/{name}\"")), "{name}");
            }
        }
        assert!(version().starts_with(|c: char| c.is_ascii_digit()), "{}", version());
    }
}
