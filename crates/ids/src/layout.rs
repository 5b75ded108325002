//! Which cell an agent belongs to, as everybody has to see it.
//!
//! Always true: what is once known of a type stays as it is, so an agent never has another cell than before. Clones share what
//! they know.
//! Not here: who finds out what others have deployed (see `node`), and where cells are (see `cluster`).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::RwLock;

use crate::{
    Code, Failure,
    address::{Address, CellId, Name},
    affinity::Affinity,
};

/// The agent types of one deployment, each with its rule if it has one.
pub type Declared = BTreeMap<Name, Option<Affinity>>;

/// How many cells there are, and the rules of the types that have one.
#[derive(Clone, Debug)]
pub struct Layout {
    cells: u16,
    types: Arc<Types>,
}

#[derive(Debug, Default)]
struct Types {
    /// By tenant and type.
    known: RwLock<HashMap<Name, HashMap<Name, Option<Affinity>>>>,
    /// Some type has a rule. Most clusters have none, and then nobody looks.
    has_rules: AtomicBool,
}

impl From<u16> for Layout {
    fn from(cells: u16) -> Self {
        Self { cells, types: Arc::default() }
    }
}

impl Layout {
    /// How many cells there are.
    pub fn cells(&self) -> u16 {
        self.cells
    }

    /// The same types in so many cells.
    #[must_use]
    pub fn in_cells(&self, cells: u16) -> Self {
        Self { cells, types: self.types.clone() }
    }

    /// The cell of an agent.
    pub fn cell(&self, agent: &Address) -> CellId {
        if self.types.has_rules.load(Ordering::Acquire)
            && let Some(Some(rule)) =
                self.types.known.read().get(&agent.tenant).and_then(|known| known.get(&agent.kind))
            && let Some(cell) = rule.cell(agent, self.cells)
        {
            return cell;
        }
        agent.cell(self.cells)
    }

    /// The rule of a type, if it has one.
    pub fn affinity(&self, tenant: &Name, kind: &Name) -> Option<Affinity> {
        self.types.known.read().get(tenant)?.get(kind)?.clone()
    }

    /// Whether a type was ever deployed, so that it is certain which cells its agents have.
    pub fn knows(&self, tenant: &Name, kind: &Name) -> bool {
        self.types.known.read().get(tenant).is_some_and(|known| known.contains_key(kind))
    }

    /// Takes note of what is deployed. What is known already stays.
    pub fn declare(&self, tenant: &Name, types: &Declared) {
        let mut known = self.types.known.write();
        let known = known.entry(tenant.clone()).or_default();
        for (kind, rule) in types {
            known.entry(kind.clone()).or_insert_with(|| rule.clone());
            if rule.is_some() {
                self.types.has_rules.store(true, Ordering::Release);
            }
        }
    }

    /// Whether types can be deployed as they are declared.
    ///
    /// # Errors
    /// `conflict` if it would give agents that may exist another cell; `invalid_request` if what they are close to is placed by a rule
    /// itself, so that they would not be with it.
    pub fn check(&self, tenant: &Name, types: &Declared) -> Result<(), Failure> {
        let all = self.types.known.read();
        let nothing = HashMap::new();
        let known = all.get(tenant).unwrap_or(&nothing);
        for (kind, rule) in types {
            if let Some(before) = known.get(kind)
                && before != rule
            {
                return Err(changed(kind, before.as_ref(), rule.as_ref()));
            }
        }
        let rule_of = |kind: &Name| known.get(kind).or_else(|| types.get(kind)).and_then(Option::as_ref);
        for (kind, rule) in types.iter().filter_map(|(kind, rule)| Some((kind, rule.as_ref()?))) {
            let Some(near) = rule.kind() else { continue };
            if near.is_private() {
                return Err(invalid(format!("[agents.{kind}] affinity: `{near}` belongs to the platform")));
            }
            if let Some(theirs) = rule_of(near) {
                return Err(invalid(format!(
                    "[agents.{kind}] affinity: agents of type `{near}` are themselves placed by `{theirs}`; name what those are close to"
                )));
            }
        }
        let named = known.iter().find(|(_, rule)| {
            let near = rule.as_ref().and_then(Affinity::kind);
            near.is_some_and(|near| types.get(near).is_some_and(Option::is_some))
        });
        match named {
            Some((by, _)) => Err(Failure::new(
                Code::Conflict,
                format!(
                    "agents of type `{by}` are close to those of a type that is to get an affinity of its own; leave it without one"
                ),
            )),
            None => Ok(()),
        }
    }
}

