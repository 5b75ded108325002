//! TLS to the server, as the connection string asks for it.
//!
//! `sslmode=require` and `verify-full` are the same here: the certificate has to be one for this host, from an authority
//! that the machine trusts or that `sslrootcert=FILE` names. Without either the server's word is taken when it offers TLS
//! (`prefer`, as with other clients): that keeps nobody out, but it also breaks nothing.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{self, WebPkiSupportedAlgorithms},
    pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime, pem::PemObject as _},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::{TlsConnector, client};

use crate::Error;

/// How connections are encrypted, if they are.
#[derive(Clone)]
pub(crate) struct Tls(Arc<ClientConfig>);

/// What the parameters of a connection string say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    verified: bool,
    roots: Option<String>,
}

impl Tls {
    /// Takes what the driver does not know out of a connection string: the string without it, and what was asked for.
    pub(crate) fn of(url: &str) -> Result<(String, Self), Error> {
        let (url, asked) = asked_in(url)?;
        let provider = Arc::new(crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.map_err(|e| Error::Invalid(format!("TLS cannot be set up: {e}")))?;
        let config = if asked.verified {
            builder.with_root_certificates(roots(asked.roots.as_deref())?).with_no_client_auth()
        } else {
            let verifier = Arc::new(Anybody(provider.signature_verification_algorithms));
            builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
        };
        Ok((url, Self(Arc::new(config))))
    }
}

fn asked_in(url: &str) -> Result<(String, Asked), Error> {
    let Some((base, query)) = url.split_once('?').filter(|_| url.contains("://")) else {
        return Ok((url.to_owned(), Asked::default()));
    };
    let (mut kept, mut asked) = (Vec::new(), Asked::default());
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("sslmode", "require" | "verify-full")) => {
                asked.verified = true;
                kept.push("sslmode=require");
            }
            Some(("sslmode", "disable" | "prefer")) => kept.push(pair),
            Some(("sslmode", other)) => {
                let why = format!("sslmode={other} is not known: use disable, prefer, require or verify-full");
                return Err(Error::Invalid(why));
            }
            Some(("sslrootcert", path)) => {
                let path = percent_encoding::percent_decode_str(path).decode_utf8();
                asked.roots = Some(path.map_err(|e| Error::Invalid(format!("sslrootcert: {e}")))?.into_owned());
            }
            _ => kept.push(pair),
        }
    }
    if asked.roots.is_some() && !asked.verified {
        return Err(Error::Invalid("sslrootcert is only looked at with sslmode=verify-full: add that".into()));
    }
    let rest = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
    Ok((format!("{base}{rest}"), asked))
}

/// Whom to believe: the authorities in a file, or those of the machine.
fn roots(file: Option<&str>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why = "the machine trusts no certificate authority: name one with sslrootcert=FILE";
            return Err(Error::Invalid(why.into()));
        }
        return Ok(roots);
    };
    let unreadable = |e: &dyn std::fmt::Display| Error::Invalid(format!("sslrootcert: {file} cannot be used: {e}"));
    for certificate in CertificateDer::pem_file_iter(file).map_err(|e| unreadable(&e))? {
        roots.add(certificate.map_err(|e| unreadable(&e))?).map_err(|e| unreadable(&e))?;
    }
    if roots.is_empty() { Err(unreadable(&"there is no certificate in it")) } else { Ok(roots) }
}

/// Believes whoever answers, as `prefer` does: what is read on the way is not understood, and no more.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Tls {
    type Stream = Encrypted<S>;
    type TlsConnect = ToHost;
    type Error = InvalidDnsNameError;

    fn make_tls_connect(&mut self, host: &str) -> Result<ToHost, InvalidDnsNameError> {
        Ok(ToHost { config: self.0.clone(), host: ServerName::try_from(host.to_owned())? })
    }
}

/// TLS to one host.
pub(crate) struct ToHost {
    config: Arc<ClientConfig>,
    host: ServerName<'static>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for ToHost {
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move { TlsConnector::from(self.config).connect(self.host, stream).await.map(Encrypted) })
    }
}

/// The driver's trait on the stream of another crate.
pub(crate) struct Encrypted<S>(client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_driver_does_not_know_is_taken_out_and_the_rest_is_left() {
        let read = |url: &str| asked_in(url).unwrap();
        let plain = "postgres://u:p@a:1,b:2/db?connect_timeout=3";
        assert_eq!(read(plain), (plain.to_owned(), Asked::default()));
        let (url, asked) = read("postgres://h/db?sslmode=verify-full&connect_timeout=3&sslrootcert=/a%20b.pem");
        assert_eq!(url, "postgres://h/db?sslmode=require&connect_timeout=3");
        assert_eq!(asked, Asked { verified: true, roots: Some("/a b.pem".into()) });
        assert!(read("postgres://h/db?sslmode=require").1.verified);
        assert_eq!(read("postgres://h/db?sslmode=prefer").1, Asked::default());
    }

    #[test]
    fn what_would_be_less_than_was_asked_for_is_refused() {
        for (url, says) in [
            ("postgres://h/db?sslmode=verify-ca", "verify-full"),
            ("postgres://h/db?sslrootcert=/ca.pem", "add that"),
            ("postgres://h/db?sslmode=require&sslrootcert=/nowhere/ca.pem", "/nowhere/ca.pem"),
        ] {
            let refused = Tls::of(url).map(drop).unwrap_err().to_string();
            assert!(refused.contains(says), "{refused}");
        }
    }
}
