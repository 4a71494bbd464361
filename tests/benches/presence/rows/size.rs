//! Size of the functions' binaries, stripped as they are deployed.

use presence_tests::binary;

use super::FUNCTIONS;
use crate::report::{Bar, Report};

pub(crate) fn measure(report: &mut Report) {
    let read_size = |name| std::fs::metadata(binary(name)).expect("a binary").len();
    let (largest, name) = FUNCTIONS
        .map(|name| (read_size(name), name))
        .into_iter()
        .max()
        .expect("functions");
    let megabytes = largest as f64 / 1e6;
    let figure = format!("{megabytes:.2} MB {name}, the largest");
    report.add(
        "size of a function's binary",
        figure,
        "–".to_owned(),
        megabytes,
        Bar::AtMost(10.0),
    );
}
