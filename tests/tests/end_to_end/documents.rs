//! The Markdown files: their links lead somewhere, and the programs accept what they tell people to type.
//!
//! What a page says about behaviour is checked by the tests of that behaviour. Here we check what can be
//! checked in every page: links, code blocks, command lines, file names, widths, and the generated lists
//! of settings.

use std::collections::HashMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use end_to_end::program::{self, program_path, repository};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// The widest line, as in rustfmt.toml. Longer ones are allowed only where a single word, such as a link, is
/// what makes them long.
const MAX_WIDTH: usize = 110;
/// A row of a table in README.md fits a terminal.
const MAX_README_TABLE_WIDTH: usize = 80;
const MAX_README_LINES: usize = 150;
/// A word of this length may make a line too wide.
const LONG_WORD: usize = 60;

/// A Markdown file, taken apart.
struct Page {
    /// Relative to the repository.
    path: PathBuf,
    text: String,
    /// What a `#fragment` can name.
    anchors: Vec<String>,
    links: Vec<String>,
    code_blocks: Vec<CodeBlock>,
    inline_code: Vec<String>,
}

struct CodeBlock {
    language: String,
    text: String,
}

impl Page {
    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(repository().join(&path)).expect("a page is text");
        let mut page = Page {
            path,
            text: text.clone(),
            anchors: Vec::new(),
            links: Vec::new(),
            code_blocks: Vec::new(),
            inline_code: Vec::new(),
        };
        let mut times_used: HashMap<String, usize> = HashMap::new();
        let mut heading: Option<String> = None;
        let mut block: Option<CodeBlock> = None;
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let title = heading.take().expect("a heading that ends has started");
                    let anchor = anchor_of(&title);
                    let times_used = times_used.entry(anchor.clone()).or_default();
                    page.anchors.push(match *times_used {
                        0 => anchor,
                        more => format!("{anchor}-{more}"),
                    });
                    *times_used += 1;
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    let language = match kind {
                        CodeBlockKind::Fenced(language) => language.to_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    block = Some(CodeBlock { language, text: String::new() });
                }
                Event::End(TagEnd::CodeBlock) => page.code_blocks.extend(block.take()),
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.to_string());
                }
                Event::Code(code) => {
                    if let Some(title) = &mut heading {
                        title.push_str(&code);
                    }
                    page.inline_code.push(code.to_string());
                }
                Event::Text(text) => {
                    if let Some(title) = &mut heading {
                        title.push_str(&text);
                    }
                    if let Some(block) = &mut block {
                        block.text.push_str(&text);
                    }
                }
                _ => {}
            }
        }
        page
    }

    fn folder(&self) -> &Path {
        self.path.parent().expect("a file is in a folder")
    }

    fn code_blocks_in(&self, language: &str) -> impl Iterator<Item = &str> {
        self.code_blocks.iter().filter(move |block| block.language == language).map(|block| &*block.text)
    }
}

