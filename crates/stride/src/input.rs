//! `DATA | @FILE | -`: what a command sends.

use std::{convert::Infallible, io::Read as _, path::PathBuf, str::FromStr};

use anyhow::Context as _;

/// Where the bytes to send come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    Text(String),
    File(PathBuf),
    Stdin,
}

impl FromStr for Data {
    type Err = Infallible;
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.strip_prefix('@') {
            Some(path) => Self::File(path.into()),
            None if text == "-" => Self::Stdin,
            None => Self::Text(text.to_owned()),
        })
    }
}

impl Data {
    pub(crate) fn read(self) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Text(text) => Ok(text.into_bytes()),
            Self::File(path) => std::fs::read(&path).with_context(|| format!("cannot read {}", path.display())),
            Self::Stdin => {
                let mut bytes = Vec::new();
                std::io::stdin().read_to_end(&mut bytes).context("cannot read stdin")?;
                Ok(bytes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_an_at_sign_and_stdin_is_a_dash() {
        assert_eq!("@a.json".parse(), Ok(Data::File("a.json".into())));
        assert_eq!("-".parse(), Ok(Data::Stdin));
        assert_eq!("-5".parse(), Ok(Data::Text("-5".into())));
        assert_eq!("\"@a\"".parse(), Ok(Data::Text("\"@a\"".into())));
    }
}
