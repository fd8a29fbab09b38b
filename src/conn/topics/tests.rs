//! Filters against a model that asks all of them, and histories against one that forgets nothing.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::Posted;
use super::filter::{Filters, Name, TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX, TopicError};
use super::history::{Cursor, Histories, History, Replay};
use super::presence::{Attendance, PRESENCE_BYTES_MAX};

// ---- filters --------------------------------------------------------------------------------------------------------

#[test]
fn a_filter_that_is_not_well_formed_says_why() {
    let long = "x".repeat(TOPIC_BYTES_MAX + 1);
    let deep = "/".repeat(TOPIC_LEVELS_MAX);
    for (filter, error) in [
        ("", TopicError::Empty),
        (&*long, TopicError::TooLong),
        (&*deep, TopicError::TooDeep),
        ("a/\0", TopicError::Nul),
        ("#/a", TopicError::HashNotLast),
        ("a/#/#", TopicError::HashNotLast),
        ("a#", TopicError::NotAWholeLevel),
        ("a/+b/c", TopicError::NotAWholeLevel),
        ("++", TopicError::NotAWholeLevel),
    ] {
        assert_eq!(Name::filter(filter), Err(error), "{filter:?}");
        assert_eq!(Name::topic(filter), Err(error), "{filter:?}");
    }
    for filter in ["#", "+", "+/+", "a/+/b/#", "/#", "+/"] {
        assert!(Name::filter(filter).unwrap().is_wild, "{filter:?}");
        assert_eq!(Name::topic(filter), Err(TopicError::Wildcard), "{filter:?}");
    }
    for topic in ["/", "a", "a//b", "$SYS/x", &long[1..], &deep[1..]] {
        assert!(!Name::topic(topic).unwrap().is_wild, "{topic:?}");
    }
}

/// MQTT's own examples (5.0, 4.7.1).
#[test]
fn a_filter_matches_what_the_standard_says() {
    for (filter, topics, others) in [
        (
            "sport/tennis/player1/#",
            &[
                "sport/tennis/player1",
                "sport/tennis/player1/ranking",
                "sport/tennis/player1/score/wimbledon",
            ][..],
            &["sport/tennis/player12", "sport/tennis"][..],
        ),
        ("sport/#", &["sport", "sport/", "sport/a/b"], &["sports"]),
        ("#", &["a", "/", "a/b/c"], &[]),
        (
            "sport/tennis/+",
            &["sport/tennis/player1", "sport/tennis/player2"],
            &["sport/tennis", "sport/tennis/player1/ranking"],
        ),
        ("sport/+", &["sport/"], &["sport"]),
        ("+/+", &["/finance"], &["finance"]),
        ("/+", &["/finance"], &["finance"]),
        ("+", &["finance"], &["/finance"]),
        ("+/tennis/#", &["a/tennis", "a/tennis/b"], &["tennis", "a"]),
    ] {
        let name = Name::filter(filter).unwrap();
        let mut filters = Filters::<()>::default();
        filters.find_or_insert(name);
        for (topics, is_matched) in [(topics, true), (others, false)] {
            for topic in topics {
                assert_eq!(name.matches(topic), is_matched, "{filter} {topic}");
                let found = filters.matches(topic).len() == 1;
                assert_eq!(found, is_matched, "{filter} {topic}");
            }
        }
    }
}

/// By the definition, level by level and backwards; nothing of it is shared with what is tested.
fn model_matches(filter: &[&str], topic: &[&str]) -> bool {
    match (filter.split_last(), topic.split_last()) {
        (Some((&"#", before)), _) => {
            (0..=topic.len()).any(|length| model_matches(before, &topic[..length]))
        }
        (Some((last, before)), Some((level, behind))) => {
            (*last == "+" || last == level) && model_matches(before, behind)
        }
        (None, None) => true,
        _ => false,
    }
}

/// Few words, so that they meet often. Empty levels among them.
fn levels(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(words), 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("it has a character", |name| !name.is_empty())
}

fn filter() -> impl Strategy<Value = String> {
    (levels(&["a", "b", "", "+", "+"]), any::<bool>()).prop_map(|(levels, goes_on)| {
        if goes_on { levels + "/#" } else { levels }
    })
}

#[derive(Clone, Debug)]
enum Op {
    Insert(String),
    Remove(String),
    Find(String),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => filter().prop_map(Op::Insert),
        2 => filter().prop_map(Op::Remove),
        3 => levels(&["a", "b", ""]).prop_map(Op::Find),
    ]
}

