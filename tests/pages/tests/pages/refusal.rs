//! Code that the compiler rejects: a block `rust refused=E0505`. The line that closes the socket is
//! the one that ends in `// close`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{env, fs};

use escargot::format::Message;

use crate::markdown::{Block, Document};

/// Expects that the compiler rejects `block` with that error at the line that closes, in the words
/// that a `text` block of the page shows, and accepts it without that line.
pub fn expect_refused(document: &Document, block: &Block) {
    let place = &block.place;
    let code = block.attribute("refused").expect("the block has this attribute");
    let is_close = |line: &str| line.ends_with("// close");
    let close = block.text.lines().position(is_close);
    let close = close.unwrap_or_else(|| panic!("{place}: no line closes")) + 1;

    let output = compile("refused", &block.text);
    let messages = String::from_utf8_lossy(&output.stderr);
    // As `--error-format short` prints it: FILE:LINE:COLUMN: error[CODE]: WORDS, and more behind a
    // second colon.
    let error = messages.lines().find(|line| line.contains(": error[")).unwrap_or_default();
    let shown = error.find("error[").map_or("", |begin| &error[begin..]);
    assert!(
        error.contains(&format!(".rs:{close}:")) && shown.starts_with(&format!("error[{code}]")),
        "{place}: expected {code} at line {close}, but the compiler printed\n{messages}"
    );
    let is_on_page = document
        .blocks_in("text")
        .any(|block| block.text.starts_with("error[") && shown.starts_with(block.text.trim()));
    assert!(is_on_page, "{place}: the page does not show {shown:?}");

    let without = block.text.lines().filter(|line| !is_close(line)).collect::<Vec<_>>();
    let output = compile("accepted", &without.join("\n"));
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{place}: without the line that closes\n{messages}");
}

/// Compiles `text` as a library, with the `nix` that step 3 is built with.
fn compile(name: &str, text: &str) -> Output {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let source = folder.join(format!("{name}.rs"));
    fs::write(&source, text).unwrap_or_else(|error| panic!("{source:?}: {error}"));
    let nix = nix();
    let dependencies = nix.parent().expect("it is in a folder");
    let mut compiler = Command::new(rustc());
    compiler
        .args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata"])
        .args(["--error-format", "short", "--out-dir"])
        .arg(folder)
        .arg(format!("--extern=nix={}", nix.display()))
        .arg(format!("-Ldependency={}", dependencies.display()))
        .arg(&source)
        .stdin(Stdio::null());
    compiler.output().unwrap_or_else(|error| panic!("{compiler:?}: {error}"))
}

/// Returns the compiler that cargo uses: `RUSTC`, or the one beside it, or the one in the path.
fn rustc() -> PathBuf {
    if let Some(rustc) = env::var_os("RUSTC") {
        return rustc.into();
    }
    let beside_cargo = Path::new(env!("CARGO")).with_file_name("rustc");
    if beside_cargo.exists() { beside_cargo } else { "rustc".into() }
}

/// Returns the library that cargo made of `nix` for step 3, which is built already.
fn nix() -> PathBuf {
    let messages = harness::build_of_the_steps()
        .exec()
        .unwrap_or_else(|error| panic!("step 3 does not build: {error}"));
    for message in messages {
        let message = message.unwrap_or_else(|error| panic!("step 3 does not build: {error}"));
        let Ok(Message::CompilerArtifact(artifact)) = message.decode() else { continue };
        let mut files = artifact.filenames.iter();
        let library = files.find(|file| file.extension().is_some_and(|kind| kind == "rlib"));
        if artifact.target.name == "nix"
            && let Some(library) = library
        {
            return library.to_path_buf();
        }
    }
    panic!("step 3 is not built with nix")
}
