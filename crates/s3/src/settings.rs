//! Where S3 clients are answered, and with which keys.

use std::{collections::HashSet, net::SocketAddr};

use serde::Deserialize;

use crate::Account;

/// How long keys are, in bytes. Shorter secrets can be found by trying.
const ACCESS_KEY_LEN_MAX: usize = 128;
const SECRET_KEY_LEN_MIN: usize = 16;

/// The settings of the S3 front.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where to listen.
    #[serde(default = "listen")]
    pub listen: SocketAddr,
    /// Who is answered.
    #[serde(default)]
    pub keys: Vec<Account>,
}

fn listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7374))
}

/// Why S3 clients cannot be answered with these settings.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// There are no keys.
    #[error(
        "has no keys, so nobody could sign a request; write\n[[s3.keys]]\naccess_key = \"NAME\"\nsecret_key = \"SECRET\""
    )]
    NoKeys,
    /// An access key cannot stand in a request.
    #[error("access_key `{0}` cannot be used; use 1 to {ACCESS_KEY_LEN_MAX} of a-z A-Z 0-9 . - _")]
    AccessKey(String),
    /// An access key is there twice.
    #[error("access_key `{0}` is there twice")]
    Twice(String),
    /// A secret is too short.
    #[error("the secret_key of `{0}` is too short; use {SECRET_KEY_LEN_MIN} characters or more")]
    SecretKey(String),
}

impl Settings {
    /// Checks that somebody could be answered, and nobody by mistake.
    ///
    /// # Errors
    /// What to change.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.keys.is_empty() {
            return Err(SettingsError::NoKeys);
        }
        let mut seen = HashSet::new();
        for Account { access_key, secret_key, .. } in &self.keys {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            if !(1..=ACCESS_KEY_LEN_MAX).contains(&access_key.len()) || !access_key.chars().all(plain) {
                return Err(SettingsError::AccessKey(access_key.chars().take(ACCESS_KEY_LEN_MAX).collect()));
            }
            if secret_key.len() < SECRET_KEY_LEN_MIN {
                return Err(SettingsError::SecretKey(access_key.clone()));
            }
            if !seen.insert(access_key) {
                return Err(SettingsError::Twice(access_key.clone()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stride_ids::Name;

    #[test]
    fn keys_that_would_not_work_are_refused() {
        let account = |access_key: &str, secret_key: &str| Account {
            tenant: Name::default_tenant(),
            access_key: access_key.into(),
            secret_key: secret_key.into(),
        };
        let check = |keys: &[Account]| Settings { listen: listen(), keys: keys.to_vec() }.check();
        let secret = "sixteen-letters!";
        assert_eq!(check(&[account("me", secret), account("you", secret)]), Ok(()));
        assert_eq!(check(&[]), Err(SettingsError::NoKeys));
        assert_eq!(check(&[account("a/b", secret)]), Err(SettingsError::AccessKey("a/b".into())));
        assert_eq!(check(&[account("me", "short")]), Err(SettingsError::SecretKey("me".into())));
        assert_eq!(check(&[account("me", secret), account("me", secret)]), Err(SettingsError::Twice("me".into())));
    }
}
