//! The differential over the conformance corpus and its own, and around them.

#[path = "../conformance/escapes.rs"]
mod escapes;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use escapes::unescape;
use tourbillon_fuzz::bodies::{Dice, mutated};
use tourbillon_fuzz::differential::{CLASSES, class, first_difference, unexplained};

/// How many changed cases are read.
const RANDOM_INPUTS: usize = 200_000;

#[test]
fn every_difference_to_hyper_is_a_known_one() {
    let mut cases = cases();
    cases.extend(found());
    let mut dice = Dice::new(1);
    let changed: Vec<_> = (0..RANDOM_INPUTS)
        .map(|_| mutated(&cases, &mut dice))
        .collect();
    let unexplained: Vec<_> = cases
        .iter()
        .chain(&changed)
        .filter_map(|input| unexplained(input))
        .collect();
    assert!(
        unexplained.is_empty(),
        "{}",
        unexplained[..unexplained.len().min(20)].join("\n")
    );
}

#[test]
fn every_class_of_differences_is_met_in_the_corpus() {
    let mut met = BTreeMap::new();
    for difference in cases().iter().filter_map(|input| first_difference(input)) {
        let class = class(&difference).expect("the other test holds this");
        *met.entry(class.name).or_insert(0) += 1;
    }
    for class in CLASSES {
        let times = met.get(class.name).copied().unwrap_or_default();
        println!("{times:4} {}: {}", class.name, class.why);
        assert!(times > 0, "no case shows {:?} any more", class.name);
    }
}

/// What the fuzzer has found worth keeping.
fn found() -> Vec<Vec<u8>> {
    let paths = paths("corpus/differential");
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// What the peer sends in each case of the conformance corpus.
fn cases() -> Vec<Vec<u8>> {
    let mut paths = paths("../conformance");
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    let input = |path| {
        let text = fs::read_to_string(path).unwrap();
        let lines = text.lines().map(str::trim_end);
        lines
            .filter_map(|line| line.strip_prefix("> "))
            .flat_map(unescape)
            .collect()
    };
    paths.iter().map(input).collect()
}

/// The files of a folder, in the order of their names.
fn paths(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() > 20, "the corpus is there");
    paths
}
