//! Line and scatter plots as inline SVG, coloured by the page's style.
//!
//! Rule: every axis has ticks and a unit, and every mark a tooltip without a script. It knows
//! nothing of what is plotted.

use crate::report::number::human;
use crate::report::style::escaped;
use std::fmt::Write;

const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 290.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 44.0;
/// More points than this cannot be told apart at the size of a plot.
const POINTS_MAX: usize = 400;
/// Bands with a tooltip across a plot of lines.
const BANDS: usize = 52;

/// A point, x then y.
pub type Xy = (f64, f64);

/// What a series stands for; the page gives each a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// What was reached.
    Reached,
    /// What would be without peers.
    Without,
    /// What cannot be beaten.
    Bound,
}

impl Ink {
    fn class(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Without => "without",
            Self::Bound => "bound",
        }
    }
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A line, broken where a value is not finite.
    Line,
    /// A dot per point.
    Dots,
}

/// One line or cloud.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// What it stands for.
    pub ink: Ink,
    /// How it is drawn.
    pub mark: Mark,
    /// The points; lines by rising x.
    pub points: Vec<Xy>,
}

/// One axis.
#[derive(Clone, Debug)]
pub struct Axis {
    label: String,
    low: f64,
    high: f64,
    is_log: bool,
    is_percent: bool,
}

impl Axis {
    /// From zero to the largest value, rounded up to a tick.
    pub fn from_zero(label: &str, values: impl Iterator<Item = f64>) -> Self {
        let largest = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
        let largest = if largest > 0.0 { largest } else { 1.0 };
        let step = step(largest);
        let high = (largest / step - 1e-9).ceil() * step;
        Self { label: label.into(), low: 0.0, high, is_log: false, is_percent: false }
    }

    /// From zero to exactly this value: for time.
    pub fn until(label: &str, high: f64) -> Self {
        let high = if high.is_finite() && high > 0.0 { high } else { 1.0 };
        Self { label: label.into(), low: 0.0, high, is_log: false, is_percent: false }
    }

    /// A share from nothing to all, written in percent.
    pub fn share(label: &str) -> Self {
        Self { label: label.into(), low: 0.0, high: 1.0, is_log: false, is_percent: true }
    }

    /// Like [`Axis::from_zero`], or logarithmic where the positive values span more than
    /// a factor of thirty: beside the largest the smallest would be a line on the floor.
    pub fn wide(label: &str, values: impl Iterator<Item = f64> + Clone) -> Self {
        let positive = values.clone().filter(|value| value.is_finite() && *value > 0.0);
        let (low, high) = positive
            .fold((f64::INFINITY, 0.0), |(low, high): Xy, value| (low.min(value), high.max(value)));
        if high <= low * 30.0 || !low.is_finite() {
            return Self::from_zero(label, values);
        }
        // A few stray small values must not flatten the rest.
        let low = low.max(high / 1e5);
        let (low, high) = (10_f64.powf(low.log10().floor()), 10_f64.powf(high.log10().ceil()));
        let label = format!("{label}, logarithmic");
        Self { label, low, high, is_log: true, is_percent: false }
    }

    /// 0 at the low end, 1 at the high end; clamped, so that nothing is drawn outside.
    fn place(&self, value: f64) -> f64 {
        let share = if self.is_log {
            let value = value.max(self.low);
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        share.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.is_log {
            let decades = (self.high / self.low).log10().round();
            let within: &[f64] = if decades <= 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
            let powers = std::iter::successors(Some(self.low), |power| Some(power * 10.0));
            let powers = powers.take_while(|power| *power <= self.high * 1.001);
            let ticks = powers.flat_map(|power| within.iter().map(move |factor| power * factor));
            return ticks.filter(|tick| *tick <= self.high * 1.001).collect();
        }
        let step = step(self.high - self.low);
        let ticks = (0..=20).map(|i| self.low + step * f64::from(i));
        ticks.take_while(|tick| *tick <= self.high + step * 1e-6).collect()
    }

    fn said(&self, value: f64) -> String {
        if self.is_percent { format!("{} %", trimmed(value * 100.0)) } else { trimmed(value) }
    }
}

/// A plot.
#[derive(Clone, Debug)]
pub struct Plot {
    /// What it shows.
    pub title: String,
    /// What to read off it, in a sentence or two.
    pub note: String,
    /// Across.
    pub x: Axis,
    /// Up.
    pub y: Axis,
    /// What is drawn, the last on top.
    pub series: Vec<Series>,
}

impl Plot {
    /// A `<figure>` with heading, legend, drawing and note.
    pub fn figure(&self) -> String {
        let title = escaped(&self.title);
        let mut out = format!("<figure class=\"card\">\n<h3>{title}</h3>\n");
        if self.is_empty() {
            out.push_str("<p class=\"none\">Nothing to show in this run.</p>\n");
        } else {
            self.legend(&mut out);
            self.svg(&mut out);
        }
        if !self.note.is_empty() {
            let _ = writeln!(out, "<figcaption>{}</figcaption>", escaped(&self.note));
        }
        out.push_str("</figure>\n");
        out
    }

