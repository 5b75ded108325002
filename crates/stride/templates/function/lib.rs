//! A function: every call runs in a fresh, isolated instance.

use stride::prelude::*;

#[derive(Serialize)]
struct Greeting {
    text: String,
    letters: usize,
}

#[stride::function]
fn greet(name: String) -> Greeting {
    Greeting {
        text: format!("Hello, {name}!"),
        letters: name.chars().count(),
    }
}
