//! What the structure of the sources promises, as a test: which layer may use which, and what stands in one place
//! only.
//!
//! One crate cannot make the compiler refuse a `use` of the wrong layer, nor a clock read outside a driver. So this
//! reads `src/**/*.rs` and fails with sentences like "src/proto/ws/frame.rs:3 uses crate::net; proto may use: parts".
//! The tables below are the rules; facts about structure belong here, taste does not.
//!
//! Comments, strings, and what is compiled for tests only are not held against a file.

use std::path::Path;
use std::{fs, iter};

/// The layers, and which of the others each may use. One direction only: no two may use each other.
const LAYERS: &[(&str, &[&str])] = &[
    ("parts", &[]),
    // What the log is told, and how much of it: one file at the root.
    ("events", &[]),
    ("event_loop", &["parts"]),
    ("task", &["event_loop", "parts"]),
    ("sync", &["task", "event_loop", "parts"]),
    ("net", &["sync", "task", "event_loop", "parts"]),
    ("fs", &["net", "sync", "task", "event_loop", "parts"]),
    ("process", &["net", "sync", "task", "event_loop", "parts"]),
    ("proto", &["parts"]),
    (
        "conn",
        &[
            "net",
            "sync",
            "task",
            "proto",
            "event_loop",
            "metrics",
            "parts",
        ],
    ),
    (
        "web",
        &[
            "conn",
            "net",
            "sync",
            "task",
            "proto",
            "event_loop",
            "metrics",
            "parts",
        ],
    ),
    (
        "dial",
        &[
            "web",
            "conn",
            "net",
            "sync",
            "task",
            "proto",
            "event_loop",
            "metrics",
            "parts",
        ],
    ),
    (
        "client",
        &["net", "sync", "task", "proto", "event_loop", "parts"],
    ),
    ("metrics", &["parts"]),
    (
        "operations",
        &[
            "events",
            "web",
            "conn",
            "net",
            "sync",
            "task",
            "proto",
            "event_loop",
            "metrics",
            "parts",
        ],
    ),
    (
        "db",
        &[
            "conn",
            "net",
            "sync",
            "task",
            "proto",
            "event_loop",
            "metrics",
            "parts",
        ],
    ),
    (
        "gateway",
        &[
            "web",
            "client",
            "db",
            "conn",
            "net",
            "sync",
            "task",
            "proto",
            "event_loop",
            "metrics",
            "parts",
        ],
    ),
    ("sim", &["task", "event_loop", "parts"]),
];

/// Where a borrow may be checked at run time: files that hide the cell and let no borrow out. Each new one is a
/// decision.
const REFCELL_FILES: &[&str] = &[
    "src/event_loop/handle.rs",
    "src/event_loop/ending.rs",
    "src/task/group.rs",
    // The line before all of them, and what stands in queues, rings and slots.
    "src/sync/waiters.rs",
    "src/sync/semaphore.rs",
    "src/sync/queue.rs",
    "src/sync/oneshot.rs",
    "src/sync/broadcast.rs",
    "src/sync/watch.rs",
    // What a task's stream shares with the source behind it: neither can borrow the other.
    "src/net/link.rs",
    "src/net/socket_listener.rs",
    "src/net/udp.rs",
    // The memory that the clones of a resolver share.
    "src/net/resolver.rs",
    "src/client/body.rs",
    "src/client/leases.rs",
    "src/client/session.rs",
    // The machine that the pump and those who use a WebSocket share, and the compressors of a builder.
    "src/client/websocket/link.rs",
    // What is published to a group, and read by each of its members.
    "src/conn/batch.rs",
    // What routes have done, counted through the server that all connections share.
    "src/conn/meters.rs",
    "src/conn/pipe.rs",
    "src/conn/server.rs",
    "src/conn/topics/local.rs",
    "src/conn/websocket.rs",
    "src/web/socket.rs",
    "src/web/state.rs",
    "src/sim/",
];

