//! What a function gets for an item: the part of an object that it is, which is read on the node where the function runs.

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use stride_data::Objects;
use stride_ids::{Failure, ObjectName, Payload, VersionId};

use crate::plan::open;

/// A part of an object in one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Which object.
    pub object: ObjectName,
    /// In which version.
    pub version: VersionId,
    /// What the function is told that the bytes are.
    pub content_type: String,
    /// Its first byte.
    pub begin: u64,
    /// The byte behind its last one.
    pub end: u64,
}

impl Part {
    /// The bytes. Whoever made this has seen to it that a function takes so many.
    ///
    /// # Errors
    /// `not_found` if the version is gone, and whatever reading fails with.
    pub async fn read(&self, objects: &Objects) -> Result<Payload, Failure> {
        let reader = open(objects, &self.object, self.version).await?;
        let mut pieces = std::pin::pin!(reader.stream(self.begin..self.end));
        let first = pieces.try_next().await?.unwrap_or_default();
        let body = match pieces.try_next().await? {
            None => first,
            Some(second) => {
                let mut whole = BytesMut::with_capacity(usize::try_from(self.end - self.begin).unwrap_or(0));
                whole.extend_from_slice(&first);
                whole.extend_from_slice(&second);
                while let Some(piece) = pieces.try_next().await? {
                    whole.extend_from_slice(&piece);
                }
                Bytes::from(whole)
            }
        };
        Ok(Payload { content_type: self.content_type.clone(), body })
    }
}

/// What a function gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// These bytes.
    Payload(Payload),
    /// What is read where it runs.
    Part(Part),
}

impl Input {
    /// The bytes, read if need be.
    ///
    /// # Errors
    /// As [`Part::read`].
    pub async fn read(self, objects: &Objects) -> Result<Payload, Failure> {
        match self {
            Self::Payload(payload) => Ok(payload),
            Self::Part(part) => part.read(objects).await,
        }
    }
}
