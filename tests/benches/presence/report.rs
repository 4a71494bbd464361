//! The table of results.

/// All results so far.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Row>);

#[derive(Debug)]
struct Row {
    what: String,
    figure: String,
    reference: String,
    /// The value that is compared with a bar, and the bar.
    judged: Option<(f64, Bar)>,
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
        let row = Row {
            what: what.to_owned(),
            figure,
            reference,
            judged: Some((value, bar)),
        };
        eprintln!("{}", row.line());
        self.0.push(row);
    }

    /// Adds a row without a bar.
    pub(crate) fn note(&mut self, what: &str, figure: &str) {
        let row = Row {
            what: what.to_owned(),
            figure: figure.to_owned(),
            reference: "–".to_owned(),
            judged: None,
        };
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
        let judged = match self.judged {
            None => "– | – | –".to_owned(),
            Some((value, bar)) => {
                let (bar, is_met) = match bar {
                    Bar::AtMost(bar) => (format!("≤ {bar}"), value <= bar),
                    Bar::AtLeast(bar) => (format!("≥ {bar}"), value >= bar),
                };
                let digits = if value >= 100.0 { 0 } else { 2 };
                format!(
                    "{value:.digits$} | {bar} | {}",
                    if is_met { "yes" } else { "NO" }
                )
            }
        };
        format!(
            "| {} | {} | {} | {judged} |",
            self.what, self.figure, self.reference
        )
    }
}