/// The drivers: the only door to the outside.
const DRIVERS: &[&str] = &["src/event_loop/mio_driver.rs", "src/sim/"];
const MIO_DRIVER: &[&str] = &[
    "src/event_loop/mio_driver.rs",
    "src/event_loop/mio_driver/other.rs",
];

/// What may be named in some places only.
struct Reserved {
    /// Consecutive segments of a path.
    name: &'static str,
    stands: Stands,
    files: Files,
    why: &'static str,
}

/// Where in a path a name is looked for.
enum Stands {
    /// The path begins with it: crates, whose names others may have for other things.
    First,
    Anywhere,
}

/// A file's path, or a folder's with its last slash.
enum Files {
    Only(&'static [&'static str]),
    /// Nowhere in this folder.
    NotIn(&'static str),
}

const SANS_IO: &str = "a protocol machine touches no socket, no clock and no task";

const RESERVED: &[Reserved] = &[
    Reserved {
        name: "Instant::now",
        stands: Stands::Anywhere,
        files: Files::Only(DRIVERS),
        why: "time comes from the driver",
    },
    Reserved {
        name: "SystemTime::now",
        stands: Stands::Anywhere,
        files: Files::Only(DRIVERS),
        why: "time comes from the driver",
    },
    Reserved {
        name: "mio",
        stands: Stands::First,
        files: Files::Only(MIO_DRIVER),
        why: "the rest runs on any driver",
    },
    Reserved {
        name: "signal_hook",
        stands: Stands::First,
        files: Files::Only(MIO_DRIVER),
        why: "the rest runs on any driver",
    },
    Reserved {
        name: "RefCell",
        stands: Stands::Anywhere,
        files: Files::Only(REFCELL_FILES),
        why: "the loop owns and the visited borrows",
    },
    Reserved {
        name: "std::io",
        stands: Stands::First,
        files: Files::NotIn("src/proto/"),
        why: SANS_IO,
    },
    Reserved {
        name: "std::net",
        stands: Stands::First,
        files: Files::NotIn("src/proto/"),
        why: SANS_IO,
    },
    Reserved {
        name: "core::net",
        stands: Stands::First,
        files: Files::NotIn("src/proto/"),
        why: SANS_IO,
    },
    Reserved {
        name: "Future",
        stands: Stands::Anywhere,
        files: Files::NotIn("src/proto/"),
        why: SANS_IO,
    },
];

const COLUMNS_MAX: usize = 120;

#[test]
fn the_sources_are_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    assert!(!files.is_empty());
    files.sort();
    let faults: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let path = file
                .strip_prefix(root)
                .expect("it was found under the root");
            let path = path
                .to_str()
                .expect("source files have plain names")
                .replace('\\', "/");
            check(&path, &fs::read_to_string(file).expect("sources are UTF-8"))
        })
        .collect();
    assert!(
        faults.is_empty(),
        "{} faults:\n{}\n",
        faults.len(),
        faults.join("\n")
    );
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Everything wrong with one file, a sentence each.
fn check(file: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if !text.starts_with("//!") {
        faults.push(format!(
            "{file} does not open with its reason, in a //! comment"
        ));
    }
    for (line, columns) in (1..).zip(text.lines().map(|line| line.chars().count())) {
        if columns > COLUMNS_MAX && !is_test_file(file) {
            faults.push(format!(
                "{file}:{line} has {columns} columns; at most {COLUMNS_MAX}"
            ));
        }
    }
    let mut words = words(&without_comments_and_strings(text));
    for word in words.iter().filter(|word| word.text == "unsafe") {
        faults.push(format!(
            "{file}:{} uses unsafe; nothing here does",
            word.line
        ));
    }
    if is_test_file(file) {
        return faults;
    }
    remove_test_items(&mut words);
    for path in paths(&words, &module_of(file)) {
        faults.extend(wrong_layer(file, &path));
        faults.extend(
            RESERVED
                .iter()
                .filter_map(|rule| out_of_place(file, &path, rule)),
        );
    }
    faults
}

