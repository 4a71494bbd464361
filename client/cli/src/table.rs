//! Text tables: columns as wide as their content, two spaces apart.

use std::fmt;

use anstyle::Style;

use crate::style::FAINT;

/// A table with a head line.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    head: [&'static str; N],
    rows: Vec<[Cell; N]>,
}

/// A text and its style.
#[derive(Debug)]
pub(crate) struct Cell {
    text: String,
    style: Style,
    is_number: bool,
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(head: [&'static str; N]) -> Self {
        Self {
            head,
            rows: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, row: [Cell; N]) {
        self.rows.push(row);
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| row[column].text.chars().count());
        cells
            .chain([self.head[column].len()])
            .max()
            .unwrap_or_default()
    }

    /// Whether a column is aligned to the right, with its head.
    fn holds_numbers(&self, column: usize) -> bool {
        self.rows.iter().all(|row| row[column].is_number)
    }
}

impl Cell {
    pub(crate) fn new(text: impl fmt::Display, style: Style) -> Self {
        Self {
            text: text.to_string(),
            style,
            is_number: false,
        }
    }

    pub(crate) fn plain(text: impl fmt::Display) -> Self {
        Self::new(text, Style::new())
    }

    /// A cell that is aligned to the right, as numbers are.
    pub(crate) fn right(text: impl fmt::Display) -> Self {
        Self {
            is_number: true,
            ..Self::plain(text)
        }
    }

    /// A number with separated thousands.
    pub(crate) fn number(number: u64) -> Self {
        Self::right(grouped(number))
    }
}

/// A number with separated thousands: `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: [(usize, bool); N] =
            std::array::from_fn(|column| (self.width(column), self.holds_numbers(column)));
        let write_line = |f: &mut fmt::Formatter<'_>, cells: [(&str, Style); N]| {
            for (column, (text, style)) in cells.into_iter().enumerate() {
                let (width, is_right) = columns[column];
                let gap = " ".repeat(width - text.chars().count());
                let is_last = column + 1 == N;
                if is_right {
                    f.write_str(&gap)?;
                }
                write!(f, "{style}{text}{style:#}")?;
                if !is_last {
                    write!(f, "{}  ", if is_right { "" } else { &gap })?;
                }
            }
            f.write_str("\n")
        };
        write_line(f, self.head.map(|text| (text, FAINT)))?;
        self.rows.iter().try_for_each(|row| {
            write_line(
                f,
                std::array::from_fn(|column| (&*row[column].text, row[column].style)),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_aligned_to_the_left_and_numbers_to_the_right() {
        let mut table = Table::new(["PLAYER", "COUNT", "STATE"]);
        table.push([
            Cell::plain("a-long-name"),
            Cell::number(2),
            Cell::plain("ONLINE"),
        ]);
        table.push([Cell::plain("b"), Cell::number(1_234_567), Cell::plain("-")]);
        let expected = "PLAYER           COUNT  STATE\n\
                        a-long-name          2  ONLINE\n\
                        b            1,234,567  -\n";
        assert_eq!(
            anstream::adapter::strip_str(&table.to_string()).to_string(),
            expected
        );
    }

    #[test]
    fn thousands_are_separated() {
        assert_eq!(
            [0, 999, 1_000, 12_345_678].map(grouped),
            ["0", "999", "1,000", "12,345,678"]
        );
    }
}
