//! The players of the table, and what it means that one plays.
//!
//! Rule: a player is judged by what it says of its position, and by how it ends; nothing of it is
//! ours. A player that stands still is given up after a time.

pub(crate) mod browser;
mod native;
mod progress;

pub(crate) use native::{play, vlc_version};
use progress::Progress;

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Client {
    /// ffmpeg, decoding to nothing.
    Ffmpeg,
    /// mpv without picture and sound.
    Mpv,
    /// VLC without picture and sound.
    Vlc,
    /// GStreamer's playbin3 with hlsdemux2.
    Gstreamer,
    /// hls.js with Shoal under it, in Chromium.
    HlsJs,
    /// Shaka Player through the agent, in Chromium.
    Shaka,
}

impl Client {
    /// All, in the order of columns.
    pub(crate) const ALL: [Self; 6] =
        [Self::Ffmpeg, Self::Mpv, Self::Vlc, Self::Gstreamer, Self::HlsJs, Self::Shaka];

    /// As `--only` takes it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ffmpeg => "ffmpeg",
            Self::Mpv => "mpv",
            Self::Vlc => "vlc",
            Self::Gstreamer => "gstreamer",
            Self::HlsJs => "hlsjs",
            Self::Shaka => "shaka",
        }
    }

    /// As the table's head has it.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Ffmpeg => "ffmpeg",
            Self::Mpv => "mpv",
            Self::Vlc => "VLC",
            Self::Gstreamer => "GStreamer",
            Self::HlsJs => "hls.js",
            Self::Shaka => "Shaka",
        }
    }

    /// Whether it lives in Chromium.
    pub(crate) const fn is_page(self) -> bool {
        matches!(self, Self::HlsJs | Self::Shaka)
    }

    /// Whether the tests play it.
    pub(crate) const fn is_quick(self) -> bool {
        matches!(self, Self::Ffmpeg | Self::Mpv | Self::HlsJs)
    }
}

/// When a stream counts as played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Goal {
    /// Played for so long if live, else to the end.
    pub(crate) is_live: bool,
    /// Seconds of media that must be played.
    pub(crate) media_s: f64,
    /// Seconds after which a player is given up.
    pub(crate) limit_s: f64,
}

/// How a player did.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    /// Seconds of media that its position went through.
    pub(crate) played_s: f64,
    /// Whether it said that the stream has ended, or ended by itself without complaint.
    pub(crate) has_ended: bool,
    /// What it died of.
    pub(crate) fault: Option<String>,
}

impl Outcome {
    /// What is missing, if anything is.
    pub(crate) fn shortfall(&self, goal: &Goal) -> Option<String> {
        let played = format!("played {:.1} s of {:.1}", self.played_s, goal.media_s);
        match &self.fault {
            Some(fault) => Some(format!("{played}: {fault}")),
            None if self.played_s < goal.media_s => Some(played),
            None if !goal.is_live && !self.has_ended => Some(format!("{played}, and no end")),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn played_means_to_the_end() {
        let goal = Goal { is_live: false, media_s: 14.0, limit_s: 60.0 };
        let whole = Outcome { played_s: 14.5, has_ended: true, fault: None };
        assert_eq!(whole.shortfall(&goal), None);
        for short in [
            Outcome { played_s: 13.0, ..whole.clone() },
            Outcome { fault: Some("x".into()), ..whole.clone() },
            Outcome { has_ended: false, ..whole },
        ] {
            assert!(short.shortfall(&goal).is_some(), "{short:?}");
        }
        let live = Goal { is_live: true, ..goal };
        let going_on = Outcome { played_s: 14.5, ..Outcome::default() };
        assert_eq!(going_on.shortfall(&live), None);
    }
}
