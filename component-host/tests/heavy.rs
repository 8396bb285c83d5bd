//! Says what a plain run of the tests leaves out.

#[test]
#[cfg(not(feature = "heavy-tests"))]
fn what_is_left_out_is_said() {
    use std::io::Write as _;
    // Written past the test harness, which would keep it to itself.
    let _ = writeln!(
        std::io::stderr(),
        "left out: the heavy tests (a second opinion on the Canonical ABI); run them with `cargo \
         test --release -p vestibule-component-host --features heavy-tests`"
    );
}
