//! The pipeline on the pure machine of flows, with real pictures, and buckets and agents in memory.

#[path = "../../../crates/flows/tests/common/drive.rs"]
#[allow(dead_code, reason = "every user takes what it needs")]
mod drive;
#[path = "../../../crates/flows/tests/common/exports.rs"]
#[allow(dead_code, reason = "every user takes what it needs")]
mod exports;
#[path = "../pictures.rs"]
#[allow(unreachable_pub, reason = "it is a program of its own")]
mod pictures;

use std::{cell::RefCell, io::Cursor};

use drive::World;
use exports::{Exports, refused};
use image::{DynamicImage, ImageFormat};
use serde_json::{Value, from_value, json};
use stride_flows::{Draft, Effect, Known, Passes, Plan};

use super::*;

#[derive(Default)]
struct Store {
    photos: BTreeMap<String, Vec<u8>>,
    gallery: BTreeMap<String, Vec<u8>>,
    index: Gallery,
    visitor: Visitor,
}

thread_local! {
    static STORE: RefCell<Store> = RefCell::default();
}

type Answer = Result<Value, (String, String)>;

/// Objects are the platform's, so what `resize` reads and puts is done here.
fn call(name: &str, input: &Value) -> Answer {
    assert_eq!(name, "image-pipeline/resize");
    let wanted: Wanted = from_value(input.clone()).unwrap();
    STORE.with_borrow_mut(|store| {
        let picture = store.photos.get(&wanted.key).ok_or(("not_found".to_owned(), wanted.key.clone()))?;
        let (made, jpeg) = made(Cursor::new(picture), &wanted).map_err(|e| refused(&e))?;
        store.gallery.insert(made.key.clone(), jpeg);
        Ok(json!(made))
    })
}

fn ask(agent: &str, key: &str, method: &str, input: &Value) -> Answer {
    STORE.with_borrow_mut(|store| match (agent, key, method) {
        ("gallery", "photos", "add") => Ok(json!(store.index.add(from_value(input.clone()).unwrap()))),
        ("visitor", "all", "notify") => {
            store.visitor.notify(from_value(input.clone()).unwrap());
            Ok(Value::Null)
        }
        other => panic!("nobody asks {other:?}"),
    })
}

const PARTS: u64 = 1;

fn lines(_: u64) -> Value {
    json!([])
}

fn plan() -> Plan {
    let draft = Draft::read(include_bytes!("../pictures.json")).unwrap();
    let exports = Exports(&[Effect::ReadObjects, Effect::WriteObjects]);
    draft.check(&exports).unwrap_or_else(|e| panic!("{e}")).plan(&Passes::all(), &Known::default())
}

fn run(key: &str, picture: Vec<u8>) -> (World, Result<Value, stride_flows::run::Error>) {
    STORE.with_borrow_mut(|store| {
        *store = Store::default();
        store.photos.insert("a.png".into(), picture);
    });
    let mut world = World::rough(5);
    let end = world.run(&plan(), json!({ "$object": { "bucket": "photos", "key": key, "bytes": 9 } }));
    (world, end)
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::new_rgb8(width, height).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn a_picture_is_made_small_in_three_sizes_indexed_and_told_of_once() {
    let (_, end) = run("a.png", png(900, 300));
    let size =
        |max: u32, width: u32, height: u32| json!({ "key": format!("{max}/a.png"), "width": width, "height": height });
    let sizes = json!([size(128, 128, 43), size(512, 512, 171), size(1024, 900, 300)]);
    assert_eq!(end, Ok(json!({ "key": "a.png", "sizes": sizes, "pictures": 1 })));
    STORE.with_borrow(|store| {
        assert_eq!(json!(store.index.sizes("a.png".into())), sizes);
        assert_eq!(store.visitor.news(), ["a.png is picture 1"]);
        let small = image::load_from_memory(&store.gallery["512/a.png"]).unwrap();
        assert_eq!((small.width(), small.height()), (512, 171));
    });
}

#[test]
fn what_is_no_picture_or_is_not_there_fails_and_nothing_is_told() {
    let (_, end) = run("a.png", b"hello".to_vec());
    assert!(end.unwrap_err().message.contains("`photos/a.png` is not a picture"));
    let (_, end) = run("b.png", png(9, 9));
    assert_eq!(end.unwrap_err().code, "not_found");
    STORE.with_borrow(|store| assert!(store.visitor.news().is_empty() && store.index.sizes("a.png".into()).is_empty()));
}

#[test]
fn the_file_is_what_the_program_prints() {
    let file: Value = serde_json::from_slice(include_bytes!("../pictures.json")).unwrap();
    assert_eq!(pictures::flow().json().unwrap(), file);
}
