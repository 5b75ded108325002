//! The perceptron against what it is by definition.

use super::*;

/// A step of features, and some that are filled up.
const SMALL: usize = STEP + 7;

fn steps(features: usize, batch: &[u8], piece: usize, count: usize) -> (Vec<f32>, Trainer) {
    let mut trainer = Trainer::new(features);
    let losses = (0..count).map(|_| {
        batch.chunks(piece * row_len(features)).for_each(|rows| trainer.see(rows));
        trainer.step()
    });
    (losses.collect(), trainer)
}

#[test]
fn the_gradient_is_how_the_loss_changes_with_each_parameter() {
    let batch = make_batch(3, SMALL, 5);
    let parameters = Parameters::new(SMALL);
    let gradient = Gradient::of(&parameters, &batch);
    assert_eq!(gradient.rows, 5);
    let loss = |parameters: &Parameters| f64::from(Gradient::of(parameters, &batch).loss);
    const STEP: f32 = 1e-3;
    // Only the first number of the last bias is a parameter.
    for at in 0..parameters.0.all.len() - (UNITS - 1) {
        let moved = |by: f32| {
            let mut moved = parameters.clone();
            moved.0.all[at] += by;
            loss(&moved)
        };
        let slope = (moved(STEP) - moved(-STEP)) / f64::from(2.0 * STEP);
        let found = f64::from(gradient.sums.all[at]);
        assert!((slope - found).abs() < 0.05 * (1.0 + slope.abs()), "number {at}: {found}, not {slope}");
    }
}

#[test]
fn strips_of_features_add_up_to_what_the_layer_is_by_definition() {
    const FEATURES: usize = 70 * STEP + 3;
    // An odd number, and more than are taken together.
    const ROWS: usize = 13;
    let batch = make_batch(6, FEATURES, ROWS);
    let values: Vec<f32> = batch.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
    let features = |row: usize| &values[row * (FEATURES + 1)..][..FEATURES];
    let rows: Vec<_> = batch.as_chunks().0.chunks_exact(FEATURES + 1).map(Row::new).collect();
    let parameters = Parameters::new(FEATURES);
    let (weights, _) = parameters.0.split();
    let weight = |unit: usize, feature: usize| weights[feature / STEP][unit][feature % STEP];
    let near = |found: f32, by_definition: f32| (found - by_definition).abs() < 1e-4;

    let units = add_up(weights, &rows);
    for (row, units) in units.iter().enumerate() {
        for (unit, found) in units.iter().enumerate() {
            let sum = features(row).iter().enumerate().map(|(feature, value)| value * weight(unit, feature)).sum();
            assert!(near(*found, sum), "row {row}, unit {unit}: {found}, not {sum}");
        }
    }

    // Half of what comes back is nothing.
    let back: Vec<_> = units.iter().map(|units| relu(*units)).collect();
    let came_back = |row: usize, unit: usize| back[row][unit];
    let mut sums = Numbers::zero(FEATURES);
    add_products(sums.split_mut().0, &rows, &back);
    for feature in 0..FEATURES {
        for unit in 0..UNITS {
            let sum = (0..ROWS).map(|row| came_back(row, unit) * features(row)[feature]).sum();
            let found = sums.split().0[feature / STEP][unit][feature % STEP];
            assert!(near(found, sum), "feature {feature}, unit {unit}: {found}, not {sum}");
        }
    }
}

#[test]
fn what_is_learned_is_the_rule() {
    let (losses, trainer) = steps(SMALL, &make_batch(1, SMALL, 300), 300, 1_500);
    assert!(losses[1_499] < losses[0] / 20.0, "{} to {}", losses[0], losses[1_499]);
    let unseen = Gradient::of(trainer.parameters(), &make_batch(2, SMALL, 200));
    assert!(unseen.loss / 200.0 < losses[0] / 15.0, "{}", unseen.loss / 200.0);
}

#[test]
fn however_rows_are_cut_the_bits_are_the_same() {
    // Three groups, the last of which is not whole.
    let batch = make_batch(5, SMALL, 2 * GROUP + 45);
    let (whole, trainer) = steps(SMALL, &batch, 2 * GROUP + 45, 3);
    for piece in [1, 3, 4, 32, GROUP, GROUP + 1] {
        assert_eq!(steps(SMALL, &batch, piece, 3), (whole.clone(), trainer.clone()), "pieces of {piece}");
    }
}

#[test]
fn groups_that_are_computed_elsewhere_give_the_same_bits() {
    let batch = make_batch(5, SMALL, 2 * GROUP + 45);
    let (losses, here) = steps(SMALL, &batch, GROUP, 3);
    let mut trainer = Trainer::new(SMALL);
    for loss in losses {
        for rows in batch.chunks(GROUP * row_len(SMALL)) {
            let parameters = Parameters::from_bytes(SMALL, &trainer.parameters().to_bytes()).unwrap();
            let gradient = Gradient::from_bytes(SMALL, &Gradient::of(&parameters, rows).to_bytes()).unwrap();
            assert!(trainer.take(&gradient));
        }
        assert_eq!(trainer.step(), loss);
        trainer = Trainer::from_bytes(SMALL, &trainer.to_bytes()).unwrap();
    }
    assert_eq!(trainer, here);
}

#[test]
fn bytes_that_are_something_else_are_refused() {
    let trainer = Trainer::new(SMALL).to_bytes();
    for wrong in [&[][..], &trainer[1..], &trainer[..trainer.len() - 1], b"weights"] {
        assert_eq!(Trainer::from_bytes(SMALL, wrong), None);
        assert_eq!(Parameters::from_bytes(SMALL, wrong), None);
        assert_eq!(Gradient::from_bytes(SMALL, wrong), None);
    }
    assert_eq!(Parameters::new(SMALL).to_bytes().len(), Parameters::len(SMALL));
    assert!(!Trainer::new(SMALL).take(&Gradient::zero(SMALL + 1)));
}
