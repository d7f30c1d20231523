//! Reports as one page: plots, figures, and the command that makes them again.
//!
//! Rule: the file stands alone, without scripts, and reads well on a phone and in the dark.

use crate::figures::{Figure, Run};
use crate::report::number::spoken;
use crate::report::parts::{self, document, gallery, grid, heading};
use crate::report::plot::{Axis, Ink, Mark, Plot, Series};
use crate::report::style::escaped;
use crate::report::{Report, SEEDS_SHOWN_MAX, Sweep, charts, headlines, table};
use std::fmt::Write;

/// Figures at the top of the page, and plots over a sweep's key.
const TILES: usize = 6;
/// Points of a sweep whose plots are on the page.
const POINTS_MAX: usize = 12;

/// A page of one report.
pub fn page(report: &Report) -> String {
    let mut body = String::new();
    heading(&mut body, &report.scenario, &report.description, &report.settings);
    tiles(&mut body, report);
    body.push_str("<h2>Curves</h2>\n");
    seeds(&mut body, report);
    body.push_str("<h2>Figures</h2>\n");
    let (header, rows) = table::cells(report);
    grid(&mut body, &header, &rows, 1);
    let _ = writeln!(
        body,
        "<footer><p>{}</p><p>Again: <code>{}</code></p></footer>",
        escaped(&conditions(report)),
        escaped(&report.command())
    );
    document(&format!("{} · Shoal", report.scenario), &choice(), &body)
}

/// A page of a sweep: the figures over its key, and each point's plots folded away.
pub fn sweep_page(sweep: &Sweep) -> String {
    let mut body = String::new();
    let first = sweep.points.first().map(|point| &point.report);
    let description = first.map_or("", |report| &report.description);
    let is_shared = |setting: &&String| {
        !sweep.keys.iter().any(|key| setting.split_once('=').is_some_and(|(own, _)| own == key))
    };
    let settings = first.map_or(&[][..], |report| &report.settings);
    let mut chips: Vec<_> = settings.iter().filter(is_shared).cloned().collect();
    chips.push(format!("over {}", sweep.keys.join(", ")));
    heading(&mut body, &sweep.scenario, description, &chips);
    let plots = over_key(sweep);
    if !plots.is_empty() {
        let _ = writeln!(body, "<h2>Medians over {}</h2>", escaped(&sweep.keys.join(", ")));
        gallery(&mut body, &plots);
    }
    body.push_str("<h2>Medians</h2>\n");
    let names: Vec<_> = first.map(Report::median).unwrap_or_default();
    let names: Vec<_> = names.iter().map(|figure| figure.name.to_owned()).collect();
    let (header, rows) = table::sweep_cells(sweep, &names);
    grid(&mut body, &header, &rows, sweep.keys.len());
    body.push_str("<h2>Points</h2>\n");
    for point in sweep.points.iter().take(POINTS_MAX) {
        let at = sweep.keys.iter().zip(&point.values).map(|(key, value)| format!("{key}={value}"));
        let at = escaped(&at.collect::<Vec<_>>().join(", "));
        let _ = writeln!(body, "<details><summary>{at}</summary>");
        if let Some((run, said)) = shown(&point.report).first() {
            let _ = writeln!(body, "<p class=\"lead\">{}</p>", escaped(said));
            gallery(&mut body, &charts::of_run(run, point.report.twins));
        }
        let command = escaped(&point.report.command());
        let _ = writeln!(body, "<footer><p>Again: <code>{command}</code></p></footer></details>");
    }
    if sweep.points.len() > POINTS_MAX {
        let _ = writeln!(body, "<p>The curves of the first {POINTS_MAX} points are shown.</p>");
    }
    document(&format!("{} · sweep · Shoal", sweep.scenario), &choice(), &body)
}

fn tiles(out: &mut String, report: &Report) {
    let of = if report.runs.len() > 1 { ", median" } else { "" };
    let figures = report.median();
    let tile = |figure: &Figure| {
        let (words, unit) = spoken(figure.name);
        (words + of, figure.value, unit)
    };
    let tiles: Vec<_> = headlines(&figures).take(TILES).map(tile).collect();
    parts::tiles(out, &tiles);
}

