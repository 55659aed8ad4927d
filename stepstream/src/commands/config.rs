//! `stepstream config`: what a process would be started with.

use clap::Subcommand;

use super::ConfigFile;
use crate::error::CommandError;
use crate::print;

/// Look at the configuration.
///
/// Values come from the defaults, then the file, then the environment. Secrets are never shown.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every key with its value, as a configuration file
    Show(ConfigFile),
    /// Say what is wrong with it, if anything
    Check(ConfigFile),
}

impl ConfigCommand {
    pub(super) fn run(self) -> Result<(), CommandError> {
        match self {
            Self::Show(file) => print::line(file.load()?.show().trim_end()),
            Self::Check(file) => {
                file.load()?;
                print::line("the configuration can work");
            }
        }
        Ok(())
    }
}
