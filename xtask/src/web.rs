//! `cargo xtask web`: the engine as WASM, the SDK and the pages, into `web-demo/dist`.
//!
//! Rule: the same sources give the same bytes on every machine: paths of this one are cut out of
//! the WASM, and every tool's version is in a lock file. The server embeds what it finds in that
//! folder when it is built next.

use crate::shell;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use wasm_bindgen_cli_support::Bindgen;

const TARGET: &str = "wasm32-unknown-unknown";

/// What to build.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub(crate) struct Args {
    /// Only the WASM and its bindings, which need no Node.
    #[arg(long)]
    pub(crate) wasm_only: bool,
}

/// Builds everything.
pub(crate) fn run(args: Args) -> Result<()> {
    let web = folder();
    let module = build_wasm(&shell::build_folder(""))?;
    bind(&module, &web.join("wasm/pkg"))?;
    if args.wasm_only {
        return Ok(());
    }
    install_packages(&web)?;
    shell::run(npm(&web).args(["run", "--silent", "typecheck"]))?;
    shell::run(npm(&web).args(["run", "--silent", "build"]))
}

/// Where the browser's part lies.
pub(crate) fn folder() -> PathBuf {
    shell::workspace_root().join("web-demo")
}

/// Builds the WASM module under `target` and says where it is.
fn build_wasm(target: &Path) -> Result<PathBuf> {
    ensure_target()?;
    let home = cargo_home()?;
    let remaps = [(shell::workspace_root(), "/shoal"), (home, "/cargo")];
    let flags = remaps.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    let mut command =
        shell::cargo(&["build", "--package", "shoal-wasm", "--profile", "wasm", "--target"]);
    command.args([TARGET, "--target-dir"]).arg(target);
    command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", flags.join(" "));
    shell::run(&mut command)?;
    Ok(target.join(TARGET).join("wasm/shoal_wasm.wasm"))
}

/// Rust's standard library for the target; rustup brings it.
fn ensure_target() -> Result<()> {
    let listing = shell::capture(&mut shell::cargo(&["rustc", "--print", "sysroot"]));
    let rustc = shell::capture(Command::new("rustc").args(["--print", "sysroot"])).or(listing)?;
    let library = Path::new(rustc.trim()).join("lib/rustlib").join(TARGET);
    if library.is_dir() {
        return Ok(());
    }
    shell::run(Command::new("rustup").args(["target", "add", TARGET])).with_context(|| {
        format!("the Rust toolchain has no {TARGET}; to install it: rustup target add {TARGET}")
    })
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    let home = std::env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?;
    Ok(Path::new(&home).join(".cargo"))
}

/// Writes the module and its JavaScript bindings. The version of this library and that of
/// `wasm-bindgen` in the module are the same: both are in `Cargo.lock`.
fn bind(module: &Path, out: &Path) -> Result<()> {
    let mut bindgen = Bindgen::new();
    bindgen.input_path(module).out_name("shoal").typescript(true).remove_name_section(true);
    bindgen.remove_producers_section(true).omit_default_module_path(true).web(true)?;
    bindgen.generate(out).with_context(|| format!("cannot bind {}", module.display()))
}

/// Brings the npm packages of the lock file, unless they are there already.
pub(crate) fn install_packages(web: &Path) -> Result<()> {
    ensure!(
        shell::is_installed("npm"),
        "the pages need Node and npm (apt-get install nodejs npm, version 20 or newer)"
    );
    let lock = std::fs::read(web.join("package-lock.json"))?;
    let mark = web.join("node_modules/.shoal-lock");
    let hash = blake3::hash(&lock).to_hex().to_string();
    if std::fs::read_to_string(&mark).is_ok_and(|installed| installed == hash) {
        return Ok(());
    }
    shell::run(npm(web).args(["ci", "--no-audit", "--no-fund", "--loglevel", "error"]))?;
    Ok(std::fs::write(mark, hash)?)
}

fn npm(web: &Path) -> Command {
    let mut command = Command::new("npm");
    command.current_dir(web);
    command
}
