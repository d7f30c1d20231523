//! Reports as a table for the terminal.
//!
//! Rule: it fits the reader, not the data: few seeds are columns, many are a median and a worst.

use crate::figures::Figure;
use crate::report::number::human;
use crate::report::{Report, SEEDS_SHOWN_MAX, Sweep, headlines};
use anyhow::{Result, bail};
use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};

/// A line under the header and no others: there are many short rows.
const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// One line per figure: the seeds if they are few, the median, the worst.
pub fn table(report: &Report) -> String {
    let (header, rows) = cells(report);
    drawn(header, rows, 1)
}

/// The header and the lines of [`table`], for other renderings.
pub(crate) fn cells(report: &Report) -> (Vec<String>, Vec<Vec<String>>) {
    let seeds = if report.runs.len() <= SEEDS_SHOWN_MAX { report.runs.as_slice() } else { &[] };
    // With one seed the median and the worst would say the same twice more.
    let is_folded = report.runs.len() > 1;
    let mut header = vec!["figure".to_owned()];
    header.extend(seeds.iter().map(|run| format!("seed {}", run.seed)));
    if is_folded {
        header.extend(["median".to_owned(), "worst".to_owned()]);
    }
    let (median, worst) = (report.median(), report.worst());
    let row = |(median, worst): (&Figure, &Figure)| {
        let mut row = vec![median.name.to_owned()];
        row.extend(seeds.iter().map(|run| {
            let own = run.figures.iter().find(|figure| figure.name == median.name);
            human(own.map_or(f64::NAN, |figure| figure.value))
        }));
        if is_folded {
            row.extend([human(median.value), human(worst.value)]);
        }
        row
    };
    let rows = median.iter().zip(&worst).map(row).collect();
    (header, rows)
}

/// One line per point: the settings there, and the medians of the figures named, or of those
/// that say most if none are.
///
/// # Errors
/// If there is no figure of such a name.
pub fn sweep_table(sweep: &Sweep, figures: &[String]) -> Result<String> {
    /// As many columns as fit a terminal.
    const COLUMNS: usize = 6;
    let first = sweep.points.first().map(|point| point.report.median()).unwrap_or_default();
    let names: Vec<String> = first.iter().map(|figure| figure.name.to_owned()).collect();
    for figure in figures {
        if !names.contains(figure) {
            bail!("no figure `{figure}`: there are {}", names.join(", "));
        }
    }
    let names = if figures.is_empty() {
        headlines(&first).take(COLUMNS).map(|figure| figure.name.to_owned()).collect()
    } else {
        figures.to_vec()
    };
    let (header, rows) = sweep_cells(sweep, &names);
    Ok(drawn(header, rows, sweep.keys.len()))
}

/// The header and the lines of [`sweep_table`], for other renderings.
pub(crate) fn sweep_cells(sweep: &Sweep, names: &[String]) -> (Vec<String>, Vec<Vec<String>>) {
    let mut header = sweep.keys.clone();
    header.extend(names.iter().cloned());
    let rows = sweep.points.iter().map(|point| {
        let median = point.report.median();
        let value = |name: &String| {
            let figure = median.iter().find(|figure| figure.name == name);
            human(figure.map_or(f64::NAN, |figure| figure.value))
        };
        point.values.iter().cloned().chain(names.iter().map(value)).collect()
    });
    (header, rows.collect())
}

/// Any table, of which all columns but the first `left` are numbers.
pub fn drawn(header: Vec<String>, rows: Vec<Vec<String>>, left: usize) -> String {
    let columns = header.len();
    let mut table = Table::new();
    table.load_style(STYLE).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in left..columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Point;
    use crate::report::tests::{report, run};

    #[test]
    fn few_seeds_are_columns() {
        let (header, rows) = cells(&report(vec![run(4, 0.5, 1.5), run(5, 0.7, 2.5)]));
        assert_eq!(header, ["figure", "seed 4", "seed 5", "median", "worst"]);
        assert_eq!(rows[0], ["achieved_over_bound", "0.5000", "0.7000", "0.6000", "0.5000"]);
        assert_eq!(rows[1], ["delay_p99_s", "1.500", "2.500", "2", "2.500"]);
    }

    #[test]
    fn many_seeds_are_a_median_and_a_worst() {
        let runs = (1..=6).map(|seed| run(seed, 0.5, 1.0)).collect();
        let (header, _) = cells(&report(runs));
        assert_eq!(header, ["figure", "median", "worst"]);
    }

    #[test]
    fn one_seed_says_everything_once() {
        let drawn = table(&report(vec![run(1, 0.5, f64::NAN)]));
        assert!(drawn.contains("seed 1") && !drawn.contains("median"), "{drawn}");
        assert!(drawn.contains('–'), "not measured");
    }

    #[test]
    fn a_sweep_has_a_line_per_point() {
        let point = |value: &str, delay| Point {
            values: vec![value.into()],
            report: report(vec![run(1, 0.5, delay)]),
        };
        let sweep = Sweep {
            scenario: "steady".into(),
            keys: vec!["viewers".into()],
            points: vec![point("10", 1.0), point("20", 2.0)],
        };
        let (header, rows) = sweep_cells(&sweep, &["delay_p99_s".into()]);
        assert_eq!(header, ["viewers", "delay_p99_s"]);
        assert_eq!(rows, [["10", "1"], ["20", "2"]]);
        let drawn = sweep_table(&sweep, &[]).expect("the first few exist");
        assert!(drawn.contains("achieved_over_bound") && drawn.contains("stalls"));
        let error = sweep_table(&sweep, &["stals".into()]).expect_err("there is none");
        assert!(error.to_string().contains("no figure `stals`: there are achieved_over_bound, "));
    }
}
