//! What those share who speak HTTP to others.

use std::sync::Once;

/// Makes *ring* the process's cryptography, once. Clients find it by themselves and panic without it.
pub fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // It fails only when somebody was first, and then there is one as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
