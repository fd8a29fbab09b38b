//! The line against a list that is searched.

use super::*;
use crate::parts::tests::Random;

#[test]
fn the_line_agrees_with_a_list_over_many_operations() {
    for seed in [1, 2, 3, 1801] {
        let mut random = Random::new(seed);
        let mut line = Line::new();
        let mut model: Vec<(Key, u64)> = Vec::new();
        let mut stepped_out: Vec<(Key, u64)> = Vec::new();
        for step in 0..20_000 {
            match (random.below(10), random.index(model.len())) {
                (0..5, _) | (_, None) => model.push((line.push_back(step), step)),
                (5..8, Some(at)) => {
                    let (key, value) = model.remove(at);
                    assert_eq!(line.remove(key), Some(value));
                    assert_eq!(line.remove(key), None);
                    assert!(!line.step_out(key));
                }
                (_, Some(at)) => {
                    let (key, value) = model.remove(at);
                    assert!(line.step_out(key));
                    assert!(!line.step_out(key), "once");
                    stepped_out.push((key, value));
                }
            }
            if random.below(50) == 0 {
                for (key, value) in stepped_out.drain(..) {
                    assert_eq!(line.get(key), Some(&value));
                    assert_eq!(line.remove(key), Some(value));
                }
            }
            assert_eq!(line.first(), model.first().map(|&(key, _)| key));
            assert_eq!(
                (line.len(), line.is_empty()),
                (model.len(), model.is_empty())
            );
            if step % 16 == 0 {
                assert!(line.iter().eq(model.iter().map(|(_, value)| value)));
            }
            if model.len() > 60 {
                for (key, value) in model.drain(10..) {
                    assert_eq!(line.get_mut(key).copied(), Some(value));
                    line.remove(key);
                }
            }
        }
    }
}
