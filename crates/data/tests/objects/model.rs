//! Everything at once, drawn from a seed, against a map in memory: puts, reads, deletions, sweeps and crashes.

use std::collections::BTreeMap;

use stride_data::Error;
use stride_sim::Chance;

use crate::world::{CHUNK, bytes, object, world};

const STEPS: u64 = 400;

#[tokio::test]
async fn objects_are_what_a_map_in_memory_says_whatever_happens() {
    let seed = Chance::from_os().next_u64();
    eprintln!("seed {seed}");
    let chance = Chance::seeded(seed);
    let mut world = world().await;
    let mut model: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    world.put("data/always", b"there").await;
    model.insert("data/always".into(), b"there".to_vec());
    for step in 0..STEPS {
        let name = format!("data/{}", chance.below(8));
        match chance.below(100) {
            // Few different bytes, so that objects share chunks.
            0..40 => {
                let sent = bytes(chance.below(4 * CHUNK as u64) as usize, chance.below(5));
                world.put(&name, &sent).await;
                model.insert(name, sent);
            }
            40..80 => match (world.get(&name).await, model.get(&name)) {
                (Ok(read), Some(sent)) => assert!(read == *sent, "step {step}: {name} has other bytes"),
                (Err(Error::NoObject { .. }), None) => {}
                (read, sent) => panic!("step {step}: {name}: {read:?} instead of {:?}", sent.map(Vec::len)),
            },
            80..90 => {
                let deleted = world.objects.delete(&object(&name), Default::default()).await;
                assert_eq!(deleted.is_ok(), model.remove(&name).is_some(), "step {step}: {name}");
            }
            90..98 => drop(world.objects.sweep().await.unwrap()),
            _ => world = world.restarted().await,
        }
    }
    let keys: Vec<String> = model.keys().map(|name| name["data/".len()..].to_owned()).collect();
    assert_eq!(world.keys("data", "", 3).await, keys);
    for (name, sent) in &model {
        assert!(world.get(name).await.unwrap() == *sent, "{name}");
    }
    world.objects.sweep().await.unwrap();
    let chunks: std::collections::BTreeSet<&[u8]> = model.values().flat_map(|sent| sent.chunks(CHUNK)).collect();
    assert_eq!(world.files().len(), chunks.len(), "exactly what the objects have is stored");
}
