//! What the program runs on: its own embedded broker, registry and store, or a real one of each.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::OnceCell;

use crate::proxy::{Proxy, Unconnected};
use crate::root;
use crate::wait::{PATIENCE, until};

/// The environment variable with the addresses of a real stack: the line that `infra/local/up --output
/// json` prints.
const REAL: &str = "STEPSTREAM_REAL";

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// In the program's own process.
    Embedded,
    /// Apache Kafka, a registry and Apache Cassandra.
    Real,
}

/// Where the parts of a stack are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Bootstrap servers.
    pub brokers: String,
    /// Base URL of the registry.
    pub registry: String,
    /// `host:port` of a CQL store, where the stack has one.
    pub cassandra: Option<String>,
}

impl Addresses {
    /// Reads them from a line of JSON.
    ///
    /// # Panics
    /// When the line doesn't have them.
    #[must_use]
    pub fn parse(line: &str) -> Self {
        let ready: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        let text = |field: &str| match &ready[field] {
            Value::String(text) => text.clone(),
            other => panic!("{field} is {other} in {line}"),
        };
        Self {
            brokers: text("brokers"),
            registry: text("registry"),
            cassandra: ready["cassandra"].as_str().map(str::to_owned),
        }
    }
}

/// The real stack of this test process: the one that the environment names, else one that is started now
/// and stops by itself when this process ends.
///
/// # Panics
/// When it doesn't start.
pub async fn real() -> &'static Addresses {
    static ADDRESSES: OnceCell<Addresses> = OnceCell::const_new();
    ADDRESSES
        .get_or_init(async || match std::env::var(REAL) {
            Ok(line) => Addresses::parse(&line),
            Err(_) => {
                let with_store = ["--with", "cassandra", "--cassandra-port", "0"];
                tokio::task::spawn_blocking(move || Addresses::parse(&start(&with_store)))
                    .await
                    .expect("infra/local/up starts")
            }
        })
        .await
}

/// How many tests may ask for a way through a proxy.
const PROXIES: usize = 6;

/// A real stack whose broker can be reached through a proxy of the test's own, and directly. All tests of this
/// process that ask share the stack, which stops by itself when the process ends.
///
/// # Panics
/// When it doesn't start, or more than six ask.
pub async fn behind_proxy() -> (&'static Addresses, Proxy) {
    static STACK: OnceCell<(Addresses, Mutex<Vec<Proxy>>)> = OnceCell::const_new();
    let (addresses, proxies) = STACK
        .get_or_init(async || {
            let started = tokio::task::spawn_blocking(start_behind_proxies);
            started.await.expect("infra/local/up starts")
        })
        .await;
    let proxy = proxies.lock().unwrap_or_else(PoisonError::into_inner).pop();
    (addresses, proxy.expect("a proxy for each test: see PROXIES"))
}

fn start_behind_proxies() -> (Addresses, Mutex<Vec<Proxy>>) {
    let unconnected: Vec<Unconnected> =
        std::iter::repeat_with(Unconnected::new).take(PROXIES).collect();
    let ports: Vec<String> = unconnected.iter().map(|proxy| proxy.port().to_string()).collect();
    let line = start(&["--advertise", &ports.join(",")]);
    let ready: Value = serde_json::from_str(&line).expect("a line of JSON");
    let proxies = unconnected.into_iter().zip(behind(&ready));
    let proxies = proxies.map(|(proxy, behind)| proxy.connect(behind)).collect();
    (Addresses::parse(&line), Mutex::new(proxies))
}

/// Starts a stack that ends with this process; returns its ready line.
fn start(options: &[&str]) -> String {
    let id = std::process::id().to_string();
    let mut command = Command::new(root().join("infra/local/up"));
    command
        .args(["--temporary", "--kafka-port", "0", "--registry-port", "0"])
        .args(["--output", "json", "--until-exit-of", &id])
        .args(options)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A part of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Kafka.
    Broker,
    /// The schema registry.
    Registry,
}

/// A real stack of one test's own, whose parts may be killed and started again with their data. Dropping it
/// ends it.
pub struct Own {
    folder: tempfile::TempDir,
    addresses: Addresses,
    /// The ways to the broker that a test may disturb.
    proxies: Vec<Proxy>,
    broker: u64,
    registry: u64,
}

impl Own {
    /// Starts one.
    ///
    /// # Panics
    /// When it doesn't start.
    pub async fn start() -> Self {
        tokio::task::spawn_blocking(|| Self::start_behind(Vec::new()))
            .await
            .expect("infra/local/up starts")
    }

    /// Starts one whose broker can be reached through a proxy of the test's own as well.
    ///
    /// # Panics
    /// When it doesn't start.
    pub async fn start_behind_proxy() -> (Self, Proxy) {
        let own = tokio::task::spawn_blocking(|| Self::start_behind(vec![Unconnected::new()]))
            .await
            .expect("infra/local/up starts");
        let proxy = own.proxies.first().expect("there is one").clone();
        (own, proxy)
    }

