//! Releases the contract as it stands under a new version: `released/<version>/*.avsc` and
//! `golden/<version>/<Record>.{bin,json}`. It never rewrites a version that exists.
//!
//! Run as `cargo run -p stepstream-schemas --example release -- v2`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use stepstream_schemas::samples;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let version = std::env::args().nth(1).ok_or("which version? e.g. v2")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let released = fresh(&root.join("released").join(&version))?;
    let golden = fresh(&root.join("golden").join(&version))?;
    for sample in samples::all() {
        let name = sample.record.name.rsplit('.').next().ok_or("a record has a name")?;
        fs::write(released.join(format!("{name}.avsc")), sample.record.schema)?;
        fs::write(golden.join(format!("{name}.bin")), &sample.datum)?;
        let schema = Schema::parse_str(sample.record.schema)?;
        let value = GenericDatumReader::builder(&schema)
            .build()?
            .read_value(&mut sample.datum.as_slice())?;
        let json = serde_json::to_string_pretty(&serde_json::Value::try_from(value)?)?;
        fs::write(golden.join(format!("{name}.json")), json + "\n")?;
    }
    Ok(())
}

/// Makes a directory that isn't there yet.
fn fresh(directory: &Path) -> io::Result<PathBuf> {
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::create_dir(directory)?;
    Ok(directory.to_owned())
}
