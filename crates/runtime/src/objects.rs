//! Objects as one instance sees them: those that it has open, and what it may do with others.
//!
//! Always true: a guest sees and changes no object that its component's capabilities do not name; it has [`OPEN_MAX`] open at
//! most; between the turns of an agent nothing is held for those that it keeps, neither bytes nor a place among the
//! node's readers.
//! Not here: how objects are stored (see `data`), and how all this looks to a guest (see `link`).

mod link;

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use futures::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use stride_data::{Conditions, Error, ObjectPage, ObjectStatus, Objects, Piece, Put, Reader};
use stride_ids::{BucketName, CellId, Code, Failure, InvalidName, ObjectKey, ObjectName, VersionId};

use crate::{component::Component, grant::Right, guest::Guest};

pub(crate) use self::link::link_read;

/// How many objects an instance may have open at the same time.
const OPEN_MAX: usize = 64;
/// However much a guest asks for, a page of a listing has no more entries than this.
const PAGE_MAX: usize = 1_000;

/// The objects that an instance has open, each at the place that its handle names.
#[derive(Default)]
pub(crate) struct OpenObjects(Vec<Option<Opened>>);

struct Opened {
    name: ObjectName,
    status: ObjectStatus,
    /// None from the end of a turn until the next read.
    reading: Option<Reading>,
}

struct Reading {
    reader: Reader,
    flow: Option<Flow>,
    /// The chunk that was read last.
    chunk: Option<u64>,
}

/// Bytes in their order, from one read to the next.
struct Flow {
    at: u64,
    end: u64,
    /// What is left of the piece that came last.
    rest: Bytes,
    pieces: BoxStream<'static, Result<Bytes, Error>>,
}

impl OpenObjects {
    /// Holds nothing any more for the objects that are open. Each is opened again when it is read.
    pub(crate) fn let_go(&mut self) {
        for opened in self.0.iter_mut().flatten() {
            opened.reading = None;
        }
    }

    /// Where one more object can be.
    fn room(&self) -> Result<usize, Failure> {
        let free = self.0.iter().position(Option::is_none).unwrap_or(self.0.len());
        if free < OPEN_MAX {
            return Ok(free);
        }
        let message = format!("{OPEN_MAX} objects are open already; drop one before the next is opened");
        Err(Failure::new(Code::InvalidRequest, message))
    }

    fn put(&mut self, place: usize, opened: Opened) {
        if place == self.0.len() {
            self.0.push(None);
        }
        self.0[place] = Some(opened);
    }

    fn close(&mut self, place: usize) {
        if let Some(opened) = self.0.get_mut(place) {
            *opened = None;
        }
    }

    fn get(&mut self, place: usize) -> wasmtime::Result<&mut Opened> {
        let opened = self.0.get_mut(place).and_then(Option::as_mut);
        opened.ok_or_else(|| wasmtime::Error::msg("an object is used that is not open"))
    }
}

impl Opened {
    /// Some of the bytes from `offset` on, `length` at most; none if there are none.
    /// An agent's cell is remembered as one that uses them.
    async fn read(
        &mut self,
        component: &Component,
        cell: Option<CellId>,
        offset: u64,
        length: u64,
    ) -> Result<Bytes, Failure> {
        let end = offset.saturating_add(length).min(self.status.len);
        if offset >= end {
            return Ok(Bytes::new());
        }
        let reading = match &mut self.reading {
            Some(reading) => reading,
            none => {
                let objects = component.host.here()?.reach_from(cell, &self.name.tenant, &self.name.bucket).await?;
                let reader = objects.open(&self.name, Some(self.status.version)).await?;
                none.insert(Reading::of(reader))
            }
        };
        let bytes = reading.read(offset, end).await?;
        if let Some(cell) = cell
            && let Some(chunk) = reading.came_to(offset)
        {
            let piece = Piece { object: self.name.clone(), chunk };
            component.host.here()?.objects.warmth().note(cell, piece);
        }
        Ok(bytes)
    }
}

impl Reading {
    fn of(reader: Reader) -> Self {
        Self { reader, flow: None, chunk: None }
    }

    /// The chunk at an offset, if the read before was in another one.
    fn came_to(&mut self, offset: u64) -> Option<u64> {
        let chunk = self.reader.chunks(offset..offset + 1).next();
        let before = std::mem::replace(&mut self.chunk, chunk);
        chunk.filter(|_| before != chunk)
    }

