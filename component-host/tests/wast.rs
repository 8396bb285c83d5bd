//! Runs our own scripts with the command line, under several orders of the scheduler.

use std::process::Command;

#[test]
fn our_own_scripts_pass_under_every_seed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wast");
    for seed in 0..20 {
        let output = Command::new(env!("CARGO_BIN_EXE_vestibule"))
            .args(["wast", "--seed", &seed.to_string(), folder])
            .output()
            .expect("the command can be run");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "seed {seed}:\n{text}");
        let last = text.lines().last().unwrap_or_default();
        assert!(
            last.ends_with(" passed, 0 failed") && !last.starts_with("0 "),
            "seed {seed}: {last}"
        );
    }
}
