//! What is said to a mail server, against one on loopback that follows a script.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::super::testing::{Authority, STRICT};
use super::*;
use crate::outbound::Refused;

/// How a server behaves.
#[derive(Clone, Default)]
struct Script {
    tls: Option<TlsAcceptor>,
    /// It speaks TLS from the first byte.
    is_implicit: bool,
    /// It does not offer `STARTTLS`.
    hides_tls: bool,
    /// What follows its answer to `STARTTLS`, in plain text.
    smuggled: &'static str,
    /// What it answers to a line that starts so.
    answers: Option<(&'static str, &'static str)>,
    /// It closes the connection after each mail.
    closes: bool,
}

struct Server {
    address: SocketAddr,
    /// Every line that came, and how each connection began.
    heard: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = heard.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, script.clone(), kept.clone()));
            }
        });
        Self {
            address,
            heard,
            task,
        }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    fn mail(&self, security: MailSecurity) -> Mail {
        Mail {
            host: "127.0.0.1".to_owned(),
            port: self.address.port(),
            security,
            login: None,
            from: "flux@acme.test".to_owned(),
            to: vec!["a@acme.test".to_owned(), "b@acme.test".to_owned()],
            message: b"Subject: x\r\n\r\n.dot\r\n".to_vec(),
        }
    }
}

/// Serves one connection until the client has enough of it.
async fn serve(stream: TcpStream, script: Script, heard: Arc<Mutex<Vec<String>>>) {
    let hear = |line: &str| heard.lock().unwrap().push(line.trim_end().to_owned());
    let mut stream: Stream = BufReader::new(Box::new(stream));
    let tls = script.tls.as_ref();
    if let Some(tls) = tls.filter(|_| script.is_implicit) {
        let Ok(encrypted) = tls.accept(stream).await else {
            return hear("no TLS");
        };
        stream = BufReader::new(Box::new(encrypted));
    }
    write(&mut stream, "220-mail.test\r\n220 hello\r\n")
        .await
        .unwrap();
    let (mut is_data, mut is_encrypted) = (false, script.is_implicit);
    while let Ok(line) = wire::line(&mut stream, 1_000).await {
        hear(&line);
        let word = line.split([' ', '\r']).next().unwrap_or_default();
        let offers_tls = tls.is_some() && !script.hides_tls && !is_encrypted;
        let answer = match script.answers.filter(|(start, _)| line.starts_with(start)) {
            Some((_, answer)) => answer,
            None if is_data && word != "." => continue,
            None => match word {
                "EHLO" if offers_tls => "250-mail.test\r\n250-SIZE 1000\r\n250 StartTLS\r\n",
                "EHLO" => "250-mail.test\r\n250 AUTH PLAIN LOGIN\r\n",
                "AUTH" => "235 in\r\n",
                "DATA" => "354 go on\r\n",
                "STARTTLS" => "220 go on\r\n",
                _ => "250 fine\r\n",
            },
        };
        is_data = word == "DATA" && answer.starts_with('3');
        let smuggled = if word == "STARTTLS" {
            script.smuggled
        } else {
            ""
        };
        let _ = write(&mut stream, &format!("{answer}{smuggled}")).await;
        if let Some(tls) = tls.filter(|_| word == "STARTTLS") {
            let Ok(encrypted) = tls.accept(stream).await else {
                return hear("no TLS");
            };
            stream = BufReader::new(Box::new(encrypted));
            is_encrypted = true;
        }
        if word == "." && script.closes {
            return;
        }
    }
}

/// The lines of a mail, from its envelope on.
const MAIL: [&str; 8] = [
    "MAIL FROM:<flux@acme.test>",
    "RCPT TO:<a@acme.test>",
    "RCPT TO:<b@acme.test>",
    "DATA",
    "Subject: x",
    "",
    "..dot",
    ".",
];
const HELLO: &str = "EHLO [127.0.0.1]";

async fn sent(mail: &Mail, target: &Target) -> Result<(), TransportError> {
    Smtp::new(STRICT).send(mail, target).await
}

fn trusting(authority: &Authority) -> Target {
    Target {
        tls: authority.trusted(None),
        ..Target::default()
    }
}

#[tokio::test]
async fn a_mail_goes_to_a_relay_in_plain_text_where_that_is_wanted() {
    let server = Server::start(Script::default()).await;
    let mail = server.mail(MailSecurity::Open);
    assert_eq!(sent(&mail, &Target::default()).await, Ok(()));
    assert_eq!(server.heard(), [&[HELLO][..], &MAIL].concat());
}

