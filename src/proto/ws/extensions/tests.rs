//! Offers, choices and responses, as text.

use super::{DeflateContext, DeflateOptions};

fn with(context: DeflateContext, window_bits: u8, peer_window_bits: u8) -> DeflateOptions {
    DeflateOptions {
        context,
        window_bits,
        peer_window_bits,
        ..DeflateOptions::default()
    }
}

fn own() -> DeflateOptions {
    DeflateOptions::own_context()
}

/// What a server with `options` answers to `field`.
fn answer(options: &DeflateOptions, field: &str) -> String {
    match options.choose(field) {
        Ok(Some(agreement)) => agreement
            .response()
            .replace("permessage-deflate", "pd")
            .replace("context_takeover", "ct")
            .replace("max_window_bits", "mwb"),
        Ok(None) => "declined".to_owned(),
        Err(_) => "malformed".to_owned(),
    }
}

#[test]
fn each_parameter_of_an_offer_gets_its_answer() {
    for (parameters, expected) in [
        ("", "pd"),
        ("; server_no_context_takeover", "pd; server_no_ct"),
        ("; client_no_context_takeover", "pd; client_no_ct"),
        ("; server_max_window_bits=15", "pd; server_mwb=15"),
        ("; server_max_window_bits=9", "pd; server_mwb=9"),
        ("; server_max_window_bits=8", "declined"),
        ("; client_max_window_bits", "pd"),
        ("; client_max_window_bits=15", "pd"),
        ("; client_max_window_bits=12", "pd; client_mwb=12"),
        ("; client_max_window_bits=8", "pd; client_mwb=8"),
        (
            "; client_max_window_bits = 10;server_no_context_takeover ;\tserver_max_window_bits=\"11\"",
            "pd; server_no_ct; server_mwb=11; client_mwb=10",
        ),
    ] {
        let field = format!("permessage-deflate{parameters}");
        assert_eq!(answer(&own(), &field), expected, "{field}");
    }
}

#[test]
fn what_the_server_wants_is_in_its_answer() {
    let shared = with(DeflateContext::Shared, 15, 15);
    let small = with(DeflateContext::Own, 10, 11);
    for (options, parameters, expected) in [
        (&shared, "", "pd; server_no_ct; client_no_ct"),
        (
            &shared,
            "; client_max_window_bits; server_max_window_bits=14",
            "pd; server_no_ct; client_no_ct; server_mwb=14",
        ),
        // A client that does not say that it can be told a window cannot.
        (&small, "", "pd; server_mwb=10"),
        (
            &small,
            "; client_max_window_bits",
            "pd; server_mwb=10; client_mwb=11",
        ),
        (
            &small,
            "; client_max_window_bits=9; server_max_window_bits=9",
            "pd; server_mwb=9; client_mwb=9",
        ),
        (
            &small,
            "; client_max_window_bits=15; server_max_window_bits=15",
            "pd; server_mwb=10; client_mwb=11",
        ),
    ] {
        let field = format!("permessage-deflate{parameters}");
        assert_eq!(answer(options, &field), expected, "{field}");
    }
}

#[test]
fn an_offer_with_what_it_may_not_have_is_declined() {
    for parameters in [
        "x",
        "server_no_context_takeover=1",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "server_max_window_bits",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=09",
        "server_max_window_bits=0",
        "server_max_window_bits=ten",
        "server_max_window_bits=10; server_max_window_bits=10",
        "client_max_window_bits; client_max_window_bits",
        "client_max_window_bits; client_max_window_bits=10",
        "client_max_window_bits=16",
        "client_max_window_bits=\"16\"",
        "Server_No_Context_Takeover",
    ] {
        let field = format!("permessage-deflate; {parameters}");
        assert_eq!(answer(&own(), &field), "declined", "{field}");
        // And the next one is looked at.
        let field = format!("{field}, permessage-deflate; client_no_context_takeover");
        assert_eq!(answer(&own(), &field), "pd; client_no_ct", "{field}");
    }
}

#[test]
fn the_first_offer_that_can_be_followed_is_chosen() {
    for (field, expected) in [
        ("", "declined"),
        (" , ,, ", "declined"),
        ("x-webkit-deflate-frame", "declined"),
        ("foo; bar=baz; qux, permessage-deflate", "pd"),
        (
            "permessage-deflate, permessage-deflate; server_no_context_takeover",
            "pd",
        ),
        (
            "permessage-deflate; server_max_window_bits=8,, permessage-deflate; server_max_window_bits=9",
            "pd; server_mwb=9",
        ),
        (
            "permessage-deflate-2, permessage-deflate;client_no_context_takeover,",
            "pd; client_no_ct",
        ),
    ] {
        assert_eq!(answer(&own(), field), expected, "{field}");
    }
}

