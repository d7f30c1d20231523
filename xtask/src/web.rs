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

/// Builds the WASM and its bindings in two folders: an error if they differ.
pub(crate) fn check_same_bytes() -> Result<()> {
    let mut builds = Vec::new();
    for name in ["", "wasm-again"] {
        let target = shell::build_folder(name);
        let out = target.join("wasm-bound");
        bind(&build_wasm(&target)?, &out)?;
        builds.push(
            ["shoal.js", "shoal.d.ts", "shoal_bg.wasm"]
                .map(|file| std::fs::read(out.join(file)).map(|bytes| blake3::hash(&bytes)).ok()),
        );
    }
    let is_complete = builds.iter().flatten().all(Option::is_some);
    ensure!(is_complete && builds[0] == builds[1], "two builds of the WASM differ: {builds:?}");
    Ok(())
}

/// Where the browser's part lies.
pub(crate) fn folder() -> PathBuf {
    shell::workspace_root().join("web-demo")
}

/// Builds the WASM module under `target` and says where it is.
fn build_wasm(target: &Path) -> Result<PathBuf> {
    let home = cargo_home()?;
    let remaps = [(shell::workspace_root(), "/shoal"), (home, "/cargo")];
    let flags = remaps.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    let mut command =
        if has_target() || add_target() { shell::cargo(&[]) } else { debian_cargo()? };
    command.args(["build", "--package", "shoal-wasm", "--profile", "wasm"]);
    command.args(["--target", TARGET, "--target-dir"]).arg(target);
    command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", flags.join(" "));
    shell::run(&mut command)?;
    Ok(target.join(TARGET).join("wasm/shoal_wasm.wasm"))
}

/// Whether the toolchain has Rust's standard library for the target.
fn has_target() -> bool {
    let sysroot = shell::capture(Command::new("rustc").args(["--print", "sysroot"]));
    sysroot.is_ok_and(|path| Path::new(path.trim()).join("lib/rustlib").join(TARGET).is_dir())
}

/// Lets rustup bring it.
fn add_target() -> bool {
    shell::run(Command::new("rustup").args(["target", "add", TARGET])).is_ok()
}

/// Debian's compiler, which builds that library from its source.
fn debian_cargo() -> Result<Command> {
    const PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-19"];
    let linker = "wasm-ld-19";
    if !shell::is_installed(linker) || !Path::new("/usr/bin/cargo").is_file() {
        let by_hand = format!(
            "the Rust toolchain has no {TARGET} and rustup does not bring it; run: \
             rustup target add {TARGET}, or: apt-get install {}",
            PACKAGES.join(" ")
        );
        ensure!(shell::is_root() && shell::is_installed("apt-get"), "{by_hand}");
        shell::run(Command::new("apt-get").args(["update", "-qq"]))?;
        let install = ["install", "-y", "-qq", "--no-install-recommends"];
        shell::run(Command::new("apt-get").args(install).args(PACKAGES)).context(by_hand)?;
    }
    let mut command = Command::new("/usr/bin/cargo");
    command.current_dir(shell::workspace_root());
    command.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
    command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
    command.arg("-Zbuild-std=std,panic_abort");
    Ok(command)
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