/// A path that leads to a layer below, beside or above, by `crate::` or enough `super::`.
fn wrong_layer(file: &str, path: &UsedPath) -> Option<String> {
    // `lib.rs` and `error.rs` gather all layers.
    let (layer, _) = file.strip_prefix("src/")?.split_once('/')?;
    let [first, target, ..] = &path.segments[..] else {
        return None;
    };
    let at = format!("{file}:{}", path.line);
    if first != "crate" || target == layer {
        return None;
    }
    let Some((_, may_use)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
        return Some(format!(
            "{at} uses crate::{target}; {layer} is not in the table of layers"
        ));
    };
    if may_use.contains(&target.as_str()) {
        return None;
    }
    let list = if may_use.is_empty() {
        "no other layer".to_owned()
    } else {
        may_use.join(", ")
    };
    Some(format!(
        "{at} uses crate::{target}; {layer} may use: {list}"
    ))
}

fn out_of_place(file: &str, path: &UsedPath, rule: &Reserved) -> Option<String> {
    let name: Vec<&str> = rule.name.split("::").collect();
    let is = |at: &[String]| at.len() == name.len() && at.iter().zip(&name).all(|(a, b)| a == b);
    let is_named = match rule.stands {
        // A word alone is a variable, a field or a function, unless it is imported.
        Stands::First if path.segments.len() == 1 && !path.is_import => false,
        Stands::First => path.segments.get(..name.len()).is_some_and(is),
        Stands::Anywhere => path.segments.windows(name.len()).any(is),
    };
    if !is_named {
        return None;
    }
    let begins = format!("{file}:{} uses {}", path.line, rule.name);
    match rule.files {
        Files::Only(files) if !is_in(file, files) => Some(format!(
            "{begins}; only these may: {} ({})",
            files.join(", "),
            rule.why
        )),
        Files::NotIn(folder) if is_in(file, &[folder]) => {
            Some(format!("{begins}; nothing in {folder} may ({})", rule.why))
        }
        Files::Only(_) | Files::NotIn(..) => None,
    }
}

fn is_in(file: &str, files: &[&str]) -> bool {
    files
        .iter()
        .any(|entry| file == *entry || entry.ends_with('/') && file.starts_with(entry))
}

fn is_test_file(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.contains("/tests/")
}

/// The module that a file holds: `src/proto/ws/frame.rs` is `proto`, `ws`, `frame`.
fn module_of(file: &str) -> Vec<String> {
    let inner = file.trim_start_matches("src/").trim_end_matches(".rs");
    let names = inner
        .split('/')
        .filter(|name| !matches!(*name, "lib" | "mod"));
    names.map(str::to_owned).collect()
}

/// A name that code uses, in full: groups are taken apart, and `super` is resolved.
#[derive(Debug, PartialEq)]
struct UsedPath {
    segments: Vec<String>,
    line: usize,
    is_import: bool,
}

