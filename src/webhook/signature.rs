//! Whether a request was signed by one who knows the secret.

use axum::http::HeaderMap;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Whether the header `name` is there once and holds the HMAC-SHA256 of `body` under one of `secrets`: hexadecimal, after
/// `sha256=` as GitHub writes it, or bare.
pub(super) fn is_valid(headers: &HeaderMap, name: &str, secrets: &[String], body: &[u8]) -> bool {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let hex = value.as_bytes();
    let hex = hex.strip_prefix(b"sha256=").unwrap_or(hex);
    let mut claimed = [0; 32];
    if !matches!(base16ct::mixed::decode(hex, &mut claimed), Ok(bytes) if bytes.len() == 32) {
        return false;
    }
    // Every secret is tried, so that the time does not tell which one it was.
    secrets.iter().fold(false, |valid, secret| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
        mac.update(body);
        mac.verify_slice(&claimed).is_ok() | valid
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>.
    const SECRET: &str = "It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const DIGEST: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn check(values: &[&str], secrets: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("x-hub-signature-256", value.parse().unwrap());
        }
        let secrets: Vec<_> = secrets.iter().map(ToString::to_string).collect();
        is_valid(&headers, "x-hub-signature-256", &secrets, BODY)
    }

    #[test]
    fn githubs_published_vector_is_valid() {
        let prefixed = format!("sha256={DIGEST}");
        assert!(check(&[&prefixed], &[SECRET]));
        assert!(check(&[DIGEST], &[SECRET]));
        assert!(check(&[&DIGEST.to_uppercase()], &[SECRET]));
        assert!(check(&[&prefixed], &["new", SECRET]) && check(&[&prefixed], &[SECRET, "new"]), "rotation");
    }

    #[test]
    fn anything_else_is_not() {
        let prefixed = format!("sha256={DIGEST}");
        assert!(!check(&[], &[SECRET]));
        assert!(!check(&[&prefixed], &["another"]));
        assert!(!check(&[&prefixed, &prefixed], &[SECRET]), "repeated");
        for wrong in [
            "",
            "sha256=",
            "sha1=757107ea0eb2509fc211221cce984b8a37570b6d",
            &DIGEST[..62],
            &format!("{DIGEST}00"),
            &format!("sha256=sha256={DIGEST}"),
            &format!("sha256={DIGEST},sha256={DIGEST}"),
            &format!("SHA256={DIGEST}"),
            &DIGEST.replace('7', "g"),
            &DIGEST.replace('7', "8"),
        ] {
            assert!(!check(&[wrong], &[SECRET]), "{wrong}");
        }
    }
}