/// The anchor that GitHub gives a heading: lower case, hyphens for spaces, no punctuation.
fn anchor_of(title: &str) -> String {
    let kept = title.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// Every Markdown file of the repository, except in folders that builds and runs create.
fn pages() -> Vec<Page> {
    fn collect(folder: &Path, pages: &mut Vec<Page>) {
        for entry in fs::read_dir(repository().join(folder)).expect("a folder can be listed") {
            let entry = entry.expect("a folder can be listed");
            let name = entry.file_name().into_string().expect("names are text");
            let path = folder.join(&name);
            if entry.file_type().expect("it is still there").is_dir() {
                if !name.starts_with('.') && !["target", "run"].contains(&&*name) {
                    collect(&path, pages);
                }
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(Page::read(path));
            }
        }
    }
    let mut pages = Vec::new();
    collect(Path::new(""), &mut pages);
    assert!(pages.len() > 10, "there are more pages than that");
    pages
}

fn page(path: &str) -> Page {
    Page::read(PathBuf::from(path))
}

/// Removes `.` and `..` from a path that need not exist.
fn normalized(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(normal.pop(), "{} leaves the repository", path.display()),
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

/// Fails with all problems at once, a line each.
fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_exist() {
    let pages = pages();
    let mut problems = Vec::new();
    for page in &pages {
        for link in page.links.iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = match file {
                "" => page.path.clone(),
                file => normalized(&page.folder().join(file)),
            };
            let from = page.path.display();
            if !repository().join(&path).exists() {
                problems.push(format!("{from}: {link}: there is no {}", path.display()));
            } else if !anchor.is_empty() {
                let target = pages.iter().find(|page| page.path == path);
                if !target.is_some_and(|target| target.anchors.iter().any(|found| found == anchor)) {
                    problems.push(format!("{from}: {link}: {} has no such heading", path.display()));
                }
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn code_blocks_are_valid_json_and_shell() {
    let mut problems = Vec::new();
    for page in pages() {
        let name = page.path.display();
        for json in page.code_blocks_in("json") {
            if let Err(error) = serde_json::from_str::<serde_json::Value>(json) {
                problems.push(format!("{name}: {error}:\n{json}"));
            }
        }
        for script in page.code_blocks_in("sh") {
            let checked = Command::new("bash").args(["-n", "-c", script]).output().expect("bash starts");
            if !checked.status.success() {
                problems.push(format!("{name}: {}\n{script}", String::from_utf8_lossy(&checked.stderr)));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn the_programs_accept_every_command_line_that_a_page_shows() {
    let mut checked = 0;
    let mut problems = Vec::new();
    for page in pages() {
        for script in page.code_blocks_in("sh") {
            for words in commands(script) {
                if words[0].starts_with("scripts/") && !repository().join(&words[0]).is_file() {
                    problems.push(format!("{}: there is no {}", page.path.display(), words[0]));
                }
                let program = Path::new(&words[0]).file_name().and_then(|name| name.to_str());
                let Some(program @ ("tap-mailjet-webhooks" | "target-jsonl")) = program else { continue };
                checked += 1;
                if let Err(error) = parse(program, &words[1..]) {
                    problems.push(format!("{}: {}\n{error}", page.path.display(), words.join(" ")));
                }
            }
        }
    }
    assert_none(&problems);
    assert!(checked > 15, "only {checked} command lines were found");
}

/// The commands of a script, as words. Redirections are left out.
fn commands(script: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    for line in script.replace("\\\n", " ").lines() {
        let words = shlex::split(line).unwrap_or_default();
        for command in words.split(|word| matches!(&**word, "|" | "||" | "&&" | ";" | "&")) {
            let end = command.iter().position(|word| word.contains(['<', '>'])).unwrap_or(command.len());
            if end > 0 {
                commands.push(command[..end].to_vec());
            }
        }
    }
    commands
}

/// Lets a program parse its arguments. With `--about`, it does nothing else.
fn parse(program: &str, arguments: &[String]) -> Result<(), String> {
    let mut command = Command::new(program_path(program));
    if !arguments.iter().any(|argument| argument == "--about") {
        command.arg("--about");
    }
    let output = command.args(arguments).stdin(Stdio::null()).output().expect("the program starts");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn the_lists_of_settings_are_what_the_programs_print() {
    for (program, path) in [
        ("tap-mailjet-webhooks", "tap-mailjet-webhooks/docs/configuration.md"),
        ("target-jsonl", "target-jsonl/README.md"),
    ] {
        let mut about = Command::new(program_path(program));
        let printed = program::run(about.args(["--about", "--format", "markdown"]));
        let (_, settings) = printed.trim_end().split_once("## Settings\n\n").expect("there are settings");
        let text = fs::read_to_string(repository().join(path)).expect("the page exists");
        assert!(text.contains(settings), "{path} lacks this list; put it in:\n{settings}");
    }
}

/// A reader who follows a webhook through the code finds each file that the page names.
#[test]
fn the_files_that_architecture_names_exist() {
    let folders =
        ["", "tap-mailjet-webhooks", "tap-mailjet-webhooks/src"].map(|folder| repository().join(folder));
    let page = page("tap-mailjet-webhooks/docs/architecture.md");
    let is_path = |code: &&String| {
        let is_file = [".rs", ".json", ".md", ".toml"].iter().any(|ending| code.ends_with(ending));
        (is_file || code.ends_with('/')) && !code.contains([' ', '*', '<'])
    };
    let named: Vec<_> = page.inline_code.iter().filter(is_path).collect();
    assert!(named.len() > 20, "only {} files are named", named.len());
    let missing = named.into_iter().filter(|path| !folders.iter().any(|folder| folder.join(path).exists()));
    assert_none(&missing.map(|path| format!("there is no {path}")).collect::<Vec<_>>());
}

#[test]
fn the_readme_is_short() {
    let text = page("README.md").text;
    let lines = text.lines().count();
    assert!(lines <= MAX_README_LINES, "README.md has {lines} lines");
    let wide = text.lines().filter(|line| is_row(line) && width(line) > MAX_README_TABLE_WIDTH);
    assert_none(&wide.map(str::to_owned).collect::<Vec<_>>());
}

#[test]
fn no_line_is_wider_than_a_window() {
    let mut problems = Vec::new();
    for page in pages() {
        for (number, line) in page.text.lines().enumerate() {
            let has_long_word = line.split_whitespace().any(|word| width(word) > LONG_WORD);
            if width(line) > MAX_WIDTH && (is_row(line) || !has_long_word) {
                problems.push(format!("{}:{}: {} columns", page.path.display(), number + 1, width(line)));
            }
        }
    }
    assert_none(&problems);
}

/// Whether a line is a row of a table.
fn is_row(line: &str) -> bool {
    line.trim_start().starts_with('|')
}

fn width(line: &str) -> usize {
    line.chars().count()
}
