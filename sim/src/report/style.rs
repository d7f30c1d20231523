//! How the page looks, and text that is safe inside it.
//!
//! Rule: nothing is loaded from anywhere; colours are named by what they stand for.

/// Text that means itself inside HTML, in attributes too.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

/// The style sheet.
pub(crate) const SHEET: &str = "
:root {
  color-scheme: light dark;
  --page: #f5f6f8; --card: #fff; --ink: #16191f; --soft: #5b6472; --rule: #dfe3e9;
  --reached: #1f66d1; --without: #c8570b; --bound: #6c7686; --wash: #1f66d114;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #101318; --card: #191d24; --ink: #e8ebf0; --soft: #9aa4b3; --rule: #2c323c;
    --reached: #6fa8ff; --without: #f5a04e; --bound: #98a2b3; --wash: #6fa8ff1f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif;
}
main { max-width: 1180px; margin: 0 auto; padding: 28px 16px 56px; }
h1 { margin: 0; font-size: 1.75rem; line-height: 1.2; letter-spacing: -.01em; }
h2 { margin: 36px 0 12px; font-size: 1.15rem; }
h3 { margin: 0 0 6px; font-size: 1rem; }
p { margin: 6px 0; }
.lead { color: var(--soft); }
code { font: .85em/1.5 ui-monospace, 'SF Mono', Menlo, Consolas, monospace; }
.chips { display: flex; flex-wrap: wrap; gap: 6px; margin: 12px 0 0; padding: 0; list-style: none; }
.chips li { padding: 2px 10px; border: 1px solid var(--rule); border-radius: 99px;
  background: var(--card); }
.tiles { display: grid; gap: 12px; margin: 20px 0 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 150px), 1fr)); }
.tile, .card { background: var(--card); border: 1px solid var(--rule); border-radius: 12px; }
.tile { padding: 12px 16px; }
.tile span { display: block; color: var(--soft); font-size: .85rem; }
.tile b { font-size: 1.6rem; font-weight: 650; letter-spacing: -.01em; }
.tile b small { margin-left: 4px; color: var(--soft); font-size: .9rem; font-weight: 400; }
.plots { display: grid; gap: 14px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); }
.card { margin: 0; padding: 14px 16px; min-width: 0; }
.card > svg { display: block; width: 100%; height: auto; overflow: visible; }
.none { padding: 40px 0; color: var(--soft); text-align: center; }
figcaption { margin-top: 6px; color: var(--soft); font-size: .85rem; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 0 0 6px; padding: 0;
  list-style: none; color: var(--soft); font-size: .85rem; }
.legend svg { margin-right: 6px; vertical-align: -1px; }
text { fill: var(--soft); font-size: 12.5px; font-variant-numeric: tabular-nums; }
.end { text-anchor: end; } .mid { text-anchor: middle; }
.name { fill: var(--ink); }
.grid { stroke: var(--rule); } .tick, .axis { stroke: var(--soft); }
.axis, .tick, .grid { fill: none; stroke-width: 1; }
.reached { --own: var(--reached); } .without { --own: var(--without); }
.bound { --own: var(--bound); stroke-dasharray: 5 4; }
.legend line, .line { fill: none; stroke: var(--own); stroke-width: 2.2; stroke-linejoin: round;
  stroke-linecap: round; }
.legend circle, .dots circle { fill: var(--own); fill-opacity: .45; stroke: var(--own);
  stroke-width: .8; }
.dots circle:hover { fill-opacity: 1; stroke-width: 4; }
.bands rect { fill: transparent; } .bands path { stroke: none; }
.bands g:hover rect { fill: var(--wash); } .bands g:hover path { stroke: var(--soft); }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 12px; border-bottom: 1px solid var(--rule); text-align: right;
  white-space: nowrap; }
th { color: var(--soft); font-size: .85rem; font-weight: 500; }
tr:last-child td { border-bottom: 0; }
th.key, td.key { text-align: left; }
tbody tr:hover { background: var(--wash); }
.pick { position: absolute; opacity: 0; }
.seeds { display: flex; flex-wrap: wrap; gap: 6px; margin: 0 0 14px; }
.seeds label { padding: 4px 14px; border: 1px solid var(--rule); border-radius: 99px;
  background: var(--card); cursor: pointer; }
.panel { display: none; }
details { margin: 12px 0; }
summary { padding: 8px 0; cursor: pointer; font-weight: 600; }
footer { margin-top: 36px; color: var(--soft); font-size: .85rem; overflow-wrap: anywhere; }
@media (max-width: 520px) {
  main { padding: 18px 10px 40px; }
  .card { padding: 12px 10px; }
  text { font-size: 15px; }
  .tiles { grid-template-columns: 1fr 1fr; }
}
@media print { .card, .tile { break-inside: avoid; } }
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out() {
        assert_eq!(escaped("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }

    #[test]
    fn the_sheet_is_balanced_and_loads_nothing() {
        assert_eq!(SHEET.matches('{').count(), SHEET.matches('}').count());
        assert!(!SHEET.contains("url(") && !SHEET.contains("@import"));
    }
}
