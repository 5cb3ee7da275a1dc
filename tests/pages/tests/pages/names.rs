//! What a page names: it exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use harness::Step;

use crate::markdown::{Document, READMES, read};
use harness::root;

/// Words of others: the article's, the standard library's, the kernel's and the shell's, the next
/// steps'. All else that a page has in code stands in the workspace.
const OUTSIDE: &[&str] = &[
    "-N",
    "-e trace=",
    "-l",
    "-t",
    "AsFd",
    "EAGAIN",
    "EINTR",
    "FD_SETSIZE",
    "Recv-Q",
    "Send-Q",
    "accept4",
    "async",
    "client_socket.close()",
    "client_socket.recv(4096)",
    "client_socket.send(response)",
    "close",
    "dtruss",
    "epoll",
    "fileno",
    "hi",
    "if not request",
    "kqueue",
    "localhost:5000",
    "mio",
    "netcat-openbsd",
    "it",
    "poll",
    "print(...)",
    "println!",
    "pselect6",
    "qu",
    "quit",
    "recvfrom",
    "select(to_monitor, [], [])",
    "send_message(client_socket)",
    "sendto",
    "server_socket.accept()",
    "sock is server_socket",
    "socket.socket",
    "third",
    "tokio",
];

/// Programs that a page may tell the reader to run. What cargo and git are told is checked.
const PROGRAMS: &[&str] = &[
    "apt", "brew", "cargo", "fg", "git", "head", "ip", "ipconfig", "jobs", "kill", "man", "nc",
    "ncat", "netstat", "printf", "python3", "rustup", "script", "socat", "ss", "ssh", "strace",
    "sudo", "telnet", "top", "ulimit", "wsl",
];

/// The workspace, as far as a page can name it.
pub struct Workspace {
    /// All sources as one text.
    sources: String,
    /// The test functions of each target, as `step1::a_name`, and the targets.
    tests: BTreeSet<String>,
}

impl Workspace {
    pub fn read() -> Self {
        let mut workspace = Self { sources: String::new(), tests: BTreeSet::new() };
        for folder in ["step1-blocking", "step2-functions", "step3-select", "common", "tests"] {
            workspace.add(&root().join(folder));
        }
        workspace.add(&root().join("Cargo.toml"));
        workspace
    }

    fn add(&mut self, path: &Path) {
        if path.is_dir() {
            let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
            let mut entries: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
            entries.sort();
            entries.iter().filter(|path| !path.ends_with("pages")).for_each(|path| self.add(path));
        } else if path.extension().is_some_and(|kind| kind == "rs" || kind == "toml") {
            let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
            if path.starts_with(root().join("tests/steps/tests")) {
                let target = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                for test in text.split("#[test]").skip(1) {
                    let name = test.split("fn ").nth(1).and_then(|rest| rest.split('(').next());
                    self.tests.insert(format!("{target}::{}", name.unwrap_or_default()));
                }
                self.tests.insert(target);
            }
            self.sources += &text;
        }
    }

    /// Whether `target` has a test of this name.
    pub fn has_test(&self, target: &str, name: &str) -> bool {
        self.tests.contains(&format!("{target}::{name}"))
    }

    /// What is wrong with the names that `document` has in code.
    pub fn problems(&self, document: &Document) -> Vec<String> {
        let mut problems = Vec::new();
        for passage in &document.passages {
            for code in &passage.code {
                if let Err(problem) = self.explain(document, code) {
                    problems
                        .push(format!("{}:{}: `{code}`: {problem}", document.path, passage.line));
                }
            }
        }
        for block in document.blocks.iter().filter(|block| block.language == "sh") {
            for command in block.text.lines() {
                if let Err(problem) = self.command(command) {
                    problems.push(format!("{}:{}: {problem}", document.path, block.line));
                }
            }
        }
        problems
    }

    fn explain(&self, document: &Document, code: &str) -> Result<(), String> {
        let is_word = |word: &str| word.chars().all(|c| c.is_alphanumeric() || c == '_');
        let first = code.trim_start_matches('(').split(' ').next().unwrap_or_default();
        if !code.contains(|c: char| c.is_ascii_alphabetic()) || OUTSIDE.contains(&code) {
            Ok(())
        } else if PROGRAMS.contains(&first) || first.starts_with("target/debug/") {
            // A server is named as it is built by default: it may stand elsewhere, or not yet.
            code.split("; ").try_for_each(|command| self.command(command))
        } else if is_word(code) && code.matches('_').count() > 3 {
            // Long enough to be a sentence: a test.
            let name = format!("::{code}");
            let found = self.tests.iter().any(|test| test.ends_with(&name));
            found.then_some(()).ok_or_else(|| "there is no such test".to_owned())
        } else if is_path(code) {
            // A step's page calls its sources by their short names, and the top one speaks of each.
            let folder = document.folder();
            let mut places = vec!["".into(), folder.join("src"), folder.join("examples"), folder];
            if places.iter().any(|place| place == "src") {
                places.push("step1-blocking".into());
            }
            let found = places.iter().any(|place| root().join(place).join(code).exists());
            found.then_some(()).ok_or_else(|| "there is no such file".to_owned())
        } else if let Some(flag) = code.strip_prefix("--") {
            let flag = flag.split(' ').next().unwrap_or_default();
            let found = self.sources.contains(&format!("\"{flag}\""));
            found.then_some(()).ok_or_else(|| "no program here has this flag".to_owned())
        } else {
            let shown = document.blocks.iter().any(|block| stands_in(&block.text, code));
            let found = shown || stands_in(&self.sources, code.trim_end_matches("()"));
            found.then_some(()).ok_or_else(|| "it stands nowhere in the workspace".to_owned())
        }
    }

