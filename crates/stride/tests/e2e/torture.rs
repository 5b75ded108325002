//! A cluster under real faults, for most of a minute; `cargo xtask torture` does the same for as long as you like.

use std::{path::Path, time::Duration};

use stride_sim::Chance;
use stride_torture::{Kind, Settings};

use crate::support::{examples, root};

/// Long enough for every kind of fault once.
const LASTS: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_stopped_killed_cut_off_and_full_break_no_promise() {
    let settings = Settings {
        stride: env!("CARGO_BIN_EXE_stride").into(),
        components: examples(),
        examples: root().join("examples"),
        // Kept, so that whoever sees it fail has the logs.
        keep: Path::new(env!("CARGO_TARGET_TMPDIR")).join("torture"),
        seed: Chance::from_os().below(1_000_000),
        nodes: 3,
        lasts: LASTS,
        faults: Kind::ALL.to_vec(),
    };
    let kept = settings.keep.display().to_string();
    eprintln!("seed {}", settings.seed);
    let report = stride_torture::run(&settings, |line| eprintln!("{line}")).await;
    let report = report.unwrap_or_else(|error| panic!("seed {}, logs in {kept}: {error}", settings.seed));
    // What this machine cannot do is said, and the rest is done.
    eprintln!("{report}");
    assert!(report.broken.is_empty(), "seed {}, logs and history in {kept}: {:#?}", settings.seed, report.broken);
    assert!(!report.steps.is_empty());
}
