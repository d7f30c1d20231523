//! The viewer's own token: given once, or kept in a file that somebody renews.
//!
//! Rule: a file is read again when the token is needed, and a token that was read counts until there
//! is another. It does not look into tokens: that is the server's.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use url::Url;

/// A file is not read more often than that, however many requests need it.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// The part of a URL's query that holds a token.
const TOKEN_KEY: &str = "token";

/// Where the viewer's token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// This is it.
    Given(String),
    /// It is the text of this file, as long as that does not change.
    File(PathBuf),
}

/// A token that cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum InvalidToken {
    /// Other characters than those of a JWT.
    #[error("the token is no JWT: it has characters that no token has, or none")]
    Characters,
    /// The file cannot be read.
    #[error("cannot read the token from {path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
}

/// The viewer's token as it is now, for all who need it.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    file: Option<Arc<Path>>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    token: Option<String>,
    read_at: Instant,
    /// The last attempt to read it failed, and that was said.
    failing: bool,
}

impl Tokens {
    /// From where `source` says; without it there is none.
    ///
    /// # Errors
    /// If there is no token there.
    pub(crate) fn new(source: Option<Token>) -> Result<Self, InvalidToken> {
        let (file, token) = match source {
            None => (None, None),
            Some(Token::Given(token)) => (None, Some(checked(&token)?)),
            Some(Token::File(path)) => {
                let token = read(&path)?;
                (Some(path.into()), Some(token))
            }
        };
        let state = State { token, read_at: Instant::now(), failing: false };
        Ok(Self { file, state: Arc::new(Mutex::new(state)) })
    }

    /// The token, if there is any.
    pub(crate) fn now(&self) -> Option<String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = self.file.as_ref().filter(|_| state.read_at.elapsed() >= READ_AGAIN) {
            state.read_at = Instant::now();
            match read(file) {
                Ok(token) => (state.token, state.failing) = (Some(token), false),
                Err(error) if !state.failing => {
                    tracing::warn!(%error, "the token that was read last goes on to count");
                    state.failing = true;
                }
                Err(_) => {}
            }
        }
        state.token.clone()
    }

    /// The tracker's URL with the token: that of a file is newer than one that the URL brings, any
    /// other is for a URL that brings none.
    pub(crate) fn shown_at(&self, tracker: &Url) -> Url {
        let mut url = tracker.clone();
        let counts = self.file.is_some() || !has_token(tracker);
        if let Some(token) = self.now().filter(|_| counts) {
            let others = tracker.query_pairs().filter(|(key, _)| key != TOKEN_KEY);
            url.query_pairs_mut().clear().extend_pairs(others).append_pair(TOKEN_KEY, &token);
        }
        url
    }
}

/// Whether a URL brings a token.
pub(crate) fn has_token(url: &Url) -> bool {
    url.query_pairs().any(|(key, _)| key == TOKEN_KEY)
}

fn read(path: &Path) -> Result<String, InvalidToken> {
    let failed = |error| InvalidToken::File { path: path.to_owned(), error };
    checked(std::fs::read_to_string(path).map_err(failed)?.trim())
}

fn checked(token: &str) -> Result<String, InvalidToken> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if token.is_empty() || !token.bytes().all(fits) {
        return Err(InvalidToken::Characters);
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_shown_where_none_is_brought() {
        let tokens = Tokens::new(Some(Token::Given("a.b-c_1".into()))).unwrap();
        let shown = |url: &str| tokens.shown_at(&Url::parse(url).unwrap()).to_string();
        assert_eq!(shown("ws://o/live/cam/tracker"), "ws://o/live/cam/tracker?token=a.b-c_1");
        assert_eq!(shown("ws://o/tracker?token=x"), "ws://o/tracker?token=x");
        let none = Tokens::new(None).unwrap();
        assert_eq!(none.shown_at(&Url::parse("ws://o/t").unwrap()).as_str(), "ws://o/t");
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for wrong in ["", "a b", "a\nb", "ä"] {
            assert!(Tokens::new(Some(Token::Given(wrong.into()))).is_err(), "{wrong:?}");
        }
        let absent = Tokens::new(Some(Token::File("/no/such/file".into()))).unwrap_err();
        assert!(absent.to_string().contains("/no/such/file"), "{absent}");
    }

    #[test]
    fn a_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "old\n").unwrap();
        let tokens = Tokens::new(Some(Token::File(path.clone()))).unwrap();
        let later = || {
            let mut state = tokens.state.lock().unwrap();
            state.read_at = Instant::now().checked_sub(READ_AGAIN).unwrap();
        };
        std::fs::write(&path, "new\n").unwrap();
        assert_eq!(tokens.now().as_deref(), Some("old"), "not for every request");
        later();
        assert_eq!(tokens.now().as_deref(), Some("new"));
        let brought = Url::parse("ws://o/t?a=1&token=x&b=2").unwrap();
        assert_eq!(tokens.shown_at(&brought).as_str(), "ws://o/t?a=1&b=2&token=new");
        std::fs::remove_file(&path).unwrap();
        later();
        assert_eq!(tokens.now().as_deref(), Some("new"), "until there is another");
    }
}
