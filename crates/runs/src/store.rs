//! Values in objects.

use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;
use stride_agents::Ask;
use stride_data::Put;
use stride_flows::{run::Content, value::ObjectRef};
use stride_ids::{Address, BucketName, Code, Failure, Name, ObjectKey, ObjectName, VersionId};
use stride_maps::Part;

use crate::{
    message::{PAGE, PageAsked},
    payload,
    shared::{Shared, Surroundings},
    work::impossible,
};

/// Where large values of runs are kept, under the run's name.
const BUCKET: &str = "flows";

/// How many objects are removed at a time.
const REMOVED: usize = 256;

/// Writes a value as an object. To write it again does no harm: whoever reads it reads the version that it was told.
pub(crate) async fn put(
    shared: &Arc<Shared>,
    run: &Address,
    step: &str,
    to: Option<&(String, String)>,
    content: &Content,
) -> Result<ObjectRef, Failure> {
    let surroundings = shared.surroundings()?;
    let (bucket, key) = match to {
        Some((bucket, key)) => (bucket.clone(), key.clone()),
        None => (BUCKET.to_owned(), format!("{}{step}", run.key)),
    };
    let name = name(&run.tenant, &bucket, &key)?;
    let (content_type, body) = match content {
        Content::Value(value) => {
            let payload = payload::of_value(value);
            (payload.content_type, stream::once(async { Ok(payload.body) }).boxed())
        }
        Content::Pages { prefix, pages } => {
            ("application/json".to_owned(), pages_of(&surroundings, run, prefix, *pages).boxed())
        }
    };
    let put = Put { content_type: Some(content_type), ..Put::default() };
    let status = surroundings.objects.put(&name, body, put).await?;
    Ok(ObjectRef { bucket, key, version: Some(status.version.to_string()), bytes: status.len })
}

/// The list that lies in some rows of a run, as JSON, a page at a time.
fn pages_of<'a>(
    surroundings: &'a Surroundings,
    run: &'a Address,
    prefix: &'a str,
    pages: u64,
) -> impl Stream<Item = Result<Bytes, Failure>> + Send + 'a {
    let page = move |number| async move {
        let input = payload::json(&PageAsked { prefix: prefix.to_owned(), number });
        let (address, method) = (run.clone(), PAGE.to_owned());
        let answer =
            surroundings.engine.ask(Ask { address, method, input, idempotency_key: None, trace: None }).await?;
        // A list in brackets, which are left out: what stands between two pages is a comma.
        let inner = answer.payload.body.slice(1..answer.payload.body.len().saturating_sub(1).max(1));
        let comma = Bytes::from_static(if number == 0 || inner.is_empty() { b"" } else { b"," });
        Ok::<_, Failure>(stream::iter([Ok(comma), Ok(inner)]))
    };
    let bracket = |bracket: &'static [u8]| stream::once(async move { Ok(Bytes::from_static(bracket)) });
    let pages = stream::iter(0..pages).then(page).try_flatten();
    bracket(b"[").chain(pages).chain(bracket(b"]"))
}

/// All of an object, in the version that is there if none is named.
pub(crate) async fn whole(surroundings: &Surroundings, tenant: &Name, object: &ObjectRef) -> Result<Part, Failure> {
    let name = name(tenant, &object.bucket, &object.key)?;
    let status = surroundings.objects.status(&name, version(object)?).await?;
    Ok(Part { object: name, version: status.version, content_type: status.content_type, begin: 0, end: status.len })
}

fn version(object: &ObjectRef) -> Result<Option<VersionId>, Failure> {
    let parse = |text: &String| text.parse().map(VersionId).map_err(|_| impossible(format!("`{text}` is no version")));
    object.version.as_ref().map(parse).transpose()
}

/// The object of that name.
pub(crate) fn name(tenant: &Name, bucket: &str, key: &str) -> Result<ObjectName, Failure> {
    let bucket = BucketName::new(bucket).map_err(|e| impossible(e.to_string()))?;
    let key = ObjectKey::new(key).map_err(|e| impossible(e.to_string()))?;
    Ok(ObjectName { tenant: tenant.clone(), bucket, key })
}

/// Removes a run that has ended, with its large values.
pub(crate) async fn forget(shared: &Arc<Shared>, run: &Address) {
    if let Err(failure) = try_forget(shared, run).await {
        tracing::warn!(run = %run.key, %failure, "a run that has ended cannot be removed");
    }
}

async fn try_forget(shared: &Arc<Shared>, run: &Address) -> Result<(), Failure> {
    let surroundings = shared.surroundings()?;
    let Surroundings { engine, objects, .. } = &*surroundings;
    let bucket = BucketName::new(BUCKET).map_err(|e| impossible(e.to_string()))?;
    let prefix = format!("{}/", run.key);
    loop {
        let page = match objects.list(&run.tenant, &bucket, prefix.clone(), None, REMOVED).await.map_err(Failure::from)
        {
            Ok(page) => page,
            // No run has had a large value.
            Err(Failure { code: Code::NotFound, .. }) => break,
            Err(failure) => return Err(failure),
        };
        for (key, _) in &page.objects {
            let name = ObjectName { tenant: run.tenant.clone(), bucket: bucket.clone(), key: key.clone() };
            objects.delete(&name, Default::default()).await?;
        }
        if page.next.is_none() {
            break;
        }
    }
    engine.remove(run).await
}

/// A value of an object, for whoever wants to see it.
pub(crate) fn object(status: &stride_data::ObjectStatus, bucket: &BucketName, key: &ObjectKey) -> Value {
    let (bucket, key) = (bucket.to_string(), key.to_string());
    ObjectRef { bucket, key, version: Some(status.version.to_string()), bytes: status.len }.to_value()
}
