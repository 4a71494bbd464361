//! Converts docs/openapi.yaml to JSON, which the server serves at `/openapi.json`.

use std::{env, error::Error, fs, path::Path};

const SOURCE: &str = "../docs/openapi.yaml";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={SOURCE}");
    let description: serde_json::Value = serde_saphyr::from_str(&fs::read_to_string(SOURCE)?)?;
    let json = Path::new(&env::var("OUT_DIR")?).join("openapi.json");
    Ok(fs::write(json, serde_json::to_vec(&description)?)?)
}
