//! `examples/thumbnails`, with pictures that are made here.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, RgbImage};
use reqwest::{Method, StatusCode, header};
use serde_json::json;

use crate::support::{Node, Reply, data};

fn picture(width: u32, height: u32) -> Vec<u8> {
    picture_as(ImageFormat::Jpeg, width, height)
}

fn picture_as(format: ImageFormat, width: u32, height: u32) -> Vec<u8> {
    let image = RgbImage::from_fn(width, height, |x, y| {
        let shade = |at: u32, of: u32| u8::try_from(at * 255 / of).unwrap();
        image::Rgb([shade(x, width), shade(y, height), 128])
    });
    let mut bytes = Cursor::new(Vec::new());
    // With a channel that a JPEG does not have, where there is a place for it.
    match format {
        ImageFormat::Png => DynamicImage::from(image).to_rgba8().write_to(&mut bytes, format),
        _ => image.write_to(&mut bytes, format),
    }
    .unwrap();
    bytes.into_inner()
}

async fn node_with_pictures(data: &std::path::Path, pictures: &[(&str, Vec<u8>)]) -> Node {
    let node = Node::start(data);
    node.deploy("thumbnails").await;
    for (key, picture) in pictures {
        let put = node.request(Method::PUT, &format!("/v1/objects/photos/{key}")).body(picture.clone());
        Reply::of(put).await.json_of(StatusCode::CREATED);
    }
    node
}

#[tokio::test]
async fn a_thumbnail_lies_in_the_other_bucket_and_keeps_its_shape() {
    let (_dir, data) = data();
    let png = picture_as(ImageFormat::Png, 300, 600);
    let pictures = [
        ("wide.jpg", picture(1200, 600)),
        ("a/high.jpg", picture(90, 900)),
        ("tiny.jpg", picture(20, 10)),
        ("clear.png", png),
    ];
    let node = node_with_pictures(&data, &pictures).await;
    for (input, object, size) in [
        (json!({"key": "wide.jpg"}), "thumbs/wide.jpg", (256, 128)),
        (json!({"key": "a/high.jpg", "max": 100}), "thumbs/a/high.jpg", (10, 100)),
        (json!({"bucket": "photos", "key": "tiny.jpg", "to": "thumbs"}), "thumbs/tiny.jpg", (20, 10)),
        (json!({"key": "clear.png"}), "thumbs/clear.png", (128, 256)),
    ] {
        let made = node.call("thumbnails/thumbnail", &input.to_string()).await.json();
        let got = node.request(Method::GET, &format!("/v1/objects/{object}")).send().await.unwrap();
        assert_eq!(got.headers()[header::CONTENT_TYPE], "image/jpeg");
        let bytes = got.bytes().await.unwrap();
        let (width, height) = size;
        assert_eq!(made, json!({"object": object, "width": width, "height": height, "bytes": bytes.len()}));
        let small = image::load_from_memory(&bytes).unwrap();
        assert_eq!((small.width(), small.height()), size);
    }
}

#[tokio::test]
async fn a_broken_picture_and_one_that_is_not_there_say_so_and_leave_nothing() {
    let (_dir, data) = data();
    let mut torn = picture(300, 300);
    torn.truncate(200);
    let node = node_with_pictures(&data, &[("torn.jpg", torn), ("text.jpg", b"no picture".to_vec())]).await;
    for (key, code, says) in [
        ("torn.jpg", "guest_error", "`photos/torn.jpg` is not a picture"),
        ("text.jpg", "guest_error", "`photos/text.jpg` is not a picture"),
        ("none.jpg", "not_found", "photos/none.jpg"),
    ] {
        node.call("thumbnails/thumbnail", &json!({"key": key}).to_string()).await.fails_with(code, says);
    }
    let elsewhere = json!({"key": "torn.jpg", "bucket": "private"});
    node.call("thumbnails/thumbnail", &elsewhere.to_string()).await.fails_with("capability_denied", "private/*:read");
    node.get("/v1/objects/thumbs").await.fails_with("not_found", "thumbs");
}

#[tokio::test]
async fn a_picture_that_is_sent_along_comes_back_small() {
    let (_dir, data) = data();
    let node = node_with_pictures(&data, &[]).await;
    let sent = node.post("/v1/functions/thumbnails/small", picture(500, 1000)).send().await.unwrap();
    assert_eq!(sent.headers()[header::CONTENT_TYPE], "image/jpeg");
    let small = image::load_from_memory(&sent.bytes().await.unwrap()).unwrap();
    assert_eq!((small.width(), small.height()), (128, 256));
    let refused = Reply::of(node.post("/v1/functions/thumbnails/small", "no picture")).await;
    refused.fails_with("guest_error", "the body is not a picture");
}
