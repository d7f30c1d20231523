//! The program as its users run it: real arguments, real files, exit codes.
//!
//! Rule: small worlds, so that this stays a matter of seconds.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

const SMALL: &[&str] = &["--set", "viewers=20", "--set", "duration_s=20", "--set", "warmup_s=5"];

fn shoal_sim(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-sim"));
    command.current_dir(folder).args(args).output().expect("the program starts")
}

fn run_small(folder: &Path, args: &[&str]) -> Output {
    let output = shoal_sim(folder, &[&["run", "steady"], SMALL, args].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    output
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The lines of a JSON file without the figures that depend on the machine.
fn masked(path: &Path) -> Vec<String> {
    const HOST: &[&str] = &["wall_seconds", "deliveries_per_second", "peak_rss_mib"];
    let text = std::fs::read_to_string(path).expect("written before");
    let is_own = |line: &&str| !HOST.iter().any(|name| line.contains(name));
    text.lines().filter(is_own).map(str::to_owned).collect()
}

#[test]
fn the_same_run_gives_the_same_bytes_on_any_number_of_threads() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    run_small(folder.path(), &["--seeds", "3", "--json", "a.json"]);
    run_small(folder.path(), &["--seeds", "3", "--jobs", "2", "--json", "b.json"]);
    assert_eq!(masked(&path("a.json")), masked(&path("b.json")));
    let text = std::fs::read_to_string(path("a.json")).expect("written before");
    let json: Value = serde_json::from_str(&text).expect("JSON");
    let seeds: Vec<_> = json["runs"].as_array().expect("runs").iter().map(|r| &r["seed"]).collect();
    assert_eq!(seeds, [1, 2, 3]);
    assert_eq!(json["scenario"], "steady");
    assert_eq!(json["settings"][0], "viewers=20");
    assert!(json["median"]["offload_ratio"].is_number() && json["worst"]["seed"].is_null());
}

#[test]
fn a_replay_agrees_until_a_figure_is_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    run_small(folder.path(), &["--seed", "7", "--twins", "--json", "run.json"]);
    let replay = shoal_sim(folder.path(), &["replay", "run.json"]);
    assert!(replay.status.success(), "{}", stderr(&replay));
    assert!(stdout(&replay).contains("same figures"), "{}", stdout(&replay));

    let path = folder.path().join("run.json");
    let text = std::fs::read_to_string(&path).expect("written before");
    let forged = text.replacen("\"offload_ratio\": ", "\"offload_ratio\": 1", 1);
    std::fs::write(&path, forged).expect("a file");
    let replay = shoal_sim(folder.path(), &["replay", "run.json"]);
    assert_eq!(replay.status.code(), Some(1));
    assert!(stdout(&replay).contains("seed 7: offload_ratio was "), "{}", stdout(&replay));
    assert!(stderr(&replay).contains("a figure differs"), "{}", stderr(&replay));
}

#[test]
fn a_page_and_an_export_are_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = run_small(folder.path(), &["--html", "run.html", "--export", "world.json"]);
    assert!(stdout(&output).contains("achieved_over_bound"), "{}", stdout(&output));
    assert!(stderr(&output).contains("done, 1 of 1"), "{}", stderr(&output));
    let page = std::fs::read_to_string(folder.path().join("run.html")).expect("a page");
    assert!(page.contains("Who uploads") && page.ends_with("</html>\n"));
    let world = std::fs::read_to_string(folder.path().join("world.json")).expect("an export");
    let world: Value = serde_json::from_str(&world).expect("JSON");
    assert!(world.is_object());
}

#[test]
fn a_sweep_has_an_entry_and_a_line_per_point() {
    let folder = tempfile::tempdir().expect("a folder");
    let over = ["--over", "rho=1.0,1.5", "--over", "nat=open,web", "--json", "s.json"];
    let output = shoal_sim(folder.path(), &[&["sweep", "steady"], SMALL, &over].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output).lines().count(), 2 + 4, "{}", stdout(&output));
    let text = std::fs::read_to_string(folder.path().join("s.json")).expect("written before");
    let json: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(json["points"].as_array().expect("points").len(), 4);
    assert_eq!(json["points"][1]["settings"][4], "nat=web");
    let replay = shoal_sim(folder.path(), &["replay", "s.json", "--jobs", "2"]);
    assert!(replay.status.success(), "{}{}", stdout(&replay), stderr(&replay));
}

#[test]
fn what_is_wrong_is_said_with_what_would_be_right() {
    let folder = tempfile::tempdir().expect("a folder");
    let cases: &[(&[&str], i32, &str)] = &[
        (&["run", "steady", "--set", "vewers=20"], 1, "no setting `vewers`: there are "),
        (&["run", "steady", "--set", "vewers=20"], 1, " viewers"),
        (&["run", "steady", "--set", "viewers=many"], 1, "viewers"),
        (&["run", "stedy"], 1, "steady"),
        (&["run", "none.toml"], 1, "cannot read the scenario none.toml"),
        (&["run", "steady", "--json", "no/where.json"], 1, "cannot write no/where.json"),
        (&["sweep", "steady", "--over", "rho"], 1, "key=value,value"),
        (&["replay", "none.json"], 1, "cannot read none.json"),
        (&["sweep", "steady"], 2, "--over"),
        (&["run", "steady", "--seeds", "0"], 2, "1..="),
        (&[], 2, "Usage"),
    ];
    for (args, code, said) in cases {
        let output = shoal_sim(folder.path(), args);
        assert_eq!(output.status.code(), Some(*code), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn the_help_and_the_list_teach() {
    let folder = tempfile::tempdir().expect("a folder");
    let help = shoal_sim(folder.path(), &["--help"]);
    assert!(help.status.success() && stdout(&help).contains("shoal-sim sweep steady --over"));
    let list = shoal_sim(folder.path(), &["list"]);
    assert!(list.status.success());
    assert!(stdout(&list).lines().any(|line| line.starts_with("steady ")), "{}", stdout(&list));
}