fn changed(kind: &Name, before: Option<&Affinity>, now: Option<&Affinity>) -> Failure {
    let said = |rule: Option<&Affinity>| rule.map_or_else(|| "no affinity".to_owned(), |rule| format!("`{rule}`"));
    let message = format!(
        "agent type `{kind}` was deployed with {} and cannot get {}: its agents would be looked for in other cells than they are in. \
         Leave it as it was, or deploy the type under another name and have its agents move what they keep",
        said(before),
        said(now)
    );
    Failure::new(Code::Conflict, message)
}

fn invalid(message: String) -> Failure {
    Failure::new(Code::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AgentKey;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn agent(kind: &str, key: &str) -> Address {
        Address { tenant: Name::default_tenant(), kind: name(kind), key: AgentKey::new(key).unwrap() }
    }

    fn types(of: &[(&str, Option<&str>)]) -> Declared {
        of.iter().map(|(kind, rule)| (name(kind), rule.map(|rule| rule.parse().unwrap()))).collect()
    }

    fn with(of: &[(&str, Option<&str>)]) -> Layout {
        let layout = Layout::from(64);
        layout.declare(&Name::default_tenant(), &types(of));
        layout
    }

    fn refusal(layout: &Layout, of: &[(&str, Option<&str>)]) -> Option<Code> {
        layout.check(&Name::default_tenant(), &types(of)).err().map(|failure| failure.code)
    }

    #[test]
    fn agents_of_a_type_with_a_rule_are_with_their_neighbours_and_all_others_where_their_address_says() {
        let layout = with(&[("room", None), ("member", Some("agent:room/{key.1}"))]);
        for n in 0..100 {
            let (room, member) = (agent("room", &format!("{n}")), agent("member", &format!("{n}/alice")));
            assert_eq!(layout.cell(&member), layout.cell(&room));
            assert_eq!(layout.cell(&room), room.cell(64));
            assert_eq!(layout.in_cells(1_024).cell(&member), room.cell(1_024));
        }
        let two = with(&[("member", Some("agent:room/{key.2}"))]);
        assert_eq!(two.cell(&agent("member", "7")), agent("member", "7").cell(64), "there is no second part");
    }

    #[test]
    fn what_is_known_of_a_type_stays_also_if_others_say_something_else_later() {
        let layout = with(&[("member", Some("agent:room/{key.1}"))]);
        let before = layout.cell(&agent("member", "7/alice"));
        layout.declare(&Name::default_tenant(), &types(&[("member", None)]));
        assert_eq!(layout.cell(&agent("member", "7/alice")), before);
        assert!(layout.knows(&Name::default_tenant(), &name("member")));
        assert!(!layout.knows(&name("other"), &name("member")), "another tenant's type of that name is another type");
    }

    #[test]
    fn a_rule_that_would_give_agents_another_cell_is_refused_and_says_what_to_do() {
        let layout = with(&[("room", None), ("member", Some("agent:room/{key.1}"))]);
        for other in [None, Some("agent:room/{key}"), Some("object:images/{key.1}")] {
            assert_eq!(refusal(&layout, &[("member", other)]), Some(Code::Conflict), "{other:?}");
        }
        let failure = layout.check(&Name::default_tenant(), &types(&[("room", Some("agent:hall/{key}"))])).unwrap_err();
        assert!(failure.message.contains("under another name"), "{}", failure.message);
        assert_eq!(refusal(&layout, &[("member", Some("agent:room/{key.1}")), ("room", None)]), None);
        assert_eq!(refusal(&layout, &[("guest", Some("agent:room/{key}"))]), None);
    }

    #[test]
    fn a_rule_that_leads_to_another_rule_is_refused_from_both_sides() {
        let layout = with(&[("member", Some("agent:room/{key.1}"))]);
        assert_eq!(refusal(&layout, &[("guest", Some("agent:member/{key}"))]), Some(Code::InvalidRequest));
        assert_eq!(refusal(&layout, &[("room", Some("agent:hall/{key}"))]), Some(Code::Conflict));
        let both = [("a", Some("agent:b/{key}")), ("b", Some("agent:c/{key}"))];
        assert_eq!(refusal(&layout, &both), Some(Code::InvalidRequest));
        assert_eq!(refusal(&layout, &[("a", Some("agent:a/{key.1}"))]), Some(Code::InvalidRequest), "itself");
        assert_eq!(refusal(&layout, &[("a", Some("agent:stride-bucket/{key}"))]), Some(Code::InvalidRequest));
    }
}
