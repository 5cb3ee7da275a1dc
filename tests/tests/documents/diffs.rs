//! The diffs: what changed from one listing to the next.
//!
//! A block `diff old=PATH new=PATH` is the whole difference, without the module comments on top. A
//! block that has also `from="..."` is a piece of it, from the first line that has those words
//! (after the piece before it) to where the next piece begins. The pieces together are the whole.

use std::collections::BTreeSet;

use similar::{Algorithm, ChangeTag, TextDiff};

use crate::markdown::{Block, Document, read};

/// Replaces the diff blocks of `document` by the real diffs, and returns its text.
pub fn renewed(document: &Document) -> Result<String, String> {
    let mut text = document.text.clone();
    // From the end, so that the ranges before stay true.
    for (block, real) in real_diffs(document)?.into_iter().rev() {
        text.replace_range(block.range.clone(), &real);
    }
    Ok(text)
}

/// What is wrong with the diff blocks of `document`.
pub fn problems(document: &Document) -> Vec<String> {
    let path = &document.path;
    let real_diffs = match real_diffs(document) {
        Ok(diffs) => diffs,
        Err(problem) => return vec![problem],
    };
    let stale = real_diffs.iter().filter(|(block, real)| block.text != *real);
    stale.map(|(block, real)| format!("{path}:{}: the real diff is\n{real}", block.line)).collect()
}

/// Every diff block with what it should say.
fn real_diffs(document: &Document) -> Result<Vec<(&Block, String)>, String> {
    let is_diff = |block: &&Block| block.language == "diff" && block.attribute("old").is_some();
    let blocks: Vec<&Block> = document.blocks.iter().filter(is_diff).collect();
    let files = |block: &Block| {
        let file = |key| block.attribute(key).unwrap_or_default().to_owned();
        (file("old"), file("new"))
    };
    let mut pairs = Vec::new();
    for pair in blocks.iter().map(|block| files(block)).collect::<BTreeSet<_>>() {
        let pieces: Vec<&Block> =
            blocks.iter().copied().filter(|block| files(block) == pair).collect();
        let lines = difference(&listing(&pair.0), &listing(&pair.1));
        let begins = beginnings(document, &pieces, &lines)?;
        for (piece, (block, begin)) in pieces.iter().zip(&begins).enumerate() {
            let end = begins.get(piece + 1).copied().unwrap_or(lines.len());
            pairs.push((*block, lines[*begin..end].concat()));
        }
    }
    pairs.sort_by_key(|(block, _)| block.range.start);
    Ok(pairs)
}

/// Where each piece begins in the lines of the whole diff.
fn beginnings(
    document: &Document,
    pieces: &[&Block],
    lines: &[String],
) -> Result<Vec<usize>, String> {
    let mut begins: Vec<usize> = Vec::new();
    for block in pieces {
        let after = begins.last().map_or(0, |before| before + 1);
        let begin = match block.attribute("from") {
            None => Some(0),
            Some(words) => (after..lines.len()).find(|&line| lines[line].contains(words)),
        };
        match begin {
            Some(begin) => begins.push(begin),
            None => {
                let place = format!("{}:{}", document.path, block.line);
                return Err(format!("{place}: no line of the diff has what `from` names"));
            }
        }
    }
    match begins.first() {
        Some(0) | None => Ok(begins),
        Some(_) => {
            Err(format!("{}: the first piece leaves out the diff's beginning", document.path))
        }
    }
}

/// A listing without the module comment on top.
fn listing(path: &str) -> String {
    let text = read(path);
    let lines = text.lines().skip_while(|line| line.starts_with("//!") || line.is_empty());
    lines.map(|line| format!("{line}\n")).collect()
}

/// The difference line by line, with all that is equal, as `diff -U1000` shows it below its head.
fn difference(old: &str, new: &str) -> Vec<String> {
    let diff = TextDiff::configure().algorithm(Algorithm::Patience).diff_lines(old, new);
    let changes = diff.iter_all_changes().map(|change| {
        let sign = match change.tag() {
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
            ChangeTag::Equal => ' ',
        };
        // No blanks at the end of a line: editors take them away.
        format!("{}\n", format!("{sign}{}", change.value()).trim_end())
    });
    changes.collect()
}