/// All paths in the code of one module, which may have further modules in it.
fn paths(words: &[Word], module: &[String]) -> Vec<UsedPath> {
    let mut found = Vec::new();
    // The inline modules around here, each with the number of braces around its own.
    let mut inline: Vec<(usize, String)> = Vec::new();
    let mut braces = 0;
    let mut is_import = false;
    let mut at = 0;
    while let Some(word) = words.get(at) {
        match word.text.as_str() {
            "{" => braces += 1,
            "}" => {
                braces -= 1;
                inline.pop_if(|(outside, _)| *outside == braces);
            }
            ";" => is_import = false,
            "use" => is_import = true,
            "mod" if text_at(words, at + 2) == "{" => {
                inline.push((braces, words[at + 1].text.clone()));
                at += 1;
            }
            _ if word.is_name() => {
                let mut leaves = Vec::new();
                at = read_path(words, at, &mut Vec::new(), &mut leaves);
                let here: Vec<_> = module
                    .iter()
                    .chain(inline.iter().map(|(_, name)| name))
                    .cloned()
                    .collect();
                found.extend(
                    leaves
                        .into_iter()
                        .filter(|(_, path)| !is_macro(words, at, path))
                        .map(|(line, path)| UsedPath {
                            segments: resolve(path, &here),
                            line,
                            is_import,
                        }),
                );
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Exported macros live at the crate's root, whatever layer they belong to.
fn is_macro(words: &[Word], end: usize, path: &[String]) -> bool {
    path.len() == 2 && path[0] == "crate" && text_at(words, end) == "!"
}

/// Read `a::b::{c, d::e}` as `a::b::c` and `a::b::d::e`, each with its line. Answers where the path ends.
fn read_path(
    words: &[Word],
    mut at: usize,
    path: &mut Vec<String>,
    leaves: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let line = words[at].line;
    let outer = path.len();
    loop {
        path.push(words[at].text.clone());
        let follows = words.get(at + 2).filter(|_| text_at(words, at + 1) == "::");
        match follows {
            Some(next) if next.is_name() || next.text == "*" => at += 2,
            Some(next) if next.text == "{" => {
                at += 3;
                while at < words.len() && words[at].text != "}" {
                    at = match words[at].is_name() || words[at].text == "*" {
                        true => read_path(words, at, path, leaves),
                        false => at + 1,
                    };
                }
                break;
            }
            _ => {
                leaves.push((line, path.clone()));
                break;
            }
        }
    }
    path.truncate(outer);
    at + 1
}

/// `super::super::net` in `proto::ws` is `crate::net`.
fn resolve(path: Vec<String>, here: &[String]) -> Vec<String> {
    let mut rest = path
        .into_iter()
        .skip_while(|segment| segment == "self")
        .peekable();
    let ups = iter::from_fn(|| rest.next_if(|segment| segment == "super")).count();
    if ups == 0 {
        return rest.collect();
    }
    let above = &here[..here.len().saturating_sub(ups)];
    iter::once("crate".to_owned())
        .chain(above.iter().cloned())
        .chain(rest)
        .collect()
}

/// A name, a `::`, or any other single character.
#[derive(Clone, Debug)]
struct Word {
    text: String,
    line: usize,
}

impl Word {
    fn is_name(&self) -> bool {
        self.text
            .starts_with(|first: char| first.is_alphabetic() || first == '_')
    }
}

fn text_at(words: &[Word], at: usize) -> &str {
    words.get(at).map_or("", |word| &word.text)
}

fn words(code: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    for (line, text) in (1..).zip(code.lines()) {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let is_name = first.is_alphanumeric() || first == '_';
            let length = match rest.find(|c: char| !(c.is_alphanumeric() || c == '_')) {
                Some(end) if is_name => end,
                None if is_name => rest.len(),
                _ if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            words.push(Word {
                text: rest[..length].to_owned(),
                line,
            });
            rest = rest[length..].trim_start();
        }
    }
    words
}

/// Remove each item under `#[cfg(test)]` or `#[cfg(all(test, …))]`, up to its `;` or its closing brace.
fn remove_test_items(words: &mut Vec<Word>) {
    let mut at = 0;
    while at < words.len() {
        let attribute: Vec<&str> = (at..at + 4).map(|at| text_at(words, at)).collect();
        if attribute != ["#", "[", "cfg", "("] {
            at += 1;
            continue;
        }
        let end = closing(words, at + 1);
        let condition: Vec<&str> = (at + 4..end).map(|at| text_at(words, at)).collect();
        let needs_test = condition[0] == "test" || condition.starts_with(&["all", "(", "test"]);
        if !needs_test {
            at = end;
            continue;
        }
        let mut item_end = end + 1;
        loop {
            match text_at(words, item_end) {
                "" | ";" => break,
                "{" => {
                    item_end = closing(words, item_end);
                    break;
                }
                "[" | "(" => item_end = closing(words, item_end),
                _ => {}
            }
            item_end += 1;
        }
        words.drain(at..=item_end.min(words.len() - 1));
    }
}

/// Where the bracket that opens at `open` is closed.
fn closing(words: &[Word], open: usize) -> usize {
    let mut depth = 0;
    for (at, word) in words.iter().enumerate().skip(open) {
        match word.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    words.len()
}

/// The same lines with only code in them.
fn without_comments_and_strings(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let before_is_name = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let skipped = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment_length(rest),
            '"' => quoted_length(rest, '"'),
            '\'' => char_length(rest),
            'r' | 'b' | 'c' if !before_is_name => prefixed_string_length(rest),
            _ => 0,
        };
        let (gone, kept) = match skipped {
            0 => ("", first.len_utf8()),
            _ => (&rest[..skipped], 0),
        };
        if skipped > 0 {
            // A space, so that what stood on both sides does not become one word; and the lines.
            code.push(' ');
            code.extend(gone.chars().filter(|c| *c == '\n'));
        }
        code.push_str(&rest[..kept]);
        rest = &rest[skipped + kept..];
    }
    code
}

fn block_comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let (step, deeper) = match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (2, 1),
            [b'*', b'/', ..] => (2, -1),
            _ => (1, 0),
        };
        at += step;
        depth += deeper;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

fn quoted_length(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == quote {
            return at + 1;
        }
    }
    text.len()
}

/// Of a character literal; 0 for a lifetime.
fn char_length(text: &str) -> usize {
    let mut inside = text.chars().skip(1);
    match (inside.next(), inside.next()) {
        (Some('\\'), _) | (_, Some('\'')) => quoted_length(text, '\''),
        _ => 0,
    }
}

/// Of `r"…"`, `br#"…"#`, `b"…"`, `b'…'` and the like; 0 for a name, raw or not.
fn prefixed_string_length(text: &str) -> usize {
    let after_prefix = text.trim_start_matches(['r', 'b', 'c']);
    let prefix = &text[..text.len() - after_prefix.len()];
    let after_hashes = after_prefix.trim_start_matches('#');
    let hashes = &after_prefix[..after_prefix.len() - after_hashes.len()];
    match (prefix, hashes, after_hashes.chars().next()) {
        ("b" | "c", "", Some('"')) => 1 + quoted_length(after_hashes, '"'),
        ("b", "", Some('\'')) => 1 + quoted_length(after_hashes, '\''),
        ("r" | "br" | "cr", _, Some('"')) => {
            let end = format!("\"{hashes}");
            let opening = text.len() - after_hashes.len() + 1;
            text[opening..]
                .find(&end)
                .map_or(text.len(), |at| opening + at + end.len())
        }
        _ => 0,
    }
}

/// The checker itself: `expected` are the faults of `code` in a file that is otherwise fine.
#[track_caller]
fn expect(file: &str, code: &str, expected: &[&str]) {
    assert_eq!(check(file, &format!("//! A reason.\n{code}\n")), expected);
}

#[test]
fn no_two_layers_may_use_each_other() {
    for (layer, may_use) in LAYERS {
        for target in *may_use {
            let (_, back) = LAYERS
                .iter()
                .find(|(name, _)| name == target)
                .expect("a known layer");
            assert!(!back.contains(layer), "{layer} and {target}");
            assert!(
                back.iter().all(|lower| may_use.contains(lower)),
                "{layer} through {target}"
            );
        }
    }
}

#[test]
fn a_planted_use_of_a_higher_layer_is_found() {
    let fault = "src/proto/ws/frame.rs:2 uses crate::net; proto may use: parts";
    let file = "src/proto/ws/frame.rs";
    for code in [
        "use crate::net::Stream;",
        "use crate::{net::Stream, parts::output::Output};",
        "use crate::{parts::{output::{Chunk, Output}, slab}, net};",
        "pub(crate) use super::super::super::net::Stream;",
        "use super::{Opcode, super::{super::net}};",
        "fn f(x: &crate::net::Stream<'_>) {}",
        "mod inner { use super::super::super::super::net::Stream; }",
        "mod inner { fn f() {} } use super::super::super::net::Stream;",
        "fn f() { let _: Vec<crate::net::Stream> = Vec::new(); }",
    ] {
        let fault = fault.to_owned();
        assert_eq!(
            check(file, &format!("//! A reason.\n{code}\n")),
            [fault],
            "{code}"
        );
    }
}

#[test]
fn what_layers_may_use_is_no_fault() {
    expect(
        "src/proto/ws/frame.rs",
        "use crate::parts::output::Output;",
        &[],
    );
    expect(
        "src/proto/ws/frame.rs",
        "use crate::proto::http1; use super::super::http1;",
        &[],
    );
    expect(
        "src/proto/ws/mod.rs",
        "use self::frame::Frame; use super::net::Name;",
        &[],
    );
    expect(
        "src/conn/mod.rs",
        "use crate::{net::Stream, proto::ws}; use super::task;",
        &[],
    );
    expect(
        "src/lib.rs",
        "pub use crate::web::App; pub use gateway::Proxy;",
        &[],
    );
    expect(
        "src/proto/ws/frame.rs",
        "pub(crate) fn f() { crate::sentence!() }",
        &[],
    );
    expect(
        "src/proto/ws/frame.rs",
        "pub(in crate::proto) fn net() { task(web::x) }",
        &[],
    );
}

#[test]
fn a_path_through_the_root_hides_no_layer() {
    let faults = [
        "src/proto/x.rs:2 uses crate::App; proto may use: parts",
        "src/proto/x.rs:3 uses crate::*; proto may use: parts",
    ];
    expect("src/proto/x.rs", "use crate::App;\nuse crate::*;", &faults);
    let fault = "src/parts/x.rs:2 uses crate::proto; parts may use: no other layer";
    expect("src/parts/x.rs", "use super::super::proto;", &[fault]);
    let fault = "src/extra/x.rs:2 uses crate::net; extra is not in the table of layers";
    expect("src/extra/x.rs", "use crate::net;", &[fault]);
}

#[test]
fn comments_strings_and_tests_are_not_code() {
    for code in [
        "// use crate::net::Stream; unsafe",
        "/* use crate::net; /* Instant::now() */ RefCell */",
        "/// [`crate::net::Stream`], as in `Instant::now()`\nfn f() {}",
        r##"const A: &str = "crate::net \" RefCell::new"; const B: &str = r#"unsafe "x" mio::Poll"#;"##,
        "const A: &[u8] = b\"crate::net\"; const B: u8 = b'\"'; const C: char = '\"'; // \"",
        "const A: char = '\\''; // RefCell\nfn f<'a>(x: &'a str) -> &'a str { x }",
        "#[cfg(test)]\nmod tests { use crate::net::Stream; fn f() { {} std::io::stdin(); } }",
        "#[cfg(test)]\nuse crate::net::{Stream, Accept};",
        "#[cfg(all(test, feature = \"sim\"))]\n#[allow(dead_code)]\nfn f(x: [u8; 3]) { Instant::now(); }",
        "#[cfg(test)]\nmod tests;",
    ] {
        let text = format!("//! A reason.\n{code}\n");
        assert_eq!(check("src/proto/x.rs", &text), [""; 0], "{code}");
    }
    expect(
        "src/proto/x/tests.rs",
        "use crate::net::Stream; use std::io;",
        &[],
    );
}

#[test]
fn code_after_comments_strings_and_tests_is_code() {
    for before in [
        "// x\n\n",
        "/* a\nb */\n",
        "const A: &str = \"two\\\nlines\";\n",
        "const A: &str = r#\"a \"\n\"#;\n",
        "fn f<'a>(x: &'a str) -> char {\n'\"' }\n",
        "#[cfg(test)]\nmod tests { fn f() {} }\n",
        "#[cfg(test)]\nmod tests;\n",
        "#[cfg(unix)]\nmod unix;\n",
        "#[cfg(not(test))]\nfn f() {}\n",
    ] {
        let fault = "src/proto/x.rs:4 uses crate::net; proto may use: parts".to_owned();
        let text = format!("//! A reason.\n{before}use crate::net;\n");
        assert_eq!(check("src/proto/x.rs", &text), [fault], "{before}");
    }
    let fault = "src/proto/x.rs:3 uses crate::net; proto may use: parts";
    expect(
        "src/proto/x.rs",
        "#[cfg(not(test))]\nuse crate::net;",
        &[fault],
    );
}

#[test]
fn a_clock_read_outside_a_driver_is_found() {
    let fault = "src/web/app.rs:2 uses Instant::now; \
                 only these may: src/event_loop/mio_driver.rs, src/sim/ (time comes from the driver)";
    for code in [
        "fn f() { std::time::Instant::now(); }",
        "fn f() { Instant :: now ( ); }",
        "fn f() { x.unwrap_or_else(Instant::now) }",
    ] {
        expect("src/web/app.rs", code, &[fault]);
        expect("src/event_loop/mio_driver.rs", code, &[]);
        expect("src/sim/clock.rs", code, &[]);
    }
    expect("src/web/app.rs", "fn f(now: Instant) { driver.now() }", &[]);
    assert_eq!(
        check("src/web/x.rs", "//! .\nfn f() { SystemTime::now(); }").len(),
        1
    );
}

#[test]
fn mio_and_signal_hook_outside_their_file_are_found() {
    for code in [
        "use mio::Poll;",
        "use mio;",
        "use {mio::Poll};",
        "fn f(p: &::mio::Poll) {}",
    ] {
        let fault = "src/net/x.rs:2 uses mio; only these may: src/event_loop/mio_driver.rs, \
                     src/event_loop/mio_driver/other.rs (the rest runs on any driver)";
        expect("src/net/x.rs", code, &[fault]);
        for file in MIO_DRIVER {
            expect(file, code, &[]);
        }
    }
    assert_eq!(
        check("src/sim/x.rs", "//! .\nuse signal_hook::flag;").len(),
        1
    );
    expect(
        "src/event_loop/mod.rs",
        "mod mio_driver; fn f(mio: u8) { mio }",
        &[],
    );
}

#[test]
fn a_refcell_outside_the_list_is_found() {
    let code = "use std::cell::{Cell, RefCell};";
    let faults = check("src/web/app.rs", &format!("//! .\n{code}"));
    assert!(faults[0].starts_with("src/web/app.rs:2 uses RefCell; only these may: "));
    expect("src/web/state.rs", code, &[]);
    expect(
        "src/sim/network.rs",
        "struct World { all: Rc<RefCell<u8>> }",
        &[],
    );
    assert_eq!(
        check(
            "src/web/x.rs",
            "//! .\nstruct World { all: Rc<RefCell<u8>> }"
        )
        .len(),
        1
    );
}

#[test]
fn a_machine_that_knows_sockets_or_futures_is_found() {
    for (code, name) in [
        ("use std::{fmt, io::Read};", "std::io"),
        ("fn f(address: std::net::SocketAddr) {}", "std::net"),
        ("fn f() -> impl Future<Output = ()> {}", "Future"),
    ] {
        let why = "a protocol machine touches no socket, no clock and no task";
        let fault = format!("src/proto/x.rs:2 uses {name}; nothing in src/proto/ may ({why})");
        expect("src/proto/x.rs", code, &[&fault]);
        expect("src/net/x.rs", code, &[]);
    }
}

#[test]
fn unsafe_is_found_even_in_tests() {
    let fault = "src/web/tests.rs:2 uses unsafe; nothing here does";
    expect("src/web/tests.rs", "fn f() { unsafe { g() } }", &[fault]);
    expect("src/lib.rs", "#![forbid(unsafe_code)]", &[]);
}

#[test]
fn a_long_line_and_a_file_without_its_reason_are_found() {
    let wide = "é".repeat(118);
    expect("src/web/x.rs", &format!("//{wide}"), &[]);
    expect(
        "src/web/x.rs",
        &format!("///{wide}"),
        &["src/web/x.rs:2 has 121 columns; at most 120"],
    );
    let fault = "src/web/x.rs does not open with its reason, in a //! comment";
    assert_eq!(check("src/web/x.rs", "use std::fmt;\n"), [fault]);
}
