//! The output queue against a flat vector, and each promise of its documentation by itself.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::parts::tests::Random;

const HELLO: &[u8] = b"hello, hello, hello";

/// All that is to be sent, gathered through `slices`.
fn gathered(output: &Output) -> Vec<u8> {
    let mut slices = vec![IoSlice::new(&[]); output.pieces.len() + 1];
    let filled = output.slices(&mut slices);
    assert!(slices[..filled].iter().all(|slice| !slice.is_empty()));
    slices[..filled]
        .iter()
        .flat_map(|slice| slice.iter().copied())
        .collect()
}

#[test]
fn the_output_agrees_with_a_flat_vector_over_many_operations() {
    for seed in [4, 5, 6, 1823] {
        let mut random = Random::new(seed);
        let mut output = Output::new();
        let mut model: Vec<u8> = Vec::new();
        for step in 0..8_000 {
            let bytes: Vec<u8> = (0..random.sized(12)).map(|at| (at + step) as u8).collect();
            let skip = random.below(bytes.len() as u64 + 1) as usize;
            match random.below(10) {
                0..4 => {
                    output.copy(&bytes);
                    model.extend_from_slice(&bytes);
                }
                4 => {
                    model.extend_from_slice(&bytes[skip..]);
                    output.push(Chunk::Owned(bytes), skip);
                }
                5 => {
                    model.extend_from_slice(&bytes[skip..]);
                    output.push(Chunk::Shared(Rc::from(bytes)), skip);
                }
                6 => {
                    let skip = skip.min(HELLO.len());
                    model.extend_from_slice(&HELLO[skip..]);
                    output.push(Chunk::Static(HELLO), skip);
                }
                7 if random.below(100) == 0 => {
                    output.clear();
                    model.clear();
                }
                _ => {
                    let sent = random.sized(14).min(output.len() as u64) as usize;
                    output.advance(sent);
                    model.drain(..sent);
                }
            }
            assert_eq!(output.len(), model.len());
            assert_eq!(output.is_empty(), model.is_empty());
            assert_eq!(output.front().is_empty(), model.is_empty());
            assert!(model.starts_with(output.front()));
            if step % 16 == 0 {
                assert!(gathered(&output) == model, "step {step}");
            }
        }
    }
}

#[test]
fn what_is_sent_in_any_two_parts_is_the_whole() {
    let mut whole = Vec::new();
    let fill = |output: &mut Output| {
        output.copy(b"head ");
        output.push(Chunk::Static(b"static "), 0);
        output.push(Chunk::Shared(Rc::from(&b"xxshared "[..])), 2);
        output.copy(b"tail");
    };
    let mut output = Output::new();
    fill(&mut output);
    whole.extend(gathered(&output));
    assert_eq!(whole, b"head static shared tail");
    for cut in 0..=whole.len() {
        let mut output = Output::new();
        fill(&mut output);
        output.advance(cut);
        assert_eq!(gathered(&output), &whole[cut..], "cut at {cut}");
        assert_eq!(output.len(), whole.len() - cut);
    }
}

#[test]
fn small_copies_join_until_16_kib() {
    let mut output = Output::new();
    for _ in 0..JOINED_BYTES_MAX / 16 {
        output.copy(&[7; 16]);
    }
    assert_eq!(output.front().len(), JOINED_BYTES_MAX);
    output.copy(&[8]);
    assert_eq!(
        (output.front().len(), output.pieces.len()),
        (JOINED_BYTES_MAX, 2)
    );
}

#[test]
fn a_copy_larger_than_16_kib_is_one_chunk() {
    let mut output = Output::new();
    output.copy(&[7; 3 * JOINED_BYTES_MAX]);
    assert_eq!(output.front().len(), 3 * JOINED_BYTES_MAX);
}

#[test]
fn a_copy_never_joins_what_others_can_see() {
    let shared: Rc<[u8]> = Rc::from(&b"shared"[..]);
    let mut output = Output::new();
    output.push(Chunk::Shared(shared.clone()), 0);
    output.copy(b" and ours");
    assert_eq!((output.pieces.len(), &*shared), (2, &b"shared"[..]));
}

#[test]
fn a_shared_chunk_is_not_copied_and_is_let_go_with_its_last_byte() {
    let shared: Rc<[u8]> = Rc::from(&b"shared"[..]);
    let mut output = Output::new();
    output.push(Chunk::Shared(shared.clone()), 0);
    output.copy(b"more");
    assert!(std::ptr::eq(output.front(), &*shared));
    output.advance(5);
    assert_eq!(Rc::strong_count(&shared), 2);
    output.advance(1);
    assert_eq!(Rc::strong_count(&shared), 1);
    assert_eq!(output.front(), b"more");
}

#[test]
fn nothing_is_queued_for_no_bytes() {
    let mut output = Output::new();
    output.copy(b"");
    output.push(Chunk::Static(b""), 0);
    output.push(Chunk::Owned(b"all sent".to_vec()), 8);
    assert!(output.is_empty() && output.pieces.is_empty());
    assert_eq!(output.front(), b"");
}

#[test]
fn slices_fill_what_room_they_are_given() {
    let mut output = Output::new();
    for _ in 0..5 {
        output.push(Chunk::Static(b"ab"), 0);
    }
    let mut slices = [IoSlice::new(b"untouched"); 7];
    assert_eq!(output.slices(&mut slices[..0]), 0);
    assert_eq!(output.slices(&mut slices[..3]), 3);
    assert_eq!(&*slices[3], b"untouched");
    assert_eq!(output.slices(&mut slices), 5);
    assert_eq!(&*slices[5], b"untouched");
}

#[test]
fn an_empty_output_holds_no_memory() {
    let mut output = Output::new();
    output.copy(&[1; 100]);
    output.push(Chunk::Static(b"static"), 0);
    output.advance(106);
    assert_eq!(output.pieces.capacity(), 0);
    assert!(size_of::<Output>() <= 48);
}

#[test]
fn sending_more_than_there_is_panics_and_changes_nothing() {
    let mut output = Output::new();
    output.copy(b"abc");
    assert!(catch_unwind(AssertUnwindSafe(|| output.advance(4))).is_err());
    assert_eq!((output.len(), output.front()), (3, &b"abc"[..]));
}

#[test]
fn skipping_more_than_a_chunk_has_panics_and_changes_nothing() {
    let mut output = Output::new();
    output.copy(b"abc");
    let skip_too_much = AssertUnwindSafe(|| output.push(Chunk::Static(b"de"), 3));
    assert!(catch_unwind(skip_too_much).is_err());
    assert_eq!((output.len(), output.front()), (3, &b"abc"[..]));
}
