//! Mutual TLS: who gets the table, and files that are renewed.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::*;

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca() -> Ca {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key for `localhost`, signed by `ca`.
fn leaf(ca: &Ca) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (
        params.signed_by(&key, ca).unwrap().pem(),
        key.serialize_pem(),
    )
}

fn files(folder: &Path, ca: &Ca) -> XdsTls {
    let (cert, key) = leaf(ca);
    for (name, text) in [("tls.crt", cert), ("tls.key", key), ("ca.crt", ca.pem())] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    XdsTls {
        cert: folder.join("tls.crt"),
        key: folder.join("tls.key"),
        client_ca: folder.join("ca.crt"),
    }
}

fn identity(ca: &Ca) -> Option<Identity> {
    let (cert, key) = leaf(ca);
    Some(Identity::from_pem(cert, key))
}

async fn subscribe(server: &Server, ca: &Ca, identity: Option<Identity>) -> Result<String, String> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(ca.pem()))
        .domain_name("localhost");
    if let Some(identity) = identity {
        tls = tls.identity(identity);
    }
    let channel = Endpoint::from_shared(format!("https://{}", server.address))
        .unwrap()
        .tls_config(tls)
        .unwrap()
        .connect()
        .await
        .map_err(|error| error.to_string())?;
    let (requests, inbox) = mpsc::channel(1);
    requests.send(subscription()).await.unwrap();
    let mut pushes = ExtensionConfigDiscoveryServiceClient::new(channel)
        .stream_extension_configs(ReceiverStream::new(inbox))
        .await
        .map_err(|status| status.to_string())?
        .into_inner();
    let push = pushes
        .message()
        .await
        .map_err(|status| status.to_string())?;
    Ok(push.unwrap().version_info)
}

#[tokio::test]
async fn only_an_envoy_with_a_certificate_of_the_client_ca_gets_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (ca(), ca());
    let tls = files(folder.path(), &ours).load().await.unwrap();
    let server = Server::start_with(Some(tls)).await;
    server.publish("1");
    assert_eq!(
        subscribe(&server, &ours, identity(&ours)).await,
        Ok("1".to_owned())
    );
    assert!(subscribe(&server, &ours, identity(&theirs)).await.is_err());
    assert!(subscribe(&server, &ours, None).await.is_err());
    assert_eq!(server.edges.counts().pushes, 1);
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_handshake_delays_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let ours = ca();
    let tls = files(folder.path(), &ours).load().await.unwrap();
    let server = Server::start_with(Some(tls)).await;
    server.publish("1");
    let _silent = tokio::net::TcpStream::connect(server.address)
        .await
        .unwrap();
    let got = tokio::time::timeout(
        Duration::from_secs(5),
        subscribe(&server, &ours, identity(&ours)),
    );
    assert_eq!(got.await.unwrap(), Ok("1".to_owned()));
}

/// As Kubernetes does it: a new folder, and a symlink that is renamed over the old one.
fn swap(folder: &Path, name: &str, fill: impl FnOnce(&Path)) {
    let next = folder.join(name);
    std::fs::create_dir(&next).unwrap();
    fill(&next);
    let link = folder.join("..data.tmp");
    std::os::unix::fs::symlink(name, &link).unwrap();
    std::fs::rename(&link, folder.join("..data")).unwrap();
}

#[tokio::test]
async fn renewed_files_come_into_use_and_bad_ones_leave_the_last_good_ones() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = folder.path().join("..data");
    let (old, new) = (ca(), ca());
    swap(folder.path(), "..1", |next| drop(files(next, &old)));
    let names = XdsTls {
        cert: mounted.join("tls.crt"),
        key: mounted.join("tls.key"),
        client_ca: mounted.join("ca.crt"),
    };
    // The server's own looks come too late to count here: the test looks by hand.
    let mut following = names.load().await.unwrap();
    let server = Server::start_with(Some(following.twin())).await;
    server.publish("1");
    let edges = Arc::clone(&server.edges);
    let good = Ok("1".to_owned());
    assert_eq!(subscribe(&server, &old, identity(&old)).await, good);

    swap(folder.path(), "..2", |next| {
        drop(files(next, &new));
        std::fs::write(next.join("tls.key"), leaf(&new).1).unwrap();
    });
    following.look(&edges).await;
    assert_eq!(edges.counts().tls_reload_failures, 0, "read once only");
    following.look(&edges).await;
    following.look(&edges).await;
    assert_eq!(edges.counts().tls_reload_failures, 1, "told once");
    assert_eq!(subscribe(&server, &old, identity(&old)).await, good);

    swap(folder.path(), "..3", |next| drop(files(next, &new)));
    following.look(&edges).await;
    following.look(&edges).await;
    assert_eq!(subscribe(&server, &new, identity(&new)).await, good);
    assert!(subscribe(&server, &new, identity(&old)).await.is_err());
    let counts = edges.counts();
    assert_eq!((counts.tls_reloads, counts.tls_reload_failures), (1, 1));

    std::fs::remove_file(mounted.join("tls.key")).unwrap();
    following.look(&edges).await;
    assert_eq!(edges.counts().tls_reload_failures, 2);
    assert_eq!(subscribe(&server, &new, identity(&new)).await, good);
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let good = files(folder.path(), &ca());
    let text = |error: XdsError| {
        let cause = std::error::Error::source(&error).unwrap().to_string();
        format!("{error}: {cause}")
    };
    let set_up = "failed to set up TLS for xDS: check that --xds-cert, --xds-key and --xds-client-ca are PEM and belong together";
    let missing = XdsTls {
        key: folder.path().join("none.key"),
        ..good.clone()
    };
    let wanted = format!("failed to read xDS TLS file {:?}", missing.key);
    assert_eq!(missing.load().await.unwrap_err().to_string(), wanted);
    let no_key = XdsTls {
        key: good.cert.clone(),
        ..good.clone()
    };
    let wanted = format!(
        "{set_up}: {:?} is not the PEM file that is wanted",
        no_key.key
    );
    assert_eq!(text(no_key.load().await.unwrap_err()), wanted);
    let no_ca = XdsTls {
        client_ca: good.key.clone(),
        ..good.clone()
    };
    let wanted = format!(
        "{set_up}: {:?} holds no CA certificate that can be used",
        no_ca.client_ca
    );
    assert_eq!(text(no_ca.load().await.unwrap_err()), wanted);
    std::fs::write(&good.key, leaf(&ca()).1).unwrap();
    assert_eq!(
        text(good.load().await.unwrap_err()),
        format!("{set_up}: failed to use the certificate with its key")
    );
}
