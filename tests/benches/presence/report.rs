//! The tables of results. `scripts/bench-tables` reads them.

use std::fmt;

/// The results of a measurement.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Row>);

#[derive(Debug)]
struct Row {
    what: String,
    figure: String,
    reference: String,
    /// The value that is compared with the bar or, without one, between runs.
    value: Option<f64>,
    bar: Option<Bar>,
}

/// The limit for a row's value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bar {
    AtMost(f64),
    AtLeast(f64),
}

impl Report {
    /// Adds a row: a figure, its reference, and the value that is compared with the bar.
    pub(crate) fn add(
        &mut self,
        what: &str,
        figure: String,
        reference: String,
        value: f64,
        bar: Bar,
    ) {
        self.push(Row {
            what: what.to_owned(),
            figure,
            reference,
            value: Some(value),
            bar: Some(bar),
        });
    }

    /// Adds a row without a bar: a figure, its reference and their ratio.
    pub(crate) fn compare(&mut self, what: &str, figure: String, reference: String, ratio: f64) {
        self.push(Row {
            what: what.to_owned(),
            figure,
            reference,
            value: Some(ratio),
            bar: None,
        });
    }

    /// Adds a row without a reference and a bar.
    pub(crate) fn note(&mut self, what: &str, figure: &str) {
        self.push(Row {
            what: what.to_owned(),
            figure: figure.to_owned(),
            reference: "–".to_owned(),
            value: None,
            bar: None,
        });
    }

    fn push(&mut self, row: Row) {
        eprintln!("{}", row.line());
        self.0.push(row);
    }

    /// Prints the table of a measurement.
    pub(crate) fn print(&self, measurement: &str) {
        println!("### {measurement}\n");
        println!("| what | figure | reference | value | bar | met |\n|---|---|---|---|---|---|");
        for row in &self.0 {
            println!("{}", row.line());
        }
        println!();
    }
}

impl Row {
    fn line(&self) -> String {
        let value = self.value.map_or("–".to_owned(), |value| {
            let digits = if value >= 100.0 { 0 } else { 2 };
            format!("{value:.digits$}")
        });
        let (bar, met) = match (self.value, self.bar) {
            (Some(value), Some(bar)) => {
                let met = if bar.is_met(value) { "yes" } else { "NO" };
                (bar.to_string(), met)
            }
            _ => ("–".to_owned(), "–"),
        };
        format!(
            "| {} | {} | {} | {value} | {bar} | {met} |",
            self.what, self.figure, self.reference
        )
    }
}

impl Bar {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(bar) => value <= bar,
            Self::AtLeast(bar) => value >= bar,
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(bar) => write!(formatter, "≤ {bar}"),
            Self::AtLeast(bar) => write!(formatter, "≥ {bar}"),
        }
    }
}