    fn is_empty(&self) -> bool {
        let has_any =
            |series: &Series| series.ink != Ink::Bound && series.points.iter().any(is_finite);
        !self.series.iter().any(has_any)
    }

    fn legend(&self, out: &mut String) {
        out.push_str("<ul class=\"legend\">");
        let is_named = |series: &&Series| !series.name.is_empty() && !series.points.is_empty();
        for series in self.series.iter().rev().filter(is_named) {
            let mark = match series.mark {
                Mark::Line => "<line x1=\"0\" y1=\"6\" x2=\"22\" y2=\"6\"/>",
                Mark::Dots => "<circle cx=\"11\" cy=\"6\" r=\"4\"/>",
            };
            let (class, name) = (series.ink.class(), escaped(&series.name));
            let _ = write!(
                out,
                "<li><svg class=\"{class}\" width=\"22\" height=\"12\" aria-hidden=\"true\">\
                 {mark}</svg>{name}</li>"
            );
        }
        out.push_str("</ul>\n");
    }

    fn svg(&self, out: &mut String) {
        let title = escaped(&self.title);
        let _ = writeln!(
            out,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">"
        );
        self.axes(out);
        let thin: Vec<Series> = self.series.iter().map(thinned).collect();
        for series in &thin {
            match series.mark {
                Mark::Line => self.line(series, out),
                Mark::Dots => self.dots(series, out),
            }
        }
        if thin.iter().all(|series| series.mark == Mark::Line) {
            self.bands(&thin, out);
        }
        out.push_str("</svg>\n");
    }

    fn axes(&self, out: &mut String) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for tick in self.y.ticks() {
            let (y, said) = (self.up(tick), self.y.said(tick));
            let _ = writeln!(
                out,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>\
                 <text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{said}</text>",
                LEFT - 7.0,
                y + 4.0
            );
        }
        for tick in self.x.ticks() {
            let (x, said) = (self.across(tick), self.x.said(tick));
            let _ = writeln!(
                out,
                "<path class=\"tick\" d=\"M{x:.1} {bottom}v4\"/>\
                 <text class=\"mid\" x=\"{x:.1}\" y=\"{:.1}\">{said}</text>",
                bottom + 17.0
            );
        }
        let _ = writeln!(
            out,
            "<path class=\"axis\" d=\"M{LEFT} {bottom}H{right}\"/>\
             <text class=\"name\" x=\"4\" y=\"13\">{}</text>\
             <text class=\"name end\" x=\"{right}\" y=\"{:.1}\">{}</text>",
            escaped(&self.y.label),
            HEIGHT - 7.0,
            escaped(&self.x.label)
        );
    }

    fn line(&self, series: &Series, out: &mut String) {
        let mut path = String::new();
        let mut is_down = false;
        for point in &series.points {
            let is_shown = is_finite(point) && point.0 <= self.x.high;
            if is_shown {
                let pen = if is_down { 'L' } else { 'M' };
                let _ = write!(path, "{pen}{:.1} {:.1}", self.across(point.0), self.up(point.1));
            }
            is_down = is_shown;
        }
        let class = series.ink.class();
        let _ = writeln!(out, "<path class=\"{class} line\" d=\"{path}\"/>");
    }

    fn dots(&self, series: &Series, out: &mut String) {
        let _ = writeln!(out, "<g class=\"{} dots\">", series.ink.class());
        for point in series.points.iter().filter(|point| is_finite(point)) {
            let _ = writeln!(
                out,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"><title>{}: {}, {}: {}</title></circle>",
                self.across(point.0),
                self.up(point.1),
                escaped(&self.x.label),
                self.told(&self.x, point.0),
                escaped(&self.y.label),
                self.told(&self.y, point.1)
            );
        }
        out.push_str("</g>\n");
    }

    /// Invisible stripes that show a hair line and the values of all lines under the pointer.
    fn bands(&self, thin: &[Series], out: &mut String) {
        let width = (WIDTH - LEFT - RIGHT) / BANDS as f64;
        let height = HEIGHT - TOP - BOTTOM;
        out.push_str("<g class=\"bands\">\n");
        for band in 0..BANDS {
            let share = (band as f64 + 0.5) / BANDS as f64;
            let x = self.x.low + (self.x.high - self.x.low) * share;
            let mut said = format!("{}: {}", escaped(&self.x.label), human(x));
            for series in thin.iter().rev() {
                if let Some(point) = nearest(&series.points, x) {
                    let value = self.told(&self.y, point.1);
                    let _ = write!(said, "\n{}: {value}", escaped(&series.name));
                }
            }
            let left = LEFT + width * band as f64;
            let _ = writeln!(
                out,
                "<g><title>{said}</title><rect x=\"{left:.1}\" y=\"{TOP}\" width=\"{width:.1}\" \
                 height=\"{height}\"/><path d=\"M{:.1} {TOP}v{height}\"/></g>",
                left + width / 2.0
            );
        }
        out.push_str("</g>\n");
    }

    fn told(&self, axis: &Axis, value: f64) -> String {
        if axis.is_percent { format!("{:.1} %", value * 100.0) } else { human(value) }
    }

