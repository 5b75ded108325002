//! The first layer, which is nearly all of the work: it has as many weights as there are features.
//!
//! Four features go at a time: a row is loaded once for all four, and at each turn of a loop a guest looks whether its time is up, which
//! costs a third of a turn of one.

use multiversion::multiversion;

use super::{
    Lanes, Value,
    lanes::{Factors, Vectors},
};

/// A row by fours of features, and what is left.
type Fours<'a> = (&'a [[Value; 4]], &'a [Value]);

fn fours(row: &[Value], features: usize) -> Fours<'_> {
    row[..features].as_chunks::<4>()
}

/// What the units add up to.
#[multiversion(targets("x86_64+avx+avx2+fma"))]
pub(super) fn add_up<const N: usize>(weights: &[Lanes], bias: &Lanes, rows: [&[Value]; N]) -> [Lanes; N] {
    let rows = rows.map(|row| fours(row, weights.len()));
    let (weights, last_weights) = weights.as_chunks::<4>();
    let mut units = [Vectors::of(bias); N];
    for (n, weights) in weights.iter().enumerate() {
        let [first, second, third, fourth] = weights;
        let weights = [Vectors::of(first), Vectors::of(second), Vectors::of(third), Vectors::of(fourth)];
        for (units, (row, _)) in units.iter_mut().zip(&rows) {
            let factors = Factors::of(row[n]);
            units.add::<0>(factors, weights[0]);
            units.add::<1>(factors, weights[1]);
            units.add::<2>(factors, weights[2]);
            units.add::<3>(factors, weights[3]);
        }
    }
    for (n, weights) in last_weights.iter().enumerate() {
        for (units, (_, row)) in units.iter_mut().zip(&rows) {
            units.add::<0>(Factors::of([row[n]; 4]), Vectors::of(weights));
        }
    }
    units.map(Vectors::lanes)
}

/// Adds to the gradient what each row says.
#[multiversion(targets("x86_64+avx+avx2+fma"))]
pub(super) fn add_products<const N: usize>(sums: &mut [Lanes], rows: [&[Value]; N], into: [Lanes; N]) {
    let rows = rows.map(|row| fours(row, sums.len()));
    let into = into.map(|lanes| Vectors::of(&lanes));
    let (sums, last_sums) = sums.as_chunks_mut::<4>();
    for (n, [first, second, third, fourth]) in sums.iter_mut().enumerate() {
        let factors = rows.map(|(row, _)| Factors::of(row[n]));
        add_product::<0, N>(first, factors, into);
        add_product::<1, N>(second, factors, into);
        add_product::<2, N>(third, factors, into);
        add_product::<3, N>(fourth, factors, into);
    }
    for (n, sums) in last_sums.iter_mut().enumerate() {
        add_product::<0, N>(sums, rows.map(|(_, row)| Factors::of([row[n]; 4])), into);
    }
}

#[inline(always)]
fn add_product<const K: usize, const N: usize>(sums: &mut Lanes, factors: [Factors; N], into: [Vectors; N]) {
    let mut sum = Vectors::of(sums);
    for n in 0..N {
        sum.add::<K>(factors[n], into[n]);
    }
    *sums = sum.lanes();
}
