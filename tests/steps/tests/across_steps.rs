//! The steps are built of few crates, and always with the same features.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::process::Command;

use harness::{Step, root};

/// Returns the crates that cargo would build for `packages`, each with its version and its features.
/// `edges` names the kinds of dependencies.
fn crates(packages: &[&str], edges: &str) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["tree", "--offline", "--locked", "--prefix=none", "--format={p} [{f}]"])
        .args(["--edges", edges])
        .args(packages)
        .output()
        .expect("cargo tree starts");
    assert!(tree.status.success(), "cargo tree: {}", String::from_utf8_lossy(&tree.stderr));
    String::from_utf8_lossy(&tree.stdout)
        .lines()
        .map(|line| line.trim_end_matches(" (*)").to_owned())
        .collect()
}

#[test]
fn step_has_the_same_features_with_package_and_bin() {
    for features in [&["--workspace"][..], &["--workspace", "--all-features"]] {
        let together = crates(features, "normal,build,dev");
        for step in Step::STEPS {
            let alone = crates(&["--package", step.name()], "normal,build");
            let own = format!("{step} v"); // step 3 has the feature itself
            let differ: Vec<_> =
                alone.difference(&together).filter(|line| !line.starts_with(&own)).collect();
            assert!(
                differ.is_empty(),
                "a crate in `tests` adds features, so `cargo run --bin {step}` would build these \
                 again: {differ:#?}"
            );
        }
    }
}

#[test]
fn feature_after_adds_no_crate_to_step_3_and_bare() {
    // Examples are built with the development dependencies too.
    let crates_of = |step: Step| {
        let mut crates = crates(&["--package", step.name()], "normal,build,dev");
        crates.retain(|line| !line.starts_with(step.name()));
        crates
    };
    assert_eq!(crates_of(Step::Select), crates_of(Step::Blocking), "crates of steps 3 and 1");
    let after = crates(&["--package", "step3-select", "--features", "after"], "normal");
    let has_crate = |name: &str| after.iter().any(|line| line.starts_with(name));
    assert!(has_crate("mio v") && has_crate("tokio v"), "crates of the feature: {after:#?}");
}

#[test]
fn step_is_built_of_at_most_twelve_crates() {
    for step in Step::STEPS {
        let crates = crates(&["--package", step.name()], "normal");
        assert!(crates.len() <= 12, "{step} is built of {}: {crates:#?}", crates.len());
    }
}
