//! The names on a page: the files, packages, programs, tests and flags that its code spans and commands
//! name exist, and its links lead somewhere. No other word in code is checked.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use harness::root;

use crate::markdown::Document;

/// A word that ends in one of these is a path.
const EXTENSIONS: [&str; 8] = [".md", ".py", ".rs", ".sh", ".svg", ".toml", ".txt", ".yml"];

/// The sources in which the programs and the servers declare their flags.
static PROGRAMS: LazyLock<String> = LazyLock::new(|| {
    let mut sources = String::new();
    for program in ["common", "tests/board", "tests/check", "tests/client", "tests/compare"] {
        let files = fs::read_dir(root().join(program).join("src")).expect("a folder can be read");
        for file in files.flatten().filter(|file| file.path().is_file()) {
            sources += &fs::read_to_string(file.path()).expect("a source can be read");
        }
    }
    sources
});

/// Returns what is wrong with the names in the code spans and the commands of `document`.
pub fn problems(document: &Document) -> Vec<String> {
    let mut code = document.spans.clone();
    for block in document.blocks_in("sh") {
        code.extend(block.text.lines().map(|line| (line.to_owned(), block.place.clone())));
    }
    let mut problems = Vec::new();
    for (code, place) in code {
        let missing = missing_path(document, &code)
            .or_else(|| missing_target(&code))
            .or_else(|| missing_flag(&code));
        problems.extend(missing.map(|missing| format!("{place}: `{code}`: there is no {missing}")));
    }
    problems
}

/// Returns the first path in `code` that does not exist.
fn missing_path<'a>(document: &Document, code: &'a str) -> Option<&'a str> {
    let page = root().join(&document.path);
    let mut places = vec![root().to_owned()];
    // A command runs in the top folder; a path in a sentence may begin at the page or its sources.
    if !code.contains(' ') {
        places.extend(["", "src", "examples"].map(|folder| page.with_file_name(folder)));
    }
    let is_path = |word: &&str| {
        let folder = word.split('/').next().unwrap_or_default();
        let has_folder = word.contains('/') && !["", "target"].contains(&folder);
        has_folder && exists(root(), folder) || EXTENSIONS.iter().any(|it| word.ends_with(it))
    };
    let mut paths = code.split_whitespace().filter(is_path);
    paths.find(|path| !places.iter().any(|place| exists(place, path)))
}

/// Returns whether `folder` has this path, in which one `*` may stand for any letters.
fn exists(folder: &Path, path: &str) -> bool {
    let Some((before, after)) = path.split_once('*') else { return folder.join(path).exists() };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let Ok(entries) = fs::read_dir(folder.join(parent)) else { return false };
    entries.flatten().any(|entry| {
        entry.file_name().to_string_lossy().starts_with(prefix)
            && entry.path().join(after.trim_start_matches('/')).exists()
    })
}

/// Returns the first package, program, example, test or benchmark in a command that does not exist.
fn missing_target(command: &str) -> Option<&str> {
    let is_cargo = command.contains("cargo ");
    let mut option = "";
    for word in command.split([' ', ')']) {
        let is_found = if let Some(name) = word.strip_prefix("target/debug/examples/") {
            is_target("--example", name)
        } else if let Some(name) = word.strip_prefix("target/debug/") {
            is_target("--bin", name)
        } else {
            !is_cargo || is_target(option, word)
        };
        if !is_found {
            return Some(word);
        }
        option = word;
    }
    None
}

/// Returns whether there is a target of this name, if `option` is one of cargo's that name a target.
fn is_target(option: &str, name: &str) -> bool {
    let places = match option {
        "-p" | "--package" | "--bin" => vec!["NAME/Cargo.toml", "tests/NAME/Cargo.toml"],
        "--example" => vec!["step3-select/examples/NAME.rs"],
        "--test" => vec!["tests/*/tests/NAME.rs", "tests/*/tests/NAME/main.rs"],
        "--bench" => vec!["tests/*/benches/NAME.rs", "tests/*/benches/NAME/main.rs"],
        _ => return true,
    };
    places.iter().any(|place| exists(root(), &place.replace("NAME", name)))
}

/// Returns the first flag for one of our programs that none of them has.
fn missing_flag(code: &str) -> Option<&str> {
    let arguments = if code.starts_with("--") {
        code
    } else if code.contains("cargo run ") {
        code.split_once(" -- ")?.1
    } else {
        code.split_once("target/debug/")?.1
    };
    let mut flags = arguments.split([' ', ')']).filter_map(|word| word.strip_prefix("--"));
    let is_known = |flag: &str| {
        ["", "help", "version"].contains(&flag) || PROGRAMS.contains(&format!("\"{flag}\""))
    };
    flags.find(|flag| !is_known(flag))
}

/// Returns the links of `document` that lead nowhere. Of those to the web nothing is checked.
pub fn dead_links(document: &Document) -> Vec<String> {
    let mut dead = Vec::new();
    for (link, place) in document.links.iter().filter(|(link, _)| !link.starts_with("https://")) {
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        let page = root().join(&document.path);
        let target = if path.is_empty() { page } else { page.with_file_name(path) };
        let has_anchor = || {
            if path.ends_with(".html") {
                // A state of a recorded run, which the tests of board open.
                return true;
            }
            let text = fs::read_to_string(&target).unwrap_or_default();
            Document::parse("", &text).anchors.iter().any(|known| known == anchor)
        };
        if !target.exists() || !anchor.is_empty() && !has_anchor() {
            dead.push(format!("{place}: {link:?} leads nowhere"));
        }
    }
    dead
}
