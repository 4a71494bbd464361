//! `make chaos`: the whole system under faults, seed after seed, until one finds a violation.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use presence_tests::chaos::{History, Plan, Report, Scale, Topology, check, play};

const USAGE: &str = "chaos [--seed FIRST] [--runs NUMBER] [--short] [--redis one|endpoint|sentinel|cluster] | chaos --history FILE";

/// The order in which seeds take turns.
const TOPOLOGIES: [Topology; 3] = [Topology::Standalone, Topology::Cluster, Topology::Endpoint];

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let Some(path) = value(&arguments, "--history") {
        return judge(&read(Path::new(&path)), "the history").into();
    }
    let Some(Options {
        seeds,
        scale,
        topology,
    }) = Options::parse(&arguments)
    else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    for seed in seeds.clone() {
        let choose_topology = || TOPOLOGIES[(seed % 3) as usize];
        if !run(seed, scale, topology.unwrap_or_else(choose_topology)).await {
            return ExitCode::FAILURE;
        }
    }
    let runs = seeds.count();
    println!("{runs} of {runs} seeds passed");
    ExitCode::SUCCESS
}

/// The runs that are asked for.
struct Options {
    seeds: Range<u64>,
    scale: Scale,
    /// `None` if the seeds take turns.
    topology: Option<Topology>,
}

impl Options {
    /// The options on the command line; `None` if a value is invalid.
    fn parse(arguments: &[String]) -> Option<Self> {
        let parse_number = |name, default| {
            value(arguments, name).map_or(Some(default), |value| value.parse().ok())
        };
        let unix_seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |elapsed| elapsed.as_secs());
        let first: u64 = parse_number("--seed", unix_seconds)?;
        let seeds = first..first + parse_number("--runs", 1)?;
        let scale = if arguments.iter().any(|argument| argument == "--short") {
            Scale::SHORT
        } else {
            Scale::FULL
        };
        let topology = match value(arguments, "--redis") {
            None => None,
            Some(name) => Some(
                TOPOLOGIES
                    .into_iter()
                    .chain([Topology::Sentinel])
                    .find(|topology| option(*topology) == name)?,
            ),
        };
        Some(Self {
            seeds,
            scale,
            topology,
        })
    }
}

/// The value of `--redis`.
fn option(topology: Topology) -> &'static str {
    match topology {
        Topology::Standalone => "one",
        Topology::Cluster => "cluster",
        Topology::Endpoint => "endpoint",
        Topology::Sentinel => "sentinel",
    }
}

fn value(arguments: &[String], name: &str) -> Option<String> {
    let position = arguments.iter().position(|argument| argument == name)?;
    arguments.get(position + 1).cloned()
}

async fn run(seed: u64, scale: Scale, topology: Topology) -> bool {
    let begin = Instant::now();
    let plan = Plan::new(seed, scale, topology);
    println!("seed {seed}: {plan}");
    let history = play(&plan).await;
    let is_well = judge(
        &history,
        &format!("seed {seed}, {:.0} s", begin.elapsed().as_secs_f64()),
    )
    .is_well;
    if !is_well {
        match write(seed, &history) {
            Ok(path) => println!(
                "the history is in {}; --seed {seed} --redis {} plays the same plan again",
                path.display(),
                option(topology)
            ),
            Err(error) => println!("the history could not be written: {error}"),
        }
    }
    is_well
}

struct Judgment {
    is_well: bool,
}

impl From<Judgment> for ExitCode {
    fn from(judgment: Judgment) -> Self {
        if judgment.is_well {
            Self::SUCCESS
        } else {
            Self::FAILURE
        }
    }
}

fn judge(history: &History, name: &str) -> Judgment {
    let report: Report = check(history);
    for (what, count) in &report.counts {
        println!("    {count:>8} {what}");
    }
    let is_well = report.violations.is_empty();
    if is_well {
        println!("{name}: no violation");
    } else {
        println!(
            "{name}: {} VIOLATIONS\n{}",
            report.violations.len(),
            report.explain(history)
        );
    }
    Judgment { is_well }
}

fn read(path: &Path) -> History {
    let text = std::fs::read(path).expect("the history can be read");
    serde_json::from_slice(&text).expect("a history")
}

fn write(seed: u64, history: &History) -> std::io::Result<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/chaos");
    std::fs::create_dir_all(&directory)?;
    let path = directory.join(format!("{seed}.json"));
    std::fs::write(&path, serde_json::to_vec(history)?)?;
    path.canonicalize()
}
