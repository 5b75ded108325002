//! What a map is asked to do.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use stride_ids::{BucketName, Name, ObjectKey, ObjectName};

/// A function of a component. Its text is `component/function`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FunctionName {
    /// The component.
    pub component: Name,
    /// The function.
    pub function: Name,
}

/// The objects of a bucket whose keys begin with a text. Its text is `bucket/prefix`, or `bucket` for all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix {
    /// The bucket.
    pub bucket: BucketName,
    /// What the keys begin with.
    pub prefix: String,
}

/// How an object becomes several items. Without it, an item is a whole object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Behind line breaks: every line is whole in one item.
    Lines,
    /// After so many bytes, whatever they are.
    Bytes,
}

/// What a map does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// What is called for every item.
    pub function: FunctionName,
    /// Where the items come from.
    pub over: Prefix,
    /// How an object becomes several items.
    pub split: Option<Split>,
    /// What folds the results.
    pub reduce: Option<FunctionName>,
    /// Where results go as objects; the reduced one alone if there is a reduction, under exactly this name.
    pub out: Option<Prefix>,
}

impl Spec {
    /// The object that takes the result of an item; none if results are kept with the map.
    pub(crate) fn out_object(
        &self,
        tenant: &Name,
        key: &ObjectKey,
        part: Option<u32>,
    ) -> Result<Option<ObjectName>, String> {
        let Some(out) = self.out.as_ref().filter(|_| self.reduce.is_none()) else { return Ok(None) };
        // Up to its last slash, the prefix says where the objects are and not what they are called.
        let directory = self.over.prefix.rfind('/').map_or(0, |slash| slash + 1);
        let rest = key.as_str().get(directory..).unwrap_or(key.as_str());
        let text = match part {
            Some(part) => format!("{}{rest}/{part:06}", out.prefix),
            None => format!("{}{rest}", out.prefix),
        };
        object(tenant, &out.bucket, &text).map(Some)
    }

    /// The object that takes the reduced result; none if it is kept with the map.
    ///
    /// # Errors
    /// Why there can be no such object.
    pub fn reduced_object(&self, tenant: &Name) -> Result<Option<ObjectName>, String> {
        let Some(out) = self.out.as_ref().filter(|_| self.reduce.is_some()) else { return Ok(None) };
        object(tenant, &out.bucket, &out.prefix).map(Some)
    }
}

fn object(tenant: &Name, bucket: &BucketName, key: &str) -> Result<ObjectName, String> {
    let key = ObjectKey::new(key).map_err(|e| format!("no object can be put there: {e}"))?;
    Ok(ObjectName { tenant: tenant.clone(), bucket: bucket.clone(), key })
}

impl FromStr for FunctionName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (component, function) = text.split_once('/').ok_or_else(|| format!("`{text}` is no COMPONENT/FUNCTION"))?;
        let name = |text| Name::new(text).map_err(|e| e.to_string());
        Ok(Self { component: name(component)?, function: name(function)? })
    }
}

impl FromStr for Prefix {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
        if prefix.len() > ObjectKey::LEN_MAX {
            return Err(format!("the prefix has {} bytes; a key has {} at most", prefix.len(), ObjectKey::LEN_MAX));
        }
        Ok(Self { bucket: BucketName::new(bucket).map_err(|e| e.to_string())?, prefix: prefix.to_owned() })
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.component, self.function)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bucket, self.prefix)
    }
}

/// The same for every text that is written as it is read.
macro_rules! texts {
    ($($text:ident)*) => {$(
        impl TryFrom<String> for $text {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$text> for String {
            fn from(text: $text) -> Self {
                text.to_string()
            }
        }
    )*};
}

texts! { FunctionName Prefix }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_take_the_names_of_their_objects_behind_the_directory_of_the_prefix() {
        let tenant = Name::default_tenant();
        let out = |over: &str, out: &str, key: &str, part| {
            let spec = Spec {
                function: "echo/echo".parse().unwrap(),
                over: over.parse().unwrap(),
                split: None,
                reduce: None,
                out: Some(out.parse().unwrap()),
            };
            spec.out_object(&tenant, &ObjectKey::new(key).unwrap(), part).map(|name| name.unwrap().to_string())
        };
        assert_eq!(out("logs/2024/a", "done/x/", "2024/ab.txt", None).unwrap(), "done/x/ab.txt");
        assert_eq!(out("logs/2024/", "done", "2024/b/c", Some(3)).unwrap(), "done/b/c/000003");
        assert_eq!(out("logs", "done/x-", "2024/a", None).unwrap(), "done/x-2024/a");
        assert!(out("logs", "done//", "a", None).is_err());
    }

    #[test]
    fn what_is_no_spec_is_refused() {
        let spec = |text: &str| serde_json::from_str::<Spec>(text);
        assert!(spec(r#"{"function": "a/b", "over": "data/x"}"#).is_ok());
        for bad in [
            r#"{"function": "a", "over": "data/x"}"#,
            r#"{"function": "a/b", "over": "D/x"}"#,
            r#"{"function": "a/b", "over": "data", "split": "words"}"#,
            r#"{"function": "a/b", "over": "data", "spilt": "lines"}"#,
            r#"{"over": "data"}"#,
        ] {
            assert!(spec(bad).is_err(), "{bad}");
        }
    }
}
