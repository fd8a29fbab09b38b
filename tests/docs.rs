//! What the documents beside the code say about it is true: the lines they quote, the files they list, the number of
//! crates they name, the places they point to.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The lines of `text` that say something, without their indentation and without documentation.
fn code_lines(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with("///"))
        .collect()
}

/// The blocks of Rust in a document.
fn rust_blocks(document: &str) -> Vec<&str> {
    let blocks = document.split("```rust\n").skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect()
}

#[test]
fn every_line_that_one_turn_quotes_stands_in_the_loop() {
    let source = text("src/event_loop/mod.rs");
    let source = code_lines(&source);
    let document = text("docs/one-turn.md");
    let blocks = rust_blocks(&document);
    assert!(blocks.len() > 10, "the page quotes the loop");
    for block in blocks {
        let quoted = code_lines(block);
        assert!(
            source.windows(quoted.len()).any(|lines| lines == quoted),
            "docs/one-turn.md quotes what is not in src/event_loop/mod.rs:\n{block}"
        );
    }
}

#[test]
fn one_turn_quotes_each_step_of_the_turn() {
    let document = text("docs/one-turn.md");
    for step in 1..=8 {
        let heading = format!("## {step}");
        assert!(
            step == 2 || document.contains(&heading),
            "no chapter for step {step}"
        );
    }
}

/// Rows like "| R1, order | `test` in `file` |"; a row without a rule belongs to the one above.
#[test]
fn one_turn_names_tests_that_exist_for_each_rule() {
    let document = text("docs/one-turn.md");
    let mut rules = BTreeSet::new();
    for row in document.lines().filter(|line| line.starts_with("| ")) {
        let mut cells = row.split('|').map(str::trim).skip(1);
        let (rule, test) = (cells.next(), cells.next());
        let (Some(rule), Some(test)) = (rule, test.and_then(|cell| cell.strip_prefix('`'))) else {
            continue;
        };
        let (test, place) = test.split_once('`').expect("a test's name is quoted");
        let file = match place.trim().strip_prefix("in `") {
            Some(file) => file.trim_end_matches('`'),
            None => "src/event_loop/tests/rules.rs",
        };
        let source = text(file);
        let lines: Vec<&str> = source.lines().map(str::trim).collect();
        let begins = format!("fn {test}(");
        let is_test = |pair: &[&str]| pair[0] == "#[test]" && pair[1].starts_with(&begins);
        assert!(
            lines.windows(2).any(is_test),
            "docs/one-turn.md names {test}, which is no test in {file}"
        );
        rules.extend(rule.split(',').next().filter(|rule| rule.starts_with('R')));
    }
    let numbers: BTreeSet<String> = (1..=11).map(|number| format!("R{number}")).collect();
    let named: BTreeSet<String> = rules.into_iter().map(str::to_owned).collect();
    assert_eq!(named, numbers);
}

#[test]
fn the_map_lists_every_file_of_the_sources_and_no_other() {
    let map = text("docs/ARCHITECTURE.md");
    let listed: BTreeSet<String> = map
        .lines()
        .filter_map(|line| Some(line.strip_prefix("- `")?.split_once("`: ")?.0.to_owned()))
        .collect();
    let mut files = Vec::new();
    collect(&root().join("src"), &mut files);
    let there: BTreeSet<String> = files
        .iter()
        .map(|file| {
            let path = file
                .strip_prefix(root().join("src"))
                .expect("it was found there");
            path.to_str().expect("plain names").replace('\\', "/")
        })
        .filter(|path| !path.ends_with("tests.rs") && !path.contains("tests/"))
        .collect();
    let missing: Vec<_> = there.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&there).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "docs/ARCHITECTURE.md does not list {missing:?} and lists {gone:?}, which are not there"
    );
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn the_readme_says_how_many_crates_there_are() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "-e",
            "normal",
            "--prefix",
            "none",
        ])
        .current_dir(root())
        .output()
        .expect("cargo is there");
    assert!(output.status.success(), "{output:?}");
    let tree = String::from_utf8(output.stdout).expect("names are UTF-8");
    let crates: BTreeSet<_> = tree
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .filter(|line| !line.is_empty() && !line.starts_with("tourbillon "))
        .collect();
    assert!(crates.len() <= 20, "{} crates: {crates:#?}", crates.len());
    // The number is that of the system on which the README was written.
    if cfg!(target_os = "linux") {
        let sentence = format!("The default build has {} crates", crates.len());
        assert!(
            text("README.md").contains(&sentence),
            "README.md: {sentence}"
        );
    }
}

#[test]
fn the_page_on_websockets_names_a_test_that_exists_in_each_row() {
    let page = text("docs/websocket.md");
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| ---");
    let rows = page.lines().filter(is_row);
    let rows: Vec<&str> = rows.filter(|row| !row.ends_with("held by |")).collect();
    assert!(rows.len() > 15, "the tables are there");
    for row in rows {
        let quoted = row.split('`').skip(1).step_by(2);
        let held_by: Vec<(&str, &str)> = quoted
            .filter_map(|name| name.split_once("::"))
            .filter(|(path, _)| path.ends_with(".rs"))
            .collect();
        assert!(!held_by.is_empty(), "nothing holds {row}");
        for (path, test) in held_by {
            let is_there = text(path).contains(&format!("fn {test}()"));
            assert!(is_there, "there is no {test} in {path}");
        }
    }
}

