//! `cargo xtask dist`: what a release consists of, in one folder and one archive.
//!
//! Rule: a static program where the toolchain has the target, and a line that says so where not.

use crate::{shell, web};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Linked against nothing of the machine that it runs on.
const STATIC: &str = "x86_64-unknown-linux-musl";
const PROGRAMS: [&str; 4] = ["shoal-server", "shoal-agent", "shoal-sim", "shoal-loadtest"];
const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// Builds and collects everything.
pub(crate) fn run() -> Result<()> {
    web::run(web::Args::default())?;
    let target = static_target();
    let commit = shell::capture(Command::new("git").args(["rev-parse", "--short=12", "HEAD"]))?;
    let mut build = shell::cargo(&["build", "--release", "--locked"]);
    build.env("SHOAL_COMMIT", commit.trim());
    build.args(PROGRAMS.iter().flat_map(|program| ["--package", program]));
    build.args(["--features", "shoal-server/tls,shoal-agent/tls"]);
    let built = match &target {
        Some(target) => {
            build.args(["--target", target]);
            // Libraries in C come through this compiler.
            build.env("CC_x86_64_unknown_linux_musl", "musl-gcc");
            shell::build_folder(target).join("release")
        }
        None => shell::build_folder("release"),
    };
    shell::run(&mut build)?;
    let version = env!("CARGO_PKG_VERSION");
    let kind = target.as_deref().unwrap_or(std::env::consts::ARCH);
    let name = format!("shoal-{version}-{kind}");
    let folder = shell::build_folder("dist").join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    collect(&built, &folder).with_context(|| format!("cannot fill {}", folder.display()))?;
    let above = folder.parent().context("it lies in a folder")?;
    let archive = format!("{name}.tar.gz");
    shell::run(Command::new("tar").current_dir(above).args(["-czf", &archive, &name]))?;
    let sums = shell::capture(Command::new("sha256sum").current_dir(above).arg(&archive))?;
    fs::write(above.join("SHA256SUMS"), &sums)?;
    print!("{}{sums}", folder.display().to_string() + "\n");
    Ok(())
}

/// The static target, if it can be built for here.
fn static_target() -> Option<String> {
    let _ = shell::capture(Command::new("rustup").args(["target", "add", STATIC]));
    let there = shell::capture(Command::new("rustup").args(["target", "list", "--installed"]));
    let has_target = there.is_ok_and(|list| list.lines().any(|line| line == STATIC));
    crate::suite::provide(&[("musl-gcc", "musl-tools")], false);
    let has_compiler = shell::is_installed("musl-gcc");
    if has_target && has_compiler {
        return Some(STATIC.to_owned());
    }
    eprintln!("no static program: `rustup target add {STATIC}` and musl-tools are needed for one");
    None
}

fn collect(built: &Path, folder: &Path) -> Result<()> {
    let root = shell::workspace_root();
    for sub in ["bin", "man/man1", "completions"] {
        fs::create_dir_all(folder.join(sub))?;
    }
    for program in PROGRAMS {
        fs::copy(built.join(program), folder.join("bin").join(program))?;
    }
    for program in ["shoal-server", "shoal-agent"] {
        let run = |args: &[&str]| shell::capture(Command::new(built.join(program)).args(args));
        fs::write(folder.join(format!("man/man1/{program}.1")), run(&["man"])?)?;
        for name in SHELLS {
            let text = run(&["completions", name])?;
            fs::write(folder.join(format!("completions/{program}.{name}")), text)?;
        }
    }
    for file in ["LICENSE-APACHE", "LICENSE-MIT", "CHANGELOG.md", "README.md"] {
        fs::copy(root.join(file), folder.join(file))?;
    }
    shell::run(Command::new("cp").arg("-r").arg(root.join("deploy")).arg(folder))?;
    let bill = serde_json::to_string_pretty(&bill_of_materials()?)?;
    fs::write(folder.join("sbom.cdx.json"), bill)?;
    Ok(())
}

/// What is in the programs, as CycloneDX 1.5: every crate of the lock file that they are made of.
fn bill_of_materials() -> Result<Value> {
    let mut command = shell::cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--filter-platform",
        STATIC,
    ]);
    let metadata: Value = serde_json::from_str(&shell::capture(&mut command)?)?;
    let components = metadata["packages"].as_array().into_iter().flatten();
    let components: Vec<Value> = components
        .filter(|package| !package["source"].is_null())
        .map(|package| {
            let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
            let (name, version) = (text("name"), text("version"));
            let purl = format!("pkg:cargo/{name}@{version}");
            json!({
                "type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl,
                "licenses": [{ "expression": text("license").replace('/', " OR ") }],
            })
        })
        .collect();
    Ok(json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": { "component": {
            "type": "application", "name": "shoal", "version": env!("CARGO_PKG_VERSION"),
        } },
        "components": components,
    }))
}
