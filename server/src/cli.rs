//! The command line.
//!
//! Rule: it only reads; what it says is decided in `config` and done in `lib`.

use crate::config::{Config, ConfigError, DEMO_STREAM, IngestKey, Layer, Parts, StreamConfig};
use crate::ctl::Order;
use crate::upstream::{Explanation, explain};
use clap::{CommandFactory, Parser, Subcommand};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Version and commit.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("SHOAL_COMMIT"), ")");

/// Origin and tracker of a peer-assisted CDN for live HLS.
#[derive(Debug, Parser)]
#[command(name = "shoal-server", version = VERSION, about, args_conflicts_with_subcommands = false)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run on this machine alone, without any configuration, and print what to paste.
    Dev(Common),
    /// Say whether viewers with these two URLs of an upstream share, and why not.
    Explain {
        /// One viewer's URL.
        url_1: String,
        /// Another's, of the same playlist or segment.
        url_2: String,
        #[command(flatten)]
        common: Common,
    },
    /// Ask a running server: streams, viewers, kick, ban, peers, epochs, a trace, drain.
    Ctl(Order),
    /// Print what makes a shell complete this command, to be put where the shell looks for it.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, as man reads it.
    Man,
}

#[derive(Debug, Default, clap::Args)]
struct Common {
    /// Configuration file (TOML).
    #[arg(long, short, env = "SHOAL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the commented default configuration and exit.
    #[arg(long)]
    print_config: bool,
    #[command(flatten)]
    layer: Layer,
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Action {
    /// Print this text and exit.
    Print(String),
    /// Serve.
    Serve(Box<Config>),
    /// Serve on this machine and print what to paste.
    Dev(Box<Config>),
    /// Ask a running server.
    Control(Order),
    /// Print this and say it with the exit code too.
    Explain(Explanation),
}

impl Cli {
    /// What is asked for, with the configuration complete.
    ///
    /// # Errors
    /// [`ConfigError`] says what to change.
    pub fn action(self) -> Result<Action, ConfigError> {
        let (dev, urls, common) = match self.command {
            None => (false, None, self.common),
            Some(Command::Dev(inner)) => (true, None, inner.over(self.common)),
            Some(Command::Completions { shell }) => {
                let mut text = Vec::new();
                clap_complete::generate(shell, &mut Self::command(), "shoal-server", &mut text);
                return Ok(Action::Print(String::from_utf8_lossy(&text).into_owned()));
            }
            Some(Command::Man) => {
                let mut text = Vec::new();
                let page = clap_mangen::Man::new(Self::command());
                page.render(&mut text).expect("writing to memory cannot fail");
                return Ok(Action::Print(String::from_utf8_lossy(&text).into_owned()));
            }
            Some(Command::Ctl(order)) => return Ok(Action::Control(order)),
            Some(Command::Explain { url_1, url_2, common }) => {
                (false, Some([url_1, url_2]), common.over(self.common))
            }
        };
        if common.print_config {
            return Ok(Action::Print(crate::config::DEFAULTS.to_owned()));
        }
        let mut layer = common.layer;
        if let Some(path) = &common.config {
            layer = layer.or(Layer::from_file(path)?);
        }
        if let Some([url_1, url_2]) = urls {
            let rules = Config::from_layer(layer)?.upstream.rules();
            let explanation = explain(&rules, [&url_1, &url_2]);
            let wrong = |message| ConfigError::Limit { key: "explain", message };
            return explanation.map(Action::Explain).map_err(wrong);
        }
        if !dev {
            return Ok(Action::Serve(Box::new(Config::from_layer(layer)?)));
        }
        let config = Config::from_layer(layer.or(dev_layer()?))?;
        Ok(Action::Dev(Box::new(config)))
    }

    /// The parser, for tests of the flags.
    pub fn definition() -> clap::Command {
        Self::command()
    }
}

impl Common {
    fn over(self, under: Self) -> Self {
        Self {
            config: self.config.or(under.config),
            print_config: self.print_config || under.print_config,
            layer: self.layer.or(under.layer),
        }
    }
}

/// What `dev` sets unless it is told otherwise.
fn dev_layer() -> Result<Layer, ConfigError> {
    let mut layer = Layer::from_toml(
        "[server]\nlisten = '127.0.0.1:8080'\nadmin_listen = '127.0.0.1:9090'\n\
         data_dir = 'shoal-data'\n[demo]\nchannel = true\n",
        Path::new("dev"),
    )?;
    layer.streams = Some(vec![StreamConfig {
        name: "live".parse().expect("live is a stream name"),
        ingest_key: random_key(),
        dvr_window: None,
        dvr_bytes_max: None,
        parts: Parts::default(),
    }]);
    Ok(layer)
}

fn random_key() -> IngestKey {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    format!("{:016x}", u64::from_be_bytes(bytes)).parse().expect("hex digits make a key")
}

/// What to paste, for a server that listens on `listen`.
pub fn dev_banner(config: &Config, listen: SocketAddr, admin: Option<SocketAddr>) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    let mut line = |what: &str, value: String| {
        writeln!(text, "  {what:<10} {value}").expect("writing to a string cannot fail");
    };
    for stream in &config.streams {
        let (name, key) = (&stream.name, stream.ingest_key.expose());
        line(
            "encode",
            format!(
                "ffmpeg -re -f lavfi -i testsrc2=size=1280x720:rate=30 -f lavfi -i sine \
                 -c:v libx264 -preset veryfast -b:v 2M -g 60 -pix_fmt yuv420p -c:a aac \
                 -f hls -hls_time 2 -hls_list_size 10 -hls_flags program_date_time -method PUT \
                 http://{listen}/publish/{key}/{name}/index.m3u8"
            ),
        );
        line("watch", format!("shoal-agent play http://{listen}/live/{name}/index.m3u8"));
        line("player", format!("http://{listen}/live/{name}/index.m3u8"));
        line("page", page_url(listen, name.as_str()));
    }
    if config.demo.channel {
        let url = format!("http://{listen}/live/{DEMO_STREAM}/index.m3u8");
        line("demo", format!("shoal-agent play {url}"));
        line("player", url);
        line("page", page_url(listen, DEMO_STREAM));
    }
    if let Some(admin) = admin {
        line("dashboard", dashboard_url(admin));
        line("status", format!("http://{admin}/status"));
    }
    text
}