fn conditions(report: &Report) -> String {
    let seeds: Vec<_> = report.runs.iter().map(|run| run.seed).collect();
    let seeds = match seeds.as_slice() {
        [] => "No seed".to_owned(),
        [only] => format!("Seed {only}"),
        [first, .., last] => format!("{} seeds, {first} to {last}", seeds.len()),
    };
    let twins = if report.twins { "with twins without peers" } else { "without twins" };
    format!("Simulated in virtual time. {seeds}, {twins}.")
}

/// The runs on the page: the median one, the worst, then others in the order of their seeds.
fn shown(report: &Report) -> Vec<(&Run, String)> {
    let ranked = report.ranked();
    let Some(worst) = ranked.first() else { return Vec::new() };
    // Of one or two, none is in the middle.
    if ranked.len() < 3 {
        return report.runs.iter().map(|run| (run, format!("seed {}", run.seed))).collect();
    }
    let median = ranked[(ranked.len() - 1) / 2];
    let mut shown = vec![(median, format!("seed {}, the median", median.seed))];
    if worst.seed != median.seed {
        shown.push((worst, format!("seed {}, the worst", worst.seed)));
    }
    let others = report.runs.iter().filter(|run| ![median.seed, worst.seed].contains(&run.seed));
    shown.extend(others.map(|run| (run, format!("seed {}", run.seed))));
    shown.truncate(SEEDS_SHOWN_MAX);
    shown
}

/// One gallery per seed, and buttons that choose by style alone.
fn seeds(out: &mut String, report: &Report) {
    let shown = shown(report);
    if let [(run, _)] = shown.as_slice() {
        return gallery(out, &charts::of_run(run, report.twins));
    }
    for i in 0..shown.len() {
        let checked = if i == 0 { " checked" } else { "" };
        let _ = writeln!(
            out,
            "<input class=\"pick\" type=\"radio\" name=\"seed\" id=\"seed{i}\"{checked}>"
        );
    }
    out.push_str("<div class=\"seeds\">\n");
    for (i, (_, said)) in shown.iter().enumerate() {
        let said = escaped(said);
        let _ = writeln!(out, "<label class=\"label{i}\" for=\"seed{i}\">{said}</label>");
    }
    out.push_str("</div>\n");
    for (i, (run, _)) in shown.iter().enumerate() {
        let _ = writeln!(out, "<div class=\"panel panel{i}\">");
        gallery(out, &charts::of_run(run, report.twins));
        out.push_str("</div>\n");
    }
}

/// The style that shows the panel of the chosen button.
fn choice() -> String {
    let mut rules = String::new();
    for i in 0..SEEDS_SHOWN_MAX {
        let _ = write!(
            rules,
            "#seed{i}:checked ~ .panel{i} {{ display: block; }}\n\
             #seed{i}:checked ~ .seeds .label{i} {{ background: var(--reached); \
             border-color: var(--reached); color: var(--card); }}\n\
             #seed{i}:focus-visible ~ .seeds .label{i} {{ outline: 2px solid var(--ink); \
             outline-offset: 2px; }}\n"
        );
    }
    rules
}

