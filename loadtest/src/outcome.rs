//! What a run gave, as a table for the terminal, as JSON, and as a page that stands alone.
//!
//! Rule: it shows figures and measures none. What was not measured is never a number.

use serde_json::{Map, Value, json};
use shoal_sim::report::parts::{document, gallery, grid, heading, tiles};
use shoal_sim::report::plot::Plot;
use shoal_sim::report::{Exact, drawn, escaped, human, spoken};

/// The figures of a mode: name and meaning. The first few say most.
pub(crate) struct Known(pub(crate) &'static [(&'static str, &'static str)]);

impl Known {
    /// For the end of a mode's help.
    pub(crate) fn help(&self) -> String {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let line = |(name, meaning): &(&str, &str)| format!("  {name:width$}  {meaning}\n");
        format!(
            "Figures, for --require and in the JSON:\n{}",
            self.0.iter().map(line).collect::<String>()
        )
    }

    pub(crate) fn names(&self) -> String {
        let names: Vec<_> = self.0.iter().map(|(name, _)| *name).collect();
        format!("there are {}", names.join(", "))
    }
}

/// Figures at the top of the page.
const TILES: usize = 8;

/// A table beside the figures.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) title: &'static str,
    pub(crate) header: Vec<String>,
    /// Names of the rows, under the first column; none if the rows are numbers alone.
    pub(crate) names: Vec<String>,
    pub(crate) rows: Vec<Vec<f64>>,
}

impl Table {
    /// Its cells as people read them.
    fn cells(&self) -> Vec<Vec<String>> {
        let row = |(i, row): (usize, &Vec<f64>)| {
            let name = self.names.get(i).cloned();
            name.into_iter().chain(row.iter().map(|it| human(*it))).collect()
        };
        self.rows.iter().enumerate().map(row).collect()
    }

    /// How many columns are names.
    fn keys(&self) -> usize {
        usize::from(!self.names.is_empty())
    }

    fn json(&self) -> Value {
        let row = |(i, row): (usize, &Vec<f64>)| {
            let name = self.names.get(i).map(|name| json!(name));
            let cells = name.into_iter().chain(row.iter().map(|it| json!(Exact(*it))));
            Value::Object(self.header.iter().cloned().zip(cells).collect())
        };
        self.rows.iter().enumerate().map(row).collect()
    }
}

/// What a run gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// The mode, and what was put on the server, in a sentence.
    pub(crate) title: &'static str,
    pub(crate) lead: String,
    /// Under what conditions, a sentence each.
    pub(crate) conditions: Vec<String>,
    figures: Vec<(&'static str, f64)>,
    pub(crate) tables: Vec<Table>,
    pub(crate) plots: Vec<Plot>,
}

impl Outcome {
    /// Of a mode.
    pub(crate) fn new(title: &'static str) -> Self {
        Self { title, ..Self::default() }
    }

    pub(crate) fn add(&mut self, name: &'static str, value: f64) {
        self.figures.push((name, value));
    }

    /// A figure; not a number if it was not measured.
    pub(crate) fn figure(&self, name: &str) -> f64 {
        let found = self.figures.iter().find(|(known, _)| *known == name);
        found.map_or(f64::NAN, |(_, value)| *value)
    }

    /// For the terminal.
    pub(crate) fn table(&self) -> String {
        let mut parts = Vec::new();
        for table in &self.tables {
            parts.push(drawn(table.header.clone(), table.cells(), table.keys()));
        }
        let rows = self.figures.iter().map(|(name, value)| vec![(*name).to_owned(), human(*value)]);
        parts.push(drawn(vec!["figure".to_owned(), "value".to_owned()], rows.collect(), 1));
        parts.push(self.conditions.join("\n"));
        parts.join("\n\n")
    }

    /// For programs.
    pub(crate) fn json(&self) -> String {
        let exact = |value: f64| json!(Exact(value));
        let figures: Map<String, Value> =
            self.figures.iter().map(|(name, value)| ((*name).to_owned(), exact(*value))).collect();
        let tables: Map<String, Value> =
            self.tables.iter().map(|table| (table.title.to_owned(), table.json())).collect();
        let all = json!({
            "mode": self.title,
            "lead": self.lead,
            "conditions": self.conditions,
            "figures": figures,
            "tables": tables,
        });
        format!("{all:#}\n")
    }

    /// For people.
    pub(crate) fn page(&self) -> String {
        let mut body = String::new();
        heading(&mut body, &format!("{} load", self.title), &self.lead, &[]);
        let tile = |(name, value): &(&'static str, f64)| {
            let (words, unit) = spoken(name);
            (words, *value, unit)
        };
        let most: Vec<_> = self.figures.iter().take(TILES).map(tile).collect();
        tiles(&mut body, &most);
        body.push_str("<h2>Curves</h2>\n");
        gallery(&mut body, &self.plots);
        for table in &self.tables {
            body.push_str(&format!("<h2>{}</h2>\n", escaped(table.title)));
            grid(&mut body, &table.header, &table.cells(), table.keys());
        }
        body.push_str("<h2>Figures</h2>\n");
        let rows: Vec<_> =
            self.figures.iter().map(|(name, it)| vec![(*name).to_owned(), human(*it)]).collect();
        grid(&mut body, &["figure".to_owned(), "value".to_owned()], &rows, 1);
        let conditions = escaped(&self.conditions.join(" "));
        body.push_str(&format!("<footer><p>{conditions}</p></footer>\n"));
        document(&format!("{} load · Shoal", self.title), "", &body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_no_number() {
        let mut outcome = Outcome::new("tracker");
        outcome.add("joins_per_second", 500.0);
        outcome.add("server_cpu_s", f64::NAN);
        outcome.tables.push(Table {
            title: "levels",
            header: vec!["level".into(), "viewers".into(), "MiB".into()],
            names: vec!["first".into()],
            rows: vec![vec![10.0, f64::NAN]],
        });
        let json: Value = serde_json::from_str(&outcome.json()).expect("JSON");
        assert_eq!(json["figures"]["joins_per_second"], 500);
        assert!(json["figures"]["server_cpu_s"].is_null());
        assert_eq!(json["tables"]["levels"][0]["level"], "first");
        assert_eq!(json["tables"]["levels"][0]["viewers"], 10);
        assert!(json["tables"]["levels"][0]["MiB"].is_null());
        assert!(!outcome.page().contains("NaN") && !outcome.table().contains("NaN"));
    }
}
