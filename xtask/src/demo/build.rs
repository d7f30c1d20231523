//! The programs that the demo starts: built in release mode, or taken from a folder.
//!
//! Rule: the demo measures what an operator would run. Fault injection is compiled in only where
//! the demo is asked for faults.

use super::args::Args;
use crate::shell;
use anyhow::{Result, ensure};
use std::path::PathBuf;

/// Paths of the programs.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// `shoal-server`.
    pub(crate) server: PathBuf,
    /// `shoal-agent`.
    pub(crate) agent: PathBuf,
}

/// Builds them, or checks that they are in the folder that was given.
pub(crate) fn programs(args: &Args) -> Result<Programs> {
    if args.bin_dir.is_none() {
        crate::web::run(crate::web::Args::default())?;
    } else if args.browsers > 0 {
        crate::web::install_packages(&crate::web::folder())?;
    }
    let folder = match &args.bin_dir {
        Some(folder) => std::path::absolute(folder)?,
        None => build(args.corrupt > 0)?,
    };
    let program = |name: &str| folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let programs = Programs { server: program("shoal-server"), agent: program("shoal-agent") };
    for path in [&programs.server, &programs.agent] {
        ensure!(path.is_file(), "{} does not exist", path.display());
    }
    Ok(programs)
}

fn build(with_faults: bool) -> Result<PathBuf> {
    eprintln!("building shoal-server and shoal-agent (release)");
    let packages = ["build", "--release", "--package", "shoal-server", "--package", "shoal-agent"];
    let mut command = shell::cargo(&packages);
    if with_faults {
        command.args(["--features", "shoal-agent/fault-injection"]);
    }
    shell::run(&mut command)?;
    Ok(shell::build_folder("release"))
}