#[test]
fn quoted_values_are_tokens_and_may_hide_no_comma() {
    for (field, expected) in [
        (
            r#"permessage-deflate; server_max_window_bits="1\0""#,
            "pd; server_mwb=10",
        ),
        (
            r#"permessage-deflate; server_max_window_bits="10"#,
            "malformed",
        ),
        (
            r#"permessage-deflate; server_max_window_bits="10\"#,
            "malformed",
        ),
        (
            r#"permessage-deflate; server_max_window_bits="10,""#,
            "malformed",
        ),
        (
            r#"permessage-deflate; server_max_window_bits="""#,
            "malformed",
        ),
        (r#"x; y="a;b", permessage-deflate"#, "malformed"),
        (r#""permessage-deflate""#, "malformed"),
    ] {
        assert_eq!(answer(&own(), field), expected, "{field}");
    }
}

#[test]
fn a_field_that_is_no_list_of_extensions_is_malformed() {
    for field in [
        ";",
        "permessage-deflate;",
        "permessage-deflate; ; server_no_context_takeover",
        "permessage-deflate server_no_context_takeover",
        "permessage-deflate; server_max_window_bits=",
        "permessage-deflate; =10",
        "permessage-deflate; server_max_window_bits=10=10",
        "permessage-deflate, @",
        "permessage-d\u{e9}flate",
        "permessage-deflate\u{a0}",
    ] {
        assert_eq!(answer(&own(), field), "malformed", "{field}");
    }
    let many = |count: usize| vec!["permessage-deflate; x"; count].join(",");
    assert_eq!(answer(&own(), &many(32)), "declined");
    assert_eq!(answer(&own(), &many(33)), "malformed");
    let long = |count: usize| format!("permessage-deflate{}", "; x".repeat(count));
    assert_eq!(answer(&own(), &long(32)), "declined");
    assert_eq!(answer(&own(), &long(33)), "malformed");
}

#[test]
fn a_client_offers_what_it_wants() {
    for (options, expected) in [
        (own(), "permessage-deflate; client_max_window_bits"),
        (
            with(DeflateContext::Shared, 15, 15),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits",
        ),
        (
            with(DeflateContext::Own, 10, 11),
            "permessage-deflate; server_max_window_bits=11; client_max_window_bits=10",
        ),
    ] {
        assert_eq!(options.offer(), expected);
        // And gets it, from a server of ours with any options.
        for server in [own(), with(DeflateContext::Shared, 9, 9), options.clone()] {
            let agreement = server.choose(expected).unwrap().unwrap();
            let agreed = options
                .check_response(&agreement.response())
                .unwrap()
                .unwrap();
            assert_eq!(
                agreed.server_no_context_takeover,
                agreement.server_no_context_takeover
            );
            assert!(
                agreed.client_max_window_bits.unwrap_or(15)
                    <= agreement.client_max_window_bits.unwrap_or(15)
            );
        }
    }
}

/// What a client with `options` makes of a server's `field`.
fn agreed(options: &DeflateOptions, field: &str) -> String {
    match options.check_response(field) {
        Ok(Some(agreement)) => format!(
            "server {} {}, client {} {}",
            agreement.server_max_window_bits.unwrap_or(15),
            if agreement.server_no_context_takeover {
                "forgets"
            } else {
                "keeps"
            },
            agreement.client_max_window_bits.unwrap_or(15),
            if agreement.client_no_context_takeover {
                "forgets"
            } else {
                "keeps"
            },
        ),
        Ok(None) => "none".to_owned(),
        Err(_) => "refused".to_owned(),
    }
}

#[test]
fn a_response_is_held_against_the_offer() {
    let shared = with(DeflateContext::Shared, 15, 15);
    let small = with(DeflateContext::Own, 10, 11);
    for (options, field, expected) in [
        (&own(), "", "none"),
        (
            &own(),
            "permessage-deflate",
            "server 15 keeps, client 15 keeps",
        ),
        (
            &own(),
            "permessage-deflate; client_max_window_bits=8; server_max_window_bits=8",
            "server 8 keeps, client 8 keeps",
        ),
        // A server may ask for these without being asked.
        (
            &own(),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            "server 15 forgets, client 15 forgets",
        ),
        (
            &own(),
            "permessage-deflate; client_max_window_bits",
            "refused",
        ),
        (&own(), "permessage-deflate; x", "refused"),
        (&own(), "permessage-deflate, permessage-deflate", "refused"),
        (&own(), "x", "refused"),
        (&own(), "permessage-deflate, x", "refused"),
        (&own(), "permessage-deflate;", "refused"),
        (&shared, "permessage-deflate", "refused"),
        (
            &shared,
            "permessage-deflate; server_no_context_takeover",
            "server 15 forgets, client 15 forgets",
        ),
        (&small, "permessage-deflate", "refused"),
        (
            &small,
            "permessage-deflate; server_max_window_bits=12",
            "refused",
        ),
        (
            &small,
            "permessage-deflate; server_max_window_bits=11",
            "server 11 keeps, client 10 keeps",
        ),
        (
            &small,
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits=9",
            "server 9 keeps, client 9 keeps",
        ),
        (
            &small,
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits=11",
            "refused",
        ),
    ] {
        assert_eq!(agreed(options, field), expected, "{field}");
    }
}

#[test]
#[should_panic(expected = "9 to 15 bits")]
fn options_with_a_window_of_eight_bits_are_a_mistake() {
    with(DeflateContext::Own, 8, 15).offer();
}
