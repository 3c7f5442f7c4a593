//! What is taken, and what is refused with which words.

use super::*;

fn refusal(change: impl FnOnce(&mut StandAlone)) -> String {
    let mut edge = StandAlone::default();
    change(&mut edge);
    edge.check().unwrap_err().to_string()
}

#[test]
fn the_default_inputs_are_accepted() {
    assert!(StandAlone::default().check().is_ok());
}

#[test]
fn a_client_address_is_parsed_or_refused_with_the_valid_forms() {
    for (text, want) in [
        ("peer", "peer"),
        ("contour", "contour"),
        ("xff:1", "xff:1"),
        ("xff:16", "xff:16"),
        (
            "xff:0",
            "xff:0 is out of range: use 1 to 16 proxies, or peer where none stands in front",
        ),
        (
            "xff:17",
            "xff:17 is out of range: use 1 to 16 proxies, or peer where none stands in front",
        ),
        (
            "xff:+1",
            "\"xff:+1\" is not a place to read the client's address: use peer, contour, or xff:N with N the number of proxies in front of Envoy",
        ),
        (
            "",
            "\"\" is not a place to read the client's address: use peer, contour, or xff:N with N the number of proxies in front of Envoy",
        ),
    ] {
        let got = text
            .parse::<ClientAddress>()
            .map_or_else(|error| error.to_string(), |address| address.to_string());
        assert_eq!(got, want, "{text}");
    }
}

#[test]
fn a_host_is_an_ip_address_or_a_dns_name_with_a_port() {
    for (text, want) in [
        ("127.0.0.1:18000", Some((true, "127.0.0.1", 18000))),
        ("[::1]:18000", Some((true, "::1", 18000))),
        (
            "Hookgate.flux-system.svc.:9292",
            Some((false, "hookgate.flux-system.svc.", 9292)),
        ),
        ("localhost:1", Some((false, "localhost", 1))),
        ("::1:18000", None),
        ("[hookgate]:18000", None),
        ("hookgate", None),
        ("hookgate:0", None),
        ("hookgate:65536", None),
        ("hookgate:+1", None),
        (":18000", None),
        ("300.1.1.1:80", None),
        ("a..b:80", None),
        ("-a:80", None),
        ("a\"b:80", None),
        ("a\nb:80", None),
        ("http://a:80", None),
    ] {
        let got: Option<HostPort> = text.parse().ok();
        let got = got.as_ref().map(|at| (at.is_ip(), at.host(), at.port()));
        assert_eq!(
            got,
            want.map(|(ip, host, port)| (ip, host.to_owned(), port)),
            "{text:?}"
        );
    }
}

#[test]
fn a_server_name_is_a_dns_name_without_the_dot_of_the_root() {
    for (text, want) in [
        (
            "Hookgate.flux-system.svc.",
            Some("hookgate.flux-system.svc"),
        ),
        ("localhost", Some("localhost")),
        ("10.0.0.5", None),
        ("*.example", None),
        ("a\"b", None),
        ("a:1", None),
        ("", None),
        (".", None),
    ] {
        let got = text.parse::<DnsName>().map(|name| name.to_string()).ok();
        assert_eq!(got.as_deref(), want, "{text:?}");
    }
}

#[test]
fn the_files_for_the_xds_port_obey_the_rules_of_all_files() {
    for (flag, cert, key, ca) in [
        ("--xds-client-cert", "c", "/k", "/a"),
        ("--xds-client-key", "/c", "/k\n", "/a"),
        ("--xds-ca", "/c", "/k", "/a\""),
    ] {
        let message = refusal(|edge| {
            edge.chain.xds_tls = Some(XdsClientTls {
                identity: Identity::Files {
                    cert: cert.into(),
                    key: key.into(),
                },
                authority: Authority::File(ca.into()),
                server_name: None,
            });
        });
        assert!(message.starts_with(&format!("{flag} ")), "{message}");
    }
}

#[test]
fn port_zero_is_refused_by_name_of_the_flag() {
    let zero = SocketAddr::from(([127, 0, 0, 1], 0));
    assert_eq!(
        [
            refusal(|edge| edge.listener = zero),
            refusal(|edge| edge.admin = zero),
            refusal(|edge| edge.chain.xds = zero.into()),
            refusal(|edge| edge.chain.controller = zero.into()),
        ],
        [
            "--listener-addr",
            "--admin-addr",
            "--xds-addr",
            "--controller-addr"
        ]
        .map(|flag| format!("{flag} has port 0: name the port, 1 to 65535")),
    );
}

#[test]
fn an_admin_interface_on_the_network_is_refused() {
    assert_eq!(
        refusal(|edge| edge.admin = SocketAddr::from(([0, 0, 0, 0], 9901))),
        "--admin-addr 0.0.0.0:9901 is not loopback: Envoy's admin interface shows the table and can stop Envoy, use 127.0.0.1:9901 or [::1]:9901",
    );
}

#[test]
fn a_path_that_could_leave_its_quotes_is_refused() {
    for path in [
        "/a\"b",
        "/a'b",
        "/a\\b",
        "/a\nb",
        "/a\u{0}b",
        "/a\u{2028}b",
        "relative",
        "/folder/",
        "",
    ] {
        let message = refusal(|edge| edge.tls_key = path.into());
        assert!(message.starts_with("--tls-key "), "{message}");
        assert!(
            message.ends_with("for example /etc/hookgate/tls.crt"),
            "{message}"
        );
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn numbers_have_limits() {
    assert_eq!(
        [
            refusal(|edge| edge.chain.max_hook_bytes = MAX_HOOK_BYTES_CEILING + 1),
            refusal(|edge| edge.chain.address_rate = 0),
            refusal(|edge| edge.chain.address_burst = 0),
            refusal(|edge| edge.bounds.max_connections = 0),
            refusal(|edge| edge.bounds.max_heap_bytes = 1),
        ],
        [
            "--max-hook-bytes 26214401 is out of range: use 1 to 26214400",
            "--address-rate 0 is out of range: use 1 to 10000000",
            "--address-burst 0 is out of range: use 1 to 10000000",
            "--max-connections 0 is out of range: use 1 to 1000000",
            "--max-heap-bytes 1 is out of range: use 268435456 to 1099511627776",
        ]
        .map(str::to_owned),
    );
}

#[test]
fn a_domain_of_limits_is_a_plain_word() {
    let long = "a".repeat(63);
    for text in ["hookgate", "a.b-c_1", &long] {
        let got = text.parse::<LimitDomain>().map(|domain| domain.to_string());
        assert_eq!(got.unwrap(), text);
    }
    for text in ["", "a b", "a\"", "a\n", "ä", &"a".repeat(64)] {
        assert_eq!(
            text.parse::<LimitDomain>().unwrap_err().to_string(),
            format!(
                "{text:?} is not a domain of limits: use 1 to 63 letters, digits, dots, dashes or underscores, for example hookgate"
            )
        );
    }
}

#[test]
fn a_rate_limit_service_needs_a_port() {
    let told = refusal(|edge| {
        edge.chain.shared_limit = Some(SharedLimit {
            service: SocketAddr::from(([127, 0, 0, 1], 0)).into(),
            domain: "hookgate".parse().unwrap(),
        });
    });
    assert_eq!(
        told,
        "--rate-limit-addr has port 0: name the port, 1 to 65535"
    );
}