    fn across(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn up(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.place(value) * (HEIGHT - TOP - BOTTOM)
    }
}

fn is_finite(point: &Xy) -> bool {
    point.0.is_finite() && point.1.is_finite()
}

/// The finite point with the nearest x, if its x is not far off.
fn nearest(points: &[Xy], x: f64) -> Option<&Xy> {
    let near = points.iter().filter(|point| is_finite(point));
    let point = near.min_by(|a, b| (a.0 - x).abs().total_cmp(&(b.0 - x).abs()))?;
    let (first, last) = (points.first()?.0, points.last()?.0);
    let slack = (last - first) / 20.0;
    ((first - slack)..=(last + slack)).contains(&x).then_some(point)
}

/// A round distance between ticks that cuts the span into four to ten.
fn step(span: f64) -> f64 {
    let power = 10_f64.powf((span / 5.0).log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * power);
    steps.into_iter().find(|step| span / step <= 6.01).unwrap_or(power * 10.0)
}

/// A tick's value without the noise of floating point.
fn trimmed(value: f64) -> String {
    let text = if value.abs() >= 0.001 || value == 0.0 {
        format!("{value:.4}")
    } else {
        return format!("{value:.0e}");
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn thinned(series: &Series) -> Series {
    let points = match series.mark {
        Mark::Line => thin_line(&series.points),
        Mark::Dots => thin_dots(&series.points),
    };
    Series { points, ..series.clone() }
}

/// The least and the greatest of each stretch, so that no spike is lost.
fn thin_line(points: &[Xy]) -> Vec<Xy> {
    if points.len() <= POINTS_MAX {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(POINTS_MAX / 2);
    let extremes = points.chunks(stretch).flat_map(|stretch| {
        let order = |a: &(usize, &Xy), b: &(usize, &Xy)| a.1.1.total_cmp(&b.1.1);
        let least = stretch.iter().enumerate().min_by(order).map(|(i, _)| i);
        let most = stretch.iter().enumerate().max_by(order).map(|(i, _)| i);
        let mut kept: Vec<_> = [least, most].into_iter().flatten().collect();
        kept.sort_unstable();
        kept.dedup();
        kept.into_iter().map(|i| stretch[i]).collect::<Vec<_>>()
    });
    extremes.collect()
}

fn thin_dots(points: &[Xy]) -> Vec<Xy> {
    if points.len() <= POINTS_MAX {
        return points.to_vec();
    }
    (0..POINTS_MAX).map(|i| points[i * points.len() / POINTS_MAX]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(axis: &Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|tick| axis.said(tick)).collect()
    }

    #[test]
    fn ticks_are_round() {
        let axis = |high| Axis::from_zero("", [high].into_iter());
        assert_eq!(said(&axis(97.0)), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(said(&axis(0.3)), ["0", "0.05", "0.1", "0.15", "0.2", "0.25", "0.3"]);
        assert_eq!(said(&Axis::until("", 120.0)), ["0", "20", "40", "60", "80", "100", "120"]);
        assert_eq!(said(&Axis::share("")), ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]);
        for high in [1e-6, 0.017, 1.0, 3.3, 59.0, 1e4, 7.7e8] {
            assert!((3..=8).contains(&axis(high).ticks().len()), "{high}: {:?}", axis(high));
        }
    }

    #[test]
    fn a_wide_span_is_logarithmic() {
        let axis = Axis::wide("Mbit/s", [3.0, 3000.0].into_iter());
        assert!(axis.label.ends_with("logarithmic"));
        assert_eq!(said(&axis), ["1", "10", "100", "1000", "10000"]);
        assert!((axis.place(100.0) - 0.5).abs() < 1e-9);
        assert_eq!(axis.place(0.0), 0.0);
        assert!(!Axis::wide("", [100.0, 300.0].into_iter()).is_log);
        assert!(!Axis::wide("", [0.0, f64::NAN].into_iter()).is_log);
    }

    #[test]
    fn thinning_keeps_spikes_and_ends_near() {
        let mut points: Vec<Xy> = (0..10_000).map(|i| (f64::from(i), 1.0)).collect();
        points[7777].1 = 99.0;
        let thin = thin_line(&points);
        assert!(thin.len() <= POINTS_MAX);
        assert!(thin.contains(&(7777.0, 99.0)));
        assert!(thin.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(thin_dots(&points).len(), POINTS_MAX);
    }

    #[test]
    fn a_line_breaks_where_nothing_was_measured() {
        let points = vec![(0.0, 0.0), (1.0, f64::NAN), (2.0, 1.0), (3.0, 1.0)];
        let series = Series { name: "a<b".into(), ink: Ink::Reached, mark: Mark::Line, points };
        let x = Axis::until("time, s", 3.0);
        let plot = Plot {
            title: "t".into(),
            note: String::new(),
            x,
            y: Axis::share("y"),
            series: vec![series],
        };
        let figure = plot.figure();
        assert_eq!(
            figure.matches('M').filter(|_| true).count() - figure.matches("d=\"M").count(),
            1
        );
        assert!(figure.contains("a&lt;b") && !figure.contains("a<b"));
        assert!(!figure.contains("NaN"));
    }
}