    fn start_behind(unconnected: Vec<Unconnected>) -> Self {
        let folder = tempfile::tempdir().expect("a folder for a stack");
        let ports: Vec<u16> = unconnected.iter().map(Unconnected::port).collect();
        let line = up(folder.path(), ("0", "0"), &ports);
        let ready: Value = serde_json::from_str(&line).expect("a line of JSON");
        let pid = |field: &str| ready[field].as_u64().expect("a process id");
        let (broker, registry) = (pid("kafka_pid"), pid("registry_pid"));
        let connected = unconnected.into_iter().zip(behind(&ready));
        let proxies = connected.map(|(proxy, behind)| proxy.connect(behind)).collect();
        Self { folder, addresses: Addresses::parse(&line), proxies, broker, registry }
    }

    /// Where its parts are.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Kills a part (SIGKILL) and waits until nobody listens where it was.
    ///
    /// # Panics
    /// When it is gone already, or doesn't go.
    pub fn kill(&self, part: Part) {
        let (pid, address) = match part {
            Part::Broker => (self.broker, &self.addresses.brokers),
            Part::Registry => (self.registry, &self.addresses.registry),
        };
        let status = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        assert!(status.expect("the system has `kill`").success(), "{part:?}");
        let address = format!("127.0.0.1:{}", port(address));
        let began = Instant::now();
        while TcpStream::connect(&address).is_ok() {
            assert!(began.elapsed() < PATIENCE, "{part:?} still listens on {address}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the broker's coordinator of transactions knows, as soon as nothing was written to it for a second.
    ///
    /// # Panics
    /// When it never rests.
    pub async fn transactions(&self) -> Transactions {
        let mut last: Option<(Instant, Transactions)> = None;
        until("no transaction is open", PATIENCE, async || {
            let now = Transactions::read(self.folder.path());
            let since = match &last {
                Some((since, before)) if *before == now => *since,
                _ => Instant::now(),
            };
            last = Some((since, now));
            (since.elapsed() > Duration::from_secs(1)).then_some(())
        })
        .await;
        last.map(|(_, transactions)| transactions).expect("it was read")
    }

    /// Lets the killed broker's coordinator know only what it knew then.
    ///
    /// # Panics
    /// When its files can't be written.
    pub fn forget_since(&self, then: &Transactions) {
        for (path, content) in &then.0 {
            let partition = path.parent().expect("a log lies in its partition's folder");
            for file in std::fs::read_dir(partition).expect("the partition is there") {
                let file = file.expect("a file").path();
                // What it keeps beside a log, it makes anew.
                if file.extension().is_some_and(|extension| extension != "metadata") {
                    std::fs::remove_file(file).expect("our own file");
                }
            }
            std::fs::write(path, content).expect("our own file");
        }
    }

    /// Starts what was killed, where it was, with the data that it had.
    ///
    /// # Panics
    /// When it doesn't start.
    pub async fn start_again(&self) {
        let folder = self.folder.path().to_owned();
        let kafka = port(&self.addresses.brokers).to_owned();
        let registry = port(&self.addresses.registry).to_owned();
        let ports: Vec<u16> = self.proxies.iter().map(Proxy::port).collect();
        let started = tokio::task::spawn_blocking(move || up(&folder, (&kafka, &registry), &ports));
        let line = started.await.expect("infra/local/up starts again");
        let ready: Value = serde_json::from_str(&line).expect("a line of JSON");
        for (proxy, behind) in self.proxies.iter().zip(behind(&ready)) {
            proxy.point_to(behind);
        }
    }
}

/// The logs of `__transaction_state`: what a broker's coordinator of transactions knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transactions(BTreeMap<PathBuf, Vec<u8>>);

impl Transactions {
    fn read(stack: &Path) -> Self {
        let topics = std::fs::read_dir(stack.join("kafka/data")).expect("the broker's data");
        let partitions = topics.map(|entry| entry.expect("a folder").path()).filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("__transaction_state-"))
        });
        let logs = partitions.map(|partition| partition.join("00000000000000000000.log"));
        Self(logs.map(|log| (log.clone(), std::fs::read(log).expect("a log"))).collect())
    }
}

/// The port of an address or URL.
fn port(address: &str) -> &str {
    let host = address.trim_start_matches("http://").split('/').next().unwrap_or_default();
    host.rsplit(':').next().unwrap_or_default()
}

/// The ports behind the proxies, from the ready line.
fn behind(ready: &Value) -> Vec<u16> {
    let ports = ready["behind"].as_array().expect("a port behind each proxy").iter();
    let ports = ports.map(|port| port.as_u64().and_then(|port| u16::try_from(port).ok()));
    ports.map(|port| port.expect("a port")).collect()
}

impl Drop for Own {
    fn drop(&mut self) {
        let mut command = Command::new(root().join("infra/local/down"));
        command.arg("--data").arg(self.folder.path()).stdin(Stdio::null());
        // The folder goes either way, and the stack ends with this process at the latest.
        let _ = command.output();
    }
}

fn up(folder: &Path, (kafka, registry): (&str, &str), advertise: &[u16]) -> String {
    let id = std::process::id().to_string();
    let mut command = Command::new(root().join("infra/local/up"));
    command.arg("--data").arg(folder);
    let advertise: Vec<String> = advertise.iter().map(u16::to_string).collect();
    command
        .args(["--kafka-port", kafka, "--registry-port", registry])
        .args(["--advertise", &advertise.join(",")])
        .args(["--output", "json", "--until-exit-of", &id])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
