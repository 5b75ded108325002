//! This node as placement sees it, and whether code on it may reach data.
//!
//! Always true: code reaches a bucket only on a node that carries its labels, and whoever is refused hears which bucket, which
//! label and which node.
//! Not here: how a plan is made (see `placement`), and which other nodes there are (see `others`).

use std::{collections::BTreeSet, sync::Arc};

use bytesize::ByteSize;
use stride_data::Objects;
use stride_ids::{BucketName, CellId, Code, Failure, Name};
use stride_placement::{
    DatumId, Hardware, InvalidId, Label, Labels, Link, Load, Node, NodeId, Price, Rate, Reason, Reference, Refusal,
};

use crate::spec::ComponentSpec;

/// How fast data comes that is not on this node's disk: a gigabit, until somebody measures.
pub(crate) const LINK_RATE: Rate = Rate(125_000_000);

/// What a node is, as its operator and its machine say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its name.
    pub node: NodeId,
    /// What it carries: data whose bucket demands other labels is not for code on it.
    pub labels: Labels,
    /// What it has.
    pub hardware: BTreeSet<Hardware>,
    /// What one of its cores costs.
    pub price: Price,
    /// How many cores it has, which is how much it runs at the same time.
    pub cores: u32,
}

impl Site {
    /// The node with this to do.
    pub(crate) fn node(&self, load: Load, accepted_max: u32) -> Node {
        Node {
            slots: self.cores,
            accepted_max,
            load,
            link: Link { rate: LINK_RATE, waiting: ByteSize(0) },
            labels: self.labels.clone(),
            hardware: self.hardware.clone(),
            price: self.price,
        }
    }

    /// Why code here may not reach a bucket that demands a label which is missing.
    fn lacks(&self, bucket: &str, missing: &Label) -> String {
        let (node, key, value) = (&self.node, missing.key(), missing.value());
        format!(
            "bucket `{bucket}` is only for nodes with the label {missing}, and {node} does not carry it; use a node that \
             does. If this one should, say `{key} = \"{value}\"` under [labels] in its configuration"
        )
    }
}

/// The node, for a piece of work that wants to reach data.
pub(crate) struct Here<'a> {
    pub(crate) site: &'a Site,
    pub(crate) objects: Arc<Objects>,
}

impl Here<'_> {
    /// The objects, if code here may reach those of this bucket.
    pub(crate) async fn reach(self, tenant: &Name, bucket: &BucketName) -> Result<Arc<Objects>, Failure> {
        self.reach_from(None, tenant, bucket).await
    }

    /// The same for a turn of an agent in a cell, which is to go where its agents may reach what they use: so what the bucket demands is
    /// remembered of it, above all if it is missing here.
    pub(crate) async fn reach_from(
        self,
        cell: Option<CellId>,
        tenant: &Name,
        bucket: &BucketName,
    ) -> Result<Arc<Objects>, Failure> {
        let labels = self.labels(tenant, bucket).await?;
        if let Some(cell) = cell {
            labels.iter().for_each(|label| self.objects.demands().note(cell, label.key(), label.value()));
        }
        match labels.missing_from(&self.site.labels) {
            None => Ok(self.objects),
            Some(missing) => Err(Failure::new(Code::CapabilityDenied, self.site.lacks(bucket.as_str(), missing))),
        }
    }

    /// What a node has to carry for the objects of a bucket.
    pub(crate) async fn labels(&self, tenant: &Name, bucket: &BucketName) -> Result<Labels, Failure> {
        let labels = self.objects.labels(tenant, bucket).await?;
        let labels: Result<Labels, InvalidId> = labels.iter().map(|(key, value)| Label::new(key, value)).collect();
        labels.map_err(|e| Failure::new(Code::Internal, format!("bucket `{bucket}` has a label that is none: {e}")))
    }

    /// What a component may read, and whole buckets. Of how many bytes is not known before it runs.
    pub(crate) async fn references(
        &self,
        tenant: &Name,
        spec: &ComponentSpec,
        buckets: &[BucketName],
    ) -> Result<Vec<Reference>, Failure> {
        let granted = spec.objects.iter().map(|grant| (grant.bucket(), grant.objects()));
        let named = buckets.iter().map(|bucket| (bucket, format!("{bucket}/*")));
        let mut references: Vec<Reference> = Vec::new();
        for (bucket, objects) in granted.chain(named) {
            let datum = datum(&objects)?;
            if references.iter().all(|known| known.datum != datum) {
                references.push(Reference { datum, size: ByteSize(0), labels: self.labels(tenant, bucket).await? });
            }
        }
        Ok(references)
    }

    /// What the caller of work hears that no node may take.
    pub(crate) fn refused(&self, work: &str, refusal: &Refusal) -> Failure {
        let reasons = refusal.refused().iter().map(|(_, reason)| reason);
        let label = reasons.clone().find_map(|reason| match reason {
            Reason::Label { datum, missing } => Some((datum, missing)),
            _ => None,
        });
        let why = match label {
            Some((datum, missing)) => {
                let bucket = datum.as_str().split('/').next().unwrap_or_default();
                self.site.lacks(bucket, missing)
            }
            None => refusal.to_string(),
        };
        let not = match refusal.refused().len() {
            0 | 1 => "may not run here".to_owned(),
            nodes => format!("may run on none of {nodes} nodes"),
        };
        Failure::new(refusal.code(), format!("`{work}` {not}: {why}"))
    }
}

/// The name of an object or of several, as placement knows it.
pub(crate) fn datum(objects: &str) -> Result<DatumId, Failure> {
    DatumId::new(objects).map_err(|e| Failure::new(Code::Internal, e.to_string()))
}
