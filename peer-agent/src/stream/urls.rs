//! Where each object is at the origin, as far as players and playlists have told.
//!
//! Rule: a URL is remembered as it was seen and never made up, except for an object whose
//! neighbours in the rendition are known and have no query: those differ in their names alone. A
//! query may hold what is this viewer's and one object's; what it is for another, its playlist says.

use shoal_wire::{ObjectId, RenditionId};
use std::collections::{BTreeMap, HashMap, VecDeque};
use url::Url;

/// Most URLs remembered: the windows of a ladder of six renditions with audio, twice over.
const URLS_MAX: usize = 1024;

/// URLs of objects.
#[derive(Debug, Default)]
pub(crate) struct ObjectUrls {
    known: HashMap<ObjectId, Url>,
    oldest_first: VecDeque<ObjectId>,
    newest_of: BTreeMap<RenditionId, Url>,
}

impl ObjectUrls {
    /// Notes that `object` is at `url`.
    pub(crate) fn learn(&mut self, object: ObjectId, url: Url) {
        self.newest_of.insert(object.rendition, url.clone());
        if self.known.insert(object, url).is_none() {
            self.oldest_first.push_back(object);
        }
        while self.oldest_first.len() > URLS_MAX {
            if let Some(oldest) = self.oldest_first.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    /// Notes what a playlist found at `base` says of the stream under `stream_base`.
    pub(crate) fn learn_from<'a>(
        &mut self,
        base: &Url,
        stream_base: &str,
        uris: impl Iterator<Item = &'a str>,
    ) -> Option<RenditionId> {
        let mut rendition = None;
        for uri in uris {
            let Ok(url) = base.join(uri) else { continue };
            if let Some(object) = object_at(&url, stream_base) {
                rendition = Some(object.rendition);
                self.learn(object, url);
            }
        }
        rendition
    }

    /// Where `object` is.
    pub(crate) fn url(&self, object: ObjectId) -> Option<Url> {
        if let Some(url) = self.known.get(&object) {
            return Some(url.clone());
        }
        let sibling = self.newest_of.get(&object.rendition)?;
        if sibling.query().is_some() {
            return None;
        }
        let name = sibling.path().rsplit('/').next()?;
        let extension = name.split_once('.').map_or("", |(_, extension)| extension);
        sibling.join(&format!("{}.{extension}", object.file_stem())).ok()
    }

    /// Where the digest of `object` is: beside it, whatever the query of its neighbours.
    pub(super) fn digest(&self, object: ObjectId) -> Option<Url> {
        let beside = || {
            let sibling = self.newest_of.get(&object.rendition)?;
            let (_, extension) = sibling.path().rsplit('/').next()?.split_once('.')?;
            sibling.join(&format!("{}.{extension}", object.file_stem())).ok()
        };
        self.url(object).or_else(beside).map(digest_url)
    }

    /// A URL of that rendition, to which its playlist's relative URIs are relative as well.
    pub(crate) fn sibling(&self, rendition: RenditionId) -> Option<&Url> {
        self.newest_of.get(&rendition)
    }
}

/// Where the digest of the object at `url` is: beside it, with the same query.
fn digest_url(mut url: Url) -> Url {
    let path = format!("{}.digest", url.path());
    url.set_path(&path);
    url
}

/// The object at `url`, if it is one of the stream under `stream_base`.
pub(crate) fn object_at(url: &Url, stream_base: &str) -> Option<ObjectId> {
    url.as_str().starts_with(stream_base).then(|| ObjectId::from_url_path(url.path())).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_wire::Epoch;

    #[test]
    fn urls_are_those_that_were_seen() {
        let mut urls = ObjectUrls::default();
        let base = Url::parse("http://o/live/a/index.m3u8?token=1").unwrap();
        let listed = ["2-1-7.ts?token=1", "http://o/live/b/2-1-8.ts", "init.mp4"];
        let rendition = urls.learn_from(&base, "http://o/live/a/", listed.into_iter());
        assert_eq!(rendition, Some(RenditionId(2)));
        let object = |msn| ObjectId::segment(RenditionId(2), Epoch(1), msn);
        let text = |url: Option<Url>| url.unwrap().to_string();
        assert_eq!(text(urls.url(object(7))), "http://o/live/a/2-1-7.ts?token=1");
        let beside = urls.digest(object(7));
        assert_eq!(text(beside), "http://o/live/a/2-1-7.ts.digest?token=1");
        assert_eq!(urls.url(object(9)), None, "its query is not known");
        assert_eq!(text(urls.digest(object(9))), "http://o/live/a/2-1-9.ts.digest");
        urls.learn(object(8), Url::parse("http://o/live/a/2-1-8.ts").unwrap());
        assert_eq!(text(urls.url(object(9))), "http://o/live/a/2-1-9.ts");
        assert_eq!(urls.url(ObjectId { rendition: RenditionId(3), ..object(7) }), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut urls = ObjectUrls::default();
        let url = Url::parse("http://o/live/a/0-1-0.ts").unwrap();
        for msn in 0..5_000 {
            urls.learn(ObjectId::segment(RenditionId(0), Epoch(1), msn), url.clone());
        }
        assert_eq!((urls.known.len(), urls.oldest_first.len()), (URLS_MAX, URLS_MAX));
    }
}
