//! Line plots as SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 300.0;

// The margins around the lines.
const LEFT: f64 = 56.0;
const RIGHT: f64 = 120.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 44.0;

const COLORS: [&str; 3] = ["#1f77b4", "#d62728", "#2ca02c"];

/// A plot. Its y axis begins at 0.
pub(crate) struct Plot<'a> {
    pub(crate) title: &'a str,
    /// The label of the x axis.
    pub(crate) x: &'a str,
    /// The labels of the ticks on the x axis, evenly spaced.
    pub(crate) x_ticks: &'a [String],
    /// The name of each line, and its values, one per tick of the x axis.
    pub(crate) lines: &'a [(&'a str, Vec<f64>)],
}

impl Plot<'_> {
    /// Writes the plot to a file in `docs/`.
    pub(crate) fn write(&self, name: &str) {
        let path = format!("{}/../docs/{name}.svg", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(&path, self.svg()).expect("docs/ can be written to");
        eprintln!("docs/{name}.svg");
    }

    fn svg(&self) -> String {
        let highest = self
            .lines
            .iter()
            .flat_map(|(_, values)| values)
            .copied()
            .fold(0.0, f64::max);
        let step = step(highest);
        let top = (highest / step).ceil() * step;
        let to_x = |index: usize| {
            let last = self.x_ticks.len().saturating_sub(1).max(1);
            LEFT + (WIDTH - LEFT - RIGHT) * index as f64 / last as f64
        };
        let to_y = |value: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        let mut write_text = |x: f64, y: f64, anchor: &str, text: &str| {
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
            );
        };
        write_text(LEFT, 20.0, "start", self.title);
        write_text((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 8.0, "middle", self.x);
        for (index, label) in self.x_ticks.iter().enumerate() {
            write_text(to_x(index), HEIGHT - BOTTOM + 18.0, "middle", label);
        }
        let ticks = (0..=(top / step).round() as usize).map(|tick| tick as f64 * step);
        for tick in ticks.clone() {
            write_text(LEFT - 8.0, to_y(tick) + 4.0, "end", &format!("{tick}"));
        }
        for (name, values) in self.lines {
            let end = values.last().copied().unwrap_or_default();
            write_text(WIDTH - RIGHT + 8.0, to_y(end) + 4.0, "start", name);
        }
        for tick in ticks {
            let y = to_y(tick);
            let right = WIDTH - RIGHT;
            let _ = writeln!(svg, "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ddd\"/>");
        }
        for ((_, values), color) in self.lines.iter().zip(COLORS) {
            let pairs = values
                .iter()
                .enumerate()
                .map(|(index, value)| format!("{:.1},{:.1}", to_x(index), to_y(*value)));
            let points = pairs.collect::<Vec<_>>().join(" ");
            let _ = writeln!(
                svg,
                "<polyline points=\"{points}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>"
            );
        }
        svg + "</svg>\n"
    }
}

/// A round distance between grid lines, so that there are four to ten of them.
fn step(top: f64) -> f64 {
    let power = 10_f64.powf(top.max(f64::MIN_POSITIVE).log10().floor());
    [0.2, 0.5, 1.0]
        .map(|part| part * power)
        .into_iter()
        .find(|step| top / step <= 7.0)
        .unwrap_or(power)
}
