use super::*;

fn by() -> Address {
    ("10.0.0.1".to_owned(), 7_000)
}

/// What an error reply leads to.
fn next_of(reply: &str, attempt: u32) -> Option<(Route, Pause)> {
    let error = redis::parse_redis_value(format!("-{reply}\r\n").as_bytes())
        .unwrap()
        .extract_error()
        .unwrap_err();
    next(&error.into(), &by(), Repeat::Allowed, attempt)
}

fn to(host: &str, slots: Slots) -> Route {
    Route::Redirected((host.to_owned(), 7_001), slots)
}

#[test]
fn a_command_follows_its_slot() {
    assert_eq!(
        next_of("MOVED 1 10.0.0.2:7001", 1),
        Some((to("10.0.0.2", Slots::Held), Pause::None))
    );
    assert_eq!(
        next_of("ASK 1 10.0.0.2:7001", 1),
        Some((to("10.0.0.2", Slots::Importing), Pause::None))
    );
    assert_eq!(
        next_of("MOVED 1 :7001", 1),
        Some((to("10.0.0.1", Slots::Held), Pause::None))
    );
    assert_eq!(
        next_of("MOVED 1 2001:db8::1:7001", 1),
        Some((to("2001:db8::1", Slots::Held), Pause::None))
    );
    assert_eq!(
        next_of("MOVED 1 ?:7001", 1),
        Some((Route::Master, Pause::NewMap)),
        "an unknown host"
    );
    assert_eq!(
        next_of("TRYAGAIN half of it", 1),
        Some((Route::Master, Pause::Wait))
    );
}

#[test]
fn nodes_that_disagree_do_not_pass_a_command_to_and_fro_for_ever() {
    let moved = "MOVED 1 10.0.0.2:7001";
    assert_eq!(next_of(moved, PROMPT_REDIRECTIONS).unwrap().1, Pause::None);
    assert_eq!(
        next_of(moved, PROMPT_REDIRECTIONS + 1).unwrap().1,
        Pause::Wait
    );
    assert_eq!(next_of(moved, ATTEMPTS), None);
}

#[test]
fn other_errors_are_replies() {
    for reply in [
        "NOSCRIPT no such script",
        "OOM full",
        "LOADING soon",
        "CLUSTERDOWN for now",
        "ERR what?",
    ] {
        assert_eq!(next_of(reply, 1), None, "{reply}");
    }
    assert_eq!(
        next(
            &StoreError::Timeout(Duration::ZERO),
            &by(),
            Repeat::Allowed,
            1
        ),
        None
    );
}
#[test]
fn only_what_may_be_repeated_is_sent_again_after_a_lost_socket() {
    let lost = StoreError::from(RedisError::from(std::io::Error::from(
        std::io::ErrorKind::ConnectionReset,
    )));
    assert_eq!(
        next(&lost, &by(), Repeat::Allowed, 1),
        Some((Route::Master, Pause::NewMap))
    );
    assert_eq!(
        next(&lost, &by(), Repeat::Allowed, ATTEMPTS_ON_DEAD_SOCKETS),
        None
    );
    assert_eq!(next(&lost, &by(), Repeat::Forbidden, 1), None);
    assert_eq!(
        next(&StoreError::NotPrimary, &by(), Repeat::Forbidden, 1),
        Some((Route::Master, Pause::NewMap))
    );
}
