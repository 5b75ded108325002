//! `stride:guest/objects` as it is linked into guests: names and types of the interface around what a guest may do.

use bytes::Bytes;
use stride_data::{ObjectPage, ObjectStatus};
use stride_ids::ObjectKey;
use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource},
};

use crate::{
    bindings::stride::guest::{
        objects::{Entry, Host, HostObject, Object, Page, Status},
        types::Failure,
    },
    failure::to_guest,
    guest::Guest,
};

/// What a function answers: a value, or why there is none; or the run ends.
type Answer<T> = wasmtime::Result<Result<T, Failure>>;

impl From<ObjectStatus> for Status {
    fn from(status: ObjectStatus) -> Self {
        let ObjectStatus { version, len, etag, content_type, created_at, headers: _ } = status;
        Self { version: version.0, size: len, etag: etag.to_string(), content_type, created_at }
    }
}

impl From<ObjectPage> for Page {
    fn from(page: ObjectPage) -> Self {
        let entry = |(key, status): (ObjectKey, ObjectStatus)| Entry { key: key.to_string(), status: status.into() };
        Self { entries: page.objects.into_iter().map(entry).collect(), next: page.next }
    }
}

impl HostObject for Guest {
    fn status(&mut self, object: Resource<Object>) -> wasmtime::Result<Status> {
        Ok(self.objects.get(place(&object))?.status.clone().into())
    }

    async fn read(&mut self, _: Resource<Object>, _: u64, _: u64) -> Answer<Vec<u8>> {
        wasmtime::bail!("`read` is linked by hand, see `link_read`")
    }

    fn drop(&mut self, object: Resource<Object>) -> wasmtime::Result<()> {
        self.objects.close(place(&object));
        Ok(())
    }
}

/// Links `read` so that bytes go from the cache into the guest at once: what is generated makes them a `Vec` before.
pub(crate) fn link_read(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    type Asked = (Resource<Object>, u64, u64);
    linker.allow_shadowing(true);
    linker.instance("stride:guest/objects@0.1.0")?.func_wrap_async(
        "[method]object.read",
        |mut guest: StoreContextMut<Guest>, (object, offset, length): Asked| {
            Box::new(async move {
                let read = guest.data_mut().read_object(place(&object), offset, length).await?;
                Ok((read.map_err(to_guest),))
            })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

impl Host for Guest {
    async fn open(&mut self, bucket: String, key: String, version: Option<u64>) -> Answer<Resource<Object>> {
        let opened = self.open_object(&bucket, &key, version).await;
        Ok(opened.map(handle).map_err(to_guest))
    }

    async fn list(&mut self, bucket: String, prefix: String, after: Option<String>, limit: u32) -> Answer<Page> {
        let page = self.list_objects(&bucket, prefix, after, limit).await;
        Ok(page.map(Page::from).map_err(to_guest))
    }

    async fn put(&mut self, bucket: String, key: String, content_type: String, bytes: Vec<u8>) -> Answer<Status> {
        self.check_may_write()?;
        let put = self.put_object(&bucket, &key, content_type, Bytes::from(bytes)).await;
        Ok(put.map(Status::from).map_err(to_guest))
    }

    async fn delete(&mut self, bucket: String, key: String) -> Answer<()> {
        self.check_may_write()?;
        Ok(self.delete_object(&bucket, &key).await.map_err(to_guest))
    }
}

fn handle(place: usize) -> Resource<Object> {
    Resource::new_own(u32::try_from(place).expect("there are few places"))
}

fn place(object: &Resource<Object>) -> usize {
    usize::try_from(object.rep()).unwrap_or(usize::MAX)
}
