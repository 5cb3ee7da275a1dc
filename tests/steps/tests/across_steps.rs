//! What the steps are built of: the same crates with the same features, however they are built.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::process::Command;

use harness::{Step, root};

/// What cargo would build for `packages`, along these kinds of dependency: each crate with its
/// version and its features.
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
fn a_step_is_built_of_the_same_crates_and_features_with_package_and_with_bin() {
    for features in [&["--workspace"][..], &["--workspace", "--all-features"]] {
        let together = crates(features, "normal,build,dev");
        for step in Step::STEPS {
            let alone = crates(&["--package", step.name()], "normal,build");
            let own = format!("{step} v"); // step 3 has the feature itself
            let differ: Vec<_> =
                alone.difference(&together).filter(|line| !line.starts_with(&own)).collect();
            assert!(
                differ.is_empty(),
                "`cargo run --bin {step}` would build these with other features, which a member \
                 or a dependency of `tests` adds: {differ:#?}"
            );
        }
    }
}

#[test]
fn what_comes_after_adds_no_crate_to_step_3_and_bare() {
    // An example is built with the development dependencies too.
    let of = |step: Step| {
        let mut crates = crates(&["--package", step.name()], "normal,build,dev");
        crates.retain(|line| !line.starts_with(step.name()));
        crates
    };
    assert_eq!(of(Step::Select), of(Step::Blocking), "step 3 is built of what step 1 is built of");
    let after = crates(&["--package", "step3-select", "--features", "after"], "normal");
    let needs = |name: &str| after.iter().any(|line| line.starts_with(name));
    assert!(
        needs("mio v") && needs("tokio v"),
        "the feature was expected to bring both: {after:#?}"
    );
}

#[test]
fn a_step_is_built_of_at_most_twelve_crates() {
    for step in Step::STEPS {
        let crates = crates(&["--package", step.name()], "normal");
        assert!(crates.len() <= 12, "{step} is built of {}: {crates:#?}", crates.len());
    }
}
