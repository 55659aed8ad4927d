//! `stepstream workflow import`: a definition made of what another system exported.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use domain::workflow::import::{self, Finding, Imported, Outcome};

use super::files::{read, shown};
use crate::error::CommandError;
use crate::print;

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The exported app, as YAML; `-` reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where it comes from
    #[arg(long, default_value = "dify")]
    from: From,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum From {
    /// An app of the mode workflow or chatflow
    Dify,
}

impl Import {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let name = shown(&self.file);
        let source = read(&self.file)?;
        let imported = match self.from {
            From::Dify => import::dify(&source),
        };
        let Imported { definition, report } =
            imported.map_err(|error| CommandError::new(format!("importing {name}"), error))?;
        let text = gateway::yaml::text(&definition)
            .map_err(|error| CommandError::new("writing the definition", error))?;
        print::line(text.trim_end());
        for finding in &report {
            print::remark(&told(finding));
        }
        let count = |outcome| report.iter().filter(|one| one.outcome == outcome).count();
        let missing = count(Outcome::NotConverted);
        print::remark(&format!(
            "{name}: {} converted, {} with a difference, {missing} not converted",
            count(Outcome::Converted),
            count(Outcome::Different),
        ));
        match missing {
            0 => Ok(()),
            _ => Err(CommandError::plain(format!("{missing} things have to be converted by hand"))),
        }
    }
}

fn told(finding: &Finding) -> String {
    let outcome = match finding.outcome {
        Outcome::Converted => "converted",
        Outcome::Different => "different",
        Outcome::NotConverted => "NOT CONVERTED",
    };
    let Finding { pointer, subject, message, .. } = finding;
    format!("{outcome} {subject:?} at {pointer}: {message}")
}
