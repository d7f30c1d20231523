//! What an operator watches: a real Prometheus scrapes a real event, and every query of the
//! dashboard finds data in it; alerts are provoked.
//!
//! Rule: nothing here is made up for the queries: the figures come from viewers that play.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(150);
/// Viewers at first, and the most that are added until both groups of the holdout have some.
const VIEWERS: usize = 7;
const VIEWERS_MAX: usize = 24;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The folder of the programs, as `cargo xtask test` built them with the tests; built here for a
/// test that is run by itself.
fn programs() -> PathBuf {
    if let Some(folder) = std::env::var_os("SHOAL_TEST_PROGRAMS") {
        return folder.into();
    }
    let args = ["build", "--package", "shoal-server", "--package", "shoal-agent"];
    assert!(Command::new(env!("CARGO")).args(args).status().unwrap().success());
    Path::new(env!("CARGO_BIN_EXE_xtask")).parent().unwrap().to_owned()
}

/// Processes and files of a test; both go with it.
struct Stage {
    folder: PathBuf,
    programs: PathBuf,
    children: Vec<Child>,
}

impl Stage {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("shoal-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self { folder, programs: programs(), children: Vec::new() }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    /// Starts a program; its number.
    fn start(&mut self, program: &str, args: &[&str]) -> usize {
        let mut command = match program {
            "prometheus" => Command::new(program),
            "xtask" => Command::new(env!("CARGO_BIN_EXE_xtask")),
            ours => Command::new(self.programs.join(ours)),
        };
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.children.push(command.spawn().unwrap_or_else(|error| panic!("{program}: {error}")));
        self.children.len() - 1
    }

    /// Starts a program that writes its addresses to a file; these.
    fn start_listening(&mut self, program: &str, name: &str, args: &[&str]) -> Value {
        let ports = self.path(&format!("{name}.json"));
        self.start(program, &[args, &["--ports-file", &ports]].concat());
        soon(&format!("{name} listens"), || {
            serde_json::from_str(&fs::read_to_string(&ports).ok()?).ok()
        })
    }

    /// One more viewer of these playlists, behind an agent of its own.
    fn add_viewer(&mut self, number: usize, origin: &str, paths: &[&str]) {
        let args = ["run", "--origin", &format!("http://{origin}"), "--listen", "127.0.0.1:0"];
        let agent = self.start_listening("shoal-agent", &format!("agent-{number}"), &args);
        for path in paths {
            let agent = agent["listen"].as_str().unwrap();
            let url = format!("http://{agent}/http/{origin}{path}");
            self.start("xtask", &["reader", "--url", &url]);
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn soon<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "it took too long until {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The body of an answer, however the server means it.
fn ask(address: &str, head: &str) -> Option<String> {
    let mut socket = TcpStream::connect(address).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(socket, "{head} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n").ok()?;
    let mut text = String::new();
    socket.read_to_string(&mut text).ok()?;
    Some(text.split_once("\r\n\r\n")?.1.to_owned())
}

fn escape(query: &str) -> String {
    query.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// What a query finds now: labels and value, without what is no number.
fn query(prometheus: &str, query: &str) -> Vec<(Value, f64)> {
    let answer = ask(prometheus, &format!("GET /api/v1/query?query={}", escape(query)));
    let Some(answer) = answer.and_then(|text| serde_json::from_str::<Value>(&text).ok()) else {
        return Vec::new();
    };
    assert_eq!(answer["status"], "success", "{query}: {answer}");
    let results = answer["data"]["result"].as_array().unwrap();
    let number = |result: &Value| {
        let value: f64 = result["value"][1].as_str()?.parse().ok()?;
        value.is_finite().then(|| (result["metric"].clone(), value))
    };
    results.iter().filter_map(number).collect()
}

/// Every query of the dashboard, as Grafana would send it for all instances and streams.
fn dashboard_queries() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("deploy/grafana/shoal.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expr = target["expr"].as_str().unwrap();
            let expr = expr.replace("$__rate_interval", "20s");
            let expr = expr.replace("$instance", ".*").replace("$stream", ".*");
            assert!(!expr.contains('$'), "{expr}");
            queries.push((panel["title"].as_str().unwrap().to_owned(), expr));
        }
    }
    assert!(queries.len() > 30, "the dashboard has queries");
    queries
}

/// The names of the metrics in a table or an answer of `/metrics`.
fn names<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    lines.map(str::to_owned).filter(|name| !name.is_empty()).collect()
}

/// Prometheus over the server at `admin`, with alerts that need not wait.
fn start_prometheus(stage: &mut Stage, admin: &str) -> String {
    let rules = fs::read_to_string(root().join("deploy/prometheus/alerts.yaml")).unwrap();
    let at_once = rules.lines().filter(|line| !line.trim_start().starts_with("for:"));
    fs::write(stage.path("alerts.yaml"), at_once.collect::<Vec<_>>().join("\n")).unwrap();
    let config = fs::read_to_string(root().join("deploy/prometheus/prometheus.yaml")).unwrap();
    let config = config
        .replace("scrape_interval: 5s", "scrape_interval: 1s")
        .replace("evaluation_interval: 15s", "evaluation_interval: 1s")
        .replace("shoal:9090", admin);
    assert!(config.contains(admin) && config.contains("scrape_interval: 1s"));
    fs::write(stage.path("prometheus.yaml"), config).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let (config, data) = (stage.path("prometheus.yaml"), stage.path("tsdb"));
    let args = [
        format!("--config.file={config}"),
        format!("--storage.tsdb.path={data}"),
        format!("--web.listen-address={address}"),
    ];
    stage.start("prometheus", &args.each_ref().map(String::as_str));
    soon("prometheus scrapes", || (!query(&address, "up").is_empty()).then_some(()));
    address
}

#[test]
fn every_query_of_the_dashboard_finds_data_and_alerts_fire() {
    let mut stage = Stage::new("observe");
    let (upstream_data, data) = (stage.path("upstream"), stage.path("data"));
    let common = ["--listen", "127.0.0.1:0", "--demo-channel", "--data-dir"];
    let upstream = [&common[..], &[&upstream_data, "--admin-listen", ""]].concat();
    let upstream = stage.start_listening("shoal-server", "upstream", &upstream);
    let upstream = format!("--upstream=http://{}/live", upstream["listen"].as_str().unwrap());
    let more = ["--admin-listen", "127.0.0.1:0", "--stream", "cam=key", &upstream];
    let holdout = ["--holdout-percent", "40", "--holdout-viewers-min", "2"];
    let server = [&common[..], &[&data], &more, &holdout].concat();
    let server_number = stage.children.len();
    let server = stage.start_listening("shoal-server", "server", &server);
    let address = |name: &str| server[name].as_str().unwrap().to_owned();
    let (public, admin) = (address("listen"), address("admin_listen"));
    let prometheus = start_prometheus(&mut stage, &admin);

    let both = ["/live/demo/index.m3u8", "/live/cdn/demo/index.m3u8"];
    for number in 0..VIEWERS {
        stage.add_viewer(number, &public, if number < 2 { &both } else { &both[..1] });
    }
    let groups = "count(shoal_quality_viewers{stream=\"demo\"} > 1)";
    for number in VIEWERS..VIEWERS_MAX {
        // A viewer reports every five seconds.
        std::thread::sleep(Duration::from_secs(6));
        if query(&prometheus, groups).first().is_some_and(|(_, groups)| *groups == 2.0) {
            break;
        }
        stage.add_viewer(number, &public, &both[..1]);
    }
    for (panel, expr) in dashboard_queries() {
        soon(&format!("there is data for {panel}: {expr}"), || {
            // A refusal now and then, as there always is one.
            ask(&public, "PUT /publish/wrong/cam/a.ts");
            (!query(&prometheus, &expr).is_empty()).then_some(())
        });
    }
    documented(&ask(&admin, "GET /metrics").unwrap());

    let firing = |name: &str| {
        let alert = format!("ALERTS{{alertname=\"{name}\",alertstate=\"firing\"}}");
        !query(&prometheus, &alert).is_empty()
    };
    assert!(!firing("ShoalDown") && !firing("ShoalPeersOff"));
    let admin_url = format!("http://{admin}");
    let ctl = ["ctl", "--admin", &admin_url, "peers", "off", "demo"];
    stage.start("shoal-server", &ctl);
    soon("peers are seen to be off", || firing("ShoalPeersOff").then_some(()));
    stage.children[server_number].kill().unwrap();
    soon("the server is seen to be down", || firing("ShoalDown").then_some(()));
}

/// The table of metrics names what there is, and nothing else.
#[track_caller]
fn documented(exported: &str) {
    let types = exported.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let table = fs::read_to_string(root().join("deploy/METRICS.md")).unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let (there, told) = (names(types), names(rows));
    let untold: Vec<_> = there.difference(&told).collect();
    assert!(untold.is_empty(), "deploy/METRICS.md lacks {untold:?}");
    let absent: Vec<_> = told.difference(&there).filter(|name| !is_rare(name)).collect();
    assert!(absent.is_empty(), "deploy/METRICS.md names {absent:?}, which is not exported");
}

/// Exported only once it has happened.
fn is_rare(name: &str) -> bool {
    ["shoal_peers_switched_off_total"].contains(&name)
}

#[test]
fn alerts_fire_where_they_should() {
    let folder = root().join("deploy/prometheus");
    for args in
        [&["check", "config", "prometheus.yaml"][..], &["test", "rules", "alerts_test.yaml"]]
    {
        let output = Command::new("promtool").args(args).current_dir(&folder).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&said));
    }
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let (rules, tests) = (read("alerts.yaml"), read("alerts_test.yaml"));
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let untested: Vec<_> = alerts.filter(|alert| !tests.contains(alert)).collect();
    assert!(untested.is_empty(), "no test provokes {untested:?}");
}
