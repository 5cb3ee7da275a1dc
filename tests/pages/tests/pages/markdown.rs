//! Parses the pages.

use std::fs;

use harness::root;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// The paths of the pages, from the top folder.
pub const PAGES: [&str; 8] = [
    "README.md",
    "step1-blocking/README.md",
    "step2-functions/README.md",
    "step3-select/README.md",
    "step3-select/HARDENING.md",
    "step3-select/AFTER.md",
    "tests/WORKSHOP.md",
    "tests/bench/README.md",
];

/// Returns the text of the file at `path`, from the top folder.
pub fn read_file(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A fenced code block.
pub struct Block {
    /// The info string: the words after the opening fence, which a reader does not see. The first is the
    /// language. The others are `key=value` and say how to check the block.
    pub info: String,
    pub text: String,
    /// `PATH:LINE` of the opening fence.
    pub place: String,
}

impl Block {
    pub fn attribute(&self, key: &str) -> Option<&str> {
        let mut attributes = self.info.split(' ').filter_map(|word| word.split_once('='));
        attributes.find(|(name, _)| *name == key).map(|(_, value)| value)
    }
}

#[derive(Default)]
pub struct Page {
    /// The path from the top folder.
    pub path: String,
    pub text: String,
    pub blocks: Vec<Block>,
    /// The code spans, each with its `PATH:LINE`.
    pub code_spans: Vec<(String, String)>,
    /// The addresses of links and pictures, each with its `PATH:LINE`.
    pub links: Vec<(String, String)>,
    /// The anchors of the headings: the part of a link after `#`.
    pub anchors: Vec<String>,
}

impl Page {
    pub fn read(path: &str) -> Self {
        Self::parse(path, &read_file(path))
    }

    pub fn parse(path: &str, text: &str) -> Self {
        let mut page = Self { path: path.to_owned(), text: text.to_owned(), ..Self::default() };
        let mut is_in_block = false;
        for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
            let place = format!("{path}:{}", text[..range.start].matches('\n').count() + 1);
            match event {
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                    let (info, text) = (info.into_string(), String::new());
                    page.blocks.push(Block { info, text, place });
                    is_in_block = true;
                }
                Event::End(TagEnd::CodeBlock) => is_in_block = false,
                Event::Text(words) if is_in_block => {
                    page.blocks.last_mut().expect("a block").text.push_str(&words);
                }
                Event::Code(code) => page.code_spans.push((code.into_string(), place)),
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push((dest_url.into_string(), place));
                }
                Event::Start(Tag::Heading { .. }) => page.anchors.push(to_anchor(&text[range])),
                _ => {}
            }
        }
        page
    }

    /// Returns the blocks with the attribute `key`.
    pub fn blocks_with(&self, key: &str) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(move |block| block.attribute(key).is_some())
    }

    /// Returns the blocks in `language`.
    pub fn blocks_in(&self, language: &str) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(move |block| block.info.split(' ').next() == Some(language))
    }
}

/// Returns the anchor of a heading, by GitHub's rule.
fn to_anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let anchor = heading.chars().filter(|char| char.is_alphanumeric() || " -_".contains(*char));
    anchor.collect::<String>().replace(' ', "-")
}
