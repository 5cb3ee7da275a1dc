//! Code that the compiler refuses: a block `rust refused=E0505`. The line that closes is the one
//! that ends in `// close`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{env, fs};

use escargot::format::Message;

use crate::markdown::{Block, Document};

/// Expects that the compiler refuses `block` with that error at the line that closes, in the words
/// that the page shows, and takes it without that line.
pub fn expect_refused(document: &Document, block: &Block) {
    let place = format!("{}:{}", document.path, block.line);
    let code = block.attribute("refused").expect("the block is one of these");
    let closes = block.text.lines().position(|line| line.ends_with("// close"));
    let closes = closes.unwrap_or_else(|| panic!("{place}: no line closes"));

    let output = compile("refused", &block.text);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{place}: the compiler was expected to refuse this");
    // As `--error-format short` says it: FILE:LINE:COLUMN: error[CODE]: WORDS
    let at_the_line = format!(".rs:{}:", closes + 1);
    let error = said.lines().find(|line| line.contains(": error[")).unwrap_or_default();
    let shown = error.find("error[").map_or("", |begin| &error[begin..]);
    // The short form says more behind a colon.
    let on_page = document.blocks.iter().any(|block| {
        block.language == "text"
            && !block.text.trim().is_empty()
            && shown.starts_with(block.text.trim())
    });
    assert!(
        error.contains(&at_the_line) && shown.starts_with(&format!("error[{code}]")),
        "{place}: {code} was expected at line {}, but the compiler said\n{said}",
        closes + 1
    );
    assert!(on_page, "{place}: the page does not show {shown:?}");

    let without: String = block
        .text
        .lines()
        .enumerate()
        .filter(|(line, _)| *line != closes)
        .map(|(_, line)| format!("{line}\n"))
        .collect();
    let output = compile("taken", &without);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{place}: without the line that closes\n{said}");
}

/// Compiles `text` as a library, with the `nix` that step 3 is built with.
fn compile(name: &str, text: &str) -> Output {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let source = folder.join(format!("{name}.rs"));
    fs::write(&source, text).unwrap_or_else(|error| panic!("{source:?}: {error}"));
    let nix = nix();
    let mut compiler = Command::new(rustc());
    compiler
        .args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata"])
        .args(["--error-format", "short", "--out-dir"])
        .arg(folder)
        .arg("--extern")
        .arg(format!("nix={}", nix.display()))
        .arg("-L")
        .arg(format!("dependency={}", nix.parent().expect("it is in a folder").display()))
        .arg(&source)
        .stdin(Stdio::null());
    compiler.output().unwrap_or_else(|error| panic!("{compiler:?}: {error}"))
}

/// The compiler that cargo uses: beside it, unless told otherwise.
fn rustc() -> PathBuf {
    let beside_cargo = env::var_os("CARGO").map(|cargo| Path::new(&cargo).with_file_name("rustc"));
    match env::var_os("RUSTC") {
        Some(rustc) => rustc.into(),
        None => beside_cargo.filter(|rustc| rustc.exists()).unwrap_or_else(|| "rustc".into()),
    }
}

/// The library that cargo made of `nix` for step 3: built already, since the servers are.
fn nix() -> PathBuf {
    let messages = harness::build_of_the_steps()
        .exec()
        .unwrap_or_else(|error| panic!("step 3 does not build: {error}"));
    let mut libraries = messages.filter_map(|message| {
        let message = message.unwrap_or_else(|error| panic!("step 3 does not build: {error}"));
        let Ok(Message::CompilerArtifact(artifact)) = message.decode() else { return None };
        let names = artifact.filenames.iter().map(|name| name.to_path_buf());
        let mut names = names.filter(|name| name.extension().is_some_and(|kind| kind == "rlib"));
        names.next().filter(|_| artifact.target.name == "nix")
    });
    libraries.next().expect("step 3 is built with nix")
}
