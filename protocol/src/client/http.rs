//! What every HTTP client here has in common: TLS, and where a proxy is asked.
//!
//! TLS is rustls with ring. Trusted are the certificate authorities of this machine; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others in their place.
//! They are read once, when somebody first wants to reach another machine.

use reqwest::ClientBuilder;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use std::sync::{Arc, OnceLock};
use url::{Host, Url};

/// A client for this address. The proxy of the environment (`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`) is for other machines: it could not reach
/// this one's loopback.
pub fn builder(to: &Url) -> ClientBuilder {
    match (is_loopback(to), to.scheme()) {
        (true, "https") => with(trusting()).no_proxy(),
        (true, _) => local(),
        (false, _) => with(trusting()),
    }
}

/// A client for what this machine has on its loopback, without TLS.
pub fn local() -> ClientBuilder {
    static BLIND: OnceLock<ClientConfig> = OnceLock::new();
    with(BLIND.get_or_init(|| ready(RootCertStore::empty())).clone()).no_proxy()
}

fn with(tls: ClientConfig) -> ClientBuilder {
    reqwest::Client::builder().tls_backend_preconfigured(tls)
}

/// TLS that trusts the authorities of this machine.
#[must_use]
pub fn trusting() -> ClientConfig {
    static TRUSTING: OnceLock<ClientConfig> = OnceLock::new();
    TRUSTING.get_or_init(|| ready(authorities().clone())).clone()
}

/// Whether this machine knows any authorities: without them nobody is trusted.
#[must_use]
pub fn knows_authorities() -> bool {
    !authorities().is_empty()
}

fn authorities() -> &'static RootCertStore {
    static KNOWN: OnceLock<RootCertStore> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let mut known = RootCertStore::empty();
        // Those that cannot be read are left out: others may do.
        known.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        known
    })
}

fn ready(trusted: RootCertStore) -> ClientConfig {
    let versions = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
    // It fails where the provider speaks no version of TLS; ring speaks both.
    let versions = versions.unwrap_or_else(|_| ClientConfig::builder());
    versions.with_root_certificates(trusted).with_no_client_auth()
}

/// Whether an address is on this machine whatever its network.
#[must_use]
pub fn is_loopback(address: &Url) -> bool {
    match address.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.to_canonical().is_loopback(),
        None => false,
    }
}
