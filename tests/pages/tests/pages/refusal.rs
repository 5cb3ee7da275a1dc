//! Code that the compiler rejects: a block `rust refused=E0505`. The line that closes the socket is
//! the one that ends in `// close`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;

use harness::run;

use crate::markdown::{Document, read};

/// Expects that the compiler rejects the block of `document` with that error at the line that closes,
/// in the words that a `text` block of the page shows, and accepts it without that line.
pub fn expect_refusal(document: &Document) {
    let block = document.blocks_with("refused").next().expect("the page has such a block");
    let place = &block.place;
    let code = block.attribute("refused").expect("the block has this attribute");
    let is_close = |line: &str| line.ends_with("// close");
    let close = block.text.lines().position(is_close).expect("a line ends in `// close`") + 1;

    let output = compile("refused", &block.text);
    let messages = String::from_utf8_lossy(&output.stderr);
    // As `--error-format short` prints it: FILE:LINE:COLUMN: error[CODE]: WORDS, and more behind a
    // second colon.
    let error = messages.lines().find(|line| line.contains(": error[")).unwrap_or_default();
    let shown = error.find("error[").map_or("", |begin| &error[begin..]);
    assert!(
        error.starts_with(&format!("lib.rs:{close}:"))
            && shown.starts_with(&format!("error[{code}]")),
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

/// Lets cargo check `text` as a library of its own, with the `nix` that step 3 has.
fn compile(name: &str, text: &str) -> Output {
    static FOLDER: Mutex<()> = Mutex::new(());
    let _lock = FOLDER.lock();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("refusal");
    let folder = target.join(name);
    fs::create_dir_all(&folder).expect("a folder can be made");
    let workspace = read("Cargo.toml");
    let nix = workspace.lines().find(|line| line.starts_with("nix = ")).expect("step 3 has nix");
    let manifest = format!(
        "workspace = {{}}\npackage = {{ name = \"{name}\", edition = \"2024\" }}\n\
         lib = {{ path = \"lib.rs\" }}\ndependencies = {{ {nix} }}\n"
    );
    let files = [("Cargo.toml", &*manifest), ("Cargo.lock", &read("Cargo.lock")), ("lib.rs", text)];
    for (file, text) in files {
        fs::write(folder.join(file), text).expect("a file can be written");
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["check", "--offline", "--message-format", "short"]).current_dir(&folder);
    run(cargo.env("CARGO_TARGET_DIR", target)).expect("cargo starts")
}