/// The viewer's page of a stream.
pub(crate) fn page_url(listen: SocketAddr, stream: &str) -> String {
    format!("http://{}/watch/{stream}", reachable(listen))
}

/// The operator's page.
pub(crate) fn dashboard_url(admin: SocketAddr) -> String {
    format!("http://{}/admin", reachable(admin))
}

/// Where this machine finds what listens everywhere.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let mut at = listen;
    match listen {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => at.set_ip(Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => at.set_ip(Ipv6Addr::LOCALHOST.into()),
        SocketAddr::V4(_) | SocketAddr::V6(_) => {}
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Listen;

    fn action(args: &[&str]) -> Result<Action, ConfigError> {
        Cli::parse_from([&["shoal-server"], args].concat()).action()
    }

    fn config(args: &[&str]) -> Config {
        match action(args).unwrap() {
            Action::Serve(config) | Action::Dev(config) => *config,
            Action::Print(_) | Action::Explain(_) | Action::Control(_) => {
                panic!("nothing is to be printed")
            }
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::definition().debug_assert();
    }

    #[test]
    fn every_key_has_a_flag_and_a_variable_that_the_manual_names() {
        let command = Cli::definition();
        for arg in command.get_arguments() {
            let Some(variable) = arg.get_env() else { continue };
            if arg.get_id() == "config" {
                continue;
            }
            let flag = arg.get_long().unwrap();
            assert!(crate::config::DEFAULTS.contains(&format!("--{flag}")), "{flag}");
            let variable = variable.to_str().unwrap();
            assert!(crate::config::DEFAULTS.contains(variable), "{variable}");
        }
        // The number of keys in the file, the streams apart.
        let keys = crate::config::DEFAULTS.lines().filter(|line| {
            line.split_once(" = ")
                .is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        });
        let flags = command.get_arguments().filter(|arg| arg.get_env().is_some()).count();
        assert_eq!(keys.count(), flags - 2);
    }

    #[test]
    fn flags_win_and_dev_needs_nothing() {
        let dev = config(&["dev", "--listen", "127.0.0.1:81"]);
        assert!(dev.demo.channel);
        assert_eq!(dev.server.listen, Listen(Some(([127, 0, 0, 1], 81).into())));
        assert_eq!(dev.streams.len(), 1);
        let before = config(&["--data-dir", "/x", "--demo-channel", "dev"]);
        assert_eq!(before.server.data_dir, Path::new("/x"));
        let plain = config(&["--stream", "a=1", "--stream", "b=2"]);
        assert!(!plain.demo.channel);
        assert_eq!(plain.streams[1].name.as_str(), "b");
    }

    #[test]
    fn two_urls_are_explained_by_the_rules_of_the_configuration() {
        let shares = |more: &[&str]| {
            let urls = ["explain", "https://h/a.ts?who=1&token=2", "https://h/a.ts?who=3&token=4"];
            match action(&[&urls, more].concat()).unwrap() {
                Action::Explain(explanation) => explanation.shares,
                Action::Print(_) | Action::Serve(_) | Action::Dev(_) | Action::Control(_) => {
                    panic!("{urls:?}")
                }
            }
        };
        assert!(!shares(&[]));
        assert!(shares(&["--upstream-ignore-query", "who"]));
        assert!(!shares(&["--upstream-ignore-query", "who", "--upstream-preset", "akamai"]));
        let error = action(&["explain", "a", "b"]).unwrap_err().to_string();
        assert!(error.contains("`a` is no URL"), "{error}");
    }

    #[test]
    fn what_dev_prints_can_be_pasted() {
        let config = config(&["dev", "--stream", "cam=k1"]);
        let text = dev_banner(&config, ([127, 0, 0, 1], 8080).into(), config.server.admin_listen.0);
        assert!(text.contains("http://127.0.0.1:8080/publish/k1/cam/index.m3u8"), "{text}");
        assert!(text.contains("shoal-agent play http://127.0.0.1:8080/live/cam/index.m3u8"));
        assert!(text.contains("http://127.0.0.1:9090/status"));
        assert!(text.contains("http://127.0.0.1:8080/watch/cam\n"), "{text}");
        assert!(text.contains("http://127.0.0.1:9090/admin\n"), "{text}");
        let everywhere = ([0, 0, 0, 0], 80).into();
        assert_eq!(page_url(everywhere, "cam"), "http://127.0.0.1:80/watch/cam");
    }
}