/// `scripts/instructions.sh --renew` writes both.
#[test]
fn the_page_on_performance_has_the_instructions_of_the_baseline() {
    let page = text("docs/performance.md");
    let rows: BTreeSet<String> = page
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
            let (instructions, _) = rest.split_once(" |")?;
            Some(format!("{name} {}", instructions.replace(',', "")))
        })
        .collect();
    let baseline = text("benches/instructions.txt");
    let counted: BTreeSet<String> = baseline.lines().skip(1).map(str::to_owned).collect();
    assert_eq!(rows, counted);
}

#[test]
fn links_to_files_lead_somewhere() {
    let pages = [
        "README.md",
        "docs/ARCHITECTURE.md",
        "docs/CHANGELOG.md",
        "docs/STYLE.md",
        "docs/one-turn.md",
        "docs/performance.md",
        "docs/websocket.md",
    ];
    for document in pages.map(str::to_owned).into_iter().chain(chapters()) {
        let folder = root().join(&document);
        let folder = folder.parent().expect("a file stands in a folder");
        for rest in text(&document).split("](").skip(1) {
            let target = rest.split([')', '#']).next().unwrap_or_default();
            if !target.is_empty() && !target.starts_with("https://") {
                let found = folder.join(target).exists();
                assert!(found, "{document} points to {target}, which is not there");
            }
        }
    }
}

// ---- the guide --------------------------------------------------------------------------------------------------

/// Its chapters, their summary included.
fn chapters() -> Vec<String> {
    let folder = "docs/guide/src";
    let files = fs::read_dir(root().join(folder)).expect("the guide is there");
    let names = files.map(|file| file.expect("it can be read").file_name());
    names
        .filter_map(|name| Some(name.to_str()?.to_owned()).filter(|name| name.ends_with(".md")))
        .map(|name| format!("{folder}/{name}"))
        .collect()
}

/// The lines of a block that name nothing but the file they are from, and the rest.
fn named<'b>(block: &'b str, mark: &str, chapter: &str) -> (&'b str, &'b str) {
    let (first, rest) = block.split_once('\n').unwrap_or_default();
    let file = first.strip_prefix(mark).unwrap_or_else(|| {
        panic!("{chapter}: a block begins with {mark:?} and its file:\n{block}")
    });
    (file, rest)
}

/// The lines of `text` that say something, without their indentation.
fn written_lines(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty()).collect()
}

/// A block of Rust begins with its file. It is the whole of a listing; of the sources it is lines in their order, and
/// `// …` stands for those that are left out.
#[test]
fn every_line_that_the_guide_quotes_stands_in_the_file_it_names() {
    for chapter in chapters() {
        for block in rust_blocks(&text(&chapter)) {
            let (file, quoted) = named(block, "// ", &chapter);
            let source = text(file);
            if file.starts_with("docs/guide/listings/") {
                assert!(quoted == source, "{chapter} has another {file}");
                continue;
            }
            let mut rest = &written_lines(&source)[..];
            for part in written_lines(quoted).split(|line| *line == "// …") {
                let found = rest
                    .windows(part.len().max(1))
                    .position(|lines| lines == part);
                assert!(
                    found.is_some() || part.is_empty(),
                    "{chapter} quotes what is not in {file}:\n{}",
                    part.join("\n")
                );
                rest = &rest[found.unwrap_or(0) + part.len()..];
            }
        }
    }
}

/// A change that answers a question can be made: what it takes away is there.
#[test]
fn every_change_that_the_guide_proposes_fits_the_file_it_names() {
    let mut changes = 0;
    for chapter in chapters() {
        for block in text(&chapter).split("```diff\n").skip(1) {
            let (file, change) = named(block, "--- ", &chapter);
            let change = change.split("```").next().unwrap_or_default();
            let before: Vec<&str> = change
                .lines()
                .filter(|line| !line.starts_with('+'))
                .map(|line| line.get(1..).unwrap_or_default().trim())
                .filter(|line| !line.is_empty())
                .collect();
            let source = text(file);
            let there = written_lines(&source)
                .windows(before.len())
                .any(|lines| lines == before);
            assert!(there, "{chapter} changes what is not in {file}:\n{change}");
            changes += 1;
        }
    }
    assert!(changes >= 9, "each chapter ends with a question");
}

#[test]
fn the_guide_has_each_chapter_in_its_summary_and_each_listing_in_a_chapter() {
    let summary = text("docs/guide/src/SUMMARY.md");
    let all: String = chapters().iter().map(|chapter| text(chapter)).collect();
    for chapter in chapters() {
        let name = chapter.rsplit('/').next().unwrap_or_default();
        let is_listed = name == "SUMMARY.md" || summary.contains(&format!("]({name})"));
        assert!(is_listed, "SUMMARY.md does not list {name}");
    }
    let mut listings = Vec::new();
    collect(&root().join("docs/guide/listings"), &mut listings);
    for listing in listings {
        let name = listing.file_name().and_then(|name| name.to_str());
        let name = name.expect("plain names");
        let is_quoted = all.contains(&format!("// docs/guide/listings/{name}\n"));
        assert!(is_quoted || name == "main.rs", "no chapter quotes {name}");
    }
}
