//! The CDN of `--upstream`: nginx with secure_link before ffmpeg's files, a token for each viewer.
//!
//! Rule: what it sent, and to whom, is its own access log's word. The server's own requests are told
//! from viewers' by their user agent, and ours, which compare and are no viewer's, by their token.

use super::clock;
use super::encoder;
use super::lock;
use super::origin::Copies;
use super::process::{Launch, Process};
use crate::shell;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

/// Where in its URLs the CDN wants a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Signing {
    /// Before the file's name: playlists are the same for all.
    Path,
    /// In the query, of segments too: each viewer's playlist is another.
    Query,
}

/// What nginx hashes with a token's time.
const SECRET: &str = "demo-cdn-secret";
/// Tokens of viewers differ by seconds; ours is further away.
const OURS: u64 = 1000;
const START_LIMIT: Duration = Duration::from_secs(10);

/// A running nginx.
#[derive(Debug)]
pub(crate) struct Cdn {
    process: Process,
    address: String,
    signing: Signing,
    /// When the first viewer's token ends, Unix seconds.
    until_s: u64,
    log: Mutex<Log>,
}

/// What nginx has sent so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// To viewers, heads included.
    pub(crate) viewers: u64,
    /// Segments to the server, for digests.
    pub(crate) digest_media: u64,
    /// Playlists to the server, for viewers and for digests.
    pub(crate) server_playlists: u64,
    /// The server's requests for segments, and the segments that they were for.
    pub(crate) digest_fetches: u64,
    pub(crate) segments: u64,
}

#[derive(Debug)]
struct Log {
    path: PathBuf,
    read: u64,
    sent: Sent,
    /// Per segment: its copies to viewers.
    copies: BTreeMap<String, Copies>,
}

impl Cdn {
    /// Starts nginx on `host`, before the encoder's files in `folder`.
    pub(crate) async fn start(host: &str, signing: Signing, folder: &Path) -> Result<Self> {
        ensure!(shell::is_installed("nginx"), "--upstream: nginx is not installed (apt: nginx)");
        // nginx does not say which port the system chose.
        let port = TcpListener::bind((host, 0))?.local_addr()?.port();
        let (address, path) = (format!("{host}:{port}"), folder.join("access.log"));
        let files = encoder::files_folder(folder);
        std::fs::create_dir_all(&files)?;
        let config = folder.join("nginx.conf");
        std::fs::write(&config, configuration(&address, signing, folder, &files))?;
        let mut process = Launch::new("nginx", "nginx", folder)
            .args(["-p", &folder.display().to_string(), "-e", "nginx-error.log"])
            .args(["-c", &config.display().to_string()])
            .spawn()?;
        let listens = async {
            while tokio::net::TcpStream::connect(&address).await.is_err() {
                process.check_running()?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(START_LIMIT, listens).await.context("nginx does not listen")??;
        let log = Log { path, read: 0, sent: Sent::default(), copies: BTreeMap::new() };
        let until_s = clock::unix_s() as u64 + 7200;
        Ok(Self { process, address, signing, until_s, log: Mutex::new(log) })
    }

    /// What the server stands before.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Path and query of the playlist for viewer `index`, below the stream; for ourselves without.
    pub(crate) fn playlist(&self, index: Option<u8>) -> Result<String> {
        let until = self.until_s + index.map_or(OURS, u64::from);
        let token = base64_url(&md5(&format!("{until} {SECRET}"))?);
        Ok(match self.signing {
            Signing::Path => format!("v/{token}/{until}/index.m3u8"),
            Signing::Query => format!("index.m3u8?md5={token}&expires={until}"),
        })
    }

    /// What it has sent by now.
    pub(crate) fn sent(&self) -> Result<Sent> {
        let mut log = lock(&self.log);
        let ours = (self.until_s + OURS).to_string();
        log.read_on(&ours)?;
        Ok(log.sent)
    }

    /// Copies of each segment that went to viewers.
    pub(crate) fn copies(&self) -> Vec<Copies> {
        lock(&self.log).copies.values().copied().collect()
    }

    /// An error if it ended.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        self.process.check_running()
    }

    /// Asks it to end; says whether it did by itself.
    pub(crate) async fn stop(&mut self) -> bool {
        self.process.stop(Duration::from_secs(5)).await
    }
}

impl Log {
    /// Reads the lines that are new and whole.
    fn read_on(&mut self, ours: &str) -> Result<()> {
        let mut file = std::fs::File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        self.read += whole as u64;
        for line in text[..whole].lines() {
            self.line(line, ours).with_context(|| format!("the access log says: {line}"))?;
        }
        Ok(())
    }

