//! The perceptron against what it is by definition.

use super::*;

const SMALL: usize = 7;

fn steps(batch: &[u8], piece: usize, count: usize) -> (Vec<f32>, Trainer) {
    let mut trainer = Trainer::new(SMALL);
    let losses = (0..count).map(|_| {
        batch.chunks(piece * row_len(SMALL)).for_each(|rows| trainer.see(rows));
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
    for row in 0..parameters.0.len() {
        for lane in 0..UNITS {
            let moved = |by: f32| {
                let mut moved = parameters.clone();
                moved.0[row][lane] += by;
                loss(&moved)
            };
            let slope = (moved(STEP) - moved(-STEP)) / f64::from(2.0 * STEP);
            // Only the first lane of the last bias is a parameter.
            let slope = if row == parameters.0.len() - 1 && lane > 0 { 0.0 } else { slope };
            let found = f64::from(gradient.sums[row][lane]);
            assert!((slope - found).abs() < 0.05 * (1.0 + slope.abs()), "row {row}, lane {lane}: {found}, not {slope}");
        }
    }
}

#[test]
fn lanes_that_are_no_units_stay_zero() {
    let (_, trainer) = steps(&make_batch(4, SMALL, 40), 40, 5);
    assert!(trainer.parameters.0.iter().all(|lanes| lanes[UNITS..] == [0.0; LANES - UNITS]));
}

#[test]
fn what_is_learned_is_the_rule() {
    let (losses, trainer) = steps(&make_batch(1, SMALL, 300), 300, 1_500);
    assert!(losses[1_499] < losses[0] / 20.0, "{} to {}", losses[0], losses[1_499]);
    let unseen = Gradient::of(trainer.parameters(), &make_batch(2, SMALL, 200));
    assert!(unseen.loss / 200.0 < losses[0] / 15.0, "{}", unseen.loss / 200.0);
}

#[test]
fn however_rows_are_cut_the_bits_are_the_same() {
    // Three groups, the last of which is not whole.
    let batch = make_batch(5, SMALL, 2 * GROUP + 45);
    let (whole, trainer) = steps(&batch, 2 * GROUP + 45, 3);
    for piece in [1, 3, 4, 32, GROUP, GROUP + 1] {
        assert_eq!(steps(&batch, piece, 3), (whole.clone(), trainer.clone()), "pieces of {piece}");
    }
}

#[test]
fn groups_that_are_computed_elsewhere_give_the_same_bits() {
    let batch = make_batch(5, SMALL, 2 * GROUP + 45);
    let (losses, here) = steps(&batch, GROUP, 3);
    let mut trainer = Trainer::new(SMALL);
    for loss in losses {
        for rows in batch.chunks(GROUP * row_len(SMALL)) {
            let parameters = Parameters::from_bytes(&trainer.parameters().to_bytes()).unwrap();
            let gradient = Gradient::from_bytes(&Gradient::of(&parameters, rows).to_bytes()).unwrap();
            assert!(trainer.take(&gradient));
        }
        assert_eq!(trainer.step(), loss);
        trainer = Trainer::from_bytes(&trainer.to_bytes()).unwrap();
    }
    assert_eq!(trainer, here);
}

#[test]
fn bytes_that_are_something_else_are_refused() {
    let trainer = Trainer::new(SMALL).to_bytes();
    for wrong in [&[][..], &trainer[1..], &trainer[..trainer.len() - 1], b"weights"] {
        assert_eq!(Trainer::from_bytes(wrong), None);
        assert_eq!(Parameters::from_bytes(wrong), None);
        assert_eq!(Gradient::from_bytes(wrong), None);
    }
    assert_eq!(Parameters::new(SMALL).to_bytes().len(), Parameters::len(SMALL));
    assert!(!Trainer::new(SMALL).take(&Gradient::zero(SMALL + 1)));
}
