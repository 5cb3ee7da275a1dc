//! Each step depends on few crates, and cargo always builds them with the same features.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::process::Command;

use harness::{Step, root};

/// Returns the crates that cargo builds for `packages`, each with its version and features. `edges` names
/// the kinds of dependencies.
fn list_crates(packages: &[&str], edges: &str) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["tree", "--offline", "--locked", "--prefix=none", "--format={p} [{f}]"])
        .args(["--edges", edges])
        .args(packages)
        .output()
        .expect("the output of cargo tree");
    assert!(tree.status.success(), "cargo tree failed: {}", String::from_utf8_lossy(&tree.stderr));
    String::from_utf8_lossy(&tree.stdout)
        .lines()
        .map(|line| line.trim_end_matches(" (*)").to_owned())
        .collect()
}

#[test]
fn step_has_same_features_alone_and_in_workspace() {
    for features in [&["--workspace"][..], &["--workspace", "--all-features"]] {
        let workspace_crates = list_crates(features, "normal,build,dev");
        for step in Step::STEPS {
            let mut step_crates = list_crates(&["--package", step.name()], "normal,build");
            // The step itself may differ: step 3 has the feature `after`.
            step_crates.retain(|line| !line.starts_with(&format!("{step} v")));
            let differing_crates: Vec<_> = step_crates.difference(&workspace_crates).collect();
            assert!(
                differing_crates.is_empty(),
                "a crate in `tests` enables more features of these crates, so `cargo run --bin \
                 {step}` would rebuild them: {differing_crates:#?}"
            );
        }
    }
}

#[test]
fn feature_after_adds_no_crate_to_step_3_and_bare() {
    // Cargo builds examples with the development dependencies.
    let crates_of = |step: Step| {
        let mut crates = list_crates(&["--package", step.name()], "normal,build,dev");
        crates.retain(|line| !line.starts_with(step.name()));
        crates
    };
    assert_eq!(crates_of(Step::Select), crates_of(Step::Blocking), "crates of steps 3 and 1");
}

#[test]
fn step_depends_on_at_most_twelve_crates() {
    for step in Step::STEPS {
        let crates = list_crates(&["--package", step.name()], "normal");
        assert!(crates.len() <= 12, "{step} depends on {} crates: {crates:#?}", crates.len());
    }
}