proptest! {
    #[test]
    fn filters_find_what_a_search_through_all_of_them_finds(
        ops in prop::collection::vec(op(), 1..80)
    ) {
        let mut filters = Filters::<()>::default();
        let mut model = BTreeSet::new();
        for op in &ops {
            match op {
                Op::Insert(filter) => {
                    let name = Name::filter(filter).unwrap();
                    prop_assert_eq!(filters.find(name).is_some(), model.contains(filter));
                    let place = filters.find_or_insert(name);
                    prop_assert_eq!(filters.find(name), Some(place));
                    model.insert(filter.clone());
                }
                Op::Remove(filter) => {
                    let place = filters.find(Name::filter(filter).unwrap());
                    prop_assert_eq!(place.is_some(), model.remove(filter));
                    if let Some(place) = place {
                        let entry = filters.remove(place);
                        prop_assert_eq!(&*entry.name, &**filter);
                    }
                }
                Op::Find(topic) => {
                    let levels: Vec<_> = topic.split('/').collect();
                    let expected: Vec<_> = model
                        .iter()
                        .filter(|filter| {
                            let filter: Vec<_> = filter.split('/').collect();
                            model_matches(&filter, &levels)
                        })
                        .map(|filter| &**filter)
                        .collect();
                    let matches = filters.matches(topic);
                    let mut found: Vec<_> =
                        matches.iter().map(|place| &*filters.get(place).name).collect();
                    found.sort_unstable();
                    prop_assert_eq!(&found, &expected);
                    prop_assert_eq!(matches.len(), expected.len());
                    for filter in &model {
                        let matches = Name::filter(filter).unwrap().matches(topic);
                        prop_assert_eq!(matches, expected.contains(&&**filter));
                    }
                }
            }
        }
        prop_assert_eq!(filters.iter().count(), model.len());
        // What is taken out leaves nothing behind.
        for filter in &model {
            let place = filters.find(Name::filter(filter).unwrap()).unwrap();
            filters.remove(place);
        }
        prop_assert!(filters.is_empty_to_the_root());
    }
}

// ---- histories ------------------------------------------------------------------------------------------------------

fn posted(topic: &str, key: Option<&str>, text: &str) -> Posted {
    Posted {
        topic: topic.into(),
        key: key.map(Into::into),
        frame: text.as_bytes().into(),
    }
}

fn texts(histories: &Histories, filter: &str, replay: Replay) -> (Vec<String>, bool) {
    let replayed = histories.replay(Name::filter(filter).unwrap(), replay);
    let texts = replayed.messages.iter();
    let texts = texts.map(|posted| String::from_utf8(posted.frame.to_vec()).unwrap());
    (texts.collect(), replayed.has_gap)
}

fn keeping(filter: &str, bounds: History) -> Histories {
    let mut histories = Histories::default();
    histories.keep(Name::filter(filter).unwrap(), bounds);
    histories
}

/// Say it, and where it stands.
fn say(histories: &mut Histories, topic: &str, text: &str) -> Cursor {
    let cursor = histories.next_cursor();
    histories.push(&posted(topic, None, text));
    cursor
}

#[test]
fn a_topic_keeps_its_last_messages_within_both_bounds() {
    let bounds = History {
        messages_max: 3,
        bytes_max: 10,
        topics_max: 9,
    };
    let mut histories = keeping("#", bounds);
    for text in ["1", "2", "3", "4"] {
        say(&mut histories, "a", text);
    }
    say(&mut histories, "b", "other");
    let all = |histories: &Histories| texts(histories, "a", Replay::All).0.join(" ");
    assert_eq!(all(&histories), "2 3 4");
    say(&mut histories, "a", "123456789");
    assert_eq!(all(&histories), "4 123456789");
    say(&mut histories, "a", "more than it may hold");
    assert_eq!(all(&histories), "");
    assert_eq!(texts(&histories, "b", Replay::All).0, ["other"]);
}

#[test]
fn what_no_filter_keeps_is_not_kept() {
    let mut histories = keeping("kept/#", History::default());
    say(&mut histories, "other", "x");
    assert!(!histories.keeps("other") && histories.keeps("kept"));
    assert_eq!(texts(&histories, "#", Replay::All), (vec![], false));
}

#[test]
fn of_too_many_topics_the_one_that_was_silent_for_longest_is_forgotten() {
    let bounds = History {
        topics_max: 2,
        ..History::default()
    };
    let mut histories = keeping("+", bounds);
    say(&mut histories, "a", "a1");
    let behind_b = say(&mut histories, "b", "b1");
    say(&mut histories, "a", "a2");
    let behind_c = say(&mut histories, "c", "c1");
    assert_eq!(
        texts(&histories, "+", Replay::All).0,
        ["a1", "a2", "c1"],
        "in the order in which they were said"
    );
    // Nobody who has heard what was forgotten misses it.
    assert_eq!(
        texts(&histories, "+", Replay::Since(behind_b)),
        (vec!["a2".into(), "c1".into()], false)
    );
    say(&mut histories, "d", "d1");
    assert_eq!(texts(&histories, "#", Replay::All).0, ["c1", "d1"]);
    assert!(texts(&histories, "#", Replay::Since(behind_b)).1, "a2");
    assert_eq!(
        texts(&histories, "#", Replay::Since(behind_c)),
        (vec!["d1".into()], false)
    );
}