#[tokio::test]
async fn passwords_go_through_tls_of_either_kind() {
    let authority = Authority::new();
    let login = Some(("me".to_owned(), "hush".to_owned().into()));
    for (security, before) in [
        (MailSecurity::Tls, &[][..]),
        (MailSecurity::StartTls, &[HELLO, "STARTTLS"][..]),
    ] {
        let script = Script {
            tls: Some(authority.server("127.0.0.1", false, &[])),
            is_implicit: security == MailSecurity::Tls,
            ..Script::default()
        };
        let server = Server::start(script).await;
        let mut mail = server.mail(security);
        mail.login.clone_from(&login);
        assert_eq!(sent(&mail, &trusting(&authority)).await, Ok(()));
        // \0me\0hush
        let wanted = [before, &[HELLO, "AUTH PLAIN AG1lAGh1c2g="], &MAIL].concat();
        assert_eq!(server.heard(), wanted);

        let stranger = sent(&mail, &trusting(&Authority::new())).await.unwrap_err();
        assert!(matches!(stranger, TransportError::Tls(_)), "{stranger}");
        let after = &server.heard()[wanted.len()..];
        assert!(!after.iter().any(|line| line.starts_with("AUTH")));
    }
}

#[tokio::test]
async fn nothing_is_sent_where_tls_is_not_offered_or_tampered_with() {
    let authority = Authority::new();
    for (hides_tls, smuggled, want, heard) in [
        (true, "", "the server does not offer STARTTLS", &[HELLO][..]),
        (
            false,
            "250 me too\r\n",
            "the server says more before TLS than it should",
            &[HELLO, "STARTTLS", "no TLS"][..],
        ),
    ] {
        let script = Script {
            tls: Some(authority.server("127.0.0.1", false, &[])),
            hides_tls,
            smuggled,
            ..Script::default()
        };
        let server = Server::start(script).await;
        let mail = server.mail(MailSecurity::StartTls);
        let error = Err(TransportError::Tls(want.to_owned()));
        assert_eq!(sent(&mail, &trusting(&authority)).await, error);
        for _ in 0..1_000 {
            if server.heard() == heard {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        assert_eq!(server.heard(), heard);
    }
}

#[tokio::test]
async fn a_refusal_is_for_good_where_the_server_says_so() {
    for (answers, want) in [
        (
            ("RCPT TO:<b", "550 no such user\r\n"),
            TransportError::Refused("permanent error (550): no such user".to_owned()),
        ),
        (
            (".", "451 later\r\n"),
            TransportError::Exchange("transient error (451): later".to_owned()),
        ),
        (
            ("MAIL", "554 no\r\n"),
            TransportError::Refused("permanent error (554): no".to_owned()),
        ),
        (
            ("DATA", "junk\r\n"),
            TransportError::Exchange("response error: error: char".to_owned()),
        ),
    ] {
        let answers = Some(answers);
        let server = Server::start(Script {
            answers,
            ..Script::default()
        })
        .await;
        let error = sent(&server.mail(MailSecurity::Open), &Target::default()).await;
        match (&want, error) {
            // The words for what is no reply are lettre's.
            (TransportError::Exchange(text), Err(TransportError::Exchange(_)))
                if text.starts_with("response") => {}
            (_, error) => assert_eq!(error, Err(want)),
        }
    }
}

#[tokio::test]
async fn connections_are_reused_and_one_that_was_closed_meanwhile_is_no_failure() {
    for (closes, connections) in [(false, 1), (true, 5)] {
        let server = Server::start(Script {
            closes,
            ..Script::default()
        })
        .await;
        let smtp = Smtp::new(STRICT);
        let mail = server.mail(MailSecurity::Open);
        for _ in 0..5 {
            assert_eq!(smtp.send(&mail, &Target::default()).await, Ok(()));
        }
        let heard = server.heard();
        let count = |wanted: &str| heard.iter().filter(|line| *line == wanted).count();
        assert_eq!((count(HELLO), count("..dot")), (connections, 5));
    }
}

#[tokio::test]
async fn an_address_that_is_none_and_a_metadata_service_are_refused() {
    let server = Server::start(Script::default()).await;
    let mut mail = server.mail(MailSecurity::Open);
    mail.to.push("a@b>\r\nDATA".to_owned());
    let error = TransportError::Config("a mail address cannot be used".to_owned());
    assert_eq!(sent(&mail, &Target::default()).await, Err(error));
    let mut mail = server.mail(MailSecurity::Open);
    mail.host = "[::ffff:169.254.169.254]".to_owned();
    let refused = Err(Refused::MetadataAddress.into());
    assert_eq!(sent(&mail, &Target::default()).await, refused);
    assert_eq!(server.heard(), Vec::<String>::new());
}
