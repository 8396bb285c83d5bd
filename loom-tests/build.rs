//! Switches the executor's seam file to loom, for this package only.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cfg=vestibule_loom");
}
