//! The list of what is needed, how to see whether it is there, and what its package is called where.
//! Looking changes nothing.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The oldest Java on which the broker and the registry run.
const JAVA: u32 = 17;

/// Something that building or testing needs.
#[derive(Debug)]
pub(super) struct Need {
    /// What a person calls it.
    pub(super) name: &'static str,
    /// What breaks without it.
    pub(super) purpose: &'static str,
    /// Whether it is there.
    pub(super) present: fn() -> bool,
    /// Names of its package on Debian and Ubuntu; the first that the system knows is taken.
    pub(super) debian: &'static [&'static str],
    /// Its package on Fedora.
    pub(super) fedora: &'static str,
    /// What to run on macOS.
    pub(super) macos: &'static str,
}

/// All of it.
pub(super) static NEEDS: [Need; 14] = [
    Need {
        name: "C compiler",
        purpose: "builds librdkafka",
        present: || runs("cc", &["--version"]),
        debian: &["build-essential"],
        fedora: "gcc gcc-c++",
        macos: "xcode-select --install",
    },
    Need {
        name: "make",
        purpose: "builds librdkafka",
        present: || runs("make", &["--version"]),
        debian: &["build-essential"],
        fedora: "make",
        macos: "xcode-select --install",
    },
    Need {
        name: "cmake",
        purpose: "builds the cryptography of TLS",
        present: || runs("cmake", &["--version"]),
        debian: &["cmake"],
        fedora: "cmake",
        macos: "brew install cmake",
    },
    Need {
        name: "pkg-config",
        purpose: "finds the C libraries",
        present: || runs("pkg-config", &["--version"]),
        debian: &["pkg-config"],
        fedora: "pkgconf-pkg-config",
        macos: "brew install pkg-config",
    },
    Need {
        name: "OpenSSL headers",
        purpose: "TLS to brokers",
        present: || runs("pkg-config", &["--exists", "openssl"]),
        debian: &["libssl-dev"],
        fedora: "openssl-devel",
        macos: "brew install openssl",
    },
    Need {
        name: "zlib headers",
        purpose: "gzip in librdkafka",
        present: || runs("pkg-config", &["--exists", "zlib"]),
        debian: &["zlib1g-dev"],
        fedora: "zlib-devel",
        macos: "brew install zlib",
    },
    Need {
        name: "curl",
        purpose: "asks the real registry whether it is ready",
        present: || runs("curl", &["--version"]),
        debian: &["curl"],
        fedora: "curl",
        macos: "brew install curl",
    },
    Need {
        name: "Java 17 with compiler",
        purpose: "runs the real broker and registry, builds the Java example",
        present: java_present,
        debian: &["openjdk-17-jdk-headless", "openjdk-21-jdk-headless", "default-jdk-headless"],
        fedora: "java-17-openjdk-devel",
        macos: "brew install openjdk@17, and point JAVA_HOME at it",
    },
    Need {
        name: "Maven",
        purpose: "fetches the real broker and registry",
        present: || runs("mvn", &["--version"]),
        debian: &["maven"],
        fedora: "maven",
        macos: "brew install maven",
    },
    Need {
        name: "Python 3.10 with venv",
        purpose: "runs the Python example and SDK tests",
        present: || {
            let script = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";
            runs("python3", &["-c", script])
        },
        debian: &["python3-venv"],
        fedora: "python3",
        macos: "brew install python",
    },
    Need {
        name: "Node.js 20",
        purpose: "runs the SDK tests",
        present: || {
            let script = "process.exit(Number(process.versions.node.split('.')[0]) < 20 ? 1 : 0)";
            runs("node", &["-e", script])
        },
        debian: &["nodejs"],
        fedora: "nodejs",
        macos: "brew install node",
    },
    Need {
        name: "npm",
        purpose: "fetches what the SDK tests use",
        present: || runs("npm", &["--version"]),
        debian: &["npm"],
        fedora: "nodejs-npm",
        macos: "brew install node",
    },
    Need {
        name: "valgrind",
        purpose: "counts the instructions of the codec",
        present: || runs("valgrind", &["--version"]),
        debian: &["valgrind"],
        fedora: "valgrind",
        macos: "not there on every Mac: run this test on Linux",
    },
    Need {
        name: "kcat",
        purpose: "reads topics in the tests as an outsider does",
        present: || runs("kcat", &["-V"]),
        debian: &["kcat", "kafkacat"],
        fedora: "kcat",
        macos: "brew install kcat",
    },
];

/// What is missing, why it is needed and how to install it, for three systems.
pub(super) fn explain(missing: &[&Need]) -> String {
    let names: Vec<_> =
        missing.iter().map(|need| format!("{} ({})", need.name, need.purpose)).collect();
    let joined = |package: fn(&Need) -> &str| {
        let mut packages: Vec<_> = missing.iter().map(|need| package(need)).collect();
        packages.dedup();
        packages
    };
    format!(
        "missing: {}\n  Debian, Ubuntu: apt-get install {}\n  Fedora: dnf install {}\n  macOS: {}",
        names.join(", "),
        joined(|need| need.debian[0]).join(" "),
        joined(|need| need.fedora).join(" "),
        joined(|need| need.macos).join("; "),
    )
}

/// Whether a program is there and ends well.
pub(super) fn runs(program: impl AsRef<OsStr>, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn java_present() -> bool {
    ["java", "javac"].into_iter().all(|program| {
        let program = java_home().map_or_else(|| program.into(), |home| home.join(program));
        let output = Command::new(program).arg("-version").stdin(Stdio::null()).output();
        // `java` tells it on standard error, `javac` of newer versions on standard output.
        output.is_ok_and(|output| {
            let text = [output.stderr, output.stdout].concat();
            java_version(&String::from_utf8_lossy(&text)).is_some_and(|version| version >= JAVA)
        })
    })
}

/// `JAVA_HOME` comes first, as it does for Maven and `infra/local`.
fn java_home() -> Option<PathBuf> {
    let home = env::var_os("JAVA_HOME").filter(|home| !home.is_empty())?;
    Some(PathBuf::from(home).join("bin"))
}

/// The major version in what `java -version` or `javac -version` print.
fn java_version(text: &str) -> Option<u32> {
    let mut words = text.split_whitespace();
    words.find(|word| matches!(*word, "version" | "javac"))?;
    let number = words.next()?.trim_matches('"');
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_versions_are_read_from_what_the_tools_print() {
        let cases = [
            ("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime", Some(17)),
            ("Picked up JAVA_TOOL_OPTIONS: -Dx\nopenjdk version \"21\" 2023", Some(21)),
            ("java version \"1.8.0_402\"", Some(1)),
            ("javac 17.0.15", Some(17)),
            ("openjdk version \"25-ea\" 2025", Some(25)),
            ("command not found", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(java_version(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_missing_is_explained_for_each_system_once() {
        let missing: Vec<_> = NEEDS
            .iter()
            .filter(|need| ["C compiler", "make", "kcat"].contains(&need.name))
            .collect();
        let text = explain(&missing);
        assert!(text.starts_with("missing: C compiler (builds librdkafka), make ("), "{text}");
        assert!(text.contains("apt-get install build-essential kcat\n"), "{text}");
        assert!(text.contains("dnf install gcc gcc-c++ make kcat\n"), "{text}");
        assert!(text.ends_with("macOS: xcode-select --install; brew install kcat"), "{text}");
    }

    #[test]
    fn a_program_that_is_not_there_does_not_run() {
        assert!(!runs("no-program-of-this-name", &[]));
        assert!(!runs("sh", &["-c", "exit 1"]));
        assert!(runs("sh", &["-c", "exit 0"]));
    }
}