    /// `TIME STATUS BYTES BODY_BYTES URI AGENT`.
    fn line(&mut self, line: &str, ours: &str) -> Result<()> {
        let mut words = line.splitn(6, ' ');
        let mut word = || words.next().context("a word is missing");
        let at_s: f64 = word()?.parse()?;
        let status: u16 = word()?.parse()?;
        let (bytes, body): (u64, u64) = (word()?.parse()?, word()?.parse()?);
        let (uri, agent) = (word()?, word()?);
        let name = uri.split('?').next().and_then(|path| path.rsplit('/').next());
        let segment = name.filter(|name| name.ends_with(".ts"));
        if agent.starts_with("shoal-server") {
            match segment {
                Some(segment) if status == 200 => {
                    self.sent.digest_media += bytes;
                    self.sent.digest_fetches += 1;
                    let copies = self.copies.entry(segment.to_owned()).or_insert_with(|| {
                        self.sent.segments += 1;
                        Copies { bytes: 0, sent: 0, published_s: at_s, is_part: false }
                    });
                    (copies.bytes, copies.published_s) = (body, at_s);
                }
                Some(_) => self.sent.digest_media += bytes,
                None => self.sent.server_playlists += bytes,
            }
        } else if !uri.contains(ours) {
            self.sent.viewers += bytes;
            if let Some(copies) = segment.and_then(|segment| self.copies.get_mut(segment)) {
                copies.sent += body;
            }
        }
        Ok(())
    }
}

fn configuration(address: &str, signing: Signing, folder: &Path, files: &Path) -> String {
    let (folder, files) = (folder.display(), files.display());
    let location = match signing {
        Signing::Path => format!(
            r#"location ~ "^/v/(?<sig>[\w-]+)/(?<until>[0-9]+)/(?<file>[^/]+)$" {{
      secure_link $sig,$until;
      secure_link_md5 "$until {SECRET}";
      if ($secure_link != "1") {{ return 403; }}
      alias {files}/$file;
    }}"#
        ),
        Signing::Query => format!(
            r#"location / {{
      secure_link $arg_md5,$arg_expires;
      secure_link_md5 "$secure_link_expires {SECRET}";
      if ($secure_link != "1") {{ return 403; }}
      root {files};
      sub_filter_types application/vnd.apple.mpegurl;
      sub_filter_once off;
      sub_filter .ts .ts?md5=$arg_md5&expires=$arg_expires;
    }}"#
        ),
    };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {folder}/nginx-{kind};\n"))
        .concat();
    format!(
        r"daemon off;
master_process off;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
{temporary}  types {{ application/vnd.apple.mpegurl m3u8; video/mp2t ts; }}
  log_format sent '$msec $status $bytes_sent $body_bytes_sent $request_uri $http_user_agent';
  access_log {folder}/access.log sent;
  server {{
    listen {address};
    {location}
  }}
}}
"
    )
}

fn md5(text: &str) -> Result<[u8; 16]> {
    let mut program =
        Command::new("md5sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    program.stdin.take().context("md5sum takes no input")?.write_all(text.as_bytes())?;
    let said = String::from_utf8(program.wait_with_output()?.stdout)?;
    let mut hash = [0; 16];
    for (place, byte) in hash.iter_mut().enumerate() {
        let digits = said.get(2 * place..2 * place + 2).context("md5sum says too little")?;
        *byte = u8::from_str_radix(digits, 16)?;
    }
    Ok(hash)
}

/// Base64 for URLs, without padding (RFC 4648, 5).
fn base64_url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let group = |group: &[u8]| {
        let bits = (0..3).fold(0, |bits, i| bits << 8 | u32::from(*group.get(i).unwrap_or(&0)));
        let digit = move |i: usize| char::from(DIGITS[(bits >> (18 - 6 * i) & 63) as usize]);
        (0..=group.len()).map(digit).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_what_nginx_computes() {
        // The example of nginx's own manual.
        let hash = md5("2147483647/s/link127.0.0.1 secret").unwrap();
        assert_eq!(base64_url(&hash), "_e4Nc3iduzkWRm01TBBNYw");
    }

    #[test]
    fn the_log_tells_viewers_from_the_server_and_from_us() {
        let (path, copies) = (PathBuf::new(), BTreeMap::new());
        let mut log = Log { path, read: 0, sent: Sent::default(), copies };
        for line in [
            "1.5 200 1200 1000 /v/t/1/index0.ts shoal-server/0.1.0",
            "1.6 200 300 200 /v/t/1/index.m3u8 shoal-server/0.1.0",
            "1.7 206 600 500 /v/t/2/index0.ts shoal-agent/0.1.0",
            "1.7 200 1100 1000 /v/t/3/index0.ts mpv 0.3",
            "1.8 200 1100 1000 /v/t/99/index0.ts -",
            "1.9 403 350 150 /v/t/4/index1.ts -",
        ] {
            log.line(line, "99").unwrap();
        }
        let expected = Sent {
            viewers: 2050,
            digest_media: 1200,
            server_playlists: 300,
            digest_fetches: 1,
            segments: 1,
        };
        assert_eq!(log.sent, expected);
        let copies = log.copies["index0.ts"];
        assert_eq!((copies.bytes, copies.sent, copies.published_s), (1000, 1500, 1.5));
        assert!(log.line("x", "99").is_err());
    }
}
