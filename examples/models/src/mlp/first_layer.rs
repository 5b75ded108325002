//! The weights of the first layer, where nearly all the work is: each feature of each row goes forward into ten units, and what
//! comes back from them goes into ten weights.
//!
//! Rows come in blocks that the processor's second cache holds, and of all of them a strip of features at a time, which the first
//! holds with its weights. Nothing comes back from a unit that is off, as about every second one is, so those products are left
//! out.
//!
//! The shape of the loops is for the compiler of guests. At each turn it has a guest look whether its time is up, and for that it keeps in
//! memory whatever the turns carry along; and it computes no earlier than a result is stored. So a turn is long, carries little along, and
//! stores each sum before it begins the next.

use std::{array, ops::Range, slice};

use multiversion::multiversion;

use super::{UNITS, Units, four::Four};

/// Features that are computed with at each turn of a loop.
pub(super) const STEP: usize = 16;
/// What each unit makes of a step of features.
pub(super) type Weights = [[f32; STEP]; UNITS];
/// A feature of a row, as it is stored.
type Value = [u8; 4];
/// A step of features.
type Values = [Value; STEP];

/// Steps in a strip.
const STRIP: usize = 16;

/// A row of a batch.
pub(super) struct Row<'a> {
    whole: &'a [Values],
    /// What is left of the features, filled up with zeros.
    rest: Values,
    label: Value,
}

impl<'a> Row<'a> {
    /// A row as it is stored, which has a label at least.
    pub(super) fn new(values: &'a [Value]) -> Self {
        let (features, label) = values.split_at(values.len() - 1);
        let (whole, rest) = features.as_chunks();
        let rest = array::from_fn(|at| rest.get(at).copied().unwrap_or_default());
        Self { whole, rest, label: label[0] }
    }

    pub(super) fn label(&self) -> f32 {
        f32::from_le_bytes(self.label)
    }

    /// The features of a strip. Those that are filled up are a strip by themselves.
    fn strip(&self, strip: Range<usize>) -> &[Values] {
        self.whole.get(strip).unwrap_or(slice::from_ref(&self.rest))
    }
}

/// The strips of so many steps, as [`Row::strip`] has them.
fn strips(steps: usize, rows: &[Row]) -> impl Iterator<Item = Range<usize>> {
    let whole = rows.first().map_or(0, |row| row.whole.len());
    let strips = (0..whole).step_by(STRIP).map(move |from| from..whole.min(from + STRIP));
    strips.chain((whole < steps).then_some(whole..steps))
}

/// What the units of each row add up to.
pub(super) fn add_up(weights: &[Weights], rows: &[Row]) -> Vec<Units> {
    let mut sums = vec![[Four::ZERO; UNITS]; rows.len()];
    for strip in strips(weights.len(), rows) {
        let weights = &weights[strip.clone()];
        let ((pairs, rest), (sum_pairs, sum_rest)) = (rows.as_chunks::<2>(), sums.as_chunks_mut::<2>());
        for (sums, rows) in sum_pairs.iter_mut().zip(pairs) {
            add_strip(sums, weights, rows.each_ref().map(|row| row.strip(strip.clone())));
        }
        for (sums, row) in sum_rest.as_chunks_mut::<1>().0.iter_mut().zip(rest) {
            add_strip(sums, weights, [row.strip(strip.clone())]);
        }
    }
    sums.iter().map(|sums| sums.map(|four| four.to_array().iter().sum())).collect()
}

/// Adds a strip of these rows to what their units add up to.
fn add_strip<const ROWS: usize>(sums: &mut [[Four; UNITS]; ROWS], weights: &[Weights], rows: [&[Values]; ROWS]) {
    let rows = rows.map(|row| &row[..weights.len()]);
    for (step, weights) in weights.iter().enumerate() {
        add_step(sums, weights, rows.map(|row| &row[step]));
    }
}

/// Adds a step. It is never part of the loop, so its sums are in registers while they are computed.
#[multiversion(targets("x86_64+avx+avx2+fma"))]
#[inline(never)]
fn add_step<const ROWS: usize>(sums: &mut [[Four; UNITS]; ROWS], weights: &Weights, rows: [&Values; ROWS]) {
    let rows = rows.map(stored);
    for (unit, weights) in weights.iter().enumerate() {
        let weights = fours(weights);
        for (sums, row) in sums.iter_mut().zip(&rows) {
            let mut sum = sums[unit];
            for (weights, values) in weights.iter().zip(row) {
                sum = sum.plus(*weights, *values);
            }
            sums[unit] = sum;
        }
    }
}

/// Adds to the gradient of the weights what comes back from the units of each row.
pub(super) fn add_products(sums: &mut [Weights], rows: &[Row], units: &[Units]) {
    let on: [Vec<(Four, usize)>; UNITS] = array::from_fn(|unit| {
        let all = units.iter().enumerate().map(|(row, units)| (units[unit], row));
        all.filter(|(factor, _)| *factor != 0.0).map(|(factor, row)| (Four::splat(factor), row)).collect()
    });
    for strip in strips(sums.len(), rows) {
        let sums = &mut sums[strip.clone()];
        let rows: Vec<_> = rows.iter().map(|row| row.strip(strip.clone())).collect();
        for (unit, on) in on.iter().enumerate() {
            let (fours, rest) = on.as_chunks::<4>();
            fours.iter().for_each(|on| add_scaled(sums, unit, on, &rows));
            rest.as_chunks::<1>().0.iter().for_each(|on| add_scaled(sums, unit, on, &rows));
        }
    }
}

/// Adds some of these rows, each by its factor, to what there is for a unit. It is never part of a larger function, of whose loops
/// there would be more to carry along.
#[multiversion(targets("x86_64+avx+avx2+fma"))]
#[inline(never)]
fn add_scaled<const ROWS: usize>(sums: &mut [Weights], unit: usize, on: &[(Four, usize); ROWS], rows: &[&[Values]]) {
    let on = on.map(|(factor, row)| (factor, &rows[row][..sums.len()]));
    for (step, sums) in sums.iter_mut().enumerate() {
        let (sums, _) = sums[unit].as_chunks_mut::<4>();
        for (four, sums) in sums.iter_mut().enumerate() {
            let mut sum = Four::of(sums);
            for (factor, row) in on {
                sum = sum.plus(Four::stored(&row[step].as_chunks().0[four]), factor);
            }
            *sums = sum.to_array();
        }
    }
}

#[inline(always)]
fn fours(step: &[f32; STEP]) -> [Four; STEP / 4] {
    let (fours, _) = step.as_chunks();
    array::from_fn(|at| Four::of(&fours[at]))
}

#[inline(always)]
fn stored(step: &Values) -> [Four; STEP / 4] {
    let (fours, _) = step.as_chunks();
    array::from_fn(|at| Four::stored(&fours[at]))
}
