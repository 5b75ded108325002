//! Copies: the same chunks under another name.

use stride_ids::{ObjectName, VersionId};

use crate::{
    condition::Conditions,
    error::Error,
    index::status_of,
    message::{ObjectStatus, PUT, PutAsked},
    objects::{Objects, Put},
    row::Content,
};

impl Objects {
    /// Gives an object's bytes another name of the same tenant, without touching them: those of its newest version, or of
    /// `version`. With `described` it has that content type and those headers instead of its own.
    ///
    /// # Errors
    /// [`Error::NoBucket`] and [`Error::NoObject`] about `from`, [`Error::Unmet`] about `to`.
    pub async fn copy(
        &self,
        from: &ObjectName,
        version: Option<VersionId>,
        to: &ObjectName,
        conditions: Conditions,
        described: Option<Put>,
    ) -> Result<ObjectStatus, Error> {
        assert_eq!(from.tenant, to.tenant, "chunks belong to a tenant");
        let described = described.map(Put::kept).transpose()?;
        let finding = self.finding.read().await;
        let (_, _, mut content) = self.found(from, version).await?;
        let _pins = self.pinned(from, &content).await;
        drop(finding);
        if let Some((content_type, headers)) = described {
            content = Content { content_type, headers, ..content };
        }
        let at = self.clock.timestamp();
        let asked = PutAsked { key: to.key.clone(), at, content, conditions };
        let (version, freed) = self.changed(to, PUT, &asked).await?;
        self.leftover().only_if(freed);
        Ok(status_of(version, at, asked.content))
    }
}
