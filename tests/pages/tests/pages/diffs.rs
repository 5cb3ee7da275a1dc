//! The diffs: what changed from one listing to the next, and the lines of a listing that a page shows.
//!
//! A block `diff old=PATH new=PATH` is the whole difference, without the module comments on top; with
//! `function=NAME` that of one function. What is only indented otherwise counts as equal, as for
//! `git diff -w`. With `around=N` only so many equal lines stand around each change, and `...` where
//! some are left out.
//!
//! A block `rust source=PATH` is some lines of that file, as they stand there one below the other.

use similar::{Algorithm, ChangeTag, TextDiff};

use crate::markdown::{Block, Document, read};

/// Replaces the diff blocks of `document` by the real diffs, and returns its text.
pub fn renewed(document: &Document) -> Result<String, String> {
    let mut text = document.text.clone();
    // From the end, so that the ranges before stay true.
    for block in document.blocks.iter().filter(is_diff).rev() {
        text.replace_range(block.range.clone(), &real_diff(document, block)?);
    }
    Ok(text)
}

/// What is wrong with the diff blocks of `document`, and with the lines it shows of a listing.
pub fn problems(document: &Document) -> Vec<String> {
    let mut problems = Vec::new();
    for block in &document.blocks {
        let place = format!("{}:{}", document.path, block.line);
        if is_diff(&block) {
            match real_diff(document, block) {
                Ok(real) if real == block.text => {}
                Ok(real) => problems.push(format!("{place}: the real diff is\n{real}")),
                Err(problem) => problems.push(problem),
            }
        }
        if let Some(source) = block.attribute("source")
            && !read(source).contains(&format!("\n{}", block.text))
        {
            problems.push(format!("{place}: {source} does not have these lines"));
        }
    }
    problems
}

fn is_diff(block: &&Block) -> bool {
    block.language == "diff" && block.attribute("old").is_some()
}

/// What a diff block should say.
fn real_diff(document: &Document, block: &Block) -> Result<String, String> {
    let place = format!("{}:{}", document.path, block.line);
    let side = |key| {
        let path = block.attribute(key).unwrap_or_default();
        let listing = listing(path);
        match block.attribute("function") {
            None => Ok(listing),
            Some(name) => function(&listing, name)
                .ok_or_else(|| format!("{place}: {path} has no function {name}")),
        }
    };
    let around = match block.attribute("around") {
        None => usize::MAX,
        Some(lines) => lines.parse().map_err(|_| format!("{place}: `around` is a number"))?,
    };
    Ok(difference(&side("old")?, &side("new")?, around))
}

/// A listing without the module comment on top.
fn listing(path: &str) -> String {
    let text = read(path);
    let lines = text.lines().skip_while(|line| line.starts_with("//!") || line.is_empty());
    lines.map(|line| format!("{line}\n")).collect()
}

/// The function `name` of a listing, without the comment above it.
fn function(listing: &str, name: &str) -> Option<String> {
    let begins = |line: &&str| {
        line.split('(').next().is_some_and(|before| {
            before.strip_suffix(name).is_some_and(|before| before.ends_with("fn "))
        })
    };
    let lines = listing.lines().skip_while(|line| !begins(line));
    let mut function = String::new();
    for line in lines {
        function += line;
        function += "\n";
        if line == "}" {
            return Some(function);
        }
    }
    None
}

/// The difference line by line, with `around` equal lines around each change. Of two lines that
/// differ in blanks alone the new one is shown.
fn difference(old: &str, new: &str, around: usize) -> String {
    let lines = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split_whitespace().collect()).collect()
    };
    let (old_lines, new_lines) = (lines(old), lines(new));
    let old_keys: Vec<&str> = old_lines.iter().map(String::as_str).collect();
    let new_keys: Vec<&str> = new_lines.iter().map(String::as_str).collect();
    let mut configured = TextDiff::configure();
    let diff = configured.algorithm(Algorithm::Patience).diff_slices(&old_keys, &new_keys);
    let shown: Vec<(bool, String)> = diff
        .iter_all_changes()
        .map(|change| {
            let nth = |text: &str, index: Option<usize>| {
                text.lines().nth(index.unwrap_or_default()).unwrap_or_default().to_owned()
            };
            let (sign, line) = match change.tag() {
                ChangeTag::Delete => ('-', nth(old, change.old_index())),
                ChangeTag::Insert => ('+', nth(new, change.new_index())),
                ChangeTag::Equal => (' ', nth(new, change.new_index())),
            };
            // No blanks at the end of a line: editors take them away.
            (sign != ' ', format!("{sign}{line}").trim_end().to_owned())
        })
        .collect();
    let mut text = String::new();
    let mut left_out = false;
    for (at, (_, line)) in shown.iter().enumerate() {
        let near = at.saturating_sub(around)..=at.saturating_add(around).min(shown.len() - 1);
        if shown[near].iter().any(|(is_change, _)| *is_change) {
            if left_out && !text.is_empty() {
                text += "...\n";
            }
            left_out = false;
            text += line;
            text += "\n";
        } else {
            left_out = true;
        }
    }
    text
}
