//! What a map is called. Later maps sort behind earlier ones, so that a listing is in the order in which they began.

use std::{fmt, str::FromStr};

use stride_ids::{Address, AgentKey, Name};
use stride_sim::{Chance, Timestamp};

use crate::book::MAPS;

const PREFIX: &str = "map-";
const DIGITS: usize = 16;

/// The id of a map: `map-` and 16 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MapId(AgentKey);

impl MapId {
    pub(crate) fn new(at: Timestamp, chance: &Chance) -> Self {
        let id = ((at & 0xffff_ffff_ffff) << 16) | chance.below(1 << 16);
        Self(AgentKey::new(&format!("{PREFIX}{id:016x}")).expect("it is a key"))
    }

    pub(crate) fn of(address: &Address) -> Self {
        Self(address.key.clone())
    }

    pub(crate) fn address(&self, tenant: &Name) -> Address {
        Address { tenant: tenant.clone(), kind: MAPS.name(), key: self.0.clone() }
    }
}

impl fmt::Display for MapId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for MapId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix(PREFIX).unwrap_or_default();
        let is_id = digits.len() == DIGITS && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let wrong = || "the id of a map is `map-` and 16 hex digits".to_owned();
        if is_id { AgentKey::new(text).map(Self).map_err(|_| wrong()) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written_and_sort_by_time() {
        let chance = Chance::seeded(1);
        let (one, other) = (MapId::new(1_700_000_000_000, &chance), MapId::new(1_700_000_000_001, &chance));
        assert!(one < other);
        assert_eq!(one.to_string().parse(), Ok(one));
        for bad in ["", "map-", "map-0", "map-00000000000000zz", "run-0000000000000000", "map-00000000000000000"] {
            assert!(bad.parse::<MapId>().is_err(), "{bad}");
        }
    }
}
