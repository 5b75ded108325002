//! What the component around this module exports, as it was registered: a catalog of it, and its functions as the platform calls them, with JSON.
//!
//! Not here: what agents keep. The module around this one has them as plain structs.

use serde_json::Value;
use stride::{
    Payload,
    private::{AgentExport, FunctionExport, inventory},
};
use stride_flows::{Catalog, Effect, Function, Signature};

/// The exports of this component. All functions may do this.
pub(crate) struct Exports(pub(crate) &'static [Effect]);

fn function(name: &str) -> Option<&'static FunctionExport> {
    let name = name.strip_prefix(concat!(env!("CARGO_PKG_NAME"), "/"))?;
    inventory::iter::<FunctionExport>().find(|export| export.name == name)
}

impl Catalog for Exports {
    fn function(&self, name: &str) -> Option<Function> {
        let effects = self.0.iter().copied().collect();
        function(name).map(|_| Function { effects, ..Function::default() })
    }

    fn agent(&self, agent: &str, method: &str) -> Option<Signature> {
        let export = inventory::iter::<AgentExport>().find(|export| export.kind == agent)?;
        export.methods.iter().any(|known| known.name == method).then(Signature::default)
    }

    fn flow(&self, _: &str) -> Option<Signature> {
        None
    }

    fn names(&self) -> Vec<String> {
        let functions =
            inventory::iter::<FunctionExport>().map(|export| format!("{}/{}", env!("CARGO_PKG_NAME"), export.name));
        let methods = inventory::iter::<AgentExport>()
            .flat_map(|export| export.methods.iter().map(|method| format!("{}/{}", export.kind, method.name)));
        functions.chain(methods).collect()
    }
}

/// A function's answer, or its code and message.
pub(crate) fn call(name: &str, input: &Value) -> Result<Value, (String, String)> {
    let export = function(name).unwrap_or_else(|| panic!("there is no function `{name}`"));
    match (export.call)(Payload::json(input.to_string())) {
        Ok(answer) => Ok(serde_json::from_slice(&answer.body).unwrap()),
        Err(failure) => Err(refused(&failure)),
    }
}

/// A failure as flows know it.
pub(crate) fn refused(failure: &stride::Failure) -> (String, String) {
    let mut code = String::new();
    let name = format!("{:?}", failure.code);
    for c in name.rsplit(':').next().unwrap_or_default().chars() {
        if c.is_uppercase() && !code.is_empty() {
            code.push('_');
        }
        code.push(c.to_ascii_lowercase());
    }
    (code, failure.message.clone())
}
