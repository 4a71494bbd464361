use State::{InMatch, Offline, Online};

use super::*;

fn fact(state: State, version: u64) -> Fact {
    Fact {
        state,
        last_seen: present(version),
        version: present(version),
        activity: None,
    }
}

/// What is known after an event that a caller was shown.
fn heard(version: u64, now: Tick) -> Knowledge {
    let mut knowledge = Knowledge::default();
    assert_eq!(
        knowledge.apply_event(fact(Online, version), version, now),
        Verdict::Changed
    );
    assert_eq!(knowledge.show(), Some(fact(Online, version)));
    knowledge
}

#[test]
fn events_are_ordered_by_their_version() {
    let mut knowledge = heard(100, 1);
    assert_eq!(
        knowledge.apply_event(fact(InMatch, 90), 90, 2),
        Verdict::Unchanged
    );
    assert_eq!(
        knowledge.apply_event(fact(Online, 100), 100, 3),
        Verdict::Unchanged
    );
    assert_eq!(
        knowledge.apply_event(fact(InMatch, 110), 110, 4),
        Verdict::Changed
    );
    assert_eq!(knowledge.show(), Some(fact(InMatch, 110)));
}

#[test]
fn a_read_that_was_sent_before_an_event_does_not_undo_it() {
    let mut knowledge = heard(100, 5);
    assert_eq!(
        knowledge.read(fact(Offline, 0), 99, 4, 6),
        Verdict::Doubtful
    );
    assert_eq!(
        knowledge.read(fact(Online, 90), 99, 4, 7),
        Verdict::Doubtful
    );
    assert_eq!(
        knowledge.read(fact(InMatch, 110), 110, 4, 8),
        Verdict::Changed
    );
}

#[test]
fn a_read_that_was_sent_after_an_event_and_finds_less_says_that_data_was_lost() {
    let mut knowledge = heard(100, 5);
    assert_eq!(knowledge.read(fact(Offline, 0), 120, 5, 6), Verdict::Lost);
    assert_eq!(knowledge.show().unwrap().version, None);
    assert_eq!(
        knowledge.read(fact(InMatch, 90), 130, 6, 7),
        Verdict::Changed
    );
    assert_eq!(
        knowledge.show().unwrap(),
        Fact {
            version: None,
            ..fact(InMatch, 90)
        },
        "a version never decreases"
    );
    assert_eq!(
        knowledge.apply_event(fact(Online, 140), 140, 8),
        Verdict::Changed
    );
    assert_eq!(knowledge.show(), Some(fact(Online, 140)));
}

#[test]
fn a_version_that_no_caller_was_sent_is_not_a_bound() {
    let mut knowledge = Knowledge::default();
    knowledge.apply_event(fact(Online, 100), 100, 1);
    assert_eq!(knowledge.read(fact(InMatch, 90), 120, 1, 2), Verdict::Lost);
    assert_eq!(knowledge.show(), Some(fact(InMatch, 90)));
}

#[test]
fn an_event_from_before_the_loss_is_looked_into() {
    let mut knowledge = heard(100, 5);
    knowledge.read(fact(Offline, 0), 120, 5, 6);
    assert_eq!(
        knowledge.apply_event(fact(InMatch, 110), 110, 7),
        Verdict::Doubtful
    );
    assert_eq!(
        knowledge.apply_event(fact(Online, 121), 121, 8),
        Verdict::Changed
    );
}

#[test]
fn an_event_from_before_the_later_of_two_reads_that_agree_is_looked_into() {
    // Both were sent before either arrived, and the data set was lost between the two.
    let mut knowledge = Knowledge::default();
    assert_eq!(
        knowledge.read(fact(Offline, 0), 100, 1, 3),
        Verdict::Changed
    );
    assert_eq!(
        knowledge.read(fact(Offline, 0), 120, 2, 4),
        Verdict::Unchanged
    );
    assert_eq!(
        knowledge.apply_event(fact(Online, 110), 110, 5),
        Verdict::Doubtful
    );
    assert_eq!(
        knowledge.read(fact(Offline, 0), 90, 2, 6),
        Verdict::Unchanged
    );
    assert_eq!(
        knowledge.apply_event(fact(Online, 110), 110, 7),
        Verdict::Doubtful,
        "an older read changes nothing"
    );
}

#[test]
fn a_read_from_before_the_loss_is_looked_into() {
    let mut knowledge = heard(100, 5);
    knowledge.read(fact(Offline, 0), 120, 5, 7);
    assert_eq!(
        knowledge.read(fact(Online, 100), 119, 6, 8),
        Verdict::Doubtful
    );
}

#[test]
fn an_expired_record_reads_as_offline_with_its_last_version() {
    for sent in [4, 5] {
        let mut knowledge = heard(100, 5);
        assert_eq!(
            knowledge.read(fact(Offline, 100), 45_100, sent, 6),
            Verdict::Changed
        );
        assert_eq!(knowledge.show(), Some(fact(Offline, 100)));
        assert_eq!(
            knowledge.apply_event(fact(Online, 100), 100, 7),
            Verdict::Unchanged
        );
    }
}

#[test]
fn a_clock_that_goes_back_delays_and_loses_nothing() {
    let mut knowledge = Knowledge::default();
    knowledge.read(fact(Online, 1_000), 1_000, 1, 2);
    assert_eq!(
        knowledge.apply_event(fact(InMatch, 1_001), 500, 3),
        Verdict::Doubtful
    );
    assert_eq!(
        knowledge.read(fact(InMatch, 1_001), 510, 3, 4),
        Verdict::Changed
    );
}

#[test]
fn an_activity_comes_and_goes_with_its_version() {
    let parse_activity = |text: &str| Some(serde_json::from_str::<Activity>(text).unwrap());
    let ranked = parse_activity(r#"{"details":"Ranked"}"#);
    let mut knowledge = heard(100, 5);
    knowledge.apply_event(
        Fact {
            activity: ranked.clone(),
            ..fact(Online, 110)
        },
        110,
        6,
    );
    assert_eq!(knowledge.show().unwrap().activity, ranked);
    let casual = Fact {
        activity: parse_activity(r#"{"details":"Casual"}"#),
        ..fact(Online, 120)
    };
    assert_eq!(knowledge.read(casual.clone(), 120, 6, 7), Verdict::Changed);
    assert_eq!(knowledge.show(), Some(casual));
    assert_eq!(
        knowledge.apply_event(
            Fact {
                activity: ranked,
                ..fact(Online, 110)
            },
            110,
            8
        ),
        Verdict::Unchanged
    );
    assert_eq!(
        knowledge.read(fact(Online, 130), 130, 8, 9),
        Verdict::Changed
    );
    assert_eq!(knowledge.show().unwrap().activity, None);
}

#[test]
fn what_was_forgotten_is_believed_again_from_the_next_read_on() {
    let mut knowledge = heard(100, 5);
    knowledge.forget(6);
    assert_eq!(knowledge.show(), None);
    assert_eq!(
        knowledge.read(fact(InMatch, 90), 130, 7, 8),
        Verdict::Changed
    );
    assert_eq!(
        knowledge.show().unwrap().version,
        None,
        "a version never decreases"
    );
}
