//! The table in `docs/http-conformance.md`: no row without a test or a case that exists, or a reason.

use std::fs;
use std::path::Path;

/// What is wrong with the table, a sentence each, and how many rows it has.
pub(super) fn faults() -> (Vec<String>, usize) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join("docs/http-conformance.md")).unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|row| row.split(" | ").collect())
        .filter(|row: &Vec<&str>| row[0].starts_with(|first: char| first.is_ascii_digit()))
        .collect();
    let faults = rows.iter().filter_map(|row| {
        let fault = fault_in(root, row)?;
        Some(format!("{}: {fault}", row.join(" | ")))
    });
    (faults.collect(), rows.len())
}

fn fault_in(root: &Path, row: &[&str]) -> Option<String> {
    let &[_, _, _, held_by] = row else {
        return Some("a row has four cells".into());
    };
    if let Some(why) = held_by.strip_prefix("does not apply: ") {
        return why.is_empty().then(|| "it does not say why".into());
    }
    let mut names = held_by.split('`').skip(1).step_by(2).peekable();
    if names.peek().is_none() {
        return Some("neither a test, nor a case, nor a reason".into());
    }
    names.find_map(|name| match name.split_once("::") {
        Some((path, test)) => {
            let source = fs::read_to_string(root.join(path)).unwrap_or_default();
            let has_test = source.contains(&format!("#[test]\nfn {test}()"))
                || source.contains(&format!("#[test]\n    fn {test}()"));
            (!has_test).then(|| format!("there is no test {test} in {path}"))
        }
        None => {
            let case = root.join("tests/conformance").join(name);
            let is_case = name.ends_with(".txt") && case.exists();
            (!is_case).then(|| format!("there is no case {name}"))
        }
    })
}
