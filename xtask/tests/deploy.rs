//! What is deployed, as far as it can be looked at without a cluster: units, charts, images.
//!
//! Rule: a file that names a flag, a key or a value of ours names one that exists.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(deploy(name)).unwrap()
}

/// The flags of the server, from the manual that it prints.
fn flags() -> BTreeSet<String> {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("server/shoal.toml");
    let manual = fs::read_to_string(manual).unwrap();
    let words = manual.split(|c: char| c.is_whitespace() || ",.;:()=`".contains(c));
    let mut flags: BTreeSet<String> =
        words.filter(|word| word.starts_with("--")).map(str::to_owned).collect();
    flags.insert("--config".into());
    flags
}

#[test]
fn the_unit_is_one_for_systemd() {
    let unit = read("systemd/shoal-server.service");
    // The program is not installed here.
    let unit = unit.replace("/usr/bin/shoal-server", "/bin/true");
    let file = std::env::temp_dir().join(format!("shoal-unit-{}.service", std::process::id()));
    fs::write(&file, unit).unwrap();
    let output = Command::new("systemd-analyze").arg("verify").arg(&file).output().unwrap();
    fs::remove_file(&file).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // What other units of the machine lack is not ours.
    let ours: Vec<_> = said.lines().filter(|line| line.contains("shoal-unit")).collect();
    assert!(ours.is_empty(), "{ours:?}");
}

#[test]
fn kernel_limits_are_keys_that_this_kernel_has() {
    let keys = read("systemd/90-shoal.conf");
    let keys = keys.lines().filter(|line| !line.starts_with('#') && line.contains('='));
    let keys: Vec<_> = keys.map(|line| line.split('=').next().unwrap().trim()).collect();
    assert!(keys.len() >= 5);
    for key in keys {
        let path = Path::new("/proc/sys").join(key.replace('.', "/"));
        assert!(path.exists(), "{key}");
    }
}

#[test]
fn every_flag_in_a_deployment_exists() {
    let flags = flags();
    for name in [
        "systemd/shoal-server.service",
        "compose/compose.yaml",
        "helm/shoal/templates/statefulset.yaml",
    ] {
        let text = read(name);
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let text = lines.collect::<Vec<_>>().join("\n");
        let words = text.split(|c: char| c.is_whitespace() || c == '"');
        let used = words.filter(|word| word.starts_with("--") && word.len() > 3);
        let used = used.map(|word| word.split('=').next().unwrap());
        // Prometheus' own.
        let ours: Vec<_> =
            used.filter(|flag| !flag.contains('.') || flag.contains("shoal")).collect();
        assert!(!ours.is_empty(), "{name}");
        for flag in ours {
            let known = flags.contains(flag) || flag == "--config.file";
            assert!(known, "{name} uses {flag}, which shoal.toml does not name");
        }
    }
}

#[test]
fn the_chart_uses_the_values_that_it_has() {
    let values = read("helm/shoal/values.yaml");
    let mut paths = BTreeSet::new();
    let mut parents: Vec<(usize, String)> = Vec::new();
    let mut block: Option<usize> = None;
    for line in values.lines() {
        let depth = line.len() - line.trim_start().len();
        if block.is_some_and(|at| depth > at || line.trim().is_empty()) {
            continue;
        }
        block = None;
        let Some((key, value)) = line.trim_start().split_once(':') else { continue };
        if key.starts_with('#') {
            continue;
        }
        parents.retain(|(at, _)| *at < depth);
        let above: String = parents.iter().map(|(_, key)| format!("{key}.")).collect();
        paths.insert(format!("{above}{key}"));
        parents.push((depth, key.to_owned()));
        if value.trim() == "|" {
            block = Some(depth);
        }
    }
    let mut used = BTreeSet::new();
    for entry in fs::read_dir(deploy("helm/shoal/templates")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches("{{").count(), text.matches("}}").count(), "{path:?}");
        let opened = ["{{- if ", "{{- range ", "{{- with ", "{{- define "];
        let opened: usize = opened.iter().map(|word| text.matches(word).count()).sum();
        assert_eq!(opened, text.matches("{{- end }}").count(), "{path:?}");
        for found in text.split(".Values.").skip(1) {
            let end = found.find(|c: char| !c.is_alphanumeric() && c != '.').unwrap_or(found.len());
            used.insert(found[..end].to_owned());
        }
    }
    let unknown: Vec<_> = used.difference(&paths).collect();
    assert!(unknown.is_empty(), "values.yaml lacks {unknown:?}");
    let is_used =
        |path: &str| used.iter().any(|it| it == path || path.starts_with(&format!("{it}.")));
    let is_parent = |path: &str| paths.iter().any(|it| it.starts_with(&format!("{path}.")));
    let unused: Vec<_> = paths.iter().filter(|it| !is_used(it) && !is_parent(it)).collect();
    assert!(unused.is_empty(), "no template uses {unused:?}");
}

#[test]
fn what_files_mount_and_copy_is_there() {
    let compose = read("compose/compose.yaml");
    let mounts = compose.lines().filter_map(|line| line.trim().strip_prefix("- "));
    let mounts: Vec<_> = mounts.filter(|it| it.starts_with('.')).collect();
    assert!(mounts.len() >= 3);
    for mount in mounts {
        let path = deploy("compose").join(mount.split(':').next().unwrap());
        assert!(path.exists(), "{mount}");
    }
    let image = read("docker/Dockerfile");
    assert!(image.contains("USER 65532:65532") && image.contains("FROM scratch"));
    assert!(!image.contains(":latest"));
}
