//! The READMEs, taken apart.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use harness::root;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// Every page, by its path from the top folder.
pub const READMES: [&str; 7] = [
    "README.md",
    "step1-blocking/README.md",
    "step2-functions/README.md",
    "step3-select/README.md",
    "step3-select/CARE.md",
    "step3-select/AFTER.md",
    "tests/bench/README.md",
];

/// The text of the file at `path`, from the top folder.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A fenced block.
#[derive(Debug)]
pub struct Block {
    /// The first word after the fence.
    pub language: String,
    /// The `key=value` words after it: they tell the checker how to run the block, and no page
    /// shows them. A value with blanks stands in quotation marks.
    pub attributes: BTreeMap<String, String>,
    pub text: String,
    /// Where it begins in the file, as an editor counts.
    pub line: usize,
    /// The bytes of its text in the file. (A block in a list is indented there.)
    pub range: Range<usize>,
}

impl Block {
    pub fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.get(key).map(String::as_str)
    }
}

/// A paragraph, a list's item, a heading or a table's row.
#[derive(Debug, Default)]
pub struct Passage {
    /// The words, without those in code.
    pub words: String,
    /// What stands in code.
    pub code: Vec<String>,
    pub line: usize,
    /// Whether it is a row of a table.
    pub is_row: bool,
}

/// A README.
#[derive(Debug, Default)]
pub struct Document {
    /// From the top folder.
    pub path: String,
    pub text: String,
    pub blocks: Vec<Block>,
    pub passages: Vec<Passage>,
    /// What is linked to or shown, with its line.
    pub links: Vec<(String, usize)>,
    /// The headings, as a link names them after its `#`.
    pub anchors: Vec<String>,
}

impl Document {
    pub fn read(path: &str) -> Self {
        Self::parse(path, &read(path))
    }

    pub fn parse(path: &str, text: &str) -> Self {
        let line_at = |at: usize| text[..at].matches('\n').count() + 1;
        let mut document = Self { path: path.to_owned(), text: text.to_owned(), ..Self::default() };
        let mut passage = Passage::default();
        let mut block: Option<Block> = None;
        for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
            let line = line_at(range.start);
            match event {
                Event::Start(Tag::CodeBlock(kind)) => {
                    let info = match kind {
                        CodeBlockKind::Fenced(info) => info.into_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    let mut words = words(&info).into_iter();
                    let language = words.next().unwrap_or_default();
                    let attributes = words
                        .map(|word| {
                            let (key, value) = word.split_once('=').unwrap_or((&word, ""));
                            (key.to_owned(), value.to_owned())
                        })
                        .collect();
                    let inner = &text[range.clone()];
                    let start = range.start + inner.find('\n').map_or(0, |end| end + 1);
                    let end = range.start + inner.trim_end().rfind('\n').map_or(0, |end| end + 1);
                    let range = start..end.max(start);
                    block = Some(Block { language, attributes, text: String::new(), line, range });
                }
                Event::End(TagEnd::CodeBlock) => document.blocks.extend(block.take()),
                Event::Text(words) => match &mut block {
                    Some(block) => block.text.push_str(&words),
                    None => passage.words.push_str(&words),
                },
                Event::Code(code) => {
                    passage.words.push('`');
                    passage.code.push(code.into_string());
                }
                Event::SoftBreak | Event::HardBreak => passage.words.push(' '),
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    document.links.push((dest_url.into_string(), line));
                }
                Event::End(TagEnd::Heading(_)) => {
                    // With the words in code, which a passage keeps apart.
                    document.anchors.push(anchor(text[range].trim_start_matches('#')));
                    document.passages.push(std::mem::take(&mut passage));
                }
                Event::End(TagEnd::Paragraph | TagEnd::Item) => {
                    document.passages.push(std::mem::take(&mut passage));
                }
                Event::End(TagEnd::TableHead | TagEnd::TableRow) => {
                    passage.is_row = true;
                    document.passages.push(std::mem::take(&mut passage));
                }
                Event::End(TagEnd::TableCell) => passage.words.push(' '),
                _ => {}
            }
            if passage.words.is_empty() {
                passage.line = line;
            }
        }
        document.passages.retain(|passage| !passage.words.is_empty());
        document
    }

    /// The folder in which it stands, from the top folder.
    pub fn folder(&self) -> PathBuf {
        Path::new(&self.path).parent().map(Path::to_owned).unwrap_or_default()
    }
}

/// The words of an info string; one in quotation marks may have blanks.
fn words(info: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in info.chars() {
        match letter {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().expect("there is one").push(letter),
        }
    }
    words
}

/// A heading as a link names it: GitHub's rule.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}