/// The headline figures over the only key, if its values are numbers.
fn over_key(sweep: &Sweep) -> Vec<Plot> {
    let [key] = sweep.keys.as_slice() else { return Vec::new() };
    let at = |values: &[String]| values.first().and_then(|value| value.parse::<f64>().ok());
    let Some(at): Option<Vec<f64>> = sweep.points.iter().map(|point| at(&point.values)).collect()
    else {
        return Vec::new();
    };
    let medians: Vec<_> = sweep.points.iter().map(|point| point.report.median()).collect();
    let Some(first) = medians.first() else { return Vec::new() };
    let plot = |figure: &Figure| {
        let value = |figures: &Vec<Figure>| {
            figures.iter().find(|other| other.name == figure.name).map_or(f64::NAN, |it| it.value)
        };
        let mut points: Vec<_> = at.iter().copied().zip(medians.iter().map(value)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (words, unit) = spoken(figure.name);
        let label = if unit.is_empty() { words.clone() } else { format!("{words}, {unit}") };
        let series = |name: &str, mark| Series {
            name: name.into(),
            ink: Ink::Reached,
            mark,
            points: points.clone(),
        };
        Plot {
            title: words,
            note: String::new(),
            x: Axis::from_zero(key, at.iter().copied()),
            y: Axis::from_zero(&label, points.iter().map(|point| point.1)),
            series: vec![series("", Mark::Line), series("median of seeds", Mark::Dots)],
        }
    };
    headlines(first).take(TILES).map(plot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Point;
    use crate::report::tests::{report, run};

    /// Fails where a tag is not closed in its order.
    fn assert_balanced(page: &str) {
        const VOID: &[&str] = &["!doctype", "meta", "input", "br"];
        let mut open: Vec<&str> = Vec::new();
        for piece in page.split('<').skip(1) {
            let (tag, _) = piece.split_once('>').expect("a tag ends");
            let name = tag.split([' ', '/']).find(|word| !word.is_empty()).expect("a name");
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name), "closed out of order");
            } else if !tag.ends_with('/') && !VOID.contains(&name) {
                open.push(name);
            }
        }
        assert_eq!(open, Vec::<&str>::new(), "never closed");
    }

    fn assert_alone(page: &str) {
        for outside in ["http:", "https:", "<script", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside} in the page");
        }
    }

    const TITLES: &[&str] = &[
        "Offload against its bound",
        "What the origin sends",
        "Delay of segments",
        "Time to start",
        "Stalls against the twin",
        "Who uploads",
        "Viewers",
    ];

    #[test]
    fn a_page_of_one_seed_has_every_plot() {
        let page = page(&report(vec![run(1, 0.9, 1.0)]));
        assert_balanced(&page);
        assert_alone(&page);
        for title in TITLES {
            assert!(page.contains(&format!("<h3>{title}</h3>")), "{title}");
            assert!(page.contains(&format!("aria-label=\"{title}\"")), "{title} is drawn");
        }
        assert!(page.contains("viewers=20") && page.contains("delay_p99_s"));
        assert!(!page.contains("NaN") && !page.contains("Infinity"));
        assert_eq!(page.matches("type=\"radio\"").count(), 0);
    }

    #[test]
    fn at_most_five_seeds_can_be_chosen() {
        let runs = (1..=9).map(|seed| run(seed, 1.0 - seed as f64 / 100.0, 1.0)).collect();
        let page = page(&report(runs));
        assert_balanced(&page);
        assert_eq!(page.matches("type=\"radio\"").count(), SEEDS_SHOWN_MAX);
        assert_eq!(page.matches("<h3>Who uploads</h3>").count(), SEEDS_SHOWN_MAX);
        assert!(page.contains("seed 5, the median") && page.contains("seed 9, the worst"));
        assert!(page.contains("9 seeds, 1 to 9, with twins without peers"));
    }

    #[test]
    fn names_cannot_break_out() {
        let mut report = report(vec![run(1, 0.9, 1.0)]);
        report.scenario = "<b>&\"".into();
        report.settings = vec!["</code>".into()];
        report.runs[0].curves = crate::figures::Curves::default();
        let page = page(&report);
        assert_balanced(&page);
        assert!(page.contains("&lt;b&gt;&amp;") && page.contains("Nothing to show"));
        assert_balanced(&super::page(&Report::default()));
    }

    #[test]
    fn a_sweep_has_plots_over_its_key() {
        let point = |value: &str, achieved| Point {
            values: vec![value.into()],
            report: report(vec![run(1, achieved, 1.0)]),
        };
        let mut sweep = Sweep {
            scenario: "steady".into(),
            keys: vec!["rho".into()],
            points: vec![point("1.0", 0.9), point("1.5", 0.95)],
        };
        let page = sweep_page(&sweep);
        assert_balanced(&page);
        assert_alone(&page);
        assert!(page.contains("Medians over rho") && page.contains("<summary>rho=1.5</summary>"));
        sweep.points[0].values = vec!["open".into()];
        assert!(!sweep_page(&sweep).contains("Medians over"), "no axis without numbers");
        assert_balanced(&sweep_page(&Sweep::default()));
    }
}
