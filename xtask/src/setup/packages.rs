//! Installing what is missing through apt, where that needs no answer from a person. Other package
//! managers are only named in the explanation.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use super::needs::{Need, runs};
use crate::report::{run, shown};

/// Another apt may be at work, on a fresh machine most of all.
const LOCK_TIMEOUT: &str = "DPkg::Lock::Timeout=600";

/// Installs the packages of these needs.
pub(super) fn install(missing: &[&Need]) -> Result<()> {
    if !runs("apt-get", &["--version"]) {
        bail!("there is no apt-get on this machine");
    }
    let Some(become_root) = privilege() else {
        bail!("apt-get needs root, and sudo would ask for a password");
    };
    // Its lists have a lock for which apt-get doesn't wait. Old lists will often do.
    if let Err(error) = run(&mut apt_get(become_root, &["update"])) {
        eprintln!("  going on with old package lists: {error:#}");
    }
    let packages = packages(missing, known);
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(&packages);
    let mut command = apt_get(become_root, &arguments);
    eprintln!("  {}", shown(&command));
    run(&mut command)
}

/// For each need the first package that the system knows, each package once.
fn packages(missing: &[&Need], known: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut chosen = Vec::new();
    for need in missing {
        let package = need.debian.iter().find(|package| known(package)).unwrap_or(&need.debian[0]);
        if !chosen.contains(package) {
            chosen.push(*package);
        }
    }
    chosen
}

fn known(package: &str) -> bool {
    runs("apt-cache", &["show", "--quiet", package])
}

/// The words before `apt-get`: none for root, `sudo -n` where that works, else nothing will do.
fn privilege() -> Option<&'static [&'static str]> {
    let id = Command::new("id").arg("-u").output().ok()?;
    if String::from_utf8_lossy(&id.stdout).trim() == "0" {
        return Some(&[]);
    }
    runs("sudo", &["-n", "true"]).then_some(&["sudo", "-n"])
}

fn apt_get(become_root: &[&str], arguments: &[&str]) -> Command {
    let mut words = become_root.to_vec();
    // Through `env`, since sudo doesn't pass the variable on.
    words.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", LOCK_TIMEOUT]);
    words.extend(arguments);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::needs::NEEDS;

    fn needs(names: &[&str]) -> Vec<&'static Need> {
        NEEDS.iter().filter(|need| names.contains(&need.name)).collect()
    }

    #[test]
    fn a_package_of_two_needs_is_installed_once() {
        assert_eq!(packages(&needs(&["C compiler", "make"]), |_| true), ["build-essential"]);
    }

    #[test]
    fn the_first_package_that_the_system_knows_is_taken() {
        let java = needs(&["Java 17 with compiler"]);
        assert_eq!(packages(&java, |_| true), ["openjdk-17-jdk-headless"]);
        assert_eq!(packages(&java, |name| name.contains("21")), ["openjdk-21-jdk-headless"]);
        // So that the message of apt names what was looked for.
        assert_eq!(packages(&java, |_| false), ["openjdk-17-jdk-headless"]);
    }

    #[test]
    fn installing_asks_nothing() {
        let line = shown(&apt_get(&["sudo", "-n"], &["install", "--yes", "kcat"]));
        assert!(line.starts_with("sudo -n env DEBIAN_FRONTEND=noninteractive apt-get "), "{line}");
    }
}
