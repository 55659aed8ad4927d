//! A process of the program: started, watched, and ended by its id when its owner goes.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How many of its last log lines a failed test shows.
const SHOWN_LINES: usize = 120;

/// A running process. Dropping it kills it; when a test fails, its last log lines are shown.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// What to tell a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Finish and stop.
    Terminate,
    /// Stand still.
    Stop,
    /// Go on.
    Continue,
}

impl Process {
    /// Starts `command`; its log goes to a file in `folder`.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn start(name: &str, mut command: Command, folder: &Path) -> Self {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).expect("a log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {command:?}: {error}"));
        Self { name: name.to_owned(), child, log }
    }

    /// The first line that it writes to its standard output. Once.
    ///
    /// # Panics
    /// When it ends before, or takes longer than `limit`.
    pub fn first_line(&mut self, limit: Duration) -> String {
        let output = self.child.stdout.take().expect("the first line is asked for once");
        let (sender, line) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let mut text = String::new();
            let read = BufReader::new(output).read_line(&mut text);
            // The test has given up.
            let _ = sender.send(read.map(|_| text));
        });
        match line.recv_timeout(limit) {
            Ok(Ok(text)) if !text.is_empty() => text,
            other => panic!("{} said nothing: {other:?}\n{}", self.name, self.tail()),
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    ///
    /// # Panics
    /// When it can't be waited for.
    pub fn kill(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        self.child.wait().expect("a child can be waited for");
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal(&self, signal: Signal) {
        let name = match signal {
            Signal::Terminate => "-TERM",
            Signal::Stop => "-STOP",
            Signal::Continue => "-CONT",
        };
        let id = self.child.id().to_string();
        let status = Command::new("kill").args([name, &id]).status();
        assert!(status.expect("the system has `kill`").success(), "{}: {name}", self.name);
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When that takes longer than `limit`.
    pub fn ended(&mut self, limit: Duration) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                return status;
            }
            assert!(began.elapsed() < limit, "{} still runs\n{}", self.name, self.tail());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Everything that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let from = lines.len().saturating_sub(SHOWN_LINES);
        format!("--- the end of the log of {}\n{}", self.name, lines[from..].join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.tail());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
