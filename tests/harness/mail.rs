//! A real mail server on loopback, that wants TLS and a password, and writes what it took into a file.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::ports;
use crate::process::Process;
use crate::python;
use crate::tls::Tls;
use crate::wait::{self, PATIENCE};
use crate::world::chain;

/// Who may send mail.
pub const USER: &str = "flux@acme.test";
/// The password of [`USER`].
pub const PASSWORD: &str = "hush-password";

/// aiosmtpd with STARTTLS and AUTH, a line of JSON for each mail.
const SERVER: &str = r#"
import email, email.policy, json, signal, ssl, sys
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

port, cert, key, user, password, path = sys.argv[1:]

class Handler:
    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        mail = {"from": envelope.mail_from, "to": envelope.rcpt_tos, "fields": message.keys(),
                "subject": message["Subject"], "text": message.get_content()}
        with open(path, "a") as file:
            file.write(json.dumps(mail) + "\n")
        return "250 OK"

def authenticate(server, session, envelope, mechanism, data):
    known = (data.login, data.password) == (user.encode(), password.encode())
    return AuthResult(success=known, handled=False)

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
Controller(Handler(), hostname="127.0.0.1", port=int(port), tls_context=context, require_starttls=True,
           auth_required=True, authenticator=authenticate).start()
signal.pause()
"#;

/// A running mail server. Dropping it stops it.
#[derive(Debug)]
pub struct MailServer {
    address: SocketAddr,
    file: PathBuf,
    tls: Tls,
    _process: Process,
}

/// A mail.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Its envelope's sender.
    pub from: String,
    /// Its envelope's recipients.
    pub to: Vec<String>,
    /// The names of its header's fields.
    pub fields: Vec<String>,
    /// Its subject, decoded.
    pub subject: String,
    /// Its text, decoded.
    pub text: String,
}

impl MailServer {
    /// Starts it; its log is `mail.log`.
    ///
    /// # Panics
    ///
    /// When it cannot be had or does not start.
    #[must_use]
    pub fn start(dir: &Path) -> Self {
        let (address, tls, file) = (ports::address(), Tls::create(dir), dir.join("mails.json"));
        let program = python::aiosmtpd().unwrap_or_else(|error| panic!("{error}"));
        let mut command = Command::new(program);
        command
            .args(["-c", SERVER, &address.port().to_string()])
            .args([tls.cert_file(), tls.key_file()])
            .args([USER, PASSWORD])
            .arg(&file);
        let process = Process::start(command, "mail", dir, || TcpStream::connect(address).is_ok());
        Self {
            address,
            file,
            tls,
            _process: process.unwrap_or_else(|error| panic!("{}", chain(&error))),
        }
    }

    /// The address for a Provider.
    #[must_use]
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// The certificate of the authority that made the server's.
    ///
    /// # Panics
    ///
    /// When it cannot be read.
    #[must_use]
    pub fn ca(&self) -> String {
        fs::read_to_string(self.tls.ca_file()).expect("a certificate can be read")
    }

    /// The mails that it took, once there are so many.
    ///
    /// # Panics
    ///
    /// When there are not so many in time.
    #[must_use]
    pub fn await_mails(&self, count: usize) -> Vec<Mail> {
        let mails = || {
            let text = fs::read_to_string(&self.file).unwrap_or_default();
            let mails: Vec<Mail> = text.lines().map(mail).collect();
            (mails.len() >= count).then_some(mails)
        };
        wait::until("the mails are there", PATIENCE, mails)
            .unwrap_or_else(|error| panic!("{error}"))
    }
}

fn mail(line: &str) -> Mail {
    let json: Value = serde_json::from_str(line).expect("a line is JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let texts = |value: &Value| {
        let values = value.as_array().map(Vec::as_slice).unwrap_or_default();
        values.iter().map(text).collect()
    };
    Mail {
        from: text(&json["from"]),
        to: texts(&json["to"]),
        fields: texts(&json["fields"]),
        subject: text(&json["subject"]),
        text: text(&json["text"]),
    }
}
