//! The fuzz targets' bodies on stable: over the committed corpus, and over random changes to it.

#[path = "fuzz/bodies.rs"]
#[allow(unreachable_pub, reason = "the targets' package makes them public")]
mod bodies;

use std::fs;
use std::path::Path;

use bodies::{BODIES, Dice, mutated};

/// Inputs that are made up for each target.
const RANDOM_INPUTS: usize = 20_000;

#[test]
fn what_the_targets_assert_holds_for_the_corpus_and_around_it() {
    let mut dice = Dice::new(1);
    for (name, body) in BODIES {
        let corpus = corpus(name);
        corpus.iter().for_each(|input| body(input));
        for _ in 0..RANDOM_INPUTS {
            body(&mutated(&corpus, &mut dice));
        }
    }
}

/// The committed inputs of a target, in the order of their names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let mut paths: Vec<_> = fs::read_dir(folder.join(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 10, "the corpus of {name} is there");
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}
