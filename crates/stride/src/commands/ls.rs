//! `stride ls [BUCKET[/PREFIX]]`

use std::{collections::BTreeMap, io};

use clap::Args;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::{client::Client, output, target::PrefixTarget};

/// How many entries one request asks for.
const PAGE: usize = 1_000;

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// The bucket, and what the keys begin with; without it, the buckets are listed
    #[arg(value_name = "BUCKET[/PREFIX]")]
    target: Option<PrefixTarget>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Buckets {
    buckets: Vec<Bucket>,
    next: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Bucket {
    bucket: String,
    labels: BTreeMap<String, String>,
    versions_kept: u32,
    created_at: u64,
    objects: u64,
    bytes: u64,
}

#[derive(Deserialize)]
struct Objects {
    objects: Vec<Object>,
    next: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Object {
    key: String,
    version: u64,
    bytes: u64,
    etag: String,
    content_type: String,
    created_at: u64,
}

impl Ls {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        match &self.target {
            Some(target) => self.objects(client, target).await,
            None => self.buckets(client).await,
        }
    }

    async fn buckets(&self, client: &Client) -> anyhow::Result<()> {
        let mut array = self.json.then(|| output::Array::begin(io::stdout()));
        let mut table = output::table(&["BUCKET", "OBJECTS", "BYTES", "VERSIONS", "LABELS"]);
        let mut after = None;
        loop {
            let request = client.request(Method::GET, &["objects"]).query(&[("limit", PAGE)]);
            let page: Buckets = client.json(request.query(&[("after", &after)])).await?;
            for bucket in &page.buckets {
                match &mut array {
                    Some(array) => array.push(bucket)?,
                    None => drop(table.add_row(row(bucket))),
                }
            }
            after = page.next;
            if after.is_none() {
                match array {
                    Some(array) => array.end()?,
                    None => output::print(&table)?,
                }
                return Ok(());
            }
        }
    }

    async fn objects(&self, client: &Client, PrefixTarget { bucket, prefix }: &PrefixTarget) -> anyhow::Result<()> {
        let mut array = self.json.then(|| output::Array::begin(io::stdout()));
        let mut after = None;
        loop {
            let request = client.request(Method::GET, &["objects", bucket.as_str()]).query(&[("limit", PAGE)]);
            let request = request.query(&[("prefix", prefix)]).query(&[("after", &after)]);
            let page: Objects = client.json(request).await?;
            for object in &page.objects {
                match &mut array {
                    Some(array) => array.push(object)?,
                    None => {
                        let Object { key, bytes, created_at, .. } = object;
                        let (created_at, key) = (output::time(*created_at), output::printable(key));
                        output::line(format_args!("{bytes:>14} {created_at} {key}"))?;
                    }
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(array.map_or(Ok(()), output::Array::end)?);
            }
        }
    }
}

fn row(bucket: &Bucket) -> [String; 5] {
    let Bucket { bucket, labels, versions_kept, objects, bytes, .. } = bucket;
    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let labels = output::printable(&labels.join(","));
    [bucket.clone(), objects.to_string(), bytes.to_string(), versions_kept.to_string(), labels]
}
