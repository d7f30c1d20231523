//! Playlists from elsewhere: each stays as it is, or changes in its URIs alone, and none panics.
//!
//! Rule: with `SHOAL_PLAYLIST_CORPUS`, every file below that folder whose name ends in m3u8 or m3u;
//! without, the few that are kept here.

#![expect(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

use shoal_playlist::{Context, Playlist, PlaylistError, UriKind, lines, rewrite, uris};
use std::path::{Path, PathBuf};

fn corpus() -> Vec<(PathBuf, Vec<u8>)> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/playlists");
    let folder = std::env::var_os("SHOAL_PLAYLIST_CORPUS").map_or(own, PathBuf::from);
    let (mut folders, mut files) = (vec![folder], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "m3u8" || end == "m3u") {
                let bytes = std::fs::read(&path).unwrap();
                files.push((path, bytes));
            }
        }
    }
    files.sort();
    assert!(files.len() >= 4, "a corpus");
    files
}

fn texts() -> Vec<(PathBuf, String)> {
    let text = |(path, bytes)| String::from_utf8(bytes).ok().map(|text| (path, text));
    corpus().into_iter().filter_map(text).collect()
}

#[test]
fn nothing_changes_unless_it_is_changed() {
    let (all, texts) = (corpus().len(), texts());
    for (path, text) in &texts {
        assert_eq!(&rewrite(text, |_| None), text, "{}", path.display());
        let again = rewrite(text, |uri| Some(uri.text.to_owned()));
        assert_eq!(&again, text, "{}", path.display());
        let raw: String = lines(text).map(|line| line.raw).collect();
        assert_eq!(&raw, text, "{}", path.display());
    }
    println!("{} of {all} playlists are text; each is itself again", texts.len());
}

/// The marks are counted and taken out again by means of the standard library alone.
#[test]
fn only_uris_change() {
    const MARK: &str = "<shoal>";
    let (texts, mut count) = (texts(), 0);
    for (path, text) in &texts {
        let path = path.display();
        let changed = rewrite(text, |uri| Some(format!("{MARK}{}", uri.text)));
        assert_eq!(changed.matches(MARK).count(), uris(text).count(), "{path}");
        count += uris(text).count();
        assert_eq!(&changed.replace(MARK, ""), text, "{path}");
        for line in changed.lines() {
            let said = line.trim().trim_start_matches('\u{feff}');
            let is_uri = !said.is_empty() && !said.starts_with('#');
            assert!(!is_uri || said.starts_with(MARK), "{path}: {line}");
            for (before, _) in line.match_indices(MARK).filter(|_| !is_uri) {
                assert!(line[..before].ends_with("URI=\""), "{path}: {line}");
            }
        }
    }
    println!("{} playlists, {count} URIs changed and changed back", texts.len());
}

#[test]
fn what_is_refused_is_refused_with_a_reason() {
    let (mut masters, mut medias, mut refused) = (0, 0, 0);
    let files = corpus();
    for (path, bytes) in &files {
        let count = |kinds: &[UriKind]| {
            let text = std::str::from_utf8(bytes).unwrap();
            uris(text).filter(|uri| kinds.contains(&uri.kind)).count()
        };
        match Playlist::parse(bytes, Context::default()) {
            Ok(Playlist::Master(master)) => {
                masters += 1;
                let kinds = [UriKind::Variant, UriKind::IFrames, UriKind::Alternative];
                assert_eq!(master.media_playlists().count(), count(&kinds), "{}", path.display());
            }
            Ok(Playlist::Media(media)) => {
                medias += 1;
                let segments = count(&[UriKind::Segment]);
                assert_eq!(media.entries.len(), segments, "{}", path.display());
            }
            Err(error) => {
                refused += 1;
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                println!("refused: {name}: {error}");
                let whole = matches!(error, PlaylistError::Text | PlaylistError::NoHeader);
                assert!(whole || error.to_string().starts_with("line "), "{error}");
            }
        }
    }
    println!("{} files: {masters} master, {medias} media, {refused} refused", files.len());
    assert!(masters > 0 && medias > 0);
}

/// A byte changed, taken out or doubled, at places that are the same in each run.
#[test]
fn no_damage_makes_it_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below.max(1)
    };
    const BYTES: &[u8] = b"\0\n\r\",:=@#{}$ -9a\xc3\xff";
    let mut tried = 0;
    for (_, bytes) in corpus() {
        for _ in 0..60 {
            let mut bytes = bytes.clone();
            for _ in 0..1 + random(3) {
                let at = random(bytes.len());
                match random(3) {
                    0 if !bytes.is_empty() => drop(bytes.remove(at)),
                    1 if !bytes.is_empty() => bytes[at] = BYTES[random(BYTES.len())],
                    _ => bytes.insert(at, BYTES[random(BYTES.len())]),
                }
            }
            tried += 1;
            let parsed = Playlist::parse(&bytes, Context::default());
            if let Ok(text) = String::from_utf8(bytes) {
                assert_eq!(rewrite(&text, |_| None), text);
            } else {
                assert_eq!(parsed, Err(PlaylistError::Text));
            }
        }
    }
    println!("{tried} damaged playlists");
}

proptest::proptest! {
    #[test]
    fn any_text_is_itself_again(tail in "(#EXT-X-(MAP|KEY|PART|DEFINE)|#EXTINF|[:,=@\"{}$\n\r# ]|URI=|[0-9.a-é]){0,60}") {
        let text = format!("#EXTM3U\n{tail}");
        let _ = Playlist::parse(text.as_bytes(), Context::default());
        proptest::prop_assert_eq!(rewrite(&text, |uri| Some(uri.text.to_owned())), text);
    }
}
