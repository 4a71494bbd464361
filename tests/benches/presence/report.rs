//! Rows and the table.

/// What was measured.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Row>);

#[derive(Debug)]
struct Row {
    what: String,
    figure: String,
    reference: String,
    value: f64,
    bar: Bar,
}

/// What a row's value is held to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bar {
    AtMost(f64),
    AtLeast(f64),
}

impl Report {
    /// Adds a row: a figure, what it is compared with, and the value that the bar is about.
    pub(crate) fn add(&mut self, what: &str, figure: String, reference: String, value: f64, bar: Bar) {
        let row = Row { what: what.to_owned(), figure, reference, value, bar };
        eprintln!("{}", row.line());
        self.0.push(row);
    }

    /// Prints the table.
    pub(crate) fn print(&self) {
        println!("| what | figure | reference | value | bar | met |\n|---|---|---|---|---|---|");
        for row in &self.0 {
            println!("{}", row.line());
        }
    }
}

impl Row {
    fn line(&self) -> String {
        let (bar, is_met) = match self.bar {
            Bar::AtMost(bar) => (format!("≤ {bar}"), self.value <= bar),
            Bar::AtLeast(bar) => (format!("≥ {bar}"), self.value >= bar),
        };
        let is_met = if is_met { "yes" } else { "NO" };
        let digits = if self.value >= 100.0 { 0 } else { 2 };
        format!("| {} | {} | {} | {:.digits$} | {bar} | {is_met} |", self.what, self.figure, self.reference, self.value)
    }
}
