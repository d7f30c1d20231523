//! The parts that every page of a report is made of, in the order in which they are written.
//!
//! Rule: what is written stands alone, without scripts, and whatever text it is given means itself.

use crate::report::number::human;
use crate::report::plot::Plot;
use crate::report::style::{SHEET, escaped};
use std::fmt::Write;

/// The whole file; `style` is what this page has beyond the style of all.
pub fn document(title: &str, style: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{SHEET}{style}</style>\n</head>\n<body>\n<main>\n{body}</main>\n\
         </body>\n</html>\n"
    )
}

/// Title, what it is in a line, and what was set, in chips.
pub fn heading(out: &mut String, title: &str, lead: &str, settings: &[String]) {
    let (title, lead) = (escaped(title), escaped(lead));
    let _ = writeln!(out, "<h1>{title}</h1>\n<p class=\"lead\">{lead}</p>");
    if !settings.is_empty() {
        out.push_str("<ul class=\"chips\">");
        for setting in settings {
            let _ = write!(out, "<li><code>{}</code></li>", escaped(setting));
        }
        out.push_str("</ul>\n");
    }
}

/// The figures that say most, large: words, value, unit.
pub fn tiles(out: &mut String, tiles: &[(String, f64, &str)]) {
    out.push_str("<div class=\"tiles\">\n");
    for (words, value, unit) in tiles {
        let (words, value) = (escaped(words), human(*value));
        let _ = writeln!(
            out,
            "<div class=\"tile\"><span>{words}</span><b>{value}<small>{unit}</small></b></div>"
        );
    }
    out.push_str("</div>\n");
}

/// Plots beside each other.
pub fn gallery(out: &mut String, plots: &[Plot]) {
    out.push_str("<div class=\"plots\">\n");
    for plot in plots {
        out.push_str(&plot.figure());
    }
    out.push_str("</div>\n");
}

/// A table, of which the first `keys` columns name the row.
pub fn grid(out: &mut String, header: &[String], rows: &[Vec<String>], keys: usize) {
    out.push_str("<div class=\"card scroll\"><table>\n<thead><tr>");
    for (column, name) in header.iter().enumerate() {
        let class = if column < keys { " class=\"key\"" } else { "" };
        let _ = write!(out, "<th{class}>{}</th>", escaped(name));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            let cell = escaped(cell);
            let _ = match column {
                _ if column < keys => write!(out, "<td class=\"key\"><code>{cell}</code></td>"),
                _ => write!(out, "<td>{cell}</td>"),
            };
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
}
