//! The last ten minutes of every stream.
//!
//! Rule: bounded by time and by the streams of the configuration. It keeps counters as they stood,
//! so that rates over any window can be made of them.

use super::sample::{COLUMNS, Row};
use serde::{Serialize, Serializer, ser::SerializeStruct};
use std::collections::{BTreeMap, VecDeque};

/// Samples kept: ten minutes of one a second.
const SAMPLES_MAX: usize = 600;

/// Rows of all streams, oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    rows: BTreeMap<String, VecDeque<Row>>,
}

impl History {
    pub(super) fn add(&mut self, stream: &str, row: Row) {
        if !self.rows.contains_key(stream) {
            self.rows.insert(stream.to_owned(), VecDeque::with_capacity(SAMPLES_MAX));
        }
        let Some(rows) = self.rows.get_mut(stream) else { return };
        if rows.len() == SAMPLES_MAX {
            rows.pop_front();
        }
        rows.push_back(row);
    }
}

impl Serialize for History {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut all = out.serialize_struct("History", 2)?;
        all.serialize_field("columns", &COLUMNS)?;
        all.serialize_field("rows", &self.rows)?;
        all.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut history = History::default();
        for at in 0..=SAMPLES_MAX as u64 {
            let mut row = Row::default();
            row[0] = at;
            history.add("cam", row);
        }
        let json = serde_json::to_value(&history).unwrap();
        let rows = json["rows"]["cam"].as_array().unwrap();
        assert_eq!((rows.len(), rows[0][0].as_u64()), (SAMPLES_MAX, Some(1)));
        assert_eq!(json["columns"].as_array().unwrap().len(), rows[0].as_array().unwrap().len());
    }
}