#[test]
fn a_message_with_a_key_takes_the_place_of_the_one_before_it() {
    let mut histories = keeping("#", History::default());
    let first = histories.next_cursor();
    for (key, text) in [
        (Some("x"), "x1"),
        (Some("y"), "y1"),
        (None, "plain"),
        (Some("x"), "x2"),
    ] {
        histories.push(&posted("a", key, text));
    }
    histories.push(&posted("b", Some("y"), "another topic's"));
    assert_eq!(texts(&histories, "a", Replay::All).0, ["y1", "plain", "x2"]);
    // Replaced is not missed.
    let since = texts(&histories, "a", Replay::Since(first));
    assert_eq!(
        since,
        (vec!["y1".into(), "plain".into(), "x2".into()], false)
    );
}

#[test]
fn numbers_of_another_process_mean_nothing_here() {
    let mut histories = keeping("#", History::default());
    say(&mut histories, "a", "1");
    let foreign = Histories::default().next_cursor();
    assert_eq!(
        texts(&histories, "a", Replay::Since(foreign)),
        (vec!["1".into()], true)
    );
}

#[test]
fn a_cursor_is_read_as_it_is_written() {
    let cursor = Histories::default().next_cursor();
    assert_eq!(cursor.to_string().parse(), Ok(cursor));
    for text in [
        "",
        ".",
        "1",
        "1.",
        "g.1",
        "1.2.3",
        "1.-2",
        "11111111111111111.1",
    ] {
        assert!(text.parse::<Cursor>().is_err(), "{text:?}");
    }
}

proptest! {
    /// Whoever comes back with a number hears what came since, or is told that something is missing.
    #[test]
    fn a_replay_is_what_was_said_since_or_has_a_gap(
        said in prop::collection::vec(("[abc]", 1..9_usize), 1..60),
        messages_max in 0..8_usize,
        bytes_max in 0..40_usize,
        topics_max in 1..4_usize,
        back_at in any::<prop::sample::Index>(),
        filter in prop::sample::select(&["#", "+", "a", "b"][..]),
    ) {
        let mut histories = keeping("#", History { messages_max, bytes_max, topics_max });
        let mut cursors = Vec::new();
        for (number, (topic, length)) in said.iter().enumerate() {
            cursors.push(say(&mut histories, topic, &format!("{number:02}{}", "x".repeat(*length))));
        }
        let back_at = back_at.index(cursors.len());
        let wanted = |topic: &str| filter.len() == 1 && !filter.starts_with(['a', 'b']) || topic == filter;
        let expected: Vec<_> = said
            .iter()
            .enumerate()
            .skip(back_at + 1)
            .filter(|(_, (topic, _))| wanted(topic))
            .map(|(number, (_, length))| format!("{number:02}{}", "x".repeat(*length)))
            .collect();
        let (heard, has_gap) = texts(&histories, filter, Replay::Since(cursors[back_at]));
        if has_gap {
            // In order all the same, and nothing but what was said since.
            let mut expected = expected.iter();
            prop_assert!(heard.iter().all(|heard| expected.any(|said| said == heard)));
        } else {
            prop_assert_eq!(&heard, &expected);
        }
        // The bounds, topic by topic.
        let mut kept = BTreeMap::<&str, (usize, usize)>::new();
        for posted in &histories.replay(Name::filter("#").unwrap(), Replay::All).messages {
            let (messages, bytes) = kept.entry(said[std::str::from_utf8(&posted.frame[..2]).unwrap().parse::<usize>().unwrap()].0.as_str()).or_default();
            *messages += 1;
            *bytes += posted.frame.len();
        }
        prop_assert!(kept.len() <= topics_max);
        prop_assert!(kept.values().all(|(messages, bytes)| *messages <= messages_max && *bytes <= bytes_max));
        let (last, _) = texts(&histories, "#", Replay::Last(2));
        let (all, _) = texts(&histories, "#", Replay::All);
        prop_assert_eq!(&last[..], &all[all.len().saturating_sub(2)..]);
    }
}

// ---- presence -------------------------------------------------------------------------------------------------------

#[test]
fn those_who_are_there_are_listed_as_they_came_and_a_long_text_is_cut() {
    let mut attendance = Attendance::default();
    let ann = attendance.enter("a", "ann");
    let bob = attendance.enter("a", "bob");
    let long = attendance.enter("b", &"é".repeat(PRESENCE_BYTES_MAX));
    assert_eq!(&*long.text, "é".repeat(PRESENCE_BYTES_MAX / 2));
    assert_eq!(attendance.list("a"), [ann.clone(), bob.clone()]);
    assert_eq!(attendance.leave("b", ann.id), None, "not there");
    assert_eq!(attendance.leave("a", ann.id), Some(ann.clone()));
    assert_eq!(attendance.leave("a", ann.id), None);
    assert_eq!(attendance.list("a"), std::slice::from_ref(&bob));
    attendance.leave("a", bob.id);
    assert_eq!(attendance.list("a"), []);
    assert!(attendance.enter("a", "ann").id > bob.id, "another stay");
}
