//! Whose certificates are accepted, and how it is said that they are not.

use rcgen::date_time_ymd;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::*;

/// What the client says about a server with `signed`, and the server about the client.
#[track_caller]
fn refused(connector: &TlsConnector, name: &str, signed: &Signed) -> (TlsError, TlsError) {
    let acceptor = signed.acceptor().build().unwrap();
    let (client, server) = pipe(FAST);
    let (client, server) = both(connector.connect(name, client), acceptor.accept(server));
    (tls_error(client), tls_error(server))
}

#[track_caller]
fn check(
    expected: CertificateFault,
    alert: u8,
    names: &[&str],
    change: fn(&mut CertificateParams),
) {
    let authority = Authority::new();
    let connector = authority.connector().build().unwrap();
    let (client, server) = refused(&connector, "server.test", &authority.sign(names, change));
    let TlsError::Certificate { fault, .. } = client else {
        panic!("about the certificate: {client}");
    };
    assert_eq!(fault, expected);
    assert_eq!(server, TlsError::Refused(alert), "the peer is told");
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    check(CertificateFault::WrongName, 42, &["other.test"], |_| {});
}

#[test]
fn a_wrong_name_is_told_with_the_names_that_are_right() {
    let authority = Authority::new();
    let connector = authority.connector().build().unwrap();
    let (error, _) = refused(&connector, "a.test", &authority.sign(&["b.test"], |_| {}));
    let said = error.to_string();
    assert!(said.contains("a.test") && said.contains("b.test"), "{said}");
}

#[test]
fn an_expired_certificate_is_refused() {
    check(CertificateFault::Expired, 45, &["server.test"], |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
}

#[test]
fn a_certificate_of_the_future_is_refused() {
    check(
        CertificateFault::NotYetValid,
        45,
        &["server.test"],
        |params| {
            params.not_before = date_time_ymd(2970, 1, 1);
        },
    );
}

#[test]
fn a_certificate_for_clients_is_refused_from_a_server() {
    check(
        CertificateFault::WrongPurpose,
        43,
        &["server.test"],
        |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        },
    );
}

#[test]
fn an_unknown_authority_is_refused() {
    let signed = Authority::new().server();
    for connector in [
        TlsConnector::new(),
        Authority::new().connector().build().unwrap(),
    ] {
        let (client, server) = refused(&connector, "server.test", &signed);
        let fault = CertificateFault::UnknownIssuer;
        assert!(matches!(client, TlsError::Certificate { fault: found, .. } if found == fault));
        assert_eq!(server, TlsError::Refused(48));
    }
}

#[test]
fn roots_are_added_to_those_of_mozilla_or_replace_them() {
    let authority = Authority::new();
    let acceptor = authority.acceptor().build().unwrap();
    let added = TlsConnector::builder()
        .add_roots(authority.pem().as_bytes())
        .unwrap();
    for connector in [added, authority.connector()] {
        let connector = connector.build().unwrap();
        let (client, server) = pipe(FAST);
        let (client, _) = both(
            connector.connect("server.test", client),
            acceptor.accept(server),
        );
        client.unwrap();
    }
}

#[test]
fn an_address_is_a_name_like_another() {
    let (connector, acceptor) = ordinary();
    for (name, is_fine) in [("127.0.0.1", true), ("127.0.0.2", false), ("[::1]", false)] {
        let (client, server) = pipe(FAST);
        let (client, server) = both(connector.connect(name, client), acceptor.accept(server));
        assert_eq!(client.is_ok(), is_fine, "{name}");
        if let Ok(server) = server {
            assert_eq!(
                server.server_name(),
                None,
                "RFC 6066, 3: addresses are not sent"
            );
        }
    }
    for name in ["", "a b", "a..b", "[::1", "*.test"] {
        let (client, _server) = pipe(FAST);
        let mut error = None;
        run(vec![Box::pin(async {
            error = Some(tls_error(connector.connect(name, client).await));
        })]);
        assert_eq!(error, Some(TlsError::BadName(name.to_owned())));
    }
}

