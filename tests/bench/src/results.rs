//! The table of results, and the files with them.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::measurement::{ResultRow, Unit};

const HEADINGS: [&str; 8] =
    ["what", "measured", "against", "its value", "ratio", "must be", "stretch", "reached"];

/// The results of a run.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// The rows of the table.
    rows: Vec<ResultRow>,
    /// Each single value: part, side, unit, value.
    rounds: Vec<(&'static str, String, Unit, f64)>,
    /// Texts below the table: a title and lines.
    texts: Vec<(String, String)>,
    /// Data for further panels of the chart, by name.
    series: serde_json::Map<String, Value>,
}

impl Results {
    /// Adds a row to the table.
    pub(crate) fn row(&mut self, row: ResultRow) {
        let columns = row.columns();
        eprintln!(
            "  = {}",
            columns.iter().filter(|text| !text.is_empty()).cloned().collect::<Vec<_>>().join(" | ")
        );
        self.rows.push(row);
    }

    /// Records the value of one round, and returns it.
    pub(crate) fn round(&mut self, part: &'static str, side: &str, unit: Unit, value: f64) -> f64 {
        eprintln!("  {side}: {}", unit.show(value));
        self.rounds.push((part, side.to_owned(), unit, value));
        value
    }

    /// Adds a text.
    pub(crate) fn text(&mut self, title: &str, lines: &str) {
        eprintln!("\n{title}\n{lines}");
        self.texts.push((title.to_owned(), lines.to_owned()));
    }

    /// Adds data to draw.
    pub(crate) fn draw(&mut self, name: &str, value: Value) {
        self.series.insert(name.to_owned(), value);
    }

    /// The table in Markdown.
    fn table(&self) -> String {
        let mut lines = vec![HEADINGS.map(str::to_owned)];
        lines.extend(self.rows.iter().map(ResultRow::columns));
        let widths: Vec<_> = (0..HEADINGS.len())
            .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
            .collect();
        // Names are left-aligned, values right-aligned.
        let is_name = |column: usize| matches!(column, 0 | 2 | 7);
        let mut table = String::new();
        for (number, line) in lines.iter().enumerate() {
            for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
                table.push_str("| ");
                let padding = " ".repeat(width - cell.chars().count());
                let [first, second] = if is_name(column) { [cell, &padding] } else { [&padding, cell] };
                table.extend([first, second, " "]);
            }
            table.push_str("|\n");
            if number == 0 {
                for (column, &width) in widths.iter().enumerate() {
                    let dashes = "-".repeat(width - 1);
                    table.extend(["| ", &dashes, if is_name(column) { "- " } else { ": " }]);
                }
                table.push_str("|\n");
            }
        }
        table
    }

    /// Prints the table and writes the files: `results.md` for people, `results.json` and `rounds.csv` for
    /// programs.
    pub(crate) fn finish(&self, folder: &Path, machine: &[(&'static str, String)], how: &str) {
        let mut markdown = format!("{}\n{how}\n\n", self.table());
        for (name, value) in machine {
            markdown.extend(["- ", name, ": ", value, "\n"]);
        }
        for (title, lines) in &self.texts {
            markdown.extend(["\n", title, "\n\n```text\n", lines.trim_end(), "\n```\n"]);
        }
        println!("{markdown}");
        let write =
            |name: &str, text: &str| fs::write(folder.join(name), text).expect("results can be written");
        write("results.md", &markdown);
        let rows: Vec<_> = self.rows.iter().map(row_as_json).collect();
        let machine: serde_json::Map<_, _> =
            machine.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.clone()))).collect();
        let results = json!({"machine": machine, "how": how, "rows": rows, "series": self.series});
        write(
            "results.json",
            &(serde_json::to_string_pretty(&results).expect("results can be serialized") + "\n"),
        );
        let rounds = self
            .rounds
            .iter()
            .map(|(part, side, unit, value)| format!("{part},\"{side}\",{},{value}\n", unit.name().trim()));
        write("rounds.csv", &("part,side,unit,value\n".to_owned() + &rounds.collect::<String>()));
    }
}

fn row_as_json(row: &ResultRow) -> Value {
    json!({
        "part": row.part,
        "what": row.what,
        "measured": row.measured,
        "unit": row.unit.name().trim(),
        "against": row.against.as_ref().map(|(name, _)| name),
        "its_figure": row.against.as_ref().map(|(_, figure)| figure),
        "ratio": row.ratio(),
        "must": row.requirement.map(|requirement| requirement.must),
        "stretch": row.requirement.and_then(|requirement| requirement.stretch),
        "at_least": row.requirement.map(|requirement| requirement.at_least),
        "of_ratio": row.requirement.map(|requirement| requirement.of_ratio),
        "score": row.score(),
        "stretch_score": row.stretch_score(),
        "columns": row.columns(),
    })
}