    async fn read(&mut self, offset: u64, end: u64) -> Result<Bytes, Error> {
        let before = self.flow.take().filter(|flow| flow.at == offset);
        let mut flow = match before {
            Some(flow) if offset < flow.end => flow,
            // Whoever goes on where the last read ended most likely goes on to the end, so the next piece is fetched
            // while this one is used.
            Some(_) => self.flow(offset, self.reader.status().len),
            None => self.flow(offset, end),
        };
        if flow.rest.is_empty() {
            flow.rest = flow.pieces.try_next().await?.unwrap_or_default();
        }
        let wanted = usize::try_from(end - offset).unwrap_or(usize::MAX);
        let piece = flow.rest.split_to(wanted.min(flow.rest.len()));
        flow.at += piece.len() as u64;
        self.flow = Some(flow);
        Ok(piece)
    }

    fn flow(&self, at: u64, end: u64) -> Flow {
        Flow { at, end, rest: Bytes::new(), pieces: self.reader.stream(at..end).boxed() }
    }
}

/// What a guest may do with objects.
impl Guest {
    async fn open_object(&mut self, bucket: &str, key: &str, version: Option<u64>) -> Result<usize, Failure> {
        let component = self.working()?.clone();
        let (objects, name) = object(&component, self.cell(), bucket, key, Right::Read).await?;
        let place = self.objects.room()?;
        let reader = objects.open(&name, version.map(VersionId)).await?;
        let status = reader.status().clone();
        self.objects.put(place, Opened { name, status, reading: Some(Reading::of(reader)) });
        Ok(place)
    }

    async fn read_object(
        &mut self,
        place: usize,
        offset: u64,
        length: u64,
    ) -> wasmtime::Result<Result<Bytes, Failure>> {
        let component = match self.working() {
            Ok(component) => component.clone(),
            Err(failure) => return Ok(Err(failure)),
        };
        let cell = self.cell();
        let opened = self.objects.get(place)?;
        Ok(opened.read(&component, cell, offset, length).await)
    }

    async fn list_objects(
        &mut self,
        bucket: &str,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> Result<ObjectPage, Failure> {
        let component = self.working()?.clone();
        let (bucket, tenant) = (BucketName::new(bucket).map_err(invalid)?, &component.tenant);
        if !component.spec.grants_all(&bucket, &prefix, Right::Read) {
            return Err(denied(&component, &bucket, &format!("list `{bucket}/{prefix}`"), Right::Read));
        }
        let objects = component.host.here()?.reach_from(self.cell(), tenant, &bucket).await?;
        let limit = usize::try_from(limit).map_or(PAGE_MAX, |limit| limit.min(PAGE_MAX));
        Ok(objects.list(tenant, &bucket, prefix, after, limit).await?)
    }

    async fn put_object(
        &mut self,
        bucket: &str,
        key: &str,
        content_type: String,
        bytes: Bytes,
    ) -> Result<ObjectStatus, Failure> {
        let component = self.working()?.clone();
        let (objects, name) = object(&component, self.cell(), bucket, key, Right::Write).await?;
        let put = Put {
            content_type: Some(content_type).filter(|text| !text.is_empty()),
            len: Some(bytes.len() as u64),
            ..Put::default()
        };
        // On the heap, because every host call would be as large as this future is.
        Ok(Box::pin(objects.put(&name, stream::iter([Ok::<_, Infallible>(bytes)]), put)).await?)
    }

    async fn delete_object(&mut self, bucket: &str, key: &str) -> Result<(), Failure> {
        let component = self.working()?.clone();
        let (objects, name) = object(&component, self.cell(), bucket, key, Right::Write).await?;
        objects.delete(&name, Conditions::default()).await?;
        Ok(())
    }
}

/// The object of that name, if the component's capabilities allow this, and its bucket allows code on this node.
async fn object(
    component: &Component,
    cell: Option<CellId>,
    bucket: &str,
    key: &str,
    right: Right,
) -> Result<(Arc<Objects>, ObjectName), Failure> {
    let name = ObjectName {
        tenant: component.tenant.clone(),
        bucket: BucketName::new(bucket).map_err(invalid)?,
        key: ObjectKey::new(key).map_err(invalid)?,
    };
    if !component.spec.grants_object(&name, right) {
        return Err(denied(component, &name.bucket, &format!("{} `{name}`", right.as_str()), right));
    }
    let objects = component.host.here()?.reach_from(cell, &name.tenant, &name.bucket).await?;
    Ok((objects, name))
}

pub(crate) fn denied(component: &Component, bucket: &BucketName, what: &str, right: Right) -> Failure {
    let message = format!(
        "component `{}` may not {what}; add objects = [\"{bucket}/*:{}\"] to [capabilities] in stride.toml",
        component.name,
        right.as_str()
    );
    Failure::new(Code::CapabilityDenied, message)
}

fn invalid(error: InvalidName) -> Failure {
    Failure::new(Code::InvalidRequest, error.to_string())
}
