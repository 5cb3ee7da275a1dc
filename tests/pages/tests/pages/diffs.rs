//! Checks the diffs between two listings, and the lines of a listing that a page shows.
//!
//! A block `diff old=PATH new=PATH` shows the diff between two files, without the module comments on top.
//! With `function=NAME` it shows the diff of one function. Whitespace is ignored, as by `git diff -w`. With
//! `context=N` there are N context lines around each change, and `...` stands for the lines in between.
//!
//! A block `rust source=PATH` shows consecutive lines of that file.

use similar::{Algorithm, DiffTag, capture_diff_slices_by_key, group_diff_ops};

use crate::markdown::{Block, Page, read_file};

/// Returns the text of `page` with the real diffs in its diff blocks.
pub fn insert_real_diffs(page: &Page) -> String {
    let mut text = page.text.clone();
    for block in page.blocks_with("old") {
        let [shown, real] =
            [&block.text, &real_diff(block)].map(|diff| format!("```{}\n{diff}```", block.info));
        text = text.replace(&shown, &real);
    }
    text
}

/// Returns the problems with the diff blocks of `page` and with the lines of a listing that it shows.
pub fn find_problems(page: &Page) -> Vec<String> {
    let mut problems = Vec::new();
    for block in page.blocks_with("old").filter(|block| real_diff(block) != block.text) {
        problems.push(format!("{}: expected the diff\n{}", block.place, real_diff(block)));
    }
    for block in page.blocks_with("source") {
        let source = block.attribute("source").unwrap_or_default();
        if !read_file(source).contains(&format!("\n{}", block.text)) {
            problems.push(format!(
                "{}: {source} does not contain these lines:\n{}",
                block.place, block.text
            ));
        }
    }
    problems
}

/// Returns the real diff for a block.
fn real_diff(block: &Block) -> String {
    let [old, new] = ["old", "new"].map(|side| {
        let file = block.attribute(side);
        read_file(file.unwrap_or_else(|| panic!("{}: expected `{side}=FILE`", block.place)))
    });
    let [old, new] = [&old, &new].map(|source| match block.attribute("function") {
        None => listing_lines(source),
        Some(name) => function_lines(source, name)
            .unwrap_or_else(|| panic!("{}: expected a function {name} in both files", block.place)),
    });
    // No listing has 10,000 lines.
    let context = block.attribute("context").unwrap_or("10000");
    format_diff(&old, &new, context.parse().expect("a number after `context=`"))
}

/// Returns the lines of a source without the module comment on top.
fn listing_lines(source: &str) -> Vec<&str> {
    source.lines().skip_while(|line| line.starts_with("//!") || line.is_empty()).collect()
}

/// Returns the lines of the function `name` of a source, without the comment above it.
fn function_lines<'a>(source: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let head = format!("fn {name}(");
    let lines = source.lines().skip_while(|line| !line.contains(&head));
    let mut lines: Vec<&str> = lines.take_while(|line| *line != "}").collect();
    lines.push("}");
    (lines.len() > 1).then_some(lines)
}

/// Returns the diff, with `context` lines around each change. If two lines differ only in whitespace, it
/// shows the new line.
fn format_diff(old: &[&str], new: &[&str], context: usize) -> String {
    let without_whitespace = |line: &&str| line.split_whitespace().collect::<String>();
    let changes = capture_diff_slices_by_key(Algorithm::Patience, old, new, without_whitespace);
    let mut parts = Vec::new();
    for part in group_diff_ops(changes, context) {
        let mut text = String::new();
        for change in part {
            let (old, new) = (&old[change.old_range()], &new[change.new_range()]);
            if change.tag() == DiffTag::Equal {
                add_lines(&mut text, ' ', new);
            } else {
                add_lines(&mut text, '-', old);
                add_lines(&mut text, '+', new);
            }
        }
        parts.push(text);
    }
    parts.join("...\n")
}

/// Adds `lines` to `text`, each with `sign`, and without trailing whitespace, because editors remove it.
fn add_lines(text: &mut String, sign: char, lines: &[&str]) {
    for line in lines {
        *text += format!("{sign}{line}").trim_end();
        *text += "\n";
    }
}
