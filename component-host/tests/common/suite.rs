//! Where the official suite is: `cargo metadata` downloads it and says so, and nothing compiles it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder of the specification, as the package carries it.
pub(crate) fn folder(name: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--manifest-path",
        ])
        .arg(&workspace)
        .output()
        .expect("cargo can be run");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata failed: {stderr}");
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let manifest = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "wasm-tools" && package["version"] == "1.263.0")
        .and_then(|package| package["manifest_path"].as_str())
        .expect("wasm-tools 1.263.0 is among the packages");
    let folder = Path::new(manifest)
        .with_file_name("tests/component-model")
        .join(name);
    assert!(folder.is_dir(), "{} is not there", folder.display());
    folder
}
