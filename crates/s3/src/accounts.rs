//! Whose access key it is, and with which secret its requests are signed.

use std::{collections::HashMap, fmt};

use s3s::{
    S3Error, S3ErrorCode, S3Result,
    auth::{Credentials, S3Auth, SecretKey},
};
use serde::Deserialize;
use stride_ids::Name;

/// A pair of keys, and the tenant whose objects they open.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Whose objects.
    #[serde(default = "Name::default_tenant")]
    pub tenant: Name,
    /// What a request names.
    pub access_key: String,
    /// What it is signed with.
    pub secret_key: String,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tenant, access_key, secret_key: _ } = self;
        f.debug_struct("Account").field("tenant", tenant).field("access_key", access_key).finish_non_exhaustive()
    }
}

/// The secrets by access key.
pub(crate) struct Keys(HashMap<String, SecretKey>);

impl Keys {
    pub(crate) fn new(accounts: &[Account]) -> Self {
        let secret = |account: &Account| (account.access_key.clone(), account.secret_key.as_str().into());
        Self(accounts.iter().map(secret).collect())
    }
}

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        self.0.get(access_key).cloned().ok_or_else(|| S3ErrorCode::InvalidAccessKeyId.into())
    }
}

/// The tenants by access key.
pub(crate) struct Tenants(HashMap<String, Name>);

impl Tenants {
    pub(crate) fn new(accounts: &[Account]) -> Self {
        Self(accounts.iter().map(|account| (account.access_key.clone(), account.tenant.clone())).collect())
    }

    /// Whose request this is.
    pub(crate) fn of(&self, credentials: Option<&Credentials>) -> S3Result<Name> {
        let tenant = credentials.and_then(|credentials| self.0.get(&credentials.access_key));
        tenant.cloned().ok_or_else(|| S3Error::with_message(S3ErrorCode::AccessDenied, "sign the request"))
    }
}
