//! Answer with what they were sent, a function and an agent: what a call and a read cost when nothing is done.

use stride::prelude::*;

#[stride::function]
fn echo(input: Payload) -> Payload {
    input
}

#[derive(Default, Serialize, Deserialize)]
struct Echo {}

#[stride::agent]
impl Echo {
    fn say(&self, text: String) -> String {
        text
    }
}
