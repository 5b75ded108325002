//! Answers with what it was sent: what a call costs when nothing is done.

use stride::prelude::*;

#[stride::function]
fn echo(input: Payload) -> Payload {
    input
}