    /// Checks the names in a command.
    fn command(&self, command: &str) -> Result<(), String> {
        let words: Vec<&str> = command.split_whitespace().collect();
        for pair in words.windows(2) {
            let exists = match pair[0] {
                "-p" => {
                    ["", "tests"].iter().any(|folder| root().join(folder).join(pair[1]).exists())
                }
                "--bin" => {
                    let program = format!("tests/{}", pair[1]);
                    [&*program, pair[1]].iter().any(|path| root().join(path).exists())
                }
                "--example" => {
                    root().join(format!("step3-select/examples/{}.rs", pair[1])).exists()
                }
                "--test" => self.tests.contains(pair[1]) || false,
                "restore" => root().join(pair[1]).exists(),
                _ => true,
            };
            if !exists {
                return Err(format!("{command}: there is no {}", pair[1]));
            }
        }
        let is_missing = |word: &&&str| match word.strip_prefix("target/debug/") {
            Some(binary) => !Step::ALL.iter().any(|step| binary.ends_with(step.name())),
            None if word.contains("*/") => !star_leads_somewhere(word),
            None => is_path(word) && !word.starts_with('/') && !root().join(word).exists(),
        };
        match words.iter().find(is_missing) {
            Some(path) if !words.contains(&"--svg") => {
                Err(format!("{command}: there is no {path}"))
            }
            _ => Ok(()),
        }
    }
}

/// Whether `step1*/src/main.rs` is the path of a file.
fn star_leads_somewhere(path: &str) -> bool {
    let Some((begin, rest)) = path.split_once('*') else { return false };
    let folders = fs::read_dir(root()).expect("a folder can be read").flatten();
    folders
        .filter(|folder| folder.file_name().to_string_lossy().starts_with(begin))
        .any(|folder| folder.path().join(rest.trim_start_matches('/')).exists())
}

/// Whether `text` looks like a path and not like anything else with a slash.
fn is_path(text: &str) -> bool {
    let kinds = [".rs", ".md", ".toml", ".svg", ".yml"];
    !text.contains([' ', ':', '(', '\'', '='])
        && (text.contains('/') || kinds.iter().any(|kind| text.ends_with(kind)))
}

/// Whether `words` stand in `text`, not as a part of a longer word.
fn stands_in(text: &str, words: &str) -> bool {
    let is_letter = |c: char| c.is_alphanumeric() || c == '_';
    let whole = words.trim();
    text.match_indices(whole).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + whole.len()..].chars().next();
        let begins = whole.starts_with(is_letter) && before.is_some_and(is_letter);
        let ends = whole.ends_with(is_letter) && after.is_some_and(is_letter);
        !begins && !ends
    })
}

/// The cases of `check` that a table with such a column names and that do not exist, and those that
/// exist and that it leaves out.
pub fn wrong_cases(document: &Document) -> Vec<String> {
    let rows = document.text.lines().skip_while(|line| !line.ends_with("| seen by `check` |"));
    let cells = rows
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .filter_map(|row| row.trim_end_matches(['|', ' ']).rsplit('|').next());
    let named: BTreeSet<&str> = cells
        .flat_map(|cell| cell.split(", "))
        .map(|name| name.trim().trim_matches('`'))
        .filter(|name| !name.is_empty())
        .collect();
    let known: BTreeSet<&str> = check::all().map(|case| case.name).collect();
    let differ = named.symmetric_difference(&known);
    differ.map(|name| format!("{}: the case {name:?} of `check`", document.path)).collect()
}

/// What differs between the table of what the servers cost on `page` and the source of the benchmark
/// that prints it: its head, and the loads, but for their sizes.
pub fn wrong_loads(page: &str) -> Vec<String> {
    let benchmark = read("tests/bench/benches/servers/main.rs");
    let mut table = page.lines().skip_while(|line| !line.starts_with("| load | server |"));
    let head = table.next().unwrap_or_default();
    let mut wrong = Vec::new();
    if head.is_empty() || !benchmark.contains(&format!("\n{head}\n")) {
        wrong.push(format!("the benchmark prints no such head: {head:?}"));
    }
    let rows = table.skip(1).take_while(|line| line.starts_with('|'));
    for row in rows {
        let load = row.trim_start_matches(['|', ' ']).split([' ', '/']).next().unwrap_or_default();
        if !["\"", "/"].iter().any(|end| benchmark.contains(&format!("(\"{load}{end}"))) {
            wrong.push(format!("the benchmark has no load {load:?}"));
        }
    }
    wrong
}

/// The links of `document` that lead nowhere.
pub fn dead_links(document: &Document) -> Vec<String> {
    let mut dead = Vec::new();
    for (link, line) in &document.links {
        // Without a network only their form can be looked at.
        if link.starts_with("https://") {
            continue;
        }
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        let target = match path {
            "" => root().join(&document.path),
            _ => root().join(document.folder()).join(path),
        };
        let leads = match fs::canonicalize(&target) {
            Ok(_) if anchor.is_empty() => true,
            Ok(target) => has_anchor(&target, anchor),
            Err(_) => false,
        };
        if !leads {
            dead.push(format!("{}:{line}: {link:?} leads nowhere", document.path));
        }
    }
    dead
}

fn has_anchor(target: &Path, anchor: &str) -> bool {
    let readme = READMES
        .into_iter()
        .find(|readme| fs::canonicalize(root().join(readme)).is_ok_and(|readme| readme == target));
    readme.is_some_and(|readme| Document::read(readme).anchors.iter().any(|known| known == anchor))
}