#[test]
fn a_client_without_a_certificate_is_refused_where_one_is_required() {
    let authority = Authority::new();
    let acceptor = authority.acceptor();
    let acceptor = acceptor
        .require_clients_of(authority.pem().as_bytes())
        .unwrap()
        .build()
        .unwrap();
    let connector = authority.connector().build().unwrap();
    let (client, server) = pipe(FAST);
    let connect = async {
        // In TLS 1.3 the client is done before the server has looked.
        let mut stream = connector.connect("server.test", client).await?;
        let said = stream.read(&mut [0]).await;
        let again = stream.write(b"x").await;
        assert_eq!(tls_error(again), TlsError::Refused(116));
        said
    };
    let (client, server) = both(connect, acceptor.accept(server));
    assert_eq!(
        tls_error(client),
        TlsError::Refused(116),
        "certificate_required"
    );
    let fault = CertificateFault::Missing;
    assert!(
        matches!(tls_error(server), TlsError::Certificate { fault: found, .. } if found == fault)
    );
}

#[test]
fn a_client_shows_its_certificate_and_the_server_sees_it() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let roots = clients.pem();
    let signed = clients.client();
    let identity = |signed: &Signed| {
        let builder = servers.connector();
        builder
            .identity(signed.chain.as_bytes(), signed.key.as_bytes())
            .unwrap()
            .build()
            .unwrap()
    };
    let acceptor = servers
        .acceptor()
        .require_clients_of(roots.as_bytes())
        .unwrap()
        .build()
        .unwrap();
    let attempt = |connector: TlsConnector| {
        let (client, server) = pipe(FAST);
        let connect = async {
            connector
                .connect("server.test", client)
                .await?
                .read(&mut [0])
                .await
        };
        let accept = async {
            let mut stream = acceptor.accept(server).await?;
            stream.shutdown().await?;
            let shown: Vec<_> = stream.peer_certificates().map(<[u8]>::to_vec).collect();
            Ok(shown)
        };
        both(connect, accept)
    };
    let (client, server) = attempt(identity(&signed));
    assert_eq!(client.unwrap(), 0);
    let der = CertificateDer::from_pem_slice(signed.chain.as_bytes()).unwrap();
    assert_eq!(server.unwrap(), [der.to_vec()]);

    let (client, server) = attempt(identity(&Authority::new().client()));
    assert_eq!(
        tls_error(client),
        TlsError::Refused(48),
        "of another authority"
    );
    let fault = CertificateFault::UnknownIssuer;
    assert!(
        matches!(tls_error(server), TlsError::Certificate { fault: found, .. } if found == fault)
    );
}

#[test]
fn a_certificate_that_is_only_asked_for_may_be_missing() {
    let authority = Authority::new();
    let acceptor = authority
        .acceptor()
        .ask_clients_of(authority.pem().as_bytes())
        .unwrap();
    let acceptor = acceptor.build().unwrap();
    let connector = authority.connector().build().unwrap();
    let (client, server) = pipe(FAST);
    let (client, server) = both(
        connector.connect("server.test", client),
        acceptor.accept(server),
    );
    client.unwrap();
    assert_eq!(server.unwrap().peer_certificates().count(), 0);
}

#[test]
fn settings_that_cannot_work_are_refused_with_the_reason() {
    let authority = Authority::new();
    let (one, other) = (authority.server(), authority.server());
    let (chain, key) = (one.chain.as_bytes(), one.key.as_bytes());
    let why = |error: TlsError| match error {
        TlsError::BadSettings(why) => why,
        error => panic!("{error}"),
    };
    let builder = TlsConnector::builder;
    assert!(why(builder().add_roots(b"nothing").unwrap_err()).contains("no certificate"));
    assert!(why(builder().add_roots(key).unwrap_err()).contains("no certificate"));
    assert!(why(builder().without_roots().build().unwrap_err()).contains("no root"));
    assert!(why(TlsAcceptor::builder(b"", key).unwrap_err()).contains("no certificate"));
    assert!(why(TlsAcceptor::builder(chain, chain).unwrap_err()).contains("private key"));
    let torn = one.chain.replace("-----END", "-----");
    assert!(why(TlsAcceptor::builder(torn.as_bytes(), key).unwrap_err()).contains("certificate"));
    let mixed = TlsAcceptor::builder(chain, other.key.as_bytes()).unwrap();
    why(mixed.build().unwrap_err());
    let mixed = authority
        .connector()
        .identity(chain, other.key.as_bytes())
        .unwrap();
    why(mixed.build().unwrap_err());
}
